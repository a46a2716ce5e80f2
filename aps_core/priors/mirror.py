"""Principal modes of images (h, w, c) whose distribution is the same after left-right reflection: each is even or odd.

So half of each mode says all of it: what is shipped is half as large.
"""

import numpy as np


def mirrored_pca(mean, covariance, shape, mirror=True):
    """(mean (d,), variances (d,) largest first, modes (d, d)) of the images and their mirror images; of the images
    alone without ``mirror``.

    mean and covariance are those of the images. The sign of each mode makes its entry of largest magnitude positive.
    """
    if not mirror:
        variances, modes = np.linalg.eigh(covariance)
        return mean, *_ordered(variances, modes)
    even, odd = _halves(shape)
    reflected = (even @ even.T - odd @ odd.T) @ mean
    both, off = (mean + reflected) / 2, (mean - reflected) / 2
    covariance = covariance + np.outer(off, off)
    parts = [(part, *np.linalg.eigh(part.T @ covariance @ part)) for part in (even, odd)]
    variances = np.concatenate([values for _, values, _ in parts])
    modes = np.concatenate([part @ vectors for part, _, vectors in parts], axis=1)
    return both, *_ordered(variances, modes)


def halve(modes, shape):
    """(left halves (d / 2, k), parity (k,) of +1 and -1) of even or odd ``modes`` (d, k). Raises ValueError for others."""
    left = _left(shape)
    cube = np.asarray(modes).reshape(*shape, -1)
    half, right = cube[:, :left], cube[:, ::-1][:, :left]
    parity = np.where(np.sum(half * right, axis=(0, 1, 2)) < 0, -1.0, 1.0)
    if not np.allclose(right, parity * half, atol=1e-4):
        raise ValueError("a mode is neither even nor odd under left-right reflection")
    return half.reshape(-1, cube.shape[-1]), parity


def unhalve(half, parity, shape):
    """The modes (d, k) of ``halve``'s result."""
    left = _left(shape)
    cube = np.asarray(half).reshape(shape[0], left, shape[2], -1)
    return np.concatenate([cube, (parity * cube)[:, ::-1]], axis=1).reshape(-1, cube.shape[-1])


def _left(shape):
    if len(shape) != 3 or shape[1] % 2:
        raise ValueError(f"shape must be (h, w, c) with an even w, got {tuple(shape)}")
    return shape[1] // 2


def _halves(shape):
    """Orthonormal bases (d, d / 2) of the even and the odd images."""
    left, dim = _left(shape), int(np.prod(shape))
    index = np.arange(dim).reshape(shape)
    near, far = index[:, :left].ravel(), index[:, ::-1][:, :left].ravel()
    bases = []
    for sign in (1.0, -1.0):
        basis = np.zeros((dim, near.size))
        basis[near, np.arange(near.size)] = np.sqrt(0.5)
        basis[far, np.arange(near.size)] = sign * np.sqrt(0.5)
        bases.append(basis)
    return bases


def _ordered(variances, modes):
    order = np.argsort(variances)[::-1]
    modes = modes[:, order]
    return np.maximum(variances[order], 0.0), modes * np.sign(
        modes[np.abs(modes).argmax(axis=0), np.arange(modes.shape[1])]
    )
