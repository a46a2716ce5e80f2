"""Coverage and ranks against closed forms."""

import numpy as np
import pytest
from gaussian_kl import gaussian_kl
from scipy.stats import chisquare, norm

from aps_core.metrics import calibration

LEVELS = (0.123, 0.5, 0.9, 0.95, 0.999)


@pytest.mark.parametrize("n", [1, 3, 7, 19, 128])
def test_expected_coverage_is_the_level_for_every_n(n):
    """The rank of x among n draws is uniform on 0..n: the mean over all ranks is the level, exactly."""
    samples = np.broadcast_to(np.arange(n, dtype=float)[:, None], (n, n + 1))
    x = np.arange(n + 1) - 0.5
    np.testing.assert_allclose(calibration.coverage(samples, x, LEVELS), LEVELS, atol=1e-12)


def test_coverage_of_gaussian_samples_over_many_repetitions():
    rng = np.random.default_rng(0)
    found = calibration.coverage(rng.normal(size=(128, 40000)), rng.normal(size=40000), LEVELS)
    error = np.sqrt(np.array(LEVELS) * (1 - np.array(LEVELS)) / 40000)
    assert (np.abs(found - LEVELS) < 4 * error).all()


def test_coverage_of_a_wrong_spread_is_the_closed_form():
    """Intervals from s N(0, 1) cover N(0, 1) with probability 2 Phi(s z) - 1."""
    rng = np.random.default_rng(1)
    for spread in (0.5, 2.0):
        found = calibration.coverage(spread * rng.normal(size=(2000, 4000)), rng.normal(size=4000), (0.5, 0.9))
        expected = 2 * norm.cdf(spread * norm.ppf([0.75, 0.95])) - 1
        np.testing.assert_allclose(found, expected, atol=0.035)


def test_coverage_does_not_depend_on_shape_order_or_a_shift():
    rng = np.random.default_rng(2)
    samples, x = rng.normal(size=(16, 5, 6)), rng.normal(size=(5, 6))
    first = calibration.coverage(samples, x)
    np.testing.assert_allclose(calibration.coverage(samples[::-1].reshape(16, 30), x.ravel()), first)
    np.testing.assert_allclose(calibration.coverage(samples + 3, x + 3), first)


def test_a_known_coordinate_counts_as_covered():
    np.testing.assert_array_equal(calibration.coverage(np.ones((9, 4)), np.ones(4)), [1, 1])


def test_band_coverage_sees_which_band_is_too_narrow():
    """Posterior with half the spread along the last of two bands: nominal in the first, closed form in the second."""
    rng = np.random.default_rng(3)
    modes = np.linalg.qr(rng.normal(size=(40, 40)))[0][:, :20]
    spread = np.repeat([1.0, 0.5], 10)
    found = []
    for _ in range(400):
        mean = rng.normal(size=40)
        z = spread * rng.normal(size=(64, 20))
        found.append(calibration.band_coverage(mean + z @ modes.T, mean + modes @ rng.normal(size=20), modes, 2))
    found = np.array(found)
    expected = [[0.5, 0.9], 2 * norm.cdf(0.5 * norm.ppf([0.75, 0.95])) - 1]
    assert found.shape == (400, 2, 2)
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.03)


def test_bands_are_runs_of_equal_length():
    rng = np.random.default_rng(4)
    samples, x = rng.normal(size=(8, 7)), rng.normal(size=7)
    found = calibration.band_coverage(samples, x, np.eye(7), 3)
    expected = [calibration.coverage(samples[:, s], x[s]) for s in (slice(0, 3), slice(3, 5), slice(5, 7))]
    np.testing.assert_allclose(found, expected)


def test_ranks_are_uniform_for_the_exact_posterior_and_not_for_a_narrow_one():
    rng = np.random.default_rng(5)
    x, draws = rng.normal(size=5000), rng.normal(size=(9, 5000))
    for spread, uniform in ((1.0, True), (0.7, False)):
        ranks = calibration.sbc_ranks(spread * draws, x)
        p = chisquare(np.bincount(ranks, minlength=10)).pvalue
        assert (p > 0.01) == uniform
    assert calibration.sbc_ranks(np.arange(5.0), 2.5) == 3


def test_gaussian_kl_in_one_dimension_and_of_itself():
    """The helper of other tests."""
    mq, sq, mp, sp = 0.3, 0.7, -0.5, 1.9
    expected = np.log(sp / sq) + (sq**2 + (mq - mp) ** 2) / (2 * sp**2) - 0.5
    assert gaussian_kl([mq], [[sq**2]], [mp], [[sp**2]]) == pytest.approx(expected, rel=1e-12)
    correlated = np.array([[1.0, 0.3], [0.3, 0.5]])
    assert gaussian_kl([0.2, 0.1], correlated, [0.2, 0.1], correlated) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.coverage(np.zeros((0, 3)), np.zeros(3)), "holds 0 draws"),
        (lambda: calibration.coverage(np.zeros((5, 3)), np.zeros(4)), r"samples has shape \(5, 3\)"),
        (lambda: calibration.coverage(np.zeros((5, 3)), np.zeros(3), [50, 90]), "strictly between 0 and 1"),
        (lambda: calibration.band_coverage(np.zeros((5, 3)), np.zeros(3), np.zeros((4, 2))), "modes has shape"),
        (lambda: calibration.band_coverage(np.zeros((5, 3)), np.zeros(3), np.eye(3), 4), "n_bands is 4"),
        (
            lambda: calibration.band_coverage(np.zeros((5, 3)), np.zeros(3), np.eye(3), 2.5),
            "n_bands must be an integer, got 2.5",
        ),
        (lambda: calibration.rank_band([0, 0], 0), "n must be at least 1, got 0"),
        (lambda: calibration.rank_band([0, 1], 2.5), "n must be an integer, got 2.5"),
        (lambda: calibration.rank_band([0, 1], 2, [0.5, 0.9]), "level must be a number"),
        (lambda: calibration.rank_band([0, 1], 2, n_simulated=0), "n_simulated must be at least 1, got 0"),
        (lambda: calibration.rank_band([0, 1], 2, seed=-1), "seed must be an integer from 0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("n, level", [(2, 0.1), (10, 0.05), (3, 0.1), (10, 0.3), (2, 0.5)])
def test_expected_coverage_is_the_level_also_inside_the_innermost_interval(n, level):
    rng = np.random.default_rng(0)
    found = calibration.coverage(rng.normal(size=(n, 200_000)), rng.normal(size=200_000), (level,))[0]
    assert abs(found - level) < 4 * np.sqrt(max(level, 1 / (n + 1)) / 200_000)


@pytest.mark.parametrize("name", ["samples", "x"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_coverage_of_what_is_not_finite(name, value):
    arrays = {"samples": np.zeros((4, 3)), "x": np.ones(3)}
    arrays[name] = np.full_like(arrays[name], value)
    for measure in (
        calibration.coverage,
        calibration.sbc_ranks,
        lambda s, x: calibration.band_coverage(s, x, np.eye(3), 1),
    ):
        with pytest.raises(ValueError, match=f"{name} holds entries that are not finite"):
            measure(**arrays) if measure in (calibration.coverage, calibration.sbc_ranks) else measure(*arrays.values())
