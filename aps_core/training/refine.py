"""Semi-amortized inference: a trained flow, trained on for one measurement (Kim et al. 2018; Marino et al. 2018)."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from aps_core.checks import count, number, positive
from aps_core.fingerprint import made_for
from aps_core.metrics.trust.statistics import has_exact_density
from aps_core.objective import ReverseDivergence, Target
from aps_core.posterior import REFINERS, AmortizedPosterior
from aps_core.training.job import Job, run
from aps_core.training.loop import Watch
from aps_core.training.posterior import begun_by, inputs_of

MOST_STEPS = 100_000  # of a refinement that is limited by its seconds


def refine(
    posterior,
    measurement,
    seconds=None,
    steps=None,
    *,
    learning_rate=3e-4,
    n_samples=16,
    seed=0,
    watch=Watch(),
    progress=False,
):
    """``posterior`` trained on for one ``measurement``: an AmortizedPosterior, whose ``trained_by`` says so.

    ``steps`` of Adam, whose rate falls as a cosine from ``learning_rate`` to a hundredth, or as many as fit into
    ``seconds`` of wall-clock time (compiling included), at a rate that stays. ``n_samples`` samples each. Objective:
    the reverse divergence with the path gradient (``objective.ReverseDivergence``), its prior term exact where the
    prior has an exact density, else the control variate or the bound. watch: a ``loop.Watch`` whose
    ``evaluate(posterior) -> dict`` goes into the "history" of the result's card. The result is for this measurement: for
    others it is worse than what it came from.

    Raises TypeError or ValueError for a measurement as ``posterior.sample``, for a batch, for numbers out of range,
    unless one of ``seconds`` and ``steps`` is given, and for a posterior without parameters, such as a closed form.
    """
    if (seconds is None) == (steps is None):
        raise ValueError(f"give seconds or steps, one of the two, got seconds={seconds!r} and steps={steps!r}")
    if seconds is not None:
        positive("seconds", seconds)
    else:
        steps = count("steps", steps)
    if not isinstance(watch, Watch):
        raise TypeError(f"watch must be a Watch, got {watch!r:.80}; expected training.loop.Watch(evaluate, every)")
    task, one = posterior.task, _single(posterior, measurement)
    term, times, at_once = _prior_term(task.prior)
    objective = {"kl": "reverse", "prior_term": term, "n_times": times, "n_samples": count("n_samples", n_samples)}
    recipe = {
        "name": f"{posterior.card.get('name', task.name)}-refined",
        "flow": posterior.card.get("flow", {"kind": type(posterior.flow).__name__}),
        "objective": {**objective, "estimator": "path"},
        "optimizer": _optimizer(steps, number("learning_rate", learning_rate), seed),
    }
    evaluate, divergence = watch.evaluate, ReverseDivergence(term, n_samples, times, "low-discrepancy", at_once, "path")

    def loss(params, data, key, progress):
        target = Target(task.operator, task.sigma_y, data["prior"])
        value, parts = divergence(data["flow"], params, target, key, data["measurement"], progress)
        return value / data["flow"].dim, parts

    job = Job(
        loss,
        posterior.params,
        {"flow": posterior.flow, "prior": task.prior, "measurement": jax.tree.map(jnp.asarray, one)},
        evaluate and (lambda params, data, key: evaluate(replace(posterior, params=params))),
        finish=lambda params, card: AmortizedPosterior(task, posterior.flow, params, card),
        facts={"task": task.name, "flow": recipe["flow"], "made_for": made_for(task), **begun_by(posterior)},
        inputs=inputs_of(task, posterior, measurement),
    )
    return run(job, recipe, evaluate_every=watch.every, budget=seconds, progress=progress)[0]


def _single(posterior, measurement):
    """The one ``measurement`` as a batch. Raises as ``refine``."""
    batched, one = posterior.task.batch(measurement)
    if batched:
        raise ValueError(f"measurement must be a single one, got a batch of {len(measurement.y)}")
    if not jax.tree.leaves(posterior.params):
        raise ValueError(f"posterior must have parameters to train, got {posterior!r}")
    return one


def _prior_term(prior):
    """(term of ``priors.terms``, diffusion times of each sample, times side by side)."""
    if has_exact_density(prior):
        return "exact", 1, None
    return ("control-variate", 4, 1) if prior.has_log_ratio else ("elbo", 4, None)


def _optimizer(steps, learning_rate, seed):
    long = MOST_STEPS if steps is None else steps
    return {
        "steps": long,
        "learning_rate": learning_rate,
        "warmup": min(10, long // 4),
        "ema": 0.9 if long >= 20 else 0.0,
        "seed": seed,
    }


REFINERS.append(refine)
