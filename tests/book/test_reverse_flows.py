"""The small commands that score the reverse flows: what they keep, that they go on, and how a default flow is chosen."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import default_flows, digit_classes, faces, faces_reverse
from aps_book.experiments.measured import Case
from aps_core import Identity, Measurement, Task, gaussian_posterior
from aps_core.metrics import quality


@pytest.fixture
def problem(make_prior):
    """(task, Case of six signals, closed form with a card) for denoising."""
    prior = make_prior(d=16, k=6, shape=(4, 4))
    task = Task(Identity((4, 4)), 0.1, prior, prior.sample(jax.random.key(0), 12), name="small")
    x0 = task.signals("test")[:6]
    sampler = gaussian_posterior(task)
    sampler.card["sha256"] = "0" * 64
    return task, Case(None, np.arange(6), np.asarray(x0), task.measure(jax.random.key(1), x0)), sampler


def test_scores_are_kept_part_by_part_and_go_on(problem, tmp_path, monkeypatch):
    task, case, sampler = problem
    monkeypatch.setattr(faces_reverse, "PART", 4)
    monkeypatch.setattr(faces, "BAND_MODES", 6)
    monkeypatch.setattr(faces_reverse.evaluation, "score", lambda s, x, scoring: {"energy": np.asarray(s.mean())})
    whole = faces_reverse.scores(task, "aps", sampler, case, 8, tmp_path)
    assert whole["energy"].shape == (6,) and len(list(tmp_path.glob("*.npz"))) == 2
    monkeypatch.setattr(faces_reverse, "_evaluate", None)  # nothing is computed again
    np.testing.assert_array_equal(
        faces_reverse.scores(task, "aps", sampler, case, 8, tmp_path)["energy"], whole["energy"]
    )


def test_some_faces_have_the_draws_of_all(problem, tmp_path, monkeypatch):
    task, case, sampler = problem
    monkeypatch.setattr(faces, "BAND_MODES", 6)
    monkeypatch.setattr(faces_reverse.evaluation, "score", lambda s, x, scoring: {"energy": np.asarray(s.mean())})
    whole = faces_reverse.scores(task, "aps", sampler, case, 8, tmp_path)
    some = faces_reverse.scores(task, "aps", sampler, case, 8, tmp_path, np.array([1, 4]))
    np.testing.assert_array_equal(some["energy"], whole["energy"][[1, 4]])
    run = record.Run("absent", {}, tmp_path)
    ours = {name: np.arange(6.0) for name in ("psnr_n1", "psnr_mean", "energy")}
    faces_reverse.paired(run, "denoise", "reverse", ours, {k: np.array([0.0, 1.0]) for k in ours}, np.array([1, 4]))
    assert run.as_dict()["numbers"]["denoise_versus.reverse.psnr_n128"]["value"] == 2


def test_differences_to_the_closed_form_are_paired_on_the_chosen_faces(problem, tmp_path):
    _, case, _ = problem
    run, where = record.Run("absent", {}, tmp_path), np.array([1, 4])
    rows = {"reverse": {name: np.arange(6.0) for name in ("psnr_n1", "psnr_mean", "energy")}}
    closed = {name: np.array([0.0, 1.0]) for name in ("psnr_n1", "psnr_mean", "energy")}
    faces_reverse.against_closed_form(run, "sr2", rows, closed, where)
    exact = SimpleNamespace(sample=lambda key, few, n: np.asarray(few.y)[:, None])  # the data as the estimate
    faces_reverse.against_tweedie(run, "sr2", rows, exact, case, where)
    numbers = run.as_dict()["numbers"]
    above = numbers["sr2_paired.reverse.psnr_n128"]
    assert (above["value"], above["n"]) == (2.0, 2) and numbers["sr2_paired.reverse.energy"]["value"] == 2.0
    noise = quality.psnr(np.asarray(case.measurements.y)[where], case.x0[where])
    tweedie = numbers["sr2_tweedie.reverse.psnr_n128"]
    assert tweedie["value"] == pytest.approx(np.mean(where - noise)) and tweedie["n"] == 2


def test_rows_of_the_table_say_on_how_many_faces_they_stand():
    on = faces.stands_on(("gaussian", "noise2score", "untrained", "reverse", "dps", "pigdm"))
    assert on["reverse_n128"] == "n_test" and on["untrained_n1"] == "n_iterative" and on["pigdm"] == "n_long"
    assert set(on) == {
        "gaussian_n1",
        "gaussian_n128",
        "noise2score",
        "untrained_n1",
        "untrained_n128",
        "dps",
        "pigdm",
    } | {"reverse_n1", "reverse_n128"}


class Fixed:
    """A posterior whose samples are the truth plus noise of a given size."""

    def __init__(self, x0, spread, words):
        self.x0, self.spread, self.trained_by, self.card = x0, spread, words, {"sha256": words}

    def sample(self, key, measurement, n):
        return measurement.y + self.spread * jax.random.normal(key, (n, *measurement.y.shape))


@pytest.mark.parametrize(
    "spreads, chosen",
    [((0.1, 0.1), "a"), ((0.1, 0.3), "a"), ((0.3, 0.1), "b-reverse"), ((0.005, 0.1), "b-reverse")],
    ids=["a tie keeps the usual one", "the better one", "the better one, reversed", "wrong intervals are out"],
)
def test_the_default_flow_is_chosen_by_energy_score_and_coverage(monkeypatch, spreads, chosen):
    """Samples y + spread n around data y = x + 0.1 n: right with a spread of 0.1."""
    x0 = np.random.default_rng(0).uniform(size=(64, 20)).astype(np.float32)
    task = SimpleNamespace(
        signals=lambda split: x0,
        measure=lambda key, x: Measurement(x + 0.1 * jax.random.normal(key, x.shape)),
        name="small",
    )
    flows = {
        "a": Fixed(x0, spreads[0], "forward divergence, draws of the prior"),
        "b-reverse": Fixed(x0, spreads[1], "reverse divergence, measurements only"),
    }
    monkeypatch.setattr(default_flows, "CANDIDATES", {"small": tuple(flows)})
    monkeypatch.setattr(default_flows, "load_task", lambda name: task)
    monkeypatch.setattr(default_flows, "load_posterior", lambda task, weights: flows[weights])
    found = default_flows.compare("small", n_signals=64, n=32)
    assert found["chosen"] == chosen and set(found["flows"]) == set(flows)
    assert 80 < found["flows"][chosen]["inside_90"][0] < 100


def test_load_posterior_gives_what_the_record_chose():
    for name, one in default_flows.recorded().items():
        assert default_flows.default_weights(name) == one["chosen"], name
        said = default_flows.say(name)
        assert one["flows"][one["chosen"]]["trained_by"] in said and "{" not in said
    assert "was not recorded" in default_flows.say("none")


def test_digits_that_change(monkeypatch):
    """Of one digit a quarter of the samples, and of the other all, show something else."""
    samples = {0: np.array([[3.0], [3.0], [3.0], [5.0]]), 1: np.full((4, 1), 2.0)}
    sampler = SimpleNamespace(sample=lambda key, m, n: samples[int(m.y[0])])
    monkeypatch.setattr(digit_classes, "classify", lambda gaussian, x: np.round(x[..., 0]).astype(int))
    measurements = Measurement(jnp.array([[0.0], [1.0]]))
    found = digit_classes.changes(sampler, None, jax.random.key(0), measurements, np.array([3, 7]), 4)
    np.testing.assert_allclose(found["samples"], [0.25, 1.0])
    np.testing.assert_allclose(found["mean"], [1.0, 1.0])  # their mean, 3.5, is taken for a 4
    np.testing.assert_allclose(found["several"], [1.0, 0.0])
