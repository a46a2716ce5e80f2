"""Missing entries whose places are not told: the mask is inferred from the data, then a flow that is told one is asked."""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from aps_core.flows.wrappers import AroundFlow
from aps_core.operators import Measurement, UnknownMask
from aps_core.priors.gaussian import GaussianPrior, gaussian_posterior


def mask_of_zeros(y):
    """The Measurement whose mask is 1 where ``y`` is not exactly zero."""
    y = jnp.asarray(y)
    return Measurement(y, (y != 0).astype(jnp.float32))


@partial(jax.jit, static_argnames=("n_iterations",))
def infer_mask(prior, sigma_y, y, shares, n_iterations=4):
    """(probability that each entry was observed, of the shape of y, and the posterior mean of the share r missing) where
    all of y is noisy (``operators.UnknownMask``).

    prior: a GaussianPrior, under which an entry that was observed is predicted from the others: N(a_i, b_i). Then entry
    i was missing with odds r N(y_i; 0, sigma_y^2) to (1 - r) N(y_i; a_i, b_i + sigma_y^2), averaged over the shares r
    (n,), which are equally likely before, given all of y. The first round predicts from the prior alone; the next ones
    from the closed-form posterior of the entries that were more likely observed than not, each left out of its own
    prediction.
    """
    flat = y.reshape(-1)

    def probabilities(mean, variance):
        observed = norm.logpdf(flat, mean, jnp.sqrt(variance + sigma_y**2))
        missing = norm.logpdf(flat, 0.0, sigma_y)
        by_share = jnp.logaddexp(jnp.log1p(-shares)[:, None] + observed, jnp.log(shares)[:, None] + missing)
        weights = jax.nn.softmax(jnp.sum(by_share, axis=1))
        return jnp.exp(jnp.log1p(-shares)[:, None] + observed - by_share).T @ weights, weights @ shares

    def again(carry, _):
        seen = (carry[0] > 0.5).astype(flat.dtype)
        posterior = gaussian_posterior(prior, sigma_y, flat, seen)
        variance = posterior.marginal_std**2
        # what a seen entry says of itself is taken out again
        precision = 1 / variance - seen / sigma_y**2
        left_out = jnp.where(precision > 0, 1 / jnp.maximum(precision, 1e-9), prior_variance)
        mean = jnp.where(precision > 0, left_out * (posterior.mean / variance - seen * flat / sigma_y**2), prior.mean)
        return probabilities(mean, left_out), None

    prior_variance = prior.rest + jnp.sum(prior.basis**2 * prior.excess, axis=1)
    (observed, share), _ = jax.lax.scan(again, probabilities(prior.mean, prior_variance), length=n_iterations)
    return observed.reshape(y.shape), share


@flax.struct.dataclass
class InferMask(AroundFlow):
    """q(x | y) = q_told(x | y, m(y)): ``flow``, which is told a mask, is given the one that is inferred from y.

    Of an UnknownMask that is not noisy m(y) is where y is not zero, and nothing is lost. Of one that is, m(y) holds the
    entries more likely observed than not: the uncertainty of the mask enters the samples only as far as training on the
    operator's likelihood has put it there.
    """

    gaussian: GaussianPrior
    sigma_y: float
    operator: UnknownMask = flax.struct.field(pytree_node=False)

    def with_noise(self, sigma_y):
        """With the flow inside for another noise level."""
        return self.replace(flow=self.flow.with_noise(sigma_y), sigma_y=sigma_y)

    def guess(self, y):
        """The Measurement with the mask inferred from y (*shape)."""
        if not self.operator.noisy:
            return mask_of_zeros(y)
        observed, _ = infer_mask(self.gaussian, self.sigma_y, y, self.operator.shares)
        mask = (observed > 0.5).astype(y.dtype)
        return Measurement(mask * y, mask)

    def context(self, measurement):
        """What the flow inside sees of the inferred measurement."""
        return self.flow.context(self.guess(jnp.asarray(measurement.y)))
