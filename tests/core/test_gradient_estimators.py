"""Gradient of the reverse divergence: path and total have one expectation, and at the posterior the path is silent."""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments.reopened_flow import ReopenedFlow
from aps_core import GaussianBlur, Identity, RandomMask, SaturatingSensor, Task
from aps_core.flows import build_flow
from aps_core.flows.wrappers import TemperedFlow
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.priors.terms import PriorTerm, mean_in_turn
from aps_core.training import objective
from aps_core.training.objective import ESTIMATORS, log_prob_of_sample
from aps_core.training.subspace_prior import fit_subspace_gaussian, start_subspace_prior

SIGMA_Y, SHAPE = 0.1, (2, 2)
TOKENS = {"kind": "grid", "size": [1, 2]}


def _prior(make_prior, shape=SHAPE):
    return make_prior(d=int(np.prod(shape)), k=3, shape=shape)


def _task(prior, operator=None):
    return Task(operator or Identity(prior.shape), SIGMA_Y, prior, unit_range=False)


def _network_prior(gaussian):
    """A NetworkPrior on 2 x 2 x 1 images whose network has random weights."""
    network = PatchTransformer(image_patches((2, 2, 1), 1), width=4, depth=1, heads=1)
    return init_network_prior(jax.random.key(0), gaussian, network)


def _subspace(signals=24, d=6, k=3, scale=0.0):
    """A SubspacePrior of ``d`` places, its network zero: the Gaussian."""
    rng = np.random.default_rng(0)
    values = 0.5 + 0.2 * rng.normal(size=(signals, k)) @ rng.normal(size=(k, d)) + 0.02 * rng.normal(size=(signals, d))
    network = {"kind": "local", "width": 4, "depth": 1, "context": 2, "site": 2, "time_width": 4}
    prior = start_subspace_prior(
        fit_subspace_gaussian(values.astype(np.float32), k), rng.uniform(size=(d, 2)), network, 1
    )
    move = lambda a: a + scale * jnp.asarray(rng.normal(size=a.shape), jnp.float32)  # noqa: E731
    return prior.replace(inner=prior.inner.replace(params=jax.tree.map(move, prior.inner.params)))


def make(kind, make_prior):
    """(task, flow) of a kind of flow under a Gaussian prior; for "subspace" under one that is Gaussian too."""
    if kind == "subspace":
        prior = _subspace()
        task = _task(prior, RandomMask(prior.shape, 0.3))
        return task, build_flow(task, {"kind": "subspace", "steps": 2, "width": 4, "copy": False})
    if kind in ("distilled", "reopened"):
        gaussian = _prior(make_prior, (2, 2, 1))
        task = _task(gaussian)
        learned = replace(task, prior=_network_prior(gaussian))
        flow = build_flow(learned, {"kind": "distilled", "steps": 2, "width": 4, "copy": False})
        if kind == "distilled":
            return task, flow
        return task, ReopenedFlow(flow, flow.init(jax.random.key(1)))
    if kind == "through-sensor":
        prior = _prior(make_prior, (3, 3))
        task = _task(prior, SaturatingSensor(GaussianBlur((3, 3), 0.6), 2.0))
        settings = {"kind": "realnvp", "steps": 1, "width": 4}
        return task, build_flow(task, {"kind": "through-sensor", "flow": settings, "sigma_y": 0.1})
    prior = _prior(make_prior)
    task = _task(prior, RandomMask(SHAPE, 0.5) if kind == "gaussian-base" else None)
    flows = {
        "gaussian-base": {"k": 3, "steps": 2, "width": 4},
        "realnvp": {"steps": 2, "width": 4},
        "tokens": {"tokens": TOKENS, "steps": 2, "width": 4, "condition_width": 4, "condition_depth": 1, "heads": 1},
    }
    flow = build_flow(
        task, {"kind": "realnvp" if kind == "tempered" else kind, **flows["realnvp" if kind == "tempered" else kind]}
    )
    return task, TemperedFlow(flow, 0.8) if kind == "tempered" else flow


def _doubled(tree):
    """Parameters in the default precision."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), tree)


def _loss(task, flow, measurement):
    """loss(params, key, estimator): one sample of one measurement; a subspace flow's in its coordinates."""
    modal = None
    if hasattr(flow, "local"):
        modal = jax.tree.map(lambda a: a[None], flow.context(jax.tree.map(lambda a: a[0], measurement)).modal)

    def loss(params, key, estimator):
        if modal is not None:
            return objective.ModalDivergence(estimator=estimator)(flow, params, task.prior, key, modal)[0]
        return objective.ReverseDivergence("exact", estimator=estimator)(flow, params, task, key, measurement)[0]

    return loss


def _measurement(task):
    gaussian = task.prior.gaussian
    x0 = gaussian.sample(jax.random.key(3), 1).reshape(1, *task.shape)
    return task.measure(jax.random.key(4), x0)


KINDS = ["tempered"]  # a realnvp inside
KINDS += [
    pytest.param(kind, marks=pytest.mark.slow) for kind in ("realnvp", "gaussian-base", "subspace", "through-sensor")
]
KINDS += [pytest.param(kind, marks=pytest.mark.long) for kind in ("distilled", "tokens", "reopened")]


@pytest.mark.parametrize("kind", KINDS)
def test_path_and_total_have_the_same_expectation(kind, make_prior, randomise):
    """Along random directions, over many samples, for parameters that are far from the optimum: 5 standard errors."""
    task, flow = make(kind, make_prior)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(0)), 0.1)
    loss, directions = _loss(task, flow, _measurement(task)), [randomise(params, 1.0, seed) for seed in (2, 3)]
    stacked = jax.tree.map(lambda p, *d: jnp.stack(d) - p, params, *directions)

    @jax.jit
    def slopes(keys):
        def along(key, direction):
            slope = lambda estimator: jax.jvp(lambda p: loss(p, key, estimator), (params,), (direction,))[1]  # noqa: E731
            return jnp.stack([slope(estimator) for estimator in ESTIMATORS])

        return jax.lax.map(lambda k: jax.vmap(along, (None, 0))(k, stacked), keys, batch_size=500)

    found = np.asarray(slopes(jax.random.split(jax.random.key(5), 3000)), np.float64)  # (keys, directions, 2)
    difference = found[..., 0] - found[..., 1]
    error = difference.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(error > 0) and np.all(difference.std(axis=0) > 1e-3)  # they are not the same number
    assert np.all(np.abs(difference.mean(axis=0)) < 5 * error)


@flax.struct.dataclass
class Diagonal:
    """x = m + exp(s) z: its divergence from a Gaussian is known."""

    dim: int = flax.struct.field(pytree_node=False)

    @property
    def shape(self):
        return (self.dim,)

    def context(self, measurement):
        return measurement.y

    def forward(self, params, z, context):
        return context + params["m"] + jnp.exp(params["s"]) * z, jnp.sum(params["s"])

    def inverse(self, params, x, context):
        return (x - context - params["m"]) * jnp.exp(-params["s"]), -jnp.sum(params["s"])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_both_have_the_gradient_of_the_closed_form(estimator, make_prior):
    """KL of diagonal Gaussians from the posterior of denoising, differentiated by JAX: 5 standard errors each."""
    prior = make_prior(d=4, k=3)
    task, flow = _task(prior), Diagonal(4)
    params = {"m": jnp.array([0.05, -0.1, 0.0, 0.1]), "s": jnp.array([-2.0, -3.0, -1.5, -2.5])}
    measurement, covariance = _measurement(task), np.asarray(prior.covariance(), np.float64)
    precision = np.linalg.inv(covariance) + np.eye(4) / SIGMA_Y**2
    y, mean = np.asarray(measurement.y[0], np.float64), np.asarray(prior.mean, np.float64)
    centre = np.linalg.solve(precision, np.linalg.solve(covariance, mean) + y / SIGMA_Y**2)

    def kl(p):
        away = measurement.y[0] + p["m"] - centre
        return 0.5 * (jnp.sum(jnp.diag(precision) * jnp.exp(2 * p["s"])) + away @ precision @ away) - jnp.sum(p["s"])

    loss = _loss(task, flow, measurement)
    gradients = jax.jit(jax.vmap(jax.grad(lambda p, k: loss(p, k, estimator)), in_axes=(None, 0)))
    found = gradients(params, jax.random.split(jax.random.key(6), 20_000))
    for name, exact in jax.grad(kl)(params).items():
        error = np.asarray(found[name]).std(axis=0, ddof=1) / np.sqrt(20_000)
        assert np.all(np.abs(np.asarray(found[name]).mean(axis=0) - exact) < 5 * error)
        assert np.any(np.abs(exact) > 20 * error)  # there is something to find


@pytest.mark.parametrize(
    "kind, precision, tolerance",
    [
        pytest.param("gaussian-base", "float64", 1e-6, marks=pytest.mark.slow),
        pytest.param("subspace", "float64", 1e-6, marks=pytest.mark.slow),
        pytest.param("distilled", "float64", 1e-6, marks=pytest.mark.slow),
        pytest.param("distilled", "float32", 1e-3, marks=pytest.mark.slow),
        pytest.param("tokens", "float64", 1e-6, marks=pytest.mark.long),
    ],
)
def test_the_path_gradient_of_a_single_sample_is_zero_at_the_posterior(kind, precision, tolerance, make_prior):
    """These flows start as the posterior under a Gaussian prior: the total gradient of one sample is of order one there,
    the path's is rounding.
    """
    with jax.enable_x64(precision == "float64"):
        task, flow = make(kind, make_prior)
        params, loss = _doubled(flow.init(jax.random.key(0))), _loss(task, flow, _measurement(task))
        norms = {}
        for estimator in ESTIMATORS:
            gradient = jax.jit(jax.grad(lambda p, e=estimator: loss(p, jax.random.key(8), e)))(params)
            norms[estimator] = float(np.sqrt(sum(np.sum(np.square(a)) for a in jax.tree.leaves(gradient))))
    assert norms["total"] > 0.1
    assert norms["path"] < tolerance * norms["total"]


def test_the_path_gradient_of_one_sample_is_zero_where_an_affine_flow_is_the_posterior(make_prior):
    """Under a Gaussian of independent entries, whose posterior of denoising is affine in z: only the total has a gradient."""
    prior = make_prior(d=4, k=3, leading=0.0, rest=0.02)
    task, flow = _task(prior), Diagonal(4)
    measurement = _measurement(task)
    variance = 1 / (1 / 0.02 + 1 / SIGMA_Y**2)
    mean = variance * (prior.mean / 0.02 + measurement.y[0] / SIGMA_Y**2)
    params = {"m": mean - measurement.y[0], "s": jnp.full(4, 0.5 * np.log(variance))}
    loss = _loss(task, flow, measurement)
    gradients = jax.jit(jax.jacrev(lambda p: jnp.stack([loss(p, jax.random.key(8), one) for one in ESTIMATORS])))(
        params
    )
    norms = dict(zip(ESTIMATORS, np.sqrt(sum(np.sum(np.square(a), axis=1) for a in gradients.values())), strict=True))
    assert norms["total"] > 0.1
    assert norms["path"] < 1e-4 * norms["total"]


@pytest.mark.slow
def test_times_in_turn_are_the_same_mean_and_gradient(make_score_prior, x64):
    """The control variate's times side by side, one after another, and in pairs with one left over."""
    prior, key, u = make_score_prior(d=4, k=3), jax.random.key(0), jnp.linspace(0.1, 0.9, 5)
    x = prior.gaussian.sample(jax.random.key(1), 3)

    def value_and_slopes(at_once):
        term = lambda xi: PriorTerm("control-variate", times_at_once=at_once)(prior, xi, u, key)  # noqa: E731
        return jax.jit(jax.vmap(jax.value_and_grad(term)))(x)

    together = value_and_slopes(None)
    for at_once in (1, 2, 5):
        for one, other in zip(value_and_slopes(at_once), together, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


def test_draws_in_turn_keep_a_factor_and_stop_what_is_fixed():
    square = lambda a, x, draw: a * jnp.sum(x**2) + draw  # noqa: E731
    x, draws = jnp.array([1.0, 2.0]), jnp.arange(3.0)
    value, slope = jax.value_and_grad(lambda x: 5 * mean_in_turn(square, 2, 3.0, x, draws))(x)
    assert float(value) == pytest.approx(5 * (15 + 1))
    np.testing.assert_allclose(slope, 5 * 6 * x)
    assert float(mean_in_turn(square, 2, 3.0, x, draws)) == pytest.approx(16)


def test_an_unknown_estimator_is_named():
    with pytest.raises(ValueError, match=r"estimator must be one of \('path', 'total'\), got 'score'"):
        log_prob_of_sample("score", jnp.zeros(2), 0.0, None, {})
