"""A network for signals of a few hundred entries: linear maps of all entries, mixed by gates of the time, and an MLP
beside them.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from aps_core.priors.networks.features import fourier_features


class GatedMaps(nn.Module):
    """sum_k g_k(t) (W_k c + b_k) + g_0(t) V silu(U c + ...), a function of c (d,) and t that is zero at the start.

    The score of a Gaussian is a linear map at every time, whose gain along an eigenvector of the covariance moves from
    one value to another as the noise falls below its eigenvalue: a few ``maps`` (d, d) and smooth gates hold it to any
    accuracy that matters, and nothing in them knows the covariance. The MLP of ``width`` hidden units holds what is not
    linear.

    mixed: add up the maps before they act, one (d, d) matrix for each time. The values are the same; with it a Jacobian
    costs a single product for each direction, without it a batch of different times is one product for each map, as
    training wants it.
    """

    kind = "gated"
    has_token_trunk = False
    has_sites = False
    tokens = None

    shape: tuple
    maps: int = 6
    width: int = 128
    time_width: int = 64
    mixed: bool = False

    @nn.compact
    def __call__(self, c, t, trace=False):
        """The value (d,), and with ``trace`` also the trace of its Jacobian in c."""
        d, zeros = math.prod(self.shape), nn.initializers.zeros
        time = nn.silu(nn.Dense(self.time_width)(nn.silu(nn.Dense(self.time_width)(fourier_features(t, 32)))))
        gates = nn.Dense(self.maps + 1)(time)
        maps = self.param("maps", zeros, (self.maps, d, d))
        bias = self.param("bias", zeros, (self.maps, d))
        g = gates[1:]
        linear = jnp.tensordot(g, maps, 1) @ c if self.mixed else g @ (maps @ c)
        enter = nn.Dense(self.width)
        scale, shift = 1 + nn.Dense(self.width)(time), nn.Dense(self.width)(time)
        leave = nn.Dense(d, kernel_init=zeros)
        h = enter(c) * scale + shift
        value = linear + g @ bias + gates[0] * leave(nn.silu(h))
        if not trace:
            return value
        kernels = (layer.variables["params"]["kernel"] for layer in (enter, leave))
        # of each hidden unit: what it sends back to the entries it came from
        through = jnp.einsum("dw,wd->w", *kernels)
        slope = jax.nn.sigmoid(h) * (1 + h * (1 - jax.nn.sigmoid(h)))
        return value, g @ jnp.trace(maps, axis1=1, axis2=2) + gates[0] * jnp.sum(through * scale * slope)
