"""How the notebooks are written: lines that can be read, and no comparison in words beside a number but by a verdict that
is computed.
"""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest

from aps_book import notebooks
from aps_book.experiments import overview
from aps_book.record import claims

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
WIDTH = 120
# "higher noise" and "lower bound" name a thing; the others compare
COMPARES = re.compile(
    r"\b(better|worse|best|worst|above|below|beats?|gains?|loses?|lost|wins?|won|leads?|ahead|behind|outperforms?|"
    r"exceeds?|faster|slower|as fast|narrower|wider|(?:higher|lower)(?! noise| bound| level))\b",
    re.IGNORECASE,
)
# what a curve does, or where it stands: true of one run, and typed it stays when another run is drawn
TREND = re.compile(
    r"\b(ris(?:es?|ing)|falls?|falling|levels? off|cross(?:es)?|steep(?:ly)?|narrows?|stays?|goes|ends?|lies?|close to|near|"
    r"nearly|far|above|below|lowest|highest|largest|smallest|alike|higher|lower|further)\b",
    re.IGNORECASE,
)
FIELD = re.compile(r"\{[^{}]+\}")
TYPED = re.compile(r"\d[\d.,]*\s?(?:dB|%|nats|times)")
ALLOWED = {  # (notebook, part of the sentence): why it may stand
    ("bunny_inpaint", "with the step size of seven that is best on validation digits"): "which setting a search chose"
}


def sentences(text):
    """Sentences of Markdown, list items and table rows apart."""
    return [part for part in re.split(r"(?<=[.;:!?])\s+|\n\s*(?:[-*|]|\n)", text) if part.strip()]


def said(node):
    """The text of a call's first argument: constants as they are, every computed part as a field."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{x}" for v in node.values)
    if isinstance(node, ast.BinOp):
        return said(node.left) + said(node.right)
    if isinstance(node, ast.IfExp):
        return said(node.body) + "\n\n" + said(node.orelse)
    if isinstance(node, ast.Call):
        return "".join(said(argument) for argument in node.args)
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return said(node.elt)
    return ""


def texts(source):
    """What the strings of a program say, each whole: not docstrings, errors, and keys without a blank."""
    found = []

    def visit(node):
        if isinstance(node, ast.Raise | ast.Assert):
            return
        if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant) and (text := said(node)):
            found.append(text)
            return
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            children.remove(node.body[0])
        for child in children:
            visit(child)

    visit(ast.parse(source))
    return [text for text in found if " " in text]


def comparing(text, number):
    """Sentences with a word that compares and something that matches ``number``; words inside of fields do not count."""
    plain = text.replace("{{", "⟨").replace("}}", "⟩")
    return [s.strip() for s in sentences(plain) if number.search(s) and COMPARES.search(FIELD.sub("", s))]


def offences(source):
    """Sentences of a notebook, in the py:percent format, that compare in words beside a number."""
    notebook, found = jupytext.reads(source, fmt="py:percent"), []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += comparing(cell.source, TYPED)
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say":
                found += comparing(said(node.args[0]), FIELD)
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_comparison_in_words_beside_a_number(path):
    allowed = [part for (name, part) in ALLOWED if name == path.stem]
    odd = [one for one in offences(path.read_text("utf-8")) if not any(part in one for part in allowed)]
    assert odd == [], "say it by run.verdict, or without the word"


def test_claims_of_the_overview_do_not_compare_in_words():
    assert [one for _, claim in overview.CLAIMS for one in comparing(claim, FIELD)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "aps_book/experiments").glob("*.py")), ids=lambda path: path.stem)
def test_no_string_of_an_experiment_compares_in_words_beside_a_number(path):
    odd = [one for text in texts(path.read_text("utf-8")) for one in comparing(text, FIELD)]
    assert odd == [], "say it by record.Difference, or without the word"


def test_no_claim_compares_in_words_beside_our_number():
    """Nor a note; what the paper says, and what it is held against, it says in its own words."""
    found = tomllib.loads((ROOT / "book/claims.toml").read_text("utf-8"))
    said_here = [one.get(part, "") for one in found["claim"] for part in ("ours", "note")]
    assert [one for text in (*said_here, *found["sentences"]) for one in comparing(text, FIELD)] == []


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))], ids=lambda path: path.stem
)
def test_no_page_compares_in_words_beside_a_typed_number(path):
    """But for what is computed from the records: the sentences of the front page."""
    text = " ".join(re.sub(r"\n\s*(?=[-*|]|\n)", ". ", path.read_text("utf-8")).split())
    for sentence in claims.sentences():
        text = text.replace(sentence, "")
    assert comparing(text, TYPED) == []


def test_every_exception_is_needed():
    sources = {path.stem: path.read_text("utf-8") for path in NOTEBOOKS}
    for (name, part), why in ALLOWED.items():
        assert why and any(part in one for one in offences(sources[name])), f"{name}: {part!r} is no exception any more"


def test_texts_of_a_program_are_found_whole():
    source = '"""It is better than {x}."""\nKEY = "above"\n\n\ndef say(x):\n    raise ValueError(f"{x} is worse")\n'
    source += '    return f"A lies {x:.2f} " + "dB above B." + str(x)\n'
    assert texts(source) == ["A lies {x} dB above B."]
    assert comparing(texts(source)[0], FIELD)


def test_a_comparison_is_found_where_it_stands():
    cells = '# %%\nrun.say(f"{name} has {{a.psnr:.2f}} dB, " + "which is better than {b.psnr:.2f}. It is worse.")\n'
    assert offences(cells) == ["{x} has {a.psnr:.2f} dB, which is better than {b.psnr:.2f}."]
    assert offences('# %%\nrun.say("{a.above:+.2f} at the higher noise")\n') == []  # a key, and the name of a thing
    assert offences("# %% [markdown]\n# It is 2.1 dB below the other.\n# It is below.\n") == [
        "It is 2.1 dB below the other."
    ]


def trends(source):
    """Typed alt texts of charts that say what a curve does; one that is computed from the record may."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    charts = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "chart"]
    typed = [word.value for node in charts for word in node.keywords if word.arg == "alt"]
    return [said(alt) for alt in typed if not isinstance(alt, ast.Lambda) and TREND.search(said(alt))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_chart_has_a_typed_trend(path):
    """It is drawn from this build or from the full run: ``told`` says what the curves of either do."""
    assert trends(path.read_text("utf-8")) == []


def test_a_typed_trend_is_found_where_it_stands():
    assert trends('run.chart(draw, "a", {}, alt="A curve " f"that rises to {x}.")') == ["A curve that rises to {x}."]
    assert trends('run.chart(draw, "a", {}, alt=lambda shown: "It rises.")\nrun.say("It falls.")') == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lines_can_be_read(path):
    """Code, strings, metadata of cells and Markdown alike."""
    long = {
        number: len(line) for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > WIDTH
    }
    assert long == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_says_what_it_is(path):
    one = notebooks.find(path.stem)
    assert {name for name in one.parameters if not one.comments[name]} <= {"seed"}


def shown_code(source):
    """The parameters of a notebook and the code that stands on its page, as a reader copies them."""
    cells = jupytext.reads(source, fmt="py:percent").cells
    tags = [set(cell.metadata.get("tags", ())) for cell in cells]
    return "\n\n".join(cell.source for cell, has in zip(cells, tags, strict=True) if has & {"parameters", "show-code"})


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem.startswith("own_")], ids=lambda path: path.stem)
def test_the_shown_code_of_a_tutorial_stands_alone(path):
    """Every name that it uses is imported or made in it."""
    code = shown_code(path.read_text("utf-8"))
    assert "import aps_core" in code
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--stdin-filename", path.name]
    done = subprocess.run([*command, "-"], input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
