"""Denoising and missing entries: operators with A^T A = A, which accept any leading axes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import is_number, sizes
from aps_core.operators.base import ByContent, Operator, zero_one


@dataclass(frozen=True)
class Identity(Operator):
    """A(x) = x: denoising."""

    shape: tuple
    kind = "identity"
    diagonal = True
    is_identity = True

    def __post_init__(self):
        object.__setattr__(self, "shape", sizes("shape", self.shape))

    def __call__(self, x, mask=None):
        """A(x) = x, any leading axes."""
        del mask
        return x

    adjoint = __call__


@dataclass(frozen=True)
class RandomMask(Operator):
    """A(x) = m * x, where ``round(missing * size)`` entries, drawn anew for every measurement, are missing.

    A measurement without a mask (None) is one where everything was observed.
    Raises ValueError when ``missing`` is outside [0, 1) or leaves nothing observed.
    """

    shape: tuple
    missing: float
    kind = "random-mask"
    diagonal = True
    random = True

    def __post_init__(self):
        object.__setattr__(self, "shape", sizes("shape", self.shape))
        is_number("missing", self.missing)
        if not 0 <= self.missing < 1 or self.n_missing >= self.size:
            raise ValueError(
                f"missing must be a fraction in [0, 1) that leaves something observed, got {self.missing!r}"
            )

    @property
    def share_missing(self):
        """Share of the entries of y that is missing."""
        return self.missing

    @property
    def n_missing(self):
        """Number of entries that each mask hides."""
        return round(self.missing * self.size)

    def draw(self, key):
        """A mask, shape ``shape``, float32, exactly ``n_missing`` zeros."""
        hidden = jnp.arange(self.size) < self.n_missing
        return 1.0 - jax.random.permutation(key, hidden).reshape(self.shape).astype(jnp.float32)

    def __call__(self, x, mask=None):
        """A(x) = mask * x, any leading axes."""
        return x if mask is None else mask * x

    adjoint = __call__

    def observed(self, mask=None):
        """The diagonal of A^T A."""
        return super().observed() if mask is None else mask

    def check_mask(self, mask):
        """Any mask will do."""


@dataclass(frozen=True, eq=False)
class FixedMask(ByContent, Operator):
    """A(x) = m * x with one mask ``m``, 1 where observed and 0 where missing, of the shape of a signal, for all
    measurements.

    Raises ValueError for other values, or where nothing is observed.
    """

    mask: np.ndarray
    kind = "fixed-mask"
    diagonal = True

    def __post_init__(self):
        object.__setattr__(self, "mask", zero_one("mask", self.mask))

    def __repr__(self):
        return f"FixedMask(shape={self.shape}, n_missing={int(np.sum(self.mask == 0))})"

    @property
    def shape(self):
        """Shape of a signal."""
        return self.mask.shape

    def draw(self, key):
        """The mask, so that measurements carry it."""
        del key
        return jnp.asarray(self.mask)

    def __call__(self, x, mask=None):
        """A(x) = m * x, any leading axes."""
        del mask
        return self.mask * jnp.asarray(x)

    adjoint = __call__

    def observed(self, mask=None):
        """The diagonal of A^T A."""
        del mask
        return jnp.asarray(self.mask)

    def check_mask(self, mask):
        """Measurements must carry the mask of the operator: flows read it there."""
        if mask is None:
            raise ValueError("mask is None, but the operator hides entries; pass Measurement(y, operator.mask)")
        if not np.all(np.asarray(mask) == self.mask):
            raise ValueError(
                "mask is not that of the operator; use RandomMask where it differs from one measurement to the next"
            )
