"""CelebA faces at 32 x 32, brought by the user (tier 3), in either of two forms.

- Atlases: ``celeba32/*.webp`` with ``celeba32/index.csv`` (columns atlas, tile, image_id, identity, split): lossless
  pictures of 100 tiles of 32 x 32 in a row.
- As published: the folder ``img_align_celeba`` or ``img_align_celeba.zip`` of 178 x 218 images with
  ``list_eval_partition.txt``. Each image is cut to its central 140 x 140 pixels and made smaller with an antialiased
  bilinear filter, as the atlases were.
"""

import csv
import io
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aps_core.checks import count
from aps_core.data._pictures import read_picture
from aps_core.data._store import Dataset, Source, check_split
from aps_core.data.unpacking import exists, named, unzip_member
from aps_core.data.user_folder import user_folder
from aps_core.files import sha256_of

SIZE, CROP, ROW = 32, 140, 100
ALIGNED = (178, 218)  # width and height of a published image
PACKED = 2**24  # bytes of one image file: they take about ten thousand
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
    "Download img_align_celeba.zip and list_eval_partition.txt from the CelebA project page and set APS_DATA_DIR to the "
    "folder that holds them"
)


def find():
    """("atlas" or "official", folder). Raises FileNotFoundError saying what was looked for, where, and how to get it."""
    folder = user_folder()
    if folder is None:
        raise FileNotFoundError(f"CelebA was not looked for: APS_DATA_DIR is not set. {HOW_TO_GET}")
    for place in (folder, folder / "celeba32"):
        if (place / "index.csv").is_file():
            return "atlas", place
    for place in (folder, folder / "celeba"):
        images = (place / "img_align_celeba").is_dir() or (place / "img_align_celeba.zip").is_file()
        if images and (place / "list_eval_partition.txt").is_file():
            return "official", place
    raise FileNotFoundError(
        f"CelebA not found in {folder}: looked for celeba32/index.csv, and for img_align_celeba (folder or zip) with list_eval_partition.txt. "
        f"{HOW_TO_GET}"
    )


def pixels(split, limit=None):
    """(uint8 (n, 32, 32, 3), image numbers (n,), sha256 of the index) of ``split``, or of its first ``limit`` images.

    Raises ValueError for an unknown split, a limit below 1 or a file of another form, FileNotFoundError where nothing
    is found; both name the file, and the line of an index.
    """
    check_split(SOURCE.name, split, PARTITION)
    if limit is not None:
        count("limit", limit)
    form, folder = find()
    return (_from_atlases if form == "atlas" else _from_images)(folder, split, limit)


def load(split, limit=None):
    """The faces of ``split`` as a Dataset: values (n, 32, 32, 3) float32 in [0, 1]; index ``image``, the number of the
    published image.
    """
    values, numbers, sha = pixels(split, limit)
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=values.astype(np.float32) / 255,
        index={"image": numbers},
        sha256=sha,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


def read_atlas(path):
    """Tiles (n, 32, 32, 3) uint8 of one atlas, row by row. Raises ValueError for a file that is no picture of whole
    tiles.
    """
    picture = np.asarray(read_picture(exists(path, "atlas").read_bytes(), path))
    rows, odd = divmod(picture.shape[0], SIZE)
    if odd or picture.shape[1] != ROW * SIZE:
        raise ValueError(
            f"{path} has {picture.shape[:2]} pixels, expected a multiple of {SIZE} rows and {ROW * SIZE} columns"
        )
    return picture.reshape(rows, SIZE, ROW, SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIZE, SIZE, 3)


def _from_atlases(folder, split, limit):
    path = folder / "index.csv"
    content = path.read_bytes()
    rows = [row for row in _index_rows(path, content) if row[3] == split][:limit]
    if not rows:
        raise ValueError(f"{path} has no image of split {split!r}")
    atlases = {name: read_atlas(folder / name) for name in dict.fromkeys(row[0] for row in rows)}
    for name, tile, *_ in rows:
        if not 0 <= tile < len(atlases[name]):
            raise ValueError(f"{path} names tile {tile} of {name}, expected 0 to {len(atlases[name]) - 1}")
    values = np.stack([atlases[name][tile] for name, tile, *_ in rows])
    return values, np.array([number for _, _, number, _ in rows]), sha256_of(content)


def _index_rows(path, content):
    """(atlas, tile, image number, split) of each line of an index of atlases."""
    reader, rows = csv.DictReader(io.StringIO(_text(path, content), newline="")), []
    if missing := {"atlas", "tile", "image_id", "split"} - set(reader.fieldnames or ()):
        raise ValueError(f"{path} has the columns {reader.fieldnames}, without {sorted(missing)}")
    for row in reader:
        name, tile, number, split = (row[column] or "" for column in ("atlas", "tile", "image_id", "split"))
        if not (_number(tile) and _number(number) and split in PARTITION and name == Path(name).name != ""):
            raise ValueError(
                f"{path}, line {reader.line_num}: atlas {name!r}, tile {tile!r}, image_id {number!r}, split {split!r}; "
                f"expected the name of a file beside it, two whole numbers, and one of {PARTITION}"
            )
        rows.append((name, int(tile), int(number), split))
    return rows


def _from_images(folder, split, limit):
    path = folder / "list_eval_partition.txt"
    content = path.read_bytes()
    names = [name for name, part in _partition_rows(path, content) if PARTITION[part] == split][:limit]
    if not names:
        raise ValueError(f"{path} has no image of split {split!r}")
    with _reader(folder) as read:
        values = np.stack([shrink(*read(name)) for name in names])
    return values, np.array([int(Path(name).stem) for name in names]), sha256_of(content)


def _partition_rows(path, content):
    """(file name, partition 0, 1 or 2) of each line of the official list."""
    rows = []
    for line, words in enumerate((text.split() for text in _text(path, content).splitlines()), 1):
        if words and not (len(words) == 2 and words[1] in ("0", "1", "2") and _number(Path(words[0]).stem)):
            raise ValueError(
                f"{path}, line {line}: {' '.join(words)!r}, expected the name of an image, such as 000001.jpg, and its "
                "partition: 0 (train), 1 (val) or 2 (test)"
            )
        rows += [(words[0], int(words[1]))] if words else []
    return rows


def _text(path, content):
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error


def _number(text):
    return text.isascii() and text.isdigit()


@contextmanager
def _reader(folder):
    """A function from a file's name to its content and how to call it, in the folder or the zip."""
    images = folder / "img_align_celeba"
    if images.is_dir():
        yield lambda name: (exists(images / name, "image").read_bytes(), images / name)
        return
    path = folder / "img_align_celeba.zip"
    with named(path, "zip"):
        archive = zipfile.ZipFile(path)
    with archive:
        members = set(archive.namelist())

        def read(name):
            if f"img_align_celeba/{name}" not in members:
                raise FileNotFoundError(f"{path} has no img_align_celeba/{name}")
            return unzip_member(archive, f"img_align_celeba/{name}", PACKED), f"{path}, {name}"

        yield read


def shrink(content, name):
    """The central CROP x CROP pixels of a published image at 32 x 32, uint8, from its bytes.

    Raises ValueError that names ``name`` where it is no picture of ALIGNED pixels: the crop is made for those.
    """
    from PIL import Image

    width, height = ALIGNED
    left, top = (width - CROP) // 2, (height - CROP) // 2
    cut = read_picture(content, name, ALIGNED).crop((left, top, left + CROP, top + CROP))
    return np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
