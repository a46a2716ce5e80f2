"""A flow whose base noise is narrower or wider than the one that it was trained with."""

import flax.struct
import jax.numpy as jnp

from aps_core.checks import positive
from aps_core.flows.around import AroundFlow


@flax.struct.dataclass
class TemperedFlow(AroundFlow):
    """x = f(temperature z; y): the flow f with noise of another standard deviation (Kingma & Dhariwal 2018, Section 6).

    Below 1 its samples lie nearer to the centre of q(x|y) and are smoother; its density is exact, but it is no longer trained to be a posterior.
    """

    temperature: float

    def init(self, key):
        """Parameters of the flow."""
        return self.flow.init(key)

    def context(self, measurement):
        """What the flow sees of one measurement."""
        return self.flow.context(measurement)

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        x, log_det = self.flow.forward(params, self.temperature * z, context)
        return x, log_det + self.dim * jnp.log(self.temperature)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        z, log_det = self.flow.inverse(params, x, context)
        return z / self.temperature, log_det - self.dim * jnp.log(self.temperature)


def tempered(posterior, temperature):
    """An AmortizedPosterior whose noise is multiplied by ``temperature`` > 0. Raises ValueError naming another one."""
    positive("temperature", temperature)
    return type(posterior)(posterior.task, TemperedFlow(posterior.flow, temperature), posterior.params, posterior.card)
