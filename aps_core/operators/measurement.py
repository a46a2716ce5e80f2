"""Measurements of a signal and their likelihood: y = A(x) + N(0, sigma_y^2)."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Measurement:
    """What was measured, and what is known of the operator.

    y: the data, shape ``(*y_shape,)`` or ``(batch, *y_shape)``, in the scale of the signals (noise may leave [0, 1]); zero where missing.
    mask: 1 where observed and 0 where missing, of the same shape as ``y``; None where the operator has no mask.
    """

    y: jax.Array
    mask: jax.Array | None = None


def simulate(operator, sigma_y, key, x0):
    """One measurement of one signal ``x0`` of shape ``operator.shape``: A(x0) + N(0, sigma_y^2), noise on observed entries only."""
    draw_key, noise_key = jax.random.split(key)
    mask = operator.draw(draw_key)
    noise = sigma_y * jax.random.normal(noise_key, operator.y_shape)
    y = operator(x0, mask) + operator.observed(mask) * noise
    return Measurement(y=y, mask=mask)


def log_likelihood(operator, sigma_y, x, measurement):
    """log N(y; A(x), sigma_y^2 I) over the observed entries, for one signal and one measurement (Eq. 12 with its sign mended)."""
    observed = operator.observed(measurement.mask)
    residual = observed * (measurement.y - operator(x, measurement.mask))  # whatever stands in y where it is missing
    n_observed = jnp.sum(observed)
    return -0.5 * jnp.sum(residual**2) / sigma_y**2 - 0.5 * n_observed * jnp.log(2 * jnp.pi * sigma_y**2)
