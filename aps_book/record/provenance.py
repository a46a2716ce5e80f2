"""Where a result comes from: commit, inputs by sha256, machine, versions."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
_PROGRAMS = ("aps_core", "aps_book", "benchmarks", "scripts")  # folders whose files are run as programs
_PACKAGES = ("aps-core", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-image", "matplotlib")


def sha256_of_file(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identify(thing: Any) -> tuple[str, str]:
    """A short name and a sha256 for weights or data.

    Args:
      thing: a path to a file; a mapping (a card) or an object with `name` and `sha256`, and perhaps `split`.

    Raises:
      FileNotFoundError: the path does not exist.
      TypeError: neither a path nor something with `name` and `sha256`.
    """
    if isinstance(thing, (str, os.PathLike)):
        return Path(thing).name, sha256_of_file(thing)
    get = thing.get if isinstance(thing, Mapping) else lambda key: getattr(thing, key, None)
    name, digest, split = get("name"), get("sha256"), get("split")
    if not (isinstance(name, str) and isinstance(digest, str)):
        raise TypeError(f"{thing!r}: expected a path, or something with a name and a sha256")
    return (f"{name}/{split}" if split else name), digest


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit() -> tuple[str | None, bool | None]:
    """The commit of this checkout and whether tracked files differ from it; (None, None) outside a checkout.

    Records of full runs do not count: another one may just have been made, and what is read of them is named by sha256.
    """
    if not (ROOT / ".git").exists():
        return None, None
    head, changed = (
        _git("rev-parse", "HEAD"),
        _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!weights/results"),
    )
    return head, None if changed is None else bool(changed)


def command() -> str | None:
    """The command line that makes what this process records: what APS_COMMAND says, which those set that run notebooks, or
    that of a program of this checkout; None for anything else. It names no folder outside of the checkout.
    """
    if said := os.environ.get("APS_COMMAND"):
        return said
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), Path(getattr(main, "__file__", None) or ROOT).resolve()
    if spec is not None:
        program = ["-m", spec.name.removesuffix(".__main__")] if spec.name.partition(".")[0] in _PROGRAMS else []
    else:
        inside = file.suffix == ".py" and file.is_relative_to(ROOT)
        program = [str(file.relative_to(ROOT))] if inside and file.relative_to(ROOT).parts[0] in _PROGRAMS else []
    return shlex.join(["python", *program, *map(_without_folders, sys.argv[1:])]) if program else None


def _without_folders(word: str) -> str:
    """A word of a command line; an absolute path in it is relative to the checkout, or where it leads elsewhere a name."""
    option, equals, path = word.partition("=") if word.startswith("-") else ("", "", word)
    if not Path(path).is_absolute():
        return word
    there = Path(path).resolve()
    return f"{option}{equals}{there.relative_to(ROOT) if there.is_relative_to(ROOT) else there.name}"


def device() -> str:
    """The device that JAX computes on, such as "cpu" or "2 x NVIDIA H200"."""
    if "jax" not in sys.modules:
        return "cpu"
    devices = sys.modules["jax"].devices()
    return (f"{len(devices)} x " if len(devices) > 1 else "") + devices[0].device_kind


def machine() -> dict[str, Any]:
    """Device, operating system, number of cores, how many notebooks ran at once (APS_AT_ONCE), flags of XLA ("" where none
    were set) and the versions of what computed.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "device": device(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "at_once": int(os.environ.get("APS_AT_ONCE", "1")),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions,
    }
