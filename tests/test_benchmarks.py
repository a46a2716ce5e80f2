"""The benchmarks run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
def test_flows(tmp_path):
    file = tmp_path / "flows.json"
    done = subprocess.run([sys.executable, FOLDER / "flows.py", "--small", "--json", file], check=True, capture_output=True, text=True)
    found = json.loads(file.read_text())["seconds"]["aps_core"]
    assert found["parameters"] > 0 and min(found[name] for name in ("compile", "forward", "gradient_step")) > 0
    assert "aps_core" in done.stdout and "flowjax" in done.stdout  # a rival that is not installed is named as such
