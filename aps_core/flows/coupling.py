"""Affine coupling layers (Dinh et al. 2016), in stacks that are scanned: compile time does not grow with depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Conditioner(nn.Module):
    """MLP from the unchanged half and the condition to log-scale and shift of the other half; its output starts at zero.

    The first layer is that of the concatenated input, written as a sum so that the condition's part (``project``) is computed once for
    all samples of a measurement, and for all layers of a stack at once. width: hidden units of each of ``depth`` hidden layers;
    log-scales lie in (-1, 1) by tanh. A condition of size zero makes it unconditional. ``shortcut`` adds a linear map of the input to
    the shift: a posterior mean is a full-rank map of y, which a narrow MLP learns slowly.
    """

    n_out: int
    width: int
    depth: int = 2
    shortcut: bool = False

    @nn.compact
    def __call__(self, kept, condition):
        """condition (c,), or the pair that ``project`` made of it."""
        zeros = dict(kernel_init=nn.initializers.zeros)
        last = self.depth + 1
        h, shift = nn.Dense(self.width, name="Dense_0")(kept), 0.0
        if self.shortcut:
            shift = nn.Dense(self.n_out, use_bias=False, name=f"Dense_{last + 1}", **zeros)(kept)
        if isinstance(condition, tuple):
            h, shift = h + condition[0], shift + condition[1]
        elif condition.size:
            h = h + nn.Dense(self.width, use_bias=False, name="Dense_1")(condition)
            if self.shortcut:
                shift = shift + nn.Dense(self.n_out, use_bias=False, name=f"Dense_{last + 2}", **zeros)(condition)
        for layer in range(2, last):
            h = nn.Dense(self.width, name=f"Dense_{layer}")(nn.silu(h))
        out = nn.Dense(2 * self.n_out, name=f"Dense_{last}", **zeros)(nn.silu(h))
        return jnp.tanh(out[: self.n_out]), out[self.n_out :] + shift

    def project(self, params, condition):
        """What acts on the condition, done for parameters stacked over layers: those that are left, and the pair for ``__call__``."""
        rest = dict(params["params"])
        hidden = jnp.einsum("lcn,c->ln", rest.pop("Dense_1")["kernel"], condition)
        shift = jnp.zeros((hidden.shape[0], self.n_out))
        if self.shortcut:
            shift = jnp.einsum("lcn,c->ln", rest.pop(f"Dense_{self.depth + 3}")["kernel"], condition)
        return {"params": rest}, (hidden, shift)


def strided_permutations(dim, n):
    """``n`` fixed mixing permutations of ``dim`` entries, (n, dim): i -> (stride * i + offset) mod dim, strides spread by the golden ratio."""
    rows = []
    for layer in range(n):
        stride = max(1, round(dim * ((layer + 1) * 0.6180339887498949 % 1.0)))
        while np.gcd(stride, dim) != 1:
            stride += 1
        rows.append((stride * np.arange(dim) + 7 * layer) % dim)
    return np.stack(rows)


class FlowStep:
    """One flow step: affine normalization (actnorm), fixed permutation, two couplings, each half given the other.

    Plain functions of one sample (dim,) and its condition; parameters of all steps are stacked along a leading axis.
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
        """The step's output and log|det|; condition (c,), or a pair for each coupling as of ``Conditioner.project``."""
        condition = condition if isinstance(condition, tuple) else (condition, condition)
        x = (x * jnp.exp(p["log_scale"]) + p["shift"])[permutation]
        a, b = x[: self.half], x[self.half :]
        s1, t1 = self.first.apply(p["first"], a, condition[0])
        b = b * jnp.exp(s1) + t1
        s2, t2 = self.second.apply(p["second"], b, condition[1])
        a = a * jnp.exp(s2) + t2
        return jnp.concatenate([a, b]), jnp.sum(p["log_scale"]) + jnp.sum(s1) + jnp.sum(s2)

    def inverse(self, p, x, condition, permutation):
        """The inverse step's output and its log|det|."""
        condition = condition if isinstance(condition, tuple) else (condition, condition)
        a, b = x[: self.half], x[self.half :]
        s2, t2 = self.second.apply(p["second"], b, condition[1])
        a = (a - t2) * jnp.exp(-s2)
        s1, t1 = self.first.apply(p["first"], a, condition[0])
        b = (b - t1) * jnp.exp(-s1)
        x = jnp.zeros_like(x).at[permutation].set(jnp.concatenate([a, b]))
        x = (x - p["shift"]) * jnp.exp(-p["log_scale"])
        return x, -(jnp.sum(p["log_scale"]) + jnp.sum(s1) + jnp.sum(s2))


class CouplingStack:
    """``steps`` flow steps, scanned. The whole stack starts as the identity: the last permutation undoes the others."""

    def __init__(self, dim, width, steps, depth=2, shortcut=False):
        self.step = FlowStep(dim, width, depth, shortcut)
        self.steps = steps
        self.permutations = strided_permutations(dim, steps)
        total = np.arange(dim)
        for permutation in self.permutations:
            total = total[permutation]
        self.total = total

    def init(self, key, condition_dim):
        """Stacked parameters, every leaf with a leading axis ``steps``."""
        return jax.vmap(lambda k: self.step.init(k, condition_dim))(jax.random.split(key, self.steps))

    def forward(self, params, z, condition):
        """x (dim,) and log|dx/dz| for one z (dim,)."""
        (x, log_det) = self._scan(self.step.forward, params, z, condition)
        return jnp.zeros_like(x).at[self.total].set(x), log_det

    def inverse(self, params, x, condition):
        """z (dim,) and log|dz/dx| for one x (dim,)."""
        return self._scan(self.step.inverse, params, x[self.total], condition, reverse=True)

    def _scan(self, apply, params, x, condition, reverse=False):
        ready = None
        if condition.size:  # one product for all layers, outside of the loop
            first, for_first = self.step.first.project(params["first"], condition)
            second, for_second = self.step.second.project(params["second"], condition)
            params, ready = {**params, "first": first, "second": second}, (for_first, for_second)

        def body(carry, layer):
            x, log_det = carry
            x, extra = apply(layer[0], x, condition if ready is None else layer[1], layer[2])
            return (x, log_det + extra), None

        return jax.lax.scan(body, (x, jnp.zeros(())), (params, ready, self.permutations), reverse=reverse)[0]
