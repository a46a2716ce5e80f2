"""Inference of the mask, on priors small enough to sum over every mask."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from aps_core import blind
from aps_core.operators import Measurement, RandomMask
from aps_core.posterior import gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks import Task


def small_prior(d=6, mean=0.5):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(d, 2)))[0]
    return GaussianPrior(jnp.full(d, mean), jnp.asarray(basis), jnp.array([0.05, 0.02]), jnp.asarray(1e-3), shape=(d,))


def exact_probabilities(prior, sigma_y, y, levels=blind.LEVELS):
    """P(observed_i | y) by summing over all masks, with the share integrated."""
    shares, d = np.linspace(*levels, 31), len(y)
    covariance, mean = np.asarray(prior.covariance(), np.float64), np.asarray(prior.mean, np.float64)
    total, seen = 0.0, np.zeros(d)
    for mask in itertools.product((0, 1), repeat=d):
        m = np.array(mask)
        weight = np.mean((1 - shares) ** m.sum() * shares ** (d - m.sum()))
        density = norm.pdf(y[m == 0], 0, sigma_y).prod()
        if m.any():
            density *= multivariate_normal.pdf(y[m == 1], mean[m == 1], covariance[np.ix_(m == 1, m == 1)] + sigma_y**2 * np.eye(m.sum()))
        total += weight * density
        seen += weight * density * m
    return seen / total


def test_inferred_probabilities_are_near_those_of_all_masks():
    prior, rng = small_prior(mean=0.35), np.random.default_rng(1)
    gaps = []
    for i in range(40):
        x = np.asarray(prior.sample(jax.random.key(i), 1))[0]
        y = (rng.uniform(size=6) > 0.45) * x + 0.1 * rng.normal(size=6)
        found, share = blind.infer_mask(prior, 0.1, jnp.asarray(y, jnp.float32))
        exact = exact_probabilities(prior, 0.1, y)
        gaps.append(np.abs(np.asarray(found) - exact).mean())
        assert 0.3 <= float(share) <= 0.6
    assert np.mean(gaps) < 0.06


def test_first_round_of_independent_entries_is_exact_given_the_share():
    prior = GaussianPrior(jnp.full(4, 0.3), jnp.eye(4, 1), jnp.zeros(1), jnp.asarray(0.01), shape=(4,))
    y = jnp.array([0.3, 0.1, -0.1, 0.2])
    found, _ = blind.infer_mask(prior, 0.1, y, levels=(0.4, 0.4), n_iterations=0)
    one, zero = norm.pdf(y, 0.3, np.sqrt(0.02)), norm.pdf(y, 0, 0.1)
    np.testing.assert_allclose(found, 0.6 * one / (0.6 * one + 0.4 * zero), rtol=1e-4)
    again, _ = blind.infer_mask(prior, 0.1, y, levels=(0.4, 0.4))  # others say nothing of an entry that is independent of them
    np.testing.assert_allclose(again, found, rtol=1e-3)


def test_share_is_found():
    prior = small_prior(400, 0.8)
    for level in (0.3, 0.45, 0.6):
        measurement = Task(RandomMask((400,), level), 0.05, prior, prior.sample(jax.random.key(0), 2)).measure(
            jax.random.key(1), prior.sample(jax.random.key(2), 1)[0]
        )
        y = blind.with_noise_everywhere(jax.random.key(3), 0.05, measurement)
        np.testing.assert_allclose(y[measurement.mask > 0], measurement.y[measurement.mask > 0])
        assert 0.02 < float(jnp.std(y[measurement.mask == 0])) < 0.08
        observed, share = blind.infer_mask(prior, 0.05, y)
        np.testing.assert_array_equal(observed > 0.5, measurement.mask > 0)
        assert float(share) == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("setting", ["zeros", "noise"])
def test_blind_posterior_is_the_told_one_where_the_mask_is_plain(setting):
    prior = small_prior(40, 0.8)
    task = Task(RandomMask((40,), 0.4), 0.05, prior, prior.sample(jax.random.key(0), 2))
    told = gaussian_posterior(task)
    measurement = task.measure(jax.random.key(1), prior.sample(jax.random.key(2), 1)[0])
    y = measurement.y if setting == "zeros" else blind.with_noise_everywhere(jax.random.key(3), 0.05, measurement)
    sampler = blind.BlindPosterior(told, setting)
    key = jax.random.key(4)
    np.testing.assert_allclose(sampler.sample(key, Measurement(y), 5), told.sample(key, measurement, 5), atol=1e-6)
    with pytest.raises(ValueError, match="setting must be 'zeros' or 'noise', got 'both'"):
        blind.BlindPosterior(told, "both")
