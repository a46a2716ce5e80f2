"""Operators of one's own: what they declare is tested, constants are accepted, changes are noticed."""

import copy
import dataclasses
import json
import pickle
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from aps_core import (
    AveragePool,
    Composed,
    Convolution,
    FixedMask,
    GaussianBlur,
    Identity,
    Measurement,
    RandomMask,
    SaturatingSensor,
    Task,
    gaussian_posterior,
    linearize,
    make_sampler,
)
from aps_core.diffusion import VPSDE
from aps_core.flows import build_flow
from aps_core.operators import Operator, UnknownNoise, dense_matrix, offset
from aps_core.operators.spectrum import rows_and_columns
from aps_core.priors.base import Prior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.samplers.base import largest_gain
from aps_core.tasks.fingerprint import differences, made_for

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


class Undeclared(Drawn):
    random = False
    observed = lambda self, mask=None: jnp.ones(D) if mask is None else mask  # noqa: E731
    check_mask = lambda self, mask: None  # noqa: E731
    __call__ = lambda self, x, mask=None: x if mask is None else mask * x  # noqa: E731


class Hiding(Own):
    is_identity = diagonal = True
    observed = lambda self, mask=None: jnp.asarray([1.0, 1.0, 0.0])  # noqa: E731


class Louder(Own):
    def simulate(self, sigma_y, key, x0):
        return super().simulate(5 * sigma_y, key, x0)


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
    "not finite": (lambda: Own(lambda x: x / 0), ValueError, "not finite"),
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
    "masks that are not declared": (
        lambda: Undeclared(plus),
        ValueError,
        "draws another mask for every key but declares",
    ),
    "an identity that hides": (
        lambda: Hiding(lambda x: x * jnp.asarray([1.0, 1.0, 0.0])),
        ValueError,
        "declares is_identity but does not declare diagonal = True and observe all",
    ),
    "a matrix drawn within": (
        lambda: Own(lambda x: jax.random.normal(jax.random.key(3), (D, D)) @ x),
        ValueError,
        "other data in single than in double precision",
    ),
    "a constant drawn within": (
        lambda: Own(lambda x: x + jax.random.normal(jax.random.key(3), (D,))),
        ValueError,
        "other data in single than in double precision",
    ),
    "noise of its own": (lambda: Louder(plus), ValueError, "its own simulate but declares additive_noise = True"),
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
    with pytest.raises(ValueError, match="y ranges from 200 to 200, but of signals of this task"):
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


GAIN, TABLE = 1.0, np.ones(D)


class Held:
    gain = 1.0


class Slotted:
    __slots__ = ("gain",)


@dataclass(frozen=True)
class Uncompared(Operator):
    """Its generated equality leaves the array out."""

    shape: tuple = (D,)
    weights: np.ndarray = field(default=None, compare=False)  # pyright: ignore[reportAssignmentType]

    def __call__(self, x, mask=None):
        return jnp.asarray(self.weights) * x


def _set_global(gain):
    global GAIN
    GAIN = gain


def _of_a_closure(weights):
    return lambda x: jnp.asarray(weights) * x


class OfAClass(Own):
    held = Held()


HIDDEN = {
    "global": (lambda: Own(lambda x: GAIN * x), _set_global),
    "array of a function": (lambda: Own(_of_a_closure(TABLE)), lambda gain: TABLE.__setitem__(slice(None), gain)),
    "object of a class": (
        lambda: OfAClass(lambda x: OfAClass.held.gain * x),
        lambda gain: setattr(OfAClass.held, "gain", gain),
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_an_operator_reads_outside_of_itself_is_part_of_it(prior, name):
    """Gain 1, then 3, in what no attribute holds: a new Task has the posterior of gain 3, and the old one says so."""
    make, change = HIDDEN[name]
    try:
        task = Task(make(), SIGMA_Y, prior)
        assert _mean(task, 0.7) == pytest.approx(0.5 + VARIANCE / (VARIANCE + SIGMA_Y**2) * 0.2, abs=0.005)
        change(3.0)
        with pytest.raises(ValueError, match="gives other data than when its Task was made"):
            task.measure(jax.random.key(0), np.full(D, 0.5))
        with pytest.raises(
            ValueError, match="gives other data than when its Task was made"
        ):  # as every sampler asks it
            task.check(Measurement(np.full(D, 0.5)))
        expected = 0.5 + VARIANCE * 3 / (9 * VARIANCE + SIGMA_Y**2) * (1.2 - 1.5)
        assert _mean(Task(make(), SIGMA_Y, prior), 1.2) == pytest.approx(expected, abs=0.005)
        assert _mean(Task(task.operator, SIGMA_Y, prior), 1.2) == pytest.approx(expected, abs=0.005)
    finally:
        change(1.0)


def test_equality_of_a_dataclass_is_not_trusted(prior):
    one, three = (Uncompared(weights=np.full(D, gain)) for gain in (1.0, 3.0))
    assert one == three, "by its own equality"
    assert _mean(Task(one, SIGMA_Y, prior), 0.7) == pytest.approx(
        0.5 + VARIANCE / (VARIANCE + SIGMA_Y**2) * 0.2, abs=0.005
    )
    tasks = [Task(operator, SIGMA_Y, prior) for operator in (one, three, Uncompared(weights=np.full(D, 1.0)))]
    assert tasks[0].operator != tasks[1].operator and tasks[0].operator == tasks[2].operator
    expected = 0.5 + VARIANCE * 3 / (9 * VARIANCE + SIGMA_Y**2) * (1.2 - 1.5)
    assert _mean(tasks[1], 1.2) == pytest.approx(expected, abs=0.005)


def test_the_operator_of_a_task_can_be_copied_and_pickled(prior):
    task = Task(Gain(2.0), SIGMA_Y, prior)
    for again in (pickle.loads(pickle.dumps(task.operator)), copy.deepcopy(task.operator)):
        assert again == task.operator and hash(again) == hash(task.operator) and isinstance(again, Gain)
    assert Task(task.operator, SIGMA_Y, prior).operator is task.operator
    other = dataclasses.replace(Task(Uncompared(weights=np.ones(D)), SIGMA_Y, prior).operator, weights=np.full(D, 3.0))
    assert _mean(Task(other, SIGMA_Y, prior), 1.5) == pytest.approx(0.5, abs=0.005)


def test_what_is_held_in_odd_places_is_seen(prior):
    """Slots, keys of jax.random, and modules, into which nobody looks."""
    held = Slotted()
    held.gain = 1.0
    operator = Own(lambda x: x, held=held, key=jax.random.key(1), library=np)
    task = Task(operator, SIGMA_Y, prior)
    task.check(Measurement(np.full(D, 0.5)))
    held.gain = 3.0
    with pytest.raises(ValueError, match="has changed since"):
        task.check(Measurement(np.full(D, 0.5)))


def test_signals_of_whole_numbers_are_measured_as_numbers(prior):
    """Differences of bytes would wrap around."""
    task = Task(Own(lambda x: x[1:] - x[:-1], y_shape=(D - 1,)), 1e-6, prior)
    y = task.measure(jax.random.key(0), np.array([1, 0, 1], np.uint8)).y
    np.testing.assert_allclose(y, [-1, 1], atol=1e-4)


def test_the_likelihood_is_of_one_signal_and_one_measurement(prior):
    task, x, y = Task(Identity((D,)), SIGMA_Y, prior), np.full(D, 0.5), np.full(D, 0.3)
    expected = norm.logpdf(y, x, SIGMA_Y).sum()
    assert float(task.log_likelihood(x, Measurement(y))) == pytest.approx(expected, rel=1e-5)
    for wrong in ((x, np.stack([y] * 3)), (np.stack([x] * 3), y), (x[:1], y)):
        with pytest.raises(ValueError, match="must have shape"):
            task.log_likelihood(wrong[0], Measurement(wrong[1]))
    with pytest.raises(ValueError, match="y"):
        task.log_likelihood(x, Measurement(np.full(D, np.nan)))
    both = jax.vmap(task.log_likelihood)(jnp.stack([x] * 2), Measurement(jnp.stack([y] * 2)))
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_an_operator_whose_slope_is_zero_somewhere(prior):
    task = Task(Own(lambda x: x**2, linear=False), SIGMA_Y, prior)
    assert largest_gain(task.operator) == pytest.approx(2.0, rel=1e-3)  # at 1


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


@dataclass(frozen=True)
class Border(Operator):
    """Hides the last of four entries, without a word in the measurement."""

    shape: tuple = (2, 2)
    diagonal = True

    def observed(self, mask=None):
        return jnp.array([[1.0, 1.0], [1.0, 0.0]])

    def __call__(self, x, mask=None):
        return self.observed() * x


def test_flows_that_know_masks_from_the_measurement_alone_refuse_others(make_prior):
    task = Task(Border(), 0.1, make_prior(d=4, k=2, shape=(2, 2)))
    with pytest.raises(ValueError, match="flow 'gaussian-base' .* Border hides entries that its draw does not say"):
        build_flow(task, {"kind": "gaussian-base", "k": 2})
    measured = task.measure(jax.random.key(0), jnp.full((2, 2), 0.5))
    flow = build_flow(task, {"kind": "tokens", "tokens": {"kind": "grid", "size": [1, 1]}, "steps": 1, "width": 8,
                             "condition_width": 8, "condition_depth": 1, "heads": 1})  # fmt: skip
    mean = flow.context(measured).base.mean
    exact = gaussian_posterior(task)
    np.testing.assert_allclose(mean, exact.flow.context(measured).mean, atol=1e-5)


def test_a_vectorized_flow_wants_data_of_the_shape_of_a_signal(make_prior):
    task = Task(AveragePool((4, 4), 4), 0.1, make_prior(d=16, k=4, shape=(4, 4)))
    with pytest.raises(
        ValueError, match=r'flow "realnvp" sees data of the shape of a signal, \(4, 4\), got .* \(1, 1\)'
    ):
        build_flow(task, {"kind": "realnvp", "steps": 1, "width": 4})
    assert build_flow(task, {"kind": "realnvp", "steps": 1, "width": 4, "conditional": False}).dim == 16


def test_a_task_made_from_another_keeps_the_range_of_its_signals(make_score_prior):
    """Signals in [0, 3] under a prior of which nobody knows the range: data near 3 are no other scale, also in other
    noise.
    """
    prior = make_score_prior(d=4, k=2, k_modes=2)
    task = Task(Identity((4,)), 0.1, prior, np.array([[0.0, 1.0, 2.0, 3.0]]))
    measurement = Measurement(jnp.array([2.9, 2.0, 0.1, 0.2]))
    for one in (task, dataclasses.replace(task, sigma_y=0.05), dataclasses.replace(task, operator=Identity((4,)))):
        one.check(measurement)
        with pytest.raises(ValueError, match="data are expected between"):
            one.check(Measurement(jnp.array([290.0, 200.0, 10.0, 20.0])))


# masks of one's own


class FirstTwo(Operator):
    """Sees the first two entries, and says so in the measurement's mask alone."""

    shape = (D,)
    diagonal = True

    def draw(self, key):
        return jnp.array([1.0, 1.0, 0.0])

    def observed(self, mask=None):
        return jnp.ones(D) if mask is None else mask

    def check_mask(self, mask):
        pass

    def __call__(self, x, mask=None):
        return x if mask is None else mask * x


class FirstTwoSummed(FirstTwo):
    """The same, of running sums."""

    diagonal = False

    def __call__(self, x, mask=None):
        return jnp.cumsum(x) if mask is None else mask * jnp.cumsum(x)


class Inverted(FirstTwo):
    """Draws 1 where nothing is seen."""

    random = True

    def draw(self, key):
        return jax.random.bernoulli(key, 0.5, (D,)).astype(jnp.float32)

    def observed(self, mask=None):
        return jnp.ones(D) if mask is None else 1 - mask

    def __call__(self, x, mask=None):
        return x if mask is None else (1 - mask) * x


class Unaccepted(FirstTwo):
    """Draws a mask that the check of its base class refuses."""

    random = True
    check_mask = Operator.check_mask


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (FirstTwo, "one mask for all measurements .random = False. but gives other data"),
        (FirstTwoSummed, "one mask for all measurements .random = False. but gives other data"),
        (Inverted, "observed of Inverted is not the mask that it drew"),
        (Unaccepted, "check_mask of Unaccepted refuses what its draw gives: mask hides entries"),
    ],
)
def test_masks_that_the_closed_form_would_misread_are_refused(prior, operator, said):
    with pytest.raises(ValueError, match=said):
        Task(operator(), SIGMA_Y, prior)


class Told(FirstTwo):
    """The same with the mask in the operator too."""

    def observed(self, mask=None):
        return jnp.array([1.0, 1.0, 0.0])

    def __call__(self, x, mask=None):
        return jnp.array([1.0, 1.0, 0.0]) * x


def test_a_fixed_mask_of_ones_own_leaves_the_hidden_entry_to_the_prior(prior):
    task = Task(Told(), SIGMA_Y, prior)
    measurement = task.measure(jax.random.key(0), jnp.array([0.9, 0.1, 0.9]))
    x = np.asarray(gaussian_posterior(task).sample(jax.random.key(1), measurement, 4000))
    gain = VARIANCE / (VARIANCE + SIGMA_Y**2)
    expected = [*(0.5 + gain * (np.asarray(measurement.y)[:2] - 0.5)), 0.5]
    np.testing.assert_allclose(x.mean(axis=0), expected, atol=0.02)
    np.testing.assert_allclose(x[:, 2].std(), np.sqrt(VARIANCE), rtol=0.06)


class Partial(Operator):
    """Running sums of which a random half is seen; it is never called without a mask."""

    shape = (D,)
    random = True

    def draw(self, key):
        return (jax.random.permutation(key, D) < 2).astype(jnp.float32)

    def observed(self, mask=None):
        return mask

    def check_mask(self, mask):
        pass

    def __call__(self, x, mask=None):
        return mask * jnp.cumsum(x)


def test_an_operator_that_needs_its_mask_is_served(prior):
    task = Task(Partial(), SIGMA_Y, prior)
    sampler = make_sampler("daps", task, n_levels=3, n_inner=2)
    measurement = task.measure(jax.random.key(0), jnp.full(D, 0.5))
    assert np.isfinite(sampler.sample(jax.random.key(1), measurement, 2)).all()
    assert 0 < largest_gain(task.operator) <= np.linalg.norm(np.tril(np.ones((D, D))), 2) + 1e-5
    assert made_for(task)["operator"]["action"]


# noise of one's own


class Counts(Operator):
    """Poisson-like noise, whose likelihood is its own."""

    shape = (D,)
    additive_noise = False

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, x, mask=None):
        return x

    def simulate(self, sigma_y, key, x0):
        return Measurement(x0 + sigma_y * self.gain * jax.random.normal(key, (D,)))

    def log_likelihood(self, sigma_y, x, measurement):
        return jnp.sum(norm_logpdf(measurement.y, x, sigma_y * self.gain))


def norm_logpdf(y, x, s):
    return -0.5 * ((y - x) / s) ** 2 - jnp.log(s) - 0.5 * jnp.log(2 * jnp.pi)


def test_the_noise_of_an_inner_operator_is_not_dropped():
    for make in (lambda: Composed(Counts(), Identity((D,))), lambda: Composed(Identity((D,)), Counts())):
        with pytest.raises(TypeError, match="must be a linear operator with additive noise"):
            make()
    with pytest.raises(TypeError, match="inner must be a linear operator with additive noise"):
        SaturatingSensor(Counts())


def test_noise_of_another_kind_makes_another_problem(prior):
    tasks = [Task(operator, SIGMA_Y, prior) for operator in (Identity((D,)), Counts(1.0), Counts(3.0))]
    inner = Identity((D,))
    tasks += [Task(UnknownNoise(inner, low, high), SIGMA_Y, prior) for low, high in ((0.02, 0.1), (0.5, 1.0))]
    cards = [json.loads(json.dumps(made_for(task))) for task in tasks]
    for i, card in enumerate(cards):
        for j, task in enumerate(tasks):
            found = differences(card, task)
            assert bool(found) == (i != j), (i, j, found)
    assert "noise of another kind (additive then" in differences(cards[0], tasks[3])[0]


# what a Task keeps of an operator and of its own numbers


def test_the_users_own_array_stays_writeable(prior):
    class WithModule(Operator):
        shape = (D,)

        def __init__(self, w):
            self.w, self.library = w, np  # a module cannot be copied

        def __call__(self, x, mask=None):
            return jnp.asarray(self.w) * x

    w = np.ones(D)
    task = Task(WithModule(w), SIGMA_Y, prior)
    w[:] = 2
    np.testing.assert_array_equal(task.operator(jnp.ones(D)), np.ones(D))


def test_arrays_of_odd_precision_are_told_apart(prior):
    class Weighted(Operator):
        shape = (D,)

        def __init__(self, w):
            self.w = w

        def __call__(self, x, mask=None):
            return self.w.astype(x.dtype) * x

    one, other = (Task(Weighted(jnp.full(D, v, jnp.bfloat16)), SIGMA_Y, prior).operator for v in (1.0, 2.0))
    assert one != other and len({one, other}) == 2


@pytest.mark.parametrize("sigma_y", [np.float16(0.05), np.float32(0.05), np.uint8(40), 50000])
def test_the_noise_is_kept_as_a_number(prior, sigma_y):
    task = Task(Identity((D,)), sigma_y, prior)
    assert type(task.sigma_y) is float and task.sigma_y == float(sigma_y)
    y = np.array([0.4, 0.5, 0.7])
    expected = norm.logpdf(y, 0.5, float(sigma_y)).sum()
    assert float(task.log_likelihood(jnp.full(D, 0.5), Measurement(y))) == pytest.approx(expected, rel=1e-5)


def test_tasks_and_posteriors_are_compared_by_identity(prior):
    tasks = [Task(Identity((D,)), SIGMA_Y, prior) for _ in range(2)]
    assert tasks[0] != tasks[1] and tasks[0] in tasks and len(set(tasks)) == 2
    assert gaussian_posterior(tasks[0]) != gaussian_posterior(tasks[0])


class Mine(Prior):
    """A prior that JAX cannot take apart."""

    shape, dim, sde = (D,), D, VPSDE()

    def eps(self, ut, t):
        return ut


def test_a_prior_that_is_no_pytree_is_refused():
    with pytest.raises(TypeError, match=r"prior is Mine, of which JAX sees Mine .* expected a flax.struct.dataclass"):
        Task(Identity((D,)), SIGMA_Y, Mine())


def test_rows_and_columns_follow_a_function_that_changed(make_prior):
    class Scaled(Operator):
        shape = (4, 4)

        def __init__(self, function):
            self.function = function

        def __call__(self, x, mask=None):
            return self.function(x)

    operator = Scaled(lambda x: FACTOR[0] * x)
    FACTOR[0] = 1.0
    before = np.kron(*rows_and_columns(operator))
    FACTOR[0] = 3.0
    np.testing.assert_allclose(np.kron(*rows_and_columns(operator)), 3 * before, atol=1e-6)


FACTOR = [1.0]


@pytest.mark.parametrize(
    "words, kind, text",
    [
        ({"linear": "no"}, TypeError, "linear of Own must be True or False, got 'no'"),
        ({"diagonal": None}, TypeError, "diagonal of Own must be True or False"),
        ({"adjoint": lambda y: y}, ValueError, "adjoint of Own failed: TypeError"),
        ({"adjoint": lambda y, mask=None: y + 0j}, TypeError, "adjoint of Own gives complex128, expected real numbers"),
        ({"draw": lambda key: 1 / 0}, ValueError, "draw of Own failed: ZeroDivisionError"),
        (
            {"draw": lambda key: jnp.ones(D + 1)},
            ValueError,
            r"draw of Own gives shape \(4,\), expected a mask of shape \(3,\)",
        ),
        ({"observed": lambda mask=None: 1 / 0}, ValueError, "observed of Own failed: ZeroDivisionError"),
        ({"observed": lambda mask=None: "all"}, TypeError, "observed of Own gives <U3, expected real numbers"),
    ],
)
def test_what_methods_of_an_own_operator_give(prior, words, kind, text):
    with pytest.raises(kind, match=text):
        Task(Own(lambda x: x, **words), SIGMA_Y, prior)


@pytest.mark.parametrize(
    "operator, kind, text",
    [
        (Operator(), TypeError, "operator is the base class alone"),
        (Own(lambda x: x * np.array([1.0, 1.0, np.nan])), ValueError, "gives numbers that are not finite"),
        (Own(lambda x: x.astype(jnp.float16)), TypeError, "gives float16 of float32 signals, too coarse to be linear"),
    ],
)
def test_operators_that_say_what_is_wrong_with_them(prior, operator, kind, text):
    with pytest.raises(kind, match=text):
        Task(operator, SIGMA_Y, prior)


def test_a_numpy_matrix_of_double_precision(prior):
    """JAX keeps NumPy constants of a living program by identity: those of one in double precision must not come back in
    single precision.
    """
    matrix = np.random.default_rng(3).normal(size=(D, D))
    task = Task(Own(lambda x: matrix @ x), SIGMA_Y, prior)
    measured = task.measure(jax.random.key(0), np.full(D, 0.5))
    assert np.all(np.isfinite(gaussian_posterior(task).sample(jax.random.key(1), measured, 4)))
    np.testing.assert_array_equal(task.measure(jax.random.key(0), np.full(D, 0.5)).y, measured.y)
    assert (
        offset(task.operator) is None and linearize(task, measured).measure(jax.random.key(0), np.zeros(D)).mask is None
    )


def test_masks_that_are_text():
    with pytest.raises(TypeError, match="mask must be an array of 0 and 1: it holds <U1"):
        FixedMask(["1", "0", "1"])


def test_a_boundary_that_is_a_list():
    with pytest.raises(ValueError, match="boundary must be one of .*, got \\[\\]"):
        Convolution((8, 8), np.ones((3, 3)), [])
