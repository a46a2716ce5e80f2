"""Temperature fields of the user's own, from CF files (NetCDF, zarr), on the grid of the sphere task.

Read are the files of ERA5 from the Copernicus store, old and new, and what else follows the CF conventions: coordinates
by their attributes or usual names, in any direction and range, packed values, K or degrees C, missing values.
Needs the extra ``netcdf`` (xarray, h5netcdf, zarr).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aps_core.data.temperature import from_kelvin
from aps_core.geometry.regridding import regrid
from aps_core.operators import Measurement

MIN_OBSERVED = 0.5  # share of a cell's area that must be observed, else the cell is missing
MAX_CELLS = 2**27  # of one field: 0.02 degrees
RANGE = (150.0, 350.0)  # K, of anything near the surface of the Earth
KELVIN = ("k", "kelvin", "kelvins", "degk", "deg_k", "degree_kelvin", "degrees_kelvin")
CELSIUS = ("c", "celsius", "degc", "deg_c", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius", "°c")
NAMES = {
    "latitude": ("latitude", "lat", "nav_lat"),
    "longitude": ("longitude", "lon", "nav_lon"),
    "time": ("time", "valid_time"),
}
UNITS = {
    "latitude": ("degrees_north", "degree_north", "degree_n", "degrees_n"),
    "longitude": ("degrees_east", "degree_east", "degree_e", "degrees_e"),
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
    variable, time: the name in the file and the time as text, "" where it has none. path: the file.
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
    months apart (dimension expver), the final values come first. Cells are means over their area; a cell of which less
    than half is observed is missing.

    Raises FileNotFoundError; ImportError without the extra netcdf; ValueError that names the file and what was found
    where it is another kind of file, damaged, ambiguous, in other units, not near the temperatures of the Earth, or
    without any observed cell.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}; expected a NetCDF file or a zarr store")
    with _open(path) as dataset:  # pyright: ignore[reportOptionalContextManager] (its last try raises)
        try:
            array = _variable(dataset, variable)
            axes = {axis: _coordinate(dataset, array, axis) for axis in ("latitude", "longitude")}
            array, when = _one_time(dataset, array, time)
            array = _one_of_each(array, axes, select or {})
            values = _kelvin(array, _loaded(array, axes))
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


def _one_time(dataset, array, time):
    """``array`` at the chosen time, and that time as text."""
    names = [name for name in _names(dataset, array, "time") if dataset[name].ndim <= 1]
    along = [name for name in names if dataset[name].ndim == 1]
    name = next((n for n in along if n in array.dims), (along or names or [None])[0])
    dimension = (
        dataset[name].dims[0]
        if name and dataset[name].ndim
        else next((d for d in NAMES["time"] if d in array.dims), None)
    )
    if dimension is None:
        if time is not None:
            raise ValueError(f"time is {time!r}, but variable {array.name!r} has no times; leave it out")
        return array, str(dataset[name].values)[:19] if name else ""
    times = dataset[name].values if name else np.arange(array.sizes[dimension])
    chosen = _index_of_time(times, time)
    return array.isel({dimension: chosen}), str(times[chosen])[:19] if name else ""


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
        wanted = np.datetime64(time)
        found = np.flatnonzero(times.astype(wanted.dtype) == wanted)
    except ValueError as error:
        raise ValueError(f"time is {time!r}, expected a date such as '2020-07-01T12:00' ({error})") from error
    if len(found) != 1:
        raise ValueError(f"time is {time!r}, which names {len(found)} of the {n} times ({span}), expected one")
    return int(found[0])


def _one_of_each(array, axes, select):
    """``array`` with no dimensions but latitude and longitude."""
    rows, columns = (array[name].dims[0] for name in axes.values())
    if strange := set(select) - set(array.dims):
        raise ValueError(f"select names {sorted(strange)}, but variable {array.name!r} has the dimensions {array.dims}")
    if "expver" in array.dims and "expver" not in select:
        parts = sorted(
            range(array.sizes["expver"]),
            key=lambda i: str(array["expver"].values[i]) if "expver" in array.coords else i,
        )
        merged = array.isel(expver=parts[0])
        for part in parts[1:]:  # 1 is final, 5 preliminary
            merged = merged.fillna(array.isel(expver=part))
        array = merged.assign_attrs(array.attrs).rename(array.name)
    for dimension in [d for d in array.dims if d not in (rows, columns)]:
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


def _loaded(array, axes):
    """The values (latitudes, longitudes), NaN where missing."""
    if array.size > MAX_CELLS:
        raise ValueError(f"variable {array.name!r} has {array.size:,} cells, more than the limit of {MAX_CELLS:,}")
    try:
        values = array.transpose(*(array[name].dims[0] for name in axes.values())).values
    except Exception as error:  # each backend raises its own for damaged data
        raise ValueError(f"variable {array.name!r} cannot be read: {error or type(error).__name__}") from error
    if values.dtype.kind not in "fiu":
        raise TypeError(f"variable {array.name!r} holds {values.dtype}, expected real numbers")
    return values.astype(np.float64)


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
