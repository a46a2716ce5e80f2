"""STL, binary and text. It has triangles of their own corners and no vertices: corners at one place become one vertex,
numbered in the order in which the file comes to them.
"""

import re

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from aps_core.geometry.mesh_files.text import decimal, decode, lines

HEADER = 84  # bytes: a comment of 80, then the number of triangles
RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
SAME_PLACE = 5e-7  # of the size of what lies there: a few roundings of four bytes
ROUNDINGS = 1.5  # float32 steps of a coordinate: one, and not two
LARGEST = float(np.finfo(np.float32).max)


def read(content):
    """See ``mesh_files``."""
    stated = int.from_bytes(content[80:HEADER], "little")
    if len(content) == HEADER + RECORD.itemsize * stated and len(content) >= HEADER:
        corners, in_float32 = np.frombuffer(content, RECORD, offset=HEADER)["corners"].reshape(-1, 3), True
    elif "\0" not in (head := decode(content[:1024])) and head.lstrip().lower().startswith("solid"):
        corners, in_float32 = _text(decode(content))
    elif re.search(rb"s\0+o\0+l\0+i\0+d", content[:64], re.IGNORECASE):
        raise ValueError("it is text in UTF-16 or UTF-32 without its byte-order mark, expected UTF-8")
    else:
        raise ValueError(
            f"it states {stated} triangles, which take {HEADER + RECORD.itemsize * stated} bytes, but has {len(content)}"
            if len(content) >= HEADER
            else f"it has {len(content)} bytes, expected at least the {HEADER} of a binary header, or text from 'solid'"
        )
    vertices, numbers = weld(corners.astype(np.float64), in_float32)
    return vertices, numbers, np.full(len(numbers) // 3, 3)


def weld(corners, in_float32=True):
    """Vertices (n, 3) at the different places of ``corners`` (3 m, 3) of m triangles, in the order of their first
    corner, and the vertex number of each corner (3 m,). Raises ValueError where a corner is not finite.

    Places are one where each coordinate differs by a few float32 roundings of the size of what lies there: the longer
    of the triangles' sides and half the extent of what hangs together without this. Where the numbers are
    ``in_float32``, one rounding of the coordinate itself is allowed besides. Where an edge would shrink to a point,
    only equal places are one.
    """
    if not np.isfinite(corners).all():
        raise ValueError(f"{int((~np.isfinite(corners)).any(axis=1).sum())} corners are not finite")
    places, number = np.unique(corners + 0.0, axis=0, return_inverse=True)  # adding 0 makes -0 the same as 0
    number = _joined(places, number.ravel(), in_float32)
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return corners[np.sort(first)], rank[number.ravel()]


def _joined(places, number, in_float32):
    """From the places (n, 3) and the number of the place of each corner (3 m,): numbers that are the same for places
    which are one.
    """
    if not len(places):
        return number
    tolerance = SAME_PLACE * _size(places, number)[:, None] + np.zeros(3)
    if in_float32:
        tolerance += ROUNDINGS * np.spacing(np.minimum(np.abs(places), LARGEST).astype(np.float32))
    cluster = _components(_near(places, tolerance), len(places))
    ends = number, np.roll(number.reshape(-1, 3), 1, axis=1).ravel()
    shrunk = (ends[0] != ends[1]) & (cluster[ends[0]] == cluster[ends[1]])
    apart = np.isin(cluster, cluster[ends[0][shrunk]])
    return np.where(apart, len(places) + np.arange(len(places)), cluster)[number]


def _size(places, number):
    """What a rounding at each place (n,) is in proportion to: the sides of its triangles, the extent of its part.

    Neither the distance from the origin nor other parts count, which may be as large as they like.
    """
    triangles, size = number.reshape(-1, 3), np.zeros(len(places))
    sides = np.ptp(places[triangles], axis=1).max(axis=1)
    np.maximum.at(size, number, np.repeat(sides, 3))
    part = _components(triangles[:, [0, 1, 1, 2]].reshape(-1, 2), len(places))
    low, high = np.full((part.max() + 1, 3), np.inf), np.full((part.max() + 1, 3), -np.inf)
    np.minimum.at(low, part, places)
    np.maximum.at(high, part, places)
    return np.maximum(size, 0.5 * (high - low).max(axis=1)[part])


def _near(places, tolerance):
    """Pairs (k, 2) of places (n, 3) that are within the smaller ``tolerance`` (n, 3) of both in each coordinate.

    They are searched for from small tolerances to large, so that a large one brings no host of pairs of small ones.
    """
    radius, found = tolerance.max(axis=1), [np.empty((0, 2), int)]
    scale = np.full(len(places), np.iinfo(int).min)
    scale[radius > 0] = np.floor(np.log2(radius[radius > 0]) / 2)
    for step in np.unique(scale[radius > 0]):
        larger = np.flatnonzero(scale >= step)
        tree = KDTree(places[larger])
        pairs = larger[tree.query_pairs(radius[scale == step].max(), p=np.inf, output_type="ndarray")]
        a, b = pairs.T
        near = np.abs(places[a] - places[b]) <= np.minimum(tolerance[a], tolerance[b])
        found.append(pairs[near.all(axis=1)])
    return np.concatenate(found)


def _components(pairs, n):
    """A number for each of n, the same for those that pairs (k, 2) connect."""
    graph = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _text(text):
    """Corners (m, 3) of all solids of a text, and whether float32 holds its numbers to the digits written.

    Its triangles are counted against its "facet" and "endsolid" lines.
    """
    corners, written, facets, solids = [], [], 0, 0
    for line, words in lines(text):
        keyword = words[0].lower()
        if keyword == "vertex":
            if len(words) != 4:
                raise ValueError(f"line {line}: a vertex needs 3 coordinates, got {len(words) - 1}")
            corners.append([decimal(word, line) for word in words[1:]])
            written += [_last_digit(word) for word in words[1:]]
        elif keyword == "facet":
            facets += 1
        elif keyword == "endfacet" and len(corners) != 3 * facets:
            raise ValueError(f"line {line}: facet {facets} ends at corner {len(corners)}, expected {3 * facets}")
        elif keyword in ("solid", "endsolid"):
            solids += 1 if keyword == "solid" else -1
    if solids or len(corners) != 3 * facets:
        raise ValueError(f"its text ends early: {len(corners)} corners for {facets} facets, {solids} solids not ended")
    corners = np.array(corners, np.float64).reshape(-1, 3)
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.abs(corners - corners.astype(np.float32)) > 0.501 * np.reshape(written, (-1, 3))
    return corners, not lost.any()


def _last_digit(word):
    """What one in the last digit of a written number is worth, such as 0.01 of 2.50."""
    mantissa, _, exponent = word.lower().partition("e")
    power = int(exponent) if re.fullmatch(r"[+-]?[0-9]{1,4}", exponent) else 0
    return 10.0 ** max(-400, min(300, power - len(mantissa.partition(".")[2])))
