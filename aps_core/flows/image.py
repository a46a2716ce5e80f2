"""Structured flow for images: convolutional couplings at several scales."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core.flows.structured import MaskedCouplings, StructuredFlow, alternating_masks
from aps_core.priors.unet import UNetTrunk, group_norm


def space_to_depth(image, block):
    """(h, w, c) to (h/block, w/block, block^2 c): each block of pixels becomes one."""
    h, w, c = image.shape
    cells = image.reshape(h // block, block, w // block, block, c)
    return cells.transpose(0, 2, 1, 3, 4).reshape(h // block, w // block, block * block * c)


def depth_to_space(cells, block):
    """The inverse of ``space_to_depth``."""
    h, w, c = cells.shape
    image = cells.reshape(h, w, block, block, c // block**2)
    return image.transpose(0, 2, 1, 3, 4).reshape(h * block, w * block, c // block**2)


class ConvConditioner(nn.Module):
    """Kept pixels (h, w, c) and hidden condition (h, w, m) to log-scale and shift (h, w, c) by 3x3 residual blocks; zero at the start."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, kept, condition):
        h = nn.Conv(self.width, (3, 3))(kept) + nn.Dense(self.width, use_bias=False)(condition)
        for _ in range(self.depth):
            inner = nn.Conv(self.width, (3, 3))(nn.silu(group_norm(self.width)(h)))
            h = h + nn.Conv(self.width, (3, 3))(nn.silu(inner))
        out = nn.Conv(2 * kept.shape[-1], (3, 3), kernel_init=nn.initializers.zeros)(nn.silu(group_norm(self.width)(h)))
        return jnp.split(out, 2, axis=-1)


class ImageCondition(nn.Module):
    """The mean network: a U-Net from the condition (h, w, 4 c) to a hidden image, and shift and log-scale (h, w, c), zero at the start."""

    channels: int
    multipliers: tuple

    @nn.compact
    def __call__(self, image, features=None):
        h = UNetTrunk(self.channels, self.multipliers, blocks=1)(image, features)
        out = nn.Conv(image.shape[-1] // 2, (3, 3), kernel_init=nn.initializers.zeros)(h)
        shift, log_scale = jnp.split(out, 2, axis=-1)
        return h, shift, jnp.tanh(log_scale)


@flax.struct.dataclass
class ImageFlow(StructuredFlow):
    """StructuredFlow for images (h, w, c): a U-Net of the condition alone, then convolutional couplings at ``scales`` scales.

    ``steps`` couplings at each scale: at the finest they split the pixels as a checkerboard, at the others blocks of 2, 4, ... pixels aside
    become one of as many channels, and random halves of the channels are split, each coupling taking the complement of the one before.
    Nothing is factored out between the scales. The couplings are given the U-Net's hidden image, averaged over their blocks.

    base, loc, scale, n_extra: as in TokenFlow. Raises ValueError when the blocks of the coarsest scale do not tile the image.
    """

    base: object
    loc: jax.Array
    scale: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)
    scales: int = flax.struct.field(pytree_node=False, default=3)
    steps: int = flax.struct.field(pytree_node=False, default=4)
    width: int = flax.struct.field(pytree_node=False, default=64)
    depth: int = flax.struct.field(pytree_node=False, default=1)
    channels: int = flax.struct.field(pytree_node=False, default=64)
    multipliers: tuple = flax.struct.field(pytree_node=False, default=(1, 2, 2))
    n_extra: int = flax.struct.field(pytree_node=False, default=0)

    def __post_init__(self):
        coarsest = 2 ** (self.scales - 1)
        if len(self.shape) != 3 or self.shape[0] % coarsest or self.shape[1] % coarsest:
            raise ValueError(f"{self.scales} scales need shape (h, w, c) with h and w divisible by {coarsest}, got {self.shape}")

    def couplings(self, level):
        """The scanned couplings of scale ``level``, on blocks of 2^level pixels aside."""
        h, w, c = self.shape
        if level == 0:
            parity = (np.indices((h, w)).sum(axis=0) % 2)[..., None]
            masks = np.stack([np.broadcast_to((parity + step) % 2, self.shape) for step in range(self.steps)])
        else:
            h, w, c = h >> level, w >> level, c << 2 * level
            masks = np.broadcast_to(alternating_masks(self.steps, c, seed=level)[:, :, None, :], (self.steps, h, w, c))
        return MaskedCouplings(ConvConditioner(self.width, self.depth), masks.astype(np.float32))

    @property
    def _condition_network(self):
        return ImageCondition(self.channels, self.multipliers)

    def init(self, key):
        """Parameters with which the flow is its base."""
        k_condition, *keys = jax.random.split(key, 1 + self.scales)
        h, w, c = self.shape
        condition = self._condition_network.init(k_condition, jnp.zeros((h, w, 4 * c)), self.features(jnp.zeros(self.n_extra)))
        levels = [
            self.couplings(level).init(k, jnp.zeros((h >> level, w >> level, self.channels * self.multipliers[0])))
            for level, k in enumerate(keys)
        ]
        return {"condition": condition, "couplings": {f"scale{level}": p for level, p in enumerate(levels)}}

    def _seen(self, params, context):
        """Hidden image, shift and log-scale of a measurement."""
        image = jnp.concatenate(list(context.condition.reshape((4, *self.shape))), axis=-1)
        return self._condition_network.apply(params["condition"], image, self.features(context.extra))

    def _hidden_at(self, hidden, level):
        block = 2**level
        return space_to_depth(hidden, block).reshape(hidden.shape[0] // block, hidden.shape[1] // block, block * block, -1).mean(axis=2)

    def transform(self, params, e, context):
        """T(e) and log|det dT/de| for one e (d,)."""
        hidden, shift, log_scale = self._seen(params, context)
        x, total = e.reshape(self.shape) * jnp.exp(log_scale) + shift, jnp.sum(log_scale)
        for level in range(self.scales):
            own, given = params["couplings"][f"scale{level}"], self._hidden_at(hidden, level)
            cells, log_det = self.couplings(level).forward(own, space_to_depth(x, 2**level), given)
            x, total = depth_to_space(cells, 2**level), total + log_det
        return x.reshape(-1), total

    def inverse_transform(self, params, moved, context):
        """T^-1 and its log|det| for one point (d,)."""
        hidden, shift, log_scale = self._seen(params, context)
        x, total = moved.reshape(self.shape), -jnp.sum(log_scale)
        for level in reversed(range(self.scales)):
            own, given = params["couplings"][f"scale{level}"], self._hidden_at(hidden, level)
            cells, log_det = self.couplings(level).inverse(own, space_to_depth(x, 2**level), given)
            x, total = depth_to_space(cells, 2**level), total + log_det
        return ((x - shift) * jnp.exp(-log_scale)).reshape(-1), total
