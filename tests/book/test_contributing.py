"""The recipes of CONTRIBUTING.md, carried out in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
FENCED = re.findall(r"^(```|~~~)\w+ (file|edit|append)=(\S+)\n(.*?)^\1$", TEXT, re.MULTILINE | re.DOTALL)
BLOCKS = [block for _, *block in FENCED]

USE = """
import jax
import numpy as np

import aps_core
from aps_core.flows import build_flow
from aps_core.operators import make_operator
from aps_core.operators.row_mean import RowMean
from aps_core.priors.gaussian import fit_gaussian

signals = np.random.default_rng(0).uniform(0.2, 0.8, (200, 4, 4))
operator = RowMean((4, 4))
assert make_operator(operator.settings()) == operator
task = aps_core.Task(operator, 0.05, fit_gaussian(signals, 8), signals)
measured = task.measure(jax.random.key(0), signals[0].astype(np.float32))
assert measured.y.shape == (4,)
closed = aps_core.gaussian_posterior(task).sample(jax.random.key(1), measured, 64)
assert np.abs(np.asarray(closed).mean((0, 2)) - measured.y).max() < 0.1

flow = build_flow(task, {"kind": "shifted"})
posterior = aps_core.untrained_posterior(task, {"kind": "shifted"})
x, log_q = posterior.sample_and_log_prob(jax.random.key(2), measured, 3)
np.testing.assert_allclose(posterior.log_prob(x, measured), log_q, rtol=1e-4)

sampler = aps_core.make_sampler("prior-mean", task)
drawn = sampler.sample(jax.random.key(3), measured, 2)
np.testing.assert_allclose(drawn[0].reshape(-1), task.prior.mean, rtol=1e-4)
print("served")
"""


def copy_of_the_project(folder):
    shutil.copytree(ROOT / "aps_core", folder / "aps_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "aps_book", folder / "aps_book", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("notebooks", "book", "weights"):
        (folder / name).mkdir()
    for name in ("dodo.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "book/settings.md", folder / "book/settings.md")
    (folder / "tests/book").mkdir(parents=True)
    shutil.copy(ROOT / "tests/book/test_settings.py", folder / "tests/book")
    (folder / "tolerances.toml").touch()
    (folder / "book/build.toml").touch()
    for kind, name, content in BLOCKS:
        path = folder / name
        if kind == "file":
            assert not path.exists(), name
            path.write_text(content)
        elif kind == "append":
            path.write_text(path.read_text() + content)
        else:
            old = "".join(line for line in content.splitlines(keepends=True) if not line.startswith("+"))
            assert path.read_text().count(old) == 1, name
            path.write_text(path.read_text().replace(old, content.replace("\n+", "\n")))
    for line, package in re.findall(r"with the import `(from (aps_core\.\w+)\.\w+ import \w+)`", TEXT):
        path = folder / Path(*package.split(".")) / "__init__.py"
        path.write_text(path.read_text().replace("\nfrom ", f"\n{line}\nfrom ", 1))
    return folder


def run(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_every_part_of_the_house_is_named():
    for name in ("operators", "flows", "samplers", "experiments"):
        assert sum(f"/{name}/" in file for _, file, _ in BLOCKS) >= 1
    listed = re.search(r"```text\n(.*?)```", TEXT, re.DOTALL)[1]
    packages = {path.stem for path in (ROOT / "aps_core").iterdir() if path.suffix == ".py" or path.is_dir()}
    for name in packages - {"__init__", "__pycache__"}:
        assert re.search(rf"\b{name}\b", listed), name


@pytest.mark.slow
def test_an_operator_a_flow_and_a_sampler_are_one_file_and_one_line(tmp_path):
    done = run(copy_of_the_project(tmp_path), "-c", USE)
    assert done.stdout == "served\n", done.stderr


@pytest.mark.slow
def test_the_page_of_settings_has_the_new_flow(tmp_path):
    folder = copy_of_the_project(tmp_path)
    done = run(folder, "-m", "pytest", "-q", "tests/book/test_settings.py", "-k", "line or every_table")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "test_every_setting_has_a_line[flow.shifted]"
        in run(folder, "-m", "pytest", "--collect-only", "-q", "tests/book/test_settings.py").stdout
    )


@pytest.mark.slow
def test_an_experiment_is_built(tmp_path):
    folder = copy_of_the_project(tmp_path)
    done = run(folder, "-m", "doit", "notebook:halves")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(folder, "-c", "import dodo; print(dodo.check_tolerances())")
    assert done.stdout == "None\n", done.stdout + done.stderr


@pytest.mark.slow
def test_what_the_recipes_make_is_in_the_house_style(tmp_path):
    folder = copy_of_the_project(tmp_path)
    files = [name for kind, name, _ in BLOCKS if kind == "file"]
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = run(folder, "-m", "ruff", *command, *files)
        assert done.returncode == 0, done.stdout + done.stderr
