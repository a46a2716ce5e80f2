"""Where the built book lies, and what becomes of a test for which something is missing."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HTML = Path(os.environ.get("APS_BOOK_HTML") or ROOT / "_build/html")


def absent(what):
    """Skip a test for which something is missing, such as a browser or a page of a build of some pages; with CI=true, where all
    of it has to be there, it fails.
    """
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)
