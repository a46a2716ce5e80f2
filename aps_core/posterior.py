"""Trained posteriors by name."""

import jax

from aps_core import weights as weights_file
from aps_core.aps import AmortizedPosterior
from aps_core.recipes import PROTOCOLS, build_flow
from aps_core.samplers.gaussian import closed_form
from aps_core.tasks import Task, load_task


def load_posterior(task, protocol="held-out", weights=None):
    """The trained q(x | y) of ``task``.

    task: a name (see ``list_tasks``) or a Task, so that its noise or mask fraction may differ from those of training.
    protocol: "held-out" (trained on measurements of training signals) or "paper" (on measurements of the test signals).
    weights: name or path of a weights file; by default "<task>-<protocol>".

    Raises ValueError for an unknown task or protocol, FileNotFoundError or WeightsError for weights that are missing or altered,
    and WeightsError for weights of another task.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {sorted(PROTOCOLS)}, got {protocol!r}")
    task = task if isinstance(task, Task) else load_task(task)
    return _load(task, weights or f"{task.name}-{protocol}")


def _load(task, name):
    params, card = weights_file.load(name)
    if card.get("task") != task.name:
        raise weights_file.WeightsError(f"weights {str(name)!r} are of task {card.get('task')!r}, not of {task.name!r}")
    return AmortizedPosterior(task, build_flow(task, card["flow"]), params, card)


def gaussian_posterior(task):
    """The closed-form posterior under the Gaussian part of the task's prior, behind the same interface; nothing is trained.

    For any linear operator; one whose A^T A is not diagonal is factorized here, so keep the result. Raises TypeError for others.
    """
    return AmortizedPosterior(task, closed_form(task.prior.gaussian, task.operator, float(task.sigma_y)), {})


def untrained_posterior(task, flow, seed=0):
    """The posterior of an untrained flow; ``flow`` is a recipe's [flow] table or a trained posterior's ``card["flow"]``."""
    flow = build_flow(task, flow)
    return AmortizedPosterior(task, flow, flow.init(jax.random.key(seed)))
