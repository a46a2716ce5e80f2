# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A field of your own
#
# You have a temperature field in a NetCDF file or a zarr store, with gaps. This page reads it onto the grid of the
# sphere task, draws what may stand in the gaps with the flow that serves any mask, and writes the samples back into a
# file that other programs read. The file is made here, so that the truth is known: one month with noise, from south to
# north and west to east, in degrees Celsius, with a gap over the north Pacific and one over Africa. Put the path of
# your own in its place.

# %% tags=["parameters"]
month = 12  # which test month, counted from the end
sigma_y = 0.01  # standard deviation of the noise in the file, 118 K being 1
n_samples = 128  # posterior samples
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.figures import maps

run = record.start(
    "own_field",
    globals(),
    {
        "month": record.integer(1, 242),
        "sigma_y": record.between(0, 0.3, open=True),
        "n_samples": record.integer(3, 4096),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The file
#
# Any file that follows the CF conventions will do, such as those of ERA5 from the Copernicus store: coordinates in any
# direction and range, K or degrees Celsius, missing values. A finer grid is averaged over the cells of 4 degrees.

# %% tags=["show-code"]
import tempfile
from pathlib import Path

import jax
import numpy as np
import xarray

import aps_core
from aps_core import data
from aps_core.data.temperature import T_SPAN, to_kelvin

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "mine.nc"
truth = data.load("ncep-temperature", "test").values[-month]  # (46, 90), in the scale of the task
latitude, longitude = np.arange(-90.0, 91.0, 4.0), np.arange(-180.0, 180.0, 4.0)
rows, columns = np.round((90 - latitude) / 4).astype(int), np.round(longitude % 360 / 4).astype(int) % 90
noise = sigma_y * T_SPAN * np.random.default_rng(seed).standard_normal(truth.shape)
celsius = (to_kelvin(truth) + noise - 273.15)[np.ix_(rows, columns)]
north, east = latitude[:, None], longitude[None, :]
gap = (north > 20) & (north < 60) & ((east > 160) | (east < -130)) | (abs(north) < 20) & (east > 0) & (east < 45)
temperature = xarray.DataArray(
    np.where(gap, np.nan, celsius)[None],
    dims=("time", "lat", "lon"),
    coords={
        "time": [np.datetime64("2020-07-01", "ns")],
        "lat": ("lat", latitude, {"units": "degrees_north"}),
        "lon": ("lon", longitude, {"units": "degrees_east"}),
    },
    attrs={"units": "degC"},
    name="t2m",
)
temperature.to_netcdf(path, engine="h5netcdf")

# %% [markdown]
# ## Reading it, and its posterior
#
# Cells of which less than half is observed become the gaps of the measurement. The flow `sphere-impute-any` serves any
# mask and noise level; say the noise of your file.

# %% tags=["show-code"]
field = data.open_field(path)
task = aps_core.load_task("sphere-impute", sigma_y=sigma_y)
post = aps_core.load_posterior(task, weights="sphere-impute-any")
samples = np.asarray(post.sample(jax.random.key(seed), field.measurement, n_samples))
written = data.write_samples(
    Path(folder.name) / "posterior.nc", samples, field.measurement, time=field.time, sigma_y=sigma_y
)

# %% tags=["hide-input"]
run.uses_weights(post.card)
run.uses_data(data.load("ncep-temperature", "test"))
missing = np.asarray(field.measurement.mask) == 0
run.number("missing", 100 * missing.mean(), unit="%")
run.say(
    f"The file has the variable `{field.variable}` at {field.time[:10]}; {{missing:.0f}} % of the cells are missing. "
    f"The flow was trained by: {post.trained_by}."
)

# %% tags=["hide-input"]
run.figure(
    maps.imputation_globe(truth, field.measurement, samples),
    "globe",
    alt="Globes: the truth, the measurement with grey gaps over the north Pacific and Africa, three samples and their "
    "mean, all much like the truth; the standard deviation, large inside the gaps only; and the error of the mean.",
    caption="Truth, the field that was read (gaps grey), samples of the posterior, their mean, spread and error.",
    label="fig-own-field",
)

# %% [markdown]
# ## What came out
#
# Samples that are read back are an ordinary array over `realization`, `latitude` and `longitude`, in K.

# %% tags=["show-code"]
with xarray.open_dataset(written) as dataset:
    kelvin = dataset["air_temperature"].values  # (n_samples, 46, 90)
low, high = np.quantile(kelvin, [0.05, 0.95], axis=0)
kelvin_truth = to_kelvin(truth)
inside = (low <= kelvin_truth) & (kelvin_truth <= high)
error = kelvin.mean(axis=0) - kelvin_truth

# %% tags=["hide-input"]
for name, where in (("gap", missing), ("seen", ~missing)):
    run.number(f"{name}.error", np.sqrt(np.mean(error[where] ** 2)), unit="K")
    run.number(f"{name}.spread", np.sqrt(np.mean(kelvin.var(axis=0, ddof=1)[where])), unit="K")
    run.number(f"{name}.inside_90", 100 * inside[where].mean(), unit="%")
run.table(
    {"gap": "in the gaps", "seen": "elsewhere"},
    {
        "error": ("error of the mean [K]", ".2f"),
        "spread": ("standard deviation [K]", ".2f"),
        "inside_90": ("90 % intervals hold [%]", ".1f"),
    },
    caption="Root mean squares over the cells of this one field.",
)
folder.cleanup()

# %% [markdown]
# Cells of one field are not independent: the share inside the intervals is that of one month, not a calibration. The
# pages {doc}`sphere_impute` and {doc}`any_mask` have many.
#
# ## What next
#
# - **From the command line**: `aps sample sphere-impute --measurement mine.nc --time 2020-07 -p sigma_y 0.01
#   --weights sphere-impute-any --out posterior.nc`, with the noise of your file.
# - **Is it a month like those of the prior?** A field of another kind (a single day, another height) is not: look at
#   real ERA5 times on the page {doc}`sphere_impute`, where the intervals are too narrow.

# %% tags=["hide-input"]
run.finish()
