"""Conditional flows with random parameters: bijections with exact densities, whatever they have learned."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import everything

from aps_core import AmortizedPosterior, Identity, Measurement, RandomMask, Task
from aps_core.flows import build_flow
from aps_core.flows.closed_form import ClosedFormGaussian
from aps_core.flows.coupling import CouplingStack, FlowStep, strided_permutations
from aps_core.flows.modal import GaussianBaseFlow
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.flows.wrappers import TemperedFlow, tempered
from aps_core.priors.gaussian import GaussianPrior

SHAPE, DIM, SIGMA_Y = (2, 5), 10, 0.05
NAMES = ("realnvp", "realnvp with mask", "whitened", "gaussian base", "wrong base", "closed form", "tempered")


@pytest.fixture
def make_flow(make_prior):
    """make_flow(name): the flow over signals of 10 entries."""

    def make(name, steps=3):
        prior = make_prior(d=DIM, k=6, shape=SHAPE)
        if name.startswith("realnvp"):
            spread = jnp.sqrt(jnp.diag(prior.covariance()))
            return ConditionalRealNVP(
                prior.mean, spread, SHAPE, steps=steps, width=7, use_mask="mask" in name, shortcut="mask" in name
            )
        if name == "whitened":
            task = Task(Identity(SHAPE), SIGMA_Y, prior, jnp.zeros((1, *SHAPE)))
            return ConditionalRealNVP.for_task(task, whitened=True, linear=True, steps=steps, width=7)
        if name == "tempered":
            return TemperedFlow(make("realnvp", steps), 0.6)
        if name == "closed form":
            return ClosedFormGaussian(prior, SIGMA_Y)
        wrong = dict(inflate=2.0, offset_std=1.0) if name == "wrong base" else {}
        return GaussianBaseFlow(prior, SIGMA_Y, k=4, steps=steps, width=7, **wrong)

    return make


@pytest.fixture
def measurement(make_prior):
    prior = make_prior(d=DIM, k=6, shape=SHAPE)
    return Task(RandomMask(SHAPE, 0.4), SIGMA_Y, prior, jnp.zeros((1, *SHAPE))).measure(
        jax.random.key(5), prior.sample(jax.random.key(4), 1)[0]
    )


@cache
def _compiled(call):
    return jax.jit(call)


_everything = _compiled(everything)


Z = np.concatenate([np.zeros((1, DIM)), np.random.default_rng(1).normal(size=(5, DIM))])


@cache
def _initial(kind, dim, steps):
    """Initial parameters; those of a base do not depend on whether it is wrong."""
    zeros = jnp.zeros(dim)
    if kind == "base":
        flow = GaussianBaseFlow(
            GaussianPrior(zeros, jnp.eye(dim, 6), jnp.ones(6), jnp.ones(()), SHAPE), SIGMA_Y, k=4, steps=steps, width=7
        )
    else:
        flow = ConditionalRealNVP(zeros, zeros + 1, SHAPE, steps=steps, width=7)
    return jax.tree.map(np.asarray, jax.jit(flow.init)(jax.random.key(0)))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_and_log_det_in_double_precision(make_flow, randomise, measurement, x64, name):
    flow = make_flow(name)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.3)
    x, log_det, back, inverse_log_det, jacobian = (
        np.asarray(a) for a in _everything(flow, params, measurement, jnp.asarray(Z))
    )
    assert x.dtype == np.float64
    np.testing.assert_allclose(back, Z, atol=1e-8)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-8)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-6 * DIM)
    if name != "closed form":  # the parameters do something: the log-det is not constant
        assert np.ptp(log_det) > 1e-3


@pytest.mark.parametrize("name", ["realnvp", "gaussian base"])
def test_round_trip_in_single_precision_at_full_depth(make_flow, randomise, measurement, name):
    flow = make_flow(name, steps=24)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.1)
    both = jax.jit(lambda z, context: (out := flow.forward(params, z, context), flow.inverse(params, out[0], context)))
    z = jax.random.normal(jax.random.key(1), (50, DIM))
    (x, log_det), (back, inverse_log_det) = jax.vmap(both, (0, None))(z, jax.jit(flow.context)(measurement))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(back, z, atol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-4 * DIM)


def test_a_new_realnvp_is_its_location_and_scale(make_flow, measurement, x64):
    flow, params = make_flow("realnvp"), _initial("realnvp", DIM, 3)
    params = {**params, "out": {"loc": flow.loc, "log_scale": jnp.log(flow.scale)}}
    x, log_det, *_ = _everything(flow, _double(params), measurement, jnp.asarray(Z))
    np.testing.assert_allclose(x, flow.loc + flow.scale * Z, atol=1e-9)
    np.testing.assert_allclose(log_det, np.full(6, np.sum(np.log(flow.scale))), atol=1e-9)


def test_a_new_whitened_realnvp_has_the_spread_of_the_closed_form_about_the_prior(
    make_flow, make_prior, measurement, x64
):
    flow, prior = make_flow("whitened"), make_prior(d=DIM, k=6, shape=SHAPE)
    params = _double(jax.jit(flow.init)(jax.random.key(0)))
    x, log_det, *_, jacobian = (np.asarray(a) for a in _everything(flow, params, measurement, jnp.asarray(Z)))
    covariance = np.asarray(prior.covariance())
    posterior = np.linalg.inv(np.linalg.inv(covariance) + np.eye(DIM) / SIGMA_Y**2)
    np.testing.assert_allclose(x[0], prior.mean, atol=1e-9)
    np.testing.assert_allclose(jacobian[0] @ jacobian[0].T, posterior, atol=1e-9)
    np.testing.assert_allclose(log_det, np.full(6, 0.5 * np.linalg.slogdet(posterior)[1]), atol=1e-8)
    # what the couplings see of y under the prior's Gaussian is white
    seen = np.asarray(flow.whitening.basis / flow.whitening.data_std)
    np.testing.assert_allclose(seen.T @ (covariance + SIGMA_Y**2 * np.eye(DIM)) @ seen, np.eye(DIM), atol=1e-9)


def test_paths_that_a_realnvp_cannot_have(make_prior):
    prior = make_prior(d=DIM, k=6, shape=SHAPE)
    signals = jnp.zeros((1, *SHAPE))
    denoising, masked = (Task(a, SIGMA_Y, prior, signals) for a in (Identity(SHAPE), RandomMask(SHAPE, 0.4)))
    with pytest.raises(ValueError, match="whitened is for denoising, got the operator RandomMask"):
        ConditionalRealNVP.for_task(masked, whitened=True)
    with pytest.raises(ValueError, match="use_mask must be false"):
        ConditionalRealNVP.for_task(denoising, whitened=True, use_mask=True)
    with pytest.raises(ValueError, match="conditional = false does not see"):
        ConditionalRealNVP.for_task(denoising, linear=True, conditional=False)
    with pytest.raises(TypeError, match="whitened must be True or False, got 'yes'"):
        ConditionalRealNVP.for_task(denoising, whitened="yes")


@pytest.mark.parametrize(
    ("kind", "setting", "value", "message"),
    [
        ("realnvp", "use_mask", "false", "True or False, got 'false'"),
        ("realnvp", "shortcut", "no", "True or False"),
        ("realnvp", "conditional", 3, "True or False"),
        ("realnvp", "linear", 0, "True or False"),
        ("gaussian-base", "inflate", -1.0, "finite and positive"),
        ("gaussian-base", "offset_std", np.nan, "finite"),
        ("gaussian-base", "offset_std", "a", "a number"),
    ],
)
def test_settings_of_another_kind_are_named(make_prior, kind, setting, value, message):
    task = Task(RandomMask(SHAPE, 0.4), SIGMA_Y, make_prior(d=DIM, k=6, shape=SHAPE), jnp.zeros((1, *SHAPE)))
    with pytest.raises((TypeError, ValueError), match=f"flow '{kind}': {setting} must be {message}"):
        build_flow(task, {"kind": kind, **({"k": 2} if kind == "gaussian-base" else {}), setting: value})


def _double(params):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)


@pytest.mark.parametrize("name", ["gaussian base", "wrong base"])
def test_a_new_structured_flow_is_its_base(make_flow, measurement, x64, name):
    flow = make_flow(name)
    x, log_det, *_, jacobian = (
        np.asarray(a) for a in _everything(flow, _double(_initial("base", DIM, 3)), measurement, jnp.asarray(Z))
    )
    exact = jax.jit(ClosedFormGaussian(flow.prior, SIGMA_Y).context)(measurement)
    mean, cov = np.asarray(exact.mean), np.asarray(exact.covariance())
    np.testing.assert_allclose(x[0], mean + flow.offset_std * np.sqrt(np.diag(cov)), atol=1e-8)
    np.testing.assert_allclose(jacobian[0] @ jacobian[0].T, flow.inflate * cov, atol=1e-9)
    np.testing.assert_allclose(log_det, np.full(6, 0.5 * np.linalg.slogdet(flow.inflate * cov)[1]), atol=1e-8)


def test_what_a_flow_starts_from_is_part_of_its_parameters(make_flow):
    flow = make_flow("realnvp", steps=1)
    out = jax.jit(lambda key: flow.init(key)["out"])(jax.random.key(0))
    np.testing.assert_allclose(out["loc"], flow.loc)
    np.testing.assert_allclose(jnp.exp(out["log_scale"]), flow.scale, rtol=1e-6)


def test_directions_of_the_modes_are_orthonormal_and_standardize(make_flow, measurement, x64):
    flow = make_flow("gaussian base")
    context = jax.jit(flow.context)(measurement)
    o, basis = np.asarray(context.directions), np.asarray(flow.prior.basis)[:, :4]
    np.testing.assert_allclose(o.T @ o, np.eye(4), atol=1e-9)
    modes = basis.T @ np.asarray(context.posterior.covariance()) @ basis
    chol = np.asarray(context.modal.chol)
    np.testing.assert_allclose(chol @ chol.T, modes, rtol=1e-8, atol=1e-12)
    z = np.random.default_rng(0).normal(size=DIM)
    x, _ = context.posterior.forward(jnp.asarray(z))
    e = np.linalg.solve(chol, basis.T @ np.asarray(x - context.posterior.mean))
    np.testing.assert_allclose(o.T @ z, e, atol=1e-9)
    np.testing.assert_allclose(
        context.modal.mean, basis.T @ np.asarray(context.posterior.mean - flow.prior.mean), atol=1e-9
    )


@pytest.mark.parametrize(
    "name", ["realnvp with mask", pytest.param("wrong base", marks=pytest.mark.slow), "closed form"]
)
def test_log_prob_agrees_with_sampling(make_flow, randomise, measurement, name):
    flow = make_flow(name)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.2)
    task = Task(
        RandomMask(SHAPE, 0.4),
        SIGMA_Y,
        getattr(flow, "prior", None) or make_flow("closed form").prior,
        jnp.zeros((1, *SHAPE)),
    )
    posterior = AmortizedPosterior(task, flow, params)
    x, log_q = posterior.sample_and_log_prob(jax.random.key(0), measurement, 20)
    assert x.shape == (20, *SHAPE) and log_q.shape == (20,)
    np.testing.assert_allclose(posterior.log_prob(x, measurement), log_q, atol=1e-4 * DIM)


def test_temperature_scales_the_spread_of_samples(make_flow, measurement):
    """Of a Gaussian samples move to the mean, which stays."""
    flow = make_flow("closed form")
    posterior = AmortizedPosterior(
        Task(RandomMask(SHAPE, 0.4), SIGMA_Y, flow.prior, jnp.zeros((1, *SHAPE))), flow, {}, {"name": "closed"}
    )
    full, cool = (
        np.asarray(p.sample(jax.random.key(0), measurement, 8)) for p in (posterior, tempered(posterior, 0.5))
    )
    mean = np.asarray(flow.context(measurement).mean).reshape(SHAPE)
    np.testing.assert_allclose(cool - mean, 0.5 * (full - mean), atol=1e-6)
    assert tempered(posterior, 0.5).card == {"temperature": 0.5}  # it is not what the weights of that name are
    with pytest.raises(ValueError, match="temperature must be finite and positive, got 0.0"):
        tempered(posterior, 0.0)


def test_a_density_in_the_plane_integrates_to_one(randomise, x64):
    flow = ConditionalRealNVP(jnp.array([0.4, 0.6]), jnp.array([0.2, 0.1]), (2,), steps=3, width=6)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.5, seed=3)
    task = Task(Identity((2,)), 0.1, _Shape((2,)), jnp.zeros((1, 2)))
    posterior, m = AmortizedPosterior(task, flow, params), Measurement(jnp.array([0.3, 0.7]))
    samples = np.asarray(posterior.sample(jax.random.key(0), m, 4000))
    low, high = samples.min(axis=0), samples.max(axis=0)
    low, high = low - 0.6 * (high - low), high + 0.6 * (high - low)
    axes = [np.linspace(a, b, 500) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(np.asarray(posterior.log_prob(jnp.asarray(grid), m))) * np.prod([a[1] - a[0] for a in axes])
    assert density.sum() == pytest.approx(1, abs=2e-3)
    # and it is the density of the samples: moments by the grid and by sampling agree
    mean, std = density @ grid, samples.std(axis=0)
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=float(4 * std.max() / np.sqrt(4000)))
    spread = samples - mean
    np.testing.assert_allclose(
        spread.T @ spread / 4000, (grid - mean).T * density @ (grid - mean), atol=float(0.1 * std.max() ** 2)
    )


class _Shape:
    """All that a task asks of a prior."""

    def __init__(self, shape):
        self.shape = shape


def test_coupling_networks_see_the_unchanged_half_and_the_condition(randomise, x64):
    dim, half = 7, 3
    step = FlowStep(dim, 5)
    params = randomise(jax.eval_shape(lambda k: step.init(k, 3), jax.random.key(0)), 0.5)
    silent = jax.tree.map(jnp.zeros_like, params)  # a coupling whose network says zero changes nothing

    @jax.jit
    def derivatives(p, x, condition):
        forward = lambda x, c: step.forward(p, x, c, 2 * (np.arange(dim),))[0]  # noqa: E731
        diagonal = lambda x: jnp.diag(jax.jacfwd(forward)(x, condition))  # noqa: E731
        return *jax.jacfwd(forward, argnums=(0, 1))(x, condition), jax.jacfwd(diagonal)(x)

    a, b = np.arange(half), np.arange(half, dim)
    for active, kept, changed in (("first", a, b), ("second", b, a)):
        found = derivatives({**silent, active: params[active]}, jnp.linspace(-1, 1, dim), jnp.array([0.3, -0.2, 0.9]))
        dx, dc, dscale = (np.asarray(d) for d in found)
        np.testing.assert_array_equal(dx[kept], np.eye(dim)[kept])  # passes unchanged
        own = dx[np.ix_(changed, changed)]
        np.testing.assert_array_equal(own - np.diag(np.diag(own)), 0)  # elementwise in the changed half
        assert np.all(np.diag(own) > 0)
        assert np.abs(dx[np.ix_(changed, kept)]).min() > 0  # and given all of the kept one
        np.testing.assert_array_equal(dc[kept], 0)
        assert np.abs(dc[changed]).min() > 0
        # what multiplies depends on the kept half alone
        np.testing.assert_array_equal(dscale[np.ix_(changed, changed)], 0)
        assert np.abs(dscale[np.ix_(changed, kept)]).max() > 1e-6


@pytest.mark.parametrize("dim", [2, 5, 12, 256])
def test_permutations_mix_all_entries(dim):
    rows = strided_permutations(dim, 24)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(dim), (24, 1)))
    if dim > 4:
        assert len({tuple(row) for row in rows}) > 3


def test_the_gradient_of_a_stack_is_that_of_forward_mode_and_scatters_nothing(randomise, x64):
    stack = CouplingStack(9, 6, steps=3, shortcut=True)
    params = randomise(jax.eval_shape(lambda k: stack.init(k, 2), jax.random.key(0)), 0.5)
    weights = jnp.linspace(-1, 1, 9)
    for apply in (stack.forward, stack.inverse):

        def value(z, c, params, apply=apply):
            x, log_det = apply(params, z, c)
            return weights @ x + log_det

        point = jnp.linspace(-1, 2, 9), jnp.array([0.1, -0.4])
        reverse = jax.grad(value, argnums=(0, 1))
        for found, true in zip(
            jax.jit(reverse)(*point, params), jax.jit(jax.jacfwd(value, argnums=(0, 1)))(*point, params), strict=True
        ):
            np.testing.assert_allclose(found, true, atol=1e-12)
            assert np.abs(np.asarray(true)).min() > 1e-6
        batched = jax.vmap(jax.grad(value, argnums=(0, 1, 2)), (0, 0, None))
        program = jax.jit(batched).lower(*(jnp.stack([a, a]) for a in point), params).as_text()
        # a scatter of a batch takes longer on CPU than the networks do
        assert "gather" in program and "scatter" not in program


def test_every_output_depends_on_every_input(randomise, x64):
    stack = CouplingStack(9, 6, steps=3)
    params = randomise(jax.eval_shape(lambda k: stack.init(k, 2), jax.random.key(0)), 0.5)
    condition = jnp.array([0.1, -0.4])
    jacobian = jax.jit(jax.jacfwd(lambda z: stack.forward(params, z, condition)[0]))(jnp.linspace(-1, 1, 9))
    assert np.abs(np.asarray(jacobian)).min() > 0


@pytest.mark.parametrize("name", ["realnvp with mask", "gaussian base", "closed form"])
def test_missing_entries_of_y_do_not_matter_observed_ones_do(make_flow, randomise, measurement, x64, name):
    flow = make_flow(name)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.3)
    x = _everything(flow, params, measurement, jnp.asarray(Z))[0]
    filled = measurement.replace(y=jnp.where(measurement.mask == 1, measurement.y, 0.77))
    np.testing.assert_array_equal(_everything(flow, params, filled, jnp.asarray(Z))[0], x)
    moved = measurement.replace(y=measurement.y + 0.1 * measurement.mask)
    assert np.abs(_everything(flow, params, moved, jnp.asarray(Z))[0] - x).max() > 1e-3


def test_the_mask_is_a_condition_only_where_asked_for(make_flow, randomise, measurement, x64):
    """Where y equals loc, hiding it changes nothing but the mask."""
    at_loc = measurement.replace(y=make_flow("realnvp").loc.reshape(SHAPE), mask=jnp.ones_like(measurement.mask))
    hidden = at_loc.replace(mask=measurement.mask)
    changes = {}
    for name in ("realnvp", "realnvp with mask"):
        flow = make_flow(name)
        params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.3)
        outs = [_everything(flow, params, m, jnp.asarray(Z))[0] for m in (at_loc, hidden)]
        changes[name] = float(np.abs(outs[0] - outs[1]).max())
    assert changes["realnvp"] == 0 and changes["realnvp with mask"] > 1e-3


def _n_equations(jaxpr):
    """Equations of a jaxpr and of all inside it."""
    inner = (
        p
        for eqn in jaxpr.eqns
        for p in jax.tree.leaves(eqn.params, is_leaf=lambda q: hasattr(q, "eqns") or hasattr(q, "jaxpr"))
    )
    inside = (getattr(p, "jaxpr", p) for p in inner if hasattr(p, "eqns") or hasattr(p, "jaxpr"))
    return len(jaxpr.eqns) + sum(_n_equations(j) for j in inside)


@pytest.mark.parametrize("name", ["realnvp", "gaussian base"])
def test_the_program_does_not_grow_with_depth(make_flow, measurement, name):
    sizes = []
    for steps in (2, 24):
        flow = make_flow(name, steps)

        def loss(params, z, flow=flow):
            context = flow.context(measurement)
            x, log_det = flow.forward(params, z, context)
            back, _ = flow.inverse(params, x, context)
            return jnp.sum(x**2) + log_det + jnp.sum(back)

        shapes = jax.eval_shape(flow.init, jax.random.key(0))
        params = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
        sizes.append(_n_equations(jax.make_jaxpr(jax.grad(loss))(params, jnp.zeros(DIM)).jaxpr))
    assert sizes[0] == sizes[1] > 100
