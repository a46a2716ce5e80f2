"""Do Markov chains agree, and how much do they know? R-hat and the effective sample size of Vehtari, Gelman, Simpson,
Carpenter and Bürkner (2021).

Written out here, a screen of NumPy, for the reason that stands in ``metrics.trust.psis``; the tests hold both against
numbers of ``arviz_stats``.
"""

import numpy as np
from scipy.stats import norm, rankdata

from aps_core.checks import finite_array

AGREED = 1.01  # R-hat below which chains are taken to agree


def r_hat(draws):
    """R-hat (k,) of ``draws`` (chains, n, k): of each of k quantities the larger of the rank-normalized one and the folded
    one, which sees chains of unequal spread; chains are split in halves. 1 where they agree, to be believed below 1.01.

    Raises TypeError or ValueError for another shape, fewer than two chains or four draws, or entries that are not finite.
    """
    halves = _split(_checked(draws))
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.maximum(_potential_scale(_normal(halves)), _potential_scale(_normal(folded)))


def effective_sample_size(draws):
    """Effective number (k,) of independent draws among ``draws`` (chains, n, k), of the rank-normalized quantities (bulk
    ESS). Raises as ``r_hat``.

    Autocorrelations of all chains together, summed in pairs while these are positive, and no pair larger than the one
    before it (Geyer 1992).
    """
    z = _normal(_split(_checked(draws)))
    m, n, k = z.shape
    spectrum = np.fft.rfft(z - z.mean(axis=1, keepdims=True), 2 * n, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n].mean(axis=0) / n  # of all chains, (n, k)
    within = covariance[0] * n / (n - 1)
    rho = 1 - (within - covariance) / (covariance[0] + z.mean(axis=1).var(axis=0, ddof=1))
    rho[0] = 1.0
    times = np.array([_autocorrelation_time(rho[:, j]) for j in range(k)])
    return m * n / np.maximum(times, 1 / np.log10(m * n))


def _autocorrelation_time(rho):
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)[: max((len(rho) - 1) // 2 - 1, 1)]
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
    last = rho[min(2 * len(pairs), len(rho) - 1)]
    return -1 + 2 * pairs.sum() + max(last, 0.0)


def _checked(draws):
    draws = finite_array("draws", draws)
    if draws.ndim != 3 or draws.shape[0] < 2 or draws.shape[1] < 4:
        raise ValueError(f"draws has shape {draws.shape}, expected (chains, n, k) of at least 2 chains and 4 draws")
    return draws


def _split(draws):
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _normal(draws):
    """Normal scores of the ranks among all draws, each quantity for itself."""
    flat = draws.reshape(-1, draws.shape[2])
    return norm.ppf((rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def _potential_scale(z):
    n = z.shape[1]
    within, between = z.var(axis=1, ddof=1).mean(axis=0), z.mean(axis=1).var(axis=0, ddof=1)
    return np.sqrt((n - 1) / n + between / np.maximum(within, 1e-300))
