"""Distances to known posteriors: zero for draws of the truth, formulas for Gaussians, a grid beside the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_kl import gaussian_kl

from aps_book.experiments import known_posteriors
from aps_book.experiments.known_posteriors import GridPosterior, directional_kl, energy_distance, nearest_kl
from aps_core import FixedMask, SaturatingSensor
from aps_core.posterior import gaussian_posterior

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mixture():
    return known_posteriors.mixture_case(0.05, 6)


@pytest.fixture(scope="module")
def gaussian():
    return known_posteriors.gaussian_case(0.1, 3)


def test_moments_of_the_gaussian_problem_are_those_of_the_closed_form(gaussian):
    context = gaussian_posterior(gaussian.task).flow.context(gaussian.one(1))
    np.testing.assert_allclose(gaussian.mean[1], context.mean, atol=2e-4)
    covariance = (gaussian.basis[1] * gaussian.variance[1]) @ gaussian.basis[1].T
    np.testing.assert_allclose(covariance, context.covariance(), atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_draws_of_the_truth_are_at_distance_zero(name, request):
    case = request.getfixturevalue(name)
    found = case.judge(case.exact(jax.random.key(1), 1000))
    assert abs(found["kl"].mean()) < (0.03 if name == "mixture" else 0.001)
    assert abs(found["ratio"].mean() - 1) < 0.03 and abs(found["mean"].mean()) < 0.005
    if name == "mixture":
        assert np.abs(found["energy"]).max() < 0.003
    else:
        assert found["coverage"].mean() == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_too_little_spread_and_a_wrong_mean_are_seen(name, request):
    """Shrunk by 1/2 about the mean and shifted by a standard deviation in every direction."""
    case = request.getfixturevalue(name)
    x = case.exact(jax.random.key(1), 1000).reshape(len(case.x0), 1000, -1)
    moved = case.mean[:, None] + 0.5 * (x - case.mean[:, None])
    moved += np.einsum("bij,bj->bi", case.basis, np.sqrt(case.variance))[:, None]
    found = case.judge(moved.reshape(len(x), 1000, *case.task.shape))
    assert found["ratio"].mean() == pytest.approx(0.25, rel=0.06)
    assert found["mean"].mean() == pytest.approx(1, abs=0.05)
    if name == "gaussian":  # (v - 1 - log v + 1)/2
        assert found["kl"].mean() == pytest.approx((0.25 - np.log(0.25)) / 2, abs=0.03)
    else:
        assert found["kl"].min() > 0.5 and found["energy"].min() > 0.01


def test_a_collapsed_direction_is_infinitely_far(mixture):
    x = mixture.exact(jax.random.key(0), 50).copy()
    x[:, :, 0] = x[:, :1, 0]
    assert np.isinf(mixture.judge(x)["kl"]).all()
    assert 1000 < mixture.badness(x) < 1010


def test_directional_kl_is_that_of_gaussians_and_unbiased():
    s, v, m = np.array([1.0, 4.0, 0.25]), np.array([0.5, 5.0, 0.25]), np.array([0.3, 0.0, -0.2])
    estimates = [directional_kl(m + np.sqrt(v) * RNG.normal(size=(20, 3)), s) for _ in range(4000)]
    exact = gaussian_kl(m, np.diag(v), np.zeros(3), np.diag(s)) / 3
    assert np.mean(estimates) == pytest.approx(exact, abs=4 * np.std(estimates) / np.sqrt(4000))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_nearest_kl_is_that_of_gaussians(d):
    x = 0.7 * RNG.normal(size=(20_000, d)) + 0.5
    log_p = -0.5 * np.sum(x**2, axis=1) - 0.5 * d * np.log(2 * np.pi)
    exact = gaussian_kl(np.full(d, 0.5), 0.49 * np.eye(d), np.zeros(d), np.eye(d))
    assert nearest_kl(x, log_p) == pytest.approx(exact, abs=0.04)


def test_energy_distance_of_points_and_of_normals():
    x, y = np.zeros((3, 2)), np.full((4, 2), [3.0, 4.0])
    assert energy_distance(x, y) == pytest.approx(10)
    a, b = RNG.normal(size=(4000, 1)), RNG.normal(size=(4000, 1)) + 1
    # E|N(1, 2)| = sqrt(4/pi) exp(-1/4) + 1 - 2 Phi(-1/sqrt 2), E|N(0, 2)| = sqrt(4/pi)
    expected = 2 * (2 / np.sqrt(np.pi) * np.exp(-0.25) + 1 - 2 * 0.23975006) - 4 / np.sqrt(np.pi)
    assert energy_distance(a, b) == pytest.approx(expected, abs=0.08)
    assert abs(energy_distance(a, RNG.normal(size=(4000, 1)))) < 0.01


@pytest.mark.slow
def test_the_grid_agrees_with_the_closed_form_of_the_mixture(mixture):
    truth = jax.tree.map(lambda a: a[2], mixture.truths)
    grid = jax.jit(lambda measurement: GridPosterior.of(mixture.task, measurement))(mixture.one(2))
    np.testing.assert_allclose(grid.mean, truth.mean, atol=1e-3)
    np.testing.assert_allclose(grid.covariance(), truth.covariance(), atol=1e-4)
    for x in jnp.array([[0.3, 0.3], [0.5, 0.7]]):
        assert float(grid.log_prob(x)) == pytest.approx(float(truth.log_prob(x)), abs=2e-3)
    draws = np.asarray(grid.sample(jax.random.key(0), 2000))
    assert abs(energy_distance(draws, np.asarray(truth.sample(jax.random.key(1), 2000)))) < 0.002


@pytest.mark.slow
def test_any_operator_has_a_known_posterior():
    sensor = SaturatingSensor(FixedMask(np.array([1.0, 0.0])), gain=2.0)
    case = known_posteriors.mixture_case(0.05, 3, operator=sensor)
    found = case.judge(case.exact(jax.random.key(2), 1000))
    assert np.abs(found["ratio"] - 1).max() < 0.15 and abs(found["kl"].mean()) < 0.08


def test_a_grid_is_for_signals_in_the_plane():
    with pytest.raises(ValueError, match=r"signals of shape \(2,\)"):
        GridPosterior.of(known_posteriors.gaussian_case(0.1, 2).task, None)
