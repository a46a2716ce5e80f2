"""Temperature fields of the user's own, from CF files (NetCDF, zarr), on the grid of the sphere task.

Read are the files of ERA5 from the Copernicus store, old and new, and what else follows the CF conventions: coordinates
by their attributes or usual names, in any direction and range, packed values, K or degrees C, missing values and those
outside the valid range. Rotated and projected grids are refused.
Needs the extra ``netcdf`` (xarray, h5netcdf, zarr).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aps_core.data._conventions import as_date, check_geographic, date_text, valid_limits
from aps_core.data.temperature import from_kelvin
from aps_core.geometry.regridding import regrid
from aps_core.operators import Measurement

MIN_OBSERVED = 0.5  # share of a cell's area that must be observed, else the cell is missing
MAX_CELLS = 2**27  # of one field: 0.02 degrees
RANGE = (150.0, 350.0)  # K, of anything near the surface of the Earth
DEGREE = ("deg", "deg_", "degree", "degree_", "degrees", "degrees_")  # before N, E, C or K, as UDUNITS writes them
KELVIN = ("k", "kelvin", "kelvins", "degree_kelvin", "degrees_kelvin", *(f"{degree}k" for degree in DEGREE))
CELSIUS = ("c", "celsius", "degree_celsius", "degrees_celsius", "°c", *(f"{degree}c" for degree in DEGREE))
NAMES = {
    "latitude": ("latitude", "lat", "nav_lat"),
    "longitude": ("longitude", "lon", "nav_lon"),
    "time": ("time", "valid_time"),
}
UNITS = {
    "latitude": ("degrees_north", "degree_north", *(f"{degree}n" for degree in DEGREE[2:])),
    "longitude": ("degrees_east", "degree_east", *(f"{degree}e" for degree in DEGREE[2:])),
}
SIGNATURES = {b"CDF\x01": "scipy", b"CDF\x02": "scipy", b"\x89HDF": "h5netcdf"}
OTHERS = {
    b"GRIB": "it is GRIB; ask the store for NetCDF",
    b"PK\x03\x04": "it is a zip; unpack it and give the NetCDF file inside",
    b"CDF\x05": "it is NetCDF in its 64-bit data variant; convert it with `nccopy -k nc4`",
}


@dataclass(frozen=True, eq=False)
class Field:
    """One field on the 46 x 90 grid.

    kelvin: (46, 90) float64 in K, NaN where missing. observed: share of each cell's area that the file covers, (46, 90).
    variable, time: the name in the file and the date as text, "" where the file has none or counts its times by another
    calendar than the usual one. path: the file.
    """

    kelvin: np.ndarray
    observed: np.ndarray
    variable: str
    time: str
    path: str

    @property
    def complete(self):
        """Whether no cell is missing."""
        return bool(np.isfinite(self.kelvin).all())

    @property
    def exact(self):
        """The field (46, 90) float32 in the scale of the task; None where a cell is missing."""
        return from_kelvin(self.kelvin).astype(np.float32) if self.complete else None

    @property
    def measurement(self):
        """The field as a Measurement: y in the scale of the task, 0 where missing, mask 1 where observed."""
        mask = np.isfinite(self.kelvin)
        y = np.where(mask, from_kelvin(np.where(mask, self.kelvin, 0.0)), 0.0)
        return Measurement(y=y.astype(np.float32), mask=mask.astype(np.float32))


def open_field(path, variable=None, time=None, select=None):
    """The Field of one time of a temperature variable in a NetCDF file or zarr store, regridded to the 46 x 90 grid.

    variable: its name; by default the only one in K or degrees C on latitudes and longitudes. time: an index (negative
    from the end), or a date as text or datetime64 that names one time; needed where there are more than one. select:
    {dimension: index} for further dimensions, such as an ensemble's {"number": 0}. Where ERA5 keeps its preliminary
    months apart (dimension expver), the final values come first. Values outside valid_min, valid_max or valid_range are
    missing. Cells are means over their area; a cell of which less than half is observed is missing.

    Raises FileNotFoundError; ImportError without the extra netcdf; TypeError for arguments of another type; ValueError
    that names the file and what was found where it is another kind of file, damaged, ambiguous, in other units, on a
    rotated, projected or unstructured grid, not near the temperatures of the Earth, or without any observed cell.
    """
    if variable is not None and not isinstance(variable, str):
        raise TypeError(f"variable must be a name as text, got {variable!r}")
    if select is not None and not isinstance(select, Mapping):
        raise TypeError(f"select must be a dict {{dimension: index}}, got {select!r}")
    path = Path(path)
    if not (path.is_file() or path.is_dir()):
        raise FileNotFoundError(f"no file {path}; expected a NetCDF file or a zarr store")
    with _open(path) as dataset:  # pyright: ignore[reportOptionalContextManager] (its last try raises)
        try:
            array = _variable(dataset, variable)
            axes = {axis: _coordinate(dataset, array, axis) for axis in ("latitude", "longitude")}
            _check_grid(dataset, array, axes)
            limits = valid_limits(array)
            array, when = _one_time(dataset, array, axes, time)
            array = _one_of_each(array, axes, select or {})
            values = _kelvin(array, _merged([_loaded(part, axes, limits) for part in _parts(array)]))
            means, observed = regrid(dataset[axes["latitude"]].values, dataset[axes["longitude"]].values, values)
        except TypeError as error:
            raise TypeError(f"{path}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except (KeyError, IndexError, OSError, RuntimeError) as error:  # damaged names, lengths or chunks
            raise ValueError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    means[observed < MIN_OBSERVED] = np.nan
    if not np.isfinite(means).any():
        raise ValueError(f"{path}: no cell of 4 degrees has half of its area observed, expected a field with values")
    return Field(means, observed, str(array.name), when, str(path))


def index_or_date(text):
    """What a time given as text says, for ``open_field``: a whole number is an index, but four digits without a sign are
    a year; None for "" and None.
    """
    is_index = re.fullmatch(r"[+-]?[0-9]{1,18}", text or "") and not re.fullmatch(r"[0-9]{4}", text)
    return int(text) if is_index else text or None


def _open(path):
    """An xarray Dataset of the file, nothing loaded yet."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("fields are read with xarray: install aps-core[netcdf]") from error

    if path.is_dir():
        engine = "zarr"
    else:
        with path.open("rb") as file:
            head = file.read(4)
        if head in OTHERS:
            raise ValueError(f"{path}: {OTHERS[head]}")
        if head not in SIGNATURES:
            raise ValueError(f"{path}: begins with {head!r}, expected NetCDF 3 or 4, or the folder of a zarr store")
        engine = SIGNATURES[head]
    options = {"consolidated": False} if engine == "zarr" else {}
    for decode_times in (True, False):  # a calendar that numpy does not have: then times are chosen by index
        try:
            return xarray.open_dataset(
                path, engine=engine, decode_times=decode_times, decode_timedelta=False, **options
            )
        except ImportError as error:
            raise ImportError(f"{path} is read with {engine} ({error}): install aps-core[netcdf]") from error
        except Exception as error:  # each backend raises its own for damaged files
            if not decode_times or "decode" not in str(error):
                raise ValueError(f"{path}: cannot be read by {engine}: {error or type(error).__name__}") from error
    raise ValueError(f"{path}: cannot be read by {engine}")


def _variable(dataset, name):
    """The DataArray to read."""
    found = {
        key: array
        for key, array in dataset.data_vars.items()
        if _units(array) in (*KELVIN, *CELSIUS)
        and all(_names(dataset, array, axis) for axis in NAMES if axis != "time")
    }
    if name is not None:
        if name not in dataset.data_vars:
            raise ValueError(f"variable {name!r} is not in the file, expected one of {sorted(dataset.data_vars)}")
        return dataset[name]
    if len(found) != 1:
        raise ValueError(
            f"variable was not given and {len(found)} variables are in K or degrees C on latitudes and longitudes: "
            f"{sorted(found)} of {sorted(dataset.data_vars)}; name one"
        )
    return next(iter(found.values()))


def _units(array):
    return str(array.attrs.get("units", "")).strip().lower().replace(" ", "_")


def _names(dataset, array, axis):
    """Names of the coordinates of ``array`` that are its ``axis``, by standard name or units, else by usual names."""
    near = [name for name in dataset.variables if set(dataset[name].dims) <= set(array.dims) and name != array.name]
    by_attributes = [
        name
        for name in near
        if dataset[name].attrs.get("standard_name") == axis or _units(dataset[name]) in UNITS.get(axis, ())
    ]
    return by_attributes or [name for name in near if name.lower() in NAMES[axis]]


def _coordinate(dataset, array, axis):
    """Name of the coordinate that is the latitude or longitude of ``array``; it has one dimension."""
    names = [name for name in _names(dataset, array, axis) if dataset[name].ndim > 0]
    if len(names) > 1:  # bounds carry the units too; the coordinate of a dimension is named as it
        names = [name for name in names if name in array.dims] or names
    if len(names) != 1 or dataset[names[0]].ndim != 1:
        shapes = {name: dataset[name].shape for name in names}
        raise ValueError(f"variable {array.name!r} has as {axis} {shapes or 'nothing'}, expected one coordinate (n,)")
    if (units := _units(dataset[names[0]])) not in ("", "degree", "degrees", *UNITS[axis]):
        raise ValueError(f"{names[0]} has units {units!r}, expected {UNITS[axis][0]}")
    return names[0]


def _check_grid(dataset, array, axes):
    """Raise ValueError unless the coordinates make a grid of parallels and meridians."""
    check_geographic(dataset, array, axes)
    (row,), (column,) = (dataset[name].dims for name in axes.values())
    if row == column:
        raise ValueError(
            f"variable {array.name!r} has latitude {axes['latitude']!r} and longitude {axes['longitude']!r} both along "
            f"{row!r} (an unstructured grid of {array.sizes[row]} cells), expected a dimension for each"
        )


def _one_time(dataset, array, axes, time):
    """``array`` at the chosen time, and that time as text."""
    cells = {dataset[name].dims for name in axes.values()}  # along them, times are those of a scan
    names = [n for n in _names(dataset, array, "time") if dataset[n].ndim <= 1 and dataset[n].dims not in cells]
    along = [name for name in names if dataset[name].ndim == 1]
    name = next((n for n in along if n in array.dims), (along or names or [None])[0])
    dimension = (
        dataset[name].dims[0]
        if name and dataset[name].ndim
        else next((d for d in NAMES["time"] if d in array.dims), None)
    )
    if dimension is None:
        if time is not None and not name:
            raise ValueError(f"time is {time!r}, but variable {array.name!r} has no times; leave it out")
        if not name:
            return array, ""
        only = np.atleast_1d(dataset[name].values)
        return array, date_text(only[_index_of_time(only, time)])
    times = dataset[name].values if name and dataset[name].ndim else np.arange(array.sizes[dimension])
    chosen = _index_of_time(times, time)
    return array.isel({dimension: chosen}), date_text(times[chosen])


def _index_of_time(times, time):
    n, span = len(times), f"{str(times[0])[:19]} to {str(times[-1])[:19]}" if len(times) else "none"
    if time is None:
        if n != 1:
            raise ValueError(f"time was not given and there are {n} ({span}); choose one by index or date")
        return 0
    if isinstance(time, (int, np.integer)) and not isinstance(time, bool):
        if not -n <= time < n:
            raise ValueError(f"time is {time}, expected an index of {n} times, {-n} to {n - 1}")
        return int(time) % n
    if not isinstance(time, (str, np.datetime64)):
        raise TypeError(f"time must be an index, a date as text or a datetime64, got {time!r}")
    if times.dtype.kind != "M":
        raise ValueError(
            f"time is {time!r}, but the file's times are no dates that numpy has ({span}); choose by index"
        )
    try:
        wanted = as_date(str(time))
    except ValueError as error:
        raise ValueError(f"time is {time!r}, {error}") from error
    found = np.flatnonzero(times.astype(wanted.dtype) == wanted)
    if len(found) != 1:
        raise ValueError(f"time is {time!r}, which names {len(found)} of the {n} times ({span}), expected one")
    return int(found[0])


def _one_of_each(array, axes, select):
    """``array`` with no dimensions but latitude and longitude, and the parts of ERA5 where they are not chosen from."""
    kept = [array[name].dims[0] for name in axes.values()]
    if strange := [d for d in select if d not in array.dims or d in kept]:
        others = [d for d in array.dims if d not in kept]
        raise ValueError(
            f"select names {strange}, but variable {array.name!r} has the dimensions {array.dims}: expected none but "
            f"{others}, as all latitudes and longitudes are read and a time is chosen by time"
        )
    if "expver" not in select:
        kept.append("expver")
    for dimension in [d for d in array.dims if d not in kept]:
        size = array.sizes[dimension]
        index = select.get(dimension, 0 if size == 1 else None)
        if (
            index is None
            or isinstance(index, bool)
            or not isinstance(index, (int, np.integer))
            or not -size <= index < size
        ):
            raise ValueError(
                f"variable {array.name!r} has {size} entries along {dimension!r}, select says {index}; choose one, such as "
                f"select={{{dimension!r}: 0}}"
            )
        array = array.isel({dimension: int(index)})
    return array


def _parts(array):
    """The final values and the preliminary ones, each (latitudes, longitudes), where ERA5 keeps them apart."""
    if "expver" not in array.dims:
        return [array]
    order = np.arange(array.sizes["expver"])
    if "expver" in array.coords:  # 1 is final, 5 preliminary
        order = np.argsort([str(name) for name in array["expver"].values], kind="stable")
    return [array.isel(expver=int(i)) for i in order]


def _merged(parts):
    """The first values that are not missing, of arrays of one shape."""
    first = parts[0]
    for part in parts[1:]:
        first = np.where(np.isnan(first), part, first)
    return first


def _loaded(array, axes, limits):
    """The values (latitudes, longitudes) float64, NaN where missing or outside of ``limits``, the valid ones."""
    if array.size > MAX_CELLS:
        raise ValueError(f"variable {array.name!r} has {array.size:,} cells, more than the limit of {MAX_CELLS:,}")
    try:
        values = array.transpose(*(array[name].dims[0] for name in axes.values())).values
    except Exception as error:  # each backend raises its own for damaged data
        raise ValueError(f"variable {array.name!r} cannot be read: {error or type(error).__name__}") from error
    if values.dtype.kind not in "fiu":
        raise TypeError(f"variable {array.name!r} holds {values.dtype}, expected real numbers")
    low, high = limits
    if values.dtype.kind == "f":
        rounding = 2 * np.finfo(values.dtype).eps
        low, high = low - rounding * abs(low), high + rounding * abs(high)
    values = values.astype(np.float64)
    return np.where((values >= low) & (values <= high), values, np.nan)


def _kelvin(array, values):
    """Values in K."""
    units = _units(array)
    if units not in (*KELVIN, *CELSIUS):
        raise ValueError(f"variable {array.name!r} has units {array.attrs.get('units')!r}, expected K or degrees C")
    kelvin = values + (273.15 if units in CELSIUS else 0.0)
    seen = kelvin[~np.isnan(kelvin)]
    if seen.size and not (RANGE[0] <= seen.min() and seen.max() <= RANGE[1]):
        raise ValueError(
            f"variable {array.name!r} lies in [{seen.min():.6g}, {seen.max():.6g}] K, expected {RANGE[0]:g} to "
            f"{RANGE[1]:g}: missing values that are not marked (_FillValue), or other units than it states"
        )
    return kelvin
