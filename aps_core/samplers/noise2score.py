"""Noise2Score (Kim & Ye 2021): Tweedie's formula applied once to the noisy signal."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from aps_core.samplers.base import Sampler


@dataclass(frozen=True)
class Noise2Score(Sampler):
    """E[x | y] = y + sigma_y^2 grad log p(y), for denoising.

    With u = 2 x - 1 the data 2 y - 1 = u + 2 sigma_y n is a diffused signal up to its scale: at the time where
    beta/alpha = 2 sigma_y, u_t = alpha (2 y - 1), and Tweedie's estimate at u_t is the posterior mean of the prior,
    exactly so for an exact score. (The paper trains a score of y itself; a diffusion prior has it already.) On draws
    of the prior, and with its exact score, no estimate has a smaller mean squared error; on other signals one may. It
    is a point estimate: all n samples are the same.

    Raises ValueError where 2 sigma_y is not among the noise levels of the diffusion. nfe: 1.
    """

    needs: ClassVar[str] = "denoising"

    def check_settings(self):
        """sigma_y between the noise levels at t_min and 1."""
        sde = self.task.prior.sde
        low, high = (0.5 * float(jnp.exp(0.5 * sde.log_odds(t))) for t in (sde.t_min, 1.0))
        if not low <= self.task.sigma_y <= high:
            raise ValueError(
                f"sigma_y must be a noise level of the diffusion, {low:.3g} to {high:.3g}, got {self.task.sigma_y}"
            )

    @property
    def nfe(self):
        """1."""
        return 1

    def trajectory(self, key, measurement):
        """The posterior mean of u (d,); ``key`` does not matter."""
        del key
        p = self.problem
        t = p.sde.time_of(2 * jnp.log(2 * p.sigma_y))
        return p.denoise(p.sde.alpha(t) * p.linear_data(measurement).reshape(-1), t)[0]
