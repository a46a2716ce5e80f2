"""A network for signals of a few hundred entries taken as a vector: a residual multi-layer perceptron."""

import math

import flax.linen as nn
import jax.numpy as jnp

from aps_core.priors.networks.features import fourier_features


class ResidualMLP(nn.Module):
    """A function (d,), t, condition (d,) -> (d,): ``depth`` residual hidden layers of ``width`` units, each shifted and
    scaled by the time; zero at the start.

    No geometry: every entry meets every other one in every layer. ``condition`` is optional; give it at every call or
    never.
    """

    kind = "dense"
    has_token_trunk = False
    has_sites = False
    tokens = None

    shape: tuple
    width: int = 1024
    depth: int = 2
    time_width: int = 128

    def hidden(self, u, t, condition=None, more=0.0):
        """The last hidden layer (width,); ``more`` (width,) is added to the first one."""
        seen = u if condition is None else jnp.concatenate([u, condition])
        time = nn.silu(nn.Dense(self.time_width)(nn.silu(nn.Dense(self.time_width)(fourier_features(t, 64)))))
        h = nn.Dense(self.width)(seen) + nn.Dense(self.width)(time) + more
        for _ in range(self.depth):
            scale, shift = jnp.split(nn.Dense(2 * self.width, kernel_init=nn.initializers.zeros)(time), 2)
            a = nn.LayerNorm(use_scale=False, use_bias=False)(h) * (1 + scale) + shift
            h = h + nn.Dense(self.width)(nn.silu(a))
        return nn.silu(nn.LayerNorm()(h))

    @nn.compact
    def __call__(self, u, t, condition=None):
        h = self.hidden(u, t, condition)
        return nn.Dense(math.prod(self.shape), kernel_init=nn.initializers.zeros)(h)
