"""A network over tokens: a signal of d entries is cut by a fixed index into small groups, which attend to each other.

Nothing but matrix products, so that it trains well on a CPU too; images, the sphere and a mesh differ in the index
alone. The blocks are those of Peebles & Xie (2023): pre-norm attention and MLP, with layer norms shifted, scaled and
gated by the time.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from aps_core.checks import sizes
from aps_core.priors.networks.features import fourier_features


@dataclass(frozen=True, eq=False)
class Tokens:
    """A partition of d entries into tokens: ``index`` (n_tokens, size) of integers, -1 where a token is short.

    Compared and hashed by value, so that a network that holds one can be a static argument.
    Raises TypeError unless the index is an integer array, ValueError unless it has every entry 0..d-1 exactly once.
    """

    index: np.ndarray

    def __post_init__(self):
        index = np.asarray(self.index)
        if index.ndim != 2 or index.dtype.kind != "i":
            raise TypeError(
                f"index must be an integer array (n_tokens, size), got {index.dtype} of shape {index.shape}"
            )
        entries = np.sort(index[index >= 0])
        if index.min() < -1 or entries.size == 0 or not np.array_equal(entries, np.arange(entries.size)):
            raise ValueError("index must hold every entry 0..d-1 exactly once, and -1 where a token is short")
        object.__setattr__(self, "index", np.ascontiguousarray(index, dtype=np.int32))

    def __eq__(self, other):
        return isinstance(other, Tokens) and np.array_equal(self.index, other.index)

    def __hash__(self):
        return hash((self.index.shape, self.index.tobytes()))

    @property
    def shape(self):
        """(n_tokens, size)."""
        return self.index.shape

    @property
    def valid(self):
        """True where a token has an entry, (n_tokens, size)."""
        return self.index >= 0

    @property
    def dim(self):
        """d."""
        return int(self.valid.sum())

    def cut(self, u):
        """Tokens (n_tokens, size) of a signal ``u`` (d,), zero where a token is short."""
        return jnp.append(u, jnp.zeros((), u.dtype))[self.index]  # entry -1 is the appended zero

    def join(self, tokens):
        """The signal (d,) of ``tokens`` (n_tokens, size); what stands in padded places is ignored."""
        place = np.empty(self.dim, np.int32)
        place[self.index[self.valid]] = np.flatnonzero(self.valid)
        return tokens.reshape(-1)[place]


def grid_patches(shape, size):
    """Tokens of a signal of ``shape`` (any number of axes): blocks of at most ``size`` entries along each axis.

    Where ``size`` does not divide an axis, its blocks differ by at most one entry. The sphere: ``grid_patches((46, 90),
    (6, 6))``. Raises TypeError for a size that is no sequence of integers, ValueError when shape and size have different
    lengths or a size is not in 1..n.
    """
    size = sizes("size", size)
    if len(shape) != len(size) or any(not 1 <= s <= n for n, s in zip(shape, size, strict=True)):
        raise ValueError(f"size must have one number in 1..n for each axis of shape {tuple(shape)}, got {tuple(size)}")
    pieces = [_padded(np.array_split(np.arange(n), -(-n // s))) for n, s in zip(shape, size, strict=True)]
    blocks = np.indices([len(p) for p in pieces]).reshape(len(shape), -1)
    inside = np.indices([p.shape[1] for p in pieces]).reshape(len(shape), -1)
    places = [p[b[:, None], i] for p, b, i in zip(pieces, blocks, inside, strict=True)]
    index = np.ravel_multi_index([np.maximum(p, 0) for p in places], shape)
    return Tokens(np.where(np.min(places, axis=0) < 0, -1, index))


def image_patches(shape, size):
    """Tokens of an image (h, w, c): patches of ``size`` x ``size`` pixels with all their channels."""
    if len(shape) != 3:
        raise ValueError(f"shape must be (h, w, c), got {tuple(shape)}")
    return grid_patches(shape, (size, size, shape[2]))


def vertex_patches(points, n_tokens):
    """``n_tokens`` groups of neighbouring vertices ``points`` (n, 3), of sizes that differ by at most one.

    Recursive bisection: each set is cut across its first principal axis. Raises ValueError unless n_tokens is in 1..n.
    """
    points = np.asarray(points, dtype=np.float64)
    if not 1 <= n_tokens <= len(points):
        raise ValueError(f"n_tokens must lie in 1..{len(points)}, got {n_tokens}")

    def bisect(members, n):
        if n == 1:
            return [np.sort(members)]
        centred = points[members] - points[members].mean(axis=0)
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
        ordered, first = members[np.argsort(centred @ axis, kind="stable")], n // 2
        cut = first * len(members) // n
        return bisect(ordered[:cut], first) + bisect(ordered[cut:], n - first)

    return Tokens(_padded(bisect(np.arange(len(points)), n_tokens)))


def make_tokens(kind, shape, size=None, n_tokens=None, points=None):
    """Tokens for signals of ``shape`` as a recipe names them: "image" and "grid" need ``size``, "vertices" ``n_tokens``
    and ``points``.

    Raises ValueError for an unknown kind or where what it needs is missing.
    """
    builders = {
        "image": ((size,), lambda: image_patches(shape, size)),
        "grid": ((size,), lambda: grid_patches(shape, size)),
        "vertices": ((n_tokens, points), lambda: vertex_patches(points, n_tokens)),
    }
    if kind not in builders:
        raise ValueError(f"kind of tokens must be one of {sorted(builders)}, got {kind!r}")
    needed, build = builders[kind]
    if any(value is None for value in needed):
        raise ValueError(f"tokens of kind {kind!r} need {'n_tokens and points' if kind == 'vertices' else 'size'}")
    return build()


def _padded(groups):
    """Groups of integers as rows of one array, -1 where a group is short."""
    out = np.full((len(groups), max(len(g) for g in groups)), -1)
    for row, group in zip(out, groups, strict=True):
        row[: len(group)] = group
    return out


class Modulation(nn.Module):
    """``n`` vectors (width,) for an adaptive layer norm, zero at the start: linear in ``vector``, or constants where it
    is None.
    """

    n: int
    width: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, vector):
        if vector is None:
            return jnp.split(self.param("constant", nn.initializers.zeros, (self.n * self.width,)), self.n)
        return jnp.split(
            nn.Dense(self.n * self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype)(nn.silu(vector)), self.n
        )


class Block(nn.Module):
    """Self-attention and an MLP on tokens h (n_tokens, width), each behind a gate that starts at zero."""

    heads: int
    mlp_ratio: float
    dtype: str | None = None

    @nn.compact
    def __call__(self, h, vector):
        width = h.shape[-1]
        scale1, shift1, gate1, scale2, shift2, gate2 = Modulation(6, width, self.dtype)(vector)
        a = _plain_norm(self.dtype)(h) * (1 + scale1) + shift1
        h = h + gate1 * nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype)(a)
        a = _plain_norm(self.dtype)(h) * (1 + scale2) + shift2
        a = nn.gelu(nn.Dense(round(self.mlp_ratio * width), dtype=self.dtype)(a))
        return h + gate2 * nn.Dense(width, dtype=self.dtype)(a), None


def _plain_norm(dtype):
    return nn.LayerNorm(use_scale=False, use_bias=False, dtype=dtype)


class TokenTrunk(nn.Module):
    """Tokens (n_tokens, m) to hidden tokens (n_tokens, width): linear embedding, learned positions, ``depth`` blocks
    scanned.

    features: optional vector (n_features,), such as ``fourier_features`` of the time, that steers every layer norm.
    Raises ValueError when ``heads`` does not divide ``width``.
    """

    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, tokens, features=None):
        if self.width % self.heads:
            raise ValueError(f"heads must divide width = {self.width}, got {self.heads}")
        vector = None
        if features is not None:
            vector = nn.Dense(self.width)(nn.silu(nn.Dense(self.width)(features)))
        h = nn.Dense(self.width, dtype=self.dtype)(tokens)
        h = h + self.param("positions", nn.initializers.normal(0.02), h.shape).astype(h.dtype)
        scanned = nn.scan(
            Block, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=self.depth
        )
        h, _ = scanned(self.heads, self.mlp_ratio, self.dtype)(h, vector)
        scale, shift = Modulation(2, self.width, self.dtype)(vector)
        return _plain_norm(self.dtype)(h) * (1 + scale) + shift


class PatchTransformer(nn.Module):
    """A function (d,), t -> (d,) through tokens; zero at the start.

    tokens: how a signal is cut; ``dtype`` "bfloat16" computes the trunk in half precision, parameters stay float32.
    ``condition`` is an optional second signal (d,), cut in the same way; give it at every call or never. One signal:
    vmap outside.
    """

    kind = "patches"
    has_token_trunk = True
    has_sites = False

    tokens: Tokens
    width: int = 192
    depth: int = 6
    heads: int = 6
    mlp_ratio: float = 4.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, u, t, condition=None):
        seen = self.tokens.cut(u)
        if condition is not None:
            seen = jnp.concatenate([seen, self.tokens.cut(condition)], axis=1)
        h = TokenTrunk(self.width, self.depth, self.heads, self.mlp_ratio, self.dtype)(seen, fourier_features(t, 64))
        out = nn.Dense(self.tokens.shape[1], kernel_init=nn.initializers.zeros)(h.astype(u.dtype))
        return self.tokens.join(out)
