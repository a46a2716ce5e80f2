"""What a measurement does not tell: which entries were observed, or how strong the noise is."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from aps_core.checks import fraction, noise, sizes
from aps_core.operators.around import AroundOperator
from aps_core.operators.base import Operator
from aps_core.operators.measurement import Measurement

LEVELS = 31  # values of what is not told, over which a likelihood is averaged


def _ordered(low, high):
    if not low <= high:
        raise ValueError(f"low must be at most high, got low = {low!r} and high = {high!r}")


@dataclass(frozen=True)
class UnknownMask(Operator):
    """Entries are missing, each with probability r, and neither r, uniform in [low, high], nor the mask is told.

    noisy = False, the setting of the APS paper: y = m (x + sigma_y n), a missing entry is exactly zero, and whoever looks
    for zeros knows the mask. noisy = True: y = m x + sigma_y n, and the likelihood is

        p(y | x) = mean over r of prod_i [(1 - r) N(y_i; x_i, sigma_y^2) + r N(y_i; 0, sigma_y^2)].

    A Measurement has no mask. Raises TypeError or ValueError unless 0 <= low <= high < 1.
    """

    shape: tuple
    low: float = 0.3
    high: float = 0.6
    noisy: bool = False
    kind = "unknown-mask"
    linear = False
    additive_noise = False

    def __post_init__(self):
        object.__setattr__(self, "shape", sizes("shape", self.shape))
        fraction("low", self.low)
        fraction("high", self.high)
        _ordered(self.low, self.high)
        if self.high == 1:
            raise ValueError("high must be below 1, got 1: nothing would be observed")
        if not isinstance(self.noisy, bool):
            raise TypeError(f"noisy must be True or False, got {self.noisy!r}")

    @property
    def share_missing(self):
        """Share of the entries that is missing, on average."""
        return (self.low + self.high) / 2

    @property
    def shares(self):
        """The shares r (LEVELS,) over which the likelihood is averaged."""
        return jnp.linspace(self.low, self.high, LEVELS)

    def __call__(self, x, mask=None):
        """What the observed entries show: x itself."""
        del mask
        return x

    def check_mask(self, mask):
        """Nobody is told a mask."""
        if mask is not None:
            raise ValueError(
                "mask is given, but this task does not tell which entries were observed; expected Measurement(y), or the "
                "task that tells the mask"
            )

    def simulate(self, sigma_y, key, x0):
        """One Measurement, without a mask."""
        k_share, k_mask, k_noise = jax.random.split(key, 3)
        share = jax.random.uniform(k_share, minval=self.low, maxval=self.high)
        observed = jax.random.uniform(k_mask, self.shape) >= share
        deviation = sigma_y * jax.random.normal(k_noise, self.shape)
        return Measurement(jnp.where(observed, x0, 0.0) + jnp.where(observed | self.noisy, deviation, 0.0))

    def log_likelihood(self, sigma_y, x, measurement):
        """log p(y | x) in nats; of y with exact zeros, the density of the others times the probability of the mask."""
        y, shares = measurement.y, self.shares.reshape(-1, *(1,) * len(self.shape))
        seen, missing = jnp.log1p(-shares), jnp.log(jnp.maximum(shares, jnp.finfo(jnp.float32).tiny))
        of_signal = norm.logpdf(y, x, sigma_y)
        if self.noisy:
            each = jnp.logaddexp(seen + of_signal, missing + norm.logpdf(y, 0.0, sigma_y))
        else:
            each = jnp.where(y == 0, missing, seen + of_signal)
        return logsumexp(jnp.sum(each, axis=tuple(range(1, each.ndim)))) - jnp.log(LEVELS)


@dataclass(frozen=True)
class UnknownNoise(AroundOperator):
    """The data of ``inner``, with noise whose standard deviation is not told: uniform in its logarithm between ``low``
    and ``high``, one for each measurement.

    The likelihood is the mean of those of LEVELS noise levels. Raises TypeError for an ``inner`` that is no linear
    Operator with such noise, TypeError or ValueError unless 0 < low <= high.
    """

    inner: Operator
    low: float = 0.02
    high: float = 0.1
    kind = "unknown-noise"
    linear = False
    additive_noise = False

    def __post_init__(self):
        if not isinstance(self.inner, Operator) or not (self.inner.linear and self.inner.additive_noise):
            raise TypeError(f"inner must be a linear operator, got {self.inner!r}")
        noise("low", self.low)
        noise("high", self.high)
        _ordered(self.low, self.high)

    @property
    def data_range(self):
        """That of ``inner``."""
        return self.inner.data_range

    def most_noise(self, sigma_y):
        """``high``."""
        del sigma_y
        return self.high

    @property
    def sigmas(self):
        """The noise levels (LEVELS,) over which the likelihood is averaged."""
        return jnp.geomspace(self.low, self.high, LEVELS)

    def __call__(self, x, mask=None):
        """A(x) of ``inner``."""
        return self.inner(x, mask)

    def simulate(self, sigma_y, key, x0):
        """One Measurement, in noise of a level that is drawn for it; ``sigma_y``, the usual level, plays no part."""
        del sigma_y
        k_level, key = jax.random.split(key)
        level = jax.random.uniform(k_level, minval=jnp.log(self.low), maxval=jnp.log(self.high))
        return self.inner.simulate(jnp.exp(level), key, x0)

    def log_likelihood(self, sigma_y, x, measurement):
        """log p(y | x) in nats, averaged over the noise levels."""
        del sigma_y
        each = jax.vmap(lambda s: self.inner.log_likelihood(s, x, measurement))(self.sigmas)
        return logsumexp(each) - jnp.log(LEVELS)
