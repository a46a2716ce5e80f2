"""What stands for log p(x) in the objective, and the objectives built from it, against closed forms and finite
differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import short_trainings
from aps_core import AmortizedPosterior, Identity, Task, gaussian_posterior, train_posterior
from aps_core.diffusion import VPSDE
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.priors import bound, terms
from aps_core.training import objective
from aps_core.training.validation import kl_to_closed_form

SIGMA_Y = 0.1
RECIPE = {
    "flow": {"kind": "gaussian-base", "k": 4, "steps": 1, "width": 8, "inflate": 2.0, "offset_std": 1.0},
    "objective": {"prior_term": "exact", "batch": 32},
    "optimizer": {"steps": 150, "learning_rate": 2e-2, "warmup": 10, "ema": 0.9},
}


@pytest.fixture
def prior(make_prior):
    return make_prior(d=4, k=4, sde=VPSDE(t_min=1e-4))


@pytest.fixture
def task(prior):
    return Task(Identity((4,)), SIGMA_Y, prior, prior.sample(jax.random.key(0), 256))


def _average(prior, x, term, times, n_times=512, repeats=24):
    def one(key):
        k_time, k_eps = jax.random.split(key)
        u = bound.uniforms(k_time, n_times, times)
        return terms.PriorTerm(term, times)(prior, x, u, k_eps)

    values = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), repeats)), np.float64)
    return values.mean(), values.std(ddof=1) / np.sqrt(repeats)


@pytest.mark.parametrize("times", bound.TIMES)
def test_the_bound_does_not_depend_on_how_times_are_drawn(prior, times):
    """With the exact score it is log p, whatever the density of the times, and low discrepancy makes it no noisier."""
    x = prior.sample(jax.random.key(3), 1)[0]
    value, error = _average(prior, x, "elbo", times)
    assert abs(value - float(prior.log_prob(x))) < 4 * error + 0.04
    if times == "uniform":  # weighted times are what makes the bound usable
        assert error > 2 * _average(prior, x, "elbo", "importance")[1]


def test_unknown_times(prior):
    with pytest.raises(ValueError, match="times must be one of .*low-discrepancy.*, got 'sobol'"):
        bound.time_and_weight(prior.sde, 0.5, "sobol")


def _gradient(prior, x, term, key, n=64, progress=1.0):
    u = bound.uniforms(key, n)
    return jax.jit(jax.value_and_grad(lambda x: terms.PriorTerm(term)(prior, x, u, key, progress)))(x)


def test_without_the_jacobian_the_value_is_the_same_but_not_the_gradient(prior, x64):
    """For a Gaussian both gradients are linear in x and in eps, so that the noise cancels from the difference between x
    and the mean.
    """
    prior = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), prior)
    x, key, n = prior.mean + prior.basis @ jnp.sqrt(prior.excess), jax.random.key(2), 2048
    away, variance, sde = 2 * (prior.basis.T @ (x - prior.mean)), 4 * (prior.excess + prior.rest), prior.sde
    values, pulls = zip(*(_pull(prior, x, term, key, n) for term in ("elbo", "elbo-no-jacobian")), strict=True)
    assert values[1] == pytest.approx(values[0], rel=1e-9)
    # with r = (beta/alpha)^2: int r/(lambda + r)^2 d log r + v/(lambda + v)^2, which is 1/lambda for small v and wide t
    v, top = sde.v_min, jnp.exp(sde.log_odds(1.0))
    inside = 1 / (variance + v) - 1 / (variance + top)
    np.testing.assert_allclose(pulls[0], -away * (inside + v / (variance + v) ** 2), rtol=2e-3)
    # (alpha/beta)^2 (u - u_hat) = u / (lambda + r): int 1/(lambda + r) d log r + 1/(lambda + v)
    inside = (jnp.log((variance + v) / v) - jnp.log((variance + top) / top)) / variance
    np.testing.assert_allclose(pulls[1], -away * (inside + 1 / (variance + v)), rtol=2e-3)


def _pull(prior, x, term, key, n):
    """(value at x, gradient at x minus that at the mean along the modes in the scale of u), without the prior KL's
    part.
    """
    (value, g), (_, at_mean) = (_gradient(prior, point, term, key, n) for point in (x, prior.mean))
    alpha = prior.sde.alpha(1.0)
    return float(value), prior.basis.T @ (g - at_mean) / 2 + alpha**2 * 2 * (prior.basis.T @ (x - prior.mean))


def test_the_annealed_score_is_the_score_at_a_time_that_falls(prior):
    x = prior.sample(jax.random.key(3), 1)[0]
    for progress, t in ((0.0, 1.0), (1.0, prior.sde.t_min)):
        _, g = _gradient(prior, x, "annealed-score", jax.random.key(0), progress=progress)
        alpha = prior.sde.alpha(t)
        np.testing.assert_allclose(g, 2 * alpha * prior.score(alpha * (2 * x - 1), t), rtol=2e-3)
    np.testing.assert_allclose(g, jax.grad(prior.log_prob)(x), rtol=0.02)  # at t_min it is that of log p


@pytest.mark.slow
def test_the_ode_as_prior_term(prior):
    x = prior.sample(jax.random.key(3), 1)[0]
    keys = jax.random.split(jax.random.key(0), 64)
    estimate = jax.value_and_grad(lambda x, k: terms.PriorTerm("ode")(prior, x, None, k))
    values, gradients = jax.jit(jax.vmap(estimate, (None, 0)))(x, keys)
    values = np.asarray(values, np.float64)  # one random probe for each trace
    assert values.mean() == pytest.approx(float(prior.log_prob(x)), abs=4 * values.std(ddof=1) / 8 + 0.02)
    exact = jax.grad(prior.log_prob)(x)
    assert np.linalg.norm(gradients.mean(axis=0) - exact) < 0.05 * np.linalg.norm(exact)


def test_forward_objective_is_minus_log_q_with_the_right_gradient(prior, task, randomise, x64):
    flow = ConditionalRealNVP(prior.mean, jnp.ones(4), (4,), steps=2, width=4)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.2)
    x0 = jnp.asarray(prior.sample(jax.random.key(4), 5), jnp.float64)
    m = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), task.measure(jax.random.key(5), x0))
    posterior = AmortizedPosterior(task, flow, params)

    @jax.jit
    def value(params):
        return objective.forward_objective(flow, params, m, x0)[0]

    assert float(value(params)) == pytest.approx(-float(jnp.mean(posterior.log_prob(x0[:, None], m))), rel=1e-9)
    gradient = jax.grad(value)(params)
    rng, step = np.random.default_rng(0), 1e-5
    direction = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), params)
    moved = [value(jax.tree.map(lambda p, d, s=s: p + s * step * d, params, direction)) for s in (1, -1)]
    along = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    assert float(along) == pytest.approx(float(moved[0] - moved[1]) / (2 * step), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [{"kl": "forward"}, {"kl": "mixture"}, {"prior_term": "elbo", "n_times": 8}],
    ids=["forward", "mixture", "elbo"],
)
def test_every_direction_of_the_kl_finds_the_posterior(task, objective):
    recipe = {
        **RECIPE,
        "objective": {**RECIPE["objective"], **objective},
        "optimizer": {**RECIPE["optimizer"], "steps": 300},
    }
    posterior, _ = train_posterior(task, recipe, progress=False)
    m = task.measure(jax.random.key(1), task.signals("test")[:32])
    assert kl_to_closed_form(posterior, jax.random.key(2), m)[0] < 0.02  # it starts above 0.4


@pytest.mark.slow
def test_one_measurement_and_a_warm_start(task):
    """DPI: the same code with one y; its unconditional flow knows that measurement alone. A second run starts where the
    first ended.
    """
    m = task.measure(jax.random.key(1), task.signals("test")[0])
    recipe = {
        **RECIPE,
        "flow": {"kind": "realnvp", "steps": 4, "width": 16, "conditional": False},
        "optimizer": {"steps": 600, "learning_rate": 1e-2, "warmup": 10, "ema": 0.95},
    }
    posterior, _ = train_posterior(task, recipe, measurement=m, progress=False)
    x, log_q = posterior.sample_and_log_prob(jax.random.key(2), m, 256)
    kl = float(jnp.mean(log_q - gaussian_posterior(task).log_prob(x, m))) / 4
    assert kl < 0.02
    seen = []
    short = {**recipe, "optimizer": {"steps": 3, "learning_rate": 1e-6, "warmup": 1}}

    def evaluate(p, key):
        seen.append(float(jnp.mean(p.log_prob(x, m))))
        return {}

    train_posterior(task, short, measurement=m, start=posterior, evaluate=evaluate, progress=False)
    np.testing.assert_allclose(seen, float(jnp.mean(log_q)), atol=1e-3)
    assert np.isfinite(posterior.log_prob(x, m)).all()  # its arrays were not overwritten


def test_what_cannot_be_trained(task, make_score_prior):
    m = task.measure(jax.random.key(1), task.signals("test")[0])
    with pytest.raises(ValueError, match='a single measurement needs kl "reverse"'):
        train_posterior(task, {**RECIPE, "objective": {"kl": "forward"}}, measurement=m, progress=False)
    with pytest.raises(ValueError, match='"control-variate" needs a prior beyond the Gaussian'):
        train_posterior(task, {**RECIPE, "objective": {"prior_term": "control-variate"}}, progress=False)
    other = AmortizedPosterior(task, None, {"a": jnp.zeros(3)})
    with pytest.raises(ValueError, match="start has a flow of other shapes"):
        train_posterior(task, RECIPE, start=other, progress=False)
    for name, value in (("times", "sobol"), ("kl", "both"), ("forward_share", 1.5)):
        with pytest.raises(ValueError, match=f"{name} must"):
            train_posterior(task, {**RECIPE, "objective": {name: value}}, progress=False)


def test_seconds_per_step_leaves_the_compilation_out():
    history = [{"step": s, "seconds": t} for s, t in ((1, 30.0), (2, 30.5), (4, 31.5), (5, 32.5))]
    assert short_trainings.seconds_per_step(history) == pytest.approx(0.75)
    assert short_trainings.seconds_per_step(history, np.min) == pytest.approx(0.5)
