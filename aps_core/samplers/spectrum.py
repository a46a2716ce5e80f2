"""Singular values and vectors of a linear operator, for the methods that work in their coordinates."""

from functools import lru_cache

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators import dense_matrix


@flax.struct.dataclass
class Spectrum:
    """A = U diag(s) V^T with V (d, d) orthogonal. ``Spectrum.of(operator)`` makes it.

    For the identity and for masks all three fields are None: U = V = I, and s is what the measurement observed.
    """

    values: jax.Array | None = None  # (d,), zero beyond the rank
    left: jax.Array | None = None  # (n, d), zero beyond the rank
    right: jax.Array | None = None  # (d, d)

    @classmethod
    def of(cls, operator, cutoff=1e-6):
        """The spectrum of a fixed linear operator by a dense decomposition in float64 (d = 3072: about a minute); smaller singular values
        than ``cutoff`` times the largest count as zero. The last few are remembered. Raises TypeError as ``dense_matrix`` does."""
        return cls() if operator.diagonal else cls(*(jnp.asarray(a, jnp.result_type(float)) for a in _decomposition(operator, cutoff)))

    def coordinates(self, u):
        """V^T u, (d,)."""
        return u if self.right is None else _product(self.right.T, u)

    def signal(self, c):
        """V c, (d,)."""
        return c if self.right is None else _product(self.right, c)

    def data(self, y):
        """U^T y, (d,), for flat data (n,)."""
        return y if self.left is None else _product(self.left.T, y)


@lru_cache(maxsize=4)
def _decomposition(operator, cutoff):
    """s (d,), U (n, d) and V (d, d) as float64 arrays."""
    u, s, vt = np.linalg.svd(dense_matrix(operator), full_matrices=True)
    d, rank = vt.shape[0], int(np.sum(s > cutoff * s[0]))
    values, left = np.zeros(d), np.zeros((u.shape[0], d))
    values[:rank], left[:, :rank] = s[:rank], u[:, :rank]
    return values, left, vt.T


def _product(a, b):
    # full precision: the default of some accelerators has 11 bits
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
