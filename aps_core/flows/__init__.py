"""Conditional flows q(x|y) with an exact density. ``FLOWS`` maps the ``kind`` of a recipe's [flow] table to what builds it."""

from dataclasses import replace

from aps_core.checks import flag, has, number, positive, size, task_like
from aps_core.flows.base import Flow, check_masks_are_told
from aps_core.flows.distilled import DistilledFlow
from aps_core.flows.modal import GaussianBaseFlow
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.flows.subspace import SubspaceFlow
from aps_core.flows.tokens import TokenFlow
from aps_core.flows.universal import UniversalFlow
from aps_core.flows.untold_mask import InferMask
from aps_core.flows.untold_noise import InferNoise
from aps_core.flows.wrappers import ThroughSensor
from aps_core.operators import RandomMask, UnknownMask, UnknownNoise
from aps_core.priors.base import PRIOR_WANTED

__all__ = ["FLOWS", "Flow", "build_flow"]


def _through_sensor(task, flow, sigma_y):
    if not task.operator.saturates:
        raise ValueError(f'flow "through-sensor" is for a saturating sensor, got {task.operator!r}')
    linear = build_flow(replace(task, operator=task.operator.inner, sigma_y=sigma_y), flow)
    return ThroughSensor(linear, task.operator, task.undone_range())


def _infer_mask(task, flow):
    if not isinstance(task.operator, UnknownMask):
        raise ValueError(f'flow "infer-mask" is for an UnknownMask, got {task.operator!r}')
    told = replace(task, operator=RandomMask(task.shape, task.operator.share_missing), extra_check=None)
    return InferMask(build_flow(told, flow), task.prior.gaussian, float(task.sigma_y), task.operator)


def _infer_noise(task, flow):
    if not isinstance(task.operator, UnknownNoise) or not task.operator.inner.diagonal:
        raise ValueError(f'flow "infer-noise" is for an UnknownNoise of denoising or masks, got {task.operator!r}')
    told = replace(task, operator=task.operator.inner, extra_check=None)
    check_masks_are_told("infer-noise", told.operator)
    return InferNoise(build_flow(told, flow), task.prior.gaussian, (task.operator.low, task.operator.high))


FLOWS = {
    "gaussian-base": GaussianBaseFlow.for_task,
    "realnvp": ConditionalRealNVP.for_task,
    "tokens": TokenFlow.for_task,
    "distilled": DistilledFlow.for_task,
    "subspace": SubspaceFlow.for_task,
    "universal": UniversalFlow.for_task,
    "through-sensor": _through_sensor,
    "infer-mask": _infer_mask,
    "infer-noise": _infer_noise,
}


SIZES = {"k", "steps", "width", "depth", "told", "n_bands", "heads", "condition_width", "condition_depth"}
FLAGS = {"use_mask", "shortcut", "conditional", "linear", "copy", "vectorized", "whitened"}
NUMBERS = {"inflate": positive, "offset_std": number}


def _checked(kind, settings):
    """``settings`` of a flow whose sizes are ints. Raises TypeError or ValueError for a value of another kind: a text such as
    "false" would count as true.
    """
    settings = dict(settings)
    for name in settings.keys() & SIZES:
        settings[name] = size(f"flow {kind!r}: {name}", settings[name])
    for name in settings.keys() & FLAGS:
        flag(f"flow {kind!r}: {name}", settings[name])
    for name in settings.keys() & NUMBERS.keys():
        NUMBERS[name](f"flow {kind!r}: {name}", settings[name])
    return settings


def build_flow(task, settings):
    """The untrained flow that ``settings`` (a recipe's [flow] table with its ``kind``) describes, for ``task``.

    "gaussian-base" and "realnvp" act on vectors; "tokens" starts from the Gaussian posterior of any linear operator,
    "distilled" from the estimate of the prior's score network, "universal" likewise with parameters that serve any linear
    operator, "subspace" likewise in the coordinates of a SubspacePrior;
    "through-sensor" is the ``flow`` of the linear problem inside a saturating sensor, with noise ``sigma_y`` there;
    "infer-mask" and "infer-noise" put what a measurement does not tell before a ``flow`` that is told it. Raises
    ValueError for an unknown kind or setting, and for a task that a flow cannot serve.
    """
    if not isinstance(settings, dict):
        raise TypeError(f"flow must be a table, a dict of settings with its kind, got {settings!r:.80}")
    settings = dict(settings)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in FLOWS:
        raise ValueError(f"flow kind must be one of {sorted(FLOWS)}, got {kind!r}")
    settings = _checked(kind, settings)
    task_like(task)
    has("prior", task.prior, ["gaussian"], PRIOR_WANTED)
    if "k" in settings and settings["k"] > (most := task.prior.gaussian.basis.shape[1]):
        raise ValueError(
            f"flow {kind!r}: k must be at most {most}, the modes of the prior's Gaussian, got {settings['k']}"
        )
    try:
        return FLOWS[kind](task, **settings)
    except TypeError as error:
        if "argument" in str(error):
            raise ValueError(f"flow {kind!r} got other settings than expected: {error}") from None
        raise
