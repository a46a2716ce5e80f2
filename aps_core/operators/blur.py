"""Gaussian blur of images: the forward operator of deblurring."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d

from aps_core.checks import positive
from aps_core.operators.base import Operator, expect, image_shape

LEAST_STD = 1e-3  # pixels
MOST_STD = 10  # in units of the longer side: nothing but the mean is left there
BOUNDARIES = {"reflect": "reflect", "periodic": "wrap"}  # ours: SciPy's


@dataclass(frozen=True)
class GaussianBlur(Operator):
    """Convolution of images (h, w) or (h, w, c) with a Gaussian of standard deviation ``std`` pixels, cut off at 4
    ``std``.

    boundary: "reflect" (the image is mirrored about the edges of its outermost pixels: d c b a | a b c d | d c b a) or
    "periodic". The blur is separable: one small matrix for each axis. Raises ValueError or TypeError for a ``std`` below
    0.001 pixels or above 10 times the longer side (the mean is all that is left there), or an unknown boundary.
    """

    shape: tuple
    std: float
    boundary: str = "reflect"
    kind = "gaussian-blur"

    def __post_init__(self):
        object.__setattr__(self, "shape", image_shape(self.shape))
        positive("std", self.std)
        most = MOST_STD * max(self.shape[:2])
        if not LEAST_STD <= self.std <= most:
            raise ValueError(
                f"std must lie in [{LEAST_STD}, {most}] pixels, {MOST_STD} times the longer side, got {self.std!r}"
            )
        if self.boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {sorted(BOUNDARIES)}, got {self.boundary!r}")

    def __call__(self, x, mask=None):
        """A(x), of the shape of x."""
        del mask
        x = expect("x", x, self.shape)
        rows, columns = (jnp.asarray(_blur_matrix(n, self.std, self.boundary), x.dtype) for n in self.shape[:2])
        # full precision: the default of some accelerators has 11 bits
        return jnp.einsum("ai,bj,ij...->ab...", rows, columns, x, precision=jax.lax.Precision.HIGHEST)


@lru_cache
def _blur_matrix(n, std, boundary):
    """(n, n) in float64: column j is the blur of the j-th unit vector."""
    return gaussian_filter1d(np.eye(n), std, axis=0, mode=BOUNDARIES[boundary])
