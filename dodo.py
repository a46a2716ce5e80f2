"""Tasks of the build: notebooks -> results -> HTML -> checks. `make book` runs `doit book`; only what is stale is
redone.
"""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import absl.logging  # noqa: F401  binds the real stderr before doit replaces it; else it complains at exit
from doit.exceptions import TaskFailed
from doit.tools import config_changed

from aps_book import notebooks as known
from aps_book import running
from aps_book.page import with_placeholders
from aps_book.progress import Progress, duration, seconds, step

ROOT = Path(__file__).resolve().parent
BUILD = Path(".build")
RESULTS = Path("book/results")
HTML = Path("_build/html")
PDF = Path("_build/aps.pdf")
HTML_DONE = BUILD / "html.done"  # says that the HTML was built to the end
BUILD.mkdir(exist_ok=True)
# the backend is aps_book/build_state.py, named in pyproject.toml
DOIT_CONFIG = {
    "backend": "safe",
    "dep_file": str(BUILD / "doit.json"),
    "default_tasks": ["book"],
    "verbosity": 2,
    "reporter": Progress,
}


def said(kind, error, trace, otherwise=sys.excepthook):
    """An interrupted build says so in one line, and ends without waiting for its kernels, which end with it."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; what was finished is kept, and the same command goes on", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130)
    else:
        otherwise(kind, error, trace)


sys.excepthook = said


def notebooks():
    return known.names(Path())


def settings(name):
    """How a notebook is run, from book/build.toml."""
    return known.settings(name, Path())


def chosen():
    """The notebooks of this build: those that PAGES names, or all."""
    names = os.environ.get("PAGES", "").replace(",", " ").split()
    for name in names:
        if name not in notebooks():
            sys.exit(f"PAGES={name}: expected some of {', '.join(notebooks())}")
    return sorted(set(names)) or notebooks()


def files(folder, pattern="*"):
    found = (path for path in Path(folder).rglob(pattern) if path.is_file())
    return sorted(str(path) for path in found if not {"__pycache__", "results"} & set(path.parts))


def book_files(source):
    """Files of `aps_book` that a Python file imports, directly or through others; also those imported in functions."""
    found, todo = set(), [source]
    while todo:
        for name in imported(todo.pop()):
            path = Path(*name.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if name.startswith("aps_book") and file.is_file() and str(file) not in found:
                    found.add(str(file))
                    todo.append(file)
    beside = [*Path("aps_book").rglob("*.toml"), *Path("aps_book/figures/views").glob("*.[hcj]*")]
    return sorted(found | {str(path) for path in beside})


@cache
def imported(source):
    """Dotted names that a Python file imports, with the packages that they lie in."""
    names = set()
    for node in ast.walk(ast.parse(Path(source).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names | {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 1)}


def execute(name, parameters, results):
    """Run notebooks/<name>.py with papermill in a folder of its own; what it made is published in `results` when all
    of it is there, so that nothing of an earlier run passes for a result of this one.
    """
    from aps_book import compiled
    from aps_book.cli.runs import command
    from aps_core.files import remove_unfinished

    for folder in (BUILD, results):
        remove_unfinished(folder, seconds=3600)  # other notebooks may be publishing there
    made = BUILD / "running" / results.name / name
    full = results != RESULTS
    variables = compiled.variables(settings(name), BUILD / "compiled", build=not full)
    variables["APS_FULL_RUN" if full else "APS_FULL_FIGURES"] = "1"
    variables["APS_COMMAND"] = f"aps full {name}" if full else command(name, parameters)  # for its record
    watched = full and sys.stderr.isatty()  # a build says itself what runs
    try:
        running.execute(Path("notebooks") / f"{name}.py", parameters, made, results, ROOT, variables, watched)
    except running.RunFailed as error:
        return TaskFailed(str(error))


def task_notebook():
    """Run each notebook with the parameters of the build."""
    for name in chosen():
        entry = settings(name)
        patterns = [*entry["weights"], f"weights/results/{name}*.json", f"weights/results/{name}.figures.npz"]
        weights = {path for pattern in patterns for path in Path().glob(pattern) if path.is_file()}
        named = {
            path
            for pattern in entry["weights"]
            if pattern.startswith("weights/results/")
            for path in Path().glob(pattern)
        }
        weights -= {path for path in Path("weights/results").glob("*") if path.name.partition(".")[0] != name} - named
        yield {
            "name": name,
            "file_dep": [
                f"notebooks/{name}.py",
                "requirements.lock",
                *files("aps_core"),
                *book_files(f"notebooks/{name}.py"),
                *map(str, sorted(weights)),
            ],
            "uptodate": [config_changed({name: entry[name] for name in ("build", "quick_compile")})],
            "io": {"capture": False},  # doit would replace sys.stdout, which threads share
            "targets": [str(RESULTS / f"{name}.ipynb"), str(RESULTS / f"{name}.json")],
            "actions": [(execute, [name, entry["build"], RESULTS])],
            "meta": {"seconds": entry["seconds"]},
        }


def task_together():
    """Run the notebooks but those that have to be alone: doit run -n 2 -P thread together does two at a time."""
    last, table = seconds(), list(tomllib.loads(Path("book/build.toml").read_text("utf-8")))
    names = [name for name in chosen() if not settings(name)["alone"]]
    order = {name: table.index(name) if name in table else len(table) for name in names}
    names.sort(key=lambda name: (-(last.get(name) or settings(name)["seconds"] or 0.0), order[name]))
    return {"actions": None, "task_dep": [f"notebook:{name}" for name in names]}  # the longest first


def build_html():
    """Run jupyter-book; a warning fails the build."""
    import yaml

    toc = yaml.safe_load(Path("book/_toc.yml").read_text("utf-8"))
    entries = {chapter["file"] for part in toc["parts"] for chapter in part["chapters"]}
    listed = {entry.removeprefix("results/") for entry in entries if entry.startswith("results/")}
    if listed != set(notebooks()):
        odd = ", ".join(sorted(listed ^ set(notebooks())))
        return TaskFailed(f"book/_toc.yml and notebooks/ do not name the same chapters: {odd}")
    HTML_DONE.unlink(missing_ok=True)
    shutil.rmtree(HTML, ignore_errors=True)
    source, strict = Path("book"), ["-W", "-n", "--keep-going"]
    if chosen() != notebooks():  # what links to a page that is not there is no fault then
        source, strict = with_placeholders(source, RESULTS, notebooks(), BUILD / "some" / "book"), []
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--config", "_config.yml"]
    command += ["--toc", ROOT / "book/_toc.yml", "--path-output", ".", "--all", "--quiet", *strict]
    what = "the HTML of all pages" if strict else "the HTML of some pages"
    with step(what, f"{what} is made"):
        done = subprocess.run(command, **({} if strict else {"capture_output": True, "text": True}))
    if done.returncode:
        return TaskFailed(f"jupyter-book failed; the warnings above say why{done.stderr or ''}")
    HTML_DONE.touch()


def task_html():
    """Build the HTML from the pages and the executed notebooks."""
    made = [str(RESULTS / f"{name}.{suffix}") for name in chosen() for suffix in ("ipynb", "json")]
    return {
        # docstrings are a page too
        "file_dep": [
            *files("book"),
            *files("aps_core"),
            *files("aps_book"),
            *map(str, sorted(Path("weights/results").glob("*.json"))),  # verdicts on the claims
            "_config.yml",
            "requirements.lock",
            *made,
        ],
        "uptodate": [config_changed(" ".join(chosen()))],
        "targets": [str(HTML / "index.html"), str(HTML_DONE)],
        "actions": [build_html],
    }


def check_tolerances():
    from aps_book.record import load, tolerances

    try:
        rules = tomllib.loads(Path("tolerances.toml").read_text("utf-8"))
        stray = sorted(set(rules) - set(notebooks()))
        failures = [f"tolerances.toml names {name!r}, which is no notebook" for name in stray]
        for name in chosen():
            failures += tolerances.check(load(RESULTS / f"{name}.json"), rules.get(name, {}))
    except (TypeError, ValueError) as error:
        return TaskFailed(f"tolerances.toml or a record is not valid: {error}")
    if failures:
        return TaskFailed("numbers outside tolerances.toml:\n  " + "\n  ".join(failures))


def task_tolerances():
    """Compare the numbers of the build with tolerances.toml."""
    return {"task_dep": ["html"], "actions": [check_tolerances]}


def check_html():
    """Every page exists and holds no path of the machine that built it; then say where the book is."""
    pages = [HTML / "intro.html", *(HTML / "results" / f"{name}.html" for name in notebooks())]
    missing = [str(page) for page in pages if not page.exists()]
    if missing:
        return TaskFailed(f"the build left no {', '.join(missing)}")
    for page in sorted(HTML.rglob("*")):
        if page.suffix in (".html", ".ipynb", ".md", ".txt", ".js") and "_static" not in page.parts:
            text = page.read_text("utf-8")
            for path in (f"{ROOT}/", f"{Path.home()}/"):
                if path in text:
                    at = text.index(path)
                    return TaskFailed(f"{page} holds a path of this machine: ...{text[max(at - 40, 0) : at + 60]}...")
    if others := sorted(set(notebooks()) - set(chosen())):
        never = [name for name in others if not (RESULTS / f"{name}.json").is_file()]
        earlier = sorted(set(others) - set(never))
        print(f"Not built now: {', '.join(others)}. Of these, shown as built before: {', '.join(earlier) or 'none'}.")
    print(f"The book: {ROOT / HTML / 'index.html'}")


def task_book():
    """Everything: the checked book. Prints the path of its index.html."""
    return {"task_dep": ["html", "tolerances"], "actions": [check_html]}


def make_pdf():
    from aps_book import pdf
    from aps_book.pages import take_away
    from aps_book.running import RunFailed

    missing = [name for name in notebooks() if not (RESULTS / f"{name}.ipynb").is_file()]
    if missing:
        return TaskFailed(f"{', '.join(missing)} did not run yet: `make book` first")
    try:
        with step("the book on paper", "the book on paper is made: all pages as one, which a browser prints"):
            pdf.build(ROOT, ROOT / PDF)
        print(f"The book on paper: {ROOT / PDF}")
        if HTML_DONE.is_file():
            take_away.offer_pdf(PDF, HTML)
    except (RunFailed, ValueError) as error:
        return TaskFailed(str(error))


def task_pdf():
    """The whole book as one PDF, printed by a Chromium, and a link to it on the front page: make pdf."""
    return {"actions": [make_pdf], "uptodate": [False]}


def run_full(notebook):
    """Run a notebook with its full-size parameters and keep the record, without pictures, under weights/results."""
    from aps_book.record import figure_data, load, save
    from aps_core.files import write_atomically

    if notebook not in notebooks():
        return TaskFailed(f"NOTEBOOK={notebook!r}: expected one of {', '.join(notebooks())}")
    earlier = Path("weights/results") / f"{notebook}.json"
    seconds_then = load(earlier)["provenance"].get("seconds") if earlier.is_file() else None
    about = "not run before" if seconds_then is None else f"{duration(seconds_then)} when its record was made"
    print(f"{notebook} at full size ({about})", flush=True)
    failed = execute(notebook, settings(notebook)["full"], BUILD / "full")
    if failed:
        return failed
    made, drawn = load(BUILD / "full" / f"{notebook}.json"), BUILD / "full" / figure_data.file_name(notebook)
    if drawn.is_file():
        write_atomically(Path("weights/results") / drawn.name, drawn.read_bytes())
    print(save({**made, "figures": [], "of_full_run": []}, Path("weights/results") / f"{notebook}.json"))


def task_full():
    """Run one notebook at full size: make full NOTEBOOK=name."""
    return {
        "params": [{"name": "notebook", "long": "notebook", "default": ""}],
        "io": {"capture": False},  # the bar of cells needs the terminal itself
        "actions": [run_full],
        "uptodate": [False],
    }
