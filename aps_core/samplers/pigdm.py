"""Pseudoinverse-guided diffusion (Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from aps_core.checks import fraction, positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import ddim, time_steps

RULES = ("paper", "score", "red-diff")
CUTOFF = 0.03  # of the pseudo-inverse of "red-diff": singular values below it, in units of the largest, are left out


@dataclass(frozen=True)
class PiGDM(Sampler):
    """DDIM with the score of y under p(u_0 | u_t) ~ N(u0_hat, w^2 I):

        G = (d u0_hat/d u_t)^T A^T (w^2 A A^T + 4 sigma_y^2 I)^(-1) (y - A u0_hat),   w^2 = tau^2 beta^2 / (alpha^2
        tau^2 + beta^2),

    y of u = 2 x - 1, tau^2 = ``prior_variance``, the variance of an entry of u (1 in the paper: w = beta for a VP
    diffusion).

    rule "paper": u_s = DDIM(u_t) + alpha_t w^2 G, with the paper's adaptive weight. The pull of one step does not
    become smaller with the step, so the result depends on how many there are. rule "score": G is added to the score
    wherever that enters the step: eps - beta G, u0_hat + beta^2/alpha G. rule "red-diff": that of the program below,
    without noise: u_s = DDIM(u_t) + alpha_s alpha_t (d u0_hat/d u_t)^T A^+ (y - A u0_hat).

    In theory the approximation is exact for a Gaussian prior of covariance tau^2 I: with rule "score" the samples then
    are those of the posterior for any linear operator, as the number of steps grows. A prior with unequal variances it
    over- or understates.

    Against the authors' program, which stands in that of RED-diff (NVlabs/RED-diff, algos/pgdm.py):

    - Its weight is sqrt(alpha_bar_s alpha_bar_t) and its inverse the pseudo-inverse of A: sigma_y does not enter (rule
      "red-diff"). Here the noise is in the inverse, as in the paper.
    - It takes eta = 0, DDIM without noise; the default here is 1.
    - It starts from alpha A^+ y + beta z; here from the prior, which at t = 1 is nearly the same.
    - For inpainting it also puts y into u0_hat; that is left out, since y has noise here.

    nfe: n_steps, each with a gradient through the network.
    """

    n_steps: int = 100
    eta: float = 1.0
    prior_variance: float = 1.0
    rule: str = "paper"
    grid: str = "uniform"
    needs: ClassVar[str] = "svd"
    traced: ClassVar[tuple] = ("prior_variance",)
    search: ClassVar[dict] = {"prior_variance": (0.03, 0.1, 0.3, 1.0), "rule": ("paper", "score")}

    def check_settings(self):
        """n_steps >= 1, eta in [0, 1], prior_variance > 0, a known rule."""
        super().check_settings()
        fraction("eta", self.eta)
        positive("prior_variance", self.prior_variance)
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {RULES}, got {self.rule!r}")

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde
        s_values, data = p.spectral(measurement)

        def body(u, step):
            t, s, k = step
            alpha, beta = sde.alpha(t), sde.beta(t)
            w2 = self.prior_variance * beta**2 / (alpha**2 * self.prior_variance + beta**2)
            u0, pullback, eps = jax.vjp(lambda u: p.denoise(u, t), u, has_aux=True)
            residual = data - s_values * p.spectrum.coordinates(u0)
            z = normal(k, u.shape)
            if self.rule == "red-diff":
                kept = (s_values > 0) & (s_values >= CUTOFF * jnp.max(s_values))
                inverse = jnp.where(kept, 1 / jnp.where(kept, s_values, 1.0), 0.0)
                (guide,) = pullback(p.spectrum.signal(inverse * residual))
                return ddim(sde, u0, eps, t, s, z, self.eta) + sde.alpha(s) * alpha * guide, None
            (guide,) = pullback(p.spectrum.signal(s_values / (w2 * s_values**2 + 4 * p.sigma_y**2) * residual))
            if self.rule == "paper":
                return ddim(sde, u0, eps, t, s, z, self.eta) + alpha * w2 * guide, None
            return ddim(sde, u0 + beta**2 / alpha * guide, eps - beta * guide, t, s, z, self.eta), None

        k_start, k_steps = jax.random.split(key)
        steps = (*time_steps(sde, self.n_steps, self.grid), jax.random.split(k_steps, self.n_steps))
        return jax.lax.scan(body, p.start(k_start), steps)[0]
