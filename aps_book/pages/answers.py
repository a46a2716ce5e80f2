"""The box that a chapter opens with: question, answer, how sure, and the claims it bears on; from ``book/answers.toml``
and the full runs.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from html import escape

from aps_book.pages.claims_table import anchor, said
from aps_book.record import claims
from aps_book.record.full_runs import fill
from aps_book.record.provenance import ROOT


@dataclass(frozen=True)
class Answer:
    """What a box says. The first three are templates of `full_runs.fill`; claims: their ids."""

    question: str
    answer: str
    sure: str
    claims: tuple[str, ...]


@functools.cache
def load() -> dict[str, Answer]:
    """{page: Answer}. Raises ValueError for an entry of another form."""
    table = tomllib.loads((ROOT / "book" / "answers.toml").read_text("utf-8"))
    try:
        return {page: Answer(**{**entry, "claims": tuple(entry["claims"])}) for page, entry in table.items()}
    except (TypeError, KeyError) as error:
        raise ValueError(f"book/answers.toml: {error}") from error


def box(page: str, front: str | None = "../intro.html") -> str | None:
    """The box of a page as HTML, or None where the page has none. front: where the table of claims stands, as seen from
    the page; None where it was not built.
    """
    one = load().get(page)
    if one is None:
        return None
    bears = "".join(
        f"<li>{_linked(claim, front)} <b>{escape(claim.verdict())}</b></li>" for claim in claims.named(one.claims)
    )
    return (
        '<section class="aps-answer" aria-label="Answer of this page">'
        f'<p class="aps-question">{said(fill(one.question))}</p>'
        f"<p>{said(fill(one.answer))}</p>"
        f'<p class="aps-sure"><b>How sure.</b> {said(fill(one.sure))}</p>'
        f"<details><summary>Claims that it bears on: {len(one.claims)}</summary><ul>{bears}</ul></details>"
        "</section>"
    )


def _linked(claim: claims.Claim, front: str | None) -> str:
    text = said(claim.text("says"))
    return text if front is None else f'<a href="{front}#{anchor(claim)}">{text}</a>'
