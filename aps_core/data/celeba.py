"""CelebA faces at 32 x 32, brought by the user (tier 3), in either of two forms.

- Atlases: ``celeba32/*.webp`` with ``celeba32/index.csv`` (columns atlas, tile, image_id, identity, split): lossless pictures of 100 tiles of
  32 x 32 in a row.
- As published: the folder ``img_align_celeba`` or ``img_align_celeba.zip`` of 178 x 218 images with ``list_eval_partition.txt``. Each image is
  cut to its central 140 x 140 pixels and made smaller with an antialiased bilinear filter, as the atlases were.
"""

import csv
import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np

from aps_core.data._store import Dataset, Source, check_split

SIZE, CROP, ROW = 32, 140, 100
PARTITION = ("train", "val", "test")  # 0, 1, 2 in list_eval_partition.txt

SOURCE = Source(
    name="celeba",
    title="CelebA faces, central 140 x 140 pixels of the aligned images at 32 x 32",
    tier=3,
    shape=(SIZE, SIZE, 3),
    splits={"train": 162770, "val": 19867, "test": 19962},
    origin="brought by the user: celeba32/ (atlases), or img_align_celeba (folder or zip) with list_eval_partition.txt, in $APS_DATA_DIR",
    licence="CelebA agreement: non-commercial research only, no redistribution",
    citation="Liu, Luo, Wang and Tang (2015), Deep learning face attributes in the wild, ICCV",
)

HOW_TO_GET = (
    "Download img_align_celeba.zip and list_eval_partition.txt from the CelebA project page and set APS_DATA_DIR to the folder that holds them"
)


def find():
    """("atlas" or "official", folder). Raises FileNotFoundError saying what was looked for, where, and how to get it."""
    folder = os.environ.get("APS_DATA_DIR")
    if not folder:
        raise FileNotFoundError(f"CelebA was not looked for: APS_DATA_DIR is not set. {HOW_TO_GET}")
    for place in (Path(folder), Path(folder) / "celeba32"):
        if (place / "index.csv").is_file():
            return "atlas", place
    for place in (Path(folder), Path(folder) / "celeba"):
        images = (place / "img_align_celeba").is_dir() or (place / "img_align_celeba.zip").is_file()
        if images and (place / "list_eval_partition.txt").is_file():
            return "official", place
    raise FileNotFoundError(
        f"CelebA not found in {folder}: looked for celeba32/index.csv, and for img_align_celeba (folder or zip) with list_eval_partition.txt. "
        f"{HOW_TO_GET}"
    )


def pixels(split, limit=None):
    """(uint8 (n, 32, 32, 3), image numbers (n,), sha256 of the index) of ``split``, or of its first ``limit`` images.

    Raises ValueError for an unknown split or a file of another form, FileNotFoundError where nothing is found.
    """
    check_split(SOURCE.name, split, PARTITION)
    form, folder = find()
    return (_from_atlases if form == "atlas" else _from_images)(folder, split, limit)


def load(split, limit=None):
    """The faces of ``split`` as a Dataset: values (n, 32, 32, 3) float32 in [0, 1]; index ``image``, the number of the published image."""
    values, numbers, sha = pixels(split, limit)
    return Dataset(
        name=SOURCE.name, split=split, values=values.astype(np.float32) / 255, index={"image": numbers}, sha256=sha,
        licence=SOURCE.licence, citation=SOURCE.citation,
    )  # fmt: skip


def read_atlas(path):
    """Tiles (n, 32, 32, 3) uint8 of one atlas, row by row. Raises ValueError for a file that is no picture of whole tiles."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = np.asarray(Image.open(path).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    rows, odd = divmod(picture.shape[0], SIZE)
    if odd or picture.shape[1] != ROW * SIZE:
        raise ValueError(f"{path} has {picture.shape[:2]} pixels, expected a multiple of {SIZE} rows and {ROW * SIZE} columns")
    return picture.reshape(rows, SIZE, ROW, SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)


def _from_atlases(folder, split, limit):
    content = (folder / "index.csv").read_bytes()
    rows = [row for row in csv.DictReader(io.StringIO(content.decode())) if row["split"] == split][:limit]
    atlases = {name: read_atlas(folder / name) for name in dict.fromkeys(row["atlas"] for row in rows)}
    values = np.stack([atlases[row["atlas"]][int(row["tile"])] for row in rows])
    return values, np.array([int(row["image_id"]) for row in rows]), hashlib.sha256(content).hexdigest()


def _from_images(folder, split, limit):
    content = (folder / "list_eval_partition.txt").read_bytes()
    pairs = [line.split() for line in content.decode().splitlines() if line.strip()]
    names = [name for name, part in pairs if PARTITION[int(part)] == split][:limit]
    read = _reader(folder)
    return np.stack([shrink(read(name)) for name in names]), np.array([int(Path(n).stem) for n in names]), hashlib.sha256(content).hexdigest()


def _reader(folder):
    """A function from a file's name to its picture, in the folder or the zip."""
    from PIL import Image

    if (folder / "img_align_celeba").is_dir():
        return lambda name: Image.open(folder / "img_align_celeba" / name)
    archive = zipfile.ZipFile(folder / "img_align_celeba.zip")
    return lambda name: Image.open(io.BytesIO(archive.read(f"img_align_celeba/{name}")))


def shrink(picture):
    """The central CROP x CROP pixels of a PIL picture at 32 x 32, uint8. Raises ValueError for a picture smaller than that."""
    from PIL import Image

    width, height = picture.size
    if min(width, height) < CROP:
        raise ValueError(f"picture of {width} x {height} pixels: expected at least {CROP} x {CROP}")
    left, top = (width - CROP) // 2, (height - CROP) // 2
    cut = picture.convert("RGB").crop((left, top, left + CROP, top + CROP))
    return np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
