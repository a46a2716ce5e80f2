"""Corrections of a flow where the posterior is known, and refinement beside a flow that is fitted to one measurement."""

import jax
import numpy as np

from aps_book.record.labels import label_of
from aps_core.flows.wrappers import tempered
from aps_core.metrics.trust import importance, latent_mala, metropolis
from aps_core.training.loop import Watch
from aps_core.training.posterior import train_posterior

TRAINED = "gaussian16-realnvp-denoise"
LABELS = {"trained": label_of(TRAINED), "narrow": "the same, its noise too small"}
NARROW = 0.8  # factor of the noise of a flow that is wrong on purpose
METHODS = {"": "importance weights", "_metropolis": "independence Metropolis", "_mala": "MALA in its latent space"}
OWN_RATE, OWN_WARMUP = 3e-4, 100  # of a flow that starts untrained: what starts more quickly diverges


def rows():
    """Labels of the rows of a table of corrections."""
    return {flow + method: f"{label}, {said}" for flow, label in LABELS.items() for method, said in METHODS.items()}


def wrong_on_purpose(posterior):
    """The posterior with its noise made smaller by NARROW: too sure of itself."""
    return tempered(posterior, NARROW)


def flows(posterior):
    """By row, the posterior and ``wrong_on_purpose``; both tempered, so that one compiled program serves both."""
    return {"trained": tempered(posterior, 1.0), "narrow": wrong_on_purpose(posterior)}


def exact_moments(closed, measurement):
    """Mean (d,) and standard deviation (d,) of a closed-form posterior."""
    context = closed.flow.context(measurement)
    return np.asarray(context.mean, np.float64), np.asarray(context.marginal_std, np.float64)


def correct(run, row, posterior, measurement, truth, n, n_chains, steps, seed=0):
    """Keep what importance weights of ``n`` samples, and Metropolis and Langevin steps of ``n_chains`` chains, make of a
    posterior whose mean and standard deviations ``truth`` (d,) are known: k-hat, effective share of the samples,
    acceptance, the rms error of the mean before and after, and the standard deviation after, in posterior standard
    deviations.
    """
    key = jax.random.key(seed)
    found = {
        "": importance(posterior, key, measurement, n),
        "_metropolis": metropolis(posterior, key, measurement, n_chains, steps),
        "_mala": latent_mala(posterior, key, measurement, n_chains, steps, steps),
    }
    mean, std = truth
    plain = (np.asarray(found[""].samples, np.float64).mean(axis=0).ravel() - mean) / std
    run.number(f"correct.{row}.plain", np.sqrt(np.mean(plain**2)))
    for method, one in found.items():
        prefix = f"correct.{row}{method}"
        run.number(f"{prefix}.ess", 100 * one.ess / len(one.samples), unit="%")
        for name, value in (("k", one.pareto_k), ("acceptance", 100 * one.acceptance), ("drift", one.drift)):
            if np.isfinite(value):
                run.number(f"{prefix}.{name}", value, unit="%" if name == "acceptance" else None)
        run.number(f"{prefix}.spread", np.mean(_spread(one) / std))
        for name, error in (("weighted", one.mean().ravel() - mean), ("expected", one.mean_error().ravel())):
            run.number(f"{prefix}.{name}", np.sqrt(np.mean((error / std) ** 2)))


def _spread(correction):
    """Standard deviation (d,) of the samples of a Correction with their weights."""
    weights, x = np.exp(correction.log_weights), np.asarray(correction.samples, np.float64)
    x = x.reshape(len(x), -1) - correction.mean().ravel()
    return np.sqrt(weights @ x**2 / max(1 - np.sum(weights**2), 1e-12))


def refined(posterior, closed, measurement, steps, every, seed=0):
    """(steps, KL, standard error, seconds) along a refinement of ``posterior`` for one measurement, KL in nats to the
    closed form, seconds with compilation.
    """
    watch = Watch(lambda now: _divergence(now, closed, measurement, seed), every)
    return _along(posterior.refine(measurement, steps=steps, watch=watch).card)


def of_its_own(posterior, closed, measurement, steps, every, seed=0):
    """As ``refined``, of a flow of the same kind that begins untrained and that the measurement alone trains."""
    recipe = {
        "flow": posterior.card["flow"],
        "objective": {"prior_term": "exact", "estimator": "path", "batch": 16},
        "optimizer": {
            "steps": steps,
            "learning_rate": OWN_RATE,
            "warmup": min(OWN_WARMUP, steps // 4),
            "ema": 0.9,
            "seed": seed,
        },
    }
    watched = lambda now, key: _divergence(now, closed, measurement, seed)  # noqa: E731
    own, _ = train_posterior(
        posterior.task, recipe, measurement=measurement, evaluate=watched, evaluate_every=every, progress=False
    )
    return _along(own.card)


def _divergence(posterior, closed, measurement, seed, n=256):
    """KL of a posterior from the closed form for one measurement, in nats, with its standard error over n samples."""
    x, log_q = posterior.sample_and_log_prob(jax.random.key(seed), measurement, n)
    away = np.asarray(log_q - closed.log_prob(x, measurement), np.float64)
    return {"kl": float(away.mean()), "kl_se": float(away.std(ddof=1) / np.sqrt(n))}


def _along(card):
    return tuple(np.array([row[name] for row in card["history"]]) for name in ("step", "kl", "kl_se", "seconds"))


def without_compiling(steps, seconds):
    """(seconds (k,) of computing alone, those of compiling): of ``steps`` (k,) logged at ``seconds``, of which the first
    hold the compilation.
    """
    per_step = (seconds[-1] - seconds[1]) / (steps[-1] - steps[1])
    return per_step * steps, max(seconds[-1] - per_step * steps[-1], 0.0)


def refinement_chart(curves):
    """Arguments of the chart: KL against seconds without compiling, of {label: what ``refined`` gives}; what stands before
    the first step is drawn at its end, since the axis is logarithmic.
    """
    points = {}
    for label, (steps, kl, se, seconds) in curves.items():
        points[label] = (without_compiling(np.maximum(steps, 1), seconds)[0], kl, se)
    return {
        "lines": {label: (x, y) for label, (x, y, _) in points.items()},
        "points": points,
        "xlabel": "seconds for this measurement, compiling apart",
        "ylabel": "KL (nats)",
        "log_y": True,
        "log_x": True,
    }
