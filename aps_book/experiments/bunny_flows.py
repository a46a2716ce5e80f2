"""Two flows of one base, trained for about as long: networks that all sites share, and networks that take everything as
one vector.

``python -m aps_book.experiments.bunny_flows`` trains both as the recipes say and writes what came of it to
weights/results/bunny_inpaint.flows.json; weights are not kept. Needs the full MNIST, or the pool of draws of the prior.
"""

import json
import time
from pathlib import Path

import jax
import numpy as np

from aps_book.record import tuning_records
from aps_core import weights
from aps_core.tasks import load_task
from aps_core.training.recipes import read
from aps_core.training.subspace_posterior import train_subspace_posterior

RECIPES = {"local": "bunny-flow-local", "vectorized": "bunny-flow-vectorized"}
KEPT = ("val_forward", "val_objective", "val_psnr_mean16", "val_psnr_n1")


def compare(folder="recipes", checkpoints=None, path=None, progress=True):
    """Train the flow of each of RECIPES, found in ``folder``: {"local" or "vectorized": recipe, parameters, steps,
    seconds, cpu_seconds, start, end}.

    start and end are what was measured on validation digits before and after. checkpoints: a folder to resume from;
    with ``path`` the result is written there as JSON. Raises as ``train_subspace_posterior``.
    """
    found = {}
    for row, name in RECIPES.items():
        recipe = read(Path(folder) / f"{name}.toml")
        begin = time.process_time()
        posterior, trained = train_subspace_posterior(
            load_task(recipe["task"]["name"]),
            recipe,
            evaluate_every=recipe["evaluate_every"],
            progress=progress,
            folder=None if checkpoints is None else Path(checkpoints) / name,
        )
        start, end = (
            {key: float(f"{state[key]:.6g}") for key in KEPT} for state in (trained.history[0], trained.history[-1])
        )
        found[row] = {
            "recipe": recipe,
            "parameters": int(sum(np.size(leaf) for leaf in jax.tree.leaves(posterior.params))),
            "steps": trained.step,
            "seconds": round(trained.seconds, 1),
            "cpu_seconds": round(time.process_time() - begin, 1),
            "start": start,
            "end": end,
            "prior": weights.load("bunny-prior")[1]["sha256"],
        }
    if path is not None:
        tuning_records.write(path, found)
    return found


def recorded():
    """What ``compare`` found when it was last run and recorded."""
    return json.loads(tuning_records.path("bunny_inpaint").with_name("bunny_inpaint.flows.json").read_text("utf-8"))


if __name__ == "__main__":
    compare(path=Path("weights/results/bunny_inpaint.flows.json"))
