"""Super-resolved faces with the mean of the forward divergence and the spread of the reverse one, added to the full run
of the page on the paper's objective.

``python -m aps_book.experiments.mean_kept --budget 600`` trains recipes/faces-sr2-spread.toml (again: goes on) and writes
weights/results/protocol.added-remedy.json; the weights are not kept. Needs CelebA in APS_DATA_DIR.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.metrics import evaluation
from aps_core.posterior import load_posterior
from aps_core.training.job import run as run_job
from aps_core.training.posterior import posterior_from_recipe
from aps_core.training.recipes import read

RECIPE = "faces-sr2-spread"
ROWS = {
    "forward": "flow of the forward divergence",
    "reverse": "flow of the reverse divergence",
    "kept": "mean of the first, spread by the reverse divergence",
}


def store(run, scores, reference="forward"):
    """Keep of ``evaluation.evaluate`` by row: PSNR of one sample and of the mean, energy score and coverage as
    ``remedy.row.n1`` and so on, and those of the others minus ``reference``, paired by signal, as
    ``remedy_paired.row.n1``.
    """
    values = {
        row: {
            "n1": found["psnr_n1"],
            "mean": found["psnr_mean"],
            "energy": found["energy"],
            "inside_90": 100 * found["coverage"][:, 1],
        }
        for row, found in scores.items()
    }
    units = {"n1": "dB", "mean": "dB", "energy": None, "inside_90": "%"}
    for row, found in values.items():
        for key, unit in units.items():
            run.mean(f"remedy.{row}.{key}", found[key], unit)
            if row != reference:
                run.mean(f"remedy_paired.{row}.{key}", np.asarray(found[key]) - values[reference][key], unit)


def main(arguments=None):
    """Command line: train, score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.mean_kept", description=main.__doc__)
    parser.add_argument("--budget", type=float, help="seconds after which training stops")
    parser.add_argument("--faces", type=int, default=32, help="validation faces")
    parser.add_argument("--samples", type=int, default=64, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints") / RECIPE)
    parser.add_argument("--out", type=Path, default=Path("weights/results/protocol.added-remedy.json"))
    options = parser.parse_args(arguments)
    recipe = read(f"recipes/{RECIPE}.toml")
    job = replace(posterior_from_recipe(recipe), evaluate=None)  # scored once, below
    kept, trained, _ = run_job(job, recipe, folder=options.folder, budget=options.budget)
    task = kept.task
    samplers = {
        "forward": load_posterior(task, weights=f"{task.name}-held-out"),
        "reverse": load_posterior(task, weights=f"{task.name}-reverse"),
        "kept": kept,
    }
    dataset = data.load("faces", "val")
    case = measure(task, dataset, options.faces)
    run = record.Run("protocol", {"n_test": options.faces, "n_samples": options.samples}, options.folder)
    run.uses_data(dataset)
    run.uses_weights(samplers["forward"].card, samplers["reverse"].card)
    run.numbers("remedy.training", {"steps": trained.step, "planned": recipe["optimizer"]["steps"]})
    run.number("remedy.training.seconds", trained.seconds, unit="s")
    scores = {
        row: evaluation.evaluate(s, jax.random.key(1), case.measurements, case.x0, options.samples)
        for row, s in samplers.items()
    }
    store(run, scores)
    run.finish()
    print(record.save({**record.load(options.folder / "protocol.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
