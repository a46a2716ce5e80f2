"""The Gaussian posterior of any linear operator against dense linear algebra, as a bijection, as a base and as a
sampler.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aps_core import AmortizedPosterior, Task
from aps_core.flows.closed_form import ClosedFormGaussian, PosteriorBase, closed_form, posterior_base
from aps_core.operators import (
    AveragePool,
    BicubicDownsample,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    Measurement,
    RandomMask,
    SaturatingSensor,
    dense_matrix,
)
from aps_core.priors.gaussian import GaussianPosterior, fit_gaussian
from aps_core.priors.linear_gaussian import LinearGaussianPosterior, linear_posterior_factors
from aps_core.training import objective

SHAPE, DIM = (4, 6), 24
OPERATORS = {
    "pool": AveragePool(SHAPE, 2),  # fewer data than entries
    "bicubic": BicubicDownsample(SHAPE, 2),
    "blur": GaussianBlur(SHAPE, 1.2),  # as many
    "fourier": FourierSubset(SHAPE, np.ones(SHAPE)),  # more
    "mask": FixedMask(np.arange(24).reshape(SHAPE) % 3 > 0),
}
# leading variance, rest, sigma_y: ordinary; leading a million times the rest, with little noise; noise far below, and
# far above the rest
SCALES = [(0.05, 1e-3, 0.05), (1.0, 1e-6, 0.01), (0.05, 1e-2, 1e-3), (0.05, 1e-5, 0.5)]


@pytest.fixture
def case(make_prior):
    """case(name, leading, rest, sigma_y): the prior, the factors, data y, and the posterior's mean and covariance by
    dense algebra.
    """

    def make(name, leading=0.05, rest=1e-3, sigma_y=0.05):
        prior, matrix = make_prior(d=DIM, k=7, leading=leading, rest=rest, shape=SHAPE), dense_matrix(OPERATORS[name])
        basis, mean = np.asarray(prior.basis, np.float64), np.asarray(prior.mean, np.float64)
        prior_cov = (basis * np.asarray(prior.excess, np.float64)) @ basis.T + float(prior.rest) * np.eye(DIM)
        rng = np.random.default_rng(3)
        y = matrix @ rng.multivariate_normal(mean, prior_cov) + sigma_y * rng.normal(size=len(matrix))
        cov = np.linalg.inv(np.linalg.inv(prior_cov) + matrix.T @ matrix / sigma_y**2)
        exact_mean = mean + cov @ matrix.T @ (y - matrix @ mean) / sigma_y**2
        factors = linear_posterior_factors(prior, OPERATORS[name], sigma_y)
        return prior, factors, jnp.asarray(y, prior.mean.dtype), exact_mean, cov

    return make


@cache
def _compiled(call):
    return jax.jit(call)


def _moments(factors, y):
    posterior = factors.posterior(y)
    return posterior.mean, posterior.covariance(), posterior.marginal_std, posterior.log_det


def _both_ways(factors, y, z):
    posterior = factors.posterior(y)
    x, log_det = jax.vmap(posterior.forward)(z)
    return x, log_det, *jax.vmap(posterior.inverse)(x)


def _assert_moments(factors, y, mean, cov, tolerance):
    """All in units of the posterior standard deviation."""
    ours = [np.asarray(a) for a in _compiled(_moments)(factors, y)]
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((ours[0] - mean) / std, 0, atol=tolerance)
    np.testing.assert_allclose((ours[1] - cov) / np.outer(std, std), 0, atol=tolerance)
    np.testing.assert_allclose(ours[2], std, rtol=tolerance)
    assert float(ours[3]) == pytest.approx(0.5 * np.linalg.slogdet(cov)[1], abs=tolerance * DIM)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", OPERATORS)
def test_moments_against_a_dense_solve(case, x64, name, scales):
    _, factors, y, mean, cov = case(name, *scales)
    assert factors.factor.dtype == jnp.float64
    _assert_moments(factors, y, mean, cov, tolerance=1e-6)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", OPERATORS)
def test_moments_in_single_precision(case, name, scales):
    _, factors, y, mean, cov = case(name, *scales)
    assert {a.dtype for a in jax.tree.leaves(factors)} == {jnp.dtype(jnp.float32)}
    _assert_moments(factors, y, mean, cov, tolerance=5e-4)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_bijection_in_single_precision(case, name, scales):
    _, factors, y, _, cov = case(name, *scales)
    z = jax.random.normal(jax.random.key(0), (50, DIM))
    x, log_det, back, inverse_log_det = (np.asarray(a) for a in _compiled(_both_ways)(factors, y, z))
    rounding = np.finfo(np.float32).eps * np.abs(x).max() / np.sqrt(np.linalg.eigvalsh(cov).min())  # of x itself
    np.testing.assert_allclose(back, z, atol=1e-4 + rounding)
    np.testing.assert_array_equal(log_det, -inverse_log_det)
    assert rounding < 1e-3


@pytest.mark.parametrize("name", OPERATORS)
def test_log_det_is_that_of_the_jacobian(case, x64, name):
    _, factors, y, *_ = case(name, 1.0, 1e-6, 0.01)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, DIM)))
    x, log_det, back, _ = _compiled(_both_ways)(factors, y, z)
    np.testing.assert_allclose(back, z, atol=1e-8)
    jacobian = jax.jit(jax.jacfwd(lambda z: factors.posterior(y).forward(z)[0]))(z[0])
    np.testing.assert_allclose(log_det, np.full(3, np.linalg.slogdet(jacobian)[1]), atol=1e-8)


@pytest.mark.parametrize("leading, rest, sigma_y", SCALES)
def test_a_mask_has_the_posterior_of_its_own_formula(make_prior, x64, leading, rest, sigma_y):
    prior, operator = make_prior(d=DIM, k=7, leading=leading, rest=rest, shape=SHAPE), OPERATORS["mask"]
    y = jnp.asarray(operator.mask * np.random.default_rng(0).random(SHAPE))
    structured = jax.jit(posterior_base(prior, operator, sigma_y).context)(Measurement(y, jnp.asarray(operator.mask)))
    assert isinstance(structured, GaussianPosterior)
    mean, cov = np.asarray(structured.mean), np.asarray(structured.covariance())
    _assert_moments(linear_posterior_factors(prior, operator, sigma_y), y.ravel(), mean, cov, tolerance=1e-6)


def test_a_prior_of_full_rank(x64):
    data = np.random.default_rng(1).random((200, *SHAPE)) ** 2
    prior, operator, sigma_y = fit_gaussian(data, DIM, diagonal=1e-4), OPERATORS["blur"], 0.01
    matrix, cov = dense_matrix(operator), np.cov(data.reshape(200, DIM).T) + 1e-4 * np.eye(DIM)
    exact = np.linalg.inv(np.linalg.inv(cov) + matrix.T @ matrix / sigma_y**2)
    covariance = jax.jit(lambda f: f.posterior(f.predicted).covariance())(
        linear_posterior_factors(prior, operator, sigma_y)
    )
    # fitted priors are in single precision
    np.testing.assert_allclose(covariance, exact, atol=1e-4 * np.abs(exact).max())


def test_noise_of_other_sizes_than_one_factorization_can_tell_apart(case, x64):
    """Nothing is learned from useless data, everything from exact data."""
    prior, factors, y, *_ = case("blur", sigma_y=1e6)
    np.testing.assert_allclose(_compiled(_moments)(factors, y)[1], prior.covariance(), rtol=1e-6, atol=1e-10)
    _, factors, y, *_ = case("blur", sigma_y=1e-6)
    x = np.asarray(_compiled(_moments)(factors, y)[0]).reshape(SHAPE)
    np.testing.assert_allclose(OPERATORS["blur"](x).ravel(), y, atol=1e-4)


def test_what_has_no_such_posterior(make_prior):
    prior = make_prior(d=DIM, shape=SHAPE)
    sensor = SaturatingSensor(OPERATORS["blur"])
    with pytest.raises(TypeError, match="SaturatingSensor is not linear: no Gaussian posterior.*operator.inner"):
        posterior_base(prior, sensor, 0.1)
    with pytest.raises(TypeError, match="SaturatingSensor is not linear.*operator.inner"):
        linear_posterior_factors(prior, sensor, 0.1)
    assert isinstance(posterior_base(prior, sensor.inner, 0.1), PosteriorBase)
    with pytest.raises(TypeError, match="RandomMask is another matrix"):
        linear_posterior_factors(prior, RandomMask(SHAPE, 0.5), 0.1)
    for make in (posterior_base, linear_posterior_factors):
        with pytest.raises(ValueError, match=r"operator has signals of shape \(6, 4, 3\), the prior of shape \(4, 6\)"):
            make(prior, GaussianBlur((6, 4, 3), 1.0), 0.1)
        for sigma_y, kind in ((0, ValueError), (-0.1, ValueError), ("0.1", TypeError)):
            with pytest.raises(kind, match="sigma_y must be"):
                make(prior, OPERATORS["blur"], sigma_y)


@pytest.mark.parametrize("operator", [Identity(SHAPE), RandomMask(SHAPE, 0.5), OPERATORS["mask"]], ids=str)
def test_operators_that_hide_entries_solve_for_each_measurement(make_prior, operator):
    prior = make_prior(d=DIM, shape=SHAPE)
    mask = None if isinstance(operator, Identity) else jnp.asarray(OPERATORS["mask"].mask)
    m = Measurement(jnp.linspace(0.2, 0.7, DIM).reshape(SHAPE), mask)
    base = posterior_base(prior, operator, 0.05)
    context = jax.jit(lambda base, m: base.context(m))
    ours, old = context(base, m), context(ClosedFormGaussian(prior, 0.05), m)
    assert base.factors is None and isinstance(ours, GaussianPosterior)
    assert np.abs(ours.mean - prior.mean).max() > 0.01
    np.testing.assert_array_equal(ours.mean, old.mean)
    np.testing.assert_array_equal(ours.marginal_std, old.marginal_std)
    hides = not isinstance(operator, Identity)  # else the modes are those of the prior, and 3072 of them cost nothing
    assert ("eigh" in str(jax.make_jaxpr(base.context)(m))) == hides


def test_one_program_serves_every_share_of_missing_entries(make_prior):
    bases = [posterior_base(make_prior(d=DIM, shape=SHAPE), RandomMask(SHAPE, missing), 0.05) for missing in (0.3, 0.6)]
    assert jax.tree.structure(bases[0]) == jax.tree.structure(bases[1])


def test_a_fixed_mask_is_known_without_the_measurement(make_prior):
    prior, operator = make_prior(d=DIM, shape=SHAPE), OPERATORS["mask"]
    y = jnp.asarray(np.random.default_rng(0).random(SHAPE), jnp.float32)
    context = jax.jit(posterior_base(prior, operator, 0.05).context)
    np.testing.assert_array_equal(
        context(Measurement(y)).mean, context(Measurement(y, jnp.asarray(operator.mask))).mean
    )


@pytest.fixture
def tasks(make_prior):
    """tasks(name): the task of an operator under a Gaussian prior, its closed-form posterior, and a batch of
    measurements.
    """

    def make(name, n=4, sigma_y=0.05):
        prior = make_prior(d=DIM, k=7, shape=SHAPE)
        task = Task(OPERATORS[name], sigma_y, prior, jnp.zeros((1, *SHAPE)), unit_range=False)
        rng, matrix = np.random.default_rng(0), dense_matrix(task.operator)
        y = rng.multivariate_normal(np.asarray(prior.mean), np.asarray(prior.covariance()), n) @ matrix.T
        y = (y + sigma_y * rng.normal(size=y.shape)).reshape(n, *task.y_shape)
        posterior = AmortizedPosterior(task, closed_form(prior, task.operator, sigma_y), {})
        return task, posterior, Measurement(jnp.asarray(y, prior.mean.dtype))

    return make


@pytest.mark.parametrize("name", ["pool", "blur"])
def test_samples_have_the_mean_and_the_covariance(tasks, case, name):
    task, posterior, m = tasks(name)
    n = 20_000
    one = jax.tree.map(lambda a: a[0], m)
    x, log_q = posterior.sample_and_log_prob(jax.random.key(2), one, n)
    assert x.shape == (n, *SHAPE) and isinstance(posterior.flow.context(one), LinearGaussianPosterior)
    matrix, (prior, *_, cov) = dense_matrix(task.operator), case(name)
    prior_mean = np.asarray(prior.mean, np.float64)
    mean = prior_mean + cov @ matrix.T @ (np.asarray(one.y, np.float64).ravel() - matrix @ prior_mean) / task.sigma_y**2
    flat, std = np.asarray(x, np.float64).reshape(n, DIM), np.sqrt(np.diag(cov))
    np.testing.assert_allclose((flat.mean(axis=0) - mean) / std, 0, atol=4.5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(flat.T) - cov) / np.outer(std, std), 0, atol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(log_q[:50], multivariate_normal(mean, cov).logpdf(flat[:50]), atol=1e-3)
    np.testing.assert_allclose(posterior.log_prob(x[:50], one), log_q[:50], atol=1e-4 * DIM)


def test_a_batch_of_measurements(tasks):
    _, posterior, m = tasks("pool")
    x, log_q = posterior.sample_and_log_prob(jax.random.key(2), m, 3)
    assert x.shape == (4, 3, *SHAPE) and log_q.shape == (4, 3)
    means = jax.jit(jax.vmap(lambda m: posterior.flow.context(m).mean))(m)
    np.testing.assert_allclose(means[2], posterior.flow.context(jax.tree.map(lambda a: a[2], m)).mean, atol=1e-6)


def test_the_objective_of_the_posterior_is_minus_the_log_evidence(tasks, x64):
    """log q = log p(x|y) leaves -log p(y), whatever the samples: operator, likelihood, prior and posterior fit
    together.
    """
    task, posterior, m = tasks("bicubic")
    call = jax.jit(lambda key: objective.ReverseDivergence("exact", n_samples=3)(posterior.flow, {}, task, key, m)[0])
    matrix = dense_matrix(task.operator)
    spread = matrix @ np.asarray(task.prior.covariance()) @ matrix.T + task.sigma_y**2 * np.eye(len(matrix))
    evidence = multivariate_normal(matrix @ np.asarray(task.prior.mean), spread).logpdf(np.asarray(m.y).reshape(4, -1))
    assert float(call(jax.random.key(2))) == pytest.approx(-evidence.mean(), abs=1e-6)


@pytest.mark.slow
def test_a_colour_image():
    """Moments along random directions by solves in the data's space, and the round trip, with little noise."""
    rng = np.random.default_rng(0)
    shape, d, sigma_y = (24, 24, 3), 1728, 0.01
    prior = fit_gaussian(rng.normal(size=(400, d)) * np.arange(1, d + 1) ** -0.7, 300, diagonal=1e-6).replace(
        shape=shape
    )
    operator = GaussianBlur(shape, 1.5)
    factors = linear_posterior_factors(prior, operator, sigma_y)
    matrix, probes = dense_matrix(operator), rng.normal(size=(d, 4))
    basis = np.linalg.qr(np.asarray(prior.basis, np.float64))[0]
    prior_cov = (basis * np.asarray(prior.excess, np.float64)) @ basis.T + float(prior.rest) * np.eye(d)
    seen = prior_cov @ matrix.T
    exact = prior_cov @ probes - seen @ np.linalg.solve(matrix @ seen + sigma_y**2 * np.eye(d), seen.T @ probes)
    factor = np.asarray(factors.factor, np.float64)
    assert np.linalg.norm(factor @ (factor.T @ probes) - exact) < 1e-4 * np.linalg.norm(exact)
    z = jax.random.normal(jax.random.key(0), (4, d))
    x, _, back, _ = _compiled(_both_ways)(factors, factors.predicted, z)
    np.testing.assert_allclose(back, z, atol=2e-4)
