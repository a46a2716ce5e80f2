"""Densities in the plane: kernel estimates of samples, and divergences by quadrature on grids that follow the samples."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlaneGrid:
    """A grid of points origin + L w over the plane, w on a square lattice: ``axes`` (n,) and (m,) of w, L (2, 2) lower
    triangular.

    In w the samples that the grid was made for have spread one, so that thin and slanted densities are resolved alike.
    """

    root: np.ndarray
    axes: tuple

    @property
    def points(self):
        """The points, (n, m, 2)."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), -1) @ self.root.T

    @property
    def cell(self):
        """Area of one cell."""
        return float(np.linalg.det(self.root) * np.prod([axis[1] - axis[0] for axis in self.axes]))

    def integral(self, values):
        """Integral over the plane of ``values`` (n, m) at the points, by the trapezoidal rule for what vanishes at the
        edges.
        """
        return float(self.cell * np.sum(values))


def within_covariance(samples, centres):
    """Covariance (2, 2) of samples (n, 2) about the mean of those that share their nearest one of ``centres`` (m, 2)."""
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    nearest = np.argmin(((samples[:, None] - centres) ** 2).sum(-1), axis=1)
    away = np.concatenate([samples[nearest == j] - samples[nearest == j].mean(axis=0) for j in np.unique(nearest)])
    return away.T @ away / len(samples)


def grid_for(samples, covariance, n=300, margin=1.5, keep=1.0):
    """A PlaneGrid of n x n points that covers ``samples`` (m, 2), and ``margin`` standard deviations of ``covariance``
    around them.

    keep: share of the samples that must lie inside along each axis; below 1 outliers cannot make the grid too coarse.
    Raises ValueError for samples that are not finite.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 2 or samples.shape[1] != 2 or not np.all(np.isfinite(samples)):
        raise ValueError(f"samples must be finite and of shape (n, 2), got shape {samples.shape}")
    root = np.linalg.cholesky(covariance)
    w = np.linalg.solve(root, samples.T)
    tail = (1 - keep) / 2
    return PlaneGrid(
        root, tuple(np.linspace(np.quantile(a, tail) - margin, np.quantile(a, 1 - tail) + margin, n) for a in w)
    )


def kernel_density(samples, grid):
    """Density (n, m) at the points of ``grid`` of samples (k, 2) under a Gaussian kernel, Scott's rule: covariance
    k^(-1/3) L L^T.

    With L L^T the covariance of the samples this is ``scipy.stats.gaussian_kde``; with that within their modes
    (``within_covariance``) the kernel does not grow with the distance between modes. In the grid's own coordinates the
    kernel is a product of two.
    """
    w = np.linalg.solve(grid.root, np.asarray(samples, np.float64).T)
    h = w.shape[1] ** (-1 / 6)
    first, second = (np.exp(-0.5 * ((axis[:, None] - a) / h) ** 2) for axis, a in zip(grid.axes, w, strict=True))
    return first @ second.T / (w.shape[1] * 2 * np.pi * h**2 * np.linalg.det(grid.root))


def divergence(density, log_target, grid):
    """KL(q || p) in nats by quadrature: q ``density`` (n, m) >= 0, p exp(``log_target``) (n, m), at the points of
    ``grid``.
    """
    density = np.asarray(density, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(density > 0, density * (np.log(density) - np.asarray(log_target, np.float64)), 0.0)
    return grid.integral(terms)
