"""Noise whose level is not told: it is inferred from the data, then a flow that is told one is asked."""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.checks import is_traced
from aps_core.flows.wrappers import AroundFlow
from aps_core.priors.gaussian import GaussianPrior

LEVELS = 161  # of the grid on which the posterior of sigma is computed


@jax.jit
def log_evidence(prior, y, mask, sigmas):
    """log p(y | sigma) in nats of the observed entries for each of ``sigmas`` (n,), x having the GaussianPrior
    ``prior``.

    y_m ~ N(m, B diag(excess) B^T + (rest + sigma^2) I) with B the observed rows of the modes: one eigendecomposition of
    B's Gram matrix serves every sigma. y and mask are flattened; entries where the mask is zero do not count.
    """
    seen = mask.reshape(-1)
    gap = seen * (y.reshape(-1) - prior.mean)
    scaled = seen[:, None] * prior.basis * jnp.sqrt(prior.excess)
    variances, vectors = jnp.linalg.eigh(scaled.T @ scaled)
    variances = jnp.maximum(variances, 0.0)
    projected = ((gap @ scaled) @ vectors) ** 2  # variances times the squared amplitude along each direction
    tau = prior.rest + sigmas[:, None] ** 2
    outside = jnp.sum(seen) - variances.size
    log_det = jnp.sum(jnp.log(variances + tau), axis=1) + outside * jnp.log(tau[:, 0])
    # 1 / tau - v / (tau (tau + v)) along the directions, 1 / tau elsewhere
    square = jnp.sum(gap**2) / tau[:, 0] - jnp.sum(projected / (tau * (tau + variances)), axis=1)
    return -0.5 * (log_det + square + jnp.sum(seen) * jnp.log(2 * jnp.pi))


def infer_noise(prior, measurement, limits, n=LEVELS):
    """(posterior mean, posterior standard deviation) of sigma given one Measurement whose mask is known, sigma being
    uniform in its logarithm within ``limits`` before.

    prior: a GaussianPrior; only entries that are observed or missing are served, A(x) = m x. Raises ValueError unless 0 <
    limits[0] <= limits[1].
    """
    low, high = limits
    if not 0 < low <= high:
        raise ValueError(f"limits must be two positive numbers, the smaller first, got {limits!r}")
    sigmas = jnp.geomspace(low, high, n)
    y = jnp.asarray(measurement.y)
    mask = jnp.ones_like(y) if measurement.mask is None else jnp.asarray(measurement.mask)
    weights = jax.nn.softmax(log_evidence(prior, y, mask, sigmas))
    mean = weights @ sigmas
    return mean, jnp.sqrt(weights @ (sigmas - mean) ** 2)


@flax.struct.dataclass
class InferNoise(AroundFlow):
    """q(x | y) = q_told(x | y, sigma(y)): ``flow``, which is told a noise level, is given the posterior mean of it.

    Enough where thousands of entries determine the level to a few per cent. ``limits``: those of the UnknownNoise.
    """

    gaussian: GaussianPrior
    limits: tuple = flax.struct.field(pytree_node=False)

    def level(self, measurement):
        """The noise level that is used for one Measurement."""
        return infer_noise(self.gaussian, measurement, self.limits)[0]

    def with_noise(self, sigma_y):
        """Raises ValueError: the level is inferred, not told."""
        raise ValueError(
            f"InferNoise infers the noise from y and cannot be asked for sigma_y = {sigma_y}; the flow inside can"
        )

    def context(self, measurement):
        """What the flow inside sees at the inferred level."""
        level = self.level(measurement)
        return self.flow.with_noise(level if is_traced(level) else float(level)).context(measurement)
