"""Views that a reader moves, in a browser: sliders, the bunny, the plane of quality and time, by mouse and keyboard. Run by `make
browser` after `make book`.
"""

import re
from urllib.parse import urlparse

import pytest
from absent import absent
from built import MODES, PAGES, VIEWS, views_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", VIEWS or ["none"])
def test_view(browser, address, name):
    """Title and language, nothing on the console, no other host, nothing too wide."""
    if name == "none":
        absent("no view was built")
    for mode in MODES:
        browser.prefers(mode)
        browser.open(f"{address}/{name}", 900)
        assert browser.run("document.documentElement.lang") == "en" and browser.run("document.title.length") > 10
        for width in (900, 330):
            browser.resize(width)
            assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.said == []
        hosts = {urlparse(url).netloc for url in browser.requested if url.startswith("http")}
        assert hosts == {urlparse(address).netloc}


@pytest.fixture
def view(browser, address, request):
    """One view, opened by itself in a window that has the focus."""
    name = f"results/{request.param}.html"
    if name not in VIEWS:
        absent(f"{name} was not built")
    browser.send("Emulation.setFocusEmulationEnabled", enabled=True)
    browser.open(f"{address}/{name}", 900, 700)
    return browser


@pytest.mark.parametrize("view", ["any_mask-sliders", "faces-sliders", "faces-noise"], indirect=True)
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
