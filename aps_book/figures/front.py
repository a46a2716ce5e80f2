"""The picture of the front page: three problems in rows; measurement, two samples, mean and spread in columns."""

import numpy as np

from aps_book.figures.style import book_style, sequential

HEADS = ("measurement", "one sample", "another sample", "mean of 128", "their spread")


def front(rows, mesh):
    """A Figure of three rows.

    rows: {"faces" | "bunny" | "sphere": five arrays, as HEADS names them}: (32, 32, 3), (n,) on ``mesh`` and (46, 90);
    the measurement has NaN where nothing was measured, the spread of a face is (32, 32). Raises ValueError for other
    rows.
    """
    from matplotlib.figure import Figure

    if set(rows) != {"faces", "bunny", "sphere"} or any(len(row) != len(HEADS) for row in rows.values()):
        raise ValueError(f"rows = {list(rows)}: expected faces, bunny and sphere with {len(HEADS)} pictures each")
    draw = {"faces": _face, "bunny": lambda *row: _bunny(mesh, *row), "sphere": _globe}
    with book_style():
        fig = Figure(figsize=(10, 5.1), facecolor="white")
        grid = fig.add_gridspec(
            3,
            5,
            height_ratios=(1, 1.15, 0.62),
            left=0.005,
            right=0.995,
            top=0.935,
            bottom=0.01,
            hspace=0.05,
            wspace=0.04,
        )
        for i, name in enumerate(("faces", "bunny", "sphere")):
            draw[name](fig, [grid[i, j] for j in range(len(HEADS))], rows[name])
        for j, head in enumerate(HEADS):
            fig.text(0.104 + 0.1985 * j, 0.957, head, ha="center", fontsize=14)
    return fig


def _limits(row):
    """Colour ranges: one for all but the spread, which has its own from 0."""
    shown = np.concatenate([np.ravel(one) for one in row[:-1]])
    return [(np.nanmin(shown), np.nanmax(shown))] * (len(row) - 1) + [(0, np.nanmax(row[-1]))]


def _colours(j):
    return sequential("cividis" if j == len(HEADS) - 1 else "viridis")


def _face(fig, cells, row):
    for j, (cell, picture) in enumerate(zip(cells, row)):
        ax = fig.add_subplot(cell)
        if j == len(row) - 1:
            ax.imshow(picture, cmap=_colours(j), vmin=0, interpolation="nearest")
        else:
            ax.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        ax.set_axis_off()


def _bunny(mesh, fig, cells, row):
    from aps_book.figures.meshes import _draw

    for j, (cell, field, limits) in enumerate(zip(cells, row, _limits(row))):
        _draw(fig.add_subplot(cell, projection="3d"), mesh, np.asarray(field, float), "", _colours(j), *limits)


def _globe(fig, cells, row):
    from aps_book.figures.maps import _draw_globe

    for j, (cell, field, limits) in enumerate(zip(cells, row, _limits(row))):
        _draw_globe(fig.add_subplot(cell, projection="mollweide"), field, "", _colours(j), *limits)
