"""Operators of one's own: what they declare is tested, constants are accepted, changes are noticed."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import GaussianBlur, Identity, Measurement, RandomMask, Task, gaussian_posterior, make_sampler
from aps_core.operators import Operator, dense_matrix, offset
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes

D = 3
VARIANCE, SIGMA_Y = 0.04, 0.05


@pytest.fixture(scope="module")
def prior():
    """Independent entries of mean 0.5 and variance 0.04."""
    return GaussianPrior(jnp.full(D, 0.5), jnp.eye(D), jnp.full(D, 0.03), jnp.asarray(0.01), shape=(D,))


class Own(Operator):
    """An operator that is whatever function it is given."""

    shape = (D,)

    def __init__(self, function, **declared):
        self.function = function
        for name, value in declared.items():
            setattr(self, name, value)

    def __call__(self, x, mask=None):
        return self.function(x)


def plus(x):
    return x + 0.2


def test_a_constant_is_accepted_and_the_posterior_is_right(prior):
    """y = x + 0.2 with the truth 0.5 + 0.1: mean and spread are those of the conjugate formula."""
    task = Task(Own(plus), SIGMA_Y, prior)
    measurement = Measurement(np.full(D, 0.8))
    gain = VARIANCE / (VARIANCE + SIGMA_Y**2)
    x, log_q = gaussian_posterior(task).sample_and_log_prob(jax.random.key(0), measurement, 4000)
    std = np.sqrt(VARIANCE * (1 - gain))
    np.testing.assert_allclose(np.mean(x, axis=0), 0.5 + gain * 0.1, atol=5 * std / np.sqrt(4000))
    np.testing.assert_allclose(np.std(x, axis=0), std, rtol=0.06)
    np.testing.assert_allclose(gaussian_posterior(task).log_prob(x[:5], measurement), log_q[:5], atol=1e-3)
    modes = posterior_modes(prior, task.operator, SIGMA_Y)
    np.testing.assert_allclose(modes.mean(jnp.full(D, 0.8)), 0.5 + gain * 0.1, atol=1e-5)


@pytest.mark.parametrize(
    "name, settings", [("pigdm", {"rule": "score", "prior_variance": 4 * VARIANCE, "n_steps": 60})]
)
def test_samplers_take_the_constant_from_the_data(prior, name, settings):
    same = Task(Own(lambda x: x, kind="own"), SIGMA_Y, prior), Measurement(np.full(D, 0.6))
    shifted = Task(Own(plus), SIGMA_Y, prior), Measurement(np.full(D, 0.8))
    draws = [make_sampler(name, t, **settings).sample(jax.random.key(0), m, 64) for t, m in (same, shifted)]
    np.testing.assert_allclose(draws[0], draws[1], atol=2e-4)
    assert abs(float(np.mean(draws[1])) - 0.594) < 0.02


def test_matrix_constant_and_adjoint_of_an_affine_operator():
    operator = Own(lambda x: jnp.stack([x[0] + 2 * x[1], x[2]]) - 0.3, y_shape=(2,))
    np.testing.assert_allclose(dense_matrix(operator), [[1, 2, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(offset(operator), [-0.3, -0.3], atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(jnp.array([1.0, 10.0])), [1, 2, 10])


@dataclass
class Unhashable(Operator):
    gain: float = 1.0
    shape = (D,)

    def __call__(self, x, mask=None):
        return self.gain * x


class Drawn(Own):
    random = True

    def draw(self, key):
        return (jax.random.uniform(key, (D,)) < 0.5).astype(jnp.float32)


class OtherAdjoint(Own):
    def adjoint(self, y, mask=None):
        return y


WRONG = {
    "square": (lambda: Own(lambda x: x**2), ValueError, "Own declares linear = True.*expected linear = False"),
    "nearly linear": (lambda: Own(lambda x: x + 1e-3 * x**2), ValueError, "declares linear = True"),
    "clipped outside of [0, 1]": (lambda: Own(lambda x: jnp.clip(x, 0, 1)), ValueError, "declares linear = True"),
    "absolute": (lambda: Own(jnp.abs), ValueError, "declares linear = True"),
    "complex": (lambda: Own(jnp.fft.fft), TypeError, r"complex data.*jnp.stack\(\[y.real, y.imag\]\)"),
    "diagonal with a constant": (lambda: Own(plus, diagonal=True), ValueError, "declares diagonal = True, but"),
    "diagonal with a gain": (lambda: Own(lambda x: 2 * x, diagonal=True), ValueError, "declares diagonal = True, but"),
    "shape of the data": (lambda: Own(lambda x: x[1:]), ValueError, r"data of shape \(2,\), its y_shape is \(3,\)"),
    "NumPy": (lambda: Own(lambda x: np.cumsum(np.asarray(x))), TypeError, "must be written in jax.numpy"),
    "integers": (lambda: Own(lambda x: jnp.ones(3, int)), TypeError, "gives int.*expected floating-point data"),
    "fails": (lambda: Own(lambda x: x @ jnp.ones(7)), ValueError, r"failed on a signal of its shape \(3,\)"),
    "not finite": (lambda: Own(lambda x: x / 0), ValueError, "declares linear = True"),
    "adjoint": (lambda: OtherAdjoint(lambda x: 2 * x), ValueError, "adjoint of OtherAdjoint is not that of its A"),
    "data_range": (lambda: Own(lambda x: 5 * x), None, ""),
    "unhashable": (Unhashable, TypeError, r"cannot be hashed.*expected @dataclass\(frozen=True, eq=False\)"),
    "constant with masks": (lambda: Drawn(plus), ValueError, "draws masks and adds a constant"),
    "empty shape": (lambda: Own(plus, shape=(0,)), ValueError, "shape of Own must be positive integers"),
    "no shape": (
        lambda: Own(plus, shape=None),
        TypeError,
        "shape of Own must be a tuple of positive integers, got None",
    ),
    "no operator": (lambda: plus, TypeError, "operator is function .*, expected an Operator"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_declared_is_tested(prior, name):
    make, kind, text = WRONG[name]
    if kind is None:
        Task(make(), SIGMA_Y, prior)
        return
    with pytest.raises(kind, match=text):
        Task(make(), SIGMA_Y, prior)


def test_a_declared_range_that_does_not_hold(prior):
    class Narrow(Own):
        data_range = (0.0, 1.0)

    with pytest.raises(ValueError, match=r"data_range of Narrow is \(0.0, 1.0\), but signals in \[0, 1\] give.* to 5"):
        Task(Narrow(lambda x: 5 * x), SIGMA_Y, prior)


def test_the_range_of_an_own_operator_is_that_of_its_matrix(prior):
    """Sums of three entries reach 3, which a default of (0, 1) would refuse."""
    task = Task(Own(lambda x: jnp.sum(x, keepdims=True), y_shape=(1,)), SIGMA_Y, prior, np.full((1, D), 0.9))
    task.check(task.measure(jax.random.key(0), task.signals("test")[0]))
    with pytest.raises(ValueError, match="y ranges from 200 to 200, signals are in"):
        task.check(Measurement(np.array([200.0])))


def test_operators_that_are_not_linear_say_so(prior):
    task = Task(Own(lambda x: x**2, linear=False), SIGMA_Y, prior)
    with pytest.raises(TypeError, match="not linear"):
        gaussian_posterior(task)
    sampler = make_sampler("dps", task, n_steps=5)
    assert np.all(np.isfinite(sampler.sample(jax.random.key(0), Measurement(np.full(D, 0.3)), 2)))


class Gain(Operator):
    shape = (D,)

    def __init__(self, gain):
        self.gain, self.weights = gain, np.ones(D)

    def __call__(self, x, mask=None):
        return self.gain * jnp.asarray(self.weights) * x


def _mean(task, y):
    return np.mean(gaussian_posterior(task).sample(jax.random.key(0), Measurement(np.full(D, y)), 4000))


def test_a_changed_operator_is_noticed_and_a_new_task_sees_it(prior):
    """The mean of gain 1/2 after that of gain 1, both by the formula: nothing compiled before is used again."""
    operator = Gain(1.0)
    task = Task(operator, SIGMA_Y, prior)
    posterior, measurement = gaussian_posterior(task), Measurement(np.full(D, 0.7))
    posterior.sample(jax.random.key(0), measurement, 2)
    operator.gain = 0.5
    with pytest.raises(ValueError, match="Gain .* has changed since its Task was made.*a new Task"):
        posterior.sample(jax.random.key(0), measurement, 2)
    expected = 0.5 + VARIANCE * 0.5 / (0.25 * VARIANCE + SIGMA_Y**2) * (0.4 - 0.25)
    assert _mean(Task(operator, SIGMA_Y, prior), 0.4) == pytest.approx(expected, abs=0.005)
    operator.weights[:] = 2.0  # in place: gain 1 again
    expected = 0.5 + VARIANCE / (VARIANCE + SIGMA_Y**2) * 0.2
    assert _mean(Task(operator, SIGMA_Y, prior), 0.7) == pytest.approx(expected, abs=0.005)
    with pytest.raises(TypeError, match="Gain.gain cannot be set to 3.0: the operator of a Task stays as it is"):
        task.operator.gain = 3.0


IMPOSSIBLE = {
    "no entries": (lambda: Identity((0,)), ValueError, r"shape must be positive integers, .*got \(0,\)"),
    "a number": (lambda: Identity(5), TypeError, "shape must be a tuple of positive integers, got 5"),
    "negative": (lambda: RandomMask((-3, 2), 0.5), ValueError, "shape must be positive integers"),
    "halves": (lambda: RandomMask((2.5,), 0.5), TypeError, "shape must be a tuple of positive integers"),
    "share in words": (lambda: RandomMask((4,), "half"), TypeError, "missing must be a number, got 'half'"),
    "wide blur": (
        lambda: GaussianBlur((8, 8), 1e7),
        ValueError,
        r"std must lie in \[0.001, 80\] pixels.*got 10000000.0",
    ),
    "narrow blur": (lambda: GaussianBlur((8, 8), 1e-200), ValueError, "std must lie in"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_shapes_and_settings(name):
    make, kind, text = IMPOSSIBLE[name]
    with pytest.raises(kind, match=text):
        make()
