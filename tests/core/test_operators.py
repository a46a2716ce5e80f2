"""Forward operators, the noise and the likelihood."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter
from scipy.stats import binomtest, norm
from skimage.measure import block_reduce

from aps_core import operators
from aps_core.operators import (
    AveragePool,
    BicubicDownsample,
    Composed,
    Convolution,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    Measurement,
    Operator,
    RandomMask,
    SaturatingSensor,
    dense_matrix,
    gaussian_kernel,
    log_likelihood,
    make_operator,
    random_frequencies,
    simulate,
)

SHAPE = (6, 8)
COLOUR = (6, 8, 3)
KERNEL = np.random.default_rng(6).normal(size=(3, 5)) / 8
HALF = np.random.default_rng(5).random(SHAPE) < 0.5


def _masks():
    return [Identity(SHAPE), RandomMask(SHAPE, 0.6), RandomMask(SHAPE, 0.0), FixedMask(HALF)]


def _others():
    kept = random_frequencies(SHAPE, 0.4, centre=1)
    grey = [AveragePool(SHAPE, 2), BicubicDownsample(SHAPE, 2), GaussianBlur(SHAPE, 1.3), FourierSubset(SHAPE, kept)]
    colour = [BicubicDownsample(COLOUR, 2), GaussianBlur(COLOUR, 0.8, "periodic"), FourierSubset(COLOUR, kept)]
    return [*grey, *colour, Convolution(SHAPE, KERNEL), Convolution(COLOUR, KERNEL, "periodic"), _blurred_and_hidden()]


def _blurred_and_hidden():
    return Composed(GaussianBlur(SHAPE, 1.3), FixedMask(HALF))


def _linear():
    return _masks() + _others()


def _all():
    return [*_linear(), SaturatingSensor(AveragePool(COLOUR, 2)), SaturatingSensor(RandomMask(SHAPE, 0.5), 1.5, 0.7)]


@cache
def _mask(operator):
    """A mask as it draws them."""
    return operator.draw(jax.random.key(0))


@cache
def _compiled(operator):
    """A and A^T of one mask."""
    mask = _mask(operator)
    return jax.jit(lambda x: operator(x, mask)), jax.jit(lambda y: operator.adjoint(y, mask))


@pytest.mark.parametrize("operator", _masks(), ids=str)
def test_operators_that_hide_entries_are_diagonal(operator):
    mask = _mask(operator)
    basis = jnp.eye(48).reshape(48, *SHAPE)
    gram = jax.vmap(lambda b: operator.adjoint(operator(b, mask), mask))(basis).reshape(48, 48)
    np.testing.assert_array_equal(gram, np.diag(np.ravel(operator.observed(mask))))
    assert operator.diagonal and operator.linear


def _inner_products(operator, dtype):
    """<A x, y>, <x, A^T y> summed in double precision, and |A x| |y|."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=operator.shape).astype(dtype), rng.normal(size=operator.y_shape).astype(dtype)
    forward, adjoint = _compiled(operator)
    ax, aty = forward(x), adjoint(y)
    assert ax.dtype == aty.dtype == dtype and ax.shape == operator.y_shape and aty.shape == operator.shape
    ax, aty = np.asarray(ax, np.float64), np.asarray(aty, np.float64)
    assert np.linalg.norm(ax) > 0.1
    return np.sum(ax * y), np.sum(x * aty), np.linalg.norm(ax) * np.linalg.norm(y)


@pytest.mark.parametrize("operator", _linear(), ids=str)
def test_adjoint(operator):
    left, right, scale = _inner_products(operator, np.float32)
    assert abs(left - right) <= 1e-5 * scale


@pytest.mark.parametrize("operator", _linear(), ids=str)
def test_adjoint_in_double_precision(operator, x64):
    left, right, scale = _inner_products(operator, np.float64)
    assert abs(left - right) <= 1e-12 * scale


def test_adjoint_at_full_size():
    for operator in (BicubicDownsample((32, 32, 3), 2), GaussianBlur((32, 32, 3), 1.5), AveragePool((32, 32, 3), 4)):
        left, right, scale = _inner_products(operator, np.float32)
        assert abs(left - right) <= 1e-5 * scale


@pytest.mark.parametrize("operator", _others(), ids=str)
def test_dense_matrix_is_the_operator_and_its_transpose_the_adjoint(operator):
    matrix = dense_matrix(operator)
    rng = np.random.default_rng(1)
    x, y = rng.random(operator.shape).astype(np.float32), rng.random(operator.y_shape).astype(np.float32)
    assert matrix.dtype == np.float64
    forward, adjoint = _compiled(operator)
    np.testing.assert_allclose(matrix @ x.ravel(), np.ravel(forward(x)), atol=2e-6)
    np.testing.assert_allclose(matrix.T @ y.ravel(), np.ravel(adjoint(y)), atol=2e-6)


def test_leading_axes_of_masks_are_batches():
    x = np.random.default_rng(0).random((3, *SHAPE))
    for operator in (RandomMask(SHAPE, 0.5), FixedMask(HALF)):
        mask = _mask(operator)
        np.testing.assert_array_equal(operator(x, mask)[1], np.asarray(mask) * x[1].astype(np.float32))
    np.testing.assert_array_equal(Identity(SHAPE)(x), x)


@pytest.mark.parametrize("operator", _others(), ids=str)
def test_batches_of_the_others_are_mapped(operator):
    x = np.random.default_rng(0).random((3, *operator.shape)).astype(np.float32)
    one, _ = _compiled(operator)
    np.testing.assert_allclose(jax.jit(jax.vmap(operator))(x), np.stack([one(xi) for xi in x]), atol=1e-6)
    with pytest.raises(ValueError, match=r"x must have shape \(6, 8.*got \(3, 6, 8.*jax.vmap"):
        operator(x)
    with pytest.raises(ValueError, match="y must have shape"):
        operator.adjoint(np.zeros((3, *operator.y_shape)))


@pytest.mark.parametrize("shape", [SHAPE, COLOUR])
@pytest.mark.parametrize("factor", [1, 2])
def test_average_pool_against_scikit_image(shape, factor):
    x = np.random.default_rng(0).random(shape)
    blocks = (factor, factor, 1)[: len(shape)]
    np.testing.assert_allclose(AveragePool(shape, factor)(x), block_reduce(x, blocks, np.mean), atol=1e-6)


@pytest.mark.parametrize("boundary, mode", [("reflect", "reflect"), ("periodic", "wrap")])
@pytest.mark.parametrize("std", [0.4, 1.5, 6.0])
def test_blur_against_scipy(boundary, mode, std, x64):
    for shape in (SHAPE, COLOUR):
        x = np.random.default_rng(0).random(shape)
        expected = gaussian_filter(x, std, mode=mode, truncate=4.0, axes=(0, 1))
        np.testing.assert_allclose(GaussianBlur(shape, std, boundary)(x), expected, atol=1e-12)


@pytest.mark.parametrize("boundary, mode", [("reflect", "reflect"), ("periodic", "wrap")])
@pytest.mark.parametrize("shape", [SHAPE, COLOUR])
def test_convolution_against_scipy(boundary, mode, shape, x64):
    x = np.random.default_rng(0).random(shape)
    for kernel in (KERNEL, np.random.default_rng(1).normal(size=(19, 21))):  # the second larger than the image
        expected = convolve(x, kernel if len(shape) == 2 else kernel[..., None], mode=mode)
        np.testing.assert_allclose(Convolution(shape, kernel, boundary)(x), expected, atol=1e-11)


def test_a_gaussian_kernel_is_the_blur_and_turns(x64):
    x = np.random.default_rng(0).random((24, 24))
    expected = gaussian_filter(x, (0.7, 2.2), truncate=4.0)
    np.testing.assert_allclose(Convolution((24, 24), gaussian_kernel(0.7, 2.2))(x), expected, atol=2e-5)
    turned = gaussian_kernel(0.7, 2.2, 30)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in turned.shape), indexing="ij"), axis=-1)
    covariance = np.einsum("ab,abi,abj->ij", turned, grid, grid)
    values, axes = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.sqrt(values), [0.7, 2.2], rtol=1e-2)
    # the long axis was the columns'; 30 degrees from rows towards columns turns it upwards to the right
    np.testing.assert_allclose(np.abs(axes[:, 1]), [np.sin(np.pi / 6), np.cos(np.pi / 6)], atol=1e-2)
    assert axes[0, 1] * axes[1, 1] < 0
    np.testing.assert_allclose(gaussian_kernel(0.7, 2.2, 90), gaussian_kernel(2.2, 0.7), atol=1e-12)


def test_one_operator_after_another():
    operator, x = _blurred_and_hidden(), np.random.default_rng(0).random(SHAPE)
    np.testing.assert_allclose(operator(x), HALF * gaussian_filter(x, 1.3), atol=1e-6)
    m = simulate(operator, 0.1, jax.random.key(0), jnp.asarray(x))
    assert np.all(np.asarray(m.y)[~HALF] == 0) and np.all(np.asarray(m.y)[HALF] != 0)
    assert operator.data_range == (0, 1)
    assert Composed(BicubicDownsample(SHAPE, 2), Identity((3, 4))).data_range is None  # its data leave [0, 1]


def test_blur_has_the_spread_that_it_says(x64):
    shape = (41, 41)
    seen = np.asarray(GaussianBlur(shape, 2.0)(np.eye(1, 1681, 840).reshape(shape)))
    offset = np.arange(41) - 20
    assert seen.sum() == pytest.approx(1, abs=1e-12)
    for axis in (0, 1):
        assert seen.sum(axis=axis) @ offset == pytest.approx(0, abs=1e-12)
        # less the tails beyond 4 standard deviations
        assert seen.sum(axis=axis) @ offset**2 == pytest.approx(4, rel=5e-3)


def test_a_periodic_blur_commutes_with_shifts_and_a_reflecting_one_keeps_the_sum(x64):
    x = np.random.default_rng(0).random(SHAPE)
    periodic, reflecting = GaussianBlur(SHAPE, 1.3, "periodic"), GaussianBlur(SHAPE, 1.3)
    np.testing.assert_allclose(periodic(np.roll(x, (2, 3), (0, 1))), np.roll(periodic(x), (2, 3), (0, 1)), atol=1e-12)
    assert float(reflecting(x).sum()) == pytest.approx(x.sum(), rel=1e-12)
    assert np.abs(np.asarray(periodic(x) - reflecting(x))).max() > 1e-3


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_against_jax_image(factor):
    x = np.random.default_rng(0).random((8, 16, 3)).astype(np.float32)
    expected = jax.image.resize(x, (8 // factor, 16 // factor, 3), "cubic", antialias=True)
    operator = BicubicDownsample((8, 16, 3), factor)
    np.testing.assert_array_equal(operator(x), expected)
    assert np.abs(np.asarray(operator(x) - AveragePool((8, 16, 3), factor)(x))).max() > 0.01
    np.testing.assert_allclose(operator(jnp.full((8, 16, 3), 0.7)), np.full(operator.y_shape, 0.7), atol=1e-6)


def test_bicubic_overshoots_as_far_as_it_says():
    operator = BicubicDownsample((8, 16), 2)
    matrix = dense_matrix(operator)
    low, high = operator.data_range
    assert low == pytest.approx(np.minimum(matrix, 0).sum(axis=1).min(), abs=1e-6) and low < -0.1
    assert high == pytest.approx(np.maximum(matrix, 0).sum(axis=1).max(), abs=1e-6) and high > 1.1


@pytest.mark.parametrize("operator", [o for o in _all() if o.data_range is not None], ids=str)
def test_data_of_signals_in_the_unit_range(operator):
    low, high = operator.data_range
    mask = _mask(operator)
    extremes = [
        np.zeros(operator.shape),
        np.ones(operator.shape),
        *np.random.default_rng(0).integers(0, 2, (5, *operator.shape)),
    ]
    y = np.asarray(jax.vmap(lambda x: operator(x, mask))(jnp.asarray(extremes, jnp.float32)))
    assert low - 1e-6 <= y.min() and y.max() <= high + 1e-6


def test_fourier_against_numpy(x64):
    x = np.random.default_rng(0).random(COLOUR)
    kept = HALF.astype(float)
    seen = np.fft.fft2(x, axes=(0, 1), norm="ortho")[HALF]
    y = FourierSubset(COLOUR, kept)(x)
    assert y.shape == (2, HALF.sum(), 3)
    np.testing.assert_allclose(y[0] + 1j * np.asarray(y[1]), seen, atol=1e-12)
    everything = FourierSubset(SHAPE, np.ones(SHAPE))
    np.testing.assert_allclose(everything.adjoint(everything(x[..., 0])), x[..., 0], atol=1e-12)  # orthonormal


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (6, 7, 3)])
def test_random_frequencies_hold_one_of_each_pair(shape, x64):
    h, w = shape[:2]
    everything = random_frequencies(shape, 1.0)
    mirrored = np.roll(everything[::-1, ::-1], (1, 1), (0, 1))
    np.testing.assert_array_equal(np.maximum(everything, mirrored), 1)
    itself = sum(2 * a % h == 0 and 2 * b % w == 0 for a in range(h) for b in range(w))
    assert everything.sum() == (h * w + itself) / 2
    assert np.linalg.matrix_rank(dense_matrix(FourierSubset((h, w), everything))) == h * w  # nothing is lost
    low, some = random_frequencies(shape, 0.0, centre=1), random_frequencies(shape, 0.5, centre=1, seed=3)
    np.testing.assert_array_equal(np.argwhere(low), [[0, 0], [0, 1], [1, 0]])
    assert np.all(some >= low) and some.sum() == 3 + round(0.5 * (everything.sum() - 3))
    assert np.any(some != random_frequencies(shape, 0.5, centre=1, seed=4))


@pytest.mark.parametrize("gain, threshold", [(2.0, 1.0), (0.5, 3.0)])
def test_saturating_sensor(gain, threshold, x64):
    operator = SaturatingSensor(GaussianBlur(SHAPE, 0.8), gain, threshold)
    rng = np.random.default_rng(0)
    x, direction, h = rng.random(SHAPE), rng.normal(size=SHAPE), 1e-5
    linear = gaussian_filter(x, 0.8)
    np.testing.assert_allclose(operator(x), threshold * np.tanh(gain * linear / threshold), atol=1e-12)
    call = jax.jit(operator)
    slope = (np.asarray(call(x + h * direction)) - np.asarray(call(x - h * direction))) / (2 * h)
    np.testing.assert_allclose(jax.jvp(operator, (x,), (direction,))[1], slope, atol=1e-8)
    tiny = 1e-6 * x
    np.testing.assert_allclose(operator(tiny), gain * 1e-6 * linear, rtol=1e-6)  # linear where dark
    np.testing.assert_allclose(operator(1e6 * x), np.full(SHAPE, threshold), rtol=1e-12)
    assert operator.data_range[1] < min(gain, threshold)


def test_a_sensor_has_no_adjoint_and_no_matrix():
    operator = SaturatingSensor(Identity(SHAPE))
    assert not operator.linear and not operator.diagonal
    for call in (operator.adjoint, lambda y: dense_matrix(operator)):
        with pytest.raises(TypeError, match="SaturatingSensor is not linear.*operator.inner"):
            call(np.zeros(SHAPE))
    with pytest.raises(TypeError, match="RandomMask is another matrix for every measurement; use FixedMask"):
        dense_matrix(RandomMask(SHAPE, 0.5))


def test_a_sensor_sees_what_its_linear_part_sees():
    operator, x0 = SaturatingSensor(RandomMask(SHAPE, 0.5)), jnp.full(SHAPE, 0.6)
    m = simulate(operator, 0.01, jax.random.key(0), x0)
    assert np.all(np.asarray(m.y)[np.asarray(m.mask) == 0] == 0) and m.mask.sum() == 24
    np.testing.assert_array_equal(operator.observed(m.mask), m.mask)
    np.testing.assert_allclose(np.asarray(m.y)[np.asarray(m.mask) == 1], np.tanh(1.2), atol=0.06)


@pytest.mark.parametrize("operator", _all(), ids=str)
def test_settings_make_the_same_operator(operator):
    again = make_operator(json.loads(json.dumps(operator.settings())))
    assert again == operator and hash(again) == hash(operator) and again.settings() == operator.settings()


def test_settings_that_make_none():
    with pytest.raises(ValueError, match="operator kind must be one of .*'gaussian-blur'.*, got 'blur'"):
        make_operator({"kind": "blur"})
    with pytest.raises(ValueError, match="operator 'gaussian-blur': .*'sigma'"):
        make_operator({"kind": "gaussian-blur", "shape": [6, 8], "sigma": 1.0})
    with pytest.raises(ValueError, match="operator 'average-pool': .*'factor'"):
        make_operator({"kind": "average-pool", "shape": [6, 8]})
    with pytest.raises(TypeError, match="std must be a number"):
        make_operator({"kind": "gaussian-blur", "shape": [6, 8], "std": "1"})


def test_operators_are_static_arguments_told_apart_by_content():
    traces = []

    def count(operator, x):
        traces.append(operator)
        return operator(x)

    call = jax.jit(count, static_argnums=0)
    other = HALF.copy()
    other[0, 0] = ~other[0, 0]
    for mask in (HALF, HALF.copy(), other):
        np.testing.assert_array_equal(call(FixedMask(mask), np.ones(SHAPE)), mask)
    assert len(traces) == 2
    assert len({*_all(), *_all()}) == len(_all())
    assert FixedMask(HALF) != FourierSubset(SHAPE, HALF)


def test_a_mask_cannot_change_under_the_operator():
    given = HALF.astype(np.float32)
    operator = FixedMask(given)
    given[:] = 1
    np.testing.assert_array_equal(operator.mask, HALF)
    with pytest.raises(ValueError, match="read-only"):
        operator.mask[0, 0] = 1


def test_an_operator_of_ones_own():
    class Difference(Operator):
        shape, y_shape, data_range = (5,), (4,), (-1.0, 1.0)

        def __call__(self, x, mask=None):
            return x[1:] - x[:-1]

    operator = Difference()
    np.testing.assert_array_equal(operator.adjoint(np.array([1.0, 0, 0, 2.0])), [-1, 1, 0, -2, 2])
    np.testing.assert_array_equal(dense_matrix(operator), np.diff(np.eye(5), axis=0))
    assert simulate(operator, 0.1, jax.random.key(0), jnp.zeros(5)).y.shape == (4,)


WRONG = {
    "an even kernel": (
        lambda: Convolution(SHAPE, np.ones((2, 3))),
        ValueError,
        r"kernel must be \(a, b\) with a and b odd",
    ),
    "a kernel larger than the image": (
        lambda: Convolution(SHAPE, np.ones((27, 3))),
        ValueError,
        r"at most \(25, 33\), got shape \(27, 3\)",
    ),
    "a kernel of NaN": (lambda: Convolution(SHAPE, [[np.nan]]), ValueError, "kernel must hold finite numbers"),
    "a complex kernel": (lambda: Convolution(SHAPE, np.ones((1, 1)) * 1j), TypeError, "kernel holds complex numbers"),
    "a kernel of words": (lambda: Convolution(SHAPE, "blur"), TypeError, "kernel must be an array of real numbers"),
    "a kernel without width": (lambda: gaussian_kernel(0.0, 1.0), ValueError, "std_rows must be finite and positive"),
    "a wide kernel": (lambda: gaussian_kernel(1.0, 1e6), ValueError, r"std_columns must lie in \[0.001, 100\] pixels"),
    "a boundary of another name": (
        lambda: Convolution(SHAPE, KERNEL, "zero"),
        ValueError,
        "boundary must be one of .*'reflect'.*, got 'zero'",
    ),
    "after a sensor": (
        lambda: Composed(SaturatingSensor(Identity(SHAPE)), Identity(SHAPE)),
        TypeError,
        "inner must be a linear operator with additive noise that draws no masks, got SaturatingSensor",
    ),
    "a drawn mask afterwards": (
        lambda: Composed(Identity(SHAPE), RandomMask(SHAPE, 0.5)),
        TypeError,
        "outer must be a linear operator with additive noise that draws no masks",
    ),
    "shapes that do not meet": (
        lambda: Composed(AveragePool(SHAPE, 2), Identity(SHAPE)),
        ValueError,
        r"outer has signals of shape \(6, 8\), expected that of inner's data, \(3, 4\)",
    ),
    "factor that does not divide": (
        lambda: AveragePool((6, 8), 4),
        ValueError,
        r"factor must .* height and width \(6, 8\), got 4",
    ),
    "factor of the other axis": (lambda: BicubicDownsample((6, 8), 3), ValueError, "factor must be a positive integer"),
    "factor zero": (lambda: AveragePool((6, 8), 0), ValueError, "factor must be a positive integer"),
    "half a factor": (lambda: BicubicDownsample((6, 8), 2.0), ValueError, "factor must be a positive integer"),
    "vertices": (lambda: AveragePool((48,), 2), ValueError, r"shape must be \(h, w\) or \(h, w, c\), got \(48,\)"),
    "four axes": (lambda: GaussianBlur((2, 6, 8, 3), 1.0), ValueError, "shape must be"),
    "no extent": (lambda: GaussianBlur((0, 8), 1.0), ValueError, "shape must be"),
    "std zero": (lambda: GaussianBlur(SHAPE, 0.0), ValueError, "std must be finite and positive, got 0.0"),
    "std below zero": (lambda: GaussianBlur(SHAPE, -1.0), ValueError, "std must be finite and positive"),
    "std as text": (lambda: GaussianBlur(SHAPE, "1"), TypeError, "std must be a number"),
    "boundary": (
        lambda: GaussianBlur(SHAPE, 1.0, "wrap"),
        ValueError,
        "boundary must be one of .*'periodic', 'reflect'.*, got 'wrap'",
    ),
    "empty mask": (lambda: FixedMask(np.zeros(SHAPE)), ValueError, "mask is all zero"),
    "soft mask": (lambda: FixedMask(np.full(SHAPE, 0.5)), ValueError, "mask must be 1 where observed"),
    "NaN in the mask": (lambda: FixedMask(np.full(SHAPE, np.nan)), ValueError, "mask must be 1 where observed"),
    "no frequency": (lambda: FourierSubset(SHAPE, np.zeros(SHAPE)), ValueError, "kept is all zero"),
    "other frequencies": (
        lambda: FourierSubset(SHAPE, np.ones((8, 6))),
        ValueError,
        r"kept must have shape \(6, 8\), got \(8, 6\)",
    ),
    "share": (lambda: random_frequencies(SHAPE, 1.2), ValueError, "expected share in"),
    "gain": (lambda: SaturatingSensor(Identity(SHAPE), gain=0), ValueError, "gain must be finite and positive"),
    "threshold": (
        lambda: SaturatingSensor(Identity(SHAPE), threshold=-1),
        ValueError,
        "threshold must be finite and positive",
    ),
    "sensor of a sensor": (
        lambda: SaturatingSensor(SaturatingSensor(Identity(SHAPE))),
        TypeError,
        "inner must be a linear operator",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_operators(name):
    make, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.6, 0.97])
def test_exactly_the_asked_share_is_missing(missing):
    operator = RandomMask(SHAPE, missing)
    masks = np.asarray(jax.vmap(operator.draw)(jax.random.split(jax.random.key(0), 50)))
    assert set(np.unique(masks)) <= {0.0, 1.0}
    np.testing.assert_array_equal((masks == 0).sum(axis=(1, 2)), round(missing * 48))


def test_every_entry_is_missing_equally_often():
    operator = RandomMask(SHAPE, 0.5)
    masks = np.asarray(jax.vmap(operator.draw)(jax.random.split(jax.random.key(1), 2000)))
    counts = (masks == 0).sum(axis=0).ravel()
    assert min(binomtest(int(c), 2000, 0.5).pvalue for c in counts) > 0.01 / 48


@pytest.mark.parametrize("missing", [-0.1, 1.0, 0.999, float("nan")])
def test_a_mask_that_leaves_nothing(missing):
    with pytest.raises(ValueError, match="missing must be a fraction"):
        RandomMask(SHAPE, missing)


def test_simulated_noise():
    operator, sigma_y = RandomMask(SHAPE, 0.6), 0.05
    x0 = jnp.asarray(np.random.default_rng(0).random(SHAPE))
    m = jax.jit(jax.vmap(lambda k: simulate(operator, sigma_y, k, x0)))(jax.random.split(jax.random.key(0), 500))
    y, mask = np.asarray(m.y), np.asarray(m.mask) == 1
    assert np.all(y[~mask] == 0)
    noise = (y - np.asarray(x0))[mask]
    assert noise.std() == pytest.approx(sigma_y, rel=4 / np.sqrt(2 * noise.size))
    assert noise.mean() == pytest.approx(0, abs=4 * sigma_y / np.sqrt(noise.size))
    assert len(np.unique(mask.reshape(500, -1), axis=0)) == 500


def test_simulated_noise_has_the_shape_of_the_data():
    operator, sigma_y = FourierSubset((32, 48, 3), np.arange(1536).reshape(32, 48) % 3 == 0), 0.05
    x0 = jnp.asarray(np.random.default_rng(0).random(operator.shape), jnp.float32)
    m = jax.jit(lambda key: simulate(operator, sigma_y, key, x0))(jax.random.key(0))
    noise = np.asarray(m.y - operator(x0))
    assert m.mask is None and noise.shape == (2, 512, 3)
    assert noise.std() == pytest.approx(sigma_y, rel=5 / np.sqrt(2 * noise.size))


def test_denoising_has_no_mask():
    x0 = jnp.full(SHAPE, 0.5)
    m = simulate(Identity(SHAPE), 0.1, jax.random.key(0), x0)
    assert m.mask is None
    assert np.asarray(m.y - x0).std() == pytest.approx(0.1, rel=0.4)


@pytest.mark.parametrize("operator", [*_masks()[1:], *_others()[::3], *_all()[-2:]], ids=str)
def test_log_likelihood_against_scipy(operator):
    rng = np.random.default_rng(0)
    x, x0 = rng.random((2, *operator.shape)).astype(np.float32)
    mask = _mask(operator)
    seen = np.asarray(operator.observed(mask)) == 1
    y = seen * (np.asarray(operator(x0, mask)) + 0.2 * rng.normal(size=operator.y_shape))
    expected = norm.logpdf(y[seen], np.asarray(operator(x, mask))[seen], 0.2).sum()
    m = Measurement(jnp.asarray(y, jnp.float32), mask)
    assert operators.log_likelihood(operator, 0.2, x, m) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("operator", [RandomMask(SHAPE, 0.5), FixedMask(HALF)], ids=str)
def test_what_stands_at_missing_entries_does_not_matter(operator):
    x0 = jnp.full(SHAPE, 0.3)
    m = simulate(operator, 0.2, jax.random.key(0), x0)
    filled = Measurement(jnp.where(m.mask == 1, m.y, 0.9), m.mask)
    assert log_likelihood(operator, 0.2, x0, filled) == log_likelihood(operator, 0.2, x0, m)


def test_without_a_mask_everything_was_observed():
    operator, x = RandomMask(SHAPE, 0.5), jnp.full(SHAPE, 0.3)
    np.testing.assert_array_equal(operator(x), x)
    np.testing.assert_array_equal(operator.observed(), np.ones(SHAPE))


@pytest.mark.parametrize("make", [lambda: GaussianBlur((2, 2), 1.0), lambda: FourierSubset((2, 2), np.ones((2, 2)))])
def test_lists_are_signals_and_words_are_not(make):
    signal = [[0.1, 0.2], [0.3, 0.4]]
    np.testing.assert_allclose(make()(signal), make()(np.array(signal)))
    with pytest.raises(TypeError, match="x must be an array of numbers"):
        make()("ab")


def test_a_mask_of_a_single_number_is_refused():
    with pytest.raises(ValueError, match=r"mask has shape \(\); expected an array of 0 and 1, not empty"):
        FixedMask(1.0)
