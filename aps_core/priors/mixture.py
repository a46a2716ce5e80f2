"""Gaussian mixture prior: its density and score at every diffusion time."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import real
from aps_core.diffusion import VPSDE, LinearSDE
from aps_core.priors import bound
from aps_core.priors.base import Prior
from aps_core.priors.gaussian import GaussianPrior


@flax.struct.dataclass
class GaussianMixturePrior(Prior):
    """sum_j w_j N(m_j, V_j diag(l_j) V_j^T) over flattened signals of d entries in [0, 1]; made by
    ``gaussian_mixture``.

    log_weights (m,), log-normalised; means (m, d); eigenvectors V (m, d, d) in columns; eigenvalues l (m, d) > 0.
    Every entry costs O(m d): for problems small enough to know the answer.
    """

    has_log_ratio = True
    has_log_prob_at = True

    log_weights: jax.Array
    means: jax.Array
    eigenvectors: jax.Array
    eigenvalues: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)
    sde: LinearSDE = flax.struct.field(pytree_node=False, default=VPSDE())
    t_residual: float = flax.struct.field(pytree_node=False, default=1e-4)

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.means.shape[1]

    @property
    def mean(self):
        """Mean of the mixture, (d,)."""
        return jnp.exp(self.log_weights) @ self.means

    @property
    def gaussian(self):
        """The GaussianPrior with the mean and covariance of the mixture; all d modes, its rest is the smallest
        eigenvalue.
        """
        values, vectors = jnp.linalg.eigh(self.covariance())
        return GaussianPrior(
            self.mean, vectors[:, ::-1], (values - values[0])[::-1], values[0], shape=self.shape, sde=self.sde
        )

    def covariance(self):
        """The full covariance (d, d): within the components and between them."""
        weights, away = jnp.exp(self.log_weights), self.means - self.mean
        within = jnp.einsum("m,mij,mj,mkj->ik", weights, self.eigenvectors, self.eigenvalues, self.eigenvectors)
        return within + jnp.einsum("m,mi,mk->ik", weights, away, away)

    def log_prob(self, x):
        """Exact log density of one signal of shape ``shape``, in nats."""
        return self._log_density(x.reshape(-1), self.means, self.eigenvalues)[0]

    def log_prob_at(self, ut, t):
        """log p_t of ``ut`` (d,), the density of the diffused u = 2 x - 1 in nats of the u scale."""
        return self._log_density(ut, *self._at(t))[0]

    def sample(self, key, n):
        """n draws, (n, *shape)."""
        k_component, k_z = jax.random.split(key)
        component = jax.random.categorical(k_component, self.log_weights, shape=(n,))
        z = jnp.sqrt(self.eigenvalues)[component] * jax.random.normal(k_z, (n, self.dim))
        # every component turns every draw: m times the work, but no copy of the eigenvectors for each draw
        x = jnp.einsum("mij,nj->mni", self.eigenvectors, z) + self.means[:, None]
        return x[component, jnp.arange(n)].reshape((n, *self.shape))

    def eps(self, ut, t):
        """Optimal noise prediction -beta(t) grad log p_t at ``ut`` (d,), where u = 2 x - 1 is the diffused variable."""
        means, variances = self._at(t)
        _, share, c = self._log_density(ut, means, variances)
        return self.sde.beta(t) * jnp.einsum("m,mij,mj->i", share, self.eigenvectors, c / variances)

    def score(self, ut, t):
        """grad log p_t at ``ut`` (d,), in the scale u = 2 x - 1."""
        return -self.eps(ut, t) / self.sde.beta(t)

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p(x) in nats (density of x), from ``n_times`` low-discrepancy times."""
        return bound.mean_bound(self, key, x, n_times)

    def log_ratio_at(self, key, x, t):
        """One-sample estimate of (bound on log p) - (log density of ``gaussian``) at one likelihood-weighted time in
        [t_residual, 1].
        """
        gaussian = self.gaussian
        u = 2 * x.reshape(-1) - 1
        return bound.log_ratio_at(
            gaussian.eps, lambda ut, s: self.eps(ut, s) - gaussian.eps(ut, s), self.sde, u, t, key, self.t_residual
        )

    def _at(self, t):
        """Means (m, d) and eigenvalues (m, d) of the components of u_t."""
        alpha, beta = self.sde.alpha(t), self.sde.beta(t)
        return alpha * (2 * self.means - 1), 4 * alpha**2 * self.eigenvalues + beta**2

    def _log_density(self, v, means, variances):
        """log density of ``v`` (d,), the share of each component in it (m,), and its coordinates V_j^T (v - mean_j),
        (m, d).
        """
        c = jnp.einsum("mij,mi->mj", self.eigenvectors, v - means)
        terms = self.log_weights - 0.5 * jnp.sum(c**2 / variances + jnp.log(2 * jnp.pi * variances), axis=1)
        return jax.nn.logsumexp(terms), jax.nn.softmax(terms), c


def gaussian_mixture(weights, means, covariances, shape=None, sde=VPSDE()):
    """The GaussianMixturePrior of ``weights`` (m,) > 0, normalised here, ``means`` (m, d) and ``covariances`` (m, d,
    d).

    ``shape`` of a signal is (d,) unless told. Raises ValueError for shapes that do not agree, weights that are not
    positive and finite, or covariances that are not symmetric and positive definite.
    """
    arrays = {"weights": weights, "means": means, "covariances": covariances}
    weights, means, covariances = (np.asarray(real(name, a), np.float64) for name, a in arrays.items())
    if means.ndim != 2:
        raise ValueError(f"means must have shape (m, d), got {means.shape}")
    m, d = means.shape
    shape = (d,) if shape is None else tuple(shape)
    if weights.shape != (m,) or covariances.shape != (m, d, d) or np.prod(shape) != d:
        raise ValueError(
            f"expected weights ({m},), covariances ({m}, {d}, {d}) and a shape of {d} entries for means {means.shape}, "
            f"got {weights.shape}, {covariances.shape} and {shape}"
        )
    if not np.all((weights > 0) & np.isfinite(weights)):
        raise ValueError(f"weights must be positive and finite, got {weights}")
    if not np.allclose(covariances, covariances.transpose(0, 2, 1), atol=1e-6 * np.abs(covariances).max()):
        raise ValueError("covariances must be symmetric")
    values, vectors = np.linalg.eigh(covariances)
    if not np.all(values > 0):
        raise ValueError(f"covariances must be positive definite, the smallest eigenvalue is {values.min():.3g}")
    arrays = (np.log(weights / weights.sum()), means, vectors, values)
    return GaussianMixturePrior(*(jnp.asarray(a, jnp.result_type(float)) for a in arrays), shape=shape, sde=sde)
