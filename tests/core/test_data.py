"""The data sets: content, splits, checksums, and what is said when something is wrong."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from aps_core import data
from aps_core.data import __main__ as command
from aps_core.data import era5, faces, ncep, patches
from aps_core.data.temperature import from_kelvin, to_kelvin
from aps_core.geometry.sphere import LATITUDE, LONGITUDE
from scripts.data import make_ncep


@pytest.fixture(scope="module")
def months():
    return {split: data.load("ncep-temperature", split) for split in ("train", "val", "test")}


def test_every_split_has_the_size_that_the_registry_states():
    for name in ("ncep-temperature", "patches16"):
        source = data.registry[name]
        for split, n in source.splits.items():
            loaded = data.load(name, split)
            assert loaded.values.shape == (n, *source.shape)
            assert loaded.values.dtype == np.float32
            assert all(len(column) == n for column in loaded.index.values())
            assert (loaded.name, loaded.split, loaded.sha256) == (name, split, source.sha256)
            assert loaded.licence and loaded.citation


def test_ncep_splits_are_disjoint_years_in_order(months):
    year = {split: d.index["year"] for split, d in months.items()}
    assert (year["train"].min(), year["train"].max()) == (1949, 2005)
    assert sorted(set(year["val"].tolist())) == list(range(1948, 2006, 8))
    assert not set(year["train"].tolist()) & set(year["val"].tolist())
    assert (year["test"].min(), year["test"].max()) == (2006, 2026)
    number = np.sort(np.concatenate([12 * d.index["year"] + d.index["month"] for d in months.values()]))
    assert np.array_equal(np.diff(number), np.ones(937))
    both = data.load("ncep-temperature", "train+val")
    assert np.array_equal(both.values[both.index["year"] % 8 == 4], months["val"].values)
    assert np.array_equal(both.values[both.index["year"] % 8 != 4], months["train"].values)


def test_ncep_is_the_earth_the_right_way_up(months):
    """Facts that a flip, a roll or a transposition of the grid would break."""
    mean = ncep.monthly_climatology(months["train"])
    january, july = to_kelvin(mean[0]), to_kelvin(mean[6])
    row = {latitude: i for i, latitude in enumerate(LATITUDE)}
    column = {longitude: j for j, longitude in enumerate(LONGITUDE)}
    assert january[row[62], column[128]] < 245 < 285 < july[row[62], column[128]]  # Yakutsk
    assert 300 < july[row[22], column[8]] < 315  # Sahara in July
    assert july[row[-78], column[108]] < 215  # East Antarctica in winter
    assert abs(january[row[2], column[180]] - 300) < 3  # equatorial Pacific
    assert july[row[-90]].mean() < january[row[-90]].mean() < 260


def test_ncep_pole_rows_are_one_value(months):
    poles = months["test"].values[:, [0, -1]]
    assert np.array_equal(poles, np.broadcast_to(poles[..., :1], poles.shape))


def test_ncep_values_lie_on_the_stated_grid_of_codes(months):
    values = months["test"].values.astype(np.float64)
    codes = (values + make_ncep.OFFSET) / make_ncep.STEP
    assert np.array_equal(codes, np.rint(codes))
    assert make_ncep.STEP * 118.27 < 0.004  # K
    assert -0.03 < months["train"].values.min() < 0 < 1 > months["train"].values.max()


def test_climatology_is_the_mean_of_each_calendar_month(months):
    train = months["train"]
    mean = ncep.monthly_climatology(train)
    assert mean.shape == (12, 46, 90)
    np.testing.assert_allclose(mean, train.values.reshape(50, 12, 46, 90).mean(axis=0, dtype=float), atol=1e-6)
    part = dataclasses.replace(train, index={"month": np.ones(600, int)})
    with pytest.raises(ValueError, match="no month 2"):
        ncep.monthly_climatology(part)


def test_kelvin_scale():
    assert to_kelvin(0.0) == pytest.approx(202.66)
    assert to_kelvin(1.0) == pytest.approx(320.93)
    np.testing.assert_allclose(from_kelvin(to_kelvin([-0.02, 0.3, 1.1])), [-0.02, 0.3, 1.1], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kelvin_of_half_precision_is_not_rounded_to_a_quarter(dtype):
    x = np.asarray([0.3, 0.7], dtype)
    kelvin = to_kelvin(x)
    np.testing.assert_allclose(kelvin, 202.66 + 118.27 * x.astype(np.float64), rtol=1e-6)
    np.testing.assert_allclose(from_kelvin(kelvin), x, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32])
def test_grey_of_whole_numbers_is_rounded(dtype):
    values = np.array([[[200, 200, 200], [1, 1, 1], [255, 0, 0]]], dtype)
    found = faces.grey(values)
    assert found.dtype == dtype and found.shape == (1, 3, 1)
    np.testing.assert_allclose(found.ravel(), [200, 1, 54 if dtype != np.float32 else 54.1875], atol=1e-4)


def test_regrid_agrees_with_scipy_on_a_periodic_grid():
    field = np.random.default_rng(0).normal(size=(2, 73, 144))
    closed = np.concatenate([field, field[:, :, :1]], axis=2)
    axes = (np.linspace(-90, 90, 73), np.linspace(0, 360, 145))
    for longitude in (LONGITUDE, np.array([0.0, 1.0, 357.5, 359.0])):
        points = np.stack(np.meshgrid(LATITUDE, longitude, indexing="ij"), axis=-1)
        expected = [RegularGridInterpolator(axes, f[::-1], method="linear")(points) for f in closed]
        np.testing.assert_allclose(make_ncep.regrid(field, longitude=longitude), expected, atol=1e-12)


def test_make_ncep_round_trip_and_same_bytes_twice():
    celsius = np.random.default_rng(1).uniform(-75, 45, size=(14, 73, 144))
    content = make_ncep.make(celsius)
    assert content == make_ncep.make(celsius)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    x = stored["codes"] * stored["step"] - stored["offset"]
    expected = from_kelvin(make_ncep.regrid(celsius) + 273.15)
    assert np.abs(x[:, 1:-1] - expected[:, 1:-1]).max() <= stored["step"] / 2
    np.testing.assert_allclose(x[:, 0, 7], from_kelvin(celsius[:, 0].mean(axis=1) + 273.15), atol=1e-4)
    assert stored["year"].tolist() == [1948] * 12 + [1949] * 2
    assert stored["month"].tolist() == [*range(1, 13), 1, 2]
    assert str(stored["source_sha256"]) == make_ncep.SOURCE_SHA256
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_make_ncep_refuses_values_outside_the_code_range():
    with pytest.raises(ValueError, match="normalised temperature"):
        make_ncep.encode(np.full((1, 2, 2), 150.0))
    with pytest.raises(ValueError, match="normalised temperature"):
        make_ncep.encode(np.full((1, 2, 2), np.nan))


def test_make_ncep_refuses_another_source(tmp_path):
    other = tmp_path / "air.mon.mean.nc"
    other.write_bytes(b"not the file")
    with pytest.raises(ValueError, match="expected 57ffdc5f"):
        make_ncep.read_source(other)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_embedded_file_is_named(tmp_path, monkeypatch, damage):
    content = ncep.FILE.read_bytes()
    path = tmp_path / "ncep_temperature.npz"
    flipped = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    path.write_bytes(content[:-100] if damage == "truncated" else flipped)
    monkeypatch.setattr(ncep, "FILE", path)
    with pytest.raises(ValueError, match=r"ncep_temperature\.npz is truncated or altered.*make_ncep"):
        data.load("ncep-temperature", "val")


def test_missing_embedded_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ncep, "FILE", tmp_path / "ncep_temperature.npz")
    with pytest.raises(FileNotFoundError, match=r"ncep_temperature\.npz is missing.*make_ncep"):
        data.load("ncep-temperature", "val")


def test_unknown_name_and_split_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="unknown data set 'ncep'.*ncep-temperature"):
        data.load("ncep", "train")
    for name in data.registry:
        with pytest.raises(ValueError, match=f"{name}.*no split 'training'.*test"):
            data.load(name, "training")


def test_dataset_is_frozen(months):
    with pytest.raises(dataclasses.FrozenInstanceError):
        months["val"].values = None
    assert len(months["val"]) == 96


def test_patches_are_cut_from_the_stated_places():
    image = patches.read_grey("coins")
    test = data.load("patches16", "test")
    chosen = np.flatnonzero(test.index["image"] == "coins")
    assert len(chosen) == (image.shape[0] // 16) * (image.shape[1] // 16)
    for i in chosen[[0, 37, -1]]:
        row, column = test.index["row"][i], test.index["column"][i]
        assert np.array_equal(test.values[i], image[row : row + 16, column : column + 16])


def test_patches_splits_share_no_image_and_are_in_range():
    names = {}
    for split in patches.IMAGES:
        loaded = data.load("patches16", split)
        names[split] = set(loaded.index["image"].tolist())
        assert 0 <= loaded.values.min() < loaded.values.max() <= 1
        assert np.array_equal(loaded.values, data.load("patches16", split).values)
    assert not (names["train"] & names["val"] or names["train"] & names["test"] or names["val"] & names["test"])


def test_grey_is_luminance():
    from skimage import data as bundled
    from skimage.color import rgb2gray

    np.testing.assert_allclose(patches.read_grey("astronaut"), rgb2gray(bundled.astronaut()), atol=1e-6)
    np.testing.assert_allclose(patches.read_grey("camera"), bundled.camera() / 255, atol=1e-6)


def test_altered_or_missing_image_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "image_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="chelsea.png is missing"):
        data.load("patches16", "val")
    (tmp_path / "chelsea.png").write_bytes(b"other")
    with pytest.raises(ValueError, match="chelsea.png has sha256"):
        data.load("patches16", "val")


def frames(**changes):
    """Arrays in the format of the ERA5 file."""
    kelvin = np.random.default_rng(2).uniform(220, 310, size=(3, 46, 90)).astype(np.float32)
    arrays = {"temperature": kelvin, "latitude": LATITUDE.astype("f4"), "longitude": LONGITUDE.astype("f4")}
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


@pytest.mark.parametrize("below", [".", "temperature"])
def test_era5_is_found_in_both_places(tmp_path, monkeypatch, below):
    (tmp_path / below).mkdir(exist_ok=True)
    arrays = frames(test_index=np.array([4, 0, 7]))
    np.savez(tmp_path / below / era5.FILE, **arrays)
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    loaded = data.load("era5-frames", "test")
    np.testing.assert_allclose(to_kelvin(loaded.values), arrays["temperature"], atol=1e-3)
    assert loaded.values.dtype == np.float32
    assert loaded.index["frame"].tolist() == [4, 0, 7]
    assert len(loaded.sha256) == 64


def test_era5_says_what_was_looked_for_and_where(tmp_path, monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="APS_DATA_DIR is not set.*Copernicus"):
        data.load("era5-frames", "test")
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        data.load("era5-frames", "test")
    for part in (str(tmp_path / era5.FILE), str(tmp_path / "temperature" / era5.FILE), "Copernicus"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longitude": None}, r"lacks the arrays \['longitude'\]"),
        ({"latitude": -LATITUDE}, "latitude in .* expected"),
        ({"longitude": LONGITUDE - 180}, "longitude in .* expected"),
        ({"temperature": np.full((3, 90, 46), 280.0)}, r"shape \(3, 90, 46\), expected \(n, 46, 90\)"),
        ({"temperature": np.full((3, 46, 90), 20.0)}, "expected kelvin"),
        ({"temperature": np.full((3, 46, 90), np.nan)}, "expected kelvin"),
    ],
)
def test_era5_of_another_format_is_refused(tmp_path, monkeypatch, changes, message):
    np.savez(tmp_path / era5.FILE, **frames(**changes))
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        data.load("era5-frames", "test")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 truncated"])
def test_era5_that_is_no_npz_is_refused(tmp_path, monkeypatch, content):
    (tmp_path / era5.FILE).write_bytes(content)
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read as .npz"):
        data.load("era5-frames", "test")


def test_list_prints_names_sizes_and_licences(capsys):
    command.main(["list"])
    printed = capsys.readouterr().out
    for source in data.registry.values():
        assert source.name in printed
        assert source.licence in printed
    assert "6.9 MB" in printed
    assert ncep.FILE.stat().st_size == data.registry["ncep-temperature"].bytes < 8e6
