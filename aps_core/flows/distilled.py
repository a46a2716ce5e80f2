"""Flow whose condition network is the prior's score network: it starts from the network's own estimate of the posterior
mean.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.flows.base import Flow
from aps_core.flows.coupling import MaskedCouplings, alternating_masks
from aps_core.flows.tokens import TokenConditioner
from aps_core.operators import Operator
from aps_core.priors.linear_gaussian import PosteriorModes, posterior_modes
from aps_core.priors.networks.features import fourier_features
from aps_core.priors.networks.patches import PatchTransformer, TokenTrunk


@flax.struct.dataclass
class DistilledContext:
    """Everything that depends on the measurement alone."""

    mean: jax.Array  # mu_G(y) (d,)
    signal: jax.Array  # mu_G(y) about the prior mean, in the scale that the score network sees (d,)
    noise: jax.Array  # A^T (y - A mu_G) / sigma_y (d,)
    guess: jax.Array | None = None  # what the score network, as it came, says in the place of o(y) (d,)


class PosteriorNetwork(nn.Module):
    """The trunk and the output of a PatchTransformer, with two more outputs that start at zero.

    Tokens (n_tokens, m), time -> hidden tokens, residual (n_tokens, size), log-scale (n_tokens, size), band
    log-scales (n_bands,). The names of its parameters are those of a PatchTransformer, so that the prior's can stand in
    their place.
    """

    size: int
    n_bands: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float

    @nn.compact
    def __call__(self, tokens, t):
        h = TokenTrunk(self.width, self.depth, self.heads, self.mlp_ratio)(tokens, fourier_features(t, 64))
        zeros = {"kernel_init": nn.initializers.zeros}
        residual, log_scale = nn.Dense(self.size, **zeros)(h), nn.Dense(self.size, **zeros)(h)
        return h, residual, jnp.tanh(log_scale), jnp.tanh(nn.Dense(self.n_bands, **zeros)(h.mean(axis=0)))


@flax.struct.dataclass
class DistilledFlow(Flow):
    """x = mu_G(y) - Sigma_G Sigma^(-1/2) o(y) + s T(V diag(std exp(a(y))) z / s; y), for a fixed linear operator.

    mu_G, Sigma_G = V diag(std^2) V^T: the closed-form posterior under the prior's Gaussian, s its marginal standard
    deviations. o is the output of the score network's copy, given mu_G and the noise that the Gaussian finds in y, at
    the time whose denoising leaves as much variance as Sigma_G. For denoising that is exactly Tweedie's estimate:
    before any training the mean of the flow is the posterior mean under the learned prior, and its covariance Sigma_G.
    For other operators it is a first guess of the size and in the directions that Stein's identity says (see
    PosteriorModes). The network is trained on; a(y), constants and ``n_bands`` smooth functions of the mode's number,
    sets the variance along the posterior's modes, and T, an elementwise scale and ``steps`` couplings over tokens, all
    else.
    """

    modes: PosteriorModes
    # the prior's network parameters, from which ``init`` starts; without them at the closed form
    teacher: dict | None
    sigma_y: float
    t: float
    scale: jax.Array  # root of the mean prior variance
    operator: Operator = flax.struct.field(pytree_node=False)
    network: PatchTransformer = flax.struct.field(pytree_node=False)  # the prior's: its tokens, width and depth
    steps: int = flax.struct.field(pytree_node=False, default=4)
    width: int = flax.struct.field(pytree_node=False, default=96)
    depth: int = flax.struct.field(pytree_node=False, default=1)
    n_bands: int = flax.struct.field(pytree_node=False, default=12)

    @classmethod
    def for_task(cls, task, copy=True, **settings):
        """The untrained flow for any fixed linear operator under a NetworkPrior whose network is "patches".

        copy: start from the prior's network, else at the closed form; settings: the fields from ``steps`` on.
        """
        prior = task.prior
        if not prior.has_fast_sampler or not prior.network.has_token_trunk:
            raise ValueError(
                'flow "distilled" needs a NetworkPrior whose network is "patches" on the residual to a Gaussian score'
            )
        modes = posterior_modes(prior.gaussian, task.operator, float(task.sigma_y))
        time, scale = matched_time(modes, prior.gaussian), jnp.sqrt(prior.mean_variance) / 2
        teacher = prior.params if copy else None
        return cls(modes, teacher, float(task.sigma_y), time, scale, task.operator, prior.network, **settings)

    @property
    def shape(self):
        """Shape of a signal."""
        return tuple(self.operator.shape)

    @property
    def tokens(self):
        """How signals are cut."""
        return self.network.tokens

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.modes.std.shape[0]

    @property
    def couplings(self):
        """The scanned couplings: in each a random half of every token's entries is kept, and what pads a token."""
        n_tokens, size = self.tokens.shape
        masks = np.where(self.tokens.valid, alternating_masks(self.steps, size, n_tokens), np.float32(1))
        return MaskedCouplings(TokenConditioner(size, self.width, self.depth), masks)

    @property
    def _network(self):
        return PosteriorNetwork(
            self.tokens.shape[1],
            self._n_outputs,
            self.network.width,
            self.network.depth,
            self.network.heads,
            self.network.mlp_ratio,
        )

    def init(self, key):
        """Parameters with which the flow is a Gaussian around the score network's estimate."""
        k_network, k_couplings = jax.random.split(key)
        n_tokens, size = self.tokens.shape
        network = self._network.init(k_network, jnp.zeros((n_tokens, 2 * size)), self.t)
        couplings = self.couplings.init(k_couplings, jnp.zeros((n_tokens, self.network.width)))
        copied = {} if self.teacher is None else self.teacher["params"]
        network = {"params": {**network["params"], **copied}}
        return {"network": network, "couplings": couplings, "spectrum": jnp.zeros(self.dim)}

    def context(self, measurement):
        """What the flow sees of one measurement, computed once for all samples."""
        y = measurement.y.reshape(-1)
        mean = self.modes.mean(y)
        misfit = measurement.y - self.operator(mean.reshape(self.shape))
        noise = self.operator.adjoint(misfit).reshape(-1) / self.sigma_y
        return DistilledContext(mean, (mean - self.modes.prior_mean) / self.scale, noise)

    def first_guess(self, context):
        """The mean before any training (d,), by the score network as it came: for denoising Tweedie's estimate.

        Raises ValueError for a flow that was made without a copy of that network.
        """
        if self.teacher is None:
            raise ValueError("the flow has no copy of the score network, expected one that was made with copy = True")
        return context.mean - self.modes.pull @ self._score_network(context)

    def _score_network(self, context):
        """Noise (d,) that the score network, as it came, finds."""
        return self.network.apply(self.teacher, context.signal, self.t, context.noise)

    def _seen(self, params, context):
        """Shift (d,), log-scale of the modes (d,), hidden tokens and log-scale of the entries (n_tokens, size)."""
        tokens = jnp.concatenate([self.tokens.cut(part) for part in self._inputs(context)], axis=1)
        h, residual, log_scale, bands = self._network.apply(params["network"], tokens, self.t)
        shift = -(self.modes.pull @ self._found(self.tokens.join(residual), context))
        return shift, self._spectrum(params, bands), h, jnp.where(self.tokens.valid, log_scale, 0.0)

    def _found(self, residual, context):
        """o(y) (d,), given what the trained network says of it."""
        del context
        return residual

    _n_outputs = property(lambda self: self.n_bands, doc="Number of band log-scales.")

    def _inputs(self, context):
        """Signals (d,) that the network sees, cut into tokens."""
        return context.signal, context.noise

    def _spectrum(self, params, bands):
        """Log-scale of the modes (d,) from the network's band log-scales."""
        return params["spectrum"] + hats(self.dim, self.n_bands) @ bands

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        shift, spectrum, h, log_scale = self._seen(params, context)
        e = self.modes.basis @ (self.modes.std * jnp.exp(spectrum) * z) / self.modes.marginal_std
        moved, log_det = self.couplings.forward(params["couplings"], self.tokens.cut(e) * jnp.exp(log_scale), h)
        x = context.mean + shift + self.modes.marginal_std * self.tokens.join(moved)
        return x, log_det + jnp.sum(log_scale) + jnp.sum(spectrum) + jnp.sum(jnp.log(self.modes.std))

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        shift, spectrum, h, log_scale = self._seen(params, context)
        moved = self.tokens.cut((x - context.mean - shift) / self.modes.marginal_std)
        e, log_det = self.couplings.inverse(params["couplings"], moved, h)
        e = self.modes.marginal_std * self.tokens.join(e * jnp.exp(-log_scale))
        z = (e @ self.modes.basis) / (self.modes.std * jnp.exp(spectrum))
        return z, log_det - jnp.sum(log_scale) - jnp.sum(spectrum) - jnp.sum(jnp.log(self.modes.std))


def hats(n, n_bands):
    """Piecewise linear functions (n, n_bands) of log(1 + mode number) that sum to one, their peaks evenly spaced."""
    place = np.log1p(np.arange(n)) / np.log(n) * (n_bands - 1)
    return jnp.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(n_bands))), jnp.float32)


def matched_time(modes, prior):
    """The time of the SDE of a GaussianPrior whose denoising leaves as much variance as PosteriorModes have."""
    noise = matched_noise(prior, float(modes.mean_variance))
    return float(prior.sde.time_of(2 * jnp.log(2 * noise)))


def matched_noise(prior, variance):
    """The noise level sigma (in the scale of signals) at which denoising under a GaussianPrior leaves the mean
    ``variance``, by bisection.
    """
    spread = _variances(prior)
    low, high = 1e-5, 1e3
    for _ in range(80):
        middle = np.sqrt(low * high)
        left = np.mean(spread * middle**2 / (spread + middle**2))
        low, high = (middle, high) if left < variance else (low, middle)
    return float(middle)


def distance_from_denoising(modes, prior):
    """How far a posterior under a GaussianPrior is from one of denoising, 0 at any noise level of it: root of the mean squares
    of log-ratios of standard deviations to those that denoising leaves at the ``matched_noise``, along the modes by their
    size (which tells a blur) and of the entries (which tells a mask).
    """
    spread, noise = _variances(prior), matched_noise(prior, float(modes.mean_variance))
    left = spread * noise**2 / (spread + noise**2)
    rest, basis = left[-1] if prior.excess.size < prior.dim else 0.0, np.asarray(prior.basis, np.float64)
    entries = rest + basis**2 @ (left[: prior.excess.size] - rest)
    along = np.log(np.sort(np.asarray(modes.std, np.float64))) - np.log(np.sort(left)) / 2
    across = np.log(np.asarray(modes.marginal_std, np.float64)) - np.log(entries) / 2
    return float(np.sqrt(np.mean(along**2) + np.mean(across**2)))


def _variances(prior):
    """Variances (d,) of the modes of a GaussianPrior, those of the rest among them."""
    rest = np.full(prior.dim - prior.excess.size, float(prior.rest))
    return np.append(np.asarray(prior.excess + prior.rest, np.float64), rest)
