"""The built book behind a server of this machine, and a browser; both may be missing, then the tests are skipped and say
so. With CI=true a missing browser is a failure.
"""

import functools
import http.server
import threading

import chromium
import pytest
from absent import absent
from built import HTML


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="session")
def address():
    """Where the book is served."""
    if not (HTML / "index.html").exists():
        absent(f"no built book in {HTML}: run `make book` first")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser(address, tmp_path_factory):
    """A Chromium."""
    executable = chromium.find()
    if executable is None:
        absent("no Chromium found (names tried: " + ", ".join(chromium.NAMES) + "; or set APS_CHROMIUM)")
    opened = chromium.Chromium(executable, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
