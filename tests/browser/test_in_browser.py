"""Every page of the built book in a browser, at two widths and in both modes: no error, no other host, nothing wider than the
page, light and quick; the front page says what it has to say on the first screen. Run by `make browser` after `make book`.
"""

import os
import re
from urllib.parse import unquote, urlparse

import pytest
from built import HTML, MODES, PAGES, WIDTHS, views_of

pytestmark = pytest.mark.slow
TOO_WIDE = """[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right > innerWidth + 1
  && !one.closest('.aps-table, .pst-scrollable-table-container, pre, .math, mjx-container, #pst-secondary-sidebar')).slice(0, 3)
  .map(one => one.outerHTML.slice(0, 120))"""
# Frames load when they come into sight; here at once.
FRAMES = """Promise.all([...document.querySelectorAll('iframe')].map(one => new Promise(done => {
  if (one.contentDocument?.readyState == 'complete' && one.contentDocument.URL != 'about:blank') return done();
  one.addEventListener('load', done); one.loading = 'eager';
})))"""
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
MOST, MOST_WITH_VIEW = 3e6, 5e6  # bytes of a page with all that it loads
MOST_TEXT = 800e3  # bytes of the page alone, which are parsed before anything shows
LONGEST = 1500  # milliseconds from the request to the end of the load event, the best of those tried
MORE = 3  # times that a slow page is opened again


def longest():
    """Milliseconds that a page may take now: those of a free processor, times the processes that wait for each."""
    return LONGEST * max(1, os.getloadavg()[0] / os.cpu_count())


def load_time(browser, url, width):
    """Milliseconds until a page has loaded."""
    browser.open(url, width)
    return browser.run(LOADED)


def weight(page, requested):
    """Bytes of what a page requested from this host, and of its frames, which are loaded when they come into sight."""
    names = {unquote(urlparse(url).path).lstrip("/") for url in requested if url.startswith("http")}
    files = {HTML / name for name in names} | set(views_of(page))
    return sum(path.stat().st_size for path in files if path.is_file())


def test_pages_are_there(address):
    assert len(PAGES) > 20 and "intro" in PAGES


@pytest.mark.parametrize("page", PAGES or ["none"])
def test_page(browser, address, page):
    said, requested, wide, times = [], [], [], []
    # loaded at one width, then turned to the other
    for mode, widths in zip(MODES, (WIDTHS, WIDTHS[::-1]), strict=True):
        browser.prefers(mode)
        times.append(load_time(browser, f"{address}/{page}.html", widths[0]))
        assert browser.run("document.documentElement.dataset.theme") == mode
        for width in widths:
            browser.resize(width)
            if browser.run("document.documentElement.scrollWidth > innerWidth"):
                wide.append((mode, width, browser.run(TOO_WIDE)))
        browser.run(FRAMES)
        said += browser.said
        requested += browser.requested
    hosts = {urlparse(url).netloc for url in requested if url.startswith("http")}
    assert said == [], "the console is not empty"
    assert hosts == {urlparse(address).netloc}, "requests to other hosts"
    assert wide == [], "wider than the window"
    assert weight(page, requested) < (MOST_WITH_VIEW if views_of(page) else MOST), "too many bytes"
    assert (HTML / f"{page}.html").stat().st_size < MOST_TEXT, "too long: the page wants to be two"
    for _ in range(MORE if min(times) > longest() else 0):
        times.append(load_time(browser, f"{address}/{page}.html", WIDTHS[0]))
    assert 0 < min(times) < longest(), f"slow: {times} ms"


def test_an_error_on_a_page_is_found(browser, address):
    """The check of a page can fail: what a page says, whom it asks, and what is too wide."""
    browser.open(f"{address}/cite.html")
    browser.run("""(() => {
      console.error('something is wrong');
      const wide = document.createElement('p');
      wide.style.width = '3000px';
      document.querySelector('main').append(wide);
      return fetch('http://127.0.0.1:9/').catch(() => null);
    })()""")
    assert any("something is wrong" in one for one in browser.said)
    assert any(url.startswith("http://127.0.0.1:9/") for url in browser.requested)
    assert browser.run(TOO_WIDE)


@pytest.mark.parametrize("mode", MODES)
def test_the_front_page_says_it_on_the_first_screen(browser, address, mode):
    """Picture, three sentences and the count of verdicts, without scrolling."""
    browser.prefers(mode)
    browser.open(f"{address}/intro.html", 1280, 800)
    for what, n in {"main figure img": 1, ".aps-front p": 4, ".aps-count": 1}.items():
        ends = browser.run(f"[...document.querySelectorAll('{what}')].map(one => one.getBoundingClientRect().bottom)")
        assert len(ends) == n, what
        assert 0 < max(ends) <= 800, (what, ends)
    assert browser.run("document.querySelector('main figure img').naturalWidth") > 500


def test_links_of_the_claims_lead_to_sections(address):
    """Every anchor that the table of claims links to exists in the page."""
    front = (HTML / "intro.html").read_text("utf-8")
    links = re.findall(r'href="(results/[a-z0-9_]+\.html)#([a-z0-9-]+)" aria-label', front)
    assert len(links) > 50
    for page, anchor in links:
        assert f'id="{anchor}"' in (HTML / page).read_text("utf-8"), f"{page}#{anchor}"
