"""Figures of the chapter on score prior and discrete-flow prior, in the style of ``plotting``."""

import numpy as np

from aps_core.plotting import DASHES, MARKERS, PALETTE, WIDTH, _figure, _legend_above, _style


def kinds_dots(values, xlabel="bits per pixel", top=1e4):
    """One row for each kind of image, one mark for each prior, on a logarithmic axis: dict prior -> dict kind -> value > 0.

    A value beyond ``top`` is an open mark at the edge, with its value beside it.
    """
    kinds = list(next(iter(values.values())))
    with _style():
        fig = _figure(0.36 * len(kinds) + 1.6)
        ax = fig.subplots()
        rows = np.arange(len(kinds))[::-1]
        for i, (prior, found) in enumerate(values.items()):
            x = np.array([found[kind] for kind in kinds], float)
            beyond = x > top
            style = dict(ls="none", marker=MARKERS[i], ms=7, color=PALETTE[i], clip_on=False)
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
        _legend_above(fig, ax)
    return fig


def path_curves(levels, panels, xlabel="noise added to a face"):
    """Curves over ``levels`` (logarithmic), one panel below the other: dict ylabel -> dict prior -> values, logarithmic too."""
    with _style():
        fig = _figure(2.7 * len(panels) + 0.5)
        axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (ylabel, curves) in zip(axes, panels.items(), strict=True):
            for i, (prior, values) in enumerate(curves.items()):
                ax.plot(levels, values, color=PALETTE[i], ls=DASHES[i], marker=MARKERS[i], ms=5, label=prior)
            ax.set_xscale("log"), ax.set_yscale("log")
            ax.set_ylabel(ylabel)
            ax.grid(alpha=0.3)
        axes[-1].set_xlabel(xlabel)
        _legend_above(fig, axes[0])
    return fig


def optimization_curves(histories):
    """Loss (nats per pixel, positive) and gradient norm before clipping at every step, both logarithmic: dict label -> history of a ``dpi.Fit``."""
    with _style():
        fig = _figure(5.8)
        upper, lower = fig.subplots(2, 1, sharex=True)
        for i, (label, history) in enumerate(histories.items()):
            style = dict(color=PALETTE[i % len(PALETTE)], ls=DASHES[i % len(DASHES)], lw=1.5)
            steps = np.arange(1, len(history["loss"]) + 1)
            if len(steps) == 1:
                style |= dict(marker=MARKERS[i % len(MARKERS)], ms=8)
            upper.plot(steps, history["loss"], label=label, **style)
            lower.plot(steps, history["gradient"], **style)
        for ax, ylabel in ((upper, "loss above its least\n(nats per pixel)"), (lower, "gradient norm")):
            ax.set_yscale("log")
            ax.set_ylabel(ylabel)
            ax.grid(alpha=0.3)
        lower.axhline(1.0, color="#555555", lw=1)
        lower.set_xlabel("step")
        _legend_above(fig, upper)
    return fig


def grey_rows(rows):
    """Pictures in rows: dict label -> dict title -> (h, w) or (h, w, 1), all in grey on [0, 1], clipped for display; titles above each."""
    columns = max(len(row) for row in rows.values())
    with _style():
        fig = _figure(WIDTH / columns * 1.2 * len(rows) + 0.2)
        axes = fig.subplots(len(rows), columns, squeeze=False)
        for line, (label, row) in zip(axes, rows.items(), strict=True):
            for ax in line:
                ax.set_axis_off()
            for ax, (title, image) in zip(line, row.items()):
                image = np.squeeze(np.asarray(image, float))
                ax.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                ax.set_axis_on()
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(False)
                ax.set_title(title, fontsize="small")
            line[0].set_ylabel(label.replace(" ", "\n"), fontsize="small")
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return fig
