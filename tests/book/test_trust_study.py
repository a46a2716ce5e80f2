"""The chapter on trust: what it computes beside the library."""

import jax
import numpy as np
import pytest

import aps_core
from aps_book import record
from aps_book.experiments import diagnosed, trust, trust_faults, trust_mending
from aps_book.figures import diagnoses
from aps_core.metrics.trust import Diagnosis, importance
from aps_core.metrics.trust.reference import shipped_reference


def test_area_under_the_curve():
    assert trust.area([-5, -4], [0, -1, -2]) == (1.0, 0.0)
    assert trust.area([0, 0], [0, 0])[0] == 0.5
    rng = np.random.default_rng(0)
    wrong, right = rng.normal(-1, 1, 3000), rng.normal(0, 1, 3000)
    found, error = trust.area(wrong, right)
    assert abs(found - 0.760) < 3 * error and 0.004 < error < 0.008  # Phi(1 / sqrt 2)


def test_the_curve_has_the_area():
    rng = np.random.default_rng(1)
    wrong, right = np.append(rng.normal(-1, 1, 60), -np.inf), rng.normal(0, 1, 80)
    false, found = trust.curve(wrong, right)
    assert (false[0], found[0], false[-1], found[-1]) == (0, 0, 1, 1)
    assert np.isclose(np.trapezoid(found, false), trust.area(wrong, right)[0])


def test_faulty_pictures_have_the_shape_of_faces():
    found, used = trust_faults.pictures(np.random.default_rng(0).random((3, 32, 32, 3)).astype(np.float32), 3)
    assert {"swapped", "turned", "prior_cifar10", "weather", "uniform"} <= set(found) <= set(trust_faults.FAULTS)
    assert all(np.shape(v) == (3, 32, 32, 3) for v in found.values())
    names = {one.name for one in used}
    assert {"prior-cifar10", "ncep-temperature"} <= names and ("cifar10" in names) == ("cifar10" in found)


def test_packaged_draws_of_the_prior_are_not_those_measured_first():
    drawn, packaged = trust_faults.draws_of_prior(None, 32)
    faces = aps_core.data.faces.prior_faces("test").values
    assert packaged.name == "prior-faces" and np.array_equal(drawn, faces[-32:]) and len(faces) >= 64 + 32


def test_an_aim_is_reached_missed_or_not_settled():
    least, about = trust.Aim("turned", "share", 50.0, "higher"), trust.Aim("drawn", "share", 5.0, None, 2.0)
    number = lambda value, se: {"value": value, "se": se}  # noqa: E731
    assert [least.reached(number(v, 2.0)) for v in (8.0, -8.0, 3.0)] == [True, False, None]
    assert [about.reached(number(v, 0.5)) for v in (0.1, -0.2, 4.0, -4.0, 2.2)] == [True, True, False, False, None]
    assert trust.Aim("right", "share", 15.0, "lower").reached(number(8.0, 2.0)) is False


def test_numbers_of_a_comparison(tmp_path, monkeypatch):
    """Right ones, draws and faults from p-values that are given: shares, areas, aims and the sentence on them."""
    p = {"right": [0.5, 0.02, 0.3, 0.9], "drawn": [0.4, 0.6, 0.7, 0.2], "noise_2": [1e-5, 1e-4], "turned": [0.3, 0.01]}
    monkeypatch.setattr(trust, "diagnosed", lambda _, one: (np.log(one), np.array(one) < 0.05))
    monkeypatch.setattr(trust, "full_run", lambda name: None)
    run = record.Run("trust", {}, tmp_path)
    curves = trust.compared(run, "denoise", None, p)
    trust.store_aims(run, ["denoise"])
    numbers = run.as_dict()["numbers"]
    assert numbers["diagnose.denoise.right.share"]["value"] == 25.0
    assert numbers["diagnose.denoise.noise_2.auc"]["value"] == 1.0
    assert numbers["diagnose.denoise.turned.auc_drawn"]["value"] == 0.875  # 7 of 8 pairs
    assert np.isclose(numbers["aim.noise_2.denoise"]["value"], 0.05)
    assert set(curves) == {"noise_2", "turned"} and curves["turned"][3] == (0.25, 0.5)
    said = trust.tally(run)
    assert "Of 4 aims this build reaches 1 by" in said and "aim.turned.denoise" in said
    assert set(trust.aim_rows(run)) == {"right", "drawn", "noise_2", "turned"}
    assert len(diagnoses.roc_panels(trust.roc_panels({"denoise": curves})).axes) >= 2


def test_scores_are_drawn_in_the_order_of_modes():
    scores = {"modes_17_32": 0.1, "misfit": -9.0, "modes_5_8": 1.0, "rest": 0.3, "closeness": 3.0}
    fig = diagnoses.score_rows({"one": scores, "none": {}})
    labels = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert labels[2:] == ["energy of modes 5 to 8", "energy of modes 17 to 32", "energy outside all modes"]
    with pytest.raises(ValueError, match="no scores"):
        diagnoses.score_rows({"refused": {}})


@pytest.mark.long
def test_corrections_on_a_known_posterior():
    task = aps_core.load_task("gaussian16")
    closed, trained = aps_core.gaussian_posterior(task), aps_core.load_posterior(task, weights=trust_mending.TRAINED)
    measured = task.measure(jax.random.key(1), task.signals("test")[0])
    mean, _ = trust_mending.exact_moments(closed, measured)
    found = importance(trained, jax.random.key(0), measured, 4000)
    z = (found.mean().ravel() - mean) / found.mean_error().ravel()
    assert np.sqrt(np.mean(z**2)) < 1.6 and found.pareto_k < 0.9
    assert importance(trust_mending.wrong_on_purpose(trained), jax.random.key(0), measured, 4000).pareto_k > 0.7


@pytest.mark.slow
def test_the_shipped_reference_is_that_of_the_weights():
    posterior = aps_core.load_posterior("faces-denoise")
    reference = shipped_reference(posterior)
    assert reference is not None and reference.n_draws == 512
    faces = aps_core.data.load("faces", "test").values[:3]
    found = aps_core.diagnose(posterior, posterior.task.measure(jax.random.key(0), faces))
    assert "draws of the prior" in found[0].text
    noisy = aps_core.load_task("faces-denoise", sigma_y=0.2).measure(jax.random.key(0), faces)
    assert all(one.verdict == "refuse" for one in aps_core.diagnose(posterior, noisy))


def test_the_strip_counts_verdicts_and_says_where_there_is_no_reference(tmp_path, monkeypatch):
    task = aps_core.load_task("gaussian16")
    closed, run = aps_core.gaussian_posterior(task), record.Run("faces", {}, tmp_path)
    measurements = task.measure(jax.random.key(0), task.signals("test")[:3])
    assert "no reference is shipped" in diagnosed.said(run, "none", closed, measurements)
    found = [Diagnosis(verdict, {}) for verdict in ("trust", "trust", "refuse")]
    monkeypatch.setattr(diagnosed, "shipped_reference", lambda posterior: "reference")
    monkeypatch.setattr(diagnosed, "diagnose", lambda posterior, few, reference: found)
    said = diagnosed.said(run, "denoise", closed, measurements)
    numbers = run.as_dict()["numbers"]
    assert [numbers[f"diagnosed.denoise.{word}"]["value"] for word in ("trusted", "doubted", "refused")] == [2, 0, 1]
    assert "on 3 of this build's test measurements" in said and "{diagnosed.denoise.refused:.0f} refused" in said


@pytest.mark.slow
def test_a_flow_of_its_own_comes_near_the_posterior():
    task = aps_core.load_task("gaussian16")
    closed, trained = aps_core.gaussian_posterior(task), aps_core.load_posterior(task, weights=trust_mending.TRAINED)
    measured = task.measure(jax.random.key(3), task.signals("test")[0])
    steps, kl, _, _ = trust_mending.of_its_own(trained, closed, measured, 60, 30)
    assert list(steps) == [0, 30, 60] and kl[0] > 1000 and kl[-1] < 20  # nats


def test_seconds_of_a_refinement_without_compiling():
    steps = np.array([0, 10, 20, 40])
    seconds, compiling = trust_mending.without_compiling(steps, np.array([0.0, 32.0, 34.0, 38.0]))
    assert np.allclose(seconds, 0.2 * steps) and np.isclose(compiling, 30.0)
    chart = trust_mending.refinement_chart({"a": (steps, steps + 1.0, steps, np.array([0.0, 32.0, 34.0, 38.0]))})
    assert chart["points"]["a"][0][0] == 0.2 and chart["log_x"]
