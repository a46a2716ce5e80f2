"""A page on paper, by a browser."""

import pytest
from absent import absent

from aps_book import pdf


@pytest.mark.slow
def test_a_page_is_printed(address, tmp_path):
    """A PDF with as many pages as the text breaks into. Run with the built book, where a browser is."""
    del address
    if pdf.find() is None:
        absent("no Chromium found")
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>Page</title><p>One<p style='break-before: page'>Two")
    printed = pdf.print_page(pdf.find(), page, tmp_path)
    assert printed.startswith(b"%PDF-") and printed.count(b"/Type /Page\n") == 2
