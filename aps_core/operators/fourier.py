"""A part of the spatial frequencies: the forward operator of magnetic resonance imaging and interferometry."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from aps_core import checks
from aps_core.operators.base import ByContent, Operator, expect, image_shape, zero_one


@dataclass(frozen=True, eq=False)
class FourierSubset(ByContent, Operator):
    """Real and imaginary parts of the frequencies ``kept`` of the orthonormal 2-D DFT of images (h, w) or (h, w, c).

    kept: (h, w), 1 where a frequency is measured, laid out as by ``numpy.fft.fft2``; the same for all channels. Of a
    real image the frequencies k and -k are conjugate: keep one of each pair (as ``random_frequencies`` does), unless
    both are measured, each with noise of its own. The imaginary part is zero, and its datum pure noise, at the
    frequencies that are their own conjugates. Raises ValueError for ``kept`` of another shape, of other values than 0
    and 1, or without a 1.
    """

    shape: tuple
    kept: np.ndarray
    kind = "fourier-subset"
    data_range = None

    def __post_init__(self):
        object.__setattr__(self, "shape", image_shape(self.shape))
        if np.shape(self.kept) != self.shape[:2]:
            raise ValueError(f"kept must have shape {self.shape[:2]}, got {np.shape(self.kept)}")
        object.__setattr__(self, "kept", zero_one("kept", self.kept))

    def __repr__(self):
        return f"FourierSubset(shape={self.shape}, n_kept={int(self.kept.sum())})"

    @property
    def y_shape(self):
        """(2, number of frequencies), or with the channels: real parts, then imaginary parts."""
        return (2, int(self.kept.sum()), *self.shape[2:])

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``."""
        del mask
        spectrum = jnp.fft.fft2(expect("x", x, self.shape), axes=(0, 1), norm="ortho")[np.nonzero(self.kept)]
        return jnp.stack([spectrum.real, spectrum.imag])


def random_frequencies(shape, share, centre=2, seed=0):
    """A subset for ``FourierSubset``, (h, w): all frequencies within ``centre`` of zero and a random ``share`` of the
    others.

    Of the frequencies k and -k one stands for both; ``share`` = 0 keeps the low ones alone.
    Raises ValueError for a share outside [0, 1] or a negative ``centre``.
    """
    checks.is_number("share", share)
    checks.is_number("centre", centre)
    if not 0 <= share <= 1 or not centre >= 0:
        raise ValueError(f"expected share in [0, 1] and centre >= 0, got {share!r} and {centre!r}")
    h, w = image_shape(shape)[:2]
    rows, columns = np.arange(h)[:, None], np.arange(w)[None, :]
    index, mirror = rows * w + columns, (-rows % h) * w + -columns % w
    first = index <= mirror
    others = first & (np.hypot(np.minimum(rows, h - rows), np.minimum(columns, w - columns)) > centre)
    dropped = np.random.default_rng(checks.seed("seed", seed)).permutation(np.flatnonzero(others))[
        round(share * others.sum()) :
    ]
    kept = first.astype(np.float32)
    kept.ravel()[dropped] = 0
    return kept
