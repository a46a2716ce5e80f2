"""May it be believed? Diagnosis of single measurements, checks without truth, and corrections where the density is exact."""

from aps_core.metrics.trust.corrections import Correction, importance, latent_mala, metropolis
from aps_core.metrics.trust.diagnosis import Diagnosis, diagnose
from aps_core.metrics.trust.predictive import LeftOut, left_out, misfit
from aps_core.metrics.trust.reference import Reference, make_reference

__all__ = [
    "Correction",
    "Diagnosis",
    "LeftOut",
    "Reference",
    "diagnose",
    "importance",
    "latent_mala",
    "left_out",
    "make_reference",
    "metropolis",
    "misfit",
]
