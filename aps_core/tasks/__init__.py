"""Inverse problems: an operator, its noise, a prior, and signals to measure; the named ones, and a user's own."""

import inspect
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from aps_core import checks, data, operators
from aps_core.geometry import sphere
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.store import load_prior
from aps_core.tasks.problem import Task


def _operator(shape, missing):
    checks.is_number("mask_fraction", missing)
    return operators.Identity(shape) if missing == 0 else operators.RandomMask(shape, missing)


def gaussian16(sigma_y=0.1, mask_fraction=0.0):
    """16x16 grey patches under the Gaussian fitted to them, 0.01 added to the diagonal: the posterior is known in
    closed form.

    ``signals(split)`` are draws from that Gaussian, so the prior is exact. mask_fraction: share of missing pixels; 0 is
    denoising.
    """
    prior = patches_prior()
    return Task(_operator(prior.shape, mask_fraction), sigma_y, prior, _draws(prior), name="gaussian16")


def _draws(prior):
    """The ``signals`` of a task whose prior is exact: draws of it, 4096 for training, 512 each for validation and test."""
    return partial(_drawn, prior)


def _drawn(prior, split):
    seeds = {"train": 1, "val": 2, "test": 3}
    if split not in seeds:
        raise ValueError(f"unknown split {split!r}; expected one of {sorted(seeds)}")
    return prior.sample(jax.random.key(seeds[split]), 4096 if split == "train" else 512)


def _values(name, split):
    """The ``signals`` of a task on a data set: those of a split."""
    return data.load(name, split).values


def patches_prior():
    """The Gaussian of the 16x16 patches: mean and full covariance of the training patches, 0.01 on the diagonal."""
    values = data.load("patches16", "train").values
    return fit_gaussian(values, n_modes=values[0].size, diagonal=0.01)


def sphere_impute(sigma_y=0.05, mask_fraction=0.6):
    """Monthly mean temperature on the 46x90 sphere, a share ``mask_fraction`` of its cells missing (Sec. 5.1 of the APS
    paper).
    """
    return _imputation("sphere-impute", "ncep-temperature", load_prior("sphere-prior")[0], sigma_y, mask_fraction)


def sphere_fine_impute(sigma_y=0.05, mask_fraction=0.6):
    """As ``sphere_impute`` on the reanalysis' own grid, 73x144 = 10,512 cells.

    Needs its fields (`aps data fetch ncep-temperature-fine`) and, after that, the prior, which is not
    shipped: `aps train recipes/sphere-fine-prior.toml` takes minutes. Raises FileNotFoundError that says so.
    """
    months = data.ncep_fine.SOURCE.name
    data.load(months, "val")  # says what to fetch, before any prior is asked for
    try:
        prior, _ = load_prior("sphere-fine-prior")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; this prior is not shipped: `aps train recipes/sphere-fine-prior.toml` makes it"
        ) from error
    return _imputation("sphere-fine-impute", months, prior, sigma_y, mask_fraction)


def _imputation(name, months, prior, sigma_y, mask_fraction):
    """A task on the fields of the data set ``months``, missing cells drawn anew for each measurement."""
    climatology = data.ncep.monthly_climatology(data.load(months, "train"))
    operator = operators.RandomMask(prior.shape, mask_fraction)
    check = partial(_check_oriented, climatology)
    return Task(operator, sigma_y, prior, partial(_values, months), name, extra_check=check)


def sphere_impute_blind(sigma_y=0.05, levels=(0.3, 0.6), noise_everywhere=False):
    """The fields of ``sphere_impute``, but neither which cells are missing nor how many is told: a share between
    ``levels`` (Fig. 5 of the APS paper). A measurement holds y alone.

    noise_everywhere: False as in the paper, where a missing cell is exactly zero; True where it reads noise.
    """
    told = sphere_impute(sigma_y)
    check = None if noise_everywhere else partial(_check_zeros_oriented, told.extra_check)
    operator = operators.UnknownMask(sphere.SHAPE, *_two("levels", levels), noisy=noise_everywhere)
    return replace(told, operator=operator, name="sphere-impute-blind", extra_check=check)


def sphere_impute_blind_noise(noise_levels=(0.02, 0.1), mask_fraction=0.45):
    """The fields of ``sphere_impute`` in noise whose standard deviation is not told: uniform in its logarithm between
    ``noise_levels``. The task's own ``sigma_y`` is their geometric mean.
    """
    told = sphere_impute(mask_fraction=mask_fraction)
    operator = operators.UnknownNoise(told.operator, *_two("noise_levels", noise_levels))
    low, high = operator.low, operator.high
    return replace(told, operator=operator, sigma_y=float(np.sqrt(low * high)), name="sphere-impute-blind-noise")


def _two(name, values):
    """``values`` as a tuple of two numbers, of which the operator says what they may be. Raises TypeError."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise TypeError(f"{name} must be two numbers, the smaller first, got {values!r:.80}")
    for value in values:
        checks.is_number(name, value)
    return tuple(values)


def _check_zeros_oriented(check, measurement):
    """As ``check``, of the entries that are not zero. Raises ValueError where all are."""
    y = np.asarray(measurement.y)
    if not np.any(y):
        raise ValueError("y is all zero: nothing was observed, expected temperatures where it was")
    check(operators.Measurement(y, (y != 0).astype(np.float32)))


def _check_oriented(climatology, measurement):
    sphere.check_orientation(np.asarray(measurement.y), np.asarray(measurement.mask), climatology)


def mixture2(sigma_y=0.05, operator=None):
    """Two entries under a mixture of three Gaussians, of which the first is measured: where it leaves more than one
    component possible, the posterior has several modes. ``signals(split)`` are draws of the prior. operator: another
    Operator of signals (2,).
    """
    means = [[0.30, 0.25], [0.40, 0.72], [0.75, 0.50]]
    deviations, angles = [(0.11, 0.06), (0.12, 0.06), (0.12, 0.06)], [0.5, -0.4, 1.2]
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    covariances = [turn * np.square(s) @ turn.T for turn, s in zip(turns, deviations, strict=True)]
    prior = gaussian_mixture([0.40, 0.35, 0.25], means, covariances)
    operator = operators.FixedMask(np.array([1.0, 0.0])) if operator is None else operator
    return Task(operator, sigma_y, prior, _draws(prior), name="mixture2", unit_range=False)


def faces_denoise(sigma_y=0.1):
    """32x32 colour faces in white noise (Sec. 5.2 of the APS paper)."""
    return _faces("faces-denoise", operators.Identity(FACE), sigma_y)


def faces_sr2(sigma_y=0.01):
    """32x32 colour faces from the means of their 2x2 blocks."""
    return _faces("faces-sr2", operators.AveragePool(FACE, 2), sigma_y)


def faces_deblur(sigma_y=0.01, blur_std=1.5):
    """32x32 colour faces from a Gaussian blur of ``blur_std`` pixels."""
    return _faces("faces-deblur", operators.GaussianBlur(FACE, blur_std), sigma_y)


def faces_saturated(sigma_y=0.01, blur_std=1.5, gain=2.0):
    """32x32 colour faces from the blur of ``faces_deblur`` through a sensor that saturates, tanh(gain z): not a linear
    operator.
    """
    return _faces("faces-saturated", operators.SaturatingSensor(operators.GaussianBlur(FACE, blur_std), gain), sigma_y)


def cifar10_deblur(sigma_y=0.01, blur_std=1.5):
    """Photographs of things, blurred and noisy as the faces of ``faces_deblur``, under the CIFAR-10 prior."""
    prior, _ = load_prior("cifar10-prior")
    operator = operators.GaussianBlur(prior.shape, blur_std)
    return Task(operator, sigma_y, prior, partial(_values, "photos"), name="cifar10-deblur")


def bunny_inpaint(sigma_y=0.1, mask_fraction=0.3):
    """MNIST digits on the 1889 vertices of the bunny, a share ``mask_fraction`` of them missing (Sec. 5.1 of the APS
    paper).
    """
    prior, _ = load_prior("bunny-prior")
    signals = partial(_values, "bunny-mnist")
    return Task(_operator(prior.shape, mask_fraction), sigma_y, prior, signals, name="bunny-inpaint")


FACE = (32, 32, 3)


def _faces(name, operator, sigma_y):
    """A task on faces: CelebA where the user has brought it, else the embedded draws of the prior."""
    prior, _ = load_prior("faces-prior")
    return Task(operator, sigma_y, prior, partial(_values, "faces"), name=name)


TASKS = {
    "bunny-inpaint": bunny_inpaint,
    "cifar10-deblur": cifar10_deblur,
    "faces-deblur": faces_deblur,
    "faces-denoise": faces_denoise,
    "faces-saturated": faces_saturated,
    "faces-sr2": faces_sr2,
    "gaussian16": gaussian16,
    "mixture2": mixture2,
    "sphere-fine-impute": sphere_fine_impute,
    "sphere-impute": sphere_impute,
    "sphere-impute-blind": sphere_impute_blind,
    "sphere-impute-blind-noise": sphere_impute_blind_noise,
}


def list_tasks():
    """Names that ``load_task`` knows."""
    return sorted(TASKS)


def load_task(name, /, **parameters):
    """The named task; ``parameters`` are those of its function in this module (``sigma_y``, ``mask_fraction``).

    Raises ValueError for an unknown name or a value out of range, TypeError for an unknown parameter.
    """
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"unknown task {name!r}; expected one of {list_tasks()}")
    known = sorted(inspect.signature(TASKS[name]).parameters)
    for parameter, value in parameters.items():
        if parameter not in known:
            raise TypeError(
                f"task {name!r} has no parameter {parameter!r}, got {value!r:.80}; expected some of {known}"
            )
    return TASKS[name](**parameters)
