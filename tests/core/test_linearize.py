"""Problems that are not linear, linearized at the most probable signal: against autodiff, and against the sensor's own way."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments.gauss_newton import LinearizedPosterior
from aps_core import Task, gaussian_posterior, linearize
from aps_core.operators import (
    AveragePool,
    FixedMask,
    Identity,
    Linearized,
    Operator,
    RandomMask,
    SaturatingSensor,
    dense_matrix,
)

SHAPE = (4, 4, 1)


@dataclass(frozen=True)
class Gamma(Operator):
    """A camera's response: x^power of the means of 2 x 2 blocks."""

    shape: tuple = SHAPE
    power: float = 2.2
    linear = False
    y_shape = (2, 2, 1)

    def __call__(self, x, mask=None):
        return jnp.maximum(AveragePool(self.shape, 2)(x), 1e-3) ** self.power


@pytest.fixture
def task(make_prior):
    prior = make_prior(d=16, k=6, shape=SHAPE, leading=0.02)
    return Task(Gamma(), 0.02, prior, prior.sample(jax.random.key(1), 4))


def _measured(task):
    return task.measure(jax.random.key(2), task.signals("test")[0])


@pytest.mark.parametrize("operator", [Gamma(), Gamma(power=0.45), SaturatingSensor(AveragePool(SHAPE, 2))], ids=str)
def test_it_stands_at_the_most_probable_signal(task, operator, x64):
    """The gradient of log p(y|x) + log p_G(x) by autodiff is zero there, beside what it is at the prior's mean."""
    task = replace(task, operator=operator)
    m = _measured(task)
    found = linearize(task, m)
    log_posterior = lambda x: task.log_likelihood(x, m) + task.prior.log_prob(x)  # noqa: E731
    gradient = jax.jit(jax.grad(log_posterior))
    there, start = gradient(jnp.asarray(found.operator.at)), gradient(task.prior.mean.reshape(SHAPE))
    assert np.linalg.norm(there) < 1e-3 * np.linalg.norm(start)
    # and the closed form of the tangent has its mean there
    mean = gaussian_posterior(found).flow.context(m).mean
    np.testing.assert_allclose(np.ravel(mean), found.operator.at.ravel(), atol=1e-4)


def test_the_tangent_is_value_and_jacobian(task, x64):
    at = np.random.default_rng(0).uniform(0.2, 0.8, SHAPE)
    tangent, operator = Linearized(task.operator, at), task.operator
    x = np.random.default_rng(1).uniform(0, 1, SHAPE)
    jacobian = jax.jacfwd(operator)(jnp.asarray(at)).reshape(4, 16)
    np.testing.assert_allclose(dense_matrix(tangent), jacobian, atol=1e-12)
    np.testing.assert_allclose(np.ravel(tangent(x)), np.ravel(operator(at)) + jacobian @ (x - at).ravel(), atol=1e-12)
    assert tangent == Linearized(task.operator, at.copy()) and hash(tangent) == hash(
        Linearized(task.operator, at.copy())
    )
    assert tangent != Linearized(task.operator, at + 1e-3)


def test_of_a_linear_operator_it_is_the_operator(task):
    linear = replace(task, operator=AveragePool(SHAPE, 2))
    m = _measured(linear)
    key = jax.random.key(3)
    ours, theirs = (gaussian_posterior(t).sample(key, m, 4) for t in (linearize(linear, m), linear))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_beside_the_sensors_own_way(task):
    """Laplace's approximation of a saturating sensor by its tangent: the same mean and spread, from many samples."""
    sensor = replace(task, operator=SaturatingSensor(AveragePool(SHAPE, 2)))
    m = _measured(sensor)
    ours = np.asarray(gaussian_posterior(linearize(sensor, m)).sample(jax.random.key(3), m, 20000)).reshape(-1, 16)
    theirs = np.asarray(LinearizedPosterior(sensor, n_iterations=8).sample(jax.random.key(4), m, 20000)).reshape(-1, 16)
    error = 5 * ours.std(axis=0) / np.sqrt(20000)
    assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 2 * error)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.05)


def test_hidden_entries_say_nothing(task):
    mask = np.ones(SHAPE, np.float32)
    mask[:2] = 0
    hidden = replace(task, operator=FixedMask(mask))
    m = _measured(hidden)
    changed = m.replace(y=jnp.where(mask == 0, 0.9, m.y))
    first, second = linearize(hidden, m), linearize(hidden, changed)
    np.testing.assert_allclose(first.operator.at, second.operator.at, atol=1e-10)


def test_what_cannot_be_linearized(task):
    m = _measured(task)
    with pytest.raises(TypeError, match="operator must draw no masks"):
        masked = replace(task, operator=RandomMask(SHAPE, 0.5))
        linearize(masked, _measured(masked))
    with pytest.raises(ValueError, match="measurement is a batch"):
        linearize(task, task.measure(jax.random.key(0), task.signals("test")))
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        linearize(task, m, iterations=0)
    with pytest.raises(ValueError, match=r"at must be a finite signal of shape \(4, 4, 1\), got shape \(16,\)"):
        Linearized(task.operator, np.zeros(16))
    with pytest.raises(TypeError, match="inner must be an Operator"):
        Linearized(lambda x: x, np.zeros(SHAPE))
    with pytest.raises(TypeError, match="belongs to one measurement"):
        Linearized(Identity(SHAPE), np.zeros(SHAPE)).settings()
