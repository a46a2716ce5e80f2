"""Tasks by name and of one's own, and what they say to input that cannot be a measurement."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import aps_core
from aps_core import Identity, Measurement, RandomMask, Task, list_tasks, load_task
from aps_core.data.temperature import to_kelvin
from aps_core.operators import AveragePool, BicubicDownsample, FixedMask, FourierSubset, GaussianBlur, SaturatingSensor


@pytest.fixture(scope="module")
def sphere():
    return load_task("sphere-impute")


@pytest.fixture(scope="module")
def measured(sphere):
    """Eight test months, measured."""
    return sphere.measure(jax.random.key(0), sphere.signals("test")[:8])


def _one(measured, i=0):
    return Measurement(np.asarray(measured.y[i]), np.asarray(measured.mask[i]))


def test_every_public_name_is_there():
    for name in aps_core.__all__:
        assert getattr(aps_core, name).__doc__


def test_list_of_tasks():
    assert {"gaussian16", "sphere-impute"} <= set(list_tasks())


@pytest.mark.parametrize("split, n", [("train", 600), ("val", 96), ("test", 242)])
def test_sphere_signals(sphere, split, n):
    assert sphere.shape == (46, 90) and sphere.name == "sphere-impute"
    assert sphere.signals(split).shape == (n, 46, 90)


def test_sphere_measurements_are_valid(sphere, measured):
    sphere.check(measured)
    for i in range(8):
        sphere.check(_one(measured, i))
    assert np.all(np.asarray(measured.mask).sum(axis=(1, 2)) == 4140 - round(0.6 * 4140))


def test_parameters_of_a_task():
    task = load_task("sphere-impute", sigma_y=0.2, mask_fraction=0.3)
    assert task.sigma_y == 0.2 and task.operator.missing == 0.3
    assert isinstance(load_task("gaussian16").operator, Identity)
    assert isinstance(load_task("gaussian16", mask_fraction=0.5).operator, RandomMask)


def test_gaussian16_draws_are_those_of_its_prior():
    task = load_task("gaussian16")
    train, test = np.asarray(task.signals("train")), np.asarray(task.signals("test"))
    assert train.shape == (4096, 16, 16) and test.shape == (512, 16, 16)
    flat, cov = train.reshape(4096, -1), np.asarray(task.prior.covariance())
    assert np.diag(cov).min() > 0.01
    np.testing.assert_allclose(flat.var(axis=0) / np.diag(cov), 1, atol=6 * np.sqrt(2 / 4096))
    whitened = np.linalg.solve(np.linalg.cholesky(cov.astype(np.float64)), (flat - np.asarray(task.prior.mean)).T)
    np.testing.assert_allclose(np.mean(whitened**2), 1, atol=5 * np.sqrt(2 / whitened.size))
    assert not set(train[:, 0, 0]) & set(test[:, 0, 0])
    with pytest.raises(ValueError, match="unknown split 'all'"):
        task.signals("all")


@pytest.mark.parametrize("sigma_y", [0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["gaussian16", "sphere-impute"])
def test_impossible_noise(name, sigma_y):
    with pytest.raises(ValueError, match="sigma_y must be finite and positive, got"):
        load_task(name, sigma_y=sigma_y)


@pytest.mark.parametrize("sigma_y", ["0.1", None, True])
def test_noise_that_is_no_number(sigma_y):
    with pytest.raises(TypeError, match="sigma_y must be a number, got"):
        load_task("gaussian16", sigma_y=sigma_y)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["gaussian16", "sphere-impute"])
def test_impossible_mask_fraction(name, fraction):
    with pytest.raises(ValueError, match="missing must be a fraction"):
        load_task(name, mask_fraction=fraction)


def test_unknown_task_and_parameter():
    with pytest.raises(ValueError, match="unknown task 'sphere'; expected one of .*'sphere-impute'"):
        load_task("sphere")
    with pytest.raises(TypeError, match="task 'sphere-impute' has no parameter 'mask_frac'"):
        load_task("sphere-impute", mask_frac=0.5)


def test_noise_may_leave_the_range(sphere, measured):
    m = _one(measured)
    y = m.y.copy()
    seen = np.argwhere(m.mask == 1)
    y[tuple(seen[0])], y[tuple(seen[1])] = -0.12, 1.15
    sphere.check(Measurement(y, m.mask))
    noisy = load_task("gaussian16", sigma_y=0.5)
    measurement = noisy.measure(jax.random.key(0), noisy.signals("test")[0])
    assert measurement.y.min() < -0.3 and measurement.y.max() > 1.3
    noisy.check(measurement)


WRONG = {
    "another grid": (
        lambda y, m: (y[:40], m[:40]),
        ValueError,
        r"y must have shape \(46, 90\) or \(batch, 46, 90\), got \(40, 90\)",
    ),
    "flat": (
        lambda y, m: (y.ravel(), m.ravel()),
        ValueError,
        r"y must have shape \(46, 90\) or \(batch, 46, 90\), got \(4140,\)",
    ),
    "batch last": (lambda y, m: (np.stack([y] * 2, -1), np.stack([m] * 2, -1)), ValueError, "y must have shape"),
    "two batch axes": (lambda y, m: (y[None, None], m[None, None]), ValueError, "y must have shape"),
    "empty batch": (lambda y, m: (y[None][:0], m[None][:0]), ValueError, "empty batch"),
    "transposed": (lambda y, m: (y.T, m.T), ValueError, r"shape \(90, 46\): its axes are in the wrong order"),
    "transposed batch": (lambda y, m: (y.T[None], m.T[None]), ValueError, "axes are in the wrong order"),
    "8 bit": (
        lambda y, m: ((255 * y.clip(0, 1)).astype(np.uint8), m),
        TypeError,
        "y must be floating point.*uint8; divide 8-bit data by 255",
    ),
    "integers": (lambda y, m: (y.astype(int), m), TypeError, "y must be floating point"),
    "0-255": (lambda y, m: (255 * y, m), ValueError, "it looks like 0-255: divide by 255"),
    "kelvin": (lambda y, m: (to_kelvin(y) * m, m), ValueError, "it looks like kelvin"),
    "celsius": (lambda y, m: ((to_kelvin(y) - 273.15) * m, m), ValueError, r"the data are expected between"),
    "NaN where missing": (
        lambda y, m: (np.where(m == 1, y, np.nan), m),
        ValueError,
        "2484 non-finite values; write missing entries as 0 with mask 0",
    ),
    "infinite": (lambda y, m: (np.where(np.arange(90) == 3, np.inf, y), m), ValueError, "46 non-finite values"),
    "flipped latitude": (lambda y, m: (y[::-1], m[::-1]), ValueError, "latitude is flipped"),
    "longitude from 180": (lambda y, m: (np.roll(y, 45, 1), np.roll(m, 45, 1)), ValueError, "longitude starts at 180"),
    "nothing observed": (lambda y, m: (0 * y, 0 * m), ValueError, "mask is all zero: nothing was observed"),
    "inverted by sign": (
        lambda y, m: (y, 2 * m - 1),
        ValueError,
        "mask must be 1 where observed and 0 where missing, got values from -1",
    ),
    "mask of 255": (lambda y, m: (y, 255 * m), ValueError, "got values from 0.0 to 255.0"),
    "soft mask": (lambda y, m: (y, 0.5 * m), ValueError, "mask must be 1 where observed"),
    "NaN in the mask": (lambda y, m: (y, np.where(m == 1, 1, np.nan)), ValueError, "mask must be 1 where observed"),
    "mask of another shape": (
        lambda y, m: (y, m[0]),
        ValueError,
        r"mask must have the shape of y, \(46, 90\), got \(90,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_a_measurement(sphere, measured, name):
    change, kind, text = WRONG[name]
    m = _one(measured)
    sphere.check(m)
    with pytest.raises(kind, match=text):
        sphere.check(Measurement(*change(m.y, m.mask)))


@pytest.mark.parametrize("name", ["0-255", "kelvin", "flipped latitude", "nothing observed", "infinite"])
def test_one_wrong_measurement_in_a_batch(sphere, measured, name):
    change, kind, text = WRONG[name]
    y, mask = np.array(measured.y), np.array(measured.mask)
    y[5], mask[5] = change(y[5], mask[5])
    with pytest.raises(kind, match=text):
        sphere.check(Measurement(y, mask))


def test_every_flipped_month_is_noticed(sphere, measured):
    for i in range(8):
        m = _one(measured, i)
        with pytest.raises(ValueError, match="latitude is flipped"):
            sphere.check(Measurement(m.y[::-1], m.mask[::-1]))


def test_an_array_is_not_a_measurement(sphere):
    with pytest.raises(TypeError, match="measurement must be a Measurement, got ndarray"):
        sphere.check(np.zeros((46, 90)))


def test_masks_of_other_types(sphere, measured):
    m = _one(measured)
    for kind in (bool, np.uint8, int, np.float64):
        sphere.check(Measurement(m.y, m.mask.astype(kind)))


def test_signals_of_another_scale(make_prior):
    prior = make_prior(d=8)
    y = Measurement(np.linspace(-40, 900, 8))
    with pytest.raises(ValueError, match="scale it as the signals of the task"):
        Task(Identity((8,)), 0.1, prior, jnp.zeros((1, 8))).check(y)
    Task(Identity((8,)), 0.1, prior, jnp.zeros((1, 8)), unit_range=False).check(y)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("given", ["array", "function"])
def test_signals_far_from_those_of_the_prior_are_named(make_prior, kind, given):
    pictures = np.linspace(0, 255, 24).astype(kind).reshape(3, 8)
    signals = pictures if given == "array" else lambda split: pictures
    with pytest.raises(ValueError, match=r"signals.* range from 0 to 255, but .*; divide 8-bit pictures by 255"):
        Task(Identity((8,)), 0.1, make_prior(d=8), signals).signals("test")
    free = Task(Identity((8,)), 0.1, make_prior(d=8), signals, unit_range=False)
    np.testing.assert_array_equal(free.signals("test"), pictures)
    with pytest.raises(ValueError, match="unit_range=False for signals of any range"):
        dataclasses.replace(free, unit_range=True).signals("test")
    np.testing.assert_array_equal(dataclasses.replace(free, name="other").signals("test"), pictures)


def test_a_task_of_ones_own(make_prior):
    prior = make_prior(d=8, shape=(2, 4))
    signals = prior.sample(jax.random.key(0), 5)
    task = Task(RandomMask((2, 4), 0.5), 0.1, prior, signals)
    assert task.name == "custom" and task.shape == (2, 4)
    np.testing.assert_array_equal(task.signals("test"), signals)
    single, batch = task.measure(jax.random.key(0), signals[0]), task.measure(jax.random.key(0), signals)
    assert single.y.shape == (2, 4) and batch.y.shape == batch.mask.shape == (5, 2, 4)
    task.check(single)
    task.check(batch)
    seen = np.asarray(single.mask) > 0
    expected = norm.logpdf(np.asarray(single.y)[seen], np.asarray(signals[0])[seen], 0.1).sum()
    assert float(task.log_likelihood(signals[0], single)) == pytest.approx(expected, rel=1e-5)


def test_tasks_that_do_not_fit_together(make_prior):
    prior = make_prior(d=8, shape=(2, 4))
    with pytest.raises(ValueError, match=r"prior has signals of shape \(2, 4\), the operator of shape \(8,\)"):
        Task(Identity((8,)), 0.1, prior, jnp.zeros((1, 8)))
    with pytest.raises(ValueError, match=r"signals must have shape \(n, 2, 4\), n at least 1, got \(3, 8\)"):
        Task(Identity((2, 4)), 0.1, prior, jnp.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"x0 must have shape \(2, 4\) or \(batch, .*, got \(4, 2\)"):
        Task(Identity((2, 4)), 0.1, prior, jnp.zeros((3, 2, 4))).measure(jax.random.key(0), jnp.zeros((4, 2)))


@pytest.fixture
def image_task(make_prior):
    """image_task(operator): a task over images of 4 x 6 pixels."""
    prior = make_prior(d=24, shape=(4, 6))
    return lambda operator: Task(operator, 0.01, prior, np.linspace(0.1, 0.9, 48, dtype=np.float32).reshape(2, 4, 6))


@pytest.mark.parametrize("operator", [AveragePool((4, 6), 2), FourierSubset((4, 6), np.ones((4, 6)))], ids=str)
def test_data_of_another_shape_than_the_signal(image_task, operator):
    task = image_task(operator)
    assert task.shape == (4, 6) and task.y_shape == operator.y_shape != task.shape
    batch = task.measure(jax.random.key(0), task.signals("test"))
    assert batch.y.shape == (2, *task.y_shape)
    task.check(batch)
    task.check(Measurement(batch.y[0]))
    with pytest.raises(ValueError, match="y must have shape"):
        task.check(Measurement(task.signals("test")))  # the signal is not its measurement
    with pytest.raises(ValueError, match="axes are in the wrong order"):
        task.check(Measurement(np.asarray(batch.y[0]).T))
    with pytest.raises(ValueError, match=r"mask must have the shape of y, .*, got \(4, 6\)"):
        task.check(Measurement(batch.y[0], np.ones((4, 6))))


def test_colour_planes_first(make_prior):
    task = Task(GaussianBlur((4, 6, 3), 1.0), 0.1, make_prior(d=72, shape=(4, 6, 3)), np.zeros((1, 4, 6, 3)))
    with pytest.raises(
        ValueError, match=r"y has shape \(3, 4, 6\): its axes are in the wrong order, expected \(4, 6, 3\)"
    ):
        task.check(Measurement(np.full((3, 4, 6), 0.5)))


def test_the_range_of_the_data_is_that_of_the_operator(image_task):
    """Noise of 0.01 allows 0.18 beyond it."""
    for operator, low, high in (
        (AveragePool((4, 6), 2), -0.17, 1.17),
        (BicubicDownsample((4, 6), 2), -0.28, 1.28),
        (FourierSubset((4, 6), np.ones((4, 6))), -4.0, 4.0),
        (SaturatingSensor(AveragePool((4, 6), 2), threshold=0.5), -0.17, 0.67),
    ):
        task, y = image_task(operator), np.full(operator.y_shape, 0.3)
        for value in (low, high):
            task.check(Measurement(np.where(np.arange(y.size).reshape(y.shape) == 1, value, y)))
    for operator in (AveragePool((4, 6), 2), BicubicDownsample((4, 6), 2), SaturatingSensor(AveragePool((4, 6), 2))):
        with pytest.raises(ValueError, match="it looks like 0-255: divide by 255"):
            image_task(operator).check(Measurement(np.full(operator.y_shape, 80.0)))
    with pytest.raises(ValueError, match="scale it as the signals of the task"):
        image_task(SaturatingSensor(AveragePool((4, 6), 2), threshold=0.5)).check(Measurement(np.full((2, 3), 0.8)))


def test_masks_that_the_operator_does_not_have(image_task):
    y, some = np.full((4, 6), 0.5), np.arange(24).reshape(4, 6) % 2
    for operator in (Identity((4, 6)), GaussianBlur((4, 6), 1.0), SaturatingSensor(GaussianBlur((4, 6), 1.0))):
        image_task(operator).check(Measurement(y, np.ones((4, 6))))
        with pytest.raises(
            ValueError, match="mask hides entries of y, but .* observes them all; use RandomMask or FixedMask"
        ):
            image_task(operator).check(Measurement(y, some))
    for operator in (FixedMask(some), SaturatingSensor(FixedMask(some))):
        task = image_task(operator)
        task.check(Measurement(y, some))
        task.check(Measurement(np.stack([y, y]), np.stack([some, some])))
        with pytest.raises(ValueError, match="mask is not that of the operator"):
            task.check(Measurement(np.stack([y, y]), np.stack([some, 1 - some])))
        with pytest.raises(ValueError, match="mask is None, but the operator hides entries"):
            task.check(Measurement(y))
