"""Tasks of the build: notebooks -> results -> HTML -> checks. `make book` runs `doit book`; only what is stale is redone."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import absl.logging  # noqa: F401  binds the real stderr before doit replaces it; else it complains at exit
from doit.exceptions import TaskFailed
from doit.tools import config_changed

ROOT = Path(__file__).resolve().parent
BUILD = Path(".build")
RESULTS = Path("book/results")
HTML = Path("_build/html")
BUILD.mkdir(exist_ok=True)
DOIT_CONFIG = {"backend": "json", "dep_file": str(BUILD / "doit.json"), "default_tasks": ["book"], "verbosity": 2}


def notebooks():
    return sorted(path.stem for path in Path("notebooks").glob("*.py"))


def settings(name):
    """How a notebook is run, from book/build.toml: {"weights": [...], "build": {...}, "full": {...}}."""
    table = tomllib.loads(Path("book/build.toml").read_text("utf-8"))
    for other, entry in table.items():
        unknown = set(entry) - {"weights", "build", "full"}
        if other not in notebooks() or unknown:
            what = f"unknown key {sorted(unknown)[0]!r}" if unknown else f"no notebook notebooks/{other}.py"
            raise ValueError(f"book/build.toml, [{other}]: {what}")
    return {"weights": ["weights/**/*"], "build": {}, "full": {}, **table.get(name, {})}


def files(folder, pattern="*"):
    found = (path for path in Path(folder).rglob(pattern) if path.is_file())
    return sorted(str(path) for path in found if not {"__pycache__", "results"} & set(path.parts))


def execute(name, parameters, results):
    """Run notebooks/<name>.py with papermill; it writes its record and figures into `results`, we add the notebook."""
    import jupytext
    import nbformat
    import papermill
    from traitlets.config import Config

    encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})  # without it each kernel prints a warning
    notebook = jupytext.read(Path("notebooks") / f"{name}.py")
    ran = BUILD / f"{name}.ipynb"
    os.environ["APS_RESULTS_DIR"] = str(ROOT / results)
    try:
        papermill.execute_notebook(
            notebook, ran, parameters, kernel_name="python3", progress_bar=False, cwd=ROOT, config=encrypted
        )
    except papermill.PapermillExecutionError as error:
        return TaskFailed(f"notebooks/{name}.py failed; what it did is in {ran}\n{error}")
    if not (results / f"{name}.json").exists():
        return TaskFailed(f"notebooks/{name}.py wrote no record: its last cell must call run.finish()")
    publish(nbformat.read(ran, as_version=4), results / f"{name}.ipynb")


def publish(notebook, path):
    """Write a notebook without what differs from machine to machine: paths, times, random cell names."""
    import nbformat

    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    os.replace(part, path)


def task_notebook():
    """Run each notebook with the parameters of the build."""
    for name in notebooks():
        entry = settings(name)
        patterns = [*entry["weights"], f"weights/results/{name}*.json"]
        weights = {path for pattern in patterns for path in Path().glob(pattern) if path.is_file()}
        named = {path for pattern in entry["weights"] if pattern.startswith("weights/results/") for path in Path().glob(pattern)}
        weights -= {path for path in Path("weights/results").glob("*") if path.name.partition(".")[0] != name} - named
        yield {
            "name": name,
            "file_dep": [f"notebooks/{name}.py", "requirements.lock", *files("aps_core"), *map(str, sorted(weights))],
            "uptodate": [config_changed(entry["build"])],
            "targets": [str(RESULTS / f"{name}.ipynb"), str(RESULTS / f"{name}.json")],
            "actions": [(execute, [name, entry["build"], RESULTS])],
        }


def build_html():
    """Run jupyter-book; a warning fails the build."""
    import yaml

    toc = yaml.safe_load(Path("book/_toc.yml").read_text("utf-8"))
    entries = {chapter["file"] for part in toc["parts"] for chapter in part["chapters"]}
    listed = {entry.removeprefix("results/") for entry in entries if entry.startswith("results/")}
    if listed != set(notebooks()):
        odd = ", ".join(sorted(listed ^ set(notebooks())))
        return TaskFailed(f"book/_toc.yml and notebooks/ do not name the same chapters: {odd}")
    shutil.rmtree(HTML, ignore_errors=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--config", "_config.yml"]
    command += ["--toc", ROOT / "book/_toc.yml", "--path-output", ".", "--all", "-W", "-n", "--keep-going", "--quiet"]
    if subprocess.run(command).returncode:
        return TaskFailed("jupyter-book failed; the warnings above say why")


def task_html():
    """Build the HTML from the pages and the executed notebooks."""
    made = [str(RESULTS / f"{name}.{suffix}") for name in notebooks() for suffix in ("ipynb", "json")]
    return {
        "file_dep": [*files("book"), *files("aps_core"), "_config.yml", "requirements.lock", *made],  # docstrings are a page too
        "uptodate": [config_changed(" ".join(notebooks()))],
        "targets": [str(HTML / "index.html")],
        "actions": [build_html],
    }


def check_tolerances():
    from aps_core import record, tolerances

    rules = tomllib.loads(Path("tolerances.toml").read_text("utf-8"))
    stray = sorted(set(rules) - set(notebooks()))
    failures = [f"tolerances.toml names {name!r}, which is no notebook" for name in stray]
    for name in notebooks():
        failures += tolerances.check(record.load(RESULTS / f"{name}.json"), rules.get(name, {}))
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
    print(f"The book: {ROOT / HTML / 'index.html'}")


def task_book():
    """Everything: the checked book. Prints the path of its index.html."""
    return {"task_dep": ["html", "tolerances"], "actions": [check_html]}


def run_full(notebook):
    """Run a notebook with its full-size parameters and keep the record, without pictures, under weights/results."""
    from aps_core import record

    if notebook not in notebooks():
        return TaskFailed(f"NOTEBOOK={notebook!r}: expected one of {', '.join(notebooks())}")
    failed = execute(notebook, settings(notebook)["full"], BUILD / "full")
    if failed:
        return failed
    made = record.load(BUILD / "full" / f"{notebook}.json")
    print(record.save({**made, "figures": []}, Path("weights/results") / f"{notebook}.json"))


def task_full():
    """Run one notebook at full size: make full NOTEBOOK=name."""
    return {
        "params": [{"name": "notebook", "long": "notebook", "default": ""}],
        "actions": [run_full],
        "uptodate": [False],
    }
