"""Samplers that iterate, on faces, at several budgets of evaluations, each with the settings that validation faces choose
for that budget, beside the closed form and the flows on the same test faces: quality, spread and seconds.

``python -m aps_book.experiments.faces_budgets`` adds it to the full run of the page on faces, as
weights/results/faces.added-budgets.json, and the searches as weights/results/faces_budgets.search.json. Needs CelebA in
APS_DATA_DIR, and nothing beside it, since it takes times. What is done is kept in a folder: run again, it goes on.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import faces
from aps_book.experiments.faces_rivals import TASKS, long_run_psnr
from aps_book.experiments.kept import kept
from aps_book.experiments.measured import measure
from aps_book.experiments.sampler_names import FACE_BUDGETS
from aps_book.record import provenance, tuning_records
from aps_core import data
from aps_core.files import sha256_of
from aps_core.metrics import calibration, evaluation, quality
from aps_core.posterior import AmortizedPosterior
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task

GRIDS = {
    "dps": {"step_size": (1.0, 2.0, 4.0, 8.0)},
    "ddrm": {"eta": (0.5, 0.7, 0.85, 1.0)},
    "pigdm": {"rule": ("paper", "score"), "prior_variance": (0.03, 0.1, 0.3, 1.0)},
}
WIDENED = {
    "dps": ("step_size", 2.0),
    "ddrm": ("eta", 2**0.5),
    "pigdm": ("prior_variance", 10**0.5),
}  # where the best is at an edge; by which factor
FURTHER = 3  # settings at most, beyond those of GRIDS
SEARCH = "faces_budgets"
AT_ONCE = 2  # faces; the first of several parts has the compilation in its time and is left out of it
N_MANY = 128  # samples whose mean and time are told
STORED = {  # by column of the record: the score, its factor and its unit
    "psnr": ("psnr", 1, "dB"),
    "mean": ("mean", 1, "dB"),
    "energy": ("energy", 1, None),
    "coverage": ("inside", 100, "%"),
}


def search(task, method, budget, n_faces=4, n=2, progress=None, found=None):
    """The settings of a sampler with ``budget`` evaluations that have the least energy score on validation faces: what
    ``tune`` found. The search goes on beyond a setting of WIDENED while the best of all is the last one tried there; with
    ``found``, an earlier search, from where that ended.
    """
    common = {"trials": Trials(n, "energy", n_faces), "progress": progress}
    found = found or tune(method, task, {"n_steps": (budget,), **GRIDS[method]}, **common)
    while (further := beyond(method, found)) is not None:
        grid = {one: (v,) for one, v in {**found["best"], WIDENED[method][0]: further}.items()}
        found = tuning_records.merged(found, tune(method, task, grid, **common))
    return found


def beyond(method, found):
    """The next value of the method's setting of WIDENED beyond the edge at which the search ``found`` ends; None where it
    ends inside, at a bound of the setting, or after FURTHER values.
    """
    name, factor = WIDENED[method]
    tried, value = {row["settings"][name] for row in found["search"]}, found["best"][name]
    low, high = tuning_records.BOUNDS.get(name, (0.0, np.inf))
    if value not in (min(tried), max(tried)) or len(tried) >= len(GRIDS[method][name]) + FURTHER:
        return None
    further = value * factor if value == max(tried) else value / factor
    return further if low < further <= high else None


def scores(sampler, case, n, key):
    """What ``n`` samples of every face of a Case are worth, arrays (faces,): ``psnr`` of single samples, averaged;
    ``mean``, PSNR that the mean of N_MANY would have; ``energy`` score; ``inside``, the share of the pixels inside
    central 90 % intervals; and ``seconds`` (a number) of N_MANY samples, in proportion.
    """
    parts, seconds = [], []
    for i in range(0, len(case.x0), AT_ONCE):
        few = jax.tree.map(lambda a, i=i: a[i : i + AT_ONCE], case.measurements)
        begin = time.perf_counter()
        parts.append(np.asarray(sampler.sample(jax.random.fold_in(key, i), few, n), np.float64))
        seconds.append((time.perf_counter() - begin) / (len(few.y) * n))
    samples = np.concatenate(parts)
    single = [quality.psnr(samples[:, i], case.x0) for i in range(n)]
    each = list(zip(samples, case.x0, strict=True))
    return {
        "psnr": np.mean(single, axis=0),
        "mean": long_run_psnr(samples, case.x0, N_MANY),
        "energy": np.array([quality.energy_score(s, x) for s, x in each]),
        "inside": np.array([calibration.coverage(s, x, (0.9,))[0] for s, x in each]),
        "seconds": np.array(N_MANY * np.median(seconds[1:] or seconds)),
    }


def tuned(name, task, path, progress=print):
    """{METHOD_BUDGET: settings} of every method of FACE_BUDGETS for the Task of the name ``name``: those recorded in ``path``;
    what was not searched yet, or ended at an edge, is gone on with, and is added there.
    """
    settings = {}
    for method, budget in ((method, budget) for method, budgets in FACE_BUDGETS.items() for budget in budgets):
        row = f"{method}_{budget}"
        found = tuning_records.read(path) if path.is_file() else {}
        known = found.get(f"{name}.{row}")
        if known is None or beyond(method, known) is not None:
            found[f"{name}.{row}"] = search(task, method, budget, progress=progress, found=known)
            tuning_records.write(path, found)
        settings[row] = found[f"{name}.{row}"]["best"]
    return settings


def run_task(run, name, n_faces, n, folder, path, progress=print):
    """All methods at all budgets on ``n_faces`` test faces of a task, ``n`` samples of each, and the closed form and the
    flows; kept with ``store``.
    """
    task = load_task(f"faces-{name}")
    case = measure(task, data.load("faces", "test"), n_faces)
    direct = {row: one for row, one in faces.amortized(task).items() if row not in ("untrained", "noise2score")}
    for row in faces.trained_rows(direct):
        run.uses_weights(direct[row].card)
    made_of = {row: direct[row].card for row in direct} | tuned(name, task, path, progress)
    found = {}
    for row, made in made_of.items():
        sampler = direct.get(row) or make_sampler(row.partition("_")[0], task, **made)
        print_of = sha256_of(repr((n_faces, n, made)).encode())[:12]
        found[row] = kept(folder / f"{name}-{row}-{print_of}.npz", lambda s=sampler: timed_scores(s, case, n))
        progress(f"{name} {row} " + " ".join(f"{k}={v.mean():.4g}" for k, v in found[row].items()))
    store(run, f"budgets_{name}", found)


def store(run, prefix, found):
    """Keep the scores ``found`` by row under ``PREFIX.ROW``: the columns of STORED, ``seconds`` of one sample and
    ``seconds_many`` of N_MANY, ``at_once``, how many runs shared the machine then; and what each row has less a trained flow's, paired by face: ``minus_FLOW.psnr`` of single
    samples, ``minus_FLOW.mean`` and ``minus_FLOW.energy``.
    """
    for row, values in found.items():
        for column, (score, factor, unit) in STORED.items():
            run.mean(f"{prefix}.{row}.{column}", factor * values[score], unit)
        run.number(f"{prefix}.{row}.seconds", float(values["seconds_one"]), unit="s")
        run.number(f"{prefix}.{row}.seconds_many", float(values["seconds"]), unit="s")
        if "at_once" in values:  # scores that were kept by an older program do not say it
            run.number(f"{prefix}.{row}.at_once", int(values["at_once"]))
        for flow in faces.trained_rows(found):
            for score, unit in (("psnr", "dB"), ("mean", "dB"), ("energy", None)):
                if row != flow:
                    run.mean(f"{prefix}.{row}.minus_{flow}.{score}", values[score] - found[flow][score], unit)


def timed_scores(sampler, case, n, seed=1):
    """``scores``, and ``seconds_one`` of one sample of one measurement, compiled before; of a sampler without steps the
    ``seconds`` of N_MANY are those of one call. ``at_once``: how many runs share the machine, as APS_AT_ONCE says.
    """
    key = jax.random.key(seed)
    found, direct = scores(sampler, case, n, key), isinstance(sampler, AmortizedPosterior)
    repeats = 5 if direct else 1
    found["at_once"] = np.array(provenance.machine()["at_once"])
    found["seconds_one"] = np.array(evaluation.seconds_per_measurement(sampler, key, case.one(0), 1, repeats))
    if direct:
        found["seconds"] = np.array(evaluation.seconds_per_measurement(sampler, key, case.one(0), N_MANY, repeats))
    return found


def main(arguments=None):
    """Command line: search, score and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.faces_budgets", description=main.__doc__)
    parser.add_argument("--faces", type=int, default=8, help="test faces, spread evenly over the split")
    parser.add_argument("--samples", type=int, default=16, help="posterior samples of each")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--scores", type=Path, default=Path("checkpoints/faces-budgets"), help="folder of what is done")
    parser.add_argument("--out", type=Path, default=Path("weights/results/faces.added-budgets.json"))
    options = parser.parse_args(arguments)
    parameters = {"n_budgets": options.faces, "n_budget_samples": options.samples, "tasks": options.tasks}
    run = record.Run("faces", parameters, options.scores)
    run.uses_data(data.load("faces", "test"))
    for name in options.tasks:
        run_task(
            run, name, options.faces, options.samples, options.scores, options.out.with_name(f"{SEARCH}.search.json")
        )
    run.finish()
    print(record.save({**record.load(options.scores / "faces.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
