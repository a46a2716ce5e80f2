"""Inverse problems: an operator, its noise, a prior, and signals to measure; the named ones, and a user's own."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data, geometry, operators
from aps_core.checks import check_measurement, positive
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.store import load_prior


@dataclass(frozen=True)
class Task:
    """y = A(x0) + N(0, sigma_y^2) with x0 from ``prior``.

    operator: an Operator (see aps_core.operators) of signals of ``operator.shape`` and data of ``operator.y_shape``.
    sigma_y: noise standard deviation in the scale of the signals, > 0.
    prior: a GaussianPrior or a ScorePrior over signals of the operator's shape.
    signals: an array (n, *shape), or a function of the split's name ("train", "val", "test") that returns one.
    unit_range: signals lie in [0, 1], so y far outside what A makes of them is refused as being in another scale; False for signals
    of any range.
    extra_check: optional function of a single measurement that raises ValueError for input of the wrong kind.
    """

    operator: object
    sigma_y: float
    prior: object
    signals: Callable = field(repr=False)
    name: str = "custom"
    unit_range: bool = True
    extra_check: Callable | None = field(default=None, repr=False)

    def __post_init__(self):
        positive("sigma_y", self.sigma_y)
        if tuple(self.prior.shape) != tuple(self.operator.shape):
            raise ValueError(f"prior has signals of shape {self.prior.shape}, the operator of shape {self.operator.shape}")
        if not callable(self.signals):
            values = jnp.asarray(self.signals)
            if values.shape[1:] != tuple(self.shape):
                raise ValueError(f"signals must have shape (n, {', '.join(map(str, self.shape))}), got {values.shape}")
            object.__setattr__(self, "signals", lambda split, v=values: v)

    @property
    def shape(self):
        """Shape of a signal."""
        return tuple(self.operator.shape)

    @property
    def y_shape(self):
        """Shape of the data of one signal."""
        return tuple(self.operator.y_shape)

    def measure(self, key, x0):
        """Simulate Measurement(s) of ``x0`` (*shape,) or (batch, *shape): a new mask and new noise for each."""
        x0 = jnp.asarray(x0)
        if x0.shape == self.shape:
            return operators.simulate(self.operator, self.sigma_y, key, x0)
        if x0.shape[1:] != self.shape:
            raise ValueError(f"x0 must have shape {self.shape} or (batch, *{self.shape}), got {x0.shape}")
        keys = jax.random.split(key, x0.shape[0])
        return jax.vmap(lambda k, x: operators.simulate(self.operator, self.sigma_y, k, x))(keys, x0)

    def check(self, measurement):
        """Raise TypeError or ValueError when ``measurement`` cannot be one of this task."""
        check_measurement(measurement, self.operator, self.sigma_y, self.unit_range, self.extra_check)

    def log_likelihood(self, x, measurement):
        """log p(y | x) in nats for one signal and one measurement."""
        return operators.log_likelihood(self.operator, self.sigma_y, x, measurement)


def _operator(shape, missing):
    return operators.Identity(shape) if missing == 0 else operators.RandomMask(shape, missing)


def gaussian16(sigma_y=0.1, mask_fraction=0.0):
    """16x16 grey patches under the Gaussian fitted to them, 0.01 added to the diagonal: the posterior is known in closed form.

    ``signals(split)`` are draws from that Gaussian, so the prior is exact. mask_fraction: share of missing pixels; 0 is denoising.
    """
    prior = patches_prior()
    return Task(_operator(prior.shape, mask_fraction), sigma_y, prior, _draws(prior), name="gaussian16")


def _draws(prior):
    """The ``signals`` of a task whose prior is exact: draws of it, 4096 for training, 512 each for validation and test."""
    seeds = {"train": 1, "val": 2, "test": 3}

    def signals(split):
        if split not in seeds:
            raise ValueError(f"unknown split {split!r}; expected one of {sorted(seeds)}")
        return prior.sample(jax.random.key(seeds[split]), 4096 if split == "train" else 512)

    return signals


def patches_prior():
    """The Gaussian of the 16x16 patches: mean and full covariance of the training patches, 0.01 on the diagonal."""
    values = data.load("patches16", "train").values
    return fit_gaussian(values, n_modes=values[0].size, diagonal=0.01)


def sphere_impute(sigma_y=0.05, mask_fraction=0.6):
    """Monthly mean temperature on the 46x90 sphere, a share ``mask_fraction`` of its cells missing (Sec. 5.1 of the APS paper)."""
    prior, _ = load_prior("sphere-prior")
    climatology = data.ncep.monthly_climatology(data.load("ncep-temperature", "train"))

    def extra_check(measurement):
        geometry.check_orientation(np.asarray(measurement.y), np.asarray(measurement.mask), climatology)

    def signals(split):
        return data.load("ncep-temperature", split).values

    operator = operators.RandomMask(geometry.SHAPE, mask_fraction)
    return Task(operator, sigma_y, prior, signals, name="sphere-impute", extra_check=extra_check)


def mixture2(sigma_y=0.05, operator=None):
    """Two entries under a mixture of three Gaussians, of which the first is measured: where it leaves more than one component possible,
    the posterior has several modes. ``signals(split)`` are draws of the prior. operator: another Operator of signals (2,).
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
    """32x32 colour faces from the blur of ``faces_deblur`` through a sensor that saturates, tanh(gain z): not a linear operator."""
    return _faces("faces-saturated", operators.SaturatingSensor(operators.GaussianBlur(FACE, blur_std), gain), sigma_y)


def cifar10_deblur(sigma_y=0.01, blur_std=1.5):
    """Photographs of things, blurred and noisy as the faces of ``faces_deblur``, under the CIFAR-10 prior."""
    prior, _ = load_prior("cifar10-prior")
    operator = operators.GaussianBlur(prior.shape, blur_std)
    return Task(operator, sigma_y, prior, lambda split: data.load("photos", split).values, name="cifar10-deblur")


def bunny_inpaint(sigma_y=0.1, mask_fraction=0.3):
    """MNIST digits on the 1889 vertices of the bunny, a share ``mask_fraction`` of them missing (Sec. 5.1 of the APS paper)."""
    prior, _ = load_prior("bunny-prior")

    def signals(split):
        return data.load("bunny-mnist", split).values

    return Task(_operator(prior.shape, mask_fraction), sigma_y, prior, signals, name="bunny-inpaint")


FACE = (32, 32, 3)


def _faces(name, operator, sigma_y):
    """A task on faces: CelebA where the user has brought it, else the embedded draws of the prior."""
    prior, _ = load_prior("faces-prior")
    return Task(operator, sigma_y, prior, lambda split: data.load("faces", split).values, name=name)


TASKS = {
    "bunny-inpaint": bunny_inpaint, "cifar10-deblur": cifar10_deblur, "faces-deblur": faces_deblur, "faces-denoise": faces_denoise,
    "faces-saturated": faces_saturated, "faces-sr2": faces_sr2, "gaussian16": gaussian16, "mixture2": mixture2, "sphere-impute": sphere_impute,
}  # fmt: skip


def list_tasks():
    """Names that ``load_task`` knows."""
    return sorted(TASKS)


def load_task(name, **parameters):
    """The named task; ``parameters`` are those of its function in this module (``sigma_y``, ``mask_fraction``).

    Raises ValueError for an unknown name or a value out of range, TypeError for an unknown parameter.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; expected one of {list_tasks()}")
    try:
        return TASKS[name](**parameters)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise TypeError(f"task {name!r}: {error}") from None
        raise
