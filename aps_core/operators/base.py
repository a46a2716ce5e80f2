"""What every forward operator is and has."""

import json
import math
from dataclasses import fields
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


class Operator:
    """A in y = A(x) + noise, for one signal: ``vmap`` over leading axes. A frozen dataclass that can be hashed (a jit static).

    A subclass has a field or property ``shape`` of the signal and ``__call__(x, mask=None)``, and overrides what differs from the
    following.

    kind: its name in ``settings``. linear: A is a matrix. diagonal: A(x) = ``observed(mask)`` * x. random: ``draw`` draws a new mask
    for every measurement. data_range: smallest and largest entry of A(x) for signals in [0, 1], None where that says nothing.
    """

    kind = None
    linear = True
    diagonal = False
    random = False
    data_range = (0.0, 1.0)

    @property
    def y_shape(self):
        """Shape of the data of one signal."""
        return self.shape

    @property
    def size(self):
        """Number of entries of a signal."""
        return math.prod(self.shape)

    def draw(self, key):
        """The mask of one measurement, shape ``y_shape``; None where the operator has none."""
        del key
        return None

    def adjoint(self, y, mask=None):
        """A^T y, shape ``shape``: the exact transpose of the program. Raises TypeError where A is not linear."""
        if not self.linear:
            raise TypeError(f"{type(self).__name__} is not linear and has no adjoint; its linear part is operator.inner")
        y = expect("y", y, self.y_shape)
        return jax.linear_transpose(lambda x: self(x, mask), jax.ShapeDtypeStruct(self.shape, y.dtype))(y)[0]

    def observed(self, mask=None):
        """1 where the data was observed and 0 where it is missing, shape ``y_shape``."""
        del mask
        return jnp.ones(self.y_shape)

    def check_mask(self, mask):
        """Raise ValueError unless ``mask`` (None, or 0 and 1 of shape (..., *y_shape)) can come with data of this operator."""
        if mask is not None and not np.all(mask):
            raise ValueError(f"mask hides entries of y, but {type(self).__name__} observes them all; use RandomMask or FixedMask")

    def settings(self):
        """What a card says of the operator, ready for JSON; ``make_operator`` builds it again."""
        return {"kind": self.kind, **{field.name: _plain(getattr(self, field.name)) for field in fields(self)}}


class ByContent:
    """Equality and hash of an operator that holds an array: those of its settings."""

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
    mask = np.array(mask, np.float32)
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"{name} must be 1 where observed and 0 where missing, got values from {mask.min()} to {mask.max()}")
    if not np.any(mask):
        raise ValueError(f"{name} is all zero: nothing would be observed")
    mask.flags.writeable = False
    return mask


def image_shape(shape):
    """``shape`` as a tuple. Raises ValueError unless it is (h, w) or (h, w, c) of positive integers."""
    shape = tuple(shape)
    if len(shape) not in (2, 3) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise ValueError(f"shape must be (h, w) or (h, w, c), got {shape}")
    return tuple(int(n) for n in shape)


def expect(name, value, shape):
    """``value`` as a floating-point JAX array. Raises ValueError unless it has ``shape``."""
    value = jnp.asarray(value, jnp.result_type(value, jnp.float32))
    if value.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {value.shape}; use jax.vmap for a batch")
    return value


def dense_matrix(operator):
    """A as a float64 NumPy array (y_size, size), y and x flattened: for small signals (75 MB at 3072 entries).

    Raises TypeError for an operator that is not linear, or draws its mask anew for every measurement.
    """
    if not operator.linear:
        raise TypeError(f"{type(operator).__name__} is not linear and has no matrix; its linear part is operator.inner")
    if operator.random:
        raise TypeError(f"{type(operator).__name__} is another matrix for every measurement; use FixedMask")
    with jax.enable_x64(True):
        units = jnp.eye(operator.size, dtype=jnp.float64).reshape(operator.size, *operator.shape)
        columns = _mapped(operator, units)
    return np.asarray(columns, np.float64).reshape(operator.size, -1).T


@partial(jax.jit, static_argnums=0)
def _mapped(operator, x):
    return jax.vmap(operator)(x)
