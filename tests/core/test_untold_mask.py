"""Masks that are not told: their likelihood, and inference of the mask on priors small enough to sum over all masks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import aps_core
from aps_core.flows import build_flow
from aps_core.flows.untold_mask import InferMask, infer_mask
from aps_core.metrics.trust import diagnose, make_reference
from aps_core.operators import Measurement, RandomMask, UnknownMask, make_operator
from aps_core.posterior import AmortizedPosterior, gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks.problem import Task

SHARES = jnp.linspace(0.3, 0.6, 31)


def small_prior(d=6, mean=0.5):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(d, 2)))[0]
    return GaussianPrior(jnp.full(d, mean), jnp.asarray(basis), jnp.array([0.05, 0.02]), jnp.asarray(1e-3), shape=(d,))


def exact_probabilities(prior, sigma_y, y, levels=(0.3, 0.6)):
    """P(observed_i | y) by summing over all masks, with the share integrated."""
    shares, d = np.linspace(*levels, 31), len(y)
    covariance, mean = np.asarray(prior.covariance(), np.float64), np.asarray(prior.mean, np.float64)
    total, seen = 0.0, np.zeros(d)
    for mask in itertools.product((0, 1), repeat=d):
        m = np.array(mask)
        weight = np.mean((1 - shares) ** m.sum() * shares ** (d - m.sum()))
        density = norm.pdf(y[m == 0], 0, sigma_y).prod()
        if m.any():
            density *= multivariate_normal.pdf(
                y[m == 1], mean[m == 1], covariance[np.ix_(m == 1, m == 1)] + sigma_y**2 * np.eye(m.sum())
            )
        total += weight * density
        seen += weight * density * m
    return seen / total


@pytest.mark.slow
def test_inferred_probabilities_are_near_those_of_all_masks():
    prior, rng = small_prior(mean=0.35), np.random.default_rng(1)
    gaps = []
    for i in range(40):
        x = np.asarray(prior.sample(jax.random.key(i), 1))[0]
        y = (rng.uniform(size=6) > 0.45) * x + 0.1 * rng.normal(size=6)
        found, share = infer_mask(prior, 0.1, jnp.asarray(y, jnp.float32), SHARES)
        exact = exact_probabilities(prior, 0.1, y)
        gaps.append(np.abs(np.asarray(found) - exact).mean())
        assert 0.3 <= float(share) <= 0.6
    assert np.mean(gaps) < 0.06


def test_first_round_of_independent_entries_is_exact_given_the_share():
    prior = GaussianPrior(jnp.full(4, 0.3), jnp.eye(4, 1), jnp.zeros(1), jnp.asarray(0.01), shape=(4,))
    y = jnp.array([0.3, 0.1, -0.1, 0.2])
    found, _ = infer_mask(prior, 0.1, y, jnp.full(3, 0.4), n_iterations=0)
    one, zero = norm.pdf(y, 0.3, np.sqrt(0.02)), norm.pdf(y, 0, 0.1)
    np.testing.assert_allclose(found, 0.6 * one / (0.6 * one + 0.4 * zero), rtol=1e-4)
    # others say nothing of an entry that is independent of them
    again, _ = infer_mask(prior, 0.1, y, jnp.full(3, 0.4))
    np.testing.assert_allclose(again, found, rtol=1e-3)


def blind(prior, low, high, noisy, told=None):
    """A task on ``prior`` that tells no mask, and the closed form (or ``told``) that is asked with the inferred one."""
    shape = prior.shape
    task = Task(UnknownMask(shape, low, high, noisy), 0.05, prior, prior.sample(jax.random.key(0), 2))
    told = told or gaussian_posterior(Task(RandomMask(shape, 0.4), 0.05, prior))
    return AmortizedPosterior(task, InferMask(told.flow, prior, 0.05, task.operator), told.params)


def test_share_is_found():
    prior = small_prior(400, 0.8)
    for level in (0.3, 0.45, 0.6):
        posterior, x0 = blind(prior, level, level, True), prior.sample(jax.random.key(2), 1)[0]
        y = posterior.task.measure(jax.random.key(1), x0).y
        seen = np.abs(np.asarray(y)) > 0.4  # eight deviations of the noise on either side
        assert np.mean(~seen) == pytest.approx(level, abs=0.07)
        assert np.std(np.asarray(y - x0)[seen]) == pytest.approx(0.05, rel=0.15) == np.std(np.asarray(y)[~seen])
        observed, share = infer_mask(prior, 0.05, y, SHARES)
        np.testing.assert_array_equal(observed > 0.5, seen)
        assert float(share) == pytest.approx(np.mean(~seen), abs=0.03)


@pytest.mark.parametrize("noisy", [False, True])
def test_blind_posterior_is_the_told_one_where_the_mask_is_plain(noisy):
    prior = small_prior(40, 0.8)
    posterior, key = blind(prior, 0.3, 0.6, noisy), jax.random.key(4)
    told = gaussian_posterior(Task(RandomMask((40,), 0.4), 0.05, prior))
    measurement = posterior.task.measure(jax.random.key(1), prior.sample(jax.random.key(2), 1)[0])
    assert measurement.mask is None and (noisy or np.any(measurement.y == 0))
    mask = (jnp.abs(measurement.y) > 0.4).astype(jnp.float32)
    expected = told.sample_and_log_prob(key, Measurement(mask * measurement.y, mask), 5)
    for found, one in zip(posterior.sample_and_log_prob(key, measurement, 5), expected, strict=True):
        np.testing.assert_allclose(found, one, atol=1e-4)
    np.testing.assert_allclose(posterior.log_prob(expected[0], measurement), expected[1], atol=1e-2)


@pytest.mark.slow
def test_a_field_unlike_the_prior_is_seen_by_diagnose():
    prior = small_prior(40, 0.8)
    posterior = blind(prior, 0.3, 0.6, True)
    reference = make_reference(posterior, jax.random.key(0), n=200)
    striped = jnp.full((50, 40), 0.8) + 0.3 * (-1.0) ** jnp.arange(40)
    x0 = jnp.concatenate([prior.sample(jax.random.key(7), 50), striped])
    found = diagnose(posterior, posterior.task.measure(jax.random.key(8), x0), reference=reference)
    usual, unusual = (np.mean([one.verdict == "trust" for one in part]) for part in (found[:50], found[50:]))
    assert usual > 0.84 and unusual < 0.2


def exact_log_likelihood(y, x, sigma, shares):
    """Of the noisy setting, in double precision, entry by entry."""
    of_share = [np.prod((1 - r) * norm.pdf(y, x, sigma) + r * norm.pdf(y, 0, sigma)) for r in shares]
    return np.log(np.mean(of_share))


def test_likelihood_is_the_mean_over_shares():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.2, 0.9, 7), rng.uniform(-0.1, 0.9, 7)
    noisy, shares = UnknownMask((7,), 0.3, 0.6, True), np.linspace(0.3, 0.6, 31)
    found = noisy.log_likelihood(0.1, jnp.asarray(x, jnp.float32), Measurement(jnp.asarray(y, jnp.float32)))
    assert float(found) == pytest.approx(exact_log_likelihood(y, x, 0.1, shares), rel=1e-4)
    seen = rng.uniform(size=7) > 0.4
    zeros = UnknownMask((7,), 0.3, 0.6).log_likelihood(
        0.1, jnp.asarray(x, jnp.float32), Measurement(jnp.asarray(np.where(seen, y, 0), jnp.float32))
    )
    of_mask = np.log(np.mean((1 - shares) ** seen.sum() * shares ** (~seen).sum()))
    assert float(zeros) == pytest.approx(norm.logpdf(y[seen], x[seen], 0.1).sum() + of_mask, rel=1e-4)


def test_likelihood_is_a_density_of_the_data():
    """Integrated over y it is one, whatever x is."""
    operator, grid = UnknownMask((2,), 0.1, 0.7, True), jnp.linspace(-1.5, 2.5, 401)
    y = jnp.stack(jnp.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_p = jax.vmap(lambda yi: operator.log_likelihood(0.2, jnp.array([0.9, 0.3]), Measurement(yi)))(y)
    assert float(jnp.sum(jnp.exp(log_p)) * 0.01**2) == pytest.approx(1, abs=1e-3)


def test_bad_settings_and_measurements_are_refused():
    for settings, message in (
        ((0.6, 0.3), "low must be at most high, got low = 0.6"),
        ((0.3, 1.0), "high must be below 1"),
        ((-0.1, 0.3), r"low must lie in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            UnknownMask((4,), *settings)
    with pytest.raises(TypeError, match="noisy must be True or False"):
        UnknownMask((4,), noisy="yes")
    prior = small_prior(40, 0.8)
    posterior = blind(prior, 0.3, 0.6, False)
    with pytest.raises(ValueError, match="does not tell which entries were observed"):
        posterior.sample(jax.random.key(0), Measurement(jnp.ones(40), jnp.ones(40)), 1)
    with pytest.raises(TypeError, match="UnknownMask is not A"):
        gaussian_posterior(posterior.task)
    with pytest.raises(TypeError, match="DPS takes data A.*UnknownMask, of which something is not told"):
        aps_core.make_sampler("dps", posterior.task)
    with pytest.raises(ValueError, match='"infer-mask" is for an UnknownMask'):
        build_flow(Task(RandomMask((40,), 0.4), 0.05, prior), {"kind": "infer-mask", "flow": {}})
    assert make_operator(posterior.task.operator.settings()) == posterior.task.operator


def test_public_task_is_posed_and_served_without_a_mask():
    task = aps_core.load_task("sphere-impute-blind")
    posterior, x0 = aps_core.load_posterior(task), task.signals("test")[7]
    measurement = task.measure(jax.random.key(0), x0)
    samples = posterior.sample(jax.random.key(1), measurement, 16)
    error = np.mean((np.asarray(samples).mean(axis=0) - np.asarray(x0)) ** 2)
    assert measurement.mask is None and -10 * np.log10(error) > 37
    with pytest.raises(ValueError, match="y is all zero: nothing was observed"):
        posterior.sample(jax.random.key(1), Measurement(jnp.zeros((46, 90))), 1)
    with pytest.raises(TypeError, match="levels must be two numbers"):
        aps_core.load_task("sphere-impute-blind", levels=0.3)
