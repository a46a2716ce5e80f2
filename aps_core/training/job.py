"""One training as a value: what is minimized over what, what is watched meanwhile, what comes of it; and how it is run."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import numpy as np

from aps_core import checks, files
from aps_core.training import devices, loop
from aps_core.training.optimizer import Optimizer


@dataclass(frozen=True)
class Job:
    """``loss(params, data, key, progress) -> (value, dict of scalars)`` is minimized over ``params``, see ``loop.fit``.

    evaluate: ``(params, data, key) -> dict`` of what is logged along the way. finish: the averaged parameters and the card
    to what was trained (a prior, a posterior, the parameters themselves). facts: what the card says besides. tree: what
    was trained to the nested dict of arrays that is saved, as ``dtype``. inputs: what the run depends on beside its recipe,
    ready for JSON: a checkpoint made from others is refused.
    """

    loss: Callable
    params: dict
    data: dict
    evaluate: Callable | None = None
    finish: Callable = lambda params, card: params
    facts: dict = field(default_factory=dict)
    tree: Callable = lambda trained: trained
    dtype: type = np.float16
    inputs: dict = field(default_factory=dict)


def run(job, recipe, *, evaluate_every=None, folder=None, budget=None, progress=True):
    """Train ``job`` with the [optimizer] of its ``recipe``: (what was trained, Trained, card).

    evaluate_every: steps between two evaluations, by default those of the recipe, or 200. folder, budget, progress: of
    ``loop.Session``. Errors: see there and ``loop.fit``; TypeError or ValueError for an ``evaluate_every`` that is no count.
    """
    optimizer = Optimizer.of(recipe["optimizer"])
    if evaluate_every is not None:
        checks.count("evaluate_every", evaluate_every)
    watch = loop.Watch(job.evaluate, evaluate_every or recipe.get("evaluate_every", 200))
    inputs = {"recipe": {name: value for name, value in recipe.items() if name != "optimizer"}, **job.inputs}
    session = loop.Session(folder, budget, progress, recipe.get("name", "training"), inputs)
    trained = loop.fit(job.loss, job.params, job.data, optimizer, watch, session)
    card = {**provenance(recipe, trained), **job.facts}
    return job.finish(trained.params, card), trained, card


def provenance(recipe, trained):
    """What every card says of a training run; peak_mib: memory of the process, with all that it did before."""
    peak = devices.peak_mib()
    return {
        "name": recipe.get("name", "unnamed"),
        "recipe": recipe,
        "steps": trained.step,
        "finished": trained.finished,
        "seconds": round(trained.seconds, 1),
        "peak_mib": None if peak is None else round(peak),
        "device": f"{jax.devices()[0].device_kind} ({platform.machine()})",
        "jax": jax.__version__,
        "commit": files.commit()[0] or "unknown",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "validation": trained.history[-1] if trained.history else {},
        "history": [{name: _rounded(value) for name, value in row.items()} for row in trained.history],
    }


def _rounded(value):
    return float(f"{value:.6g}") if isinstance(value, float) else value
