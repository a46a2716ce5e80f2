"""A trained flow of which two numbers for each mode of the prior may change again."""

import flax.struct
import jax.numpy as jnp

from aps_core.flows.distilled import DistilledFlow
from aps_core.flows.wrappers import AroundFlow

PULL = 0.2  # a learning rate that suits the spread is large for the mean


@flax.struct.dataclass
class ReopenedFlow(AroundFlow):
    """A trained DistilledFlow of a denoising task of which two numbers for each mode of the prior can still change.

    x = f(z; y, spectrum + a) + V diag(PULL b) V^T (y - f(0; y)): a (d,) is the logarithm of the factor on the standard
    deviation along each mode, PULL b (d,) how far the mean moves to the measurement. Under a Gaussian prior that holds
    the optimum for every t_min. Everything else is frozen.
    """

    frozen: dict

    def init(self, key=None):
        """Parameters with which it is the trained flow."""
        del key
        return {"spread": jnp.zeros(self.dim), "pull": jnp.zeros(self.dim)}

    def context(self, measurement):
        """What the flow sees of one measurement, the measurement (d,), and where z = 0 goes (d,)."""
        context = self.flow.context(measurement)
        centre, _ = self.flow.forward(self.frozen, jnp.zeros(self.dim), context)
        return context, measurement.y.reshape(-1), centre

    def _parts(self, params, context):
        inner, y, centre = context
        basis = self.flow.modes.basis
        shift = basis @ (PULL * params["pull"] * ((y - centre) @ basis))
        return {**self.frozen, "spectrum": self.frozen["spectrum"] + params["spread"]}, inner, shift

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        all_params, inner, shift = self._parts(params, context)
        x, log_det = self.flow.forward(all_params, z, inner)
        return x + shift, log_det

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        all_params, inner, shift = self._parts(params, context)
        return self.flow.inverse(all_params, x - shift, inner)


def reopen(posterior):
    """The ReopenedFlow of a trained AmortizedPosterior. Raises ValueError unless it is a DistilledFlow of a denoising
    task.
    """
    if not posterior.task.operator.is_identity or not isinstance(posterior.flow, DistilledFlow):
        raise ValueError(
            f"posterior must be a DistilledFlow of a denoising task, got {type(posterior.flow).__name__} of {posterior.task.name!r}"
        )
    return ReopenedFlow(posterior.flow, posterior.params)
