"""What DPS gives for how many network evaluations and at which step size, fixed or tuned, on measured faces, beside APS
with one evaluation.
"""

import time
from dataclasses import replace

import jax
import numpy as np

from aps_book.experiments import pictured
from aps_book.experiments.failures import finite_or_not
from aps_core.metrics import quality
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune

GRID = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)  # of the step size, where it is tuned


def tuned_sizes(task, faces, nfe, n_samples=4, progress=None):
    """{n: the step size of GRID with the least energy score of ``n_samples`` samples of each of ``faces`` (b, *shape)},
    for every number n of evaluations; faces: none of those that are measured.

    The smallest n tries all of GRID. A larger one tries the size that was best before and its neighbours, and goes on
    while the best has a neighbour that was not tried: a search of a curve with one minimum, where most of the time is
    that of the largest n.
    """
    task = replace(task, signals=lambda split: faces)
    sizes, chosen, trials = {}, range(len(GRID)), Trials(n_samples, "energy", len(faces))
    for n in sorted(nfe):
        energy, asked = {}, list(chosen)
        while asked:
            grid = {"n_steps": (n,), "step_size": tuple(GRID[i] for i in asked)}
            found = tune("dps", task, grid, trials=trials, progress=progress)
            rows = zip(asked, found["search"], strict=True)
            energy |= {i: row["energy"] if row["finite"] else np.inf for i, row in rows}
            best = min(energy, key=energy.get)
            asked = [i for i in (best - 1, best + 1) if 0 <= i < len(GRID) and i not in energy]
        sizes[n] = GRID[best]
        chosen = [i for i in (best - 1, best, best + 1) if 0 <= i < len(GRID)]
    return {n: sizes[n] for n in nfe}


def sweep(task, case, settings, seed=0):
    """Run DPS on every face of a ``Case`` with each of ``settings`` (dict label -> dict of ``n_steps``, ``step_size``):
    one sample of each.

    Returns dict label -> dict with ``samples`` (n, *shape), ``psnr`` (n,) in dB (unclipped; -inf where a sample is not
    finite), and ``seconds`` for one sample, compilation included.
    """
    found = {}
    for label, chosen in settings.items():
        begin = time.monotonic()
        sampler = make_sampler("dps", task, **chosen)
        drawn = finite_or_not(lambda s=sampler: s.sample(jax.random.key(seed), case.measurements, 1))
        samples = np.asarray(drawn[:, 0], np.float64)
        finite = np.all(np.isfinite(samples), axis=tuple(range(1, samples.ndim)))
        psnr = np.full(len(samples), -np.inf)
        if finite.any():
            psnr[finite] = quality.psnr(samples[finite], case.x0[finite])
        found[label] = {"samples": samples, "psnr": psnr, "seconds": (time.monotonic() - begin) / len(samples)}
    return found


def store(run, prefix, found, column="psnr"):
    """Keep the mean PSNR of each setting under ``prefix.LABEL.COLUMN``, where every sample is finite, and the share of
    finite samples.
    """
    for label, result in found.items():
        finite = np.isfinite(result["psnr"])
        run.number(f"{prefix}.{label}.{'' if column == 'psnr' else f'{column}_'}finite", 100 * finite.mean(), unit="%")
        if finite.all():
            run.mean(f"{prefix}.{label}.{column}", result["psnr"], "dB")


def pictures(task, case, settings, found, posterior, n=4, seed=0):
    """Columns for ``images.face_columns`` of ``n`` faces, or of draws in the place of photographs (see ``pictured``):
    truth, measurement, one sample with each of ``settings`` (``found``: what ``sweep`` gave for them on the Case), and
    one of the flow.
    """
    few = pictured.case(task, case, n, seed)
    if few.dataset is not case.dataset:
        found = sweep(task, few, settings, seed)
    by_nfe = {f"DPS {one['n_steps']}": found[label]["samples"][: len(few.x0)] for label, one in settings.items()}
    ours = np.asarray(posterior.sample(jax.random.key(seed + 1), few.measurements, 1)[:, 0])
    return {"truth": few.x0, "measured": np.asarray(few.measurements.y), **by_nfe, "flow": ours}


def points(record, prefix, costs, column="psnr"):
    """(x, PSNR, its standard error), lists by rising x, of the settings of which a record has the PSNR; costs: label ->
    x. For ``plotting_images.cost_curves``.
    """
    numbers = {} if record is None else record["numbers"]
    found = {x: numbers.get(f"{prefix}.{label}.{column}") for label, x in costs.items()}
    kept = sorted((x, number["value"], number["se"]) for x, number in found.items() if number is not None)
    return tuple(map(list, zip(*kept, strict=True))) if kept else ([], [], [])


def evaluations(*records):
    """{"n10": 10, ...}: the numbers of evaluations that any of the records has, rising; records may be None."""
    every = {n for record in records if record is not None for n in record["parameters"]["nfe"]}
    return {f"n{n}": n for n in sorted(every)}


def sizes_said(record, costs):
    """The step sizes that were tuned at each number of evaluations, in a sentence, and which lie at the edge of GRID; costs:
    as in ``points``.
    """
    found = {n: record["numbers"].get(f"tuned_size.{label}") for label, n in costs.items()}
    chosen = {n: number["value"] for n, number in found.items() if number is not None}
    if not chosen:
        return "Step sizes tuned at each number of evaluations: not run."
    sizes = ", ".join(f"{size:g} with {n}" for n, size in chosen.items())
    at_edge = [str(n) for n, size in chosen.items() if size in (GRID[0], GRID[-1])]
    edge = f" With {', '.join(at_edge)} it lies at the edge of what was tried." if at_edge else ""
    tried = ", ".join(f"{size:g}" for size in GRID)
    return f"Step sizes tuned at each number of evaluations, among {tried}: {sizes}.{edge}"


def shape(xs, values, errors, what):
    """How a curve goes, in words: from its first point to its highest and on to its last, each with its PSNR.

    A rise or a fall of less than two standard errors of the difference, as if the points were independent, counts as
    none: then the curve is said to be flat there. what: the x axis, in words.
    """
    top = int(np.argmax(values))
    said = [f"{values[0]:.1f} dB at {xs[0]:g} {what}"]
    for here, there in ((0, top), (top, len(xs) - 1)):
        if there > here:
            change, error = values[there] - values[here], np.hypot(errors[here], errors[there])
            word = "flat" if abs(change) < 2 * error else "rising" if change > 0 else "falling"
            said.append(f"{word} to {values[there]:.1f} dB at {xs[there]:g}")
    return ", ".join(said)
