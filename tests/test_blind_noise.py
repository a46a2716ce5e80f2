"""The noise level inferred from data whose density is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aps_core import blind_noise
from aps_core.operators import Measurement, RandomMask
from aps_core.posterior import gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks import Task


def small_prior(d=30, k=4):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(d, k)))[0]
    return GaussianPrior(jnp.full(d, 0.6), jnp.asarray(basis, jnp.float32), jnp.array([0.3, 0.1, 0.05, 0.02]), jnp.asarray(1e-3), shape=(d,))


def test_evidence_is_the_density_of_what_was_observed():
    prior, rng = small_prior(), np.random.default_rng(1)
    y, mask, sigmas = rng.normal(0.6, 0.2, 30), (rng.uniform(size=30) > 0.4).astype(float), np.array([0.02, 0.05, 0.3])
    found = blind_noise.log_evidence(prior, jnp.asarray(y, jnp.float32), jnp.asarray(mask), jnp.asarray(sigmas))
    seen = mask > 0
    covariance = np.asarray(prior.covariance(), np.float64)[np.ix_(seen, seen)]
    exact = [multivariate_normal.logpdf(y[seen], np.full(seen.sum(), 0.6), covariance + s**2 * np.eye(seen.sum())) for s in sigmas]
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=0.05)


@pytest.mark.parametrize("sigma_y", [0.02, 0.05, 0.1])
def test_level_is_found_within_its_own_spread(sigma_y):
    prior = small_prior(1500)
    task = Task(RandomMask((1500,), 0.45), sigma_y, prior, prior.sample(jax.random.key(0), 2))
    errors = []
    for i in range(12):
        measurement = task.measure(jax.random.key(i), prior.sample(jax.random.key(50 + i), 1)[0])
        mean, std = blind_noise.infer_noise(prior, measurement, (0.01, 0.2))
        assert 0 < std < 0.12 * sigma_y
        errors.append((mean - sigma_y) / std)
    assert abs(np.mean(errors)) < 1.0 and 0.5 < np.std(errors) < 1.7


def test_posterior_of_another_level_is_that_of_a_task_with_it():
    prior = small_prior(60)
    measured = Task(RandomMask((60,), 0.3), 0.03, prior, prior.sample(jax.random.key(0), 2))
    told = Task(RandomMask((60,), 0.3), 0.1, prior, prior.sample(jax.random.key(0), 2))
    measurement, key = measured.measure(jax.random.key(1), prior.sample(jax.random.key(2), 1)[0]), jax.random.key(3)
    expected = gaussian_posterior(measured).sample(key, measurement, 6)
    sampler = blind_noise.NoisePosterior(gaussian_posterior(told), assumed=0.03)
    np.testing.assert_allclose(sampler.sample(key, measurement, 6), expected, atol=1e-5)
    inferred = blind_noise.NoisePosterior(gaussian_posterior(told), limits=(0.01, 0.3))
    assert 0.01 < inferred.level(measurement) < 0.08
    assert np.abs(np.asarray(inferred.sample(key, measurement, 6) - expected)).max() < 0.1
    with pytest.raises(ValueError, match="two positive numbers, the smaller first"):
        blind_noise.infer_noise(prior, measurement, (0.1, 0.02))


def test_levels_are_uniform_in_the_logarithm_and_reach_the_measurements():
    levels = blind_noise.draw_levels(jax.random.key(0), 4000)
    logs = (np.log(levels) - np.log(0.02)) / np.log(5)
    assert logs.min() >= 0 and logs.max() <= 1 and np.mean(logs) == pytest.approx(0.5, abs=0.02) and np.std(logs) == pytest.approx(12**-0.5, abs=0.01)
    prior = small_prior(900)
    task = Task(RandomMask((900,), 0.3), 0.05, prior, prior.sample(jax.random.key(0), 2))
    x0 = prior.sample(jax.random.key(1), 2)
    measurements = blind_noise.measure(jax.random.key(2), task, x0, [0.02, 0.1])
    for i, sigma in enumerate((0.02, 0.1)):
        seen = np.asarray(measurements.mask[i]) > 0
        assert np.std(np.asarray(measurements.y[i] - x0[i])[seen]) == pytest.approx(sigma, rel=0.12)
    assert isinstance(measurements, Measurement)
