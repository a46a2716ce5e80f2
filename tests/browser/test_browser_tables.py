"""Tables in a browser: at 1280 px none scrolls in its own box or is mostly empty, and on a phone the keyboard moves them. Run by
`make browser` after `make book`.
"""

import pytest
from built import PAGES

pytestmark = pytest.mark.slow
BOXES = ".aps-table, .pst-scrollable-table-container"
# [name, pixels that are out of sight, cells, cells without anything] of each table, those in folds too
TABLES = f"""(() => {{
  document.querySelectorAll('main details').forEach(one => {{ one.open = true; }});
  const bare = (cell) => /^[\\s/\u2013\u2014-]*$/.test(cell.textContent) && !cell.querySelector('img, svg, input, mjx-container');
  return [...document.querySelectorAll('main table')].map(table => {{
    const box = table.closest('{BOXES}') ?? table.parentElement, cells = [...table.querySelectorAll('tbody td')];
    const name = box.getAttribute('aria-label') ?? table.textContent.trim().slice(0, 60);
    return [name, box.scrollWidth - box.clientWidth, cells.length, cells.filter(bare).length];
  }});
}})()"""


@pytest.mark.parametrize("page", PAGES or ["none"])
def test_tables_fit_and_are_filled(browser, address, page):
    """All columns of a table are in sight at 1280 px, and at most half of its cells are empty or a dash."""
    browser.prefers("light")
    browser.open(f"{address}/{page}.html", 1280)
    found = browser.run(TABLES)
    assert [(name, beyond) for name, beyond, _, _ in found if beyond > 0] == [], "columns out of sight"
    assert [(name, f"{empty} of {n}") for name, _, n, empty in found if 2 * empty > n] == [], "mostly empty"


def test_a_table_that_does_not_fit_is_found(browser, address):
    """The check of tables can fail."""
    browser.open(f"{address}/intro.html", 1280)
    before = browser.run(TABLES)
    cells = "<td></td><td>– / –</td><td>" + "x" * 400 + "</td>"
    box = f'<div class="aps-table" aria-label="wide"><table><tbody><tr>{cells}</tr></tbody></table></div>'
    browser.run(f"document.querySelector('main article').insertAdjacentHTML('beforeend', `{box}`); 0")
    name, beyond, n, empty = browser.run(TABLES)[-1]
    assert len(before) > 0 and name == "wide" and beyond > 500 and (n, empty) == (3, 2)


def test_tables_are_reached_by_the_keyboard(browser, address):
    """The table of claims is a region with a name that the Tab key reaches and arrows move."""
    browser.open(f"{address}/intro.html", 390)
    browser.run("document.querySelector('.aps-claims').focus(); 0")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Table of claims"
    before = browser.run("document.activeElement.scrollLeft")
    browser.run("document.activeElement.scrollBy(80, 0); 0")
    assert browser.run("document.activeElement.scrollLeft") > before
    first, head = browser.run(
        "[document.querySelector('.aps-claims').getBoundingClientRect().left,"
        " document.querySelector('.aps-claims tbody tr[id] th').getBoundingClientRect().left]"
    )
    assert abs(first - head) < 2, "the first column does not stay"
