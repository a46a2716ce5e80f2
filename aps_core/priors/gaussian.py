"""Gaussian prior N(mean, P diag(L) P^T + s^2 I): its density, its score at every time, and its closed-form posterior.

Here and elsewhere P^T v is written v @ P: for P.T @ v XLA makes a transposed copy of P at every call on a CPU, thirty
times the work.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import count, is_number, random_key, real_array
from aps_core.diffusion import VPSDE
from aps_core.priors import bound
from aps_core.priors.base import Prior


@flax.struct.dataclass
class GaussianPrior(Prior):
    """A Gaussian with k leading modes and an isotropic rest, over flattened signals of d entries in [0, 1].

    mean (d,), basis P (d, k) with orthonormal columns, excess L (k,) >= 0 (variance beyond the rest), rest s^2 > 0
    (scalar).
    """

    is_gaussian = True

    mean: jax.Array
    basis: jax.Array
    excess: jax.Array
    rest: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)
    sde: VPSDE = flax.struct.field(pytree_node=False, default=VPSDE())

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.mean.shape[0]

    @property
    def gaussian(self):
        """The Gaussian part of the prior: the prior itself."""
        return self

    @property
    def marginal_std(self):
        """Standard deviation of each entry (d,)."""
        return jnp.sqrt(self.rest + jnp.sum(self.basis**2 * self.excess, axis=1))

    @property
    def mode_std(self):
        """Standard deviation along each mode, (k,)."""
        return jnp.sqrt(self.excess + self.rest)

    def covariance(self):
        """The full covariance (d, d): only for small d."""
        return (self.basis * self.excess) @ self.basis.T + self.rest * jnp.eye(self.dim)

    def log_prob(self, x):
        """Exact log density of one signal of shape ``shape``, in nats."""
        v = x.reshape(-1) - self.mean
        c = v @ self.basis
        k = self.excess.shape[0]
        # P^T v is taken out twice (inside v.v / s^2 and again here) in one term, to avoid subtracting large numbers
        outside = jnp.sum((v - self.basis @ c) ** 2)
        quadratic = outside / self.rest + jnp.sum(c**2 / (self.excess + self.rest))
        log_det = jnp.sum(jnp.log(self.excess + self.rest)) + (self.dim - k) * jnp.log(self.rest)
        return -0.5 * (quadratic + log_det + self.dim * jnp.log(2 * jnp.pi))

    def sample(self, key, n):
        """n draws, (n, *shape). Raises TypeError or ValueError for what is no key or no count."""
        n, key = count("n", n), random_key("key", key)
        k_modes, k_rest = jax.random.split(key)
        modes = jax.random.normal(k_modes, (n, self.excess.shape[0])) * jnp.sqrt(self.excess)
        rest = jax.random.normal(k_rest, (n, self.dim)) * jnp.sqrt(self.rest)
        return (self.mean + modes @ self.basis.T + rest).reshape((n, *self.shape))

    def eps(self, ut, t):
        """Optimal noise prediction -beta(t) grad log p_t at ``ut`` (d,), where u = 2 x - 1 is the diffused variable."""
        alpha, beta = self.sde.alpha(t), self.sde.beta(t)
        v = ut - alpha * (2 * self.mean - 1)
        rest = 4 * alpha**2 * self.rest + beta**2
        modes = 4 * alpha**2 * self.excess + rest
        return beta * (v / rest + self.basis @ ((1 / modes - 1 / rest) * (v @ self.basis)))

    def score(self, ut, t):
        """grad log p_t at ``ut`` (d,), in the scale u = 2 x - 1."""
        return -self.eps(ut, t) / self.sde.beta(t)

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p(x) in nats (density of x), from ``n_times`` low-discrepancy times."""
        return bound.mean_bound(self, key, x, n_times)


def fit_gaussian(signals, n_modes, diagonal=0.0, sde=VPSDE()):
    """Maximum-likelihood probabilistic PCA (Tipping & Bishop 1999) of ``signals`` (n, *shape), with ``diagonal`` added
    to the variances.

    The rest is the mean of the variances outside the ``n_modes`` leading modes (zero when there are none). Mode signs
    are fixed so that the entry of largest magnitude is positive. Raises ValueError when the rest variance is not
    positive.
    """
    signals, n_modes = real_array("signals", signals), count("n_modes", n_modes)
    is_number("diagonal", diagonal)
    if signals.ndim < 2 or len(signals) < 2 or not signals.size:
        raise ValueError(f"signals must have shape (n, *shape), at least two of them, got {signals.shape}")
    if not np.isfinite(signals).all():
        raise ValueError(
            f"signals hold {int((~np.isfinite(signals)).sum())} entries that are not finite, expected numbers"
        )
    n, shape = signals.shape[0], signals.shape[1:]
    flat = signals.reshape(n, -1)
    dim = flat.shape[1]
    if not 0 < n_modes <= dim:
        raise ValueError(f"n_modes must lie in 1..{dim}, got {n_modes}")
    mean = flat.mean(axis=0)
    _, singular, rows = np.linalg.svd(flat - mean, full_matrices=n < dim and n_modes > n)
    variances = np.zeros(dim)
    variances[: singular.size] = singular**2 / (n - 1)
    rest = (variances[n_modes:].mean() if n_modes < dim else 0.0) + diagonal
    if not 0 < rest < np.inf:
        raise ValueError(
            f"the variance outside the {n_modes} modes is {rest}; expected above 0: use fewer modes or a positive diagonal"
        )
    basis = rows[:n_modes].T
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(n_modes)])
    excess = np.maximum(variances[:n_modes] + diagonal - rest, 0.0)
    as32 = lambda a: jnp.asarray(a, dtype=jnp.float32)  # noqa: E731
    return GaussianPrior(as32(mean), as32(basis), as32(excess), as32(rest), shape=tuple(shape), sde=sde)


@flax.struct.dataclass
class GaussianPosterior:
    """Closed-form posterior of a GaussianPrior under y = m * x + N(0, sigma^2), as a bijection x = mean + F z.

    D = 1/s^2 + m/sigma^2, S = L/(L + s^2), W = D^(-1/2) P (S/s^2)^(1/2), B = I - W^T W = Q diag(b) Q^T, and
    F = D^(-1/2) (I - W W^T)^(-1/2). Only the k x k eigenproblem of B is solved per mask, and none where nothing is hidden:
    the posterior's modes are then the prior's.
    """

    mean: jax.Array  # (d,)
    root_d: jax.Array  # D^(1/2), (d,)
    wq: jax.Array  # W Q, (d, k)
    b: jax.Array  # (k,)
    mode_cov: jax.Array  # P^T Sigma P, (k, k)

    def forward(self, z):
        """x = mean + F z and log|det F|, for z (d,)."""
        root = jnp.sqrt(self.b)
        v = z + self.wq @ ((z @ self.wq) / (root * (1 + root)))
        return self.mean + v / self.root_d, self.log_det

    def inverse(self, x):
        """z = F^(-1) (x - mean) and log|det F^(-1)|."""
        v = (x - self.mean) * self.root_d
        return v - self.wq @ ((v @ self.wq) / (1 + jnp.sqrt(self.b))), -self.log_det

    @property
    def log_det(self):
        """log|det F|."""
        return -jnp.sum(jnp.log(self.root_d)) - 0.5 * jnp.sum(jnp.log(self.b))

    @property
    def marginal_std(self):
        """Standard deviation of each entry, (d,)."""
        return jnp.sqrt(1 + jnp.sum(self.wq**2 / self.b, axis=1)) / self.root_d

    def covariance(self):
        """The full covariance (d, d): only for small d."""
        inner = jnp.eye(self.root_d.shape[0]) + (self.wq / self.b) @ self.wq.T
        return inner / self.root_d[:, None] / self.root_d[None, :]


def gaussian_posterior(prior, sigma_y, y, observed=None):
    """The GaussianPosterior for flat data ``y`` (d,) and ``observed`` (d,), 1 where measured; None: everywhere.

    B = diag(s^2/(L + s^2)) + c S^(1/2) P_o^T P_o S^(1/2), with c = 1 - a/s^2 and a = 1/(1/s^2 + 1/sigma^2), is a sum of
    positive parts: nothing cancels where a leading mode's variance is a million times the rest.
    """
    s2, excess, basis = prior.rest, prior.excess, prior.basis
    shrink = jnp.sqrt(excess / (excess + s2))
    gain = s2 / (s2 + sigma_y**2)  # c
    if observed is None:  # P_o = P, and P^T P = I: B is diagonal
        observed = jnp.ones_like(prior.mean)
        b = s2 / (excess + s2) + gain * shrink**2
        gram, turned = jnp.eye(excess.shape[0]), basis * shrink
        grq = jnp.diag(s2 * (1 - gain) * shrink / jnp.sqrt(s2))
    else:
        seen = basis * observed[:, None]
        gram = seen.T @ seen
        b_matrix = jnp.diag(s2 / (excess + s2)) + gain * shrink[:, None] * gram * shrink[None, :]
        b, q = jnp.linalg.eigh(b_matrix)
        b = jnp.maximum(b, jnp.finfo(b.dtype).tiny)
        turned = basis @ (shrink[:, None] * q)
        grq = (s2 * (jnp.eye(excess.shape[0]) - gain * gram) * (shrink / jnp.sqrt(s2))) @ q
    root_d = jnp.sqrt(1 / s2 + observed / sigma_y**2)
    wq = turned / (root_d[:, None] * jnp.sqrt(s2))

    # P^T Sigma P = G + G R B^(-1) R G with G = P^T D^(-1) P = s^2 (I - c P_o^T P_o) and R = (S/s^2)^(1/2)
    mode_cov = s2 * (jnp.eye(excess.shape[0]) - gain * gram) + (grq / b) @ grq.T

    posterior = GaussianPosterior(prior.mean, root_d, wq, b, mode_cov)
    # mean = mu + Sigma A^T (y - A mu) / sigma^2, with Sigma v = F F^T v
    v = observed * (y - prior.mean) / sigma_y**2 / root_d
    v = v + wq @ ((v @ wq) / b)
    return replace(posterior, mean=prior.mean + v / root_d)
