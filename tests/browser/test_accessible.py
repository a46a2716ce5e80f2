"""No page or view of the built book keeps people out, as far as axe-core can tell: in both modes, without serious or critical
findings. Run by `make browser` after `make book`; skipped where npm is missing, a failure there with CI=true.
"""

import axe
import pytest
from absent import absent
from built import PAGES, ROOT, VIEWS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checker():
    """The text of axe-core."""
    found = axe.script(ROOT / ".build")
    if found is None:
        absent("axe-core could not be had from npm: no page is checked for accessibility")
    return found


# Two frames, for the page to hear of another mode, and the end of what fades: a colour on its way is none that a reader sees. A second
# is long enough for both; a window that is drawn no more has no frames, and what is paused never ends.
STILL = """Promise.race([new Promise(done => setTimeout(done, 1000)),
  new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    .then(() => Promise.allSettled(document.getAnimations()
      .filter(one => one.effect.getComputedTiming().endTime < Infinity).map(one => one.finished)))])
  .then(() => document.documentElement.dataset.theme)"""


def findings(browser, checker, address, width):
    """What axe-core finds: everything in light mode, the colours in dark mode."""
    browser.prefers("light")
    browser.open(address, width)
    browser.run(checker + "; 0")
    found = []
    for mode, rules in (("light", axe.EVERYTHING), ("dark", axe.COLOURS)):
        browser.prefers(mode)
        assert browser.run(STILL) in (mode, None)  # views have one mode
        found += [f"{mode}: {one}" for one in browser.run(rules)]
    return found


@pytest.mark.parametrize("page", [f"{page}.html" for page in PAGES] + VIEWS or ["none"])
def test_nobody_is_kept_out(browser, address, checker, page):
    assert findings(browser, checker, f"{address}/{page}", 900 if page in VIEWS else 1280) == []


def test_a_picture_without_words_is_found(browser, address, checker):
    """The check of a page can fail."""
    browser.open(f"{address}/cite.html")
    browser.run("document.querySelector('main').append(new Image()); 0")
    browser.run(checker + "; 0")
    assert any(one.startswith("image-alt") for one in browser.run(axe.EVERYTHING))
