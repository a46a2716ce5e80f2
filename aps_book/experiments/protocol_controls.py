"""Controls of the flow of the paper's protocol: the same steps from the same weights with other measurements or another
divergence, added to the full run of the page on the paper's objective.

The shipped flow `faces-denoise-paper` differs from the one that it went on from in objective, measurements and number of steps.
Here each of the three is changed alone. ``python -m aps_book.experiments.protocol_controls --budget SECONDS`` trains what is
not there yet (again: goes on), scores all on faces of two splits and writes weights/results/protocol.added-controls.json; the
weights are not kept. Needs CelebA in APS_DATA_DIR.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments.kept import kept
from aps_book.experiments.mean_kept import UNITS, values_of
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.files import sha256_of
from aps_core.metrics import evaluation
from aps_core.posterior import load_posterior
from aps_core.priors import fast_sampling
from aps_core.tasks import load_task
from aps_core.training.job import run as run_job
from aps_core.training.posterior import posterior_job
from aps_core.training.recipes import read

BASE = "faces-denoise-paper"  # the recipe that every arm is a variant of
START = "faces-denoise-held-out"
DRAWS = 6144  # those that START was trained on
ROWS = {
    "paper": "reverse divergence, measurements of the test faces",
    "photographs": "reverse divergence, measurements of the training faces",
    "draws": "reverse divergence, measurements of draws of the prior",
    "mixture": "half of either divergence, training faces and draws",
    "forward": "forward divergence, draws of the prior and their measurements",
}
SPLITS = {"test": "test faces", "val": "validation faces"}
PAIRS = {  # what two arms differ in: (this, that)
    "seen": ("paper", "photographs"),
    "real": ("photographs", "draws"),
    "steps": ("forward", None),
    "objective": ("draws", "forward"),
    "share": ("mixture", "photographs"),
}
COLUMNS = {
    "mean": ("mean [dB]", "+.3f"),
    "n1": ("N = 1 [dB]", "+.3f"),
    "energy": ("energy score", "+.4f"),
    "inside_90": ("90 % intervals hold [points]", "+.1f"),
}


def recipe_of(arm):
    """The recipe of an arm of ROWS: that of the shipped flow, with other measurements or another divergence."""
    recipe = read(f"recipes/{BASE}.toml")
    changed = {
        "paper": {},
        "photographs": {"protocol": "held-out"},
        "draws": {"protocol": "held-out"},
        "mixture": {"protocol": "held-out", "kl": "mixture", "draws": DRAWS, "mirror": True},
        "forward": {"protocol": "held-out", "kl": "forward", "draws": DRAWS, "mirror": True},
    }[arm]
    return {**recipe, "name": f"{BASE}-{arm}", "objective": {**recipe["objective"], **changed}}


def trained(arm, task, folder, budget):
    """(flow, steps, seconds) of an arm of ROWS, trained for at most ``budget`` seconds more; "paper" is the shipped one."""
    if arm == "paper":
        flow = load_posterior(task, weights=BASE)
        return flow, flow.card["steps"], flow.card["seconds"]
    recipe = recipe_of(arm)
    if arm == "draws":
        drawn = np.asarray(fast_sampling.pool(task.prior, DRAWS))
        task = replace(task, signals=lambda split: drawn, unit_range=False)
    job = posterior_job(task, recipe, start=load_posterior(load_task(task.name), weights=START))
    flow, done, _ = run_job(job, recipe, folder=folder / arm, budget=budget)
    if not done.finished:
        raise SystemExit(f"{arm}: step {done.step} of {recipe['optimizer']['steps']}; the same command goes on")
    return flow, done.step, done.seconds


def store(run, split, scores, start):
    """Keep of ``evaluation.evaluate`` by arm what each has on the ``start``, paired by face, as ``controls.split.arm.mean`` and
    so on; of PAIRS what this has on that, as ``controls_pair.split.name.mean``.
    """
    values = {arm: values_of(found) for arm, found in {**scores, None: start}.items()}
    for key, unit in UNITS.items():
        for arm in scores:
            run.mean(f"controls.{split}.{arm}.{key}", values[arm][key] - values[None][key], unit)
        for name, (this, that) in PAIRS.items():
            if this in values and that in values:
                run.mean(f"controls_pair.{split}.{name}.{key}", values[this][key] - values[that][key], unit)


def recorded(numbers):
    """The arms of ROWS with their labels, of which a record's numbers hold the scores."""
    return {arm: label for arm, label in ROWS.items() if f"controls.val.{arm}.mean" in numbers}


def differences(numbers, split):
    """(key, this, that) of those PAIRS that a record's numbers hold on a split of SPLITS, for ``record.Difference``: means
    in decibels.
    """
    what = {
        "seen": ("the mean after training on measurements of the test faces", "that after those of the training faces"),
        "real": ("the mean after training on measurements of photographs", "that after those of draws of the prior"),
        "steps": ("the mean after more steps of the forward divergence", "that before them"),
        "objective": ("the mean after the reverse divergence on draws", "that after the forward divergence on draws"),
        "share": ("the mean with half of the forward divergence", "that by the reverse divergence alone"),
    }
    found = [(f"controls_pair.{split}.{name}.mean", *said) for name, said in what.items()]
    return [one for one in found if one[0] in numbers]


def main(arguments=None):
    """Command line: train, score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.protocol_controls", description=main.__doc__)
    parser.add_argument(
        "--budget", type=float, help="seconds for each arm after which its training stops; run again to go on"
    )
    parser.add_argument("--arms", nargs="*", default=list(ROWS), choices=list(ROWS), help="what to train and score")
    parser.add_argument("--faces", type=int, default=512, help="faces of each split")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/protocol-controls"), help="states and scores")
    parser.add_argument("--out", type=Path, default=Path("weights/results/protocol.added-controls.json"))
    options = parser.parse_args(arguments)
    task = load_task("faces-denoise")
    run = record.Run("protocol", {"n_test": options.faces, "n_samples": options.samples}, options.folder)
    flows = {None: load_posterior(task, weights=START)}
    for arm in options.arms:
        flows[arm], steps, seconds = trained(arm, task, options.folder, options.budget)
        run.numbers(f"controls.{arm}.training", {"steps": steps})
        run.number(f"controls.{arm}.training.seconds", seconds, unit="s")
    run.uses_weights(*(flow.card for flow in flows.values() if "sha256" in flow.card))
    for split in SPLITS:
        faces = data.load("faces", split)
        run.uses_data(faces)
        case = measure(task, faces, options.faces)
        scores = {arm: _scores(flow, arm or "start", split, case, options) for arm, flow in flows.items()}
        store(run, split, {arm: found for arm, found in scores.items() if arm}, scores[None])
    run.finish()
    print(record.save({**record.load(options.folder / "protocol.json"), "figures": []}, options.out))


def _scores(flow, name, split, case, options):
    """``evaluation.evaluate`` of one flow, kept in the folder."""
    weights = sha256_of(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(flow.params)))[:12]
    path = options.folder / f"{split}-{name}-{weights}-{options.faces}-{options.samples}.npz"
    return kept(path, lambda: evaluation.evaluate(flow, jax.random.key(1), case.measurements, case.x0, options.samples))


if __name__ == "__main__":
    main()
