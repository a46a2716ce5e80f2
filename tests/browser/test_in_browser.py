"""Every page of the built book in a browser: no error, no other host, nothing wider than the page, nobody kept out; the
search finds chapters. Run by `make browser` after `make book`.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

import axe
import pytest
from absent import absent
from built import HTML, ROOT

pytestmark = pytest.mark.slow
SKIPPED = {"genindex", "py-modindex", "search", "index"}  # made by Sphinx; index only leads to intro
PAGES = sorted(
    str(path.relative_to(HTML).with_suffix(""))
    for path in HTML.rglob("*.html")
    if path.stem not in SKIPPED and "_static" not in path.parts and "-" not in path.stem
)
WIDTHS = (1280, 390)
TOO_WIDE = """[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > innerWidth + 1
  && !one.closest('.aps-table, .pst-scrollable-table-container, pre, .math, mjx-container, #pst-secondary-sidebar')).slice(0, 3)
  .map(one => one.outerHTML.slice(0, 120))"""


MOST, MOST_WITH_VIEW = 3e6, 5e6  # bytes of a page with all that it loads


def views_of(page):
    """Files of the frames of a page."""
    found = re.findall(r'<iframe class="aps-view" src="([^"]+)"', (HTML / f"{page}.html").read_text("utf-8"))
    return [HTML / Path(page).parent / name for name in found]


def weight(page, requested):
    """Bytes of what a page requested from this host, and of its frames, which are loaded when they come into sight."""
    names = {unquote(urlparse(url).path).lstrip("/") for url in requested if url.startswith("http")}
    files = {HTML / name for name in names} | set(views_of(page))
    return sum(path.stat().st_size for path in files if path.is_file())


@pytest.fixture(scope="module")
def checker():
    found = axe.script(ROOT / ".build")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("axe-core could not be had from npm: no page could be checked for accessibility")
    return found


def test_pages_are_there(address):
    assert len(PAGES) > 20 and "intro" in PAGES


@pytest.mark.parametrize("page", PAGES or ["none"])
def test_page(browser, address, checker, page):
    browser.open(f"{address}/{page}.html", WIDTHS[0])
    wide = []
    for width in WIDTHS:
        browser.resize(width)
        if browser.run("document.documentElement.scrollWidth > innerWidth"):
            wide.append((width, browser.run(TOO_WIDE)))
    browser.resize(WIDTHS[0])
    said, hosts = list(browser.said), {urlparse(url).netloc for url in browser.requested if url.startswith("http")}
    found = []
    if checker is not None:
        browser.run(checker + "; 0")
        found += browser.run(axe.EVERYTHING)
        browser.theme("dark")
        found += [f"dark: {one}" for one in browser.run(axe.COLOURS)]
        browser.theme("light")
    assert weight(page, browser.requested) < (MOST_WITH_VIEW if views_of(page) else MOST), "too many bytes"
    assert said == [], "the console is not empty"
    assert hosts == {urlparse(address).netloc}, "requests to other hosts"
    assert wide == [], "wider than the window"
    assert found == [], "serious or critical findings of axe-core"


def test_a_picture_without_words_is_found(browser, address, checker):
    """The check of a page can fail."""
    if checker is None:
        absent("axe-core could not be had from npm")
    browser.open(f"{address}/cite.html")
    browser.run("document.querySelector('main').append(new Image()); 0")
    browser.run(checker + "; 0")
    assert any(one.startswith("image-alt") for one in browser.run(axe.EVERYTHING))


@pytest.mark.parametrize("words, first", [("Tweedie", None), ("own operator", None), ("Table 2", "results/")])
def test_search_finds(browser, address, words, first):
    browser.open(f"{address}/search.html?q={quote(words)}")
    links = browser.run(
        "new Promise(done => { const look = (n) => { const found = [...document.querySelectorAll('#search-results li a')];"
        " const over = /finished|did not match/.test(document.querySelector('#search-results').innerText);"
        " if (over || n == 0) done(found.map(one => one.getAttribute('href'))); else setTimeout(look, 100, n - 1); };"
        " look(100); })"
    )
    assert links, f"nothing found for {words!r}"
    assert first is None or links[0].startswith(first), links[:5]


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


def test_links_of_the_claims_lead_to_sections(address):
    """Every anchor that the table of claims links to exists in the page."""
    front = (HTML / "intro.html").read_text("utf-8")
    links = re.findall(r'href="(results/[a-z0-9_]+\.html)#([a-z0-9-]+)" aria-label', front)
    assert len(links) > 50
    for page, anchor in links:
        assert f'id="{anchor}"' in (HTML / page).read_text("utf-8"), f"{page}#{anchor}"


VIEWS = sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("results/*-*.html"))


@pytest.fixture
def view(browser, address, checker, request):
    """One view, opened by itself in a window that has the focus."""
    name = f"results/{request.param}.html"
    if name not in VIEWS:
        absent(f"{name} was not built")
    browser.send("Emulation.setFocusEmulationEnabled", enabled=True)
    browser.open(f"{address}/{name}", 900, 700)
    return browser


@pytest.mark.parametrize("name", VIEWS or ["none"])
def test_view(browser, address, checker, name):
    """Title and language, nothing on the console, nothing too wide, nobody kept out."""
    if name == "none":
        absent("no view was built")
    browser.open(f"{address}/{name}", 900)
    assert browser.run("document.documentElement.lang") == "en" and browser.run("document.title.length") > 10
    for width in (900, 330):
        browser.resize(width)
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.said == []
    assert {urlparse(url).netloc for url in browser.requested if url.startswith("http")} == {urlparse(address).netloc}
    if checker is not None:
        browser.run(checker + "; 0")
        assert browser.run(axe.EVERYTHING) == []


@pytest.mark.parametrize("view", ["any_mask-sliders", "faces-sliders"], indirect=True)
def test_sliders_move_by_the_keyboard(view):
    """Each slider changes pictures, their words, and what a screen reader says."""
    state = "[...document.querySelectorAll('img')].map(one => one.alt + one.src).join()"
    assert view.run("[...document.images].every(one => one.complete && one.naturalWidth > 0 && one.alt)")
    n = view.run("document.querySelectorAll('input').length")
    assert n == 3
    for i in range(n):
        before = view.run(state), view.run(f"document.querySelectorAll('input')[{i}].getAttribute('aria-valuetext')")
        view.run(f"document.querySelectorAll('input')[{i}].focus(); 0")
        view.press("ArrowRight", number=39)
        after = view.run(state), view.run(f"document.querySelectorAll('input')[{i}].getAttribute('aria-valuetext')")
        assert before[0] != after[0] and before[1] != after[1], i
    assert view.run("document.querySelector('label').textContent.length") > 5


@pytest.mark.parametrize("view", ["bunny_inpaint-view"], indirect=True)
def test_the_bunny_turns_by_mouse_keyboard_and_buttons(view):
    pixels, seen = "document.querySelector('canvas').toDataURL()", []
    look = lambda: seen.append(view.run(f"new Promise(done => requestAnimationFrame(() => done({pixels})))"))  # noqa: E731
    look()
    view.run("document.querySelector('canvas').focus(); 0")
    view.press("ArrowLeft", number=37)
    look()
    view.run("document.querySelector('[data-key=ArrowUp]').click(); 0")
    look()
    for kind, x, buttons in (("mousePressed", 300, 1), ("mouseMoved", 420, 1), ("mouseReleased", 420, 0)):
        view.send("Input.dispatchMouseEvent", type=kind, x=x, y=300, button="left", buttons=buttons, clickCount=1)
    look()
    view.run("{ const menu = document.querySelector('select'); menu.selectedIndex = 1;"
             " menu.dispatchEvent(new Event('change')); } 0")  # fmt: skip
    look()
    assert len(set(seen)) == 5
    view.press("Home", number=36)
    assert view.run("document.querySelector('canvas').dataset.view").startswith("-0.23 0.12")


@pytest.mark.parametrize("view", ["overview-points"], indirect=True)
def test_marks_say_what_they_are(view):
    said = "document.querySelector('#said').textContent"
    assert view.run(said).startswith("Point at a mark")
    view.run("document.querySelector('.mark').focus(); 0")
    assert re.search(r"\d dB in .* s", view.run(said))
    x, y = view.run("(({x, y, width, height}) => [x + width / 2, y + height / 2])"
                    "([...document.querySelectorAll('.mark')].at(-1).getBoundingClientRect())")  # fmt: skip
    view.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert view.run(said) == view.run("[...document.querySelectorAll('.mark')].at(-1).getAttribute('aria-label')")


@pytest.mark.parametrize("page", [page for page in PAGES if views_of(page)] or ["none"])
def test_the_wheel_scrolls_the_page_over_a_view(browser, address, page):
    """Frames take the height of what they hold, and do not keep the wheel."""
    if page == "none":
        absent("no page with a view was built")
    browser.open(f"{address}/{page}.html")
    frame = "document.querySelector('.aps-view')"
    browser.run(f"{frame}.style.height = '333px'; {frame}.scrollIntoView({{block: 'center', behavior: 'instant'}}); 0")
    height = "document.querySelector('.aps-view').getBoundingClientRect().height"
    browser.run(f"new Promise(done => {{ const look = (n) => ({height} != 333 || !n) ? done() : setTimeout(look, 100, n - 1);"
                " look(50); })")  # fmt: skip
    assert 200 < browser.run(height) != 333
    x, y = browser.run("(({x, y}) => [x + 60, y + 60])(document.querySelector('.aps-view').getBoundingClientRect())")
    before = browser.run("scrollY")
    for _ in range(6):  # the first ones come before the frame takes part
        browser.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=200)
        browser.run("new Promise(done => setTimeout(done, 400))")
        if browser.run("scrollY") > before:
            break
    assert browser.run("scrollY") > before
