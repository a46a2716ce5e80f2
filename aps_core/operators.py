"""Forward operators y = A(x) + noise. Signals have a fixed shape; what an operator draws (a mask) travels with the data."""

from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Measurement:
    """What was measured, and what is known of the operator.

    y: the data, shape ``(*shape,)`` or ``(batch, *shape)``, in the scale of the signals (noise may leave [0, 1]); zero where missing.
    mask: 1 where observed and 0 where missing, of the same shape as ``y``; None where the operator has no mask.
    """

    y: jax.Array
    mask: jax.Array | None = None


@dataclass(frozen=True)
class Identity:
    """A(x) = x: denoising."""

    shape: tuple

    def draw(self, key):
        """Nothing is random: None."""
        del key
        return None

    def __call__(self, x, mask=None):
        """A(x) = x, any leading axes."""
        del mask
        return x

    adjoint = __call__

    def observed(self, mask=None):
        """The diagonal of A^T A, shape ``shape``."""
        del mask
        return jnp.ones(self.shape)


@dataclass(frozen=True)
class RandomMask:
    """A(x) = m * x, where ``round(missing * size)`` entries, drawn anew for every measurement, are missing.

    Raises ValueError when ``missing`` is outside [0, 1) or leaves nothing observed.
    """

    shape: tuple
    missing: float

    def __post_init__(self):
        if not 0 <= self.missing < 1 or self.n_missing >= self.size:
            raise ValueError(f"missing must be a fraction in [0, 1) that leaves something observed, got {self.missing!r}")

    @property
    def size(self):
        """Number of entries of a signal."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def n_missing(self):
        """Number of entries that each mask hides."""
        return round(self.missing * self.size)

    def draw(self, key):
        """A mask, shape ``shape``, float32, exactly ``n_missing`` zeros."""
        hidden = jnp.arange(self.size) < self.n_missing
        return 1.0 - jax.random.permutation(key, hidden).reshape(self.shape).astype(jnp.float32)

    def __call__(self, x, mask):
        """A(x) = mask * x, any leading axes."""
        return mask * x

    adjoint = __call__

    def observed(self, mask):
        """The diagonal of A^T A."""
        return mask


def simulate(operator, sigma_y, key, x0):
    """One measurement of one signal ``x0`` of shape ``operator.shape``: A(x0) + N(0, sigma_y^2), noise on observed entries only."""
    draw_key, noise_key = jax.random.split(key)
    mask = operator.draw(draw_key)
    noise = sigma_y * jax.random.normal(noise_key, operator.shape)
    y = operator(x0, mask) + operator.observed(mask) * noise
    return Measurement(y=y, mask=mask)


def log_likelihood(operator, sigma_y, x, measurement):
    """log N(y; A(x), sigma_y^2 I) over the observed entries, for one signal and one measurement (Eq. 12 with its sign mended)."""
    observed = operator.observed(measurement.mask)
    residual = observed * (measurement.y - operator(x, measurement.mask))  # whatever stands in y where it is missing
    n_observed = jnp.sum(observed)
    return -0.5 * jnp.sum(residual**2) / sigma_y**2 - 0.5 * n_observed * jnp.log(2 * jnp.pi * sigma_y**2)
