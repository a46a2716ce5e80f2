"""Flows around another flow: other base noise, and data behind a sensor that saturates."""

from typing import Any

import flax.struct
import jax.numpy as jnp

from aps_core.checks import positive
from aps_core.flows.base import Flow


@flax.struct.dataclass
class AroundFlow(Flow):
    """A flow over the signals of the ``flow`` inside."""

    flow: Flow

    @property
    def serves_any_noise(self):
        """As the flow inside."""
        return self.flow.serves_any_noise

    @property
    def serves_any_mask(self):
        """As the flow inside."""
        return self.flow.serves_any_mask

    @property
    def serves_any_operator(self):
        """As the flow inside."""
        return self.flow.serves_any_operator

    def outside_of(self, family):
        """As the flow inside."""
        return self.flow.outside_of(family)

    def with_noise(self, sigma_y):
        """Around the flow inside for another noise level."""
        return self.replace(flow=self.flow.with_noise(sigma_y))

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.flow.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.flow.shape

    def init(self, key):
        """Parameters of the flow inside."""
        return self.flow.init(key)

    def context(self, measurement):
        """What the flow inside sees of one measurement."""
        return self.flow.context(measurement)

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz|."""
        return self.flow.forward(params, z, context)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx|."""
        return self.flow.inverse(params, x, context)


@flax.struct.dataclass
class TemperedFlow(AroundFlow):
    """x = f(temperature z; y): the flow f with noise of another standard deviation (Kingma & Dhariwal 2018, Section 6).

    Below 1 its samples lie nearer to the centre of q(x|y) and are smoother; its density is exact, but it is no longer
    trained to be a posterior.
    """

    temperature: float
    of_recipes = False

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        x, log_det = self.flow.forward(params, self.temperature * z, context)
        return x, log_det + self.dim * jnp.log(self.temperature)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        z, log_det = self.flow.inverse(params, x, context)
        return z / self.temperature, log_det - self.dim * jnp.log(self.temperature)


def tempered(posterior, temperature):
    """An AmortizedPosterior whose noise is multiplied by ``temperature`` > 0. Its card names no weights any more, since it is
    not what they are. Raises ValueError naming another temperature.
    """
    positive("temperature", temperature)
    card = {name: value for name, value in posterior.card.items() if name not in ("name", "sha256")}
    flow = TemperedFlow(posterior.flow, temperature)
    return type(posterior)(posterior.task, flow, posterior.params, {**card, "temperature": float(temperature)})


@flax.struct.dataclass
class ThroughSensor(Flow):
    """q(x | y) = q_linear(x | undo(y)), y = sensor(A x) + noise.

    linear: a flow for A x + N(0, sigma^2 I) with one noise level sigma, where undone data have sigma_y / sensor'(A x),
    much in the bright and little in the dark: the closed form of ``linear`` is no longer a posterior, but a start from
    which training learns the rest.
    """

    linear: Flow
    sensor: Any = flax.struct.field(pytree_node=False)
    ends: tuple[float, float] | None = flax.struct.field(pytree_node=False, default=None)  # see SaturatingSensor.undo

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
        return self.linear.context(measurement.replace(y=self.sensor.undo(measurement.y, self.ends)))

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        return self.linear.forward(params, z, context)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        return self.linear.inverse(params, x, context)
