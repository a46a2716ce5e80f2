"""Is the spread of the samples right? Coverage and ranks. Arrays may be NumPy or JAX; results are NumPy in float64."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from aps_core import checks
from aps_core.checks import count, finite_array, real_array
from aps_core.metrics.quality import check_draws


def coverage(samples, x, levels=(0.5, 0.9)):
    """Fraction (len(levels),) of the coordinates of `x` inside the central interval of the samples.

    samples (n, *shape), x (*shape), levels in (0, 1). Take a subset of the coordinates by
    giving `samples[:, chosen]` and `x[chosen]`.

    With n draws from the distribution of x, P(s_(k) <= x <= s_(n+1-k)) = 1 - 2 k / (n + 1).
    A level that needs a fractional k = (1 - level) (n + 1) / 2 counts the two neighbouring
    intervals in proportion, and k = 0 is the whole line. So the expected value is the level
    exactly, for every n and every continuous distribution. Of an even n the innermost interval holds
    1 / (n + 1): a smaller level counts it in proportion.

    Raises ValueError for entries that are not finite, which no interval holds, as the other measures here do.
    """
    samples, x = _finite_draws(samples, x)
    levels = checked_levels(levels)
    n = len(samples)
    # x is inside [s_(k), s_(n+1-k)] exactly when k <= depth; intervals are closed, so ties count as inside.
    depth = np.minimum((samples <= x).sum(axis=0), n - (samples < x).sum(axis=0))
    k = (1 - levels) * (n + 1) / 2
    held = np.array([np.clip(depth + 1 - ki, 0, 1).mean() for ki in k])
    innermost = levels * (n + 1) * (depth >= n / 2).mean()
    return np.where((n % 2 == 0) & (k > n / 2), innermost, held)


def band_coverage(samples, x, modes, n_bands=5, levels=(0.5, 0.9)):
    """Coverage (n_bands, len(levels)) of the coordinates of `x` along `modes`, leading band first.

    samples (n, *shape), x (*shape), modes (d, k) with orthonormal columns in the order of
    falling variance and d = the size of a signal. The coordinates are modes^T x; subtracting
    the mean would shift x and the samples alike and change nothing. The k modes are split
    into n_bands runs of equal length (up to one).
    """
    samples, x = _finite_draws(samples, x)
    modes = real_array("modes", modes)
    if modes.ndim != 2 or len(modes) != x.size:
        raise ValueError(f"modes has shape {modes.shape}, expected ({x.size}, k)")
    if not 1 <= count("n_bands", n_bands) <= modes.shape[1]:
        raise ValueError(f"n_bands is {n_bands}, expected 1 to {modes.shape[1]}, the number of modes")
    z, zx = samples.reshape(len(samples), -1) @ modes, x.ravel() @ modes
    bands = np.array_split(np.arange(modes.shape[1]), n_bands)
    return np.stack([coverage(z[:, band], zx[band], levels) for band in bands])


def sbc_ranks(samples, x):
    """Rank (*shape) of `x` among the samples (n, *shape): how many of them are smaller, 0 to n.

    Over many signals the ranks of an exact posterior are uniform on 0, ..., n
    (simulation-based calibration, Talts et al. 2018). Ties count as larger.
    """
    samples, x = _finite_draws(samples, x)
    return (samples < x).sum(axis=0)


class RankBand(NamedTuple):
    """What ``rank_band`` finds: places (k,) in (0, 1), the ECDF of the ranks there less the place, and the lower and
    upper edge of the simultaneous band (k,); p, of uniform ranks; inside, whether the ECDF stays in the band.
    """

    place: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: float
    inside: bool


def rank_band(ranks, n, level=0.95, n_simulated=2000, seed=0):
    """Are ``ranks`` (m,), each 0 to ``n``, uniform? Their ECDF and its simultaneous band of probability ``level``: a
    RankBand.

    Säilynoja, Bürkner and Vehtari (2022): at place z the number of ranks below z (n + 1) is binomial(m, z) when the
    ranks are uniform; the band is made of the central intervals, at all places together, of that pointwise
    probability which ``n_simulated`` sets of uniform ranks stay inside of with probability ``level``. Raises
    TypeError or ValueError for ranks of another form.
    """
    given, n, n_simulated = real_array("ranks", ranks), count("n", n), count("n_simulated", n_simulated)
    if given.ndim != 1 or len(given) < 2 or not ((given >= 0) & (given <= n) & (given == np.round(given))).all():
        raise ValueError(f"ranks must be at least two integers from 0 to n = {n}, got shape {given.shape}")
    (level,) = checked_levels(checks.number("level", level))
    m, place = len(given), np.arange(1, n + 1) / (n + 1)
    drawn = np.random.default_rng(checks.seed("seed", seed)).integers(0, n + 1, (n_simulated, m))
    found, *simulated = _least_tail(_below(np.concatenate([given[None], drawn]), n), m, place)
    tail = np.quantile(simulated, 1 - level)
    low, high = binom.ppf(tail / 2, m, place) / m, binom.ppf(1 - tail / 2, m, place) / m
    difference = _below(given[None], n)[0] / m - place
    p = (1 + np.sum(simulated <= found)) / (n_simulated + 1)
    return RankBand(place, difference, low - place, high - place, float(p), bool(found >= tail))


def _below(ranks, n):
    """How many of the ranks of each row (b, m) are below 1, ..., n: (b, n)."""
    counts = np.stack([np.bincount(row.astype(int), minlength=n + 1) for row in ranks])
    return np.cumsum(counts, axis=1)[:, :n]


def _least_tail(below, m, place):
    """The least two-sided tail probability over the places, for each row of counts (b, n) among m ranks."""
    counts = np.arange(m + 1)[:, None]
    tails = 2 * np.minimum(binom.cdf(counts, m, place), binom.sf(counts - 1, m, place))
    return tails[below, np.arange(len(place))].min(axis=1)


def _finite_draws(samples, x):
    samples, x = check_draws(samples, x)
    return finite_array("samples", samples), finite_array("x", x)


def checked_levels(levels):
    """Levels as an array. Raises ValueError unless each lies strictly between 0 and 1."""
    levels = np.atleast_1d(real_array("levels", levels))
    if levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels is {levels.tolist()}, expected fractions strictly between 0 and 1")
    return levels
