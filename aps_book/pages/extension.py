"""Sphinx extension: answer boxes, one fold of code and what to take away on the pages of notebooks; ``{claims}``,
``{verdicts}``, ``{settings}`` and ``{on-paper}``.
"""

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from aps_book import record
from aps_book.pages import answers, claims_table, code_fold, elsewhere, settings, take_away, weight
from aps_book.record.provenance import ROOT
from aps_core import flows, tasks
from aps_core.training import loop, network_prior, posterior, subspace_posterior, subspace_prior


class Verdicts(SphinxDirective):
    """The three sentences of the front page and the count of verdicts."""

    def run(self):
        _depends(self.env)
        return [nodes.raw("", claims_table.summary(), format="html")]


class Settings(SphinxDirective):
    """The settings of one table of a recipe, ``{settings} flow.realnvp``, or with ``{settings} tasks`` the tasks."""

    required_arguments = 1

    def run(self):
        for module in (settings, loop, posterior, subspace_posterior, network_prior, subspace_prior, tasks, flows):
            self.env.note_dependency(module.__file__)
        name = self.arguments[0]
        return [nodes.raw("", settings.task_table() if name == "tasks" else settings.table(name), format="html")]


class Claims(SphinxDirective):
    """The table of claims."""

    def run(self):
        _depends(self.env)
        return [nodes.raw("", claims_table.table(), format="html")]


class OnPaper(SphinxDirective):
    """Where a link to the book as PDF goes, once `make pdf` made one."""

    def run(self):
        return [nodes.raw("", take_away.OPEN + take_away.CLOSE, format="html")]


def _depends(env):
    """A page is made anew when a record or the text of a claim changes."""
    for path in (*(ROOT / "weights" / "results").glob("*.json"), *(ROOT / "book").glob("*.toml")):
        env.note_dependency(str(path))


def open_with_the_answer(app, doctree):
    """On the page of a notebook: the answer under the title, at the end the code in one fold and what to take away. On
    every other page: version and date.
    """
    source, pages = Path(app.env.doc2path(app.env.docname)), app.builder.name == "html"
    if source.suffix != ".ipynb":
        doctree += nodes.raw("", take_away.plain() if pages else "", format="html")
        return
    code_fold.gather(doctree)
    made = source.with_suffix(".json")
    if made.exists() and pages:
        cite = "../cite.html" if "cite" in app.env.found_docs else None
        launch = elsewhere.launches(*repository(app.config), source.stem)
        doctree += nodes.raw("", take_away.line(record.load(made), cite, launch), format="html")
    box = answers.box(source.stem, "../intro.html" if pages and "intro" in app.env.found_docs else None)
    titles = list(doctree.findall(nodes.title))
    if box is None or not titles:
        return
    _depends(app.env)
    section = titles[0].parent
    section.insert(section.index(titles[0]) + 1, nodes.raw("", box, format="html"))


def repository(config):
    """Where the project lies, and the branch of the book."""
    options = config.html_theme_options
    return options.get("repository_url") or "", options.get("repository_branch") or "main"


def copy_records(app, error):
    """Put the records of the pages beside them, to take away, and complete the notebooks for it."""
    if error is None and app.builder.name == "html":
        take_away.copy_records(Path(app.srcdir) / "results", Path(app.outdir) / "results")
        elsewhere.complete_notebooks(Path(app.outdir) / "_sources" / "results", *repository(app.config))


def lighten(app, error):
    """After everything is written: leave out what no page shows."""
    if error is None and app.builder.name == "html":
        weight.lighten(Path(app.outdir))


def buttons_of_the_repository(app, config):
    """``repository.url`` of ``_config.yml`` is the one place that says where the project lies: with it each page has the
    buttons for the repository and its issues, without it none.
    """
    known = bool(repository(config)[0])
    config.html_theme_options.update(use_repository_button=known, use_issues_button=known)


def chapters_first(app, config):
    """The search puts chapters above the pages of the code."""
    config.html_search_scorer = str(Path(__file__).with_name("search_scorer.js"))


def without_thebe(app, config):
    """No page runs code in the browser: what sphinx-thebe, which jupyter-book loads, would put on each is left out (it
    declares its address twice, an error in the console).
    """
    for name, listeners in app.events.listeners.items():
        app.events.listeners[name] = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
    app.registry.css_files = [one for one in app.registry.css_files if one[0] != "sphinx-thebe.css"]


def setup(app):
    app.add_directive("verdicts", Verdicts)
    app.add_directive("claims", Claims)
    app.add_directive("settings", Settings)
    app.add_directive("on-paper", OnPaper)
    app.connect("config-inited", buttons_of_the_repository)
    app.connect("config-inited", chapters_first)
    app.connect("config-inited", without_thebe, priority=900)
    app.connect("doctree-read", open_with_the_answer)
    app.connect("build-finished", copy_records)
    app.connect("build-finished", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
