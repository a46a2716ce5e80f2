"""Object File Format (OFF), in text: also with colours, normals or texture coordinates (COFF, NOFF, STOFF)."""

import re

from aps_core.geometry.mesh_files.text import arrays, decimal, decode, lines, whole

# Possessive: nothing in a comment is taken for the header, and a file of comments takes time in proportion to it.
HEADER = re.compile(r"(?:\s++|#[^\r\n]*+)*+(?P<kind>(ST)?C?N?(?P<more>4?n?)OFF)(?P<binary>[ \t]+BINARY)?")


def read(content):
    """See ``mesh_files``."""
    text = decode(content)
    found = HEADER.match(text)
    if found is None:
        raise ValueError("expected OFF in its first line that is no comment")
    if found["more"] or found["binary"]:
        raise ValueError(
            f"{found['kind']}{found['binary'] or ''} is not read, expected OFF in text with three coordinates"
        )
    start = len(re.findall(r"\r\n|\r|\n", found[0]))
    rows = [(line + start, words) for line, words in lines(text[found.end() :])]
    if not rows or len(rows[0][1]) < 2:
        raise ValueError("expected the numbers of vertices and faces after OFF")
    n_vertices, n_faces = (whole(word, rows[0][0]) for word in rows[0][1][:2])
    if min(n_vertices, n_faces) < 0 or len(rows) != 1 + n_vertices + n_faces:
        raise ValueError(
            f"it states {n_vertices} vertices and {n_faces} faces, which are {n_vertices + n_faces} lines, but has "
            f"{len(rows) - 1}"
        )
    vertices = [_numbers(words, 3, decimal, line) for line, words in rows[1 : 1 + n_vertices]]
    polygons = []
    for line, (size, *words) in rows[1 + n_vertices :]:
        polygons.append(_numbers(words, whole(size, line), whole, line))
        if any(not 0 <= corner < n_vertices for corner in polygons[-1]):
            raise ValueError(f"line {line}: a face names vertices {polygons[-1]}, expected 0 to {n_vertices - 1}")
    return arrays(vertices, polygons)


def _numbers(words, n, convert, line):
    if n < 0 or len(words) < n:
        raise ValueError(f"line {line}: expected {n} numbers, got {len(words)}")
    return [convert(word, line) for word in words[:n]]
