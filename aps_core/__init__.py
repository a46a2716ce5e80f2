"""Amortized posterior sampling with diffusion priors: a companion to the APS paper.

    task = aps_core.load_task("sphere-impute")
    posterior = aps_core.load_posterior("sphere-impute")
    measurement = task.measure(key, task.signals("test")[0])
    samples = posterior.sample(key, measurement, 128)  # (128, 46, 90)
"""

from aps_core.aps import AmortizedPosterior
from aps_core.operators import (
    AveragePool, BicubicDownsample, FixedMask, FourierSubset, GaussianBlur, Identity, Measurement, RandomMask, SaturatingSensor,
)  # fmt: skip
from aps_core.posterior import gaussian_posterior, load_posterior, untrained_posterior
from aps_core.recipes import train_posterior
from aps_core.samplers import list_samplers, make_sampler
from aps_core.tasks import Task, list_tasks, load_task
from aps_core.weights import WeightsError

__all__ = [
    "AmortizedPosterior", "AveragePool", "BicubicDownsample", "FixedMask", "FourierSubset", "GaussianBlur", "Identity", "Measurement",
    "RandomMask", "SaturatingSensor", "Task", "WeightsError",
    "gaussian_posterior", "list_samplers", "list_tasks", "load_posterior", "load_task", "make_sampler", "train_posterior",
    "untrained_posterior",
]  # fmt: skip
