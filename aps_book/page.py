"""The HTML of one run: its executed notebook as a page of the book, alone, with the references behind it; and a book of
which only some pages were run.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from aps_book.notebooks import ROOT, find
from aps_book.running import RunFailed

NOT_RUN = "This page was not built. `make book` builds all pages, `make book PAGES={name}` this one."
TOC = "format: jb-book\nroot: results/{name}\nchapters:\n  - file: references\n"


def build(name: str, results: Path, html: Path) -> Path:
    """Make ``html`` (a folder, replaced) from ``results``/``name``.ipynb and its record; returns the page's path.

    Links to other pages of the book are text here. Raises RunFailed where the book's tools fail.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
        for file in ("references.bib", "references.md"):
            shutil.copy(ROOT / "book" / file, folder / "book" / file)
        (folder / "book" / "results").mkdir()
        for file in [*results.glob(f"{name}.*"), *results.glob(f"{name}-*")]:
            if file.is_file():
                shutil.copy(file, folder / "book" / "results" / file.name)
        (folder / "toc.yml").write_text(TOC.format(name=name), "utf-8")
        tool = Path(sys.executable).with_name("jupyter-book")
        command = [str(tool), "build", str(folder / "book"), "--quiet"]
        command += ["--config", str(ROOT / "_config.yml"), "--toc", str(folder / "toc.yml")]
        done = subprocess.run([*command, "--path-output", temporary, "--all"], capture_output=True, text=True)
        built = folder / "_build" / "html"
        if done.returncode or not (built / "results" / f"{name}.html").is_file():
            raise RunFailed(f"the page of {name} could not be made:\n{done.stdout}{done.stderr}")
        shutil.rmtree(html, ignore_errors=True)
        shutil.copytree(built, html, ignore=shutil.ignore_patterns(".doctrees", "*.inv", ".buildinfo"))
    return html / "results" / f"{name}.html"


def with_placeholders(book: Path, results: Path, names: list[str], folder: Path) -> Path:
    """A copy of ``book`` in ``folder`` in which a page that says so stands for each notebook that was never run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(book, folder)
    (folder / results.name).mkdir(exist_ok=True)
    for name in names:
        if not all((results / f"{name}.{suffix}").is_file() for suffix in ("ipynb", "json")):
            (folder / results.name / f"{name}.ipynb").unlink(missing_ok=True)
            title = find(name, book.resolve().parent).title
            (folder / results.name / f"{name}.md").write_text(f"# {title}\n\n{NOT_RUN.format(name=name)}\n", "utf-8")
    return folder
