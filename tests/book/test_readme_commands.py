"""The commands of ``aps`` that the README shows, run as they stand in a copy of the checkout: test_cli.py only parses them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import README, commands_of_the_readme
from test_readme import field

from aps_book.sweeps import engine

ROOT = Path(__file__).resolve().parent.parent.parent
SHORTER = {"--budget 600": "--budget 20"}  # what would take its minutes and show no more
LEFT_OUT = ("aps data fetch",)  # downloads
MADE_BY_TESTS = ("XLA_FLAGS", "JAX_", "OPENBLAS_", "APS_")  # variables of conftest.py, which users do not have
BUILT = (
    "_build",
    "results",
    "checkpoints",
    "__pycache__",
    ".*",
)  # of a checkout: what commands make, environments, git


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout, with a user's field and sweep in it."""
    full_runs = {str(ROOT / "weights"): {"results"}}
    some = shutil.ignore_patterns(*BUILT)
    shutil.copytree(ROOT, tmp_path / "aps", ignore=lambda f, names: some(f, names) - full_runs.get(str(Path(f)), set()))
    field(tmp_path / "aps/my.nc")
    sweep = re.search(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "aps/noise.yaml").write_text(sweep)
    for folder in ("aps", "before"):  # two builds of one notebook, in the place of all
        (tmp_path / folder / "book/results").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "weights/results/any_mask.json", tmp_path / folder / "book/results")
    return tmp_path / "aps"


def run(line, folder, snakemake):
    """What the line prints, run in ``folder`` by a process of its own; ``> FILE`` is done as a shell does it."""
    words, _, file = line.partition(" > ")
    variables = {k: v for k, v in os.environ.items() if not k.startswith(MADE_BY_TESTS)}
    variables |= {"PYTHONPATH": str(folder), "APS_SNAKEMAKE": str(snakemake)}
    command = [sys.executable, "-m", "aps_book.cli.app", *shlex.split(words)[1:]]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    if file:
        (folder / file).write_text(done.stdout)
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_every_command_of_the_readme_does_what_it_says(checkout):
    try:
        snakemake = engine.find()
    except FileNotFoundError:
        snakemake = None
    printed = {}
    for line in commands_of_the_readme():
        if line.startswith(LEFT_OUT) or (snakemake is None and line.startswith("aps sweep")):
            continue
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        printed[" ".join(line.split()[:2])] = run(line, checkout, snakemake)
    runs = list((checkout / "results").glob("sphere_impute-*/sphere_impute.json"))
    assert len(runs) == 2 and all((path.parent / "html/results/sphere_impute.html").is_file() for path in runs)
    fractions = {json.loads(path.read_text())["parameters"]["mask_fraction"] for path in runs}
    assert 0.8 in fractions and (checkout / "posterior.nc").is_file()
    if snakemake is not None:
        records = list((checkout / "results/sweeps/noise/runs").glob("*/sphere_impute.json"))
        assert len(records) == 6 and (checkout / "results/sweeps/noise/table.csv").is_file()
    assert "1 notebooks" in printed["aps compare"] and " 0 differ" in printed["aps compare"]
    assert " 0 differ" in printed["aps verify"] and "run the same command to go on" in printed["aps train"]
    full = json.loads((checkout / "weights/results/toy2d.json").read_text())
    assert full["provenance"]["command"] == "aps full toy2d" and full["provenance"]["commit"] is None
    assert "mnist" in printed["aps data"] and "weights/results/sphere_impute.json" in printed["aps show"]
