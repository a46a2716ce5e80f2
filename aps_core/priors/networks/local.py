"""A network for signals on scattered sites: one small MLP, shared by all sites, that sees the neighbourhood of each."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from scipy.spatial import KDTree

from aps_core.priors.networks.features import fourier_features


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """``index`` (d, p): the entries that each of d sites sees, in the same order of directions everywhere. Compared and
    hashed by value.

    Raises TypeError unless it is an integer array (d, p), ValueError unless its entries lie in 0..d-1.
    """

    index: np.ndarray

    def __post_init__(self):
        index = np.asarray(self.index)
        if index.ndim != 2 or index.dtype.kind not in "iu":
            raise TypeError(f"index must be an integer array (d, p), got {index.dtype} of shape {index.shape}")
        if index.min() < 0 or index.max() >= len(index):
            raise ValueError(f"index holds {index.min()} to {index.max()}, expected 0 to {len(index) - 1}")
        object.__setattr__(self, "index", np.ascontiguousarray(index, dtype=np.int32))

    def __eq__(self, other):
        return isinstance(other, Neighbourhoods) and np.array_equal(self.index, other.index)

    def __hash__(self):
        return hash((self.index.shape, self.index.tobytes()))


def disc_neighbourhoods(places, radius):
    """Neighbourhoods of sites at ``places`` (d, 2): the sites nearest to the points of a grid in a disc of ``radius``
    steps around each.

    A step is the sites' mean distance to their nearest neighbour. The first of p entries is the site itself; where the
    sites end, the last ones are seen more than once. Raises ValueError for places of another shape or a radius below 1.
    """
    places = np.asarray(places, np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or len(places) < 2:
        raise ValueError(f"places has shape {places.shape}, expected (d, 2) with d >= 2")
    if not radius >= 1:
        raise ValueError(f"radius must be at least 1, got {radius!r}")
    tree = KDTree(places)
    step = tree.query(places, k=2)[0][:, 1].mean()
    reach = np.arange(-int(radius), int(radius) + 1)
    grid = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    grid = grid[np.sum(grid**2, axis=1) <= radius**2 + 1e-9]
    grid = grid[np.argsort(np.sum(grid**2, axis=1), kind="stable")]
    return Neighbourhoods(tree.query(places[:, None] + step * grid)[1])


class LocalMLP(nn.Module):
    """A function (d,), t, condition (d,) -> (d,) through the neighbourhoods of the sites; zero at the start.

    Every site runs the same MLP on its neighbours' values of both signals, ``site`` learned numbers of its own, and
    ``context`` numbers that a small network makes of the whole signal; the time shifts and scales the hidden layers.
    With ``mix`` > 0 each site passes that many numbers on to its neighbours in every hidden layer, the ``near`` first
    ones of its neighbourhood, so that what it sees widens layer by layer. Few parameters, each of them trained by all d
    sites at once.
    """

    kind = "local"
    has_token_trunk = False
    has_sites = True

    tokens: Neighbourhoods
    width: int = 96
    depth: int = 2
    context: int = 32
    site: int = 16
    time_width: int = 64
    mix: int = 0
    near: int = 9

    def hidden(self, u, t, condition=None, more=0.0):
        """Hidden layer of each site (d, width); ``more`` (d, width) is added to the first one."""
        both = u[:, None] if condition is None else jnp.stack([u, condition], axis=1)
        time = nn.silu(nn.Dense(self.time_width)(nn.silu(nn.Dense(self.time_width)(fourier_features(t, 32)))))
        whole = nn.silu(nn.Dense(4 * self.context)(both.reshape(-1)) + nn.Dense(4 * self.context)(time))
        whole = nn.silu(nn.Dense(self.context)(whole))
        d = len(self.tokens.index)
        seen = both[self.tokens.index].reshape(d, -1)
        place = self.param("sites", nn.initializers.normal(0.3), (d, self.site))
        h = nn.Dense(self.width)(jnp.concatenate([seen, place], axis=1)) + nn.Dense(self.width)(whole) + more
        for _ in range(self.depth):
            scale, shift = jnp.split(nn.Dense(2 * self.width)(time), 2)
            a = nn.silu(h * (1 + scale) + shift)
            if self.mix:
                heard = nn.Dense(self.mix)(a)[self.tokens.index[:, : self.near]]
                a = jnp.concatenate([a, heard.reshape(d, -1)], axis=1)
            h = h + nn.Dense(self.width)(a)
        return nn.silu(h)

    @nn.compact
    def __call__(self, u, t, condition=None):
        h = self.hidden(u, t, condition)
        return nn.Dense(1, kernel_init=nn.initializers.zeros, name="out")(h)[:, 0]
