"""The paper's own network on faces, from its own start, for as long as there is time.

``python -m aps_book.experiments.faces_realnvp --budget SECONDS`` trains it as the recipe says and keeps what came of it in
weights/results/protocol.realnvp.json; the 149 million weights are not kept. Needs CelebA.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import faces
from aps_core.data import celeba
from aps_core.metrics import evaluation
from aps_core.tasks import load_task
from aps_core.training.posterior import train_posterior
from aps_core.training.recipes import read
from aps_core.training.validation import validation

RECIPE, RECORD = "faces-denoise-realnvp", "protocol.realnvp"
ROWS = {"gaussian": "Gaussian closed form", "realnvp": "the paper's network", "aps": "held-out flow of this book"}


def measure(
    recipe, dataset, n_faces=128, n_samples=128, budget=None, directory="weights/results", seed=0, progress=True
):
    """Train the flow of ``recipe`` (a dict) for at most ``budget`` seconds and keep, for the rows of ROWS on the same
    ``n_faces`` faces of ``dataset``: PSNR of one sample and of the mean of ``n_samples`` as ``row_n1`` and
    ``row_n128``, pixels inside 90 % intervals; and parameters, steps and seconds.

    Returns the path of the record in ``directory``. Raises as ``train_posterior``.
    """
    run = record.Run(
        RECORD,
        {"recipe": recipe, "n_faces": n_faces, "n_samples": n_samples, "budget": budget, "seed": seed},
        Path(directory),
    )
    task = load_task(recipe["task"]["name"])
    begin = time.process_time()
    posterior, trained = train_posterior(
        task,
        recipe,
        evaluate=validation(task, objective=False),
        evaluate_every=recipe["evaluate_every"],
        budget=budget,
        progress=progress,
    )
    run.numbers(
        "training",
        {
            "steps": trained.step,
            "planned": recipe["optimizer"]["steps"],
            "parameters": sum(np.size(a) for a in jax.tree.leaves(posterior.params)),
        },
    )
    run.numbers("training", {"seconds": trained.seconds, "cpu_seconds": time.process_time() - begin}, "s")
    for state in trained.history:
        run.numbers(
            f"history.step{state['step']}",
            {name: state[name] for name in ("seconds", "loss", "val_psnr_n1", "val_psnr_mean64") if name in state},
        )
    samplers = {**faces.closed_and_trained(task), "realnvp": posterior}
    case = faces.measure(task, dataset, n_faces, seed)
    scores = {
        row: evaluation.evaluate(samplers[row], jax.random.key(seed + 1), case.measurements, case.x0, n_samples)
        for row in ROWS
    }
    faces.store(run, "test", scores, n_samples)
    faces.store_differences(run, "test", scores, reference="aps")
    for row, found in scores.items():
        run.mean(f"test.{row}.inside_90", 100 * found["coverage"][:, 1], "%")
    run.uses_data(dataset)
    run.uses_weights(samplers["aps"].card)
    run.finish()
    return run.directory / f"{RECORD}.json"


def store(run):
    """Keep in another ``run`` what ``measure`` recorded last: ``own.row_n1.psnr`` and so on for ROWS,
    ``own.training.steps`` and so on, and PSNR of the mean of 64 on validation faces along the training as
    ``own.step500.psnr``. Returns the steps of the latter and the parameters of the record.
    """
    kept_run = record.full_run(RECORD)
    found = kept_run["numbers"]
    kept = {key.removeprefix("test."): key for key in found if key.startswith(("test.", "training."))}
    steps = sorted(int(key.split(".")[1].removeprefix("step")) for key in found if key.endswith("val_psnr_mean64"))
    kept |= {f"step{step}.psnr": f"history.step{step}.val_psnr_mean64" for step in steps}
    for name, key in kept.items():
        run.number(f"own.{name}", found[key]["value"], found[key].get("se"), found[key].get("unit"))
    return steps, kept_run["parameters"]


def main(arguments=None):
    """Command line: train the recipe and keep its numbers."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.faces_realnvp", description=main.__doc__)
    parser.add_argument("--budget", type=float, help="seconds after which training stops")
    options = parser.parse_args(arguments)
    print(measure(read(f"recipes/{RECIPE}.toml"), celeba.load("test"), budget=options.budget))


if __name__ == "__main__":
    main()
