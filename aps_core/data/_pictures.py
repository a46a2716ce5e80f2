"""Pictures of the user's as 8-bit RGB, or a ValueError that names the file and says what it is instead."""

import io
import sys

import numpy as np

from aps_core.data.unpacking import named

MAX_PIXELS = 2**26  # of one picture: an atlas of 65,536 tiles of 32 x 32; packed pictures can claim any size
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
GREY_BITS = {"L;2": 2, "L;4": 4}  # of a PNG, which PIL spreads over 0 to 255 without the transparent value
ALPHA_KNOWN = ("PNG", "TIFF", "WEBP", "GIF", "BMP", "TGA")  # formats whose alpha is seen here in all its bits
OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
BITS_OF, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF


def read_picture(content, name, size=None):
    """A PIL picture of mode RGB from bytes, upright.

    Grey, 12-bit and 16-bit samples (rounded to 8 bits), palettes and an alpha channel that hides nothing are turned to
    RGB. Raises ValueError naming ``name`` for damaged or truncated files, animations, pictures with transparent pixels,
    in CMYK, of signed or floating-point samples, with other than ``size`` (width, height) or more than MAX_PIXELS
    pixels.
    """
    with named(name, "a picture"):
        picture = _opened(content)
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{name} has {_pixels(picture)}, more than the limit of {MAX_PIXELS:,}")
        if (frames := getattr(picture, "n_frames", 1)) != 1:
            raise ValueError(f"{name} has {frames} frames, expected one picture")
        layout = _layout(picture)
        upright = _upright(picture)
        # Only now: formats differ in whether the size of an opened picture is that of the file or that of the scene.
        if size is not None and upright.size != tuple(size):
            raise ValueError(f"{name} has {_pixels(upright)}, expected {size[0]} x {size[1]}")
        _check_samples(picture, layout, name)
        if upright.mode in GREY_16_BIT:
            return _from_deep(_deep_grey(upright, picture, layout), name)
        if ";16" in layout:
            return _from_deep(_deep_colour(content, upright, layout), name)
        return _from_8_bits(upright, layout, name)


def _opened(content):
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("its format is not known") from None


def _pixels(picture):
    return f"{picture.width} x {picture.height} pixels"


def _upright(picture):
    from PIL import ImageOps

    picture.load()
    return ImageOps.exif_transpose(picture)


def _layout(picture):
    """PIL's word for how the samples of a PNG or TIFF that is not loaded yet lie in the file, such as RGBA;16B."""
    if picture.format not in ("PNG", "TIFF") or not picture.tile:
        return ""
    args = picture.tile[0].args
    return args if isinstance(args, str) else args[0]


def _tag(picture, number, default):
    """The largest value of a tag of a TIFF; ``default`` where it has none, or is no TIFF."""
    found = getattr(picture, "tag_v2", {}).get(number, default)
    return max(found) if isinstance(found, tuple) else found


def _check_samples(picture, layout, name):
    """Raises ValueError for samples that PIL reads as others, or whose mode is none that can be shown."""
    grey = picture.mode in GREY_16_BIT
    if not (grey or picture.has_transparency_data or picture.mode in ("1", "L", "P", "RGB", "YCbCr")):
        raise ValueError(f"{name} is a picture of mode {picture.mode}, expected 8-bit RGB or grey; convert it first")
    if _tag(picture, SAMPLE_FORMAT, 1) == 2:
        raise ValueError(f"{name} has signed samples, expected numbers from 0 up; convert it first")
    if not grey and _tag(picture, BITS_OF, 8) > 8 and _tag(picture, PLANES, 1) == 2:
        raise ValueError(f"{name} has more than 8 bits in separate planes, expected them pixel by pixel")
    if picture.has_transparency_data and picture.format not in ALPHA_KNOWN:
        raise ValueError(f"{name} is a {picture.format} with an alpha channel, expected an opaque picture or a PNG")


def _check_opaque(hidden, name):
    """Raises ValueError where any of the pixels ``hidden``, a boolean array, is true."""
    if hidden.any():
        raise ValueError(
            f"{name} has {int(hidden.sum())} transparent pixels, whose colour is not defined, expected an opaque "
            "picture; lay it over a background first"
        )


def _from_8_bits(picture, layout, name):
    if picture.has_transparency_data:
        key = picture.info.get("transparency")
        if picture.mode == "L" and isinstance(key, int):
            bits = GREY_BITS.get(layout, 8)
            picture.info["transparency"] = key % 2**bits * 255 // (2**bits - 1)
        elif picture.mode == "RGB" and isinstance(key, tuple):
            picture.info["transparency"] = tuple(value % 256 for value in key)
        if picture.mode == "La":
            picture = picture.convert("LA")  # PIL goes no other way from it
        picture = picture.convert("RGBA")
        _check_opaque(np.asarray(picture)[..., 3] < 255, name)
    return picture.convert("RGB")


def _from_deep(deep, name):
    """From samples (height, width, 1 or 3) in 0 to 1, and which pixels are hidden."""
    from PIL import Image

    samples, hidden = deep
    _check_opaque(hidden, name)
    values = np.rint(samples * 255).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(values, (*values.shape[:2], 3)).copy())


def _deep_grey(upright, picture, layout):
    """As ``_from_deep`` takes it, of 12 or 16 bits, of which 0 is white in some TIFF."""
    values = np.asarray(upright).astype(np.uint16)
    white = np.float32(4095 if layout == "I;12" else 65535)
    inverted = _tag(picture, PHOTOMETRIC, 1) == 0
    samples = (white - values if inverted else values) / white
    return samples[..., None], values == picture.info.get("transparency", -1)


def _deep_colour(content, upright, layout):
    """As ``_from_deep`` takes it, of 16-bit colour or grey with alpha, of which PIL keeps the high bytes alone.

    The picture is read twice more, as if in either order of bytes, which gives all bytes.
    """
    if layout.startswith("LA"):
        lh, ll, ah, al = np.moveaxis(_bytes(content, "RGBA"), 2, 0)  # as if each byte were a sample
        high, low = np.stack([lh, lh, lh, ah], axis=2), np.stack([ll, ll, ll, al], axis=2)
    else:
        plain = layout.replace("RGBa", "RGBA")  # premultiplied: the same wherever nothing is hidden
        high, low = _bytes(content, plain), _bytes(content, plain[:-1] + OTHER_BYTE[plain[-1]])
    values = high * np.uint16(256) + low
    hidden = (values[..., 3:] < 65535).any(axis=2)
    if key := upright.info.get("transparency"):
        hidden |= (values[..., :3] == key).all(axis=2)
    return values[..., :3] / np.float32(65535), hidden


def _bytes(content, layout):
    """Samples (height, width, bands) uint16, upright, of a picture whose samples are taken to lie as ``layout``."""
    picture = _opened(content)
    picture.tile = [
        tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
        for tile in picture.tile
    ]
    return np.asarray(_upright(picture)).astype(np.uint16)
