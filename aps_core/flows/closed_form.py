"""The closed-form Gaussian posterior as the base of a flow, for any linear operator."""

import flax.struct
import jax
import numpy as np

from aps_core.checks import noise
from aps_core.flows.base import Flow
from aps_core.operators import Operator, kept_by
from aps_core.priors.gaussian import GaussianPrior, gaussian_posterior
from aps_core.priors.linear_gaussian import LinearPosteriorFactors
from aps_core.priors.low_rank import LowRankFactors, posterior_factors


@flax.struct.dataclass
class PosteriorBase(Flow):
    """N(mu_G(y), Sigma_G) of one prior, operator and noise: ``context(measurement)`` has ``mean``, ``marginal_std``,
    ``log_det``, ``forward(z)`` and ``inverse(x)``. Made by ``posterior_base``.

    Without ``factors`` the operator hides entries, and one small eigenproblem is solved for each measurement; without
    ``operator`` as well, those that the measurement's mask says.
    """

    prior: GaussianPrior
    sigma_y: float
    operator: Operator | None = flax.struct.field(pytree_node=False, default=None)
    factors: LinearPosteriorFactors | LowRankFactors | None = None

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.prior.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.prior.shape

    def with_noise(self, sigma_y):
        """The same for another noise level; an operator's factors are computed anew."""
        known = self.replace(sigma_y=noise("sigma_y", sigma_y))
        if self.factors is None:
            return known
        return known.replace(factors=posterior_factors(self.prior, self.operator, float(sigma_y)))

    def context(self, measurement):
        """The GaussianPosterior, LinearGaussianPosterior or LowRankPosterior of one measurement."""
        y = measurement.y.reshape(-1)
        if self.factors is not None:
            return self.factors.posterior(y)
        mask = measurement.mask if self.operator is None else _hiding(self.operator, measurement.mask)
        return gaussian_posterior(self.prior, self.sigma_y, y, None if mask is None else mask.reshape(-1))


def _hiding(operator, mask):
    """Where data was observed, or None for an operator that hides nothing."""
    with jax.ensure_compile_time_eval():
        complete = bool(np.all(operator.observed()))
    return None if complete else operator.observed(mask)


def posterior_base(prior, operator, sigma_y):
    """The PosteriorBase of a GaussianPrior, a linear operator and the noise's standard deviation.

    Where A^T A is not diagonal the posterior is factorized once: in the prior's modes where these are few and the
    operator acts on rows and columns, else in all entries (see ``priors.low_rank.posterior_factors`` for the cost).
    Raises TypeError for an operator that is not linear, ValueError for one whose signals are not those of the prior.
    """
    noise("sigma_y", sigma_y)
    if not operator.additive_noise:
        raise TypeError(
            f"{type(operator).__name__} is not A(x) + N(0, sigma_y^2): no Gaussian posterior in closed form; expected an "
            "operator that tells mask and noise"
        )
    if not operator.linear:
        raise TypeError(
            f"{type(operator).__name__} is not linear: no Gaussian posterior in closed form; its linear part, operator.inner, has one"
        )
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(
            f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}"
        )
    factors = None if operator.diagonal else posterior_factors(prior, operator, sigma_y)
    operator = kept_by(operator)
    # a random mask is that of the measurement: one compiled program serves all shares of missing entries
    return PosteriorBase(prior, float(sigma_y), None if operator.random else operator, factors)


@flax.struct.dataclass
class ClosedFormGaussian(PosteriorBase):
    """N(mu_G(y), Sigma_G(y)) behind the interface of a flow; it has nothing to train.

    ``ClosedFormGaussian(prior, sigma_y)`` is that of denoising and of masks; ``closed_form`` makes that of any linear
    operator.
    """

    of_recipes = False

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
    """The ClosedFormGaussian of a GaussianPrior, a linear operator and the noise; errors and cost as in
    ``posterior_base``.
    """
    base = posterior_base(prior, operator, sigma_y)
    return ClosedFormGaussian(base.prior, base.sigma_y, base.operator, base.factors)
