"""What the CF conventions say of a variable beside its values: which of them are valid, on which grid, and dates."""

import re

import numpy as np

DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?)?)?Z?")
YEARS = range(1678, 2262)  # whole years that datetime64[ns] has; beyond them it overflows without an error
ROTATED = re.compile(r"\brotated\b|\br(lat|lon)\b", re.IGNORECASE)


def as_date(text):
    """A date as text, in UTC, as a datetime64 of the precision that it is written with.

    Raises ValueError for text that is no date, or a date outside the years 1678 to 2261.
    """
    if not DATE.fullmatch(text) or int(text[:4]) not in YEARS:
        raise ValueError(f"expected a date such as '2020-07-01T12:00', of the years {YEARS[0]} to {YEARS[-1]}")
    return np.datetime64(text.removesuffix("Z"))


def date_text(value):
    """A decoded time as text to the second; "" for what is no date that ``as_date`` takes, such as undecoded numbers."""
    value = np.asarray(value)
    text = str(value)[:19]
    return text if value.dtype.kind == "M" and DATE.fullmatch(text) and int(text[:4]) in YEARS else ""


def valid_limits(array):
    """(lowest, highest) valid value of an xarray DataArray, in the units of its decoded values; infinite where not said.

    They are what its attributes valid_min, valid_max and valid_range say, both where both are there. Of packed values
    they are packed too, unless they have the type of the scale and that is wider than the packed one (NetCDF Users Guide,
    Attribute Conventions). Raises ValueError for attributes that are no limits.
    """
    said = {"valid_min": array.attrs.get("valid_min", -np.inf), "valid_max": array.attrs.get("valid_max", np.inf)}
    pairs = [_numbers(array.name, name, value, 1) for name, value in said.items()]
    limits = [_unpacked(array, np.concatenate([pairs[0], [np.inf]]), pairs[0].dtype)]
    limits.append(_unpacked(array, np.concatenate([[-np.inf], pairs[1]]), pairs[1].dtype))
    if "valid_range" in array.attrs:
        both = _numbers(array.name, "valid_range", array.attrs["valid_range"], 2)
        limits.append(_unpacked(array, both, both.dtype))
    lowest, highest = max(low for low, _ in limits), min(high for _, high in limits)
    if lowest > highest:
        raise ValueError(f"variable {array.name!r} states valid values from {lowest:g} to {highest:g}, which are none")
    return lowest, highest


def _numbers(variable, name, value, count):
    """An attribute as ``count`` numbers, in its own type."""
    found = np.atleast_1d(np.asarray(value))
    if found.dtype.kind not in "fiu" or found.shape != (count,) or np.isnan(found).any():
        raise ValueError(f"variable {variable!r} has {name} {value!r}, expected {count} number{'s'[: count - 1]}")
    return found


def _unpacked(array, limits, dtype):
    """(low, high) in the units of the decoded values; half a packed step beyond them, as decoding rounds."""
    packing = {name: array.encoding[name] for name in ("scale_factor", "add_offset") if name in array.encoding}
    stored = np.dtype(array.encoding.get("dtype", array.dtype))
    scale, offset = (float(np.squeeze(packing.get(key, one))) for key, one in (("scale_factor", 1), ("add_offset", 0)))
    limits = limits.astype(np.float64)
    if packing:
        wider = np.result_type(*(np.asarray(value).dtype for value in packing.values()))
        if dtype.newbyteorder("=") == wider and wider.kind == "f" and wider.itemsize > stored.itemsize:
            return tuple(limits.tolist())
    if array.encoding.get("_Unsigned") == "true" and stored.kind == "i":  # stated in the signed type, as stored
        limits = np.where(np.isfinite(limits) & (limits < 0), limits + 2.0 ** (8 * stored.itemsize), limits)
    if stored.kind in "iu":
        limits = limits + np.array([-0.5, 0.5])
    if scale == 0:
        return -np.inf, np.inf
    return tuple((scale * limits + offset)[:: 1 if scale > 0 else -1].tolist())


def check_geographic(dataset, array, axes):
    """Raise ValueError where the coordinates {"latitude": name, "longitude": name} are those of another grid.

    Such are rotated poles and projections, by the standard and long names of the coordinates and by the grid mapping.
    """
    for axis, name in axes.items():
        attrs = dataset[name].attrs
        standard, long = (str(attrs.get(key, "")).strip() for key in ("standard_name", "long_name"))
        if standard.lower() not in ("", axis, axis[:3]) or ROTATED.search(f"{name} {long}"):
            raise ValueError(f"{name} is {standard or long or name!r}, of a rotated or projected grid, expected {axis}")
    for name in _mappings(array, axes):
        if name in dataset.variables:
            _check_mapping(array.name, name, dataset[name].attrs)
        elif not all(_told(dataset[axis].attrs) for axis in axes.values()):
            raise ValueError(f"variable {array.name!r} is on the grid mapping {name!r}, which the file does not have")


def _told(attrs):
    """Whether attributes say that a coordinate is a geographic one."""
    return bool(attrs.get("standard_name")) or str(attrs.get("units", "")).lower() not in ("", "degree", "degrees")


def _mappings(array, axes):
    """Names of the grid mappings of a variable: "crs", or of "crs: x y other: lat lon" the one of the coordinates."""
    words = str(array.attrs.get("grid_mapping", array.encoding.get("grid_mapping", ""))).split()
    if not any(word.endswith(":") for word in words):
        return words
    found = {}
    for word in words:
        if word.endswith(":"):
            found[word[:-1]] = []
        elif found:
            found[list(found)[-1]].append(word)
    return [name for name, of in found.items() if set(of) & set(axes.values())] or list(found)


def _check_mapping(variable, name, attrs):
    mapping = str(attrs.get("grid_mapping_name", "")).strip()
    wkt = str(attrs.get("crs_wkt") or attrs.get("spatial_ref") or "").strip()
    if (mapping or "latitude_longitude").lower() != "latitude_longitude" or (
        not mapping and wkt and not wkt.upper().startswith(("GEOG", "GEOD"))
    ):
        raise ValueError(
            f"variable {variable!r} is on the grid mapping {mapping or wkt[:40]!r} ({name}), expected latitude_longitude"
        )
    if np.any(np.asarray(attrs.get("longitude_of_prime_meridian", 0.0)) != 0):
        raise ValueError(
            f"{name} has longitude_of_prime_meridian {attrs['longitude_of_prime_meridian']}, expected 0 (Greenwich)"
        )
