"""May it be believed? Diagnosis of single measurements, and corrections where the density is exact."""

from aps_core.metrics.trust.corrections import Correction, importance, latent_mala, metropolis
from aps_core.metrics.trust.diagnosis import Diagnosis, diagnose
from aps_core.metrics.trust.reference import Reference, make_reference

__all__ = [
    "Correction",
    "Diagnosis",
    "Reference",
    "diagnose",
    "importance",
    "latent_mala",
    "make_reference",
    "metropolis",
]
