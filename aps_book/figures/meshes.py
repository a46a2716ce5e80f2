"""Figures of signals on triangle meshes: still ones for the page, and one that the reader can turn."""

import numpy as np

from aps_book.figures import views
from aps_book.figures.style import MISSING, book_style, colour_bar, diverging, new_figure, sequential

VIEW = {"elev": 12, "azim": -72}  # the projection plane nearly from the front, y up


def mesh_panel(mesh, fields, spread=None, errors=None, columns=3, label="value of the signal"):
    """Signals on a TriangleMesh, drawn from the front (along -z, y up), each triangle in the mean colour of its
    vertices.

    fields: dict title -> (n,), all in one colour range with one bar; NaN is missing: then vertices are drawn as dots on
    a grey mesh. spread: dict title -> (n,) that start at 0, with a bar of their own; errors: signed ones, symmetric
    about 0. Raises ValueError where there is no field, or one of another length.
    """
    spread, errors = spread or {}, errors or {}
    for title, field in {**fields, **spread, **errors}.items():
        if np.shape(field) != (len(mesh),):
            raise ValueError(
                f"field {title!r} has shape {np.shape(field)}, expected ({len(mesh)},), one number for each vertex"
            )
    if not fields:
        raise ValueError("fields is empty, expected at least one signal")
    rows, own = -(-len(fields) // columns), {**spread, **errors}
    with book_style():
        cell = 6.0 / columns
        heights = [1.08 * cell * rows + 0.6] + ([1.08 * 6.0 / max(2, len(own)) + 0.6] if own else [])
        fig = new_figure(sum(heights))
        parts = fig.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        every = np.concatenate([np.asarray(f, float) for f in fields.values()])
        low, high = np.nanmin(every), np.nanmax(every)
        axes = [parts[0].add_subplot(rows, columns, i + 1, projection="3d") for i in range(len(fields))]
        for ax, (title, field) in zip(axes, fields.items()):
            drawn = _draw(ax, mesh, np.asarray(field, float), title, sequential("viridis"), low, high)
        colour_bar(parts[0], drawn, axes, label, aspect=34, shrink=0.8)
        for i, (title, field) in enumerate(own.items()):
            ax = parts[1].add_subplot(1, max(2, len(own)), i + 1, projection="3d")
            top = np.nanmax(np.abs(field))
            signed = title in errors
            drawn = _draw(
                ax,
                mesh,
                np.asarray(field, float),
                title,
                diverging() if signed else sequential("cividis"),
                -top if signed else 0,
                top,
            )
            colour_bar(parts[1], drawn, [ax], "", aspect=18, shrink=0.85)
    return fig


def normals(mesh):
    """Unit normal of each vertex of a TriangleMesh, (n, 3), weighted by area; zero where there is none."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    per_face = np.cross(b - a, c - a)
    total = np.stack(
        [np.bincount(mesh.faces.ravel(), np.repeat(per_face[:, i], 3), len(mesh)) for i in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def _turned(points):
    """x to the right, z towards the reader, y up, as matplotlib names its axes."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def _draw(ax, mesh, field, title, cmap, low, high):
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    scale = ScalarMappable(Normalize(low, high), cmap)
    points = _turned(mesh.vertices)
    missing = np.isnan(field).any()
    outwards = normals(mesh)
    light = 0.78 + 0.22 * np.clip(np.abs(outwards[mesh.faces].mean(axis=1)[:, 2]), 0, 1)  # from the front
    colours = (
        np.tile(_rgb(MISSING), (len(mesh.faces), 1))
        if missing
        else scale.to_rgba(field[mesh.faces].mean(axis=1))[:, :3]
    )
    faces = Poly3DCollection(
        points[mesh.faces], facecolors=colours * light[:, None], edgecolors="none", linewidths=0, antialiased=False
    )
    faces.set_rasterized(True)
    ax.add_collection3d(faces)
    if missing:
        shown = ~np.isnan(field) & (outwards[:, 2] > 0.1)  # those that face the reader
        front = points[shown] + 0.01 * np.ptp(points, axis=0).max() * _turned(outwards)[shown]
        ax.scatter(
            *front.T, c=scale.to_rgba(field[shown]), s=5, depthshade=False, edgecolors="none", rasterized=True, zorder=5
        )
    ax.computed_zorder = not missing
    middle, reach = (points.min(axis=0) + points.max(axis=0)) / 2, 0.36 * np.ptp(points, axis=0).max()
    ax.set(
        xlim=(middle[0] - reach, middle[0] + reach),
        ylim=(middle[1] - reach, middle[1] + reach),
        zlim=(middle[2] - reach, middle[2] + reach),
    )
    ax.set_proj_type("ortho")
    ax.view_init(**VIEW)
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    ax.set_title(title, pad=-4)
    return scale


def _rgb(colour):
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def mesh_view(mesh, fields, title, label="value"):
    """A page (HTML text) with the mesh in 3-D, which turns by mouse, finger, arrow keys or buttons; a menu chooses the
    signal.

    fields: dict title -> (n,); each is drawn in its own range, signed ones (title beginning with "error") symmetric
    about 0; where vertices are missing (NaN) the others are dots on a grey mesh. Needs no network. Raises ValueError as
    ``mesh_panel``.
    """
    if not fields or any(np.shape(field) != (len(mesh),) for field in fields.values()):
        raise ValueError(
            f"fields must hold at least one signal of shape ({len(mesh)},), got {[np.shape(f) for f in fields.values()]}"
        )
    middle, size = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2, np.ptp(mesh.vertices, axis=0).max()
    data = {
        "vertices": np.round((mesh.vertices - middle) / size, 4).tolist(),
        "normals": np.round(normals(mesh), 2).tolist(),
        "faces": np.asarray(mesh.faces).tolist(),
        "fields": [_told(name, np.asarray(field, float)) for name, field in fields.items()],
        "label": label,
        "body": title,
        "yaw": -0.23,
        "pitch": 0.12,
    }
    return views.page("turn", title, data)


def _told(title, field):
    """A signal as the view reads it; its colours as whole numbers of red, green and blue."""
    top, signed = float(np.nanmax(np.abs(field))), title.startswith("error")
    colours = diverging() if signed else sequential("cividis" if title.startswith("standard") else "viridis")
    return {
        "title": title,
        "values": [None if np.isnan(value) else round(float(value), 4) for value in field],
        "low": -top if signed else float(np.nanmin(field)),
        "high": top if signed else float(np.nanmax(field)),
        "stops": [[round(255 * part) for part in colours(i / 16)[:3]] for i in range(17)],
    }
