"""What every forward operator is and has."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import measured_array, sizes, unmasked
from aps_core.operators.content import FROZEN, content_of, snapshot
from aps_core.operators.measurement import Measurement


class Default:
    """What an attribute is where neither the object nor a subclass says otherwise, from a function of the object."""

    def __init__(self, function):
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, owner, cls=None):
        if owner is None:  # so that a dataclass may have a field of this name without a default
            raise AttributeError(f"{self.function.__name__} is one of objects, not of their class")
        return self.function(owner)


class Operator:
    """A in y = A(x) + noise, for one signal: ``vmap`` over leading axes. Best a frozen dataclass; equality and hash are
    those of its attributes (it is a jit static), and a Task refuses an operator that has changed since.

    A subclass has a field or property ``shape`` of the signal and ``__call__(x, mask=None)`` in ``jax.numpy``, and
    overrides what differs from the following; a Task tests what is declared (``declared.check_declared``).

    kind: its name in ``settings``. linear: A(x) = M x + b, a matrix and perhaps a constant (see ``offset``). diagonal:
    A(x) = ``observed(mask)`` * x. is_identity: A(x) = x, diagonal and all of it observed. random: ``draw`` draws a new mask
    for every measurement. additive_noise: y is A(x) + N(0, sigma_y^2) on the observed entries; one that overrides
    ``simulate`` and ``log_likelihood`` says False, and rivals and closed forms refuse it. saturates: the sensor's
    ``response`` to ``inner``, a linear operator, can be undone by ``undo``. data_range: smallest and largest entry of A(x)
    for signals in [0, 1], None where that says nothing.
    """

    shape: tuple[int, ...]
    __call__: Callable[..., Any]
    kind = None
    linear = True
    diagonal = False
    is_identity = False
    random = False
    additive_noise = True
    saturates = False
    data_range = (0.0, 1.0)

    def __setattr__(self, name, value):
        if vars(self).get(FROZEN):
            raise TypeError(
                f"{type(self).__name__}.{name} cannot be set to {value!r:.80}: the operator of a Task stays as it is; expected "
                "a new operator and a new Task"
            )
        object.__setattr__(self, name, value)

    def __eq__(self, other):
        return type(self) is type(other) and content_of(self) == content_of(other)

    def __hash__(self):
        return hash(content_of(self))

    @Default
    def y_shape(self):
        """Shape of the data of one signal."""
        return self.shape

    @Default
    def share_missing(self):
        """Share of the entries of y that is missing, on average."""
        return 0.0

    @Default
    def size(self):
        """Number of entries of a signal."""
        return math.prod(self.shape)

    def draw(self, key):
        """The mask of one measurement, shape ``y_shape``; None where the operator has none."""
        del key
        return None

    def adjoint(self, y, mask=None):
        """M^T y, shape ``shape``: the exact transpose of the program, whose constant counts for nothing. Raises TypeError
        where A is not linear.
        """
        if not self.linear:
            raise TypeError(
                f"{type(self).__name__} is not linear and has no adjoint; its linear part is operator.inner"
            )
        y = expect("y", y, self.y_shape)
        return jax.vjp(lambda x: self(x, mask), jnp.zeros(self.shape, y.dtype))[1](y)[0]

    def observed(self, mask=None):
        """1 where the data was observed and 0 where it is missing, shape ``y_shape``."""
        del mask
        return jnp.ones(self.y_shape)

    def most_noise(self, sigma_y):
        """The largest standard deviation that the noise of a measurement can have, ``sigma_y`` being that of the task."""
        return sigma_y

    def check_mask(self, mask):
        """Raise ValueError unless ``mask`` (None, or 0 and 1 of shape (..., *y_shape)) can come with data of this
        operator.
        """
        if mask is not None and not np.all(mask):
            raise ValueError(
                f"mask hides entries of y, but {type(self).__name__} observes them all; use RandomMask or FixedMask"
            )

    def simulate(self, sigma_y, key, x0):
        """One Measurement of one signal ``x0`` of shape ``shape``: A(x0) + N(0, sigma_y^2), noise on observed entries
        only.
        """
        draw_key, noise_key = jax.random.split(key)
        mask = self.draw(draw_key)
        noise = sigma_y * jax.random.normal(noise_key, self.y_shape)
        y = self(x0, mask) + self.observed(mask) * noise
        return Measurement(y=y, mask=mask)

    def log_likelihood(self, sigma_y, x, measurement):
        """log N(y; A(x), sigma_y^2 I) over the observed entries in nats, for one signal and one measurement (Eq. 12 with
        its sign mended).
        """
        observed = self.observed(measurement.mask)
        residual = observed * (measurement.y - self(x, measurement.mask))  # whatever stands in y where it is missing
        n_observed = jnp.sum(observed)
        return -0.5 * jnp.sum(residual**2) / sigma_y**2 - 0.5 * n_observed * jnp.log(2 * jnp.pi * sigma_y**2)

    def settings(self):
        """What a card says of the operator, ready for JSON; ``make_operator`` builds it again."""
        return {"kind": self.kind, **{field.name: _plain(getattr(self, field.name)) for field in fields(self)}}


class ByContent:
    """Equality and hash of an operator that holds an array: those of its settings."""

    settings: Callable[[], dict]

    def __eq__(self, other):
        return type(self) is type(other) and self.settings() == other.settings()

    def __hash__(self):
        return hash(json.dumps(self.settings(), sort_keys=True))


def _plain(value):
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


def pack(mask):
    """A 0/1 array as a dict for JSON: its shape, and its bits in hexadecimal."""
    return {"shape": list(mask.shape), "bits": np.packbits(mask.astype(bool)).tobytes().hex()}


def unpack(packed):
    """The array of ``pack``."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed["bits"]), np.uint8))
    return bits[: math.prod(packed["shape"])].reshape(packed["shape"])


def zero_one(name, mask):
    """``mask`` as a read-only float32 array. Raises ValueError unless it holds 0 and 1 alone, and a 1 somewhere."""
    try:
        mask = np.asarray(unmasked(name, mask))
        if mask.dtype.kind not in "biuf":
            raise TypeError(f"it holds {mask.dtype}")
        mask = np.array(mask, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        if str(error).startswith(f"{name} "):
            raise
        raise TypeError(f"{name} must be an array of 0 and 1: {error}") from None
    if not mask.size or not mask.ndim:
        raise ValueError(f"{name} has shape {mask.shape}; expected an array of 0 and 1, not empty")
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(
            f"{name} must be 1 where observed and 0 where missing, got values from {mask.min()} to {mask.max()}"
        )
    if not np.any(mask):
        raise ValueError(f"{name} is all zero: nothing would be observed")
    mask.flags.writeable = False
    return mask


def image_shape(shape):
    """``shape`` as a tuple. Raises ValueError unless it is (h, w) or (h, w, c) of positive integers."""
    shape = sizes("shape", shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape must be (h, w) or (h, w, c), got {shape}")
    return shape


def expect(name, value, shape):
    """``value`` as a floating-point JAX array. Raises TypeError for what is no array of numbers, ValueError unless it has
    ``shape``.
    """
    value = measured_array(name, value)
    value = jnp.asarray(value, jnp.result_type(value, jnp.float32))
    if value.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {value.shape}; use jax.vmap for a batch")
    return value


def dense_matrix(operator):
    """M of A(x) = M x + b as a float64 NumPy array (y_size, size), y and x flattened: for small signals (75 MB at 3072
    entries).

    Raises TypeError for an operator that is not linear, or draws its mask anew for every measurement.
    """
    if not operator.linear:
        raise TypeError(f"{type(operator).__name__} is not linear and has no matrix; its linear part is operator.inner")
    if operator.random:
        raise TypeError(f"{type(operator).__name__} is another matrix for every measurement; use FixedMask")
    with jax.enable_x64(True):
        units = jnp.eye(operator.size, dtype=jnp.float64).reshape(operator.size, *operator.shape)
        # what JAX keeps of a compiled program are also the NumPy constants in it, by identity: one that lived on would hand its
        # double precision to the next call of somebody's operator, outside of here
        mapped = partial(_mapped, operator) if is_of_the_package(operator) else jax.jit(jax.vmap(kept_by(operator)))
        columns = np.asarray(mapped(units), np.float64)
        del mapped
    matrix = columns.reshape(operator.size, -1).T
    constant = offset(operator)
    return matrix if constant is None else matrix - constant.reshape(-1, 1)


@partial(jax.jit, static_argnums=0)
def _mapped(operator, x):
    return jax.vmap(operator)(x)


def is_of_the_package(operator):
    """Whether tests of the package vouch for all that ``operator`` declares."""
    parts = [part for name in ("inner", "outer") if (part := getattr(operator, name, None)) is not None]
    return type(operator).__module__.startswith("aps_core.operators.") and all(map(is_of_the_package, parts))


def kept_by(operator):
    """The operator that compiled programs are kept by: itself, or a ``snapshot`` of somebody's own."""
    return operator if is_of_the_package(operator) else snapshot(operator)


def offset(operator):
    """b of A(x) = M x + b, A(0) in float64 of shape ``y_shape``; None where it is zero, as it is of all operators of the
    package but tangents (``linearize``), of those that are not linear, and of those that draw masks.
    """
    if not operator.linear or operator.random or operator.diagonal:
        return None
    return _offset(kept_by(operator))


@lru_cache(maxsize=64)
def _offset(operator):
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        once = operator if is_of_the_package(operator) else jax.jit(operator.__call__)  # as in dense_matrix
        constant = np.asarray(once(jnp.zeros(operator.shape, jnp.float64)), np.float64)
    return constant if np.any(constant) else None


def linear_part(operator, x, mask=None):
    """M x, shape ``y_shape``, of a linear operator A(x) = M x + b."""
    constant = offset(operator)
    y = operator(x, mask)
    return y if constant is None else y - jnp.asarray(constant, y.dtype)
