"""The chapter on samplers: what the record keeps, rows of tables, searches; a non-linear operator through the score prior."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aps_core import FixedMask, SaturatingSensor, known_posteriors, record, sampler_study, searches

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def case():
    return known_posteriors.mixture_case(0.05, 3)


@pytest.fixture
def run(tmp_path):
    return record.Run("samplers_absent", {}, tmp_path)


class Point:
    """All samples at one place."""

    nfe = 7

    def sample(self, key, measurement, n):
        return np.full((n, 2), 0.5)


def test_scores_are_kept_and_an_infinite_divergence_is_left_out(case, run):
    rows = {"exact": sampler_study.Exact(case), "red_diff.paper": Point(), "surrogate": Point()}
    samples = sampler_study.compare(run, "mixture2.low", rows, KEY, case, 300, n_fitted=1)
    numbers = run.as_dict()["numbers"]
    assert samples["exact"].shape == (3, 300, 2) and samples["surrogate"].shape == (1, 300, 2)
    assert abs(numbers["mixture2.low.exact.kl"]["value"]) < 0.1 and numbers["mixture2.low.exact.kl"]["se"] > 0
    assert numbers["mixture2.low.exact.ratio"]["value"] == pytest.approx(1, abs=0.15)
    assert "mixture2.low.red_diff.paper.kl" not in numbers
    assert numbers["mixture2.low.red_diff.paper.ratio"]["value"] < 1e-20 and numbers["mixture2.low.red_diff.paper.mean"]["value"] > 0.3
    assert numbers["mixture2.low.red_diff.paper.energy"]["value"] > 0.02 and numbers["mixture2.low.red_diff.paper.nfe"]["value"] == 7
    assert numbers["mixture2.low.surrogate.ratio"]["se"] is None  # one measurement
    assert list(sampler_study.table_rows(run, "mixture2.low")) == ["exact", "surrogate", "red_diff.paper"]
    chart = sampler_study.chart(run, {"low": "mixture2.low"})
    assert chart["low, paper's setting"] == {"RED-diff": None} and chart["low, tuned"] == {"score prior, surrogate": None}


def test_a_problem_is_one_of_two():
    with pytest.raises(ValueError, match="problem must be one of .*, got 'faces'"):
        sampler_study.known_case("faces", 0.1, 2)


def test_paper_and_tuned_rows_have_their_settings(case):
    found = {method: {"best": {}} for method in sampler_study.TUNED}
    found["dps"] = {"best": {"step_size": 0.2, "n_steps": 50}}
    rows = sampler_study.iterative(case, found)
    assert rows["dps.paper"].step_size == 1.0 and rows["dps.tuned"].step_size == 0.2 and rows["dps.tuned"].nfe == 50
    assert {row.partition(".")[0] for row in rows} == set(sampler_study.TUNED)
    denoising = SimpleNamespace(task=known_posteriors.gaussian_case(0.1, 2).task)
    assert not {"mcg.paper", "mcg.tuned"} & sampler_study.iterative(denoising, found).keys()


def test_the_search_keeps_the_best_and_the_papers_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_study, "GRIDS", {"ddrm": {"n_steps": (3,), "eta": (0.5, 1.0)}})
    path = tmp_path / "a.search.json"
    found = sampler_study.search(path, ("mixture2",), ("ddrm",), progress=lambda *a: None)
    assert json.loads(path.read_text()) == json.loads(json.dumps(found))
    result = searches.read(path)["mixture2"]["ddrm"]
    scores = [row["score"] for row in result["search"]]
    assert len(scores) == 2 and result["search"][int(np.argmin(scores))]["settings"] == result["best"]
    assert result["paper"] not in scores and result["signals"] == "val" and result["sigma_y"] == 0.05
    table = searches.summary(found["mixture2"], sampler_study.LABELS).splitlines()
    assert len(table) == 3 and f"| DDRM | 2 | {result['paper']:.3g} | {min(scores):.3g} | n steps = 3, eta = " in table[2]


def test_the_recorded_searches_are_of_the_methods_that_the_chapter_tunes():
    found = searches.read(searches.path("samplers"))
    assert set(found["mixture2"]) == set(sampler_study.TUNED)
    assert set(found["gaussian16"]) == set(sampler_study.TUNED) - {"mcg"}
    for problem, methods in found.items():
        for method, result in methods.items():
            tried = {name: tuple(dict.fromkeys(row["settings"][name] for row in result["search"])) for name in result["best"]}
            assert tried == sampler_study.GRIDS[method] and result["sigma_y"] == sampler_study.LOW[problem]
    with pytest.raises(FileNotFoundError, match="no nothing.search.json"):
        searches.path("nothing")


@pytest.mark.slow
@pytest.mark.parametrize("row", ["score_prior", "surrogate"])
def test_score_priors_take_an_operator_that_is_not_linear(row):
    """Beside the posterior on a grid."""
    sensor = SaturatingSensor(FixedMask(np.array([1.0, 0.0])), gain=2.0)
    case = known_posteriors.mixture_case(0.05, 1, operator=sensor)
    samples, _ = sampler_study.draw(sampler_study.score_priors(case, 400, (row,))[row], KEY, case, 2000)
    found = case.judge(samples)
    assert found["kl"][0] < 0.1 and found["energy"][0] < 0.005
