"""The closed-form Gaussian posterior of a fixed linear operator in its own principal modes."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from aps_core.checks import positive
from aps_core.operators import dense_matrix


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

    Costs an eigenproblem of d x d and half a dozen products (d = 3072: some ten seconds of two cores, 1.5 GB). For the identity, whose modes are the prior's, none.
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
    """With Sigma = B L B^T and W = A B L^(1/2) / sigma, Sigma_G = B L^(1/2) S L^(1/2) B^T, where S = (I + W^T W)^(-1)."""
    basis, std = _complete(prior)
    mean = np.asarray(prior.mean, np.float64)
    w = (matrix @ basis) * std / sigma_y
    shrink = _inverse(w)
    values, vectors = np.linalg.eigh(shrink * np.outer(std, std))
    # exact to 1e-16 of the largest eigenvalue, far below the smallest one that matters
    values, vectors = np.maximum(values[::-1], 1e-14 * values[-1]), basis @ vectors[:, ::-1]
    left = (basis * std) @ shrink
    return vectors, np.sqrt(values), left @ w.T / sigma_y, left @ basis.T, mean, matrix @ mean, np.sqrt(vectors**2 @ values)


def _inverse(w):
    """(I + W^T W)^(-1) for W (n, d)."""
    n, d = w.shape
    if n >= d:
        return cho_solve(cho_factor(np.eye(d) + w.T @ w), np.eye(d))
    return np.eye(d) - w.T @ cho_solve(cho_factor(np.eye(n) + w @ w.T), w)


def _complete(prior):
    """All modes (d, d) of the prior, orthonormal in float64, and their standard deviations."""
    given, std = np.asarray(prior.basis, np.float64), np.sqrt(np.asarray(prior.excess, np.float64) + float(prior.rest))
    dim, k = given.shape
    if k < dim:
        return np.linalg.qr(given, mode="complete")[0], np.append(std, np.full(dim - k, np.sqrt(float(prior.rest))))
    for _ in range(2):  # Newton's iteration to the nearest orthonormal matrix; what is shipped is that to three digits
        given = 1.5 * given - 0.5 * given @ (given.T @ given)
    return given, std
