"""What can break a build: kills, a full disk, a second build, a damaged state, no loopback, a notebook without record."""

import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
import types
from pathlib import Path

import nbformat
import pytest
from doit.dependency import JSONCodec
from doit.exceptions import InvalidCommand, TaskFailed
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aps_book import compiled, progress, record, running
from aps_book.build_state import State

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n\n"
TINY = """\
# %% [markdown]
# # A tiny chapter

# %% tags=["parameters"]
height = 1.0

# %%
import os
import pathlib

with open(os.environ["TALLY"], "a") as file:
    file.write("NAME\\n")
# the record's form, without the seconds that importing the package takes
number = {"value": height, "se": None, "unit": None}
made = {"schema": 1, "notebook": "NAME", "parameters": {}, "numbers": {"height": number}, "figures": []}
made["provenance"] = {"commit": None, "modified": None, "weights": {}, "data": {}, "device": "cpu"}

# %%
import json

pathlib.Path(os.environ["APS_RESULTS_DIR"], "NAME.json").write_text(json.dumps(made))
"""


PAIRS = ("run", "-n", "2", "-P", "thread", "together")  # as `make book` begins


def make_notebooks(folder, names=("one", "two", "three"), cells=TINY):
    """A project of tiny notebooks, without the pages around them."""
    for name in ("dodo.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("notebooks", "book", "aps_core", "weights"):
        (folder / name).mkdir()
    for name in names:
        (folder / f"notebooks/{name}.py").write_text(HEADER + cells.replace("NAME", name))
    (folder / "book/build.toml").touch()
    (folder / "tolerances.toml").touch()
    return folder


def start(folder, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TALLY": str(folder / "tally")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", "doit", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes, **options)


def doit(folder, *arguments, **options):
    """(exit status, what it printed)."""
    process = start(folder, *arguments, **options)
    printed = process.communicate()[0]
    return process.returncode, printed


def tally(folder):
    """How often each notebook was run."""
    lines = (folder / "tally").read_text().split() if (folder / "tally").exists() else []
    return {name: lines.count(name) for name in lines}


def finished(folder):
    """The notebooks that the state of the build has as done."""
    try:
        state = json.loads((folder / ".build/doit.json").read_text())
    except FileNotFoundError:
        return set()
    done = {name.partition(":")[2] for name, entry in state.items() if "deps:" in entry}
    return done - {""}  # the group itself


# the state alone


def state_of(path, *tasks):
    state = State(str(path), JSONCodec())
    for task in tasks:
        state.set(task, "a.py", [1.0, 2, "md5"])
        state.set(task, "deps:", ["a.py"])
    return state


def test_state_is_on_disk_after_each_task(tmp_path):
    state_of(tmp_path / "doit.json", "one")
    assert json.loads((tmp_path / "doit.json").read_text()) == {"one": {"a.py": [1.0, 2, "md5"], "deps:": ["a.py"]}}


def test_a_task_that_failed_is_forgotten_at_once(tmp_path):
    state_of(tmp_path / "doit.json", "one", "two").remove("one")
    assert set(json.loads((tmp_path / "doit.json").read_text())) == {"two"}


@pytest.mark.parametrize("content", [b'{"one": {"a.py": [1.0, 2', b"", b"\xff\xfe\x00", b"[1]", b'{"one": 3}', b"null"])
def test_unreadable_state_counts_as_none(tmp_path, capsys, content):
    path = tmp_path / "doit.json"
    path.write_bytes(content)
    state = state_of(path)
    assert state.get("one", "deps:") is None and not state.in_("one")
    said = capsys.readouterr().err
    assert str(path) in said and "everything counts as not built" in said
    state.dump()
    assert json.loads(path.read_text()) == {}


def test_state_keeps_the_last_whole_one_on_a_full_disk(tmp_path, capsys, monkeypatch):
    path = tmp_path / "doit.json"
    state = state_of(path, "one")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    state.set("two", "deps:", ["b.py"])
    assert path.read_bytes() == before
    assert "will be built again: [Errno 28] No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


def test_second_build_is_refused_with_the_path(tmp_path):
    first = state_of(tmp_path / "doit.json", "one")
    with pytest.raises(InvalidCommand, match=f"another build is at work on {tmp_path / 'doit.json'}: wait"):
        state_of(tmp_path / "doit.json")
    del first
    assert state_of(tmp_path / "doit.json").in_("one")


# what a build says


class Task:
    """As doit's, as far as it is reported."""

    executed = True

    def __init__(self, folder, name, made):
        self.name, self.actions, self.task_dep = f"notebook:{name}", ["run"], []
        self.file_dep, self.targets = [str(folder / "input")], [str(folder / f"{name}.json")]
        if made:
            Path(self.targets[0]).touch()

    meta = None

    def title(self):
        return self.name


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A Progress over three notebooks, of which the second is as new as its input; their last seconds are known."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".build").mkdir()
    (tmp_path / ".build/seconds.json").write_text('{"one": 10, "two": 100, "three": 70}')
    (tmp_path / "input").touch()
    os.utime(tmp_path / "input", (1, 1))
    tasks = [Task(tmp_path, name, made) for name, made in (("one", False), ("two", True), ("three", False))]
    made = progress.Progress(io.StringIO(), {})
    more = [Task(tmp_path, "four", False), Task(tmp_path, "all", False)]
    more[1].name, more[1].task_dep = "book", [task.name for task in tasks]
    made.initialize({task.name: task for task in [*tasks, *more]}, ["book"])
    return made, tasks


def test_a_build_says_which_of_how_many_and_about_how_long(report):
    made, (one, two, three) = report
    made.execute_task(one)
    made.add_success(one)
    made.skip_uptodate(two)
    made.execute_task(three)
    lines = made.outstream.getvalue().splitlines()
    assert lines[0] == ".  1 of 3: one runs (10 s last time; about 1 min 20 s left)"
    assert lines[1] == "   one done after 0 s; about 1 min 10 s left"
    assert lines[3] == ".  3 of 3: three runs (1 min 10 s last time; about 1 min 10 s left)"
    assert json.loads(Path(".build/seconds.json").read_text()) == {"one": 0.0, "two": 100, "three": 70}


def test_a_first_build_says_how_long_by_the_times_of_another_machine_and_then_by_its_own_pace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tasks = [Task(tmp_path, name, False) for name in ("one", "two", "three")]
    for task, seconds in zip(tasks, (100, 200, None), strict=True):
        task.meta = {"seconds": seconds}
    made = progress.Progress(io.StringIO(), {})
    made.initialize({task.name: task for task in tasks}, [task.name for task in tasks])
    made.execute_task(tasks[0])
    now[0] = 50.0  # twice as fast as where the times come from
    made.add_success(tasks[0])
    made.execute_task(tasks[1])
    lines = made.outstream.getvalue().splitlines()
    assert lines[0].endswith(
        "(not run before; about 5 min 0 s left by the times of another machine, and 1 not run before)"
    )
    assert lines[1] == "   one done after 50 s; about 1 min 40 s left, and 1 not run before"
    assert lines[2].endswith("(not run before; about 1 min 40 s left, and 1 not run before)")


def test_a_notebook_that_fails_keeps_its_last_seconds(report):
    made, (one, _, _) = report
    made.execute_task(one)
    made.add_failure(one, TaskFailed("no"))
    assert "   one failed after 0 s; about 1 min 10 s left" in made.outstream.getvalue()
    assert json.loads(Path(".build/seconds.json").read_text())["one"] == 10


def test_a_step_says_how_long_it_took_the_last_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".build").mkdir()
    with progress.step("pages", "the pages are made"):
        pass
    (tmp_path / ".build/seconds.json").write_text('{"pages": 130}')
    with pytest.raises(ValueError), progress.step("pages", "the pages are made"):
        raise ValueError
    lines = capsys.readouterr().out.splitlines()
    assert lines == [".  the pages are made (not done before)", ".  the pages are made (2 min 10 s last time)"]
    assert progress.seconds() == {"pages": 130}, "what failed says nothing of how long it takes"


@pytest.mark.parametrize("content", ["", "[1]", '{"one": "x"}', '{"one": null}'])
def test_seconds_that_cannot_be_read_are_none(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".build").mkdir()
    Path(".build/seconds.json").write_text(content)
    assert progress.seconds() == {}


def test_the_cache_of_compiled_programs_is_of_versions_and_processor(tmp_path, monkeypatch):
    one = compiled.environment(tmp_path)["JAX_COMPILATION_CACHE_DIR"]
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    other = compiled.environment(tmp_path)["JAX_COMPILATION_CACHE_DIR"]
    assert one != other and Path(one).parent == Path(other).parent == tmp_path


def test_a_notebook_has_the_flags_and_the_cache_of_its_entry(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--one")
    assert compiled.variables({"cache": False, "quick_compile": False}, tmp_path) == {}
    quick = {"cache": False, "quick_compile": True}
    assert compiled.variables(quick, tmp_path, build=True) == {"XLA_FLAGS": f"--one {compiled.QUICK}"}
    assert compiled.variables(quick, tmp_path) == {}, "a full run, or one with a user's parameters"
    assert compiled.variables({"cache": True, "quick_compile": False}, tmp_path) == compiled.environment(tmp_path)


# whole builds


def test_second_build_says_so_without_a_traceback(tmp_path):
    make_notebooks(tmp_path, ["one"])
    (tmp_path / ".build").mkdir()
    with FileLock(tmp_path / ".build/doit.json.lock"):
        status, printed = doit(tmp_path, "notebook")
    assert status != 0
    assert "another build is at work on" in printed and "Traceback" not in printed
    assert tally(tmp_path) == {}


@pytest.mark.slow
def test_two_builds_at_once_run_each_notebook_once(tmp_path):
    make_notebooks(tmp_path)
    both = [start(tmp_path, "notebook") for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert sorted(process.returncode == 0 for process in both) == [False, True], printed
    assert tally(tmp_path) == {"one": 1, "two": 1, "three": 1}
    assert finished(tmp_path) == {"one", "two", "three"}


@pytest.mark.slow
def test_ten_kills_lose_no_finished_notebook(tmp_path):
    """SIGKILL at a random moment of notebooks that run two at a time, ten times; what the state has as done is not run
    again, and at the end all is.
    """
    make_notebooks(tmp_path)
    rng = random.Random(5)
    for _ in range(10):
        process = start(tmp_path, *PAIRS)
        time.sleep(rng.uniform(0.5, 6.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done, before = finished(tmp_path), tally(tmp_path)
        for name in done:
            assert json.loads((tmp_path / f"book/results/{name}.json").read_text())["notebook"] == name
            json.loads((tmp_path / f"book/results/{name}.ipynb").read_text())
        status, printed = doit(tmp_path, "list", "--all", "--status", "--quiet")
        assert status == 0, printed
        stale = {line.split()[1].partition(":")[2] for line in printed.splitlines() if line.startswith("R notebook:")}
        assert not stale & done
        if done == {"one", "two", "three"}:  # begin anew, so that there is something to kill
            (tmp_path / ".build/doit.json").unlink()
    done, before = finished(tmp_path), tally(tmp_path)
    status, printed = doit(tmp_path, "notebook")
    assert status == 0, printed
    assert finished(tmp_path) == {"one", "two", "three"}
    assert {name: n - before.get(name, 0) for name, n in tally(tmp_path).items() if name in done} == dict.fromkeys(
        done, 0
    )
    left = [path for path in tmp_path.rglob("*.part") if "running" not in path.parts]
    assert not left


SPAN = """
import time

begin = time.monotonic()
pathlib.Path(os.environ["TALLY"] + "NAME").touch()
while not pathlib.Path(os.environ["TALLY"] + "OTHER").exists():
    assert time.monotonic() < begin + 60
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_those_without_times_run_together_each_with_its_own_variables(tmp_path):
    """Two notebooks wait for each other; the third measures times, and is left to the build that follows."""
    make_notebooks(tmp_path)
    (tmp_path / "book/build.toml").write_text("[three]\nalone = true\n")
    for name, other in (("one", "two"), ("two", "one")):
        path = tmp_path / f"notebooks/{name}.py"
        path.write_text(path.read_text() + "\n# %%" + SPAN.replace("OTHER", other).replace("NAME", name))
    status, printed = doit(tmp_path, *PAIRS)
    assert status == 0, printed
    assert finished(tmp_path) == {"one", "two"} and tally(tmp_path) == {"one": 1, "two": 1}
    assert [line for line in printed.splitlines() if " runs (" in line][1].startswith(".  2 of 2: ")
    status, printed = doit(tmp_path, "notebook")
    assert status == 0 and re.search(r"[123] of 3: three runs", printed)
    assert finished(tmp_path) == {"one", "two", "three"} and tally(tmp_path) == {"one": 1, "two": 1, "three": 1}


@pytest.mark.slow
def test_one_that_fails_does_not_stop_the_one_beside_it(tmp_path):
    make_notebooks(tmp_path, ["one", "two"])
    path = tmp_path / "notebooks/one.py"
    path.write_text(path.read_text() + "\n# %%\nraise ValueError('no')\n")
    status, printed = doit(tmp_path, *PAIRS)
    assert status != 0 and "one failed after" in printed and "ValueError: no" in printed
    assert finished(tmp_path) == {"two"} and not (tmp_path / "book/results/one.json").exists()


@pytest.mark.slow
def test_an_interrupt_ends_both_and_leaves_nothing_half_done(tmp_path):
    make_notebooks(tmp_path, ["one", "two"])
    for name in ("one", "two"):
        path = tmp_path / f"notebooks/{name}.py"
        path.write_text(path.read_text() + "\n# %%\nimport time\n\ntime.sleep(60)\n")
    process = start(tmp_path, *PAIRS)
    begin = time.monotonic()
    while len(tally(tmp_path)) < 2 and time.monotonic() < begin + 60:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=20)[0]
    assert process.returncode == 130 and "interrupted; what was finished is kept" in printed, printed
    assert "Traceback" not in printed
    assert finished(tmp_path) == set() and not list((tmp_path / "book/results").glob("*"))


@pytest.mark.slow
def test_full_disk_ends_with_a_message_and_what_was_finished_stays(tmp_path):
    """A limit on the size of files stands for the full disk."""
    make_notebooks(tmp_path, ["one"])
    assert doit(tmp_path, "notebook")[0] == 0
    before = (tmp_path / ".build/doit.json").read_bytes()
    (tmp_path / "notebooks/two.py").write_text(HEADER + TINY.replace("NAME", "two"))
    status, printed = doit(
        tmp_path, "notebook", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    )
    assert status != 0
    assert "File too large" in printed and "notebooks/two.py failed" in printed, printed
    assert (tmp_path / ".build/doit.json").read_bytes() == before
    status, printed = doit(tmp_path, "notebook")
    assert status == 0, printed
    assert tally(tmp_path)["one"] == 1


@pytest.mark.slow
def test_damaged_state_is_a_message_and_a_new_build(tmp_path):
    make_notebooks(tmp_path, ["one"])
    assert doit(tmp_path, "notebook")[0] == 0
    state = tmp_path / ".build/doit.json"
    state.write_bytes(state.read_bytes()[:100])
    status, printed = doit(tmp_path, "notebook")
    assert status == 0, printed
    assert "cannot be read" in printed and "Traceback" not in printed
    assert tally(tmp_path) == {"one": 2}


@pytest.mark.slow
def test_build_prints_no_error_of_a_kernel_that_is_ended(tmp_path):
    make_notebooks(tmp_path, ["one"])
    status, printed = doit(tmp_path, "notebook")
    assert status == 0
    first, second = printed.splitlines()
    assert first == ".  1 of 1: one runs (not run before; time left unknown)"
    assert re.fullmatch(r"   one done after \d+ s; no notebook left", second)
    assert json.loads((tmp_path / ".build/seconds.json").read_text())["one"] > 0


LAST = 'pathlib.Path(os.environ["APS_RESULTS_DIR"], "NAME.json").write_text(json.dumps(made))'
BREACHES = {
    "no record": ("pass", "wrote no record: its last cell must call run.finish()"),
    "no number": (
        'number["value"] = float("nan")\n' + LAST,
        "one.json: value of height = nan, expected a finite number",
    ),
    "another's record": ('made["notebook"] = "two"\n' + LAST, "its record is of 'two'"),
    "no figure": (
        'made["figures"] = ["one-line.svg"]\n' + LAST,
        "its record names one-line.svg, which it did not write",
    ),
    "dies": ("os._exit(9)", "notebooks/one.py failed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("breach", BREACHES)
def test_notebook_is_not_published_with_the_record_of_before(tmp_path, breach):
    make_notebooks(tmp_path, ["one"])
    assert doit(tmp_path, "notebook")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "book/results").iterdir()}
    code, said = BREACHES[breach]
    (tmp_path / "notebooks/one.py").write_text(HEADER + TINY.replace(LAST, code).replace("NAME", "one"))
    status, printed = doit(tmp_path, "notebook")
    assert status != 0
    assert said in printed, printed
    assert "one" not in finished(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "book/results").iterdir()} == before


def test_a_loopback_that_does_not_answer_ends_a_run_before_its_kernel(monkeypatch):
    def refused(*_, **__):
        raise OSError("Network is unreachable")

    running.no_loopback()  # here it answers
    monkeypatch.setattr(running.socket, "create_connection", refused)
    with pytest.raises(running.RunFailed, match=r"127\.0\.0\.1, which does not answer here \(Network is unreachable\)"):
        running.no_loopback()


REFUSING = """
import socket

def refused(*_, **__):
    raise OSError(101, "Network is unreachable")

socket.create_connection = refused
"""


@pytest.mark.slow
def test_no_loopback_is_a_message(tmp_path):
    """Without 127.0.0.1 a kernel cannot be reached: in a network namespace of its own there is none; where a machine
    gives no namespace, Python is started so that it refuses to connect there.
    """
    make_notebooks(tmp_path, ["one"])
    apart, path = ["unshare", "--user", "--map-root-user", "--net"], str(ROOT)
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True).returncode:
        apart, path = [], f"{tmp_path / 'refusing'}{os.pathsep}{ROOT}"
        (tmp_path / "refusing").mkdir()
        (tmp_path / "refusing/sitecustomize.py").write_text(REFUSING)
    command = [*apart, sys.executable, "-m", "doit", "notebook"]
    environment = {**os.environ, "PYTHONPATH": path, "TALLY": str(tmp_path / "tally")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "over the loopback network, 127.0.0.1, which does not answer here" in done.stdout + done.stderr


# what a notebook depends on


@pytest.fixture(scope="module")
def dodo():
    """The build's file, with the notebooks of this checkout."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("dodo_of_this_checkout", ROOT / "dodo.py")
    module = importlib.util.module_from_spec(spec)
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        os.chdir(before)


def test_a_full_run_shows_its_cells_on_a_terminal_and_names_its_command(dodo, monkeypatch):
    ran = []
    monkeypatch.setattr(dodo.running, "execute", lambda *arguments: ran.append(arguments))
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True, write=print, flush=print))
    dodo.execute("toy2d", {"seed": 3}, dodo.BUILD / "full")
    dodo.execute("toy2d", {"seed": 3}, dodo.RESULTS)
    assert [arguments[-1] for arguments in ran] == [True, False]
    assert [arguments[-2]["APS_COMMAND"] for arguments in ran] == ["aps full toy2d", "aps run toy2d -p seed 3"]


@pytest.mark.slow
def test_a_full_run_has_a_bar_on_a_terminal(tmp_path):
    make_notebooks(tmp_path, ["one"])
    terminal, other = os.openpty()
    termios.tcsetwinsize(other, (24, 80))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TALLY": str(tmp_path / "tally")}
    command = [sys.executable, "-m", "doit", "run", "full", "--notebook", "one"]
    pipes = {"stdout": subprocess.PIPE, "stderr": other, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    os.close(other)
    seen = b""
    with contextlib.suppress(OSError):  # the other end has closed
        while part := os.read(terminal, 1024):
            seen += part
    printed = process.communicate()[0]
    os.close(terminal)
    assert process.returncode == 0, printed + seen.decode()
    assert "one at full size (not run before)" in printed and b"cell" in seen and b"100%" in seen


def test_notebooks_depend_on_what_they_import(dodo):
    names, inputs = set(dodo.notebooks()), {task["name"]: set(task["file_dep"]) for task in dodo.task_notebook()}
    needing = lambda file: {name for name, files in inputs.items() if file in files}  # noqa: E731
    assert len(names) > 10
    faces = needing("aps_book/experiments/faces.py")
    assert "faces" in faces and not {"overview", "sphere_impute", "method", "toy2d"} & faces
    meshes = needing("aps_book/figures/meshes.py")
    assert meshes == {"bunny_inpaint", "own_mesh"}
    assert needing("aps_core/diffusion.py") == names == needing("requirements.lock")
    assert needing("aps_book/record/rules.py") == names
    for file in ("tests/conftest.py", "aps_book/build_state.py", "book/intro.md"):
        assert not needing(file), file


@pytest.mark.slow
def test_editing_a_file_makes_only_its_notebooks_stale(tmp_path):
    """doit is asked: an experiment's file, a figure module, one imported in a function, and the library."""
    make_notebooks(tmp_path)
    book = tmp_path / "aps_book"
    for name in (
        "experiments/first.py",
        "experiments/shared.py",
        "figures/lines.py",
        "figures/late.py",
        "record/run.py",
    ):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text("")
    (tmp_path / "aps_core/diffusion.py").touch()
    (book / "experiments/shared.py").write_text("def f():\n    from aps_book.figures import late\n")
    (book / "experiments/first.py").write_text("from aps_book.experiments.shared import f\n")
    imports = {
        "one": "if False:\n    from aps_book.experiments import first\n",
        "two": "if False:\n    import aps_book.figures.lines\n",
        "three": "",
    }
    for name, text in imports.items():
        path = tmp_path / f"notebooks/{name}.py"
        path.write_text(path.read_text() + "\n# %%\n" + text)
    assert doit(tmp_path, "notebook")[0] == 0
    expected = {
        "aps_book/experiments/first.py": {"one"},
        "aps_book/experiments/shared.py": {"one"},
        "aps_book/figures/late.py": {"one"},
        "aps_book/figures/lines.py": {"two"},
        "aps_core/diffusion.py": {"one", "two", "three"},
        "aps_book/record/run.py": set(),
    }
    for file, names in expected.items():
        before = (tmp_path / file).read_text()
        (tmp_path / file).write_text(before + "\n# changed\n")
        status, printed = doit(tmp_path, "list", "--all", "--status", "--quiet")
        assert status == 0, printed
        stale = {line.split()[1].partition(":")[2] for line in printed.splitlines() if line.startswith("R notebook:")}
        assert stale == names, file
        (tmp_path / file).write_text(before)


def test_figures_of_one_cell_keep_their_own_captions_on_the_page(tmp_path):
    """A loop draws two figures: the page has two labels, and the text that was printed between stays between."""
    made, results = tmp_path / "made", tmp_path / "results"
    run = record.start("chapter", {}, {}, directory=made)
    run.finish()
    told = [{"mystnb": {"image": {"alt": one}, "figure": {"caption": one, "name": f"fig-{one}"}}} for one in ("a", "b")]
    outputs = [
        new_output("display_data", {"image/svg+xml": "<svg/>"}, metadata=told[0]),
        new_output("stream", text="between"),
        new_output("display_data", {"image/svg+xml": "<svg/>"}, metadata=told[1]),
    ]
    loop = new_code_cell("for name in names: run.figure(...)", outputs=outputs, metadata={"tags": ["hide-input"]})
    alone = new_code_cell("1 + 1", outputs=[new_output("stream", text="2")])
    written = new_notebook(cells=[new_markdown_cell("# A chapter"), loop, alone])
    (made / "chapter.ipynb").write_text(nbformat.writes(written))
    results.mkdir()
    running.publish(tmp_path / "chapter.py", made, results)
    page = nbformat.read(results / "chapter.ipynb", as_version=4)
    nbformat.validate(page)
    assert [cell.metadata.get("mystnb") for cell in page.cells] == [None, *(one["mystnb"] for one in told), None]
    assert [[one.output_type for one in cell.get("outputs", ())] for cell in page.cells] == [
        [],
        ["display_data", "stream"],
        ["display_data"],
        ["stream"],
    ]
    assert page.cells[1].source == loop.source and page.cells[2].source == ""
    assert page.cells[2].metadata["tags"] == ["remove-input"]
