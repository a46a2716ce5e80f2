"""Trained weights as safetensors beside a JSON card; loaded by name, checked by sha256, never pickled."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

REPOSITORY = Path(__file__).resolve().parent.parent / "weights"
INSTALLED = Path(__file__).resolve().parent / "_weights"


class WeightsError(ValueError):
    """A weights file or its card is truncated, altered or does not fit."""


def folders():
    """Where weights are looked for, in order: APS_WEIGHTS_DIR, the repository, the installed package."""
    own = os.environ.get("APS_WEIGHTS_DIR")
    return ([Path(own)] if own else []) + [REPOSITORY, INSTALLED]


def find(name):
    """Path of the safetensors file of ``name`` (a name such as "sphere-impute-held-out", or a path).

    Raises FileNotFoundError that says where it was looked for and what there is.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        candidates = [path]
    else:
        candidates = [folder / f"{name}.safetensors" for folder in folders()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted({p.stem for folder in folders() if folder.is_dir() for p in folder.glob("*.safetensors")})
    looked = ", ".join(str(c) for c in candidates)
    raise FileNotFoundError(f"no weights {str(name)!r}: looked for {looked}; there are {known or 'none'}")


def write_bytes(path, content):
    """Write to a temporary name beside ``path``, then rename: nothing is left half-written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save(path, tree, card, dtype=np.float32):
    """Write the nested dict of arrays ``tree`` to ``path`` (.safetensors) and ``card`` beside it, with the sha256 added to the card.

    dtype: what floating-point arrays are stored as (float16 for what is shipped at half size). Vectors stay float32: they are small,
    and variances among them lie below what float16 resolves.
    """
    path = Path(path)
    flat = {key: np.asarray(value) for key, value in flatten_dict(tree, sep="/").items()}
    flat = {key: np.ascontiguousarray(_stored(v, dtype)) for key, v in flat.items()}
    content = save_safetensors(flat)
    card = {**card, "file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    card_content = (json.dumps(card, indent=2) + "\n").encode()  # may raise: before anything is written
    write_bytes(path, content)
    write_bytes(path.with_suffix(".json"), card_content)
    return card


def _stored(array, dtype):
    if array.dtype.kind != "f":
        return array
    return array.astype(dtype if array.ndim > 1 else np.float32)


def load(name):
    """(nested dict of float32 arrays, card) of the weights ``name``.

    Raises FileNotFoundError when the file or its card is missing, WeightsError when either is truncated or altered.
    """
    path = find(name)
    card_path = path.with_suffix(".json")
    if not card_path.is_file():
        raise FileNotFoundError(f"weights {path.name} have no card: {card_path} is missing")
    try:
        card = json.loads(card_path.read_text())
        expected_bytes, expected_sha = card["bytes"], card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"the card {card_path.name} is not valid: {error!r}") from error
    content = path.read_bytes()
    if len(content) != expected_bytes:
        raise WeightsError(f"weights {path.name} are truncated or altered: {len(content)} bytes, the card says {expected_bytes}")
    sha = hashlib.sha256(content).hexdigest()
    if sha != expected_sha:
        raise WeightsError(f"weights {path.name} are altered: sha256 {sha[:12]}..., the card says {expected_sha[:12]}...")
    flat = load_safetensors(content)
    flat = {key: v.astype(np.float32) if v.dtype.kind == "f" else v for key, v in flat.items()}
    return unflatten_dict(flat, sep="/"), card
