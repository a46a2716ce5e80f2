"""STL, binary and text. It has triangles of their own corners and no vertices: corners at one place become one vertex,
numbered in the order in which the file comes to them.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from aps_core.geometry.mesh_files.text import decimal, decode, lines

HEADER = 84  # bytes: a comment of 80, then the number of triangles
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
SAME_PLACE = 4e-7  # of the largest coordinate: a few roundings of its four bytes


def read(content):
    """See ``mesh_files``."""
    stated = int.from_bytes(content[80:HEADER], "little")
    if len(content) == HEADER + RECORD.itemsize * stated and len(content) >= HEADER:
        corners = np.frombuffer(content, RECORD, offset=HEADER)["corners"].reshape(-1, 3).astype(np.float64)
    elif decode(content[:1024]).lstrip().lower().startswith("solid") and b"\0" not in content[:1024]:
        corners = _text(decode(content))
    else:
        raise ValueError(
            f"it states {stated} triangles, which take {HEADER + RECORD.itemsize * stated} bytes, but has {len(content)}"
            if len(content) >= HEADER
            else f"it has {len(content)} bytes, expected at least the {HEADER} of a binary header, or text from 'solid'"
        )
    vertices, numbers = weld(corners)
    return vertices, numbers, np.full(len(numbers) // 3, 3)


def weld(corners):
    """Vertices (n, 3) at the different places of ``corners`` (3 m, 3) of m triangles, in the order of their first
    corner, and the vertex number of each corner (3 m,).

    Places closer than a few float32 roundings are one, unless a triangle would lose its area: then only equal ones are.
    """
    if not np.isfinite(corners).all():
        raise ValueError(f"{int((~np.isfinite(corners)).any(axis=1).sum())} corners are not finite")
    places, number = np.unique(corners + 0.0, axis=0, return_inverse=True)  # adding 0 makes -0 the same as 0
    number = number.ravel()
    joined = _joined(places)[number]
    if (_edgeless(joined) == _edgeless(number)).all():
        number = joined
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return corners[np.sort(first)], rank[number.ravel()]


def _joined(places):
    """A number for each place (n,), the same for those that are a few roundings apart."""
    if not len(places):
        return np.empty(0, int)
    pairs = KDTree(places).query_pairs(SAME_PLACE * np.abs(places).max(), output_type="ndarray")
    graph = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
    return connected_components(graph, directed=False)[1]


def _edgeless(number):
    """Which edges (3 m,) of the triangles go from a corner to itself."""
    number = number.reshape(-1, 3)
    return (number == np.roll(number, 1, axis=1)).ravel()


def _text(text):
    """Corners (m, 3) of all solids of a text; its triangles are counted against its "facet" and "endsolid" lines."""
    corners, facets, solids = [], 0, 0
    for line, words in lines(text):
        keyword = words[0].lower()
        if keyword == "vertex":
            if len(words) != 4:
                raise ValueError(f"line {line}: a vertex needs 3 coordinates, got {len(words) - 1}")
            corners.append([decimal(word, line) for word in words[1:]])
        elif keyword == "facet":
            facets += 1
        elif keyword == "endfacet" and len(corners) != 3 * facets:
            raise ValueError(f"line {line}: facet {facets} ends at corner {len(corners)}, expected {3 * facets}")
        elif keyword in ("solid", "endsolid"):
            solids += 1 if keyword == "solid" else -1
    if solids or len(corners) != 3 * facets:
        raise ValueError(f"its text ends early: {len(corners)} corners for {facets} facets, {solids} solids not ended")
    return np.array(corners, np.float64).reshape(-1, 3)
