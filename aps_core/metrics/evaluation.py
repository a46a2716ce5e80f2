"""One function that draws the table: every sampler, the same measurements, the same numbers."""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_core.metrics import calibration, quality

LEVELS = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Scoring:
    """What samples are asked beside the numbers of all entries: the coverage of ``n_bands`` bands of ``modes`` (d, k), and
    PSNR in which entries count by ``weights`` (*shape).
    """

    modes: np.ndarray | None = None
    n_bands: int = 5
    weights: np.ndarray | None = None


PLAIN = Scoring()


def evaluate(sampler, key, measurements, x0, n=128, scoring=PLAIN, progress=False):
    """Score ``sampler.sample(key, measurement, n)`` on each of a batch of measurements of signals ``x0`` (batch,
    *shape).

    Returns arrays of length batch, unclipped: ``psnr_n1`` of the first sample, ``psnr_mean`` of the mean of n,
    ``energy`` (energy score), ``coverage`` (batch, 2) of the central 50 and 90 % intervals. Where signals are images that
    are large enough, ``ssim_n1`` and ``ssim_mean`` are those of the uniform 7 x 7 window, ``ssim11_n1`` and
    ``ssim11_mean`` those of the Gaussian 11 x 11 window. A ``scoring`` with modes adds ``band_coverage`` (batch, n_bands,
    2) of the intervals of P^T x, one with weights ``psnr_weighted_n1`` and ``psnr_weighted_mean``. The same ``key`` gives
    every sampler the same draws. Raises ValueError unless there is one measurement for each signal.
    """
    x0, rows = np.asarray(x0), []
    if x0.ndim < 1 or np.shape(measurements.y)[:1] != x0.shape[:1]:
        raise ValueError(
            f"measurements has data of shape {np.shape(measurements.y)} and x0 signals of shape {x0.shape}, expected one "
            "measurement for each signal"
        )
    keys = jax.random.split(key, len(x0))
    for i in tqdm(range(len(x0)), desc="measurements", disable=None if progress else True):
        one = jax.tree.map(lambda a, i=i: a[i], measurements)
        samples = np.asarray(sampler.sample(keys[i], one, n))
        rows.append(score(samples, x0[i], scoring))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def score(samples, x0, scoring=PLAIN):
    """The numbers of ``evaluate`` for one measurement: samples (n, *shape), x0 (*shape)."""
    mean = samples.mean(axis=0)
    row = {
        "psnr_n1": quality.psnr(samples[:1], x0[None])[0],
        "psnr_mean": quality.psnr(mean[None], x0[None])[0],
        "energy": quality.energy_score(samples, x0),
        "coverage": calibration.coverage(samples, x0, LEVELS),
    }
    for kind, x in (("n1", samples[:1]), ("mean", mean[None])):
        for name, window in (("ssim", "uniform"), ("ssim11", "gaussian")):
            if x0.ndim in (2, 3) and min(x0.shape[:2]) >= quality.WINDOWS[window][0]:
                row[f"{name}_{kind}"] = quality.ssim(x, x0[None], window)[0]
        if scoring.weights is not None:
            row[f"psnr_weighted_{kind}"] = quality.psnr(x, x0[None], scoring.weights)[0]
    if scoring.modes is not None:
        row["band_coverage"] = calibration.band_coverage(samples, x0, scoring.modes, scoring.n_bands, LEVELS)
    return {name: np.asarray(value) for name, value in row.items()}


def seconds_per_measurement(sampler, key, measurement, n, repeats=5):
    """Median wall-clock seconds of one call ``sampler.sample(key, measurement, n)``, compiled before."""
    jax.block_until_ready(sampler.sample(key, measurement, n))
    times = []
    for i in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(jnp.asarray(sampler.sample(jax.random.fold_in(key, i), measurement, n)))
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
