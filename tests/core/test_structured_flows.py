"""Structured flows in signal space with random parameters: bijections with exact densities that start as their base."""

from functools import cache, partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_checks import everything

from aps_core import AmortizedPosterior, Task
from aps_core.flows.closed_form import ClosedFormGaussian, PosteriorBase, posterior_base
from aps_core.flows.coupling import MaskedCouplings, alternating_masks
from aps_core.flows.tokens import TokenConditioner, TokenFlow
from aps_core.operators import AveragePool, Identity, Measurement, RandomMask
from aps_core.priors.networks.patches import grid_patches
from aps_core.tasks.problem import Target
from aps_core.training import objective

# these programs run once: compiling them is what takes the time
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIGMA_Y = 0.05
SHAPES = {"tokens": (3, 4), "pooled": (4, 4, 1)}


@pytest.fixture
def make_problem(make_prior):
    """make_problem(name): (task, flow). "tokens" of 2x2 and 1x2 entries behind a mask, "pooled": on 2x2 means."""

    def make(name, base_prior=None, **settings):
        shape = SHAPES[name]
        prior = make_prior(d=int(np.prod(shape)), k=5, shape=shape)
        operator = AveragePool(shape, 2) if name == "pooled" else RandomMask(shape, 0.4)
        base = posterior_base(base_prior or prior, operator, SIGMA_Y)
        scale = jnp.sqrt(jnp.diag(prior.covariance()))
        task = Task(operator, SIGMA_Y, prior, jnp.zeros((1, *shape)))
        tokens = grid_patches(shape, (2, 2) if len(shape) == 2 else (2, 2, 1))
        small = {"steps": 3, "width": 4, "condition_width": 4, "condition_depth": 1, "heads": 2, **settings}
        return task, TokenFlow(base, prior.mean, scale, shape, tokens, **small)

    return make


def _measurement(task):
    x0 = jnp.asarray(np.random.default_rng(3).uniform(0.2, 0.8, task.shape), task.prior.mean.dtype)
    return task.measure(jax.random.key(5), x0)


def _random(flow, randomise, scale=0.3):
    return randomise(jax.eval_shape(flow.init, jax.random.key(0)), scale)


@cache
def _compiled(call):
    return jit(call)


_everything = _compiled(everything)


def _z(flow):
    return jnp.asarray(np.concatenate([np.zeros((1, flow.dim)), np.random.default_rng(1).normal(size=(4, flow.dim))]))


@pytest.mark.parametrize("name", ["tokens", pytest.param("pooled", marks=pytest.mark.slow)])
def test_round_trip_and_log_det_in_double_precision(make_problem, randomise, x64, name):
    task, flow = make_problem(name)
    out = _everything(flow, _random(flow, randomise), _measurement(task), _z(flow))
    x, log_det, back, inverse_log_det, jacobian = (np.asarray(a) for a in out)
    assert x.dtype == np.float64
    np.testing.assert_allclose(back, _z(flow), atol=1e-8)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-8)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-6 * flow.dim)
    assert np.ptp(log_det) > 1e-3  # the couplings do something
    assert np.abs(jacobian).min() > 0  # and mix all entries


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokens"])
def test_round_trip_in_single_precision_at_full_depth(make_problem, randomise, name):
    task, flow = make_problem(name, steps=16)
    params, m = _random(flow, randomise, 0.2), _measurement(task)
    z = jax.random.normal(jax.random.key(1), (50, flow.dim))

    @jit
    def both(params, z, m):
        context = flow.context(m)
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        return x, log_det, *jax.vmap(lambda xi: flow.inverse(params, xi, context))(x)

    x, log_det, back, inverse_log_det = both(params, z, m)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(back, z, atol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-4 * flow.dim)


@pytest.mark.parametrize("name", ["tokens"])
def test_a_new_flow_is_its_base(make_problem, x64, name):
    task, flow = make_problem(name)
    params = jit(flow.init)(jax.random.key(0, impl="rbg"))
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x, log_det, *_ = _everything(flow, params, _measurement(task), _z(flow))
    base, base_log_det = jit(lambda m, z: jax.vmap(flow.base.context(m).forward)(z))(_measurement(task), _z(flow))
    np.testing.assert_allclose(x, base, atol=1e-12)
    np.testing.assert_array_equal(log_det, base_log_det)


def test_couplings_see_the_unchanged_half_and_the_condition(randomise, x64):
    """One coupling: the kept half passes, the other is changed elementwise given all of the kept half and of the
    condition.
    """
    masks, network = alternating_masks(2, 4, groups=3), TokenConditioner(4, 6, 1)
    shape, condition_shape = masks.shape[1:], (*masks.shape[1:-1], 2)
    rng = np.random.default_rng(0)
    x, condition = (jnp.asarray(rng.normal(size=s)) for s in (shape, condition_shape))
    shapes = jax.eval_shape(lambda k: MaskedCouplings(network, masks[:1]).init(k, condition), jax.random.key(0))
    params = randomise(shapes, 0.5)

    @jit
    def derivatives(mask, x, condition):
        forward = lambda x, c: MaskedCouplings(network, mask[None]).forward(params, x, c)[0].reshape(-1)  # noqa: E731
        flat = lambda x: forward(x.reshape(shape), condition)  # noqa: E731
        diagonal = lambda x: jnp.diag(jax.jacfwd(flat)(x))  # noqa: E731
        return (
            jax.jacfwd(flat)(x.reshape(-1)),
            jax.jacfwd(lambda c: forward(x, c))(condition),
            jax.jacfwd(diagonal)(x.reshape(-1)),
        )

    for mask in masks:
        dx, dc, dscale = (np.asarray(d) for d in derivatives(jnp.asarray(mask), x, condition))
        kept, changed = np.flatnonzero(mask.reshape(-1) == 1), np.flatnonzero(mask.reshape(-1) == 0)
        np.testing.assert_array_equal(dx[kept], np.eye(x.size)[kept])
        own = dx[np.ix_(changed, changed)]
        np.testing.assert_array_equal(own - np.diag(np.diag(own)), 0)
        assert np.all(np.diag(own) > 0)
        assert np.abs(dx[np.ix_(changed, kept)]).min() > 0
        np.testing.assert_array_equal(dc[kept], 0)
        assert np.abs(dc[changed]).min() > 0
        np.testing.assert_array_equal(dscale[np.ix_(changed, changed)], 0)
        assert np.abs(dscale[np.ix_(changed, kept)]).max() > 1e-6


@pytest.mark.parametrize("n", [1, 2, 5, 48])
def test_masks_keep_a_half_and_then_the_other(n):
    masks = alternating_masks(6, n, groups=3, seed=n)
    assert masks.shape == (6, 3, n) and masks.dtype == np.float32
    np.testing.assert_array_equal(masks[::2] + masks[1::2], 1)
    kept = masks.sum(axis=2)
    assert kept.min() >= n // 2 and kept.max() <= n - n // 2
    if n == 48:
        assert len({row.tobytes() for row in masks[::2].reshape(-1, n)}) == 9


def test_missing_entries_of_y_do_not_matter_observed_ones_do(make_problem, randomise, x64):
    task, flow = make_problem("tokens")
    params, m = _random(flow, randomise), _measurement(task)
    x = _everything(flow, params, m, _z(flow))[0]
    filled = m.replace(y=jnp.where(m.mask == 1, m.y, 0.77))
    np.testing.assert_array_equal(_everything(flow, params, filled, _z(flow))[0], x)
    moved = m.replace(y=m.y + 0.1 * m.mask)
    assert np.abs(_everything(flow, params, moved, _z(flow))[0] - x).max() > 1e-3


@pytest.mark.parametrize("name", ["tokens", "pooled"])
def test_what_the_networks_are_told(make_problem, x64, name):
    task, flow = make_problem(name)
    m, prior = _measurement(task), task.prior
    context = jit(flow.context)(m)
    mean, std, back, mask = np.asarray(context.condition)
    scale, exact = np.sqrt(np.diag(prior.covariance())), np.asarray(context.base.covariance())
    np.testing.assert_allclose(prior.mean + scale * mean, context.base.mean, rtol=1e-9)
    np.testing.assert_allclose(scale * np.exp(std), np.sqrt(np.diag(exact)), rtol=1e-6)
    if name == "tokens":
        np.testing.assert_array_equal(mask, m.mask.reshape(-1))
        np.testing.assert_allclose(
            scale * back, mask * (np.asarray(m.y).reshape(-1) - np.asarray(prior.mean)), atol=1e-9
        )
    else:  # the transpose of a mean over four pixels hands a quarter to each
        difference = np.asarray(m.y)[..., 0] - np.asarray(prior.mean).reshape(2, 2, 2, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(scale * back, np.kron(difference, np.full((2, 2), 0.25)).reshape(-1), atol=1e-9)
        np.testing.assert_array_equal(mask, 1)


@flax.struct.dataclass
class _Told:
    """The context of a base that says more of its measurement."""

    posterior: object
    extra: jax.Array

    def __getattr__(self, name):
        return getattr(self.posterior, name)


def test_extra_conditions_reach_the_flow(make_problem, randomise):
    task, flow = make_problem("tokens", n_extra=2)
    params, m, z = _random(flow, randomise), _measurement(task), jnp.linspace(-1, 1, 12)
    draw = jit(lambda extra: flow.forward(params, z, flow.context(m, extra))[0])
    outs = [np.asarray(draw(jnp.array(extra))) for extra in ([0.1, 0.2], [0.5, 0.2], [0.1, 0.6])]
    for other in outs[1:]:
        assert np.abs(other - outs[0]).max() > 1e-4
    for extra in (None, jnp.zeros(3)):
        with pytest.raises(ValueError, match=r"extra must have shape \(2,\)"):
            flow.context(m, extra)

    class Base:
        def context(self, measurement):
            return _Told(flow.base.context(measurement), jnp.array([0.1, 0.2]))

    told = jit(lambda m: flow.replace(base=Base()).context(m).extra)(m)
    np.testing.assert_allclose(told, [0.1, 0.2])


def _n_equations(jaxpr):
    """Equations of a jaxpr and of all inside it."""
    inner = (
        p
        for eqn in jaxpr.eqns
        for p in jax.tree.leaves(eqn.params, is_leaf=lambda q: hasattr(q, "eqns") or hasattr(q, "jaxpr"))
    )
    inside = (getattr(p, "jaxpr", p) for p in inner if hasattr(p, "eqns") or hasattr(p, "jaxpr"))
    return len(jaxpr.eqns) + sum(_n_equations(j) for j in inside)


@pytest.mark.parametrize("name", ["tokens"])
def test_the_program_does_not_grow_with_the_couplings(make_problem, name):
    sizes = []
    for steps in (2, 12):
        task, flow = make_problem(name, steps=steps)
        context = jax.eval_shape(flow.context, _measurement(task))

        def loss(params, z, context, flow=flow):
            x, log_det = flow.forward(params, z, context)
            return jnp.sum(x**2) + log_det + jnp.sum(flow.inverse(params, x, context)[0])

        params = jax.eval_shape(flow.init, jax.random.key(0))
        sizes.append(_n_equations(jax.make_jaxpr(jax.grad(loss))(params, jnp.zeros(flow.dim), context).jaxpr))
    assert sizes[0] == sizes[1] > 100


@pytest.mark.slow
def test_a_density_in_the_plane_integrates_to_one(make_prior, randomise, x64):
    prior = make_prior(d=2, k=1, shape=(1, 2))
    base = PosteriorBase(prior, 0.1)
    small = {"steps": 4, "width": 4, "condition_width": 4, "condition_depth": 1, "heads": 2}
    flow = TokenFlow(base, prior.mean, jnp.ones(2) * 0.1, (1, 2), grid_patches((1, 2), (1, 2)), **small)
    posterior = AmortizedPosterior(
        Task(Identity((1, 2)), 0.1, prior, jnp.zeros((1, 1, 2))), flow, _random(flow, randomise, 0.5)
    )
    m = Measurement(jnp.array([[0.3, 0.7]]))
    samples = np.asarray(posterior.sample(jax.random.key(0), m, 4000)).reshape(-1, 2)
    low, high = samples.min(axis=0), samples.max(axis=0)
    low, high = low - 0.6 * (high - low), high + 0.6 * (high - low)
    axes = [np.linspace(a, b, 300) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(np.asarray(posterior.log_prob(jnp.asarray(grid).reshape(-1, 1, 2), m))) * np.prod(
        [a[1] - a[0] for a in axes]
    )
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(
        samples.mean(axis=0), mass @ grid, atol=float(4 * samples.std(axis=0).max() / np.sqrt(4000))
    )


@pytest.mark.long
@pytest.mark.parametrize("name", ["tokens"])
def test_training_mends_a_wrong_base(make_problem, make_prior, name):
    """The base believes in another mean and half the spread. The objective falls towards that of the true posterior,
    its lower bound.
    """
    shape = SHAPES[name]
    right = make_prior(d=int(np.prod(shape)), k=5, shape=shape)
    wrong = right.replace(mean=right.mean + 0.1, rest=right.rest / 4, excess=right.excess / 4)
    task, flow = make_problem(name, base_prior=wrong, condition_width=16, width=16)
    exact = make_problem(name)[1].base
    x0 = right.sample(jax.random.key(0), 24)
    params = jit(flow.init)(jax.random.key(1, impl="rbg"))
    optimizer = optax.adam(3e-3)

    def loss(params, key, flow=flow):
        k_measure, k_loss = jax.random.split(key)
        return (
            objective.ReverseDivergence("exact")(
                flow, params, Target(task.operator, SIGMA_Y, right), k_loss, task.measure(k_measure, x0)
            )[0]
            / flow.dim
        )

    @jit
    def train(params, keys):
        def step(carry, key):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, key)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    values = np.asarray(train(params, jax.random.split(jax.random.key(2), 120)))

    @jit
    def floor(key):  # a flow without parameters: the posterior in closed form
        return loss({}, key, ClosedFormGaussian(exact.prior, SIGMA_Y, exact.operator))

    best = np.mean([float(floor(k)) for k in jax.random.split(jax.random.key(3), 10)])
    start, end = values[0] - best, values[-20:].mean() - best
    assert start > 0.5
    assert -0.05 < end < 0.1 * start
