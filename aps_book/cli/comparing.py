"""`aps compare OLD [NEW]`: says which numbers of two builds differ."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from aps_book import notebooks
from aps_book.cli.common import FAILED, Json, printed
from aps_book.cli.verifying import check_rtol, short
from aps_book.cli.verifying import compare as numbers

RESULTS = Path("book/results")


def compare(
    old: Annotated[Path, typer.Argument(help="A record, or a folder of records: `book/results` of another checkout.")],
    new: Annotated[Path | None, typer.Argument(help="Those to compare with it.", show_default="book/results")] = None,
    rtol: Annotated[float, typer.Option(min=0, help="Relative difference up to which numbers are the same.")] = 1e-3,
    as_json: Json = False,
) -> None:
    """Compare the records of two builds, number by number, as after a change of the code or of the lock.

    A number differs when it is another one by more than rtol and by more than three standard errors of its own, or
    stands on one side only. Times are not compared, nor are notebooks that ran with other parameters, which are named.
    Exit code 1 where a number differs.

    Examples:

    - `aps compare ../before/book/results`
    - `aps compare old/toy2d.json new/toy2d.json --rtol 1e-5`
    - `aps compare ../before/book/results --json`
    """
    check_rtol(rtol)
    sides = [_records(name, path) for name, path in (("old", old), ("new", new or notebooks.ROOT / RESULTS))]
    found = both(*sides, rtol)
    if as_json:
        printed(found)
    else:
        _say(found)
    if found["differs"]:
        raise typer.Exit(FAILED)


def both(before: dict[str, dict], now: dict[str, dict], rtol: float) -> dict[str, Any]:
    """{"notebooks", "same", "times", "within", "differs", "only_old", "only_new", "parameters"} of records by notebook.

    The first three count; "within" and "differs" are entries of ``verifying.compare`` with their "notebook",
    "only_old" and "only_new" notebooks of one side alone, "parameters" what notebooks that ran with others had:
    notebook -> parameter -> [old, new].
    """
    common = sorted(before.keys() & now.keys())
    if not common:
        raise ValueError(f"old and new have no notebook in common: {sorted(before)} and {sorted(now)}")
    others = {name: _changed(before[name]["parameters"], now[name]["parameters"]) for name in common}
    told = {name: numbers(now[name], before[name], {}, rtol) for name in common if not others[name]}
    return {
        "notebooks": len(told),
        **{kind: sum(one[kind] for one in told.values()) for kind in ("same", "times")},
        **{
            kind: [{"notebook": name, **entry} for name, one in told.items() for entry in one[kind]]
            for kind in ("within", "differs")
        },
        "only_old": sorted(before.keys() - now.keys()),
        "only_new": sorted(now.keys() - before.keys()),
        "parameters": {name: changed for name, changed in others.items() if changed},
    }


def _changed(before: dict, now: dict) -> dict[str, list]:
    names = sorted(before.keys() | now.keys())
    return {name: [before.get(name), now.get(name)] for name in names if before.get(name) != now.get(name)}


def _records(name: str, path: Path) -> dict[str, dict]:
    """Records by notebook: of one file, or of all records of a folder by their names, so that what was added to a full run
    is not taken for it. Other files of a folder, such as recorded searches, are left out.
    """
    from aps_book.record import load

    if not path.exists():
        raise FileNotFoundError(f"{name} = '{path}': expected a record, or a folder of records")
    if not path.is_dir():
        record = load(path)
        return {record["notebook"]: record}
    found = {file.stem: load(file) for file in sorted(path.glob("*.json")) if _may_be_record(file)}
    if not found:
        raise ValueError(f"{name} = '{path}': expected a folder of records (NOTEBOOK.json); there is none in it")
    return found


def _may_be_record(file: Path) -> bool:
    """False where a file says that it is something else; a broken one may be a record, and reading it says what is wrong."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError:
        return True
    return isinstance(found, dict) and "schema" in found


def _say(found: dict[str, Any]) -> None:
    for kind in ("differs", "within"):
        for one in found[kind]:
            key, value, was = one["key"], short(one["value"]), short(one["was"])
            print(f"  {kind:8} {one['notebook']}:{key}: {value}, was {was}; {one['why']}")
    for name, changed in found["parameters"].items():
        told = ", ".join(f"{key} = {new!r}, was {old!r}" for key, (old, new) in changed.items())
        print(f"  not compared: {name} ran with other parameters ({told})")
    for side in ("old", "new"):
        if found[f"only_{side}"]:
            print(f"  only in {side}: {', '.join(found[f'only_{side}'])}")
    print(
        f"{found['notebooks']} notebooks: {found['same']} numbers are the same, {len(found['within'])} moved within "
        f"three standard errors, {len(found['differs'])} differ; {found['times']} times are not compared"
    )
