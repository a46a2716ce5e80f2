"""The chapter on blind imputation: told and blind posteriors at several shares of missing cells."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_book.experiments import measured
from aps_book.record import exact, word
from aps_core import checks
from aps_core.flows.untold_mask import InferMask
from aps_core.flows.untold_noise import infer_noise
from aps_core.metrics import evaluation
from aps_core.operators import Measurement, UnknownMask
from aps_core.posterior import load_posterior

TOLD = "sphere-impute-held-out"  # the flow that is told the mask
SHARES = (0.3, 0.6)  # between which the share of missing cells lies
NOISES = (0.02, 0.1)  # between which a noise level that is not told lies

LABELS = {
    "told": "told the mask",
    "zeros": "blind, missing cells are zero",
    "noise": "truly blind, noise on every cell",
    "trained": "truly blind, trained on that likelihood",
    "gaussian": "Gaussian closed form, told the mask",
}


def level_key(level):
    """The word for a share of missing cells in keys of the record: "r30" for 0.3, "r30_2" for 0.302."""
    return "r" + word(level, 100)


def missing(level):
    """The same as a label: "30 % missing"."""
    return f"{exact(level, 100)} % missing"


def noise_key(sigma_y):
    """The word for a noise level in keys of the record: "noise50" for 0.05."""
    return "noise" + word(sigma_y, 1000)


def asked_blind(told, noisy):
    """``told``, a posterior that is told a mask, asked without one: the mask is inferred (``InferMask``)."""
    task = told.task
    operator = UnknownMask(task.shape, *SHARES, noisy)
    flow = InferMask(told.flow, task.prior.gaussian, float(task.sigma_y), operator)
    return replace(told, task=replace(task, operator=operator, extra_check=None), flow=flow)


def noise_on_every_cell(case, sigma_y, seed=0):
    """Measurements y (n, *shape) of the truly blind setting: the data of a Case, and noise alone where it has none."""
    keys = jax.random.split(jax.random.key(checks.seed("seed", seed) + 101), len(case.x0))
    noise = sigma_y * jax.vmap(lambda k: jax.random.normal(k, case.x0.shape[1:]))(keys)
    return case.measurements.y + (1 - case.measurements.mask) * noise


def misjudged(blind, case, y):
    """Shares of each measurement's entries that were missing and taken as observed, and the other way round, (2, n).

    blind: a posterior of ``asked_blind``; y: its data for the Case, whose masks are what it should have found.
    """
    found = []
    for one, mask in zip(y, np.asarray(case.measurements.mask), strict=True):
        guess = np.asarray(blind.flow.guess(one).mask)
        found.append([np.mean((guess > 0) & (mask == 0)), np.mean((guess == 0) & (mask > 0))])
    return np.array(found).T


def run_level(level, sigma_y, dataset, n, n_samples, key, seed=0, rows=tuple(LABELS)):
    """Scores of ``rows`` of LABELS on ``n`` fields of ``dataset`` with the share ``level`` missing: ({row:
    ``evaluation.evaluate``}, misjudged (2, n)).

    One trained flow serves every level and every row; masks and noise of the cells that were measured are the same for
    all rows.
    """
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = measured.measure(task, dataset, n, seed)
    told = load_posterior(task, weights=TOLD)
    y, truly = noise_on_every_cell(case, sigma_y, seed), asked_blind(told, noisy=True)
    public = aps_core.load_task("sphere-impute-blind", sigma_y=sigma_y, noise_everywhere=True)
    runs = {
        "told": (told, case.measurements),
        "zeros": (asked_blind(told, noisy=False), Measurement(case.measurements.y)),
        "noise": (truly, Measurement(y)),
        "trained": (load_posterior(public), Measurement(y)),
        "gaussian": (aps_core.gaussian_posterior(task), case.measurements),
    }
    scores = {
        row: evaluation.evaluate(sampler, key, measurements, case.x0, n_samples)
        for row, (sampler, measurements) in runs.items()
        if row in rows
    }
    return scores, misjudged(truly, case, y)


def store(run, level, scores, misjudged):
    """Keep the numbers of one level: ``r30.told_n128.psnr`` and so on, coverage, and what is paired with the told flow."""
    prefix = level_key(level)
    for row, found in scores.items():
        run.mean(f"{prefix}.{row}_n1.psnr", found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}_n128.psnr", found["psnr_mean"], "dB")
        run.mean(f"{prefix}.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        if row != "told":
            run.mean(f"{prefix}.{row}.loss", scores["told"]["psnr_mean"] - found["psnr_mean"], "dB")
    store_gain(run, prefix, scores, "noise")
    run.mean(f"{prefix}.misjudged.seen", 100 * misjudged[0], "%")
    run.mean(f"{prefix}.misjudged.lost", 100 * misjudged[1], "%")


def store_gain(run, prefix, scores, plug_in):
    """Keep what the mean of the flow that was trained on what is not told has over that of the row ``plug_in``, paired, as
    ``prefix.trained.gain``.
    """
    run.mean(f"{prefix}.trained.gain", scores["trained"]["psnr_mean"] - scores[plug_in]["psnr_mean"], "dB")


def noise_level(sigma_y, level, dataset, n, n_samples, key, seed=0):
    """The closed form told the mask and truly blind at another noise, where the mask may be harder to see: (loss (n,)
    dB, misjudged (2, n), coverage (n,) of the blind one's 90 % intervals). No flow was trained at these noises, so both
    are the Gaussian posterior.
    """
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = measured.measure(task, dataset, n, seed)
    y, told = noise_on_every_cell(case, sigma_y, seed), aps_core.gaussian_posterior(task)
    truly = asked_blind(told, noisy=True)
    first = evaluation.evaluate(told, key, case.measurements, case.x0, n_samples)
    second = evaluation.evaluate(truly, key, Measurement(y), case.x0, n_samples)
    return first["psnr_mean"] - second["psnr_mean"], misjudged(truly, case, y), second["coverage"][:, 1]


def store_noise(run, sigma_y, loss, misjudged, inside):
    """Keep the numbers of one noise level, as ``noise50.loss`` for sigma_y = 0.05 and so on."""
    prefix = noise_key(sigma_y)
    run.mean(f"{prefix}.loss", loss, "dB")
    run.mean(f"{prefix}.seen", 100 * misjudged[0], "%")
    run.mean(f"{prefix}.lost", 100 * misjudged[1], "%")
    run.mean(f"{prefix}.coverage_90", 100 * inside, "%")


UNKNOWN = {
    "told": "flow, told the noise of each field",
    "inferred": "flow, noise inferred from the data",
    "trained": "flow trained on noise that is not told",
    "assumed": "flow, takes the noise of its training",
    "gaussian": "Gaussian closed form, noise inferred",
}


def unknown_noise(sigma_y, level, dataset, n, n_samples, key, seed=0, rows=tuple(UNKNOWN)):
    """``rows`` of UNKNOWN on ``n`` fields whose noise level is drawn within NOISES: ({row: ``evaluation.evaluate``},
    levels (n,), inferred (n, 2)).

    Missing cells are zero. The flow is the one trained at ``sigma_y`` alone, but for "trained", that of the public task
    "sphere-impute-blind-noise"; inferred: posterior mean and standard deviation of each level.
    """
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = measured.measure(task, dataset, n, seed)
    levels = draw_levels(jax.random.key(seed + 201), n)
    case = replace(case, measurements=measured_at(jax.random.key(seed + 202), task, case.x0, levels))
    told, closed = load_posterior(task, weights=TOLD), aps_core.gaussian_posterior(task)
    public = aps_core.load_task("sphere-impute-blind-noise", noise_levels=NOISES, mask_fraction=level)
    inferred = np.array([infer_noise(task.prior.gaussian, case.one(i), NOISES) for i in range(n)])
    runs = {
        "told": (told, levels),
        "inferred": (told, inferred[:, 0]),
        "trained": (load_posterior(public), [None] * n),
        "assumed": (told, np.full(n, sigma_y)),
        "gaussian": (closed, inferred[:, 0]),
    }
    scores = {row: _scored(*runs[row], case, key, n_samples) for row in rows}
    return scores, levels, inferred


def _scored(posterior, levels, case, key, n_samples):
    """``evaluation.evaluate`` of a posterior that is told a noise level for each measurement of ``case``, or None."""
    each = []
    for i, (k, level) in enumerate(zip(jax.random.split(key, len(levels)), levels, strict=True)):
        asked = posterior if level is None else posterior.with_noise(float(level))
        each.append(evaluation.score(np.asarray(asked.sample(k, case.one(i), n_samples)), np.asarray(case.x0[i])))
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def draw_levels(key, n, limits=NOISES):
    """n noise levels, uniform in the logarithm within ``limits``."""
    low, high = np.log(limits)
    return np.exp(np.asarray(jax.random.uniform(key, (n,), minval=low, maxval=high)))


def measured_at(key, task, x0, sigmas):
    """Measurements of ``x0`` (n, *shape) by the task's operator, each with its own noise level of ``sigmas`` (n,)."""
    keys = jax.random.split(key, len(x0))
    simulate = jax.vmap(lambda k, x, s: task.operator.simulate(s, k, x))
    return simulate(keys, jnp.asarray(x0), jnp.asarray(sigmas, jnp.float32))


def store_unknown(run, scores, levels, inferred):
    """Keep the numbers of ``unknown_noise``: ``unknown.told_n128.psnr`` and so on, and the relative error of the level
    in per cent.
    """
    for row, found in scores.items():
        run.mean(f"unknown.{row}.psnr", found["psnr_mean"], "dB")
        run.mean(f"unknown.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        if row != "told":
            run.mean(f"unknown.{row}.loss", scores["told"]["psnr_mean"] - found["psnr_mean"], "dB")
    store_gain(run, "unknown", scores, "inferred")
    run.mean("unknown.error", 100 * np.abs(inferred[:, 0] / levels - 1), "%")
    run.mean("unknown.bias", 100 * (inferred[:, 0] / levels - 1), "%")
    run.mean("unknown.spread", 100 * inferred[:, 1] / inferred[:, 0], "%")


def by_level(record):
    """{label: (per cent missing, PSNR of the mean, its standard errors)} over the levels of a record, for ``level_plot``."""
    levels, numbers = record["parameters"]["levels"], record["numbers"]

    def curve(row):
        found = [numbers[f"{level_key(level)}.{row}_n128.psnr"] for level in levels]
        return [100 * level for level in levels], [n["value"] for n in found], [n["se"] for n in found]

    return {label: curve(row) for row, label in LABELS.items()}
