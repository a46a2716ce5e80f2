"""Annealed Langevin dynamics (Jalal et al. 2021, "Robust compressed sensing MRI with deep generative priors")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import count, positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import time_steps


@dataclass(frozen=True)
class ScoreALD(Sampler):
    """``n_inner`` Langevin steps at each of ``n_levels`` noise levels r = beta/alpha, on v = u_t/alpha, of density
    p(u_0) * N(0, r^2 I):

        v <- v + h (grad log p_r(v) - grad ||2 (y - A(x))||^2 / (2 (4 sigma_y^2 + gamma^2 r^2))) + sqrt(2 h) z,   h =
        step_size r^2,

    with x = (v + 1)/2 and grad log p_r = -eps/r; the paper's annealed gamma_t is gamma r here. Any differentiable
    operator; no gradient passes through the network. v is then denoised at the last level (one more NFE).

    In theory: the likelihood is that of a signal whose noise r is independent of y, which is wrong at every level, but
    less so as r falls. A direction follows the levels until step_size n_inner r^2 falls below its posterior variance,
    so that the samples approach the posterior as levels and steps are added, with the step size small (Langevin steps
    of size h inflate a variance by about step_size/2), and are too wide before. Stable for step_size (1 +
    s_max^2/gamma^2) < 2.

    The defaults are this project's, not a paper's: five steps for each level are those of Feng et al. (2023,
    supplement), who do not say the rest. Against the authors' program (utcsilab/csgm-mri-langevin):

    - There are 2311 geometric levels from 232 to 0.0066 with three steps each, of size 0.0207 r^2 (``step_lr`` 9e-7 at the
      last level): the schedule is the same, here with fewer levels and larger steps.
    - Its weight of the data is ``mse``/r^2, here 1/(4 sigma_y^2 + gamma^2 r^2): with mse = 1 and gamma = 1 the two agree
      but for sigma_y, without which a sample would come to reproduce the noise of y.
    - It starts from uniform numbers, here from the noise of the first level, and does not denoise at the end.

    nfe: n_levels n_inner + 1, without gradients.
    """

    n_levels: int = 200
    n_inner: int = 5
    step_size: float = 0.1
    gamma: float = 1.0
    grid: str = "log-snr"
    traced: ClassVar[tuple] = ("step_size", "gamma")
    search: ClassVar[dict] = {"step_size": (0.01, 0.03, 0.1, 0.3), "gamma": (0.3, 1.0, 3.0)}

    def check_settings(self):
        """n_levels and n_inner >= 1, step_size > 0, gamma > 0."""
        super().check_settings()
        count("n_levels", self.n_levels)
        positive("step_size", self.step_size)
        positive("gamma", self.gamma)

    @property
    def nfe(self):
        """n_levels n_inner + 1."""
        return self.n_levels * self.n_inner + 1

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde

        def misfit(v):
            return 0.5 * jnp.sum((2 * p.residual(v, measurement)) ** 2)

        def level(v, step):
            t, k = step
            alpha, r = sde.alpha(t), sde.beta(t) / sde.alpha(t)
            h, variance = self.step_size * r**2, 4 * p.sigma_y**2 + (self.gamma * r) ** 2

            def langevin(v, k):
                drift = -p.prior.eps(alpha * v, t) / r - jax.grad(misfit)(v) / variance
                return v + h * drift + jnp.sqrt(2 * h) * normal(k, v.shape), None

            return jax.lax.scan(langevin, v, jax.random.split(k, self.n_inner))[0], None

        k_start, k_levels = jax.random.split(key)
        times = time_steps(sde, self.n_levels, self.grid)[0]
        v, _ = jax.lax.scan(
            level, p.start(k_start) / sde.alpha(1.0), (times, jax.random.split(k_levels, self.n_levels))
        )
        return p.denoise(sde.alpha(times[-1]) * v, times[-1])[0]
