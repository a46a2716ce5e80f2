"""Problems whose posterior is known, and how far samples are from it: the yardstick of every sampler."""

from dataclasses import dataclass, fields
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core import operators
from aps_core.metrics import calibration
from aps_core.tasks import load_task

COLLAPSED = 1e-6  # variance over that of the posterior below which a direction counts as a point: KL is infinite there


@dataclass(frozen=True)
class KnownPosterior:
    """Measurements of a task and the moments of their posteriors.

    x0 (b, *shape), a batched Measurement, mean (b, d), and along the columns of basis (b, d, d) variance (b, d): the
    principal directions of the posterior covariance. truths: a batch of posteriors with ``sample(key, n)`` and
    ``log_prob(x)``, a pytree with leading axes b; None where the posterior is Gaussian and the moments are all of it.
    """

    task: object
    x0: np.ndarray
    measurements: object
    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    truths: object = None

    def one(self, i):
        """The i-th Measurement."""
        return jax.tree.map(lambda a: a[i], self.measurements)

    def coordinates(self, x, i):
        """x (n, *shape) less the i-th posterior mean, along its principal directions, (n, d)."""
        x = np.asarray(x, np.float64)
        return (x.reshape(len(x), -1) - self.mean[i]) @ self.basis[i]

    def exact(self, key, n):
        """n draws (b, n, *shape) of each posterior itself."""
        if self.truths is not None:
            return np.asarray(_exact(self.truths, jax.random.split(key, len(self.x0)), n))
        z = (
            np.asarray(jax.random.normal(key, (len(self.x0), n, self.mean.shape[1])), np.float64)
            * np.sqrt(self.variance)[:, None]
        )
        x = self.mean[:, None] + np.einsum("bij,bnj->bni", self.basis, z)
        return x.reshape((len(self.x0), n, *self.task.shape))

    def judge(self, samples):
        """How far ``samples`` (b, n, *shape), n draws of the first b measurements, are from the posteriors: arrays
        (b,), unclipped.

        kl: KL(samples || posterior) in nats per dimension; for a Gaussian posterior as ``directional_kl``, else as
        ``nearest_kl``; infinite where the samples have no spread in a direction. energy: energy distance (not for a
        Gaussian posterior). mean: squared error of the mean in units of the posterior variance, averaged over
        directions; what n draws add on average is taken off, so it may be below 0. ratio: sum of the variances over
        that of the posterior. coverage: share of the true signal's coordinates in the central 90 % interval.
        """
        samples = np.asarray(samples, np.float64)
        b, n = samples.shape[:2]
        rows = [self._moments(x, i) for i, x in enumerate(samples)]
        found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        if self.truths is not None:
            truths = jax.tree.map(lambda a: a[:b], self.truths)
            log_p = np.asarray(_log_probs(truths, jnp.asarray(samples, jnp.result_type(float))), np.float64)
            kl = [
                np.inf if self._on_a_line(x, i) else nearest_kl(x, log_p[i]) / x.shape[1] for i, x in enumerate(samples)
            ]
            found["kl"] = np.array(kl)
            exact = self.exact(jax.random.key(0), n)
            found["energy"] = np.array([energy_distance(x, y) for x, y in zip(samples, exact, strict=False)])
        return found

    def badness(self, samples, measurements=None):
        """One number to tune by, small for samples of the posterior: the mean KL. A measurement with infinite KL counts
        as 1000 and the energy distance (or squared error of the mean), so that such samples come last and are still
        told apart.
        """
        del measurements
        found = self.judge(samples)
        return float(
            np.mean(np.where(np.isfinite(found["kl"]), found["kl"], 1000 + found.get("energy", found["mean"])))
        )

    def _on_a_line(self, x, i):
        """Whether draws lie on fewer dimensions than the posterior."""
        whitened = self.coordinates(x, i) / np.sqrt(self.variance[i])
        return np.linalg.eigvalsh(np.cov(whitened, rowvar=False))[0] < COLLAPSED

    def _moments(self, x, i):
        c, variance = self.coordinates(x, i), self.variance[i]
        spread = c.var(axis=0, ddof=1)
        return {
            "kl": np.inf if np.min(spread / variance) < COLLAPSED else directional_kl(c, variance),
            "mean": np.mean((c.mean(axis=0) ** 2 - spread / len(c)) / variance),
            "ratio": spread.sum() / variance.sum(),
            "coverage": calibration.coverage(c, self.coordinates(self.x0[i][None], i)[0], (0.9,))[0],
        }


@partial(jax.jit, static_argnums=2)
def _exact(truths, keys, n):
    return jax.vmap(lambda truth, key: truth.sample(key, n))(truths, keys)


@jax.jit
def _log_probs(truths, x):
    return jax.vmap(lambda truth, xs: jax.vmap(truth.log_prob)(xs))(truths, x)


def directional_kl(c, variance):
    """KL in nats per dimension of the Gaussians with the moments of draws ``c`` (n, d) from N(0, diag(variance)), the
    mean over directions.

    (v/s - 1 - log(v/s) + m^2/s)/2 for mean m, variance v and true variance s, less what n draws add on average, so that
    draws of the truth have 0 in expectation. It is a lower bound of the KL of their distribution: shape and
    correlations can only add to it.
    """
    n = len(c)
    v = c.var(axis=0, ddof=1)
    log_ratio = np.log(v / variance) - (digamma((n - 1) / 2) - np.log((n - 1) / 2))
    return float(np.mean(v / variance - 1 - log_ratio + (c.mean(axis=0) ** 2 - v / n) / variance) / 2)


def nearest_kl(x, log_p):
    """KL in nats of the distribution of draws ``x`` (n, d) from a density whose logarithm there is ``log_p`` (n,).

    The entropy is estimated from the distances to the nearest neighbours (Kozachenko & Leonenko 1987), log p is exact.
    For draws of p itself it scatters about 0. For d of 1 to a few.
    """
    x = np.asarray(x, np.float64)
    n, d = x.shape
    distance = cKDTree(x).query(x, 2)[0][:, 1]
    log_ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    entropy = d * np.mean(np.log(np.maximum(distance, 1e-12))) + log_ball + digamma(n) + np.euler_gamma
    return float(-entropy - np.mean(log_p))


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'| from draws x (n, d) and y (m, d), pairs of a draw with itself left out: 0 for
    one distribution.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def mean(a, b, pairs):
        square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        return np.sqrt(np.maximum(square, 0.0)).sum() / pairs

    n, m = len(x), len(y)
    return float(2 * mean(x, y, n * m) - mean(x, x, n * (n - 1)) - mean(y, y, m * (m - 1)))


@flax.struct.dataclass
class GridPosterior:
    """p(x | y) of two-dimensional signals for any operator: log_p (k, k), normalised, at the centres of cells that tile
    [low, high]^2.
    """

    log_p: jax.Array
    constant: jax.Array  # log p(y)
    measurement: object
    prior: object
    sigma_y: jax.Array
    operator: object = flax.struct.field(pytree_node=False)
    low: float = flax.struct.field(pytree_node=False, default=-0.5)
    high: float = flax.struct.field(pytree_node=False, default=1.5)

    @classmethod
    def of(cls, task, measurement, k=400):
        """The posterior of one measurement. Raises ValueError for signals that are not of two entries."""
        if task.shape != (2,):
            raise ValueError(f"task must have signals of shape (2,), got {task.shape}")
        low, high = (field.default for field in fields(cls) if field.name in ("low", "high"))
        side = low + (high - low) * (jnp.arange(k) + 0.5) / k
        points = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        empty = cls(jnp.zeros((k, k)), jnp.zeros(()), measurement, task.prior, jnp.asarray(task.sigma_y), task.operator)
        log_p = jax.vmap(empty.log_prob)(points).reshape(k, k)
        constant = jax.nn.logsumexp(log_p) + 2 * jnp.log((high - low) / k)
        return empty.replace(log_p=log_p - constant, constant=constant)

    @property
    def cell(self):
        """Length of the side of a cell."""
        return (self.high - self.low) / self.log_p.shape[-1]

    def log_prob(self, x):
        """log density of one signal (2,), in nats."""
        log_likelihood = operators.log_likelihood(self.operator, self.sigma_y, x, self.measurement)
        return self.prior.log_prob(x) + log_likelihood - self.constant

    def sample(self, key, n):
        """n draws (n, 2), uniform within a cell."""
        k_cell, k_inside = jax.random.split(key)
        k = self.log_p.shape[-1]
        cell = jax.random.choice(k_cell, k * k, (n,), p=jnp.exp(self.log_p).ravel())
        at = jnp.stack([cell // k, cell % k], axis=1) + jax.random.uniform(k_inside, (n, 2))
        return self.low + self.cell * at

    @property
    def mean(self):
        """Mean (2,)."""
        p, side = self._marginals()
        return jnp.stack([p.sum(axis=1) @ side, p.sum(axis=0) @ side])

    def covariance(self):
        """Covariance (2, 2)."""
        p, side = self._marginals()
        away = side[None] - self.mean[:, None]
        cross = away[0] @ p @ away[1]
        return jnp.array([[p.sum(axis=1) @ away[0] ** 2, cross], [cross, p.sum(axis=0) @ away[1] ** 2]])

    def _marginals(self):
        return jnp.exp(self.log_p) * self.cell**2, self.low + self.cell * (jnp.arange(self.log_p.shape[-1]) + 0.5)


def gaussian_case(sigma_y, n, seed=0, split="test"):
    """The first n signals of the task "gaussian16", denoising: everything is diagonal along the modes of the prior."""
    task = load_task("gaussian16", sigma_y=sigma_y)
    measured = task.measure(jax.random.key(seed), x0 := np.asarray(task.signals(split)[:n]))
    prior = task.prior
    basis, variance, centre = (np.asarray(a, np.float64) for a in (prior.basis, prior.excess + prior.rest, prior.mean))
    away = (np.asarray(measured.y, np.float64).reshape(n, -1) - centre) @ basis
    mean = centre + away * (variance / (variance + sigma_y**2)) @ basis.T
    return KnownPosterior(
        task, x0, measured, mean, np.stack([basis] * n), np.stack([variance * sigma_y**2 / (variance + sigma_y**2)] * n)
    )


def mixture_case(sigma_y, n, seed=0, split="test", operator=None):
    """The first n signals of the task "mixture2", the widest posterior first; with another ``operator`` on a grid,
    whatever it is.
    """
    task = load_task("mixture2", sigma_y=sigma_y, operator=operator)
    measured = task.measure(jax.random.key(seed), x0 := np.asarray(task.signals(split)[:n]))

    @jax.jit
    def posteriors(measurements):
        def one(measurement):
            if operator is None:
                return mixture_posterior(task.prior, sigma_y, measurement.y[:1], jnp.array([[1.0, 0.0]]))
            return GridPosterior.of(task, measurement)

        truths = jax.lax.map(one, measurements)
        return truths, jax.vmap(lambda t: t.mean)(truths), jax.vmap(lambda t: t.covariance())(truths)

    truths, mean, covariance = posteriors(measured)
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    order = np.argsort(-values.sum(axis=1))
    measured, truths = jax.tree.map(lambda a: a[order], (measured, truths))
    return KnownPosterior(
        task, x0[order], measured, np.asarray(mean, np.float64)[order], vectors[order], values[order], truths
    )


def grid_log_prob(case, i, k=160):
    """log density (k, k) of the i-th posterior of a mixture case at the centres of cells that tile [0, 1]^2, first axis
    along x_1.
    """
    side = (jnp.arange(k) + 0.5) / k
    points = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), axis=-1).reshape(1, -1, 2)
    return np.asarray(_log_probs(jax.tree.map(lambda a: a[i : i + 1], case.truths), points)).reshape(k, k)
