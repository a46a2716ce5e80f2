"""Variance-preserving diffusion of Song et al. (2021): x_t = alpha(t) x_0 + beta(t) eps."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class VPSDE:
    """dx = -1/2 b(t) x dt + sqrt(b(t)) dw on [t_min, 1], with b(t) = rate_min + t (rate_max - rate_min).

    The perturbation kernel is N(alpha(t) x_0, beta(t)^2 I), in the notation of the APS paper. Signals are
    expected in [-1, 1]. ``t_min`` is where bounds and networks stop: structure of variance below
    ``v_min = (beta/alpha)^2`` at ``t_min`` is seen only through the start-time term of the bound.

    Raises ValueError when the rates are not 0 < rate_min <= rate_max or t_min is outside (0, 1).
    """

    rate_min: float = 0.1
    rate_max: float = 20.0
    t_min: float = 1e-5

    def __post_init__(self):
        if not 0 < self.rate_min <= self.rate_max:
            raise ValueError(f"rates must satisfy 0 < rate_min <= rate_max, got {self.rate_min} and {self.rate_max}")
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie in (0, 1), got {self.t_min}")

    def rate(self, t):
        """b(t)."""
        return self.rate_min + t * (self.rate_max - self.rate_min)

    def integrated_rate(self, t):
        """B(t), the integral of b from 0 to t."""
        return t * self.rate_min + 0.5 * t**2 * (self.rate_max - self.rate_min)

    def alpha(self, t):
        """Signal factor exp(-B/2)."""
        return jnp.exp(-0.5 * self.integrated_rate(t))

    def beta(self, t):
        """Noise standard deviation sqrt(1 - exp(-B))."""
        return jnp.sqrt(-jnp.expm1(-self.integrated_rate(t)))

    def drift(self, x, t):
        """f(x, t) = -1/2 b(t) x."""
        return -0.5 * self.rate(t) * x

    def g(self, t):
        """Diffusion coefficient sqrt(b(t))."""
        return jnp.sqrt(self.rate(t))

    def perturb(self, x0, t, eps):
        """Draw x_t given x_0 and standard normal ``eps``."""
        return self.alpha(t) * x0 + self.beta(t) * eps

    @property
    def v_min(self):
        """(beta/alpha)^2 at t_min: the noise-to-signal variance at which the diffusion stops."""
        return math.expm1(self.integrated_rate(self.t_min))

    def log_snr_span(self, t_min=None):
        """Z, the integral of g^2/beta^2 over [t_min, 1]: the normaliser of likelihood-weighted times."""
        low, high = self._log_odds(self.t_min if t_min is None else t_min), self._log_odds(1.0)
        return high - low

    def likelihood_weighted_time(self, u, t_min=None):
        """Times with density g^2/beta^2 / Z on [t_min, 1] from uniform numbers ``u`` (Song et al. 2021b), in closed form.

        The integral of g^2/beta^2 is log(exp(B) - 1), which inverts to B = log(1 + exp(.)) and a quadratic in t.
        """
        low, high = self._log_odds(self.t_min if t_min is None else t_min), self._log_odds(1.0)
        integrated = jax.nn.softplus(low + u * (high - low))
        slope = self.rate_max - self.rate_min
        # t = (sqrt(a^2 + 2 s B) - a) / s without cancellation at small B, also for s = 0
        return 2 * integrated / (self.rate_min + jnp.sqrt(self.rate_min**2 + 2 * slope * integrated))

    def _log_odds(self, t):
        return jnp.log(jnp.expm1(self.integrated_rate(t)))


def low_discrepancy(key, n):
    """``n`` uniform numbers in [0, 1), one in each of n equal cells with a common random offset (Kingma et al. 2021)."""
    return (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0
