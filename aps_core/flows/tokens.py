"""Structured flow over tokens, for images, the sphere and meshes alike."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.flows.structured import MaskedCouplings, StructuredFlow, alternating_masks
from aps_core.priors.patches import Tokens, TokenTrunk


class MixerBlock(nn.Module):
    """Tokens h (n_tokens, width): a residual MLP across tokens, then one across the width (Tolstikhin et al. 2021)."""

    @nn.compact
    def __call__(self, h):
        n_tokens, width = h.shape
        across = nn.gelu(nn.Dense(2 * n_tokens)(nn.LayerNorm()(h).T))
        h = h + nn.Dense(n_tokens)(across).T
        return h + nn.Dense(width)(nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(h))))


class TokenConditioner(nn.Module):
    """Kept entries (n_tokens, size) and hidden condition (n_tokens, m) to log-scale and shift (n_tokens, size); zero at the start.

    The condition enters the first layer alone, whose part of it is computed once for all samples of a measurement.
    """

    size: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, kept, condition):
        h = nn.Dense(self.width)(kept) + nn.Dense(self.width, use_bias=False)(condition)
        for _ in range(self.depth):
            h = MixerBlock()(h)
        out = nn.Dense(2 * self.size, kernel_init=nn.initializers.zeros)(nn.LayerNorm()(h))
        return out[:, : self.size], out[:, self.size :]


class TokenCondition(nn.Module):
    """The mean network: tokens of the condition to hidden tokens, and shift and log-scale (n_tokens, size), which start at zero."""

    size: int
    width: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, tokens, features=None):
        h = TokenTrunk(self.width, self.depth, self.heads)(tokens, features)
        out = nn.Dense(2 * self.size, kernel_init=nn.initializers.zeros)(h)
        return h, out[:, : self.size], jnp.tanh(out[:, self.size :])


@flax.struct.dataclass
class TokenFlow(StructuredFlow):
    """StructuredFlow whose networks see tokens: a transformer of the condition alone, then ``steps`` couplings with mixers.

    Each coupling splits the entries of every token in two halves, at random but fixed, and the next takes the complement. The couplings are
    given the transformer's hidden tokens, in which the condition and its correction of the mean already are.

    base: a PosteriorBase; loc, scale (d,): mean and spread of signals, which standardize the condition; n_extra: see ``context``.
    """

    base: object
    loc: jax.Array
    scale: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)
    tokens: Tokens = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=8)
    width: int = flax.struct.field(pytree_node=False, default=64)
    depth: int = flax.struct.field(pytree_node=False, default=1)
    condition_width: int = flax.struct.field(pytree_node=False, default=192)
    condition_depth: int = flax.struct.field(pytree_node=False, default=6)
    heads: int = flax.struct.field(pytree_node=False, default=6)
    n_extra: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def couplings(self):
        """The scanned couplings; what pads a short token passes unchanged."""
        n_tokens, size = self.tokens.shape
        masks = np.ones((self.steps, n_tokens, size), np.float32)
        for token, valid in enumerate(self.tokens.valid):
            masks[:, token, valid] = alternating_masks(self.steps, valid.sum(), seed=token)[:, 0]
        return MaskedCouplings(TokenConditioner(size, self.width, self.depth), masks)

    @property
    def _condition_network(self):
        return TokenCondition(self.tokens.shape[1], self.condition_width, self.condition_depth, self.heads)

    def init(self, key):
        """Parameters with which the flow is its base."""
        k_condition, k_couplings = jax.random.split(key)
        n_tokens, size = self.tokens.shape
        features = self.features(jnp.zeros(self.n_extra))
        condition = self._condition_network.init(k_condition, jnp.zeros((n_tokens, 4 * size)), features)
        return {"condition": condition, "couplings": self.couplings.init(k_couplings, jnp.zeros((n_tokens, self.condition_width)))}

    def _seen(self, params, context):
        """Hidden tokens, shift and log-scale of a measurement."""
        tokens = jnp.concatenate(jax.vmap(self.tokens.cut)(context.condition), axis=1)
        h, shift, log_scale = self._condition_network.apply(params["condition"], tokens, self.features(context.extra))
        return h, shift, jnp.where(self.tokens.valid, log_scale, 0.0)

    def transform(self, params, e, context):
        """T(e) and log|det dT/de| for one e (d,)."""
        h, shift, log_scale = self._seen(params, context)
        start = jnp.where(self.tokens.valid, self.tokens.cut(e) * jnp.exp(log_scale) + shift, 0.0)
        moved, log_det = self.couplings.forward(params["couplings"], start, h)
        return self.tokens.join(moved), log_det + jnp.sum(log_scale)

    def inverse_transform(self, params, moved, context):
        """T^-1 and its log|det| for one point (d,)."""
        h, shift, log_scale = self._seen(params, context)
        e, log_det = self.couplings.inverse(params["couplings"], self.tokens.cut(moved), h)
        return self.tokens.join((e - shift) * jnp.exp(-log_scale)), log_det - jnp.sum(log_scale)
