"""Marks, bars and histograms: coverage, distances by method, perception against distortion."""

import textwrap

import numpy as np

from aps_book.figures import views
from aps_book.figures.style import PALETTE, book_style, colour_of, legend_above, marker_of, new_figure


def kinds_dots(values, xlabel="bits per pixel", top=1e4):
    """One row for each kind of image, one mark for each prior, on a logarithmic axis: dict prior -> dict kind -> value
    > 0.

    A value beyond ``top`` is an open mark at the edge, with its value beside it.
    """
    kinds = list(next(iter(values.values())))
    with book_style():
        fig = new_figure(0.36 * len(kinds) + 1.6)
        ax = fig.subplots()
        rows = np.arange(len(kinds))[::-1]
        for i, (prior, found) in enumerate(values.items()):
            x = np.array([found[kind] for kind in kinds], float)
            beyond = x > top
            style = dict(ls="none", marker=marker_of(i), ms=7, color=colour_of(i), clip_on=False)
            ax.plot(x[~beyond], rows[~beyond], label=prior, alpha=0.85, **style)
            ax.plot(np.full(beyond.sum(), top), rows[beyond], mfc="white", mew=1.8, **style)
            beside = dict(textcoords="offset points", ha="right", va="center", fontsize="small")
            for value, row in zip(x[beyond], rows[beyond]):
                ax.annotate(f"$10^{{{np.log10(value):.0f}}}$", (top, row), (-8, 0), **beside)
        ax.set_yticks(rows, kinds)
        ax.set_xscale("log")
        ax.set_xlim(right=top)
        ax.set_xlabel(xlabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def trade_off(panels, floors, levels=None, paths=None, path_label="", xlabel="PSNR (dB)", ylabel="1000 KID"):
    """Perception against distortion, a panel for each task: ``panels`` dict title -> {label: (x, se of x, y, se of y)},
    bars of two standard errors; ``floors`` dict title -> the y of true pictures, a dashed line; ``levels`` dict label
    -> y, dotted lines in every panel; ``paths`` dict title -> [(x, y), ...], joined by a line. Equal labels have equal
    colours. Raises ValueError without a panel.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    with book_style():
        fig = new_figure(4.4)
        axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            for label, (x, x_se, y, y_se) in panel.items():
                i = order.index(label)
                ax.errorbar(
                    x,
                    y,
                    2 * y_se,
                    2 * x_se,
                    color=colour_of(i),
                    marker=marker_of(i),
                    ms=7,
                    ls="",
                    elinewidth=1,
                    label=label,
                )
            ax.axhline(floors[title], color="#555555", ls="--", lw=1.2, label="true faces")
            for label, y in (levels or {}).items():
                ax.axhline(y, color="#555555", ls=":", lw=1.5, label=label)
            if path := (paths or {}).get(title):
                ax.plot(*zip(*path), color="black", marker=".", ms=5, lw=1, zorder=1, label=path_label)
            ax.set_title(title, fontsize=11), ax.set_xlabel(xlabel)
            ax.margins(0.15)
            ax.grid(alpha=0.3)
        axes[0].set_ylabel(ylabel)
        entries = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
        names = [textwrap.fill(label, 30) for label in entries]
        fig.legend(entries.values(), names, loc="outside upper center", ncols=2, fontsize=10)
    return fig


def quality_time(panels, xlabel="seconds (log)", ylabel="PSNR (dB)", columns=2):
    """Quality against time, a panel for each task: ``panels`` dict title -> {label: [(seconds, y, se of y, taken), ...]};
    bars of two standard errors; the points of a label are joined, those whose time was not taken are hollow. Equal
    labels have equal colours. Raises ValueError without a panel.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    rows = -(-len(panels) // columns)
    with book_style():
        names = {label: textwrap.fill(label, 28) for label in order}
        fig = new_figure(0.6 + 0.11 * sum(name.count("\n") + 1 for name in names.values()) + 2.6 * rows)
        axes = fig.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for ax, (title, panel) in zip(axes, panels.items(), strict=False):
            for label, points in panel.items():
                i = order.index(label)
                points = sorted(points)
                colour, marker = colour_of(i), marker_of(i)
                ax.plot([p[0] for p in points], [p[1] for p in points], color=colour, lw=1, label="_")
                for x, y, se, taken in points:
                    face = colour if taken else "white"
                    ax.errorbar(
                        x,
                        y,
                        2 * (se or 0.0),
                        color=colour,
                        marker=marker,
                        mfc=face,
                        ms=7,
                        ls="",
                        elinewidth=1,
                        label=label,
                    )
            (
                ax.set_xscale("log"),
                ax.set_title(textwrap.fill(title, 28), fontsize=10),
                ax.set_xlabel(xlabel, fontsize=10),
            )
            ax.margins(0.15)
            _whole_decades(ax)
            ax.grid(alpha=0.3)
        for ax in axes[::columns]:
            ax.set_ylabel(ylabel)
        entries = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
        fig.legend(
            entries.values(), [names[label] for label in entries], loc="outside upper center", ncols=2, fontsize=10
        )
    return fig


def _whole_decades(ax):
    """Label powers of ten alone on the logarithmic x axis, two at least."""
    from matplotlib.ticker import NullFormatter

    low, high = np.log10(ax.get_xlim())
    if np.floor(high) - np.ceil(low) < 1:
        ax.set_xlim(10 ** np.floor(low), 10 ** np.ceil(high))
    ax.xaxis.set_minor_formatter(NullFormatter())


def quality_time_view(panels, title, xlabel="seconds, logarithmic", ylabel="PSNR (dB)"):
    """A page (HTML text) of ``quality_time``, one panel at a time, that says of each mark what it is when it is pointed at.

    panels: dict title -> [{method, said, seconds, quality, se, taken}, ...]; ``said`` is what a mark says. Raises ValueError
    without a panel.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    methods = list(dict.fromkeys(point["method"] for points in panels.values() for point in points))
    told = [
        {"title": name, "points": sorted(points, key=lambda one: one["seconds"])} for name, points in panels.items()
    ]
    data = {"panels": told, "methods": methods, "colours": list(PALETTE), "xlabel": xlabel, "ylabel": ylabel}
    return views.page("plane", title, data)


def coverage_plot(results, levels, groups, tolerance=None):
    """Empirical coverage of central intervals against their nominal levels, group by group.

    results: dict method -> (coverage, standard errors or None), arrays (len(groups), len(levels)) of fractions.
    groups: names along the axis, such as "all", "band 1", ... A grey band of +- tolerance
    lies about each nominal level; bars are two standard errors.
    """
    levels = np.atleast_1d(np.asarray(levels, float))
    for name, (value, _) in results.items():
        if np.shape(value) != (len(groups), len(levels)):
            raise ValueError(f"coverage of {name!r} has shape {np.shape(value)}, expected {(len(groups), len(levels))}")
    with book_style():
        fig = new_figure(4.4)
        ax = fig.subplots()
        x = np.arange(len(groups))
        step = 0.6 / max(len(results), 1)
        for level in levels:
            ax.axhline(100 * level, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
            if tolerance:
                ax.axhspan(100 * (level - tolerance), 100 * (level + tolerance), color="#000000", alpha=0.08, lw=0)
        for i, (name, (value, error)) in enumerate(results.items()):
            at = x + (i - (len(results) - 1) / 2) * step
            for j in range(len(levels)):
                bars = None if error is None else 200 * np.asarray(error, float)[:, j]
                ax.errorbar(
                    at,
                    100 * np.asarray(value)[:, j],
                    yerr=bars,
                    color=colour_of(i),
                    marker=marker_of(i),
                    ms=7,
                    ls="none",
                    capsize=3,
                    lw=1.5,
                    label=name if j == 0 else None,
                    zorder=3,
                )
        ax.set_xticks(x, groups)
        ax.set_xlim(-0.6, len(groups) - 0.4)
        ax.set_ylim(0, 100)
        ax.set_yticks(np.unique(np.concatenate([[0, 25, 75, 100], np.round(100 * levels, 1)])))
        ax.set_ylabel("truth inside the interval (%)")
        legend_above(fig, ax)
    return fig


def distance_chart(groups, xlabel, threshold=None, order=()):
    """Values on a logarithmic axis, one line of marks for each method.

    groups: dict label of a mark -> dict method -> value; None or infinite is drawn at the right edge as an arrow.
    Values below ``threshold`` are drawn on it (dashed), as what draws of the truth themselves would give. order:
    methods in the order of the lines.
    """
    named = {method for group in groups.values() for method in group}
    methods = [*(m for m in order if m in named), *sorted(named - set(order))]
    finite = [v for group in groups.values() for v in group.values() if v is not None and np.isfinite(v) and v > 0]
    if not finite:
        raise ValueError("groups holds no finite positive value, expected at least one")
    low, high = max(threshold or 0.0, min(finite)), 3 * max(finite)
    with book_style():
        fig = new_figure(1.3 + 0.3 * len(methods))
        ax = fig.subplots()
        for i, (label, group) in enumerate(groups.items()):
            for shown, part in ((marker_of(i), True), (">", False)):
                at = {m: v for m, v in group.items() if (v is not None and np.isfinite(v)) == part}
                x = [max(v, low) if part else high for v in at.values()]
                y = [methods.index(m) + 0.13 * (i - (len(groups) - 1) / 2) for m in at]
                colour = PALETTE[i // 2 % len(PALETTE)]
                face = colour if i % 2 else "none"
                ax.plot(x, y, shown, ms=8, color=colour, mfc=face, mew=1.6, ls="none", label=label if part else None)
        if threshold:
            ax.axvline(threshold, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        ax.set_xscale("log")
        ax.set_yticks(range(len(methods)), methods)
        ax.set_ylim(len(methods) - 0.5, -0.5)
        ax.set_xlabel(xlabel)
        ax.grid(alpha=0.3)
        legend_above(fig, ax)
    return fig


def rows_with_errors(groups, line, xlabel):
    """Values with bars of two standard errors, one row each, and a dashed line where they should be: ``groups`` dict title
    -> {label: (value, standard error)}. Equal labels have equal colours. Raises ValueError without a row.
    """
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    if not labels:
        raise ValueError("groups is empty, expected at least one row")
    n = sum(len(group) for group in groups.values()) + len(groups)
    with book_style():
        fig = new_figure(0.24 * n + 0.8)
        ax = fig.subplots()
        at, ticks = 0, {}
        for title, group in groups.items():
            ticks[at] = title
            for label, (value, error) in group.items():
                at += 1
                i = labels.index(label)
                style = dict(color=colour_of(i), marker=marker_of(i), ms=6, capsize=3, lw=1.5)
                ax.errorbar(value, at, xerr=2 * error, **style)
                ticks[at] = label
            at += 1
        ax.axvline(line, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        ax.set_yticks(list(ticks), list(ticks.values()), fontsize=10)
        for tick in ax.get_yticklabels():
            tick.set_fontweight("bold" if tick.get_text() in groups else "normal")
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(at, -0.7)
        ax.set_xlabel(xlabel)
        ax.grid(axis="x", alpha=0.3)
    return fig


def cosine_histogram(distances, xlabel="cosine distance to the score"):
    """Histograms of positive distances on a logarithmic axis: dict name -> (trials,)."""
    together = np.concatenate([np.asarray(d, float) for d in distances.values()])
    if not np.all(together > 0):
        raise ValueError("distances must be positive")
    edges = np.geomspace(together.min() / 1.05, together.max() * 1.05, 25)
    with book_style():
        fig = new_figure(3.4)
        ax = fig.subplots()
        for i, (name, values) in enumerate(distances.items()):
            ax.hist(
                values, edges, color=colour_of(i), alpha=0.75, label=name, hatch=("", "//")[i % 2], edgecolor="white"
            )
        ax.set_xscale("log")
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel(xlabel), ax.set_ylabel("trials")
        legend_above(fig, ax)
    return fig
