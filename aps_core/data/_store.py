"""What every data set shares: the Dataset record, checksums, and atomic writing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aps_core.data.unpacking import exists, read_npz, tar_members
from aps_core.data.user_folder import user_folder
from aps_core.files import cache_folder, sha256_of, write_atomically


@dataclass(frozen=True)
class Source:
    """One row of the registry: what a data set is, where it comes from, and its terms.

    `shape` is that of one signal, `splits` maps each split to its number of signals,
    `bytes` and `sha256` describe the file it is read from (None where the user brings it).
    """

    name: str
    title: str
    tier: int
    shape: tuple
    splits: dict
    origin: str
    licence: str
    citation: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Signals of one split.

    values: (n, *shape) float32, in [0, 1] (temperatures may lie slightly outside, see `ncep`).
    index: 1-D arrays of length n that say what each signal is, such as year and month.
    sha256: checksum of the file that the values were read from.
    """

    name: str
    split: str
    values: np.ndarray
    index: dict
    sha256: str
    licence: str
    citation: str

    def __len__(self):
        return len(self.values)


def read_checked(path, sha256, remedy):
    """The arrays of the .npz file `path`, read only when its checksum is `sha256`.

    Raises FileNotFoundError when it is missing and ValueError when it was truncated or
    altered; `remedy` says how to get it back.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"data file {path} is missing; {remedy}")
    content = path.read_bytes()
    found = sha256_of(content)
    if found != sha256:
        raise ValueError(
            f"data file {path} is truncated or altered: {len(content)} bytes with sha256 {found}, "
            f"expected {sha256}; {remedy}"
        )
    return read_npz(content, path)


def find_fetched(name, *files):
    """Path of the first of ``files`` that lies in one of the ``places`` of data set ``name``; the names of one file,
    plain or packed.

    Raises FileNotFoundError naming the places looked at and the command that gets it.
    """
    candidates = [folder / file for folder in places(name) for file in files]
    for path in candidates:
        if path.is_file():
            return path
    looked = ", ".join(map(str, candidates))
    raise FileNotFoundError(f"{files[0]} not found; looked for {looked}. `aps data fetch {name}` gets it")


def content_of(path, sha256):
    """The bytes of a fetched file. Raises ValueError for another content than the known one."""
    content = Path(path).read_bytes()
    if (found := sha256_of(content)) != sha256:
        raise ValueError(f"{path} has sha256 {found}, expected {sha256}; remove it and fetch it again")
    return content


def keep_members(tarball, name, sha256):
    """Put the files of the archive ``tarball`` that ``sha256`` (file name -> checksum) names into the cache folder
    ``name``; returns the folder.

    Raises ValueError where one is missing or has another content, or the archive is damaged or too large; then nothing
    is written.
    """
    found = tar_members(exists(tarball), lambda member: Path(member).name in sha256)
    contents = {Path(member).name: content for member, content in found.items()}
    for file, expected in sha256.items():
        if file not in contents or sha256_of(contents[file]) != expected:
            raise ValueError(f"{tarball} does not hold {file} with sha256 {expected}")
    folder = cache_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        write_atomically(folder / file, content)
    return folder


def check_split(name, split, splits):
    """Raise ValueError naming the splits that exist when `split` is not one of them."""
    if split not in splits:
        raise ValueError(f"data set {name!r} has no split {split!r}; expected one of {sorted(splits)}")


def places(name):
    """Folders where the files of data set ``name`` are looked for, in order: APS_DATA_DIR and its folder ``name``, then
    the cache. Raises FileNotFoundError where there is neither.
    """
    user = user_folder()
    own = [user / name, user] if user else []
    try:
        return [*own, cache_folder() / name]
    except FileNotFoundError:
        if own:
            return own
        raise
