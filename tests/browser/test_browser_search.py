"""The search of the built book in a browser: a chapter first, and the code for names of the code. Run by `make browser` after
`make book`.
"""

from urllib.parse import quote

import pytest
from absent import absent
from built import HTML, chapters

pytestmark = pytest.mark.slow
FOUND = """new Promise(done => { const look = (n) => { const found = [...document.querySelectorAll('#search-results li a')];
  const over = /finished|did not match/.test(document.querySelector('#search-results').innerText);
  if (over || n == 0) done(found.map(one => [one.getAttribute('href'), one.textContent])); else setTimeout(look, 100, n - 1); };
  look(100); })"""


def search(browser, address, words):
    """[(address, title)] of what is found, in its order."""
    browser.open(f"{address}/search.html?q={quote(words)}")
    found = browser.run(FOUND)
    assert found, f"nothing found for {words!r}"
    return found


@pytest.mark.parametrize(
    "words, needs, says",
    [("Tweedie", "faces", ""), ("own operator", "own_operator", "own"), ("Table 2", "bunny_inpaint", "Table 2")],
)
def test_a_chapter_comes_first(browser, address, words, needs, says):
    """The first is a chapter, whose title says it where one does; all chapters come before all pages of the code."""
    if not (HTML / f"results/{needs}.json").exists():
        absent(f"the page {needs} was not built")
    found = search(browser, address, words)
    pages = [link.partition(".html")[0] for link, _ in found]
    assert pages[0] in chapters() - {"settings"}, found[:5]
    assert says in found[0][1], found[:5]
    code = [page.startswith("reference") and page != "references" for page in pages]
    assert code == sorted(code), found


def test_a_name_of_the_code_finds_the_code(browser, address):
    assert search(browser, address, "load_posterior")[0][0] == "reference.html#aps_core.load_posterior"
