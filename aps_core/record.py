"""Results of a notebook: what it writes, and what the book reads.

A notebook calls `start` right after its parameters cell, stores every number with `Run.number`, shows its
figures and tables through the run, and ends with `Run.finish`, which writes ``<notebook>.json``:

    {"schema": 1, "notebook": ..., "parameters": {...}, "numbers": {key: {"value", "se", "unit"}},
     "figures": [...], "provenance": {"commit", "modified", "weights", "data", "device", "versions", ...}}

The book's build and the full-size runs under ``weights/results`` write the same schema.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import os
import re
import string
import time
import tomllib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from aps_core import _provenance, _tables
from aps_core._rules import Rule, between, boolean, check_parameters, integer, list_of, one_of, optional, text

__all__ = [
    "Run", "start", "load", "save", "full_run", "paper_value", "check",
    "Rule", "between", "boolean", "integer", "list_of", "one_of", "optional", "text",
]

SCHEMA = 1
_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_PACKAGE = Path(__file__).resolve().parent


def start(
    notebook: str,
    namespace: Mapping[str, Any],
    rules: Mapping[str, Rule],
    directory: str | os.PathLike | None = None,
) -> Run:
    """Check the parameters of a notebook and start its record.

    Args:
      notebook: the notebook's name, without folder and suffix.
      namespace: ``globals()`` right after the parameters cell. Modules, functions and names with a leading
        underscore are not parameters.
      rules: one rule for each parameter, such as ``{"mask_fraction": between(0, 1, open=True)}``.
      directory: where the record and its figures are written; by default the environment variable
        APS_RESULTS_DIR, or else ``results`` in the working directory.

    Raises:
      ValueError: a parameter without a rule (the message names the nearest one that has one), a rule without
        its parameter, or a value outside its rule.
      TypeError: a value of the wrong type.
    """
    parameters = check_parameters(namespace, rules)
    return Run(notebook, parameters, Path(directory or os.environ.get("APS_RESULTS_DIR") or "results"))


class Run:
    """The record of one notebook while it runs. Made by `start`.

    Attributes:
      notebook: the notebook's name.
      parameters: the checked parameters.
      directory: where `figure` and `finish` write.
    """

    def __init__(self, notebook: str, parameters: Mapping[str, Any], directory: Path):
        self.notebook = notebook
        self.parameters = dict(parameters)
        self.directory = directory
        self._numbers: dict[str, dict[str, Any]] = {}
        self._figures: list[str] = []
        self._weights: dict[str, str] = {}
        self._data: dict[str, str] = {}
        self._commit = _provenance.commit()
        self._begun = time.monotonic()

    def number(self, key: str, value: Any, se: Any = None, unit: str | None = None) -> float:
        """Store one number and return it as a float.

        Args:
          key: lower-case words joined by dots, such as ``"test.aps_n1.psnr"``.
          value: a finite scalar.
          se: its standard error, if it has one.
          unit: its unit, if it has one.

        Raises:
          ValueError: a key of another form, a key used before, a value that is not finite, a negative se.
          TypeError: a value that is not a real scalar.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"key {key!r}: expected lower-case words joined by dots")
        if key in self._numbers:
            raise ValueError(f"key {key!r} was used before: each number is stored once")
        value, se = _scalar(key, value), None if se is None else _scalar(f"standard error of {key}", se)
        if se is not None and se < 0:
            raise ValueError(f"standard error of {key} = {se}: expected a number of at least 0")
        self._numbers[key] = {"value": value, "se": se, "unit": unit}
        return value

    def mean(self, key: str, values: Any, unit: str | None = None) -> float:
        """Store the mean of independent values, with its standard error s / sqrt(n).

        Raises:
          ValueError: fewer than two values, or values that are not finite; and as `number`.
        """
        values = np.asarray(values, dtype=np.float64).ravel()
        if values.size < 2:
            raise ValueError(f"{key}: expected at least two values, got {values.size}")
        return self.number(key, values.mean(), values.std(ddof=1) / math.sqrt(values.size), unit)

    def numbers(self, prefix: str, values: Mapping[str, Any], unit: str | None = None) -> None:
        """Store several numbers as ``prefix.name``; a pair is a value with its standard error."""
        for name, value in values.items():
            value, se = value if isinstance(value, tuple) else (value, None)
            self.number(f"{prefix}.{name}", value, se, unit)

    def uses_weights(self, *things: Any) -> None:
        """Note the weights that the notebook uses: paths, or cards with `name` and `sha256`."""
        self._weights.update(_provenance.identify(thing) for thing in things)

    def uses_data(self, *things: Any) -> None:
        """Note the data that the notebook uses: paths, or data sets with `name`, `split` and `sha256`."""
        self._data.update(_provenance.identify(thing) for thing in things)

    def figure(self, fig: Any, name: str, dpi: int = 150) -> None:
        """Save a matplotlib figure as ``<notebook>-<name>.svg`` beside the record, show it, and close it.

        The same figure gives the same file. Caption and alt text stand in the metadata of the cell:
        ``mystnb={"image": {"alt": ...}, "figure": {"caption": ..., "name": ...}}``.

        Args:
          fig: the figure.
          name: lower-case letters, digits, hyphens and underscores.
          dpi: resolution of the parts that are rasterized.

        Raises:
          ValueError: a name of another form or used before.
        """
        import matplotlib
        from matplotlib import pyplot

        file = f"{self.notebook}-{name}.svg"
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise ValueError(f"figure name {name!r}: expected lower-case letters, digits, hyphens and underscores")
        if file in self._figures:
            raise ValueError(f"figure name {name!r} was used before")
        self.directory.mkdir(parents=True, exist_ok=True)
        part = self.directory / (file + ".part")
        with matplotlib.rc_context({"svg.hashsalt": file}):
            fig.savefig(part, format="svg", dpi=dpi, bbox_inches="tight", facecolor="white", metadata={"Date": None})
        os.replace(part, self.directory / file)
        pyplot.close(fig)
        self._figures.append(file)
        _show({"image/svg+xml": (self.directory / file).read_text("utf-8"), "text/plain": file})

    def view(self, html: str, name: str, title: str, height: int = 460) -> None:
        """Save a page of its own as ``<notebook>-<name>.html`` beside the record and show it in a frame, loaded when it comes into sight.

        Args:
          html: the whole page, which needs nothing from elsewhere.
          name: as in `figure`.
          title: what the frame shows, for those who cannot see it.
          height: of the frame, in pixels.

        Raises:
          ValueError: a name of another form or used before.
        """
        file = f"{self.notebook}-{name}.html"
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise ValueError(f"view name {name!r}: expected lower-case letters, digits, hyphens and underscores")
        if file in self._figures:
            raise ValueError(f"view name {name!r} was used before")
        self.directory.mkdir(parents=True, exist_ok=True)
        part = self.directory / (file + ".part")
        part.write_text(html, "utf-8")
        os.replace(part, self.directory / file)
        self._figures.append(file)
        style = f"width: 100%; height: {height}px; border: 1px solid #d9d9d9"
        frame = f'<iframe class="aps-view" src="{file}" title="{escape(title)}" loading="lazy" style="{style}"></iframe>'
        _show({"text/html": frame, "text/plain": file})

    def table(
        self,
        rows: Mapping[str, str],
        columns: Mapping[str, tuple[str, str]],
        prefix: str | None = None,
        paper: str | None = None,
        caption: str | None = None,
    ) -> None:
        """Show a table of stored numbers: for each column the paper, the full run and this build.

        The number in a cell has the key ``prefix.row.column``, the paper's value the key ``paper.row.column``.

        Args:
          rows: label by row key, in order.
          columns: (label, format) by column key, in order, such as ``{"psnr": ("PSNR [dB]", ".2f")}``.
          prefix: what stands before the row in the keys of the run.
          paper: what stands before the row in the keys of ``paper_values.toml``; without it the table has no
            column of the paper.
          caption: a sentence above the table.

        Raises:
          KeyError: no cell of a row stands in this run, the full run or the paper; an unknown `paper`.
        """
        full = full_run(self.notebook)
        _show(_tables.comparison(self.as_dict(), full, rows, columns, prefix, paper, caption, paper_value))

    def say(self, template: str) -> None:
        """Show Markdown with numbers of the record filled in, so that no number of the text is typed.

        ``{key:.2f}`` is a number of this run, ``{key.se:.2f}`` its standard error, ``{full/key:.2f}`` the
        number of the full run ("not run" without one), ``{paper/key:.2f}`` the paper's and
        ``{parameters/name}`` a parameter. A brace of the text is doubled.

        Raises:
          KeyError: there is no such number or parameter.
        """
        filled = _Numbers(self.as_dict(), full_run(self.notebook)).format(template)
        _show({"text/markdown": filled, "text/plain": filled})

    def as_dict(self) -> dict[str, Any]:
        """The record so far, without the provenance that `finish` adds."""
        return {
            "schema": SCHEMA,
            "notebook": self.notebook,
            "parameters": self.parameters,
            "numbers": self._numbers,
            "figures": self._figures,
        }

    def finish(self) -> None:
        """Write ``<notebook>.json`` and show a line with its provenance."""
        head, modified = self._commit
        provenance = {
            "commit": head,
            "modified": modified,
            "weights": dict(sorted(self._weights.items())),
            "data": dict(sorted(self._data.items())),
            **_provenance.machine(),
            "seconds": round(time.monotonic() - self._begun, 1),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        record = {**self.as_dict(), "provenance": provenance}
        save(record, self.directory / f"{self.notebook}.json")
        _show(_tables.provenance(record))


def save(record: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Write a record as JSON, to a temporary name first, and return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    os.replace(part, path)
    return path


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not JSON, or not a record of this schema.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: expected a result record of schema {SCHEMA}")
    return record


def full_run(notebook: str) -> dict[str, Any] | None:
    """The record of the full-size run of a notebook, or None when it was not run."""
    for folder in (_PACKAGE / "_weights", _PACKAGE.parent / "weights"):
        path = folder / "results" / f"{notebook}.json"
        if path.exists():
            return load(path)
    return None


@functools.cache
def _paper_values() -> dict[str, Any]:
    return tomllib.loads((_PACKAGE / "paper_values.toml").read_text("utf-8"))


def paper_value(key: str) -> float | str | None:
    """What a source paper reports, such as ``"aps.table2.era5_impute.dps.psnr"``.

    Returns:
      The number, None where the paper has none for that row and column, or a text such as "not legible in
      our copy".

    Raises:
      KeyError: the table itself (all but the last two words of the key) is unknown.
    """
    words, node = key.split("."), _paper_values()
    for depth, word in enumerate(words):
        if "missing" in node:
            return node["missing"]
        if word not in node:
            if depth < len(words) - 2:
                known = ", ".join(repr(name) for name, child in node.items() if isinstance(child, dict))
                raise KeyError(f"paper value {key!r}: {word!r} is unknown; expected one of {known}")
            return None
        node = node[word]
    return None if isinstance(node, dict) else node


def _scalar(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "fiu":
        raise TypeError(f"{name} = {value!r}: expected a real scalar")
    if not np.isfinite(array):
        raise ValueError(f"{name} = {float(array)}: expected a finite number")
    return float(array)


class _Numbers(string.Formatter):
    """Fills {key:format} from a record; keys have dots and slashes, which plain str.format cannot have."""

    def __init__(self, record: Mapping[str, Any], full: Mapping[str, Any] | None):
        self.record, self.full = record, full

    def get_field(self, field_name, args, kwargs):
        source, _, key = field_name.rpartition("/")
        if source == "paper":
            value = paper_value(key)
            return ("–" if value is None else value), key
        if source == "parameters":
            return self.record["parameters"][key], key
        if source == "full" and self.full is None:
            return "not run", key
        numbers = (self.full if source == "full" else self.record)["numbers"]
        column = "se" if key not in numbers and key.endswith(".se") else "value"
        key = key.removesuffix(".se") if column == "se" else key
        if source not in ("", "full") or key not in numbers or numbers[key][column] is None:
            raise KeyError(f"{field_name!r}: the record has no such number")
        return numbers[key][column], key

    def format_field(self, value, format_spec):
        return value if isinstance(value, str) else format(value, format_spec)


def _show(bundle: Mapping[str, str]) -> None:
    from IPython.display import display

    display(dict(bundle), raw=True)
