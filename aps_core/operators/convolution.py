"""Convolution of images with a kernel of one's own: blurs that are not isotropic, motion, the point spread of a lens."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import number, one_of, positive, real_array
from aps_core.operators.base import Operator, expect, image_shape

PADDING = {"reflect": "symmetric", "periodic": "wrap"}  # ours: NumPy's
MOST_STD = 100  # pixels


@dataclass(frozen=True)
class Convolution(Operator):
    """Images (h, w) or (h, w, c) convolved with ``kernel``, as by ``scipy.ndimage.convolve``: every channel alike.

    kernel: (a, b) of finite numbers, a and b odd and at most 4 h + 1 and 4 w + 1; a tuple of tuples, or an array, of which
    the numbers are kept. boundary: "reflect" (mirrored about the edges of the outermost pixels) or "periodic". Raises TypeError or
    ValueError for another kernel or boundary.
    """

    shape: tuple
    kernel: tuple
    boundary: str = "reflect"
    kind = "convolution"

    def __post_init__(self):
        object.__setattr__(self, "shape", image_shape(self.shape))
        kernel = real_array("kernel", self.kernel)
        most = tuple(4 * n + 1 for n in self.shape[:2])
        if kernel.ndim != 2 or any(n % 2 == 0 or n > largest for n, largest in zip(kernel.shape, most, strict=True)):
            raise ValueError(f"kernel must be (a, b) with a and b odd and at most {most}, got shape {kernel.shape}")
        if not np.all(np.isfinite(kernel)) or not np.any(kernel):
            raise ValueError("kernel must hold finite numbers, not all zero")
        object.__setattr__(self, "kernel", tuple(tuple(float(v) for v in row) for row in kernel))
        one_of("boundary", self.boundary, sorted(PADDING))

    def __repr__(self):
        size = f"{len(self.kernel)} x {len(self.kernel[0])}"
        return f"Convolution(shape={self.shape}, kernel {size}, boundary={self.boundary!r})"

    @property
    def data_range(self):
        """Sums of the negative and of the positive entries of the kernel: the extremes for signals in [0, 1]."""
        kernel = np.asarray(self.kernel)
        return float(kernel[kernel < 0].sum()), float(kernel[kernel > 0].sum())

    def __call__(self, x, mask=None):
        """A(x), of the shape of x."""
        del mask
        x = expect("x", x, self.shape)
        # what stands at (i, j) of the kernel moves the image by (i, j) less the kernel's middle
        kernel = jnp.asarray(self.kernel, x.dtype)[::-1, ::-1]
        a, b = kernel.shape
        images = jnp.moveaxis(x.reshape(*self.shape[:2], -1), -1, 0)[:, None]
        sides = ((0, 0), (0, 0), (a // 2, a // 2), (b // 2, b // 2))
        padded = jnp.pad(images, sides, mode=PADDING[self.boundary])
        out = jax.lax.conv(padded, kernel[None, None], (1, 1), "VALID", precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(out[:, 0], 0, -1).reshape(self.shape)


def gaussian_kernel(std_rows, std_columns, angle=0.0):
    """A normalized Gaussian kernel (a, b) as a NumPy array, cut off at 4 standard deviations.

    std_rows, std_columns: standard deviations in pixels, at least 1e-3 and at most 100; angle: by which the ellipse is turned
    afterwards, in degrees, from the rows' axis (downwards) towards the columns' (to the right). Raises TypeError or
    ValueError for others.
    """
    for name, std in (("std_rows", std_rows), ("std_columns", std_columns)):
        positive(name, std)
        if not 1e-3 <= std <= MOST_STD:
            raise ValueError(f"{name} must lie in [0.001, {MOST_STD}] pixels, got {std!r}")
    number("angle", angle)
    turn = np.radians(float(angle))
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    covariance = axes.T @ np.diag([float(std_rows) ** 2, float(std_columns) ** 2]) @ axes
    half = np.ceil(4 * np.sqrt(np.diag(covariance))).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in half), indexing="ij"), axis=-1)
    weight = np.exp(-0.5 * np.einsum("...i,ij,...j->...", grid, np.linalg.inv(covariance), grid))
    return weight / weight.sum()
