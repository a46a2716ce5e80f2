"""The closed-form posterior of a Gaussian mixture under a linear operator."""

import jax
import jax.numpy as jnp

from aps_core.checks import positive


def mixture_posterior(prior, sigma_y, y, matrix):
    """p(x | y) for y = A x + N(0, sigma_y^2 I): a GaussianMixturePrior again, with the weights w_j p(y | component j).

    y (q,); matrix A (q, d). Per component, with the whitened operator W = A V diag(l)^(1/2) / sigma_y = U diag(s) Q^T,

        mean = m + V l^(1/2) Q s/(1 + s^2) U^T r / sigma_y,  r = y - A m,   covariance = F F^T,  F = V l^(1/2) Q (1 +
        s^2)^(-1/2),

    where nothing cancels however small sigma_y is. Raises ValueError when shapes do not agree or sigma_y is not
    positive.
    """
    positive("sigma_y", sigma_y)
    y, matrix = jnp.asarray(y), jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[1] != prior.dim or y.shape != matrix.shape[:1]:
        raise ValueError(f"matrix must have shape (q, {prior.dim}) and y (q,), got {matrix.shape} and {y.shape}")

    def condition(log_weight, mean, vectors, values):
        root = vectors * jnp.sqrt(values)
        left, s, right = jnp.linalg.svd(matrix @ root / sigma_y)  # left (q, q), right = Q^T (d, d)
        r = (y - matrix @ mean) @ left / sigma_y
        n = s.size
        gain = 1 + jnp.zeros(y.size).at[:n].set(s**2)
        log_evidence = -0.5 * jnp.sum(r**2 / gain + jnp.log(2 * jnp.pi * sigma_y**2 * gain))
        moved = root @ ((s / gain[:n] * r[:n]) @ right[:n])
        factor = root @ (right.T / jnp.sqrt(1 + jnp.zeros(prior.dim).at[:n].set(s**2)))
        new_vectors, deviations, _ = jnp.linalg.svd(factor)
        return log_weight + log_evidence, mean + moved, new_vectors, deviations**2

    arrays = (prior.log_weights, prior.means, prior.eigenvectors, prior.eigenvalues)
    log_weights, means, vectors, values = jax.vmap(condition)(*arrays)
    return prior.replace(
        log_weights=jax.nn.log_softmax(log_weights), means=means, eigenvectors=vectors, eigenvalues=values
    )
