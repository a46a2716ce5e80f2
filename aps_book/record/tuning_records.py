"""Records of the searches of samplers' settings (``aps_core.samplers.tune``), as JSON under weights/results."""

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
