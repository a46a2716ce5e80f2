"""What the figures of a run are drawn from, kept beside its record: the pages draw the figures of a full run from it.

One ``.npz`` for a notebook, with the arguments of each drawing function by the figure's name: dicts whose keys are texts,
numbers or tuples of them, lists, tuples (which come back as lists), arrays, numbers, texts, True, False and None. Large
arrays are in half precision where their numbers fit, which a picture cannot tell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aps_core import files
from aps_core.checks import unmasked

LARGE = 4096  # entries, from which on half precision is enough


def file_name(notebook: str) -> str:
    """The file of a notebook's figure data, in the folder of its record."""
    return f"{notebook}.figures.npz"


def packed(figures: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Content of the file for arguments by figure; the same arguments give the same bytes.

    Raises TypeError for an argument that is none of the kinds above, ValueError for a masked array that hides something,
    naming where it stands.
    """
    arrays: list[np.ndarray] = []
    tree = {name: _plain(arguments, name, arrays) for name, arguments in figures.items()}
    content = io.BytesIO()
    stored = {f"a{i}": array for i, array in enumerate(arrays)}
    np.savez_compressed(content, tree=np.frombuffer(json.dumps(tree).encode(), np.uint8), **stored)
    return content.getvalue()


def unpacked(path: str | Path) -> dict[str, dict[str, Any]]:
    """The arguments by figure that a file holds. Raises FileNotFoundError, and ValueError for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "tree"}
            tree = json.loads(file["tree"].tobytes().decode())
        return {name: _filled(node, arrays) for name, node in tree.items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged zips raise errors of many kinds
        raise ValueError(f"{path} is no figure data ({error}); `make full` writes it anew") from error


def of_full_run(notebook: str) -> dict[str, dict[str, Any]]:
    """The arguments by figure of a notebook's full run; empty where none were kept."""
    path = files.find("weights", "results", file_name(notebook))
    return {} if path is None else unpacked(path)


def _plain(value: Any, where: str, arrays: list[np.ndarray]) -> Any:
    """``value`` as JSON, its arrays put into ``arrays``."""
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {"dict": [[_key(key, where), _plain(one, f"{where}, {key!r}", arrays)] for key, one in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_plain(one, f"{where}, {i}", arrays) for i, one in enumerate(value)]}
    array = np.asarray(unmasked(f"figure data {where}", value))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"figure data {where}: {type(value).__name__}, expected arrays, numbers, texts, lists or dicts")
    if array.ndim == 0:
        return array.item()
    arrays.append(_smaller(array))
    return {"array": f"a{len(arrays) - 1}"}


def _key(key: Any, where: str) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, (str, int, float)) for part in parts):
        raise TypeError(f"figure data {where}: key {key!r}, expected a text, a number or a tuple of them")
    return key


def _smaller(array: np.ndarray) -> np.ndarray:
    """A large array in half precision, another in single precision, where a picture cannot tell."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore", under="ignore"):
        half, single = array.astype(np.float16), array.astype(np.float32)
    if array.size >= LARGE and _alike(array, half, 1e-3):
        return half
    return single if _alike(array, single, 1e-6) else array.astype(np.float64)


def _alike(array: np.ndarray, rounded: np.ndarray, tolerance: float) -> bool:
    """Whether rounding moves no number by more than ``tolerance`` of itself (axes may be logarithmic) and of their range;
    what is a millionth of the largest may vanish.
    """
    finite = np.isfinite(array)
    if not np.array_equal(finite, np.isfinite(rounded)):
        return False
    given = array[finite].astype(np.float64)
    error = np.abs(rounded[finite].astype(np.float64) - given)
    span, largest = (np.ptp(given), np.abs(given).max()) if given.size else (0.0, 0.0)
    vanishing = min(1e-6, tolerance / 10) * min(largest, span)
    return bool(np.all(error <= tolerance * np.minimum(np.abs(given), span) + vanishing))


def _filled(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, inside),) = node.items()
    if kind == "array":
        array = arrays[inside]
        return array.astype(np.float32) if array.dtype == np.float16 else array
    if kind == "list":
        return [_filled(one, arrays) for one in inside]
    return {tuple(key) if isinstance(key, list) else key: _filled(one, arrays) for key, one in inside}
