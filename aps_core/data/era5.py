"""Five real ERA5 2 m temperature fields on the 46 x 90 grid, brought by the user (tier 3).

They are snapshots of hours, not monthly means: observations from outside the distribution
of a prior that was trained on monthly fields.
"""

import numpy as np

from aps_core.data._store import Dataset, Source, check_split
from aps_core.data.temperature import from_kelvin
from aps_core.data.unpacking import read_npz
from aps_core.data.user_folder import user_folder
from aps_core.files import sha256_of
from aps_core.geometry.sphere import LATITUDE, LONGITUDE, SHAPE

FILE = "era5_real_5frames_46x90.npz"

SOURCE = Source(
    name="era5-frames",
    title="ERA5 2 m temperature, five fields of the Dupont et al. data set",
    tier=3,
    shape=SHAPE,
    splits={"test": 5},
    origin=f"brought by the user: {FILE} in $APS_DATA_DIR or in $APS_DATA_DIR/temperature",
    licence="Copernicus licence: free use with attribution; contains modified Copernicus Climate Change Service information",
    citation=(
        "Hersbach et al. (2020), The ERA5 global reanalysis, Q. J. R. Meteorol. Soc. 146, 1999-2049; "
        "Dupont, Teh and Doucet (2022), Generative models as distributions of functions, AISTATS"
    ),
)

HOW_TO_GET = (
    "It is an .npz with `temperature` (n, 46, 90) in K, `latitude` (46,) from +90 to -90 and `longitude` (90,) "
    "from 0 to 356 degrees. Make it from the ERA5 test set of Dupont et al. (2022), or from any ERA5 2 m temperature of "
    "the Copernicus Climate Data Store interpolated to that grid, and set APS_DATA_DIR to the folder that holds it"
)


def find():
    """Path of the file. Raises FileNotFoundError saying what was looked for, where, and how to get it."""
    folder = user_folder()
    if folder is None:
        raise FileNotFoundError(f"{FILE} was not looked for: APS_DATA_DIR is not set. {HOW_TO_GET}")
    places = [folder / FILE, folder / "temperature" / FILE]
    for path in places:
        if path.is_file():
            return path
    looked = " and ".join(str(path) for path in places)
    raise FileNotFoundError(f"{FILE} not found; looked for {looked}. {HOW_TO_GET}")


def check(arrays, path):
    """Raise ValueError unless the arrays are those described in HOW_TO_GET."""
    missing = {"temperature", "latitude", "longitude"} - set(arrays)
    if missing:
        raise ValueError(f"{path} lacks the arrays {sorted(missing)}. {HOW_TO_GET}")
    kelvin = arrays["temperature"]
    if kelvin.dtype.kind != "f":
        raise ValueError(f"temperature in {path} holds {kelvin.dtype}, expected floating-point kelvin")
    if kelvin.ndim != 3 or kelvin.shape[1:] != SHAPE or len(kelvin) == 0:
        raise ValueError(f"temperature in {path} has shape {kelvin.shape}, expected (n, 46, 90) of at least one field")
    for name, expected in (("latitude", LATITUDE), ("longitude", LONGITUDE)):
        if arrays[name].dtype.kind not in "fiu":
            raise ValueError(f"{name} in {path} holds {arrays[name].dtype}, expected degrees")
        if arrays[name].shape != expected.shape or not np.allclose(arrays[name], expected, atol=1e-3):
            raise ValueError(
                f"{name} in {path} starts with {arrays[name].ravel()[:3]}, expected {expected[:3]} ... {expected[-1]}"
            )
    if not np.isfinite(kelvin).all() or kelvin.min() < 150 or kelvin.max() > 350:
        raise ValueError(
            f"temperature in {path} lies in [{kelvin.min()}, {kelvin.max()}], expected kelvin in [150, 350]"
        )
    frame = arrays.get("test_index")
    if frame is not None and (frame.shape != kelvin.shape[:1] or frame.dtype.kind not in "iu"):
        raise ValueError(
            f"test_index in {path} has shape {frame.shape} of {frame.dtype}, expected ({len(kelvin)},) whole numbers, "
            "one for each field"
        )


def load(split="test"):
    """The fields as a Dataset: values (n, 46, 90) float32, index frame (position in the source set).

    Raises FileNotFoundError when the file is not found and ValueError when it has another format.
    """
    check_split(SOURCE.name, split, SOURCE.splits)
    path = find()
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise ValueError(f"{error}. {HOW_TO_GET}") from error
    check(arrays, path)
    n = len(arrays["temperature"])
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=from_kelvin(arrays["temperature"].astype(np.float64)).astype(np.float32),
        index={"frame": np.asarray(arrays.get("test_index", np.arange(n)))},
        sha256=sha256_of(path.read_bytes()),
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )
