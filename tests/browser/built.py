"""Where the built book lies, its pages, and which of them are chapters."""

import os
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
HTML = Path(os.environ.get("APS_BOOK_HTML") or ROOT / "_build/html")
SKIPPED = {"genindex", "py-modindex", "search", "index"}  # made by Sphinx; index only leads to intro
PAGES = sorted(
    str(path.relative_to(HTML).with_suffix(""))
    for path in HTML.rglob("*.html")
    if path.stem not in SKIPPED and "_static" not in path.parts and "-" not in path.stem
)
VIEWS = sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("results/*-*.html"))
WIDTHS, MODES = (1280, 390), ("light", "dark")


def views_of(page):
    """Files of the frames of a page."""
    found = re.findall(r'<iframe class="aps-view" src="([^"]+)"', (HTML / f"{page}.html").read_text("utf-8"))
    return [HTML / Path(page).parent / name for name in found]


def chapters():
    """Pages that a reader reads through: all of the table of contents but the back matter."""
    parts = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))["parts"]
    return {chapter["file"] for part in parts if part["caption"] != "Back matter" for chapter in part["chapters"]}
