"""Networks (Flax) that predict the residual to the Gaussian score."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from aps_core.priors.networks.features import fourier_features


class RegimeResidual(nn.Module):
    """Residual of standardized modal coordinates c (k,) at time t: low-rank linear maps, mixed by gates.

    The score of a mixture of Gaussians is a mixture of linear maps whose weights are smooth functions of the state.
    Here the gates see the ``lead`` leading modes (on the sphere they hold the season) and the time; each of the
    ``regimes`` maps has rank ``rank``, a diagonal and a bias. Output (k,), zero at the start.
    """

    kind = "regimes"
    has_token_trunk = False
    has_sites = False
    tokens = None

    k: int
    lead: int = 12
    regimes: int = 12
    rank: int = 24
    width: int = 64

    @nn.compact
    def __call__(self, c, t):
        time = nn.silu(nn.Dense(self.width)(nn.silu(nn.Dense(self.width)(fourier_features(t, 32)))))
        h = nn.silu(nn.Dense(self.width)(c[: self.lead]) + nn.Dense(self.width)(time))
        h = nn.silu(nn.Dense(self.width)(h) + nn.Dense(self.width)(time))
        gates = nn.softmax(nn.Dense(self.regimes)(h)) * (1 + nn.Dense(self.regimes)(time))
        down = self.param("down", nn.initializers.normal(1 / np.sqrt(self.k)), (self.regimes, self.rank, self.k))
        up = self.param("up", nn.initializers.zeros, (self.regimes, self.k, self.rank))
        diagonal = self.param("diagonal", nn.initializers.zeros, (self.regimes, self.k))
        bias = self.param("bias", nn.initializers.zeros, (self.regimes, self.k))
        by_time = 1 + nn.Dense(self.regimes * self.rank)(time).reshape(self.regimes, self.rank)
        maps = jnp.einsum("ekr,er->ek", up, (down @ c) * by_time) + diagonal * c + bias
        return gates @ maps
