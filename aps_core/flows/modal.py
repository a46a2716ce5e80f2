"""Structured flow: the closed-form Gaussian posterior as its base, couplings on the standardized difference to mu_G(y)."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from aps_core.checks import noise
from aps_core.flows.base import Flow, check_masks_are_told
from aps_core.flows.coupling import CouplingStack
from aps_core.priors.gaussian import GaussianPosterior, GaussianPrior, gaussian_posterior


@flax.struct.dataclass
class ModalContext:
    """The Gaussian posterior of the K leading modes, N(mean, chol chol^T), and the features that the couplings see of
    it.
    """

    mean: jax.Array  # (K,) P_K^T (mu_G - m): posterior mean as mode amplitudes about the prior mean
    chol: jax.Array  # (K, K) lower triangular
    features: jax.Array  # (2 K,)


@flax.struct.dataclass
class BaseContext:
    """Everything that depends on the measurement alone."""

    posterior: GaussianPosterior
    modal: ModalContext
    directions: jax.Array  # O (d, K), orthonormal: e = O^T z
    z_offset: jax.Array  # (d,) added to z when the base is wrong on purpose


class ConditionalAffine(nn.Module):
    """Shift and log-scale of each coupled mode from the condition alone (the mean network); starts at zero."""

    k: int
    width: int

    @nn.compact
    def __call__(self, features):
        h = nn.Dense(self.width)(features)
        h = h + nn.Dense(self.width)(nn.silu(nn.LayerNorm()(h)))
        out = nn.Dense(2 * self.k, kernel_init=nn.initializers.zeros)(nn.silu(nn.LayerNorm()(h)))
        return out[: self.k], jnp.tanh(out[self.k :])


@flax.struct.dataclass
class GaussianBaseFlow(Flow):
    """x = mu_G(y) + F z', where z' = z + O (T(e) - e) and e = O^T z is the standardized difference to mu_G(y) in the K
    leading modes.

    With Sigma_K = P_K^T Sigma_G P_K = L L^T, the directions O = F^T P_K L^-T are orthonormal, so that e = L^-1 P_K^T
    (x_G - mu_G) is standard normal under the base and all else of x follows it by its Gaussian regression on the modes.
    T is a conditional elementwise affine map followed by couplings; it starts as the identity and sees mu_G in modes
    and the posterior standard deviations. That is all that can matter: the posterior under any prior p is N(mu_G,
    Sigma_G) times p / p_G, so (mu_G, Sigma_G) is sufficient for y; and where p / p_G depends on the K modes alone, this
    family holds the true posterior.

    ``inflate`` (of the covariance) and ``offset_std`` (of the mean, in marginal standard deviations) make the base
    wrong on purpose, to test that training mends it.
    """

    serves_any_noise = True
    serves_any_mask = True
    has_modal_context = True

    prior: GaussianPrior
    sigma_y: float
    k: int = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=4)
    width: int = flax.struct.field(pytree_node=False, default=128)
    depth: int = flax.struct.field(pytree_node=False, default=2)
    inflate: float = flax.struct.field(pytree_node=False, default=1.0)
    offset_std: float = flax.struct.field(pytree_node=False, default=0.0)

    @classmethod
    def for_task(cls, task, **settings):
        """The untrained flow for denoising or masks; settings: the fields from ``k`` on."""
        if not task.operator.diagonal:
            raise ValueError('flow "gaussian-base" is for denoising and masks; "tokens" takes any linear operator')
        check_masks_are_told("gaussian-base", task.operator)
        return cls(task.prior.gaussian, float(task.sigma_y), **settings)

    def with_noise(self, sigma_y):
        """The flow for another noise level, which its networks see in the Gaussian posterior."""
        return self.replace(sigma_y=noise("sigma_y", sigma_y))

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
        k_affine, k_stack = jax.random.split(key)
        return {
            "affine": self._affine.init(k_affine, jnp.zeros(2 * self.k)),
            "couplings": self.stack.init(k_stack, 2 * self.k),
        }

    def context(self, measurement):
        """The closed-form posterior of one measurement and what the couplings need of it, computed once for all
        samples.
        """
        y = measurement.y.reshape(-1)
        observed = jnp.ones_like(y) if measurement.mask is None else measurement.mask.reshape(-1)
        posterior = gaussian_posterior(self.prior, self.sigma_y, y, observed)
        modal = self.modal_context(posterior)
        # F^T P_K, by F = D^(-1/2) (I - W W^T)^(-1/2) with a symmetric second factor
        root, scaled = jnp.sqrt(posterior.b), self._basis / posterior.root_d[:, None]
        turned = scaled + (posterior.wq / (root * (1 + root))) @ (posterior.wq.T @ scaled)
        directions = solve_triangular(modal.chol, turned.T, lower=True).T
        z_offset = jnp.zeros(self.dim)
        if self.offset_std:
            z_offset = posterior.inverse(posterior.mean + self.offset_std * posterior.marginal_std)[0]
        return BaseContext(posterior, modal, directions, z_offset)

    def modal_context(self, posterior):
        """The ModalContext of a GaussianPosterior."""
        chol = jnp.linalg.cholesky(posterior.mode_cov[: self.k, : self.k])
        prior_std = self.prior.mode_std[: self.k]
        mean = (posterior.mean - self.prior.mean) @ self._basis
        spread = jnp.sqrt(jnp.sum(chol**2, axis=1))
        return ModalContext(mean, chol, jnp.concatenate([mean / prior_std, jnp.log(spread / prior_std)]))

    def modal_forward(self, params, e, modal):
        """T(e) and log|det dT/de| for one e (K,)."""
        shift, log_scale = self._affine.apply(params["affine"], modal.features)
        moved, log_det = self.stack.forward(params["couplings"], e * jnp.exp(log_scale) + shift, modal.features)
        return moved, log_det + jnp.sum(log_scale)

    def modal_inverse(self, params, moved, modal):
        """T^-1 and its log|det| for one point (K,)."""
        shift, log_scale = self._affine.apply(params["affine"], modal.features)
        e, log_det = self.stack.inverse(params["couplings"], moved, modal.features)
        return (e - shift) * jnp.exp(-log_scale), log_det - jnp.sum(log_scale)

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        z = jnp.sqrt(self.inflate) * z + context.z_offset
        e = z @ context.directions
        moved, log_det = self.modal_forward(params, e, context.modal)
        x, base_log_det = context.posterior.forward(z + context.directions @ (moved - e))
        return x, base_log_det + log_det + 0.5 * self.dim * jnp.log(self.inflate)

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        z, base_log_det = context.posterior.inverse(x)
        moved = z @ context.directions
        e, log_det = self.modal_inverse(params, moved, context.modal)
        z = z + context.directions @ (e - moved) - context.z_offset
        return z / jnp.sqrt(self.inflate), base_log_det + log_det - 0.5 * self.dim * jnp.log(self.inflate)

    @property
    def _basis(self):
        return self.prior.basis[:, : self.k]

    @property
    def _affine(self):
        return ConditionalAffine(self.k, 2 * self.width)
