"""The two pieces of HTML that a record shows: the comparison table and the provenance line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

DASH = "–"


def comparison(
    record: Mapping[str, Any],
    full: Mapping[str, Any] | None,
    rows: Mapping[str, str],
    columns: Mapping[str, tuple[str, str]],
    prefix: str | None,
    paper: str | None,
    caption: str | None,
    paper_value: Callable[[str], Any],
) -> dict[str, str]:
    """A table with the sources paper (when asked for), full run and this build under each column."""
    sources = ["paper"] * (paper is not None) + ["full run", "this build"]
    body = []
    for row, label in rows.items():
        cells, found = [], False
        for column, (_, form) in columns.items():
            key = ".".join(filter(None, [prefix, row, column]))
            by_source = {
                "paper": _plain(paper_value(f"{paper}.{row}.{column}"), form) if paper is not None else DASH,
                "full run": _stored(full, key, form) if full is not None else "not run",
                "this build": _stored(record, key, form),
            }
            cells += [by_source[source] for source in sources]
            found |= any(cell not in (DASH, "not run") for cell in by_source.values())
        if not found:
            raise KeyError(f"row {row!r}: no source has any of {[*columns]}; the run's keys are like {key!r}")
        body.append((label, cells))
    note = _full_run_note(full)
    return {
        "text/html": _html(columns, sources, body, caption, note),
        "text/plain": _text(columns, sources, body, caption, note),
    }


def _plain(value: Any, form: str) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else format(value, form)


def _stored(record: Mapping[str, Any], key: str, form: str) -> str:
    number = record["numbers"].get(key)
    if number is None:
        return DASH
    value = format(number["value"], form)
    return value if number["se"] is None else f"{value} ± {format(number['se'], form.replace('+', ''))}"


def _full_run_note(full: Mapping[str, Any] | None) -> str:
    if full is None:
        return "Full run: not run."
    made = full["provenance"]
    return f"Full run: {made['date'][:10]}, {made['device']}, {_parameters(full)}, {_commit(made)}."


def _html(columns, sources: Sequence[str], body, caption: str | None, note: str) -> str:
    span = len(sources)
    groups = "".join(f'<th colspan="{span}" scope="colgroup">{escape(label)}</th>' for label, _ in columns.values())
    heads = "".join(f'<th scope="col">{escape(source)}</th>' for source in sources) * len(columns)
    lines = [
        f'<tr><th scope="row">{escape(label)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for label, cells in body
    ]
    title = f'<p class="aps-caption">{escape(caption)}</p>' if caption else ""
    named = f' aria-label="{escape(caption)}"' if caption else ""
    return (
        f'{title}<div class="aps-table"><table class="table"{named}>'
        f'<thead><tr><td rowspan="2"></td>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        f'<p class="aps-provenance">{escape(note)}</p>'
    )


def _text(columns, sources: Sequence[str], body, caption: str | None, note: str) -> str:
    heads = [f"{label}, {source}" for label, _ in columns.values() for source in sources]
    lines = [" | ".join(["", *heads])] + [" | ".join([label, *cells]) for label, cells in body]
    return "\n".join([caption or "", *lines, note]).strip()


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
    """The line at the end of a notebook: what it ran on, beside what stands under every figure."""
    made = record["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    line = (
        f"{inputs_line(record)} · {made['device']}, {made['platform']}, {made['cores']} cores · "
        f"{made['seconds']:.0f} s · {made['date']} · {versions}"
    )
    return {"text/html": f'<p class="aps-provenance">{escape(line)}</p>', "text/plain": line}
