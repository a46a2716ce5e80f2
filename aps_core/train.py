"""Command line of the recipes: ``aps train recipes/NAME.toml``; its alias ``python -m aps_core.train`` goes with 0.3.0."""

import argparse
import sys
from pathlib import Path

from aps_core import weights
from aps_core.files import check_writable
from aps_core.training import TRAINERS, devices
from aps_core.training.job import run
from aps_core.training.recipes import checked, read

WHAT = "Train what a recipe describes, resume it, and write its weights when it is finished."


def parser(prog):
    """The options of the command."""
    alias = f"{prog} is an alias of `aps train` and goes with version 0.3.0." if prog.startswith("python -m") else None
    made = argparse.ArgumentParser(prog=prog, description=WHAT, epilog=alias)
    made.add_argument("recipe", help="a TOML file of recipes/")
    made.add_argument("--budget", type=float, help="seconds after which to save and stop; run again to go on")
    made.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints"), help="folder of the states to resume from"
    )
    made.add_argument("--out", type=Path, default=Path("weights"), help="folder for the finished weights")
    made.add_argument(
        "--write",
        action="store_true",
        help="write the weights when stopped too; their card says that they are not finished",
    )
    made.add_argument(
        "--measurements",
        type=Path,
        metavar="FILE.npz",
        help="train on these recorded measurements (y, mask where there is one, sigma_y) instead of those of the protocol",
    )
    made.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of this run (see aps_core.training.devices)",
    )
    return made


def main(arguments=None, trainers=TRAINERS, prog="python -m aps_core.train"):
    """Train what a recipe describes, resume it, and write its weights when it is finished.

    Gives {"name", "step", "seconds", "finished", "weights", "checkpoints"}: weights is the path that was written, or None.
    """
    options = parser(prog).parse_args(arguments)
    if options.distributed:
        devices.start()
    recipe = read(options.recipe)
    word = recipe.get("trains", "posterior")
    if not isinstance(word, str) or word not in trainers:
        raise ValueError(f"recipe {recipe['name']!r}: trains must be one of {sorted(trainers)}, got {word!r}")
    recipe, trainer = checked(recipe, trainers[word]), trainers[word]
    if options.measurements is not None and "task" not in recipe:
        raise ValueError(f"--measurements trains a posterior, but recipe {recipe['name']!r} has no [task]")
    out = options.out / f"{recipe['name']}.safetensors"
    if devices.is_main():
        check_writable("weights of --out", out)
        check_writable("state of --checkpoints", options.checkpoints / recipe["name"] / "state.json")
    job = trainer.job(recipe) if options.measurements is None else trainer.job(recipe, options.measurements)
    trained, log, card = run(job, recipe, folder=options.checkpoints / recipe["name"], budget=options.budget)
    if (log.finished or options.write) and devices.is_main():
        weights.save(out, job.tree(trained), card, job.dtype)
    state = f"finished, weights in {out}" if log.finished else "stopped; run the same command to go on"
    if devices.is_main():
        print(f"step {log.step} after {log.seconds:.0f} s: {state}")
    made = {"name": recipe["name"], "step": log.step, "seconds": round(log.seconds, 1), "finished": bool(log.finished)}
    folder = options.checkpoints / recipe["name"]
    return {**made, "weights": str(out) if log.finished or options.write else None, "checkpoints": str(folder)}


def command(*arguments, **settings):
    """``main``, with what the user did wrong in one line."""
    try:
        main(*arguments, **settings)
    except (TypeError, ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    command()
