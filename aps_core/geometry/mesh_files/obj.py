"""Wavefront OBJ: the vertices and polygons of all its objects and groups, which share one numbering.

Texture coordinates, normals, colours, materials, lines and points are passed over.
"""

import re

from aps_core.geometry.mesh_files.text import arrays, decimal, decode, lines, whole

CURVED = ("curv", "curv2", "surf")  # free-form geometry, which is not in the polygons


def read(content):
    """See ``mesh_files``. Corners count from 1, or from the end where negative; 0 is refused."""
    vertices, polygons = [], []
    joined = re.sub(r"\\[ \t]*(\r\n|\r|\n)", " ", decode(content))  # a backslash continues the line
    for line, (keyword, *words) in lines(joined):
        if keyword == "v":
            if len(words) < 3:
                raise ValueError(f"line {line}: a vertex needs 3 coordinates, got {len(words)}")
            vertices.append([decimal(word, line) for word in words[:3]])
        elif keyword in ("f", "fo"):
            polygons.append([_corner(word, len(vertices), line) for word in words])
            if len(words) < 3:
                raise ValueError(f"line {line}: a face needs at least 3 corners, got {len(words)}")
        elif keyword in CURVED:
            raise ValueError(f"line {line}: free-form geometry ({keyword}), expected polygons alone")
    for polygon in polygons:
        if max(polygon) >= len(vertices):
            raise ValueError(f"a face names vertex {max(polygon) + 1}, but there are {len(vertices)}")
    return arrays(vertices, polygons)


def _corner(word, n_before, line):
    """Vertex number, from 0, of "v", "v/vt", "v//vn" or "v/vt/vn"."""
    number = whole(word.partition("/")[0], line)
    if number == 0:
        raise ValueError(f"line {line}: a face names vertex 0, but OBJ counts from 1")
    if number < -n_before:
        raise ValueError(f"line {line}: a face names vertex {number}, but only {n_before} stand before it")
    return number - 1 if number > 0 else n_before + number
