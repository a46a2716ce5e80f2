"""The whole book as one PDF: all pages as one HTML file, printed by a Chromium without a window. ``make pdf`` runs it."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from aps_book.running import RunFailed
from aps_core.files import write_atomically

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LONGEST = 900  # seconds for the printing
EQUATIONS = 120_000  # milliseconds of the page's own time until all equations are drawn


def find() -> str | None:
    """The path of a Chromium, from the environment variable APS_CHROMIUM or by the usual names; None without one."""
    return os.environ.get("APS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def build(root: Path, pdf: Path) -> Path:
    """Make ``pdf`` of the book of the checkout ``root``, whose notebooks have run; returns its path.

    Raises RunFailed without a Chromium, and where a tool fails.
    """
    browser = find()
    if browser is None:
        raise RunFailed(f"no Chromium to print with: expected one of {', '.join(NAMES)}, or its path in APS_CHROMIUM")
    with tempfile.TemporaryDirectory() as temporary:
        tool = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book", "--builder", "singlehtml"]
        settings = ["--config", "_config.yml", "--toc", str(root / "book/_toc.yml"), "--path-output", temporary]
        _do([*tool, *settings, "--quiet"], root, "jupyter-book")
        page = Path(temporary) / "_build" / "singlehtml" / "intro.html"
        made = print_page(browser, page, Path(temporary))
        return write_atomically(pdf, made)


def print_page(browser: str, page: Path, folder: Path) -> bytes:
    """The PDF of an HTML file. folder: where the browser may keep what it needs. Raises RunFailed."""
    made = folder / "page.pdf"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        "--no-pdf-header-footer",
        "--run-all-compositor-stages-before-draw",
    ]
    command += [f"--virtual-time-budget={EQUATIONS}", f"--print-to-pdf={made}", page.as_uri()]
    _do(command, folder, "Chromium")
    content = made.read_bytes() if made.exists() else b""
    if not content.startswith(b"%PDF-"):
        raise RunFailed(f"Chromium left no PDF of {page.name}")
    return content


def _do(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{name} took more than {LONGEST} s") from error
    if done.returncode:
        raise RunFailed(f"{name} failed: {done.stderr[-2000:]}")
