"""Manifold constrained gradients (Chung et al. 2022, "Improving diffusion models for inverse problems using manifold
constraints").
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from aps_core.checks import positive
from aps_core.operators import linear_part
from aps_core.samplers.dps import DPS
from aps_core.samplers.noise import normal


@dataclass(frozen=True)
class MCG(DPS):
    """The step of DPS, then a projection onto the measurement at the noise level reached:

        u_s <- u_s + A^T (y_s - A u_s) / s_max^2,   y_s = alpha_s y + beta_s A z,   z ~ N(0, I), y of u = 2 x - 1.

    For masks and average pooling this is the orthogonal projection (all singular values are s_max); for other linear
    operators one step towards it, as in the authors' program. It takes noise in y for signal. For denoising the
    projection would put y in the place of the sample: it is left out, and MCG is DPS there (Sec. 5.2 of the APS paper).
    Settings, residual and norm as in DPS.

    The last projection, at beta = 0, puts y itself in the place of what was measured: the error of a sample there is
    that of the data, whatever the prior. ``until`` ends the projections at the level beta/alpha = until 2 sigma_y/s_max:
    0 projects to the end, 1 as long as y is less noisy than u, and the steps below are those of DPS.

    Against the authors' program (HJ-harry/MCG_diffusion, for inpainting):

    - zeta is 1 there and the gradient is kept where nothing was measured only; here it acts everywhere, which the
      projection onto a mask undoes.
    - It inserts y diffused to the time t that the step comes from, here to the time s that it reaches. There too the
      last step inserts y, with the noise of its first discrete time.
    - It clips u0_hat to [-1, 1] (``clip``), and its noise has variances that the network learned.
    - For operators other than masks RED-diff's program has a version of its own; the projection here is one for all.

    nfe: n_steps, each with a gradient through the network.
    """

    until: float = 0.0
    needs: ClassVar[str] = "linear"
    needs_slope: ClassVar[bool] = True

    def check_settings(self):
        """As DPS; until >= 0."""
        super().check_settings()
        if self.until != 0:
            positive("until", self.until)

    def correct(self, u, s, key, measurement):
        """The projection, down to the level of ``until``."""
        p = self.problem
        if p.operator.is_identity:
            return u
        sde, mask, shape = p.sde, measurement.mask, p.operator.shape
        observed = p.operator.observed(mask)
        noise = linear_part(p.operator, normal(key, shape), mask)
        data = sde.alpha(s) * p.linear_data(measurement) + sde.beta(s) * noise
        residual = observed * (data - linear_part(p.operator, u.reshape(shape), mask))
        projected = u + p.operator.adjoint(residual, mask).reshape(-1) / p.slope**2
        if not self.until:
            return projected
        return jnp.where(sde.beta(s) / sde.alpha(s) >= self.until * 2 * p.sigma_y / p.slope, projected, u)
