"""`aps verify FIGURE|NOTEBOOK`: runs a notebook again and says which numbers differ from the record."""

import math
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from aps_book import notebooks
from aps_book.cli.common import FAILED, Json, printed
from aps_book.cli.runs import execute

# keys of what a clock measured, and of ratios of it
TIMES = re.compile(r"(^|[._])(time|times|cost|cpu|speedup|seconds)([._]|$)")


def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FIGURE|NOTEBOOK", help="A notebook of the book, or the label of a figure (`aps list figures`)."
        ),
    ],
    full: Annotated[bool, typer.Option("--full", help="At full size, against weights/results.")] = False,
    rtol: Annotated[float, typer.Option(min=0, help="Relative difference up to which numbers are the same.")] = 1e-3,
    out: Annotated[Path | None, typer.Option(help="Folder that keeps the new results.")] = None,
    as_json: Json = False,
) -> None:
    """Run a notebook with the parameters of the build and compare its numbers with the built record and the tolerances.

    A number differs when it lies outside of its line in tolerances.toml, or where it has none, is another one by more
    than rtol and by more than three standard errors of its own. Times are not compared. Exit code 1 where one differs.

    A figure stands for the notebook that draws it; its label is what its address in the book ends with. Compared are the
    numbers of that notebook.

    Examples:

    - `aps verify toy2d`
    - `aps verify fig-toy-modes`
    - `aps verify gaussian16 --rtol 1e-2 --json`
    - `aps verify toy2d --full`
    """
    from aps_core.files import check_folder

    check_rtol(rtol)
    if out is not None:
        check_folder("--out", out)
    figure = what if what.startswith("fig-") else None
    one = notebooks.of_figure(what) if figure else notebooks.of_the_book(what)
    notebook, settings = one.name, notebooks.settings(one.name)
    folder = "weights/results" if full else "book/results"
    before = _record(notebooks.ROOT / folder / f"{notebook}.json")
    rules = tomllib.loads((notebooks.ROOT / "tolerances.toml").read_text("utf-8")).get(notebook, {})
    if before is None and (full or not rules):
        raise FileNotFoundError(f"notebook {notebook!r}: no record {folder}/{notebook}.json to compare with")
    given = one.checked(settings["full" if full else "build"])
    with tempfile.TemporaryDirectory() as temporary:
        now = execute(one, given, out or Path(temporary), build=not full)
    found = compare(now, before, {} if full else rules, rtol)
    if as_json:
        about = {"notebook": notebook, "figure": figure, "against": folder if before else "tolerances.toml"}
        printed({**about, **found})
    else:
        against = folder if before else "tolerances.toml alone: nothing was built here"
        _say(f"{notebook}, which draws {figure}," if figure else notebook, against, found)
        if figure and not full and figure in (before or {}).get("of_full_run", ()):
            print(f"{figure} shows the full run in the book: `aps verify {figure} --full` compares with that")
    if found["differs"]:
        raise typer.Exit(FAILED)


def check_rtol(rtol: float) -> None:
    """Raise ValueError for an --rtol to which all numbers, or none, would be the same."""
    if not math.isfinite(rtol):
        raise ValueError(f"--rtol {rtol}: expected a finite number of at least 0")


def compare(now: dict, before: dict | None, rules: dict, rtol: float) -> dict[str, Any]:
    """{"same": n, "within": [...], "differs": [...], "times": n}: each number of a record against an earlier one and
    against its tolerance.

    An entry is {"key", "value", "was", "why"}. Numbers that only one of the records has differ. "within" are numbers
    that moved by more than rtol, within three standard errors or their tolerance.
    """
    from aps_book.record import tolerances

    outside = {line.split(": ")[1].split(" ")[0]: line for line in tolerances.check(now, rules)}
    found: dict[str, Any] = {"same": 0, "within": [], "differs": [], "times": 0}
    keys = [*now["numbers"], *(key for key in (before or now)["numbers"] if key not in now["numbers"])]
    for key in [*keys, *(key for key in outside if key not in keys)]:
        new, old = (record and record["numbers"].get(key) for record in (now, before))
        entry = {"key": key, "value": new and new["value"], "was": old and old["value"]}
        if key in outside:
            found["differs"].append({**entry, "why": outside[key]})
        elif before is None:
            found["same"] += key in rules
        elif new is None or old is None:
            found["differs"].append({**entry, "why": "stands in one of the two records only"})
        elif TIMES.search(key) or new["unit"] == "s":
            found["times"] += 1
        elif math.isclose(new["value"], old["value"], rel_tol=rtol, abs_tol=1e-12):
            found["same"] += 1
        elif key in rules:
            found["within"].append({**entry, "why": "within tolerances.toml"})
        elif old["se"] and abs(new["value"] - old["value"]) <= 3 * old["se"]:
            found["within"].append({**entry, "why": f"within three standard errors of {old['se']:.3g}"})
        else:
            found["differs"].append({**entry, "why": f"expected {old['value']:.6g} to {rtol:g}"})
    return found


def _record(path: Path) -> dict | None:
    from aps_book.record import load

    return load(path) if path.is_file() else None


def _say(what: str, against: str, found: dict) -> None:
    print(f"{what} against {against}")
    for kind in ("differs", "within"):
        for one in found[kind]:
            print(f"  {kind:8} {one['key']}: {short(one['value'])}, was {short(one['was'])}; {one['why']}")
    print(
        f"{found['same']} numbers are the same, {len(found['within'])} moved within their range, "
        f"{len(found['differs'])} differ; {found['times']} times are not compared"
    )


def short(value: float | None) -> str:
    """A number of a record as a line shows it."""
    return "missing" if value is None else f"{value:.6g}"
