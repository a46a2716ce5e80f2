"""Training: one loop for every network. ``TRAINERS`` maps the word ``trains`` of a recipe to what trains it;
``refine`` trains on for one measurement."""

from aps_core.training.network_prior import NETWORK_PRIOR
from aps_core.training.posterior import POSTERIOR
from aps_core.training.refine import Refinement, refine
from aps_core.training.subspace_posterior import SUBSPACE_POSTERIOR
from aps_core.training.subspace_prior import SUBSPACE_PRIOR

__all__ = ["TRAINERS", "Refinement", "refine"]

TRAINERS = {
    "posterior": POSTERIOR,
    "subspace-posterior": SUBSPACE_POSTERIOR,
    "network-prior": NETWORK_PRIOR,
    "subspace-prior": SUBSPACE_PRIOR,
}
