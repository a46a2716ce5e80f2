"""Semi-amortized inference: a trained flow, trained on for one measurement (Kim et al. 2018; Marino et al. 2018)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from aps_core.checks import count, number, positive
from aps_core.metrics.trust.statistics import has_exact_density
from aps_core.posterior import REFINERS, AmortizedPosterior
from aps_core.tasks.fingerprint import made_for
from aps_core.tasks.problem import Target
from aps_core.training.job import Job, run
from aps_core.training.loop import Watch
from aps_core.training.objective import ReverseDivergence
from aps_core.training.posterior import begun_by, inputs_of

MOST_STEPS = 100_000  # of a refinement that is limited by its seconds


@dataclass(frozen=True)
class Refinement:
    """How long and how a flow is trained on: ``steps`` of Adam, whose rate falls as a cosine from ``learning_rate`` to a
    hundredth, or as many as fit into ``seconds`` of wall-clock time (compiling included), at a rate that stays;
    ``n_samples`` samples each.

    Raises TypeError or ValueError for numbers out of range, and unless one of ``seconds`` and ``steps`` is given.
    """

    seconds: float | None = None
    steps: int | None = None
    learning_rate: float = 3e-4
    n_samples: int = 16
    seed: int = 0

    def __post_init__(self):
        if (self.seconds is None) == (self.steps is None):
            raise ValueError(
                f"give seconds or steps, one of the two, got seconds={self.seconds!r} and steps={self.steps!r}"
            )
        if self.seconds is not None:
            positive("seconds", self.seconds)
        else:
            object.__setattr__(self, "steps", count("steps", self.steps))
        object.__setattr__(self, "n_samples", count("n_samples", self.n_samples))
        object.__setattr__(self, "learning_rate", number("learning_rate", self.learning_rate))

    @property
    def optimizer(self):
        """The [optimizer] of a recipe."""
        long = MOST_STEPS if self.steps is None else self.steps
        return {
            "steps": long,
            "learning_rate": self.learning_rate,
            "warmup": min(10, long // 4),
            "ema": 0.9 if long >= 20 else 0.0,
            "seed": self.seed,
        }


def refine(posterior, measurement, refinement, watch=Watch(), progress=False):
    """``posterior`` trained on for one ``measurement`` as a Refinement says: an AmortizedPosterior, whose ``trained_by``
    says so.

    Objective: the reverse divergence with the path gradient (``training.objective.ReverseDivergence``), its prior term exact where
    the prior has an exact density, else the control variate or the bound. watch: a ``loop.Watch`` whose
    ``evaluate(posterior) -> dict`` goes into the "history" of the result's card. The result is for this measurement: for
    others it is worse than what it came from.

    Raises TypeError or ValueError for a measurement as ``posterior.sample``, for a batch, and for a posterior without
    parameters, such as a closed form.
    """
    if not isinstance(watch, Watch):
        raise TypeError(f"watch must be a Watch, got {watch!r:.80}; expected training.loop.Watch(evaluate, every)")
    task, one = posterior.task, _single(posterior, measurement)
    term, times, at_once = _prior_term(task.prior)
    n_samples, evaluate = refinement.n_samples, watch.evaluate
    divergence = ReverseDivergence(term, n_samples, times, "low-discrepancy", at_once, "path")
    objective = {"kl": "reverse", "prior_term": term, "n_times": times, "n_samples": n_samples, "estimator": "path"}
    recipe = {
        "name": f"{posterior.card.get('name', task.name)}-refined",
        "flow": posterior.card.get("flow", {"kind": type(posterior.flow).__name__}),
        "objective": objective,
        "optimizer": refinement.optimizer,
    }

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
    return run(job, recipe, evaluate_every=watch.every, budget=refinement.seconds, progress=progress)[0]


def _refined_by(posterior, measurement, watch=Watch(), progress=False, **settings):
    """As ``refine``, for settings by name, as ``AmortizedPosterior.refine`` takes them."""
    return refine(posterior, measurement, Refinement(**settings), watch, progress)


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


REFINERS.append(_refined_by)
