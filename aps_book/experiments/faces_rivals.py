"""Samplers that iterate, on faces: tuned on validation faces, then run on the first test faces, a few at a time to
bound the memory.
"""

import time
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from aps_book.experiments.sampler_names import names
from aps_book.record import tuning_records
from aps_core.metrics import quality
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task

TASKS = ("denoise", "sr2", "deblur")
GRIDS = {
    "dps": {"n_steps": (50,), "step_size": (0.5, 1.0, 2.0, 4.0, 8.0)},
    "ddrm": {"n_steps": (20, 50, 100), "eta": (0.7, 0.85, 1.0)},
    "pigdm": {"n_steps": (50,), "rule": ("paper",), "prior_variance": (0.03, 0.1, 0.3, 1.0)},
}
LABELS = names("dps", "ddrm", "pigdm")
SEARCH = "faces"


def search(path=None, n_faces=8, n=4, progress=print, tasks=TASKS, grids=None):
    """Search the settings of GRIDS for every task by the energy score of n samples of each of ``n_faces`` validation
    faces.

    Returns and, with ``path``, writes {"TASK.METHOD": what ``tune`` found}.
    """
    results = {}
    for name in tasks:
        task = load_task(f"faces-{name}")
        for method, grid in (GRIDS if grids is None else grids).items():
            results[f"{name}.{method}"] = tune(method, task, grid, Trials(n, "energy", n_faces), progress=progress)
            if path:
                tuning_records.write(path, results)
    return results


def found(name, method):
    """The recorded search of the settings of ``method`` for the task ``name`` of TASKS."""
    return tuning_records.read(tuning_records.path(SEARCH))[f"{name}.{method}"]


def sample(sampler, key, measurements, n, at_once=32, progress=False):
    """``sampler.sample`` for the first axis of ``measurements`` in parts of ``at_once``, (batch, n, *shape), and the
    seconds of one sample.

    A part's key follows from its number, so that a longer run begins with the samples of a shorter one.
    """
    total, parts, begin = len(measurements.y), [], time.monotonic()
    for i in tqdm(range(0, total, at_once), desc=type(sampler).__name__, disable=None if progress else True):
        few = jax.tree.map(lambda a, i=i: a[i : i + at_once], measurements)
        parts.append(np.asarray(sampler.sample(jax.random.fold_in(key, i), few, n)))
    return np.concatenate(parts), (time.monotonic() - begin) / (total * n)


def long_run_psnr(samples, x0, n=128):
    """PSNR (batch,) in dB that the mean of ``n`` samples would have, from fewer: samples (batch, m, *shape) with m >=
    2.

    The squared error of a mean of m independent samples is, in expectation, that of their exact mean plus V/m; the
    sample variance V tells what remains with V/n. Unbiased for the error of each face; the logarithm of it is not
    quite.
    """
    if samples.shape[1] < 2:
        raise ValueError(f"samples holds {samples.shape[1]} draws of each signal, expected at least 2")
    variance = samples.var(axis=1, ddof=1, dtype=np.float64).reshape(len(samples), -1).mean(axis=1)
    error = quality.mse(samples.mean(axis=1), x0) - variance * (1 / samples.shape[1] - 1 / n)
    return -10 * np.log10(np.maximum(error, variance / n))


def rivals(name, task, methods=("dps", "ddrm", "pigdm")):
    """The tuned samplers by row for the task ``name`` of TASKS."""
    return {method: make_sampler(method, task, **found(name, method)["best"]) for method in methods}


if __name__ == "__main__":
    search(Path("weights/results/faces.search.json"))
