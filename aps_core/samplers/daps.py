"""DAPS (Zhang et al. 2024, "Improving diffusion inverse problem solving with decoupled noise annealing")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import count, positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import along_ode, time_steps


@dataclass(frozen=True)
class DAPS(Sampler):
    """For each of ``n_levels`` falling times t (Alg. 1):

    1. u0_hat: the probability-flow ODE from u_t to 0 in ``n_ode`` steps of DDIM;
    2. ``n_inner`` Langevin steps from u0_hat on N(u; u0_hat, r^2 I) p(y | u), r = beta/alpha, of size ``step_size``/(1/r^2 + curvature);
    3. u_s = alpha_s u + beta_s z for the next time: consecutive times are coupled through u_0 alone.

    The curvature of the log-likelihood is s_max^2/(4 sigma_y^2), s_max the largest slope of the operator: the paper's step size, in units
    in which it is stable below 2. Any differentiable operator; no gradient passes through the network.

    In theory: were p(u_0 | u_t, y) sampled exactly, u_t would be that of the posterior at every time (their Prop. 1). The Gaussian around
    the ODE's end point is not p(u_0 | u_t), so it is not exact for a Gaussian prior either, and directions that y says nothing of keep
    their spread only if r^2 fits the prior.

    nfe: n_levels n_ode.
    """

    n_levels: int = 200
    n_ode: int = 5
    n_inner: int = 100
    step_size: float = 0.1
    grid: str = "log-snr"
    traced: ClassVar[tuple] = ("step_size",)
    needs_slope: ClassVar[bool] = True
    search: ClassVar[dict] = {"step_size": (0.03, 0.1, 0.3), "n_inner": (20, 100)}

    def check_settings(self):
        """n_levels, n_ode and n_inner >= 1, step_size > 0."""
        super().check_settings()
        count("n_levels", self.n_levels)
        positive("step_size", self.step_size)

    @property
    def nfe(self):
        """n_levels n_ode."""
        return self.n_levels * self.n_ode

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde

        def body(u, step):
            t, s, k = step
            k_inner, k_noise = jax.random.split(k)
            u0 = self.langevin(self.clean(u, t), sde.beta(t) / sde.alpha(t), k_inner, measurement)
            return sde.perturb(u0, s, normal(k_noise, u.shape)), None

        k_start, k_steps = jax.random.split(key)
        steps = (*time_steps(sde, self.n_levels, self.grid), jax.random.split(k_steps, self.n_levels))
        return jax.lax.scan(body, p.start(k_start), steps)[0]

    def clean(self, u, t):
        """The end of the probability-flow ODE from ``u`` (d,) at ``t``: even steps in log SNR to t_min, and on to 0."""
        p, sde = self.problem, self.problem.sde
        share = jnp.arange(self.n_ode) / self.n_ode
        times = sde.time_of((1 - share) * sde.log_odds(t) + share * sde.log_odds(sde.t_min))
        ends = jnp.append(times[1:], 0.0)
        return jax.lax.scan(lambda u, ts: (along_ode(sde, u, p.prior.eps(u, ts[0]), *ts), None), u, (times, ends))[0]

    def langevin(self, centre, r, key, measurement):
        """A draw u (d,) of N(u; centre, r^2 I) p(y | u), roughly: the chain starts from its centre."""
        p = self.problem
        precision = 1 / (4 * p.sigma_y**2)
        h = self.step_size / (1 / r**2 + p.slope**2 * precision)

        def energy(u):
            return 0.5 * jnp.sum((u - centre) ** 2) / r**2 + 0.5 * precision * jnp.sum((2 * p.residual(u, measurement)) ** 2)

        def step(u, k):
            return u - h * jax.grad(energy)(u) + jnp.sqrt(2 * h) * normal(k, u.shape), None

        return jax.lax.scan(step, centre, jax.random.split(key, self.n_inner))[0]
