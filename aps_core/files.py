"""Files: where the project's folders lie, checksums, and writing that never leaves a half-written file."""

import contextlib
import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def folders(name):
    """Where the folder ``name`` ("weights" or "recipes") may lie: in the checkout, then in the installed package."""
    return [CHECKOUT / name, PACKAGE / f"_{name}"]


def find(name, *parts):
    """Path of the first file or folder ``parts`` below one of ``folders(name)``, or None."""
    return next((path for folder in folders(name) if (path := folder.joinpath(*parts)).exists()), None)


def cache_folder():
    """Folder for what was fetched or took long to compute: APS_CACHE_DIR, else `aps_core` in XDG_CACHE_HOME, where that
    is an absolute path, or in ~/.cache. Raises FileNotFoundError where none of them is known.
    """
    if own := os.environ.get("APS_CACHE_DIR"):
        return Path(own)
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return Path(given if os.path.isabs(given) else Path.home() / ".cache") / "aps_core"
    except RuntimeError as error:  # neither HOME nor an entry of this user
        raise FileNotFoundError(
            "no cache folder: APS_CACHE_DIR and HOME are not set and this user has no home; expected APS_CACHE_DIR to name one"
        ) from error


def commit():
    """(commit of this checkout, whether tracked files differ from it); (None, None) outside of a checkout."""
    if not (CHECKOUT / ".git").exists():
        return None, None
    head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return head, None if changed is None else bool(changed)


def _git(*arguments):
    try:
        done = subprocess.run(["git", "-C", CHECKOUT, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def sha256_of(content):
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def check_writable(name, path):
    """Raise ValueError, naming the argument ``name``, where no file can be written to ``path``: before long work, not after.

    Folders that are missing would be made.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{name} {path}: it is a folder, expected the name of a file")
    _check_inside(f"{name} {path}", path.absolute().parent)


def check_folder(name, folder):
    """Raise ValueError, naming the argument ``name``, where no file can be written in ``folder``: before long work, not after.

    Folders that are missing would be made.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} {folder}: expected a folder, there is a file of that name")
    _check_inside(f"{name} {folder}", folder.absolute())


def _check_inside(what, wanted):
    folder = next(one for one in (wanted, *wanted.parents) if one.exists())
    if not folder.is_dir():
        raise ValueError(f"{what}: {folder} is a file, expected a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{what}: expected a folder that may be written in, {folder} may not")


def write_atomically(path, content):
    """Write bytes, or text as UTF-8, to ``path`` under a temporary name of its own beside it, then rename.

    Missing folders are made. Whoever reads ``path`` sees the old file or the new one, also when several processes write
    it at once or the disk is full; what could not be finished is removed. Raises OSError as ``open`` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def remove_unfinished(folder, seconds=0.0):
    """Remove what killed processes left of ``write_atomically`` in ``folder``; where others may be writing there, only
    what is older than ``seconds``.
    """
    for path in Path(folder).glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def _umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
