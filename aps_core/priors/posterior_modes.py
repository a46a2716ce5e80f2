"""The closed-form Gaussian posterior of a fixed linear operator in its own principal modes."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import positive
from aps_core.operators import dense_matrix
from aps_core.priors.linear_posterior import posterior_roots


@flax.struct.dataclass
class PosteriorModes:
    """N(mu_G(y), V diag(std^2) V^T) under a GaussianPrior, y = A x + N(0, sigma^2 I), and what a flow around it needs.

    ``pull`` is Sigma_G Sigma^(-1/2): by Stein's identity the posterior mean under any prior p with Gaussian part p_G is
    mu_G + Sigma_G E[grad log p/p_G | y], so that pull @ o for o of order one is a shift of the size that such a correction can have.
    """

    basis: jax.Array  # V (d, d), largest variance first
    std: jax.Array  # (d,)
    gain: jax.Array  # Sigma_G A^T / sigma^2 (d, n)
    pull: jax.Array  # (d, d)
    prior_mean: jax.Array  # m (d,)
    predicted: jax.Array  # A m (n,)
    marginal_std: jax.Array  # (d,)

    def mean(self, y):
        """mu_G(y) (d,) for flat data ``y`` (n,)."""
        return self.prior_mean + self.gain @ (y - self.predicted)

    @property
    def mean_variance(self):
        """Mean posterior variance of the entries."""
        return jnp.mean(self.std**2)


def posterior_modes(prior, operator, sigma_y):
    """The PosteriorModes of a GaussianPrior, a fixed linear operator and the noise, computed in float64.

    Costs two eigenproblems of d x d (d = 3072: some ten seconds of two cores, 1.5 GB). For the identity, whose modes are the prior's, none.
    Raises TypeError for an operator that is not linear or draws its mask anew, ValueError for one of another shape.
    """
    positive("sigma_y", sigma_y)
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}")
    if operator.kind == "identity" and prior.basis.shape[0] == prior.basis.shape[1]:
        arrays = _denoising(prior, sigma_y)
    else:
        arrays = _linear(prior, dense_matrix(operator), sigma_y)
    return PosteriorModes(*(jnp.asarray(a, prior.mean.dtype) for a in arrays))


def _denoising(prior, sigma_y):
    mean, excess, rest, basis = (np.asarray(a, np.float64) for a in (prior.mean, prior.excess, prior.rest, prior.basis))
    variance = excess + rest
    posterior = variance * sigma_y**2 / (variance + sigma_y**2)
    gain = (basis * (variance / (variance + sigma_y**2))) @ basis.T
    pull = (basis * (posterior / np.sqrt(variance))) @ basis.T
    return basis, np.sqrt(posterior), gain, pull, mean, mean, np.sqrt(basis**2 @ posterior)


def _linear(prior, matrix, sigma_y):
    root, root_inverse, shrink, _, _ = posterior_roots(prior, matrix, sigma_y)
    factor = root @ shrink
    values, vectors = np.linalg.eigh(factor @ factor.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    # eigenvalues of the product are exact to 1e-16 of the largest, far below the smallest one that matters
    std = np.sqrt(np.maximum(values, 1e-14 * values[0]))
    mean = np.asarray(prior.mean, np.float64)
    gain = factor @ (shrink @ (matrix @ root / sigma_y).T) / sigma_y
    pull = (factor @ factor.T) @ root_inverse
    return vectors, std, gain, pull, mean, matrix @ mean, np.linalg.norm(factor, axis=1)
