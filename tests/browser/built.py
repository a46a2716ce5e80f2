"""Where the built book lies."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HTML = Path(os.environ.get("APS_BOOK_HTML") or ROOT / "_build/html")
