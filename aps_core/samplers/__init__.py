"""The rivals of amortized posterior sampling behind one interface: one file for each, made from a task by name."""

from dataclasses import fields
from importlib import import_module

from aps_core.tasks.problem import Task

METHODS = {
    "daps": ("daps", "DAPS", {}),
    "ddrm": ("ddrm", "DDRM", {}),
    "dps": ("dps", "DPS", {}),
    "mcg": ("mcg", "MCG", {}),
    "noise2score": ("noise2score", "Noise2Score", {}),
    "pigdm": ("pigdm", "PiGDM", {}),
    "red-diff": ("red_diff", "REDDiff", {}),
    "score-ald": ("score_ald", "ScoreALD", {}),
    "score-prior": ("score_prior", "DPI", {"prior_term": "ode"}),
    "score-prior-surrogate": ("score_prior", "DPI", {"prior_term": "elbo"}),
    "sde-proj": ("sde_proj", "SDEProj", {}),
}  # name: module, class, what the name says of its settings


def list_samplers():
    """Names that ``make_sampler`` knows; "gaussian" is the closed-form posterior of the Gaussian part of the prior."""
    return sorted([*METHODS, "gaussian"])


def make_sampler(name, task, **settings):
    """The sampler ``name`` of ``task`` with its ``settings``: it has ``sample(key, measurement, n)`` and ``nfe``.

    Raises ValueError for an unknown name or a setting out of range, TypeError for an unknown setting, or an operator
    that the method cannot take.
    """
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task (see aps_core.load_task), got {type(task).__name__}")
    if name == "gaussian":
        if settings:
            raise TypeError(f'sampler "gaussian" has no settings, got {sorted(settings)}')
        from aps_core.posterior import gaussian_posterior  # which imports this package

        return gaussian_posterior(task, **settings)
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"unknown sampler {name!r}; expected one of {list_samplers()}")
    module, cls, implied = METHODS[name]
    sampler = getattr(import_module(f"aps_core.samplers.{module}"), cls)
    expected = [field.name for field in fields(sampler) if field.init and field.name != "task"]
    unknown = sorted(set(settings) - set(expected))
    if unknown:
        raise TypeError(f"sampler {name!r} has no setting {unknown[0]!r}; expected some of {expected}")
    return sampler(task, **{**implied, **settings})
