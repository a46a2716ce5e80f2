"""Scale shared by the temperature data sets (those of Dupont et al. 2022)."""

import numpy as np

from aps_core.checks import real

T_MIN = 202.66  # K, coldest value of the Dupont et al. data set
T_SPAN = 118.27  # K


def to_kelvin(x):
    """Temperature in K of a normalised value: T = 202.66 + 118.27 x; of half precision in single."""
    return T_MIN + T_SPAN * _wide("x", x)


def from_kelvin(kelvin):
    """Normalised value of a temperature in K: x = (T - 202.66) / 118.27.

    Raises ValueError for a masked array that hides something, TypeError for complex numbers, as ``to_kelvin`` does.
    """
    return (_wide("kelvin", kelvin) - T_MIN) / T_SPAN


def _wide(name, value):
    """``value`` as an array of at least single precision: half of it has steps of 0.25 K."""
    array = np.asarray(real(name, value))
    return array.astype(np.float32) if array.dtype.itemsize < 4 and array.dtype.kind != "c" else array
