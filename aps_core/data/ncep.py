"""Monthly mean air temperature, NCEP/NCAR reanalysis 1, on the 46 x 90 grid.

Splits are whole years: test is January 2006 to February 2026 (242 months); of the years before, every eighth (1948,
1956, ..., 2004) is val (96 months) and the others are train (600); train+val is all of them. Spreading val over the
decades keeps the years nearest to test in train: without 1996-2005 the Gaussian posterior of test months loses 0.36 dB.
The file is made by `make_ncep`.

Values are x = (T - 202.66 K) / 118.27 K. The scale is that of another data set, so a few
Antarctic cells lie slightly below 0 (39 of 3.9 million, down to -0.02). They are kept:
clipping would distort the statistics of exactly the coldest cells.
"""

from pathlib import Path

import numpy as np

from aps_core.data._store import Dataset, Source, check_split, read_checked
from aps_core.geometry.sphere import SHAPE

FILE = Path(__file__).with_name("ncep_temperature.npz")
LAST_TRAINING_YEAR = 2005
SELECT = {
    "train": lambda year: (year <= LAST_TRAINING_YEAR) & (year % 8 != 4),
    "val": lambda year: (year <= LAST_TRAINING_YEAR) & (year % 8 == 4),
    "train+val": lambda year: year <= LAST_TRAINING_YEAR,
    "test": lambda year: year > LAST_TRAINING_YEAR,
}

SOURCE = Source(
    name="ncep-temperature",
    title="NCEP/NCAR reanalysis 1, monthly mean air temperature at sigma 0.995, Jan 1948 - Feb 2026",
    tier=1,
    shape=SHAPE,
    splits={"train": 600, "val": 96, "train+val": 696, "test": 242},
    origin="embedded; made by scripts.data.make_ncep from the sdist pyunicorn==1.0.0 (air.mon.mean.nc)",
    licence="Public domain (work of the US government); NOAA PSL asks to be acknowledged",
    citation=(
        "Kalnay et al. (1996), The NCEP/NCAR 40-year reanalysis project, Bull. Amer. Meteor. Soc. 77, 437-470. "
        "NCEP-NCAR Reanalysis 1 data provided by the NOAA PSL, Boulder, Colorado, USA"
    ),
    bytes=6941083,
    sha256="be48f1b9090601cac03ef6bd5503431c94d85416b8d89224d86e0f051c41f418",
)


def load(split):
    """The months of `split` as a Dataset: values (n, 46, 90), index year and month.

    Raises ValueError for an unknown split or an altered file, FileNotFoundError for a missing one.
    """
    check_split(SOURCE.name, split, SELECT)
    remedy = "reinstall the package or make it again with `python -m scripts.data.make_ncep`"
    arrays = read_checked(FILE, SOURCE.sha256, remedy)
    chosen = SELECT[split](arrays["year"])
    codes = arrays["codes"][chosen].astype(np.float32)
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=codes * np.float32(arrays["step"]) - np.float32(arrays["offset"]),
        index={"year": arrays["year"][chosen].astype(int), "month": arrays["month"][chosen].astype(int)},
        sha256=SOURCE.sha256,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


def monthly_climatology(dataset):
    """Mean field (12, 46, 90) float32 of each calendar month, January first.

    Raises ValueError when a calendar month does not occur in `dataset`.
    """
    month = dataset.index["month"]
    missing = sorted(set(range(1, 13)) - set(month.tolist()))
    if missing:
        raise ValueError(f"split {dataset.split!r} of {dataset.name} has no month {missing[0]}; use train or train+val")
    means = [dataset.values[month == m].mean(axis=0, dtype=np.float64) for m in range(1, 13)]
    return np.stack(means).astype(np.float32)
