"""The two pieces of HTML that a record shows: the comparison table and the provenance line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from aps_book.record.verdicts import size
from aps_book.record.words import error_shown, shown

DASH = "–"
EMPTY = (DASH, "not run")


def comparison(
    record: Mapping[str, Any],
    full: Mapping[str, Any] | None,
    rows: Mapping[str, str],
    columns: Mapping[str, tuple[str, str]],
    prefix: str | None,
    paper: str | None,
    caption: str | None,
    paper_value: Callable[[str], Any],
    signals: int | str | Mapping[str, int | str] | None = None,
    paper_rows: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A table with the sources paper (when asked for) and full run under each column, and this build in a fold below (as
    text: all three in one); paper_rows: rows
    beside which another row of the paper stands than that of their own name, which is then not shown twice.

    Raises ValueError where ``signals`` is not given and numbers of one column say different numbers of signals. With it every cell says on how many it stands, or the caption where
    all of a source stand on the same. Numbers that say the same n are taken to stand on the same signals: a page measures
    its signals once, and what is run on fewer takes the first of them.
    """
    _check_labels(rows)
    _check_labels({column: label for column, (label, _) in columns.items()})
    paper_rows = paper_rows or {}
    of_paper = {row: paper_rows.get(row, row) for row in rows if row in paper_rows or row not in paper_rows.values()}
    if signals is None:
        for source in (record, full):
            _same_signals(source, rows, columns, prefix)
    sources = ["paper"] * (paper is not None) + ["full run", "this build"]
    sizes = {"this build": _one_size(record, rows, columns, prefix, signals)}
    if full is not None:
        sizes["full run"] = _one_size(full, rows, columns, prefix, signals)
    asked = {  # of a cell: what says on how many signals it stands, where the caption does not
        source: {row: None if sizes.get(source) else _of(signals, row) for row in rows} for source in sources
    }
    body = []
    for row, label in rows.items():
        cells, found = [], False
        for column, (_, form) in columns.items():
            key = _key(prefix, row, column)
            by_source = {
                "paper": _plain(paper_value(f"{paper}.{of_paper[row]}.{column}"), form)
                if paper is not None and row in of_paper
                else DASH,
                "full run": _stored(full, key, form, asked["full run"][row]) if full is not None else "not run",
                "this build": _stored(record, key, form, asked["this build"][row]),
            }
            cells += [by_source[source] for source in sources]
            found |= any(cell not in EMPTY for cell in by_source.values())
        if not found:
            raise KeyError(f"row {row!r}: no source has any of {[*columns]}; the run's keys are like {key!r}")
        body.append((label, cells))
    note = _full_run_note(full)
    return {
        "text/html": _html(columns, sources, body, caption, note, sizes),
        "text/plain": _text(columns, sources, body, caption, note, sizes),
    }


def _check_labels(rows: Mapping[str, str]) -> None:
    """Raise ValueError for a row or column that says APS and not what trained the flow (``labels.row_label``)."""
    for row, label in rows.items():
        if re.search(r"\bAPS\b(?! objective)", label) and "reverse" not in label:
            raise ValueError(
                f"{row!r}: the label {label!r} says APS and not what trained the flow; use row_label(card)"
            )


def _plain(value: Any, form: str) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else shown(value, form)


def _stored(record: Mapping[str, Any], key: str, form: str, signals: int | str | None = None) -> str:
    number = record["numbers"].get(key)
    if number is None:
        return DASH
    value = shown(number["value"], form)
    value = value if number["se"] is None else f"{value} ± {error_shown(number['se'], form)}"
    n = None if signals is None else size(record, number, signals)
    return value if n is None else f"{value} (n = {n:,})"


def _of(signals: int | str | Mapping[str, int | str] | None, row: str) -> int | str | None:
    """What ``signals`` says of a row."""
    return signals.get(row) if isinstance(signals, Mapping) else signals


def _same_signals(record, rows, columns, prefix) -> None:
    for column in columns if record is not None else ():
        stored = {row: record["numbers"].get(_key(prefix, row, column)) for row in rows}
        found = {row: number["n"] for row, number in stored.items() if number and number.get("n") is not None}
        if len(set(found.values())) > 1:
            raise ValueError(
                f"column {column!r}: its rows stand on different numbers of signals, {found}; give `signals`, so that "
                "each cell says on how many"
            )


def _key(prefix: str | None, row: str, column: str) -> str:
    return ".".join(filter(None, [prefix, row, column]))


def _one_size(record, rows, columns, prefix, signals) -> int | None:
    """On how many signals all numbers of a source stand that have a standard error; None where that is not one number, or
    where several parameters say it: then each cell does.
    """
    asked = {_of(signals, row) for row in rows}
    if signals is None or len(asked) > 1:
        return None
    stored = (record["numbers"].get(_key(prefix, row, column)) for row in rows for column in columns)
    found = {size(record, number, *asked) for number in stored if number is not None and number["se"] is not None}
    return found.pop() if len(found) == 1 else None


def _full_run_note(full: Mapping[str, Any] | None) -> tuple[str, str]:
    """When and where the full run was made, in one line, and the rest of it."""
    if full is None:
        return "Full run: not run.", ""
    made = full["provenance"]
    short, long = f"Full run: {made['date'][:10]}, {made['device']}, {_commit(made)}.", f"{_parameters(full)}."
    for name, added in full.get("added", {}).items():
        made = added["provenance"]
        long += f" Added ({name}): {made['date'][:10]}, {made['device']}, {_parameters(added)}, {_commit(made)}."
    return short, long


def _html(columns, sources: Sequence[str], body, caption: str | None, note: tuple[str, str], sizes) -> str:
    """Paper and full run on the page, this build in a fold where it has something; without a full run it takes its place."""
    cells = {  # (row, quantity, source): what stands there
        (i, j, source): values[j * len(sources) + k]
        for i, (_, values) in enumerate(body)
        for j in range(len(columns))
        for k, source in enumerate(sources)
    }
    ran, built = (
        any(text not in EMPTY for (_, _, source), text in cells.items() if source == wanted)
        for wanted in ("full run", "this build")
    )
    on_page = [source for source in sources if source != ("this build" if ran else "full run")]
    above = " ".join(filter(None, [caption, _on(sizes.get("full run" if ran else "this build"))]))
    title = f'<p class="aps-caption">{escape(above)}</p>' if above else ""
    named = caption or ", ".join(label for label, _ in columns.values())
    main = _grid(columns, on_page, body, cells, named)
    summary = escape(" ".join(filter(None, ["This build", _on(sizes["this build"])])))
    build = _grid(columns, ["this build"], body, cells, named)
    fold = f'<details class="aps-build"><summary>{summary}</summary>{build}</details>'
    return title + main + (fold if ran and built else "") + folded(*note)


def _on(n: int | None) -> str:
    return "" if n is None else f"(n = {n:,})"


def _grid(columns, sources: Sequence[str], body, cells: Mapping[tuple[int, int, str], str], named: str) -> str:
    """One table of the rows and columns in which any of ``sources`` has something."""
    rows = range(len(body))
    used = [
        (j, source)
        for j in range(len(columns))
        for source in sources
        if any(cells[i, j, source] not in EMPTY for i in rows)
    ]
    lines = [
        f'<tr><th scope="row">{escape(body[i][0])}</th>'
        + "".join(f"<td>{_together(cells[(i, *place)])}</td>" for place in used)
        + "</tr>"
        for i in rows
        if any(cells[(i, *place)] not in EMPTY for place in used)
    ]
    return (
        f'<div class="aps-table" tabindex="0" role="region" aria-label="{escape(named)}"><table class="table">'
        f"<thead>{_heads([label for label, _ in columns.values()], used)}</thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _together(cell: str) -> str:
    """A cell as HTML, a value on one line with its standard error."""
    return escape(cell).replace(" ± ", "&nbsp;±&nbsp;").replace("n = ", "n&nbsp;=&nbsp;")


def _heads(labels: Sequence[str], used: Sequence[tuple[int, str]]) -> str:
    """The quantities, and below them their sources where there is more than one."""
    if len({source for _, source in used}) == 1:
        return "<tr><td></td>" + "".join(f'<th scope="col">{escape(labels[j])}</th>' for j, _ in used) + "</tr>"
    spans = Counter(j for j, _ in used)
    groups = "".join(f'<th colspan="{n}" scope="colgroup">{escape(labels[j])}</th>' for j, n in spans.items())
    below = "".join(f'<th scope="col">{escape(source)}</th>' for _, source in used)
    return f'<tr><td rowspan="2"></td>{groups}</tr><tr>{below}</tr>'


def folded(short: str, long: str) -> str:
    """Where something comes from: one line that opens."""
    if not long:
        return f'<p class="aps-provenance">{escape(short)}</p>'
    return f'<details class="aps-provenance"><summary>{escape(short)}</summary>{escape(long)}</details>'


def _text(columns, sources: Sequence[str], body, caption: str | None, note: tuple[str, str], sizes) -> str:
    heads = [
        " ".join(filter(None, [f"{label}, {source}", _on(sizes.get(source))]))
        for label, _ in columns.values()
        for source in sources
    ]
    lines = [" | ".join(["", *heads])] + [" | ".join([label, *cells]) for label, cells in body]
    return "\n".join([caption or "", *lines, " ".join(note)]).strip()


def _parameters(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in record["parameters"].items()) or "no parameters"


def _commit(made: Mapping[str, Any]) -> str:
    if not made["commit"]:
        return "commit unknown"
    return f"commit {made['commit'][:9]}" + (" with changes" if made["modified"] else "")


def _inputs(kind: str, inputs: Mapping[str, str]) -> str:
    return f"{kind} " + (", ".join(f"{name} ({digest[:12]})" for name, digest in inputs.items()) or "none")


def inputs_line(record: Mapping[str, Any]) -> str:
    """Notebook, commit, parameters, weights and data in one line, as it stands under every figure."""
    made = record["provenance"]
    parts = [
        f"notebooks/{record['notebook']}.py",
        _commit(made),
        _parameters(record),
        _inputs("weights", made["weights"]),
        _inputs("data", made["data"]),
    ]
    return " · ".join(parts)


def provenance(record: Mapping[str, Any]) -> dict[str, str]:
    """The line at the end of a notebook, which opens: what it ran on, beside what stands under every figure."""
    made = record["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    flags = f"compiled with {made['xla_flags']} · " if made.get("xla_flags") else ""
    beside = " beside another notebook, so its times are upper bounds" if made.get("at_once", 1) > 1 else ""
    short = f"This page was built on {made['date'][:10]}, {made['device']}, in {made['seconds']:.0f} s{beside}."
    line = (
        f"{inputs_line(record)} · {made['device']}, {made['platform']}, {made['cores']} cores · "
        f"{flags}"
        f"{made['seconds']:.0f} s · {made['date']} · {versions}"
    )
    return {"text/html": folded(short, line), "text/plain": line}
