"""The chapter on digits on the bunny: which digits are measured, how samplers are scored, and what the record keeps."""

import json
import math
import sys
from contextlib import suppress
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_book.experiments.sampler_names import names
from aps_book.record import Difference, tuning_records
from aps_book.record.labels import in_a_sentence, row_label
from aps_book.record.run import paper_value
from aps_core import weights
from aps_core.data import bunny_mnist, mnist
from aps_core.geometry import projection
from aps_core.metrics import calibration, evaluation, quality
from aps_core.posterior import gaussian_posterior, load_posterior, untrained_posterior
from aps_core.priors.fast_sampling import draw
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task

LABELS = {
    **names("mcg", "dps"),
    "mcg_stopped": "MCG, stopped",
    "gaussian": "Gaussian closed form",
    "untrained": "first guess of the score network",
}
ITERATIVE = ("mcg", "dps")
PAPER = "aps.table2.bunny_inpaint"
PAPER_ROWS = {f"reverse_{kind}": f"aps_{kind}" for kind in ("n1", "n128")}  # beside the paper's APS
FEW = ("mcg", "mcg_stopped", "dps")  # rows on the first few digits
BEST = {
    "dps": "the mean of DPS",
    "ddrm": "the mean of DDRM",
    "daps": "the mean of DAPS",
    "together": "the mean of all three",
}
LEVELS = (0.5, 0.9)
SPREAD = 0.1  # least prior standard deviation of the vertices at which coverage is counted
BANDS = 5
STEP_SIZES = (0.1, 0.3, 0.6, 1.0, 2.0, 3.0, 10.0)  # of the search


def dimensions():
    """Number of dimensions that signals can fill: the rank of the look-up of the pixels that some training digit
    lights.
    """
    lookup = projection.bilinear_lookup(bunny_mnist.coordinates(), mnist.SOURCE.shape).toarray()
    return int(np.linalg.matrix_rank(lookup[:, mnist.ever_lit().ravel()], tol=1e-9))


def varying():
    """Which vertices (1889,) take more than one value over the 60,000 training digits."""
    lookup = projection.bilinear_lookup(bunny_mnist.coordinates(), mnist.SOURCE.shape)
    return np.asarray(lookup @ mnist.ever_lit().ravel().astype(float)).ravel() > 0


def networks():
    """How far two score networks had come in the middle of their training, {"dense" or "local": parameters, signals
    seen, val_gain, val_gain_se}.
    """
    return json.loads(tuning_records.path("bunny_inpaint").with_name("bunny_inpaint.networks.json").read_text("utf-8"))


def n_parameters(params):
    """Number of trained numbers."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(params))


def training(card):
    """Steps and seconds of weights and of those that they went on from: {"steps": ..., "seconds": ...}."""
    cards = [card]
    while "start" in cards[-1]["recipe"]:
        cards.append(weights.load(cards[-1]["recipe"]["start"])[1])
    return {name: sum(c[name] for c in cards) for name in ("steps", "seconds")}


def before_and_after(card):
    """Validation at the beginning and the end of a training: {"begun.psnr": ..., "ended.psnr_n1": ...} with the
    objective per mode.
    """
    names = {"objective": "val_objective", "psnr": "val_psnr_mean16", "psnr_n1": "val_psnr_n1"}
    ends = {"begun": card["history"][0], "ended": card["history"][-1]}
    return {f"{end}.{name}": row[key] for end, row in ends.items() for name, key in names.items()}


def prior_spread(gaussian):
    """Standard deviation of each entry under a GaussianPrior, (d,)."""
    return np.asarray(jnp.sqrt(gaussian.rest + jnp.sum(gaussian.basis**2 * gaussian.excess, axis=1)))


def seconds(sampler, key, measurement):
    """Wall-clock seconds of one sample of an iterative sampler, compiled before, to two digits."""
    return float(f"{evaluation.seconds_per_measurement(sampler, key, measurement, 1, repeats=2):.2g}")


def posteriors(task):
    """The amortized posteriors by row: closed form, the flow before training, the one that the reverse divergence alone
    has trained ("reverse", where there are its weights), and what ``load_posterior`` gives ("aps"). Raises as that.
    """
    trained = load_posterior(task)
    found = {"gaussian": gaussian_posterior(task), "untrained": untrained_posterior(task, trained.card["flow"])}
    with suppress(FileNotFoundError):
        found["reverse"] = load_posterior(task, weights="bunny-inpaint-reverse")
    return {**found, "aps": trained}


def labels(found):
    """Labels of all rows; those of the trained flows of ``found`` say what trained them."""
    return {**LABELS, **{row: row_label(found[row].card) for row in ("reverse", "aps") if row in found}}


def search(task, path=None, steps=(100, 1000), n_measurements=8, seed=0, progress=None):
    """Step sizes of DPS and MCG tried on validation digits at each of some numbers of ``steps``, by the PSNR of one
    sample of each digit.

    Returns {method and steps, such as "dps-100": what ``tune`` found}, and with ``path`` writes it as JSON. Needs the
    full MNIST.
    """
    found, trials = {}, Trials(n=1, n_measurements=n_measurements, key=jax.random.key(seed))
    for n_steps in steps:
        for name in ITERATIVE:
            grid = {"step_size": STEP_SIZES, "n_steps": (n_steps,)}
            found[f"{name}-{n_steps}"] = tune(name, task, grid, trials, progress=progress)
    if path is not None:
        tuning_records.write(path, found)
    return found


def tuned(name, n_steps):
    """The step size that the recorded search found best for ``name``, at the number of steps nearest to ``n_steps``."""
    found = tuning_records.read(tuning_records.path("bunny_inpaint"))
    recorded = [int(key.removeprefix(f"{name}-")) for key in found if key.startswith(name)]
    nearest = min(recorded, key=lambda n: abs(math.log(n / n_steps)))
    return found[f"{name}-{nearest}"]["best"]["step_size"]


def edges_of_search():
    """Which of the recorded searches end at an edge, in words."""
    found = tuning_records.read(tuning_records.path("bunny_inpaint"))
    of = lambda key: "{} with {} evaluations".format(*key.upper().split("-"))  # noqa: E731
    return tuning_records.edges(found, of)


def iterative(task, n_steps):
    """DPS and MCG with ``n_steps`` steps, each with its tuned step size, and MCG that stops projecting at the noise of y,
    with the step size of DPS, by row.
    """
    found = {name: make_sampler(name, task, n_steps=n_steps, step_size=tuned(name, n_steps)) for name in ITERATIVE}
    stopped = make_sampler("mcg", task, n_steps=n_steps, step_size=tuned("dps", n_steps), until=1.0)
    return found | {"mcg_stopped": stopped}


def of_mcg():
    """How MCG, with its last projection and without the last ones, stands to the paper's number, for ``Run.verdict``."""
    paper = "the paper's MCG, on its own digits and projection"
    return (
        Difference("iterative.mcg.above_paper", "one sample of MCG", paper, None),
        Difference("iterative.mcg_stopped.above_paper", "one of MCG, stopped,", paper, None),
        Difference("iterative.mcg_stopped.above_mcg", "one of MCG, stopped,", "one of MCG, digit by digit", None),
    )


def comparisons(row, label):
    """What the trained flow of a ``row`` has on the closed form, for ``Run.verdict``; label: what trained it."""
    key, flow = f"paired.{row}", in_a_sentence(label)
    return (
        Difference(f"{key}.psnr_n128", f"the mean of {flow}", "that of the closed form", n="n_test"),
        Difference(f"{key}.psnr_n1", f"one sample of {flow}", "one of the closed form", None, n="n_test"),
        Difference(f"{key}.energy", flow, "the closed form", "lower", "+.3f", "n_test", "energy score"),
    )


def best_estimates(task, key, measurements, truth, n=16):
    """PSNR (batch,) of the mean of ``n`` samples of several samplers with the task's prior, and of their mean: how near
    an estimate by this prior comes.

    DPS at its tuned step size, DDRM and DAPS; none samples the posterior exactly, so that each is a lower bound of what
    the posterior mean has.
    """
    samplers = {
        "dps": make_sampler("dps", task, n_steps=200, step_size=tuned("dps", 200)),
        "ddrm": make_sampler("ddrm", task, n_steps=20),
        "daps": make_sampler("daps", task, n_levels=50, n_inner=20),
    }
    means = {name: np.asarray(sampler.sample(key, measurements, n)).mean(axis=1) for name, sampler in samplers.items()}
    means["together"] = np.mean(list(means.values()), axis=0)
    return {name: -10 * np.log10(np.mean((mean - truth) ** 2, axis=1)) for name, mean in means.items()}


def score(sampler, key, measurements, truth, n, chosen, modes=None):
    """Numbers of each of a batch of measurements of signals ``truth`` (batch, d): psnr and mse of the first sample and
    of the mean of n, unclipped.

    With n > 1 also the energy score, coverage (batch, 2) of the 50 and 90 % intervals over the ``chosen`` vertices
    (d,), and with ``modes`` (d, k) band_coverage (batch, bands, 2) along them. Measurement i has the i-th part of
    ``key``, for every sampler.
    """
    rows = []
    for i, k in enumerate(tqdm(jax.random.split(key, len(truth)), desc="measurements", disable=True)):
        samples = np.asarray(sampler.sample(k, jax.tree.map(lambda a, i=i: a[i], measurements), n), np.float64)
        x, mean = truth[i].astype(np.float64), samples.mean(axis=0)
        row = {"mse_n1": np.mean((samples[0] - x) ** 2), "mse_mean": np.mean((mean - x) ** 2)}
        row |= {name.replace("mse", "psnr"): -10 * np.log10(value) for name, value in row.items()}
        if n > 1:
            row["energy"] = quality.energy_score(samples, x)
            row["coverage"] = calibration.coverage(samples[:, chosen], x[chosen], LEVELS)
            if modes is not None:
                row["band_coverage"] = calibration.band_coverage(samples, x, modes, BANDS, LEVELS)
        rows.append(row)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def with_rest(key, prior, x0):
    """Signals ``x0`` (n, d) plus the isotropic rest of the prior, N(0, s^2 I): draws from a law that has a density."""
    return np.asarray(x0 + jnp.sqrt(prior.gaussian.rest) * jax.random.normal(key, x0.shape))


def own_draws(task, posterior, key, n_signals, n, chosen, modes, n_steps=80, churn=2.0):
    """``score`` of a posterior on measurements of ``n_signals`` draws of the task's own prior, where nothing but the
    flow can be wrong.
    """
    k_draw, k_rest, k_measure, k_sample = jax.random.split(key, 4)
    inside = draw(task.prior.inner, k_draw, n_signals, n_steps, churn=churn)
    noise = task.prior.gaussian.rest**0.5 * jax.random.normal(k_rest, (n_signals, task.prior.dim))
    outside = noise - (noise @ task.prior.basis) @ task.prior.basis.T  # in the subspace a draw has its rest
    signals = np.asarray(task.prior.signal(inside.reshape(n_signals, -1)) + outside)
    return score(posterior, k_sample, task.measure(k_measure, signals), signals, n, chosen, modes)


def store_scores(run, scores, n):
    """Keep PSNR and MSE under ``test.row_n1`` and ``test.row_n128`` (``test.row`` for the iterative samplers), and what
    is paired with the closed form.
    """
    for row, found in scores.items():
        for kind, key in _kinds(f"test.{row}", row).items():
            run.mean(f"{key}.psnr", found[f"psnr_{kind}"], "dB")
            run.mean(f"{key}.mse", found[f"mse_{kind}"])
        if row in FEW:
            continue
        run.mean(f"test.{row}.gap", found["psnr_mean"] - found["psnr_n1"], "dB")
        if row != "gaussian":
            base = scores["gaussian"]
            run.mean(f"paired.{row}.psnr_n128", found["psnr_mean"] - base["psnr_mean"], "dB")
            run.mean(f"paired.{row}.psnr_n1", found["psnr_n1"] - base["psnr_n1"], "dB")
            run.mean(f"paired.{row}.energy", found["energy"] - base["energy"])


def store_few(run, scores):
    """Keep what every row has on the digits of the samplers that iterate, the first few of all: PSNR and MSE under
    ``iterative``, as ``store_scores`` has them under ``test``; the PSNR of one sample minus that of one of DPS, paired by
    digit, as ``iterative.row.above_dps``; energy score and coverage of those that have many samples; and of the two MCGs minus each other (``iterative.mcg_stopped.above_mcg``) and
    minus the paper's number (``iterative.mcg.above_paper``).
    """
    n = len(scores["dps"]["psnr_n1"])
    few = {row: {kind: values[:n] for kind, values in found.items()} for row, found in scores.items()}
    for row, found in few.items():
        for kind, key in _kinds(f"iterative.{row}", row).items():
            run.mean(f"{key}.psnr", found[f"psnr_{kind}"], "dB")
            run.mean(f"{key}.mse", found[f"mse_{kind}"])
        if row not in FEW:
            run.mean(f"iterative.{row}.energy", found["energy"])
            run.mean(f"iterative.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        if row != "dps":
            run.mean(f"iterative.{row}.above_dps", found["psnr_n1"] - few["dps"]["psnr_n1"], "dB")
    run.mean("iterative.mcg_stopped.above_mcg", few["mcg_stopped"]["psnr_n1"] - few["mcg"]["psnr_n1"], "dB")
    for row in ("mcg", "mcg_stopped"):
        run.mean(f"iterative.{row}.above_paper", few[row]["psnr_n1"] - paper_value(f"{PAPER}.mcg.psnr"), "dB")


def _kinds(key, row):
    """{kind of score: key} of a row: one sample of what iterates, one sample and the mean of the others."""
    return {"n1": key} if row in FEW else {"n1": f"{key}_n1", "mean": f"{key}_n128"}


def store_floor(run, sigma_y, mask_fraction):
    """Keep the PSNR that noisy data at the measured vertices, and no error elsewhere, have: ``iterative.data.psnr``."""
    run.number("iterative.data.psnr", -10 * math.log10((1 - mask_fraction) * sigma_y**2), unit="dB")


def rows(names, n, labels=LABELS):
    """Labels of the rows of the table of scores; labels: of the samplers ``names``."""
    found = {}
    for name in names:
        if name in FEW:
            found[name] = f"{labels[name]}, one sample"
        else:
            found |= {f"{name}_n1": f"{labels[name]}, N = 1", f"{name}_n128": f"{labels[name]}, N = {n}"}
    return found


def store_coverage(run, scores):
    """Keep coverage in per cent, as ``coverage.all.row_50``, ``coverage.band1.row_90`` and so on."""
    for row, found in scores.items():
        together = np.concatenate([found["coverage"][:, None], found["band_coverage"]], axis=1)
        values, errors = quality.mean_and_standard_error(together)
        for group, value, error in zip(coverage_groups(), values, errors, strict=True):
            for level, v, e in zip((50, 90), value, error, strict=True):
                run.number(f"coverage.{group}.{row}_{level}", 100 * v, 100 * e, "%", len(found["energy"]))


def coverage_groups(n_modes=360):
    """Keys and labels of the coverage groups."""
    groups = {"all": "chosen vertices"}
    for i, band in enumerate(np.array_split(np.arange(1, n_modes + 1), BANDS), 1):
        groups[f"band{i}"] = f"mode {band[0]}–{band[-1]}"
    return groups


if __name__ == "__main__":
    numbers = [int(n) for n in sys.argv[1:]] or [100, 1000]
    search(load_task("bunny-inpaint"), Path("weights/results/bunny_inpaint.search.json"), numbers, progress=print)
