"""Searches of settings that are gone on with: nothing is tried twice, and the best is the best of all that was tried."""

import pytest

from aps_book.record import tuning_records

GRIDS = ({"n_steps": (10,), "eta": (0.5, 1.0)}, {"n_steps": (10, 20), "eta": (1.0,)})


def tuner(metric, badness):
    """What ``tune`` would give for one combination, and the list of what was asked."""
    asked = []

    def tune_one(grid):
        chosen = {name: values[0] for name, values in grid.items()}
        asked.append(chosen)
        value = badness(chosen)
        scores = {"psnr": -value} if metric == "psnr" else {"energy": value} if metric == "energy" else {"score": value}
        row = {"settings": chosen, "finite": value is not None, **scores}
        return {"metric": metric, "best": chosen, "search": [row]}

    return tune_one, asked


@pytest.mark.parametrize("metric", ["psnr", "energy", "badness"])
def test_what_was_tried_is_not_tried_again(metric):
    tune_one, asked = tuner(metric, lambda one: abs(one["eta"] * one["n_steps"] - 10.5))
    found = tuning_records.extended(None, GRIDS[:1], tune_one)
    assert found["best"] == {"n_steps": 10, "eta": 1.0} and len(asked) == 2
    again = tuning_records.extended(found, GRIDS, tune_one)
    assert len(asked) == 3 and [row["settings"] for row in again["search"]] == asked
    assert again["best"] == {"n_steps": 10, "eta": 1.0}
    assert tuning_records.extended(again, GRIDS, None) == again


def test_what_is_not_finite_is_never_the_best():
    earlier = {"metric": "psnr", "search": [{"settings": {"a": 1}, "psnr": None, "finite": False}]}
    later = {"metric": "psnr", "search": [{"settings": {"a": 2}, "psnr": 3.0, "finite": True}]}
    assert tuning_records.merged(earlier, later)["best"] == {"a": 2}
