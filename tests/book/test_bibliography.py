"""The bibliography: every entry can be found, by a DOI, an arXiv number or an address."""

import re
from pathlib import Path

import pytest
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parent.parent.parent
ENTRIES = parse_file(ROOT / "book" / "references.bib").entries
FORMS = {"doi": r"10\.\d{4,}/\S+", "eprint": r"\d{4}\.\d{4,5}", "url": r"https?://\S+"}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_says_where_it_is(name):
    given = {field: value for field, value in ENTRIES[name].fields.items() if field in FORMS}
    assert given, f"{name}: expected one of {', '.join(FORMS)}"
    for field, value in given.items():
        assert re.fullmatch(FORMS[field], value), f"{name}: {field} = {value!r}"


def test_no_two_entries_are_the_same_text():
    numbers = [value for one in ENTRIES.values() for field, value in one.fields.items() if field in ("doi", "eprint")]
    assert len(numbers) == len(set(numbers))
