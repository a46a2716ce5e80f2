"""A sensor that saturates: a non-linear forward operator."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from aps_core.checks import positive
from aps_core.operators.around import AroundOperator
from aps_core.operators.base import Operator
from aps_core.operators.extent import range_of


@dataclass(frozen=True)
class SaturatingSensor(AroundOperator):
    """A(x) = threshold tanh(gain (inner x) / threshold): linear with slope ``gain`` where dark, never brighter than
    ``threshold``.

    inner: a linear operator, with its mask and its shapes. Raises TypeError for one that is not linear, ValueError
    (TypeError) for a ``gain`` or ``threshold`` that is not positive (a number).
    """

    inner: Operator
    gain: float = 2.0
    threshold: float = 1.0
    kind = "saturating-sensor"
    saturates = True
    linear = False

    def __post_init__(self):
        if not isinstance(self.inner, Operator) or not (self.inner.linear and self.inner.additive_noise):
            raise TypeError(f"inner must be a linear operator with additive noise, got {self.inner!r}")
        positive("gain", self.gain)
        positive("threshold", self.threshold)

    @property
    def data_range(self):
        """That of ``inner``, saturated."""
        ends = range_of(self.inner)
        return None if ends is None else tuple(float(self.response(end)) for end in ends)

    def response(self, z):
        """The sensor's answer to the linear data ``z``."""
        return self.threshold * jnp.tanh(self.gain / self.threshold * z)

    def undo(self, y, ends=None):
        """The linear data that the sensor answers with ``y``, (threshold / gain) artanh(y / threshold); kept to ``ends``,
        (low, high), and a quarter of their distance more on each side, since noise may lie beyond every answer.

        ends: by default the range of ``inner`` for signals in [0, 1] (``extent.range_of``); ``Task.undone_range`` has that
        of a task's signals. Raises ValueError where neither is known.
        """
        ends = range_of(self.inner) if ends is None else ends
        if ends is None:
            name = self.inner.kind or type(self.inner).__name__
            raise ValueError(
                f"inner {name!r} has no data_range to which undone data could be kept; expected data_range = (low, high), "
                "the extremes of its data for signals in [0, 1]"
            )
        bounded = np.all(np.isfinite(ends))
        margin = (ends[1] - ends[0]) / 4 if bounded else 0.0
        # artanh is infinite at the threshold, which rounding reaches before the range ends where the sensor is steep
        most = 1.0 if bounded else 1 - 4 * jnp.finfo(jnp.result_type(y, jnp.float32)).eps
        undone = self.threshold / self.gain * jnp.arctanh(jnp.clip(y / self.threshold, -most, most))
        return jnp.clip(undone, ends[0] - margin, ends[1] + margin)

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``; zero where ``inner`` hides."""
        return self.response(self.inner(x, mask))
