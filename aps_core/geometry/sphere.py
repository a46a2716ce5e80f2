"""The sphere grid of 46 x 90 cells: coordinates, cell areas, neighbours, orientation.

Row 0 is the north pole, row 45 the south pole, rows are 4 degrees apart; column 0 is
longitude 0, columns are 4 degrees apart and the last one touches the first.
Flat vertex number = 90 * row + column.

Areas and orientation are known of any grid that is laid out in this way, from pole to pole
and once around: the reanalysis' own, 73 x 144 cells of 2.5 degrees, is ``FINE``.
"""

import numpy as np

from aps_core.checks import real, unmasked

SHAPE = (46, 90)
FINE = (73, 144)
LATITUDE = 90.0 - 4.0 * np.arange(46)  # degrees north, +90 to -90
LONGITUDE = 4.0 * np.arange(90)  # degrees east, 0 to 356, periodic

# Below this number of observed cells the orientation cannot be told from real months.
MIN_OBSERVED = 40
# A wrong orientation must explain the data this much better than the right one.
MIN_RATIO = 1.5


def latitude_edges(n_rows=SHAPE[0]):
    """Latitudes (n_rows + 1,) in degrees that bound the rows: of 46 rows 90, 88, 84, ..., -88, -90.

    Each edge is half-way between two rows; the rows of the poles are caps of half a row.
    """
    latitude = 90.0 - 180.0 / (n_rows - 1) * np.arange(n_rows)
    middle = (latitude[:-1] + latitude[1:]) / 2
    return np.concatenate([[90.0], middle, [-90.0]])


def cell_areas(shape=SHAPE):
    """Exact area (*shape,) of each cell on the unit sphere, in steradians; the sum is 4 pi.

    area = (longitude step) * (sin(north edge) - sin(south edge)). Each of the cells in a
    pole row is a sector of the polar cap.
    """
    heights = -np.diff(np.sin(np.deg2rad(latitude_edges(shape[0]))))
    step = 2 * np.pi / shape[1]
    return np.repeat(step * heights[:, None], shape[1], axis=1)


def area_weights(shape=SHAPE):
    """Cell areas (*shape,) divided by their sum: weights of a mean over the globe."""
    return cell_areas(shape) / (4 * np.pi)


def neighbours():
    """Flat numbers (4140, 4) of the neighbours of each cell, in the order north, south, west, east.

    Longitude is periodic. Going north from the northern row crosses the pole and arrives in
    the same row on the opposite meridian; the southern row likewise. Being a neighbour is
    mutual, and every cell has four.
    """
    rows, columns = SHAPE
    number = np.arange(rows * columns).reshape(SHAPE)
    across = np.roll(number, columns // 2, axis=1)
    north = np.concatenate([across[:1], number[:-1]])
    south = np.concatenate([number[1:], across[-1:]])
    west = np.roll(number, 1, axis=1)
    east = np.roll(number, -1, axis=1)
    return np.stack([north, south, west, east], axis=-1).reshape(-1, 4)


def check_orientation(y, mask, climatology):
    """Raise ValueError when the fields `y` are laid out in another way than the grid.

    y: (46, 90) or (batch, 46, 90), or of the climatology's grid, normalised like it, noise allowed.
    mask: same shape, nonzero where observed, or None when every cell is.
    climatology: (12, 46, 90), the mean of each calendar month (`aps_core.data.ncep.monthly_climatology`),
        or of another grid from pole to pole.
        One annual mean is not enough: in northern winter both poles are equally cold.

    Found are transposed axes, from the shape (90, 46), and, from the mean squared residual on
    observed cells to the closest month, a flipped latitude (row 0 in the south) and a longitude
    that starts at 180 degrees instead of 0. The other layout must fit 1.5 times better. With
    fewer than 40 observed cells, or noise well above the climate's contrast of about 0.2,
    the data cannot tell and nothing is raised.
    """
    climatology = np.asarray(climatology, np.float64)
    if climatology.ndim != 3 or climatology.shape[1:] not in (SHAPE, FINE):
        raise ValueError(f"climatology has shape {climatology.shape}, expected (12, 46, 90)")
    shape = rows, columns = climatology.shape[1:]
    y = np.asarray(real("y", y), np.float64)
    if y.shape[-2:] == shape[::-1]:
        raise ValueError(
            f"y has shape {y.shape}: axes are transposed, expected (..., {rows} latitudes, {columns} longitudes)"
        )
    if y.ndim not in (2, 3) or y.shape[-2:] != shape:
        raise ValueError(f"y has shape {y.shape}, expected {shape} or (batch, {rows}, {columns})")
    observed = np.ones(y.shape) if mask is None else np.asarray(unmasked("mask", mask), np.float64)
    if observed.shape != y.shape:
        raise ValueError(f"mask has shape {observed.shape}, expected that of y, {y.shape}")

    y, observed = y.reshape(-1, *shape), observed.reshape(-1, *shape) != 0
    right = _residual(y, observed, climatology)
    wrong = {
        "latitude is flipped: row 0 must be the north pole": climatology[:, ::-1],
        "longitude starts at 180 degrees: column 0 must be longitude 0": np.roll(climatology, columns // 2, axis=2),
    }
    enough = observed.sum(axis=(1, 2)) >= MIN_OBSERVED
    for message, other in wrong.items():
        residual = _residual(y, observed, other)
        bad = np.flatnonzero(enough & (right > MIN_RATIO * residual))
        if bad.size:
            i = bad[0]
            raise ValueError(
                f"y[{i}] fits the climatology better in another layout (mean squared residual {residual[i]:.4f} "
                f"against {right[i]:.4f} as given); {message}"
            )


def _residual(y, observed, climatology):
    """Mean squared difference (batch,) to the closest month, over the observed cells."""
    y = np.where(observed, y, 0).reshape(len(y), -1)
    weights = observed.reshape(len(y), -1).astype(np.float64)
    months = climatology.reshape(len(climatology), -1)
    # |y - c|^2 = |y|^2 - 2 y.c + |c|^2, each over the observed cells.
    squares = (y**2).sum(axis=1)[:, None] - 2 * y @ months.T + weights @ (months**2).T
    return squares.min(axis=1) / np.maximum(weights.sum(axis=1), 1)
