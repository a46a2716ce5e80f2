"""DAPS (Zhang et al. 2024, "Improving diffusion inverse problem solving with decoupled noise annealing")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import count, fraction, positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import along_ode, time_steps

SCHEDULES = ("grid", "power-7")
R_MAX, R_MIN = 100.0, 0.1  # of the authors' annealing


@dataclass(frozen=True)
class DAPS(Sampler):
    """For each of ``n_levels`` falling times t:

    1. u0_hat: the probability-flow ODE from u_t to 0 in ``n_ode`` steps of DDIM;
    2. ``n_inner`` Langevin steps from u0_hat on N(u; u0_hat, r^2 I) p(y | u), r = beta/alpha, of size
       ``step_size``/(1/r^2 + curvature);
    3. u_s = alpha_s u + beta_s z for the next time: consecutive times are coupled through u_0 alone.

    The curvature of the log-likelihood is s_max^2/(4 sigma_y^2), s_max the largest slope of the operator: the paper's
    step size, in units in which it is stable below 2. Any differentiable operator; no gradient passes through the
    network.

    In theory: were p(u_0 | u_t, y) sampled exactly, u_t would be that of the posterior at every time.
    The Gaussian around the ODE's end point is not p(u_0 | u_t), so it is not exact for a Gaussian prior either, and
    directions that y says nothing of keep their spread only if r^2 fits the prior.

    Against the authors' program (zhangbingliang2019/DAPS):

    - Its levels r fall from 100 to 0.1 by the seventh power, r = (100^(1/7) + q (0.1^(1/7) - 100^(1/7)))^7, and then to
      0: ``schedule`` = "power-7". Here they follow ``grid`` down to t_min by default.
    - Its step size falls linearly to 1 % over the levels: ``decay`` = 0.01; here it is constant, ``decay`` = 1.
    - Its step is a length of its own for every task, such as 1e-4, and its noise level a setting of its own
      (``tau`` = 0.01); here the step is in units in which it is stable below 2, and the noise is that of the task.
    - Its ODE takes Euler steps in r down to 0.01, also by the seventh power; here steps of DDIM, even in log SNR.

    nfe: n_levels n_ode.
    """

    n_levels: int = 200
    n_ode: int = 5
    n_inner: int = 100
    step_size: float = 0.1
    grid: str = "log-snr"
    schedule: str = "grid"
    decay: float = 1.0
    traced: ClassVar[tuple] = ("step_size",)
    needs_slope: ClassVar[bool] = True
    search: ClassVar[dict] = {"step_size": (0.03, 0.1, 0.3), "n_inner": (20, 100)}

    def check_settings(self):
        """n_levels, n_ode and n_inner >= 1, step_size > 0, a known schedule, decay in (0, 1]."""
        super().check_settings()
        count("n_levels", self.n_levels)
        positive("step_size", self.step_size)
        positive("decay", self.decay)
        fraction("decay", self.decay)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}, got {self.schedule!r}")

    @property
    def nfe(self):
        """n_levels n_ode."""
        return self.n_levels * self.n_ode

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        sde = self.problem.sde

        def body(u, step):
            t, s, share, k = step
            k_inner, k_noise = jax.random.split(k)
            u0 = self.langevin(self.clean(u, t), sde.beta(t) / sde.alpha(t), k_inner, measurement, share)
            return sde.perturb(u0, s, normal(k_noise, u.shape)), None

        k_start, k_steps = jax.random.split(key)
        shares = 1 + jnp.arange(self.n_levels) / self.n_levels * (self.decay - 1)
        steps = (*self.times(), shares, jax.random.split(k_steps, self.n_levels))
        return jax.lax.scan(body, self.start(k_start), steps)[0]

    def start(self, key):
        """u (d,) with the noise of the first level, which "power-7" may have before t = 1."""
        sde = self.problem.sde
        return self.problem.start(key) * (sde.beta(self.times()[0][0]) / sde.beta(1.0))

    def times(self):
        """(t, s), each (n_levels,): the times of the levels, and of the next ones, the last of which is 0.

        A level of "power-7" beyond the noise of the diffusion at t = 1 is taken there.
        """
        sde = self.problem.sde
        if self.schedule == "grid":
            return time_steps(sde, self.n_levels, self.grid)
        q = jnp.arange(self.n_levels) / self.n_levels
        r = (R_MAX ** (1 / 7) + q * (R_MIN ** (1 / 7) - R_MAX ** (1 / 7))) ** 7
        t = sde.time_of(jnp.clip(2 * jnp.log(r), sde.log_odds(sde.t_min), sde.log_odds(1.0)))
        return t, jnp.append(t[1:], 0.0)

    def clean(self, u, t):
        """The end of the probability-flow ODE from ``u`` (d,) at ``t``: even steps in log SNR to t_min, and on to 0."""
        p, sde = self.problem, self.problem.sde
        share = jnp.arange(self.n_ode) / self.n_ode
        times = sde.time_of((1 - share) * sde.log_odds(t) + share * sde.log_odds(sde.t_min))
        ends = jnp.append(times[1:], 0.0)
        return jax.lax.scan(lambda u, ts: (along_ode(sde, u, p.prior.eps(u, ts[0]), *ts), None), u, (times, ends))[0]

    def langevin(self, centre, r, key, measurement, share=1.0):
        """A draw u (d,) of N(u; centre, r^2 I) p(y | u), roughly: the chain starts from its centre; ``share`` of the
        step size.
        """
        p = self.problem
        precision = 1 / (4 * p.sigma_y**2)
        h = share * self.step_size / (1 / r**2 + p.slope**2 * precision)

        def energy(u):
            return 0.5 * jnp.sum((u - centre) ** 2) / r**2 + 0.5 * precision * jnp.sum(
                (2 * p.residual(u, measurement)) ** 2
            )

        def step(u, k):
            return u - h * jax.grad(energy)(u) + jnp.sqrt(2 * h) * normal(k, u.shape), None

        return jax.lax.scan(step, centre, jax.random.split(key, self.n_inner))[0]
