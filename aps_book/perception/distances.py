"""Distances between two sets of features (n, d), each a row for one picture: Fréchet (FID) and kernel (KID)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (d,) of a set of features, and the rows (n, d) whose product F^T F is their covariance."""

    mean: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, features):
        """The moments of features (n, d); the covariance is divided by n - 1. Raises ValueError as
        ``frechet_distance``.
        """
        features = _features("features", features)
        mean = features.mean(axis=0)
        return cls(mean, (features - mean) / np.sqrt(len(features) - 1))

    @cached_property
    def covariance(self):
        """(d, d)."""
        return self.rows.T @ self.rows

    @property
    def factor(self):
        """F (k, d) with F^T F the covariance and k <= d."""
        if len(self.rows) <= self.rows.shape[1]:
            return self.rows
        values, vectors = scipy.linalg.eigh(self.covariance)
        return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def frechet_distance(a, b):
    """Fréchet distance between two Gaussians with the moments of two sets of features (Heusel et al. 2017): with
    Inception's features, FID.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). With C_a = F^T F the last trace is the sum of the square roots of the eigenvalues of F C_b F^T,
    which is symmetric: no square root of a matrix is taken, and covariances of fewer pictures than features do no harm
    to the arithmetic. With few pictures the estimate is too large: only values at equal numbers compare.

    a, b: features (n, d), n >= 2, or their Moments. Raises ValueError for another shape, different d, or values that
    are not finite.
    """
    a, b = (x if isinstance(x, Moments) else Moments.of(x) for x in (a, b))
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a and b have {len(a.mean)} and {len(b.mean)} features, expected as many")
    few, many = sorted((a, b), key=lambda moments: len(moments.rows))
    factor = few.factor
    common = np.sqrt(np.maximum(scipy.linalg.eigvalsh(factor @ many.covariance @ factor.T), 0)).sum()
    distance = np.sum((a.mean - b.mean) ** 2) + np.sum(a.rows**2) + np.sum(b.rows**2) - 2 * common
    return max(float(distance), 0.0)


def frechet_without(a, b, groups=8):
    """``frechet_distance`` of ``a`` (n, d) to ``b`` with every one of ``groups`` parts of ``a`` left out in turn,
    (groups,).

    From these the delete-a-group jackknife has the standard error ``sqrt((groups - 1)^2 / groups) std(ddof=1)``; of the
    differences of two sets of features of the same pictures, the paired one. Row i belongs to part i mod ``groups``.
    Raises ValueError for fewer than two parts or too few rows.
    """
    a = _features("a", a)
    if not 2 <= groups <= len(a) // 2:
        raise ValueError(f"groups = {groups}: expected 2 to {len(a) // 2}, half the number of pictures")
    b = b if isinstance(b, Moments) else Moments.of(b)
    part = np.arange(len(a)) % groups
    return np.array([frechet_distance(a[part != g], b) for g in range(groups)])


@dataclass(frozen=True, eq=False)
class KernelDistance:
    """An estimate of KID: ``value``, and what each picture of the two sets contributes to first order, ``of_a`` (n,)
    and ``of_b`` (m,).
    """

    value: float
    of_a: np.ndarray
    of_b: np.ndarray

    @property
    def se(self):
        """Standard error from the scatter of the contributions. Where the two laws are the same it is about 1.4 times
        too large.
        """
        return float(np.sqrt(self.of_a.var(ddof=1) / len(self.of_a) + self.of_b.var(ddof=1) / len(self.of_b)))

    def __sub__(self, other):
        """The difference of two estimates on the same pictures and the same reference, row by row; its ``se`` is the
        paired one.
        """
        if self.of_a.shape != other.of_a.shape or self.of_b.shape != other.of_b.shape:
            raise ValueError(
                f"sets of {self.of_a.shape + self.of_b.shape} and {other.of_a.shape + other.of_b.shape} pictures, expected the same"
            )
        return KernelDistance(self.value - other.value, self.of_a - other.of_a, self.of_b - other.of_b)


def kernel_distance(a, b):
    """Kernel distance between two sets of features (Binkowski et al. 2018): with Inception's features, KID. Unbiased,
    so it can be negative.

    mean k(a_i, a_j) over i != j + mean k(b_i, b_j) over i != j - 2 mean k(a_i, b_j) with k(x, y) = (x . y / d + 1)^3,
    over all pairs and not over random subsets, which the usual scripts take to save memory: it is the same expectation
    with less noise, and nothing is drawn.

    a (n, d), b (m, d), n, m >= 2. Returns a KernelDistance. Raises ValueError as ``frechet_distance``.
    """
    a, b = _features("a", a), _features("b", b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b have {a.shape[1]} and {b.shape[1]} features, expected as many")
    within_a, within_b, across = _without_itself(a), _without_itself(b), _kernel(a, b)
    to_b, to_a = across.mean(axis=1), across.mean(axis=0)
    value = within_a.mean() + within_b.mean() - 2 * across.mean()
    return KernelDistance(float(value), 2 * (within_a - to_b), 2 * (within_b - to_a))


def _kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def _without_itself(x):
    """Mean of k(x_i, x_j) over j != i, (n,)."""
    k = _kernel(x, x)
    return (k.sum(axis=1) - np.diag(k)) / (len(x) - 1)


def _features(name, x):
    """``x`` as float64 (n, d), n >= 2."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] == 0:
        raise ValueError(f"{name} has shape {x.shape}, expected features (n, d) with n >= 2")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has values that are not finite")
    return x
