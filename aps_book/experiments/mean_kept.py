"""Faces with the mean of another flow kept and the spread trained by the reverse divergence, added to the full run of the
page on the paper's objective.

``python -m aps_book.experiments.mean_kept --task deblur --budget 600`` trains the recipe of RECIPES (again: goes on) and
writes weights/results/protocol.added-remedy-deblur.json (of super-resolution protocol.added-remedy.json); the weights are
not kept. For denoising nothing is trained: the flow with Tweedie's mean is shipped. Needs CelebA in APS_DATA_DIR.
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

RECIPES = {"sr2": "faces-sr2-spread", "deblur": "faces-deblur-spread", "denoise": "faces-denoise-reverse-spread"}
SHIPPED = ("denoise",)  # of them, those whose weights are there
TITLES = {"sr2": "Two-fold super-resolution", "deblur": "Deblurring", "denoise": "Denoising"}
ROWS = {
    "forward": "flow of the forward divergence",
    "reverse": "flow of the reverse divergence",
    "kept": "mean of the first, spread by the reverse divergence",
}
TWEEDIE = {**ROWS, "kept": "Tweedie's mean, spread by the reverse divergence"}  # the rows of denoising


def prefix_of(task):
    """What the keys of a task of RECIPES begin with: "remedy" for super-resolution, else "remedy_deblur" and so on."""
    return "remedy" if task == "sr2" else f"remedy_{task}"


def recorded(numbers):
    """The tasks of RECIPES of which a record's numbers hold the rows."""
    return [task for task in RECIPES if f"{prefix_of(task)}.kept.mean" in numbers]


def store(run, scores, prefix="remedy", reference="forward"):
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
            run.mean(f"{prefix}.{row}.{key}", found[key], unit)
            if row != reference:
                run.mean(f"{prefix}_paired.{row}.{key}", np.asarray(found[key]) - values[reference][key], unit)


def differences(task):
    """(key, this, that, better, form, measure) of what ``store`` has paired, for ``record.Difference``."""
    kept = "the flow with Tweedie's mean" if task == "denoise" else "the flow with the kept mean"
    return [
        (f"{prefix_of(task)}_paired.{row}.{key}", this, that, better, form, measure)
        for row, name in (("reverse", "the reverse flow"), ("kept", kept))
        for key, this, that, better, form, measure in (
            ("mean", f"the mean of {name}", "that of the forward flow", "higher", "+.2f", ""),
            ("n1", f"one sample of {name}", "one of the forward flow", None, "+.2f", ""),
            ("energy", name, "the forward flow", "lower", "+.4f", "energy score"),
            ("inside_90", name, "the forward flow", None, "+.1f", "coverage"),
        )
    ]


def goal(numbers, task, within=0.1, low=88, high=92):
    """Whether the flow with the kept mean is within so many decibels of the forward flow, or above it, in one sample and
    in the mean, with intervals that hold ``low`` to ``high`` per cent, in one sentence.
    """
    prefix = prefix_of(task)
    value = lambda key: numbers[f"{prefix}{key}"]["value"]  # noqa: E731
    near = all(value(f"_paired.kept.{key}") > -within for key in ("n1", "mean"))
    held = value(".kept.inside_90")
    said = "It is" if near else "It is not"
    return (
        f"{said} within {within:g} dB of the forward flow, or beyond it, in one sample and in the mean, and its 90 % intervals "
        f"{'hold' if low <= held <= high else 'do not hold'} {low} to {high} % ({held:.1f} %)."
    )


def trained(task, folder, budget):
    """(the flow with the kept mean, steps, planned steps, seconds) of a task of RECIPES; its recipe is run for ``budget``
    seconds where its weights are not shipped.
    """
    recipe = read(f"recipes/{RECIPES[task]}.toml")
    planned = recipe["optimizer"]["steps"]
    if task in SHIPPED:
        posterior = load_posterior(f"faces-{task}", weights=RECIPES[task])
        return posterior, posterior.card["steps"], planned, posterior.card["seconds"]
    job = replace(posterior_from_recipe(recipe), evaluate=None)  # scored once, by the command
    kept, done, _ = run_job(job, recipe, folder=folder, budget=budget)
    return kept, done.step, planned, done.seconds


def main(arguments=None):
    """Command line: train, score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.mean_kept", description=main.__doc__)
    parser.add_argument("--task", choices=RECIPES, default="sr2")
    parser.add_argument("--budget", type=float, help="seconds after which training stops; run again to go on")
    parser.add_argument("--faces", type=int, default=32, help="validation faces")
    parser.add_argument("--samples", type=int, default=64, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="folder of the states to go on from")
    parser.add_argument("--out", type=Path, help="by default protocol.added-remedy...json in weights/results")
    options = parser.parse_args(arguments)
    prefix, folder = prefix_of(options.task), options.folder / RECIPES[options.task]
    kept, steps, planned, seconds = trained(options.task, folder, options.budget)
    task = kept.task
    samplers = {
        row: load_posterior(task, weights=f"{task.name}-{w}")
        for row, w in (("forward", "held-out"), ("reverse", "reverse"))
    }
    samplers["kept"] = kept
    dataset = data.load("faces", "val")
    case = measure(task, dataset, options.faces)
    run = record.Run("protocol", {"n_test": options.faces, "n_samples": options.samples}, folder)
    run.uses_data(dataset)
    run.uses_weights(samplers["forward"].card, samplers["reverse"].card)
    run.numbers(f"{prefix}.training", {"steps": steps, "planned": planned})
    run.number(f"{prefix}.training.seconds", seconds, unit="s")
    scores = {
        row: evaluation.evaluate(s, jax.random.key(1), case.measurements, case.x0, options.samples)
        for row, s in samplers.items()
    }
    store(run, scores, prefix)
    run.finish()
    out = options.out or Path(f"weights/results/protocol.added-{prefix.replace('_', '-')}.json")
    print(record.save({**record.load(folder / "protocol.json"), "figures": []}, out))


if __name__ == "__main__":
    main()
