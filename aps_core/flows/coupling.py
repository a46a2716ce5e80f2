"""Affine coupling layers (Dinh et al. 2016), in stacks that are scanned: compile time does not grow with depth."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Conditioner(nn.Module):
    """MLP from the unchanged half and the condition to log-scale and shift of the other half; its output starts at
    zero.

    The first layer is that of the concatenated input, written as a sum so that the condition's part is computed once
    for all samples of a measurement (where ``vmap`` is over samples alone). width: hidden units of each of ``depth``
    hidden layers; log-scales lie in (-1, 1) by tanh. A condition of size zero makes it unconditional. ``shortcut`` adds
    a linear map of the input to the shift: a posterior mean is a full-rank map of y, which a narrow MLP learns slowly.
    """

    n_out: int
    width: int
    depth: int = 2
    shortcut: bool = False

    @nn.compact
    def __call__(self, kept, condition):
        """Log-scale and shift (n_out,) of kept (n_kept,) and condition (c,)."""
        zeros = dict(kernel_init=nn.initializers.zeros)
        last = self.depth + 1
        h, shift = nn.Dense(self.width, name="Dense_0")(kept) if kept.size else jnp.zeros(self.width), 0.0
        if self.shortcut and kept.size:
            shift = nn.Dense(self.n_out, use_bias=False, name=f"Dense_{last + 1}", **zeros)(kept)
        if condition.size:
            h = h + nn.Dense(self.width, use_bias=not kept.size, name="Dense_1")(condition)
            if self.shortcut:
                shift = shift + nn.Dense(self.n_out, use_bias=False, name=f"Dense_{last + 2}", **zeros)(condition)
        for layer in range(2, last):
            h = nn.Dense(self.width, name=f"Dense_{layer}")(nn.silu(h))
        out = nn.Dense(2 * self.n_out, name=f"Dense_{last}", **zeros)(nn.silu(h))
        return jnp.tanh(out[: self.n_out]), out[self.n_out :] + shift


def strided_permutations(dim, n):
    """``n`` fixed mixing permutations of ``dim`` entries, (n, dim): i -> (stride * i + offset) mod dim, strides spread
    by the golden ratio.
    """
    rows = []
    for layer in range(n):
        stride = max(1, round(dim * ((layer + 1) * 0.6180339887498949 % 1.0)))
        while np.gcd(stride, dim) != 1:
            stride += 1
        rows.append((stride * np.arange(dim) + 7 * layer) % dim)
    return np.stack(rows)


def permute(x, permutation, inverse):
    """x[permutation], given the inverse permutation too, each (dim,).

    It is the solution v of v[inverse] = x. Said so to JAX, its derivative is a gather as well; that of indexing is a
    scatter, which XLA does one entry after the other on CPU.
    """
    return jax.lax.custom_linear_solve(lambda v: v[inverse], x, lambda _, b: b[permutation], lambda _, b: b[inverse])


class FlowStep:
    """One flow step: affine normalization (actnorm), fixed permutation, two couplings, each half given the other.

    Plain functions of one sample (dim,), its condition (c,) and the pair of a permutation and its inverse, each (dim,);
    parameters of all steps are stacked along a leading axis.
    """

    def __init__(self, dim, width, depth=2, shortcut=False):
        self.half = dim // 2
        self.dim = dim
        self.first = Conditioner(dim - self.half, width, depth, shortcut)
        self.second = Conditioner(self.half, width, depth, shortcut)

    def init(self, key, condition_dim):
        """Parameters that make the step a permutation."""
        k1, k2 = jax.random.split(key)
        condition = jnp.zeros(condition_dim)
        return {
            "log_scale": jnp.zeros(self.dim),
            "shift": jnp.zeros(self.dim),
            "first": self.first.init(k1, jnp.zeros(self.half), condition),
            "second": self.second.init(k2, jnp.zeros(self.dim - self.half), condition),
        }

    def forward(self, p, x, condition, permutation):
        """The step's output and log|det|."""
        x = permute(x * jnp.exp(p["log_scale"]) + p["shift"], *permutation)
        a, b = x[: self.half], x[self.half :]
        s1, t1 = self.first.apply(p["first"], a, condition)
        b = b * jnp.exp(s1) + t1
        s2, t2 = self.second.apply(p["second"], b, condition)
        a = a * jnp.exp(s2) + t2
        return jnp.concatenate([a, b]), jnp.sum(p["log_scale"]) + jnp.sum(s1) + jnp.sum(s2)

    def inverse(self, p, x, condition, permutation):
        """The inverse step's output and its log|det|."""
        a, b = x[: self.half], x[self.half :]
        s2, t2 = self.second.apply(p["second"], b, condition)
        a = (a - t2) * jnp.exp(-s2)
        s1, t1 = self.first.apply(p["first"], a, condition)
        b = (b - t1) * jnp.exp(-s1)
        x = permute(jnp.concatenate([a, b]), *permutation[::-1])
        x = (x - p["shift"]) * jnp.exp(-p["log_scale"])
        return x, -(jnp.sum(p["log_scale"]) + jnp.sum(s1) + jnp.sum(s2))


class CouplingStack:
    """``steps`` flow steps, scanned. The whole stack starts as the identity: the last permutation undoes the others."""

    def __init__(self, dim, width, steps, depth=2, shortcut=False):
        self.step = FlowStep(dim, width, depth, shortcut)
        self.steps = steps
        rows = strided_permutations(dim, steps)
        self.permutations = rows, np.argsort(rows, axis=1)
        total = np.arange(dim)
        for row in rows:
            total = total[row]
        self.total = total, np.argsort(total)

    def init(self, key, condition_dim):
        """Stacked parameters, every leaf with a leading axis ``steps``."""
        return jax.vmap(lambda k: self.step.init(k, condition_dim))(jax.random.split(key, self.steps))

    def forward(self, params, z, condition):
        """x (dim,) and log|dx/dz| for one z (dim,)."""
        (x, log_det) = self._scan(self.step.forward, params, z, condition)
        return permute(x, *self.total[::-1]), log_det

    def inverse(self, params, x, condition):
        """z (dim,) and log|dz/dx| for one x (dim,)."""
        return self._scan(self.step.inverse, params, permute(x, *self.total), condition, reverse=True)

    def _scan(self, apply, params, x, condition, reverse=False):
        def body(carry, layer):
            x, log_det = carry
            x, extra = apply(layer[0], x, condition, layer[1])
            return (x, log_det + extra), None

        # kept for the gradient: each layer's input and products; the elementwise rest is cheaper done again than
        # written and read
        body = jax.checkpoint(body, prevent_cse=False, policy=jax.checkpoint_policies.dots_saveable)
        x = _wide(x, condition, params)
        return jax.lax.scan(body, (x, jnp.zeros(())), (params, self.permutations), reverse=reverse)[0]


def _wide(x, condition, params):
    """x in the precision that the couplings give it: a scan takes no other at its end than at its start."""
    return x.astype(jnp.result_type(x, condition, *jax.tree.leaves(params)))


@dataclass(frozen=True, eq=False)
class MaskedCouplings:
    """Affine couplings, scanned: in each, entries where its mask is 1 pass unchanged, the others are scaled and shifted
    given those.

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

        return jax.lax.scan(body, (_wide(x, condition, params), jnp.zeros(())), (params, self.masks))[0]

    def inverse(self, params, x, condition):
        """The input and its log|det|."""

        def body(carry, layer):
            x, log_det = carry
            log_scale, shift = self._changes(layer, x, condition)
            return ((x - shift) * jnp.exp(-log_scale), log_det - jnp.sum(log_scale)), None

        start = _wide(x, condition, params), jnp.zeros(())
        return jax.lax.scan(body, start, (params, self.masks), reverse=True)[0]

    def _changes(self, layer, x, condition):
        params, mask = layer
        log_scale, shift = self.network.apply(params, mask * x, condition)
        return (1 - mask) * jnp.tanh(log_scale), (1 - mask) * shift


def alternating_masks(steps, n, groups=1, seed=0):
    """Masks (steps, groups, n), float32: each odd step is a random half of each group's n entries, each even one its
    complement.
    """
    rng = np.random.default_rng(seed)
    ranks = rng.permuted(np.tile(np.arange(n), (-(-steps // 2), groups, 1)), axis=2)
    # of an odd number of entries either the smaller or the larger half is kept
    larger = rng.integers(0, 2, ranks.shape[:2])[..., None]
    first = ranks < (n + larger) // 2
    return np.stack([first, ~first], axis=1).reshape(-1, groups, n)[:steps].astype(np.float32)
