"""Corrections of a flow with its exact density: importance weights, Metropolis steps that propose from the flow, and
Langevin steps in its latent space.

log w(x) = log p(y | x) + log p(x) - log q(x | y). With the exact density of the prior all are exact in the limit.
Where a learned prior has only an estimate of its bound, the error of the estimate is that of log w; from an error of
1 nat on the weights are those of the noise, and a correction is not available.
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import numpy as np

from aps_core.checks import count, finite_result, random_key
from aps_core.flows.base import log_standard_normal
from aps_core.metrics.trust.langevin import Schedule, walk
from aps_core.metrics.trust.psis import UNRELIABLE, effective_sample_size, psis
from aps_core.metrics.trust.statistics import has_exact_density
from aps_core.operators import log_likelihood

LARGEST_ERROR = 1.0  # nats, of a log-weight
GROUPS, TIMES = 8, 32  # independent estimates of the bound for each sample, and the times of each
DRIFTING = 3.0  # standard errors by which log pi of chains may still move
PROBE, PROBE_TIMES = 4, 8  # samples, and times, by which a correction that is out of reach is known early


@dataclass(frozen=True)
class Correction:
    """Samples of a flow and what corrects them. ``available`` is False, with the ``reason``, where nothing could be:
    then all but ``log_weight_error`` is empty.

    samples (n, *shape); log_weights (n,), normalised and Pareto-smoothed; pareto_k, to be believed below 0.7; ess, the
    effective sample size; log_weight_error, the median Monte Carlo error of a log-weight in nats, 0 where the prior's
    density is exact. Of ``metropolis`` and ``latent_mala`` the weights are equal, and ``acceptance`` is the share of accepted
    proposals; drift, of ``latent_mala`` alone, says by how many standard errors log pi still moved while its chains walked.
    """

    available: bool
    reason: str
    log_weight_error: float
    samples: np.ndarray | None = field(default=None, repr=False)
    log_weights: np.ndarray | None = field(default=None, repr=False)
    pareto_k: float = np.nan
    ess: float = np.nan
    acceptance: float = np.nan
    drift: float = np.nan

    @property
    def reliable(self):
        """Whether the corrected mean may be believed: available, and k-hat below 0.7, or of Langevin steps a drift of at
        most 3 standard errors.
        """
        return self.available and (self.pareto_k < UNRELIABLE or abs(self.drift) < DRIFTING)

    def mean(self):
        """The corrected posterior mean, ``*shape``. Raises ValueError where no correction is available."""
        samples, weights = self._weighted()
        return np.tensordot(weights, samples, axes=1)

    def mean_error(self):
        """Monte Carlo standard error of ``mean``, ``*shape``: that of a ratio of weighted sums. Raises as ``mean``."""
        samples, weights = self._weighted()
        return np.sqrt(np.tensordot(weights**2, (samples - self.mean()) ** 2, axes=1))

    def _weighted(self):
        if self.samples is None or self.log_weights is None:
            raise ValueError(f"mean of a correction that is not available, expected one that is: {self.reason}")
        return np.asarray(self.samples, np.float64), np.exp(self.log_weights)


def importance(posterior, key, measurement, n=1000):
    """Self-normalized importance sampling of one ``measurement`` with ``n`` samples of the flow: a Correction.

    Raises TypeError or ValueError as ``posterior.sample``, and for a batch or fewer than 25 samples.
    """
    key, n = _checked(posterior, key, measurement, n)
    x, log_w, error = _weighed(posterior, key, measurement, n)
    if log_w is None or error >= LARGEST_ERROR:
        return _not_available(posterior, error)
    smoothed, k = psis(log_w)
    return Correction(True, "", error, np.asarray(x), smoothed, k, effective_sample_size(smoothed))


def metropolis(posterior, key, measurement, n=1000, steps=16):
    """Independence Metropolis: ``n`` chains that start from samples of the flow and make ``steps`` proposals from it.

    min(1, w(x') / w(x)) accepts; the chains converge as fast as max w / mean w allows, so that a flow that misses a
    part of the posterior is stuck in the rest for long, as the importance weights' k-hat says. Returns and raises as
    ``importance``, whose k-hat, of all n (steps + 1) proposals, comes with it.
    """
    key, n = _checked(posterior, key, measurement, n)
    k_draw, k_accept = jax.random.split(key)
    steps = count("steps", steps)
    x, log_w, error = _weighed(posterior, k_draw, measurement, n * (steps + 1))
    if log_w is None or error >= LARGEST_ERROR:
        return _not_available(posterior, error)
    log_w, x = log_w.reshape(steps + 1, n), np.asarray(x)
    at, accepted = np.arange(n), 0
    now = log_w[0]
    u = np.log(np.asarray(jax.random.uniform(k_accept, (steps, n), minval=1e-12), np.float64))
    for step in range(1, steps + 1):
        moves = u[step - 1] < log_w[step] - now
        at, now = np.where(moves, step * n + np.arange(n), at), np.where(moves, log_w[step], now)
        accepted += int(moves.sum())
    ess = float(len(np.unique(at)))
    equal = np.full(n, -np.log(n))
    return Correction(True, "", error, x[at], equal, psis(log_w.ravel())[1], ess, accepted / (steps * n))


def latent_mala(posterior, key, measurement, n=256, steps=50, warmup=50):
    """Metropolis-adjusted Langevin steps in the latent space of the flow: ``n`` chains that start from samples of it.

    With x = f(z; y), the flow, the chains walk through z towards

        log pi(z) = log p(y | f(z)) + log p(f(z)) + log |df/dz|,

    which is standard normal where the flow is the posterior, so that one step size serves all directions however narrow
    the posterior is. ``langevin.walk`` has the step and its size, found in ``warmup`` steps that do not count. Unlike
    proposals from the flow they reach what it misses. The samples are the last states of the chains; ``drift`` is the mean
    change of log pi from the first half of the steps to the second, over chains, in its standard errors.

    Returns and raises as ``importance``, and ValueError for fewer than 2 steps. Available for an exact density of the
    prior alone: with an estimate of it the acceptance would be that of its noise.
    """
    key, n = _checked(posterior, key, measurement, n)
    steps, warmup = count("steps", steps), count("warmup", warmup)
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    prior = posterior.task.prior
    if not has_exact_density(prior):
        return _not_available(posterior, _probed(posterior, key, measurement))
    of = posterior.flow, posterior.params, posterior.task.target
    x, log_density, acceptance = _walked(*of, key, measurement, n=n, schedule=Schedule(warmup, steps))
    finite_result(f"states of chains of {posterior!r}", x, log_density)
    early, late = np.split(np.asarray(log_density, np.float64), [steps // 2])
    rise = late.mean(axis=0) - early.mean(axis=0)
    drift = float(rise.mean() / max(rise.std(ddof=1) / np.sqrt(n), 1e-12))
    equal = np.full(n, -np.log(n))
    return Correction(
        True, "", 0.0, np.asarray(x), equal, ess=float(n), acceptance=float(np.mean(acceptance)), drift=drift
    )


@partial(jax.jit, static_argnames=("n", "schedule"))
def _walked(flow, params, target, key, measurement, *, n, schedule):
    """Last states x (n, *shape), log pi (steps, n) and acceptance (steps,)."""
    context, (k_start, k_walk) = flow.context(measurement), jax.random.split(key)

    def log_density(z):
        x, log_det = flow.forward(params, z, context)
        x = x.reshape(flow.shape)
        log_lik = log_likelihood(target.operator, target.sigma_y, x, measurement)
        return log_lik + target.prior.log_prob(x) + log_det

    walked = walk(log_density, k_walk, jax.random.normal(k_start, (n, flow.dim)), schedule)
    x = jax.vmap(lambda z: flow.forward(params, z, context)[0].reshape(flow.shape))(walked.states[-1])
    return x, walked.log_density, walked.acceptance


def _checked(posterior, key, measurement, n):
    key, n = random_key("key", key), count("n", n)
    if posterior.task.batch(measurement)[0]:
        raise ValueError(f"measurement must be a single one, got a batch of {len(measurement.y)}")
    if n < 25:
        raise ValueError(f"n must be at least 25, got {n}")
    return key, n


def _not_available(posterior, error):
    kind = type(posterior.task.prior).__name__
    return Correction(
        False,
        f"the {kind} gives its log density only as an estimate, with a Monte Carlo error of {error:.3g} nats for a "
        f"sample; below {LARGEST_ERROR:g} is needed",
        error,
    )


def _weighed(posterior, key, measurement, n):
    """Samples (n, *shape), float64 log-weights (n,), and the median error of one; only the error where it is
    hopeless.
    """
    if has_exact_density(posterior.task.prior):
        x, log_w = _estimated(posterior, key, measurement, n, (1, 0))
        return x, log_w[:, 0], 0.0
    error = _probed(posterior, key, measurement)
    if error > 2 * LARGEST_ERROR:
        return None, None, error
    x, log_w = _estimated(posterior, key, measurement, n, (GROUPS, TIMES))
    return x, log_w.mean(axis=1), _error(log_w)


def _probed(posterior, key, measurement):
    """The median error of a log-weight, from a few samples and times."""
    probe = _estimated(posterior, key, measurement, PROBE, (GROUPS, PROBE_TIMES))[1]
    return _error(probe) * np.sqrt(PROBE_TIMES / TIMES)


def _error(log_w):
    """Median standard error of the mean of the columns of ``log_w`` (n, groups)."""
    return float(np.median(log_w.std(axis=1, ddof=1)) / np.sqrt(log_w.shape[1]))


def _estimated(posterior, key, measurement, n, sizes):
    of = posterior.flow, posterior.params, posterior.task.target
    x, log_w = _log_weights(*of, key, measurement, n=n, sizes=sizes)
    finite_result(f"log-weights of {posterior!r}", x, log_w)
    return x, np.asarray(log_w, np.float64)


@partial(jax.jit, static_argnames=("n", "sizes"))
def _log_weights(flow, params, target, key, measurement, *, n, sizes):
    """x (n, *shape) and estimates (n, groups) of the log-weight of each."""
    groups, times = sizes
    context, prior = flow.context(measurement), target.prior

    def one(k):
        k_z, k_prior = jax.random.split(k)
        z = jax.random.normal(k_z, (flow.dim,))
        x, log_det = flow.forward(params, z, context)
        x = x.reshape(flow.shape)
        log_lik = log_likelihood(target.operator, target.sigma_y, x, measurement)
        known = log_lik - log_standard_normal(z) + log_det
        if not times:
            return x, (known + prior.log_prob(x))[None]
        bound = jax.vmap(lambda ki: prior.elbo(ki, x, times))(jax.random.split(k_prior, groups))
        return x, known + bound

    return jax.lax.map(one, jax.random.split(key, n), batch_size=min(n, 16))
