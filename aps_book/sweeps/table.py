"""The results of a sweep as one tidy table: a row for each number of each job."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

from aps_book.notebooks import Notebook
from aps_book.record import load
from aps_book.sweeps import engine
from aps_core.files import write_atomically

NO_PYARROW = 3  # exit code of workflow/parquet.py
OF_NUMBERS = ["key", "value", "se", "unit", "n", "seconds", "commit"]


def column(name: str) -> str:
    """The column of a parameter: its name, or ``parameter NAME`` where the table has a column of that name."""
    return f"parameter {name}" if name in ["job", *OF_NUMBERS] else name


def gather(folder: Path, notebook: Notebook, jobs: dict[str, dict[str, Any]], varied: list[str]) -> pd.DataFrame:
    """Columns job, the varied parameters, key, value, se, unit, n, seconds and commit of all jobs that have a record."""
    rows = []
    for job, parameters in jobs.items():
        path = folder / "runs" / job / f"{notebook.name}.json"
        if not path.is_file():
            continue
        record = load(path)
        everything = {**notebook.parameters, **parameters}
        chosen = {column(name): _cell(everything[name]) for name in varied}
        made = {"seconds": record["provenance"]["seconds"], "commit": record["provenance"]["commit"]}
        for key, number in record["numbers"].items():
            n = {"n": number.get("n")}
            values = {name: number[name] for name in ("value", "se", "unit")}
            rows.append({"job": job, **chosen, "key": key, **values, **n, **made})
    columns = ["job", *map(column, varied), *OF_NUMBERS]
    found = pd.DataFrame(rows, columns=columns)
    for name in map(column, varied):
        if (found[name] == "None").any():  # a column of numbers holds no word
            found[name] = found[name].astype(str)
    return found.astype({"value": float, "se": float, "n": "Int64"})


def missing(folder: Path, name: str, jobs: dict[str, dict[str, Any]]) -> dict[str, Path | None]:
    """Jobs without a record, each with the notebook of what it did, or None where it did not begin."""
    found = {}
    for job in jobs:
        if not (folder / "runs" / job / f"{name}.json").is_file():
            ran = folder / "runs" / job / "running" / f"{name}.ipynb"
            found[job] = ran if ran.is_file() else None
    return found


def write(table: pd.DataFrame, folder: Path) -> Path:
    """Write table.csv and, where this environment or that of Snakemake has pyarrow, table.parquet beside it, whose columns
    have types; the path of the latter where there is one. That of an earlier run goes.
    """
    plain, typed = folder / "table.csv", folder / "table.parquet"
    write_atomically(plain, table.to_csv(index=False).encode())
    typed.unlink(missing_ok=True)
    columns = json.dumps({name: _column(table[name]) for name in table.columns})
    for python in _interpreters():
        command = [str(python), str(engine.WORKFLOW / "parquet.py"), str(typed)]
        done = subprocess.run(command, input=columns, capture_output=True, text=True)
        if done.returncode == 0:
            return typed
        if done.returncode != NO_PYARROW:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    return plain


def _interpreters() -> list[Path]:
    """This one where it has pyarrow, and that beside Snakemake where there is one."""
    try:
        beside = engine.find().parent / "python"
    except FileNotFoundError:
        beside = None
    own = [Path(sys.executable)] if find_spec("pyarrow") else []
    return own + ([beside] if beside is not None and beside.is_file() else [])


def _column(values: pd.Series) -> tuple[str, list[Any]]:
    """Kind and values of a column for workflow/parquet.py; what is neither flag nor number is text."""
    kinds = (("flag", is_bool_dtype), ("count", is_integer_dtype), ("number", is_float_dtype))
    kind = next((kind for kind, has in kinds if has(values)), "text")
    cast = {"flag": bool, "count": int, "number": float, "text": str}[kind]
    return kind, [None if pd.isna(value) else cast(value) for value in values]


def _cell(value: Any) -> Any:
    """A parameter as one cell: lists as JSON, None as a word, since a table takes it for a gap."""
    return "None" if value is None else json.dumps(value) if isinstance(value, list | dict) else value
