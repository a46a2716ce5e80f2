"""Denoising diffusion restoration models (Kawar et al. 2022), in the coordinates of the operator's singular vectors."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import fraction
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import time_steps


@dataclass(frozen=True)
class DDRM(Sampler):
    """With A = U diag(s) V^T, v = V^T u_t/alpha, r = beta/alpha, data c = U^T y / s of noise q = 2 sigma_y/s, and v0
    Tweedie's estimate at the level r' before, each coordinate is drawn at level r from

        q <= r:        N((1 - eta_b) v0 + eta_b c,                r^2 - eta_b^2 q^2)
        q > r:         N(v0 + (1 - eta^2)^(1/2) r (c - v0)/q,     eta^2 r^2)
        not measured:  N(v0 + (1 - eta^2)^(1/2) r (v - v0)/r',    eta^2 r^2)

    and starts from N(c, r^2 - q^2) or N(0, r^2). The last level is zero: v0 is returned. 20 steps are the paper's
    setting.

    In theory: were v0 the true signal, v at every level would be N(v0, r^2) over y and the noise.
    Tweedie's estimate is not, and the samples are not the posterior's. With many steps the second line feeds c back at
    every level, and the fixed point of v = v0(v) + (1 - eta^2)^(1/2) r (c - v0)/q tends to c with r: a measured
    coordinate tends to c itself, without spread, whatever the prior. The number of steps is part of the method.

    Against the authors' program (bahjat-kawar/ddrm, functions/denoising.py): the three lines, eta = 0.85, eta_b = 1 and
    20 steps are its own. Singular values below 0.03 are zero in its deblurring, here only those below 1e-6 of the
    largest: the noise of y decides for the others, by q. Its first time is 0.95 (it strides over 1000 discrete ones),
    here 1.

    nfe: n_steps, without gradients.
    """

    n_steps: int = 20
    eta: float = 0.85
    eta_b: float = 1.0
    grid: str = "uniform"
    needs: ClassVar[str] = "svd"
    traced: ClassVar[tuple] = ("eta", "eta_b")
    search: ClassVar[dict] = {"n_steps": (10, 20, 50, 100), "eta": (0.5, 0.7, 0.85, 1.0)}

    def check_settings(self):
        """n_steps >= 1; eta and eta_b in [0, 1]."""
        super().check_settings()
        fraction("eta", self.eta)
        fraction("eta_b", self.eta_b)

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde
        s_values, data = p.spectral(measurement)
        divisor = jnp.where(s_values > 0, s_values, 1.0)
        c, q = data / divisor, jnp.where(s_values > 0, 2 * p.sigma_y / divisor, jnp.inf)

        def level(t):
            return sde.beta(t) / sde.alpha(t)

        def draw(key, whole, measured):
            """A signal of Gaussian entries of which only the measured coordinates are another Gaussian: mean and std of
            both.
            """
            k_whole, k_measured = jax.random.split(key)
            v = whole[0] + whole[1] * normal(k_whole, (p.dim,))
            inside = measured[0] + measured[1] * normal(k_measured, c.shape)
            return v + p.spectrum.signal(inside - p.spectrum.coordinates(v))

        def body(v, step):
            t, s, k = step
            v0 = p.denoise(sde.alpha(t) * v, t)[0]
            whole = self.transition(v, v0, 0.0, jnp.inf, level(t), level(s))
            measured = self.transition(p.spectrum.coordinates(v), p.spectrum.coordinates(v0), c, q, level(t), level(s))
            return draw(k, whole, measured), None

        k_start, k_steps = jax.random.split(key)
        first = level(1.0)
        seen = q <= first
        std = jnp.sqrt(first**2 - jnp.where(seen, q, 0.0) ** 2)
        v = draw(k_start, (0.0, first), (jnp.where(seen, c, 0.0), std))
        steps = (*time_steps(sde, self.n_steps, self.grid), jax.random.split(k_steps, self.n_steps))
        return jax.lax.scan(body, v, steps)[0]

    def transition(self, v, v0, c, q, before, r):
        """Mean and standard deviation of coordinates at level ``r``, from ``v`` at the level ``before``; q is infinite
        where nothing is measured.
        """
        keep = jnp.sqrt(1 - self.eta**2) * r
        known = jnp.where(jnp.isfinite(q), q, 1.0)
        mean = jnp.where(jnp.isfinite(q), v0 + keep * (c - v0) / known, v0 + keep * (v - v0) / before)
        std = jnp.where(q <= r, jnp.sqrt(jnp.maximum(r**2 - self.eta_b**2 * known**2, 0.0)), self.eta * r)
        return jnp.where(q <= r, (1 - self.eta_b) * v0 + self.eta_b * c, mean), std
