"""The command `aps`: checks before a kernel starts, exit codes, one line for an error, and what it writes."""

import argparse
import dataclasses
import importlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from unittest.mock import create_autospec

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import aps_core
from aps_book import notebooks, parameter_files, running
from aps_book import record as record_module
from aps_book.cli import common, comparing, runs, sampling, starting, tracing, verifying
from aps_book.cli.app import app
from aps_book.experiments import commands
from aps_book.record import provenance
from aps_book.record.run import SCHEMA
from aps_book.sweeps import engine
from aps_core import train, weights
from aps_core.data.temperature import from_kelvin
from aps_core.training.recorded import save_measurements

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = (
    "list",
    "run",
    "sweep",
    "full",
    "verify",
    "compare",
    "show",
    "recipe",
    "train",
    "sample",
    "data list",
    "data fetch",
)
TINY = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
height = 1.0  # of the line
kind = "falling"

# %%
from matplotlib.figure import Figure

from aps_book import record

run = record.start("tiny", globals(), {"height": record.between(0, 10), "kind": record.one_of("falling", "rising")})
run.number("line.height", 1 / height)
fig = Figure(figsize=(2, 1))
fig.subplots().plot([0, 1], [height, 0])
run.figure(fig, "line", alt="A falling line", caption="A line of slope $-1$.")
run.say("One over its height is {line.height:.2f}.")
run.finish()
"""


CELL_WITHOUT_METADATA = json.dumps(
    {
        "cells": [{"cell_type": "code", "metadata": None, "source": "x"}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)


def aps(*arguments):
    """(exit code, standard output, standard error)."""
    done = CliRunner().invoke(app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def no_kernel(monkeypatch):
    def started(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(running, "execute", started)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    (tmp_path / "tiny.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_an_example(command):
    code, printed, _ = aps(*command.split(), "--help")
    assert code == 0 and re.search(r"Examples: • aps " + command.split()[0], " ".join(printed.split()))


def test_help_imports_nothing_that_takes_seconds():
    code = "import sys; import aps_book.cli.app; print({'jax', 'numpy', 'aps_core', 'pandas', 'papermill'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_command_of_the_app_is_tested_here():
    names = {command.name for command in app.registered_commands}
    assert names | {"data list", "data fetch"} == set(COMMANDS)


# list and data


@pytest.mark.parametrize(
    ("kind", "names"),
    [("notebooks", notebooks.names()), ("tasks", aps_core.list_tasks()), ("samplers", aps_core.list_samplers())],
)
def test_lists_name_all(kind, names):
    code, printed, _ = aps("list", kind, "--json")
    assert code == 0 and [row["name"] for row in json.loads(printed)] == names


@pytest.mark.parametrize(("kind", "folder"), [("recipes", "recipes/*.toml"), ("weights", "weights/*.safetensors")])
def test_lists_name_every_file(kind, folder):
    code, printed, _ = aps("list", kind)
    assert code == 0 and {p.stem for p in ROOT.glob(folder)} <= {line.split()[0] for line in printed.splitlines()}


def test_weights_whose_card_was_edited_hide_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("APS_WEIGHTS_DIR", str(tmp_path))
    weights.save(tmp_path / "mine.safetensors", {"a": np.zeros(2)}, {"task": "t", "recipe": {"start": "others"}})
    code, printed, _ = aps("list", "weights")
    assert code == 0 and re.search("mine +the card does not say what trained it", printed) and "toy2d-exact" in printed


def test_a_notebook_is_listed_with_its_parameters():
    code, printed, _ = aps("list", "notebooks", "protocol")
    assert code == 0 and re.search(r"n_samples +128 +posterior samples of each measurement", printed)


def test_data_sets_are_listed():
    code, printed, _ = aps("data", "list", "--json")
    assert code == 0 and {"mnist", "ncep-temperature"} <= {one["name"] for one in json.loads(printed)}


# errors: exit code 2 and one line that names the argument, the value and what was expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run toy2d -p n_sample 5", "unknown parameter 'n_sample' = 5: expected one of .*did you mean 'n_samples'"),
        ("run toy2d -p n_samples 5", "n_samples = 5: expected an integer at least 100"),
        ("run toy2d -p low wide", "low = 'wide': expected a number in (0, 1)"),
        ("run faces -p seed -1", "seed = -1: expected a seed"),
        ("run toy2d -p low", "-p low: expected a name and a value"),
        ("run toy2d -p low 0.1 -p low 0.2", "-p low: given twice"),
        ("run toy2d --check -p open 3", "unknown parameter 'open' = 3: expected one of"),
        ("run toy2d --check -p __name__ 3", "unknown parameter '__name__' = 3: expected one of"),
        ("run toy2d -p low 1" + "0" * 400, "expected a number in (0, 1)"),
        ("run toy2d -p seed {[1]:2}", "seed = '{[1]:2}': expected a seed"),
        ("run toy2d --out /dev/null/a", "--out /dev/null/a: /dev/null is a file, expected a folder"),
        ("verify toy2d --out /dev/null", "--out /dev/null: expected a folder, there is a file of that name"),
        ("verify toy2d --rtol nan", "--rtol nan: expected a finite number of at least 0"),
        ("compare old new --rtol inf", "--rtol inf: expected a finite number"),
        ("run toy3d", "notebook 'toy3d': expected one of .*did you mean 'toy2d'"),
        ("run there.py", "notebook 'there.py': there is no such file"),
        ("run toy2d --parameters there.json", "parameters 'there.json': there is no such file"),
        ("full toy3d", "notebook 'toy3d': expected"),
        ("verify toy3d", "notebook 'toy3d': expected"),
        ("verify fig-toy-mode", "figure 'fig-toy-mode': expected the label of a figure .*near it are fig-toy-modes"),
        ("show test.nothing_psnr", "key 'test.nothing_psnr': expected one that stands in any record; near it are"),
        ("show paper/feng.table1.dopri5.nfe.x", "'paper/feng.table1.dopri5.nfe.x': expected a key of"),
        ("show paper/nothing", "key 'paper/nothing': expected a key of aps_book/record/paper_values.toml"),
        ("train there.toml", "no recipe there.toml"),
        ("data fetch nothing", "data set 'nothing': expected one of cifar10, inception, lpips, mnist"),
        ("sample nothing --measurement a.npz --out b.npz", "task 'nothing': expected one of"),
        ("sample sphere-impute --measurement a.npz --out b.npz", "--measurement a.npz: there is no such file"),
        (
            "sample faces-denoise --measurement a.npz --out b.nc",
            "--out b.nc: expected a name that ends in .npz or .png",
        ),
        ("sample faces-denoise --measurement a.npz --out b.npz -p sigma_y x", "-p sigma_y x: expected a number"),
        (
            "sample faces-denoise --measurement a.npz --out /dev/null/b.npz",
            "--out /dev/null/b.npz: /dev/null is a file",
        ),
        ("sweep there.yaml", "sweep 'there.yaml': there is no such file"),
        ("list tasks nothing", "tasks 'nothing': expected one of bunny-inpaint"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, said, no_kernel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, printed = aps(*arguments.split())
    assert code == 2 and len(printed.splitlines()) == 1
    assert re.search(re.escape(said).replace(r"\.\*", ".*"), printed), printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ipynb", "{}", "cannot be read"),
        ("a.ipynb", "[1]", "cannot be read"),
        ("a.ipynb", CELL_WITHOUT_METADATA, "cannot be read"),
        ("a.ipynb", "", "cannot be read"),
        ("a.py", "height = (", "'(' was never closed"),
        ("a.py", "height = 1", "no cell tagged parameters"),
    ],
)
def test_files_that_are_no_notebooks(tmp_path, monkeypatch, no_kernel, name, content, said):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content)
    code, _, printed = aps("run", name, "--check")
    assert code == 2 and f"notebook '{name}' cannot be read" in printed and said in printed


def test_rules_that_fail_are_told_with_the_notebook(tiny, no_kernel):
    (tiny / "tiny.py").write_text(TINY.replace("record.between(0, 10)", "record.betwen(0, 10)"))
    code, _, printed = aps("run", "tiny.py", "--check")
    assert code == 2 and re.match("aps: notebook 'tiny.py': its rules for parameters .* 'betwen'\n$", printed)


def test_results_go_to_a_folder(tiny, no_kernel):
    (tiny / "there").write_text("a file")
    code, _, printed = aps("run", "tiny.py", "--out", "there")
    assert code == 2 and "expected a folder, there is a file of that name" in printed


@pytest.mark.parametrize(
    ("sigma_y", "said"),
    [
        ("abc", "sigma_y = 'abc'"),
        ("0.1", "sigma_y = '0.1', the task"),
        (1j, "1j"),
        (0.0, "sigma_y must be"),
        (np.nan, "sigma_y"),
    ],
)
def test_noise_in_a_file_that_is_none_names_the_file(tmp_path, sigma_y, said):
    np.savez(tmp_path / "a.npz", y=np.full((1, 32, 32, 3), 0.5), sigma_y=sigma_y)
    code, _, printed = aps("sample", "faces-denoise", "--measurement", str(tmp_path / "a.npz"), "--out", "b.npz")
    assert code == 2 and "a.npz" in printed and said in printed


def test_files_of_samples_that_cannot_be_or_hold_the_data_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", y=np.full((32, 32, 3), 0.5), sigma_y=0.1)
    Path("b.npz").mkdir()
    for arguments, said in [
        ("--measurement a.npz --out b.npz", "--out b.npz: it is a folder"),
        ("--measurement a.npz --out ./a.npz", "--out a.npz: it is the file of the measurement"),
        ("--measurement b.npz --out c.npz", "--measurement b.npz: expected a file"),
    ]:
        code, _, printed = aps("sample", "faces-denoise", *arguments.split())
        assert code == 2 and said in printed
    Path("a.npz").rename("A.NPZ")  # as some systems write it
    task, measurement, _ = sampling.read(Path("A.NPZ"), "faces-denoise", {}, None)
    sampling.check_form(Path("B.NPZ"), task, measurement)
    drawn = sampling.Drawn(np.zeros((2, 32, 32, 3)), np.zeros(2), {})
    with np.load(sampling.write(Path("B.NPZ"), drawn, measurement, "")) as written:
        assert written["samples"].shape == (2, 32, 32, 3)


def test_parameters_that_a_task_has_not_are_named_with_those_it_has():
    with pytest.raises(
        TypeError, match=r"'faces-denoise' has no parameter 'sigma', got 1; expected some of \['sigma_y'\]"
    ):
        aps_core.load_task("faces-denoise", sigma=1)
    with pytest.raises(TypeError, match="'faces-denoise' has no parameter 'name', got 1.0"):
        aps_core.load_task("faces-denoise", **sampling.settings("faces-denoise", {"name": "1"}))


@pytest.mark.parametrize(
    "arguments", [["list", "tasks"], pytest.param(["data", "list", "--json"], marks=pytest.mark.slow)]
)
def test_a_reader_that_has_read_enough_is_no_error(arguments):
    source, sink = os.pipe()
    os.close(source)
    command = [sys.executable, "-m", "aps_book.cli.app", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=sink, stderr=subprocess.PIPE, text=True, check=False)
    os.close(sink)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "error", [RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), MemoryError("9")]
)
def test_too_little_memory_is_one_line(error, monkeypatch, capsys):
    def fails():
        raise error

    monkeypatch.delenv("APS_TRACEBACK", raising=False)
    with pytest.raises(typer.Exit):
        common.reported(fails)()
    assert re.match("aps: not enough memory: .*9.*smaller batch", capsys.readouterr().err)


def test_a_platform_that_is_not_there_is_named(monkeypatch, capsys):
    def fails():
        raise RuntimeError("Unable to initialize backend 'tape'")

    monkeypatch.setenv("JAX_PLATFORMS", "tape")
    monkeypatch.delenv("APS_TRACEBACK", raising=False)
    with pytest.raises(RuntimeError):
        common.reported(fails)()  # JAX started long before: it is an error of another kind
    monkeypatch.setattr("jax.devices", fails)
    with pytest.raises(typer.Exit):
        common.reported(fails)()
    assert re.match("aps: JAX does not start with JAX_PLATFORMS=tape: .*expected cpu", capsys.readouterr().err)


def test_a_time_of_a_thousand_and_more_is_chosen_with_a_sign(tmp_path):
    xr = pytest.importorskip("xarray")
    hours = np.datetime64("2020-01-01", "h") + np.arange(1600)
    kelvin = np.broadcast_to(250 + np.arange(1600)[:, None, None] / 32, (1600, 46, 90)).astype("f4")
    axes = {"time": hours.astype("M8[ns]"), "lat": np.linspace(90, -90, 46), "lon": np.arange(0, 360, 4.0)}
    array = xr.DataArray(kelvin, axes, ("time", "lat", "lon"), attrs={"units": "K"})
    xr.Dataset({"t": array}).to_netcdf(tmp_path / "a.nc", engine="scipy")
    _, measurement, when = sampling.read(tmp_path / "a.nc", "sphere-impute", {"sigma_y": 0.1}, "+1500")
    assert when == "2020-03-03T12:00:00"
    np.testing.assert_allclose(np.asarray(measurement.y), from_kelvin(250 + 1500 / 32), atol=1e-6)
    with pytest.raises(ValueError, match=r"a\.nc: time is '1900'.*as an index it is --time \+1900"):
        sampling.read(tmp_path / "a.nc", "sphere-impute", {"sigma_y": 0.1}, "1900")


def test_pairs_of_p_are_joined():
    given = ["toy2d", "-p", "low", "-1", "--parameter", "a=b", "--json", "-p", "x", "y=z"]
    assert common.joined(given) == ["toy2d", "-p", "low=-1", "--parameter", "a=b", "--json", "-p", "x=y=z"]


# notebooks


@pytest.mark.parametrize("name", notebooks.names())
def test_rules_of_every_notebook_are_read_before_it_runs(name):
    one, settings = notebooks.find(name), notebooks.settings(name)
    assert one.start is not None and set(one.checked(one.parameters)) == set(one.parameters)
    for kind in ("build", "full"):
        assert set(one.checked(settings[kind])) == set(settings[kind])
    with pytest.raises(ValueError, match="unknown parameter 'nothing'"):
        one.checked({"nothing": 1})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("low", "1e-3", 1e-3),
        ("closed", "None", None),
        ("closed", "2020", "2020"),
        ("steps", "none", None),
        ("steps", "[1, 2]", [1, 2]),
        ("steps", "0.3,0.6", [0.3, 0.6]),
        ("steps", "true", True),
        ("steps", "2020-07", "2020-07"),
    ],
)
def test_values_on_the_command_line(name, text, value):
    found = notebooks.find("toy2d").parsed(name, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["{[1]: 2}", "-" * 10_000 + "1", "(" * 10_000], ids=["table", "signs", "brackets"])
def test_what_python_cannot_read_is_a_text(text):
    assert notebooks.find("toy2d").parsed("steps", text) == text


@pytest.mark.parametrize("value", [0.1, 3, True, None, [1, 2], ["a", "b"], "x y"])
def test_the_command_of_a_run_gives_its_parameters_again(value):
    one = notebooks.find("toy2d")
    words = shlex.split(runs.command(one, {"steps": value}))
    assert words[:3] == ["aps", "run", "toy2d"]
    ((name, text),) = common.pairs(common.joined(words[3:])[1:]).items()
    assert one.parsed(name, text) == value


def test_identity_knows_parameters_by_value():
    assert notebooks.identity({"a": 1, "b": 2.0}) == notebooks.identity({"b": 2.0, "a": 1})
    assert notebooks.identity({"a": 1}) != notebooks.identity({"a": 2})


def test_parameters_of_a_file_stand_behind_those_by_name(tiny):
    (tiny / "some.yaml").write_text("height: 2\nkind: rising\n")
    found = runs.parameters(notebooks.find("tiny.py"), ["height=3"], tiny / "some.yaml", build=False)
    assert found == {"height": 3.0, "kind": "rising"}


@pytest.mark.slow
def test_run_leaves_notebook_record_figure_and_page(tiny):
    code, printed, errors = aps("run", "tiny.py", "-p", "height", "2", "--out", "there", "--json")
    assert code == 0, errors
    made = json.loads(printed)
    assert made["parameters"] == {"height": 2.0, "kind": "falling"}
    assert json.loads(Path(made["record"]).read_text())["numbers"]["line.height"]["value"] == 0.5
    page = Path(made["page"]).read_text()
    assert "One over its height is 0.50." in page and 'alt="A falling line"' in page and str(tiny) not in page
    assert json.loads(Path(made["record"]).read_text())["provenance"]["command"] == "aps run tiny.py -p height 2.0"
    assert {"tiny.ipynb", "tiny.json", "tiny-line.svg", "command.txt", "html"} == {
        p.name for p in Path("there").iterdir() if not p.name.startswith(".")
    }
    assert Path("there/command.txt").read_text() == f"aps run {tiny.resolve()}/tiny.py -p height 2.0\n"


@pytest.mark.slow
def test_a_notebook_that_fails_is_exit_code_1_and_stays(tiny):
    code, _, printed = aps("run", "tiny.py", "-p", "height", "0", "--no-page")
    assert code == 1 and "division by zero" in printed
    assert len(list(tiny.glob("results/tiny-*/running/tiny.ipynb"))) == 1
    assert not list(tiny.glob("results/tiny-*/tiny.json"))


# show


def test_show_says_where_a_number_comes_from():
    code, printed, _ = aps("show", "sphere_impute:test.aps_n1.psnr", "--json")
    (one,) = [found for found in json.loads(printed) if found["of"] == "full run"]
    record = json.loads((ROOT / "weights/results/sphere_impute.json").read_text())
    assert code == 0 and one["value"] == record["numbers"]["test.aps_n1.psnr"]["value"]
    assert one["record"] == "weights/results/sphere_impute.json" and one["commit"] == record["provenance"]["commit"]
    assert one["notebook"] == "notebooks/sphere_impute.py" and one["command"] == "aps full sphere_impute"
    assert "aps_book/experiments/sphere_impute.py" in one["code"] and "aps_core/posterior.py" in one["code"]


def test_show_of_an_added_number_names_the_program_that_made_it():
    record = json.loads((ROOT / "weights/results/faces.added-reverse.json").read_text())
    key = next(key for key in record["numbers"] if key.startswith("flow.denoise_reverse"))
    code, printed, _ = aps("show", f"faces:{key}", "--json")
    (one,) = [found for found in json.loads(printed) if found["of"] == "added run"]
    assert code == 0 and one["record"] == "weights/results/faces.added-reverse.json"
    assert one["command"].startswith("python -m aps_book.experiments.faces_reverse")
    assert one["program"] == "aps_book/experiments/faces_reverse.py" and one["program"] in one["code"]
    assert one["notebook"] == "notebooks/faces.py" and one["commit"] == record["provenance"]["commit"]
    _, printed, _ = aps("show", f"faces:{key}")
    assert re.search(r"^again +python -m aps_book.experiments.faces_reverse", printed, re.MULTILINE)


def test_show_of_a_search_says_what_made_it():
    code, printed, _ = aps("show", "faces.search")
    assert code == 0 and re.search(r"^again +python -m aps_book.experiments.faces_rivals$", printed, re.MULTILINE)


def test_show_says_what_a_full_run_would_do_otherwise_today():
    found = tracing.differing({"n": 8, "gone": 1, "same": [1, 2]}, {"n": 4, "new": None, "same": [1, 2]})
    assert found == {
        "n": "4 (was 8)", "gone": "no parameter (was 1)", "new": "None (was no parameter)",
    }  # fmt: skip


RECORDS = sorted((ROOT / "weights/results").glob("*.json"))


class Understood(Exception):
    """A parser has read a command line, and nothing else has happened."""


@pytest.fixture
def only_read(monkeypatch):
    read = argparse.ArgumentParser.parse_args

    def stop(self, arguments=None, namespace=None):
        read(self, arguments, namespace)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)


def module_of(words):
    """The module that ``python -m NAME`` or ``python FILE`` runs, imported and not run."""
    if words[1] == "-m":
        return importlib.import_module(words[2]), words[3:]
    spec = importlib.util.spec_from_file_location(f"program_{Path(words[1]).stem}", ROOT / words[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, words[2:]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name.removesuffix(".json"))
def test_every_record_has_a_command_that_exists(path, only_read):
    """Its notebook or module is there, and takes the parameters or options."""
    command, _ = tracing.again("full run", path, json.loads(path.read_text("utf-8")))
    if path.name.removesuffix(".json") in commands.BY_HAND:
        assert tracing.program(command) is None
        return
    assert tracing.program(command).is_file()
    for line in command.split(" && "):
        words = shlex.split(line)
        if words[:2] == ["aps", "full"]:
            assert notebooks.of_the_book(words[2]).checked(notebooks.settings(words[2])["full"]) is not None
        elif words[:2] == ["aps", "run"]:
            one = notebooks.of_the_book(words[2])
            one.checked({k: one.parsed(k, v) for k, v in common.pairs(common.joined(words[3:])[1::2]).items()})
        elif hasattr(module := module_of(words)[0], "main"):
            with pytest.raises(Understood):
                module.main(module_of(words)[1])
        else:  # a search, which takes no options
            assert not module_of(words)[1] and '__name__ == "__main__"' in Path(module.__file__).read_text()


def test_the_table_of_commands_names_what_needs_it_alone():
    names = {path.name.removesuffix(".json"): path for path in RECORDS}
    assert {*commands.COMMANDS, *commands.BY_HAND} <= set(names)
    for name in commands.COMMANDS:
        said = json.loads(names[name].read_text("utf-8")).get("provenance", {}).get("command")
        assert said is None, f"{name} keeps its command itself: its line in commands.py can go"


@pytest.mark.parametrize(
    ("module", "file", "arguments", "command"),
    [
        ("aps_book.experiments.family", "family.py", ["--steps", "6"], "python -m aps_book.experiments.family --steps 6"),
        ("aps_core.data.__main__", "__main__.py", [], "python -m aps_core.data"),
        (None, ROOT / "benchmarks/bench.py", ["--record", str(ROOT / "weights/a.json")],
         "python benchmarks/bench.py --record weights/a.json"),
        (None, ROOT / "benchmarks/bench.py", ["--out=/elsewhere/a b"], "python benchmarks/bench.py '--out=a b'"),
        ("pytest.__main__", "__main__.py", ["tests"], None),
        (None, Path("/elsewhere/mine.py"), [], None),
        (None, ROOT / ".venv/bin/aps", ["run"], None),
    ],
)  # fmt: skip
def test_a_record_keeps_the_command_of_its_program(module, file, arguments, command, monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__, main.__spec__ = str(file), module and importlib.machinery.ModuleSpec(module, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    monkeypatch.delenv("APS_COMMAND", raising=False)
    assert provenance.command() == command
    monkeypatch.setenv("APS_COMMAND", "aps full toy2d")
    assert provenance.command() == "aps full toy2d"


def test_show_gives_a_number_of_the_paper():
    code, printed, _ = aps("show", "paper/aps.table2.celeba_denoise.dps.seconds")
    assert code == 0 and "aps_book/record/paper_values.toml" in printed


# verify


def number(value, se=None, unit=None):
    return {"value": value, "se": se, "unit": unit}


def record_of(**numbers):
    return {"notebook": "tiny", "numbers": {key.replace("__", "."): value for key, value in numbers.items()}}


def test_verify_tells_what_differs_from_what_moved():
    before = record_of(
        a=number(1.0), b=number(1.0, 0.1), c=number(1.0), d=number(1.0), time__b=number(1.0), e=number(1.0)
    )
    now = record_of(
        a=number(1.0001), b=number(1.2, 0.1), c=number(1.1), d=number(1.1), time__b=number(9.0), f=number(1.0)
    )
    rules = {"c": {"value": 1.0, "within": 0.2}}
    found = verifying.compare(now, before, rules, rtol=1e-3)
    assert (found["same"], found["times"]) == (1, 1)
    assert [one["key"] for one in found["within"]] == ["b", "c"]
    assert [one["key"] for one in found["differs"]] == ["d", "f", "e"]


def test_verify_without_a_built_record_uses_the_tolerances():
    rules = {"a": {"min": 0.5}, "b": {"max": 1.0}, "c": {"min": 0.0}}
    found = verifying.compare(record_of(a=number(1.0), b=number(2.0), x=number(0.0)), None, rules, rtol=1e-3)
    assert found["same"] == 1 and [one["key"] for one in found["differs"]] == ["b", "c"]


@pytest.mark.parametrize(("value", "code"), [(2.0, 0), (2.5, 1)])
def test_verify_ends_with_1_where_a_number_differs(value, code, monkeypatch):
    as_built = []
    made = lambda *_, build: as_built.append(build) or record_of(a=number(value))  # noqa: E731
    monkeypatch.setattr(verifying, "execute", made)
    monkeypatch.setattr(verifying, "_record", lambda _: record_of(a=number(2.0)))
    monkeypatch.setattr(verifying.tomllib, "loads", lambda _: {})
    monkeypatch.setattr(notebooks, "settings", lambda *_: {"build": {}, "full": {}})
    found, printed, _ = aps("verify", "toy2d")
    assert found == code and f"{1 - code} numbers are the same" in printed
    aps("verify", "toy2d", "--full")
    assert as_built == [True, False], "a full run is compiled with all optimizations"


# compare


def build(folder, **notebooks_of):
    folder.mkdir()
    for name, (parameters, numbers) in notebooks_of.items():
        provenance = {"commit": None, "modified": False}
        made = {"schema": SCHEMA, "notebook": name, "parameters": parameters, "numbers": numbers}
        (folder / f"{name}.json").write_text(json.dumps({**made, "figures": [], "provenance": provenance}))
    return folder


def value_of(value, se=None, unit=None):
    return {"value": value, "se": se, "unit": unit, "n": None}


def test_two_builds_are_compared_number_by_number(tmp_path):
    before = build(
        tmp_path / "old",
        one=({"n": 2}, {"a": value_of(1.0), "b": value_of(1.0, 0.1), "c": value_of(1.0), "t": value_of(1.0, unit="s")}),
        other=({"n": 2}, {"a": value_of(1.0)}),
        gone=({}, {}),
    )
    now = build(
        tmp_path / "new",
        one=({"n": 2}, {"a": value_of(1.0), "b": value_of(1.2, 0.1), "c": value_of(1.1), "t": value_of(9.0, unit="s")}),
        other=({"n": 3}, {"a": value_of(2.0)}),
        more=({}, {}),
    )
    (before / "one.search.json").write_text(json.dumps({"one": {}}))  # no record
    added = {**json.loads((before / "one.json").read_text()), "numbers": {"a": value_of(5.0)}}
    (before / "one.added-more.json").write_text(json.dumps(added))
    code, printed, _ = aps("compare", str(before), str(now), "--json")
    found = json.loads(printed)
    assert code == 1 and (found["notebooks"], found["same"], found["times"]) == (1, 1, 1)
    assert [(one["notebook"], one["key"]) for one in found["within"]] == [("one", "b")]
    assert [(one["notebook"], one["key"], one["was"]) for one in found["differs"]] == [("one", "c", 1.0)]
    assert (found["only_old"], found["only_new"]) == (["gone", "one.added-more"], ["more"])
    assert found["parameters"] == {"other": {"n": [2, 3]}}, "of other signals numbers cannot be the same"
    code, printed, _ = aps("compare", str(before), str(now))
    assert "differs  one:c: 1.1, was 1" in printed and "other ran with other parameters (n = 3, was 2)" in printed
    assert aps("compare", str(before), str(before))[0] == 0
    assert aps("compare", str(before / "one.json"), str(now / "one.json"), "--rtol", "0.3")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nowhere", "new", "old = '.*nowhere': expected a record, or a folder of records"),
        ("old", "empty", "new = '.*empty': expected a folder of records .*; there is none in it"),
        ("old", "other", r"no notebook in common: \['one'\] and \['two'\]"),
        ("broken/one.json", "new", "one.json: not JSON"),
    ],
)
def test_what_cannot_be_compared_is_named(old, new, said, tmp_path):
    for folder, name in (("old", "one"), ("new", "one"), ("other", "two"), ("broken", "one")):
        build(tmp_path / folder, **{name: ({}, {"a": value_of(1.0)})})
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken/one.json").write_text("{")
    code, _, errors = aps("compare", str(tmp_path / old), str(tmp_path / new))
    assert code == 2 and re.search(said, re.sub(r"\s+", " ", errors))


def test_figures_lead_to_the_notebooks_that_draw_them():
    _, printed, _ = aps("list", "figures", "--json")
    found = {row["name"]: row["notebook"] for row in json.loads(printed)}
    assert found["fig-toy-modes"] == "toy2d" and found["fig-flow-prior-kinds"] == "discrete_flow"
    assert len(found) > 50 and notebooks.of_figure("fig-toy-modes").name == "toy2d"
    shown = [p.read_text() for p in (ROOT / "book").glob("*.md")] + [p.read_text() for p in ROOT.glob("notebooks/*.py")]
    named = set(re.findall(r"\{numref\}`(fig-[a-z0-9-]+)`", "".join(shown)))
    assert named <= set(found) | {"fig-front"}, "of the book's own figures"


def test_labels_are_those_that_a_run_gives(tmp_path):
    cells = 'run.figure(fig, "a_b", alt="x", caption="y")\nrun.chart(draw, "c", {}, "x", "y", label="fig-other")\nrun.figure(fig, "d")'
    text = TINY.partition("# %%\nfrom matplotlib")[0] + f"# %%\n{cells}\n"
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/my_tiny.py").write_text(text)
    run = record_module.Run("my_tiny", {}, tmp_path)
    assert list(notebooks.figures(tmp_path)) == [run._label("a_b", None), "fig-other"]


def test_verify_of_a_figure_is_that_of_its_notebook(monkeypatch):
    ran = []
    monkeypatch.setattr(verifying, "execute", lambda one, *_, **__: ran.append(one.name) or record_of(a=number(2.0)))
    monkeypatch.setattr(verifying, "_record", lambda _: {**record_of(a=number(2.0)), "of_full_run": ["fig-toy-modes"]})
    monkeypatch.setattr(verifying.tomllib, "loads", lambda _: {})
    monkeypatch.setattr(notebooks, "settings", lambda *_: {"build": {}, "full": {}})
    code, printed, _ = aps("verify", "fig-toy-modes")
    assert code == 0 and ran == ["toy2d"] and "toy2d, which draws fig-toy-modes, against book/results" in printed
    assert "`aps verify fig-toy-modes --full` compares with that" in printed
    code, printed, _ = aps("verify", "fig-toy-modes", "--json", "--full")
    assert code == 0 and (json.loads(printed)["notebook"], json.loads(printed)["figure"]) == ("toy2d", "fig-toy-modes")


@pytest.mark.long
def test_verify_runs_the_notebook_of_a_figure_and_finds_its_numbers(tmp_path):
    """A tutorial, the cheapest of the notebooks; against its tolerances where nothing was built."""
    code, printed, errors = aps("verify", "fig-own-prior", "--json", "--out", str(tmp_path))
    assert code == 0, printed + errors
    made = json.loads(printed)
    assert (made["notebook"], made["figure"]) == ("own_prior", "fig-own-prior") and not made["differs"]
    now = json.loads((tmp_path / "own_prior.json").read_text())
    assert made["same"] and now["provenance"]["command"].startswith("aps run own_prior")


# train and sample


@pytest.mark.slow
def test_train_trains_and_goes_on(tmp_path):
    recipe = tmp_path / "short.toml"
    text = (ROOT / "recipes/toy2d-closed.toml").read_text()
    recipe.write_text(re.sub(r"steps = \d+(?=\nlearning)", "steps = 60", text).replace("toy2d-closed", "short"))
    folders = ["--checkpoints", str(tmp_path / "c"), "--out", str(tmp_path / "w")]
    code, printed, errors = aps("train", str(recipe), *folders, "--budget", "0", "--write")
    assert code == 0, errors
    assert "run the same command to go on" in printed and (tmp_path / "w/short.safetensors").is_file()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A file with the measurement of one month."""
    path = tmp_path_factory.mktemp("measured") / "y.npz"
    task = aps_core.load_task("sphere-impute", sigma_y=0.1)
    one = task.measure(jax.random.key(0), task.signals("test")[0])
    save_measurements(path, one, 0.1)
    return path


@pytest.mark.slow
def test_samples_are_those_of_the_posterior_at_the_noise_of_the_file(measured, tmp_path):
    out = tmp_path / "posterior.npz"
    code, _, errors = aps(
        "sample", "sphere-impute", "--measurement", str(measured), "--n", "4", "--out", str(out), "--seed", "3"
    )
    assert code == 0, errors
    task = aps_core.load_task("sphere-impute", sigma_y=0.1)
    with np.load(measured) as arrays, np.load(out) as found:
        one = aps_core.Measurement(arrays["y"], arrays["mask"])
        expected, log_prob = aps_core.load_posterior(task).sample_and_log_prob(jax.random.key(3), one, 4)
        np.testing.assert_array_equal(found["samples"], expected)
        np.testing.assert_array_equal(found["log_prob"], log_prob)
        np.testing.assert_allclose(found["mean"], expected.mean(0), atol=1e-6)
        assert found["sigma_y"] == pytest.approx(0.1) and str(found["weights"]) == "sphere-impute-any"


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".nc", b"CDF")])
def test_samples_are_written_as_picture_and_netcdf(measured, tmp_path, suffix, begins):
    out = tmp_path / f"posterior{suffix}"
    code, _, errors = aps("sample", "sphere-impute", "--measurement", str(measured), "--n", "2", "--out", str(out))
    assert code == 0, errors
    assert out.read_bytes().startswith(begins)


@pytest.mark.slow
def test_a_batch_has_the_samples_of_one_call(capsys):
    task = aps_core.load_task("mixture2")
    posterior = aps_core.untrained_posterior(task, {"kind": "gaussian-base", "k": 2})
    measurements = task.measure(jax.random.key(0), task.signals("test")[:3])
    with pytest.MonkeyPatch.context() as patched:
        named = dataclasses.replace(posterior, card={**posterior.card, "name": "some", "sha256": ""})
        patched.setattr(aps_core, "load_posterior", lambda *_: named)
        drawn = sampling.draw(task, measurements, 5, 2, "held-out", None)
    expected = posterior.sample_and_log_prob(jax.random.key(2), measurements, 5)
    np.testing.assert_allclose(drawn.samples, expected[0], atol=1e-5)
    np.testing.assert_allclose(drawn.log_prob, expected[1], atol=1e-4)
    assert "drawing 5 samples of 3 measurements with some" in capsys.readouterr().err


def test_weights_without_a_recipe_have_the_name_that_they_were_asked_by(monkeypatch):
    task = aps_core.load_task("mixture2")
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    saved = types.SimpleNamespace(card={"sha256": "a"}, trained_by="nothing")
    saved.sample_and_log_prob = lambda key, measurement, n: (np.zeros((n, 2)), np.zeros(n))
    monkeypatch.setattr(aps_core, "load_posterior", lambda *_: saved)
    about = sampling.draw(task, measurement, 3, 0, "held-out", "own.safetensors").about
    assert (about["weights"], about["weights_sha256"], about["trained_by"]) == ("own.safetensors", "a", "nothing")


def test_a_card_that_does_not_say_its_start_is_refused_before_anything_is_drawn(monkeypatch):
    task = aps_core.load_task("mixture2")
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    posterior = aps_core.gaussian_posterior(task)
    saved = dataclasses.replace(posterior, card={"sha256": "a", "recipe": {"start": "others"}})
    monkeypatch.setattr(aps_core, "load_posterior", lambda *_: saved)
    with pytest.raises(aps_core.WeightsError, match="the card of weights 'own' does not say what trained them"):
        sampling.draw(task, measurement, 3, 0, "held-out", "own")


def test_what_has_not_the_form_of_the_file_is_refused_before_anything_is_drawn():
    task = aps_core.load_task("sphere-impute")
    two = aps_core.Measurement(np.zeros((2, 46, 90)), np.ones((2, 46, 90)))
    sampling.check_form(Path("a.npz"), task, two)
    with pytest.raises(ValueError, match=r"expected .npz for a batch of 2"):
        sampling.check_form(Path("a.nc"), task, two)
    with pytest.raises(ValueError, match=r"signals of shape .2,. are no pictures"):
        sampling.check_form(Path("a.png"), aps_core.load_task("mixture2"), aps_core.Measurement(np.zeros(1)))


def test_two_numbers_are_a_parameter_too():
    assert sampling.settings("t", {"levels": "0.3,0.6", "noise_everywhere": "true", "sigma_y": "0.1"}) == {
        "levels": (0.3, 0.6), "noise_everywhere": True, "sigma_y": 0.1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"-p levels 0.3,x: expected a number, or two with a comma"):
        sampling.settings("t", {"levels": "0.3,x"})


# files of parameters, and folders of results


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.json", '{"fine": 1e-05, "list": [1e-3]}', {"fine": 1e-5, "list": [1e-3]}),
        ("a.yaml", "fine: 1e-5\nlist: [1E+2, -2.5e-3]\n", {"fine": 1e-5, "list": [100.0, -2.5e-3]}),
        ("a.json", '\ufeff{"n": 1}', {"n": 1}),
        ("a.yaml", "\ufeffn: 010\nat: 1:30\nhex: 0x10\nten: [1_0, +10, 10., .1e2]\nnone: [0, -0.5, .5]\n",
         {"n": "010", "at": "1:30", "hex": 16, "ten": [10, 10, 10.0, 10.0], "none": [0, -0.5, 0.5]}),
        ("a.yaml", "time: 2020-07-01\nname: 1e5x\n", {"time": "2020-07-01", "name": "1e5x"}),
        ("a.yaml", "here: {deep: {n: 3}}\nnothing: null\nyes_or_no: true\n",
         {"here": {"deep": {"n": 3}}, "nothing": None, "yes_or_no": True}),
    ],
)  # fmt: skip
def test_numbers_are_numbers_and_dates_are_text(tmp_path, name, text, found):
    (tmp_path / name).write_text(text, "utf-8")
    assert parameter_files.read(tmp_path / name) == found


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "n: 1\nn: 2\n", "'n' stands twice"),
        ("a.json", '{"n": 1, "n": 2}', "'n' stands twice"),
        ("a.yaml", "on: 1\n", "the name True is read as a bool: write it in quotes"),
        ("a.yaml", "n: .nan\n", "expected a finite number"),
        ("a.json", '{"n": [Infinity]}', "expected a finite number"),
        ("a.json", "n: 1", "it is not valid JSON"),
        ("a.yaml", "n: [", "it is not valid YAML"),
        ("a.yaml", "n: [.inf]\n", "expected a finite number"),
        ("a.json", "[" * 10**5, "it is nested too deeply"),
        ("a.yaml", "n: " + "[" * 2000, "it is nested too deeply"),
        ("a.yaml", "n: !!binary aGk=\n", "expected a number, a text, a list or a table"),
        ("a.yaml", "n: !!bool x\n", "it is not valid YAML: a value is none of what its tag says"),
        ("a.yaml", "n: !!timestamp x\n", "it is not valid YAML: a value is none of what its tag says"),
    ],
)
def test_tables_that_surprise_are_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        parameter_files.read(tmp_path / name)


def test_two_runs_in_one_folder_do_not_meet(tmp_path):
    second = running.alone(tmp_path / "there", "run")
    with running.alone(tmp_path / "there", "run"), pytest.raises(FileExistsError, match="another run is at work in"):
        second.__enter__()
    with running.alone(tmp_path / "there", "run"):  # the first has ended
        pass


def test_a_notebook_is_not_overwritten_by_what_it_ran(tiny, no_kernel):
    code, _, errors = aps("run", str(tiny / "tiny.py"), "--out", str(tiny), "--no-page")
    assert code == 2 and "expected another folder than that of the notebook" in errors


def test_publishing_leaves_what_is_not_its_own(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("tiny-notes.txt", "tiny-old.svg"):
        (tmp_path / "there" / name).write_text("mine")
    made = tmp_path / "made"
    for figures in (["tiny-old.svg"], []):  # the first run writes a figure, the second none
        made.mkdir()
        record = {
            "schema": 1,
            "notebook": "tiny",
            "parameters": {},
            "numbers": {},
            "figures": figures,
            "provenance": {},
        }
        (made / "tiny.json").write_text(json.dumps(record))
        (made / "tiny.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
        for name in figures:
            (made / name).write_text("drawn")
        running.publish(Path("tiny.py"), made, tmp_path / "there")
    left = {path.name for path in (tmp_path / "there").iterdir()}
    assert left == {"tiny-notes.txt", "tiny.json", "tiny.ipynb"}
    assert json.loads((tmp_path / "there/tiny.ipynb").read_text())["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize(("line", "value"), [("n: int = 3", 3), ("n = -2.5", -2.5)])
def test_parameters_with_types_are_read(tmp_path, line, value):
    (tmp_path / "one.py").write_text(f'# %% tags=["parameters"]\n{line}  # how many\n')
    one = notebooks.find(str(tmp_path / "one.py"))
    assert one.parameters == {"n": value} and one.comments == {"n": "how many"}
    (tmp_path / "one.py").write_text('# %% tags=["parameters"]\nn = 2 * 3\n')
    with pytest.raises(ValueError, match=r"parameter n = 2 \* 3: expected a number, text, list or None"):
        notebooks.find(str(tmp_path / "one.py"))


# the README


def commands_of_the_readme():
    """Every line of a shell block that calls aps."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("aps ")]


def test_the_readme_shows_every_command():
    assert {command.split()[0] for command in COMMANDS} <= {line.split()[1] for line in commands_of_the_readme()}


@pytest.mark.parametrize("line", commands_of_the_readme())
def test_every_command_of_the_readme_is_understood(line, monkeypatch, tmp_path, no_kernel):
    """Parsed and checked as it stands; what takes minutes, and files of the user's, are replaced."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "execute", lambda one, given, folder: seen.append(given) or {"parameters": given})
    monkeypatch.setattr("aps_book.page.build", lambda *_: "page")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    monkeypatch.setattr(verifying, "execute", lambda *_, **__: record_of(a=number(1.0)))
    monkeypatch.setattr(verifying, "compare", lambda *_: {"same": 1, "within": [], "differs": [], "times": 0})
    built = build(tmp_path / "built", toy2d=({}, {"a": value_of(1.0)}))
    monkeypatch.setattr(comparing, "_records", lambda *_: {"toy2d": record_module.load(built / "toy2d.json")})
    (tmp_path / "mine.toml").write_text(starting.text("sphere-impute"))
    monkeypatch.setattr("aps_core.train.main", lambda arguments, **_: seen.append(arguments))
    monkeypatch.setattr("aps_book.sweeps.engine.find", lambda: Path("snakemake"))
    monkeypatch.setattr("aps_book.sweeps.engine.call", create_autospec(engine.call, return_value=0))
    monkeypatch.setattr("aps_core.data.__main__.FETCH", dict.fromkeys(["mnist", "cifar10"], lambda _: "there"))
    for name, made in {"read": (None, None, None), "check_form": None, "draw": None, "write": None}.items():
        monkeypatch.setattr(sampling, name, create_autospec(getattr(sampling, name), return_value=made))
    sweeps = re.search(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    if sweeps:
        (tmp_path / "noise.yaml").write_text(sweeps[1])
    code, _, errors = aps(*shlex.split(line.partition(" > ")[0])[1:])
    if line.startswith("aps sample"):  # the noise of the user's file, and the flow that serves any
        (task, given), (_, _, _, _, _, weights) = sampling.read.call_args.args[1:3], sampling.draw.call_args.args
        assert (task, given, weights) == ("sphere-impute", {"sigma_y": 0.01}, "sphere-impute-any")
    no_records = line.startswith("aps sweep") and code == 1 and "sets have no record" in errors
    assert code == 0 or no_records, errors


# JSON


def test_full_says_in_json_what_it_wrote(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    code, printed, _ = aps("full", "toy2d", "--json")
    made = json.loads(printed)
    assert code == 0 and made["record"] == str(ROOT / "weights/results/toy2d.json") and made["seconds"] >= 0


def test_train_says_in_json_what_it_wrote(monkeypatch):
    def main(arguments, **_):
        found = train.parser("aps train").parse_args(arguments)
        assert (found.budget, found.measurements) == (-float("inf"), Path("-y.npz"))
        print("step 3")
        return {"name": arguments[0], "weights": None}

    monkeypatch.setattr("aps_core.train.main", main)
    given = ["--budget", "-inf", "--measurements", "-y.npz"]  # which begin as options do
    code, printed, errors = aps("train", "mine.toml", *given, "--json")
    assert code == 0 and json.loads(printed) == {"name": "mine.toml", "weights": None} and "step 3" in errors


def test_sample_says_in_json_what_it_wrote(monkeypatch, tmp_path):
    drawn = sampling.Drawn(np.zeros((4, 46, 90)), np.zeros(4), {"weights": "some", "seed": 3})
    for name, made in {"read": (None, None, "2020-07"), "check_form": None, "draw": drawn}.items():
        monkeypatch.setattr(sampling, name, create_autospec(getattr(sampling, name), return_value=made))
    out = tmp_path / "a.npz"
    code, printed, errors = aps("sample", "sphere-impute", "--measurement", "y.npz", "--out", str(out), "--json")
    made = json.loads(printed)
    assert code == 0 and made.pop("seconds") >= 0 and out.is_file(), errors
    assert made == {"out": str(out), "samples": [4, 46, 90], "weights": "some", "seed": 3, "time": "2020-07"}


def test_recipe_in_json_is_the_recipe():
    code, printed, _ = aps("recipe", "sphere-impute", "--json")
    assert code == 0 and json.loads(printed) == tomllib.loads(starting.text("sphere-impute"))


def test_fetch_says_in_json_what_it_wrote(monkeypatch, tmp_path):
    (tmp_path / "a.gz").write_bytes(b"123")
    monkeypatch.setattr("aps_core.data.__main__.FETCH", {"mnist": lambda _: tmp_path})
    code, printed, _ = aps("data", "fetch", "mnist", "--json")
    made = json.loads(printed)
    assert code == 0 and (made["folder"], made["bytes"]) == (str(tmp_path), {"a.gz": 3})


def test_sweep_says_in_json_what_it_wrote(monkeypatch, tmp_path):
    (tmp_path / "a.yaml").write_text("notebook: toy2d\ngrid: {seed: [0, 1]}\n")
    monkeypatch.setattr(engine, "find", lambda: tmp_path / "snakemake")
    monkeypatch.setattr(engine, "call", create_autospec(engine.call, return_value=0))
    code, printed, errors = aps("sweep", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "there"), "--json")
    made = json.loads(printed)
    assert code == 1 and "2 of 2 sets have no record" in errors and engine.call.call_args.kwargs == {"quiet": True}
    assert Path(made["table"]).is_file() and Path(made["page"]).is_file()
    assert set(made["without_record"]) == set(made["jobs"]) and len(made["jobs"]) == 2
    code, _, errors = aps("sweep", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "a.yaml"))
    assert code == 2 and "a.yaml: expected a folder, there is a file of that name" in errors
    code, printed, _ = aps("sweep", str(tmp_path / "a.yaml"), "--dry-run", "--json")
    assert code == 0 and json.loads(printed)["dry_run"]


# entries of before


def test_help_says_when_the_older_entries_go():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tuple(map(int, version.split("."))) < (0, 3, 0), "the entries by python -m go with 0.3.0"
    assert "version 0.3.0" in " ".join(aps("--help")[1].split())
    assert "version 0.3.0" in train.parser("python -m aps_core.train").format_help().replace("\n", " ")
    assert "0.3.0" not in train.parser("aps train").format_help()
    assert "version 0.3.0" in " ".join(README.split())


def test_console_script_is_named():
    assert 'aps = "aps_book.cli.app:main"' in (ROOT / "pyproject.toml").read_text()


def test_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(os.environ, "APS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown parameter"):
        aps("run", "toy2d", "-p", "nothing", "1")
