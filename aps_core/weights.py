"""Trained weights as safetensors beside a JSON card, loaded by name, checked by sha256, never pickled; and what a card says
of the training in words.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from aps_core import files
from aps_core.files import sha256_of, write_atomically


class WeightsError(ValueError):
    """A weights file or its card is truncated, altered or does not fit."""


def folders():
    """Where weights are looked for, in order: APS_WEIGHTS_DIR, the repository, the installed package."""
    own = os.environ.get("APS_WEIGHTS_DIR")
    return ([Path(own)] if own else []) + files.folders("weights")


def find(name):
    """Path of the safetensors file of ``name`` (a name such as "sphere-impute-held-out", or a path).

    Raises FileNotFoundError that says where it was looked for and what there is, TypeError for what is no name.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"weights must be a name or a path, got {name!r:.80}")
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


def save(path, tree, card, dtype=np.float32):
    """Write the nested dict of arrays ``tree`` to ``path`` (.safetensors) and ``card`` beside it, with the sha256 added
    to the card.

    dtype: what floating-point arrays are stored as (float16 for what is shipped at half size). Vectors stay float32:
    they are small, and variances among them lie below what float16 resolves.

    Raises ValueError for a path of another suffix, another dtype than float16, float32 and float64, and an array that
    holds NaN or infinity or would in that dtype, naming it.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"path of weights {str(path)!r}: expected a name that ends in .safetensors; the card gets .json"
        )
    if np.dtype(dtype) not in (np.float16, np.float32, np.float64):
        raise ValueError(f"dtype of weights must be float16, float32 or float64, got {np.dtype(dtype)}")
    flat = {key: np.asarray(value) for key, value in flatten_dict(tree, sep="/").items()}
    flat = {key: np.ascontiguousarray(_stored(key, v, dtype)) for key, v in flat.items()}
    content = save_safetensors(flat)
    card = {**card, "file": path.name, "bytes": len(content), "sha256": sha256_of(content)}
    card_content = (json.dumps(card, indent=2) + "\n").encode()  # may raise: before anything is written
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), card_content)
    return card


def _stored(key, array, dtype):
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        stored = array.astype(dtype if array.ndim > 1 else np.float32)
    if not np.all(np.isfinite(stored)):
        largest = np.abs(array).max(initial=0.0)
        raise ValueError(
            f"weights {key} hold numbers up to {largest:g}, expected finite ones that {stored.dtype} can hold; dtype=np.float32 "
            "holds larger ones than float16"
        )
    return stored


def load_card(name):
    """The card of the weights ``name``. Raises FileNotFoundError when they or it are missing, WeightsError when it is
    not valid.
    """
    path = find(name)
    card_path = path.with_suffix(".json")
    if not card_path.is_file():
        raise FileNotFoundError(f"weights {path.name} have no card: {card_path} is missing")
    try:
        card = json.loads(card_path.read_text("utf-8"))
        if not isinstance(card["sha256"], str) or type(card["bytes"]) is not int:
            raise TypeError(
                f"bytes = {card['bytes']!r:.80} and sha256 = {card['sha256']!r:.80}, expected a number and a text"
            )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"the card {card_path.name} is not valid: {error!r}") from error
    return card


def load(name):
    """(nested dict of float32 arrays, card) of the weights ``name``.

    Raises FileNotFoundError when the file or its card is missing, WeightsError when either is truncated or altered.
    """
    path, card = find(name), load_card(name)
    expected_bytes, expected_sha = card["bytes"], card["sha256"]
    content = path.read_bytes()
    if len(content) != expected_bytes:
        raise WeightsError(
            f"weights {path.name} are truncated or altered: {len(content)} bytes, the card says {expected_bytes}"
        )
    sha = sha256_of(content)
    if sha != expected_sha:
        raise WeightsError(
            f"weights {path.name} are altered: sha256 {sha[:12]}..., the card says {expected_sha[:12]}..."
        )
    try:
        flat = load_safetensors(content)
    except Exception as error:  # a KeyError for bfloat16, for which NumPy has no numbers, and others of its own
        raise WeightsError(
            f"weights {path.name} hold what cannot be read: {error!r}; expected arrays of float16, float32 or integers"
        ) from error
    bad = [key for key, v in flat.items() if v.dtype.kind not in "biuf" or not np.all(np.isfinite(v))]
    if bad:
        raise WeightsError(f"weights {path.name} hold NaN, infinity or no real numbers in {', '.join(bad[:5])}")
    flat = {key: v.astype(np.float32) if v.dtype.kind == "f" else v for key, v in flat.items()}
    return unflatten_dict(flat, sep="/"), card


def check_arrays(name, tree, expected):
    """Raise WeightsError, naming it, for an array of ``tree`` that is missing, unknown or of another shape than in
    ``expected``, a nested dict of arrays or of their shapes.
    """
    shapes, wanted = (
        {key: np.shape(v) for key, v in flatten_dict(t, sep="/").items()}  # pyright: ignore[reportCallIssue]
        for t in (tree, expected)
    )
    missing, unknown = sorted(wanted.keys() - shapes.keys()), sorted(shapes.keys() - wanted.keys())
    other = [
        f"{key} {shapes[key]}, expected {wanted[key]}" for key in wanted if shapes.get(key, wanted[key]) != wanted[key]
    ]
    for what, found in (("lack", missing), ("hold the unknown", unknown), ("have other shapes:", other)):
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise WeightsError(
                f"weights {str(name)!r} do not fit the flow of their card: they {what} {', '.join(found[:5])}{more}"
            )


def trained_by(card):
    """What trained the flow of ``card``, such as "reverse divergence, measurements only".

    Weights that went on from others name those too. Without a recipe nothing was trained: "nothing". Raises KeyError
    for a card whose start is not told (``start_trained_by``).
    """
    if "recipe" not in card:
        return "nothing"
    kl, share, drawn, _ = _objective(card)
    source = "draws of the prior" if drawn else "training signals"
    if kl == "reverse":
        frozen = ", a part of the network frozen" if card["recipe"].get("optimizer", {}).get("frozen") else ""
        own = f"reverse divergence, measurements only{frozen}"
    elif kl == "forward":
        tied = card["recipe"].get("objective", {}).get("tweedie_weight")
        own = f"forward divergence, {source}" + (", mean tied to Tweedie's estimate in denoising" if tied else "")
    else:
        own = f"{share:.0%} forward, {1 - share:.0%} reverse divergence".replace("%", " %")
    before = _begun(card) or own
    return own if before == own else f"{own}; started from {before}"


class Training(NamedTuple):
    """What a card says of the training: divergence ("forward", "reverse", "mixture"), share of the forward one, whether
    its signals are draws of the prior, protocol, and what had trained the weights that it went on from (None without).
    """

    kl: str
    share: float
    drawn: bool
    protocol: str
    begun: str | None


def training_of(card):
    """The Training of a ``card`` that has a recipe."""
    return Training(*_objective(card), _begun(card))


def _begun(card):
    """What had trained the weights that training went on from; None without such."""
    return card["start_trained_by"] if "start" in card["recipe"] else card.get("start_trained_by")


def _objective(card):
    """Divergence, share of the forward one, whether its signals are draws of the prior, and protocol."""
    recipe = card["recipe"]
    given, subspace = recipe.get("objective", {}), recipe.get("flow", {}).get("kind") == "subspace"
    kl = given.get("kl", "mixture" if subspace else "reverse")
    # a SubspaceFlow takes training signals where no draws are asked for, the others always draw
    drawn = bool(given.get("draws")) or not subspace
    return kl, given.get("forward_share", 0.5), drawn, given.get("protocol", "held-out")
