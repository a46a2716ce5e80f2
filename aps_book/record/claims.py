"""What the two papers claim, and what the full runs say of it: verdicts computed from the records, never typed.

The claims stand in ``book/claims.toml``, which says how they are written.
"""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aps_book.record.full_runs import Measured, fill, settled, stored
from aps_book.record.provenance import ROOT

HOLDS, PARTLY, FAILS, OPEN, UNTESTED = "holds", "partly", "fails", "not resolved", "untested at full length"
VERDICTS = (HOLDS, PARTLY, FAILS, OPEN, UNTESTED)
PAPERS = {"aps": "APS", "feng": "Feng et al., supplement"}
VERBS = {  # of several, of one
    HOLDS: ("hold", "holds"),
    PARTLY: ("hold in part", "holds in part"),
    FAILS: ("fail", "fails"),
    OPEN: ("are not resolved", "is not resolved"),
    UNTESTED: ("are untested at full length", "is untested at full length"),
}
LookUp = Callable[[str], Measured]


@dataclass(frozen=True)
class Claim:
    """One claim. The texts are templates of `full_runs.fill`.

    Attributes:
      id: by which pages refer to it.
      source: where it stands, such as ("aps: Table 2",).
      says, theirs, ours, note: the claim, the paper's number, ours, and what has to be known beside it.
      tests: inequalities of `full_runs.settled`.
      untested: why no full run tests it.
      derived: the verdict that a derivation gives.
      page, section: where the book shows it.
    """

    id: str
    source: tuple[str, ...]
    says: str
    theirs: str
    ours: str
    page: str
    section: str
    tests: tuple[str, ...] = ()
    untested: str = ""
    derived: str = ""
    note: str = ""

    def __post_init__(self):
        if sum(map(bool, (self.tests, self.untested, self.derived))) != 1:
            raise ValueError(f"claim {self.id!r}: expected one of tests, untested and derived")
        if self.derived and (self.derived not in (HOLDS, FAILS) or not self.note):
            raise ValueError(f"claim {self.id!r}: derived = {self.derived!r}, expected 'holds' or 'fails' and a note")
        if not self.source or any(one.partition(": ")[0] not in PAPERS for one in self.source):
            raise ValueError(f"claim {self.id!r}: source = {self.source!r}, expected texts such as 'aps: Table 2'")

    def verdict(self, look_up: LookUp = stored) -> str:
        """One of VERDICTS. Raises KeyError where a test names a number that is in no record."""
        if self.untested or self.derived:
            return UNTESTED if self.untested else self.derived
        found = [settled(test, look_up) for test in self.tests]
        if all(found):
            return HOLDS
        if True in found:
            return PARTLY
        return FAILS if False in found else OPEN

    def text(self, part: str, look_up: LookUp = stored) -> str:
        """``says``, ``theirs``, ``ours`` or ``note`` with the numbers filled in."""
        return fill(getattr(self, part), look_up)

    @property
    def where(self) -> str:
        """Where it stands, in words: "APS, Table 2 and Figure 6"."""
        paper = PAPERS[self.source[0].partition(": ")[0]]
        return f"{paper}, " + " and ".join(one.partition(": ")[2] for one in self.source)


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads((ROOT / "book" / "claims.toml").read_text("utf-8"))


@functools.cache
def load() -> tuple[Claim, ...]:
    """All claims, in the order of the file.

    Raises ValueError: a claim of another form, or an id that stands twice.
    """
    found = tuple(_claim(entry) for entry in _table()["claim"])
    twice = [name for name, n in Counter(one.id for one in found).items() if n > 1]
    if twice:
        raise ValueError(f"claims.toml: {twice[0]!r} stands twice")
    return found


def _claim(entry: dict[str, Any]) -> Claim:
    try:
        return Claim(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
    except TypeError as error:
        raise ValueError(f"claims.toml, {entry.get('id')!r}: {error}") from error


def named(names: Iterable[str]) -> list[Claim]:
    """The claims of these ids. Raises KeyError for an unknown one."""
    known = {one.id: one for one in load()}
    for name in names:
        if name not in known:
            raise KeyError(f"claim {name!r}: expected one of {', '.join(known)}")
    return [known[name] for name in names]


def sentences(look_up: LookUp = stored) -> list[str]:
    """The three sentences of the front page and of the README."""
    return [fill(one, look_up) for one in _table()["sentences"]]


def counted(look_up: LookUp = stored) -> str:
    """How many claims have each verdict, as a sentence."""
    found = count(look_up=look_up)
    parts = [f"{n} {VERBS[verdict][n == 1]}" for verdict, n in found.items()]
    return f"Of {sum(found.values())} claims of the two papers " + ", ".join(parts[:-1]) + f" and {parts[-1]}."


def count(claims: Iterable[Claim] | None = None, look_up: LookUp = stored) -> dict[str, int]:
    """How many claims have each verdict, in the order of VERDICTS, without those that none has."""
    found = Counter(one.verdict(look_up) for one in (load() if claims is None else claims))
    return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}
