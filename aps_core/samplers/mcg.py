"""Manifold constrained gradients (Chung et al. 2022, "Improving diffusion models for inverse problems using manifold constraints")."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from aps_core.samplers.dps import DPS
from aps_core.samplers.noise import normal


@dataclass(frozen=True)
class MCG(DPS):
    """The step of DPS, then a projection onto the measurement at the noise level reached (Eq. 14-15):

        u_s <- u_s + A^T (y_s - A u_s) / s_max^2,   y_s = alpha_s y + beta_s A z,   z ~ N(0, I), y of u = 2 x - 1.

    For masks and average pooling this is the orthogonal projection (all singular values are s_max); for other linear operators one
    step towards it, as in the authors' program. It takes noise in y for signal. For denoising the projection would put y in the place of
    the sample: it is left out, and MCG is DPS there (Sec. 5.2 of the APS paper). Settings, residual and norm as in DPS.

    nfe: n_steps, each with a gradient through the network.
    """

    needs: ClassVar[str] = "linear"
    needs_slope: ClassVar[bool] = True

    def correct(self, u, s, key, measurement):
        """The projection."""
        p = self.problem
        if p.operator.kind == "identity":
            return u
        sde, mask, shape = p.sde, measurement.mask, p.operator.shape
        observed = p.operator.observed(mask)
        noise = p.operator(normal(key, shape), mask)
        data = sde.alpha(s) * p.linear_data(measurement) + sde.beta(s) * noise
        residual = observed * (data - p.operator(u.reshape(shape), mask))
        return u + p.operator.adjoint(residual, mask).reshape(-1) / p.slope**2
