"""The claims of both papers: their verdicts follow the records, none is forgotten, and README and pages say what they say."""

import re
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest
from docutils.nodes import make_id
from test_notebooks import FIELD, comparing

from aps_book import record
from aps_book.experiments import front
from aps_book.pages import answers, claims_table
from aps_book.record import claims, full_runs
from aps_book.record.full_runs import Measured, stored

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))
CLAIMS = claims.load()
EVERY = {
    *(f"aps: Table {i}" for i in range(1, 6)),
    *(f"aps: Figure {i}" for i in range(1, 8)),
    "feng: Table 1",
    *(f"feng: Figure {i}" for i in range(1, 6)),
}
# rows of flows that the forward divergence has trained, by their keys; times do not depend on it
FORWARD = re.compile(
    r"(?:faces|bunny_inpaint|perception|pairs|score_prior|sensor|dps_ablation)/(?!time)[\w.]*\baps(?!\w*\.seconds)"
)


def altered(changes):
    """A look-up in which the numbers of ``changes`` have other values."""
    return lambda name: replace(stored(name), value=changes[name]) if name in changes else stored(name)


def test_every_table_and_figure_of_both_papers_occurs():
    assert {source for one in CLAIMS for source in one.source} >= EVERY


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_texts_and_verdict_come_from_the_records(one):
    for part in ("says", "theirs", "ours", "note"):
        text = one.text(part)
        assert text or part == "note"
        assert "{" not in text and "-0.00 " not in text
    assert one.verdict() in claims.VERDICTS
    assert not one.tests or FIELD.search(one.ours)  # a verdict shows its numbers


@pytest.mark.parametrize("one", [one for one in CLAIMS if one.tests], ids=lambda one: one.id)
def test_verdict_turns_with_the_inequalities(one):
    """What holds fails when every inequality is turned round, and the other way."""
    turned = replace(one, tests=tuple(test.translate(str.maketrans("<>", "><")) for test in one.tests))
    opposite = {claims.HOLDS: claims.FAILS, claims.FAILS: {claims.HOLDS, claims.PARTLY}}
    if one.verdict() in opposite:
        assert turned.verdict() in opposite[one.verdict()]


def test_verdict_turns_with_the_numbers():
    (one,) = claims.named(["noise2score"])
    assert one.verdict() == claims.FAILS
    key = "faces/denoise_tweedie.reverse.psnr_n128"
    better = {key: 1.7, "samplers/denoise.aps.above": 1.5}
    assert one.verdict(altered(better)) == claims.HOLDS
    assert one.verdict(altered({key: 1.7})) == claims.PARTLY
    unsure = {key: 1.0, "samplers/denoise.aps.above": 1.0}
    assert one.verdict(altered(unsure)) == claims.OPEN


def test_a_number_that_is_in_no_record_is_an_error():
    one = replace(CLAIMS[0], tests=("faces/denoise.nothing.psnr > 1",))
    with pytest.raises(KeyError, match=r"denoise.nothing.psnr.*no such number"):
        one.verdict()
    with pytest.raises(KeyError, match="no full run"):
        stored("nothing/psnr")
    with pytest.raises(KeyError, match="the paper has no such number"):
        stored("paper/aps.table3.sr2.aps_n1.psnr")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"tests": ()}, "expected one of tests, untested and derived"),
        ({"untested": "too long"}, "expected one of tests, untested and derived"),
        ({"tests": (), "derived": "maybe", "note": "why"}, "expected 'holds' or 'fails' and a note"),
        ({"source": ("Table 2",)}, "expected texts such as 'aps: Table 2'"),
    ],
)
def test_a_claim_of_another_form_is_refused(changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        replace(CLAIMS[0], **changes)


def test_what_readers_ask_for_is_there():
    """Claims that were missing once, by what they bear on, with the verdict that the records give today."""
    asked = {
        "noise2score": claims.FAILS,
        "amortization-cost": claims.FAILS,
        "amortization-quality": claims.HOLDS,
        "exact-prior": claims.HOLDS,
        "fid-sr2": claims.FAILS,
        "fid-deblur": claims.FAILS,
        "dps-diverges": claims.FAILS,
        "equation-12": claims.FAILS,
        "own-network-faces": claims.UNTESTED,
        "era5-sample": claims.HOLDS,
    }
    assert {one.id: one.verdict() for one in claims.named(asked)} == asked


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_only_flows_of_the_reverse_divergence_are_called_aps(one):
    used = " ".join((*one.tests, one.ours))
    if FORWARD.search(used):
        assert "forward" in one.note, "the note has to say what trained the flow"
        assert "APS" not in one.ours


def headings(page):
    """Ids of the headings of a notebook's page."""
    cells = jupytext.read(ROOT / "notebooks" / f"{page}.py").cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return {make_id(title.replace("$", "")) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_links_lead_to_a_section(one):
    assert one.section in headings(one.page)


def test_the_count_is_that_of_the_table():
    found = claims.count()
    assert sum(found.values()) == len(CLAIMS)
    html = claims_table.table()
    for verdict, n in found.items():
        assert html.count(f">{verdict}</span>") == n
        assert str(n) in claims.counted()


def test_readme_opens_with_the_sentences_of_the_front_page():
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for sentence in (*claims.sentences(), claims.counted()):
        assert sentence in readme, f"README.md does not say: {sentence}"
    assert str(front.PICTURE) in readme


def test_what_the_third_sentence_says_to_fail_does():
    for one in claims.named(["noise2score", "bunny-one-evaluation", "amortization-cost", "own-network-faces"]):
        assert one.verdict() != claims.HOLDS, one.id


def test_the_picture_is_of_todays_weights():
    """Else: python -m aps_book.experiments.front"""
    drawn = (ROOT / front.PICTURE).read_bytes()
    for name, digest in front.inputs().items():
        assert f"{name}={digest}".encode() in drawn, name
    assert len(drawn) < 300_000


def test_every_chapter_opens_with_an_answer():
    assert set(answers.load()) == set(NOTEBOOKS)


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_answers_show_numbers_and_compare_in_no_words_beside_them(page):
    one = answers.load()[page]
    assert one.claims and (FIELD.search(one.answer) or record.full_run(page) is None)
    assert comparing(one.answer, FIELD) + comparing(one.sure, FIELD) == []
    html = answers.box(page)
    assert "{" not in html
    for claim in one.claims:
        assert f"intro.html#claim-{claim}" in html
    assert "href" not in answers.box(page, None)


def test_a_page_without_an_answer_has_no_box():
    assert answers.box("nothing") is None


def test_formulas_carry_their_errors():
    numbers = {"a/x": Measured(4.0, 0.3, 7), "a/y": Measured(2.0, 0.4)}
    found = full_runs.evaluate("a/x - a/y", numbers.__getitem__)
    assert (found.value, found.se) == (2.0, pytest.approx(0.5))
    ratio = full_runs.evaluate("2 * (a/x + 1) / a/y", numbers.__getitem__)
    assert ratio.value == 5.0 and ratio.se == pytest.approx(((0.6 / 2) ** 2 + (10 / 2.4 - 5) ** 2) ** 0.5)
    assert full_runs.settled("a/x > 3.5", numbers.__getitem__) is None
    assert full_runs.settled("a/x > 3", numbers.__getitem__) is True
    assert full_runs.settled("a/x < 3", numbers.__getitem__) is False
    said = full_runs.fill("{a/x:.1f}, {a/x!v:.0f}, {a/x!n}, {a/y - a/x!d:.2f} it", numbers.__getitem__)
    assert said == "4.0 ± 0.3, 4, 7, 2.00 ± 0.50 dB below it"


@pytest.mark.parametrize("odd", ["a/x >", "a/x ** 2", "__import__('os')", "a/x > 1 > 0"])
def test_what_is_no_formula_is_refused(odd):
    with pytest.raises(ValueError, match="expected"):
        full_runs.evaluate(odd, lambda name: Measured(1.0))


def test_an_inequality_has_two_sides():
    with pytest.raises(ValueError, match="expected one ' > ' or ' < '"):
        full_runs.settled("faces/denoise.aps_n1.psnr", lambda name: Measured(1.0))


def test_a_text_is_escaped_and_its_code_marked():
    said = claims_table.said("`linearize` of <b> takes 2.1 ± 0.2 % of `a & b`")
    assert said == ("<code>linearize</code> of &lt;b&gt; takes 2.1&nbsp;±&nbsp;0.2&nbsp;% of <code>a &amp; b</code>")
