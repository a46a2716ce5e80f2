"""Closed-form posterior of a GaussianPrior under any fixed linear operator, as an exact bijection with a constant
factor.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from aps_core.checks import noise
from aps_core.operators import dense_matrix, offset
from aps_core.priors.kept import kept, latest


@flax.struct.dataclass
class LinearPosteriorFactors:
    """All of the posterior N(mu_G(y), F F^T) under y = A(x) + N(0, sigma^2 I) that does not depend on y."""

    factor: jax.Array  # F (d, d)
    inverse_factor: jax.Array  # F^(-1) (d, d)
    gain: jax.Array  # Sigma A^T / sigma^2, (d, n)
    prior_mean: jax.Array  # m (d,)
    predicted: jax.Array  # A(m) (n,)
    log_det: jax.Array  # log|det F|
    marginal_std: jax.Array  # (d,)

    def posterior(self, y):
        """The LinearGaussianPosterior for flat data ``y`` (n,)."""
        return LinearGaussianPosterior(self.prior_mean + _product(self.gain, y - self.predicted), self)


@flax.struct.dataclass
class LinearGaussianPosterior:
    """The posterior of one measurement as a bijection x = mean + F z, with the interface of
    ``priors.gaussian.GaussianPosterior``.

    Only the mean depends on the measurement. Return what is made of it from a ``vmap`` over measurements, not the
    posterior itself: that would repeat the factors.
    """

    mean: jax.Array  # (d,)
    factors: LinearPosteriorFactors

    def forward(self, z):
        """x = mean + F z and log|det F|, for z (d,)."""
        return self.mean + _product(self.factors.factor, z), self.log_det

    def inverse(self, x):
        """z = F^(-1) (x - mean) and log|det F^(-1)|."""
        return _product(self.factors.inverse_factor, x - self.mean), -self.log_det

    @property
    def log_det(self):
        """log|det F|."""
        return self.factors.log_det

    @property
    def marginal_std(self):
        """Standard deviation of each entry, (d,)."""
        return self.factors.marginal_std

    def covariance(self):
        """The full covariance (d, d)."""
        return _product(self.factors.factor, self.factors.factor.T)


def _product(a, b):
    # full precision: the default of some accelerators has 11 bits
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def linear_posterior_factors(prior, operator, sigma_y):
    """The LinearPosteriorFactors of a GaussianPrior, a fixed linear operator and the noise, computed in float64.

    With R = (P L P^T + s^2 I)^(1/2) and B = A R / sigma, the posterior covariance is R (I + B^T B)^(-1) R, so that F =
    R (I + B^T B)^(-1/2) and F^(-1) = (I + B^T B)^(1/2) R^(-1): products of positive matrices, in which nothing cancels
    however far apart noise and eigenvalues are. The eigenproblem is that of B^T B (d, d) or of B B^T (n, n), whichever
    is smaller.

    Costs some 30 d^3 operations (d = 3072: under a minute of one core, 1.5 GB) and leaves 3 arrays of up to d^2 entries
    in the precision of the prior; the round trip of that case is exact to 1e-4 in float32 with sigma = 0.01 and
    eigenvalues from 1e-6 to 1. Raises TypeError for an operator that is not linear or draws its mask anew, ValueError
    for one of another shape.
    """
    noise("sigma_y", sigma_y)
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(
            f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}"
        )
    arrays = kept("factors", prior, operator, sigma_y, lambda done: _factors(prior, operator, sigma_y, done))
    return LinearPosteriorFactors(*(jnp.asarray(a, prior.mean.dtype) for a in arrays))


def _factors(prior, operator, sigma_y, done):
    matrix = dense_matrix(operator)
    done()
    mean, excess, rest = (np.asarray(a, np.float64) for a in (prior.mean, prior.excess, prior.rest))
    # orthonormal to more digits than the prior has; signs do not matter
    basis = np.linalg.qr(np.asarray(prior.basis, np.float64))[0]
    std, s = np.sqrt(excess + rest), np.sqrt(rest)
    root = (basis * (excess / (std + s))) @ basis.T + s * np.eye(prior.dim)
    root_inverse = np.eye(prior.dim) / s - (basis * (excess / (std * s * (std + s)))) @ basis.T

    b = matrix @ root / sigma_y
    done()
    shrink, grow, half_log_det = _roots(b)
    done()
    factor = root @ shrink
    gain = factor @ (shrink @ b.T) / sigma_y
    log_det = np.sum(np.log(std)) + (prior.dim - len(std)) * np.log(s) - half_log_det
    predicted = _predicted(operator, matrix, mean)
    done()
    return factor, grow @ root_inverse, gain, mean, predicted, log_det, np.linalg.norm(factor, axis=1)


def _predicted(operator, matrix, mean):
    """A(m) = M m + b, flat, in float64."""
    constant = offset(operator)
    return matrix @ mean if constant is None else matrix @ mean + constant.ravel()


def _roots(b):
    """(I + B^T B)^(-1/2), (I + B^T B)^(1/2), and half the log-determinant of I + B^T B, for ``b`` (n, d)."""
    n, d = b.shape
    if n >= d:
        values, vectors = np.linalg.eigh(b.T @ b)
        root = np.sqrt(1 + np.maximum(values, 0))
        return (vectors / root) @ vectors.T, (vectors * root) @ vectors.T, np.sum(np.log(root))
    values, vectors = np.linalg.eigh(b @ b.T)
    root = np.sqrt(1 + np.maximum(values, 0))
    # B^T U: its columns have the squared norms ``values``, and no division by small ones is needed
    rows = b.T @ vectors
    shrink = np.eye(d) - (rows / (root * (1 + root))) @ rows.T
    grow = np.eye(d) + (rows / (1 + root)) @ rows.T
    return shrink, grow, np.sum(np.log(root))


@flax.struct.dataclass
class PosteriorModes:
    """N(mu_G(y), V diag(std^2) V^T) under a GaussianPrior, y = A x + N(0, sigma^2 I), and what a flow around it needs.

    ``pull`` is Sigma_G Sigma^(-1/2): by Stein's identity the posterior mean under any prior p with Gaussian part p_G is
    mu_G + Sigma_G E[grad log p/p_G | y], so that pull @ o for o of order one is a shift of the size that such a
    correction can have.
    """

    basis: jax.Array  # V (d, d), largest variance first
    std: jax.Array  # (d,)
    gain: jax.Array  # Sigma_G A^T / sigma^2 (d, n)
    pull: jax.Array  # (d, d)
    prior_mean: jax.Array  # m (d,)
    predicted: jax.Array  # A(m) (n,)
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

    Costs an eigenproblem of d x d and half a dozen products (d = 3072: some ten seconds of two cores, 1.5 GB). For the
    identity, whose modes are the prior's, none. Raises TypeError for an operator that is not linear or draws its mask
    anew, ValueError for one of another shape.
    """
    noise("sigma_y", sigma_y)
    if tuple(operator.shape) != tuple(prior.shape):
        raise ValueError(
            f"operator has signals of shape {tuple(operator.shape)}, the prior of shape {tuple(prior.shape)}"
        )
    if operator.is_identity and prior.basis.shape[0] == prior.basis.shape[1]:
        arrays = latest(prior, sigma_y, lambda: _denoising(prior, sigma_y))
    else:
        arrays = kept("modes", prior, operator, sigma_y, lambda done: _linear(prior, operator, sigma_y, done))
    return PosteriorModes(*(jnp.asarray(a, prior.mean.dtype) for a in arrays))


def _denoising(prior, sigma_y):
    mean, excess, rest, basis = (np.asarray(a, np.float64) for a in (prior.mean, prior.excess, prior.rest, prior.basis))
    variance = excess + rest
    posterior = variance * sigma_y**2 / (variance + sigma_y**2)
    gain = (basis * (variance / (variance + sigma_y**2))) @ basis.T
    pull = (basis * (posterior / np.sqrt(variance))) @ basis.T
    return basis, np.sqrt(posterior), gain, pull, mean, mean, np.sqrt(basis**2 @ posterior)


def _linear(prior, operator, sigma_y, done):
    """With Sigma = B L B^T and W = A B L^(1/2) / sigma, Sigma_G = B L^(1/2) S L^(1/2) B^T, where S = (I + W^T W)^(-1)."""
    matrix, (basis, std) = dense_matrix(operator), _complete(prior)
    mean = np.asarray(prior.mean, np.float64)
    done()
    w = (matrix @ basis) * std / sigma_y
    shrink = _inverse(w)
    done()
    values, vectors = np.linalg.eigh(shrink * np.outer(std, std))
    done()
    # exact to 1e-16 of the largest eigenvalue, far below the smallest one that matters
    values, vectors = np.maximum(values[::-1], 1e-14 * values[-1]), basis @ vectors[:, ::-1]
    left = (basis * std) @ shrink
    done()
    return (
        vectors,
        np.sqrt(values),
        left @ w.T / sigma_y,
        left @ basis.T,
        mean,
        _predicted(operator, matrix, mean),
        np.sqrt(vectors**2 @ values),
    )


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
