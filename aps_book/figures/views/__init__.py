"""Pages of their own that a reader moves: sliders over pictures, a mesh to turn, points to point at. Each is one HTML file
that needs nothing from elsewhere, shown in a frame by ``Run.view``.
"""

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def page(kind, title, data):
    """The HTML text of a view. kind: name of a template beside this file; title: what the page shows, in words; data: what
    its script reads, as JSON can hold it. Raises ValueError for numbers that JSON has not.
    """
    told = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    parts = {"style": _read("frame.css"), "frame": _read("frame.js"), "script": _read(f"{kind}.js")}
    filled = _read("page.html").replace("{{title}}", escape(title)).replace("{{body}}", _read(f"{kind}.html"))
    for name, text in parts.items():
        filled = filled.replace(f"{{{{{name}}}}}", text)
    return filled.replace("{{data}}", told)


def _read(name):
    return (HERE / name).read_text("utf-8").strip()


def picture(image):
    """An image as a PNG in a data address: (h, w, 3) in [0, 1], clipped; or whole numbers (h, w) below 256, with a palette
    of (n, 3) in [0, 1] as its second part. The last colour of a palette of 256 is transparent.
    """
    from PIL import Image

    if isinstance(image, tuple):
        index, palette = image
        drawn = Image.fromarray(np.asarray(index, np.uint8), mode="P")
        drawn.putpalette(np.round(255 * np.asarray(palette)).astype(np.uint8).ravel().tolist())
        settings = {"transparency": 255} if len(palette) == 256 else {}
    else:
        drawn = Image.fromarray(np.round(255 * np.clip(np.asarray(image, float), 0, 1)).astype(np.uint8))
        settings = {}
    written = io.BytesIO()
    drawn.save(written, format="PNG", optimize=True, **settings)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def stops(colours, n=9):
    """n colours of a matplotlib colour map from its low end to its high one, as CSS names them."""
    from matplotlib.colors import to_hex

    return [to_hex(colours(i / (n - 1))) for i in range(n)]
