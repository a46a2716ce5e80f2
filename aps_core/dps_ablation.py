"""What DPS gives for how many network evaluations and at which step size, on measured faces, beside APS with one evaluation."""

import time

import jax
import numpy as np

from aps_core import metrics
from aps_core.metrics import mean_and_standard_error
from aps_core.samplers import make_sampler


def sweep(task, case, settings, seed=0):
    """Run DPS on every face of a ``Case`` with each of ``settings`` (dict label -> dict of ``n_steps``, ``step_size``): one sample of each.

    Returns dict label -> dict with ``samples`` (n, *shape), ``psnr`` (n,) in dB (unclipped; -inf where a sample is not finite), and
    ``seconds`` for one sample, compilation included.
    """
    found = {}
    for label, chosen in settings.items():
        begin = time.monotonic()
        samples = np.asarray(make_sampler("dps", task, **chosen).sample(jax.random.key(seed), case.measurements, 1)[:, 0], np.float64)
        finite = np.all(np.isfinite(samples), axis=tuple(range(1, samples.ndim)))
        psnr = np.full(len(samples), -np.inf)
        if finite.any():
            psnr[finite] = metrics.psnr(samples[finite], case.x0[finite])
        found[label] = {"samples": samples, "psnr": psnr, "seconds": (time.monotonic() - begin) / len(samples)}
    return found


def store(run, prefix, found):
    """Keep the mean PSNR of each setting under ``prefix.LABEL.psnr``, where every sample is finite, and the share of finite samples."""
    for label, result in found.items():
        finite = np.isfinite(result["psnr"])
        run.number(f"{prefix}.{label}.finite", 100 * finite.mean(), unit="%")
        if finite.all():
            run.mean(f"{prefix}.{label}.psnr", result["psnr"], "dB")


def curve(found, costs):
    """(x, PSNR, its standard error) of the settings whose samples are all finite, for ``plotting_images.cost_curves``; costs: label -> x."""
    kept = [label for label, result in found.items() if np.isfinite(result["psnr"]).all()]
    pairs = [mean_and_standard_error(found[label]["psnr"]) for label in kept]
    return [costs[label] for label in kept], [float(p[0]) for p in pairs], [float(p[1]) for p in pairs]
