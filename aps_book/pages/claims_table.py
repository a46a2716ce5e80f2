"""The table of claims and what stands above it, as HTML: verdict, the paper's number, ours, and where the book shows it."""

from __future__ import annotations

import re
from html import escape

from aps_book.record import claims
from aps_book.record.claims import Claim

HEADS = ("claim", "verdict", "in the paper", "here")
TITLES = {
    "aps": "Amortized Posterior Sampling with Diffusion Prior Distillation",
    "feng": "Score-Based Diffusion Models as Principled Priors for Inverse Imaging, supplement",
}


def said(text: str) -> str:
    """A text as HTML, its numbers together with what belongs to them, its words between backticks as code."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return text.replace(" ± ", "&nbsp;±&nbsp;").replace(" %", "&nbsp;%").replace(" dB", "&nbsp;dB")


def anchor(claim: Claim) -> str:
    """The id of a claim's row."""
    return f"claim-{claim.id}"


def summary() -> str:
    """The three sentences and the count of verdicts."""
    shown = "".join(f"<p>{said(one)}</p>" for one in claims.sentences())
    return f'<div class="aps-front">{shown}<p class="aps-count"><b>{escape(claims.counted())}</b></p></div>'


def table() -> str:
    """All claims, those of one paper together; first column fixed, the rest scrolls in its own box."""
    heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    body = "".join(
        f'<tbody><tr><th class="aps-paper" scope="rowgroup" colspan="{len(HEADS)}"><span>{escape(title)}</span></th></tr>'
        + "".join(_row(one) for one in claims.load() if one.source[0].startswith(f"{paper}: "))
        + "</tbody>"
        for paper, title in TITLES.items()
    )
    return (
        '<div class="aps-table aps-claims" tabindex="0" role="region" aria-label="Table of claims">'
        f'<table class="table"><thead><tr>{heads}</tr></thead>{body}</table></div>'
    )


def _row(one: Claim) -> str:
    verdict = one.verdict()
    note = said((one.untested and f"{one.untested[0].upper()}{one.untested[1:]}.") or one.text("note"))
    return (
        f'<tr id="{anchor(one)}"><th scope="row">{said(one.text("says"))}</th>'
        f'<td><span class="aps-verdict aps-{verdict.split()[0]}">{verdict}</span></td>'
        f"<td>{said(one.text('theirs'))}<br><small>{escape(one.where.partition(', ')[2])}</small></td>"
        f"<td>{said(one.text('ours'))}"
        + (f"<br><small>{note}</small>" if note else "")
        + f'<br><a href="results/{one.page}.html#{one.section}" aria-label="details: '
        f'{escape(one.text("says"))}">details</a></td></tr>'
    )
