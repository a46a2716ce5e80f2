"""Flows for one operator alone beside the flow for any, on operators that its training has not seen; added to the full run of
the page on that flow.

``python -m aps_book.experiments.any_operator_own`` trains one for each such operator, from the weights of the flow for any, and
writes weights/results/any_operator.added-own.json; weights are not kept. Needs CelebA in APS_DATA_DIR. What is finished stays:
run again, it goes on.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import any_operator
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.metrics import evaluation
from aps_core.training.posterior import train_posterior

UNSEEN = [name for name, setting in any_operator.SETTINGS.items() if setting.kind == "unseen"]


def recipe(name, steps):
    """The recipe of the flow for the setting ``name`` alone."""
    return {
        "name": f"faces-any-{name}",
        "flow": {"kind": "universal", "steps": 4, "width": 96},
        "objective": {"kl": "forward", "draws": 6144, "mirror": True, "batch": 64},
        "optimizer": {"steps": steps, "learning_rate": 3e-4, "warmup": 10, "ema": 0.98, "seed": 0},
    }


def share(ours, theirs):
    """Mean(ours) / mean(theirs) of paired values, with its standard error to first order."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    ratio = ours.mean() / theirs.mean()
    return ratio, np.std(ours - ratio * theirs, ddof=1) / np.sqrt(len(ours)) / abs(theirs.mean())


def store(run, name, found):
    """Keep what the flow for one operator alone has as ``name.own.energy``, what the flow for any has above it, paired by face,
    as ``name.above_own.energy``, and which share of its gain over the closed form that has, as ``name.share_of_own``, in %.
    """
    own, any_flow, closed = (found[row] for row in ("own", "any", "gaussian"))
    for row, of in (("own", own),):
        run.mean(f"{name}.{row}_n1.psnr", of["psnr_n1"], "dB")
        run.mean(f"{name}.{row}.psnr", of["psnr_mean"], "dB")
        run.mean(f"{name}.{row}.energy", of["energy"])
        run.mean(f"{name}.{row}.coverage_90", 100 * of["coverage"][:, 1], "%")
    run.mean(f"{name}.above_own.psnr", any_flow["psnr_mean"] - own["psnr_mean"], "dB")
    run.mean(f"{name}.above_own.energy", any_flow["energy"] - own["energy"])
    gained, se = share(closed["energy"] - any_flow["energy"], closed["energy"] - own["energy"])
    run.number(f"{name}.share_of_own", 100 * gained, 100 * se, "%", len(own["energy"]))


def scores(name, steps, n, n_samples, folder, seed=0):
    """``evaluation.evaluate`` of the closed form, the flow for any and one for the setting ``name`` alone on ``n`` test faces, and
    what that flow's training was.
    """
    samplers = any_operator.samplers_of(any_operator.SETTINGS[name])
    start = samplers["any"]
    samplers["own"], trained = train_posterior(start.task, recipe(name, steps), start=start, folder=folder / name)
    case = measure(start.task, data.load("faces", "test"), n, seed)
    key = jax.random.key(seed + 1)
    rows = {row: evaluation.evaluate(s, key, case.measurements, case.x0, n_samples) for row, s in samplers.items()}
    return rows, trained


def main(arguments=None):
    """Command line: train, score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.any_operator_own", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=150, help="of training, for each operator")
    parser.add_argument("--faces", type=int, default=64, help="test faces, those of the full run")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--settings", nargs="*", default=UNSEEN, choices=UNSEEN)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/faces-any-own"))
    parser.add_argument("--out", type=Path, default=Path("weights/results/any_operator.added-own.json"))
    options = parser.parse_args(arguments)
    parameters = {"n_test": options.faces, "n_samples": options.samples, "steps": options.steps}
    run = record.Run("any_operator", {**parameters, "settings": options.settings}, options.folder)
    run.uses_data(data.load("faces", "test"))
    run.uses_weights(any_operator.load_posterior("faces-denoise", weights=any_operator.ANY).card)
    for name in options.settings:
        found, trained = scores(name, options.steps, options.faces, options.samples, options.folder)
        store(run, name, found)
        run.number(f"{name}.own.seconds", trained.seconds, unit="s")
        print(name, {row: round(float(of["energy"].mean()), 4) for row, of in found.items()}, flush=True)
    run.finish()
    print(record.save({**record.load(options.folder / "any_operator.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
