"""What the flows that are built around another one have in common."""

import flax.struct


@flax.struct.dataclass
class AroundFlow:
    """A flow over the signals of the ``flow`` inside."""

    flow: object

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.flow.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.flow.shape
