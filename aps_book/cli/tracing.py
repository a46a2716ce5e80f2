"""`aps show KEY`: where a number on a page comes from."""

import difflib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from aps_book import notebooks
from aps_book.cli.common import Json, printed
from aps_book.cli.runs import command

FOLDERS = {"build": "book/results", "full run": "weights/results"}


def show(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="A number's key, also as NOTEBOOK:KEY; paper/KEY; or a file of weights/results."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say where a number comes from: record, notebook or program, code, commit, and the command that makes it again.

    Examples:

    - `aps show sphere_impute:test.aps_n1.psnr`
    - `aps show prior.seconds --json`
    - `aps show faces.added-reverse`
    - `aps show paper/aps.table2.era5_impute.dps.seconds`
    """
    path = notebooks.ROOT / FOLDERS["full run"] / f"{key}.json"
    if key.startswith("paper/"):
        found = [of_the_paper(key.removeprefix("paper/"))]
    elif Path(key).name == key and path.is_file():
        found = [of_a_record("full run", path, json.loads(path.read_text("utf-8")))]
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
            if "provenance" not in record or notebook not in ("", record["notebook"], page(path)):
                continue
            known |= set(record["numbers"])
            if key in record["numbers"]:
                named = {"key": f"{record['notebook']}:{key}", **record["numbers"][key]}
                found.append({**named, **of_a_record(kind, path, record)})
    if not found:
        near = difflib.get_close_matches(key, known, n=3)
        where = f"the records of {notebook}" if notebook else "any record"
        hint = f"near it are {', '.join(near)}" if near else "`aps list` names the notebooks"
        raise ValueError(f"key {key!r}: expected one that stands in {where}; {hint}")
    return found


def page(path: Path) -> str:
    """The notebook on whose page the numbers of a record stand: its name up to the first dot."""
    return path.name.partition(".")[0]


def of_a_record(kind: str, path: Path, record: dict) -> dict[str, Any]:
    """Where a record comes from. kind: of FOLDERS. What it does not say itself, such as the commit of a search, is None."""
    made, run, changed = record.get("provenance", {}), *again(kind, path, record)
    source = program(run)
    return {
        "of": "no provenance" if not made else "added run" if ".added-" in path.name else kind,
        "record": str(path.relative_to(notebooks.ROOT)),
        "notebook": f"notebooks/{page(path)}.py" if page(path) in notebooks.names() else None,
        "program": None if source is None else str(source.relative_to(notebooks.ROOT)),
        "code": [] if source is None else code(source),
        **{name: made.get(name) for name in ("commit", "modified", "date", "device")},
        "parameters": record["parameters"] if made else {},
        **{name: made.get(name) for name in ("weights", "data")},
        "command": run,
        "changed": changed,
    }


def again(kind: str, path: Path, record: dict) -> tuple[str, dict[str, str]]:
    """The command that makes a record again, and {parameter: words} of what it would set otherwise today.

    A record says its own; of what was made before records did, `aps_book.experiments.commands` has those of programs.
    """
    from aps_book.experiments.commands import BY_HAND, COMMANDS

    name, said = path.name.removesuffix(".json"), record.get("provenance", {}).get("command")
    known = said or COMMANDS.get(name) or BY_HAND.get(name)
    if known and not known.startswith(("aps run ", "aps full ")):
        return known, {}
    if kind == "full run" and name in notebooks.names():
        today = {**notebooks.of_the_book(name).parameters, **notebooks.settings(name)["full"]}
        return f"aps full {name}", differing(record["parameters"], today)
    return known or command(record["notebook"], record["parameters"]), {}


def differing(before: dict[str, Any], today: dict[str, Any]) -> dict[str, str]:
    """{parameter: words} for those of which a record has another value than a run of today."""
    none = "no parameter"
    names = [name for name in {**before, **today} if before.get(name, none) != today.get(name, none)]
    return {name: f"{today.get(name, none)} (was {before.get(name, none)})" for name in names}


def program(run: str) -> Path | None:
    """The file that a command runs, a notebook or a program of the checkout; None where it names none."""
    words = shlex.split(run.rpartition("&&")[2])
    if words[:2] in (["aps", "run"], ["aps", "full"]):
        found = Path("notebooks", f"{words[2]}.py")
    elif words[:2] == ["python", "-m"]:
        found = Path(*words[2].split(".")).with_suffix(".py")
    else:
        found = Path(words[1] if words[0] == "python" else "")
    path = notebooks.ROOT / found
    return path if path.is_file() else None


def code(source: Path) -> list[str]:
    """The files that a notebook or a program reaches, a program itself among them; those of aps_core last."""
    from aps_book.record import stale

    files = [str(path.relative_to(notebooks.ROOT)) for path in {*stale.dependencies(source), source}]
    files = [file for file in files if not file.startswith("notebooks/")]
    return sorted(files, key=lambda file: (file.startswith("aps_core"), file))


def lines(one: dict[str, Any]) -> list[tuple[str, Any]]:
    """What `aps show` prints of one number, or of a record."""
    shown: list[tuple[str, Any]] = []
    if "key" in one:
        se = "" if one.get("se") is None else f" ± {one['se']:.6g}"
        n = f" (n = {one['n']})" if "n" in one else ""
        value = one["value"] if isinstance(one["value"], str) else f"{one['value']:.6g}"
        shown += [("key", one["key"]), ("value", f"{value}{se} {one.get('unit') or ''}{n}".strip())]
    if "of" not in one:
        return [*shown, ("record", one["record"])]
    own = [file for file in one["code"] if not file.startswith("aps_core")]
    about = ", ".join(filter(None, [one["of"], (one["date"] or "")[:10], one["device"]]))
    uncommitted = ", with changes that no commit has" if one["modified"] else ""
    changed = ", ".join(f"{name} = {words}" for name, words in one["changed"].items())
    made = [
        ("record", f"{one['record']} ({about})"),
        ("notebook", one["notebook"]),
        ("program", one["program"] if one["program"] != one["notebook"] else None),
        ("code", f"{', '.join(own)} and {len(one['code']) - len(own)} files of aps_core" if own else None),
        ("commit", one["commit"] and f"{one['commit']}{uncommitted}"),
        *((name, one[name] is not None and (", ".join(one[name]) or "none")) for name in ("weights", "data")),
        ("again", one["command"]),
        ("today with", changed or None),
    ]
    return shown + [(what, value) for what, value in made if value]
