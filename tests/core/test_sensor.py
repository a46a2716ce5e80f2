"""A sensor that saturates: undone data, the linearized closed form and the flow behind it, against the linear problem
and brute force.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments.gauss_newton import LinearizedPosterior
from aps_core import (
    BicubicDownsample,
    GaussianBlur,
    Identity,
    Measurement,
    RandomMask,
    SaturatingSensor,
    Task,
    gaussian_posterior,
    load_task,
)
from aps_core.flows import build_flow
from aps_core.operators.base import Operator
from aps_core.priors.gaussian import GaussianPrior

SHAPE = (6, 6)


@pytest.fixture(scope="module")
def prior():
    from aps_core.priors.gaussian import fit_gaussian

    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(400, 6, 1)) + 0.5 * rng.normal(size=(400, 1, 6)) + 0.2 * rng.normal(size=(400, 6, 6))
    return fit_gaussian((0.5 + 0.12 * smooth).astype(np.float32), n_modes=36, diagonal=1e-4)


def sensor_task(prior, gain, threshold, sigma_y=0.02):
    blur = GaussianBlur(SHAPE, 0.7)
    signals = np.asarray(prior.sample(jax.random.key(1), 4))
    return Task(SaturatingSensor(blur, gain, threshold), sigma_y, prior, signals, name="sensor", unit_range=False)


def test_undone_data_are_the_linear_ones():
    sensor = SaturatingSensor(GaussianBlur(SHAPE, 0.7), gain=2.0, threshold=1.5)
    z = jnp.linspace(-0.2, 1.2, 36).reshape(SHAPE)
    np.testing.assert_allclose(sensor.undo(sensor.response(z)), z, atol=2e-5)
    np.testing.assert_allclose(sensor.undo(jnp.full(SHAPE, 9.0)), 1.25, atol=1e-4)  # no answer is that bright


def test_a_sensor_that_hardly_saturates_leaves_the_closed_form(prior):
    """tanh(z / 100) 100 is linear to 1e-5: mean and covariance of Laplace's approximation are those of the linear
    problem.
    """
    task = sensor_task(prior, 1.0, 100.0)
    exact = gaussian_posterior(replace(task, operator=task.operator.inner))
    y = task.measure(jax.random.key(0), task.signals("test")[0])
    drawn = np.asarray(LinearizedPosterior(task).sample(jax.random.key(2), y, 4000)).reshape(4000, -1)
    context = exact.flow.context(y)
    push = jax.jit(jax.vmap(lambda z: exact.flow.forward({}, z, context)[0]))
    truth = np.asarray(push(jax.random.normal(jax.random.key(3), (20000, 36))))
    spread = truth.std(axis=0)
    assert np.abs((drawn.mean(axis=0) - truth.mean(axis=0)) / spread).max() < 0.1
    assert np.abs(drawn.std(axis=0) / spread - 1).max() < 0.06


def test_the_iteration_finds_the_most_probable_signal(prior):
    task = sensor_task(prior, 2.0, 1.0)
    y = task.measure(jax.random.key(0), task.signals("test")[1])
    laplace = LinearizedPosterior(task, 30)
    data, variance, _ = laplace.linearize(np.asarray(y.y, np.float64).reshape(-1))
    covariance = np.asarray(prior.basis * (prior.excess), np.float64) @ np.asarray(prior.basis).T + float(
        prior.rest
    ) * np.eye(36)
    k = laplace.predicted + np.diag(variance)
    x = laplace.mean + laplace.cross @ np.linalg.solve(k, data - laplace.matrix @ laplace.mean)
    slope = lambda x: jax.grad(lambda v: task.log_likelihood(v.reshape(SHAPE), y))(jnp.asarray(x, jnp.float32))  # noqa: E731
    at_map = np.asarray(slope(x)) - np.linalg.solve(covariance, x - laplace.mean)
    at_mean = np.asarray(slope(laplace.mean))
    assert np.linalg.norm(at_map) < 2e-3 * np.linalg.norm(at_mean)


def test_flow_behind_the_sensor_is_the_linear_one_given_undone_data(prior):
    task = sensor_task(prior, 2.0, 1.0)
    linear = replace(task, operator=task.operator.inner, sigma_y=0.03)
    inner = {"kind": "realnvp", "steps": 2, "width": 8}
    flow, plain = (
        build_flow(task, {"kind": "through-sensor", "sigma_y": 0.03, "flow": inner}),
        build_flow(linear, inner),
    )
    params = jax.jit(flow.init)(jax.random.key(0))
    y = task.measure(jax.random.key(1), task.signals("test")[0])
    z = jax.random.normal(jax.random.key(2), (36,))
    context = flow.context(y)
    x, log_det = jax.jit(flow.forward)(params, z, context)
    same, _ = jax.jit(plain.forward)(params, z, plain.context(Measurement(task.operator.undo(y.y))))
    np.testing.assert_allclose(x, same, atol=1e-6)
    back, other = jax.jit(flow.inverse)(params, x, context)
    np.testing.assert_allclose(back, z, atol=1e-3)
    assert abs(float(log_det + other)) < 1e-2
    assert (flow.dim, tuple(flow.shape)) == (36, SHAPE)


class Unbounded(Operator):
    """A linear operator that does not say which data it gives."""

    kind, linear, data_range = "unbounded", True, None


def test_errors_name_what_is_wrong(prior):
    task = sensor_task(prior, 2.0, 1.0)
    with pytest.raises(TypeError, match="SaturatingSensor"):
        LinearizedPosterior(replace(task, operator=task.operator.inner))
    with pytest.raises(TypeError, match="without random mask"):
        LinearizedPosterior(replace(task, operator=SaturatingSensor(RandomMask(SHAPE, 0.5))))
    with pytest.raises(ValueError, match="n_iterations"):
        LinearizedPosterior(task, 0)
    with pytest.raises(ValueError, match="saturating sensor"):
        build_flow(load_task("gaussian16"), {"kind": "through-sensor", "sigma_y": 0.1, "flow": {"kind": "realnvp"}})
    with pytest.raises(ValueError, match="data_range"):
        SaturatingSensor(Unbounded()).undo(jnp.zeros(2))


@dataclass(frozen=True)
class Gain(Operator):
    """Twice the signal, without a declared range: data of signals in [0, 1] lie in [0, 2]."""

    shape: tuple = (4,)
    shift: float = 0.0

    def __call__(self, x, mask=None):
        return 2 * x + self.shift


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_data_of_an_own_operator_are_undone_within_its_own_range(shift):
    sensor = SaturatingSensor(Gain(shift=shift), gain=1.0, threshold=8.0)
    x = jnp.array([0.9, 0.8, 0.7, 0.95])
    np.testing.assert_allclose(jax.jit(sensor.undo)(sensor(x)), 2 * x + shift, rtol=1e-4)
    assert sensor.data_range == pytest.approx(tuple(8 * np.tanh(np.array([shift, 2 + shift]) / 8)), rel=1e-6)


def test_an_own_operator_whose_range_nobody_knows():
    class Drawn(Gain):
        random = True
        data_range = None

    with pytest.raises(ValueError, match="'Drawn' has no data_range .* expected data_range = "):
        SaturatingSensor(Drawn()).undo(jnp.zeros(4))


def test_undone_data_of_a_steep_sensor_are_finite():
    """Of a gain of 8 the answer is the threshold to float32 from z = 1.1 on."""
    undone = SaturatingSensor(Identity((4,)), gain=8.0).undo(jnp.array([0.5, 1.0, 1.05, -2.0]))
    np.testing.assert_allclose(undone, [np.arctanh(0.5) / 8, 1.25, 1.25, -0.25], rtol=1e-5)


def test_data_of_signals_beyond_one_are_undone_beyond_it(prior):
    """The range is that of the task's signals: with 3 among them, of all real numbers where they have none."""
    sensor, x = SaturatingSensor(Identity(SHAPE), gain=0.3), jnp.full(SHAPE, 3.0)
    gaussian = GaussianPrior(prior.mean, prior.basis, prior.excess, prior.rest, shape=SHAPE)
    plain = {
        "kind": "through-sensor",
        "flow": {"kind": "gaussian-base", "k": 4, "steps": 1, "width": 4},
        "sigma_y": 0.1,
    }
    for signals, settings in ((np.full((2, *SHAPE), 3.0), {}), (None, {"unit_range": False})):
        task = Task(sensor, 0.01, gaussian, signals, **settings)
        np.testing.assert_allclose(sensor.undo(sensor(x), task.undone_range()), x, rtol=1e-4)
        flow = build_flow(task, plain)
        contexts = flow.context(Measurement(sensor(x))), flow.linear.context(Measurement(x))
        for one, same in zip(*map(jax.tree.leaves, contexts), strict=True):
            np.testing.assert_allclose(one, same, atol=1e-3)
    assert np.isfinite(sensor.undo(jnp.full(SHAPE, 2.0), (-np.inf, np.inf))).all()


def test_bicubic_data_are_undone_inside_jit():
    sensor = SaturatingSensor(BicubicDownsample((8, 8), 2))
    y = sensor(jnp.full((8, 8), 0.4))
    np.testing.assert_allclose(jax.jit(sensor.undo)(y), 0.4, atol=1e-4)
