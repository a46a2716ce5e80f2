"""What makes a prior the one that it is, beside its arrays too: its settings, and a digest for the names of kept files."""

import hashlib
import json

import jax
import numpy as np

from aps_core.diffusion import LinearSDE
from aps_core.priors.base import capability


def settings_of(prior):
    """What a learned prior depends on beside its arrays (diffusion, network, times), ready for JSON; of one that no file
    keeps its diffusion alone, where that says what it is.
    """
    if capability(prior, "kind") is not None:
        return prior.settings()
    sde = getattr(prior, "sde", None)
    return {"sde": sde.settings()} if isinstance(sde, LinearSDE) else {}


def digest_of(prior, *arguments):
    """Sixteen hexadecimal digits of a prior's settings and arrays, and of ``arguments``."""
    described = json.dumps(settings_of(prior), sort_keys=True, default=float)
    digest = hashlib.sha256(f"{type(prior).__name__} {described} {arguments!r}".encode())
    for leaf in jax.tree.leaves(prior):
        digest.update(np.asarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:16]
