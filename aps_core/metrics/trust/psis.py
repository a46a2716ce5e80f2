"""Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry 2024): k-hat and smoothed weights.

Written out here, sixty lines, because the packages that hold it (ArviZ and what it stands on) would be twenty more in
the lock for one number; the tests hold it against numbers of ``arviz_stats.psislw`` and against fits of scipy.
"""

import numpy as np
from scipy.special import logsumexp

from aps_core.checks import real_array

UNRELIABLE = 0.7  # k-hat above which importance-weighted means are not to be believed


def psis(log_weights):
    """(normalised smoothed log-weights (n,), k-hat) of unnormalised ``log_weights`` (n,).

    The largest M = min(n / 5, 3 n^(1/2)) weights are replaced by quantiles of the generalized Pareto distribution
    fitted to them, at most the largest raw one. k-hat is its shape: the variance of the weights is finite below 1/2,
    means are usable below 0.7. Weights that are all equal have k-hat -inf. Raises TypeError or ValueError unless they
    are at least 25 finite numbers in one row.
    """
    given = real_array("log_weights", log_weights)
    if given.ndim != 1 or len(given) < 25 or not np.isfinite(given).all():
        raise ValueError(f"log_weights must be at least 25 finite numbers (n,), got shape {given.shape}")
    x = given - given.max()
    if np.ptp(x) < 1e-9:
        return np.full(len(x), -np.log(len(x))), -np.inf
    order = np.argsort(x)
    m = int(min(0.2 * len(x), 3 * np.sqrt(len(x))))
    cutoff = max(x[order[-m - 1]], np.log(np.finfo(float).tiny))
    tail = order[x[order] > cutoff]
    if len(tail) <= 4:
        return x - logsumexp(x), np.inf
    k, sigma = fit_generalized_pareto(np.exp(x[tail]) - np.exp(cutoff))
    p = (np.arange(len(tail)) + 0.5) / len(tail)
    x = x.copy()
    x[tail] = np.minimum(np.log(generalized_pareto_quantile(p, k, sigma) + np.exp(cutoff)), 0.0)
    return x - logsumexp(x), float(k)


def fit_generalized_pareto(excess):
    """(k, sigma) of the generalized Pareto distribution for ordered ``excess`` (n,) > 0 over a threshold.

    Zhang and Stephens (2009): the posterior mean under an empirical prior, over a grid of k / sigma; k is then drawn
    towards 1/2 as ten more observations would (Vehtari et al. 2024).
    """
    x, n = np.asarray(excess, np.float64), len(excess)
    grid = 30 + int(np.sqrt(n))
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * x[int(n / 4 + 0.5) - 1])
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    profile = n * (np.log(-b / k) - k - 1)
    b = b @ np.exp(profile - logsumexp(profile))
    k = np.log1p(-b * x).mean()
    return (n * k + 5) / (n + 10), -k / b


def generalized_pareto_quantile(p, k, sigma):
    """The ``p``-quantiles of the generalized Pareto distribution of shape k and scale sigma."""
    return -sigma * np.log1p(-p) if k == 0 else sigma * np.expm1(-k * np.log1p(-p)) / k


def effective_sample_size(log_weights):
    """1 / sum w^2 of normalised weights w given by their logarithms."""
    return float(np.exp(-logsumexp(2 * np.asarray(log_weights, np.float64))))
