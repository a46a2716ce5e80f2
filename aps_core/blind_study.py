"""The chapter on blind imputation: told and blind posteriors at several shares of missing cells."""

from dataclasses import replace

import jax
import numpy as np

import aps_core
from aps_core import blind, blind_noise, evaluation, sphere_study
from aps_core.posterior import load_posterior

LABELS = {
    "told": "told the mask",
    "zeros": "blind, missing cells are zero",
    "noise": "truly blind, noise on every cell",
    "gaussian": "Gaussian closed form, told the mask",
}


def run_level(level, sigma_y, dataset, n, n_samples, key, seed=0):
    """Scores of every row of LABELS on ``n`` fields of ``dataset`` with the share ``level`` missing: ({row: ``evaluation.evaluate``}, misjudged (2, n)).

    One trained flow serves every level and every row; masks and noise of the cells that were measured are the same for all rows.
    """
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = sphere_study.measure(task, dataset, n, seed)
    told = load_posterior(task)
    noisy = blind.blind_case(case, sigma_y, seed)
    truly = blind.BlindPosterior(told, "noise")
    runs = {
        "told": (told, case), "zeros": (blind.BlindPosterior(told, "zeros"), case), "noise": (truly, noisy),
        "gaussian": (aps_core.gaussian_posterior(task), case),
    }  # fmt: skip
    scores = {row: evaluation.evaluate(sampler, key, one.measurements, one.x0, n_samples) for row, (sampler, one) in runs.items()}
    return scores, blind.misjudged(truly, noisy)


def store(run, level, scores, misjudged):
    """Keep the numbers of one level: ``r30.told_n128.psnr`` and so on, coverage, and what is paired with the told flow."""
    prefix = f"r{100 * level:.0f}"
    for row, found in scores.items():
        run.mean(f"{prefix}.{row}_n1.psnr", found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}_n128.psnr", found["psnr_mean"], "dB")
        run.mean(f"{prefix}.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        if row != "told":
            run.mean(f"{prefix}.{row}.loss", scores["told"]["psnr_mean"] - found["psnr_mean"], "dB")
    run.mean(f"{prefix}.misjudged.seen", 100 * misjudged[0], "%")
    run.mean(f"{prefix}.misjudged.lost", 100 * misjudged[1], "%")


def noise_level(sigma_y, level, dataset, n, n_samples, key, seed=0):
    """The closed form told the mask and truly blind at another noise, where the mask may be harder to see: (loss (n,) dB, misjudged (2, n), coverage (n,) of the
    blind one's 90 % intervals). No flow was trained at these noises, so both are the Gaussian posterior."""
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = sphere_study.measure(task, dataset, n, seed)
    noisy, told = blind.blind_case(case, sigma_y, seed), aps_core.gaussian_posterior(task)
    truly = blind.BlindPosterior(told, "noise")
    first = evaluation.evaluate(told, key, case.measurements, case.x0, n_samples)
    second = evaluation.evaluate(truly, key, noisy.measurements, noisy.x0, n_samples)
    return first["psnr_mean"] - second["psnr_mean"], blind.misjudged(truly, noisy), second["coverage"][:, 1]


def store_noise(run, sigma_y, loss, misjudged, inside):
    """Keep the numbers of one noise level, as ``noise50.loss`` for sigma_y = 0.05 and so on."""
    prefix = f"noise{1000 * sigma_y:.0f}"
    run.mean(f"{prefix}.loss", loss, "dB")
    run.mean(f"{prefix}.seen", 100 * misjudged[0], "%")
    run.mean(f"{prefix}.lost", 100 * misjudged[1], "%")
    run.mean(f"{prefix}.coverage_90", 100 * inside, "%")


UNKNOWN = {
    "told": "flow, told the noise of each field",
    "inferred": "flow, noise inferred from the data",
    "assumed": "flow, takes the noise of its training",
    "gaussian": "Gaussian closed form, noise inferred",
}


def unknown_noise(sigma_y, level, dataset, n, n_samples, key, seed=0):
    """Every row of UNKNOWN on ``n`` fields whose noise level is drawn within ``blind_noise.RANGE``: ({row: ``evaluation.evaluate``}, levels (n,), inferred (n, 2)).

    Missing cells are zero. The flow is the one trained at ``sigma_y`` alone; inferred: posterior mean and standard deviation of each level.
    """
    task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=level)
    case = sphere_study.measure(task, dataset, n, seed)
    levels = blind_noise.draw_levels(jax.random.key(seed + 201), n)
    measurements = blind_noise.measure(jax.random.key(seed + 202), task, case.x0, levels)
    case = replace(case, measurements=measurements)
    told, closed = load_posterior(task), aps_core.gaussian_posterior(task)
    inferred = np.array([blind_noise.infer_noise(task.prior.gaussian, case.one(i)) for i in range(n)])
    rows = {"told": (told, levels), "inferred": (told, inferred[:, 0]), "assumed": (told, np.full(n, sigma_y)), "gaussian": (closed, inferred[:, 0])}
    scores = {}
    for row, (posterior, used) in rows.items():
        each = [
            evaluation.score(np.asarray(blind_noise.at_noise(posterior, s).sample(k, case.one(i), n_samples)), np.asarray(case.x0[i]))
            for i, (k, s) in enumerate(zip(jax.random.split(key, n), used, strict=True))
        ]
        scores[row] = {name: np.stack([one[name] for one in each]) for name in each[0]}
    return scores, levels, inferred


def store_unknown(run, scores, levels, inferred):
    """Keep the numbers of ``unknown_noise``: ``unknown.told_n128.psnr`` and so on, and the relative error of the level in per cent."""
    for row, found in scores.items():
        run.mean(f"unknown.{row}.psnr", found["psnr_mean"], "dB")
        run.mean(f"unknown.{row}.coverage_90", 100 * found["coverage"][:, 1], "%")
        if row != "told":
            run.mean(f"unknown.{row}.loss", scores["told"]["psnr_mean"] - found["psnr_mean"], "dB")
    run.mean("unknown.error", 100 * np.abs(inferred[:, 0] / levels - 1), "%")
    run.mean("unknown.bias", 100 * (inferred[:, 0] / levels - 1), "%")
    run.mean("unknown.spread", 100 * inferred[:, 1] / inferred[:, 0], "%")
