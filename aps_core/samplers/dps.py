"""Diffusion posterior sampling (Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems", Alg. 1)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import ancestral, time_steps


@dataclass(frozen=True)
class DPS(Sampler):
    """Ancestral sampling of the prior, pulled towards the data after every step:

        u_s = ancestral(u_t, u0_hat(u_t)) - zeta/||r|| grad_{u_t} ||r||^2,   r = y - A(x0_hat(u_t)),   zeta = ``step_size``.

    Any differentiable operator. sigma_y does not enter: the step size takes its place, and no step size makes the samples those of the
    posterior. The norm is of one sample, and r is in the [0, 1] scale of the data (zero where nothing was observed), u in [-1, 1]. Of the
    authors' program this is ``scale`` = zeta: there r is twice as large and the gradient that of ||r||, half as large; there the norm is
    that of the whole batch, so that a result depends on its company. The last step returns Tweedie's estimate at t_min.

    nfe: n_steps, each with a gradient through the network.
    """

    n_steps: int = 1000
    step_size: float = 1.0
    grid: str = "uniform"
    traced: ClassVar[tuple] = ("step_size",)
    search: ClassVar[dict] = {"step_size": (0.03, 0.1, 0.3, 1.0, 3.0)}

    def check_settings(self):
        """n_steps >= 1, step_size > 0."""
        super().check_settings()
        positive("step_size", self.step_size)

    def correct(self, u, s, key, measurement):
        """What else is done to ``u`` at time ``s``: nothing."""
        del s, key, measurement
        return u

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p = self.problem

        def misfit(u, t):
            u0, eps = p.denoise(u, t)
            return jnp.sum(p.residual(u0, measurement) ** 2), (u0, eps)

        def body(u, step):
            t, s, k = step
            (square, (u0, eps)), gradient = jax.value_and_grad(misfit, has_aux=True)(u, t)
            pull = self.step_size * gradient / jnp.sqrt(jnp.maximum(square, jnp.finfo(u.dtype).tiny))
            moved = ancestral(p.sde, u0, eps, t, s, normal(k, u.shape)) - pull
            return self.correct(moved, s, jax.random.fold_in(k, 1), measurement), None

        k_start, k_steps = jax.random.split(key)
        steps = (*time_steps(p.sde, self.n_steps, self.grid), jax.random.split(k_steps, self.n_steps))
        return jax.lax.scan(body, p.start(k_start), steps)[0]
