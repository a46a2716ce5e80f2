"""Command line of the recipes: ``python -m aps_core.train recipes/NAME.toml``."""

import argparse
import sys
from pathlib import Path

import numpy as np

from aps_core import parallel, weights
from aps_core.draws_training import train_on_draws
from aps_core.flow_prior_training import train_flow_prior
from aps_core.posterior import load_posterior
from aps_core.prior_training import train_network_prior
from aps_core.priors.store import prior_tree
from aps_core.recipes import read, save_posterior, train_posterior, train_prior
from aps_core.subspace_prior_training import train_subspace_prior
from aps_core.subspace_training import train_subspace_posterior
from aps_core.tasks import load_task
from aps_core.toy_flows import train_toys
from aps_core.validation import validation


def main(arguments=None):
    """Command line: train what a recipe describes, resume it, and write its weights when it is finished."""
    parser = argparse.ArgumentParser(prog="python -m aps_core.train", description=main.__doc__)
    parser.add_argument("recipe", help="a TOML file of recipes/")
    parser.add_argument("--budget", type=float, help="seconds after which to save and stop; run again to go on")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder of the states to resume from")
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder for the finished weights")
    parser.add_argument("--write", action="store_true", help="write the weights when stopped too; their card says that they are not finished")
    parser.add_argument("--distributed", action="store_true", help="join the other processes of this run (see aps_core.parallel.start)")
    options = parser.parse_args(arguments)
    if options.distributed:
        parallel.start()
    recipe = read(options.recipe)
    folder = options.checkpoints / recipe["name"]
    out = options.out / f"{recipe['name']}.safetensors"
    if "draws" in recipe or "toys" in recipe:
        train, dtype = (train_on_draws, np.float16) if "draws" in recipe else (train_toys, np.float32)
        params, trained, card = train(recipe, folder=folder, budget=options.budget)
        if (trained.finished or options.write) and parallel.is_main():
            weights.save(out, params, card, dtype)
    elif "prior" in recipe:
        train = _prior_trainer(recipe)
        prior, trained, card = train(recipe, folder=folder, budget=options.budget)
        if (trained.finished or options.write) and parallel.is_main():
            weights.save(out, prior_tree(prior), card, np.float32 if train is train_prior else np.float16)
    else:
        task = load_task(recipe["task"]["name"], **recipe["task"].get("parameters", {}))
        settings = {"folder": folder, "budget": options.budget, "evaluate_every": recipe.get("evaluate_every", 200)}
        of = load_task(recipe["start_task"]) if "start_task" in recipe else task
        start = load_posterior(of, weights=recipe["start"]) if "start" in recipe else None
        if recipe["flow"].get("kind") == "subspace":
            posterior, trained = train_subspace_posterior(task, recipe, start=start, **settings)
        else:
            evaluate = validation(task, objective=recipe.get("validate_objective", True))
            posterior, trained = train_posterior(task, recipe, start=start, evaluate=evaluate, **settings)
        if (trained.finished or options.write) and parallel.is_main():
            save_posterior(posterior, out)
    state = f"finished, weights in {out}" if trained.finished else "stopped; run the same command to go on"
    print(f"step {trained.step} after {trained.seconds:.0f} s: {state}")


def _prior_trainer(recipe):
    if "subspace" in recipe["prior"]:
        return train_subspace_prior
    if "flow" in recipe["prior"]:
        return train_flow_prior
    return train_network_prior if "kind" in recipe["prior"]["network"] else train_prior


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
