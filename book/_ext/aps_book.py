"""Sphinx extension: no picture without alt text and caption, and provenance under the figures of a notebook.

A page made from ``results/<name>.ipynb`` has its record in ``results/<name>.json`` beside it. Each breach is a
warning, and the build turns warnings into errors.
"""

from pathlib import Path

from docutils import nodes
from sphinx.util import logging

from aps_core import _tables, record

logger = logging.getLogger(__name__)


def check_and_sign(app, doctree):
    """Check every picture of a page; on a notebook's page put the provenance line under each figure."""
    source = Path(app.env.doc2path(app.env.docname))
    for image in doctree.findall(nodes.image):
        _check(image)
    if source.suffix != ".ipynb":
        return
    path = source.with_suffix(".json")
    app.env.note_dependency(str(path))
    try:
        line = _tables.inputs_line(record.load(path))
    except (FileNotFoundError, ValueError) as error:
        logger.warning("no provenance for this page: %s", error, location=app.env.docname)
        return
    for figure in doctree.findall(nodes.figure):
        figure += nodes.legend("", nodes.paragraph("", line, classes=["aps-provenance"]))


def _check(image):
    if not image.get("alt", "").strip():
        logger.warning("picture without alt text", location=image)
    figure = image.parent
    while figure is not None and not isinstance(figure, nodes.figure):
        figure = figure.parent
    if figure is None or not any(isinstance(child, nodes.caption) for child in figure.children):
        logger.warning("picture without a caption", location=image)


def setup(app):
    app.connect("doctree-read", check_and_sign)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
