"""A Gaussian posterior given by its modes, as a flow."""

import flax.struct
import jax.numpy as jnp

from aps_core.flows.base import Flow
from aps_core.priors.linear_gaussian import PosteriorModes


@flax.struct.dataclass
class ClosedFormModes(Flow):
    """N(mu_G(y), V diag(std^2) V^T) behind the interface of a flow: the closed form that a DistilledFlow stands on, at
    no further cost. ``modes``: PosteriorModes, or what else has ``mean(y)``, ``basis`` and ``std``.
    """

    of_recipes = False
    modes: PosteriorModes
    shape: tuple = flax.struct.field(pytree_node=False)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.modes.std.shape[0]

    def init(self, key):
        """No parameters."""
        del key
        return {}

    def context(self, measurement):
        """mu_G(y) (d,)."""
        return self.modes.mean(measurement.y.reshape(-1))

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz|."""
        del params
        return context + self.modes.basis @ (self.modes.std * z), jnp.sum(jnp.log(self.modes.std))

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx|."""
        del params
        return ((x - context) @ self.modes.basis) / self.modes.std, -jnp.sum(jnp.log(self.modes.std))
