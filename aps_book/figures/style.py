"""The look of every figure of the book: sizes, colours, markers, bars and legends.

Figures are 6 inches wide with 11 to 12 point text, so that they stay legible when a phone scales them down, and have a
white ground, so that they read the same in dark mode. Colours are safe for colour-blind readers: viridis for values,
cividis for spreads, a blue-orange map for signed errors, the Okabe-Ito palette (with differing markers) for lines.
Functions that draw return a matplotlib Figure; nothing is shown or saved, and pyplot is never imported.
"""

WIDTH = 6.0  # inches


MISSING = "#d9d9d9"


PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))


STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def book_style():
    """The project's rcParams, for the duration of a `with`."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(height):
    """White Figure of the common width, without pyplot: nothing is registered, nothing pops up."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def sequential(name, missing=MISSING):
    """A named colour map that draws NaN in `missing`."""
    import matplotlib

    return matplotlib.colormaps[name].with_extremes(bad=missing)


def diverging():
    """Blue - white - orange, distinguishable with every common colour deficiency; NaN light grey."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#08306b", "#2171b5", "#9ecae1", "#ffffff", "#fdae6b", "#d94801", "#7f2704"]
    return LinearSegmentedColormap.from_list("blue_orange", stops).with_extremes(bad=MISSING)


def colour_bar(figure, mappable, axes, label, aspect, shrink):
    """Horizontal colour bar under `axes`."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5 if aspect > 20 else 4)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=aspect, shrink=shrink, pad=0.03, ticks=ticks)
    bar.set_label(label)
    bar.outline.set_linewidth(0.6)
    return bar


def colour_of(i):
    """Colour of line i."""
    return PALETTE[i % len(PALETTE)]


def marker_of(i):
    """Marker of line i: where the colours begin anew it is another one than the first time."""
    return MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]


def dash_of(i):
    """Line style of line i, as ``marker_of``."""
    return DASHES[(i + i // len(PALETTE)) % len(DASHES)]


def marker_style(i, n):
    """Marker of line i, on about eight of its n points."""
    return {"marker": marker_of(i), "ms": 6, "markevery": max(1, n // 8)}


def legend_above(fig, ax):
    """Legend over the axes, where it can hide no data."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, labels)) > 26 else 2
        fig.legend(handles, labels, loc="outside upper center", ncols=min(columns, len(labels)))


def plain_ticks(axis):
    """Numbers such as 0.5, 1, 2 on a logarithmic axis in the place of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
