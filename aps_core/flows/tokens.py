"""Structured flow over tokens, for images, the sphere and meshes alike."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.flows.base import Flow
from aps_core.flows.closed_form import posterior_base
from aps_core.flows.coupling import MaskedCouplings, alternating_masks
from aps_core.priors.networks.patches import Tokens, TokenTrunk, make_tokens


class MixerBlock(nn.Module):
    """Tokens h (n_tokens, width): a residual MLP across tokens, then one across the width (Tolstikhin et al. 2021)."""

    @nn.compact
    def __call__(self, h):
        n_tokens, width = h.shape
        across = nn.gelu(nn.Dense(2 * n_tokens)(nn.LayerNorm()(h).T))
        h = h + nn.Dense(n_tokens)(across).T
        return h + nn.Dense(width)(nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(h))))


class TokenConditioner(nn.Module):
    """Kept entries (n_tokens, size) and hidden condition (n_tokens, m) to log-scale and shift (n_tokens, size); zero at
    the start.

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
    """The mean network: tokens of the condition to hidden tokens, and shift and log-scale (n_tokens, size), which start
    at zero.
    """

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
class StructuredContext:
    """Everything that depends on the measurement alone."""

    base: object  # Gaussian posterior: mean, marginal_std, forward, inverse
    condition: jax.Array  # (4, d): mean, log standard deviation, data brought back to the signal, mask
    extra: jax.Array  # (n_extra,)


class StructuredFlow(Flow):
    """x = mu + s T(e; y) with e = (x_G - mu) / s: x_G is a draw of the base's Gaussian posterior, mu its mean, s its
    standard deviations.

    T is a conditional elementwise affine map, the mean network's correction, followed by couplings. It starts as the
    identity: the new flow is its base. Subclasses have the fields base, loc, scale, shape, n_extra, and ``transform``
    and ``inverse_transform`` (params, e (d,), context) -> (d,), log|det|.
    """

    base: Any
    loc: jax.Array
    scale: jax.Array
    n_extra: int
    transform: Callable[..., Any]
    inverse_transform: Callable[..., Any]

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.loc.shape[0]

    def context(self, measurement, extra=None):
        """The base of one measurement and what the networks see of it, computed once for all samples.

        extra: (n_extra,) numbers of order one that the networks are told besides (log noise level, operator
        parameters); by default those of the base's context. Raises ValueError when there are not ``n_extra`` of them.
        """
        base = self.base.context(measurement)
        back, mask = self._brought_back(measurement)
        condition = jnp.stack(
            [(base.mean - self.loc) / self.scale, jnp.log(base.marginal_std / self.scale), back / self.scale, mask]
        )
        extra = getattr(base, "extra", None) if extra is None else extra
        extra = jnp.zeros(0) if extra is None else jnp.asarray(extra)
        if extra.shape != (self.n_extra,):
            raise ValueError(f"extra must have shape ({self.n_extra},), got {extra.shape}")
        return StructuredContext(base, condition, extra)

    def _brought_back(self, measurement):
        """A^T (y - A loc) over what was observed, and the mask (ones where the operator is more than a mask), each
        (d,).
        """
        operator = getattr(self.base, "operator", None)
        if operator is not None and not operator.diagonal:
            back = operator.adjoint(measurement.y - operator(self.loc.reshape(self.shape)))
            return back.reshape(-1), jnp.ones(self.dim)
        mask = measurement.mask if operator is None else operator.observed(measurement.mask)
        mask = jnp.ones(self.dim) if mask is None else mask.reshape(-1)
        return mask * (measurement.y.reshape(-1) - self.loc), mask

    def features(self, extra):
        """Fourier features of the extra conditions (n_extra,), or None where there are none."""
        if not self.n_extra:
            return None
        phase = jnp.outer(extra, jnp.geomspace(0.3, 10.0, 8)).reshape(-1)
        return jnp.concatenate([extra, jnp.sin(phase), jnp.cos(phase)])

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        base = context.base
        x, base_log_det = base.forward(z)
        moved, log_det = self.transform(params, (x - base.mean) / base.marginal_std, context)
        return base.mean + base.marginal_std * moved, base_log_det + log_det

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        base = context.base
        e, log_det = self.inverse_transform(params, (x - base.mean) / base.marginal_std, context)
        z, base_log_det = base.inverse(base.mean + base.marginal_std * e)
        return z, base_log_det + log_det


@flax.struct.dataclass
class TokenFlow(StructuredFlow):
    """StructuredFlow whose networks see tokens: a transformer of the condition alone, then ``steps`` couplings with
    mixers.

    Each coupling splits the entries of every token in two halves, at random but fixed, and the next takes the
    complement. The couplings are given the transformer's hidden tokens, in which the condition and its correction of
    the mean already are.

    base: a PosteriorBase; loc, scale (d,): mean and spread of signals, which standardize the condition; n_extra: see
    ``context``.
    """

    serves_any_noise = True
    serves_any_mask = True

    base: Any
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

    @classmethod
    def for_task(cls, task, tokens, **settings):
        """The untrained flow for any linear operator; tokens: how signals are cut, see ``make_tokens``; settings: the
        fields from ``steps`` on.
        """
        gaussian = task.prior.gaussian
        base = posterior_base(gaussian, task.operator, float(task.sigma_y))
        cut = make_tokens(shape=task.shape, **tokens)
        return cls(base, gaussian.mean, gaussian.marginal_std, task.shape, cut, **settings)

    def with_noise(self, sigma_y):
        """The flow for another noise level, which its networks see in the Gaussian posterior that it stands on."""
        return self.replace(base=self.base.with_noise(sigma_y))

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
        return {
            "condition": condition,
            "couplings": self.couplings.init(k_couplings, jnp.zeros((n_tokens, self.condition_width))),
        }

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
