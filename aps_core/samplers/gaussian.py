"""The closed-form posterior under the Gaussian prior (Wiener filter, optimal interpolation, kriging): the rival of every table."""

import flax.struct
import jax.numpy as jnp

from aps_core.priors.gaussian import GaussianPrior, gaussian_posterior


@flax.struct.dataclass
class ClosedFormGaussian:
    """N(mu_G(y), Sigma_G(y)) behind the interface of a flow; it has nothing to train."""

    prior: GaussianPrior
    sigma_y: float

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.prior.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.prior.shape

    def init(self, key):
        """No parameters."""
        del key
        return {}

    def context(self, measurement):
        """The GaussianPosterior of one measurement."""
        y = measurement.y.reshape(-1)
        observed = jnp.ones_like(y) if measurement.mask is None else measurement.mask.reshape(-1)
        return gaussian_posterior(self.prior, self.sigma_y, y, observed)

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz|."""
        del params
        return context.forward(z)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx|."""
        del params
        return context.inverse(x)
