"""Results of the chapter on joint calibration, kept row by row while a full run goes on: started again after an
interruption, it repeats none of them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from aps_book.experiments.kept import kept
from aps_book.record import stale
from aps_core.metrics.calibration import RankBand
from aps_core.metrics.joint import C2st, Tarp

FOLDER = Path(".build/joint_calibration")
NOTEBOOK = "joint_calibration"


@dataclass(frozen=True)
class Found:
    """What one sampler of one problem was found to be.

    coverage (b, 1 + BANDS): share of the entries, and of the modes of each band, in the 90 % interval of each
    measurement, None where there are too few samples; ranks: RankBand by quantity; tarp: a Tarp or None; c2st: C2st by
    group of features, "all" for all of them.
    """

    coverage: np.ndarray | None
    ranks: dict
    tarp: Any
    c2st: dict


def keeper(**inputs: Any) -> Callable[[str, Callable[[], Mapping[str, Any]]], Mapping[str, Any]]:
    """A function ``keep(name, make)`` that gives the dict of arrays ``make()``; in a full run from the file that an earlier
    one left, where inputs (ready for JSON), code and versions are the same, and else written there.
    """
    if not os.environ.get("APS_FULL_RUN"):
        return lambda name, make: make()

    def keep(name, make):
        told = json.dumps([name, inputs, code(), [metadata.version(p) for p in ("jax", "numpy")]], sort_keys=True)
        return kept(FOLDER / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz", make)

    return keep


@cache
def code() -> str:
    """A digest of all definitions that the notebook reaches; what is only described anew has the same."""
    reached = stale.reached(stale.ROOT / "notebooks" / f"{NOTEBOOK}.py")
    return hashlib.sha256(repr(sorted(reached.items())).encode()).hexdigest()


def packed(found: Found) -> dict[str, Any]:
    """A Found as a flat dict of arrays."""
    arrays = {} if found.coverage is None else {"coverage": found.coverage}
    arrays |= {f"rank.{name}.{k}": v for name, band in found.ranks.items() for k, v in band._asdict().items()}
    if found.tarp is not None:
        arrays |= {f"tarp.{k}": v for k, v in found.tarp._asdict().items() if k != "band"}
        arrays |= {f"band.tarp.{k}": v for k, v in found.tarp.band._asdict().items()}
    return arrays | {f"c2st.{name}": np.array(tuple(told)) for name, told in found.c2st.items()}


def unpacked(arrays: Mapping[str, Any]) -> Found:
    """The Found of ``packed``."""
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in arrays.items():
        kind, _, rest = key.partition(".")
        name, _, field = rest.rpartition(".")
        value = np.asarray(value)
        parts.setdefault((kind, name), {})[field] = value.item() if value.ndim == 0 else value
    ranks = {name: RankBand(**fields) for (kind, name), fields in parts.items() if kind == "rank"}
    tarp = None
    if ("tarp", "") in parts:
        tarp = Tarp(RankBand(**parts["band", "tarp"]), **parts["tarp", ""])
    told = parts.get(("c2st", ""), {})
    c2st = {name: C2st(float(a), float(se), int(n)) for name, (a, se, n) in told.items()}
    return Found(arrays.get("coverage"), ranks, tarp, c2st)
