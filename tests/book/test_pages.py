"""What the pages get beside what notebooks show: one fold of code, tables of paper and full run with this build in a fold."""

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from IPython.core.inputtransformer2 import TransformerManager

from aps_book.pages import code_fold, elsewhere, extension, take_away
from aps_book.record import tables, words

ROOT = Path(__file__).resolve().parent.parent.parent


def cell(number, output):
    """A cell as MyST-NB makes it: its input, and perhaps an output."""
    inner = nodes.container("", nodes.literal_block("", f"code {number}"), classes=["cell_input"])
    shown = [nodes.container("", nodes.paragraph("", f"output {number}"), classes=["cell_output"])] if output else []
    return nodes.container("", inner, *shown, classes=["cell", "tag_hide-input"], hide_mode="input")


def test_code_is_gathered_at_the_end():
    page = new_document("page", get_default_settings(Parser))
    page += nodes.section("", nodes.title("", "Page"), cell(1, True), nodes.paragraph("", "text"), cell(2, False))
    assert code_fold.gather(page) == 2
    text = page.astext()
    assert text.index("output 1") < text.index("text") < text.index("code 1") < text.index("code 2")
    (left,) = page.findall(lambda node: "cell" in getattr(node, "attributes", {}).get("classes", ()))
    assert left["classes"] == ["cell"] and "hide_mode" not in left.attributes
    fold = [node.astext() for node in page.findall(nodes.raw)]
    assert fold[0].startswith('<details class="aps-code"><summary>Code of this page: 2 cells')
    assert fold[-1] == "</details>"
    shown = cell(3, True)
    shown["classes"].append("tag_show-code")
    page += shown
    assert code_fold.gather(page) == 0 and "code 3" in shown.astext()
    assert code_fold.gather(new_document("empty", get_default_settings(Parser))) == 0


COLUMNS = {"psnr": ("PSNR", ".1f"), "ssim": ("SSIM", ".2f")}
SOURCES = ["paper", "full run", "this build"]


def html(body, note=("Full run: then.", "n_test = 8.")):
    return tables._html(COLUMNS, SOURCES, body, "Caption", note, {"full run": None, "this build": None})


def heads_and_rows(table):
    """Texts of the header cells, and of the rows, of one HTML table."""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return [row for row in rows if row]


def test_paper_and_full_run_stand_on_the_page_and_this_build_in_a_fold():
    made = html([("DPS", ["28.9", "–", "–", "–", "–", "–"]), ("flow", ["33.2", "37.0", "36.9", "–", "0.97", "0.96"])])
    page, fold = made.split('<details class="aps-build">')
    assert heads_and_rows(page) == [
        ["", "PSNR", "SSIM"],
        ["paper", "full run", "full run"],  # SSIM has nothing of the paper
        ["DPS", "28.9", "–", "–"],
        ["flow", "33.2", "37.0", "0.97"],
    ]
    assert heads_and_rows(fold) == [["", "PSNR", "SSIM"], ["flow", "36.9", "0.96"]]
    assert '<div class="aps-table" tabindex="0" role="region" aria-label="Caption">' in page
    assert "<summary>Full run: then.</summary>n_test = 8." in made


def test_without_a_full_run_this_build_stands_on_the_page():
    made = html([("flow", ["33.2", "not run", "36.9 ± 0.1", "–", "not run", "0.96"])], ("Full run: not run.", ""))
    assert "aps-build" not in made
    assert heads_and_rows(made) == [
        ["", "PSNR", "SSIM"],
        ["paper", "this build", "this build"],
        ["flow", "33.2", "36.9&nbsp;±&nbsp;0.1", "0.96"],
    ]
    assert made.endswith('<p class="aps-provenance">Full run: not run.</p>')


@pytest.mark.parametrize(
    "value, form, text",
    [
        (-0.0001, ".3f", "0.000"),
        (-0.0001, "+.3f", "+0.000"),
        (-0.2, ".1f", "-0.2"),
        (-0.0, ".0f", "0"),
        (1e-9, ".1e", "1.0e-09"),
    ],
)
def test_a_zero_has_no_minus(value, form, text):
    assert words.shown(value, form) == text


def test_pages_offer_their_records(tmp_path):
    made = {"versions": {"aps-core": "0.2.0"}, "date": "2026-01-02T03:04:05+00:00"}
    said = take_away.line({"notebook": "faces", "provenance": made})
    assert "aps-core 0.2.0, built on 2026-01-02" in said
    assert re.findall(r'href="([^"]+)"', said) == [
        "../_sources/results/faces.ipynb", "faces.json", "faces.full.json", "../cite.html",
    ]  # fmt: skip
    assert "cite" not in take_away.line({"notebook": "faces", "provenance": made}, None)
    assert "full.json" not in take_away.line({"notebook": "nothing", "provenance": made})
    (tmp_path / "faces.json").write_text("{}")
    (tmp_path / "nothing.json").write_text("{}")
    (tmp_path / "out").mkdir()
    take_away.copy_records(tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"faces.json", "faces.full.json", "nothing.json"}


def configured(url):
    return SimpleNamespace(html_theme_options={"repository_url": url, "repository_branch": "main"})


def test_the_repository_is_said_in_one_place():
    binder = "https://mybinder.org/v2/gh/somebody/aps/main?urlpath=lab/tree/notebooks/faces.py"
    colab = "https://colab.research.google.com/github/somebody/aps/blob/notebooks/faces.ipynb"
    for url, launches in {
        "https://github.com/somebody/aps": {"Binder": binder, "Colab": colab},
        "https://gitlab.com/a/b/": {
            "Binder": "https://mybinder.org/v2/gl/a%2Fb/main?urlpath=lab/tree/notebooks/faces.py"
        },
        "https://forge.example/a/b": {},
        "": {},
    }.items():
        config = configured(url)
        assert elsewhere.launches(*extension.repository(config), "faces") == launches
        extension.buttons_of_the_repository(None, config)
        options = config.html_theme_options
        assert options["use_repository_button"] is options["use_issues_button"] is bool(url)
    made = {"notebook": "faces", "provenance": {"versions": {}, "date": "2026-01-02T03:04:05+00:00"}}
    said = take_away.line(made, None, {"Binder": binder, "Colab": colab})
    assert f'<a href="{binder}">run it on Binder</a>; <a href="{colab}">run it on Colab</a>' in said
    assert "Binder" not in take_away.line(made) and "Colab" not in take_away.line(made)


def test_notebooks_to_take_away_fetch_the_project_where_it_is_missing(tmp_path):
    """Once, in a first cell, and only where a repository is known; where the project is there, the cell does nothing."""
    code = nbformat.v4.new_code_cell("1 + 1")
    path, made = tmp_path / "faces.ipynb", nbformat.v4.new_notebook(cells=[code])
    nbformat.write(made, path)
    before = path.read_bytes()
    elsewhere.complete_notebooks(tmp_path, *extension.repository(configured("")))
    assert path.read_bytes() == before
    for _ in range(2):
        elsewhere.complete_notebooks(tmp_path, *extension.repository(configured("https://github.com/somebody/aps")))
    completed = nbformat.read(path, 4)
    nbformat.validate(completed)
    first, second = completed.cells
    assert second.source == "1 + 1"
    assert "git clone --quiet --depth 1 --branch main https://github.com/somebody/aps " in first.source
    ran = []
    shell = SimpleNamespace(system=ran.append, run_line_magic=lambda name, rest: ran.append(f"{name} {rest}"))
    python = TransformerManager().transform_cell(first.source)
    exec(python, {"get_ipython": lambda: shell})
    assert ran == []
    exec(python.replace("aps_core", "no_such_package"), {"get_ipython": lambda: shell})
    assert [one.split()[0] for one in ran] == ["git", "cd", "pip"]


def test_the_pdf_is_offered_on_the_front_page(tmp_path):
    pdf, front = tmp_path / "aps.pdf", tmp_path / "html" / "intro.html"
    front.parent.mkdir()
    front.write_text("<p>No place")
    pdf.write_bytes(b"%PDF-" + bytes(3_000_000))
    with pytest.raises(ValueError, match="intro.html: expected a place for the link"):
        take_away.offer_pdf(pdf, front.parent)
    assert not (front.parent / "aps.pdf").exists()
    front.write_text(f"<p>Before{take_away.OPEN}{take_away.CLOSE}<p>After")
    for _ in range(2):  # printed anew, it is offered once
        take_away.offer_pdf(pdf, front.parent)
        assert front.read_text().count('<a href="aps.pdf">The whole book as a PDF</a> (3 MB)') == 1
    assert re.fullmatch("<p>Before.*<p>After", front.read_text())
    assert (front.parent / "aps.pdf").read_bytes() == pdf.read_bytes()
    assert "{on-paper}" in (ROOT / "book/intro.md").read_text("utf-8")


def test_the_search_knows_the_pages_of_the_code():
    """The scorer that the extension gives to Sphinx puts exactly the pages of the code below all others."""
    config = SimpleNamespace()
    extension.chapters_first(None, config)
    text = Path(config.html_search_scorer).read_text("utf-8")
    lowest = re.search(r"below = \[/(.*?)/,", text).group(1)
    pages = {path.stem for path in (ROOT / "book").glob("*.md")}
    code = {name for name in pages if "```{reference}" in (ROOT / "book" / f"{name}.md").read_text("utf-8")}
    assert {name for name in pages if re.search(lowest, name)} == code != set()


def test_every_page_says_version_and_date():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert re.search(rf"aps-core {re.escape(version)}, book built on \d{{4}}-\d\d-\d\d\.", take_away.plain())


def test_the_page_on_citing_has_what_the_bibliography_has():
    page, bib = ((ROOT / "book" / name).read_text("utf-8") for name in ("cite.md", "references.bib"))
    for name in ("mammadov2024aps", "feng2023principled"):
        entry = re.search(rf"@\w+{{{name},.*?\n}}", bib, re.DOTALL).group()
        assert entry in page, name
        arxiv = re.search(r"eprint\s*= \{([\d.]+)\}", entry).group(1)
        assert f"arXiv:{arxiv}" in (ROOT / "CITATION.cff").read_text("utf-8")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert page.count(version) == 2
