"""Missing entries whose places are not told: the mask is inferred from the data, then the posterior that is told one is asked.

Two settings. In the paper's, y = m x + m n: a missing entry is exactly zero, which gives the mask away (``mask_of_zeros``). In the truly blind
one, y = m x + n has noise on every entry, and with a share r of missing entries that is itself unknown

    p(y | x) = mean over r of prod_i [(1 - r) N(y_i; x_i, sigma_y^2) + r N(y_i; 0, sigma_y^2)].
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators import Measurement
from aps_core.priors.gaussian import gaussian_posterior

LEVELS = (0.3, 0.6)  # between which the share of missing entries lies


def mask_of_zeros(y):
    """The Measurement whose mask is 1 where ``y`` is not exactly zero."""
    y = jnp.asarray(y)
    return Measurement(y, (y != 0).astype(jnp.float32))


def with_noise_everywhere(key, sigma_y, measurement):
    """y of the truly blind setting: the data of ``measurement``, and noise alone where it has none."""
    noise = sigma_y * jax.random.normal(key, measurement.y.shape)
    return measurement.y + (1 - measurement.mask) * noise


@partial(jax.jit, static_argnames=("levels", "n_iterations"))
def infer_mask(prior, sigma_y, y, levels=LEVELS, n_iterations=4):
    """(probability that each entry was observed, of the shape of y, and the posterior mean of the share r missing) in the truly blind setting.

    prior: a GaussianPrior, under which an entry that was observed is predicted from the others: N(a_i, b_i). Then entry i was missing with odds
    r N(y_i; 0, sigma_y^2) to (1 - r) N(y_i; a_i, b_i + sigma_y^2), averaged over r uniform in ``levels`` given all of y. The first round predicts from the prior alone;
    the next ones from the closed-form posterior of the entries that were more likely observed than not, each left out of its own prediction.
    """
    flat = y.reshape(-1)
    shares = jnp.linspace(*levels, 31)

    def probabilities(mean, variance):
        observed = jax.scipy.stats.norm.logpdf(flat, mean, jnp.sqrt(variance + sigma_y**2))
        missing = jax.scipy.stats.norm.logpdf(flat, 0.0, sigma_y)
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


@dataclass(frozen=True)
class BlindPosterior:
    """A posterior that is told a mask, asked without one: ``told`` is given the mask inferred from y.

    setting: "zeros", the paper's, or "noise", the truly blind one, where the entries more likely observed than not are taken as
    observed. That is a plug-in: the uncertainty of the mask does not enter the samples. The mask of a measurement, where it has one, is not looked at.
    Raises ValueError for another setting.
    """

    told: object
    setting: str = "zeros"

    def __post_init__(self):
        if self.setting not in ("zeros", "noise"):
            raise ValueError(f"setting must be 'zeros' or 'noise', got {self.setting!r}")

    def guess(self, measurement):
        """The Measurement with the mask inferred from its y (*shape)."""
        if self.setting == "zeros":
            return mask_of_zeros(measurement.y)
        observed, _ = infer_mask(self.told.task.prior.gaussian, float(self.told.task.sigma_y), jnp.asarray(measurement.y))
        mask = (observed > 0.5).astype(jnp.float32)
        return Measurement(mask * measurement.y, mask)

    def sample(self, key, measurement, n):
        """n samples (n, *shape) of one measurement; errors as those of ``told.sample``."""
        return self.told.sample(key, self.guess(measurement), n)


def blind_case(case, sigma_y, seed=0):
    """The measurements of a ``sphere_study.Case`` with noise everywhere; the masks stay with them, for comparison only."""
    keys = jax.random.split(jax.random.key(seed + 101), len(case.x0))
    y = jax.vmap(lambda k, m: with_noise_everywhere(k, sigma_y, m))(keys, case.measurements)
    return replace(case, measurements=Measurement(y, case.measurements.mask))


def misjudged(sampler, case):
    """Shares of each measurement's entries that were missing and taken as observed, and the other way round, (2, n)."""
    found = []
    for i in range(len(case.x0)):
        one = case.one(i)
        guess, mask = np.asarray(sampler.guess(one).mask), np.asarray(one.mask)
        found.append([np.mean((guess > 0) & (mask == 0)), np.mean((guess == 0) & (mask > 0))])
    return np.array(found).T
