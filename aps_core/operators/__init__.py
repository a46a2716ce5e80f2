"""Forward operators y = A(x) + noise. Signals have a fixed shape; what an operator draws (a mask) travels with the
data.
"""

from aps_core.operators.base import Operator, dense_matrix, is_of_the_package, kept_by, linear_part, offset, unpack
from aps_core.operators.blur import GaussianBlur
from aps_core.operators.composed import Composed
from aps_core.operators.convolution import Convolution, gaussian_kernel
from aps_core.operators.declared import check_declared, check_same_action, check_unchanged, data_extremes
from aps_core.operators.fourier import FourierSubset, random_frequencies
from aps_core.operators.linearized import Linearized
from aps_core.operators.masks import FixedMask, Identity, RandomMask
from aps_core.operators.measurement import Measurement, log_likelihood, simulate
from aps_core.operators.resampling import AveragePool, BicubicDownsample
from aps_core.operators.saturation import SaturatingSensor
from aps_core.operators.untold import UnknownMask, UnknownNoise

__all__ = [
    "AveragePool",
    "BicubicDownsample",
    "Composed",
    "Convolution",
    "FixedMask",
    "FourierSubset",
    "GaussianBlur",
    "Identity",
    "Linearized",
    "Measurement",
    "Operator",
    "RandomMask",
    "SaturatingSensor",
    "UnknownMask",
    "UnknownNoise",
    "check_declared",
    "check_same_action",
    "check_unchanged",
    "data_extremes",
    "dense_matrix",
    "gaussian_kernel",
    "is_of_the_package",
    "kept_by",
    "linear_part",
    "log_likelihood",
    "make_operator",
    "offset",
    "random_frequencies",
    "simulate",
]

OPERATORS = (
    AveragePool,
    BicubicDownsample,
    Composed,
    Convolution,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    RandomMask,
    SaturatingSensor,
    UnknownMask,
    UnknownNoise,
)


def make_operator(settings):
    """The operator that ``settings`` (its ``settings()``, perhaps read from JSON) describes.

    Raises ValueError for an unknown kind or setting, and what the operator itself raises.
    """
    settings = dict(settings)
    kinds = {operator.kind: operator for operator in OPERATORS}
    kind = settings.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"operator kind must be one of {sorted(kinds)}, got {kind!r}")
    try:
        return kinds[kind](**{name: _from_plain(value) for name, value in settings.items()})
    except TypeError as error:
        if "argument" in str(error):
            raise ValueError(f"operator {kind!r}: {error}") from None
        raise


def _from_plain(value):
    if isinstance(value, dict):
        return unpack(value) if "bits" in value else make_operator(value)
    return tuple(value) if isinstance(value, list) else value
