"""A problem that is not linear, as a linear one around the answer to one measurement: Gauss-Newton."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import cho_factor, cho_solve
from tqdm import tqdm

from aps_core import checks
from aps_core.operators import Linearized
from aps_core.priors.base import PRIOR_WANTED

TOLERANCE = 1e-8  # of the objective, below which a step no longer counts
HALVINGS = 12  # of a step that makes the objective worse


def linearize(task, measurement, iterations=30):
    """The Task with the tangent of its operator at the most probable signal, for one ``measurement``.

    Any linear machinery then serves it: ``gaussian_posterior`` of it is Laplace's approximation under the prior's Gaussian,
    ``load_posterior`` of it a flow for any linear operator, where there is one. The signal maximizes log p(y|x) + log p_G(x),
    p_G the Gaussian part of the prior, by at most ``iterations`` Gauss-Newton steps in float64, each halved until
    it helps; for an operator that is linear, one. A step costs the Jacobian and a product of (n, d) with (d, d).

    Raises TypeError or ValueError for a batch, another measurement, a task whose prior has no Gaussian or whose operator
    draws masks or has noise of another kind, and ArithmeticError where the operator gives what is not finite.
    """
    checks.task_like(task)
    checks.has("prior", task.prior, ["gaussian"], PRIOR_WANTED)
    iterations = checks.count("iterations", iterations)
    if task.operator.random or not task.operator.additive_noise:
        raise TypeError(f"operator must draw no masks and have Gaussian noise of one level, got {task.operator!r:.80}")
    batched, measurement = task.batch(measurement)
    if batched:
        raise ValueError("measurement is a batch, expected a single one: the tangent belongs to one")
    signal = _most_probable(task, jax.tree.map(lambda a: a[0], measurement), iterations)
    return replace(task, operator=Linearized(task.operator, signal), unit_range=False)


def _most_probable(task, measurement, iterations):
    """The signal of ``linearize``, of the operator's shape."""
    prior, sigma_y = _Gaussian(task.prior.gaussian), float(task.sigma_y)
    with jax.enable_x64(True):
        observed = np.asarray(task.operator.observed(measurement.mask), bool).ravel()
        y = np.asarray(measurement.y, np.float64).ravel()[observed]
        mask = None if measurement.mask is None else jnp.asarray(measurement.mask, jnp.float64)

        @jax.jit
        def predict(x):
            return task.operator(x.reshape(task.shape), mask).ravel()[
                jnp.flatnonzero(observed, size=int(observed.sum()))
            ]

        jacobian = jax.jit(jax.jacfwd(predict))
        cost = lambda x: 0.5 * np.sum((y - np.asarray(predict(x))) ** 2) / sigma_y**2 + prior.energy(x)  # noqa: E731
        x = prior.mean.copy()
        now = cost(x)
        for _ in tqdm(range(iterations), desc="Gauss-Newton", disable=None if x.size > 1000 else True):
            slope = np.asarray(jacobian(x))
            step = prior.posterior_mean(slope, y - np.asarray(predict(x)) + slope @ (x - prior.mean), sigma_y) - x
            for halving in range(HALVINGS):
                after = cost(x + step * 0.5**halving)
                if after < now:
                    break
            else:
                break
            x, before, now = x + step * 0.5**halving, now, after
            if before - now <= TOLERANCE * abs(before):
                break
    if not np.isfinite(now):
        raise ArithmeticError(f"Gauss-Newton ended at an objective of {now}; the operator gives what is not finite")
    return x.reshape(task.shape)


class _Gaussian:
    """What Gauss-Newton needs of a GaussianPrior, in float64."""

    def __init__(self, prior):
        self.mean, self.basis, self.excess = (
            np.asarray(a, np.float64) for a in (prior.mean, prior.basis, prior.excess)
        )
        self.rest = float(prior.rest)

    def energy(self, x):
        """-log p_G(x) up to a constant."""
        v = x - self.mean
        c = v @ self.basis
        outside = np.sum((v - self.basis @ c) ** 2)
        return 0.5 * (outside / self.rest + np.sum(c**2 / (self.excess + self.rest)))

    def posterior_mean(self, matrix, data, sigma_y):
        """E[x] for data = matrix (x - mean) + N(0, sigma_y^2)."""
        cross = (self.basis * self.excess) @ (matrix @ self.basis).T + self.rest * matrix.T
        gram = matrix @ cross + sigma_y**2 * np.eye(len(matrix))
        return self.mean + cross @ cho_solve(cho_factor(gram), data)
