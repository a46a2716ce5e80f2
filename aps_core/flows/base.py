"""The contract of flows q(x|y), and the standard normal that each of them starts from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Flow:
    """A conditional flow with an exact density: x = f(z; y) for z ~ N(0, I), invertible in z.

    A subclass is a ``flax.struct`` dataclass: its arrays are traced, its sizes are static, and its trained parameters are
    not in it but given to every call. It has

    - ``dim`` and ``shape``: number of entries, and shape, of a signal;
    - ``init(key) -> params``: parameters before any training;
    - ``context(measurement)``: everything that depends on one Measurement alone, computed once for all samples;
    - ``forward(params, z, context) -> (x, log|dx/dz|)`` for one z (d,), x flat (d,);
    - ``inverse(params, x, context) -> (z, log|dz/dx|)``, its exact inverse;
    - ``for_task(task, **settings)``: the untrained flow of a Task, settings being a recipe's [flow] table. Raises ValueError
      for a task that it cannot serve. Its word in ``flows.FLOWS`` makes it known to recipes.

    serves_any_noise, serves_any_mask, serves_any_operator: whether trained weights may be asked for another noise level, for
    other missing entries, or for another linear operator, than those they were trained for, because the networks see them in
    the Gaussian posterior.

    has_modal_context: ``k`` coupled modes, ``modal_context(posterior)``, and ``modal_forward`` and ``modal_inverse`` in them.

    Every flow passes the same tests: round trip, and log-determinant against automatic differentiation.
    """

    dim: Any
    shape: Any
    init: Callable[..., Any]
    context: Callable[..., Any]
    forward: Callable[..., Any]
    inverse: Callable[..., Any]
    replace: Callable[..., Any]  # of every flax.struct dataclass
    serves_any_noise = False
    serves_any_mask = False
    serves_any_operator = False
    has_modal_context = False
    of_recipes = True  # whether a recipe's [flow] table can say all that it is

    def outside_of(self, family):
        """Why the operator lies outside the ``family`` of operators that a card names, in words; None for flows of one."""
        del family

    def with_noise(self, sigma_y):
        """The flow for another noise level, with everything that depends on it computed anew.

        Raises ValueError where that cannot be done from what the flow holds.
        """
        raise ValueError(
            f"{type(self).__name__} was made for one noise level and cannot be asked for sigma_y = {sigma_y}: "
            "make the flow of a task with that noise, and train it"
        )


def check_masks_are_told(kind, operator):
    """Raise ValueError unless a measurement's mask says all that ``operator``, diagonal, hides: the flow ``kind`` knows what
    is missing from there alone.
    """
    mask = operator.draw(jax.random.key(0))
    told = jnp.ones(operator.y_shape) if mask is None else mask
    if not np.array_equal(operator.observed(mask), told):
        raise ValueError(
            f"flow {kind!r} takes what is missing from the mask of the measurement, but {type(operator).__name__} hides entries "
            'that its draw does not say; expected draw to return what observed does, as FixedMask, or flow "tokens"'
        )


def log_standard_normal(z):
    """log N(z; 0, I) of one z (d,)."""
    return -0.5 * (jnp.sum(z**2) + z.size * jnp.log(2 * jnp.pi))
