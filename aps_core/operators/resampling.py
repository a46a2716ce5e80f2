"""Downsampling of images (h, w) or (h, w, c) by a whole factor: the forward operators of super-resolution."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators.base import Operator, expect, image_shape


@dataclass(frozen=True)
class _Downsample(Operator):
    """Images of ``shape`` made smaller by ``factor`` along both axes. Raises ValueError unless it divides both."""

    shape: tuple
    factor: int

    def __post_init__(self):
        object.__setattr__(self, "shape", image_shape(self.shape))
        whole = isinstance(self.factor, (int, np.integer)) and not isinstance(self.factor, bool) and self.factor >= 1
        if not whole or any(n % self.factor for n in self.shape[:2]):
            raise ValueError(
                f"factor must be a positive integer that divides height and width {self.shape[:2]}, got {self.factor!r}"
            )

    @property
    def y_shape(self):
        """(h / factor, w / factor), or with the channels."""
        return (self.shape[0] // self.factor, self.shape[1] // self.factor, *self.shape[2:])


@dataclass(frozen=True)
class AveragePool(_Downsample):
    """The mean of each ``factor`` x ``factor`` block of pixels."""

    kind = "average-pool"

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``."""
        del mask
        h, w = self.y_shape[:2]
        return expect("x", x, self.shape).reshape(h, self.factor, w, self.factor, *self.shape[2:]).mean(axis=(1, 3))


@dataclass(frozen=True)
class BicubicDownsample(_Downsample):
    """Antialiased bicubic resizing: ``jax.image.resize`` with the Keys kernel (a = -1/2) widened by the factor, as in
    Pillow.

    At the edges the kernel is cut and its weights are normalised again, so that constants stay. It overshoots: see
    ``data_range``.
    """

    kind = "bicubic-downsample"

    @property
    def data_range(self):
        """Extreme values for signals in [0, 1], from the positive and negative weights of both axes."""
        (p, n), (q, m) = (_signed_sums(size, size // self.factor) for size in self.shape[:2])
        low, high = np.outer(p, m) + np.outer(n, q), np.outer(p, q) + np.outer(n, m)
        return -float(low.max()), float(high.max())

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``."""
        del mask
        return jax.image.resize(expect("x", x, self.shape), self.y_shape, "cubic", antialias=True)


@lru_cache
def _signed_sums(n, m):
    """Sums of the positive weights, and of the magnitudes of the negative ones, for each of m pixels made of n."""
    with jax.ensure_compile_time_eval():  # it may be asked for inside jit
        weights = np.asarray(jax.image.resize(jnp.eye(n), (m, n), "cubic", antialias=True))
    return np.maximum(weights, 0).sum(axis=1), np.maximum(-weights, 0).sum(axis=1)
