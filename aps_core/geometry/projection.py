"""Images on meshes: a place in the unit square for each vertex, and bilinear look-up of the image there."""

import numpy as np
from scipy import sparse

from aps_core.checks import measured_array, real, real_array

PLANES = {"xy": (0, 1), "xz": (0, 2), "yx": (1, 0), "yz": (1, 2), "zx": (2, 0), "zy": (2, 1)}
PROJECTIONS = (*PLANES, "spherical", "laplacian")


def vertex_coordinates(mesh, projection="xy", frame=None):
    """Place (n, 2) of each vertex in the unit square: across from the left, and up from the bottom.

    projection: two axes such as "xy" (both in one scale, the mesh in the middle), "spherical" (longitude about the y
    axis, and latitude, as seen from the middle of the bounding box), or "laplacian" (the first two eigenfunctions that
    are not constant). frame: for two axes, the mesh whose bounding box fills the square, in the same space; by default
    the mesh itself. Others may reach beyond it. Raises ValueError for another name, and what the mesh raises where it
    has no such coordinates.
    """
    if projection in PLANES:
        flat, box = (m.vertices[:, PLANES[projection]] for m in (mesh, mesh if frame is None else frame))
        return 0.5 + (flat - (box.min(axis=0) + box.max(axis=0)) / 2) / np.ptp(box, axis=0).max()
    if projection == "spherical":
        middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        x, y, z = (mesh.vertices - middle).T
        radius = np.maximum(np.sqrt(x**2 + y**2 + z**2), np.finfo(float).tiny)
        return np.stack([0.5 + np.arctan2(x, z) / (2 * np.pi), 0.5 + np.arcsin(y / radius) / np.pi], axis=1)
    if projection == "laplacian":
        mesh.require("the projection by eigenfunctions", connected=True)
        functions = mesh.eigenfunctions(3)[1][:, 1:]
        return (functions - functions.min(axis=0)) / np.ptp(functions, axis=0)
    raise ValueError(f"projection must be one of {PROJECTIONS}, got {projection!r}")


def bilinear_lookup(coordinates, shape):
    """Sparse matrix (n, rows * columns) of the bilinear look-up of an image of ``shape`` at ``coordinates`` (n, 2) in
    the unit square.

    The corners of the square are the centres of the corner pixels; the first row is on top. Every row of the matrix is
    a convex combination. Raises ValueError for coordinates outside the square.
    """
    coordinates = real_array("coordinates", coordinates)
    if coordinates.ndim != 2 or coordinates.shape[1] != 2:
        raise ValueError(f"coordinates has shape {coordinates.shape}, expected (n, 2)")
    if not ((coordinates >= -1e-9) & (coordinates <= 1 + 1e-9)).all():
        raise ValueError(f"coordinates range from {coordinates.min():.3g} to {coordinates.max():.3g}, expected 0 to 1")
    rows, columns = shape
    u = np.clip(coordinates[:, 0], 0, 1) * (columns - 1)
    v = (1 - np.clip(coordinates[:, 1], 0, 1)) * (rows - 1)
    i, j = np.minimum(v.astype(int), max(rows - 2, 0)), np.minimum(u.astype(int), max(columns - 2, 0))
    v, u = v - i, u - j
    entries, places = [], []
    for down, by_row in ((0, 1 - v), (1, v)):
        for right, by_column in ((0, 1 - u), (1, u)):
            entries.append(by_row * by_column)
            places.append(np.minimum(i + down, rows - 1) * columns + np.minimum(j + right, columns - 1))
    n = len(coordinates)
    matrix = sparse.coo_matrix(
        (np.concatenate(entries), (np.tile(np.arange(n), 4), np.concatenate(places))), shape=(n, rows * columns)
    )
    matrix = matrix.tocsr()
    matrix.eliminate_zeros()
    return matrix


def project(images, coordinates):
    """Signals (n_images, n_vertices) of ``images`` (n_images, rows, columns): each vertex takes the image's value at
    its place. Raises TypeError or ValueError for images of another shape and for entries that are not finite.
    """
    images = np.asarray(real("images", measured_array("images", images)))
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images has shape {images.shape}, expected (n, rows, columns), none of them 0")
    if not np.isfinite(images).all():
        raise ValueError("images holds entries that are not finite, expected numbers")
    lookup = bilinear_lookup(coordinates, images.shape[1:]).astype(np.float32)
    return np.asarray((lookup @ images.reshape(len(images), -1).T.astype(np.float32)).T)
