"""Search of a sampler's settings on validation signals."""

import itertools
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import jax
import numpy as np

from aps_core import checks
from aps_core.files import check_writable, write_atomically
from aps_core.metrics import quality
from aps_core.operators import Measurement
from aps_core.samplers import METHODS, make_sampler

METRICS = {"psnr": -1, "energy": 1}  # the sign with which smaller is better


@dataclass(frozen=True)
class Trials:
    """What each setting of a search is tried on, and by what it is judged.

    n: samples of each measurement. metric: "psnr" of the mean of the n samples (rewards samplers that seek the mean), or
    "energy", the energy score (smallest in expectation for the posterior itself), or a function of samples (batch, n,
    *shape) and measurements whose value, kept as "score", is to be small. n_measurements: of the split ``signals``,
    simulated. key: of measurements and samples, the same for every setting. measurements: a batch of them in the place
    of simulated ones; with it ``metric`` is such a function, since nothing else is known of the signals.

    Raises ValueError or TypeError for an unknown metric or what is no count.
    """

    n: int = 16
    metric: str | Callable = "psnr"
    n_measurements: int = 8
    signals: str = "val"
    key: jax.Array | None = None
    measurements: Measurement | None = None

    def __post_init__(self):
        given = self.measurements is not None
        if not callable(self.metric) and (self.metric not in METRICS or given):
            known = "a function" if given else f"one of {sorted(METRICS)} or a function"
            raise ValueError(f"metric must be {known}, got {self.metric!r}")
        for name in ("n", "n_measurements"):
            object.__setattr__(self, name, checks.count(name, getattr(self, name)))
        if self.metric == "energy" and self.n < 2:
            raise ValueError(
                f'metric "energy" needs n of at least 2, got {self.n}: it compares samples with each other'
            )

    def of(self, task):
        """(measurements, their signals or None, key of the samples) of a Task."""
        k_measure, k_sample = jax.random.split(jax.random.key(0) if self.key is None else self.key)
        if self.measurements is not None:
            return self.measurements, None, k_sample
        x0 = np.asarray(task.signals(self.signals))[: self.n_measurements]
        return task.measure(k_measure, x0), x0, k_sample

    def best(self, rows):
        """The row that is best by the metric."""
        metric = self.metric
        return min(rows, key=lambda row: row["score"] if callable(metric) else METRICS[metric] * row[metric])


def tune(name, task, grid=None, trials=Trials(), path=None, progress=None):
    """Try every combination of ``grid`` in ``trials``: a dict with all rows and the best.

    grid: {setting: values to try}; without it that of the sampler's class, ``search``. path: JSON file for the result,
    replaced whole. progress: called with each row.

    A row has "settings", "psnr" (mean of samples), "energy", "nfe", "seconds" (the first with its compilation) and
    "finite", of samples and score; one that is not finite is never the best. Raises ValueError for an unknown name or
    setting, a path that cannot be written to, or where nothing was finite.
    """
    if path is not None:
        check_writable("path", path)
    grid = default_grid(name) if grid is None else {k: _plain(v) for k, v in grid.items()}
    measurements, x0, key = trials.of(task)
    rows = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        row = _row(make_sampler(name, task, **settings), key, measurements, x0, trials)
        rows.append({"settings": settings, **row})
        if progress is not None:
            progress(rows[-1])
    finite = [row for row in rows if row["finite"]]
    if not finite:
        raise ValueError(f"no setting of {name!r} gave finite samples; tried {grid}")
    found = {
        "sampler": name,
        "task": task.name,
        "sigma_y": float(task.sigma_y),
        "operator": task.operator.settings(),
        "signals": None if x0 is None else trials.signals,
        "n_measurements": len(measurements.y),
        "n": trials.n,
        "metric": _word(trials.metric),
        "best": trials.best(finite)["settings"],
        "search": rows,
    }
    if path is not None:
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
    return found


def _plain(values):
    """Values of a setting, numbers of NumPy as those of Python, which JSON knows."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _word(metric):
    """What the record calls a metric: a ``functools.partial`` has no name."""
    return getattr(metric, "__name__", type(metric).__name__) if callable(metric) else metric


def default_grid(name):
    """What the class of ``name`` says is worth trying. Raises ValueError for an unknown name."""
    if name not in METHODS:
        raise ValueError(f"unknown sampler {name!r}; expected one of {sorted(METHODS)}")
    module, cls, _ = METHODS[name]
    return dict(getattr(import_module(f"aps_core.samplers.{module}"), cls).search)


def _row(sampler, key, measurements, x0, trials):
    begin = time.perf_counter()
    samples = None  # samples that are not finite are a result of the search
    with suppress(checks.NotFiniteError):
        samples = np.asarray(sampler.sample(key, measurements, trials.n), np.float64)
    seconds = time.perf_counter() - begin
    row = {
        "psnr": None,
        "energy": None,
        "nfe": sampler.nfe,
        "seconds": round(seconds, 3),
        "finite": samples is not None,
    }
    if samples is not None and callable(trials.metric):
        score = float(trials.metric(samples, measurements))
        row["finite"] = math.isfinite(score)  # neither smaller nor larger, NaN would be the best where it comes first
        row["score"] = score if row["finite"] else None
    if samples is not None and x0 is not None:
        row["psnr"] = float(quality.psnr(samples.mean(axis=1), x0).mean())
        if trials.n > 1:
            row["energy"] = float(np.mean([quality.energy_score(s, x) for s, x in zip(samples, x0, strict=True)]))
    return row
