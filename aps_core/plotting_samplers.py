"""Figures of the chapter on samplers, in the style of ``plotting``."""

import numpy as np

from aps_core.plotting import MARKERS, PALETTE, WIDTH, _figure, _legend_above, _plain_ticks, _sequential, _style


def distance_chart(groups, xlabel, threshold=None, order=()):
    """Values on a logarithmic axis, one line of marks for each method.

    groups: dict label of a mark -> dict method -> value; None or infinite is drawn at the right edge as an arrow. Values below
    ``threshold`` are drawn on it (dashed), as what draws of the truth themselves would give. order: methods in the order of the lines.
    """
    named = {method for group in groups.values() for method in group}
    methods = [*(m for m in order if m in named), *sorted(named - set(order))]
    finite = [v for group in groups.values() for v in group.values() if v is not None and np.isfinite(v) and v > 0]
    if not finite:
        raise ValueError("groups holds no finite positive value, expected at least one")
    low, high = max(threshold or 0.0, min(finite)), 3 * max(finite)
    with _style():
        fig = _figure(1.3 + 0.3 * len(methods))
        ax = fig.subplots()
        for i, (label, group) in enumerate(groups.items()):
            for shown, part in ((MARKERS[i], True), (">", False)):
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
        _legend_above(fig, ax)
    return fig


def step_size_plot(curves, chosen=None, xlabel="step size ζ", ylabel="variance of the samples / of the posterior"):
    """A ratio against a setting, both logarithmic; 1 is exact. curves: dict name -> (settings, ratio); chosen: dict name -> setting."""
    if not curves:
        raise ValueError("curves is empty, expected at least one")
    with _style():
        fig = _figure(4.2)
        ax = fig.subplots()
        ax.axhline(1, color="#555555", lw=1.2, ls=(0, (4, 2)), zorder=1)
        for i, (name, (setting, ratio)) in enumerate(curves.items()):
            ax.plot(setting, ratio, marker=MARKERS[i], ms=6, color=PALETTE[i], label=name)
        for i, (name, value) in enumerate((chosen or {}).items()):
            ax.axvline(value, color="#555555", lw=1.2, ls=":", zorder=1)
            ax.annotate(name, (value, 0 if i % 2 else 1), xycoords=("data", "axes fraction"), xytext=(4, 4 if i % 2 else -2),
                        textcoords="offset points", va="bottom" if i % 2 else "top", color="#333333")  # fmt: skip
        ax.set_xscale("log"), ax.set_yscale("log")
        _plain_ticks(ax.yaxis)
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        ax.grid(alpha=0.3)
        _legend_above(fig, ax)
    return fig


def density_panel(log_p, low, high, samples, columns=3, n_shown=300, labels=("$x_1$", "$x_2$")):
    """Draws beside a two-dimensional density: the density alone, then in one panel for each method its draws over the contours.

    log_p (k, k) on a grid over [low, high]^2, first axis along x_1; samples: dict title -> (n, 2). The contours hold 50, 90 and 99 %
    of the mass. All panels have one range.
    """
    log_p = np.asarray(log_p, float)
    if log_p.ndim != 2 or log_p.shape[0] != log_p.shape[1]:
        raise ValueError(f"log_p has shape {log_p.shape}, expected (k, k)")
    p = np.exp(log_p - log_p.max())
    ordered = np.sort(p.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    levels = [ordered[np.searchsorted(mass, share)] for share in (0.99, 0.9, 0.5)]
    side = low + (high - low) * (np.arange(len(p)) + 0.5) / len(p)
    titles = ["density", *samples]
    rows = -(-len(titles) // columns)
    with _style():
        fig = _figure(WIDTH / columns * rows * 1.12 + 0.3)
        axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax in axes[len(titles) :]:
            ax.set_visible(False)
        for i, (ax, title) in enumerate(zip(axes, titles)):
            if i == 0:
                ax.pcolormesh(side, side, p.T, cmap=_sequential("cividis"), rasterized=True)
            else:
                x = np.asarray(samples[title])[:n_shown]
                ax.plot(x[:, 0], x[:, 1], ".", ms=3, color=PALETTE[1], alpha=0.6, mew=0, rasterized=True)
                ax.contour(side, side, p.T, levels, colors="#0b3c5d", linewidths=0.8)
            ax.set_title(title, fontsize=11)
            ax.set_xlim(0, 1), ax.set_ylim(0, 1)
            ax.set_xticks([0, 0.5, 1]), ax.set_yticks([0, 0.5, 1])
            ax.set_aspect("equal")
        fig.supxlabel(labels[0], fontsize=12), fig.supylabel(labels[1], fontsize=12)
    return fig
