"""The closed-form Gaussian posterior as the base of a flow, for any linear operator."""

import flax.struct
import jax.numpy as jnp

from aps_core.checks import positive
from aps_core.operators import Operator
from aps_core.priors.gaussian import GaussianPrior, gaussian_posterior
from aps_core.priors.linear_posterior import LinearPosteriorFactors, linear_posterior_factors


@flax.struct.dataclass
class PosteriorBase:
    """N(mu_G(y), Sigma_G) of one prior, operator and noise: ``context(measurement)`` has ``mean``, ``marginal_std``, ``log_det``,
    ``forward(z)`` and ``inverse(x)``. Made by ``posterior_base``.

    Without ``factors`` the operator hides entries, and one small eigenproblem is solved for each measurement; without ``operator``
    as well, those that the measurement's mask says.
    """

    prior: GaussianPrior
    sigma_y: float
    operator: Operator | None = flax.struct.field(pytree_node=False, default=None)
    factors: LinearPosteriorFactors | None = None

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.prior.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.prior.shape

    def context(self, measurement):
        """The GaussianPosterior or LinearGaussianPosterior of one measurement."""
        y = measurement.y.reshape(-1)
        if self.factors is not None:
            return self.factors.posterior(y)
        mask = measurement.mask if self.operator is None else self.operator.observed(measurement.mask)
        observed = jnp.ones_like(y) if mask is None else mask.reshape(-1)
        return gaussian_posterior(self.prior, self.sigma_y, y, observed)


def posterior_base(prior, operator, sigma_y):
    """The PosteriorBase of a GaussianPrior, a linear operator and the noise's standard deviation.

    Where A^T A is not diagonal the operator's matrix is factorized once (see ``linear_posterior_factors`` for its cost).
    Raises TypeError for an operator that is not linear, ValueError for one whose signals are not those of the prior.
    """
    positive("sigma_y", sigma_y)
    if not operator.linear:
        raise TypeError(
            f"{type(operator).__name__} is not linear: no Gaussian posterior in closed form; its linear part, operator.inner, has one"
        )
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}")
    factors = None if operator.diagonal else linear_posterior_factors(prior, operator, sigma_y)
    # a random mask is that of the measurement: one compiled program serves all shares of missing entries
    return PosteriorBase(prior, float(sigma_y), None if operator.random else operator, factors)
