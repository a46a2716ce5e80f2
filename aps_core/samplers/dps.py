"""Diffusion posterior sampling (Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import flag, positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import ancestral, time_steps


@dataclass(frozen=True)
class DPS(Sampler):
    """Ancestral sampling of the prior, pulled towards the data after every step:

        u_s = ancestral(u_t, u0_hat(u_t)) - zeta/||r|| grad_{u_t} ||r||^2,   r = y - A(x0_hat(u_t)),   zeta =
        ``step_size``.

    Any differentiable operator. sigma_y does not enter: the step size takes its place, and no step size makes the
    samples those of the posterior. The norm is of one sample, and r is in the [0, 1] scale of the data (zero where
    nothing was observed), u in [-1, 1]. The last step returns Tweedie's estimate at t_min, pulled once more.

    Against the authors' program (DPS2022/diffusion-posterior-sampling):

    - zeta is its ``scale``, 0.3 in its configuration for deblurring: there r is twice as large and the gradient that of
      ||r||, half as large. There the norm is that of the whole batch, here of one sample, so that a result does not
      depend on its company.
    - It clips u0_hat to [-1, 1] before residual, gradient and step. Here that is ``clip``, left out by default: it
      belongs to 8-bit images, not to every signal, and where it acts the step is no longer that of the prior.
    - It pulls after the last step too. ``last_pull`` = False returns Tweedie's estimate itself.
    - Its noise has variances that the network learned; here they are those of the bridge to u0_hat. Its times are a
      subset of 1000 discrete ones; here they are even in t from 1 to t_min.

    nfe: n_steps, each with a gradient through the network.
    """

    n_steps: int = 1000
    step_size: float = 1.0
    grid: str = "uniform"
    clip: bool = False
    last_pull: bool = True
    traced: ClassVar[tuple] = ("step_size",)
    search: ClassVar[dict] = {"step_size": (0.03, 0.1, 0.3, 1.0, 3.0)}

    def check_settings(self):
        """n_steps >= 1, step_size > 0; clip and last_pull are True or False."""
        super().check_settings()
        positive("step_size", self.step_size)
        flag("clip", self.clip)
        flag("last_pull", self.last_pull)

    def correct(self, u, s, key, measurement):
        """What else is done to ``u`` at time ``s``: nothing."""
        del s, key, measurement
        return u

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p = self.problem

        def misfit(u, t):
            u0, eps = p.denoise(u, t)
            if self.clip:
                u0 = jnp.clip(u0, -1.0, 1.0)
                eps = (u - p.sde.alpha(t) * u0) / p.sde.beta(t)
            return jnp.sum(p.residual(u0, measurement) ** 2), (u0, eps)

        def body(u, step):
            t, s, k = step
            (square, (u0, eps)), gradient = jax.value_and_grad(misfit, has_aux=True)(u, t)
            pull = self.step_size * gradient / jnp.sqrt(jnp.maximum(square, jnp.finfo(u.dtype).tiny))
            if not self.last_pull:
                pull = jnp.where(s > 0, pull, 0.0)
            moved = ancestral(p.sde, u0, eps, t, s, normal(k, u.shape)) - pull
            return self.correct(moved, s, jax.random.fold_in(k, 1), measurement), None

        k_start, k_steps = jax.random.split(key)
        steps = (*time_steps(p.sde, self.n_steps, self.grid), jax.random.split(k_steps, self.n_steps))
        return jax.lax.scan(body, p.start(k_start), steps)[0]
