"""Why single samples look noisy: a trained flow trained on with the bound stopped at several t_min, and what its
samples are then.
"""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments import pictured
from aps_book.experiments.reopened_flow import reopen
from aps_book.experiments.start_time import LEVEL, CutOffPrior, parts_of_error
from aps_book.record import word
from aps_core.metrics import calibration, quality
from aps_core.posterior import AmortizedPosterior
from aps_core.tasks.problem import Target
from aps_core.training import loop
from aps_core.training.objective import ReverseDivergence
from aps_core.training.optimizer import Optimizer


def train(posterior, signals, t_mins, steps, batch=8, learning_rate=0.15, seed=0):
    """Train the reopened flow of ``posterior`` by the APS objective with the bound stopped at each of ``t_mins``, all
    with the same draws.

    signals (n, *shape): measured anew at every step, ``batch`` of them; the objective sees only their measurements.
    Returns ({t_min: AmortizedPosterior}, Trained). Raises as ``reopen``, and ValueError for a t_min outside (0, 1).
    """
    if not all(0 < t < 1 for t in t_mins):
        raise ValueError(f"t_mins must lie in (0, 1), got {list(t_mins)}")
    task, flow = posterior.task, reopen(posterior)
    arrays = {
        "flow": flow,
        "prior": task.prior,
        "t_min": jnp.asarray(t_mins, jnp.float32),
        "signals": jnp.asarray(signals),
    }
    stacked = jax.tree.map(lambda a: jnp.tile(a, (len(t_mins), 1)), flow.init())

    def loss(params, arrays, key, progress):
        del progress
        k_pick, k_measure, k_loss = jax.random.split(key, 3)
        picked = jax.random.randint(k_pick, (batch,), 0, len(arrays["signals"]))
        measurements = task.measure(k_measure, arrays["signals"][picked])

        def one(params, t_min):
            prior = CutOffPrior(arrays["prior"], t_min)
            target = Target(task.operator, task.sigma_y, prior)
            return ReverseDivergence("control-variate")(arrays["flow"], params, target, k_loss, measurements)[0]

        values = jax.vmap(one)(params, arrays["t_min"]) / flow.dim
        return jnp.sum(values), {}

    optimizer = Optimizer(steps, learning_rate, warmup=steps // 10, ema=max(0.0, 1 - 8 / steps), clip=1e3, seed=seed)
    watch, session = loop.Watch(every=max(1, steps // 8)), loop.Session(progress=False)
    trained = loop.fit(loss, stacked, arrays, optimizer, watch, session)
    found = {
        t: AmortizedPosterior(task, flow, jax.tree.map(lambda a, i=i: a[i], trained.params))
        for i, t in enumerate(t_mins)
    }
    return found, trained


@dataclass(frozen=True)
class Scores:
    """What ``score`` measures of a sampler: by measurement ``psnr_n1``, ``psnr_mean``, ``ssim_n1``, ``error``,
    ``spread`` and ``inside`` as in Expected, and ``by_mode`` (d,), the variance of the samples along each mode of the
    prior; ``first``, one sample of each (batch, *shape).
    """

    values: dict
    by_mode: np.ndarray
    first: np.ndarray


def score(sampler, case, n, seed=0):
    """Scores of ``n`` samples of each measurement of a Case. The same ``seed`` gives every sampler the same draws."""
    basis = np.asarray(sampler.task.prior.gaussian.basis)
    rows, by_mode, first = [], 0.0, []
    for i, key in enumerate(jax.random.split(jax.random.key(seed + 1), len(case.x0))):
        samples = np.asarray(sampler.sample(key, case.one(i), n))
        rows.append(_one(samples, case.x0[i]))
        by_mode = by_mode + np.var(samples.reshape(n, -1) @ basis, axis=0, ddof=1) / len(case.x0)
        first.append(samples[0])
    return Scores({name: np.array([row[name] for row in rows]) for name in rows[0]}, by_mode, np.stack(first))


def _one(samples, x0):
    truth = x0[None]
    return {
        "psnr_n1": quality.psnr(samples[:1], truth)[0],
        "psnr_mean": quality.psnr(samples.mean(axis=0)[None], truth)[0],
        "ssim_n1": quality.ssim(samples[:1], truth)[0],
        "error": quality.mmse_estimate(samples[None], truth)[0],
        "spread": np.var(samples, axis=0, ddof=1).mean(),
        "inside": calibration.coverage(samples, x0, (LEVEL,))[0],
    }


def store(run, prefix, scores):
    """Keep the means of Scores under ``prefix``: ``n1`` and ``n128`` in dB, ``ssim``, ``inside`` in per cent,
    ``spread`` and ``error`` as standard deviations, and ``ratio``, the variance of the samples over the squared error
    of the mean.
    """
    values = scores.values
    run.mean(f"{prefix}.n1", values["psnr_n1"], "dB")
    run.mean(f"{prefix}.n128", values["psnr_mean"], "dB")
    run.mean(f"{prefix}.ssim", values["ssim_n1"])
    run.mean(f"{prefix}.inside", 100 * values["inside"], "%")
    error, spread = values["error"].mean(), values["spread"].mean()
    run.numbers(prefix, {"spread": np.sqrt(spread), "error": np.sqrt(error)})
    change = quality.mean_and_standard_error(values["spread"] - spread / error * values["error"])[1]
    run.number(f"{prefix}.ratio", spread / error, change / error, n=len(values["error"]))


def store_formula(run, prefix, found, n):
    """Keep an Expected as ``store`` keeps Scores, but for ``ssim``, under ``prefix_formula``; ``n128`` is of ``n``
    samples.
    """
    run.number(f"{prefix}_formula.n1", found.psnr(1), unit="dB")
    run.number(f"{prefix}_formula.n128", found.psnr(n), unit="dB")
    run.number(f"{prefix}_formula.inside", 100 * found.inside, unit="%")
    run.numbers(
        f"{prefix}_formula", {"ratio": found.ratio, "spread": np.sqrt(found.spread), "error": np.sqrt(found.error)}
    )


def table_rows(rows):
    """``rows`` (key -> label), each followed by the row of its formula."""
    return {key: text for row, label in rows.items() for key, text in ((row, label), (f"{row}_formula", "– formula"))}


def exact_error(scores):
    """Squared error of the mean of Scores whose PSNR is the mean of the measurements' PSNR: comparable with a table's
    decibels.
    """
    return float(10 ** np.mean(np.log10(scores.values["error"])))


PARTS = {
    "mean": "error of the mean that no sampler avoids",
    "sample": "spread of an exact sample, as much again",
    "sample_excess": "spread beyond it",
    "mean_excess": "error of the mean beyond it",
}


def store_parts(run, psnr_n1, psnr_mean, n, exact):
    """Keep ``parts_of_error`` against every squared error of ``exact`` (name -> value) under ``parts.PART``: ``NAME``
    in units of 1e-4 and ``NAME_share`` of the squared error of the single sample in per cent. Returns the variance of
    the samples.
    """
    single = 10 ** (-psnr_n1 / 10)
    for name, value in exact.items():
        found = parts_of_error(psnr_n1, psnr_mean, n, value)
        for part, size in found.items():
            run.number(f"parts.{part}.{name}", 1e4 * size)
            run.number(f"parts.{part}.{name}_share", 100 * size / single, unit="%")
    return found["sample"] + found["sample_excess"]


def binned(values, n_bins=14):
    """(middle mode number, mean) of ``values`` (d,) over runs of modes of about equal length in the logarithm of their
    number, from 1.
    """
    edges = np.unique(np.round(np.geomspace(1, len(values) + 1, n_bins + 1)).astype(int))
    pairs = [(np.sqrt(a * (b - 1)), np.mean(values[a - 1 : b - 1])) for a, b in pairwise(edges)]
    return tuple(np.array(pairs).T)


def pictures(case, samplers, scores, n=4, seed=0):
    """Columns for ``images.face_columns``: truth, measurement, one sample of each of ``samplers`` (label -> sampler) from
    the same draws, for ``n`` signals, or for draws of the prior in the place of photographs (see ``pictured``). scores: the
    Scores of the samplers on the Case, by label.
    """
    few = pictured.case(next(iter(samplers.values())).task, case, n, seed)
    if few.dataset is case.dataset:
        drawn = {label: scores[label].first[: len(few.x0)] for label in samplers}
    else:
        keys = jax.random.split(jax.random.key(seed + 1), len(few.x0))
        one = lambda sampler, i: np.asarray(sampler.sample(keys[i], few.one(i), 1))[0]  # noqa: E731
        drawn = {label: np.stack([one(s, i) for i in range(len(keys))]) for label, s in samplers.items()}
    return {"truth": few.x0, "measured": np.asarray(few.measurements.y), **drawn}


def key(t_min):
    """The word for ``t_min`` in keys of the record: its multiple of 1e-5."""
    return "t" + word(t_min, 100_000, digits=5)
