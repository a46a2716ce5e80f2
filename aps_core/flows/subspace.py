"""Structured flow in the local coordinates of a SubspacePrior: the closed-form Gaussian posterior, the score network's
estimate, couplings.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.base import check_masks_are_told
from aps_core.flows.coupling import MaskedCouplings, alternating_masks
from aps_core.flows.modal import GaussianBaseFlow, ModalContext
from aps_core.priors.networks.local import LocalMLP, Neighbourhoods

NETWORK_FIELDS = ("tokens", "width", "depth", "context", "site", "time_width", "mix", "near")  # of the prior's network


class PosteriorNetwork(LocalMLP):
    """A LocalMLP with more to see and more to say: its parameters have the same names, so that the prior's can stand in
    their place.

    signal, noise, spread (d,) and t -> the residual (d,), log-scales (d,) in (-3, 3), and ``told`` numbers of each site
    for the couplings.
    """

    told: int = 12

    @nn.compact
    def __call__(self, signal, noise, spread, t):
        zeros = {"kernel_init": nn.initializers.zeros}
        more = nn.Dense(self.width, use_bias=False, name="spread", **zeros)(spread[:, None])
        h = self.hidden(signal, t, noise, more)
        residual, log_scale = (nn.Dense(1, name=name, **zeros)(h)[:, 0] for name in ("out", "log_scale"))
        return residual, 3 * jnp.tanh(log_scale / 3), nn.silu(nn.Dense(self.told, name="told")(h))


class SiteConditioner(nn.Module):
    """Kept coordinates of the neighbours and what a site was told, to log-scale and shift (d,); one MLP for all sites,
    zero at the start.
    """

    tokens: Neighbourhoods
    width: int
    depth: int

    @nn.compact
    def __call__(self, kept, known):
        mask, told = known
        near = jnp.stack([kept, mask], axis=1)[self.tokens.index].reshape(len(self.tokens.index), -1)
        h = nn.Dense(self.width)(jnp.concatenate([near, told], axis=1))
        for _ in range(self.depth - 1):
            h = h + nn.Dense(self.width)(nn.silu(h))
        out = nn.Dense(2, kernel_init=nn.initializers.zeros)(nn.silu(h))
        return out[:, 0], out[:, 1]


class SiteCouplings(MaskedCouplings):
    """MaskedCouplings whose network is told the mask too: the same weights serve sites whose neighbours are kept in
    other places.
    """

    def init(self, key, condition):
        """Stacked parameters, given a condition of the right shape."""
        return super().init(key, (jnp.ones(self.masks.shape[1:]), condition))

    def _changes(self, layer, x, condition):
        return super()._changes(layer, x, (layer[1], condition))


@flax.struct.dataclass
class SubspaceFlow(GaussianBaseFlow):
    """x = mu_G(y) + F z', where z' = z + O (T(e) - e), e = O^T z = L^-1 W^T (x_G - mu_G), and L L^T = W^T Sigma_G W.

    As GaussianBaseFlow, in the basis W (d, K) of local functions: there L is nearly diagonal, and a posterior that is
    sharp in one place and wide in another, which the Gaussian one is not, is a scale of single coordinates. T(e) =
    couplings(exp(a) e + b). Of the measurement everything sees mu_G in the coordinates, the noise that the Gaussian
    finds in y, C^-1 W^T (mu_G - m) in units of the noise, with the prior covariance C, and the posterior standard
    deviations.

    b = -L^T C^(-1/2) o, where o is the output of a copy of the prior's score network at the noise level of one
    coordinate, sigma_y / (1 - missing)^(1/2): a mask hides about the same share of each. Where it hides nothing this is
    Tweedie's estimate, so that before any training the flow has the posterior mean under the learned prior, and the
    Gaussian's covariance; else it is a first guess.
    """

    local: jax.Array = None  # W
    root: jax.Array = None  # C^(-1/2) (K, K), in the coordinates
    # the prior's network parameters, from which ``init`` starts; without them at the Gaussian posterior
    teacher: dict = None
    missing: float = 0.0
    scale: float = 1.0  # root of the mean prior variance of a coordinate
    # neighbourhoods and widths of the prior's network
    network: tuple = flax.struct.field(pytree_node=False, default=())
    told: int = flax.struct.field(pytree_node=False, default=12)

    @classmethod
    def for_task(cls, task, copy=True, vectorized=False, **settings):
        """The untrained flow for denoising and random masks under a SubspacePrior whose network is "local".

        copy: start from the prior's network, else from the Gaussian posterior; ``vectorized`` makes it a
        VectorizedSubspaceFlow. settings: ``steps``, ``width`` and ``depth`` of the couplings, ``told``.
        """
        prior = task.prior
        if not prior.has_coordinates or not task.operator.diagonal:
            raise ValueError(
                'flow "subspace" needs a SubspacePrior, and is for denoising and random masks, got other than expected'
            )
        check_masks_are_told("subspace", task.operator)
        network, gaussian = prior.inner.network, prior.gaussian
        if not network.has_sites or not prior.inner.residual:
            raise ValueError(
                'flow "subspace" needs a SubspacePrior whose network is "local", on the residual to a Gaussian score'
            )
        turn = gaussian.basis.T @ prior.basis
        return (VectorizedSubspaceFlow if vectorized else cls)(
            gaussian,
            float(task.sigma_y),
            k=prior.basis.shape[1],
            local=prior.basis,
            root=turn.T @ (turn / gaussian.mode_std[:, None]),
            teacher=prior.inner.params if copy and not vectorized else None,
            missing=float(task.operator.share_missing),
            scale=jnp.sqrt(gaussian.rest + jnp.mean(gaussian.excess)),
            network=tuple(getattr(network, name) for name in NETWORK_FIELDS),
            **settings,
        )

    @property
    def _network(self):
        return PosteriorNetwork(*self.network, told=self.told)

    @property
    def couplings(self):
        """The scanned couplings: in each a random half of the coordinates is kept."""
        return SiteCouplings(
            SiteConditioner(self.network[0], self.width, self.depth), alternating_masks(self.steps, self.k)[:, 0]
        )

    def init(self, key):
        """Parameters with which the flow is a Gaussian around the score network's estimate."""
        k_network, k_couplings = jax.random.split(key)
        blank = jnp.zeros(self.k)
        network = self._network.init(k_network, blank, blank, blank, 0.5)
        copied = {} if self.teacher is None else self.teacher["params"]
        return {
            "network": {"params": {**network["params"], **copied}},
            "couplings": self.couplings.init(k_couplings, jnp.zeros((self.k, self.told))),
        }

    @property
    def time(self):
        """The time of the diffusion at which its noise is that of one coordinate."""
        return self.prior.sde.time_of(2 * jnp.log(2 * self.sigma_y / jnp.sqrt(1 - self.missing)))

    def modal_context(self, posterior):
        """The ModalContext of a GaussianPosterior, in the local coordinates."""
        turn = self.prior.basis.T @ self.local  # (K, K), orthogonal
        chol = jnp.linalg.cholesky(turn.T @ posterior.mode_cov @ turn)
        return self.local_context((posterior.mean - self.prior.mean) @ self.local, chol)

    def local_context(self, mean, chol):
        """The ModalContext of mean (K,) and Cholesky factor (K, K) of the coordinates' posterior, with the features
        that the networks see.
        """
        noise = self.sigma_y / jnp.sqrt(1 - self.missing) * (self.root @ (self.root @ mean))
        spread = jnp.log(jnp.sqrt(jnp.sum(chol**2, axis=1)) / self.sigma_y)
        return ModalContext(mean, chol, jnp.stack([mean / self.scale, noise, spread]))

    def _seen(self, params, modal):
        residual, log_scale, told = self._network.apply(params["network"], *modal.features, self.time)
        return -(self.root @ residual) @ modal.chol, log_scale, told

    def modal_forward(self, params, e, modal):
        """T(e) and log|det dT/de| for one e (K,)."""
        shift, log_scale, told = self._seen(params, modal)
        moved, log_det = self.couplings.forward(params["couplings"], e * jnp.exp(log_scale) + shift, told)
        return moved, log_det + jnp.sum(log_scale)

    def modal_inverse(self, params, moved, modal):
        """T^-1 and its log|det| for one point (K,)."""
        shift, log_scale, told = self._seen(params, modal)
        e, log_det = self.couplings.inverse(params["couplings"], moved, told)
        return (e - shift) * jnp.exp(-log_scale), log_det - jnp.sum(log_scale)

    @property
    def _basis(self):
        return self.local


@flax.struct.dataclass
class VectorizedSubspaceFlow(SubspaceFlow):
    """A SubspaceFlow whose networks take the same features as one vector and know of no neighbours, as the paper's do:
    for comparison.

    T is that of GaussianBaseFlow, a conditional affine map and couplings in the coordinates; it starts as the identity.
    """

    def init(self, key):
        """Parameters with which the flow is its base."""
        k_affine, k_stack = jax.random.split(key)
        return {
            "affine": self._affine.init(k_affine, jnp.zeros(3 * self.k)),
            "couplings": self.stack.init(k_stack, 3 * self.k),
        }

    def modal_forward(self, params, e, modal):
        """T(e) and log|det dT/de| for one e (K,)."""
        return GaussianBaseFlow.modal_forward(self, params, e, modal.replace(features=modal.features.reshape(-1)))

    def modal_inverse(self, params, moved, modal):
        """T^-1 and its log|det| for one point (K,)."""
        return GaussianBaseFlow.modal_inverse(self, params, moved, modal.replace(features=modal.features.reshape(-1)))
