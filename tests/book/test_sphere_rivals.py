"""DPS and MCG on the sphere: which months, what is kept, the speed-up."""

import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import measured, sphere_rivals
from aps_book.record import tuning_records

RNG = np.random.default_rng(0)


def scores(psnr):
    n = len(psnr)
    return {
        "psnr_n1": np.array(psnr),
        "psnr_weighted_n1": RNG.normal(30, 1, n),
        "ssim_n1": RNG.uniform(size=n),
        "ssim11_n1": RNG.uniform(size=n),
        "psnr_mean": np.array(psnr) + 3,
        "coverage": np.full((n, 2), 0.5),
        "energy": np.array(psnr) / 10,
    }


def test_a_subset_is_of_the_same_measurements():
    case = measured.Case(None, np.arange(10) * 5, RNG.normal(size=(10, 46, 90)), np.arange(10.0))
    few, positions = sphere_rivals.subset(case, 3)
    assert positions.tolist() == [0, 4, 9] and few.chosen.tolist() == [0, 20, 45]
    np.testing.assert_array_equal(few.x0, case.x0[positions])
    np.testing.assert_array_equal(few.measurements, [0.0, 4.0, 9.0])


def test_differences_are_paired_by_month(tmp_path):
    run = record.Run("sphere_absent", {}, tmp_path)
    flow = scores([30.0, 99.0, 33.0])
    sphere_rivals.store(
        run, "test", {"dps": scores([29.0, 31.0]), "mcg": scores([20.0, 21.0])}, {"aps": flow}, np.array([0, 2])
    )
    numbers = run.as_dict()["numbers"]
    assert numbers["iterative.aps.above_dps"]["value"] == pytest.approx(1.5)
    assert numbers["iterative.aps.psnr_mean"]["value"] == pytest.approx(34.5)
    assert numbers["test.dps.psnr"]["value"] == 30 and numbers["iterative.mcg.above_dps"]["value"] == pytest.approx(
        -9.5
    )
    assert numbers["iterative.dps.minus_flow.energy"]["value"] == pytest.approx(3.0 - 3.15)
    assert "iterative.aps.minus_flow.energy" not in numbers and numbers["iterative.aps.energy"]["n"] == 2
    assert "iterative.dps.above_dps" not in numbers and numbers["iterative.dps.coverage_90"]["value"] == 50


def test_speed_up_is_a_ratio_of_seconds(tmp_path, monkeypatch):
    run = record.Run("sphere_absent", {}, tmp_path)
    monkeypatch.setattr(sphere_rivals.evaluation, "seconds_per_measurement", lambda *args, **settings: 3.0)
    sphere_rivals.store_seconds(run, "test", {"dps": None}, None, None, 0.05)
    numbers = run.as_dict()["numbers"]
    assert numbers["test.dps.seconds"]["value"] == 3 and numbers["speedup.dps"]["value"] == 60


def test_the_recorded_search_has_its_best_inside_for_dps():
    found = tuning_records.read(tuning_records.path("sphere_impute"))
    sizes = [row["settings"]["step_size"] for row in found["dps"]["search"]]
    assert min(sizes) < found["dps"]["best"]["step_size"] < max(sizes) and set(found) == set(sphere_rivals.ROWS)
