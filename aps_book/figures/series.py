"""Curves with gaps: what was measured as points, and the samples of a posterior as band, mean and lines."""

import numpy as np

from aps_book.figures.style import PALETTE, book_style, new_figure


def gap_panels(x, panels, xlabel="", ylabel="", columns=2, n_lines=2):
    """A panel for each measurement: dict title -> (y (d,), NaN where missing, samples (n, d)), over ``x`` (d,).

    Points are what was measured, the band holds the central 90 % of the samples, and ``n_lines`` of these are drawn
    beside their mean. All panels have one range. Raises ValueError without a panel, or for arrays of another length.
    """
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    for title, (y, samples) in panels.items():
        if np.shape(y) != np.shape(x) or np.shape(samples)[1:] != np.shape(x):
            raise ValueError(
                f"panel {title!r} has shapes {np.shape(y)} and {np.shape(samples)}, expected {np.shape(x)} and (n, {len(x)})"
            )
    rows = -(-len(panels) // columns)
    with book_style():
        fig = new_figure(2.2 * rows + 0.9)
        axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax in axes.ravel()[len(panels) :]:
            ax.set_visible(False)
        for ax, (title, (y, samples)) in zip(axes.ravel(), panels.items(), strict=False):
            low, high = np.quantile(np.asarray(samples, float), [0.05, 0.95], axis=0)
            ax.fill_between(x, low, high, color=PALETTE[5], alpha=0.4, lw=0, label="90 % of the samples")
            for i, sample in enumerate(samples[:n_lines]):
                ax.plot(x, sample, color="#555555", lw=0.9, label=None if i else "samples")
            ax.plot(x, np.mean(samples, axis=0), color=PALETTE[0], label="their mean")
            ax.plot(x, y, color=PALETTE[1], marker="o", ms=4, ls="none", label="measured")
            ax.set_title(title, fontsize=11)
        for ax in axes[-1]:
            ax.set_xlabel(xlabel)
        for ax in axes[:, 0]:
            ax.set_ylabel(ylabel)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig
