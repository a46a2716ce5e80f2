"""Noise levels that are not told: their likelihood, and the level inferred from data whose density is known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import aps_core
from aps_core.flows.untold_noise import InferNoise, infer_noise, log_evidence
from aps_core.metrics.trust import diagnose, make_reference
from aps_core.metrics.trust.diagnosis import describe
from aps_core.operators import AveragePool, Identity, Measurement, RandomMask, UnknownNoise, make_operator
from aps_core.posterior import AmortizedPosterior, gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks.problem import Task


def small_prior(d=30, k=4):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(d, k)))[0]
    return GaussianPrior(
        jnp.full(d, 0.6),
        jnp.asarray(basis, jnp.float32),
        jnp.array([0.3, 0.1, 0.05, 0.02]),
        jnp.asarray(1e-3),
        shape=(d,),
    )


def test_evidence_is_the_density_of_what_was_observed():
    prior, rng = small_prior(), np.random.default_rng(1)
    y, mask, sigmas = rng.normal(0.6, 0.2, 30), (rng.uniform(size=30) > 0.4).astype(float), np.array([0.02, 0.05, 0.3])
    found = log_evidence(prior, jnp.asarray(y, jnp.float32), jnp.asarray(mask), jnp.asarray(sigmas))
    seen = mask > 0
    covariance = np.asarray(prior.covariance(), np.float64)[np.ix_(seen, seen)]
    exact = [
        multivariate_normal.logpdf(y[seen], np.full(seen.sum(), 0.6), covariance + s**2 * np.eye(seen.sum()))
        for s in sigmas
    ]
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=0.05)


@jax.jit
def _inferred(prior, measurements):
    return jax.vmap(lambda one: infer_noise(prior, one, (0.01, 0.2)))(measurements)


@pytest.mark.parametrize("sigma_y", [0.02, 0.05, 0.1])
def test_level_is_found_within_its_own_spread(sigma_y):
    prior = small_prior(1500)
    task = Task(RandomMask((1500,), 0.45), sigma_y, prior, prior.sample(jax.random.key(0), 2))
    measured = task.measure(jax.random.key(0), prior.sample(jax.random.key(50), 12))
    mean, std = (np.asarray(a) for a in _inferred(prior, measured))
    assert np.all((std > 0) & (std < 0.12 * sigma_y))
    errors = (mean - sigma_y) / std
    assert abs(np.mean(errors)) < 1.0 and 0.5 < np.std(errors) < 1.7


def test_posterior_of_another_level_is_that_of_a_task_with_it():
    prior = small_prior(60)
    measured = Task(RandomMask((60,), 0.3), 0.03, prior, prior.sample(jax.random.key(0), 2))
    told = gaussian_posterior(Task(RandomMask((60,), 0.3), 0.1, prior))
    measurement, key = measured.measure(jax.random.key(1), prior.sample(jax.random.key(2), 1)[0]), jax.random.key(3)
    expected = gaussian_posterior(measured).sample(key, measurement, 6)
    np.testing.assert_allclose(told.with_noise(0.03).sample(key, measurement, 6), expected, atol=1e-5)
    task = Task(UnknownNoise(RandomMask((60,), 0.3), 0.01, 0.3), 0.05, prior)
    posterior = AmortizedPosterior(task, InferNoise(told.flow, prior, (0.01, 0.3)), {})
    level = float(posterior.flow.level(measurement))
    assert 0.01 < level < 0.08
    assert float(jax.jit(posterior.flow.level)(measurement)) == pytest.approx(level, rel=1e-5)
    np.testing.assert_allclose(
        posterior.sample(key, measurement, 6), told.with_noise(level).sample(key, measurement, 6), atol=1e-4
    )
    with pytest.raises(ValueError, match="InferNoise infers the noise from y"):
        posterior.with_noise(0.1)
    with pytest.raises(ValueError, match="two positive numbers, the smaller first"):
        infer_noise(prior, measurement, (0.1, 0.02))


@pytest.mark.slow
def test_more_noise_than_any_level_is_seen_by_diagnose():
    prior = small_prior(60)
    task = Task(UnknownNoise(RandomMask((60,), 0.3), 0.03, 0.1), 0.05, prior)
    told = gaussian_posterior(Task(RandomMask((60,), 0.3), 0.05, prior))
    posterior = AmortizedPosterior(task, InferNoise(told.flow, prior, (0.03, 0.1)), {})
    reference = make_reference(posterior, jax.random.key(0), n=200)
    loud = replace(task, operator=UnknownNoise(task.operator.inner, 0.2, 0.3))
    x0 = prior.sample(jax.random.key(7), 50)
    both = jax.tree.map(lambda *a: jnp.concatenate(a), *(t.measure(jax.random.key(8), x0) for t in (task, loud)))
    found = diagnose(posterior, both, reference=reference)
    usual, unusual = (np.mean([one.verdict == "trust" for one in part]) for part in (found[:50], found[50:]))
    assert usual > 0.84 and unusual < 0.1
    assert "fit" in reference.names and "misfit" not in reference.names  # the level is not told
    assert describe("fit", -60.0, -10.0) == "given its samples the data are less probable than usual, by 50 nats"


def test_likelihood_is_the_mean_over_levels():
    rng, operator = np.random.default_rng(0), UnknownNoise(Identity((5,)), 0.02, 0.3)
    x, y = rng.uniform(size=(2, 5))
    sigmas = np.geomspace(0.02, 0.3, 31)
    expected = np.log(np.mean([norm.pdf(y, x, s).prod() for s in sigmas]))
    found = operator.log_likelihood(1.0, jnp.asarray(x, jnp.float32), Measurement(jnp.asarray(y, jnp.float32)))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_levels_are_uniform_in_the_logarithm():
    operator = UnknownNoise(Identity((400,)), 0.02, 0.1)
    task = Task(operator, 0.05, small_prior(400), unit_range=False)
    measured = task.measure(jax.random.key(0), jnp.full((600, 400), 0.5))
    logs = (np.log(np.std(np.asarray(measured.y) - 0.5, axis=1)) - np.log(0.02)) / np.log(5)
    assert logs.min() > -0.1 and logs.max() < 1.1
    assert np.mean(logs) == pytest.approx(0.5, abs=0.04) and np.std(logs) == pytest.approx(12**-0.5, abs=0.03)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="low must be at most high, got low = 0.2"):
        UnknownNoise(Identity((4,)), 0.2, 0.1)
    with pytest.raises(ValueError, match="low must be finite and positive, got 0"):
        UnknownNoise(Identity((4,)), 0, 0.1)
    with pytest.raises(TypeError, match="inner must be a linear operator"):
        UnknownNoise(UnknownNoise(Identity((4,))), 0.1, 0.2)
    task = Task(UnknownNoise(AveragePool((4, 4), 2)), 0.05, small_prior(16).replace(shape=(4, 4)))
    with pytest.raises(ValueError, match='"infer-noise" is for an UnknownNoise of denoising or masks'):
        aps_core.untrained_posterior(task, {"kind": "infer-noise", "flow": {}})
    assert make_operator(task.operator.settings()) == task.operator


@pytest.mark.slow
def test_public_task_is_served_without_a_level():
    task = aps_core.load_task("sphere-impute-blind-noise")
    posterior, x0 = aps_core.load_posterior(task), task.signals("test")[[7, 100]]
    measurement = task.measure(jax.random.key(0), x0)
    samples = np.asarray(posterior.sample(jax.random.key(1), measurement, 16))
    error = np.mean((samples.mean(axis=1) - np.asarray(x0)) ** 2, axis=(1, 2))
    assert np.all(-10 * np.log10(error) > 36)
    one = jax.tree.map(lambda a: a[0], measurement)  # outside of jit too
    levels = posterior.flow.level(one), float(jax.jit(posterior.flow.level)(one))
    assert levels[0] == pytest.approx(levels[1], rel=1e-5) and jax.tree.leaves(posterior.flow.context(one))


def test_public_task_is_posed_without_a_level():
    x0 = aps_core.load_task("sphere-impute-blind-noise").signals("test")[[7, 100]]
    wide = aps_core.load_task(
        "sphere-impute-blind-noise", noise_levels=(0.5, 1.0)
    )  # of the task's scale, at its own noise
    wide.check(wide.measure(jax.random.key(3), x0))
    with pytest.raises(ValueError, match="y ranges from"):
        wide.check(Measurement(np.full((46, 90), 20.0), np.ones((46, 90))))
    with pytest.raises(TypeError, match="noise_levels must be two numbers"):
        aps_core.load_task("sphere-impute-blind-noise", noise_levels=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sphere-impute-blind", {"noise_everywhere": True}), ("sphere-impute-blind-noise", {})],
    ids=["mask", "noise"],
)
def test_diagnose_serves_the_public_blind_tasks(name, parameters):
    """Months are trusted, the same ones in three times the noise are not."""
    task = aps_core.load_task(name, **parameters)
    posterior = aps_core.load_posterior(task)
    reference = make_reference(posterior, jax.random.key(0), draws=jnp.asarray(task.signals("val"))[:48])
    months = jnp.asarray(task.signals("test"))[::60]
    most = task.operator.most_noise(task.sigma_y)
    loud = task.measure(jax.random.key(1), months + 3 * most * jax.random.normal(jax.random.key(2), months.shape))
    usual = diagnose(posterior, task.measure(jax.random.key(1), months), reference=reference)
    assert [one.verdict for one in usual].count("trust") >= len(usual) - 1
    assert all(one.verdict == "refuse" for one in diagnose(posterior, loud, reference=reference))
