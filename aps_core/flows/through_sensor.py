"""Flow for data behind a sensor that saturates: the flow of the linear problem, given the data with the sensor's answer undone."""

import flax.struct


@flax.struct.dataclass
class ThroughSensor:
    """q(x | y) = q_linear(x | undo(y)), y = sensor(A x) + noise.

    linear: a flow for A x + N(0, sigma^2 I) with one noise level sigma, where undone data have sigma_y / sensor'(A x), much in the bright
    and little in the dark: the closed form of ``linear`` is no longer a posterior, but a start from which training learns the rest.
    """

    linear: object
    sensor: object = flax.struct.field(pytree_node=False)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.linear.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.linear.shape

    def init(self, key):
        """Parameters of ``linear``."""
        return self.linear.init(key)

    def context(self, measurement):
        """That of ``linear`` for the undone data."""
        return self.linear.context(measurement.replace(y=self.sensor.undo(measurement.y)))

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        return self.linear.forward(params, z, context)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        return self.linear.inverse(params, x, context)
