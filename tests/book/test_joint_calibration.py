"""The chapter on joint calibration: its samplers and what it finds where the posterior is known."""

import jax
import numpy as np
import pytest

import aps_core
from aps_book import record
from aps_book.experiments import joint_calibration as study
from aps_book.experiments import joint_kept
from aps_book.figures import charts, ranks
from aps_book.record import figure_data
from aps_core.metrics import calibration, joint
from aps_core.samplers import make_sampler


def test_a_panel_for_each_quantity():
    band = calibration.rank_band(np.random.default_rng(0).integers(0, 32, 60), 31)
    fig = ranks.rank_panels({"pixel": {"a": band, "b": band}, "log q": {"a": band}})
    assert [ax.get_title() for ax in fig.axes if ax.get_visible()] == ["pixel", "log q"]
    with pytest.raises(ValueError, match="empty"):
        ranks.rank_panels({})


def test_panels_of_a_full_run_are_drawn_from_what_it_keeps(tmp_path):
    band = calibration.rank_band(np.random.default_rng(0).integers(0, 32, 60), 31)
    (tmp_path / "kept.npz").write_bytes(figure_data.packed({"ranks": {"panels": {"pixel": {"a": band}}}}))
    kept = figure_data.unpacked(tmp_path / "kept.npz")["ranks"]
    (now, _), (then, _) = (
        ranks.rank_panels(panels).axes[0].lines for panels in ({"pixel": {"a": band}}, kept["panels"])
    )
    np.testing.assert_allclose(then.get_xydata(), now.get_xydata())


def test_a_row_for_each_sampler():
    fig = charts.rows_with_errors({"one": {"a": (50.0, 1.0), "b": (60.0, 2.0)}, "two": {"a": (51.0, 1.0)}}, 50.0, "%")
    assert [tick.get_text() for tick in fig.axes[0].get_yticklabels()] == ["one", "a", "b", "two", "a"]
    with pytest.raises(ValueError, match="empty"):
        charts.rows_with_errors({"one": {}}, 50.0, "%")


def test_draws_of_other_measurements_are_never_ones_own():
    task = aps_core.load_task("mixture2")
    signals = np.arange(40, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    measured = task.measure(jax.random.key(0), task.prior.sample(jax.random.key(1), 40))
    found = np.asarray(study.PriorDraws(task, signals).sample(jax.random.key(2), measured, 31))
    assert found.shape == (40, 31, 2)
    assert not np.any(found[..., 0] == np.arange(40)[:, None])
    assert all(len(np.unique(row[:, 0])) == 31 for row in found)


def test_every_problem_names_weights_that_are_shipped():
    for problem, of in study.PROBLEMS.items():
        named = study.labels(problem)
        assert len(set(named.values())) == len(named)
        if "flow" in of.weights and of.prior:
            assert aps_core.posterior.default_weights(of.task) in of.weights.values()
        assert (of.prior is None) == (problem in ("gaussian16", "mixture2"))


def small_found(seed=0):
    band = calibration.rank_band(np.random.default_rng(seed).integers(0, 32, 60), 31)
    tarp = joint.Tarp(band, np.array([0.5, 0.9]), np.array([0.4, 0.8]), np.array([0.1, 0.1]), 0.01, 0.02)
    return joint_kept.Found(np.ones((60, 6)), {"entry": band, "log_q": band}, tarp, {"all": joint.C2st(0.6, 0.1, 60)})


def test_what_a_sampler_was_found_to_be_is_kept_whole():
    found = small_found()
    again = joint_kept.unpacked(joint_kept.packed(found))
    for a, b in zip(jax.tree.leaves(vars(found)), jax.tree.leaves(vars(again)), strict=True):
        assert np.array_equal(a, b)
    assert again.ranks.keys() == found.ranks.keys() and again.c2st["all"].n == 60
    few = joint_kept.Found(None, {}, None, {"all": joint.C2st(0.6, 0.1, 60)})
    assert joint_kept.unpacked(joint_kept.packed(few)) == few


def test_a_full_run_repeats_no_row_and_a_build_keeps_none(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(joint_kept, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(joint_kept, "code", lambda: "code")

    def make(seed):
        made.append(seed)
        return joint_kept.packed(small_found(seed))

    joint_kept.keeper(n=1)("row", lambda: make(0))
    assert not (tmp_path / "kept").exists()
    monkeypatch.setenv("APS_FULL_RUN", "1")
    first, second = (joint_kept.keeper(n=1)("row", lambda: make(1)) for _ in range(2))
    assert made == [0, 1] and all(np.array_equal(first[name], second[name]) for name in first)
    joint_kept.keeper(n=2)("row", lambda: make(2))
    monkeypatch.setattr(joint_kept, "code", lambda: "other code")
    joint_kept.keeper(n=1)("row", lambda: make(3))
    assert made == [0, 1, 2, 3]


def test_too_few_pairs_for_the_classifier_are_refused_at_once():
    rule = study.pairs(512)
    assert rule("n", 0) == 0 and rule("n", 20) == 20
    with pytest.raises(ValueError, match="n = 16: expected 0 or an integer of at least 20"):
        rule("n", 16)


def test_dps_stands_as_it_comes_and_the_others_as_they_were_tuned():
    task = aps_core.load_task("gaussian16")
    found = study.rivals_of("gaussian16", task)
    assert list(found) == list(study.RIVALS)
    as_it_comes = make_sampler("dps", task)
    assert (found["dps"].n_steps, found["dps"].step_size) == (as_it_comes.n_steps, as_it_comes.step_size)
    assert found["dps_tuned"].step_size < found["dps"].step_size
    assert study.rivals_of("gaussian16", task, ("dps",), 7)["dps"].n_steps == 7


def p_of(found, row):
    return {name: band.p for name, band in found[row].ranks.items()} | {"tarp": found[row].tarp.band.p}


@pytest.mark.long
def test_known_gaussian(tmp_path):
    """The closed form and the trained flow pass everything; draws of the prior pass the coordinates and fail by the
    likelihood, TARP and the classifier; DPS fails.
    """
    found = study.study("gaussian16", 64, 31, correct=False, dps_steps=100)
    for row in ("closed", "flow"):
        assert min(p_of(found, row).values()) > 0.002, row
        told = found[row].c2st["all"]
        assert abs(told.accuracy - 0.5) < 3 * told.se, row
    prior = p_of(found, "prior")
    assert min(prior[name] for name in ("entry", "mode", "fine_mode")) > 0.002
    assert prior["log_likelihood"] < 0.001 and prior["tarp"] < 0.001
    assert min(p_of(found, "dps").values()) < 0.001
    for row in ("prior", "dps"):
        assert found[row].c2st["all"].accuracy > 0.9
    run = record.start("joint_calibration", {"n_signals": 64}, {"n_signals": record.integer(1)}, tmp_path)
    study.store(run, "gaussian16", found)
    numbers = run.as_dict()["numbers"]
    assert numbers["gaussian16.closed.c2st"]["n"] == 64
    assert abs(numbers["gaussian16.closed.band3_90"]["value"] - 90) < 3


@pytest.mark.long
def test_known_mixture():
    """The posterior itself passes, Metropolis steps mend a Gaussian that fails."""
    found = study.study("mixture2", 400, 31, seed=2, rivals=())
    assert min(p_of(found, "exact").values()) > 0.002
    assert min(p_of(found, "closed").values()) < 0.001
    assert found["closed"].c2st["all"].accuracy > 0.5 + 2 * found["closed"].c2st["all"].se
    for row in ("exact", "corrected"):
        told = found[row].c2st["all"]
        assert abs(told.accuracy - 0.5) < 3 * told.se, row
