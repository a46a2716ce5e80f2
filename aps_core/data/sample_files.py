"""Posterior samples of temperature fields as CF NetCDF, to be opened by any program that reads fields.

Needs xarray, of the extra ``netcdf``.
"""

import numpy as np

from aps_core.checks import floating, has, real
from aps_core.data._conventions import as_date
from aps_core.data.temperature import from_kelvin, to_kelvin
from aps_core.files import write_atomically
from aps_core.geometry.sphere import LATITUDE, LONGITUDE, SHAPE, latitude_edges

AXES = {
    "realization": {"standard_name": "realization", "long_name": "posterior sample"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y", "bounds": "latitude_bounds"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X", "bounds": "longitude_bounds"},
}
PHYSICAL = (0.0, 1000.0)  # K; samples beyond are in another scale
TEMPERATURE = {"standard_name": "air_temperature", "units": "K", "cell_methods": "area: mean"}


def write_samples(path, samples, measurement=None, time="", **attributes):
    """Write ``samples`` (n, 46, 90), in the scale of the sphere task, to ``path`` as CF-1.11 NetCDF 3; returns the path.

    The file has air_temperature (realization, latitude, longitude) in K as float32, bounds of the cells, and the
    ``measurement`` they belong to as measured_temperature, NaN where missing. time: a date as text or datetime64, kept as
    a scalar coordinate; none where it is "". attributes: further text or numbers that the file shall state, such as
    sigma_y or the weights' name. Raises TypeError or ValueError for other arrays, for samples in another scale, such as kelvin,
    and for a time that is no date of the years 1678 to 2261, and ImportError without the extra netcdf.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError("samples are written with xarray: install aps-core[netcdf]") from error

    samples = floating("samples", real("samples", samples))
    if samples.ndim != 3 or samples.shape[1:] != SHAPE or len(samples) == 0 or not np.isfinite(samples).all():
        raise ValueError(f"samples has shape {samples.shape}, expected (n, 46, 90) finite numbers")
    low, high = from_kelvin(np.array(PHYSICAL))
    if samples.min() < low or samples.max() > high:
        raise ValueError(
            f"samples range from {samples.min():.4g} to {samples.max():.4g}, expected the scale of the sphere task, between "
            f"{low:.4g} and {high:.4g}: (T - 202.66 K) / 118.27 K"
        )
    variables = {"air_temperature": (tuple(AXES), to_kelvin(samples).astype(np.float32), TEMPERATURE)}
    if measurement is not None:
        variables["measured_temperature"] = (("latitude", "longitude"), _measured(measurement), TEMPERATURE)
    edges = latitude_edges()
    variables["latitude_bounds"] = (("latitude", "bound"), np.stack([edges[:-1], edges[1:]], axis=1))
    variables["longitude_bounds"] = (("longitude", "bound"), np.stack([LONGITUDE - 2, LONGITUDE + 2], axis=1))
    values = {"realization": np.arange(len(samples), dtype=np.int32), "latitude": LATITUDE, "longitude": LONGITUDE}
    coordinates = {name: (name, values[name], attrs) for name, attrs in AXES.items()}
    if time is not None and time != "":
        coordinates["time"] = ((), _date(path, time), {"standard_name": "time"})
    said = {"Conventions": "CF-1.11", "title": "Posterior samples of a temperature field", "source": "aps_core"}
    dataset = xarray.Dataset(variables, coordinates, {**said, **attributes})
    no_fill = {name: {"_FillValue": None} for name in [*coordinates, "latitude_bounds", "longitude_bounds"]}
    return write_atomically(path, bytes(dataset.to_netcdf(engine="scipy", encoding=no_fill)))


def _measured(measurement):
    """Its values in K (46, 90) float32, NaN where missing."""
    has("measurement", measurement, ["y", "mask"], "a Measurement, or None")
    y = np.asarray(measurement.y)
    if y.shape != SHAPE:
        raise ValueError(f"measurement has y of shape {y.shape}, expected (46, 90)")
    mask = np.ones(SHAPE) if measurement.mask is None else np.asarray(measurement.mask)
    return np.where(mask > 0, to_kelvin(y), np.nan).astype(np.float32)


def _date(path, time):
    """``time`` as datetime64[ns]."""
    if not isinstance(time, (str, np.datetime64)):
        raise TypeError(f"{path}: time must be a date as text or a datetime64, got {time!r}")
    try:
        return as_date(str(time)).astype("M8[ns]")
    except ValueError as error:
        raise ValueError(f"{path}: time is {time!r}, {error}") from error
