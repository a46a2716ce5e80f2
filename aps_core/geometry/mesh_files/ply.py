"""PLY (Stanford), text and binary of either byte order: any elements and properties, the polygons and triangle strips.

Colours, normals, texture coordinates and whatever else the elements carry are read over.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from aps_core.geometry.mesh_files.text import BYTE_ORDER_MARKS, decimal, decode, whole

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
TYPES |= {"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"}
FORMATS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
POLYGONS = ("vertex_indices", "vertex_index")


@dataclass
class Element:
    """One element of a header: its name, number of rows, and properties by name: (type of its count or None, type)."""

    name: str
    count: int
    properties: dict = field(default_factory=dict)


def read(content):
    """See ``mesh_files``."""
    order, elements, body, line = _header(content)
    rows = (
        _text_rows(content[body:], elements, line) if order is None else _binary_rows(content[body:], elements, order)
    )
    vertices = np.stack([np.asarray(_column(rows, "vertex", axis), np.float64) for axis in "xyz"], axis=1)
    polygons = []
    for element in (e for e in elements if e.name in ("face", "tristrips") and e.count):
        numbers = rows[element.name][_polygons_of(element)]
        polygons += list(numbers) if element.name == "face" else [t for strips in numbers for t in _of_strips(strips)]
    sizes = np.array([len(p) for p in polygons], int)
    corners = np.concatenate(polygons) if polygons else np.empty(0, int)
    if corners.dtype.kind == "f":
        raise ValueError("its faces hold floating-point numbers, expected the whole numbers of vertices")
    if corners.size and (corners.min() < 0 or corners.max() >= len(vertices)):
        raise ValueError(f"a face names vertex {corners.min()} or {corners.max()}, expected 0 to {len(vertices) - 1}")
    return vertices, corners.astype(int), sizes


def _polygons_of(element):
    """Name of the one list of vertex numbers of an element."""
    found = [name for name in POLYGONS if element.properties.get(name, (None,))[0]]
    if len(found) != 1:
        raise ValueError(
            f"its element {element.name} has the properties {sorted(element.properties)}, expected one list "
            f"{' or '.join(POLYGONS)}"
        )
    return found[0]


def _column(rows, element, name):
    if name not in rows.get(element, {}):
        raise ValueError(f"it has no property {name} of element {element}")
    return rows[element][name]


def _header(content):
    """Byte order (None for text), elements, where the body begins, and how many lines stand before it."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    found = re.match(
        re.escape(mark) + rb"ply[ \t]*(\r\n|\r|\n)(.*?)(^|\r|\n)end_header[ \t]*(\r\n|\r|\n|$)", content, re.DOTALL
    )
    if found is None:
        raise ValueError("expected ply in its first line, and end_header")
    order, elements = "unknown", []
    lines = re.split(r"\r\n|\r|\n", decode(found[2]))
    for line, words in ((number, text.split()) for number, text in enumerate(lines, 2)):
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3 and words[1] in FORMATS:
            order = FORMATS[words[1]]
        elif words[0] == "element" and len(words) == 3 and whole(words[2], line) >= 0:
            if words[1] in (element.name for element in elements):
                raise ValueError(f"line {line} of its header states element {words[1]} again, expected it once")
            elements.append(Element(words[1], whole(words[2], line)))
        elif words[0] == "property" and elements and (known := _property(words[1:])):
            name, kinds = known
            if name in elements[-1].properties:
                raise ValueError(f"line {line} of its header states property {name} again, expected it once")
            elements[-1].properties[name] = kinds
        else:
            raise ValueError(f"line {line} of its header is not understood: {' '.join(words)!r}")
    if order == "unknown":
        raise ValueError(f"its header names no format, expected one of {sorted(FORMATS)}")
    return order, elements, found.end(), len(lines) + 2


def _property(words):
    """(name, (type of the count, type)) of the words after "property", or None."""
    if len(words) == 2 and words[0] in TYPES:
        return words[1], (None, TYPES[words[0]])
    if len(words) == 4 and words[0] == "list" and words[1] in TYPES and words[2] in TYPES:
        return words[3], (TYPES[words[1]], TYPES[words[2]])
    return None


def _text_rows(body, elements, line):
    """{element: {property: its values, arrays for lists}} of a text, one row of an element on each line."""
    lines = [(n, row.split()) for n, row in enumerate(re.split(r"\r\n|\r|\n", decode(body)), line + 1)]
    lines = [(n, words) for n, words in lines if words]
    stated = sum(element.count for element in elements if element.properties)
    if len(lines) != stated:
        raise ValueError(f"its header states {stated} lines, but it has {len(lines)}")
    rows, place = {}, iter(lines)
    for element in elements:
        values = rows[element.name] = {name: [] for name in element.properties}
        for _ in range(element.count if element.properties else 0):
            n, words = next(place)
            at = 0
            for name, (counted, kind) in element.properties.items():
                size = whole(words[at], n) if counted and at < len(words) else 1
                at += counted is not None
                taken = words[at : at + size]
                if size < 0 or len(taken) < size:
                    raise ValueError(f"line {n}: expected {size} numbers for {name}, got {len(taken)}")
                numbers = [decimal(w, n) if kind[0] == "f" else whole(w, n) for w in taken]
                values[name].append(np.array(numbers, float if kind[0] == "f" else int) if counted else numbers[0])
                at += size
            if at != len(words):
                raise ValueError(f"line {n}: expected {at} numbers for a row of {element.name}, got {len(words)}")
    return rows


def _binary_rows(body, elements, order):
    """As ``_text_rows``, of a binary body. Rows whose lists are all as long as those of the first are read at once."""
    rows, at = {}, 0
    for element in elements:
        values = rows[element.name] = {name: [] for name in element.properties}
        if not element.count or not element.properties:
            continue
        row, lists = _layout(body, at, element, order)
        if at + row.itemsize * element.count <= len(body):
            block = np.frombuffer(body, row, element.count, at)
            if all((block[f"n {name}"] == size).all() for name, size in lists.items()):
                rows[element.name] = {name: block[name] for name in element.properties}
                at += row.itemsize * element.count
                continue
        for _ in range(element.count):
            row, _ = _layout(body, at, element, order)
            one = np.frombuffer(body, row, 1, at)[0]
            for name in element.properties:
                values[name].append(one[name])
            at += row.itemsize
    if body[at:].strip():
        raise ValueError(f"it has {len(body) - at} bytes more than its header states")
    return rows


def _layout(body, at, element, order):
    """The numpy type of the row that begins at byte ``at``, and the lengths of its lists."""
    fields, lists, end = [], {}, at
    for name, (counted, kind) in element.properties.items():
        if counted:
            if end + np.dtype(counted).itemsize > len(body):
                raise ValueError(f"it ends within a row of {element.name}")
            size = int(np.frombuffer(body, order + counted, 1, end)[0])
            if size < 0 or counted[0] == "f":
                raise ValueError(f"a list of {element.name} has {size} entries of count type {counted}")
            lists[name] = size
            fields += [(f"n {name}", order + counted), (name, order + kind, (size,))]
            end += np.dtype(counted).itemsize + size * np.dtype(kind).itemsize
        else:
            fields.append((name, order + kind))
            end += np.dtype(kind).itemsize
        if end > len(body):
            raise ValueError(f"it ends within a row of {element.name}, of which its header states {element.count}")
    return np.dtype(fields), lists


def _of_strips(numbers):
    """Triangles of strips of vertex numbers that -1 separates; every second one is turned, so that all face one way."""
    triangles = []
    for strip in np.split(numbers, np.flatnonzero(numbers == -1)):
        strip = strip[strip != -1]
        for i in range(len(strip) - 2):
            a, b, c = strip[i : i + 3]
            if len({a, b, c}) == 3:  # a repeated vertex joins two strips
                triangles.append(np.array([a, b, c] if i % 2 == 0 else [b, a, c]))
    return triangles
