"""Search of a sampler's settings as a command: ``python -m aps_book.experiments.tuning NAME --task TASK`` records all of it."""

import argparse
import ast
import sys
from pathlib import Path

import jax

from aps_core import checks
from aps_core.samplers import METHODS, tune
from aps_core.tasks import load_task


def main(arguments=None):
    """Search a sampler's settings on validation signals, print every row and write the search as JSON."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.tuning", description=main.__doc__)
    parser.add_argument("name", choices=sorted(METHODS))
    parser.add_argument("--task", required=True, help="a name that load_task knows")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the task, such as sigma_y=0.2"
    )
    parser.add_argument(
        "--try", action="append", default=[], dest="tried", metavar="NAME=V1,V2", help="values of a setting"
    )
    parser.add_argument("--measurements", type=int, default=8)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--metric", choices=sorted(tune.METRICS), default="psnr")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: results/tune-NAME-TASK.json")
    options = parser.parse_args(arguments)
    task = load_task(options.task, **{k: v[0] for k, v in map(_assignment, options.parameter)})
    out = options.out or Path("results") / f"tune-{options.name}-{task.name}.json"
    key = jax.random.key(checks.seed("--seed", options.seed))
    trials = tune.Trials(options.samples, options.metric, options.measurements, key=key)
    found = tune.tune(options.name, task, dict(map(_assignment, options.tried)) or None, trials, out, _show)
    print(f"chosen by {options.metric}: {found['best']}; written to {out}")
    return found


def _show(row):
    values = {name: "none" if row[name] is None else f"{row[name]:.4g}" for name in ("psnr", "energy")}
    print(*(f"{name}={value}" for name, value in values.items()), row["settings"])


def _assignment(text):
    name, _, values = text.partition("=")
    if not values:
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, [_literal(value) for value in values.split(",")]


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    try:
        main()
    except (ValueError, TypeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
