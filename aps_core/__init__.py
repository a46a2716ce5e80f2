"""Amortized posterior sampling with diffusion priors: a companion to the APS paper.

Draw posterior samples of a measurement with one network evaluation:

    task = aps_core.load_task("sphere-impute")
    posterior = aps_core.load_posterior("sphere-impute")
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    samples = posterior.sample(jax.random.key(1), measurement, 128)  # (128, 46, 90)

The rest of the package is there for problems of one's own: ``operators``, ``priors``, ``flows``, ``training``, ``samplers``.
"""

from aps_core.metrics.trust import Diagnosis, diagnose
from aps_core.operators import (
    AveragePool,
    BicubicDownsample,
    Composed,
    Convolution,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    Measurement,
    Operator,
    RandomMask,
    SaturatingSensor,
)
from aps_core.posterior import AmortizedPosterior, gaussian_posterior, load_posterior, untrained_posterior
from aps_core.priors.score_function import ScoreFunctionPrior
from aps_core.samplers import list_samplers, make_sampler
from aps_core.samplers.tangent import linearize
from aps_core.tasks import list_tasks, load_task
from aps_core.tasks.problem import Task
from aps_core.training.posterior import train_posterior
from aps_core.weights import WeightsError

__all__ = [
    "AmortizedPosterior",
    "AveragePool",
    "BicubicDownsample",
    "Composed",
    "Convolution",
    "Diagnosis",
    "FixedMask",
    "FourierSubset",
    "GaussianBlur",
    "Identity",
    "Measurement",
    "Operator",
    "RandomMask",
    "SaturatingSensor",
    "ScoreFunctionPrior",
    "Task",
    "WeightsError",
    "diagnose",
    "gaussian_posterior",
    "linearize",
    "list_samplers",
    "list_tasks",
    "load_posterior",
    "load_task",
    "make_sampler",
    "train_posterior",
    "untrained_posterior",
]
