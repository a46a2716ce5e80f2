"""Text and numbers of mesh files, with errors that say the line."""

import re

import numpy as np

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def decode(content):
    """Text of bytes in UTF-8 or with a byte-order mark; what is neither, as in old comments, is replaced."""
    coding = next((coding for mark, coding in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(coding, errors="replace")


def lines(text):
    """Numbers, from 1, and words of the lines of ``text`` that are not empty, without comments (# to the end)."""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if words := line.partition("#")[0].split():
            yield number, words


def decimal(word, line):
    """A float. Raises ValueError naming the line; "nan" and "inf" are numbers here and are refused with the mesh."""
    try:
        if "_" not in word:  # Python takes 1_000 for 1000
            return float(word)
    except ValueError:
        pass
    raise ValueError(f"line {line}: expected a number, got {word!r}")


def whole(word, line):
    """An int. Raises ValueError naming the line."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise ValueError(f"line {line}: expected a whole number, got {word!r}")
    return int(word)


def arrays(vertices, polygons):
    """What a reader returns, from lists."""
    sizes = np.array([len(polygon) for polygon in polygons], int)
    corners = np.array([number for polygon in polygons for number in polygon], int)
    return np.array(vertices, np.float64).reshape(-1, 3), corners, sizes
