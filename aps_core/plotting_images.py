"""Figures of colour images: grids of faces, and curves of quality against what it costs."""

import numpy as np

from aps_core.plotting import MARKERS, WIDTH, _bar, _colour, _figure, _legend_above, _sequential, _style


def face_columns(columns, maps=None, map_label="standard deviation"):
    """Faces in a grid, one column for each entry and one row for each face.

    columns: dict title -> (n, h, w, 3) or (n, h, w) in [0, 1], clipped for display; pictures of other sizes are enlarged to the same cell.
    maps: dict title -> (n, h, w), further columns drawn in one range of their own, from 0, with a bar. Raises ValueError for columns of
    different length or another shape.
    """
    pictures = {title: np.asarray(column, float) for title, column in columns.items()}
    maps = {title: np.asarray(column, float) for title, column in (maps or {}).items()}
    everything = {**pictures, **maps}
    lengths = {len(column) for column in everything.values()}
    if len(lengths) != 1 or any(column.ndim not in (3, 4) for column in everything.values()):
        raise ValueError(f"columns have shapes {[c.shape for c in everything.values()]}, expected the same number of images in each")
    n, width = lengths.pop(), len(everything)
    with _style():
        fig = _figure(WIDTH / width * n + 0.3 + 0.75 * bool(maps))
        axes = fig.subplots(n, width, squeeze=False)
        top = max((column.max() for column in maps.values()), default=1.0)
        for j, (title, column) in enumerate(everything.items()):
            for ax, image in zip(axes[:, j], column):
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(False)
                if title in maps:
                    mappable = ax.imshow(image, cmap=_sequential("cividis"), vmin=0, vmax=top, interpolation="nearest")
                else:
                    ax.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes[0, j].set_title(title, fontsize="small")
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        if maps:
            _bar(fig, mappable, axes, map_label, aspect=34, shrink=0.6)
    return fig


def face_sheet(faces, columns=12):
    """Faces (n, h, w, 3) in rows of ``columns``, clipped to [0, 1] for display."""
    faces = np.asarray(faces, float)
    rows = -(-len(faces) // columns)
    h, w = faces.shape[1:3]
    sheet = np.ones((rows * (h + 1), columns * (w + 1), 3))
    for i, face in enumerate(np.clip(faces, 0, 1)):
        r, c = divmod(i, columns)
        sheet[r * (h + 1) : r * (h + 1) + h, c * (w + 1) : c * (w + 1) + w] = face
    with _style():
        fig = _figure(WIDTH * sheet.shape[0] / sheet.shape[1])
        ax = fig.subplots()
        ax.imshow(sheet, interpolation="nearest")
        ax.set_axis_off()
    return fig


def cost_curves(curves, levels=None, xlabel="network evaluations for one sample", ylabel="PSNR (dB)", log_x=True):
    """Quality against cost: ``curves`` dict label -> (x, y, standard error of y); ``levels`` dict label -> y, drawn as flat lines."""
    with _style():
        fig = _figure(4.0)
        ax = fig.subplots()
        for i, (label, (x, y, se)) in enumerate(curves.items()):
            ax.errorbar(x, y, yerr=2 * np.asarray(se), color=_colour(i), marker="osD^v"[i % 5], label=label, capsize=2)
        for i, (label, y) in enumerate((levels or {}).items(), len(curves)):
            ax.axhline(y, color=_colour(i), linestyle=("--", ":", "-.")[i % 3], label=label)
        if log_x:
            ax.set_xscale("log")
        ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)
        _legend_above(fig, ax)
    return fig


def trade_off(panels, floors, levels=None, paths=None, path_label="", xlabel="PSNR (dB)", ylabel="1000 KID"):
    """Perception against distortion, a panel for each task: ``panels`` dict title -> {label: (x, se of x, y, se of y)}, bars of two standard errors;
    ``floors`` dict title -> the y of true pictures, a dashed line; ``levels`` dict label -> y, dotted lines in every panel; ``paths`` dict title ->
    [(x, y), ...], joined by a line. Equal labels have equal colours. Raises ValueError without a panel."""
    if not panels:
        raise ValueError("panels is empty, expected at least one")
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    with _style():
        fig = _figure(3.4)
        axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            for label, (x, x_se, y, y_se) in panel.items():
                i = order.index(label)
                ax.errorbar(x, y, 2 * y_se, 2 * x_se, color=_colour(i), marker=MARKERS[i], ms=7, ls="", elinewidth=1, label=label)
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
        fig.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=3, fontsize=10)
    return fig
