"""A convolutional U-Net in the manner of Ho et al. (2020) and Song et al. (2021), for images on a GPU."""

import flax.linen as nn
import jax.numpy as jnp

from aps_core.priors.networks import fourier_features


def group_norm(channels, dtype=None):
    """Group norm of one image (h, w, c), over all of space and groups of at least four channels."""
    groups = max(g for g in range(1, min(32, max(1, channels // 4)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, reduction_axes=(-3, -2, -1), dtype=dtype)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a group norm that ``vector`` scales and shifts; the skip alone at the start."""

    channels: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, h, vector):
        out = nn.Conv(self.channels, (3, 3), dtype=self.dtype)(nn.silu(group_norm(h.shape[-1], self.dtype)(h)))
        out = group_norm(self.channels, self.dtype)(out)
        if vector is not None:
            scale, shift = jnp.split(nn.Dense(2 * self.channels, dtype=self.dtype)(nn.silu(vector)), 2)
            out = out * (1 + scale) + shift
        out = nn.Conv(self.channels, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)(nn.silu(out))
        return out + (h if h.shape[-1] == self.channels else nn.Dense(self.channels, dtype=self.dtype)(h))


class SpatialAttention(nn.Module):
    """Self-attention over all pixels; the skip alone at the start."""

    heads: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, h):
        pixels = group_norm(h.shape[-1], self.dtype)(h).reshape(-1, h.shape[-1])
        out = nn.MultiHeadDotProductAttention(self.heads, out_kernel_init=nn.initializers.zeros, dtype=self.dtype)(pixels)
        return h + out.reshape(h.shape)


class UNetTrunk(nn.Module):
    """Image (h, w, c) to hidden image (h, w, channels). Level i has ``multipliers[i]`` * channels and half the pixels of level i - 1.

    features: optional vector (n_features,) that steers every residual block. Attention where an image has at most
    ``attention_pixels`` pixels. Raises ValueError unless 2^(levels - 1) divides h and w.
    """

    channels: int = 64
    multipliers: tuple = (1, 2, 2)
    blocks: int = 2
    attention_pixels: int = 64
    heads: int = 4
    dtype: str | None = None

    @nn.compact
    def __call__(self, image, features=None):
        factor = 2 ** (len(self.multipliers) - 1)
        if image.shape[0] % factor or image.shape[1] % factor:
            raise ValueError(f"{len(self.multipliers)} levels need height and width divisible by {factor}, got {image.shape[:2]}")
        vector = None
        if features is not None:
            vector = nn.Dense(4 * self.channels)(nn.silu(nn.Dense(4 * self.channels)(features)))
        h = nn.Conv(self.channels, (3, 3), dtype=self.dtype)(image)
        kept = [h]
        for level, multiplier in enumerate(self.multipliers):
            if level:
                h = nn.Conv(h.shape[-1], (3, 3), strides=2, dtype=self.dtype)(h)
                kept.append(h)
            for _ in range(self.blocks):
                h = self._block(h, multiplier, vector)
                kept.append(h)
        h = self._block(h, self.multipliers[-1], vector)
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            for _ in range(self.blocks + 1):
                h = self._block(jnp.concatenate([h, kept.pop()], axis=-1), multiplier, vector)
            if level:
                h = nn.Conv(h.shape[-1], (3, 3), dtype=self.dtype)(h.repeat(2, axis=0).repeat(2, axis=1))
        return nn.silu(group_norm(h.shape[-1], self.dtype)(h))

    def _block(self, h, multiplier, vector):
        h = ResidualBlock(multiplier * self.channels, self.dtype)(h, vector)
        if h.shape[0] * h.shape[1] <= self.attention_pixels:
            h = SpatialAttention(self.heads, self.dtype)(h)
        return h


class UNet(nn.Module):
    """A function (d,), t -> (d,) on flat images of ``shape`` (h, w, c); zero at the start.

    ``condition`` is an optional second image (d,); give it at every call or never. One signal: vmap outside.
    """

    shape: tuple
    channels: int = 64
    multipliers: tuple = (1, 2, 2)
    blocks: int = 2
    attention_pixels: int = 64
    heads: int = 4
    dtype: str | None = None

    @nn.compact
    def __call__(self, u, t, condition=None):
        seen = [v.reshape(self.shape) for v in ((u,) if condition is None else (u, condition))]
        trunk = UNetTrunk(self.channels, self.multipliers, self.blocks, self.attention_pixels, self.heads, self.dtype)
        h = trunk(jnp.concatenate(seen, axis=-1), fourier_features(t, 64))
        out = nn.Conv(self.shape[-1], (3, 3), kernel_init=nn.initializers.zeros)(h.astype(u.dtype))
        return out.reshape(-1)
