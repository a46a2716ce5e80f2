"""The objective against closed forms and finite differences; divergences to the known posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aps_core import AmortizedPosterior, Identity, Measurement, RandomMask, Task
from aps_core.flows.closed_form import ClosedFormGaussian
from aps_core.flows.modal import GaussianBaseFlow
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.priors import bound, terms
from aps_core.tasks.problem import Target
from aps_core.training import objective
from aps_core.training.validation import excess_objective, kl_to_closed_form

SIGMA_Y = 0.1


def _measurements(prior, n, missing=0.4, seed=0):
    operator = RandomMask(prior.shape, missing)
    task = Task(operator, SIGMA_Y, prior, jnp.zeros((1, *prior.shape)))
    draw = jax.jit(lambda k1, k2: task.measure(k1, prior.gaussian.sample(k2, n)))
    m = draw(jax.random.key(seed + 1), jax.random.key(seed))
    return operator, task, jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), m)


def _log_evidence(gaussian, measurement):
    """log p_G(y) over the observed entries of each measurement."""
    mean, cov = np.asarray(gaussian.mean), np.asarray(gaussian.covariance())
    values = []
    for y, mask in zip(np.asarray(measurement.y), np.asarray(measurement.mask)):
        seen = mask.ravel() == 1
        spread = cov[np.ix_(seen, seen)] + SIGMA_Y**2 * np.eye(seen.sum())
        values.append(multivariate_normal(mean[seen], spread).logpdf(y.ravel()[seen]))
    return np.array(values)


def test_the_objective_of_the_true_posterior_is_minus_the_log_evidence(make_prior, x64):
    """log q = log p(x|y) leaves -log p(y), whatever the samples: all constants of the three terms are in place."""
    prior = make_prior(d=8, shape=(2, 4))
    operator, _, m = _measurements(prior, 5)
    flow = ClosedFormGaussian(prior, SIGMA_Y)
    call = jax.jit(
        lambda key: objective.ReverseDivergence("exact", n_samples=3)(
            flow, {}, Target(operator, SIGMA_Y, prior), key, m
        )
    )
    value, parts = call(jax.random.key(2))
    assert float(value) == pytest.approx(8 * sum(float(p) for p in parts.values()), rel=1e-9)
    assert float(value) == pytest.approx(-_log_evidence(prior, m).mean(), abs=1e-8)


@pytest.mark.slow
def test_the_elbo_objective_estimates_the_exact_one(make_prior, x64):
    """And its three parts sum to it."""
    prior = make_prior(d=4, k=2)
    operator, _, m = _measurements(prior, 4)
    flow = ClosedFormGaussian(prior, SIGMA_Y)
    call = jax.jit(
        lambda k: objective.ReverseDivergence("elbo", n_samples=4, n_times=100)(
            flow, {}, Target(operator, SIGMA_Y, prior), k, m
        )
    )
    draws = [call(key) for key in jax.random.split(jax.random.key(0), 100)]
    values = np.array([float(value) for value, _ in draws])
    for value, parts in draws[:5]:
        assert set(parts) == {"fidelity", "prior", "log_q"}
        assert float(value) == pytest.approx(4 * sum(float(p) for p in parts.values()), rel=1e-9)
    error = values.std(ddof=1) / 10
    assert error < 0.2
    assert values.mean() == pytest.approx(-_log_evidence(prior, m).mean(), abs=3 * error + 0.04)


def _realnvp(prior):
    spread = jnp.sqrt(jnp.diag(prior.gaussian.covariance()))
    return ConditionalRealNVP(prior.gaussian.mean, spread, prior.shape, steps=2, width=4)


def _base(prior):
    return GaussianBaseFlow(prior.gaussian, SIGMA_Y, k=3, steps=2, width=4)


@pytest.mark.slow
@pytest.mark.parametrize("make, term", [(_realnvp, "elbo"), (_base, "control-variate")])
def test_gradient_against_finite_differences(make_score_prior, randomise, x64, make, term):
    prior = make_score_prior(d=4, k=3)
    operator, _, m = _measurements(prior, 3)
    flow = make(prior)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.2)

    @jax.jit
    def value_and_grad(params):
        loss, target = objective.ReverseDivergence(term, 2, 2), Target(operator, SIGMA_Y, prior)
        return jax.value_and_grad(lambda p: loss(flow, p, target, jax.random.key(3), m)[0])(params)

    _, gradient = value_and_grad(params)
    leaves, structure = jax.tree.flatten(params)
    rng, h = np.random.default_rng(0), 1e-5
    for _ in range(4):
        direction = [rng.normal(size=leaf.shape) for leaf in leaves]
        at = lambda s, d=direction: jax.tree.unflatten(structure, [leaf + s * e for leaf, e in zip(leaves, d)])  # noqa: E731
        slope = (float(value_and_grad(at(h))[0]) - float(value_and_grad(at(-h))[0])) / (2 * h)
        ours = sum(float(jnp.sum(g * e)) for g, e in zip(jax.tree.leaves(gradient), direction))
        assert ours == pytest.approx(slope, rel=1e-6)


def test_the_prior_term_has_the_jacobian_of_the_score(make_score_prior, x64):
    """Its gradient in x is that of the estimate itself: finite differences at fixed noise."""
    prior, key, u = make_score_prior(d=4, k=3), jax.random.key(0), jnp.array([0.2, 0.6])
    x, direction, h = prior.gaussian.sample(jax.random.key(1), 1)[0], jnp.array([1.0, -0.5, 0.3, 2.0]), 1e-6
    for term in ("elbo", "elbo-no-start", "control-variate"):
        call = jax.jit(jax.value_and_grad(lambda x, term=term: terms.PriorTerm(term)(prior, x, u, key)))
        slope = (float(call(x + h * direction)[0]) - float(call(x - h * direction)[0])) / (2 * h)
        assert float(call(x)[1] @ direction) == pytest.approx(slope, rel=1e-5)


def test_modal_objective_is_the_full_one_sample_for_sample(make_score_prior, randomise, x64):
    """With z = O e + complement and the same diffusion noise the two differ by -log p_G(y), for any parameters and any
    complement.
    """
    prior = make_score_prior(d=8, k=5, k_modes=3)
    operator, _, m = _measurements(prior, 1)
    flow, g, n_times = _base(prior), prior.gaussian, 3
    one = jax.tree.map(lambda a: a[0], m)

    @jax.jit
    def both(params, key, complement):
        context = flow.context(one)
        divergence = objective.ModalDivergence(1, n_times)
        modal, _ = divergence(flow, params, prior, key, jax.tree.map(lambda a: a[None], context.modal))
        k_e, k_t, k_eps = jax.random.split(key, 3)
        o, e = context.directions, jax.random.normal(k_e, (1, 1, 3))[0, 0]
        z = o @ e + complement - o @ (o.T @ complement)
        x, log_det = flow.forward(params, z, context)
        t = prior.sde.likelihood_weighted_time(bound.low_discrepancy(k_t, n_times), prior.t_residual)
        keys = jax.random.split(k_eps, (1, 1, n_times))[0, 0]
        ratio = jnp.mean(jax.vmap(lambda k, ti: prior.modal_log_ratio(k, prior.modes(x), ti))(keys, t))
        fidelity = -objective.log_likelihood(operator, SIGMA_Y, x, one)
        return modal, fidelity - g.log_prob(x) - ratio + objective.log_standard_normal(z) - log_det, ratio

    expected = -_log_evidence(g, m)[0]
    shapes, rng = jax.eval_shape(flow.init, jax.random.key(0)), np.random.default_rng(0)
    modals = []
    for seed in range(4):
        complement = jnp.asarray(rng.normal(size=8))
        modal, full, ratio = both(randomise(shapes, 0.3, seed), jax.random.key(seed // 2), complement)
        assert abs(float(ratio)) > 1e-3
        assert float(full - modal) == pytest.approx(expected, abs=1e-8)
        modals.append(float(modal))
    assert np.ptp(modals) > 0.1  # parameters matter


def test_the_control_variate_term_is_the_gaussian_plus_the_ratio(make_score_prior, x64):
    prior = make_score_prior()
    x, key, u = prior.gaussian.sample(jax.random.key(0), 1)[0], jax.random.key(1), jnp.array([0.1, 0.6])
    t = prior.sde.likelihood_weighted_time(u, prior.t_residual)

    @jax.jit
    def both(x):
        ratio = jnp.mean(
            jax.vmap(lambda k, ti: prior.modal_log_ratio(k, prior.modes(x), ti))(jax.random.split(key, 2), t)
        )
        return terms.PriorTerm("control-variate")(prior, x, u, key), ratio

    value, ratio = both(x)
    assert float(value) == pytest.approx(float(prior.gaussian.log_prob(x) + ratio), rel=1e-9)


@pytest.fixture
def gaussian_case(make_prior):
    """A Gaussian task and 8 of its measurements."""
    prior = make_prior(d=8, k=4, shape=(2, 4))
    _, task, m = _measurements(prior, 8)
    return task, m


def _dense_posterior(prior, y, mask):
    mean, cov = np.asarray(prior.mean, np.float64), np.asarray(prior.covariance(), np.float64)
    cov = np.linalg.inv(np.linalg.inv(cov) + np.diag(mask.ravel()) / SIGMA_Y**2)
    return mean + cov @ (mask.ravel() * (y.ravel() - mean)) / SIGMA_Y**2, cov


@pytest.mark.parametrize("inflate, offset", [pytest.param(2.0, 0.0, marks=pytest.mark.slow), (2.0, 1.0)])
def test_kl_to_the_closed_form(gaussian_case, randomise, inflate, offset):
    """(c - 1 - log c) / 2 per entry for the covariance times c, and the Mahalanobis length of the shift."""
    task, m = gaussian_case
    flow = GaussianBaseFlow(task.prior, SIGMA_Y, k=4, steps=1, width=4, inflate=inflate, offset_std=offset)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.0)  # all zero: the flow is its base
    same = jax.tree.map(lambda a: jnp.tile(a[:1], (8, 1, 1)), m)
    kl, error = kl_to_closed_form(AmortizedPosterior(task, flow, params), jax.random.key(1), same, n=512)
    _, cov = _dense_posterior(task.prior, np.asarray(m.y[0]), np.asarray(m.mask[0]))
    shift = offset * np.sqrt(np.diag(cov))
    expected = 0.5 * (inflate - 1 - np.log(inflate)) + 0.5 * shift @ np.linalg.solve(cov, shift) / 8
    assert error < 0.02
    assert kl == pytest.approx(expected, abs=4 * error)


def test_kl_of_the_closed_form_itself_is_zero(gaussian_case):
    task, m = gaussian_case
    posterior = AmortizedPosterior(task, ClosedFormGaussian(task.prior, SIGMA_Y), {})
    kl, error = kl_to_closed_form(posterior, jax.random.key(1), m)
    assert abs(kl) < 1e-5 and error < 1e-5


@pytest.mark.slow
def test_excess_objective_of_the_gaussian_posterior(make_score_prior):
    """Zero under a Gaussian prior; under a learned one, minus the mean log ratio at its samples."""
    silent, learned = make_score_prior(scale=0.0, shape=(2, 4)), make_score_prior(scale=0.3, shape=(2, 4))
    for prior in (silent, learned):
        _, task, m = _measurements(prior, 6)
        posterior = AmortizedPosterior(task, ClosedFormGaussian(prior.gaussian, SIGMA_Y), {})
        excess = excess_objective(posterior, jax.random.key(0), m, n=64)
        assert excess.shape == (6,)
        if prior is silent:
            np.testing.assert_allclose(excess, 0, atol=1e-3)
        else:
            x = posterior.sample(jax.random.key(9), m, 64)
            ratio = jax.jit(jax.vmap(jax.vmap(lambda k, xi, prior=prior: prior.log_ratio(k, xi, 64))))(
                jax.random.split(jax.random.key(8), (6, 64)), x
            )
            assert np.abs(excess).max() > 0.01
            np.testing.assert_allclose(excess, -np.mean(ratio, axis=1), atol=4 * float(np.std(ratio) / 8) * np.sqrt(2))


def test_samples_have_the_moments_of_the_closed_form(gaussian_case):
    task, m = gaussian_case
    posterior = AmortizedPosterior(task, ClosedFormGaussian(task.prior, SIGMA_Y), {})
    one, n = jax.tree.map(lambda a: a[0], m), 20_000
    x = np.asarray(posterior.sample(jax.random.key(0), one, n), np.float64).reshape(n, -1)
    mean, cov = _dense_posterior(task.prior, np.asarray(one.y), np.asarray(one.mask))
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((x.mean(axis=0) - mean) / std, 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(x.T) - cov) / np.outer(std, std), 0, atol=5 * np.sqrt(2 / n))


def test_denoising_without_a_mask(make_prior):
    prior = make_prior(d=8)
    task = Task(Identity((8,)), SIGMA_Y, prior, jnp.zeros((1, 8)))
    posterior = AmortizedPosterior(task, ClosedFormGaussian(prior, SIGMA_Y), {})
    m = task.measure(jax.random.key(0), prior.sample(jax.random.key(1), 1)[0])
    masked = Measurement(m.y, jnp.ones(8))
    # without a mask no eigenproblem is solved: the same map, rounded otherwise
    samples = [posterior.sample(jax.random.key(2), one, 3) for one in (m, masked)]
    np.testing.assert_allclose(*samples, atol=1e-6)


def test_a_result_does_not_depend_on_the_rest_of_the_batch(gaussian_case, randomise):
    task, m = gaussian_case
    flow = GaussianBaseFlow(task.prior, SIGMA_Y, k=4, steps=1, width=4)
    posterior = AmortizedPosterior(task, flow, randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.3))
    others = jax.tree.map(lambda a: jnp.concatenate([a[:2], a[5:]]), m)
    batches = [jax.tree.map(lambda a: a[:4], b) for b in (m, others)]
    x, log_q = zip(*[posterior.sample_and_log_prob(jax.random.key(0), b, 3) for b in batches])
    np.testing.assert_array_equal(x[0][:2], x[1][:2])
    np.testing.assert_array_equal(log_q[0][:2], log_q[1][:2])
    assert np.abs(x[0][2:] - x[1][2:]).max() > 1e-3
