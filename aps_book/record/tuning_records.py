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
