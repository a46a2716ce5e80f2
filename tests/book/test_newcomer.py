"""The way of someone who has only the README: a clone, one command, the front page, a notebook with another parameter in
which an operator of one's own is served, trained for and judged.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINUTES = 15  # of machine time, all together


def _run(command, folder):
    """The last line that a command of the README prints; PAGES keeps the build to the notebook that is read here."""
    # a book of its own, with its own virtual environment, and nothing of what tests set for theirs
    ours = {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "XLA_FLAGS"}
    environment = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith("JAX_")}
    done = subprocess.run(
        command, shell=True, cwd=folder, env={**environment, "PAGES": "own_operator"}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _clone(folder):
    """The checkout as it stands, uncommitted changes included."""
    _run(f"git clone --quiet '{ROOT}' '{folder}'", folder.parent)
    changes = subprocess.run(["git", "-C", ROOT, "diff", "HEAD", "--binary"], capture_output=True, check=True).stdout
    if changes:
        subprocess.run(["git", "-C", folder, "apply"], input=changes, check=True)


@pytest.mark.long
def test_from_the_readme_to_a_posterior_of_ones_own(tmp_path):
    begun, home = time.monotonic(), tmp_path / "aps"
    _clone(home)
    readme = (home / "README.md").read_text("utf-8")
    assert re.search(r"^make book +#", readme, re.MULTILINE) and re.search(
        r"^aps run sphere_impute -p", readme, re.MULTILINE
    )

    index = Path(_run("make book", home).removeprefix("The book: "))
    front = index.with_name("intro.html").read_text("utf-8")
    verdicts = re.search(r"Of (\d+) claims of the two papers (\d+) hold", re.sub(r"<[^>]+>", "", front))
    assert index.is_file() and verdicts and 0 < int(verdicts[2]) < int(verdicts[1])
    assert "results/own_operator.html" in front  # and from there to the tutorial

    _run(".venv/bin/aps run own_operator -p box 8", home)
    (made,) = (home / "results").glob("own_operator-*/own_operator.json")
    record = json.loads(made.read_text("utf-8"))
    numbers = {name: entry["value"] for name, entry in record["numbers"].items()}
    assert record["parameters"]["box"] == 8 and numbers["data.size"] == 32 * 32 - 8 * 8
    assert 84 < numbers["flow.coverage_90"] < 97  # of intervals that should hold 90 %
    assert numbers["flow.psnr_mean"] > numbers["flow.psnr_n1"] + 1.5  # about 3 dB for an exact posterior
    assert time.monotonic() - begun < 60 * MINUTES
