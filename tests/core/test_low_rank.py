"""The Gaussian posterior in the modes of a prior that has few: against dense algebra, against the dense factorization, as a
bijection and as the base of flows.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import everything

from aps_book.experiments.cost_measure import truncated
from aps_core import AmortizedPosterior, Task, flows
from aps_core.flows.closed_form import closed_form
from aps_core.operators import (
    AveragePool,
    BicubicDownsample,
    Convolution,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Operator,
    RandomMask,
    SaturatingSensor,
    dense_matrix,
    gaussian_kernel,
)
from aps_core.operators.spectrum import Spectrum, acts_on_rows_and_columns
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.linear_gaussian import LinearPosteriorFactors, linear_posterior_factors
from aps_core.priors.low_rank import LowRankFactors, low_rank_factors, posterior_factors

SHAPE = (4, 6, 2)
DIM, K = 48, 7
OPERATORS = {
    "pool": AveragePool(SHAPE, 2),  # fewer data than entries
    "bicubic": BicubicDownsample(SHAPE, 2),
    "blur": GaussianBlur(SHAPE, 1.2),  # as many, singular values down to 1e-4
    "wide-blur": GaussianBlur(SHAPE, 30.0),  # the mean of each channel is all that is left
}
# leading variance, rest, sigma_y: ordinary; leading a million times the rest, with little noise; noise far below, and
# far above the rest
SCALES = [(0.05, 1e-3, 0.05), (1.0, 1e-6, 0.01), (0.05, 1e-2, 1e-3), (0.05, 1e-5, 0.5)]


class Brightened(Operator):
    """Means of 2 x 2 blocks, doubled, and a constant."""

    shape, y_shape = SHAPE, (2, 3, 2)

    def __call__(self, x, mask=None):
        return 2 * AveragePool(SHAPE, 2)(x) + 0.3


def dense_case(make_prior, operator, leading=0.05, rest=1e-3, sigma_y=0.05):
    """(prior, data y (n,), mean (d,), covariance (d, d)) of the posterior by dense algebra in float64."""
    prior, matrix = make_prior(d=DIM, k=K, leading=leading, rest=rest, shape=SHAPE), dense_matrix(operator)
    basis, mean = np.asarray(prior.basis, np.float64), np.asarray(prior.mean, np.float64)
    prior_cov = (basis * np.asarray(prior.excess, np.float64)) @ basis.T + float(prior.rest) * np.eye(DIM)
    constant = np.asarray(operator(jnp.zeros(SHAPE)), np.float64).ravel()
    rng = np.random.default_rng(3)
    y = matrix @ rng.multivariate_normal(mean, prior_cov) + constant + sigma_y * rng.normal(size=len(matrix))
    cov = np.linalg.inv(np.linalg.inv(prior_cov) + matrix.T @ matrix / sigma_y**2)
    exact = mean + cov @ matrix.T @ (y - constant - matrix @ mean) / sigma_y**2
    return prior, jnp.asarray(y, prior.mean.dtype), exact, cov


@jax.jit
def moments(factors, y):
    posterior = factors.posterior(y)
    return posterior.mean, posterior.covariance(), posterior.marginal_std, posterior.log_det


@jax.jit
def both_ways(factors, y, z):
    posterior = factors.posterior(y)
    x, log_det = jax.vmap(posterior.forward)(z)
    return x, log_det, *jax.vmap(posterior.inverse)(x)


def assert_moments(factors, y, mean, cov, tolerance):
    """All in units of the posterior standard deviation."""
    ours = [np.asarray(a) for a in moments(factors, y)]
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((ours[0] - mean) / std, 0, atol=tolerance)
    np.testing.assert_allclose((ours[1] - cov) / np.outer(std, std), 0, atol=tolerance)
    np.testing.assert_allclose(ours[2], std, rtol=tolerance)
    assert float(ours[3]) == pytest.approx(0.5 * np.linalg.slogdet(cov)[1], abs=tolerance * DIM)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", OPERATORS)
def test_moments_against_dense_algebra(make_prior, x64, name, scales):
    prior, y, mean, cov = dense_case(make_prior, OPERATORS[name], *scales)
    assert_moments(low_rank_factors(prior, OPERATORS[name], scales[2]), y, mean, cov, tolerance=1e-6)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", OPERATORS)
def test_moments_in_single_precision(make_prior, name, scales):
    prior, y, mean, cov = dense_case(make_prior, OPERATORS[name], *scales)
    factors = low_rank_factors(prior, OPERATORS[name], scales[2])
    assert {a.dtype for a in jax.tree.leaves(factors)} == {jnp.dtype(jnp.float32)}
    assert_moments(factors, y, mean, cov, tolerance=1e-3)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_bijection_whose_log_det_is_that_of_its_jacobian(make_prior, x64, name):
    prior, y, *_ = dense_case(make_prior, OPERATORS[name], 1.0, 1e-6, 0.01)
    factors = low_rank_factors(prior, OPERATORS[name], 0.01)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, DIM)))
    x, log_det, back, inverse_log_det = both_ways(factors, y, z)
    np.testing.assert_allclose(back, z, atol=1e-8)
    np.testing.assert_array_equal(log_det, -inverse_log_det)
    jacobian = jax.jit(jax.jacfwd(lambda z: factors.posterior(y).forward(z)[0]))(z[0])
    np.testing.assert_allclose(log_det, np.full(3, np.linalg.slogdet(jacobian)[1]), atol=1e-8)


def test_an_operator_with_a_constant(make_prior, x64):
    prior, y, mean, cov = dense_case(make_prior, Brightened())
    factors = posterior_factors(prior, Brightened(), 0.05)
    assert isinstance(factors, LowRankFactors)
    assert_moments(factors, y, mean, cov, tolerance=1e-6)


def test_no_array_has_the_square_of_the_entries(make_prior):
    shape = (24, 24, 3)
    prior = make_prior(d=1728, k=8, shape=shape)
    factors = posterior_factors(prior, GaussianBlur(shape, 1.0), 0.05)
    assert isinstance(factors, LowRankFactors)
    assert max(a.size for a in jax.tree.leaves(factors)) == 1728 * 8


@pytest.mark.parametrize("operator", [FourierSubset(SHAPE, np.ones(SHAPE[:2])), "turned"], ids=["fourier", "turned"])
def test_what_does_not_act_on_rows_and_columns_is_factorized_in_all_entries(make_prior, operator):
    operator = Convolution(SHAPE, gaussian_kernel(0.7, 1.5, 30)) if operator == "turned" else operator
    prior = make_prior(d=DIM, k=K, shape=SHAPE)
    assert not acts_on_rows_and_columns(operator)
    assert isinstance(posterior_factors(prior, operator, 0.05), LinearPosteriorFactors)
    with pytest.raises(ValueError, match="does not act on the rows and columns"):
        low_rank_factors(prior, operator, 0.05)


def test_many_modes_are_factorized_in_all_entries(make_prior):
    prior = make_prior(d=DIM, k=DIM // 4 + 1, shape=SHAPE)
    assert isinstance(posterior_factors(prior, OPERATORS["blur"], 0.05), LinearPosteriorFactors)
    assert isinstance(posterior_factors(truncated(prior, DIM // 4), OPERATORS["blur"], 0.05), LowRankFactors)


def test_what_has_no_such_posterior(make_prior):
    prior = make_prior(d=DIM, k=K, shape=SHAPE)
    with pytest.raises(TypeError, match="SaturatingSensor is not linear"):
        low_rank_factors(prior, SaturatingSensor(OPERATORS["blur"]), 0.1)
    with pytest.raises(TypeError, match="RandomMask is another matrix for every measurement"):
        low_rank_factors(prior, RandomMask(SHAPE, 0.5), 0.1)
    with pytest.raises(ValueError, match="does not act on the rows and columns"):
        low_rank_factors(prior, FixedMask(np.ones(SHAPE)), 0.1)
    with pytest.raises(ValueError, match=r"operator has signals of shape \(6, 4, 2\), the prior of shape \(4, 6, 2\)"):
        low_rank_factors(prior, GaussianBlur((6, 4, 2), 1.0), 0.1)
    for sigma_y, kind in ((0, ValueError), (-0.1, ValueError), ("0.1", TypeError)):
        with pytest.raises(kind, match="sigma_y must be"):
            low_rank_factors(prior, OPERATORS["blur"], sigma_y)


@pytest.fixture
def closed(make_prior):
    """closed(name): the closed-form posterior of a task whose prior has few modes, the same by the dense factorization, and
    a batch of measurements.
    """

    def make(name):
        prior = make_prior(d=DIM, k=K, shape=SHAPE)
        task = Task(OPERATORS[name], 0.05, prior, prior.sample(jax.random.key(0), 3), unit_range=False)
        base = closed_form(prior, task.operator, 0.05)
        dense = base.replace(factors=linear_posterior_factors(prior, task.operator, 0.05))
        m = task.measure(jax.random.key(1), task.signals("test"))
        return AmortizedPosterior(task, base, {}), AmortizedPosterior(task, dense, {}), m

    return make


@pytest.mark.parametrize("name", ["pool", "blur"])
def test_its_density_is_that_of_the_dense_factorization(closed, name):
    ours, dense, m = closed(name)
    assert isinstance(ours.flow.factors, LowRankFactors)
    x, log_q = ours.sample_and_log_prob(jax.random.key(2), m, 5)
    np.testing.assert_allclose(log_q, dense.log_prob(x, m), atol=2e-3)
    np.testing.assert_allclose(ours.log_prob(x, m), log_q, atol=2e-3)
    quieter = ours.with_noise(0.01)
    assert isinstance(quieter.flow.factors, LowRankFactors)
    np.testing.assert_allclose(quieter.log_prob(x, m), dense.with_noise(0.01).log_prob(x, m), rtol=1e-4)


def test_samples_have_the_mean_and_the_covariance(closed):
    ours, dense, m = closed("blur")
    one, n = jax.tree.map(lambda a: a[0], m), 20_000
    flat = np.asarray(ours.sample(jax.random.key(3), one, n), np.float64).reshape(n, DIM)
    exact = dense.flow.context(one)
    std = np.asarray(exact.marginal_std)
    np.testing.assert_allclose((flat.mean(axis=0) - exact.mean) / std, 0, atol=4.5 / np.sqrt(n))
    cov = np.asarray(exact.covariance())
    np.testing.assert_allclose((np.cov(flat.T) - cov) / np.outer(std, std), 0, atol=5.5 * np.sqrt(2 / n))


@pytest.mark.slow
def test_a_token_flow_stands_on_it(make_prior, randomise):
    prior = make_prior(d=DIM, k=K, shape=SHAPE)
    task = Task(OPERATORS["blur"], 0.05, prior, prior.sample(jax.random.key(0), 3), unit_range=False)
    settings = {"kind": "tokens", "steps": 2, "width": 8, "condition_width": 12, "condition_depth": 1, "heads": 2}
    flow = flows.build_flow(task, {**settings, "tokens": {"kind": "image", "size": 2}})
    assert isinstance(flow.base.factors, LowRankFactors)
    m = task.measure(jax.random.key(1), task.signals("test")[0])
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.1)
    z = jax.random.normal(jax.random.key(2), (2, DIM))
    x, log_det, back, inverse_log_det, jacobian = jax.jit(everything)(flow, params, m, z)
    np.testing.assert_allclose(back, z, atol=1e-3)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-3)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-2)


def test_a_truncated_prior_is_the_fit_of_fewer_modes():
    data = np.random.default_rng(1).random((200, 4, 6)) ** 2
    fewer, fitted = truncated(fit_gaussian(data, 24, diagonal=1e-4), 5), fit_gaussian(data, 5, diagonal=1e-4)
    np.testing.assert_allclose(fewer.excess, fitted.excess, rtol=1e-4)
    np.testing.assert_allclose(fewer.rest, fitted.rest, rtol=1e-4)
    np.testing.assert_allclose(fewer.covariance(), fitted.covariance(), atol=1e-6)
    assert truncated(fewer, 5) is fewer
    for n, kind in ((6, ValueError), (0, ValueError), (2.5, TypeError)):
        with pytest.raises(kind, match="n_modes must"):
            truncated(fewer, n)


@pytest.mark.parametrize("name", ["pool", "blur"])
def test_a_function_of_the_operator(x64, name):
    """f(A^T A) against the eigendecomposition of the dense matrix."""
    spectrum, matrix = Spectrum.of(OPERATORS[name]), dense_matrix(OPERATORS[name])
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    exact = (vectors / np.sqrt(1 + 4 * np.maximum(values, 0))) @ vectors.T
    v = np.random.default_rng(0).normal(size=DIM)
    np.testing.assert_allclose(
        spectrum.function(jnp.asarray(v), 1 / jnp.sqrt(1 + 4 * spectrum.values**2), 1.0), exact @ v, atol=1e-10
    )
