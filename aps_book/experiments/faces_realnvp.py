"""The paper's own network on faces, from its own start, for as long as there is time.

``python -m aps_book.experiments.faces_realnvp --arm NAME --budget SECONDS`` trains an arm of ARMS as its recipe says and
keeps what came of it: that of the paper in weights/results/protocol.realnvp.json, the others added to the full run of the
page on the paper's objective (protocol.added-realnvp-NAME.json). Run again it goes on. The 149 million weights are not
kept. Needs CelebA in APS_DATA_DIR.
"""

import argparse
import re
import tempfile
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

RECORD = "protocol.realnvp"  # of the arm "paper"
ROWS = {"gaussian": "Gaussian closed form", "realnvp": "the paper's network", "aps": "held-out flow of this book"}
ARMS = {"paper": "as the paper has it", "linear": "with a linear path from y", "whitened": "in whitened coordinates"}
KEPT = ("seconds", "loss", "val_psnr_n1", "val_psnr_mean64", "val_coverage_90", "val_spread")


def recipe_of(arm):
    """The recipe of an arm of ARMS, a dict."""
    return read(f"recipes/faces-denoise-realnvp{'' if arm == 'paper' else f'-{arm}'}.toml")


def measure(
    recipe,
    dataset,
    arm="paper",
    n_faces=128,
    n_samples=128,
    budget=None,
    directory="weights/results",
    folder=None,
    seed=0,
    progress=True,
):
    """Train the flow of ``recipe`` (a dict) for at most ``budget`` seconds and keep, for the rows of ROWS on the same
    ``n_faces`` faces of ``dataset``: PSNR of one sample and of the mean of ``n_samples`` as ``row_n1`` and
    ``row_n128``, pixels inside 90 % intervals; parameters, steps and seconds; and along the training PSNR, coverage and
    spread on validation faces. Of another arm than "paper" all keys begin with ``realnvp.arm.``.

    folder: where the training is kept and goes on from. Returns the path of the record in ``directory``. Raises as
    ``train_posterior``.
    """
    own, directory = arm == "paper", Path(directory)
    parameters = {"recipe": recipe, "n_faces": n_faces, "n_samples": n_samples, "budget": budget, "seed": seed}
    run = record.Run(RECORD if own else "protocol", parameters, directory)
    prefix = "" if own else f"realnvp.{arm}."
    task = load_task(recipe["task"]["name"])
    posterior, trained = train_posterior(
        task,
        recipe,
        evaluate=validation(task, objective=False),
        evaluate_every=recipe["evaluate_every"],
        budget=budget,
        folder=folder,
        progress=progress,
    )
    parts = {"steps": trained.step, "planned": recipe["optimizer"]["steps"]}
    parts["parameters"] = sum(np.size(a) for a in jax.tree.leaves(posterior.params))
    run.numbers(f"{prefix}training", parts)
    run.number(f"{prefix}training.seconds", trained.seconds, unit="s")
    for state in trained.history:
        found = {name: state[name] for name in KEPT if name in state}
        run.numbers(f"{prefix}history.step{state['step']}", found)
    samplers = {**faces.closed_and_trained(task), "realnvp": posterior}
    case = faces.measure(task, dataset, n_faces, seed)
    scores = {
        row: evaluation.evaluate(samplers[row], jax.random.key(seed + 1), case.measurements, case.x0, n_samples)
        for row in ROWS
    }
    faces.store(run, f"{prefix}test", scores, n_samples)
    faces.store_differences(run, f"{prefix}test", scores, reference="aps")
    for row, found in scores.items():
        run.mean(f"{prefix}test.{row}.inside_90", 100 * found["coverage"][:, 1], "%")
    run.uses_data(dataset)
    run.uses_weights(samplers["aps"].card)
    return _written(run, directory / (f"{RECORD}.json" if own else f"protocol.added-realnvp-{arm}.json"))


def _written(run, path):
    """The finished record of ``run`` at ``path``, which it returns; not under its own name, which is the full run's."""
    with tempfile.TemporaryDirectory() as place:
        run.directory = Path(place)
        run.finish()
        return record.save(record.load(run.directory / f"{run.notebook}.json"), path)


def store(run):
    """Keep in another ``run`` what ``measure`` recorded last of the arm "paper": ``own.row_n1.psnr`` and so on for ROWS,
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


SCORES = {
    "n1": "test.realnvp_n1.psnr",
    "mean": "test.realnvp_n128.psnr",
    "ratio": "test.realnvp.ratio",
    "inside_90": "test.realnvp.inside_90",
    "steps": "training.steps",
    "seconds": "training.seconds",
    "parameters": "training.parameters",
}
COLUMNS = {
    "n1": ("N = 1 [dB]", ".2f"),
    "mean": ("mean [dB]", ".2f"),
    "ratio": ("error of a sample over that of the mean", ".2f"),
    "inside_90": ("90 % intervals hold [%]", ".1f"),
    "steps": ("steps", ",.0f"),
    "seconds": ("time [s]", ",.0f"),
    "parameters": ("parameters", ".1e"),
}
PANELS = {"val_psnr_n1": "one sample (dB)", "val_psnr_mean64": "mean of 64 (dB)", "val_spread": "spread of the samples"}


def recorded(numbers):
    """{arm: (numbers, what stands before their keys)} of the arms of ARMS that were trained; numbers: of the full run of the
    page, with what was added to it.
    """
    found = {"paper": (record.full_run(RECORD)["numbers"], "")}
    arms = [arm for arm in ARMS if f"realnvp.{arm}.training.steps" in numbers]
    return found | {arm: (numbers, f"realnvp.{arm}.") for arm in arms}


def store_arms(run, numbers):
    """Keep in another ``run`` what SCORES names of every arm that was trained, as ``arms.linear.n1``; returns their labels for
    ``Run.table``.
    """
    found, n_faces = recorded(numbers), record.full_run(RECORD)["parameters"]["n_faces"]
    for arm, (own, prefix) in found.items():
        for name, key in SCORES.items():
            one = own[prefix + key]
            n = one.get("n") or (
                n_faces if arm == "paper" else None
            )  # the record of that arm is of before numbers said it
            run.number(f"arms.{arm}.{name}", one["value"], one.get("se"), one.get("unit"), one["se"] and n)
    return {arm: ARMS[arm] for arm in found}


def training_panels(numbers):
    """PSNR and spread on validation faces against seconds of training, for ``curves.panels``: dict ylabel -> dict label ->
    (x, y).
    """
    panels = {}
    for name, ylabel in PANELS.items():
        for arm, (own, prefix) in recorded(numbers).items():
            begin = f"{prefix}history.step"
            steps = sorted(
                int(k.removeprefix(begin).split(".")[0]) for k in own if k.startswith(begin) and k.endswith(name)
            )
            if steps:
                of = lambda key, own=own, begin=begin, steps=steps: [own[f"{begin}{s}.{key}"]["value"] for s in steps]  # noqa: E731
                panels.setdefault(ylabel, {})[ARMS[arm]] = of("seconds"), of(name)
    return panels


def reached(numbers, goal=20.0):
    """Which arms have a sample of at least ``goal`` decibels on test faces, what they gained at the end, and which arms were not
    trained, in sentences.
    """
    said = []
    for arm, (own, prefix) in recorded(numbers).items():
        value, seconds = (own[prefix + SCORES[key]]["value"] for key in ("n1", "seconds"))
        word = "reached" if value >= goal else "not reached"
        said.append(f"- {ARMS[arm]}: {goal:g} dB {word}, {value:.2f} dB after {seconds:,.0f} s{_rising(own, prefix)}")
    left = [name for arm, name in ARMS.items() if arm not in recorded(numbers)]
    return (
        "A sample of the paper's network,\n\n"
        + ",\n".join(said)
        + "."
        + (f"\n\nNot trained: the arm {' and that '.join(left)}." if left else "")
    )


def _rising(own, prefix):
    """What a sample on validation faces gained between the last two looks at a training, in words; empty where there were not two."""
    pattern = re.compile(rf"{re.escape(prefix)}history\.step(\d+)\.val_psnr_n1")
    looks = sorted((int(found[1]), number["value"]) for key, number in own.items() if (found := pattern.fullmatch(key)))
    if len(looks) < 2:
        return ""
    (before, low), (after, high) = looks[-2:]
    return f" (on validation faces {high - low:+.2f} dB from step {before:,} to {after:,})"


def main(arguments=None):
    """Command line: train an arm, or go on with it, and keep its numbers."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.faces_realnvp", description=main.__doc__)
    parser.add_argument("--arm", choices=ARMS, default="paper")
    parser.add_argument("--budget", type=float, help="seconds after which training stops; run again to go on")
    parser.add_argument("--faces", type=int, default=128, help="test faces")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="folder of the states to go on from")
    parser.add_argument("--out", type=Path, default=Path("weights/results"), help="folder of the record")
    options = parser.parse_args(arguments)
    recipe, dataset = recipe_of(options.arm), celeba.load("test")
    sizes = {"n_faces": options.faces, "n_samples": options.samples, "budget": options.budget}
    places = {"directory": options.out, "folder": options.folder / recipe["name"]}
    print(measure(recipe, dataset, options.arm, **sizes, **places))


if __name__ == "__main__":
    main()
