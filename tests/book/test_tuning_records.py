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


def a_search(metric, scores, **others):
    """What ``tune`` found for step sizes {size: score}, None where it was not finite."""
    column = {"psnr": "psnr", "energy": "energy"}.get(metric, "score")
    rows = [
        {"settings": {"step_size": size, **others}, "finite": score is not None, column: score}
        for size, score in scores.items()
    ]
    finite = [row for row in rows if row["finite"]]
    best = (max if metric == "psnr" else min)(finite, key=lambda row: row[column])
    return {"metric": metric, "search": rows, "best": best["settings"]}


def test_a_best_setting_at_the_edge_is_said_with_what_the_next_one_changes():
    found = {
        "mcg": a_search("psnr", {0.1: 21.5, 0.3: 21.4, 1.0: 20.0}, n_steps=100, rule="paper"),
        "dps": a_search("psnr", {0.1: 21.5, 0.3: 22.4, 1.0: 20.0}),
        "pigdm": a_search("kl", {0.1: 3.0, 0.3: None, 1.0: 2.0}),
        "ddrm": a_search("energy", {0.5: 1.0, 1.0: 2.0}),
    }
    assert tuning_records.at_edge(found["mcg"]) == [("step_size", 0.1, 0.3, pytest.approx(-0.1))]
    assert tuning_records.at_edge(found["dps"]) == [] and tuning_records.at_edge(found["pigdm"])[0][3] is None
    said = tuning_records.edges(found, str.upper)
    assert "MCG, step size = 0.1 (at 0.3: -0.1 dB); PIGDM, step size = 1 (at 0.3: not finite); DDRM" in said
    assert tuning_records.edges({"dps": found["dps"]}).startswith("No chosen setting lies at the edge")
    alone = a_search("energy", {0.5: 1.0, 1.0: 2.0})
    alone["search"][1]["settings"]["gamma"] = 1.0
    assert tuning_records.at_edge(alone) == [("step_size", 0.5, None, None)]
    eta = {"metric": "energy", "best": {"eta": 1.0}}
    eta["search"] = [{"settings": {"eta": v}, "finite": True, "energy": 1 / v} for v in (0.5, 1.0)]
    assert tuning_records.at_edge(eta) == []  # nothing lies beyond


def test_what_is_not_finite_is_never_the_best():
    earlier = {"metric": "psnr", "search": [{"settings": {"a": 1}, "psnr": None, "finite": False}]}
    later = {"metric": "psnr", "search": [{"settings": {"a": 2}, "psnr": 3.0, "finite": True}]}
    assert tuning_records.merged(earlier, later)["best"] == {"a": 2}
