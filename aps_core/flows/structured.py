"""What the structured flows in signal space share: a Gaussian posterior as base, a conditional affine map, masked couplings."""

from dataclasses import dataclass

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class StructuredContext:
    """Everything that depends on the measurement alone."""

    base: object  # Gaussian posterior: mean, marginal_std, forward, inverse
    condition: jax.Array  # (4, d): mean, log standard deviation, data brought back to the signal, mask
    extra: jax.Array  # (n_extra,)


class StructuredFlow:
    """x = mu + s T(e; y) with e = (x_G - mu) / s: x_G is a draw of the base's Gaussian posterior, mu its mean, s its standard deviations.

    T is a conditional elementwise affine map, the mean network's correction, followed by couplings. It starts as the identity: the new
    flow is its base. Subclasses have the fields base, loc, scale, shape, n_extra, and ``transform`` and ``inverse_transform``
    (params, e (d,), context) -> (d,), log|det|.
    """

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.loc.shape[0]

    def context(self, measurement, extra=None):
        """The base of one measurement and what the networks see of it, computed once for all samples.

        extra: (n_extra,) numbers of order one that the networks are told besides (log noise level, operator parameters); by default
        those of the base's context. Raises ValueError when there are not ``n_extra`` of them.
        """
        base = self.base.context(measurement)
        back, mask = self._brought_back(measurement)
        condition = jnp.stack([(base.mean - self.loc) / self.scale, jnp.log(base.marginal_std / self.scale), back / self.scale, mask])
        extra = getattr(base, "extra", None) if extra is None else extra
        extra = jnp.zeros(0) if extra is None else jnp.asarray(extra)
        if extra.shape != (self.n_extra,):
            raise ValueError(f"extra must have shape ({self.n_extra},), got {extra.shape}")
        return StructuredContext(base, condition, extra)

    def _brought_back(self, measurement):
        """A^T (y - A loc) over what was observed, and the mask (ones where the operator is more than a mask), each (d,)."""
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


@dataclass(frozen=True, eq=False)
class MaskedCouplings:
    """Affine couplings, scanned: in each, entries where its mask is 1 pass unchanged, the others are scaled and shifted given those.

    network(kept, condition) -> (log_scale, shift), all of the shape of one sample; kept is zero where the mask is.
    masks: (steps, *sample). Parameters of all couplings are stacked along a leading axis.
    """

    network: nn.Module
    masks: np.ndarray

    def init(self, key, condition):
        """Stacked parameters, given a condition of the right shape."""
        sample = jnp.zeros(self.masks.shape[1:])
        return jax.vmap(lambda k: self.network.init(k, sample, condition))(jax.random.split(key, len(self.masks)))

    def forward(self, params, x, condition):
        """The output and log|det| for one sample x."""

        def body(carry, layer):
            x, log_det = carry
            log_scale, shift = self._changes(layer, x, condition)
            return (x * jnp.exp(log_scale) + shift, log_det + jnp.sum(log_scale)), None

        return jax.lax.scan(body, (x, jnp.zeros(())), (params, self.masks))[0]

    def inverse(self, params, x, condition):
        """The input and its log|det|."""

        def body(carry, layer):
            x, log_det = carry
            log_scale, shift = self._changes(layer, x, condition)
            return ((x - shift) * jnp.exp(-log_scale), log_det - jnp.sum(log_scale)), None

        return jax.lax.scan(body, (x, jnp.zeros(())), (params, self.masks), reverse=True)[0]

    def _changes(self, layer, x, condition):
        params, mask = layer
        log_scale, shift = self.network.apply(params, mask * x, condition)
        return (1 - mask) * jnp.tanh(log_scale), (1 - mask) * shift


def alternating_masks(steps, n, groups=1, seed=0):
    """Masks (steps, groups, n), float32: each odd step is a random half of each group's n entries, each even one its complement."""
    rng = np.random.default_rng(seed)
    ranks = rng.permuted(np.tile(np.arange(n), (-(-steps // 2), groups, 1)), axis=2)
    # of an odd number of entries either the smaller or the larger half is kept
    larger = rng.integers(0, 2, ranks.shape[:2])[..., None]
    first = ranks < (n + larger) // 2
    return np.stack([first, ~first], axis=1).reshape(-1, groups, n)[:steps].astype(np.float32)
