"""Scale and grid shared by the temperature data sets (those of Dupont et al. 2022)."""

import numpy as np

T_MIN = 202.66  # K, coldest value of the Dupont et al. data set
T_MAX = 320.93  # K, warmest value
T_SPAN = 118.27  # K
SHAPE = (46, 90)
LATITUDE = 90.0 - 4.0 * np.arange(46)  # degrees north, +90 to -90
LONGITUDE = 4.0 * np.arange(90)  # degrees east, 0 to 356, periodic


def to_kelvin(x):
    """Temperature in K of a normalised value: T = 202.66 + 118.27 x."""
    return T_MIN + T_SPAN * np.asarray(x)


def from_kelvin(kelvin):
    """Normalised value of a temperature in K: x = (T - 202.66) / 118.27."""
    return (np.asarray(kelvin) - T_MIN) / T_SPAN
