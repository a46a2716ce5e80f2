"""Coordinates of pairs of a signal and its measurement in which ``metrics.joint`` can see what is wrong.

A small network given entries of an image sees coarse modes and nothing else: fine modes, where grain is, have a
thousandth of their variance. The closed form N(mu_G(y), Sigma_G) says how large each direction should be, mask, operator
and noise included. So signals are whitened by it, w = F^(-1) (x - mu_G(y)), an invertible map for every y, and turned
into the modes of the prior. Nothing is lost by that, and a posterior that equals the closed form is white noise.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aps_core.checks import count, has, measured_array
from aps_core.operators import log_likelihood

GROUPS = ("data", "coarse", "energy", "tails", "misfit")
LEAD, BANDS = 12, 8  # modes that are looked at one by one; bands of modes, each twice as wide as the one before
TINY = 1e-12  # below it a square is taken for this
WANTED = "gaussian_posterior(task), the closed form"


class Pairs(NamedTuple):
    """What ``pair_coordinates`` finds of signals (b, n, *shape): white (b, n, k), groups of features by name (b, n, p_i),
    and log_likelihood (b, n), log p(y | x) in nats.
    """

    white: jax.Array
    groups: dict[str, jax.Array]
    log_likelihood: jax.Array

    def features(self, *names):
        """The features (b, n, p) of the groups ``names``, of all without a name."""
        return jnp.concatenate([self.groups[name] for name in names or GROUPS], axis=-1)


def pair_coordinates(closed, x, measurements, lead=LEAD, bands=BANDS):
    """Coordinates of pairs (x, y): Pairs.

    closed: ``gaussian_posterior(task)``; x (b, n, *shape), n signals beside each of b ``measurements``.

    white: w along the k modes of the prior, coarse first. The groups are

    - data: the first ``lead`` entries of mu_G(y) along the modes, in prior standard deviations: y, as far as the closed
      form sees it, so that a shift or a scale which depends on y can be seen;
    - coarse: the first ``lead`` entries of white;
    - energy: logarithms of the mean square of w in ``bands`` bands of modes and, where there are directions beside the
      modes, in these: grain, and a spread that is wrong;
    - tails: logarithms of mean fourth powers over squared mean squares in the same bands and over the entries of the
      signal, and the skewness there: spreads that vary more from place to place, or less, than they should;
    - misfit: the logarithm of the mean square of (y - A(x)) / sigma_y.

    The same for every sampler, with a density or without. Raises TypeError or ValueError for other shapes, or a ``closed``
    that is not one of an AmortizedPosterior.
    """
    has("closed", closed, ("task", "flow", "params"), WANTED)
    task, x = closed.task, measured_array("x", x)
    batched, measurements = task.batch(measurements)
    if not batched or x.ndim != 2 + len(task.shape) or x.shape[2:] != task.shape or len(x) != len(measurements.y):
        raise ValueError(
            f"x has shape {x.shape}, expected (b, n, {', '.join(map(str, task.shape))}) for b measurements"
        )
    lead, bands = count("lead", lead), count("bands", bands)
    target = task.target.replace(prior=task.prior.gaussian)
    return Pairs(*_coordinates(closed.flow, closed.params, target, x, measurements, lead=lead, bands=bands))


def band_edges(k, bands=BANDS):
    """Edges of at most ``bands`` bands of ``k`` modes, each twice as wide as the one before: increasing, from 0 to k."""
    return sorted({0, *(k >> i for i in range(bands))})


@partial(jax.jit, static_argnames=("lead", "bands"))
def _coordinates(flow, params, target, x, measurements, *, lead, bands):
    operator, sigma_y, gaussian = target.operator, target.sigma_y, target.prior
    k = gaussian.basis.shape[1]
    edges = band_edges(k, bands)

    def one(args):
        xs, measurement = args
        context = flow.context(measurement)
        mean = flow.forward(params, jnp.zeros(flow.dim), context)[0]
        around = ((mean - gaussian.mean) @ gaussian.basis / gaussian.mode_std)[:lead]
        n_observed = jnp.sum(operator.observed(measurement.mask))

        def of(signal):
            w = flow.inverse(params, signal.reshape(-1), context)[0]
            modes = w @ gaussian.basis
            log_lik = log_likelihood(operator, sigma_y, signal, measurement)
            chi2 = -2 * log_lik / n_observed - jnp.log(2 * jnp.pi * sigma_y**2)  # as in statistics.py
            parts = [modes[a:b] for a, b in pairwise(edges)]
            energy = [_log(jnp.mean(part**2)) for part in parts]
            if k < flow.dim:
                energy.append(_log((jnp.sum(w**2) - jnp.sum(modes**2)) / (flow.dim - k)))
            skewness = jnp.mean(w**3) / jnp.maximum(jnp.mean(w**2), TINY) ** 1.5
            groups = {
                "data": around,
                "coarse": modes[:lead],
                "energy": jnp.stack(energy),
                "tails": jnp.stack([*(_tail(part) for part in parts), _tail(w), skewness]),
                "misfit": _log(chi2)[None],
            }
            return modes, groups, log_lik

        return jax.vmap(of)(xs)

    return jax.lax.map(one, (x, measurements))


def _log(value):
    return jnp.log(jnp.maximum(value, TINY))


def _tail(w):
    """log of the mean fourth power over the squared mean square."""
    return _log(jnp.mean(w**4)) - 2 * _log(jnp.mean(w**2))
