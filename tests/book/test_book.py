"""The build of the book, end to end on a tiny chapter, and the form of the committed notebooks."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import papermill
import pytest
import yaml

from aps_book.record import sphinx_extension

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""
CELLS = """\
# %% [markdown]
# # A tiny chapter
#
# See {numref}`fig-line`.

# %% tags=["parameters"]
height = 1.0

# %%
from matplotlib.figure import Figure

from aps_book import record

run = record.start("tiny", globals(), {"height": record.between(0, open=True)})
run.number("line.height", height)

# %%
fig = Figure(figsize=(2, 1))
fig.subplots().plot([0, 1], [height, 0])
run.figure(fig, "line", alt="A falling line", caption="A line of slope $-1$.", label="fig-line")

# %%
run.table({"line": "a line"}, {"height": ("height", ".2f")})
run.say("Its height is {line.height:.2f}.")
run.finish()
"""


INTRO = """\
# A tiny book

See {cite:p}`mammadov2024aps` and {py:func}`aps_core.metrics.quality.psnr`.

```{reference} aps_core.metrics.quality
```
"""


def make_tree(folder, cells):
    """A project of one chapter in `folder`, with the sources of the real book around it."""
    for name in ("book/_static",):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "dodo.py",
        "pyproject.toml",
        "_config.yml",
        "requirements.lock",
        "book/references.bib",
        "book/references.md",
    ):
        shutil.copy(ROOT / name, folder / name)
    (folder / "notebooks").mkdir()
    (folder / "notebooks/tiny.py").write_text(HEADER + cells)
    (folder / "book/intro.md").write_text(INTRO)
    toc = {"format": "jb-book", "root": "intro"}
    toc["parts"] = [{"caption": "All", "chapters": [{"file": "results/tiny"}, {"file": "references"}]}]
    (folder / "book/_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    (folder / "book/build.toml").write_text("[tiny]\nbuild = { height = 2.0 }\nfull = { height = 8.0 }\n")
    (folder / "tolerances.toml").write_text('[tiny]\n"line.height" = { value = 2.0, within = 0.1 }\n')


def doit(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "doit", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A built book of one chapter, and what the build printed."""
    folder = tmp_path_factory.mktemp("book")
    make_tree(folder, CELLS)
    done = doit(folder, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_build_prints_the_index_and_signs_the_figure(book):
    folder, printed = book
    assert printed.splitlines()[-1] == f"The book: {folder / '_build/html/index.html'}"
    page = (folder / "_build/html/results/tiny.html").read_text("utf-8")
    assert 'alt="A falling line"' in page
    assert "Its height is 2.00." in page
    figure = page[page.index("<figure") : page.index("</figure>")]
    assert "notebooks/tiny.py" in figure
    assert "height = 2.0" in figure
    assert str(folder) not in page
    assert json.loads((folder / "book/results/tiny.json").read_text("utf-8"))["parameters"] == {"height": 2.0}


@pytest.mark.slow
def test_the_reference_lists_a_module_and_is_linked_to(book):
    page = (book[0] / "_build/html/intro.html").read_text("utf-8")
    assert 'id="aps_core.metrics.quality.psnr"' in page and 'href="#aps_core.metrics.quality.psnr"' in page
    assert "_private" not in page and "&quot;&quot;&quot;" not in page


@pytest.mark.slow
def test_pages_draw_equations_without_the_network(book):
    page = (book[0] / "_build/html/results/tiny.html").read_text("utf-8")
    assert 'src="../_static/mathjax/tex-chtml.js"' in page
    assert 'src="http' not in page


@pytest.mark.slow
def test_executed_notebook_is_the_same_on_every_machine(book):
    notebook = json.loads((book[0] / "book/results/tiny.ipynb").read_text("utf-8"))
    assert set(notebook["metadata"]) == {"kernelspec"}
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{i}" for i in range(len(notebook["cells"]))]
    assert not any("papermill" in cell["metadata"] for cell in notebook["cells"])


def stale(folder):
    """What doit holds to be stale: the tasks that `doit book` would run, without the checks that always run."""
    listed = doit(folder, "list", "--all", "--status", "--quiet").stdout
    return {line.split()[1] for line in listed.splitlines() if line.startswith("R ")}


@pytest.mark.slow
def test_notebook_is_stale_when_an_input_changed(book):
    folder, _ = book
    assert "notebook:tiny" not in stale(folder)
    for name in ("weights/flow.safetensors", "weights/results/tiny.json", "aps_core/diffusion.py", "requirements.lock"):
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"changed")
        assert "notebook:tiny" in stale(folder), name
        (folder / name).unlink() if before is None else (folder / name).write_bytes(before)
        assert "notebook:tiny" not in stale(folder), name
    other = folder / "weights/results/other.json"
    other.write_text("{}")
    assert "notebook:tiny" not in stale(folder)
    other.unlink()


@pytest.mark.slow
def test_build_redoes_only_what_changed_and_fails_on_a_path_of_this_machine(book):
    folder, _ = book
    page = folder / "_build/html/results/tiny.html"
    page.write_text(page.read_text("utf-8").replace("</body>", f"{folder}/a</body>"), "utf-8")
    again = doit(folder, "book")
    assert "-- notebook:tiny" in again.stdout
    assert "-- html" in again.stdout
    assert again.returncode != 0 and "tiny.html holds a path of this machine" in again.stdout + again.stderr
    (folder / "book/build.toml").write_text("[tiny]\nbuild = { height = 3.0 }\n")
    changed = doit(folder, "book")
    assert "tiny runs (" in changed.stdout
    assert ".  html" in changed.stdout
    assert changed.returncode != 0
    assert "tiny: line.height = 3 is above its range [1.9, 2.1] by 0.9" in changed.stdout + changed.stderr


@pytest.mark.slow
def test_full_run_keeps_numbers_and_no_pictures(tmp_path):
    make_tree(tmp_path, CELLS)
    done = doit(tmp_path, "full", "--notebook", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "weights/results/tiny.json").read_text("utf-8"))
    assert made["numbers"]["line.height"]["value"] == 8.0
    assert made["figures"] == []
    unknown = doit(tmp_path, "full", "--notebook", "tine")
    assert unknown.returncode != 0
    assert "NOTEBOOK='tine': expected one of tiny" in unknown.stdout + unknown.stderr


ALT = 'alt="A falling line", '
CAPTION = 'caption="A line of slope $-1$.", '
LAST = "run.finish()"
BREACHES = {
    "warnings": [
        (ALT, "", "picture without alt text"),
        (CAPTION, "", "picture without a caption"),
        (LAST, 'import sys; print("careful", file=sys.stderr); run.finish()', "stderr"),
    ],
    "no record": [(LAST, "", "must call run.finish()")],
}


@pytest.mark.slow
@pytest.mark.parametrize("breach", BREACHES)
def test_build_fails_on(tmp_path, breach):
    cells = CELLS
    for before, after, _ in BREACHES[breach]:
        assert cells.count(before) == 1
        cells = cells.replace(before, after)
    make_tree(tmp_path, cells)
    done = doit(tmp_path, "book")
    assert done.returncode != 0
    for _, _, said in BREACHES[breach]:
        assert said in done.stdout + done.stderr


def test_build_settings_are_checked(tmp_path):
    make_tree(tmp_path, CELLS)
    for table, said in (
        ("[other]\n", "no notebook notebooks/other.py"),
        ("[tiny]\nbuidl = {}\n", "unknown key 'buidl'"),
    ):
        (tmp_path / "book/build.toml").write_text(table)
        done = doit(tmp_path, "list")
        assert done.returncode != 0
        assert said in done.stdout + done.stderr


@pytest.mark.slow
def test_papermill_by_hand(tmp_path):
    """As the README shows: another value arrives in the record, an unknown name stops the notebook."""
    (tmp_path / "tiny.py").write_text(HEADER + CELLS)
    command = [sys.executable, "-m", "jupytext", "--to", "ipynb", "tiny.py", "-o", "in.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    options = {"cwd": tmp_path, "progress_bar": False}
    papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"height": 5}, **options)
    assert json.loads((tmp_path / "results/tiny.json").read_text("utf-8"))["parameters"] == {"height": 5.0}
    with pytest.raises(
        papermill.PapermillExecutionError, match="unknown parameter 'heigth' = 5.*did you mean 'height'"
    ):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"heigth": 5}, **options)


@pytest.mark.slow
def test_pages_runs_and_shows_only_some(tmp_path, monkeypatch):
    """A page that was never run says so, also where another page links to it; the whole build then runs the rest."""
    make_tree(tmp_path, CELLS)
    (tmp_path / "notebooks/other.py").write_text(
        HEADER + CELLS.replace("tiny", "other").replace("fig-line", "fig-other")
    )
    toc = (tmp_path / "book/_toc.yml").read_text()
    (tmp_path / "book/_toc.yml").write_text(
        toc.replace("- file: results/tiny", "- file: results/tiny\n  - file: results/other")
    )
    (tmp_path / "book/intro.md").write_text(INTRO + "\nSee {numref}`fig-other` and {doc}`results/other`.\n")
    monkeypatch.setenv("PAGES", "tiny")
    done = doit(tmp_path, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ".  1 of 1: tiny runs" in done.stdout
    assert "Not built now: other. Of these, shown as built before: none." in done.stdout
    assert {p.name for p in (tmp_path / "book/results").glob("*.json")} == {"tiny.json"}
    html = tmp_path / "_build/html/results"
    assert "Its height is 2.00." in (html / "tiny.html").read_text()
    assert "This page was not built." in (html / "other.html").read_text()
    monkeypatch.setenv("PAGES", "nothing")
    done = doit(tmp_path, "book")
    assert done.returncode != 0 and "PAGES=nothing: expected some of other, tiny" in done.stdout + done.stderr
    monkeypatch.delenv("PAGES")
    done = doit(tmp_path, "book")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-- notebook:tiny" in done.stdout and re.search(r"[12] of 2: other runs", done.stdout)
    assert "Its height is 1.00." in (html / "other.html").read_text()


def test_docstrings_become_paragraphs_lists_and_formulas():
    doc = "log|dx| of ``a_b``\nand *args.\n\n    y = a * b\n\n- one\n- two_"
    assert [line for line in sphinx_extension._readable(doc) if line] == [
        r"log\|dx\| of ``a_b`` and \*args.",
        ".. code-block:: text",
        "   y = a * b",
        "- one",
        r"- two\_",
    ]
    doc = "Store it.\n\nArgs:\n  key: words,\n    such as ``a_b``.\n  rest: more.\n\nReturns:\n  A number.\n\nx: one,\ny: two"
    assert [line for line in sphinx_extension._readable(doc) if line] == [
        "Store it.",
        "**Args**",
        "- ``key``: words, such as ``a_b``.",
        "- ``rest``: more.",
        "**Returns**",
        "A number.",
        "x: one, y: two",
    ]

    def function(x, *rest, scale=1.0, call=print, folder=Path("there"), **more):
        """Nothing."""

    assert sphinx_extension._signature(function) == "(x, *rest, scale=1.0, call=..., folder=..., **more)"
    assert sphinx_extension._signature(lambda x, *, scale=1: x) == "(x, *, scale=1)"


def test_classes_say_how_they_are_made():
    from aps_core.flows.base import Flow
    from aps_core.operators import GaussianBlur
    from aps_core.priors.networks.patches import PatchTransformer
    from aps_core.training.optimizer import Optimizer
    from aps_core.weights import WeightsError

    assert sphinx_extension._signature(Optimizer).startswith("(steps, learning_rate=0.001, warmup=")
    assert sphinx_extension._signature(GaussianBlur) == "(shape, std, boundary='reflect')"
    assert sphinx_extension._signature(PatchTransformer).startswith("(tokens, width=192, depth=6, heads=6, ")
    assert "parent" not in sphinx_extension._signature(PatchTransformer)
    assert sphinx_extension._signature(Flow) == sphinx_extension._signature(WeightsError) == ""


@pytest.mark.parametrize("page", sorted((ROOT / "book").glob("*.md")), ids=lambda path: path.stem)
def test_every_module_of_a_reference_page_has_entries(page):
    """Functions and classes alone: a module's constants that can be called upon for nothing are left out."""
    for name in re.findall(r"^```\{reference\} (\S+)", page.read_text("utf-8"), re.MULTILINE):
        things = sphinx_extension._things(importlib.import_module(name), public=False)
        assert all("::" in sphinx_extension._entry(name, thing)[0] for name, thing in things), name


def test_the_public_face_stands_under_its_own_names():
    import aps_core

    found = [name for name, _ in sphinx_extension._things(aps_core, public=True)]
    assert sorted(found) == sorted(aps_core.__all__)
    assert found.index("load_task") < found.index("Task") and sphinx_extension._things(aps_core, public=False) == []


REFERENCE_PAGES = ("reference", "reference_parts", "reference_book", "reference_experiments", "reference_studies")


def test_the_reference_has_what_the_book_and_its_tutorials_use():
    """Every experiment and module of figures, and every module of the library that a tutorial imports from."""
    pages = "\n".join((ROOT / f"book/{name}.md").read_text("utf-8") for name in REFERENCE_PAGES)
    listed = re.findall(r"^```\{reference\} (\S+)$", pages, re.MULTILINE)
    assert len(listed) == len(set(listed))
    for kind in ("experiments", "figures"):
        own = {f"aps_book.{kind}.{p.stem}" for p in (ROOT / "aps_book" / kind).glob("*.py") if p.stem != "__init__"}
        assert own <= set(listed), own - set(listed)
    tutorials = "\n".join(path.read_text("utf-8") for path in NOTEBOOKS if path.stem.startswith("own_"))
    used = re.findall(r"^from (aps_core\.\S+) import (.*)$", tutorials, re.MULTILINE)
    for module, names in used:
        inside = {f"{module}.{name.strip()}" for name in names.split(",")}
        assert module in listed or inside <= set(listed) or module == "aps_core.operators", module


def test_toc_names_the_committed_notebooks():
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text("utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert sorted(file for file in files if file.startswith("results/")) == [f"results/{p.stem}" for p in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_can_be_run_by_papermill_and_keeps_a_record(path):
    notebook = jupytext.read(path)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "parameters" in code[0].metadata["tags"]
    sources = "\n".join(cell.source for cell in code)
    assert f'record.start("{path.stem}", globals()' in " ".join(sources.split()).replace("( ", "(")
    assert code[-1].source.rstrip().endswith("run.finish()")
