"""Fields of other latitude-longitude grids on the sphere grid, by the area that cells share (first-order conservative).

A cell of the grid takes the mean of the source over its area, each source cell weighted by the area of the overlap
(Jones 1999, First- and second-order conservative remapping schemes for grids in spherical coordinates, Mon. Wea. Rev.
127, 2204-2210). On a grid of parallels and meridians the overlap is a product: differences of sin(latitude) times
differences of longitude.
"""

import numpy as np

from aps_core.checks import real
from aps_core.geometry.sphere import LATITUDE, LONGITUDE, SHAPE, latitude_edges

ROUNDING = 2e-4  # degrees: single precision has 360 and a fraction to 3e-5
COARSEST = 4.0 + 1e-3  # degrees: a source of larger cells does not say what a cell of the grid is


def regrid(latitude, longitude, values):
    """(means (46, 90), observed fraction of each cell's area (46, 90)) of a field; means are NaN where that is 0.

    latitude (r,) in degrees north, up or down; longitude (c,) in degrees east, in any range of 360 degrees; both centres
    of cells, which reach half-way to the next and half a step beyond the last. values (r, c), NaN where missing; they
    count for neither mean nor fraction. A row at a pole is one place: its cells share one mean. Raises ValueError for
    coordinates that are not monotonic, out of range or coarser than the grid, and for other shapes.
    """
    values = np.asarray(real("values", values), np.float64)
    if values.shape != (np.size(latitude), np.size(longitude)):
        raise ValueError(f"values has shape {values.shape}, expected {(np.size(latitude), np.size(longitude))}")
    latitude, longitude = _degrees("latitude", latitude), _degrees("longitude", longitude)
    longitude, values = _in_order(longitude, values)
    for name, centres in (("latitude", latitude), ("longitude", longitude)):
        _check_steps(name, centres)
    if np.abs(latitude).max() > 90 + ROUNDING:
        raise ValueError(f"latitude reaches {latitude[np.abs(latitude).argmax()]}, expected -90 to 90 degrees")
    longitude, values = _once_around(longitude, values)
    rows = _row_overlaps(latitude)
    columns = _column_overlaps(longitude)
    seen = np.isfinite(values)
    total = rows @ np.where(seen, values, 0) @ np.transpose(columns)
    area = rows @ seen.astype(np.float64) @ np.transpose(columns)
    means = np.divide(total, area, out=np.full(SHAPE, np.nan), where=area > 1e-12)
    for pole in (0, -1):
        if area[pole].sum() > 0:
            means[pole] = np.where(area[pole] > 1e-12, total[pole].sum() / area[pole].sum(), np.nan)
    edges = np.sin(np.deg2rad(latitude_edges()))
    whole = -np.diff(edges)[:, None] * (360 / SHAPE[1])
    return means, np.clip(area / whole, 0, 1)


def _degrees(name, centres):
    """Coordinates (n,) as float64, finite."""
    centres = np.asarray(real(name, centres), np.float64)
    if centres.ndim != 1 or len(centres) < 2:
        raise ValueError(f"{name} has shape {centres.shape}, expected (n,) finite degrees, n at least 2")
    if len(bad := np.flatnonzero(~np.isfinite(centres))):
        raise ValueError(f"{name} has {centres[bad[0]]} at index {bad[0]}, expected finite degrees")
    return centres


def _in_order(longitude, values):
    """Longitudes that start anew in the middle (0 to 180, then -180 to 0) from west to east, and the values with them.

    They begin behind the widest gap, so that a region across the end of the range stays one; where one meridian is there
    twice (180 and -180), at it, so that it closes the circle.
    """
    jumps = np.diff(longitude)
    if (jumps > 0).all() or (jumps < 0).all():
        return longitude, values
    order = np.argsort(longitude % 360)
    around = longitude[order] % 360
    gaps = np.diff(around, prepend=around[-1] - 360)
    twice = np.flatnonzero(gaps < ROUNDING)
    first = int(twice[0] if len(twice) == 1 else np.argmax(gaps))
    return np.append(around[first:], around[:first] + 360), values[:, np.roll(order, -first)]


def _check_steps(name, centres):
    step = np.diff(centres)
    if not ((step > 0).all() or (step < 0).all()):
        raise ValueError(f"{name} is not monotonic: {centres[:3]} ... {centres[-3:]}")
    if np.abs(step).max() > COARSEST:
        raise ValueError(f"{name} has steps of {np.abs(step).max():.4g} degrees, expected at most the grid's 4")


def _once_around(longitude, values):
    """Longitudes from west to east without the column that closes the circle, and the values with them."""
    if longitude[0] > longitude[-1]:
        longitude, values = longitude[::-1], values[:, ::-1]
    span = longitude[-1] - longitude[0]
    if span > 360 + ROUNDING:
        raise ValueError(f"longitude spans {span:.9g} degrees, expected at most 360")
    if span > 360 - ROUNDING:
        first, last = values[:, 0], values[:, -1]
        if not np.allclose(first, last, rtol=1e-5, atol=1e-3, equal_nan=True):
            raise ValueError(
                f"longitudes {longitude[0]:g} and {longitude[-1]:g} are one meridian with different values"
            )
        return longitude[:-1], values[:, :-1]
    return longitude, values


def _edges(centres):
    """Edges (n + 1,) half-way between centres, and half a step beyond the outer ones."""
    middle = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _row_overlaps(latitude):
    """Overlap (46, r) in sin(latitude) of each row of the grid with each row of the source."""
    edges = np.sin(np.deg2rad(np.clip(_edges(latitude), -90, 90)))
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    ours = np.sin(np.deg2rad(latitude_edges()))
    return np.clip(np.minimum(high, ours[:-1, None]) - np.maximum(low, ours[1:, None]), 0, None)


def _column_overlaps(longitude):
    """Overlap (90, c) in degrees of each column of the grid with each column of the source, around the circle."""
    edges = _edges(longitude)
    gap = 360 - (longitude[-1] - longitude[0])
    if gap < 1.5 * np.diff(longitude).max():  # it goes around: the outer cells meet half-way
        edges[0], edges[-1] = longitude[0] - gap / 2, longitude[-1] + gap / 2
    half = (LATITUDE[0] - LATITUDE[1]) / 2  # the grid's cells are square: 4 degrees
    west, east = LONGITUDE[:, None] - half, LONGITUDE[:, None] + half
    turns = np.arange(-2, 3) * 360.0
    offset = -360 * np.floor(edges[0] / 360)
    low, high = edges[:-1] + offset, edges[1:] + offset
    return np.sum([np.clip(np.minimum(high + t, east) - np.maximum(low + t, west), 0, None) for t in turns], axis=0)
