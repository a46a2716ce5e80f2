"""16 x 16 grey patches of the photographs and textures that come inside the scikit-image wheel.

No patch of one split shares an image with another split. Training patches start every
8 pixels and overlap; validation and test patches start every 16 and do not. Colour is
turned to grey by scikit-image's luminance weights. Only PNG files are used, whose pixels
do not depend on the decoder.
"""

from pathlib import Path

import numpy as np

from aps_core.data._store import Dataset, Source, check_split
from aps_core.files import sha256_of

SIZE = 16
STRIDE = {"train": 8, "val": 16, "test": 16}
IMAGES = {"train": ("camera", "coffee", "brick", "grass"), "val": ("chelsea", "gravel"), "test": ("astronaut", "coins")}
SHA256 = {
    "camera": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "coffee": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "brick": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "grass": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "chelsea": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "gravel": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "astronaut": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "coins": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
}

SOURCE = Source(
    name="patches16",
    title="16 x 16 grey patches of eight photographs and textures",
    tier=1,
    shape=(SIZE, SIZE),
    splits={"train": 15533, "val": 1528, "test": 1456},
    origin="images bundled in the scikit-image wheel (skimage/data), cut at load",
    licence="CC0 (camera, coffee, chelsea, brick, grass, gravel), public domain (astronaut, NASA), no known restrictions (coins)",
    citation="van der Walt et al. (2014), scikit-image: image processing in Python, PeerJ 2, e453",
    bytes=2232884,
    sha256=sha256_of("".join(SHA256.values()).encode()),
)


def image_folder():
    """Folder of the images inside the installed scikit-image."""
    import skimage

    return Path(skimage.__file__).parent / "data"


def read_grey(name):
    """Image `name` as (rows, columns) float32 in [0, 1].

    Raises FileNotFoundError when scikit-image does not bundle it, and ValueError when its
    checksum is not the one the splits were made with.
    """
    from skimage import color, io

    path = image_folder() / f"{name}.png"
    remedy = "install the scikit-image version of requirements.lock"
    if not path.is_file():
        raise FileNotFoundError(f"image {path} is missing; {remedy}")
    found = sha256_of(path.read_bytes())
    if found != SHA256[name]:
        raise ValueError(f"image {path} has sha256 {found}, expected {SHA256[name]}; {remedy}")
    pixels = io.imread(path)
    grey = color.rgb2gray(pixels[..., :3]) if pixels.ndim == 3 else pixels / 255.0
    return np.clip(grey, 0, 1).astype(np.float32)


def cut(image, size, stride):
    """All (size, size) patches of `image` at multiples of `stride`, with their rows and columns."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))[::stride, ::stride]
    rows, columns = np.indices(windows.shape[:2]) * stride
    return windows.reshape(-1, size, size), rows.ravel(), columns.ravel()


def load(split):
    """The patches of `split`: values (n, 16, 16) float32 in [0, 1]; index image, row, column.

    `index["image"]` holds names, row and column are those of the patch's upper left pixel.
    Raises ValueError for an unknown split.
    """
    check_split(SOURCE.name, split, IMAGES)
    parts = [(name, *cut(read_grey(name), SIZE, STRIDE[split])) for name in IMAGES[split]]
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=np.concatenate([patches for _, patches, _, _ in parts]),
        index={
            "image": np.concatenate([np.full(len(rows), name) for name, _, rows, _ in parts]),
            "row": np.concatenate([rows for _, _, rows, _ in parts]),
            "column": np.concatenate([columns for _, _, _, columns in parts]),
        },
        sha256=SOURCE.sha256,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )
