"""Checks of what users pass in: one clear error each."""

import difflib
import math
import numbers

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

LARGEST_SEED = 2**31 - 1
LARGEST_COUNT = 2**31 - 1
LARGEST_SIZE = 2**15  # of a network: far larger ones end the process inside XLA, without an error
NOISE = (1e-6, 1e6)  # between which squares of it, and one over them, are numbers of single precision
LARGEST_ENTRY = 1e10  # of data and signals: the square of it over the smallest noise is still a number


class NotFiniteError(ValueError, FloatingPointError):
    """A method was asked for numbers that it does not have: NaN or infinity came out. ``results`` are what came out."""

    results: tuple = ()


def is_number(name, value):
    """Raise TypeError unless ``value`` is a real number of Python or NumPy; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r:.80}")


def as_float(value):
    """A real number as a float: infinite where it is larger than any."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number(name, value):
    """``value`` as a float. Raises TypeError for what is no real number (a bool is none), ValueError for one that is
    not finite.
    """
    is_number(name, value)
    found = as_float(value)
    if not math.isfinite(found):
        raise ValueError(f"{name} must be finite, got {found}")
    return found


def positive(name, value):
    """Raise TypeError or ValueError unless ``value`` is a finite number above zero."""
    is_number(name, value)
    found = as_float(value)
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name} must be finite and positive, got {found if found == math.inf else value!r}")


def noise(name, value):
    """``value``, a noise standard deviation, as a float; a traced one, whose value cannot be checked, as it is.

    Raises TypeError or ValueError unless it lies in ``NOISE``: beyond it single precision has no squares.
    """
    if is_traced(value):
        return value
    positive(name, value)
    if not NOISE[0] <= value <= NOISE[1]:
        raise ValueError(f"{name} must lie in [{NOISE[0]:g}, {NOISE[1]:g}], got {value!r}")
    return float(value)


def count(name, value):
    """``value`` as an int. Raises TypeError or ValueError unless it is an integer from 1 to 2^31 - 1."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if value > LARGEST_COUNT:
        raise ValueError(f"{name} must be at most {LARGEST_COUNT}, got an integer of {int(value).bit_length()} bits")
    return int(value)


def size(name, value):
    """``value``, a width, depth or number of parts of a network, as an int. Raises as ``count``, and ValueError above 2^15."""
    if count(name, value) > LARGEST_SIZE:
        raise ValueError(f"{name} must be at most {LARGEST_SIZE}, got {value}")
    return int(value)


def drawn_at_once(n, batch, shape):
    """Raise ValueError where n samples of each of ``batch`` signals are more than one array of 2^31 - 1 entries."""
    entries = n * batch * math.prod(shape)
    if entries > LARGEST_COUNT:
        raise ValueError(
            f"n = {n} makes an array of {entries:,} entries, expected at most {LARGEST_COUNT:,}: draw in parts"
        )


def random_key(name, value):
    """``value`` as a single typed key of ``jax.random``; two words of ``jax.random.PRNGKey`` become one.

    Raises TypeError for everything else, ValueError for an array of keys.
    """
    dtype = getattr(value, "dtype", None)
    wanted = "expected one key, such as jax.random.key(0)"
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if np.shape(value) != ():
            raise ValueError(f"{name} holds keys of shape {np.shape(value)}, {wanted}")
        return value
    if dtype == np.uint32 and np.shape(value) == (2,):
        return jax.random.wrap_key_data(jnp.asarray(value), impl="threefry2x32")
    what = repr(value) if np.ndim(value) == 0 else f"an array of shape {np.shape(value)}"
    raise TypeError(f"{name} must be a random key, got {what}; {wanted}")


def is_traced(*values):
    """Whether one of the leaves of ``values`` stands for numbers that are not known yet: inside ``jit``, ``grad`` or
    ``vmap``, where shapes can be checked and values cannot.
    """
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def finite_result(what, *results):
    """Raise NotFiniteError, saying ``what`` gave it, unless the arrays ``results`` are finite (or traced)."""
    if is_traced(*results):
        return
    for result in results:
        bad = ~np.isfinite(np.asarray(result))
        if bad.any():
            error = NotFiniteError(
                f"{what} gave {int(bad.sum())} of {bad.size} numbers that are not finite, expected finite ones"
            )
            error.results = results
            raise error


def seed(name, value):
    """``value`` as an int, which must be an integer from 0 to 2^31 - 1.

    JAX keeps the lowest 32 bits of a seed, so 2^32 would repeat 0 and -1 repeat 2^32 - 1; the range ends at 31 bits
    because further seeds are made from one by adding small numbers, which then never wrap around. Raises TypeError for
    what is no integer (a bool is none), ValueError outside of the range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer from 0 to {LARGEST_SEED}, got {value!r}")
    if not 0 <= int(value) <= LARGEST_SEED:
        raise ValueError(f"{name} must be an integer from 0 to {LARGEST_SEED}, got {value!r}")
    return int(value)


def known(what, given, expected):
    """Raise ValueError for the first of the names ``given`` that is not among ``expected``, with the nearest that is."""
    for name in given:
        if not isinstance(name, str) or name not in expected:
            near = difflib.get_close_matches(str(name), expected, 1, 0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{what} has an unknown entry {name!r}; {hint}expected some of {sorted(expected)}")


def one_of(name, value, choices):
    """Raise ValueError unless ``value`` is one of the words ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}, got {value!r}")


def flag(name, value):
    """Raise TypeError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def fraction(name, value):
    """Raise TypeError unless ``value`` is a number, ValueError unless it lies in [0, 1]."""
    is_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")


def sizes(name, shape):
    """``shape`` as a tuple of ints. Raises TypeError unless it is a sequence of integers, ValueError unless it has at
    least one and all are positive.
    """
    if isinstance(shape, (str, bytes)) or not np.iterable(shape):
        raise TypeError(f"{name} must be a tuple of positive integers, got {shape!r}")
    shape = tuple(shape)
    if not all(isinstance(n, numbers.Integral) and not isinstance(n, (bool, np.bool_)) for n in shape):
        raise TypeError(f"{name} must be a tuple of positive integers, got {shape!r}")
    if not shape or not all(n > 0 for n in shape) or math.prod(shape) > LARGEST_COUNT:
        raise ValueError(f"{name} must be positive integers, of a product below 2^31, got {shape}")
    return tuple(int(n) for n in shape)


def has(what, thing, names, wanted):
    """Raise TypeError unless ``thing`` has the attributes ``names``; ``wanted`` says what has them."""
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise TypeError(f"{what} is a {type(thing).__name__} without {', '.join(missing)}; expected {wanted}")


def task_like(task):
    """Raise TypeError unless ``task`` has what makes a problem: operator, noise level and prior."""
    has("task", task, ["operator", "sigma_y", "prior"], "a Task (aps_core.load_task gives those with a name)")


def unmasked(name, value):
    """``value`` as given. Raises ValueError for a numpy masked array that hides something: what it hides would be taken
    for data.
    """
    if isinstance(value, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(value).sum())):
        raise ValueError(
            f"{name} is a masked array that hides {hidden} of {value.size} entries, expected a plain array; a Measurement "
            f"of {name}.filled(0) and its mask, 1 where observed, says what is missing"
        )
    return value


def real(name, value):
    """``value`` as given. Raises as ``unmasked``, and TypeError where it holds complex numbers."""
    if getattr(getattr(value, "dtype", None), "kind", "") == "c":
        raise TypeError(f"{name} holds complex numbers ({value.dtype}), expected real ones")
    return unmasked(name, value)


def real_array(name, value):
    """``value`` as a float64 NumPy array. Raises as ``real``, and TypeError, naming it, for what holds other than real
    numbers.
    """
    try:
        array = np.asarray(real(name, value))
        if array.dtype.kind == "c" or array.dtype.kind in "USVMm":
            raise TypeError(f"it holds {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        if str(error).startswith(f"{name} "):
            raise
        raise TypeError(f"{name} must be an array of real numbers: {error}") from None


def finite_array(name, value):
    """``value`` as ``real_array``. Raises ValueError, naming it, for entries that are not finite."""
    array = real_array(name, value)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds entries that are not finite, expected numbers")
    return array


def floating(name, value):
    """``value`` as an array of floating-point numbers. Raises TypeError for another kind, such as 8-bit pictures."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        raise TypeError(
            f"{name} has entries of type {array.dtype}, expected floating-point numbers in [0, 1]; 8-bit ones / 255"
        )
    return array


def measured_array(name, value):
    """``value`` as a NumPy or JAX array of numbers that JAX has (a list becomes one; numbers of a file's byte order get that
    of this machine, those of more than double precision become double). Raises TypeError or ValueError that names it.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        array = np.asarray(unmasked(name, value))
    except (TypeError, ValueError) as error:
        if str(error).startswith(f"{name} "):
            raise
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must be an array of numbers, got {array.dtype}")
    if array.dtype.kind in "fc" and array.dtype.itemsize > (8 if array.dtype.kind == "f" else 16):
        return array.astype(np.float64 if array.dtype.kind == "f" else np.complex128)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_measurement(measurement, operator, sigma_y, data_range=None, extra_check=None):
    """Raise unless ``measurement`` holds floating-point data of ``operator.y_shape`` (or a batch of it) in the scale of
    the signals.

    y outside ``data_range``, (low, high) or None, is valid as far as the noise can carry it (0.1 and 8 standard deviations
    of the most noise beyond it) and, where no sensor saturates, as draws of a prior of such signals go (0.5 and 4 of them).
    In a batch, every measurement must have something observed. Of traced arrays (inside ``jit``) kinds and shapes are
    checked, not values.
    """
    if not (hasattr(measurement, "y") and hasattr(measurement, "mask")):
        raise TypeError(f"measurement must be a Measurement, got {type(measurement).__name__}")
    shape, y = tuple(operator.y_shape), measured_array("y", measurement.y)
    _check_kind_and_shape(y, shape)
    mask = _mask_of(measurement, y)
    if measurement.mask is None or not is_traced(mask):
        operator.check_mask(None if measurement.mask is None else mask)
    if not is_traced(y, mask):
        noise = operator.most_noise(sigma_y)
        drawn = 0.0 if operator.saturates else 0.5 + 4 * noise  # of 6144 draws of the face prior one reaches 1.48
        _check_values(np.asarray(y), mask, shape, max(0.1 + 8 * noise, drawn), data_range)
        _check_each(measurement, y, mask, shape, extra_check)


def _check_kind_and_shape(y, shape):
    if np.dtype(y.dtype).kind == "c":
        raise TypeError(
            f"y holds complex numbers ({y.dtype}), expected real ones: its real and imaginary parts, stacked"
        )
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"y must be floating point in the scale [0, 1], got {y.dtype}; divide 8-bit data by 255")
    ends = y.shape[len(y.shape) - len(shape) :] if y.ndim >= len(shape) else y.shape
    if ends != shape or y.ndim > len(shape) + 1:
        if ends != shape and sorted(ends) == sorted(shape):
            raise ValueError(f"y has shape {y.shape}: its axes are in the wrong order, expected {shape}")
        raise ValueError(f"y must have shape {shape} or (batch, {', '.join(map(str, shape))}), got {y.shape}")
    if y.shape[0] == 0:
        raise ValueError("y is an empty batch, expected at least one measurement")


def _check_values(y, mask, shape, slack, data_range):
    if not np.all(np.isfinite(y)):
        raise ValueError(
            f"y has {int(np.sum(~np.isfinite(y)))} non-finite values; write missing entries as 0 with mask 0, expected numbers"
        )
    if float(np.abs(y).max()) > LARGEST_ENTRY:
        raise ValueError(f"y has entries up to {np.abs(y).max():.4g}, expected at most {LARGEST_ENTRY:g} in magnitude")
    if not np.all(np.any(mask.reshape((-1, *shape)) > 0, axis=tuple(range(1, len(shape) + 1)))):
        raise ValueError("mask is all zero: nothing was observed")
    if data_range is not None:
        for one, seen in zip(y.reshape((-1, *shape)), mask.reshape((-1, *shape)), strict=True):
            _check_scale(one[seen > 0], slack, data_range)


def _check_each(measurement, y, mask, shape, extra_check):
    """``extra_check`` of every measurement of a batch, or of a single one."""
    if extra_check is None:
        return
    single = y.ndim == len(shape)
    for i in range(1 if single else len(y)):
        extra_check(type(measurement)(y=y if single else y[i], mask=mask if single else mask[i]))


def _mask_of(measurement, y):
    if measurement.mask is None:
        return np.ones(y.shape)
    mask = measured_array("mask", measurement.mask)
    if mask.shape != y.shape:
        raise ValueError(f"mask must have the shape of y, {y.shape}, got {mask.shape}")
    if is_traced(mask):
        return mask
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biuf":
        raise TypeError(f"mask must hold 1 where observed and 0 where missing, got {mask.dtype}")
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(
            f"mask must be 1 where observed and 0 where missing, got values from {mask.min()} to {mask.max()}"
        )
    return mask


def _check_scale(observed, slack, data_range):
    low, high = observed.min(), observed.max()
    if low < data_range[0] - slack or high > data_range[1] + slack:
        if low > 100 and high < 400:
            hint = "it looks like kelvin: normalise by (T - 202.66 K) / 118.27 K"
        elif low >= -min(255 * slack, 0.4 * high) and 2 < high <= 255 * (1 + slack):
            hint = "it looks like 0-255: divide by 255"
        else:
            hint = "scale it as the signals of the task"
        raise ValueError(
            f"y ranges from {low:.4g} to {high:.4g}, but of signals of this task the data are expected between "
            f"{data_range[0] - slack:.4g} and {data_range[1] + slack:.4g}; {hint}"
        )
