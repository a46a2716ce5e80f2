"""Linear diffusions of Song et al. (2021), x_t = alpha(t) x_0 + beta(t) eps: variance-preserving,
sub-variance-preserving, exploding.

All of them are described by the log odds of noise to signal, lambda(t) = log(beta^2/alpha^2) (minus the log SNR),
because g^2/beta^2 = d lambda/dt: bounds, likelihood-weighted times and the time of the probability-flow ODE follow from
it and its inverse.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp


class LinearSDE:
    """What every linear diffusion on [t_min, 1] has, given alpha, beta, drift, g, log_odds, time_of and v_min.

    ``t_min`` is where bounds and networks stop: structure of variance below ``v_min = (beta/alpha)^2`` at ``t_min`` is
    seen only through the start-time term of the bound. Signals are expected in [-1, 1].
    """

    kind: ClassVar[str]
    t_min: float
    alpha: Callable[..., Any]
    beta: Callable[..., Any]
    log_odds: Callable[..., Any]
    time_of: Callable[..., Any]

    def perturb(self, x0, t, eps):
        """Draw x_t given x_0 and standard normal ``eps``."""
        return self.alpha(t) * x0 + self.beta(t) * eps

    @property
    def prior_std(self):
        """Standard deviation of the Gaussian that the reverse diffusion starts from at t = 1."""
        return 1.0

    def prior_log_prob(self, u):
        """log N(u; 0, prior_std^2 I) of one u (d,), in nats."""
        z = u / self.prior_std
        return -0.5 * jnp.sum(z**2) - u.size * (math.log(self.prior_std) + 0.5 * math.log(2 * math.pi))

    def log_snr_span(self, t_min=None):
        """Z, the integral of g^2/beta^2 over [t_min, 1]: the normaliser of likelihood-weighted times."""
        return self.log_odds(1.0) - self.log_odds(self.t_min if t_min is None else t_min)

    def likelihood_weighted_time(self, u, t_min=None):
        """Times with density g^2/beta^2 / Z on [t_min, 1] from uniform numbers ``u`` (Song et al. 2021b), in closed
        form.
        """
        low, high = self.log_odds(self.t_min if t_min is None else t_min), self.log_odds(1.0)
        return self.time_of(low + u * (high - low))

    def settings(self):
        """What ``make_sde`` needs to build it again: a dict of "kind" and the fields."""
        return {"kind": self.kind, **asdict(self)}

    def _check_t_min(self):
        if not 0 < self.t_min < 1:
            raise ValueError(f"t_min must lie in (0, 1), got {self.t_min}")


@dataclass(frozen=True)
class VPSDE(LinearSDE):
    """dx = -1/2 b(t) x dt + sqrt(b(t)) dw on [t_min, 1], with b(t) = rate_min + t (rate_max - rate_min).

    The perturbation kernel is N(alpha(t) x_0, beta(t)^2 I), in the notation of the APS paper, with alpha^2 + beta^2 =
    1. Raises ValueError when the rates are not 0 < rate_min <= rate_max or t_min is outside (0, 1).
    """

    rate_min: float = 0.1
    rate_max: float = 20.0
    t_min: float = 1e-5
    kind: ClassVar[str] = "vp"

    def __post_init__(self):
        if not 0 < self.rate_min <= self.rate_max:
            raise ValueError(f"rates must satisfy 0 < rate_min <= rate_max, got {self.rate_min} and {self.rate_max}")
        self._check_t_min()

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

    def log_odds(self, t):
        """lambda = log(beta^2/alpha^2) = log(exp(B) - 1)."""
        return jnp.log(jnp.expm1(self.integrated_rate(t)))

    def time_of(self, log_odds):
        """The time of a ``log_odds``: B = log(1 + exp(lambda)) and a quadratic in t."""
        return self._time_of_rate(jax.nn.softplus(log_odds))

    @property
    def v_min(self):
        """(beta/alpha)^2 at t_min: the noise-to-signal variance at which the diffusion stops."""
        return math.expm1(self.integrated_rate(self.t_min))

    def _time_of_rate(self, integrated):
        # t = (sqrt(a^2 + 2 s B) - a) / s without cancellation at small B, also for s = 0
        slope = self.rate_max - self.rate_min
        return 2 * integrated / (self.rate_min + jnp.sqrt(self.rate_min**2 + 2 * slope * integrated))


@dataclass(frozen=True)
class SubVPSDE(VPSDE):
    """dx = -1/2 b(t) x dt + sqrt(b(t) (1 - exp(-2 B(t)))) dw: the drift and signal factor of VPSDE with less noise,
    beta = 1 - exp(-B).
    """

    kind: ClassVar[str] = "sub-vp"

    def beta(self, t):
        """Noise standard deviation 1 - exp(-B)."""
        return -jnp.expm1(-self.integrated_rate(t))

    def g(self, t):
        """Diffusion coefficient sqrt(b (1 - exp(-2 B)))."""
        return jnp.sqrt(-self.rate(t) * jnp.expm1(-2 * self.integrated_rate(t)))

    def log_odds(self, t):
        """lambda = log(beta^2/alpha^2) = 2 log(2 sinh(B/2))."""
        return 2 * jnp.log(2 * jnp.sinh(0.5 * self.integrated_rate(t)))

    def time_of(self, log_odds):
        """The time of a ``log_odds``: B = 2 asinh(exp(lambda/2)/2) and a quadratic in t."""
        return self._time_of_rate(2 * jnp.arcsinh(0.5 * jnp.exp(0.5 * log_odds)))

    @property
    def v_min(self):
        """(beta/alpha)^2 at t_min."""
        return (2 * math.sinh(0.5 * self.integrated_rate(self.t_min))) ** 2


@dataclass(frozen=True)
class VESDE(LinearSDE):
    """dx = g(t) dw on [t_min, 1] with alpha = 1 and beta^2 = sigma_min^2 (r^(2t) - 1), r = sigma_max/sigma_min.

    beta is the noise added since t = 0, so that x_0 is the signal itself (Song et al. (2021) let it carry noise
    sigma_min). Raises ValueError when the deviations are not 0 < sigma_min < sigma_max or t_min is outside (0, 1).
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5
    kind: ClassVar[str] = "ve"

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"deviations must satisfy 0 < sigma_min < sigma_max < inf, got {self.sigma_min} and {self.sigma_max}"
            )
        self._check_t_min()

    @property
    def log_growth(self):
        """log r^2, the growth of sigma^2 = sigma_min^2 r^(2t) over the unit of time."""
        return 2 * math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t):
        """Signal factor 1."""
        return jnp.ones_like(t)

    def beta(self, t):
        """Noise standard deviation sigma_min sqrt(r^(2t) - 1)."""
        return self.sigma_min * jnp.sqrt(jnp.expm1(t * self.log_growth))

    def drift(self, x, t):
        """f(x, t) = 0."""
        del t
        return jnp.zeros_like(x)

    def g(self, t):
        """Diffusion coefficient sigma_min r^t sqrt(log r^2)."""
        return self.sigma_min * math.sqrt(self.log_growth) * jnp.exp(0.5 * t * self.log_growth)

    def log_odds(self, t):
        """lambda = log beta^2."""
        return 2 * math.log(self.sigma_min) + jnp.log(jnp.expm1(t * self.log_growth))

    def time_of(self, log_odds):
        """The time of a ``log_odds``: t = log(1 + exp(lambda)/sigma_min^2) / log r^2."""
        return jax.nn.softplus(log_odds - 2 * math.log(self.sigma_min)) / self.log_growth

    @property
    def prior_std(self):
        """beta at t = 1."""
        return self.sigma_min * math.sqrt(math.expm1(self.log_growth))

    @property
    def v_min(self):
        """beta^2 at t_min."""
        return self.sigma_min**2 * math.expm1(self.t_min * self.log_growth)


KINDS = {sde.kind: sde for sde in (VPSDE, SubVPSDE, VESDE)}


def make_sde(settings):
    """The diffusion of ``settings``, a dict as ``settings()`` returns; without "kind" it is "vp", absent fields have
    their defaults.

    Raises ValueError for an unknown kind, an unknown field or an impossible value.
    """
    settings = dict(settings)
    kind = settings.pop("kind", "vp")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}, got {kind!r}")
    known = [f.name for f in fields(KINDS[kind])]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"a {kind!r} diffusion has the fields {known}, got {unknown}")
    return KINDS[kind](**settings)


def low_discrepancy(key, n):
    """``n`` uniform numbers in [0, 1), one in each of n equal cells with a common random offset (Kingma et al. 2021)."""
    return (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0
