"""Every flow says what trained it: cards, pages and tables."""

import ast
import json
import re

import pytest

import aps_core
from aps_book import record
from aps_book.record import tables
from aps_book.record.labels import row_label
from aps_core import AmortizedPosterior, files
from aps_core.training import recipes
from aps_core.weights import trained_by

CARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((files.CHECKOUT / "weights").glob("*.json"))}
FLOWS = {name: card for name, card in CARDS.items() if "task" in card}
EXPERIMENTS = files.CHECKOUT / "aps_book" / "experiments"
NOTEBOOKS = sorted((files.CHECKOUT / "notebooks").glob("*.py"))
TELLS = {"trained_by", "row_label", "label_of", "default_flows"}
# the pages that show trained flows without loading weights: what they train stands in their rows
OWN_FLOWS = {"method", "toy2d", "protocol"}


def card(kind="distilled", frozen=(), start=None, **objective):
    """A card with what ``trained_by`` reads of it."""
    recipe = {"flow": {"kind": kind}, "objective": objective, "optimizer": {"frozen": list(frozen)}}
    return {
        "recipe": {**recipe, **({"start": "other"} if start else {})},
        **({"start_trained_by": start} if start else {}),
    }


@pytest.mark.parametrize(
    "given, words, label",
    [
        ({}, "nothing", "flow, untrained"),
        (card(), "reverse divergence, measurements only", "APS (reverse, held-out measurements)"),
        (card(protocol="paper"), "reverse divergence, measurements only", "APS (reverse, test measurements)"),
        (card(kl="forward"), "forward divergence, draws of the prior", "flow (forward, draws of the prior)"),
        (
            card("subspace", draws=10, forward_share=0.85),
            "85 % forward, 15 % reverse divergence",
            "flow (85 % forward, 15 % reverse)",
        ),
        (card("subspace", kl="forward"), "forward divergence, training signals", "flow (forward, training signals)"),
        (
            card(start="forward divergence, draws of the prior", protocol="paper"),
            "reverse divergence, measurements only; started from forward divergence, draws of the prior",
            "flow (forward, then reverse, test measurements)",
        ),
        (
            card(frozen=["network"]),
            "reverse divergence, measurements only, a part of the network frozen",
            "APS (reverse, held-out measurements, partly frozen)",
        ),
    ],
)
def test_words_and_label(given, words, label):
    assert trained_by(given) == words and row_label(given) == label
    assert AmortizedPosterior(None, None, {}, given).trained_by == words


def test_only_the_papers_objective_alone_is_called_aps():
    assert {"faces-denoise-held-out", "sphere-impute-held-out", "faces-denoise-reverse"} <= set(FLOWS)
    for name, one in FLOWS.items():
        start = one.get("start_trained_by", "") if one["recipe"].get("start") else "reverse"
        alone = trained_by(one).startswith("reverse") and start.startswith("reverse")
        assert row_label(one).startswith("APS") == alone, name  # of the card: not all have weights in the checkout
        assert ("-reverse" not in name) or alone, f"{name} was trained by {trained_by(one)}"


def test_weights_that_went_on_say_from_what():
    """And what their cards say is what the card of those says, or their recipe where the weights are not in the checkout."""
    begun = {name: one for name, one in FLOWS.items() if "start" in one["recipe"]}
    assert begun
    for name, one in begun.items():
        start = one["recipe"]["start"]
        card = FLOWS.get(start) or {"recipe": recipes.read(files.CHECKOUT / "recipes" / f"{start}.toml")}
        assert one["start_trained_by"] == trained_by(card), name


def test_the_posterior_says_it():
    post = aps_core.load_posterior("sphere-impute")
    assert post.trained_by == "reverse divergence, measurements only"
    assert aps_core.gaussian_posterior(post.task).trained_by == "nothing"


def _names(path):
    """Every name and attribute that a Python file uses, and the experiment files that it imports."""
    tree = ast.parse(path.read_text("utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aps_book.experiments"):
            imported |= {alias.name for alias in node.names} | {node.module.rpartition(".")[2]}
    return used, {EXPERIMENTS / f"{name}.py" for name in imported if (EXPERIMENTS / f"{name}.py").is_file()}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_with_a_flow_says_what_trained_it(notebook):
    """A page that loads trained weights calls what says it, itself or in its own experiment file."""
    used, imported = _names(notebook)
    for path in imported:
        used |= _names(path)[0]
    if "load_posterior" in used and notebook.stem not in OWN_FLOWS:
        assert used & TELLS, f"{notebook.name} loads a trained flow and does not say what trained it"


@pytest.mark.parametrize("path", [*NOTEBOOKS, *sorted(EXPERIMENTS.glob("*.py"))], ids=lambda path: path.stem)
def test_no_label_says_aps_and_nothing_else(path):
    """Short strings of the sources that could be a row's, a column's or a curve's label."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 60:
            label = node.value.replace("APS objective", "")
            assert not re.match(r"(mean of )?APS\b(?!.*reverse)", label), f"{path.name}, line {node.lineno}: {label!r}"


def test_a_table_refuses_such_a_label(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    run.number("aps.psnr", 1.0)
    with pytest.raises(ValueError, match="'APS, N = 1' says APS and not what trained the flow"):
        run.table({"aps": "APS, N = 1"}, {"psnr": ("PSNR", ".1f")})
    with pytest.raises(ValueError, match="'APS, 90 %' says APS"):
        run.table({"aps": "flow"}, {"psnr": ("APS, 90 %", ".1f")})


def test_the_papers_aps_stands_beside_the_flow_of_its_objective():
    """And not beside the flow that bears the paper's key."""
    stored = {"numbers": {f"t.{row}.psnr": {"value": 20.0, "se": None} for row in ("aps_n1", "reverse_n1", "dps")}}
    paper = {"p.aps_n1.psnr": 23.37, "p.dps.psnr": 27.93}
    rows = {"dps": "DPS", "reverse_n1": "APS (reverse)", "aps_n1": "flow (forward)"}
    arguments = (stored, None, rows, {"psnr": ("PSNR", ".2f")}, "t", "p", None, paper.get)
    lines = tables.comparison(*arguments, paper_rows={"reverse_n1": "aps_n1"})["text/plain"].splitlines()
    cells = {line.split(" | ")[0]: line.split(" | ")[1] for line in lines if line.startswith(tuple(rows.values()))}
    assert cells == {"DPS": "27.93", "APS (reverse)": "23.37", "flow (forward)": "–"}
