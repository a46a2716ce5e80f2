"""The line at the end of a page: version and date; of a notebook's page also the notebook and its records to take away, and
where it can be run.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aps_core.files import find


def full_record(page: str) -> Path | None:
    """The record of the full run of a page, where there is one."""
    return find("weights", "results", f"{page}.json")


def plain() -> str:
    """The line of a page that no notebook made: version, and the day on which the book was built."""
    try:
        version = metadata.version("aps-core")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    return f'<p class="aps-take">aps-core {escape(version)}, book built on {datetime.date.today()}.</p>'


def binder(repository: str, branch: str, page: str) -> str | None:
    """The address under which Binder opens the notebook of a page; None without a repository that it knows."""
    for host, service in (("https://github.com/", "gh"), ("https://gitlab.com/", "gl")):
        if repository.startswith(host):
            where = repository.removeprefix(host).strip("/")
            where = where if service == "gh" else quote(where, safe="")
            return f"https://mybinder.org/v2/{service}/{where}/{branch}?urlpath=lab/tree/notebooks/{page}.py"
    return None


def line(record: Mapping[str, Any], cite: str | None = "../cite.html", launch: str | None = None) -> str:
    """The line as HTML. record: that of this build, which lies beside the page as ``<page>.json``. cite: the page on
    citing, None where it was not built. launch: where the notebook can be run, as of `binder`.
    """
    page, made = record["notebook"], record["provenance"]
    links = {f"../_sources/results/{page}.ipynb": "notebook", f"{page}.json": "record of this build"}
    if full_record(page) is not None:
        links[f"{page}.full.json"] = "record of the full run"
    shown = ", ".join(f'<a href="{escape(file)}" download>{label}</a>' for file, label in links.items())
    version = made["versions"].get("aps-core", "of unknown version")
    return (
        f'<p class="aps-take">aps-core {escape(version)}, built on {made["date"][:10]}. To take away: {shown}'
        + (f'; <a href="{escape(launch)}">run it on Binder</a>' if launch else "")
        + (f'; <a href="{cite}">how to cite</a>' if cite else "")
        + ".</p>"
    )


def copy_records(results: Path, folder: Path) -> None:
    """Put the records of all pages beside them."""
    for path in sorted(results.glob("*.json")):
        shutil.copyfile(path, folder / path.name)
        full = full_record(path.stem)
        if full is not None:
            shutil.copyfile(full, folder / f"{path.stem}.full.json")
