"""Projection within the reverse diffusion (Song et al. 2022, medical imaging with score-based generative models)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import fraction
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import ddim, time_steps


@dataclass(frozen=True)
class SDEProj(Sampler):
    """Before every step of the prior's sampler, u_t is moved towards the data diffused to the same time:

        u_t <- (1 - weight) u_t + weight (alpha_t y + beta_t z)   in the coordinates V^T u that are measured, with y
        there U^T y / s,

    where A = U diag(s) V^T and z ~ N(0, I) is drawn anew. Directions with s below ``cutoff`` times the largest count as
    not measured. eta: 1 takes ancestral steps in between, 0 those of DDIM.

    In theory: with weight = 1 the measured part of a sample is y itself (the problem without noise). So it is with any
    other weight as the number of steps grows: the measured part then follows alpha_t y plus noise of variance at most
    beta_t^2 that vanishes with it, so the samples have neither the posterior's mean nor its spread there. The weight
    means something only together with n_steps.

    The defaults are this project's, not a paper's. Against the authors' program (yang-song/score_inverse_problems,
    cs.py):

    - Its weight is ``coeff``, 1 by default. After the last step it puts y itself in the place of what was measured; here
      Tweedie's estimate is returned.
    - It is a predictor with a Langevin corrector, and projects before both, on a diffusion of exploding variance; here
      one projection before each step of the prior's own sampler.
    - Its transforms are invertible but for a mask, here any operator with singular values; ``cutoff`` 0.03 is what DDRM's
      program has for deblurring.

    nfe: n_steps, without gradients.
    """

    n_steps: int = 1000
    weight: float = 0.5
    eta: float = 1.0
    cutoff: float = 0.03
    grid: str = "uniform"
    needs: ClassVar[str] = "svd"
    traced: ClassVar[tuple] = ("weight", "cutoff")
    search: ClassVar[dict] = {"weight": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)}

    def check_settings(self):
        """n_steps >= 1; weight, eta and cutoff in [0, 1]."""
        super().check_settings()
        for name in ("weight", "eta", "cutoff"):
            fraction(name, getattr(self, name))

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde
        s_values, data = p.spectral(measurement)
        measured = (s_values > 0) & (s_values >= self.cutoff * jnp.max(s_values))
        target = jnp.where(measured, data / jnp.where(measured, s_values, 1.0), 0.0)

        def body(u, step):
            t, s, k = step
            k_data, k_step = jax.random.split(k)
            away = sde.perturb(target, t, normal(k_data, target.shape)) - p.spectrum.coordinates(u)
            u = u + p.spectrum.signal(jnp.where(measured, self.weight * away, 0.0))
            u0, eps = p.denoise(u, t)
            return ddim(sde, u0, eps, t, s, normal(k_step, u.shape), self.eta), None

        k_start, k_steps = jax.random.split(key)
        steps = (*time_steps(sde, self.n_steps, self.grid), jax.random.split(k_steps, self.n_steps))
        return jax.lax.scan(body, p.start(k_start), steps)[0]
