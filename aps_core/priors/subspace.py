"""A learned prior in the subspace where signals live, with an orthonormal basis of local functions; Gaussian outside of
it.

Signals such as digits on a mesh fill a few hundred of two thousand dimensions. The leading modes span them, but every
mode spreads over the whole mesh. The basis here spans the same subspace by functions that are as concentrated as
orthonormality allows, one at each of K sites: coordinates that are neighbours, as pixels are, so that a network can
treat them as patches.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import qr

from aps_core.diffusion import make_sde
from aps_core.priors import fast_sampling
from aps_core.priors.base import DiffusionPrior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.score_network import NetworkPrior


def local_basis(modes):
    """(W, sites): an orthonormal basis (d, K) of the span of ``modes`` (d, K), and the entries (K,) at which its
    functions sit.

    Sites are the pivots of a QR factorization, the entries that determine a signal of the subspace best. W is the
    orthonormal basis nearest to unit vectors at the sites (Löwdin 1950): W = P A^T (A A^T)^(-1/2), A the rows of P at
    the sites. Raises ValueError unless 1 <= K <= d.
    """
    modes = np.asarray(modes, np.float64)
    if modes.ndim != 2 or not 1 <= modes.shape[1] <= modes.shape[0]:
        raise ValueError(f"modes must have shape (d, K) with K <= d, got {modes.shape}")
    sites = qr(modes.T, mode="r", pivoting=True)[1][: modes.shape[1]]  # pyright: ignore[reportGeneralTypeIssues]
    left, _, right = np.linalg.svd(modes[sites])
    return modes @ right.T @ left.T, sites


@flax.struct.dataclass
class SubspacePrior(DiffusionPrior):
    """x = m + W (v - 1/2) + rest: ``inner`` is a NetworkPrior of v (K,), the coordinates in the basis W about 1/2; the
    rest is isotropic.

    gaussian: the GaussianPrior of the whole signal (d,), whose modes W spans. inner.gaussian is the same Gaussian in
    the coordinates. Since W is orthonormal, the diffusion of x is that of v inside the subspace and independent of it
    outside, and log p_theta(x) - log p_G(x) is that of v.
    """

    kind = "subspace"
    has_log_ratio = True
    has_modal_log_ratio = True
    has_coordinates = True

    gaussian: GaussianPrior
    inner: NetworkPrior
    basis: jax.Array  # W (d, K)

    def tree(self):
        """The arrays of a SubspacePrior as a nested dict; the modes are kept as the (K, K) matrix that turns W into them."""
        g = self.gaussian
        tree = {
            "gaussian": {
                "mean": g.mean,
                "turn": self.basis.T @ g.basis,
                "excess": g.excess,
                "rest": jnp.reshape(g.rest, (1,)),
            },
            "local": self.basis,
            "network": self.inner.params,
        }
        if self.inner.network.tokens is not None:
            tree["tokens"] = self.inner.network.tokens.index
        return tree

    def settings(self):
        """What a card must say to build the self again."""
        return {"signal_shape": list(self.shape), **self.inner.settings()}

    @classmethod
    def from_tree(cls, tree, settings):
        """The SubspacePrior of ``tree`` and ``settings``; KeyError or ValueError where they do not hold
        one.
        """
        g = {name: jnp.asarray(value) for name, value in tree["gaussian"].items()}
        shape, sde = tuple(settings["signal_shape"]), make_sde(settings["sde"])
        basis, turn = (_orthonormal(jnp.asarray(a)) for a in (tree["local"], g["turn"]))
        gaussian = GaussianPrior(g["mean"], basis @ turn, g["excess"], g["rest"][0], shape=shape, sde=sde)
        within = inner_gaussian(gaussian, basis)
        inner = {
            "mean": within.mean,
            "basis": within.basis,
            "excess": within.excess,
            "rest": jnp.reshape(within.rest, (1,)),
        }
        return cls(gaussian, NetworkPrior.from_tree({**tree, "gaussian": inner}, settings), basis)

    def coordinates(self, x):
        """v (..., K) of signals ``x`` (..., *shape)."""
        flat = x.reshape((*x.shape[: x.ndim - len(self.shape)], -1))
        return 0.5 + (flat - self.gaussian.mean) @ self.basis

    def signal(self, v):
        """The signal (..., *shape) in the subspace at coordinates ``v`` (..., K)."""
        x = self.gaussian.mean + (v - 0.5) @ self.basis.T
        return x.reshape((*v.shape[:-1], *self.shape))

    def fast_draws(self, key, n, n_steps, churn=0.0):
        """n draws (n, *shape): coordinates by ``fast_sampling.draw``, and the rest outside of the subspace."""
        k_inside, k_rest = jax.random.split(key)
        v = fast_sampling.draw(self.inner, k_inside, n, n_steps, churn=churn)
        rest = jnp.sqrt(self.gaussian.rest) * jax.random.normal(k_rest, (n, self.dim))
        rest = rest - (rest @ self.basis) @ self.basis.T  # the draws have their part of it inside
        return self.signal(v) + rest.reshape((n, *self.shape))

    @property
    def t_residual(self):
        """Below this time the prior is the Gaussian."""
        return self.inner.t_residual

    def eps(self, ut, t):
        """Noise prediction for ``ut`` (d,)."""
        inside = (ut - self.sde.alpha(t) * (2 * self.gaussian.mean - 1)) @ self.basis
        return self.gaussian.eps(ut, t) + self.basis @ self.inner.residual_eps(inside, t)

    def modal_log_ratio(self, key, amplitudes, t):
        """``log_ratio_at`` from 2 (v - 1/2) (K,), the amplitudes of a signal in the scale u = 2 x - 1."""
        return self.inner.log_ratio_at(key, 0.5 + amplitudes / 2, t)

    def log_ratio_at(self, key, x, t):
        """One-sample estimate of (bound on log p_theta) - log p_G for one signal at one weighted time >=
        ``t_residual``.
        """
        return self.inner.log_ratio_at(key, self.coordinates(x), t)

    def log_ratio(self, key, x, n_times=1):
        """Estimate of (bound on log p_theta(x)) - log p_G(x) in nats for one signal, from ``n_times`` low-discrepancy
        times.
        """
        return self.inner.log_ratio(key, self.coordinates(x), n_times)

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p_theta(x), in nats: the Gaussian log density plus the estimated difference."""
        return self.gaussian.log_prob(x) + self.log_ratio(key, x, n_times)


def inner_gaussian(gaussian, basis):
    """The GaussianPrior of the coordinates in ``basis`` (d, K), which spans the modes of ``gaussian``, about 1/2."""
    k = basis.shape[1]
    return GaussianPrior(
        jnp.full(k, 0.5), basis.T @ gaussian.basis, gaussian.excess, gaussian.rest, shape=(k,), sde=gaussian.sde
    )


def _orthonormal(a):
    """The nearest matrix with orthonormal columns, from one that was rounded to half precision: two steps of Newton and
    Schulz.
    """
    for _ in range(2):
        a = a @ (1.5 * jnp.eye(a.shape[1]) - 0.5 * a.T @ a)
    return a
