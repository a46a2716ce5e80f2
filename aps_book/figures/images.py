"""Figures of colour images: grids of faces, and curves of quality against what it costs."""

import numpy as np

from aps_book.figures.style import WIDTH, book_style, colour_bar, diverging, new_figure, sequential


def face_columns(columns, maps=None, map_label="standard deviation"):
    """Faces in a grid, one column for each entry and one row for each face.

    columns: dict title -> (n, h, w, 3) or (n, h, w) in [0, 1], clipped for display; pictures of other sizes are
    enlarged to the same cell. maps: dict title -> (n, h, w), further columns drawn in one range of their own, from 0,
    with a bar. Raises ValueError for columns of different length or another shape.
    """
    pictures = {title: np.asarray(column, float) for title, column in columns.items()}
    maps = {title: np.asarray(column, float) for title, column in (maps or {}).items()}
    everything = {**pictures, **maps}
    lengths = {len(column) for column in everything.values()}
    if len(lengths) != 1 or any(column.ndim not in (3, 4) for column in everything.values()):
        raise ValueError(
            f"columns have shapes {[c.shape for c in everything.values()]}, expected the same number of images in each"
        )
    n, width = lengths.pop(), len(everything)
    with book_style():
        fig = new_figure(WIDTH / width * n + 0.3 + 0.75 * bool(maps))
        axes = fig.subplots(n, width, squeeze=False)
        top = max((column.max() for column in maps.values()), default=1.0)
        for j, (title, column) in enumerate(everything.items()):
            for ax, image in zip(axes[:, j], column):
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(False)
                if title in maps:
                    mappable = ax.imshow(image, cmap=sequential("cividis"), vmin=0, vmax=top, interpolation="nearest")
                else:
                    ax.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes[0, j].set_title(title, fontsize="small")
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        if maps:
            colour_bar(fig, mappable, axes, map_label, aspect=34, shrink=0.6)
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
    with book_style():
        fig = new_figure(WIDTH * sheet.shape[0] / sheet.shape[1])
        ax = fig.subplots()
        ax.imshow(sheet, interpolation="nearest")
        ax.set_axis_off()
    return fig


def grey_rows(rows):
    """Pictures in rows: dict label -> dict title -> (h, w) or (h, w, 1), all in grey on [0, 1], clipped for display;
    titles above each.
    """
    columns = max(len(row) for row in rows.values())
    with book_style():
        fig = new_figure(WIDTH / columns * 1.2 * len(rows) + 0.2)
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


def image_grid(images, columns=None, value_range=(0.0, 1.0), label=None):
    """Grey images in a grid, one row per entry, all in one grey range.

    images: dict row name -> (n, H, W); NaN is missing and drawn light blue. Rows may be shorter than others.
    columns: optional titles of the columns. `label` adds a grey bar with that text.
    """
    rows = {name: np.asarray(row, float) for name, row in images.items()}
    if not rows or any(row.ndim != 3 or len(row) == 0 for row in rows.values()):
        raise ValueError(f"images has shapes {[r.shape for r in rows.values()]}, expected (n, H, W) in every row")
    width = max(len(row) for row in rows.values())
    longest = max(max(len(line) for line in name.split("\n")) for name in rows)
    left = 0.02 + 0.0135 * longest
    cell = WIDTH * (1 - left) / width
    shape = next(iter(rows.values())).shape
    with book_style():
        fig = new_figure(cell * shape[1] / shape[2] * len(rows) + 0.35 * bool(columns) + 0.75 * bool(label))
        axes = fig.subplots(len(rows), width, squeeze=False)
        gray = sequential("gray", missing="#9ecae1")
        for line, (name, row) in zip(axes, rows.items()):
            for ax in line:
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(False)
            for ax, image in zip(line, row):
                mappable = ax.imshow(
                    image, cmap=gray, vmin=value_range[0], vmax=value_range[1], interpolation="nearest"
                )
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        for ax, title in zip(axes[0], columns or ()):
            ax.set_title(title)
        fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        if label:
            colour_bar(fig, mappable, axes, label, aspect=34, shrink=0.8)
    return fig


def covariance_panel(covariances, columns=2, label="covariance"):
    """Covariance matrices (d, d), dict title -> matrix, in one range symmetric about 0 with one bar."""
    matrices = {title: np.asarray(matrix, float) for title, matrix in covariances.items()}
    if not matrices or any(m.ndim != 2 or m.shape[0] != m.shape[1] for m in matrices.values()):
        raise ValueError(f"covariances has shapes {[m.shape for m in matrices.values()]}, expected (d, d)")
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    top = max(np.abs(matrix).max() for matrix in matrices.values())
    with book_style():
        fig = new_figure((WIDTH / columns + 0.3) * rows + 0.6)
        axes = fig.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(matrices) :]:
            ax.set_visible(False)
        for ax, (title, matrix) in zip(axes, matrices.items()):
            image = ax.imshow(matrix, cmap=diverging(), vmin=-top, vmax=top, interpolation="nearest", rasterized=True)
            ax.set_title(title)
            ax.set_xticks([]), ax.set_yticks([])
            ax.spines[:].set_visible(True)
        colour_bar(fig, image, axes[: len(matrices)], label, aspect=34, shrink=0.8)
    return fig


def gradient_maps(maps, image):
    """Score, mean gradient and its standard deviation as images: dict name -> three arrays of the pixels of ``image``,
    a row for each.
    """
    from matplotlib.ticker import MaxNLocator

    shape = np.shape(image)
    rows = {name: [np.reshape(part, shape) for part in parts] for name, parts in maps.items()}
    top = max(np.abs(part).max() for parts in rows.values() for part in parts[:2])
    wide = max(parts[2].max() for parts in rows.values())
    titles = ("score", "mean gradient", "standard deviation")
    with book_style():
        fig = new_figure(WIDTH / 3 * len(rows) + 1.0)
        axes = fig.subplots(len(rows), 3, squeeze=False)
        for line, (name, parts) in zip(axes, rows.items(), strict=True):
            for ax, part, title in zip(line, parts, titles, strict=True):
                spread = title == titles[2]
                colours = sequential("cividis") if spread else diverging()
                mappable = ax.imshow(
                    part,
                    cmap=colours,
                    vmin=0 if spread else -top,
                    vmax=wide if spread else top,
                    interpolation="nearest",
                )
                ax.set_xticks([]), ax.set_yticks([])
                ax.spines[:].set_visible(True)
                if ax in axes[0]:
                    ax.set_title(title)
            if name == list(rows)[-1]:
                colour_bar(fig, line[0].images[0], axes[:, :2], "per unit of x", 26, 0.85)
                colour_bar(fig, mappable, axes[:, 2], "per unit of x", 13, 0.85).ax.xaxis.set_major_locator(
                    MaxNLocator(2)
                )
            line[0].set_ylabel(name)
    return fig
