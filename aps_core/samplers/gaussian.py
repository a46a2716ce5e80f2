"""The closed-form posterior under the Gaussian prior (Wiener filter, optimal interpolation, kriging): the rival of every table."""

import flax.struct

from aps_core.flows.base import PosteriorBase, posterior_base


@flax.struct.dataclass
class ClosedFormGaussian(PosteriorBase):
    """N(mu_G(y), Sigma_G(y)) behind the interface of a flow; it has nothing to train.

    ``ClosedFormGaussian(prior, sigma_y)`` is that of denoising and of masks; ``closed_form`` makes that of any linear operator.
    """

    def init(self, key):
        """No parameters."""
        del key
        return {}

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz|."""
        del params
        return context.forward(z)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx|."""
        del params
        return context.inverse(x)


def closed_form(prior, operator, sigma_y):
    """The ClosedFormGaussian of a GaussianPrior, a linear operator and the noise; errors and cost as in ``posterior_base``."""
    base = posterior_base(prior, operator, sigma_y)
    return ClosedFormGaussian(base.prior, base.sigma_y, base.operator, base.factors)
