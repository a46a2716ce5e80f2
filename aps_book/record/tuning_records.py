"""Records of the searches of samplers' settings (``aps_core.samplers.tune``), as JSON under weights/results."""

import itertools
import json
from pathlib import Path

from aps_core import files
from aps_core.files import write_atomically


def path(name):
    """Where the search ``name`` lies: ``weights/results/name.search.json``. Raises FileNotFoundError where there is
    none.
    """
    if found := files.find("weights", "results", f"{name}.search.json"):
        return found
    raise FileNotFoundError(
        f"no {name}.search.json under weights/results; the module of the study, run as a program, makes it"
    )


def read(file):
    """The searches in ``file``: dicts of what ``tune`` found."""
    return json.loads(Path(file).read_text("utf-8"))


def write(file, found):
    """Write searches, to a temporary name first."""
    write_atomically(file, json.dumps(found, indent=1) + "\n")


def extended(earlier, grids, tune_one):
    """A search with what ``earlier`` (what ``tune`` found, or None) has not tried yet of ``grids``, dicts of {setting:
    values}: every combination of each. tune_one: {setting: (value,)} -> what ``tune`` found.
    """
    found = earlier
    for grid in grids:
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            if found is None or all(row["settings"] != chosen for row in found["search"]):
                found = merged(found, tune_one({name: (value,) for name, value in chosen.items()}))
    return found


def merged(earlier, later):
    """One search of the rows of two (what ``tune`` found; the first may be None), with the best of all by the measure of
    the later one.
    """
    rows = [*(earlier["search"] if earlier else []), *later["search"]]
    best = min((row for row in rows if row["finite"]), key=lambda row: _badness(row, later["metric"]))
    return {**later, "best": best["settings"], "search": rows}


def _badness(row, metric):
    return -row["psnr"] if metric == "psnr" else row["energy"] if metric == "energy" else row["score"]


UNITS = {"psnr": ("psnr", " dB"), "energy": ("energy", " in energy score")}  # by metric: column of a row, unit
BOUNDS = {"eta": (0.0, 1.0), "eta_b": (0.0, 1.0)}  # of settings: beyond them there is nothing to try


def at_edge(search):
    """The settings of a search (what ``tune`` found) whose best value is the smallest or the largest that was tried, and no
    bound of the setting itself: [(setting, best value, the nearest other one, what the measure changes by there), ...].
    The nearest one is of those tried with the other settings as they are, None where there is none; the change is None
    where that was not finite.
    """
    best, found = search["best"], []
    column = UNITS.get(search["metric"], ("score", ""))[0]
    measured = {_key(row["settings"]): row.get(column) if row["finite"] else None for row in search["search"]}
    for name, value in best.items():
        tried = sorted({row["settings"][name] for row in search["search"]}) if not isinstance(value, str) else []
        if len(tried) < 2 or value not in (tried[0], tried[-1]) or value in BOUNDS.get(name, ()):
            continue
        others = [v for v in tried if v != value and _key({**best, name: v}) in measured]
        inner = min(others, key=lambda v: abs(v - value), default=None)
        beside = None if inner is None else measured[_key({**best, name: inner})]
        found.append((name, value, inner, None if beside is None else beside - measured[_key(best)]))
    return found


def _key(chosen):
    return tuple(sorted(chosen.items()))


def edges(found, label=str):
    """Which of the searches {key: what ``tune`` found} end at the edge of what was tried, and what the next value inside
    changes there, in words: a small change says that the edge is flat. label: of a key.
    """
    said = []
    for key, search in found.items():
        unit = UNITS.get(search["metric"], ("", " nats per dimension"))[1]
        for name, value, inner, change in at_edge(search):
            changes = "not finite" if change is None else f"{change:+.2g}{unit}"
            beside = "no other beside it" if inner is None else f"at {_short(inner)}: {changes}"
            said.append(f"{label(key)}, {name.replace('_', ' ')} = {_short(value)} ({beside})")
    if not said:
        return "No chosen setting lies at the edge of what was tried."
    return "At the edge of what was tried, with the change at the next value inside: " + "; ".join(said) + "."


def _short(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def settings(row):
    """The settings of a row or of the best, in words: ``n_steps = 100, step size = 0.3``."""
    return ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in row.items())


def summary(found, labels):
    """A Markdown table of searches {method: what ``tune`` found}: how many settings were tried, the scores of the
    default setting (its "paper") and of the best one, and that setting.
    """
    lines = ["| method | tried | default | best | its setting |", "| --- | --- | --- | --- | --- |"]
    for method, search in found.items():
        best = next(row["score"] for row in search["search"] if row["settings"] == search["best"])
        shown = (f"{value:.3g}" if value < 1000 else "∞" for value in (search["paper"], best))
        lines.append(
            f"| {labels[method]} | {len(search['search'])} | {' | '.join(shown)} | {settings(search['best'])} |"
        )
    return "\n".join(lines)
