"""The closed-form Gaussian posterior behind a sensor that saturates: linearized where the data say, again and again
(Gauss-Newton).
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from aps_core.checks import count, random_key
from aps_core.operators import dense_matrix, offset

LEAST_SLOPE = 1e-3  # of the sensor, relative to that in the dark: where it is nearly flat the data say nothing


class LinearizedPosterior:
    """Laplace's approximation of p(x | y) under the Gaussian part of a task's prior, y = g(A x) + N(0, sigma_y^2), g a
    SaturatingSensor.

    At each of ``n_iterations`` the sensor is replaced by its tangent at z = A x: data z + (y - g(z))/g'(z) with noise
    sigma_y/g'(z), of which the posterior is closed-form, and whose mean is the next x. The start is z = undo(y).
    Iterated it finds the MAP estimate; samples are drawn by Matheron's rule. The local noise of every datum is
    accounted for, the prior's deviation from a Gaussian is not. Raises TypeError for a task whose operator is no
    SaturatingSensor or draws its mask anew, ValueError for a count below 1.
    """

    def __init__(self, task, n_iterations=3):
        if not task.operator.saturates or task.operator.random:
            raise TypeError(f"task has the operator {task.operator!r}, expected a SaturatingSensor without random mask")
        count("n_iterations", n_iterations)
        self.task, self.n_iterations = task, n_iterations
        g = task.prior.gaussian
        self.mean = np.asarray(g.mean, np.float64)
        self.matrix = np.asarray(dense_matrix(task.operator.inner), np.float64)
        basis, excess = np.asarray(g.basis, np.float64), np.asarray(g.excess, np.float64)
        self.cross = (basis * excess) @ (self.matrix @ basis).T + float(g.rest) * self.matrix.T  # Sigma A^T
        self.predicted = self.matrix @ self.cross  # A Sigma A^T
        constant = offset(task.operator.inner)
        self.constant = np.zeros(len(self.matrix)) if constant is None else constant.ravel()
        self.at_mean = self.matrix @ self.mean + self.constant

    def _tangent(self, z, y):
        """Data and noise variance of the linear problem at ``z`` (n,)."""
        sensor = self.task.operator
        slope = sensor.gain * (1 - np.tanh(sensor.gain / sensor.threshold * z) ** 2)
        slope = np.maximum(slope, LEAST_SLOPE * sensor.gain)
        answer = sensor.threshold * np.tanh(sensor.gain / sensor.threshold * z)
        return z + (y - answer) / slope, (float(self.task.sigma_y) / slope) ** 2

    def linearize(self, y):
        """(data (n,), noise variance (n,), Cholesky factor of their covariance) at the last iterate, for flat data
        ``y``.
        """
        z = np.asarray(self.task.operator.undo(jnp.asarray(y), self.task.undone_range()), np.float64)
        for i in range(self.n_iterations):
            data, variance = self._tangent(z, y)
            factor = cho_factor(self.predicted + np.diag(variance), lower=True, overwrite_a=True, check_finite=False)
            if i < self.n_iterations - 1:
                z = self.at_mean + self.predicted @ cho_solve(factor, data - self.at_mean)
        return data, variance, factor

    def sample(self, key, measurement, n):
        """n samples (n, *shape), or (batch, n, *shape) of a batch of measurements. Raises as ``Task.check``."""
        n, key = count("n", n), random_key("key", key)
        batched, measurement = self.task.batch(measurement)
        keys = jax.random.split(key, len(measurement.y)) if batched else key[None]
        drawn = np.stack([self._draw(k, y, n) for k, y in zip(keys, measurement.y, strict=True)])
        return drawn if batched else drawn[0]

    def _draw(self, key, y, n):
        """n samples for the data of one measurement."""
        k_prior, k_noise = jax.random.split(key)
        data, variance, factor = self.linearize(np.asarray(y, np.float64).reshape(-1))
        x = np.asarray(self.task.prior.gaussian.sample(k_prior, n), np.float64).reshape(n, -1)
        noise = np.sqrt(variance) * np.asarray(jax.random.normal(k_noise, (n, len(data))))
        return (x + cho_solve(factor, (data - self.constant + noise - x @ self.matrix.T).T).T @ self.cross.T).reshape(
            n, *self.task.shape
        )
