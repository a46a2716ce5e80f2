"""Flows with the mean of another one kept and the spread trained by the reverse divergence, for faces and for digits on
the bunny, added to the full run of the page on the paper's objective.

``python -m aps_book.experiments.mean_kept --task deblur --budget 600`` trains the recipe of RECIPES (again: goes on) and
writes weights/results/protocol.added-remedy-deblur.json (of super-resolution protocol.added-remedy.json); the weights are
not kept. For denoising nothing is trained: the flow with Tweedie's mean is shipped. ``--task bunny`` scores as the page on
the bunny does. ``--task sphere`` trains nothing either: it asks whether the reverse flow there, which begins at the closed
form, has lost anything of its mean or its spread. Needs CelebA in APS_DATA_DIR, for the bunny MNIST.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import bunny_inpaint
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.metrics import evaluation
from aps_core.posterior import gaussian_posterior, load_posterior
from aps_core.training import TRAINERS
from aps_core.training.job import run as run_job
from aps_core.training.recipes import read

RECIPES = {
    "sr2": "faces-sr2-spread",
    "deblur": "faces-deblur-spread",
    "denoise": "faces-denoise-reverse-spread",
    "bunny": "bunny-inpaint-spread",
}
SHIPPED = ("denoise",)  # of them, those whose weights are there
FACES = {"sr2": "Two-fold super-resolution", "deblur": "Deblurring", "denoise": "Denoising"}
TITLES = {**FACES, "bunny": "Digits on the bunny, 30 % of the vertices missing"}
FORWARD = {"bunny": "bunny-inpaint-forward"}  # weights of the forward flow that do not end in "held-out"
DATA = {"bunny": "bunny-mnist", "sphere": "ncep-temperature"}  # of the others: faces
UNITS = {"n1": "dB", "mean": "dB", "energy": None, "inside_90": "%"}
ROWS = {
    "forward": "flow of the forward divergence, on draws of the prior",
    "reverse": "flow of the reverse divergence, on measurements",
    "kept": "mean of the first, spread by the reverse divergence, on measurements",
}
TWEEDIE = {**ROWS, "kept": "Tweedie's mean, spread by the reverse divergence, on measurements"}  # the rows of denoising


def prefix_of(task):
    """What the keys of a task of RECIPES begin with: "remedy" for super-resolution, else "remedy_deblur" and so on."""
    return "remedy" if task == "sr2" else f"remedy_{task}"


def recorded(numbers):
    """The tasks of RECIPES of which a record's numbers hold the rows."""
    return [task for task in RECIPES if f"{prefix_of(task)}.kept.mean" in numbers]


def rows(task):
    """The labels of the rows of a task of RECIPES: what trained each flow, and on what."""
    return TWEEDIE if task == "denoise" else ROWS


def columns(task):
    """The columns of the table of a task of RECIPES, for ``Run.table``."""
    found = {
        "n1": ("N = 1 [dB]", ".2f"),
        "mean": ("mean [dB]", ".2f"),
        "energy": ("energy score", ".3f"),
        "inside_90": ("90 % intervals hold [%]", ".1f"),
    }
    return found | ({"plain_90": ("without the rest [%]", ".1f")} if task == "bunny" else {})


def caption(task):
    """The caption of that table: on what signals it stands, and what its coverage counts."""
    if task != "bunny":
        return f"{TITLES[task]}, real validation faces. The mean is that of 64 samples."
    return (
        f"{TITLES[task]}; validation digits. The mean is that of 64 samples. Coverage as on the page on the bunny: over the "
        "vertices that vary under the prior, of digits plus the prior's rest, in the last column of digits without it."
    )


def values_of(found):
    """What is kept of ``evaluation.evaluate``, by the names of UNITS: an array over the signals each."""
    return {
        "n1": found["psnr_n1"],
        "mean": found["psnr_mean"],
        "energy": found["energy"],
        "inside_90": 100 * found["coverage"][:, 1],
    }


def store(run, scores, prefix="remedy", reference="forward"):
    """Keep of ``evaluation.evaluate`` by row: PSNR of one sample and of the mean, energy score and coverage as
    ``remedy.row.n1`` and so on, and those of the others minus ``reference``, paired by signal, as
    ``remedy_paired.row.n1``. Where scores have "plain", the coverage of signals without the prior's rest, also
    ``remedy.row.plain_90``.
    """
    values = {row: values_of(found) for row, found in scores.items()}
    for row, found in values.items():
        for key, unit in UNITS.items():
            run.mean(f"{prefix}.{row}.{key}", found[key], unit)
            if row != reference:
                run.mean(f"{prefix}_paired.{row}.{key}", np.asarray(found[key]) - values[reference][key], unit)
        if "plain" in scores[row]:
            run.mean(f"{prefix}.{row}.plain_90", 100 * scores[row]["plain"][:, 1], "%")


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


def on_the_sphere(numbers):
    """What the reverse flow on the sphere has on the closed form that it begins at, in one sentence; "not run" without
    the record.
    """
    if "remedy_sphere_paired.reverse.mean" not in numbers:
        return "The sphere: not run."
    said = lambda key, form, unit="": f"{_pm(numbers[f'remedy_sphere_paired.reverse.{key}'], form)}{unit}"  # noqa: E731
    inside = [numbers[f"remedy_sphere.{row}.inside_90"]["value"] for row in ("reverse", "closed")]
    return (
        "On the sphere, whose flow begins at the closed form and is trained by the reverse divergence alone, with nothing "
        f"frozen, it has on {numbers['remedy_sphere.reverse.mean']['n']} validation months, against the closed form, "
        f"{said('mean', '+.2f', ' dB')} in the mean, {said('n1', '+.2f', ' dB')} in one sample and {said('energy', '+.3f')} "
        f"in the energy score; its 90 % intervals hold {inside[0]:.1f} % (closed form: {inside[1]:.1f} %)."
    )


def _pm(number, form):
    return f"{number['value']:{form}} ± {number['se']:{form[1:]}}"


def score(samplers, task, dataset, n, samples):
    """Scores by row of ``samplers`` on n signals of ``dataset``: those of ``evaluation.evaluate``, on the bunny those of
    ``bunny_inpaint.score``.

    There coverage is that of the page on the bunny, over vertices that vary, of signals plus the prior's rest, measured
    anew; "plain" is the coverage without the rest.
    """
    problem, key = next(iter(samplers.values())).task, jax.random.key(1)
    case = measure(problem, dataset, n)
    if task != "bunny":
        return {row: evaluation.evaluate(s, key, case.measurements, case.x0, samples) for row, s in samplers.items()}
    chosen = bunny_inpaint.prior_spread(problem.prior.gaussian) > bunny_inpaint.SPREAD
    noisy = bunny_inpaint.with_rest(jax.random.key(2), problem.prior, case.x0)
    again = problem.measure(jax.random.key(3), noisy)
    found = {}
    for row, s in samplers.items():
        plain = bunny_inpaint.score(s, key, case.measurements, case.x0, samples, chosen)
        with_rest = bunny_inpaint.score(s, key, again, noisy, samples, chosen)
        found[row] = {**plain, "plain": plain["coverage"], "coverage": with_rest["coverage"]}
    return found


def trained(task, folder, budget):
    """(the flow with the kept mean, steps, planned steps, seconds) of a task of RECIPES; its recipe is run for ``budget``
    seconds where its weights are not shipped.
    """
    recipe = read(f"recipes/{RECIPES[task]}.toml")
    planned = recipe["optimizer"]["steps"]
    if task in SHIPPED:
        posterior = load_posterior(f"faces-{task}", weights=RECIPES[task])
        return posterior, posterior.card["steps"], planned, posterior.card["seconds"]
    job = replace(TRAINERS[recipe.get("trains", "posterior")].job(recipe), evaluate=None)  # scored once, by the command
    kept, done, _ = run_job(job, recipe, folder=folder, budget=budget)
    return kept, done.step, planned, done.seconds


def main(arguments=None):
    """Command line: train, score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.mean_kept", description=main.__doc__)
    parser.add_argument("--task", choices=(*RECIPES, "sphere"), default="sr2")
    parser.add_argument("--budget", type=float, help="seconds after which training stops; run again to go on")
    parser.add_argument("--signals", type=int, default=32, help="validation signals")
    parser.add_argument("--samples", type=int, default=64, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="folder of the states to go on from")
    parser.add_argument("--out", type=Path, help="by default protocol.added-remedy...json in weights/results")
    options = parser.parse_args(arguments)
    prefix, folder = prefix_of(options.task), options.folder / RECIPES.get(options.task, options.task)
    if options.task == "sphere":
        flow, kept, reference = load_posterior("sphere-impute", weights="sphere-impute-held-out"), {}, "closed"
        samplers, known, training = {"closed": gaussian_posterior(flow.task), "reverse": flow}, [flow], None
    else:
        flow, *training = trained(options.task, folder, options.budget)
        name, kept, reference = flow.task.name, {"kept": flow}, "forward"
        weights = {"forward": FORWARD.get(options.task, f"{name}-held-out"), "reverse": f"{name}-reverse"}
        samplers = {row: load_posterior(flow.task, weights=w) for row, w in weights.items()}
        known = samplers.values()
    run = record.Run("protocol", {"n_test": options.signals, "n_samples": options.samples}, folder)
    run.uses_weights(*(one.card for one in known))
    if training:
        steps, planned, seconds = training
        run.numbers(f"{prefix}.training", {"steps": steps, "planned": planned})
        run.number(f"{prefix}.training.seconds", seconds, unit="s")
    dataset = data.load(DATA.get(options.task, "faces"), "val")
    run.uses_data(dataset)
    store(run, score({**samplers, **kept}, options.task, dataset, options.signals, options.samples), prefix, reference)
    run.finish()
    out = options.out or Path(f"weights/results/protocol.added-{prefix.replace('_', '-')}.json")
    print(record.save({**record.load(folder / "protocol.json"), "figures": []}, out))


if __name__ == "__main__":
    main()
