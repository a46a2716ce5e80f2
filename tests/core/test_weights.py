"""Weights files: exact, checked, whole or not there."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import RandomMask, Task, WeightsError, files, load_posterior, weights
from aps_core.priors.store import load_prior, prior_settings, prior_tree

TREE = {
    "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3) / 7, "bias": np.array([1e-3], np.float32)},
    "n": np.array([3, 4]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of weights that holds "mine"."""
    monkeypatch.setenv("APS_WEIGHTS_DIR", str(tmp_path))
    weights.save(tmp_path / "mine.safetensors", TREE, {"task": "gaussian16", "flow": {"kind": "gaussian-base", "k": 4}})
    return tmp_path


def test_round_trip(folder):
    tree, card = weights.load("mine")
    jax.tree.map(np.testing.assert_array_equal, tree, TREE)
    assert tree["a"]["kernel"].dtype == np.float32 and tree["n"].dtype.kind == "i"
    assert card["task"] == "gaussian16" and card["bytes"] == (folder / "mine.safetensors").stat().st_size
    by_path, _ = weights.load(folder / "mine.safetensors")
    jax.tree.map(np.testing.assert_array_equal, by_path, TREE)
    assert sorted(p.name for p in folder.iterdir()) == ["mine.json", "mine.safetensors"]


def test_half_size(tmp_path):
    weights.save(tmp_path / "half.safetensors", TREE, {}, np.float16)
    tree, _ = weights.load(tmp_path / "half.safetensors")
    assert tree["a"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(tree["a"]["kernel"], TREE["a"]["kernel"].astype(np.float16))
    np.testing.assert_array_equal(tree["n"], TREE["n"])


def test_a_transposed_array_is_stored_as_it_is(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    weights.save(tmp_path / "t.safetensors", {"a": array}, {})
    np.testing.assert_array_equal(weights.load(tmp_path / "t.safetensors")[0]["a"], array)


def test_missing(folder):
    with pytest.raises(FileNotFoundError, match=r"no weights 'yours': looked for .*yours\.safetensors.*'mine'"):
        weights.load("yours")
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        weights.load(folder / "nowhere.safetensors")


def test_missing_card(folder):
    (folder / "mine.json").unlink()
    with pytest.raises(FileNotFoundError, match="mine.safetensors have no card"):
        weights.load("mine")


def test_truncated(folder):
    path = folder / "mine.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"mine.safetensors are truncated or altered: \d+ bytes, the card says \d+"):
        weights.load("mine")


def test_altered(folder):
    path = folder / "mine.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="mine.safetensors are altered: sha256"):
        weights.load("mine")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"bytes": 3}', '{"bytes": 3, "sha256": 5}', "[" * 10**5, ""])
def test_a_card_that_is_none(folder, content):
    (folder / "mine.json").write_text(content)
    with pytest.raises(WeightsError, match="card mine.json is not valid"):
        weights.load("mine")


def _custom_task(make_prior, name):
    prior = make_prior(d=8, k=4)
    return Task(RandomMask((8,), 0.5), 0.1, prior, jnp.zeros((1, 8)), name=name)


def test_weights_of_another_task(folder, make_prior):
    with pytest.raises(WeightsError, match="weights 'mine' are of task 'gaussian16', not of 'other'"):
        load_posterior(_custom_task(make_prior, "other"), weights="mine")


def test_default_name_of_a_posterior(folder, make_prior):
    with pytest.raises(FileNotFoundError, match="no weights 'other-paper'"):
        load_posterior(_custom_task(make_prior, "other"), protocol="paper")


def full_disk(after):
    """``os.fdopen`` of a disk that takes ``after`` files and half of the next one."""
    real, opened = os.fdopen, []

    def fdopen(*arguments):
        file = real(*arguments)
        opened.append(file)
        if len(opened) <= after:
            return file
        write = file.write

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *exc):
                file.close()

            def write(self, content):
                write(content[: len(content) // 2])
                raise OSError(28, "No space left on device")

        return Full()

    return fdopen


@pytest.mark.parametrize("failing", [0, 1], ids=["the arrays", "the card"])
def test_a_write_that_fails_leaves_nothing_half_written(tmp_path, monkeypatch, failing):
    monkeypatch.setattr(files.os, "fdopen", full_disk(after=failing))
    with pytest.raises(OSError, match="No space"):
        weights.save(tmp_path / "new.safetensors", TREE, {})
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.part"))
    assert not (tmp_path / "new.json").exists()
    with pytest.raises(FileNotFoundError):
        weights.load(tmp_path / "new.safetensors")


def test_a_write_that_fails_leaves_the_old_weights(folder, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(files.os, "fdopen", full_disk(after=0))
        weights.save(folder / "mine.safetensors", {"a": np.ones(3)}, {})
    jax.tree.map(np.testing.assert_array_equal, weights.load("mine")[0], TREE)


def test_a_card_that_cannot_be_written(tmp_path):
    with pytest.raises(TypeError):
        weights.save(tmp_path / "new.safetensors", TREE, {"recipe": object()})
    assert not list(tmp_path.iterdir())


def test_a_prior_comes_back_as_it_was(tmp_path, make_score_prior):
    prior = make_score_prior(shape=(2, 4))
    weights.save(tmp_path / "prior.safetensors", prior_tree(prior), {"settings": prior_settings(prior)})
    loaded, _ = load_prior(tmp_path / "prior.safetensors")
    jax.tree.map(np.testing.assert_array_equal, loaded, prior)
    assert loaded.shape == (2, 4) and loaded.sde == prior.sde and loaded.network == prior.network


def test_weights_that_are_no_prior(folder):
    with pytest.raises(WeightsError, match="weights 'mine' do not hold a prior"):
        load_prior("mine")


STOPPED = {"faces-prior"}  # before the end of its recipe; recipes/QUEUE.md says at which step


def test_shipped_weights_are_whole():
    paths = sorted((files.CHECKOUT / "weights").glob("*.safetensors"))
    assert "sphere-prior" in {path.stem for path in paths}
    for path in paths:
        tree, card = weights.load(path)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))
        assert {"recipe", "steps", "seconds", "device", "commit", "date", "sha256"} <= set(card)
        assert (card["finished"] or path.stem in STOPPED) and card["file"] == path.name
        json.dumps(card, allow_nan=False)
