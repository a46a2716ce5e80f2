"""Structured flow: the closed-form Gaussian posterior as its base, couplings on the standardized difference to mu_G(y)."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.coupling import CouplingStack
from aps_core.priors.gaussian import GaussianPosterior, GaussianPrior, gaussian_posterior


@flax.struct.dataclass
class BaseContext:
    """Everything that depends on the measurement alone: the base and what the couplings see of it."""

    posterior: GaussianPosterior
    offset: jax.Array  # (d,) added to the base's mean
    mode_std: jax.Array  # (K,) posterior standard deviation in each coupled mode
    features: jax.Array  # (2 K,)


class Shift(nn.Module):
    """Mean network: a shift and log-scale of each coupled mode from the condition alone; starts at zero."""

    k: int
    width: int

    @nn.compact
    def __call__(self, features):
        h = nn.Dense(self.width)(features)
        h = h + nn.Dense(self.width)(nn.silu(nn.LayerNorm()(h)))
        out = nn.Dense(2 * self.k, kernel_init=nn.initializers.zeros)(nn.silu(nn.LayerNorm()(h)))
        return out[: self.k], jnp.tanh(out[self.k :])


@flax.struct.dataclass
class GaussianBaseFlow:
    """x_G = mu_G(y) + F z (GaussianPosterior), then, in the K leading modes, x = x_G + P_K std_K (T(c) - c).

    c = P_K^T (x_G - mu_G) / std_K is the standardized difference, T a conditional elementwise affine map followed by couplings;
    both start as the identity and see mu_G in modes and the posterior standard deviations. That is all that can matter:
    the posterior under any prior p is N(mu_G, Sigma_G) times p / p_G, so (mu_G, Sigma_G) is sufficient for y.

    ``inflate`` (of the covariance) and ``offset_std`` (of the mean, in marginal standard deviations) make the base wrong on
    purpose, to test that training mends it.
    """

    prior: GaussianPrior
    sigma_y: float
    k: int = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=4)
    width: int = flax.struct.field(pytree_node=False, default=128)
    depth: int = flax.struct.field(pytree_node=False, default=2)
    inflate: float = flax.struct.field(pytree_node=False, default=1.0)
    offset_std: float = flax.struct.field(pytree_node=False, default=0.0)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.prior.dim

    @property
    def shape(self):
        """Shape of a signal."""
        return self.prior.shape

    @property
    def stack(self):
        """The scanned couplings."""
        return CouplingStack(self.k, self.width, self.steps, self.depth)

    def init(self, key):
        """Parameters with which the flow is its base."""
        k_shift, k_stack = jax.random.split(key)
        features = jnp.zeros(2 * self.k)
        return {
            "shift": Shift(self.k, 2 * self.width).init(k_shift, features),
            "couplings": self.stack.init(k_stack, 2 * self.k),
        }

    def context(self, measurement):
        """The closed-form posterior of one measurement and the features of it, computed once for all samples."""
        y = measurement.y.reshape(-1)
        observed = jnp.ones_like(y) if measurement.mask is None else measurement.mask.reshape(-1)
        posterior = gaussian_posterior(self.prior, self.sigma_y, y, observed)
        offset = self.offset_std * posterior.marginal_std if self.offset_std else jnp.zeros(self.dim)
        mode_std = jnp.sqrt(jnp.diagonal(posterior.mode_cov)[: self.k])
        prior_std = self.prior.mode_std[: self.k]
        mean = self._basis.T @ (posterior.mean - self.prior.mean) / prior_std
        features = jnp.concatenate([mean, jnp.log(mode_std / prior_std)])
        return BaseContext(posterior, offset, mode_std, features)

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        x, log_det = context.posterior.forward(jnp.sqrt(self.inflate) * z)
        x = x + context.offset
        c = self._basis.T @ (x - context.posterior.mean) / context.mode_std
        shift, log_scale = self._affine(params, context)
        moved, extra = self.stack.forward(params["couplings"], c * jnp.exp(log_scale) + shift, context.features)
        x = x + self._basis @ (context.mode_std * (moved - c))
        return x, log_det + 0.5 * self.dim * jnp.log(self.inflate) + extra + jnp.sum(log_scale)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        moved = self._basis.T @ (x - context.posterior.mean) / context.mode_std
        shift, log_scale = self._affine(params, context)
        c, extra = self.stack.inverse(params["couplings"], moved, context.features)
        c = (c - shift) * jnp.exp(-log_scale)
        x = x + self._basis @ (context.mode_std * (c - moved)) - context.offset
        z, log_det = context.posterior.inverse(x)
        return z / jnp.sqrt(self.inflate), log_det - 0.5 * self.dim * jnp.log(self.inflate) + extra - jnp.sum(log_scale)

    @property
    def _basis(self):
        return self.prior.basis[:, : self.k]

    def _affine(self, params, context):
        return Shift(self.k, 2 * self.width).apply(params["shift"], context.features)
