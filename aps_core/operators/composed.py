"""One linear operator after another: a blur of which a part is then hidden, a shift before pooling."""

from dataclasses import dataclass

from aps_core.operators.base import Operator


@dataclass(frozen=True)
class Composed(Operator):
    """A(x) = outer(inner(x)) of two linear operators that draw no masks.

    inner: an Operator of the signals; outer: an Operator of inner's data, whose shape it has. A FixedMask as ``outer`` hides
    entries of inner's data: they are zero, without noise, as everywhere. Raises TypeError for an operator that is not
    linear or draws masks, ValueError for one of another shape.
    """

    inner: Operator
    outer: Operator
    kind = "composed"

    def __post_init__(self):
        for name in ("inner", "outer"):
            operator = getattr(self, name)
            if (
                not isinstance(operator, Operator)
                or not (operator.linear and operator.additive_noise)
                or operator.random
            ):
                expected = "a linear operator with additive noise that draws no masks"
                raise TypeError(f"{name} must be {expected}, got {operator!r:.80}")
        if tuple(self.outer.shape) != tuple(self.inner.y_shape):
            raise ValueError(
                f"outer has signals of shape {tuple(self.outer.shape)}, expected that of inner's data, "
                f"{tuple(self.inner.y_shape)}"
            )

    @property
    def shape(self):
        """Shape of a signal."""
        return tuple(self.inner.shape)

    @property
    def y_shape(self):
        """Shape of the data: that of ``outer``."""
        return tuple(self.outer.y_shape)

    @property
    def data_range(self):
        """That of ``outer`` where inner's data lie in [0, 1], else None."""
        of_inner = self.inner.data_range
        within = of_inner is not None and of_inner[0] >= 0 and of_inner[1] <= 1 + 1e-9
        return self.outer.data_range if within else None

    @property
    def share_missing(self):
        """That of ``outer``."""
        return self.outer.share_missing

    def draw(self, key):
        """The mask of ``outer``, or None."""
        return self.outer.draw(key)

    def observed(self, mask=None):
        """Where data of ``outer`` was observed."""
        return self.outer.observed(mask)

    def check_mask(self, mask):
        """As ``outer`` does."""
        self.outer.check_mask(mask)

    def __call__(self, x, mask=None):
        """A(x), shape ``y_shape``."""
        return self.outer(self.inner(x), mask)

    def settings(self):
        """What a card says of the operator."""
        return {"kind": self.kind, "inner": self.inner.settings(), "outer": self.outer.settings()}
