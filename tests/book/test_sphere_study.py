"""The chapter on the sphere: nested choices of months, ratios against known ones, paired differences, rows of the
tables.
"""

import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import blind_impute, blind_trained, measured, sphere_impute
from aps_core import data
from aps_core.metrics import quality
from aps_core.operators import Measurement, RandomMask, simulate
from aps_core.posterior import gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks.problem import Task

RNG = np.random.default_rng(3)


class MaskTask:
    """The operator of the sphere's task without its prior, which these tests do not need."""

    operator, sigma_y = RandomMask((46, 90), 0.6), 0.05

    def measure(self, key, x0):
        return simulate(self.operator, self.sigma_y, key, x0)


def run_with(tmp_path, notebook="sphere_impute_absent", **parameters):
    return record.Run(notebook, {"n_samples": 128, **parameters}, tmp_path)


def test_a_field_is_measured_alike_in_a_small_and_a_full_run():
    months = data.load("ncep-temperature", "val")
    small, large = (measured.measure(MaskTask(), months, n, seed=4) for n in (6, 96))
    assert small.chosen[0] == 0 and small.chosen[-1] == 95 and len(set(small.chosen)) == 6
    assert large.chosen.tolist() == list(range(96))
    for name in ("y", "mask"):
        full = np.asarray(getattr(large.measurements, name))[small.chosen]
        assert np.array_equal(np.asarray(getattr(small.measurements, name)), full)
    masks = np.asarray(large.measurements.mask)
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(np.asarray(small.one(2).y), np.asarray(small.measurements.y)[2])


def test_another_seed_is_another_measurement():
    months = data.load("ncep-temperature", "val")
    first, second = (measured.measure(MaskTask(), months, 2, seed) for seed in (0, 1))
    assert not np.array_equal(np.asarray(first.measurements.mask), np.asarray(second.measurements.mask))


@pytest.mark.parametrize("n", [0, 1, 97])
def test_number_of_fields_out_of_range(n):
    with pytest.raises(ValueError, match=rf"n = {n}: expected 2 to 96"):
        measured.measure(MaskTask(), data.load("ncep-temperature", "val"), n)


def gaussian_scores(spread, n, fields=400, dim=200):
    """PSNRs of samples N(mean, spread^2) where the truth is N(mean, 1) in every entry."""
    truth = RNG.normal(size=(fields, dim))
    samples = spread * RNG.normal(size=(fields, n, dim))
    error = lambda x: np.mean((x - truth) ** 2, axis=1)  # noqa: E731
    psnr = lambda e: -10 * np.log10(e)  # noqa: E731
    ratio = quality.sample_error_over_mmse(samples, truth)
    return {"psnr_n1": psnr(error(samples[:, 0])), "psnr_mean": psnr(error(samples.mean(axis=1)))}, ratio


@pytest.mark.parametrize(("spread", "expected"), [(1.0, 2.0), (0.5, 1.25), (2.0, 5.0)])
@pytest.mark.parametrize("n", [4, 64])
def test_error_ratio_is_one_plus_the_ratio_of_variances(spread, expected, n):
    scores, reference = gaussian_scores(spread, n)
    ratio, error = sphere_impute.error_ratio(scores, n)
    assert 0 < error < 0.05 * expected
    assert abs(ratio - expected) < 4 * error
    assert abs(ratio - reference[0]) < 4 * math.hypot(error, reference[1])


def scores(shift, n=40):
    rng = np.random.default_rng(8)
    kinds = [f"{name}_{kind}" for name in ("psnr", "psnr_weighted", "ssim", "ssim11") for kind in ("n1", "mean")]
    base = {name: rng.normal(30, 5, n) for name in (*kinds, "energy")}
    return {name: values + shift for name, values in base.items()}


def test_differences_are_paired(tmp_path):
    run = run_with(tmp_path)
    objectives = {"gaussian": np.linspace(0, 9, 40), "held_out": np.linspace(0, 9, 40) - 2}
    sphere_impute.store_differences(run, {"gaussian": scores(0.0), "held_out": scores(0.3)}, objectives)
    numbers = run.as_dict()["numbers"]
    for key, value in (("psnr_n128", 0.3), ("psnr_n1", 0.3), ("energy", 0.3), ("objective", -2)):
        number = numbers[f"paired.held_out.{key}"]
        assert number["value"] == pytest.approx(value)
        assert number["se"] < 1e-12  # the spread of months, 5, cancels
    assert not any(key.startswith("paired.gaussian") for key in numbers)


def test_rows_are_those_with_a_number(tmp_path):
    run = run_with(tmp_path, n_samples=16)
    sphere_impute.store_scores(run, "test", {"gaussian": scores(0.0)})
    assert sphere_impute.rows(run, "test", ["dps", "gaussian", "aps"]) == {
        "dps": "DPS, tuned, N = 1",
        "gaussian_n1": "Gaussian closed form, N = 1",
        "gaussian_n128": "Gaussian closed form, N = 16",
    }
    assert sphere_impute.rows(run, "test", ["aps"]) == {}
    assert sphere_impute.rows(run, "test", ["gaussian"], both=False) == {"gaussian": "Gaussian closed form"}
    run.number("test.aps_n1.psnr", 30.0)  # of a full run from before a column was
    assert "aps_n1" in sphere_impute.rows(run, "test", ["aps"])
    assert sphere_impute.rows(run, "test", ["aps"], columns=("ssim11",)) == {}


def test_coverage_is_kept_in_per_cent_by_group(tmp_path):
    run = run_with(tmp_path)
    found = {"coverage": np.array([[0.4, 0.8], [0.6, 1.0]]), "band_coverage": np.full((2, 5, 2), 0.5)}
    found["band_coverage"][:, 4] = [[0.1, 0.2], [0.3, 0.2]]
    sphere_impute.store_coverage(run, {"gaussian": found})
    sphere_impute.store_inside(run, "era5", {"gaussian": found})
    numbers = run.as_dict()["numbers"]
    assert numbers["coverage.all.gaussian_50"]["value"] == pytest.approx(50)
    assert numbers["coverage.all.gaussian_90"]["se"] == pytest.approx(10)
    assert numbers["coverage.band5.gaussian_50"]["value"] == pytest.approx(20)
    assert numbers["coverage.band5.gaussian_90"]["se"] == pytest.approx(0)
    assert numbers["era5_coverage.gaussian.90"]["value"] == pytest.approx(90)
    assert len(numbers) == 6 * 2 + 2


def test_padding_adds_the_entropy_of_its_entries():
    log_q = sphere_impute.padded_log_density(-7.0, 3, 0.01)
    draws = RNG.normal(0, 0.01, (200_000, 3))
    log_normal = -0.5 * (draws / 0.01) ** 2 - math.log(0.01) - 0.5 * math.log(2 * math.pi)
    assert log_q == pytest.approx(-7.0 + log_normal.sum(axis=1).mean(), abs=0.02)


def test_warming_is_a_global_mean_over_whole_years():
    field = np.zeros((46, 90))
    field[:, :] = np.cos(np.deg2rad(90 - 4 * np.arange(46)))[:, None]
    before = SimpleNamespace(values=np.zeros((24, 46, 90)))
    after = SimpleNamespace(values=np.concatenate([np.full((12, 46, 90), 0.01) * field, np.full((5, 46, 90), 9.0)]))
    # the mean of cos(latitude) over the sphere is pi / 4
    assert sphere_impute.warming(before, after) == pytest.approx(118.27 * 0.01 * math.pi / 4, rel=2e-3)


def gaussian_prior():
    basis = np.linalg.qr(RNG.normal(size=(4140, 3)))[0]
    as32 = lambda a: jax.numpy.asarray(a, jax.numpy.float32)  # noqa: E731
    mean = np.full(4140, 0.5)
    return GaussianPrior(as32(mean), as32(basis), as32([40.0, 20.0, 10.0]), as32(0.01), shape=(46, 90))


def test_standardized_errors_and_their_common_part(tmp_path):
    truth = gaussian_prior()
    fields = SimpleNamespace(values=np.asarray(truth.sample(jax.random.key(1), 200)), name="draws", split="test")
    case = measured.measure(MaskTask(), fields, 200)
    task = Task(MaskTask.operator, 0.05, truth, fields.values, unit_range=False)
    errors = sphere_impute.standardized_errors(gaussian_posterior(task), case)
    assert errors.shape == (200, 3)
    run = run_with(tmp_path)
    sphere_impute.store_shift(run, errors)
    numbers = run.as_dict()["numbers"]
    # 600 standard normal numbers; the common part of independent errors is zero
    assert abs(numbers["shift.all"]["value"] - 1) < 4 * math.sqrt(2 / 600)
    assert abs(numbers["shift.common"]["value"]) < 0.02
    run = run_with(tmp_path)
    sphere_impute.store_shift(run, errors + 0.5)
    assert run.as_dict()["numbers"]["shift.common"]["value"] == pytest.approx(0.25, abs=0.1)


def test_coverage_by_latitude_tells_the_zones_apart():
    fields = SimpleNamespace(values=np.zeros((3, 46, 90)), name="zero", split="test")
    case = measured.measure(MaskTask(), fields, 3)

    class Exact:
        """Exact within 20 degrees of the equator, far off elsewhere."""

        def sample(self, key, measurement, n):
            off = np.where(np.abs(90 - 4 * np.arange(46)) < 20, 0.0, 9.0)[:, None]
            return jax.random.normal(key, (n, 46, 90)) + off

    near, far = sphere_impute.coverage_by_latitude(Exact(), jax.random.key(0), case, 64)
    assert near.shape == far.shape == (3,)
    assert (near > 99).all()  # the truth, 0, is the centre of the samples
    assert (far == 0).all()


def test_separate_calls_and_density_agreement():
    class Slow:
        def sample(self, key, measurement, n):
            calls.append(n)
            return jax.numpy.zeros(n)

    calls = []
    assert sphere_impute.separate_calls(Slow(), jax.random.key(0), None, 5) > 0
    assert calls == [1] * 6

    class Off:
        flow = SimpleNamespace(dim=10)

        def sample_and_log_prob(self, key, measurement, n):
            return jax.numpy.zeros((n, 10)), jax.numpy.full(n, 4.0)

        def log_prob(self, x, measurement):
            return jax.numpy.full(len(x), 4.5)

    assert sphere_impute.density_agreement(Off(), jax.random.key(0), None) == pytest.approx((4.0, 0.05))


def test_era5_frames_only_where_they_are(tmp_path, monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    assert sphere_impute.era5_frames() is None
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no data set in a known layout.*era5_real_5frames_46x90.npz"):
        sphere_impute.era5_frames()
    fields = np.full((2, 46, 90), 280.0)
    axes = {"latitude": 90.0 - 4 * np.arange(46), "longitude": 4.0 * np.arange(90)}
    np.savez(tmp_path / "era5_real_5frames_46x90.npz", temperature=fields, **axes)
    assert len(sphere_impute.era5_frames().values) == 2


def test_globe_of_an_imputation():
    from aps_book.figures import maps

    x0 = RNG.random((46, 90))
    mask = (RNG.random((46, 90)) < 0.4).astype(float)
    fig = maps.imputation_globe(x0, Measurement(mask * x0, mask), RNG.random((8, 46, 90)), when="02/2016")
    titles = [ax.get_title() for part in fig.subfigs for ax in part.axes if ax.get_title()]
    assert titles[:3] == ["truth, 02/2016", "measurement (missing: grey)", "sample 1"]
    assert titles[5:] == ["mean of 8", "standard deviation", "mean − truth"]
    with pytest.raises(ValueError, match="samples has shape"):
        maps.imputation_globe(x0, Measurement(mask * x0, mask), x0)


@pytest.mark.parametrize("complete", [True, False])
def test_a_file_of_the_users_is_measured_and_recorded(tmp_path, complete):
    """A field with gaps as it stands, a complete one with cells left out and noise added; figure and numbers of both."""
    import xarray

    from aps_book.figures import maps

    month = data.load("ncep-temperature", "test").values[5].astype(np.float64)
    kelvin = np.where((np.arange(90) < 9) & (not complete), np.nan, 202.66 + 118.27 * month)[None]
    axes = {"time": np.array(["2020-07-01"], "M8[ns]"), "lat": 90.0 - 4 * np.arange(46), "lon": 4.0 * np.arange(90)}
    dataset = xarray.Dataset({"t": (("time", "lat", "lon"), kelvin, {"units": "K"})}, axes)
    dataset.to_netcdf(tmp_path / "a.nc", engine="scipy")

    class Guess:
        def sample(self, key, measurement, n):
            return month + 0.1 * np.array([-1.0, 0.0, 1.0])[:, None, None]

    field, measurement, samples = sphere_impute.own_field(
        MaskTask(), Guess(), jax.random.key(0), tmp_path / "a.nc", "", 3
    )
    run = run_with(tmp_path)
    sphere_impute.store_own(run, measurement, samples)
    found = {key: number["value"] for key, number in run.as_dict()["numbers"].items()}
    np.testing.assert_allclose([found["own.spread_observed"], found["own.spread_missing"]], 11.827, rtol=1e-4)
    if complete:
        np.testing.assert_allclose(field.exact, month, atol=1e-6)
        assert abs(found["own.observed"] - 40) < 3 and found["own.misfit"] == pytest.approx(0.05 * 118.27, rel=0.05)
    else:
        assert found["own.observed"] == pytest.approx(90) and found["own.misfit"] < 1e-3
    fig = maps.imputation_globe(field.exact, measurement, samples, when=field.time[:10])
    titles = [ax.get_title() for part in fig.subfigs for ax in part.axes if ax.get_title()]
    assert titles[0] == ("truth, 2020-07-01" if complete else "measurement, 2020-07-01 (missing: grey)")
    assert ("mean − truth" in titles) == complete


def test_bands_have_the_names_of_their_modes():
    groups = sphere_impute.coverage_groups(11, 2)
    assert groups == {"all": "all cells", "band1": "EOF 1–6", "band2": "EOF 7–11"}


@pytest.mark.long
def test_flows_trained_blind_are_added_in_pairs(tmp_path):
    """Only numbers that the full run has under no other meaning, and those of the same months where it has them."""
    run, months = run_with(tmp_path), data.load("ncep-temperature", "test")
    blind_trained.store(run, months, 2, 3)
    numbers = {key: number["value"] for key, number in run.as_dict()["numbers"].items()}
    rows = ("told", "inferred", "trained")
    assert {key for key in numbers if key.endswith("gain")} == {
        "r30.trained.gain",
        "r60.trained.gain",
        "unknown.trained.gain",
    }
    assert {key.split(".")[1] for key in numbers if key.endswith("psnr")} == set(rows) < set(blind_impute.UNKNOWN)
    difference = numbers["unknown.trained.psnr"] - numbers["unknown.inferred.psnr"]
    assert numbers["unknown.trained.gain"] == pytest.approx(difference) and abs(difference) < 1.5
