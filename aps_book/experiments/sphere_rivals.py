"""DPS and MCG on the sphere: tuned on validation months, run on a few test months, because each sample costs a thousand
evaluations.
"""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from aps_book.experiments import measured
from aps_book.record import tuning_records
from aps_core import data
from aps_core.metrics import evaluation
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task

GRID = {"n_steps": (1000,), "step_size": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
ROWS = ("mcg", "dps")


def search(path=None, n_months=2, n=4, progress=print):
    """Search the step size of both on validation months by the PSNR of the mean of n samples; returns and, with
    ``path``, writes {method: what ``tune`` found}.
    """
    task, val = load_task("sphere-impute"), data.load("ncep-temperature", "val")
    task = replace(task, signals=lambda split: val.values[np.linspace(0, len(val.values) - 1, n_months).astype(int)])
    found = {}
    for method in ROWS:
        found[method] = tune(method, task, GRID, Trials(n, "psnr", n_months), progress=progress)
        if path:
            tuning_records.write(path, found)
    return found


def samplers(task, found):
    """DPS and MCG of the task by row, with the settings that the search ``found`` best."""
    return {method: make_sampler(method, task, **found[method]["best"]) for method in ROWS}


def subset(case, n):
    """n months of a ``measured.Case``, evenly spread, and their positions in it."""
    chosen = np.round(np.linspace(0, len(case.x0) - 1, n)).astype(int)
    measurements = jax.tree.map(lambda a: a[chosen], case.measurements)
    return measured.Case(case.dataset, case.chosen[chosen], case.x0[chosen], measurements), chosen


def store(run, prefix, scores, others, chosen):
    """Keep the scores of single samples of DPS and MCG as ``prefix.dps`` and ``prefix.mcg``; under ``iterative`` those
    and what the rows of ``others``, the last of them the flow, have on the same months (positions ``chosen`` of theirs):
    PSNR of one sample and of the mean, its excess over DPS, energy score and that minus the flow's (``minus_flow``),
    coverage.
    """
    for row, found in scores.items():
        run.mean(f"{prefix}.{row}.psnr", found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}.psnr_area", found["psnr_weighted_n1"], "dB")
        run.mean(f"{prefix}.{row}.ssim", found["ssim_n1"])
        run.mean(f"{prefix}.{row}.ssim11", found["ssim11_n1"])
    same = {
        row: {name: found[name][chosen] for name in ("psnr_n1", "psnr_mean", "coverage", "energy")}
        for row, found in others.items()
    }
    flow = list(others)[-1]
    for row, found in {**scores, **same}.items():
        run.mean(f"iterative.{row}.psnr_n1", found["psnr_n1"], "dB")
        run.mean(f"iterative.{row}.psnr_mean", found["psnr_mean"], "dB")
        run.mean(f"iterative.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        run.mean(f"iterative.{row}.energy", found["energy"])
        if row != "dps":
            run.mean(f"iterative.{row}.above_dps", found["psnr_n1"] - scores["dps"]["psnr_n1"], "dB")
        if row != flow:
            run.mean(f"iterative.{row}.minus_flow.energy", found["energy"] - same[flow]["energy"])


def store_seconds(run, prefix, rivals, key, measurement, fast):
    """Keep the seconds of one sample of DPS and MCG for one measurement, and the ratio to ``fast``, those of one sample
    of APS.
    """
    for row, sampler in rivals.items():
        seconds = evaluation.seconds_per_measurement(sampler, key, measurement, 1, repeats=1)
        run.number(f"{prefix}.{row}.seconds", float(f"{seconds:.2g}"), unit="s")
        run.number(f"speedup.{row}", float(f"{seconds / fast:.2g}"))


if __name__ == "__main__":
    search(Path("weights/results/sphere_impute.search.json"))
