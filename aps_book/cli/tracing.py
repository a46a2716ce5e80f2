"""`aps show KEY`: where a number on a page comes from."""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from aps_book import notebooks
from aps_book.cli.common import Json, printed
from aps_book.cli.runs import command

FOLDERS = {"build": "book/results", "full run": "weights/results"}


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A number's key, also as NOTEBOOK:KEY, or paper/KEY.")],
    as_json: Json = False,
) -> None:
    """Say where a number comes from: record, notebook, code, commit, and the command that makes it again.

    Examples:

    - `aps show sphere_impute:test.aps_n1.psnr`
    - `aps show prior.seconds --json`
    - `aps show paper/aps.table2.era5_impute.dps.seconds`
    """
    if key.startswith("paper/"):
        found = [of_the_paper(key.removeprefix("paper/"))]
    else:
        name, _, last = key.rpartition(":")
        found = in_records(name, last)
    if as_json:
        printed(found)
    else:
        print("\n\n".join("\n".join(f"{what:10} {value}" for what, value in lines(one)) for one in found))


def of_the_paper(key: str) -> dict[str, Any]:
    """A number of the paper. Raises ValueError for a key that aps_book/record/paper_values.toml does not have."""
    from aps_book.record import paper_value

    try:
        value = paper_value(key)
    except KeyError:
        value = None
    if value is None:
        raise ValueError(f"key 'paper/{key}': expected a key of aps_book/record/paper_values.toml")
    return {"key": f"paper/{key}", "value": value, "record": "aps_book/record/paper_values.toml"}


def in_records(notebook: str, key: str) -> list[dict[str, Any]]:
    """What every record says of a key; of one notebook where it is named. Raises ValueError where none has it."""
    found, known = [], set()
    for kind, folder in FOLDERS.items():
        for path in sorted((notebooks.ROOT / folder).glob("*.json")):
            record = json.loads(path.read_text("utf-8"))
            if "provenance" not in record or notebook not in ("", record["notebook"]):
                continue
            known |= set(record["numbers"])
            if key in record["numbers"]:
                found.append(described(kind, path, record, key))
    if not found:
        near = difflib.get_close_matches(key, known, n=3)
        where = f"the records of {notebook}" if notebook else "any record"
        hint = f"near it are {', '.join(near)}" if near else "`aps list` names the notebooks"
        raise ValueError(f"key {key!r}: expected one that stands in {where}; {hint}")
    return found


def described(kind: str, path: Path, record: dict, key: str) -> dict[str, Any]:
    """One number of a record with its origin."""
    made, name = record["provenance"], record["notebook"]
    source = notebooks.ROOT / "notebooks" / f"{name}.py"
    return {
        "key": f"{name}:{key}",
        **record["numbers"][key],
        "of": kind,
        "record": str(path.relative_to(notebooks.ROOT)),
        "notebook": f"notebooks/{name}.py",
        "code": code(source),
        "commit": made["commit"],
        "modified": made["modified"],
        "date": made.get("date"),
        "device": made["device"],
        "parameters": record["parameters"],
        "weights": made["weights"],
        "data": made["data"],
        "command": f"aps full {name}"
        if kind == "full run" and path.stem == name
        else command(name, record["parameters"]),
    }


def code(source: Path) -> list[str]:
    """The files that a notebook reaches, those of the book first."""
    from aps_book.record import stale

    if not source.is_file():
        return []
    files = [str(path.relative_to(notebooks.ROOT)) for path in stale.dependencies(source)]
    return sorted(files, key=lambda file: (not file.startswith("aps_book"), file))


def lines(one: dict[str, Any]) -> list[tuple[str, str]]:
    """What `aps show` prints of one number."""
    se = "" if one.get("se") is None else f" ± {one['se']:.6g}"
    n = f" (n = {one['n']})" if "n" in one else ""
    value = one["value"] if isinstance(one["value"], str) else f"{one['value']:.6g}"
    shown = [("key", one["key"]), ("value", f"{value}{se} {one.get('unit') or ''}{n}".strip())]
    if "of" not in one:
        return [*shown, ("record", one["record"])]
    own = [file for file in one["code"] if file.startswith("aps_book")]
    changed = ", with changes that no commit has" if one["modified"] else ""
    return [
        *shown,
        ("record", f"{one['record']} ({one['of']}, {(one['date'] or '')[:10]}, {one['device']})"),
        ("notebook", one["notebook"]),
        ("code", f"{', '.join(own)} and {len(one['code']) - len(own)} files of aps_core"),
        ("commit", f"{one['commit']}{changed}"),
        ("weights", ", ".join(one["weights"]) or "none"),
        ("data", ", ".join(one["data"]) or "none"),
        ("again", one["command"]),
    ]
