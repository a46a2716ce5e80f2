"""Noise whose level is not told: its posterior under the Gaussian prior, and a posterior asked with the inferred level."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import operators
from aps_core.posterior import gaussian_posterior

RANGE = (0.02, 0.1)  # between which the noise standard deviation lies, uniform in its logarithm


@jax.jit
def log_evidence(prior, y, mask, sigmas):
    """log p(y | sigma) in nats of the observed entries for each of ``sigmas`` (n,), x having the GaussianPrior ``prior``.

    y_m ~ N(m, B diag(excess) B^T + (rest + sigma^2) I) with B the observed rows of the modes: one eigendecomposition of B's Gram matrix
    serves every sigma.
    y and mask are flattened; entries where the mask is zero do not count.
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


def infer_noise(prior, measurement, limits=RANGE, n=161):
    """(posterior mean, posterior standard deviation) of sigma given one Measurement whose mask is known, the prior being uniform in log
    sigma within ``limits``.

    prior: a GaussianPrior. Raises ValueError unless 0 < limits[0] < limits[1].
    """
    low, high = limits
    if not 0 < low < high:
        raise ValueError(f"limits must be two positive numbers, the smaller first, got {limits!r}")
    sigmas = np.geomspace(low, high, n)
    mask = jnp.ones_like(measurement.y) if measurement.mask is None else measurement.mask
    log_p = np.asarray(log_evidence(prior, jnp.asarray(measurement.y), jnp.asarray(mask), jnp.asarray(sigmas, jnp.float32)), np.float64)
    weights = np.exp(log_p - log_p.max())
    weights /= weights.sum()
    mean = float(weights @ sigmas)
    return mean, float(np.sqrt(weights @ (sigmas - mean) ** 2))


@dataclass(frozen=True)
class NoisePosterior:
    """A posterior that is told a noise level, asked with another one: that which is inferred from y, or ``assumed`` for every measurement.

    The posterior mean of sigma is put in its place, which is enough where thousands of entries determine it to a few per cent.
    """

    told: object
    assumed: float | None = None
    limits: tuple = RANGE

    def level(self, measurement):
        """The noise level that is used for one measurement."""
        return infer_noise(self.told.task.prior.gaussian, measurement, self.limits)[0] if self.assumed is None else self.assumed

    def sample(self, key, measurement, n):
        """n samples (n, *shape) of one measurement; errors as those of ``told.sample``."""
        return at_noise(self.told, self.level(measurement)).sample(key, measurement, n)


def at_noise(posterior, sigma_y):
    """The same posterior, flow or closed form, for another noise level; its networks keep their weights and see the level in the Gaussian
    posterior.
    """
    if not posterior.params:
        return gaussian_posterior(replace(posterior.task, sigma_y=float(sigma_y)))
    return replace(posterior, task=replace(posterior.task, sigma_y=float(sigma_y)), flow=posterior.flow.replace(sigma_y=float(sigma_y)))


def draw_levels(key, n, limits=RANGE):
    """n noise levels, uniform in the logarithm within ``limits``."""
    low, high = np.log(limits)
    return np.exp(np.asarray(jax.random.uniform(key, (n,), minval=low, maxval=high)))


def measure(key, task, x0, sigmas):
    """Measurements of ``x0`` (n, *shape) by the task's operator, each with its own noise level of ``sigmas`` (n,)."""
    keys = jax.random.split(key, len(x0))
    return jax.vmap(lambda k, x, s: operators.simulate(task.operator, s, k, x))(keys, jnp.asarray(x0), jnp.asarray(sigmas, jnp.float32))
