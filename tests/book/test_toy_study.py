"""Densities in the plane against SciPy and closed forms, the toy posteriors against Bayes' rule on a grid, the score
priors against both.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_kl import gaussian_kl
from scipy.stats import gaussian_kde, multivariate_normal

from aps_book.experiments import toy2d, toy2d_flows
from aps_book.experiments.densities import divergence, grid_for, kernel_density, within_covariance
from aps_core.samplers.tune import Trials, tune
from aps_core.training.job import run
from aps_core.weights import WeightsError

COVARIANCE = np.array([[0.5, 0.3], [0.3, 0.4]])


def test_the_kernel_estimate_is_that_of_scipy():
    samples = np.random.default_rng(0).multivariate_normal([1, -1], COVARIANCE, 500)
    grid = grid_for(samples, np.cov(samples.T), n=40)
    expected = gaussian_kde(samples.T)(grid.points.reshape(-1, 2).T).reshape(40, 40)
    np.testing.assert_allclose(kernel_density(samples, grid), expected, rtol=1e-8, atol=1e-12)


def test_quadrature_is_the_divergence_of_gaussians():
    samples = np.random.default_rng(0).multivariate_normal([0, 0], COVARIANCE, 4000)
    grid = grid_for(samples, COVARIANCE, n=200, margin=3.0)
    density = multivariate_normal([0, 0], COVARIANCE).pdf(grid.points)
    target = multivariate_normal([0.2, 0.1], 2 * COVARIANCE)
    assert grid.integral(density) == pytest.approx(1, abs=1e-5)
    expected = gaussian_kl(np.zeros(2), COVARIANCE, np.array([0.2, 0.1]), 2 * COVARIANCE)
    assert divergence(density, target.logpdf(grid.points), grid) == pytest.approx(expected, abs=1e-4)


def test_the_covariance_within_modes_leaves_out_what_is_between_them():
    rng, centres = np.random.default_rng(0), np.array([[0.0, 0.0], [50.0, 0.0]])
    samples = np.concatenate([rng.multivariate_normal(centre, COVARIANCE, 20_000) for centre in centres])
    np.testing.assert_allclose(within_covariance(samples, centres), COVARIANCE, atol=0.02)


def test_a_grid_wants_finite_samples_in_the_plane():
    with pytest.raises(ValueError, match="samples must be finite"):
        grid_for(np.array([[0.0, np.nan]]), np.eye(2))
    with pytest.raises(ValueError, match=r"got shape \(3, 3\)"):
        grid_for(np.zeros((3, 3)), np.eye(2))


@pytest.mark.parametrize("shape", toy2d.SHAPES)
def test_the_posterior_is_prior_times_likelihood(shape):
    problem = toy2d.toy(shape, 0.1)
    axis = np.linspace(-0.4, 1.4, 361)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    prior = np.asarray(jax.jit(jax.vmap(problem.task.prior.log_prob))(jnp.asarray(points.reshape(-1, 2)))).reshape(
        361, 361
    )
    joint = np.exp(prior - 0.5 * ((0.5 - points[..., 0]) / 0.1) ** 2)
    expected = joint / (joint.sum() * (axis[1] - axis[0]) ** 2)
    np.testing.assert_allclose(np.exp(problem.log_target(points)), expected, atol=1e-3 * expected.max())


def test_another_prior_is_refused():
    with pytest.raises(ValueError, match="shape must be one of"):
        toy2d.toy("ring", 0.1)


def test_exact_samples_have_the_spread_of_the_posterior_and_a_small_divergence():
    problem = toy2d.toy("modes", 0.2)
    samples = toy2d.draw_truth(problem, jax.random.key(0), 4000)
    np.testing.assert_allclose(toy2d.spread(problem, samples), 1, atol=0.06)
    assert 0 < toy2d.kernel_kl(problem, samples)[0] < 0.04
    narrow = samples.mean(axis=0) + 0.5 * (samples - samples.mean(axis=0))
    assert toy2d.kernel_kl(problem, narrow)[0] > 0.3


@pytest.mark.slow
def test_the_true_score_gives_the_density_of_its_mixture_and_its_gradient():
    mixture = toy2d.toy("modes", 0.2).task.prior
    prior, x = toy2d_flows.TrueScore(mixture), jnp.array([[0.45, 0.3], [0.6, 0.62]])
    found, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda xi: prior.log_prob(xi, rtol=1e-5, atol=1e-5))))(x)
    exact, exact_gradient = jax.vmap(jax.value_and_grad(mixture.log_prob))(x)
    np.testing.assert_allclose(found, exact, atol=2e-3)
    np.testing.assert_allclose(gradient, exact_gradient, rtol=0.02, atol=0.1)


def test_a_search_by_any_measure_takes_its_smallest():
    problem = toy2d.toy("gaussian", 0.1)
    one = jax.tree.map(lambda a: a[None], toy2d.MEASURED)
    seen = []

    def last_is_best(samples, measurements):
        seen.append((samples.shape, measurements.y.shape))
        return -len(seen)

    grid = {"step_size": (0.1, 0.2), "n_steps": (5,)}
    found = tune("dps", problem.task, grid, Trials(7, last_is_best, measurements=one))
    assert found["best"] == {"step_size": 0.2, "n_steps": 5}
    assert seen == [((1, 7, 2), (1, 2))] * 2
    assert [row["score"] for row in found["search"]] == [-1, -2] and found["metric"] == "last_is_best"
    with pytest.raises(ValueError, match="metric must be a function"):
        Trials(measurements=one)


@pytest.mark.parametrize(
    "name",
    ["toy2d-exact", *(pytest.param(name, marks=pytest.mark.slow) for name in ("toy2d-closed", "toy2d-surrogate"))],
)
def test_the_shipped_flows_are_at_the_truth(name):
    problems, flows, _ = toy2d_flows.load_toys(name, 0.03, 0.2)
    for key, problem in problems.items():
        kl, _, _, mass = toy2d.flow_kl(problem, flows[key], jax.random.key(1), 150, 5000)
        assert mass == pytest.approx(1, abs=2e-3)
        assert -1e-3 < kl < 0.02


def test_weights_are_for_their_noise_levels():
    with pytest.raises(WeightsError, match="0.03 and 0.2, not for 0.03 and 0.3"):
        toy2d_flows.load_toys("toy2d-surrogate", 0.03, 0.3)


def test_unknown_terms_and_settings_are_refused():
    with pytest.raises(ValueError, match="term must be one of"):
        toy2d_flows.toys_job(toy2d.toys(), {**toy2d_flows.SETTINGS, "term": "modes"}, 0)
    with pytest.raises(ValueError, match="unknown entry 'noise'"):
        toy2d_flows.toys_from_recipe({"toys": {"noise": 1}, "optimizer": {"steps": 10}})
    with pytest.raises(WeightsError, match="'toy2d-closed' do not fit the flow"):
        toy2d_flows.toys_job(toy2d.toys(), {**toy2d_flows.SETTINGS, "start": "toy2d-closed"}, 0, {"a": np.zeros(3)})


@pytest.mark.long
def test_training_side_by_side_finds_each_posterior():
    problems = {key: value for key, value in toy2d.toys().items() if key[0] == "gaussian"}
    settings = {**toy2d_flows.SETTINGS, "term": "exact", "batch": 64, "n_times": 1}
    recipe = {"optimizer": {"steps": 600, "learning_rate": 3e-3, "warmup": 50, "clip": 4.0, "ema": 0.97}}
    params, *_ = run(replace(toy2d_flows.toys_job(problems, settings, 0), evaluate=None), recipe, progress=False)
    for key, posterior in toy2d_flows.posteriors(problems, params).items():
        assert toy2d.flow_kl(problems[key], posterior, jax.random.key(1), 100, 5000)[0] < 0.02


def test_the_measurement_fits_the_operator():
    toy2d.toy("modes", 0.2).task.check(toy2d.MEASURED)
