"""What a sweep runs: read from YAML (a grid or a list) or CSV, every set of parameters checked before anything starts."""

import csv
import itertools
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aps_book import notebooks
from aps_book.notebooks import Notebook

KEYS = {"notebook", "parameters", "grid", "list", "numbers"}


@dataclass(frozen=True)
class Plan:
    """jobs: {identity: parameters}, in the order of the file. varied: names that have more than one value. beside: the
    folder of the file, in which the jobs run, so that paths among the parameters are relative to it. numbers: keys of the
    record that the page shows, () for those of tolerances.toml.
    """

    notebook: Notebook
    jobs: dict[str, dict[str, Any]]
    beside: Path
    numbers: tuple[str, ...] = ()

    @property
    def varied(self) -> list[str]:
        """Parameters that are not the same in all jobs; one that a job leaves out has its default there."""
        sets = [{**self.notebook.parameters, **job} for job in self.jobs.values()]
        named = dict.fromkeys(name for job in self.jobs.values() for name in job)
        return [name for name in named if any(one[name] != sets[0][name] for one in sets)]

    @property
    def _notebook(self) -> str:
        """The notebook as `aps run` takes it: its name where it is the book's, else its path."""
        own = self.notebook.path.parent == notebooks.ROOT / "notebooks"
        return self.notebook.name if own else str(self.notebook.path.resolve())

    def write(self, folder: Path) -> Path:
        """Write plan.json and parameters/JOB.json for the Snakefile; returns the path of the plan."""
        from aps_core.files import write_atomically

        for job, parameters in self.jobs.items():
            write_atomically(folder / "parameters" / f"{job}.json", json.dumps(parameters, indent=1) + "\n")
        plan = {
            "name": self.notebook.name,
            "notebook": self._notebook,
            "command": shlex.join([sys.executable, "-m", "aps_book.cli.app"]),
            "beside": str(self.beside.resolve()),
            "jobs": self.jobs,
            "numbers": self.numbers,
        }
        return write_atomically(folder / "plan.json", json.dumps(plan, indent=1) + "\n")

    def check_folder(self, folder: Path) -> None:
        """Raise ValueError where ``folder`` has results of another sweep that would be taken for those of this one: a set of
        parameters is known by its values alone, not by its notebook or by the files that it names.
        """
        try:
            earlier = json.loads((folder / "plan.json").read_text("utf-8"))
            name, notebook, beside = earlier["name"], Path(earlier["notebook"]), Path(earlier["beside"])
            shared = [parameters for job, parameters in self.jobs.items() if job in earlier["jobs"]]
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or none that can be read
            return
        # what is no longer there was moved, with the results that it has
        another = str(notebook) != self._notebook and (notebook.is_file() or not notebook.is_absolute())
        elsewhere = beside.is_dir() and not beside.samefile(self.beside)
        named = any(isinstance(value, str) for parameters in shared for value in parameters.values())
        if shared and name == self.notebook.name and (another or (elsewhere and named)):
            raise ValueError(
                f"--out {folder}: it has the same sets of parameters of {notebook} for a file in {beside}, expected another folder"
            )


def read(path: Path, name: str | None = None) -> Plan:
    """The Plan in a YAML or CSV file; ``name``, the notebook, where the file names none.

    Raises FileNotFoundError; ValueError or TypeError naming the file for another form, an unknown notebook or parameter, a
    value out of range, or a set that stands twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"sweep {str(path)!r}: there is no such file")
    try:
        if path.suffix.lower() == ".csv":
            found, rows = {}, _csv_rows(path)
            own = _notebook_of_rows(rows)
        else:
            found = _yaml(path)
            rows, own = _rows(found), found.get("notebook")
        if own and name and str(own) != name:
            raise ValueError(f"it names the notebook {own!r}, --notebook says {name!r}: expected it in one of them")
        named = str(own or name or "")
        if not named:
            raise ValueError("names no notebook; add notebook: NAME, a column notebook, or --notebook NAME")
        beside = path.parent / named
        one = notebooks.find(str(beside) if beside.suffix and beside.is_file() else named)
        jobs = _jobs(one, found.get("parameters") or {}, rows)
        numbers = tuple(found.get("numbers") or ())
        if odd := [key for key in numbers if not isinstance(key, str)]:
            raise TypeError(f"numbers: expected keys of the record, got {odd[0]!r}")
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise type(error)(f"sweep {str(path)!r}: {error}") from error
    return Plan(one, jobs, path.parent, numbers)


def _yaml(path: Path) -> dict[str, Any]:
    from aps_book import parameter_files

    found = parameter_files.read(path)
    if not isinstance(found, dict) or set(found) - KEYS or not {"grid", "list"} & set(found):
        raise ValueError(f"expected notebook, and grid or list, and perhaps parameters and numbers, got {found!r}")
    for key, kind in (("parameters", dict), ("grid", dict), ("list", list), ("numbers", list)):
        if found.get(key) is not None and not isinstance(found[key], kind):
            raise TypeError(f"{key} = {found[key]!r}: expected a {'table' if kind is dict else 'list'}")
        if key in ("grid", "list") and key in found and not found[key]:
            raise ValueError(f"{key} = {found[key]!r}: expected at least one entry")
    return found


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the grid, for each entry of the list."""
    grid = found.get("grid") or {}
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise TypeError(f"grid, {name} = {values!r}: expected a list of values")
    if twice := set(grid) & set(found.get("parameters") or {}):  # which those of the grid would hide in every set
        raise ValueError(f"{sorted(twice)[0]!r} stands in grid and in parameters: expected it in one of them")
    listed = found.get("list") or [{}]
    if bad := [entry for entry in listed if not isinstance(entry, dict)]:
        raise TypeError(f"list: expected names with values in each entry, got {bad[0]!r}")
    combined = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for entry in listed:
        if twice := set(entry) & set(grid):
            raise ValueError(f"{sorted(twice)[0]!r} stands in grid and in list: expected it in one of them")
    return [{**entry, **values} for entry in listed for values in combined]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise ValueError(f"expected text in UTF-8: {error}") from error
    except csv.Error as error:
        raise ValueError(f"expected comma-separated values: {error}") from error
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} has no name, expected none behind the last comma of the first line"
        )
    for i, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"line {i}: expected {len(names)} columns")
    if not rows:
        raise ValueError("it holds no row")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"column {twice[0]!r} stands twice")
    return [{name.strip(): value.strip() for name, value in row.items()} for row in rows]


def _notebook_of_rows(rows: list[dict]) -> str | None:
    """The one notebook of a column notebook, which is taken out of the rows; None without such a column."""
    found = {row.pop("notebook") for row in rows if "notebook" in row} or {None}
    if len(found) > 1:
        raise ValueError(f"column notebook: expected one notebook, got {', '.join(sorted(map(str, found)))}")
    return found.pop()


def _jobs(one: Notebook, common: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = {}
    for i, row in enumerate(rows, 1):
        texts = {k: one.parsed(k, v) if isinstance(v, str) else v for k, v in {**common, **row}.items()}
        try:
            checked = one.checked(texts)
        except (TypeError, ValueError) as error:
            raise type(error)(f"set {i}: {error}") from error
        job = notebooks.identity(checked)
        if job in jobs:
            raise ValueError(f"set {i}: the parameters {checked} stand in an earlier set too")
        jobs[job] = checked
    return jobs
