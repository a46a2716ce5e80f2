"""What two things measured on the same signals say about each other, in words: computed from a record, never typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aps_book.record.words import error_shown, shown

RESOLVED = 2.0  # standard errors
WORDS = {"higher": ("better", "worse"), "lower": ("worse", "better"), None: ("above", "below")}


@dataclass(frozen=True)
class Difference:
    """A stored mean difference, ``this`` minus ``that``, paired by signal.

    Attributes:
      key: of the difference in the record.
      this, that: what is compared, in words.
      better: "higher" or "lower" values, or None where neither is: then the words are above and below.
      form: format of the difference.
      n: on how many signals it stands: a number, or the name of the parameter that says it; only for records that do
        not say it themselves.
      measure: in words, such as "energy score"; by default nothing but the unit is said.
    """

    key: str
    this: str
    that: str
    better: str | None = "higher"
    form: str = "+.2f"
    n: int | str | None = None
    measure: str = ""

    def __post_init__(self):
        if self.better not in WORDS:
            raise ValueError(f"better = {self.better!r}: expected 'higher', 'lower' or None")


def word(number: Mapping[str, Any], better: str | None = "higher") -> str:
    """What a difference says: "better", "worse" (without ``better``: "above", "below"), or "not resolved" where it is
    smaller than two standard errors.

    Raises ValueError where the number has no standard error: then nothing can be said.
    """
    value, error = number["value"], number["se"]
    if error is None:
        raise ValueError("a difference without a standard error has no verdict")
    if abs(value) < RESOLVED * error or value == 0:
        return "not resolved"
    return WORDS[better][0 if value > 0 else 1]


def sentence(record: Mapping[str, Any], difference: Difference) -> str:
    """One sentence with the word, the difference, its standard error and n.

    Raises KeyError where the record has no such number, ValueError where it has no standard error or nobody says n.
    """
    number = record["numbers"].get(difference.key)
    if number is None:
        raise KeyError(f"{difference.key!r}: the record has no such number")
    said, n = word(number, difference.better), size(record, number, difference.n)
    if n is None:
        raise ValueError(f"{difference.key}: a verdict needs the number of signals, and neither record nor n says it")
    unit = f" {number['unit']}" if number["unit"] else ""
    amount = (
        f"{shown(number['value'], difference.form)} ± {error_shown(number['se'], difference.form)}{unit}, n = {n:,}"
    )
    by = f" by {difference.measure}" if difference.measure else ""
    this = difference.this[0].upper() + difference.this[1:]
    if said == "not resolved":
        return f"{this} against {difference.that}{by}: **not resolved** ({amount})."
    return f"{this} is **{said}** {'' if said in WORDS[None] else 'than '}{difference.that}{by} ({amount})."


def size(record: Mapping[str, Any], number: Mapping[str, Any], n: int | str | None = None) -> int | None:
    """On how many signals a number stands: what it says itself, or else ``n``: a number, or the name of the parameter, or
    the key of the number, that says it. None where nobody does.
    """
    if number.get("n") is not None or not isinstance(n, str):
        return n if number.get("n") is None else number["n"]
    said = record["parameters"].get(n, record["numbers"].get(n, {}).get("value"))
    return None if said is None else int(said)
