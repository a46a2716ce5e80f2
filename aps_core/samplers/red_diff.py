"""RED-diff (Mardani et al. 2023, "A variational perspective on solving inverse problems with diffusion models")."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from aps_core.checks import positive
from aps_core.samplers.base import Sampler
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import time_steps

STARTS = ("prior", "pseudo-inverse")
CUTOFF = 0.03  # of the pseudo-inverse: singular values below it, in units of the largest, are left out


@dataclass(frozen=True)
class REDDiff(Sampler):
    """Adam on one signal u, the mean of a point-like q(u | y), at times that fall from 1 to t_min:

        mean over data of (2 r)^2 / 2 + weight beta/alpha mean over entries of sg[eps_theta(u_t, t) - eps] u,   u_t =
        alpha u + beta eps,

    with r = y - A(x) in the [0, 1] scale (2 r is in that of u) and sg = no gradient: none passes through the network,
    and any differentiable operator will do. beta/alpha = SNR^(-1/2) is the paper's weighting and ``weight`` its lambda.
    It seeks a mode: what differs between samples is the noise of the optimization alone.

    Against the authors' program (NVlabs/RED-diff, algos/reddiff.py):

    - It starts at the pseudo-inverse of y (``start`` = "pseudo-inverse", for operators with singular values); the
      default here is the mean of the prior, which any operator has.
    - Loss, Adam (rate 0.1, momenta 0.9 and 0.99), weight 0.25 and falling times are its own, and so is that the noise of
      y does not enter.

    nfe: n_steps, for one sample.
    """

    n_steps: int = 1000
    step_size: float = 0.1
    weight: float = 0.25
    grid: str = "uniform"
    start: str = "prior"
    traced: ClassVar[tuple] = ("step_size", "weight")
    search: ClassVar[dict] = {"step_size": (0.01, 0.03, 0.1), "weight": (0.03, 0.1, 0.25, 1.0, 3.0)}

    def check_settings(self):
        """n_steps >= 1, step_size > 0, weight > 0, a known start."""
        super().check_settings()
        positive("step_size", self.step_size)
        positive("weight", self.weight)
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {STARTS}, got {self.start!r}")

    @property
    def needs(self):
        """ "svd" for a start at the pseudo-inverse, else "any"."""
        return "svd" if self.start == "pseudo-inverse" else "any"

    def initial(self, measurement):
        """u (d,) that the optimization starts from."""
        p = self.problem
        if self.start == "prior":
            return 2 * p.prior.gaussian.mean - 1
        s_values, data = p.spectral(measurement)
        kept = (s_values > 0) & (s_values >= CUTOFF * jnp.max(s_values))
        return p.spectrum.signal(jnp.where(kept, data / jnp.where(kept, s_values, 1.0), 0.0))

    def trajectory(self, key, measurement):
        """One sample u (d,)."""
        p, sde = self.problem, self.problem.sde
        adam = optax.adam(self.step_size, b1=0.9, b2=0.99)
        n_data = jnp.sum(p.operator.observed(measurement.mask))

        def fidelity(u):
            return jnp.sum((2 * p.residual(u, measurement)) ** 2) / (2 * n_data)

        def body(carry, step):
            (u, state), (t, k) = carry, step
            noise = normal(k, u.shape)
            mismatch = p.prior.eps(sde.perturb(u, t, noise), t) - noise
            gradient = jax.grad(fidelity)(u) + self.weight * sde.beta(t) / sde.alpha(t) * mismatch / p.dim
            change, state = adam.update(gradient, state)
            return (optax.apply_updates(u, change), state), None

        u = jnp.asarray(self.initial(measurement), jnp.result_type(float))
        times = time_steps(sde, self.n_steps, self.grid)[0]
        return jax.lax.scan(body, (u, adam.init(u)), (times, jax.random.split(key, self.n_steps)))[0][0]
