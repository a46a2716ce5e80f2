"""The fits of the comparison of score prior and discrete-flow prior: from a closed-form posterior, from noise, at
several learning rates.
"""

from dataclasses import dataclass, field

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import single_fit
from aps_book.experiments.discrete_flow import TERMS, describe, spikes, with_and_without
from aps_core.priors.linear_gaussian import linear_posterior_factors

QUALITY = ("psnr", "ssim", "mse", "psnr_one", "ssim_one", "mse_one", "coverage", "spread")
CHANGED = ("psnr_one", "spread")  # of these the record has the value without the dropped samples as well
STEP_WARMUP = 0.05  # share of the steps in which the rate rises


@dataclass(frozen=True)
class Case:
    """Measurements of one task, one for each of ``truth`` (n, h, w, 1), with their closed-form posteriors."""

    task: object
    truth: np.ndarray
    measurements: list = field(repr=False)
    posteriors: list = field(repr=False)


def measured(tasks, truth, seed=0):
    """{name: Case} of ``tasks``, each measuring every signal of ``truth`` once."""
    cases = {}
    for i, (name, task) in enumerate(tasks.items()):
        factors = linear_posterior_factors(task.prior.gaussian, task.operator, float(task.sigma_y))
        found = [
            task.measure(key, x)
            for key, x in zip(jax.random.split(jax.random.key(seed + i), len(truth)), truth, strict=True)
        ]
        cases[name] = Case(task, truth, found, [factors.posterior(m.y.reshape(-1)) for m in found])
    return cases


def closed_form_quality(run, name, case, key, n):
    """Store what ``n`` exact samples of the closed-form Gaussian posteriors are worth as ``name.closed_form``; returns
    those of the first.
    """
    drawn = [
        _closed_form_samples(p, k, n, case.task.shape)
        for p, k in zip(case.posteriors, jax.random.split(key, len(case.truth)), strict=True)
    ]
    _store(run, f"{name}.closed_form", [describe(s, x) for s, x in zip(drawn, case.truth, strict=True)])
    return drawn[0]


def _closed_form_samples(posterior, key, n, shape):
    z = jax.random.normal(key, (n, posterior.mean.size))
    return np.asarray(jax.jit(jax.vmap(lambda zi: posterior.forward(zi)[0]))(z)).reshape(n, *shape)


@dataclass(frozen=True)
class Start:
    """The flow of a fit, and where it begins: at "posterior", the closed form under the Gaussian of the prior, or at noise
    of the standard deviation ``at`` about its mean. Raises ValueError for an odd or too small number of couplings.
    """

    at: str | float
    width: int = 64
    couplings: int = 64

    def __post_init__(self):
        if self.couplings < 2 or self.couplings % 2:
            raise ValueError(f"couplings must be even and at least 2, got {self.couplings}")

    def flow(self, case, i, prior):
        """That flow for measurement ``i`` of a Case."""
        size = (case.task.shape, self.couplings // 2, self.width)
        if self.at == "posterior":
            return single_fit.from_posterior(case.posteriors[i], *size)
        return single_fit.from_noise(prior.gaussian.mean, self.at, *size)


def descent(steps, learning_rate, final=0.02):
    """The Descent of ``steps`` with a share STEP_WARMUP of them for warming up."""
    return single_fit.Descent(steps, learning_rate, int(STEP_WARMUP * steps), final)


def compare(run, key, case, priors, start, descent, n_faces=None, n_samples=128, seed=0):
    """Fit the first ``n_faces`` measurements of a Case under each of ``priors`` from a Start and store what their samples
    are worth.

    priors: {kind: prior}, kind in TERMS. Stored as ``key.kind``: QUALITY, means over the measurements; the percentages
    of samples that the rule drops, ``dropped_unit`` and ``dropped_signed``; CHANGED without those as ``..._kept``; and
    ``store_optimization``. Returns {kind: (Fit, samples)} of the first measurement.
    """
    first = {}
    for kind, prior in priors.items():
        fits = [
            single_fit.fit(start.flow(case, i, prior), case.task, m, prior, TERMS[kind], descent, seed + i)
            for i, m in enumerate(case.measurements[:n_faces])
        ]
        drawn = [np.asarray(fit.sample(jax.random.key(seed + 100 + i), n_samples)) for i, fit in enumerate(fits)]
        judged = [with_and_without(s, x) for s, x in zip(drawn, case.truth[: len(drawn)], strict=True)]
        own = f"{key}.{kind}"
        _store(run, own, [j["all"] for j in judged])
        _store(run, own, [j["kept"] for j in judged], CHANGED, "_kept")
        run.numbers(own, {scale: np.mean([j[scale] for j in judged]) for scale in ("dropped_unit", "dropped_signed")})
        store_optimization(run, own, fits)
        first[kind] = fits[0], drawn[0]
    return first


def store_optimization(run, key, fits):
    """Store of several Fits: ``steps`` done (mean), ``finite``, the percentage whose loss stayed so; if all did any,
    ``loss`` (nats per pixel, mean of the last tenth), ``first_gradient`` (norm at the first step), and of ``spikes``
    the ``spike_share`` in percent and ``spike_largest``.
    """
    run.number(f"{key}.finite", 100 * np.mean([fit.finite for fit in fits]))
    run.number(f"{key}.steps", np.mean([fit.steps for fit in fits]))
    if not all(fit.steps for fit in fits):
        return
    run.number(f"{key}.loss", np.mean([np.mean(fit.history["loss"][-max(1, fit.steps // 10) :]) for fit in fits]))
    run.number(f"{key}.first_gradient", np.mean([fit.history["gradient"][0] for fit in fits]))
    found = [spikes(fit.history) for fit in fits]
    if np.isfinite([f["share"] for f in found]).all():
        run.number(f"{key}.spike_share", 100 * np.mean([f["share"] for f in found]))
        run.number(f"{key}.spike_largest", max(f["largest"] for f in found))


def rates(run, key, case, priors, start, learning_rates, steps, seed=0):
    """Fits of the first measurement from a Start at constant ``learning_rates``, stored as ``key.r<i>.<kind>``, i their
    place among those of the full run: {(rate, kind): history}.
    """
    found = {}
    for name, rate in keyed("r", learning_rates).items():
        at = descent(steps, rate, final=1.0)
        for kind, prior in priors.items():
            fit = single_fit.fit(
                start.flow(case, 0, prior), case.task, case.measurements[0], prior, TERMS[kind], at, seed
            )
            store_optimization(run, f"{key}.{name}.{kind}", [fit])
            found[rate, kind] = fit.history
    return found


def above_least(histories, margin=0.1):
    """The histories that have a step, with the least loss of each taken off, less ``margin``: what a logarithmic axis
    can show.
    """
    kept = {label: history for label, history in histories.items() if len(history["loss"])}
    return {
        label: {**history, "loss": history["loss"] - np.min(history["loss"]) + margin}
        for label, history in kept.items()
    }


def _store(run, key, described, names=QUALITY, suffix=""):
    """Means over measurements of ``describe``'s numbers; nothing where one of them has none."""
    if all(d is not None for d in described):
        run.numbers(key, {f"{name}{suffix}": float(np.mean([d[name] for d in described])) for name in names})


def pictures(case, samples, n_shown=4):
    """Rows of a figure for the first measurement, {label: {title: picture}}.

    Truth and measurement first, then of ``samples`` {label: (n, h, w, 1)} the first ``n_shown`` and the mean.
    """
    data = {"truth": case.truth[0], "measurement": np.asarray(case.measurements[0].y).reshape(case.task.shape)}
    rows = {
        label: {**{f"sample {i + 1}": s[i] for i in range(n_shown)}, "mean": s.mean(axis=0)}
        for label, s in samples.items()
    }
    return {"data": data, **rows}


def known(run, rows, prefix):
    """Those of the ``rows`` {key: label} of a table that this run or the full run has a number of."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    keys = [*run.as_dict()["numbers"], *full["numbers"]]
    return {row: label for row, label in rows.items() if any(key.startswith(f"{prefix}.{row}.") for key in keys)}


KEYED = {"noise": "noise_stds", "r": "rates"}  # lists of settings by the prefix of their keys


def keyed(prefix, values):
    """``record.keyed`` among the values of the full run."""
    full = record.full_run("discrete_flow") or {"parameters": {}}
    return record.keyed(prefix, values, full["parameters"].get(KEYED[prefix]) or values)


def full_rates(rates):
    """The learning rates ``rates``, or where there are none those of the full run."""
    full = record.full_run("discrete_flow")
    return rates or (full or {"parameters": {}})["parameters"].get("rates") or []
