"""The tangent of an operator that is not linear, at one signal."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators.around import AroundOperator
from aps_core.operators.base import Operator


@dataclass(frozen=True, eq=False)
class Linearized(AroundOperator):
    """A(x) = inner(at) + J (x - at), J the Jacobian of ``inner`` at the signal ``at`` (of its shape): an affine operator.

    Raises TypeError for an ``inner`` that is no Operator or draws masks, ValueError for a signal of another shape or that is
    not finite.
    """

    inner: Operator
    at: np.ndarray
    kind = "linearized"
    linear = True
    data_range = None

    def __post_init__(self):
        if not isinstance(self.inner, Operator) or self.inner.random:
            raise TypeError(f"inner must be an Operator that draws no masks, got {self.inner!r:.80}")
        at = np.array(self.at, np.float64)
        if at.shape != tuple(self.inner.shape) or not np.all(np.isfinite(at)):
            raise ValueError(f"at must be a finite signal of shape {tuple(self.inner.shape)}, got shape {at.shape}")
        at.flags.writeable = False
        object.__setattr__(self, "at", at)

    def __repr__(self):
        return f"Linearized({self.inner!r})"

    def settings(self):
        """It belongs to one measurement, and no card can hold it. Raises TypeError."""
        raise TypeError(
            "a Linearized operator belongs to one measurement; a card holds the settings of its inner operator"
        )

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``."""
        x = jnp.asarray(x)
        at = jnp.asarray(self.at, x.dtype)
        value, moved = jax.jvp(lambda v: self.inner(v, mask), (at,), (x - at,))
        return value + moved
