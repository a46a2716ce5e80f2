"""What alt texts say of curves follows from their numbers."""

import numpy as np
import pytest

from aps_book.figures import curves, told


def test_a_curve_is_told_by_its_turns():
    steps = [0.0003, 0.001, 0.01, 0.3, 1.0]
    assert told.course(steps, [8.5, 7.0, 3.0, 0.005, 0.04]) == (
        "from 8.5 at 0.0003 falling to 0.005 at 0.3, rising to 0.04 at 1"
    )
    assert (
        told.course([10, 100, 1000], [18.0, 27.0, 22.0]) == "from 18 at 10 rising to 27 at 100, falling to 22 at 1,000"
    )
    assert told.course([2, 0, 1], [3.0, 1.0, 2.0]) == "from 1 at 0 rising to 3 at 2"  # by x, whatever the order
    assert told.course([0, 1, 2], [5.0, 5.002, 5.0]) == "from 5 at 0 flat to 5 at 2"
    assert told.course([0, 1, 2], [np.nan, 5.0, np.inf]) == "5 at 1"
    assert told.course([0], [np.nan]) == "nowhere finite"


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_small_wiggles_are_no_turns(scale):
    y = scale * np.array([1.0, 1.04, 2.0, 1.96, 3.0])
    assert told.course(np.arange(5), y).count(" at ") == 2


def test_it_takes_what_the_drawing_takes():
    lines = {"formula": ([0.1, 1.0], [2.0, 1.0])}
    arguments = {"lines": lines, "points": {"seen": ([0.1], [2.1], [0.1])}, "marks": {"paper": 1.5}, "log_y": True}
    curves.lines_and_points(**arguments)
    assert told.lines_and_points(**arguments) == (
        "line of formula: from 2 at 0.1 falling to 1 at 1; points of seen: 2.1 at 0.1; paper: 1.5."
    )
    arguments = {"curves": {"fit": ([0, 5], [20.0, 25.0], [0.1, 0.1])}, "levels": {"flow": 26.0}, "log_x": False}
    curves.cost_curves(**arguments)
    assert told.curves(**arguments) == "fit: from 20 at 0 rising to 25 at 5; flow: flat at 26."
    arguments = {"curves": {"DPS": {"low": ([0.1, 1.0], [0.3, 0.02])}}, "chosen": {"DPS": 0.1}}
    curves.setting_curves(**arguments)
    assert told.settings(**arguments) == "DPS, low: least, 0.02, at 1, 0.3 at 0.1 in use."
    arguments = {"levels": (0.1, 1.0), "panels": {"bits": {"score": [3.0, 9.0]}}}
    curves.path_curves(**arguments)
    assert told.panels(**arguments) == "bits, score: from 3 at 0.1 rising to 9 at 1."
    arguments = {"counts": [1, 4], "values": [[1.0, 3.0], [1.5, 2.5]], "exact": 2.0, "formula": [1.0, 0.5]}
    curves.trace_band(**arguments, image=np.zeros((2, 2)))
    assert told.trace_band(**arguments) == (
        "Mean: from 2 at 1 flat to 2 at 4; standard deviation: from 1.41 at 1 falling to 0.707 at 4; exact trace: 2."
    )


def test_the_alt_text_of_a_chart_follows_the_record_that_it_is_drawn_from(tmp_path, monkeypatch):
    """The text of the curves stands behind the typed one, for the build and for a full run alike."""
    from aps_book import record
    from aps_book.record import figure_data

    shown = []
    monkeypatch.setattr(record.Run, "figure", lambda run, fig, name, dpi, alt, *rest: shown.append(alt))
    run = record.Run("absent", {}, tmp_path)
    arguments = {"curves": {"flow": ([0, 5], [1.0, 0.1])}}
    run.chart(curves.kl_curves, "kl", arguments, alt="Divergence.", caption="KL.", told=told.curves)
    kept = {"curves": {"flow": ([0, 5], [1.0, 3.0])}}
    monkeypatch.setenv("APS_FULL_FIGURES", "1")
    monkeypatch.setattr(figure_data, "of_full_run", lambda name: {"kl": kept})
    run.chart(curves.kl_curves, "kl", arguments, alt="Divergence.", caption="KL.", told=told.curves)
    assert shown == [
        "Divergence. flow: from 1 at 0 falling to 0.1 at 5.",
        "Divergence. flow: from 1 at 0 rising to 3 at 5.",
    ]


def test_charts_of_records_are_drawn_from_the_full_runs():
    """Every number of theirs stands in a record: no build is needed, and none is mixed in."""
    from aps_book import record
    from aps_book.experiments import cost, samplers, toy2d

    sizes = cost.curves(full := record.full_run("cost"))
    curves.path_curves(**sizes)
    measured = sizes["panels"]["one sample (s)"]["in all entries"]
    assert measured[sizes["levels"].index(3 * 32**2)] == full["numbers"]["s32.dense.sample_seconds"]["value"]
    assert "factorization (s), in all entries, modelled: from" in told.panels(**sizes)
    sweep = samplers.sweep_chart(full := record.full_run("samplers"), tuned=0.03)
    curves.step_size_plot(**sweep)
    (low, _), (ratios, _) = (list(part) for part in zip(*sweep["curves"].items(), strict=True))
    assert low == "σ_y = 0.1" and ratios[1][7] == full["numbers"]["sweep.low.s7.ratio"]["value"] and len(ratios[0]) == 8
    with pytest.raises(KeyError):
        samplers.sweep_chart({"numbers": {}}, tuned=0.03)
    wide = record.full_run("toy2d")["numbers"]["gaussian.dps.high.measured"]["value"]
    said = toy2d.in_words(record.full_run("toy2d"), "gaussian", {"closed": "score prior", "dps": "DPS", "none": "none"})
    assert f"high noise: score prior 1.03, DPS {wide:.2f}." in said and "none" not in said
