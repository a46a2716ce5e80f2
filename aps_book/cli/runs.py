"""`aps run` and `aps full`: one notebook, checked before a kernel starts."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from aps_book import notebooks
from aps_book.cli.common import FAILED, Json, Parameters, leave, pairs, printed, read_parameters
from aps_book.notebooks import Notebook

Name = Annotated[
    str, typer.Argument(metavar="NOTEBOOK", help="A notebook of the book, or the path of one (.py, .ipynb).")
]

OfTheBook = Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A notebook of the book (`aps list notebooks`).")]


def run(
    notebook: Name,
    parameter: Parameters = None,
    file: Annotated[Path | None, typer.Option("--parameters", help="JSON or YAML file of parameters.")] = None,
    build: Annotated[bool, typer.Option("--build", help="Start from the parameters of the book's build.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; by default results/NOTEBOOK-WHICH_PARAMETERS.")
    ] = None,
    page: Annotated[bool, typer.Option(help="Make the HTML page too.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Only check the parameters.")] = False,
    as_json: Json = False,
) -> None:
    """Run one notebook with other parameters; they are checked before a kernel starts.

    The folder gets the executed notebook, its record and figures, and html/, the page of this run. A parameter that is
    unknown or out of range ends with exit code 2, a notebook that fails with 1; what it did is then in running/.

    Examples:

    - `aps run sphere_impute -p mask_fraction 0.8`
    - `aps run sphere_impute -p file my.nc -p file_time 2020-07`
    - `aps run my_notebook.py --no-page --out there`
    """
    from aps_core.files import check_folder

    one = notebooks.find(notebook)
    given = parameters(one, parameter, file, build)
    if check:
        printed(given) if as_json else print(f"{one.name}: parameters are valid")
        return
    folder = out or default_folder(one, given)
    check_folder("--out", folder)
    if folder.resolve() == one.path.resolve().parent:
        raise ValueError(
            f"--out {folder}: expected another folder than that of the notebook, which would be overwritten"
        )
    begun = time.monotonic()
    if not as_json:
        print(f"running {one.name} in {folder}", flush=True)
    record = execute(one, given, folder)
    made = {"notebook": one.name, "parameters": record["parameters"], "record": str(folder / f"{one.name}.json")}
    if page:
        from aps_book.page import build as build_page

        if not as_json:
            print("making its page, which takes some ten seconds", flush=True)
        made["page"] = str(build_page(one.name, folder, folder / "html"))
    made["seconds"] = round(time.monotonic() - begun, 1)
    if as_json:
        printed(made)
    else:
        shown = {"record": made["record"], "page": made.get("page")}
        print("\n".join(f"{what:8} {path}" for what, path in shown.items() if path) + f"\n{made['seconds']:.0f} s")


def parameters(one: Notebook, given: list[str] | None, file: Path | None, build: bool) -> dict:
    """The checked parameters: those of the build, then those of the file, then those given by name."""
    chosen = dict(notebooks.settings(one.name)["build"]) if build else {}
    chosen |= {} if file is None else read_parameters(file)
    chosen |= {name: one.parsed(name, text) for name, text in pairs(given).items()}
    return one.checked(chosen)


def default_folder(one: Notebook, given: dict) -> Path:
    """results/NAME, or one of its own for other parameters."""
    return Path("results") / (f"{one.name}-{notebooks.identity(given)}" if given else one.name)


def execute(one: Notebook, given: dict, folder: Path, build: bool = False) -> dict:
    """Run it where the command was given and publish in ``folder``, beside the command that makes it again; ``build``:
    compiled as in the build of the book. Raises FileExistsError where another run is at work there.
    """
    from aps_book import compiled, running
    from aps_core.files import write_atomically

    entry = notebooks.settings(one.name) if _of_the_book(one) else {**notebooks.SETTINGS, "cache": False}
    variables = compiled.variables(entry, notebooks.ROOT / ".build" / "compiled", build)
    variables = {**variables, "APS_COMMAND": command(one, given, short=True)}  # for its record
    watched = sys.stderr.isatty()
    with running.alone(folder, "run"):
        write_atomically(folder / "command.txt", command(one, given) + "\n")
        return running.execute(one.path, given, folder / "running", folder, Path.cwd(), variables, progress=watched)


def command(one: Notebook | str, given: dict, short: bool = False) -> str:
    """The command line that runs a notebook with these parameters; short: without the folder of a notebook that is not the
    book's.
    """
    if isinstance(one, str) or _of_the_book(one):
        name = one if isinstance(one, str) else one.name
    else:
        name = shlex.quote(one.path.name if short else str(one.path.resolve()))
    words = [f"-p {key} {shlex.quote(as_text(value))}" for key, value in given.items()]
    return " ".join(["aps run", name, *words])


def _of_the_book(one: Notebook) -> bool:
    return one.path.resolve().parent == notebooks.ROOT / "notebooks"


def as_text(value) -> str:
    """A parameter as `-p` reads it."""
    return value if isinstance(value, str) else "None" if value is None else json.dumps(value)


def full(notebook: OfTheBook, as_json: Json = False) -> None:
    """Run a notebook at full size and keep its numbers under weights/results, as `make full` does.

    Examples:

    - `aps full toy2d`
    - `aps full toy2d --json`

    The comments of book/build.toml say what a full run needs.
    """
    notebooks.of_the_book(notebook)
    (notebooks.ROOT / ".build").mkdir(exist_ok=True)
    begun = time.monotonic()
    doit = [sys.executable, "-m", "doit", "run", "--db-file", f".build/full-{notebook}.json", "full"]
    said = {"stdout": sys.stderr} if as_json else {}
    if subprocess.run([*doit, "--notebook", notebook], cwd=notebooks.ROOT, **said).returncode:
        leave(f"the full run of {notebook} failed", FAILED)
    if as_json:
        record = Path("weights", "results", f"{notebook}.json")
        seconds = round(time.monotonic() - begun, 1)
        printed({"notebook": notebook, "record": str(notebooks.ROOT / record), "seconds": seconds})
