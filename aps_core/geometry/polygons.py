"""Polygons of a mesh cut into triangles: convex ones as a fan, others by clipping ears, the area checked."""

import numpy as np


def triangulate(vertices, corners, sizes):
    """Triangles (m, 3) of vertex numbers, in the order of the polygons, n - 2 for one of n corners.

    vertices: (n, 3). corners: the vertex numbers of all polygons one after the other. sizes: how many corners each
    has. A corner that repeats the one before it is dropped. Raises ValueError for a polygon with fewer than three
    corners or one that crosses itself.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    if (few := np.flatnonzero(sizes < 3)).size:
        raise ValueError(f"face {few[0] + 1} has {sizes[few[0]]} corners, expected at least 3")
    pieces = [np.empty((0, 3), int)] * len(sizes)
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        numbers = corners[starts[chosen][:, None] + np.arange(size)]
        fans = numbers[:, _fan(size)]
        if size == 3:
            simple = np.ones(len(chosen), bool)
        else:
            simple = _convex(vertices[numbers]) & (numbers != np.roll(numbers, 1, axis=1)).all(axis=1)
        for i, face in enumerate(chosen):
            pieces[face] = fans[i] if simple[i] else _cut(vertices, numbers[i], face + 1)
    return np.concatenate(pieces)


def _fan(size):
    return np.stack([np.zeros(size - 2, int), np.arange(1, size - 1), np.arange(2, size)], axis=1)


def _vector_area(points):
    """Vector areas (..., 3) of polygons (..., n, 3): half the sum of the cross products about the first corner."""
    arms = points - points[..., :1, :]
    return 0.5 * np.cross(arms[..., 1:-1, :], arms[..., 2:, :]).sum(axis=-2)


def _flat(points):
    """Polygons (..., n, 3) in the plane across their vector area, (..., n, 2), counter-clockwise, over their extent."""
    points = points - points.mean(axis=-2, keepdims=True)
    points = points / np.maximum(np.abs(points).max(axis=(-2, -1), keepdims=True), 1e-300)
    normal = _vector_area(points)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-300)
    aside = np.eye(3)[np.abs(normal).argmin(axis=-1)]  # the axis that is farthest from the normal
    first = np.cross(aside, normal)
    first = first / np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-300)
    axes = np.stack([first, np.cross(normal, first)], axis=-2)
    return points @ np.swapaxes(axes, -1, -2)


def _convex(points):
    """Which of the polygons (m, n, 3) turn to one side at every corner, and once in all."""
    flat = _flat(points)
    edge = np.roll(flat, -1, axis=-2) - flat
    following = np.roll(edge, -1, axis=-2)
    sine, cosine = _cross(edge, following), (edge * following).sum(axis=-1)
    turns = np.arctan2(sine, cosine).sum(axis=-1) / (2 * np.pi)
    return (sine > 1e-12).all(axis=-1) & (np.abs(turns - 1) < 1e-6)


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _cut(vertices, numbers, face):
    """Triangles of one polygon that is not convex, or whose corners lie on a line."""
    numbers = numbers[numbers != np.roll(numbers, 1)] if len(np.unique(numbers)) > 2 else numbers
    points = vertices[numbers]
    fan = _fan(len(numbers))
    extent = np.ptp(points, axis=0).max()
    area = np.linalg.norm(_vector_area(points))
    of_triangles = np.linalg.norm(_vector_area(points[fan]), axis=-1).sum()
    if of_triangles <= 1e-12 * extent**2:  # no area at all: all corners on a line
        return numbers[fan]
    flat = _flat(points)
    if area <= 1e-9 * of_triangles or _crosses(flat):
        raise ValueError(f"face {face} with {len(numbers)} corners crosses itself, expected a simple polygon")
    triangles = _clip_ears(flat)
    covered = np.abs(_cross(*(flat[triangles[:, i]] - flat[triangles[:, 0]] for i in (1, 2)))).sum()
    whole = abs(_cross(flat, np.roll(flat, -1, axis=0)).sum())
    if abs(covered - whole) > 1e-6 * whole:
        raise ValueError(
            f"face {face} with {len(numbers)} corners cannot be cut into triangles: they cover {covered / whole:.6g} "
            "times its area, expected a simple polygon"
        )
    return numbers[triangles]


def _crosses(flat):
    """Whether two edges of the polygon (n, 2) cross at an inner point of both."""
    a, b = flat, np.roll(flat, -1, axis=0)
    side = np.sign(np.where(np.abs(s := _cross((b - a)[:, None], flat[None] - a[:, None])) > 1e-12, s, 0))
    apart = side * np.roll(side, -1, axis=1) < 0  # [i, j]: the ends of edge j lie on both sides of the line of edge i
    return bool((apart & apart.T).any())


def _clip_ears(flat):
    """Triangles (n - 2, 3) of the corners of a simple, counter-clockwise polygon (n, 2): one ear after the other is cut
    off, the one with the widest smallest angle first.
    """
    left, triangles = list(range(len(flat))), []
    while len(left) > 3:
        corners = np.array([np.roll(left, 1), left, np.roll(left, -1)]).T
        a, b, c = (flat[corners[:, i]] for i in range(3))
        area = _cross(b - a, c - a)
        longest = np.max([np.sum((p - q) ** 2, axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
        ears = np.argsort(-area / np.maximum(longest, 1e-300), kind="stable")
        cut = next((i for i in ears if area[i] >= -1e-12 and not _holds_another(flat, corners[i], left)), ears[0])
        triangles.append(corners[cut])
        del left[cut]
    return np.array([*triangles, left])


def _holds_another(flat, corner, left):
    """Whether one of the corners ``left`` lies in the triangle ``corner`` or on its edge, other than at its corners."""
    a, b, c = flat[corner]
    others = flat[[i for i in left if i not in corner]]
    others = others[~((others == a).all(axis=1) | (others == b).all(axis=1) | (others == c).all(axis=1))]
    inside = [_cross(q - p, others - p) >= -1e-12 for p, q in ((a, b), (b, c), (c, a))]
    return bool(np.all(inside, axis=0).any())
