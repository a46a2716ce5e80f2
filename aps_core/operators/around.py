"""What an operator around another, ``inner``, has of it."""

from aps_core.operators.base import Operator


class AroundOperator(Operator):
    """An operator with the shapes, masks and missing entries of the Operator ``inner``."""

    inner: Operator

    @property
    def shape(self):
        """Shape of a signal."""
        return self.inner.shape

    @property
    def y_shape(self):
        """Shape of the data: that of ``inner``."""
        return self.inner.y_shape

    @property
    def random(self):
        """Whether ``inner`` draws a new mask for every measurement."""
        return self.inner.random

    @property
    def share_missing(self):
        """That of ``inner``."""
        return self.inner.share_missing

    def draw(self, key):
        """The mask of ``inner``."""
        return self.inner.draw(key)

    def observed(self, mask=None):
        """Where data of ``inner`` was observed."""
        return self.inner.observed(mask)

    def check_mask(self, mask):
        """As ``inner`` does."""
        self.inner.check_mask(mask)

    def settings(self):
        """What a card says of the operator."""
        return {**super().settings(), "inner": self.inner.settings()}
