"""Features of Inception-v3, as FID and KID take them, by torch, which is an optional extra."""

import io

import numpy as np
from tqdm import tqdm

from aps_core.checks import floating
from aps_core.data import networks

SIZE = 299  # pixels of Inception's input


def eight_bit(images):
    """Pictures (n, h, w, 3) in [0, 1] as files hold them: clipped, and rounded to 8 bits, uint8.

    Raises TypeError for integers, whose scale would be another one, ValueError for another shape or values that are not
    finite.
    """
    images = floating("images", images).astype(np.float64)
    if images.ndim != 4 or images.shape[-1] != 3 or images.size == 0:
        raise ValueError(f"images have shape {images.shape}, expected (n, h, w, 3)")
    if not np.isfinite(images).all():
        raise ValueError("images have values that are not finite, expected numbers in [0, 1]")
    return np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


def resized(image, size=SIZE):
    """One 8-bit picture (h, w, 3) at ``size`` x ``size``, (size, size, 3) float32 in [0, 255]: Pillow's bicubic filter
    on each colour without rounding (Parmar et al. 2022, "clean-fid").
    """
    from PIL import Image

    colours = (Image.fromarray(image[..., c].astype(np.float32)) for c in range(3))
    return np.stack([np.asarray(colour.resize((size, size), Image.Resampling.BICUBIC)) for colour in colours], axis=-1)


def inception_features(images, at_once=16, threads=None, progress=False):
    """The 2048 pooled features (n, 2048) of pictures (n, h, w, 3) in [0, 1], which are clipped, rounded to 8 bits and
    enlarged first.

    The input is scaled to (x - 128) / 128, as in TensorFlow, whose network this is. About a tenth of a second for each
    on one core. threads: of torch, by default its own choice.

    Raises ImportError that names the extra where torch is not installed, FileNotFoundError that says how to get the
    network, ValueError for pictures of another shape or a file with another content.
    """
    pictures = eight_bit(images)
    net, torch = load()
    if threads is not None:
        torch.set_num_threads(threads)
    found = []
    with torch.inference_mode():
        for i in tqdm(range(0, len(pictures), at_once), desc="Inception", disable=None if progress else True):
            x = np.stack([resized(picture) for picture in pictures[i : i + at_once]]).transpose(0, 3, 1, 2)
            # channels last in memory: Pillow's order, and the fastest one
            x = ((torch.from_numpy(x) - 128) / 128).contiguous(memory_format=torch.channels_last)
            found.append(net(x).numpy())
    return np.concatenate(found)


def load():
    """(the network, torch). Raises as ``inception_features``."""
    try:
        import torch  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError as error:
        raise ImportError(
            "Inception's features need torch, the optional extra [perception] of aps-core: pip install torch"
        ) from error
    content = io.BytesIO(networks.content("inception"))
    return torch.jit.freeze(torch.jit.load(content, map_location="cpu").eval()), torch


def available():
    """Whether torch and the network are at hand."""
    from importlib.util import find_spec

    try:
        networks.find("inception")
    except FileNotFoundError:
        return False
    return find_spec("torch") is not None
