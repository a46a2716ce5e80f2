"""Pictures of the user's as 8-bit RGB, or a ValueError that names the file and says what it is instead."""

import io

import numpy as np

from aps_core.data.unpacking import named

MAX_PIXELS = 2**26  # of one picture: an atlas of 65,536 tiles of 32 x 32; packed pictures can claim any size
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def read_picture(content, name, size=None):
    """A PIL picture of mode RGB from bytes, upright.

    Grey, 16-bit grey (rounded to 8 bits), palettes and an alpha channel that hides nothing are turned to RGB. Raises
    ValueError naming ``name`` for damaged or truncated files, animations, pictures with transparent pixels, in CMYK or
    of floating point, with other than ``size`` (width, height) or more than MAX_PIXELS pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with named(name, "a picture"):
        try:
            picture = Image.open(io.BytesIO(content))
        except UnidentifiedImageError:
            raise ValueError("its format is not known") from None
        turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        _check_size(picture.size[::-1] if turned else picture.size, size, name)
        if (frames := getattr(picture, "n_frames", 1)) != 1:
            raise ValueError(f"{name} has {frames} frames, expected one picture")
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture), name)


def _check_size(found, size, name):
    if size is not None and tuple(found) != tuple(size):
        raise ValueError(f"{name} has {found[0]} x {found[1]} pixels, expected {size[0]} x {size[1]}")
    if found[0] * found[1] > MAX_PIXELS:
        raise ValueError(f"{name} has {found[0]} x {found[1]} pixels, more than the limit of {MAX_PIXELS:,}")


def _rgb(picture, name):
    from PIL import Image

    if picture.mode in GREY_16_BIT:
        return Image.fromarray(np.rint(np.asarray(picture, np.float64) / 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if (hidden := int((np.asarray(picture)[..., 3] < 255).sum())) > 0:
            raise ValueError(
                f"{name} has {hidden} transparent pixels, whose colour is not defined, expected an opaque picture; "
                "lay it over a background first"
            )
    elif picture.mode not in ("1", "L", "P", "RGB", "YCbCr"):
        raise ValueError(f"{name} is a picture of mode {picture.mode}, expected 8-bit RGB or grey; convert it first")
    return picture.convert("RGB")
