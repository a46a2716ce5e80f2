"""The book on paper: what is said where it cannot be printed, and a page that is."""

import pytest

from aps_book import pdf
from aps_book.running import RunFailed


def test_without_a_browser_it_says_what_is_expected(monkeypatch, tmp_path):
    monkeypatch.setattr(pdf, "find", lambda: None)
    with pytest.raises(RunFailed, match="expected one of chromium, .*APS_CHROMIUM"):
        pdf.build(tmp_path, tmp_path / "book.pdf")
    assert not (tmp_path / "book.pdf").exists()


@pytest.mark.parametrize(
    "script, message", [("exit 0", "left no PDF of page.html"), ("echo broken >&2; exit 3", "broken")]
)
def test_a_browser_that_fails_is_a_failure(tmp_path, script, message):
    fake, page = tmp_path / "chromium", tmp_path / "page.html"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    page.write_text("<p>Text")
    with pytest.raises(RunFailed, match=message):
        pdf.print_page(str(fake), page, tmp_path)


def test_the_browser_can_be_named(monkeypatch):
    monkeypatch.setenv("APS_CHROMIUM", "/somewhere/chromium")
    assert pdf.find() == "/somewhere/chromium"
