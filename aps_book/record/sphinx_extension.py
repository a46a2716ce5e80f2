"""Sphinx extension: no picture without alt text and caption, provenance under the figures of a notebook, and a code
reference.

A page made from ``results/<name>.ipynb`` has its record in ``results/<name>.json`` beside it. Each breach is a warning,
and the build turns warnings into errors. ``{reference} aps_core.training.objective`` lists what a module defines, so that
``{py:func}`` and ``{py:class}`` link to it from any page.
"""

import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from flax import linen
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from aps_book import record
from aps_book.record import tables

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
        made = record.load(path)
        full, title = record.full_run(made["notebook"]), f"Made by notebooks/{made['notebook']}.py"
        line = tables.folded(title, tables.inputs_line(made))
        of_full = tables.folded(f"{title}, full run", tables.inputs_line(full)) if full else line
    except (FileNotFoundError, ValueError) as error:
        logger.warning("no provenance for this page: %s", error, location=app.env.docname)
        return
    shows_full_run = set(made.get("of_full_run", ()))
    for figure in doctree.findall(nodes.figure):
        its = of_full if shows_full_run.intersection(figure["names"] + figure["ids"]) else line
        figure += nodes.legend("", nodes.raw("", its, format="html"))


def _check(image):
    if not image.get("alt", "").strip():
        logger.warning("picture without alt text", location=image)
    figure = image.parent
    while figure is not None and not isinstance(figure, nodes.figure):
        figure = figure.parent
    if figure is None or not any(isinstance(child, nodes.caption) for child in figure.children):
        logger.warning("picture without a caption", location=image)


def copy_views(app, error):
    """Put the pages that notebooks show in a frame beside the notebooks' own pages."""
    if error is None and app.builder.name == "html":
        for page in sorted((Path(app.srcdir) / "results").glob("*-*.html")):
            shutil.copyfile(page, Path(app.outdir) / "results" / page.name)


class Reference(SphinxDirective):
    """The public functions and classes of a module, with signature, docstring as plain text, and their source. With
    ``:public:`` those of its ``__all__``, wherever they are defined, under the names by which a user has them.
    """

    required_arguments = 1
    option_spec: ClassVar = {"public": directives.flag}

    def run(self):
        module = importlib.import_module(self.arguments[0])
        source = Path(inspect.getsourcefile(module))
        self.env.note_dependency(str(source))
        lines = [f".. py:module:: {module.__name__}", ""]
        for name, thing in _things(module, "public" in self.options):
            lines += _entry(name, thing)
        container = nodes.container(classes=["aps-reference"])
        lines = ["```{eval-rst}", *lines, "```"]  # the pages are Markdown, the Python domain is not
        self.state.nested_parse(StringList(lines, source=source.name), self.content_offset, container)
        return [container]


def _things(module, public):
    """(name, function or class) of what a module defines, in its order, constants left out; or of its ``__all__``, functions
    first.
    """
    if public:
        named = sorted(
            ((name, getattr(module, name)) for name in module.__all__), key=lambda one: inspect.isclass(one[1])
        )
        return [(name, thing) for name, thing in named if inspect.isclass(thing) or inspect.isfunction(thing)]
    return [
        (name, thing)
        for name, thing in vars(module).items()
        if not name.startswith("_") and callable(thing) and getattr(thing, "__module__", None) == module.__name__
    ]


def _entry(name, thing):
    """Lines of reStructuredText for one function or class."""
    kind = "class" if inspect.isclass(thing) else "function"
    body = ["", *_readable(inspect.getdoc(thing) or "")]
    return [f".. py:{kind}:: {name}{_signature(thing)}", *("   " + line if line else "" for line in body), ""]


def _readable(doc):
    """A docstring as reStructuredText: paragraphs flow, formulas (indented) and tables stay as they are, "Args:" and the
    like become lists of what they name, bars and stars are characters.
    """
    lines = []
    for block in filter(None, doc.split("\n\n")):
        rows = block.splitlines()
        if all(row.startswith(("    ", "|")) for row in rows):
            lines += ["", ".. code-block:: text", "", *("   " + row.strip() for row in rows), ""]
            continue
        title = _SECTION.fullmatch(rows[0]) if len(rows) > 1 else None
        if title:
            lines += ["", f"**{title[1]}**", ""]
        inside = inspect.cleandoc("\n" + "\n".join(rows[1:])).splitlines() if title else rows
        lines += ["", *_items(inside), ""]
    return lines


_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):")
_ITEM = re.compile(r"- |\d+\. |([\w.*]+(?:, [\w.*]+)*): ")


def _items(rows):
    """Rows as a list where each that is not indented begins an item ("- text", "1. text", or several of "name: text.");
    as one paragraph else.
    """
    items = []
    for row in rows:
        if items and row.startswith(" "):
            items[-1] += " " + row.strip()
        else:
            items.append(row)
    found = [_ITEM.match(item) for item in items]
    named = any(one and one[1] for one in found)
    if not all(found) or (named and (len(items) == 1 or not all(item.endswith((".", ";")) for item in items[:-1]))):
        return [_escaped(" ".join(row.strip() for row in rows))]
    return [_marked(item) for item in items]


def _marked(item):
    """An item with its sign, or with one where it has a name, which is code."""
    found = _ITEM.match(item)
    text = _escaped(item[found.end() :])
    return f"- ``{found[1]}``: {text}" if found[1] else found[0] + text


def _escaped(text):
    parts = text.split("``")  # what stands between double backticks is code and stays
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\*|_`])", r"\\\1", parts[i])
    return "``".join(parts)


def _signature(thing):
    """How a function is called, or a class is made: the fields of a dataclass with their defaults."""
    if inspect.isclass(thing) and (issubclass(thing, BaseException) or thing.__init__ is object.__init__):
        return ""
    names, given = [], inspect.signature(inspect.unwrap(thing)).parameters.values()
    if inspect.isclass(thing) and issubclass(thing, linen.Module):
        given = [one for one in given if one.name not in ("parent", "name")]  # every network has them
    for parameter in given:
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not any(name.startswith("*") for name in names):
            names.append("*")
        default = "" if parameter.default is parameter.empty else "=" + _short(parameter.default)
        names.append(star + parameter.name + default)
    return "(" + ", ".join(names) + ")"


def _short(value):
    """A default as it can stand in a signature: no addresses, no long reprs, no folder of this machine."""
    text = repr(value)
    return text if len(text) < 30 and "<" not in text and not isinstance(value, Path) else "..."


def setup(app):
    app.add_directive("reference", Reference)
    app.connect("doctree-read", check_and_sign)
    app.connect("build-finished", copy_views)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
