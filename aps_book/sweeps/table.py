"""The results of a sweep as one tidy table: a row for each number of each job."""

import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from aps_book.notebooks import Notebook
from aps_book.record import load
from aps_core.files import write_atomically

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
    """table.parquet where pyarrow is installed, else table.csv; the one of an earlier run goes."""
    kind = "parquet" if find_spec("pyarrow") else "csv"
    if kind == "parquet":
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        written = content.getvalue()
    else:
        written = table.to_csv(index=False).encode()
    (folder / ("table.csv" if kind == "parquet" else "table.parquet")).unlink(missing_ok=True)
    return write_atomically(folder / f"table.{kind}", written)


def _cell(value: Any) -> Any:
    """A parameter as one cell: lists as JSON, None as a word, since a table takes it for a gap."""
    return "None" if value is None else json.dumps(value) if isinstance(value, list | dict) else value
