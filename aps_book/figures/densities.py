"""Densities in the plane: contours of log p with samples, and panels of kernel estimates."""

import numpy as np

from aps_book.figures.style import PALETTE, WIDTH, book_style, new_figure, sequential


def density_panel(log_p, low, high, samples, columns=3, n_shown=300, labels=("$x_1$", "$x_2$")):
    """Draws beside a two-dimensional density: the density alone, then in one panel for each method its draws over the
    contours.

    log_p (k, k) on a grid over [low, high]^2, first axis along x_1; samples: dict title -> (n, 2). The contours hold
    50, 90 and 99 % of the mass. All panels have one range.
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
    with book_style():
        fig = new_figure(WIDTH / columns * rows * 1.12 + 0.3)
        axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax in axes[len(titles) :]:
            ax.set_visible(False)
        for i, (ax, title) in enumerate(zip(axes, titles)):
            if i == 0:
                ax.pcolormesh(side, side, p.T, cmap=sequential("cividis"), rasterized=True)
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


def plane(window, n=200):
    """Points (n, n, 2) of a grid over the window, x1 along the first axis."""
    low1, high1, low2, high2 = window
    return np.stack(np.meshgrid(np.linspace(low1, high1, n), np.linspace(low2, high2, n), indexing="ij"), -1)


def density_panels(rows, truth, window):
    """Densities in the plane, one row of panels for each noise level: filled in the method's colours, the truth as
    black lines.

    rows: dict row name -> dict method -> (points (n, m, 2), density (n, m)). truth: dict row name -> density (k, k) at the
    points of ``plane(window, k)``. window: (x1 low, x1 high, x2 low, x2 high). Fills begin at 1/64 of the truth's
    peak and double; lines stand at 1/32, 1/8 and 1/2 of it.
    """
    methods = list(next(iter(rows.values())))
    low1, high1, low2, high2 = window
    cell = WIDTH / len(methods)
    with book_style():
        fig = new_figure(0.87 * cell * (high2 - low2) / (high1 - low1) * len(rows) + 0.75)
        axes = fig.subplots(len(rows), len(methods), squeeze=False, sharex=True, sharey=True)
        for line, (level, row) in zip(axes, rows.items(), strict=True):
            exact = np.asarray(truth[level])
            x1, x2 = np.moveaxis(plane(window, len(exact)), -1, 0)
            levels = exact.max() * 2.0 ** np.arange(-6, 0)
            for ax, (points, density) in zip(line, row.values(), strict=True):
                filled = ax.contourf(
                    points[..., 0], points[..., 1], density, levels=levels, cmap=sequential("viridis"), extend="max"
                )
                filled.set_rasterized(True)  # the outlines of hundreds of thousands of points weigh megabytes
                ax.contour(x1, x2, exact, levels=levels[1::2], colors="#000000", linewidths=0.8)
                ax.set_xlim(low1, high1), ax.set_ylim(low2, high2)
                ax.set_aspect("equal")
                ax.spines[:].set_visible(True)
                ax.set_xticks([]), ax.set_yticks([])
            line[0].set_ylabel(f"{level}\n$x_2$")
        for ax, method in zip(axes[0], methods, strict=True):
            ax.set_title(method)
        for ax in axes[-1]:
            ax.set_xlabel("$x_1$")
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return fig
