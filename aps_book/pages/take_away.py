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

from aps_core.files import find, write_atomically

# In the front page: the place of a link to the PDF, once there is one.
OPEN, CLOSE = "<!-- on paper -->", "<!-- /on paper -->"


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


def line(record: Mapping[str, Any], cite: str | None = "../cite.html", launch: Mapping[str, str] | None = None) -> str:
    """The line as HTML. record: that of this build, which lies beside the page as ``<page>.json``. cite: the page on
    citing, None where it was not built. launch: where the notebook can be run, as of `elsewhere.launches`.
    """
    page, made = record["notebook"], record["provenance"]
    links = {f"../_sources/results/{page}.ipynb": "notebook", f"{page}.json": "record of this build"}
    if full_record(page) is not None:
        links[f"{page}.full.json"] = "record of the full run"
    shown = ", ".join(f'<a href="{escape(file)}" download>{label}</a>' for file, label in links.items())
    version = made["versions"].get("aps-core", "of unknown version")
    return (
        f'<p class="aps-take">aps-core {escape(version)}, built on {made["date"][:10]}. To take away: {shown}'
        + "".join(f'; <a href="{escape(address)}">run it on {name}</a>' for name, address in (launch or {}).items())
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


def offer_pdf(pdf: Path, html: Path) -> None:
    """Put ``pdf`` beside the pages of the built book ``html``, with a link to it on the front page. Raises ValueError where that
    has no place for it.
    """
    front = html / "intro.html"
    before, start, rest = front.read_text("utf-8").partition(OPEN)
    _, end, after = rest.partition(CLOSE)
    if not (start and end):
        raise ValueError(f"{front}: expected a place for the link to the PDF, made by {{on-paper}} in book/intro.md")
    shutil.copyfile(pdf, html / pdf.name)
    link = f'<a href="{pdf.name}">The whole book as a PDF</a> ({pdf.stat().st_size / 1e6:.0f} MB)'
    write_atomically(front, f'{before}{OPEN}<p class="aps-take">{link}.</p>{CLOSE}{after}')
