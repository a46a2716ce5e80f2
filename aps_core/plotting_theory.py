"""Figures that hold a formula against what was measured: the formula as lines, the measurement as points of the same colour."""

import numpy as np

from aps_core.plotting import DASHES, MARKERS, _colour, _figure, _legend_above, _style


def lines_and_points(lines, points=None, xlabel="", ylabel="", marks=None, log_y=False, log_x=True):
    """``lines`` dict label -> (x, y) and ``points`` dict label -> (x, y) or (x, y, standard error) against x, which is logarithmic by default.

    Points whose label is that of a line share its colour and its entry in the legend; bars are two standard errors. marks: dict label -> y, drawn as
    thin horizontal lines. Raises ValueError without a line.
    """
    if not lines:
        raise ValueError("lines is empty, expected at least one")
    with _style():
        fig = _figure(4.2)
        ax = fig.subplots()
        labels = list(dict.fromkeys([*lines, *(points or {})]))
        for i, label in enumerate(labels):
            settings = {"color": _colour(i), "label": label}
            if label in lines:
                ax.plot(*lines[label], ls=DASHES[i % len(DASHES)], **settings)
                settings["label"] = None
            if label in (points or {}):
                x, y, *error = points[label]
                bars = 2 * np.asarray(error[0], float) if error else None
                ax.errorbar(x, y, yerr=bars, marker=MARKERS[i % len(MARKERS)], ls="none", ms=7, capsize=3, lw=1.5, **settings)
        for label, y in (marks or {}).items():
            ax.axhline(y, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
            ax.annotate(label, (1, y), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points", ha="right", color="#333333")
        if log_x:
            ax.set_xscale("log")
        if log_y:
            ax.set_yscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig
