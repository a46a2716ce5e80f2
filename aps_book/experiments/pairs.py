"""The chapter on deblurring pairs: images of two kinds under priors of two kinds, matched and not, by every method; and the
blur of the supplement's authors' program under the face prior.
"""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import measured as cases
from aps_book.experiments import single_fit_in_modes
from aps_book.experiments.closed_form_modes import ClosedFormModes
from aps_book.experiments.faces_rivals import long_run_psnr
from aps_book.experiments.sampler_names import names
from aps_book.record import tuning_records
from aps_book.record.labels import label_of
from aps_core.data import celeba, cifar10, faces, photos
from aps_core.metrics import evaluation, quality
from aps_core.operators import FourierSubset
from aps_core.posterior import AmortizedPosterior, load_posterior
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task
from aps_core.training.optimizer import Optimizer

TASKS = {"celeba": "faces-deblur", "cifar10": "cifar10-deblur"}  # of each prior; operator and noise are the same
CODE = "code"  # stands in the place of a prior for the blur of the authors' program, under the face prior
PRIORS = {"celeba": "the face prior", "cifar10": "the CIFAR-10 prior", CODE: "the face prior, the code's blur"}
WEIGHTS = {"celeba": "faces-prior", "cifar10": "cifar10-prior", CODE: "faces-prior"}
PAIRS = {
    "celeba_with_celeba_prior": ("celeba", "celeba"),
    "celeba_with_cifar10_prior": ("celeba", "cifar10"),
    "cifar10_with_cifar10_prior": ("cifar10", "cifar10"),
    "cifar10_with_celeba_prior": ("cifar10", "celeba"),
    "celeba_by_code": ("celeba", CODE),
    "cifar10_by_code": ("cifar10", CODE),
}  # images, prior; the first four in the paper's order
TITLES = {
    "celeba_with_celeba_prior": "faces, face prior",
    "celeba_with_cifar10_prior": "faces, CIFAR-10 prior",
    "cifar10_with_cifar10_prior": "CIFAR-10 images, CIFAR-10 prior",
    "cifar10_with_celeba_prior": "CIFAR-10 images, face prior",
    "celeba_by_code": "faces, face prior, the code's blur",
    "cifar10_by_code": "CIFAR-10 images, face prior, the code's blur",
}
PAPER = {pair: pair for pair in PAIRS} | {f"{kind}_by_code": f"{kind}_with_celeba_prior" for kind in TASKS}
LOWEST, CODE_NOISE = 8, 0.1  # of the authors' program: frequencies in each direction, noise of its (plain) DFT
LABELS = {
    "gaussian": "Gaussian closed form",
    **names("score_ald", "dps", "sde_proj"),
    "score_prior": "score prior",
    "aps": label_of("faces-deblur-held-out"),  # that of the other prior is trained in the same way
}
GRIDS = {
    "score_ald": (
        {"n_levels": (40,), "n_inner": (5,), "step_size": (0.05, 0.1, 0.2), "gamma": (0.5, 1.0, 2.0)},
        {"n_levels": (60,), "n_inner": (5,), "step_size": (0.2,), "gamma": (0.36, 0.5)},
        {"n_levels": (120, 240), "n_inner": (5,), "step_size": (0.2,), "gamma": (0.36, 0.5)},
    ),
    "dps": ({"n_steps": (100,), "step_size": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)},),
    "sde_proj": (
        {"n_steps": (100,), "weight": (0.01, 0.03, 0.1, 0.3, 1.0), "cutoff": (0.01, 0.03, 0.1)},
        {"n_steps": (100,), "weight": (0.3, 0.6), "cutoff": (0.2, 0.3)},
    ),
}  # every grid of a method is tried, the later ones where the first ended at its edge
DIRECT = ("gaussian", "score_prior", "aps")  # a sample costs one evaluation of a flow
N_TIME = 128  # samples whose time is compared


def images(kind, split, real, limit=None):
    """The Dataset of "celeba" or "cifar10": the real one, or with ``real`` False the draws of the shipped prior of that
    kind.

    Raises FileNotFoundError that says how to get the real one.
    """
    if not real:
        return {"celeba": faces.prior_faces, "cifar10": photos.prior_photos}[kind](split)
    return {"celeba": celeba, "cifar10": cifar10}[kind].load(split, limit)


def task_of(prior):
    """The Task of a prior of WEIGHTS; for CODE the blur of the authors' program (berthyf96/score_prior,
    forward_models.py) under the face prior: the 8 x 8 lowest frequencies of the plain DFT, in one quadrant, in complex
    noise of standard deviation 0.1. Here the DFT is orthonormal, so that the noise is less by the side of the picture.
    """
    if prior != CODE:
        return load_task(TASKS[prior])
    task = load_task(TASKS["celeba"])
    kept = np.zeros(task.shape[:2], np.float32)
    kept[:LOWEST, :LOWEST] = 1
    noise = CODE_NOISE / np.sqrt(2) / task.shape[0]
    return replace(task, operator=FourierSubset(task.shape, kept), sigma_y=noise, name="faces-lowest-frequencies")


def measured(n, real, seed=0, prior="cifar10"):
    """{kind: Case} of ``n`` test images of each kind, measured for the task of ``prior``; those of both priors are the same
    measurements.
    """
    task = task_of(prior)
    return {kind: cases.measure(task, images(kind, "test", real), n, seed) for kind in TASKS}


def search(path=None, n_images=4, pairs=PAIRS, grids=None, real=True, progress=print):
    """Search the settings of GRIDS for every pair by PSNR of one sample on each of ``n_images`` validation images.

    Returns and, with ``path``, writes {"PAIR.METHOD": what ``tune`` found}; what a file there has already is kept and
    added to.
    """
    found, tasks = tuning_records.read(path) if path and Path(path).exists() else {}, {}
    for pair in sorted(pairs, key=lambda pair: PAIRS[pair][1]):  # what one prior compiles serves both its pairs
        kind, prior = PAIRS[pair]
        tasks[prior] = tasks.get(prior) or task_of(prior)
        values = images(kind, "val", real, n_images).values
        task = replace(tasks[prior], signals=lambda split, values=values: values)
        for method, choices in (GRIDS if grids is None else grids).items():
            key, name = f"{pair}.{method}", method.replace("_", "-")
            one = partial(tune, name, task, trials=Trials(n=1, n_measurements=n_images), progress=progress)
            found[key] = tuning_records.extended(found.get(key), choices, one)
            if path:
                tuning_records.write(path, found)
    return found


def search_table(found):
    """A Markdown table of searches {"PAIR.METHOD": what ``tune`` found}: the best setting and its PSNR, the range over
    all that were tried.
    """
    lines = [
        "| pair | method | tried | PSNR of one sample, worst to best [dB] | best setting |",
        "| --- | --- | --- | --- | --- |",
    ]
    for pair, title in TITLES.items():
        for method in (method for method in GRIDS if f"{pair}.{method}" in found):
            result = found[f"{pair}.{method}"]
            psnr = [row["psnr"] for row in result["search"] if row["finite"]]
            spread = f"{min(psnr):.2f} to {max(psnr):.2f}"
            lines.append(
                f"| {title} | {LABELS[method]} | {len(result['search'])} | {spread} | {tuning_records.settings(result['best'])} |"
            )
    return "\n".join(lines)


def evaluations(found):
    """Evaluations of the network for one sample of each method of GRIDS at the best settings of searches, in words:
    "100 for DPS", or the range over the pairs.
    """
    said = []
    for method in GRIDS:
        searches = [found[f"{pair}.{method}"] for pair in PAIRS if f"{pair}.{method}" in found]
        nfe = sorted(row["nfe"] for one in searches for row in one["search"] if row["settings"] == one["best"])
        if nfe:
            number = f"{nfe[0]:,}" if nfe[0] == nfe[-1] else f"{nfe[0]:,} to {nfe[-1]:,}"
            said.append(f"{number} for {LABELS[method]}")
    return ", ".join(said)


def of_search(key):
    """What a search is of, in words; key: "PAIR.METHOD"."""
    pair, _, method = key.partition(".")
    return f"{TITLES[pair]}, {LABELS[method]}"


@dataclass(frozen=True)
class Fitted:
    """Score priors of several measurements, fitted side by side: one flow for each."""

    task: object
    flow: object
    params: dict  # stacked
    seconds: float  # of the fit, for each measurement

    def one(self, i):
        """The AmortizedPosterior of the i-th measurement; for others it means nothing."""
        return AmortizedPosterior(self.task, self.flow, jax.tree.map(lambda a: a[i], self.params))


def fit_score_priors(trained, measurements, steps, n_samples=4, learning_rate=5e-3, seed=0):
    """A FittedFlow for each of a batch of ``measurements``, under the prior of the AmortizedPosterior ``trained``,
    whose flow lends its modes.
    """
    flow = single_fit_in_modes.FittedFlow(trained.flow.modes, trained.task.shape, trained.flow.tokens)
    optimizer = Optimizer(steps, learning_rate, warmup=steps // 10, ema=max(0.0, 1 - 10 / steps), seed=seed)
    params, contexts, log = single_fit_in_modes.fit(
        flow, trained.task.prior, measurements, optimizer, n_samples, progress=False
    )
    return Fitted(trained.task, flow, params, log.seconds / len(contexts))


def run_prior(prior, by_kind, found, n_samples, n_iterative, fit_steps, seed=0):
    """All methods of one prior on the Cases ``by_kind``: ({pair: {row: samples (n, s, *shape)}}, {row: seconds of 128
    samples}, seconds of a score prior's fit, the AmortizedPosterior of APS).

    n_samples: samples of each measurement by the methods of DIRECT, n_iterative: by the others (none of them where it
    is 0), with the settings ``found`` (see ``search``). The time of an iterative method is that of its last call,
    compiled before, in proportion to the number of samples.
    """
    # for the code's blur the flow that serves any operator
    trained = load_posterior(task_of(prior), weights="faces-any" if prior == CODE else f"{TASKS[prior]}-held-out")
    task, key = trained.task, jax.random.key(seed + 1)
    closed = AmortizedPosterior(task, ClosedFormModes(trained.flow.modes, task.shape), {})
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[case.measurements for case in by_kind.values()])
    fits = fit_score_priors(trained, both, fit_steps, seed=seed)
    samples, seconds = {}, {}
    first = 0
    for kind, case in by_kind.items():
        pair = next(name for name, parts in PAIRS.items() if parts == (kind, prior))
        rows = {"gaussian": np.asarray(closed.sample(key, case.measurements, n_samples))}
        for row in GRIDS if n_iterative else ():
            sampler = make_sampler(row.replace("_", "-"), task, **found[f"{pair}.{row}"]["best"])
            begin = time.monotonic()
            rows[row] = np.asarray(sampler.sample(key, case.measurements, n_iterative))
            seconds[row] = N_TIME * (time.monotonic() - begin) / (n_iterative * len(case.x0))
        keys = jax.random.split(key, len(case.x0))
        rows["score_prior"] = np.stack(
            [fits.one(first + i).sample(keys[i], case.one(i), n_samples) for i in range(len(case.x0))]
        )
        rows["aps"] = np.asarray(trained.sample(key, case.measurements, n_samples))
        samples[pair] = {row: rows[row] for row in LABELS if row in rows}
        first += len(case.x0)
    case = next(iter(by_kind.values()))
    for row, sampler in {"gaussian": closed, "score_prior": fits.one(0), "aps": trained}.items():
        seconds[row] = evaluation.seconds_per_measurement(sampler, key, case.one(0), N_TIME, repeats=3)
    return samples, seconds, fits.seconds, trained


def store(run, pair, samples, case, task):
    """Keep what the samples of a pair are worth, under ``PAIR.ROW``: those of METRICS of single samples, averaged over
    samples and then images (``ssim`` with the 7 x 7 window, ``ssim11`` with the 11 x 11 one); ``mean``, PSNR that the mean of 128 would have; ``ratio``, squared error of a
    sample over that of the exact mean of the sampler; ``misfit``, (1/n) |y - A x|^2 / sigma_y^2 of single samples.
    Returns {row: PSNR (images,)}.
    """
    found = {}
    for row, drawn in samples.items():
        flat = drawn.reshape(-1, *drawn.shape[2:])
        truth = np.repeat(case.x0, drawn.shape[1], axis=0)
        per_image = {name: f(flat, truth).reshape(drawn.shape[:2]).mean(axis=1) for name, f in METRICS.items()}
        for name, values in per_image.items():
            run.mean(f"{pair}.{row}.{name}", values, "dB" if name == "psnr" else None)
        run.mean(f"{pair}.{row}.mean", long_run_psnr(drawn, case.x0, N_TIME), "dB")
        run.number(f"{pair}.{row}.ratio", *quality.sample_error_over_mmse(drawn, case.x0), n=len(case.x0))
        run.mean(f"{pair}.{row}.misfit", misfit(task, drawn, case.measurements))
        found[row] = per_image["psnr"]
    return found


METRICS = {
    "mse": quality.mse,
    "ssim": quality.ssim,
    "ssim11": partial(quality.ssim, window="gaussian"),
    "psnr": quality.psnr,
}


def misfit(task, samples, measurements):
    """(1/n) |y - A x|^2 / sigma_y^2 averaged over the samples (batch, s, *shape) of each measurement, (batch,); near 1
    for the truth.
    """
    blurred = jax.lax.map(jax.vmap(task.operator), jnp.asarray(samples))
    return np.asarray(
        jnp.mean(((measurements.y[:, None] - blurred) / task.sigma_y) ** 2, axis=tuple(range(1, samples.ndim)))
    )


def store_differences(run, pair, psnr):
    """Keep the PSNR of single samples of each row minus that of the best of the paper's three rivals, paired by image,
    as ``PAIR_paired.ROW.psnr``; returns that rival, or None where none of them was run.
    """
    if not all(row in psnr for row in GRIDS):
        return None
    best = max(GRIDS, key=lambda row: psnr[row].mean())
    for row in DIRECT:
        run.mean(f"{pair}_paired.{row}.psnr", psnr[row] - psnr[best], "dB")
    return best


def priors_rule(name, value):
    """The rule of a list of priors: at least one of those whose measurements are pictures."""
    chosen = record.list_of(record.one_of(*WEIGHTS))(name, value)
    if chosen == [CODE]:
        raise ValueError(f"{name} = {value!r}: expected {' or '.join(map(repr, TASKS))} beside {CODE!r}")
    return chosen


def best_rows(numbers, pair, column="psnr"):
    """Rows of a pair ordered by ``column``, best first; numbers: those of a record."""
    sign = 1 if column == "mse" else -1
    rows = [row for row in LABELS if f"{pair}.{row}.{column}" in numbers]
    return sorted(rows, key=lambda row: sign * numbers[f"{pair}.{row}.{column}"]["value"])


def known(run, prefixes):
    """Those of ``prefixes`` (dict prefix -> title) of which this run or the full one has numbers of APS."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    stored = {*run.as_dict()["numbers"], *full["numbers"]}
    return {
        prefix: title for prefix, title in prefixes.items() if any(key.startswith(f"{prefix}.aps.") for key in stored)
    }


def rows(run, prefix):
    """Labels of the rows under ``prefix`` of which this run or the full one has numbers."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    stored = {key.rpartition(".")[0] for key in (*run.as_dict()["numbers"], *full["numbers"])}
    return {row: label for row, label in labels(prefix).items() if f"{prefix}.{row}" in stored}


def labels(prefix):
    """Labels of the rows under a prefix. The flow of the code's blur is the one for any operator."""
    return LABELS | ({"aps": f"one flow for all: {label_of('faces-any')}"} if prefix.endswith(CODE) else {})


def verdict(numbers):
    """A Markdown list: for every pair of a record the rows by the PSNR of single samples, from the highest, with standard
    errors over the images. An order, not a ranking: a sample nearer to the truth is not a better one.
    """
    lines = []
    for pair, title in TITLES.items():
        if f"{pair}.aps.psnr" not in numbers:
            continue
        found = {labels(pair)[row]: numbers[f"{pair}.{row}.psnr"] for row in best_rows(numbers, pair)}
        spread = {row: "" if one["se"] is None else f" ± {one['se']:.2f}" for row, one in found.items()}
        listed = [f"{row} {one['value']:.2f}{spread[row]} dB" for row, one in found.items()]
        lines.append(f"- {title}: {'; '.join(listed)}.")
    return "\n".join(lines)


def pictures(samples, measured):
    """Columns for ``plotting_images.face_columns``: a row for each pair of ``samples``, but for those of the code's blur,
    whose measurements are no pictures; truth, measurement, and one sample of each method. measured: {prior: {kind: Case}}.
    """
    shown = {pair: parts for pair, parts in PAIRS.items() if pair in samples}
    chosen = {pair: measured[prior][kind] for pair, (kind, prior) in shown.items() if prior != CODE}
    columns = {
        "truth": [case.x0[0] for case in chosen.values()],
        "measured": [np.asarray(case.measurements.y[0]) for case in chosen.values()],
    }
    rows = {row: label for row, label in SHORT.items() if all(row in samples[pair] for pair in chosen)}
    columns |= {label: [samples[pair][row][0, 0] for pair in chosen] for row, label in rows.items()}
    return {title: np.stack(column) for title, column in columns.items()}


SHORT = {**LABELS, "gaussian": "Gaussian", "aps": "flow"}  # titles of columns


if __name__ == "__main__":
    search(Path("weights/results/pairs.search.json"))
