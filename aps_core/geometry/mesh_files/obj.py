"""Wavefront OBJ: the vertices and polygons of all its objects and groups, which share one numbering.

Texture coordinates, normals, colours, materials, lines and points are passed over. Statements that are not known, or
that bring geometry of another kind, are refused: what they hold would be missing.
"""

import re

from aps_core.geometry.mesh_files.text import arrays, decimal, decode, whole

CURVED = ("curv", "curv2", "surf", "bsp", "bzp", "cdc", "cdp", "res")  # free-form geometry, not in the polygons
NUMBERS = ("v", "f", "fo", "l", "p", "vt", "vn", "vp", *CURVED)  # of these alone a backslash continues the line
PASSED = (
    *("g", "o", "s", "mg", "l", "p", "vt", "vn", "vp", "usemtl", "mtllib", "usemap", "maplib"),
    *("bevel", "c_interp", "d_interp", "lod", "shadow_obj", "trace_obj", "ctech", "stech"),
    *("cstype", "deg", "bmat", "step", "parm", "trim", "hole", "scrv", "sp", "end", "con"),  # details of CURVED
)
STATEMENTS = {*NUMBERS, *PASSED}


def read(content):
    """See ``mesh_files``. Corners count from 1, or from the end where negative; 0 is refused."""
    vertices, polygons = [], []
    for line, (keyword, *words) in _statements(decode(content)):
        if keyword == "v":
            vertices.append(_vertex(words, line))
        elif keyword in ("f", "fo"):
            polygons.append([_corner(word, len(vertices), line) for word in words])
            if len(words) < 3:
                raise ValueError(f"line {line}: a face needs at least 3 corners, got {len(words)}")
        elif keyword in CURVED:
            raise ValueError(f"line {line}: free-form geometry ({keyword}), expected polygons alone")
        elif keyword not in PASSED:
            raise ValueError(
                f"line {line}: {keyword[:40]!r} is no statement that is known; expected v, f, and those that can be "
                "passed over, such as vt, vn, g, o, s and usemtl, in small letters"
            )
    for polygon in polygons:
        if max(polygon) >= len(vertices):
            raise ValueError(f"a face names vertex {max(polygon) + 1}, but there are {len(vertices)}")
    return arrays(vertices, polygons)


def _statements(text):
    """The number of its first line, from 1, and the words of each statement, without comments (# to the end).

    Names and paths may end with a backslash, and so may comments: only statements of numbers go on in the next line.
    """
    rows = enumerate((line.partition("#")[0].rstrip() for line in re.split(r"\r\n|\r|\n", text)), 1)
    for line, row in rows:
        words = row.split()
        if words and words[0].rstrip("\\") in NUMBERS:
            parts = [row]
            while parts[-1].endswith("\\"):
                parts[-1] = parts[-1][:-1]
                parts.append(next(rows, (0, ""))[1])
            words = " ".join(parts).split()
            if swallowed := STATEMENTS.intersection(words[1:]):
                raise ValueError(f"line {line}: it goes on with a statement of its own, {sorted(swallowed)[0]}")
        if words:
            yield line, words


def _vertex(words, line):
    """Coordinates of "x y z", which a weight, a colour or both may follow."""
    if len(words) < 3:
        raise ValueError(f"line {line}: a vertex needs 3 coordinates, got {len(words)}")
    if len(words) > 8:
        raise ValueError(f"line {line}: a vertex has {len(words)} numbers, expected at most 8: x y z w r g b a")
    return [decimal(word, line) for word in words][:3]


def _corner(word, n_before, line):
    """Vertex number, from 0, of "v", "v/vt", "v//vn" or "v/vt/vn"."""
    first, *others = word.split("/")
    number = whole(first, line)
    if len(others) > 2:
        raise ValueError(f"line {line}: a corner {word!r}, expected v, v/vt, v//vn or v/vt/vn")
    for other in filter(None, others):
        whole(other, line)
    if number == 0:
        raise ValueError(f"line {line}: a face names vertex 0, but OBJ counts from 1")
    if number < -n_before:
        raise ValueError(f"line {line}: a face names vertex {number}, but only {n_before} stand before it")
    return number - 1 if number > 0 else n_before + number
