"""Singular values and vectors of a linear operator, for what works in their coordinates."""

from functools import lru_cache, partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators.base import dense_matrix, kept_by, linear_part

CUTOFF = 1e-6  # smaller singular values, in units of the largest, count as zero


@flax.struct.dataclass
class Spectrum:
    """A = U diag(s) V^T with r orthonormal columns in U (n, r) and V (d, r). ``Spectrum.of(operator)`` makes it.

    Identity and masks: values, left and right are None, U = V = I, and s is what the measurement observed. Operators
    that act on the rows and columns of an image one after the other (pooling, resizing, blur): ``left`` and ``right``
    are pairs of small matrices whose Kronecker product U or V is, at the cost of two small products. Others: a single
    matrix each.
    """

    values: jax.Array | None = None  # (r,)
    left: tuple | None = None
    right: tuple | None = None

    @classmethod
    def of(cls, operator):
        """The spectrum of a fixed linear operator, computed in float64; the last few are remembered.

        One that does not act on rows and columns costs a dense decomposition (d = 3072: about a minute).
        Raises TypeError as ``dense_matrix`` does.
        """
        if operator.diagonal:
            return cls()
        values, left, right = decomposition(operator)
        spectrum = cls(np.where(values > CUTOFF * values.max(), values, 0.0), left, right)
        return jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), spectrum)

    def coordinates(self, u):
        """V^T u, (r,), for u (d,)."""
        return u if self.right is None else _transposed(self.right, u)

    def signal(self, c):
        """V c, (d,), for c (r,)."""
        return c if self.right is None else _applied(self.right, c)

    def data(self, y):
        """U^T y, (r,), for flat data (n,)."""
        return y if self.left is None else _transposed(self.left, y)

    def function(self, v, at, elsewhere):
        """f(A^T A) v, (d,), for v (d,): ``at`` (r,) are the values of f at the squared singular values, ``elsewhere`` is
        f(0), which holds outside the range of V.
        """
        return elsewhere * v + self.signal((at - elsewhere) * self.coordinates(v))


# full precision below: the default of some accelerators has 11 bits


def _transposed(factors, v):
    """(F1 x F2 x I)^T v or F^T v, flat."""
    if len(factors) == 1:
        return jnp.matmul(v, factors[0], precision=jax.lax.Precision.HIGHEST)
    image = v.reshape(len(factors[0]), len(factors[1]), -1)
    return jnp.einsum("ai,bj,abc->ijc", *factors, image, precision=jax.lax.Precision.HIGHEST).reshape(-1)


def _applied(factors, c):
    """(F1 x F2 x I) c or F c, flat."""
    if len(factors) == 1:
        return jnp.matmul(factors[0], c, precision=jax.lax.Precision.HIGHEST)
    image = c.reshape(factors[0].shape[1], factors[1].shape[1], -1)
    return jnp.einsum("ai,bj,ijc->abc", *factors, image, precision=jax.lax.Precision.HIGHEST).reshape(-1)


def acts_on_rows_and_columns(operator):
    """Whether the singular vectors of a fixed linear operator are Kronecker products of two small matrices, so that no
    matrix of the size of a signal is needed.
    """
    fixed = operator.linear and not operator.random and not operator.diagonal
    return fixed and rows_and_columns(operator) is not None


def decomposition(operator):
    """s (r,), the factors of U and those of V, as float64 arrays; for an operator that is not diagonal."""
    return _decomposition(kept_by(operator))


def rows_and_columns(operator):
    """(R, C) with M x = R x C^T in every channel, found by probing and then checked; None where M is not of that form."""
    return _rows_and_columns(kept_by(operator))


@lru_cache(maxsize=4)
def _decomposition(operator):
    matrices = rows_and_columns(operator) or (dense_matrix(operator),)
    parts = [np.linalg.svd(m, full_matrices=False) for m in matrices]
    values = parts[0][1]
    if len(parts) == 2:
        channels = operator.shape[2] if len(operator.shape) == 3 else 1
        values = np.repeat(np.outer(values, parts[1][1]).ravel(), channels)
    return values, tuple(u for u, _, _ in parts), tuple(vt.T for _, _, vt in parts)


@lru_cache(maxsize=4)
def _rows_and_columns(operator):
    shape, y_shape = operator.shape, operator.y_shape
    if len(shape) not in (2, 3) or len(y_shape) != len(shape) or y_shape[2:] != shape[2:]:
        return None
    with jax.enable_x64(True):
        apply = jax.jit(jax.vmap(partial(linear_part, operator)))
        ones = np.ones((1, *shape))
        scale = np.asarray(apply(ones))[0].ravel()[0]  # (R 1)_0 (C 1)_0
        if not scale:
            return None
        stripes = [
            np.eye(n).reshape(n, *(n if i == axis else 1 for i in range(len(shape)))) * ones
            for axis, n in enumerate(shape[:2])
        ]
        seen = [np.asarray(apply(s)).reshape(len(s), *y_shape[:2], -1)[..., 0] for s in stripes]
        rows, columns = seen[0][:, :, 0].T / scale, seen[1][:, 0, :].T
        x = np.random.default_rng(0).normal(size=shape)
        found = np.asarray(apply(x[None]))[0]
    exact = np.allclose(
        found, np.einsum("ai,bj,ij...->ab...", rows, columns, x), rtol=0, atol=1e-9 * np.abs(found).max()
    )
    return (rows, columns) if exact else None
