"""Files written at once by several processes, seeds, and two trainings in one folder."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filelock import FileLock

from aps_core import checks, operators
from aps_core.data._store import places
from aps_core.files import cache_folder, check_writable, remove_unfinished, write_atomically
from aps_core.priors import kept
from aps_core.priors.gaussian import fit_gaussian
from aps_core.training.loop import Session, fit
from aps_core.training.optimizer import Optimizer
from aps_core.weights import WeightsError

ROOT = Path(__file__).resolve().parent.parent.parent
# the file alone, without the seconds that importing the package takes
WRITER = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
path = pathlib.Path(sys.argv[2])
for i in range(150):
    files.write_atomically(path, sys.argv[3] * 100_000)
    content = path.read_bytes()
    assert len(content) == 100_000 and len(set(content)) == 1, (i, len(content))
"""


def test_saves_of_several_processes_never_fail_or_mix(tmp_path):
    """Three processes save 150 times each to one path and read what is there."""
    path = tmp_path / "new folder" / "state.bin"
    command = [sys.executable, "-c", WRITER, str(ROOT / "aps_core/files.py"), str(path)]
    started = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE, text=True) for letter in "abc"]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert [p.name for p in path.parent.iterdir()] == ["state.bin"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "a", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_name_as_long_as_the_file_system_has_them_is_written(tmp_path):
    for name in ("a" * 251 + ".npz", "\u00fc" * 125 + ".npz"):  # of 255 bytes
        assert write_atomically(tmp_path / name, "new").read_text() == "new"


@pytest.mark.parametrize(
    ("path", "said"), [("folder", "folder: it is a folder"), ("file/below/a", "file is a file, expected a folder")]
)
def test_what_cannot_be_written_is_said_before_the_work(tmp_path, path, said):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    check_writable("--out", tmp_path / "folder/new/a")
    check_writable("--out", tmp_path / "file")
    with pytest.raises(ValueError, match=f"--out .*{said}"):
        check_writable("--out", tmp_path / path)


def test_folders_that_are_not_ours_are_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"--out .*a: expected a folder that may be written in"):
        check_writable("--out", tmp_path / "new/a")


def test_the_cache_is_an_absolute_folder_or_a_named_error(tmp_path, monkeypatch):
    def none(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("APS_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "aps_core"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert cache_folder() == Path.home() / ".cache/aps_core"
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(FileNotFoundError, match="APS_CACHE_DIR"):
        cache_folder()
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="expected APS_CACHE_DIR"):
        places("mnist")
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    assert places("mnist") == [tmp_path / "mnist", tmp_path]
    prior = fit_gaussian(np.random.default_rng(0).random((5, 32, 32)), n_modes=4)
    kept.kept("nothing", prior, operators.Identity((32, 32)), 0.1, lambda done: (np.ones(3),))  # made, and not kept


def test_what_killed_writers_left_is_removed(tmp_path):
    for name in (".a.x1.part", "a.part", ".part", "a"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert ".a.x1.part" not in {p.name for p in tmp_path.iterdir()} and (tmp_path / "a").exists()
    (tmp_path / ".b.x2.part").touch()
    remove_unfinished(tmp_path, seconds=60)  # somebody may be writing it
    assert (tmp_path / ".b.x2.part").exists()


# two trainings in one folder


def _loss(params, data, key, progress):
    return jnp.sum((params["w"] - data) ** 2), {}


def _fit(folder, steps=3):
    optimizer = Optimizer(steps=steps, warmup=0)
    return fit(_loss, {"w": jnp.zeros(2)}, jnp.ones(2), optimizer, session=Session(folder, progress=False))


def test_second_training_in_a_folder_is_refused_by_name(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".state.json.x1.part").touch()
    with FileLock(folder / ".lock"), pytest.raises(WeightsError, match=f"another training is at work in .*{folder}"):
        _fit(folder)
    assert (folder / ".state.json.x1.part").exists()  # it may be the other one's
    assert _fit(folder).finished
    assert not (folder / ".state.json.x1.part").exists()
    assert _fit(folder).step == 3  # the lock is free again, also after an error
    with pytest.raises(WeightsError, match="was made"):
        _fit(folder, steps=5)
    assert _fit(folder).step == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("seconds", "x"), ("seconds", None), ("step", None), ("history", {}), ("history", [1]), ("recent", None)],
        *[("inputs", []), ("sha256", 3), ("inputs", "absent"), ("recent", "absent")],
    ],
)
def test_states_that_somebody_edited_are_named(tmp_path, name, value):
    state = {"step": 1, "seconds": 1.0, "sha256": "", "inputs": {}, "history": [], "recent": []}
    state |= {name: value}
    if value == "absent":
        del state[name]
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(WeightsError, match=f"checkpoint in .* is truncated or altered: .*{name}"):
        _fit(tmp_path)


def test_checkpoints_that_cannot_be_written_are_named_before_the_first_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="checkpoint .*file is a file, expected a folder"):
        _fit(tmp_path / "file/mine")
    (tmp_path / "state.json").mkdir()
    with pytest.raises(ValueError, match=r"checkpoint .*state\.json: it is a folder"):
        _fit(tmp_path)


# seeds


@pytest.mark.parametrize("value", [0, 1, 2**31 - 1, np.int64(3), np.uint8(3), np.uint64(3)])
def test_seed_is_a_plain_integer(value):
    assert checks.seed("seed", value) == value and type(checks.seed("seed", value)) is int
    assert type(Optimizer(steps=1, warmup=0, seed=value).seed) is int


@pytest.mark.parametrize(
    ("value", "error"),
    [
        *((value, ValueError) for value in (-1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64, np.int64(-5), np.uint64(2**40))),
        *((value, TypeError) for value in (True, np.bool_(True), 1.0, np.float32(1), "1", None, [1], np.array([1]))),
    ],
)
def test_seed_outside_of_its_range_is_refused(value, error):
    for name, use in (
        ("seed", lambda: checks.seed("seed", value)),
        ("optimizer seed", lambda: Optimizer(steps=1, warmup=0, seed=value)),
        ("seed", lambda: operators.fourier.random_frequencies((4, 4), 0.5, seed=value)),
    ):
        with pytest.raises(error, match=f"^{name} must be an integer from 0 to 2147483647, got "):
            use()


def test_why_the_range_ends():
    """What JAX makes of larger seeds: the lowest 32 bits."""
    data = [jax.random.key_data(jax.random.key(seed)).tolist() for seed in (0, 1, 2**31 - 1)]
    assert len({tuple(d) for d in data}) == 3
    assert jax.random.key_data(jax.random.key(np.uint64(2**32).astype(np.uint32))).tolist() == data[0]
