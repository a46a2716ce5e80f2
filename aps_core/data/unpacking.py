"""Packed files, unpacked up to a stated limit: a few megabytes can unpack to any size. Damage is a ValueError that names
the file.
"""

import gzip
import io
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LIMIT = 2**30  # bytes: the largest known content is Inception-v3, about 100 MB


@contextmanager
def named(path, kind):
    """Whatever gzip, zipfile, tarfile, PIL and NumPy make of a damaged file inside becomes ValueError: ``path`` cannot
    be read as ``kind``.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read as {kind}: {error or type(error).__name__}") from error


def read_up_to(file, limit, what):
    """All bytes of an open file. Raises ValueError naming ``what`` where they are more than ``limit``."""
    content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{what} unpacks to more than {limit:,} bytes, the limit for it")
    return content


def gunzip(path, limit=LIMIT):
    """The content of a gzip file. Raises ValueError for a damaged file or one that unpacks to more than ``limit``
    bytes.
    """
    with named(path, "gzip"), gzip.open(path) as file:
        return read_up_to(file, limit, path)


def unzip_member(archive, member, limit=LIMIT):
    """The content of one member of an open ZipFile. Raises KeyError where there is none, ValueError as ``gunzip``."""
    with named(f"{archive.filename}, {member},", "zip"), archive.open(member) as file:
        return read_up_to(file, limit, f"{archive.filename}, {member},")


def read_npz(source, name=None, limit=LIMIT):
    """The arrays of an .npz, a path or bytes called ``name``; ``limit`` is for all of them together.

    Raises ValueError that names the file where it is damaged, too large, or holds Python objects or one name twice.
    """
    name, arrays = name or source, {}
    with named(name, ".npz"), zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
        if sum(member.file_size for member in archive.infolist()) > limit:  # zipfile gives no more than it states
            raise ValueError(f"{name} unpacks to more than {limit:,} bytes, the limit for it")
        for member in archive.namelist():
            with archive.open(member) as file:
                try:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                except Exception as error:
                    raise ValueError(f"{name} cannot be read as .npz: array {member}: {error}") from error
            key = member.removesuffix(".npy")
            if key in arrays:  # the last would be taken without a word
                raise ValueError(f"{name} cannot be read as .npz: array {key!r} stands twice")
            arrays[key] = array
    return arrays


def tar_members(path, wanted, limit=LIMIT):
    """{member name: content} of the files of a tar archive, packed or not, for which ``wanted(name)`` is true.

    ``limit`` is for all its files together, wanted or not. Raises ValueError that names the archive.
    """
    contents, left = {}, limit
    with named(path, "tar"), tarfile.open(path) as tar:
        for member in tar:
            left -= member.size
            if left < 0:
                raise ValueError(f"{path} unpacks to more than {limit:,} bytes, the limit for it")
            if member.isfile() and wanted(member.name) and (file := tar.extractfile(member)):
                contents[member.name] = file.read()
    return contents


def exists(path, kind="archive"):
    """``path`` as a Path. Raises FileNotFoundError unless it is a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no {kind} {path}")
    return Path(path)
