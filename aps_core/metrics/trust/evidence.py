"""The data as the Gaussian part of the prior expects them: whitened, so that each number is a standard normal draw.

Under x ~ N(mu, Sigma) and y = A(x) + N(0, sigma^2 I) the data are N(A(mu), A Sigma A^T + sigma^2 I) exactly. Along the
eigenvectors of A Sigma A^T, of falling eigenvalue l, the numbers w = U^T (y - A(mu)) / (l + sigma^2)^(1/2) are
independent and standard normal. The first tell of the signal, the last of the noise: a wrong noise level, another
blur, another kind of signal each change the mean square of w in bands of their own.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators import dense_matrix, kept_by
from aps_core.priors.gaussian import GaussianPrior

FIRST = 4  # modes of the first band; each band after it ends at twice the mode


@flax.struct.dataclass
class FixedEvidence:
    """Whitened data of a linear operator that is the same for every measurement."""

    predicted: jax.Array  # A(mu) (n,), of the entries that are observed
    basis: jax.Array  # U (n, n), in columns
    std: jax.Array  # (l + sigma^2)^(1/2) (n,), largest first
    gain: jax.Array  # l / (l + sigma^2) (n,)
    seen: tuple = flax.struct.field(pytree_node=False)  # of the entries of y, or () for all

    @property
    def edges(self):
        """Ends of the bands."""
        return band_edges(len(self.std))

    def white(self, y, mask=None):
        """w (n,) of one measurement, the degrees of freedom of each of its squares, here 1, and l / (l + sigma^2)."""
        del mask
        flat = y.reshape(-1)
        flat = flat[np.array(self.seen)] if self.seen else flat
        w = ((flat - self.predicted) @ self.basis) / self.std
        return w, jnp.ones_like(w), self.gain


@flax.struct.dataclass
class MaskedEvidence:
    """Whitened data where a mask, new with each measurement, hides entries: k modes, and the rest in one number more.

    With the observed rows P_o of the modes, A Sigma A^T = P_o L P_o^T + s^2 I has the eigenvalues g + s^2 of the (k, k)
    problem L^(1/2) P_o^T P_o L^(1/2) = Q diag(g) Q^T, and s^2 for all that is left of the observed entries.
    """

    prior: GaussianPrior
    sigma_y: float

    @property
    def edges(self):
        """Ends of the bands; the last holds the rest."""
        return band_edges(self.prior.excess.shape[0])

    def white(self, y, mask=None):
        """w (k + 1,) of one measurement, the degrees of freedom of each of its squares, and l / (l + sigma^2)."""
        g, flat = self.prior, y.reshape(-1)
        observed = jnp.ones_like(flat) if mask is None else mask.reshape(-1)
        noise = g.rest + self.sigma_y**2
        v, root = observed * (flat - g.mean), jnp.sqrt(g.excess)
        seen = g.basis * observed[:, None] * root
        values, q = jnp.linalg.eigh(seen.T @ seen)
        values, q = jnp.maximum(values[::-1], 0.0), q[:, ::-1]
        there = values > 1e-6 * values[0]
        along = jnp.where(there, ((v @ seen) @ q) / jnp.sqrt(jnp.where(there, values, 1.0)), 0.0)
        left = jnp.sum(observed) - jnp.sum(there)
        rest = jnp.maximum(jnp.sum(v**2) - jnp.sum(along**2), 0.0) / noise
        w = jnp.append(along / jnp.sqrt(values + noise), jnp.sqrt(rest))
        gain = jnp.append((values + g.rest) / (values + noise), g.rest / noise)
        return w, jnp.append(there.astype(w.dtype), jnp.maximum(left, 0.0)), gain


def band_edges(n):
    """Ends of bands over n modes in order: 4, 8, 16, ..., n. At most n of them."""
    edges = [min(FIRST, n)]
    while edges[-1] < n:
        edges.append(min(2 * edges[-1], n))
    return tuple(edges)


def summary(evidence, y, mask=None):
    """Of one measurement: ``modes_i_j``, log of the mean of w^2 over the modes i to j, and ``closeness``, log of
    (mu_G - mu)^T Sigma^-1 (mu_G - mu) over its mean, mu_G(y) the posterior mean under the Gaussian part. All of them
    are about 0 where the data are as that expects.

    With l for the eigenvalues, |Sigma^(-1/2) (mu_G - mu)|^2 is the sum of w^2 l / (l + sigma^2).
    """
    w, freedom, gain = evidence.white(y, mask)
    ends = [*evidence.edges, *([len(w)] if len(w) > evidence.edges[-1] else [])]
    found = {"closeness": _log_ratio(jnp.sum(gain * w**2), jnp.sum(gain * freedom))}
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        name = f"modes_{start + 1}_{end}" if end <= evidence.edges[-1] else "rest"
        found[name] = _log_ratio(jnp.sum(w[start:end] ** 2), jnp.sum(freedom[start:end]))
    return found


def _log_ratio(energy, freedom):
    return jnp.log(jnp.maximum(energy, 1e-12) / jnp.maximum(freedom, 1.0))


def evidence_of(task) -> Any:
    """The evidence of a task: for its operator where that is linear, for the linear one inside a sensor that
    saturates (of undone data), None for other operators.
    """
    operator, prior, sigma_y = task.operator, task.prior.gaussian, float(task.sigma_y)
    if operator.saturates:
        operator = operator.inner
    if not operator.linear:
        return None
    full = prior.basis.shape[0] == prior.basis.shape[1]
    if operator.random or (operator.is_identity and not full):
        return MaskedEvidence(prior, sigma_y) if operator.diagonal else None
    if operator.is_identity:
        return _of(prior.mean, prior.basis, prior.excess + prior.rest, sigma_y)
    return _fixed(kept_by(operator), prior, sigma_y)


def _of(predicted, basis, values, sigma_y, seen=()):
    total = values + sigma_y**2
    return FixedEvidence(predicted, basis, jnp.sqrt(total), values / total, seen)


def _fixed(operator, prior, sigma_y):
    """The FixedEvidence of an operator's matrix. In single precision, which the noise of the data covers: an
    eigenproblem of 3072 entries then takes ten seconds of two cores.
    """
    observed = np.asarray(operator.observed(None)).ravel() > 0
    matrix = dense_matrix(operator)[observed].astype(np.float32)
    modes = matrix @ np.asarray(prior.basis)
    covariance = (modes * np.asarray(prior.excess)) @ modes.T + np.float32(prior.rest) * (matrix @ matrix.T)
    values, vectors = np.linalg.eigh(covariance)
    predicted = np.asarray(operator(prior.mean.reshape(operator.shape))).ravel()[observed]
    arrays = (predicted, np.ascontiguousarray(vectors[:, ::-1]), np.maximum(values[::-1], 0.0))
    arrays = (jnp.asarray(a, prior.mean.dtype) for a in arrays)
    return _of(*arrays, sigma_y, () if observed.all() else tuple(np.flatnonzero(observed).tolist()))
