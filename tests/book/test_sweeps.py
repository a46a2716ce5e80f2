"""Sweeps: plans from files, differences and shares against numbers known by hand, and real runs of Snakemake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from absent import absent

from aps_book.cli import common
from aps_book.sweeps import effects, engine, page, plan, table

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n\n"
TINY = """\
# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
height = 1.0
seed = 0

# %%
import json
import os
import pathlib
import time

with open(os.environ["TALLY"], "a") as file:
    file.write(f"{height}-{seed}\\n")
assert height < 100, "too high"
assert pathlib.Path.cwd().samefile(pathlib.Path(os.environ["TALLY"]).parent)  # paths are relative to the sweep's file
# while a file "hold" is there, no more than three jobs, and those beside the third, come to an end
results, parent = pathlib.Path(os.environ["APS_RESULTS_DIR"]), os.getppid()
hold = pathlib.Path(os.environ["TALLY"]).with_name("hold")
while hold.exists() and len(list(hold.parent.glob("there/runs/*/tiny.json"))) >= 3 and os.getppid() == parent:
    time.sleep(0.1)
if os.getppid() != parent:
    os._exit(1)
# the record's form, without the seconds that importing the package takes
number = {"value": 2 * height + seed, "se": 0.5, "unit": "m"}
made = {"schema": 1, "notebook": "tiny", "parameters": {"height": height, "seed": seed}, "figures": []}
made["numbers"] = {"line.height": number}
made["provenance"] = {"commit": "abc", "modified": None, "weights": {}, "data": {}, "device": "cpu", "seconds": 1.0}
(results / "tiny.json").write_text(json.dumps(made))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny.py").write_text(HEADER + TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text, name="sweep.yaml"):
    (folder / name).write_text(text)
    return folder / name


# plans


def test_grid_and_list_are_combined(folder):
    text = "notebook: tiny.py\nparameters: {height: 3}\nlist: [{}, {height: 4}]\ngrid: {seed: [0, 1]}\n"
    found = plan.read(write(folder, text))
    sets = [(job.get("height"), job["seed"]) for job in found.jobs.values()]
    assert sets == [(3, 0), (3, 1), (4, 0), (4, 1)]
    assert found.varied == ["height", "seed"]


def test_csv_gives_the_same_jobs_as_yaml(folder):
    of_csv = plan.read(write(folder, "height,seed\n3.5,0\n3.5,1\n", "sets.csv"), "tiny.py")
    of_yaml = plan.read(write(folder, "notebook: tiny.py\ngrid: {seed: [0, 1], height: [3.5]}\n"))
    assert of_csv.jobs == of_yaml.jobs and of_csv.varied == ["seed"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: tiny.py\ngrid: {heigth: [1]}\n", "unknown parameter 'heigth' = 1.*did you mean 'height'"),
        ("notebook: toy2d\ngrid: {n_samples: [1000, 10]}\n", "set 2: n_samples = 10: expected an integer at least 100"),
        ("notebook: tiny.py\nlist: [{seed: 1}, {seed: 1}]\n", "set 2: the parameters .* stand in an earlier set too"),
        ("notebook: nothing\ngrid: {seed: [1]}\n", "notebook 'nothing': expected"),
        ("grid: {seed: [1]}\n", "names no notebook"),
        ("notebook: tiny.py\n", "expected notebook, and grid or list"),
        ("notebook: tiny.py\ngrid: {seed: 1}\n", "grid, seed = 1: expected a list"),
        ("notebook: tiny.py\ngrid: [1\n", "not valid YAML"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\ngrid: {seed: [1]}\n", "'grid' stands twice"),
        ("notebook: tiny.py\nlist: []\n", r"list = \[\]: expected at least one entry"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\nlist: [{seed: 1}]\n", "'seed' stands in grid and in list"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\nparameters: {seed: 1}\n", "'seed' stands in grid and in parameters"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\nparameters: 0\n", "parameters = 0: expected a table"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\nnumbers: ''\n", "numbers = '': expected a list"),
        ("notebook: tiny.py\ngrid: {seed: [0]}\nnumbers: [1]\n", "numbers: expected keys of the record, got 1"),
    ],
)
def test_a_bad_file_is_refused_before_anything_starts(folder, text, said):
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=f"(?s)sweep.yaml.*{said}"):
        plan.read(write(folder, text))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("höhe\n1\n".encode("latin-1"), "expected text in UTF-8"),
        (b"height,seed\n1,2,3\n", "line 2: expected 2 columns"),
        (b"seed, seed\n1,2\n", "column 'seed' stands twice"),
        (b"seed\n", "it holds no row"),
        (b"", "it holds no row"),
        (b"seed,\n1,\n", "column 2 has no name"),
        (b'seed\n"1\n', "expected comma-separated values: unexpected end of data"),
        (b"seed\n" + b"1" * 200_000, "expected comma-separated values: field larger than"),
    ],
)
def test_a_bad_table_is_refused(folder, content, said):
    (folder / "sets.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"sets.csv.*{said}"):
        plan.read(folder / "sets.csv", "tiny.py")


def test_small_numbers_reach_the_jobs_as_numbers(folder):
    found = plan.read(write(folder, "notebook: tiny.py\ngrid: {height: [1e-5, 1e-3]}\n"))
    written = found.write(folder / "there")
    assert [one["height"] for one in found.jobs.values()] == [1e-5, 1e-3] and found.beside == folder
    for job, parameters in found.jobs.items():
        assert common.read_parameters(written.parent / "parameters" / f"{job}.json") == parameters


def test_a_notebook_named_on_the_command_line_serves_a_file_that_names_none(folder):
    assert plan.read(write(folder, "notebook: null\ngrid: {seed: [1]}\n"), "tiny.py").notebook.name == "tiny"
    for name, text in (("a.yaml", "notebook: tiny.py\ngrid: {seed: [1]}\n"), ("a.csv", "notebook,seed\ntiny.py,1\n")):
        assert plan.read(write(folder, text, name), "tiny.py").notebook.name == "tiny"
        with pytest.raises(ValueError, match="it names the notebook 'tiny.py', --notebook says 'toy2d'"):
            plan.read(folder / name, "toy2d")


def test_results_of_another_notebook_or_of_other_files_are_not_taken_for_those_of_a_sweep(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "tiny.py").write_text(HEADER + TINY.replace("seed = 0\n", "seed = 0\nfile = ''\n"))
    text = "notebook: tiny.py\ngrid: {seed: [0]}\n"
    one, two = (plan.read(write(folder / name, text)) for name in ("one", "two"))
    assert list(one.jobs) == list(two.jobs)
    one.write(folder / "there")
    one.check_folder(folder / "there")
    two.check_folder(folder / "elsewhere")
    with pytest.raises(ValueError, match="there: it has the same sets of parameters of .*tiny.py for a file in .*one"):
        two.check_folder(folder / "there")
    plan.read(write(folder / "two", text.replace("0", "1"))).check_folder(folder / "there")  # of which it has none
    # a notebook of the book, and a path that is relative to the file of the sweep
    text = "notebook: sphere_impute\nlist: [{seed: 0}, {file: my.nc}]\n"
    plan.read(write(folder / "one", text)).write(folder / "there")
    with pytest.raises(ValueError, match="expected another folder"):
        plan.read(write(folder / "two", text)).check_folder(folder / "there")
    plan.read(write(folder / "two", text.replace(", {file: my.nc}", ""))).check_folder(folder / "there")
    (folder / "one").rename(folder / "moved")  # with its results
    plan.read(folder / "moved" / "sweep.yaml").check_folder(folder / "there")


def test_a_parameter_may_be_called_as_a_column():
    one = SimpleNamespace(name="tiny", parameters={"n": 1, "weights": None})
    assert table.gather(Path("nowhere"), one, {"a": {"n": 2}}, ["n"]).columns[1] == "parameter n"
    assert table._cell(None) == "None"


# effects


@pytest.fixture
def full_grid():
    """value = 3 a + b over a full grid, without noise."""
    sets = [(a, b) for a in (0.0, 1.0, 2.0) for b in ("x", "y")]
    rows = [
        {"job": f"{a}{b}", "a": a, "b": b, "key": "k", "value": 3 * a + (b == "y"), "se": 0.1, "n": 4} for a, b in sets
    ]
    return pd.DataFrame(rows)


def test_paired_differences_of_an_additive_number(full_grid):
    rows = effects.wide(full_grid, ["a", "b"], "k")
    of_a, of_b = (effects.paired(rows, ["a", "b"], name) for name in "ab")
    np.testing.assert_allclose(of_a["difference"], [3, 6])
    np.testing.assert_allclose(of_a["se"], 0, atol=1e-12)
    assert list(of_a["n"]) == [2, 2] and list(of_b["n"]) == [3]
    np.testing.assert_allclose(of_b["difference"], [1])


def test_difference_has_the_standard_error_of_its_pairs(full_grid):
    full_grid.loc[full_grid["job"] == "1.0y", "value"] += 2.0  # the pairs of a = 1 now differ by 3 and 5
    one = effects.paired(effects.wide(full_grid, ["a", "b"], "k"), ["a", "b"], "a").iloc[0]
    assert one["difference"] == pytest.approx(4) and one["se"] == pytest.approx(np.sqrt(2) / np.sqrt(2))


def test_shares_of_an_additive_number_add_up(full_grid):
    found = effects.shares(effects.wide(full_grid, ["a", "b"], "k"), ["a", "b"])
    variances = {"a": 9 * np.var([0, 1, 2]), "b": np.var([0, 1])}
    total = sum(variances.values())
    assert found == pytest.approx({name: value / total for name, value in variances.items()})


def test_no_difference_is_not_resolved(full_grid, tmp_path):
    same = full_grid.assign(value=1.0)
    text = page.write(tmp_path, "tiny", same, ["a", "b"], ["k"], {}).read_text()
    assert text.count("<td>not resolved</td>") == 3 and "+0 ± 0" in text
    assert "bars are two standard errors" in text
    assert "bars are" not in page.write(tmp_path, "t", same.assign(se=np.nan), ["a", "b"], ["k"], {}).read_text()


def test_page_names_what_it_shows(full_grid, tmp_path):
    made = page.write(
        tmp_path, "tiny", full_grid, ["a", "b"], ["k"], {"cafe": tmp_path / "runs/cafe/running/tiny.ipynb"}
    )
    text = made.read_text()
    assert "Panels of k against a" in text and "a: 0.0 → 1.0" in text and "not resolved" not in text.split("</p>")[-1]
    assert "runs/cafe/running/tiny.ipynb" in text and str(tmp_path) not in text


def test_page_refuses_a_number_that_no_record_has(full_grid):
    with pytest.raises(ValueError, match="numbers: 'odd' stands in no record"):
        page.chosen("tiny", full_grid, ("odd",))


# the engine


def test_without_snakemake_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("APS_SNAKEMAKE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not found: `make workflow` .*, or name one in APS_SNAKEMAKE"):
        engine.find()


@pytest.mark.parametrize(
    ("jobs", "profile", "set_before", "threads"),
    [
        *[(2, "local", None, "4"), (16, "local", None, "1"), (2, "local", "3", "3"), (1, "local", None, None)],
        *[(None, "local", None, None), (8, "slurm", None, None)],
    ],
)
def test_notebooks_side_by_side_share_the_cores(folder, monkeypatch, jobs, profile, set_before, threads):
    called = []
    monkeypatch.setattr(engine, "find", lambda: "snakemake")
    monkeypatch.setattr(engine.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if set_before:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", set_before)
    monkeypatch.setattr(
        engine.subprocess, "run", lambda command, env: called.append((command, env)) or SimpleNamespace(returncode=0)
    )
    made = plan.read(write(folder, "notebook: tiny.py\ngrid: {seed: [0, 1]}\n"))
    assert engine.call(made, folder / "there", engine.profile(profile), jobs, False, []) == 0
    ((command, env),) = called
    assert env.get("OPENBLAS_NUM_THREADS") == threads and env["PATH"] == os.environ["PATH"]
    assert ("--cores" in command) == (profile == "local" and jobs is not None)


def snakemake():
    try:
        return str(engine.find())
    except FileNotFoundError as error:
        absent(str(error))


def read_parquet(path):
    """A parquet file by the interpreter that has pyarrow, that of Snakemake's environment."""
    code = "import json, sys, pyarrow.parquet as p; print(json.dumps(p.read_table(sys.argv[1]).to_pydict()))"
    command = [Path(snakemake()).parent / "python", "-c", code, path]
    return pd.DataFrame(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def start(folder, *arguments):
    variables = {"PYTHONPATH": str(ROOT), "TALLY": str(folder / "tally"), "APS_SNAKEMAKE": snakemake()}
    command = [sys.executable, "-m", "aps_book.cli.app", "sweep", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, **pipes)


def sweep(folder, *arguments):
    process = start(folder, *arguments)
    printed = process.communicate()[0]
    return process.returncode, printed


GRID = "notebook: tiny.py\ngrid: {height: [1, 2, 3, 4], seed: [0, 1]}\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_an_interrupted_sweep_goes_on_and_repeats_nothing_that_is_finished(folder, how):
    write(folder, GRID)
    (folder / "hold").touch()
    process, records = start(folder, "sweep.yaml", "--out", "there"), folder / "there/runs"
    end = time.monotonic() + 300
    while len(list(records.glob("*/tiny.json"))) < 3:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.2)
    os.killpg(process.pid, how)
    process.communicate()
    finished = {path: path.stat().st_mtime_ns for path in records.glob("*/tiny.json")}
    assert 3 <= len(finished) < 8
    before = (folder / "tally").read_text().split()
    (folder / "hold").unlink()
    status, printed = sweep(folder, "sweep.yaml", "--out", "there")
    assert status == 0, printed
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    done = [json.loads(path.read_text())["parameters"] for path in finished]
    again = (folder / "tally").read_text().split()[len(before) :]
    assert len(again) == 8 - len(finished) and not {f"{p['height']}-{p['seed']}" for p in done} & set(again)
    for found in (pd.read_csv(folder / "there/table.csv"), read_parquet(folder / "there/table.parquet")):
        assert len(found) == 8 and list(found.columns) == ["job", "height", "seed", "key", *COLUMNS]
        np.testing.assert_allclose(found["value"], 2 * found["height"] + found["seed"])
    assert "height: 1 → 2" in (folder / "there/index.html").read_text()


COLUMNS = ["value", "se", "unit", "n", "seconds", "commit"]


@pytest.mark.slow
def test_a_job_that_fails_keeps_its_notebook_and_the_others_go_on(folder):
    write(folder, "notebook: tiny.py\ngrid: {height: [500, 1, 2]}\n")
    status, printed = sweep(folder, "sweep.yaml", "--out", "there")
    assert status == 1 and "1 of 3 sets have no record" in printed
    kept = list((folder / "there/runs").glob("*/running/tiny.ipynb"))
    assert len(kept) == 1 and "too high" in kept[0].read_text()
    assert kept[0].parent.parent.name in (folder / "there/index.html").read_text()
    assert len(list((folder / "there/runs").glob("*/tiny.json"))) == 2


@pytest.mark.slow
def test_dry_run_with_the_slurm_profile(folder):
    write(folder, GRID)
    status, printed = sweep(folder, "sweep.yaml", "--out", "there", "--profile", "slurm", "--dry-run")
    assert status == 0, printed
    assert "mem_mb=8000" in printed and printed.count("rule run:") == 8
    assert not (folder / "tally").exists()


def test_table_has_a_row_for_each_number_of_each_finished_job(folder):
    found = plan.read(write(folder, GRID))
    first, second = list(found.jobs)[:2]
    number = {"value": 2.0, "se": None, "unit": "m", "n": 3}
    record = {"schema": 1, "notebook": "tiny", "parameters": {}, "numbers": {"a": number, "b": number}, "figures": []}
    record["provenance"] = {"commit": "abc", "seconds": 2.5}
    for job in (first, second):
        (folder / "runs" / job).mkdir(parents=True)
        (folder / "runs" / job / "tiny.json").write_text(json.dumps(record))
    rows = table.gather(folder, found.notebook, found.jobs, found.varied)
    assert list(rows["job"]) == [first, first, second, second] and list(rows["seed"]) == [0, 0, 1, 1]
    assert set(rows["height"]) == {1} and list(rows["n"]) == [3] * 4
    assert set(table.missing(folder, "tiny", found.jobs)) == set(found.jobs) - {first, second}


def test_the_table_is_written_in_two_forms_that_agree(tmp_path):
    """Types and gaps are those of the table; a job that reads as a number is none, and inf stays."""
    snakemake()
    made = pd.DataFrame(
        {"job": ["12", "1e5"], "flag": [True, False], "on": ["a", "[1]"], "n": pd.array([3, None], "Int64")}
    )
    made["value"], made["se"] = [0.1, np.inf], [np.nan, 2.0]
    (tmp_path / "table.parquet").write_text("of an earlier run")
    assert table.write(made, tmp_path) == tmp_path / "table.parquet"
    found = read_parquet(tmp_path / "table.parquet")
    assert found["job"].tolist() == ["12", "1e5"] and found["flag"].tolist() == [True, False]
    assert found["n"][0] == 3 and pd.isna(found["n"][1]) and pd.isna(found["se"][0])
    assert found["value"].tolist() == [0.1, np.inf] and found["on"].tolist() == ["a", "[1]"]
    np.testing.assert_allclose(pd.read_csv(tmp_path / "table.csv")["value"], found["value"])


def test_without_pyarrow_the_table_is_csv_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_interpreters", list)
    (tmp_path / "table.parquet").write_text("of an earlier run")
    assert table.write(pd.DataFrame({"a": [1.0]}), tmp_path) == tmp_path / "table.csv"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
