"""What a notebook writes and what the book reads: records, rules for parameters, tables, tolerances."""

from aps_book.record.rules import (
    AtMost,
    Rule,
    between,
    boolean,
    integer,
    list_of,
    one_of,
    optional,
    seed,
    several,
    text,
)
from aps_book.record.run import Run, full_run, load, paper_value, save, start
from aps_book.record.verdicts import Difference
from aps_book.record.words import exact, keyed, word

__all__ = [
    "AtMost",
    "Difference",
    "Rule",
    "Run",
    "between",
    "boolean",
    "exact",
    "full_run",
    "integer",
    "keyed",
    "list_of",
    "load",
    "one_of",
    "optional",
    "paper_value",
    "save",
    "seed",
    "several",
    "start",
    "text",
    "word",
]
