"""Priors p(x). ``KINDS`` maps the ``kind`` in the card of a weights file to the class that reads it."""

from aps_core.priors.base import Prior
from aps_core.priors.modal import ScorePrior
from aps_core.priors.score_network import NetworkPrior
from aps_core.priors.subspace import SubspacePrior

__all__ = ["KINDS", "Prior"]

KINDS = {prior.kind: prior for prior in (ScorePrior, NetworkPrior, SubspacePrior)}
