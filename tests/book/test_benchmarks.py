"""The benchmarks run."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import cost
from aps_core import Identity, Task

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


def _module(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_gradient_noise(tmp_path, monkeypatch, make_score_prior, capsys):
    """The command on a small task instead of the faces: the table, its JSON and its record say the same."""
    noise = _module("gradient_noise")
    prior = make_score_prior(d=4, k=3, k_modes=2)
    signals = prior.gaussian.sample(jax.random.key(1), 8)
    task = Task(Identity((4,)), 0.1, prior, signals, unit_range=False)
    monkeypatch.setattr(noise, "load_task", lambda name: task)
    settings = {"kind": "gaussian-base", "k": 3, "steps": 2, "width": 4}
    monkeypatch.setattr(noise.weights, "load", lambda name: (None, {"flow": settings}))
    kept, file = tmp_path / "kept.json", tmp_path / "noise.json"
    noise.main(["small", "--small", "--json", str(file), "--record", str(kept)])
    rows = json.loads(file.read_text())["rows"]
    assert rows["total 1"]["variance_ratio"] == 1 and rows["path 1"]["variance_ratio"] > 1.5
    numbers = record.load(kept)["numbers"]
    assert numbers["noise.path_2.std"]["value"] == pytest.approx(rows["path 2"]["noise"])
    assert numbers["noise.path_2.cost_ratio"]["value"] == pytest.approx(rows["path 2"]["cost_ratio"])
    assert "path 2" in capsys.readouterr().out


def test_the_plain_flow_has_the_log_determinant_of_its_jacobian(randomise):
    flows = _module("flows")
    size = flows.Size(dim=6, steps=2, width=4, batch=2)
    params, forward = flows.plain(size)
    params, (z, y) = randomise(params, 0.2), jax.random.normal(jax.random.key(0), (2, 2, 6))
    jacobians = jax.jit(jax.vmap(jax.jacrev(lambda z, y: forward(params, z[None], y[None])[0][0])))(z, y)
    np.testing.assert_allclose(forward(params, z, y)[1], np.linalg.slogdet(jacobians)[1], rtol=1e-4)


def test_a_ratio_that_has_grown_1_5_fold_fails():
    bench = _module("bench")
    assert bench.lost({"flow.compile": 1.4, "dps.denoising": 1.0}, {"flow.compile": 1.0, "gone": 1.0}) == []
    (said,) = bench.lost({"flow.compile": 1.6}, {"flow.compile": 1.0})
    assert "1.60-fold the baseline's 1.00" in said


def test_what_is_lost_once_is_measured_again(monkeypatch, capsys):
    """Other work may have disturbed the first measurement; what is lost in both fails."""
    bench = _module("bench")
    for again, code in ((1.2, 0), (1.7, 1)):
        monkeypatch.setattr(bench, "by_turns", lambda size, again=again: {"flow.compile": again})
        assert bench.judge({"flow.compile": 1.6, "flow.peak_mib": 1.0}, {"flow.compile": 1.0}, "small") == code
    monkeypatch.setattr(bench, "by_turns", None)
    assert bench.judge({"flow.compile": 1.4}, {"flow.compile": 1.0}, "small") == 0
    assert "no ratio has grown 1.5-fold" in capsys.readouterr().out


def test_a_ratio_is_that_of_the_work(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    paired, rows = _module("paired"), np.arange(20_000)
    work = [lambda n=n: [rows.sum() for _ in range(n)] for n in (600, 200)]
    monkeypatch.setattr(paired, "LEAST", 0.01)
    assert paired.ratio(*work, turns=9) == pytest.approx(3, rel=0.25)


def test_the_baseline_has_what_ci_asks_for():
    names = {"flow.compile", "flow.forward", "flow.gradient_step", "dps.denoising", "dps.super-resolution"}
    baseline = json.loads((FOLDER / "baseline.json").read_text())
    assert all(names <= set(baseline[size]) for size in ("small", "middle"))
    assert 'make bench ARGS="--size small --ratios"' in (FOLDER.parent / ".ci/run").read_text()


@pytest.mark.slow
def test_bench_writes_its_table_and_loses_nothing(tmp_path):
    kept = tmp_path / "kept.json"
    command = [sys.executable, FOLDER / "bench.py", "--size", "small", "--out", tmp_path, "--record", kept]
    optimized = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # as conftest.py has not
    done = subprocess.run(command, capture_output=True, text=True, env=optimized)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {"aps_core", "plain JAX"} <= set(found["flows"])
    ours = found["flows"]["aps_core"]
    assert ours["parameters"] > 0 and min(ours[name] for name in ("compile", "forward", "gradient_step")) > 0
    assert ("flowjax is not installed" in done.stdout) == ("flowjax" not in found["flows"])
    numbers = {key: number["value"] for key, number in record.load(kept)["numbers"].items()}
    assert numbers["bench.flow.aps_core.compile"] == pytest.approx(ours["compile"])
    assert numbers["bench.problem.dim"] == 256 and numbers["bench.problem.batch"] == 32  # what "small" is
    columns = {"flow": ("compile",), "sampler": ("denoising", "super_resolution")}
    shown = {
        f"bench.{kind}.{word}.{column}" for kind, row in cost.BENCH.items() for word in row for column in columns[kind]
    }
    timed = {
        key
        for key in numbers
        if key.startswith(("bench.flow", "bench.sampler")) and key.endswith(columns["flow"] + columns["sampler"])
    }
    assert timed <= shown  # no measured row is missing in the page's table
    assert found["ratios"]["flow.gradient_step"] > 0 and found["machine"]["versions"]["jax"]
    assert "| plain JAX |" in (tmp_path / "bench.md").read_text() and "| dps |" in done.stdout
