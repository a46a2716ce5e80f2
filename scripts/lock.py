"""Resolve requirements.lock from pyproject.toml with uv, and write environment.yml from it.

Run by `make lock`, which needs the network. The lock holds versions and hashes, and no address of a registry.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / "environment.yml"


def environment(lock: bytes) -> str:
    """The text of environment.yml for a lock: its packages, in a conda environment."""
    return f"""\
# For conda and Binder: the packages of requirements.lock. Written by scripts/lock.py; change neither by hand.
# requirements.lock: sha256 {hashlib.sha256(lock).hexdigest()}
# Afterwards, for the package itself: pip install --no-deps --no-build-isolation -e .
name: aps
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip
  - pip:
      - -r requirements.lock
"""


def resolve() -> None:
    """Write requirements.lock; refuse one that names where a package comes from."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "lock", "--quiet", "--upgrade"], cwd=ROOT, check=True)
    part = LOCK.with_suffix(".part")
    export = ["export", "--quiet", "--frozen", "--no-emit-project", "--no-header", "-o", part.name]
    subprocess.run([*uv, *export], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    written = part.read_text("utf-8")
    if ":" + "//" in written or "file:" in written:
        part.unlink()
        raise SystemExit("the lock would name an address or a file; resolve from a registry instead")
    os.replace(part, LOCK)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment-only", action="store_true", help="keep the lock, write environment.yml")
    if not parser.parse_args().environment_only:
        resolve()
    part = ENVIRONMENT.with_suffix(".part")
    part.write_text(environment(LOCK.read_bytes()), "utf-8")
    os.replace(part, ENVIRONMENT)
