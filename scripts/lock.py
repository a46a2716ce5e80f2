"""Resolve requirements.lock from pyproject.toml with uv, and write environment.yml from it.

Run by `make lock`, which needs the network. The lock holds versions and hashes, and no address of a registry.
`python scripts/lock.py --keep` leaves every version that is locked as it is and adds only what is new.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from aps_core.files import write_atomically

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


def keeping(project: str, lock: str) -> str:
    """The text of pyproject.toml with every version of the lock as a further constraint."""
    locked = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?(==[^\\\n]+)", lock, re.MULTILINE)
    lines = [f'  "{name}{version.strip()}",' for name, version in locked]  # markers stand in single quotes
    before, opening, after = project.partition("constraint-dependencies = [\n")
    return before + opening + "\n".join(lines) + "\n" + after


def resolve(keep: bool) -> None:
    """Write requirements.lock; refuse one that names where a package comes from. keep: nothing locked is renewed."""
    uv = [sys.executable, "-m", "uv"]
    with tempfile.TemporaryDirectory() as folder:
        project = (ROOT / "pyproject.toml").read_text("utf-8")
        written = keeping(project, LOCK.read_text("utf-8")) if keep else project
        Path(folder, "pyproject.toml").write_text(written, "utf-8")
        Path(folder, "README.md").touch()
        subprocess.run([*uv, "lock", "--quiet"], cwd=folder, check=True)
        export = ["export", "--quiet", "--frozen", "--no-emit-project", "--no-header"]
        lock = subprocess.run([*uv, *export], cwd=folder, check=True, capture_output=True, text=True).stdout
    if ":" + "//" in lock or "file:" in lock:
        raise SystemExit("the lock would name an address or a file; resolve from a registry instead")
    write_atomically(LOCK, lock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment-only", action="store_true", help="keep the lock, write environment.yml")
    parser.add_argument("--keep", action="store_true", help="keep the versions that are locked, add what is new")
    options = parser.parse_args()
    if not options.environment_only:
        resolve(options.keep)
    write_atomically(ENVIRONMENT, environment(LOCK.read_bytes()))
