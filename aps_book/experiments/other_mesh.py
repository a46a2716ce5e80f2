"""A prior and a flow of signals on one mesh, asked about the same kind of signals on another: nothing is trained again.

Signals are images that a projection puts on the vertices. A prior in K coordinates v of local functions W on its own
mesh is one of images as well: of those of least norm that the projection takes to W. Projected on the other mesh they
are its functions W', and

    y' = m (x' + noise),   x' = m' + W' (v - 1/2) + rest.

A SubspaceFlow knows of a measurement only the closed-form posterior of v. That of y' is another one, of another number
of vertices; the networks act on v and are the same.
"""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.geometry import projection
from aps_core.operators import Measurement


def other_lookup(mesh, own, shape=(28, 28), axes="xy"):
    """Dense look-up (n', pixels) of an image of ``shape`` at the vertices of ``mesh``, which lies in the same space as
    ``own`` and is projected as that is.

    Vertices beyond the square of ``own`` take the nearest place on its border.
    """
    return projection.bilinear_lookup(
        np.clip(projection.vertex_coordinates(mesh, axes, frame=own), 0, 1), shape
    ).toarray()


def carry(prior, own, other):
    """(m', W'): mean (n',) and functions (n', K) on the other mesh of a SubspacePrior on its own.

    own, other: dense look-ups (d, pixels) and (n', pixels) of the pixels that signals can light.
    Raises ValueError for look-ups of other shapes.
    """
    own, other = np.asarray(own, np.float64), np.asarray(other, np.float64)
    if own.shape[0] != prior.basis.shape[0] or own.shape[1] != other.shape[1]:
        raise ValueError(
            f"look-ups have shapes {own.shape} and {other.shape}, expected ({prior.basis.shape[0]}, pixels) and (n, pixels)"
        )
    both = np.concatenate([np.asarray(prior.gaussian.mean)[:, None], np.asarray(prior.basis)], axis=1)
    images = np.linalg.pinv(own, rcond=1e-6) @ both
    there = other @ images
    return there[:, 0], there[:, 1:]


@flax.struct.dataclass
class CarriedPosterior:
    """q(x' | y') on another mesh by the flow of the first; without ``params`` the closed-form Gaussian posterior.

    flow: a SubspaceFlow; mean, basis: those of ``carry``; rest: variance s^2 of what the functions leave out. It is
    counted along the functions as well, which are not orthonormal here: an error of the order s^2/sigma_y^2.
    """

    flow: object
    params: dict
    mean: jax.Array  # m' (n',)
    basis: jax.Array  # W' (n', K)

    @property
    def spread(self):
        """Prior standard deviation of each vertex (n',)."""
        return jnp.sqrt(self.rest + jnp.sum((self.basis @ self._covariance) * self.basis, axis=1))

    @property
    def rest(self):
        """Variance s^2 outside of the functions, that of the prior."""
        return self.flow.prior.rest

    @property
    def _covariance(self):
        turn = self.flow.prior.basis.T @ self.flow.local
        return turn.T @ (self.flow.prior.mode_std[:, None] ** 2 * turn)

    def measure(self, key, x, missing):
        """A Measurement of the signal ``x`` (n',) on the other mesh: a share ``missing`` of its vertices hidden, the
        flow's noise on the others.
        """
        k_mask, k_noise = jax.random.split(key)
        hidden = jax.random.permutation(k_mask, x.shape[0])[: round(missing * x.shape[0])]
        mask = jnp.ones(x.shape[0]).at[hidden].set(0.0)
        return Measurement(mask * (x + self.flow.sigma_y * jax.random.normal(k_noise, x.shape)), mask)

    def context(self, measurement):
        """The flow, told the share of each coordinate that is measured, and its ModalContext of a Measurement (n',)."""
        seen = measurement.mask[:, None] * self.basis
        noise = self.flow.sigma_y**2 + self.rest
        root = jnp.linalg.inv(jnp.linalg.cholesky(self._covariance))
        precision = root.T @ root + seen.T @ seen / noise
        half = jnp.linalg.inv(jnp.linalg.cholesky(precision))
        covariance = half.T @ half
        mean = covariance @ ((measurement.mask * (measurement.y - self.mean)) @ seen) / noise
        flow = self.flow.replace(missing=1 - jnp.sum(seen**2) / self.flow.k)
        return flow, flow.local_context(mean, jnp.linalg.cholesky((covariance + covariance.T) / 2))

    def sample(self, key, measurement, n):
        """n samples (n, n') of one measurement."""
        return _sample(self, key, measurement, n)


@partial(jax.jit, static_argnums=3)
def _sample(posterior, key, measurement, n):
    flow, modal = posterior.context(measurement)
    k_e, k_rest = jax.random.split(key)

    def one(e):
        moved = e if posterior.params is None else flow.modal_forward(posterior.params, e, modal)[0]
        return posterior.mean + posterior.basis @ (modal.mean + modal.chol @ moved)

    x = jax.vmap(one)(jax.random.normal(k_e, (n, flow.k)))
    # the rest of a measured vertex is known a little better than that of a hidden one
    share = measurement.mask * posterior.rest / (posterior.rest + flow.sigma_y**2)
    return x + share * (measurement.y - x) + jnp.sqrt(posterior.rest * (1 - share)) * jax.random.normal(k_rest, x.shape)
