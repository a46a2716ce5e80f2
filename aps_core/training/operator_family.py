"""The linear problems on images that one flow for all is trained for: operators and noise levels, drawn at random."""

import numpy as np

from aps_core.operators import (
    AveragePool,
    Convolution,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    gaussian_kernel,
    random_frequencies,
)

DENOISING = (0.02, 0.3)  # noise of denoising; of all else:
NOISE = (0.005, 0.1)
WIDTHS = (0.5, 2.5)  # pixels, of blurs
HIDDEN = (0.2, 0.8)  # share of the entries that masks hide
MEASURED = (0.2, 0.8)  # share of the higher frequencies that are measured


def _uniform_in_log(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _denoising(rng, shape):
    return Identity(shape)


def _blur(rng, shape):
    return GaussianBlur(shape, _uniform_in_log(rng, *WIDTHS))


def _blur_along_the_axes(rng, shape):
    return Convolution(shape, gaussian_kernel(*(_uniform_in_log(rng, *WIDTHS) for _ in range(2))))


def _pool2(rng, shape):
    return AveragePool(shape, 2)


def _pool4(rng, shape):
    return AveragePool(shape, 4)


def _pixels(rng, shape):
    """Random pixels are missing, with all their channels."""
    hidden = rng.random(shape[:2]) < rng.uniform(*HIDDEN)
    return FixedMask(np.broadcast_to(~hidden[..., None], shape))


def _entries(rng, shape):
    """Random entries are missing, each for itself."""
    return FixedMask(rng.random(shape) >= rng.uniform(*HIDDEN))


def _box(rng, shape):
    """A rectangle is missing, or all but a rectangle."""
    (h, w), share, aspect = shape[:2], rng.uniform(*HIDDEN) / 2, _uniform_in_log(rng, 0.5, 2)
    height = int(np.clip(round(np.sqrt(share * h * w * aspect)), 2, h - 2))
    width = int(np.clip(round(share * h * w / height), 2, w - 2))
    top, left = rng.integers(0, h - height + 1), rng.integers(0, w - width + 1)
    seen = np.ones(shape, bool)
    seen[top : top + height, left : left + width] = False
    return FixedMask(seen)


def _frequencies(rng, shape):
    return FourierSubset(shape, random_frequencies(shape, rng.uniform(*MEASURED), 4, int(rng.integers(2**31))))


# how often each kind occurs, in turn
KINDS = (
    *(_denoising, _blur, _pixels, _blur_along_the_axes, _pool2, _box, _denoising, _frequencies),
    *(_blur, _pool4, _entries, _blur_along_the_axes, _denoising, _pool2, _pixels, _box),
)


def draw_problem(i, shape, seed=0):
    """(operator, sigma_y): the problem number ``i`` >= 0 of the family on images of ``shape`` (h, w, c).

    Kinds take turns: denoising, blurs of equal and of unequal widths along the axes, means of blocks, missing pixels,
    entries and rectangles, a part of the spatial frequencies. Deterministic in (i, shape, seed).
    """
    rng = np.random.default_rng([seed, i])
    operator = KINDS[i % len(KINDS)](rng, shape)
    return operator, _uniform_in_log(rng, *(DENOISING if operator.is_identity else NOISE))
