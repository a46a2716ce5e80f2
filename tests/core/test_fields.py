"""Temperature fields from CF files on the sphere grid, and samples back into such a file."""

import importlib.util
import sys

import jax
import numpy as np
import pytest
import xarray as xr

from aps_core import data, load_task
from aps_core.data.fields import index_or_date, open_field
from aps_core.data.sample_files import write_samples
from aps_core.data.temperature import to_kelvin
from aps_core.geometry.regridding import regrid
from aps_core.geometry.sphere import LATITUDE, LONGITUDE, area_weights, latitude_edges
from aps_core.operators import Measurement
from aps_core.posterior import gaussian_posterior

H5PY = importlib.util.find_spec("h5py") is not None
RNG = np.random.default_rng(0)
SIN = np.sin(np.deg2rad(latitude_edges()))
LAT2, LON2 = np.linspace(90, -90, 91), np.arange(0, 360, 2.0)


def test_a_field_on_the_grid_stays_as_it_is():
    field = data.load("ncep-temperature", "val").values[3].astype(np.float64)
    for latitude, longitude, values in (
        (LATITUDE, LONGITUDE, field),
        (LATITUDE[::-1], LONGITUDE, field[::-1]),
        (LATITUDE, LONGITUDE - 180, np.roll(field, 45, axis=1)),
        (LATITUDE, LONGITUDE[::-1], field[:, ::-1]),
        (LATITUDE, np.where(LONGITUDE > 180, LONGITUDE - 360, LONGITUDE), field),
        (LATITUDE, np.append(LONGITUDE, 360), np.concatenate([field, field[:, :1]], axis=1)),
    ):
        means, observed = regrid(latitude, longitude, values)
        np.testing.assert_allclose(means, field, atol=1e-12)
        np.testing.assert_allclose(observed, 1, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, -180.0, -179.5, 12.3])
@pytest.mark.parametrize(
    "latitude", [np.linspace(90, -90, 181), np.linspace(-89.75, 89.75, 360)], ids=["poles", "centres"]
)
def test_means_over_areas_are_those_of_the_integrals(latitude, offset):
    """sin(latitude) and cos(longitude), whose means over a cell are known; the global mean is kept."""
    longitude = offset + np.arange(0, 360, 0.5)
    up, _ = regrid(latitude, longitude, np.sin(np.deg2rad(latitude))[:, None] * np.ones(720))
    np.testing.assert_allclose(up, np.repeat((SIN[:-1] + SIN[1:])[:, None] / 2, 90, axis=1), atol=2e-4)
    east, _ = regrid(latitude, longitude, np.cos(np.deg2rad(longitude))[None] * np.ones((len(latitude), 1)))
    half = np.deg2rad(2)
    expected = np.cos(np.deg2rad(LONGITUDE)) * np.sin(half) / half
    np.testing.assert_allclose(east[1:-1], np.broadcast_to(expected, (44, 90)), atol=1e-4)
    np.testing.assert_allclose(east[[0, -1]], 0, atol=1e-9)  # a pole is one place
    noise = RNG.normal(size=(len(latitude), 720))
    edges = np.clip(
        np.concatenate(
            [
                [1.5 * latitude[0] - latitude[1] / 2],
                (latitude[1:] + latitude[:-1]) / 2,
                [1.5 * latitude[-1] - latitude[-2] / 2],
            ]
        ),
        -90,
        90,
    )
    areas = np.abs(np.diff(np.sin(np.deg2rad(edges))))[:, None] / 2 / 720
    means, _ = regrid(latitude, longitude, noise)
    assert np.sum(means * area_weights()) == pytest.approx(np.sum(noise * areas), abs=1e-12)


def test_missing_cells_count_for_nothing():
    latitude, longitude = np.linspace(90, -90, 91), np.arange(0, 360, 2.0)
    values = np.where((latitude[:, None] > 0) & (longitude < 180), 7.0, np.nan)
    means, observed = regrid(latitude, longitude, values)
    assert np.nanmin(means) == pytest.approx(7) == np.nanmax(means)
    assert observed[10, 10] == pytest.approx(1) and observed[40, 10] == 0 == observed[10, 60]
    assert observed[10, 0] == pytest.approx(0.75)  # 358 to 359 is missing
    europe, seen = regrid(np.arange(35, 72.0), np.arange(-10, 31.0), np.full((37, 41), 280.0))
    inside = (LATITUDE[:, None] > 37) & (LATITUDE[:, None] < 69) & ((LONGITUDE >= 352) | (LONGITUDE < 28))
    assert (np.abs(seen[inside] - 1) < 1e-9).all() and np.isnan(europe[~np.isfinite(europe)]).all()
    assert seen.sum() == pytest.approx(37 * 41 / 16, rel=0.01)  # 1,517 cells of one degree


@pytest.mark.parametrize(
    ("longitude", "monotonic"),
    [
        (np.r_[np.arange(340, 360, 2.0), np.arange(0, 42, 2.0)], np.arange(-20, 42, 2.0)),
        (np.r_[np.arange(40, -2, -2.0), np.arange(358, 338, -2.0)], np.arange(40, -22, -2.0)),
        (np.r_[np.arange(170, 180, 2.0), np.arange(-180, -168, 2.0)], np.arange(170, 192, 2.0)),
        (np.r_[np.arange(0, 360, 2.0), 0.0], np.arange(0, 362, 2.0)),
        (np.r_[np.arange(0, 182, 2.0), np.arange(-180, 0, 2.0)], None),
    ],
)
def test_longitudes_that_start_anew_are_those_that_go_on(longitude, monotonic):
    wave = np.sin(np.deg2rad(longitude))[None] * np.ones((91, 1))
    found, observed = regrid(LAT2, longitude, wave)
    if monotonic is None:  # both ends of the range: around from there, with the meridian once
        monotonic, wave = np.arange(-180, 180, 2.0), np.sin(np.deg2rad(np.arange(-180, 180, 2.0)))[None].repeat(91, 0)
    expected, seen = regrid(LAT2, monotonic, wave)
    np.testing.assert_allclose(observed, seen, atol=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert 0 < seen.mean() <= 1


def test_a_meridian_that_closes_the_circle_in_single_precision():
    longitude = (np.arange(181) * 2 + 0.1).astype("f4")
    assert float(longitude[-1]) - float(longitude[0]) > 360 + 1e-6
    values = np.cos(np.deg2rad(longitude.astype(float)))[None].repeat(91, 0)
    found, observed = regrid((LAT2 * (1 + 1e-7)).astype("f4"), longitude, values)
    expected, _ = regrid(LAT2, np.arange(180) * 2 + 0.1, values[:, :-1])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(observed, 1, atol=1e-5)


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        (np.linspace(95, -90, 91), LONGITUDE, "latitude reaches 95"),
        (LATITUDE[[0, 2, 1]], LONGITUDE, "latitude is not monotonic"),
        (np.linspace(90, -90, 19), LONGITUDE, "latitude has steps of 10 degrees, expected at most"),
        (LATITUDE, np.arange(0, 720, 4.0), "longitude spans 716 degrees"),
        (LATITUDE, np.repeat(LONGITUDE, 2), "longitude is not monotonic"),
        (LATITUDE, np.append(LONGITUDE, 360.0), "one meridian with different values"),
        (LATITUDE[:1], LONGITUDE, r"latitude has shape \(1,\)"),
        (np.append(LATITUDE[:-1], np.nan), LONGITUDE, "latitude has nan at index 45, expected finite degrees"),
        (LATITUDE, np.where(np.arange(90) == 3, np.inf, LONGITUDE), "longitude has inf at index 3"),
        (LATITUDE, np.r_[np.arange(300, 360, 4.0), np.arange(40, 80, 4.0)], "longitude has steps of 44 degrees"),
    ],
)
def test_grids_that_are_none_are_refused(latitude, longitude, message):
    with pytest.raises(ValueError, match=message):
        regrid(latitude, longitude, RNG.normal(size=(len(latitude), len(longitude))))


# A month on a grid of 2 degrees, in steps of 0.01 K so that packing changes nothing, with parts missing.
@pytest.fixture(scope="module")
def kelvin():
    month = to_kelvin(data.load("ncep-temperature", "test").values[40].astype(np.float64))
    rows = np.interp(np.arange(91) / 2, np.arange(46), np.arange(46))
    low = rows.astype(int)
    high = np.minimum(low + 1, 45)
    fine = month[low] + (rows - low)[:, None] * (month[high] - month[low])
    fine = np.stack([fine, (fine + np.roll(fine, -1, axis=1)) / 2], axis=2).reshape(91, 180)
    fine = np.round(fine, 2)
    fine[60:75, 20:70] = np.nan
    return np.where(RNG.random(fine.shape) < 0.2, np.nan, fine)


TIMES = np.array(["2020-06-01", "2020-07-01"], "M8[ns]")
LATITUDES = {"standard_name": "latitude", "units": "degrees_north", "long_name": "latitude"}
LONGITUDES = {"standard_name": "longitude", "units": "degrees_east", "long_name": "longitude"}
ENGINE = "h5netcdf" if H5PY else "scipy"


def two_times(kelvin):
    return np.stack([kelvin[::-1] * 0 + 250.0, kelvin])


def era5_old(folder, kelvin):
    """NetCDF 3 of the first Copernicus store: short packed values, time, latitudes down."""
    array = xr.DataArray(
        two_times(kelvin),
        dims=("time", "latitude", "longitude"),
        attrs={"units": "K", "long_name": "2 metre temperature"},
    )
    dataset = xr.Dataset(
        {"t2m": array},
        {
            "time": TIMES,
            "latitude": ("latitude", LAT2.astype("f4"), {"units": "degrees_north"}),
            "longitude": ("longitude", LON2.astype("f4"), {"units": "degrees_east"}),
        },
    )
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 250.0, "_FillValue": -32767, "missing_value": -32767}
    dataset.to_netcdf(folder / "old.nc", engine="scipy", encoding={"t2m": packing})
    return open_field(folder / "old.nc", time="2020-07")


def era5_new(folder, kelvin):
    """The new store: valid_time, number and expver as coordinates, two variables."""
    dims = ("valid_time", "latitude", "longitude")
    dataset = xr.Dataset(
        {
            "t2m": (
                dims,
                two_times(kelvin).astype("f4"),
                {"units": "K", "standard_name": "unknown", "GRIB_paramId": 167},
            ),
            "tp": (dims, np.zeros((2, 91, 180), "f4"), {"units": "m"}),
        },
        {
            "number": ((), 0, {"standard_name": "realization"}),
            "valid_time": ("valid_time", TIMES, {"standard_name": "time"}),
            "expver": ("valid_time", np.array([1, 5])),
            "latitude": ("latitude", LAT2, {**LATITUDES, "stored_direction": "decreasing"}),
            "longitude": ("longitude", LON2, LONGITUDES),
        },
    )
    dataset.to_netcdf(folder / "new.nc", engine=ENGINE)
    return open_field(folder / "new.nc", time=-1)


def era5_expver(folder, kelvin):
    """Final and preliminary months along a dimension expver, each missing where the other is."""
    values = np.stack([np.stack([kelvin * 0 + 250.0, kelvin * np.nan]), np.stack([kelvin * np.nan, kelvin])], axis=1)
    dataset = xr.Dataset(
        {"t2m": (("time", "expver", "latitude", "longitude"), values, {"units": "K"})},
        {"time": TIMES, "expver": [1, 5], "latitude": LAT2, "longitude": LON2},
    )
    dataset.to_netcdf(folder / "expver.nc", engine=ENGINE)
    return open_field(folder / "expver.nc", "t2m", np.datetime64("2020-07-01"))


def celsius_south_first(folder, kelvin):
    """Degrees C, latitudes up, longitudes from -180, longitude first, short names without attributes."""
    values = np.roll(kelvin, 90, axis=1)[::-1].T - 273.15
    dataset = xr.Dataset(
        {"tas": (("lon", "lat"), values, {"units": "degC"})}, {"lat": LAT2[::-1], "lon": LON2 - 180, "time": TIMES[1]}
    )
    dataset.to_netcdf(folder / "celsius.nc", engine=ENGINE)
    return open_field(folder / "celsius.nc")


def zarr_ensemble(folder, kelvin):
    """A zarr store with members and a level; coordinates that only their attributes tell, the circle closed."""
    closed = np.concatenate([kelvin, kelvin[:, :1]], axis=1)
    values = np.stack([closed * 0 + 240, closed])[:, None]
    axes = {
        "phi": ("phi", LAT2, {"standard_name": "latitude"}),
        "lam": ("lam", np.append(LON2, 360.0), {"units": "degrees_east"}),
    }
    dataset = xr.Dataset(
        {"air": (("number", "level", "phi", "lam"), values, {"units": "degK"})}, {**axes, "level": [1000]}
    )
    dataset.chunk() if False else dataset.to_zarr(folder / "store.zarr", zarr_format=2)
    return open_field(folder / "store.zarr", select={"number": 1})


VARIANTS = [era5_old, era5_new, era5_expver, celsius_south_first, zarr_ensemble]


@pytest.fixture(scope="module")
def opened(kelvin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    return {variant.__name__: variant(folder, kelvin) for variant in VARIANTS}


def test_five_files_of_one_field_have_one_posterior(opened, kelvin):
    task = load_task("sphere-impute", sigma_y=0.05)
    posterior = gaussian_posterior(task)
    _, observed = regrid(LAT2, LON2, kelvin)
    assert 200 < np.sum(observed < 0.5) < 1000
    key = jax.random.key(0)
    samples = {name: np.asarray(posterior.sample(key, field.measurement, 2)) for name, field in opened.items()}
    first = samples["celsius_south_first"]
    truth = data.load("ncep-temperature", "test").values[40]
    assert np.sqrt(np.mean((first.mean(axis=0) - truth) ** 2)) < 0.03  # it is the month, the right way up
    for name, field in opened.items():
        np.testing.assert_allclose(field.observed, observed, atol=1e-9)
        assert not field.complete and field.exact is None
        np.testing.assert_array_equal(field.measurement.mask, observed >= 0.5)
        np.testing.assert_allclose(samples[name], first, atol=1e-5, err_msg=name)
    assert opened["era5_old"].time == opened["era5_new"].time == "2020-07-01T00:00:00"
    assert (opened["era5_old"].variable, opened["zarr_ensemble"].variable, opened["zarr_ensemble"].time) == (
        "t2m",
        "air",
        "",
    )


@pytest.mark.skipif(not H5PY, reason="NetCDF 4 is read with h5py, of the extra netcdf")
def test_netcdf_4_is_read(tmp_path, kelvin):
    dataset = xr.Dataset({"t2m": (("lat", "lon"), kelvin, {"units": "K"})}, {"lat": LAT2, "lon": LON2})
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={"t2m": {"zlib": True, "dtype": "f4"}})
    np.testing.assert_allclose(open_field(tmp_path / "a.nc").kelvin, opened_means(kelvin), atol=1e-4)


def opened_means(kelvin):
    means, observed = regrid(LAT2, LON2, kelvin)
    return np.where(observed < 0.5, np.nan, means)


def plain(values, dims=("time", "lat", "lon"), units="K", **changes):
    """A small file's Dataset; changes are coordinates."""
    coordinates = {"time": TIMES[:1], "lat": LATITUDE, "lon": LONGITUDE, **changes}
    return xr.Dataset({"t": (dims, values, {"units": units})}, {n: v for n, v in coordinates.items() if v is not None})


FULL = np.full((1, 46, 90), 280.0)


def test_a_complete_field_is_known_exactly(tmp_path):
    month = data.load("ncep-temperature", "test").values[7]
    plain(to_kelvin(month.astype(np.float64))[None]).to_netcdf(tmp_path / "a.nc", engine="scipy")
    field = open_field(tmp_path / "a.nc")
    assert field.complete and (field.measurement.mask == 1).all()
    np.testing.assert_allclose(field.exact, month, atol=1e-6)
    np.testing.assert_array_equal(field.exact, field.measurement.y)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (plain(FULL, units="degF"), {}, "variable was not given and 0 variables are in K"),
        (plain(FULL, units="degF"), {"variable": "t"}, "variable 't' has units 'degF', expected K or degrees C"),
        (plain(FULL, units=""), {"variable": "t"}, "has units ''"),
        (plain(FULL), {"variable": "u"}, r"variable 'u' is not in the file, expected one of \['t'\]"),
        (plain(FULL).assign(d=lambda ds: ds.t), {}, r"2 variables are in K .* \['d', 't'\]"),
        (plain(FULL - 273), {}, r"lies in \[7, 7\] K, expected 150 to 350"),
        (plain(np.where(np.arange(90) < 9, -32767, FULL)), {}, r"lies in \[-32767, 280\] K.*_FillValue"),
        (plain(np.where(np.arange(90) < 9, np.inf, FULL)), {}, "inf"),
        (plain(FULL * np.nan), {}, "no cell of 4 degrees has half of its area observed"),
        (
            plain(FULL.repeat(2, 0), time=TIMES),
            {},
            "time was not given and there are 2 .2020-06-01T00:00:00 to 2020-07",
        ),
        (plain(FULL.repeat(2, 0), time=TIMES), {"time": 2}, "time is 2, expected an index of 2 times, -2 to 1"),
        (plain(FULL.repeat(2, 0), time=TIMES), {"time": "2020"}, "time is '2020', which names 2 of the 2 times"),
        (plain(FULL.repeat(2, 0), time=TIMES), {"time": "2021-01"}, "which names 0 of the 2 times"),
        (plain(FULL.repeat(2, 0), time=TIMES), {"time": "July"}, "time is 'July', expected a date"),
        (plain(FULL[0], dims=("lat", "lon"), time=None), {"time": 0}, "time is 0, but variable 't' has no times"),
        (plain(FULL, dims=("number", "lat", "lon")), {"select": {"member": 0}}, r"select names \['member'\]"),
        (
            plain(FULL.repeat(3, 0), dims=("number", "lat", "lon"), time=None),
            {},
            "3 entries along 'number'.*choose one",
        ),
        (
            plain(FULL.repeat(3, 0), dims=("number", "lat", "lon"), time=None),
            {"select": {"number": 3}},
            "select says 3",
        ),
        (plain(FULL), {"select": {"lat": 3}}, r"select names \['lat'\], .* all latitudes and longitudes are read"),
        (plain(FULL), {"select": {"lon": 0, "time": 0}}, r"select names \['lon', 'time'\].*chosen by time"),
        (plain(FULL, lat=("lat", [*LATITUDE[:-1], np.nan])), {}, "latitude has nan at index 45, expected finite"),
        (
            xr.Dataset({"t": ("cell", np.full(9, 280.0), {"units": "K"})}).assign_coords(
                lat=("cell", np.arange(9.0)), lon=("cell", np.arange(9.0))
            ),
            {},
            "latitude 'lat' and longitude 'lon' both along 'cell' .an unstructured grid of 9 cells",
        ),
        (plain(FULL, lat=None), {"variable": "t"}, "variable 't' has as latitude nothing"),
        (plain(FULL, lat=("lat", np.deg2rad(LATITUDE), {"units": "radians"})), {}, "lat has units 'radians'"),
        (plain(FULL[:, ::5], lat=LATITUDE[::5]), {}, "latitude has steps of 20 degrees"),
        (plain(FULL, lat=2 * LATITUDE), {}, "latitude"),
    ],
)
def test_files_that_would_be_guessed_are_refused_by_name(tmp_path, dataset, options, message):
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(ValueError, match=f"a.nc: .*{message}"):
        open_field(tmp_path / "a.nc", **options)


POLE = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25}
GEOGRAPHIC = {"grid_mapping_name": "latitude_longitude", "longitude_of_prime_meridian": 0.0}


def mapped(attrs, said="crs", **coordinates):
    """A file with a grid mapping; attrs None: without the variable that describes it."""
    dataset = plain(FULL, **coordinates)
    dataset["t"].attrs["grid_mapping"] = said
    return dataset if attrs is None else dataset.assign(crs=((), 0, attrs))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (mapped(POLE), "grid mapping 'rotated_latitude_longitude' .crs., expected latitude_longitude"),
        (mapped(POLE, "crs: lat lon"), "grid mapping 'rotated_latitude_longitude'"),
        (mapped({"grid_mapping_name": "lambert_conformal_conic"}), "grid mapping 'lambert_conformal_conic'"),
        (mapped({"crs_wkt": 'PROJCRS["WGS 84 / UTM 32N"'}), "grid mapping 'PROJCRS"),
        (mapped(GEOGRAPHIC | {"longitude_of_prime_meridian": 2.337}), "longitude_of_prime_meridian 2.337, expected 0"),
        (mapped(None), "grid mapping 'crs', which the file does not have"),
        (
            plain(FULL, lat=("lat", LATITUDE, {"standard_name": "grid_latitude"})),
            "lat is 'grid_latitude', of a rotated",
        ),
        (
            plain(FULL, lon=("lon", LONGITUDE, {"standard_name": "grid_longitude", "units": "degrees_east"})),
            "lon is 'grid_longitude', of a rotated or projected grid, expected longitude",
        ),
        (plain(FULL, lat=("lat", LATITUDE, {"long_name": "latitude in rotated pole grid"})), "lat is 'latitude in rot"),
        (plain(FULL, lat=("lat", LATITUDE, {"standard_name": "longitude"})), "longitude"),
    ],
)
def test_other_grids_are_refused_by_name(tmp_path, dataset, message):
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    for variable in (None, "t"):
        with pytest.raises(ValueError, match=f"a.nc: .*{message}"):
            open_field(tmp_path / "a.nc", variable)


@pytest.mark.parametrize(
    "dataset",
    [
        mapped(GEOGRAPHIC),
        mapped({"spatial_ref": 'GEOGCS["WGS 84"'}),
        mapped(GEOGRAPHIC, "pole: x y crs: lat lon").assign(pole=((), 0, POLE)),
        mapped(None, lat=("lat", LATITUDE, LATITUDES), lon=("lon", LONGITUDE, LONGITUDES)),
        *(
            plain(FULL, lat=("lat", LATITUDE, {"units": f"{unit}{n}"}), lon=("lon", LONGITUDE, {"units": f"{unit}{e}"}))
            for unit, n, e in (
                ("degree", "N", "E"),
                ("degrees", "N", "E"),
                ("degree_", "N", "E"),
                ("degrees_", "N", "E"),
                ("degree_", "north", "east"),
                ("degrees_", "north", "east"),
            )
        ),
    ],
)
def test_geographic_grids_are_read(tmp_path, dataset):
    renamed = dataset.rename_vars(lat="p", lon="q") if "units" in dataset["lat"].attrs else dataset
    renamed.to_netcdf(tmp_path / "a.nc", engine="scipy")
    np.testing.assert_allclose(open_field(tmp_path / "a.nc").kelvin, 280)


NORTH = np.where(LATITUDE[:, None] > 0, np.linspace(250, 300, 90), 200.0)[None]  # 200 K where missing


@pytest.mark.parametrize(
    ("attrs", "encoding"),
    [
        ({"valid_range": [210.0, 330.0]}, {"dtype": "f4"}),
        ({"valid_min": np.float32(250), "valid_max": np.float32(300)}, {"dtype": "f4"}),  # the outermost are valid
        ({"valid_min": 210}, {}),
        ({"valid_range": np.array([0, 5000], "i2")}, {"dtype": "i2", "scale_factor": 0.01, "add_offset": 250.0}),
        ({"valid_min": np.int16(0)}, {"dtype": "i2", "scale_factor": np.float32(0.01), "add_offset": np.float32(250)}),
        ({"valid_max": np.int16(0)}, {"dtype": "i2", "scale_factor": -0.01, "add_offset": 250.0}),
        ({"valid_range": [210.0, 330.0]}, {"dtype": "i2", "scale_factor": 0.01, "add_offset": 250.0}),
        (
            {"valid_range": np.array([11, -6], "i1")},  # 11 to 250
            {"dtype": "i1", "scale_factor": 0.5, "add_offset": 195.0, "_Unsigned": "true", "_FillValue": np.int8(-1)},
        ),
    ],
)
def test_values_outside_the_valid_range_are_missing(tmp_path, attrs, encoding):
    dataset = plain(NORTH)
    dataset["t"].attrs.update(attrs)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy", encoding={"t": {"_FillValue": None, **encoding}})
    field = open_field(tmp_path / "a.nc")
    np.testing.assert_array_equal(np.isnan(field.kelvin), NORTH[0] == 200)
    expected = NORTH[0, 1:23]  # without the pole, which is one place
    np.testing.assert_allclose(field.kelvin[1:23], expected, atol=0.26 if encoding.get("dtype") == "i1" else 6e-3)


@pytest.mark.parametrize("attrs", [{}, {"valid_min": np.int16(200)}, {"valid_max": np.int16(300)}])
def test_whole_kelvins_are_no_missing_values(tmp_path, attrs):
    dataset = plain(FULL.astype("i2"))
    dataset["t"].attrs.update(attrs)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    np.testing.assert_allclose(open_field(tmp_path / "a.nc").kelvin, FULL[0], atol=1e-9)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"valid_range": [330.0, 210.0]}, "valid values from 330 to 210"),
        ({"valid_range": 210.0}, "has valid_range .*210.*, expected 2 numbers"),
        ({"valid_min": "210"}, "has valid_min '210', expected 1 number"),
        ({"valid_max": np.nan}, "has valid_max .*nan.*, expected 1 number"),
        ({"valid_max": 100.0}, "no cell of 4 degrees has half"),
    ],
)
def test_valid_ranges_that_are_none(tmp_path, attrs, message):
    dataset = plain(FULL)
    dataset["t"].attrs.update(attrs)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(ValueError, match=f"a.nc: .*{message}"):
        open_field(tmp_path / "a.nc")


def test_invalid_final_values_give_way_to_preliminary_ones(tmp_path):
    values = np.stack([np.full((46, 90), 100.0), FULL[0]])
    dataset = plain(values, dims=("expver", "lat", "lon"), time=None, expver=[1, 5])
    dataset["t"].attrs["valid_min"] = 150.0
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    np.testing.assert_allclose(open_field(tmp_path / "a.nc").kelvin, 280)


@pytest.mark.parametrize("options", [{"variable": ["t"]}, {"variable": 1}, {"select": ["lat"]}, {"select": "lat"}])
def test_arguments_of_another_type_are_named(tmp_path, options):
    plain(FULL).to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(TypeError, match=rf"{next(iter(options))} must be a .*, got "):
        open_field(tmp_path / "a.nc", **options)


@pytest.mark.parametrize(
    ("attrs", "values", "times"),
    [
        ({"units": "days since 2020-01-01", "calendar": "360_day"}, [0, 31, 60], [""]),
        ({"units": "days since 0021-01-01", "calendar": "noleap"}, [730000.5, 730001.5, 730002.5], [""]),
        ({"units": "months since 2020-01-01"}, [0, 1, 2], [""]),
        ({}, [0, 1, 2], [""]),
        ({}, [202001, 202002, 202003], [""]),
        ({"units": "day as %Y%m%d.%f"}, [20200101.0, 20200102.0, 20200103.0], [""]),
        ({"units": "days since 1850-01-01"}, [0, 1, np.nan], [""]),
        ({"units": "days since 2020-01-01"}, [0, 31, 60], ["2020-03-01T00:00:00"]),
    ],
)
@pytest.mark.parametrize("scalar", [False, True])
def test_samples_have_the_date_of_the_file_or_none(tmp_path, attrs, values, times, scalar):
    time = ((), values[2], attrs) if scalar else ("time", values, attrs)
    dataset = plain(FULL[0], ("lat", "lon"), time=time) if scalar else plain(FULL.repeat(3, 0), time=time)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    own = open_field(tmp_path / "a.nc", time=None if scalar else 2)
    assert [own.time] == times
    with xr.open_dataset(write_samples(tmp_path / "o.nc", NORTH / 100, own.measurement, time=own.time)) as written:
        assert [str(written[n].values)[:19] for n in written.coords if n == "time"] == [t for t in times if t]


@pytest.mark.parametrize(
    "time", ["60", "1", "202003", "730002.5", "20200103.0", "1500-01-01", "NaT", "today", "2020-13"]
)
def test_samples_get_no_invented_date(tmp_path, time):
    with pytest.raises(ValueError, match=rf"o\.nc: time is '{time}', "):
        write_samples(tmp_path / "o.nc", NORTH / 100, time=time)
    with pytest.raises(TypeError, match=r"o\.nc: time must be a date as text or a datetime64, got 60"):
        write_samples(tmp_path / "o.nc", NORTH / 100, time=60)
    plain(FULL).to_netcdf(tmp_path / "a.nc", engine="scipy")
    with pytest.raises(ValueError, match=rf"a\.nc: time is '{time}', "):
        open_field(tmp_path / "a.nc", time=time)
    assert not (tmp_path / "o.nc").exists()


def test_the_only_time_may_be_named(tmp_path):
    plain(FULL[0], ("lat", "lon"), time=np.datetime64("2020-07-01", "ns")).to_netcdf(tmp_path / "a.nc", engine="scipy")
    for time in (None, 0, -1, "2020-07", "2020-07-01T00:00Z", np.datetime64("2020-07-01")):
        assert open_field(tmp_path / "a.nc", time=time).time == "2020-07-01T00:00:00"
    for time, message in (("2020-08", "which names 0 of the 1 times"), (1, "expected an index of 1 times")):
        with pytest.raises(ValueError, match=message):
            open_field(tmp_path / "a.nc", time=time)


def test_times_of_another_calendar_are_chosen_by_index(tmp_path):
    dataset = plain(
        np.stack([FULL[0], FULL[0] + 5]),
        time=("time", [0, 31], {"units": "days since 2020-01-01", "calendar": "360_day"}),
    )
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")
    assert open_field(tmp_path / "a.nc", time=1).kelvin.mean() == pytest.approx(285)
    if importlib.util.find_spec("cftime") is None:
        with pytest.raises(ValueError, match=r"no dates that numpy has .*; choose by index"):
            open_field(tmp_path / "a.nc", time="2020-02")
    with pytest.raises(TypeError, match=r"a.nc: time must be an index, a date as text or a datetime64, got 1.0"):
        open_field(tmp_path / "a.nc", time=1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GRIB0000", "it is GRIB; ask the store for NetCDF"),
        (b"PK\x03\x04", "it is a zip; unpack it"),
        (b"CDF\x05....", "it is NetCDF in its 64-bit data variant"),
        (b"", "begins with b'', expected NetCDF 3 or 4"),
        (b"<html>", "begins with b'<htm'"),
        (b"CDF\x01junk", "cannot be read by scipy"),
    ],
)
def test_other_files_are_told_apart(tmp_path, content, message):
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.nc: {message}"):
        open_field(tmp_path / "a.nc")


def test_damaged_and_missing_files_are_named(tmp_path):
    plain(FULL).to_netcdf(tmp_path / "a.nc", engine="scipy")
    whole = (tmp_path / "a.nc").read_bytes()
    for cut in (10, 200, len(whole) // 2):
        (tmp_path / "a.nc").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a\.nc: "):
            open_field(tmp_path / "a.nc")
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.nc"):
        open_field(tmp_path / "b.nc")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match=r"empty\.zarr: cannot be read by zarr"):
        open_field(tmp_path / "empty.zarr")


def test_without_xarray_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.nc").write_bytes(b"CDF\x01")
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"install aps-core\[netcdf\]"):
        open_field(tmp_path / "a.nc")
    with pytest.raises(ImportError, match=r"install aps-core\[netcdf\]"):
        write_samples(tmp_path / "b.nc", np.zeros((1, 46, 90)))


def test_samples_come_back_as_they_were(tmp_path):
    samples = data.load("ncep-temperature", "test").values[:4]
    mask = (RNG.random((46, 90)) < 0.4).astype(np.float32)
    seen = Measurement(mask * samples[0], mask)
    path = write_samples(tmp_path / "out" / "a.nc", samples, seen, time="2020-07", sigma_y=0.05, weights="sphere")
    with xr.open_dataset(path) as dataset:
        assert dataset.attrs["Conventions"] == "CF-1.11" and dataset.attrs["sigma_y"] == 0.05
        t = dataset["air_temperature"]
        assert t.dims == ("realization", "latitude", "longitude") and t.attrs["units"] == "K" and t.dtype == np.float32
        np.testing.assert_allclose(t.values, to_kelvin(samples), atol=1e-4)
        np.testing.assert_array_equal(dataset["latitude"], LATITUDE)
        assert dataset["latitude"].attrs["units"] == "degrees_north" and dataset["longitude"].attrs["axis"] == "X"
        assert dataset["time"].values == np.datetime64("2020-07-01")
        np.testing.assert_array_equal(np.isfinite(dataset["measured_temperature"]), mask == 1)
        np.testing.assert_array_equal(dataset["latitude_bounds"][1], [88, 84])
        assert t.sel(latitude=62, longitude=128).shape == (4,)
    back = open_field(path, "air_temperature", select={"realization": 2})
    np.testing.assert_allclose(back.exact, samples[2], atol=1e-6)
    assert [p.name for p in path.parent.iterdir()] == ["a.nc"]
    for bad, message in (
        (samples[0], r"shape \(46, 90\)"),
        (samples * np.nan, "finite"),
        (samples[:0], r"\(0, 46, 90\)"),
        (to_kelvin(samples), r"range from .*, expected the scale of the sphere task, between -1.7"),
    ):
        with pytest.raises(ValueError, match=f"samples has shape .*{message}|samples .*{message}"):
            write_samples(tmp_path / "b.nc", bad)
    with pytest.raises(ValueError, match="measurement has y of shape"):
        write_samples(tmp_path / "b.nc", samples, Measurement(samples, samples * 0 + 1))
    with pytest.raises(TypeError, match="measurement is a ndarray without y, mask"):
        write_samples(tmp_path / "b.nc", samples, samples[0])
    with pytest.raises(TypeError, match="samples has entries of type uint8"):
        write_samples(tmp_path / "b.nc", (255 * samples).astype(np.uint8))
    assert not (tmp_path / "b.nc").exists()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("-1500", -1500),
        ("+1500", 1500),
        ("12345", 12345),
        ("1500", "1500"),
        ("2020-07", "2020-07"),
        ("July", "July"),
        ("-", "-"),
        ("", None),
        (None, None),
    ],
)
def test_whole_numbers_are_indices_of_times_but_years(said, expected):
    assert index_or_date(said) == expected
