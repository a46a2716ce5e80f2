"""Calls Snakemake on a plan. Which jobs run, in which order and where, is its business."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from aps_book import running
from aps_book.notebooks import ROOT
from aps_book.sweeps.plan import Plan

WORKFLOW = ROOT / "workflow"
PROFILES = {"local": WORKFLOW / "profiles" / "local", "slurm": WORKFLOW / "profiles" / "slurm"}
REMEDY = "`make workflow` installs it into .venv-workflow, or name one in APS_SNAKEMAKE"


def find() -> Path:
    """Snakemake's executable: APS_SNAKEMAKE, that of .venv-workflow in the checkout, or on PATH.

    Raises FileNotFoundError that says how to get it.
    """
    named = os.environ.get("APS_SNAKEMAKE")
    if named:
        if not (path := shutil.which(named)):
            raise FileNotFoundError(f"APS_SNAKEMAKE = {named!r}: expected the path of snakemake's executable")
        return Path(path)
    own = ROOT / ".venv-workflow" / "bin" / "snakemake"
    found = own if own.is_file() else shutil.which("snakemake")
    if not found:
        raise FileNotFoundError(f"snakemake, which runs sweeps, was not found: {REMEDY}")
    return Path(found)


def profile(name: str) -> Path:
    """The folder of a profile: one of PROFILES, or a path. Raises FileNotFoundError."""
    path = PROFILES.get(name, Path(name))
    if not (path / "config.yaml").is_file():
        raise FileNotFoundError(f"--profile {name}: expected {', '.join(PROFILES)} or a folder with a config.yaml")
    return path.resolve()


def call(
    plan: Plan, folder: Path, profile: Path, jobs: int | None, dry: bool, more: list[str], quiet: bool = False
) -> int:
    """Write the plan in ``folder``, run it there and give Snakemake's exit code; what is finished is not run again. quiet:
    what Snakemake writes to standard output goes to standard error.

    A lock of ours, which ends with this process, stands for Snakemake's own, which would outlast a kill. Raises
    FileExistsError where another sweep is at work in the folder.
    """
    with running.alone(folder, "sweep"):
        written = plan.write(folder)  # by the one who holds the lock: jobs on a cluster read it anew
        command = [str(find()), "--snakefile", str(WORKFLOW / "Snakefile"), "--profile", str(profile), "--nolock"]
        command += ["--directory", str(folder.resolve()), "--config", f"plan={written.resolve()}"]
        local = profile == PROFILES["local"].resolve()
        command += [] if jobs is None else ["--cores", str(jobs)] if local else ["--jobs", str(jobs)]
        options = {"env": _shared(jobs if local else None), **({"stdout": sys.stderr} if quiet else {})}
        return subprocess.run([*command, *["--dry-run"] * dry, *more], **options).returncode


def _shared(jobs: int | None) -> dict[str, str]:
    """The environment of ``jobs`` notebooks that run side by side on this machine: the threads of OpenBLAS wait for each
    other busily, so that each gets its share of the cores only. One that is set stays.
    """
    share = {} if jobs in (None, 1) else {"OPENBLAS_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
    return {**share, **os.environ}
