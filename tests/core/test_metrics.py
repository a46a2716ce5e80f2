"""Metrics against scikit-image, SciPy and closed forms."""

import time

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import norm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from aps_core.geometry.sphere import cell_areas
from aps_core.metrics import quality

EIGHT_BIT = np.full((2, 9, 9), 200, np.uint8)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    ref = rng.random((4, 20, 24))
    return ref + 0.1 * rng.normal(size=ref.shape), ref


def test_psnr_and_mse_agree_with_scikit_image(pair):
    x, ref = pair
    expected = [peak_signal_noise_ratio(r, a, data_range=1) for a, r in zip(x, ref)]
    np.testing.assert_allclose(quality.psnr(x, ref), expected, rtol=1e-12)
    np.testing.assert_allclose(quality.mse(x, ref), ((x - ref) ** 2).mean(axis=(1, 2)), rtol=1e-12)


def test_psnr_of_a_constant_error_and_of_none():
    ref = np.zeros((2, 5))
    np.testing.assert_allclose(quality.psnr(ref + 0.1, ref), [20, 20])
    assert np.isposinf(quality.psnr(ref, ref)).all()


def test_values_outside_the_range_are_not_clipped():
    assert quality.mse(np.full((1, 3), -1.0), np.zeros((1, 3))) == 1


def test_ssim_agrees_with_scikit_image(pair):
    x, ref = pair
    expected = [structural_similarity(a, r, data_range=1) for a, r in zip(x, ref)]
    np.testing.assert_allclose(quality.ssim(x, ref), expected)
    np.testing.assert_allclose(quality.ssim(ref, ref), 1)
    colour, colour_ref = np.stack([x] * 3, -1), np.stack([ref] * 3, -1)
    np.testing.assert_allclose(quality.ssim(colour, colour_ref), expected)


def wang(x, ref):
    """SSIM as its authors define it, with the 11 x 11 Gaussian window, by plain sums over the windows that fit."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    mean = lambda a: (np.lib.stride_tricks.sliding_window_view(a, (11, 11)) * window).sum(axis=(2, 3))  # noqa: E731
    mx, mr, c1, c2 = mean(x), mean(ref), 0.01**2, 0.03**2
    vx, vr, both = mean(x * x) - mx**2, mean(ref * ref) - mr**2, mean(x * ref) - mx * mr
    return np.mean((2 * mx * mr + c1) * (2 * both + c2) / ((mx**2 + mr**2 + c1) * (vx + vr + c2)))


def test_ssim_with_the_gaussian_window_agrees_with_scikit_image_and_with_its_definition(pair):
    x, ref = pair
    settings = dict(data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    found = quality.ssim(x, ref, "gaussian")
    np.testing.assert_allclose(found, [structural_similarity(a, r, **settings) for a, r in zip(x, ref)], rtol=1e-12)
    np.testing.assert_allclose(found, [wang(a, r) for a, r in zip(x, ref)], rtol=1e-10)
    np.testing.assert_allclose(quality.ssim(np.stack([x] * 3, -1), np.stack([ref] * 3, -1), "gaussian"), found)
    assert np.abs(found - quality.ssim(x, ref)).max() > 1e-3  # another number than that of the 7 x 7 window


def test_psnr_by_area_counts_a_cell_by_its_area():
    """An error of one degree of latitude alike everywhere, one at a pole only, and one at the equator only."""
    areas, ref = cell_areas(), np.zeros((3, 46, 90))
    x = ref.copy()
    x[0] += 0.1
    x[1, 0], x[2, 23] = 0.1, 0.1
    flat, by_area = quality.psnr(x, ref), quality.psnr(x, ref, areas)
    assert flat[0] == pytest.approx(20) and by_area[0] == pytest.approx(20)
    assert flat[1] == pytest.approx(flat[2])
    caps = 20 - 10 * np.log10((1 - np.sin(np.deg2rad(88))) / 2)  # a cap of 2 degrees
    band = 20 - 10 * np.log10((np.sin(np.deg2rad(4))) / 2)  # from the equator to 4 degrees south
    np.testing.assert_allclose(by_area[1:], [caps, band], rtol=1e-12)
    np.testing.assert_allclose(quality.psnr(x, ref, 7 * areas), by_area)


def test_a_signal_is_judged_on_its_own(pair):
    x, ref = pair
    for metric in (quality.mse, quality.psnr, quality.ssim):
        np.testing.assert_allclose(metric(x, ref)[1], metric(x[1:2], ref[1:2])[0], rtol=1e-14)


def test_energy_score_against_all_pairs():
    rng = np.random.default_rng(1)
    samples, x = rng.normal(size=(30, 6, 7)), rng.normal(size=(6, 7))
    flat = samples.reshape(30, -1)
    expected = np.linalg.norm(flat - x.ravel(), axis=1).mean() - pdist(flat).mean() / 2
    assert quality.energy_score(samples, x) == pytest.approx(expected, rel=1e-12)


def test_energy_score_keeps_digits_far_from_zero():
    """Samples that are nearly equal: the Gram matrix must not lose the small distances."""
    rng = np.random.default_rng(2)
    samples = 1.0 + 1e-4 * rng.normal(size=(20, 50))
    x = 1.0 + 1e-4 * rng.normal(size=50)
    expected = np.linalg.norm(samples - x, axis=1).mean() - pdist(samples).mean() / 2
    assert quality.energy_score(samples, x) == pytest.approx(expected, rel=1e-8)


def test_energy_score_is_the_crps_in_one_dimension():
    rng = np.random.default_rng(3)
    samples, x = rng.normal(size=(40, 1)), np.array([0.4])
    assert quality.energy_score(samples, x) == pytest.approx(quality.crps(samples, x)[0], rel=1e-12)


def test_crps_of_a_gaussian_is_unbiased_at_small_n():
    """Closed form x (2 Phi(x) - 1) + 2 phi(x) - 1 / sqrt(pi); with pairs i = j it would be off by 0.11 at n = 5."""
    rng = np.random.default_rng(4)
    x = np.repeat([-1.0, 0.3, 2.0], 20000)
    value = quality.crps(rng.normal(size=(5, x.size)), x).reshape(3, -1)
    at = np.array([-1.0, 0.3, 2.0])
    expected = at * (2 * norm.cdf(at) - 1) + 2 * norm.pdf(at) - 1 / np.sqrt(np.pi)
    assert (np.abs(value.mean(axis=1) - expected) < 4 * value.std(axis=1) / np.sqrt(20000)).all()


def test_energy_score_prefers_the_true_spread():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 20))
    draws = rng.normal(size=(300, 32, 20))
    score = {s: np.array([quality.energy_score(s * d, t) for d, t in zip(draws, x)]) for s in (0.5, 1.0, 2.0)}
    for other in (0.5, 2.0):
        difference, error = quality.mean_and_standard_error(score[other] - score[1.0])
        assert difference > 3 * error


def test_energy_score_of_the_sphere_is_fast():
    """Milliseconds on quiet cores; beside other work BLAS waits for its threads. A loop over pairs takes seconds."""
    rng = np.random.default_rng(6)
    samples, x = rng.random((128, 4140), dtype=np.float32), rng.random(4140, dtype=np.float32)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        quality.energy_score(samples, x)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.4


def gaussian_posterior(batch, n, spread=1.0):
    """Signals N(0, 1) seen with unit noise: posterior N(y/2, 1/2); `spread` scales its deviation."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(batch, 30))
    y = x + rng.normal(size=x.shape)
    return y[:, None] / 2 + spread * np.sqrt(0.5) * rng.normal(size=(batch, n, 30)), x


def test_sample_error_is_twice_the_mmse_for_the_exact_posterior():
    samples, x = gaussian_posterior(2000, 8)
    for mmse in (None, 0.5, np.full(2000, 0.5)):
        ratio, error = quality.sample_error_over_mmse(samples, x, mmse)
        assert abs(ratio - 2) < 4 * error
        assert error < 0.03
    estimate, error = quality.mean_and_standard_error(quality.mmse_estimate(samples, x))
    assert abs(estimate - 0.5) < 4 * error


@pytest.mark.parametrize(("spread", "expected"), [(0.5, 1.25), (1.5, 3.25)])
def test_sample_error_shows_too_little_and_too_much_spread(spread, expected):
    ratio, error = quality.sample_error_over_mmse(*gaussian_posterior(2000, 8, spread))
    assert abs(ratio - expected) < 4 * error


def test_mean_and_standard_error():
    mean, error = quality.mean_and_standard_error([1.0, 2.0, 4.0, 5.0])
    assert (mean, error) == (3.0, pytest.approx(np.std([1, 2, 4, 5], ddof=1) / 2))
    assert np.isnan(quality.mean_and_standard_error([1.0])[1])
    with pytest.raises(ValueError, match="values is empty"):
        quality.mean_and_standard_error([])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quality.psnr(np.zeros((2, 3)), np.zeros((2, 4))), r"x has shape \(2, 3\)"),
        (lambda: quality.mse(np.zeros(3), np.zeros(3)), r"expected \(batch, \*shape\)"),
        (lambda: quality.mse(np.zeros((0, 3)), np.zeros((0, 3))), "not empty"),
        (lambda: quality.ssim(np.zeros((2, 8)), np.zeros((2, 8))), r"expected \(batch, H, W\)"),
        (lambda: quality.ssim(np.zeros((2, 9, 20)), np.zeros((2, 9, 20)), "gaussian"), "H and W of at least 11"),
        (lambda: quality.ssim(np.zeros((2, 9, 9)), np.zeros((2, 9, 9)), "box"), "window must be one of"),
        (lambda: quality.psnr(np.zeros((2, 3)), np.zeros((2, 3)), np.ones(4)), r"weights has shape \(4,\)"),
        (lambda: quality.mse(np.zeros((2, 3)), np.zeros((2, 3)), -np.ones(3)), "not negative"),
        (lambda: quality.energy_score(np.zeros((4, 3)), np.zeros(2)), r"samples has shape \(4, 3\)"),
        (lambda: quality.crps(np.zeros((1, 3)), np.zeros(3)), "holds 1 draws, expected at least 2"),
        (lambda: quality.mmse_estimate(np.zeros((2, 5, 3)), np.zeros((3, 3))), r"\(batch, n, \*shape\)"),
        (lambda: quality.mmse_estimate(np.zeros((2, 1, 3)), np.zeros((2, 3))), "at least 2"),
        (
            lambda: quality.psnr(EIGHT_BIT, EIGHT_BIT / 255),
            "x holds uint8 up to 200, expected signals in .0, 1.: divide",
        ),
        (lambda: quality.ssim(EIGHT_BIT / 255, EIGHT_BIT), "ref holds uint8 up to 200"),
    ],
)
def test_wrong_arrays_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
