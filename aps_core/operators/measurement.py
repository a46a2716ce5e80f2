"""Measurements of a signal, and their likelihood, as the operator has it."""

import flax.struct
import jax

from aps_core.checks import measured_array, unmasked


@flax.struct.dataclass
class Measurement:
    """What was measured, and what is known of the operator.

    y: the data, shape ``(*y_shape,)`` or ``(batch, *y_shape)``, in the scale of the signals (noise may leave [0, 1]);
    zero where missing; lists become arrays. mask: 1 where observed and 0 where missing, of the same shape as ``y``; None
    where the operator has no mask. Raises TypeError or ValueError for a list that is no array of numbers.
    """

    y: jax.Array
    mask: jax.Array | None = None

    def __post_init__(self):
        for name in ("y", "mask"):
            value = unmasked(name, getattr(self, name))
            if isinstance(value, list):
                object.__setattr__(self, name, measured_array(name, value))


def simulate(operator, sigma_y, key, x0):
    """One Measurement of one signal ``x0`` of shape ``operator.shape``, see ``Operator.simulate``."""
    return operator.simulate(sigma_y, key, x0)


def log_likelihood(operator, sigma_y, x, measurement):
    """log p(y | x) in nats of one signal and one measurement, see ``Operator.log_likelihood``."""
    return operator.log_likelihood(sigma_y, x, measurement)
