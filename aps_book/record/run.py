"""Results of a notebook: what it writes, and what the book reads.

A notebook calls `start` right after its parameters cell, stores every number with `Run.number`, shows its
figures and tables through the run, and ends with `Run.finish`, which writes ``<notebook>.json``:

    {"schema": 1, "notebook": ..., "parameters": {...}, "numbers": {key: {"value", "se", "unit"[, "n"]}},
     "figures": [...], "of_full_run": [...],
     "provenance": {"commit", "modified", "command", "weights", "data", "device", "versions", ...}}

The book's build and the full-size runs under ``weights/results`` write the same schema.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import json
import math
import os
import re
import string
import time
import tomllib
from collections.abc import Callable, Mapping
from html import escape, unescape
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from aps_book.record import figure_data, provenance, tables, verdicts
from aps_book.record.rules import (
    Rule,
    between,
    boolean,
    check_parameters,
    integer,
    list_of,
    one_of,
    optional,
    seed,
    text,
)
from aps_book.record.verdicts import Difference
from aps_book.record.words import shown
from aps_core import checks, files
from aps_core.files import write_atomically

__all__ = [
    "Difference",
    "Rule",
    "Run",
    "between",
    "boolean",
    "full_run",
    "integer",
    "list_of",
    "load",
    "one_of",
    "optional",
    "paper_value",
    "save",
    "seed",
    "start",
    "text",
]

SCHEMA = 1
_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_NOTEBOOK = re.compile(r"[a-z][a-z0-9_]*")


def start(
    notebook: str, namespace: Mapping[str, Any], rules: Mapping[str, Rule], directory: str | os.PathLike | None = None
) -> Run:
    """Check the parameters of a notebook and start its record.

    Args:
      notebook: the notebook's name, without folder and suffix: lower-case letters, digits and underscores.
      namespace: ``globals()`` right after the parameters cell. Modules, functions and names with a leading
        underscore are not parameters.
      rules: one rule for each parameter, such as ``{"mask_fraction": between(0, 1, open=True)}``.
      directory: where the record and its figures are written; by default the environment variable
        APS_RESULTS_DIR, or else ``results`` in the working directory.

    Raises:
      ValueError: a name of another form, a parameter without a rule (the message names the nearest one that has
        one), a rule without its parameter, or a value outside its rule.
      TypeError: a value of the wrong type.
    """
    _check_notebook(notebook)
    parameters = check_parameters(namespace, rules)
    return Run(notebook, parameters, Path(directory or os.environ.get("APS_RESULTS_DIR") or "results"))


def _check_notebook(name: Any) -> None:
    """The name becomes the beginning of the names of files: nothing in it may lead elsewhere."""
    if not isinstance(name, str) or not _NOTEBOOK.fullmatch(name):
        raise ValueError(f"notebook {name!r}: expected a name of lower-case letters, digits and underscores")


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
        self._drawn: dict[str, Mapping[str, Any]] = {}  # arguments of charts by name
        self._labels: set[str] = set()
        self._of_full_run: list[str] = []  # labels of figures that show the full run
        self._weights: dict[str, str] = {}
        self._data: dict[str, str] = {}
        self._commit = provenance.commit()
        self._begun = time.monotonic()

    def number(self, key: str, value: Any, se: Any = None, unit: str | None = None, n: int | None = None) -> float:
        """Store one number and return it as a float.

        Args:
          key: lower-case words joined by dots, such as ``"test.aps_n1.psnr"``.
          value: a finite scalar.
          se: its standard error, if it has one.
          unit: its unit, if it has one.
          n: on how many signals it stands, where that is known: a table then refuses to put it beside numbers on
            others without a word.

        Raises:
          ValueError: a key of another form, a key used before, a value that is not finite, a negative se, n below 1.
          TypeError: a value that is not a real scalar, an n that is no integer, a unit that is no text.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"key {key!r}: expected lower-case words joined by dots")
        if key in self._numbers:
            raise ValueError(f"key {key!r} was used before: each number is stored once")
        value, se = _scalar(key, value), None if se is None else _scalar(f"standard error of {key}", se)
        if se is not None and se < 0:
            raise ValueError(f"standard error of {key} = {se}: expected a number of at least 0")
        if unit is not None and not isinstance(unit, str):
            raise TypeError(f"unit of {key} = {unit!r}: expected a text or None")
        n = None if n is None else checks.count(f"n of {key}", n)
        self._numbers[key] = {"value": value, "se": se, "unit": unit} | ({} if n is None else {"n": n})
        return value

    def mean(self, key: str, values: Any, unit: str | None = None) -> float:
        """Store the mean of independent values, with its standard error s / sqrt(n), and n.

        Raises:
          ValueError: fewer than two values, values that are not finite or that a mask hides; and as `number`.
          TypeError: values that are no real numbers.
        """
        values = checks.real_array(key, values).ravel()
        if values.size < 2:
            raise ValueError(f"{key}: expected at least two values, got {values.size}")
        return self.number(key, values.mean(), values.std(ddof=1) / math.sqrt(values.size), unit, values.size)

    def numbers(self, prefix: str, values: Mapping[str, Any], unit: str | None = None, n: int | None = None) -> None:
        """Store several numbers as ``prefix.name``; a pair is a value with its standard error. n: as in `number`."""
        for name, value in values.items():
            if isinstance(value, tuple) and len(value) != 2:
                raise ValueError(f"{prefix}.{name} = {value!r}: expected a number, or a pair with its standard error")
            value, se = value if isinstance(value, tuple) else (value, None)
            self.number(f"{prefix}.{name}", value, se, unit, n)

    def uses_weights(self, *things: Any) -> None:
        """Note the weights that the notebook uses: paths, or cards with `name` and `sha256`."""
        self._weights.update(provenance.identify(thing) for thing in things)

    def uses_data(self, *things: Any) -> None:
        """Note the data that the notebook uses: paths, or data sets with `name`, `split` and `sha256`."""
        self._data.update(provenance.identify(thing) for thing in things)

    def figure(
        self,
        fig: Any,
        name: str,
        dpi: int = 150,
        alt: str | None = None,
        caption: str | None = None,
        label: str | None = None,
    ) -> None:
        """Save a matplotlib figure as ``<notebook>-<name>.svg`` beside the record, show it, and close it.

        The same figure gives the same file. Alt text, caption and label go into the metadata of the output, from where
        the build puts them into those of the cell, where the book's pages look for them.

        Args:
          fig: the figure.
          name: lower-case letters, digits, hyphens and underscores.
          dpi: resolution of the parts that are rasterized.
          alt: what is to be seen, for those who cannot see it.
          caption: what stands below the figure; Markdown.
          label: the name by which pages refer to the figure; by default ``fig-<notebook>-<name>``.

        Raises:
          ValueError: a name of another form or used before; alt text without a caption, or a caption without alt text.
        """
        import matplotlib
        from matplotlib import pyplot

        file = f"{self.notebook}-{name}.svg"
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise ValueError(f"figure name {name!r}: expected lower-case letters, digits, hyphens and underscores")
        if bool(alt) != bool(caption):
            raise ValueError(f"figure {name!r}: alt text and caption go together, got alt={alt!r}, caption={caption!r}")
        if file in self._figures:
            raise ValueError(f"figure name {name!r} was used before")
        drawn = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": file}):
            fig.savefig(drawn, format="svg", dpi=dpi, bbox_inches="tight", facecolor="white", metadata={"Date": None})
        write_atomically(self.directory / file, drawn.getvalue())
        pyplot.close(fig)
        self._figures.append(file)
        bundle = {"image/svg+xml": drawn.getvalue().decode(), "text/plain": file}
        if not alt:
            _show(bundle)
            return
        named = self._label(name, label)
        if named in self._labels:
            raise ValueError(f"figure {name!r}: label {named!r} was used before, pages could not tell the two apart")
        self._labels.add(named)
        _show(bundle, {"mystnb": {"image": {"alt": alt}, "figure": {"caption": caption, "name": named}}})

    def _label(self, name: str, label: str | None) -> str:
        return label or f"fig-{self.notebook}-{name}".replace("_", "-")

    def chart(
        self,
        draw: Callable[..., Any],
        name: str,
        arguments: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]],
        alt: str | Callable[[Mapping[str, Any]], str],
        caption: str,
        label: str | None = None,
        dpi: int = 150,
        told: Callable[..., str] | None = None,
    ) -> None:
        """Show ``draw(**arguments)`` as `figure` does. The arguments are kept beside the record (see
        `aps_book.record.figure_data`), and a page of the book, where APS_FULL_FIGURES is set, is drawn from those of the
        full run, which then stands under it as its provenance. The caption ends with whose numbers it shows.

        Arguments that the numbers of a record tell are given as a function of the record: then none are kept, and a full
        run that was made before the figure was is enough. alt: likewise. told: a function of the same arguments (see
        `aps_book.figures.told`), whose text follows the alt text: what curves do is never typed.

        Raises:
          TypeError: an argument that cannot be kept.
          ValueError: as `figure`; the full run kept other arguments than ``draw`` takes.
        """
        record, chosen, full = self._shown(name, arguments)
        try:
            signature(draw).bind(**chosen)
        except TypeError as error:
            what = f"the full run kept other arguments ({error}): `make full NOTEBOOK={self.notebook}` renews them"
            raise ValueError(f"figure {name!r}: {what if full else error}") from error
        self.shows_full_run(self._label(name, label), full)
        caption = f"{caption} {'Full run.' if full else 'This build.'}"
        text = (alt(record) if callable(alt) else alt) + (f" {told(**chosen)}" if told else "")
        self.figure(draw(**chosen), name, dpi, text, caption, label)

    def _shown(self, name, arguments) -> tuple[dict[str, Any], Mapping[str, Any], bool]:
        """The record that a chart shows, the arguments to draw it with, and whether they are the full run's."""
        whole = full_run(self.notebook) if os.environ.get("APS_FULL_FIGURES") else None
        if callable(arguments):
            if whole is not None:
                with contextlib.suppress(KeyError):  # an older full run, without some of these numbers
                    return whole, arguments(whole), True
            return self.as_dict(), arguments(self.as_dict()), False
        self._drawn[name] = dict(arguments)
        kept = self._kept_figures()
        if name in kept:
            return whole or self.as_dict(), kept[name], True
        return self.as_dict(), arguments, False

    def shown_by(self, name: str) -> dict[str, Any]:
        """The record whose numbers the chart ``name`` shows, for its alt text and caption: the full run's or this one's."""
        full = full_run(self.notebook) if name in self._kept_figures() else None
        return self.as_dict() if full is None else full

    def _kept_figures(self) -> dict[str, dict[str, Any]]:
        return figure_data.of_full_run(self.notebook) if os.environ.get("APS_FULL_FIGURES") else {}

    def shows_full_run(self, label: str, full: bool = True) -> None:
        """Note whether the figure ``label`` shows numbers of the full run, whose provenance then stands under it."""
        if full:
            self._of_full_run.append(label)

    def view(self, html: str, name: str, title: str, height: int = 460) -> None:
        """Save a page of its own as ``<notebook>-<name>.html`` beside the record and show it in a frame, loaded when it
        comes into sight. The frame is a sandbox: its scripts run, and reach nothing of the page around it.

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
        write_atomically(self.directory / file, html)
        self._figures.append(file)
        style = f"width: 100%; height: {height}px; border: 1px solid #d9d9d9"
        frame = (
            f'<iframe class="aps-view" src="{file}" sandbox="allow-scripts" title="{escape(title)}" loading="lazy" '
            f'style="{style}"></iframe>'
        )
        _show({"text/html": frame, "text/plain": file})

    def table(
        self,
        rows: Mapping[str, str],
        columns: Mapping[str, tuple[str, str]],
        prefix: str | None = None,
        paper: str | None = None,
        caption: str | None = None,
        signals: int | str | Mapping[str, int | str] | None = None,
        paper_rows: Mapping[str, str] | None = None,
    ) -> None:
        """Show a table of stored numbers: for each column the paper and the full run, and this build in a fold below.

        The number in a cell has the key ``prefix.row.column``, the paper's value the key ``paper.row.column``.

        Args:
          rows: label by row key, in order.
          columns: (label, format) by column key, in order, such as ``{"psnr": ("PSNR [dB]", ".2f")}``.
          prefix: what stands before the row in the keys of the run.
          paper: what stands before the row in the keys of ``paper_values.toml``; without it the table has no
            column of the paper.
          caption: a sentence above the table.
          signals: on how many signals the rows stand: for rows that do not all stand on the same ones, and for records
            that do not say it. A number, or the name of the parameter or of the number that says it, for all rows or
            by row; it is asked only where the numbers of a record do not say it themselves. Each cell then says on how
            many it stands, or the caption, where all do on the same.
          paper_rows: the paper's row beside a row of another name; that row's own then stands beside nothing else.

        Raises:
          KeyError: no cell of a row stands in this run, the full run or the paper; an unknown `paper`.
          ValueError: numbers of one column stand on different numbers of signals, or have a standard error and do not
            say on how many, and `signals` is not given; a label that says APS and not what trained the flow.
        """
        full, source = full_run(self.notebook), (paper_value, signals, paper_rows)
        _show(tables.comparison(self.as_dict(), full, rows, columns, prefix, paper, caption, *source))

    def verdict(self, *differences: Difference, before: str = "", source: str = "") -> None:
        """Show what differences say, in words: "better" or "worse" with the difference, its standard error and n, and
        "not resolved" where it is smaller than two standard errors.

        Args:
          differences: one sentence each; several are shown as a list.
          before: Markdown that stands before them.
          source: "" for the numbers of this run, "full" for those of the full run. Without a full run, or where that
            has not the number, the list says "not run".

        Raises:
          KeyError: this run has no such number.
          ValueError: a number without a standard error, or nobody says n.
        """
        record = full_run(self.notebook) if source == "full" else self.as_dict()
        said = []
        for one in differences:
            if source == "full" and (record is None or one.key not in record["numbers"]):
                said.append(f"{one.this[0].upper()}{one.this[1:]} against {one.that}: not run.")
            else:
                said.append(verdicts.sentence(record, one))
        text = said[0] if len(said) == 1 and not before.endswith("\n") else "\n".join(f"- {line}" for line in said)
        joint = "" if not before or before.endswith("\n") else "\n\n" if len(said) > 1 else " "
        filled = before + joint + text
        _show({"text/markdown": filled, "text/plain": filled})

    def say(self, template: str) -> None:
        """Show Markdown with numbers of the record filled in, so that no number of the text is typed.

        ``{key:.2f}`` is a number of this run, ``{key.se:.2f}`` its standard error, ``{full/key:.2f}`` the
        number of the full run ("not run" without one), ``{paper/key:.2f}`` the paper's and
        ``{parameters/name}`` a parameter, whose text stays text: nothing in it is read as Markdown or HTML. A brace of
        the text is doubled.

        Raises:
          KeyError: there is no such number or parameter.
        """
        filled = _Numbers(self.as_dict(), full_run(self.notebook)).format(template)
        _show({"text/markdown": filled, "text/plain": unescape(filled)})

    def stated(self, parameter: str) -> str:
        """A parameter of this run and, where it is another one there, of the full run, in words: for labels and captions
        that stand over the numbers of both.

        Raises KeyError for an unknown parameter.
        """
        here, full = self.parameters[parameter], full_run(self.notebook)
        there = here if full is None else full["parameters"].get(parameter, here)
        shown = [f"{value:,}" if isinstance(value, int) else f"{value}" for value in (here, there)]
        return shown[0] if here == there else f"{shown[0]} (full run: {shown[1]})"

    def as_dict(self) -> dict[str, Any]:
        """The record so far, without the provenance that `finish` adds."""
        return {
            "schema": SCHEMA,
            "notebook": self.notebook,
            "parameters": self.parameters,
            "numbers": self._numbers,
            "figures": self._figures,
            "of_full_run": self._of_full_run,
        }

    def finish(self) -> None:
        """Write ``<notebook>.json`` and show a line with its provenance."""
        head, modified = self._commit
        source = {
            "commit": head,
            "modified": modified,
            "command": provenance.command(),
            "weights": dict(sorted(self._weights.items())),
            "data": dict(sorted(self._data.items())),
            **provenance.machine(),
            "seconds": round(time.monotonic() - self._begun, 1),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        record = {**self.as_dict(), "provenance": source}
        if self._drawn:
            write_atomically(self.directory / figure_data.file_name(self.notebook), figure_data.packed(self._drawn))
        save(record, self.directory / f"{self.notebook}.json")
        _show(tables.provenance(record))


def save(record: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Write a record as JSON, to a temporary name first, and return the path."""
    return write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not JSON, not a record of this schema, or holds a number that is not finite.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"), object_pairs_hook=_once)
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: expected a result record of schema {SCHEMA}")
    parts = {"notebook": str, "parameters": dict, "numbers": dict, "figures": list, "provenance": dict}
    for name, kind in parts.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{path}: a record needs {name}, a {kind.__name__}; got {record.get(name)!r}")
    for key, number in record["numbers"].items():
        _check_number(path, key, number)
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; of two entries of one name Python would keep the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _check_number(path: str | os.PathLike, key: str, number: Any) -> None:
    """As `Run.number` stores it: the file may have been written by hand."""
    if not isinstance(number, dict) or {"value", "se", "unit"} - set(number):
        raise ValueError(f"{path}: {key} = {number!r}, expected value, se and unit")
    for name in ("value", "se"):
        if name == "se" and number["se"] is None:
            continue
        if isinstance(number[name], bool) or not isinstance(number[name], (int, float)):
            raise ValueError(f"{path}: {name} of {key} = {number[name]!r}, expected a number")
        if not math.isfinite(checks.as_float(number[name])):
            raise ValueError(f"{path}: {name} of {key} = {number[name]!r:.80}, expected a finite number")
    if number["se"] is not None and number["se"] < 0:
        raise ValueError(f"{path}: se of {key} = {number['se']}, expected at least 0")
    if not isinstance(number["unit"], (str, type(None))):
        raise ValueError(f"{path}: unit of {key} = {number['unit']!r}, expected a text or null")
    try:
        checks.count("n", 1 if number.get("n") is None else number["n"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {key}: {error}") from None


def full_run(notebook: str) -> dict[str, Any] | None:
    """The record of the full-size run of a notebook, or None when it was not run.

    Numbers that a later, smaller run added to it (``<notebook>.added-NAME.json``) are among its numbers where it has
    none of that name; the records of such runs stand under ``added``.
    """
    path = files.find("weights", "results", f"{notebook}.json")
    if path is None:
        return None
    paths = [Path(path), *sorted(Path(path).parent.glob(f"{notebook}.added-*.json"))]
    full = _with_added(tuple((p, (s := p.stat()).st_mtime_ns, s.st_size, s.st_ino) for p in paths))
    return {**full, "numbers": dict(full["numbers"])}  # of what is kept for the next call


@functools.lru_cache(64)
def _with_added(versions: tuple[tuple[Path, int, int, int], ...]) -> dict[str, Any]:
    """The record of the first of these files with the numbers of the others, read once for each version of the files: a page
    asks for thousands of numbers.
    """
    path, *others = [version[0] for version in versions]
    full = load(path)
    added = {p.stem.split(".added-")[1]: load(p) for p in others}
    for record in added.values():
        n = record["parameters"].get("n_test")  # what does not say n itself stands on the signals of the smaller run
        numbers = {key: {**number, "n": number.get("n") or n} for key, number in record["numbers"].items()}
        full["numbers"] = {**numbers, **full["numbers"]}
    return {**full, "added": added} if added else full


@functools.cache
def _paper_values() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("paper_values.toml").read_text("utf-8"))


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
        if not isinstance(node, dict):
            raise KeyError(f"paper value {key!r}: {'.'.join(words[:depth])!r} is a number, nothing stands below it")
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
    if array.shape != () or array.dtype.kind not in "fiu" or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} = {value!r}: expected a real scalar")
    if not math.isfinite(found := checks.as_float(array)):
        raise ValueError(f"{name} = {found}: expected a finite number")
    return found


def _as_text(value: Any) -> Any:
    """A parameter as it can stand in Markdown: in texts every character that could mean something is an entity."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if not isinstance(value, str):
        return value
    return "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in value)


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
            return _as_text(self.record["parameters"][key]), key
        if source == "full" and self.full is None:
            return "not run", key
        numbers = (self.full if source == "full" else self.record)["numbers"]
        column = "se" if key not in numbers and key.endswith(".se") else "value"
        key = key.removesuffix(".se") if column == "se" else key
        if source not in ("", "full") or key not in numbers or numbers[key][column] is None:
            raise KeyError(f"{field_name!r}: the record has no such number")
        return numbers[key][column], key

    def format_field(self, value, format_spec):
        return value if isinstance(value, str) else shown(value, format_spec)


def _show(bundle: Mapping[str, str], metadata: Mapping[str, Any] | None = None) -> None:
    """Show a bundle of media types in a notebook; in a script, print its text."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(dict(bundle), raw=True, metadata=dict(metadata or {}))
    else:
        print(bundle.get("text/plain", ""))
