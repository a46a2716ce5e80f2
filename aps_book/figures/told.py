"""What a chart shows, in words that its numbers give: alt texts of charts that a build or a full run is drawn from.

Each function takes the arguments of a function that draws, and leaves out those that it does not tell.
"""

from itertools import pairwise

import numpy as np

SMALL = 0.1  # of the range of a curve: turns below it are not told
WIDE = 20.0  # ratio of the largest to the smallest value, from which on a range is one of logarithms


def number(value):
    """A number as a sentence has it: three digits, thousands apart."""
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def course(x, y):
    """How a curve goes: "from 8.5 at 0.0003 falling to 0.005 at 0.3, rising to 0.04 at 1". Values that are not finite are
    left out.
    """
    order = np.argsort(np.asarray(x, float), kind="stable")
    x, y = np.asarray(x, float)[order], np.asarray(y, float)[order]
    x, y = x[there := np.isfinite(y)], y[there]
    if not len(y):
        return "nowhere finite"
    if len(y) == 1:
        return f"{number(y[0])} at {number(x[0])}"
    scaled = np.log(y) if y.min() > 0 and y.max() > WIDE * y.min() else y
    said = [f"from {number(y[0])} at {number(x[0])}"]
    constant = np.ptp(y) <= 1e-3 * np.abs(y).max()
    turns = [0, len(y) - 1] if constant else _turns(scaled)
    for here, there in pairwise(turns):
        change = scaled[there] - scaled[here]
        flat = constant or abs(change) <= SMALL / 2 * np.ptp(scaled)
        word = "flat" if flat else "rising" if change > 0 else "falling"
        said.append(f"{word} to {number(y[there])} at {number(x[there])}")
    return f"{said[0]} " + ", ".join(said[1:])


def _turns(y):
    """Where a curve begins and ends, and its highest and lowest place where they stand out from both, in order."""
    last, margin = len(y) - 1, SMALL * np.ptp(y)
    found = {0, last}
    if y.max() > max(y[0], y[last]) + margin:
        found.add(int(y.argmax()))
    if y.min() < min(y[0], y[last]) - margin:
        found.add(int(y.argmin()))
    return sorted(found)


def curves(curves, levels=None, **rest):
    """Of ``kl_curves``, ``cost_curves``, ``step_size_plot`` and all that draw dict label -> (x, y, ...)."""
    del rest
    said = [f"{label}: {course(x, y)}" for label, (x, y, *_) in curves.items()]
    return _joined(said + [f"{label}: flat at {number(y)}" for label, y in (levels or {}).items()])


def settings(curves, chosen, **rest):
    """Of ``setting_curves``: where each divergence is least, and what it is at the setting in use."""
    del rest
    said = []
    for method, by_level in curves.items():
        for level, (values, found) in by_level.items():
            values, found = np.asarray(values, float), np.asarray(found, float)
            least, used = int(np.nanargmin(found)), np.isclose(values, chosen[method])
            text = f"{method}, {level}: least, {number(found[least])}, at {number(values[least])}"
            said.append(text + (f", {number(found[used][0])} at {number(chosen[method])} in use" if used.any() else ""))
    return _joined(said)


def lines_and_points(lines, points=None, marks=None, **rest):
    """Of ``curves.lines_and_points``."""
    del rest
    said = [f"line of {label}: {course(*line)}" for label, line in lines.items()]
    said += [f"points of {label}: {course(x, y)}" for label, (x, y, *_) in (points or {}).items()]
    return _joined(said + [f"{label}: {number(y)}" for label, y in (marks or {}).items()])


def panels(levels, panels, **rest):
    """Of ``path_curves``."""
    del rest
    told = [f"{label}: {course(levels, values)}" for of_panel in panels.values() for label, values in of_panel.items()]
    names = [name for name, of_panel in panels.items() for _ in of_panel]
    return _joined([f"{name}, {one}" for name, one in zip(names, told, strict=True)])


def histories(histories):
    """Of ``optimization_curves``: the losses."""
    return _joined(
        [f"{label}: loss {course(np.arange(1, len(of['loss']) + 1), of['loss'])}" for label, of in histories.items()]
    )


def kinds(values, **rest):
    """Of ``kinds_dots``."""
    del rest
    by_kind = list(next(iter(values.values())))
    return _joined(
        [f"{kind}: " + ", ".join(f"{prior} {number(of[kind])}" for prior, of in values.items()) for kind in by_kind]
    )


def medians(distances, **rest):
    """Of ``cosine_histogram``."""
    del rest
    return _joined([f"median of {name}: {number(np.median(values))}" for name, values in distances.items()])


def trace_band(counts, values, exact, **rest):
    """Of ``curves.trace_band``."""
    del rest
    values = np.asarray(values, float)
    mean, std = course(counts, values.mean(axis=1)), course(counts, values.std(axis=1, ddof=1))
    return f"Mean: {mean}; standard deviation: {std}; exact trace: {number(exact)}."


def trade_off(panels, floors, **rest):
    """Of ``charts.trade_off``."""
    del rest
    return _joined(
        [
            f"{title}: "
            + ", ".join(f"{label} {number(x)} dB and {number(y)}" for label, (x, _, y, _) in panel.items())
            + f", true faces {number(floors[title])}"
            for title, panel in panels.items()
        ]
    )


def _joined(said):
    return "; ".join(said) + "."
