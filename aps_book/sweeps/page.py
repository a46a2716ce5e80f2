"""The page of a sweep, one HTML file: small multiples, paired differences, and which parameters matter."""

import html
import io
import math
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

from aps_book import notebooks
from aps_book.figures.style import MARKERS, PALETTE
from aps_book.sweeps import effects
from aps_core.files import write_atomically

SHOWN = 12  # numbers on the page where neither the sweep nor tolerances.toml names some
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; } svg { max-width: 100%; height: auto; }
"""


def chosen(notebook: str, table: pd.DataFrame, numbers: tuple[str, ...]) -> list[str]:
    """The keys that the page shows. Raises ValueError for one that no job has."""
    known = list(dict.fromkeys(table["key"]))
    if unknown := [key for key in numbers if key not in known]:
        raise ValueError(f"numbers: {unknown[0]!r} stands in no record of {notebook}; there are {', '.join(known[:8])}")
    rules = tomllib.loads((notebooks.ROOT / "tolerances.toml").read_text("utf-8")).get(notebook, {})
    return list(numbers) or [key for key in rules if key in known] or known[:SHOWN]


def write(folder: Path, notebook: str, table: pd.DataFrame, varied: list[str], keys: list[str], failed: dict) -> Path:
    """Write index.html; ``failed`` are the jobs without a record, as ``table.missing`` gives them."""
    n = table["job"].nunique()
    parts = [f"<h1>Sweep of {html.escape(notebook)}</h1>", f"<p>{n} of {n + len(failed)} jobs have a record. "]
    parts.append(f"Varied: {html.escape(', '.join(varied) or 'nothing')}.</p>")
    if failed:
        parts.append("<h2>Jobs without a record</h2>" + _table(["job", "what it did"], _failures(folder, failed)))
    if n and varied:
        of = {key: effects.wide(table, varied, key) for key in keys}
        parts += [
            "<h2>Numbers</h2>",
            _multiples(of, varied),
            "<h2>Paired differences</h2>",
            PAIRED,
            _paired(of, varied),
        ]
        parts += ["<h2>Which parameters matter</h2>", SHARES, _shares(of, varied)]
    body = "\n".join(parts)
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Sweep of {html.escape(notebook)}</title>"
    return write_atomically(folder / "index.html", f"{page}<style>{STYLE}</style><body>{body}</body></html>\n")


PAIRED = """<p>Each level of a parameter against its first, over pairs of jobs that agree in all other varied parameters:
mean difference ± standard error (n pairs). A difference below two standard errors is not resolved.</p>"""
SHARES = """<p>The share of a number's variance over all jobs that lies between the levels of a parameter (eta squared). In a
full grid the shares of parameters that act apart add up to 1.</p>"""


def _failures(folder: Path, failed: dict) -> list[list[str]]:
    return [[job, "did not begin" if path is None else str(path.relative_to(folder))] for job, path in failed.items()]


def _multiples(of: dict[str, pd.DataFrame], varied: list[str]) -> str:
    """One panel for each number against the first parameter; a line for each level of the second, means over the rest."""
    from matplotlib.figure import Figure

    columns = min(3, len(of))
    rows = math.ceil(len(of) / columns)
    fig = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    axes = np.atleast_1d(fig.subplots(rows, columns)).ravel()
    for ax, (key, values) in zip(axes, of.items(), strict=False):
        _panel(ax, key, values, varied)
    for ax in axes[len(of) :]:
        ax.set_axis_off()
    drawn = io.StringIO()
    fig.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    bars = any(_has_bars(values, varied) for values in of.values())
    alt = f"Panels of {', '.join(of)} against {varied[0]}" + "; bars are two standard errors" * bars
    return f'<div role="img" aria-label="{html.escape(alt)}">{svg[svg.index("<svg") :]}</div>'


def _has_bars(values: pd.DataFrame, varied: list[str]) -> bool:
    """Whether each point of a panel is one job, and each has a standard error."""
    points = values.groupby(varied[:2], sort=False)["value"].size()
    return len(points) == len(values) and bool(values["se"].notna().all())


def _panel(ax, key: str, values: pd.DataFrame, varied: list[str]) -> None:
    """One number; bars of two standard errors where a point is one job that has one."""
    levels = list(dict.fromkeys(values[varied[0]]))
    numeric = all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)
    at = {level: level if numeric else i for i, level in enumerate(levels)}
    groups = values.groupby(varied[1], sort=False) if len(varied) > 1 else [("", values)]
    for i, (label, group) in enumerate(groups):
        color, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        means = group.groupby(varied[0], sort=numeric)["value"].mean()
        ax.plot([at[level] for level in means.index], means, color=color, marker=marker, ms=4, label=str(label))
        if len(means) == len(group) and group["se"].notna().all():
            places = [at[level] for level in group[varied[0]]]
            ax.errorbar(places, group["value"], 2 * group["se"], fmt="none", color=color)
    if not numeric:
        ax.set_xticks(range(len(levels)), [str(level) for level in levels])
    ax.set_title(key, fontsize=9)
    ax.set_xlabel(varied[0])
    if len(varied) > 1:
        ax.legend(title=varied[1], fontsize=7, title_fontsize=7)


def _paired(of: dict[str, pd.DataFrame], varied: list[str]) -> str:
    rows = []
    for key, values in of.items():
        for name in varied:
            for one in effects.paired(values, varied, name).to_dict("records"):
                known = np.isfinite(one["se"])
                spread = f" ± {one['se']:.3g}" if known else ""
                far = known and one["difference"] != 0 and abs(one["difference"]) >= 2 * one["se"]
                resolved = "" if far else "not resolved" if known else "one pair"
                change = f"{name}: {one['first']} → {one['level']}"
                rows.append([key, change, f"{one['difference']:+.4g}{spread}", str(one["n"]), resolved])
    return _table(["number", "change", "difference", "n", ""], rows)


def _shares(of: dict[str, pd.DataFrame], varied: list[str]) -> str:
    rows = []
    for key, values in of.items():
        found = effects.shares(values, varied)
        rows.append([key, *(f"{found[name]:.2f}" if np.isfinite(found[name]) else "–" for name in varied)])
    return _table(["number", *varied], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
