"""The chapter on samplers: what the record keeps, rows of tables, searches; a non-linear operator through the score
prior.
"""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import known_posteriors, samplers
from aps_book.record import tuning_records
from aps_core import FixedMask, SaturatingSensor

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
    rows = {"exact": samplers.Exact(case), "red_diff.paper": Point(), "surrogate": Point()}
    samples = samplers.compare(run, "mixture2.low", rows, KEY, case, 300, n_fitted=1)
    numbers = run.as_dict()["numbers"]
    assert samples["exact"].shape == (3, 300, 2) and samples["surrogate"].shape == (1, 300, 2)
    assert abs(numbers["mixture2.low.exact.kl"]["value"]) < 0.1 and numbers["mixture2.low.exact.kl"]["se"] > 0
    assert numbers["mixture2.low.exact.ratio"]["value"] == pytest.approx(1, abs=0.15)
    assert "mixture2.low.red_diff.paper.kl" not in numbers
    assert (
        numbers["mixture2.low.red_diff.paper.ratio"]["value"] < 1e-20
        and numbers["mixture2.low.red_diff.paper.mean"]["value"] > 0.3
    )
    assert (
        numbers["mixture2.low.red_diff.paper.energy"]["value"] > 0.02
        and numbers["mixture2.low.red_diff.paper.nfe"]["value"] == 7
    )
    assert numbers["mixture2.low.surrogate.ratio"]["se"] is None  # one measurement
    assert "mixture2.low.red_diff.paper.excess" not in numbers and "mixture2.low.exact.excess" not in numbers
    assert list(samplers.table_rows(run, "mixture2.low")) == ["exact", "surrogate", "red_diff.paper"]
    chart = samplers.chart(run.as_dict(), {"low": "mixture2.low"})["groups"]
    assert chart["low, default setting"] == {"RED-diff": None} and chart["low, tuned"] == {
        "score prior, surrogate": None
    }


def test_a_problem_is_one_of_two():
    with pytest.raises(ValueError, match="problem must be one of .*, got 'faces'"):
        samplers.known_case("faces", 0.1, 2)


def test_paper_and_tuned_rows_have_their_settings(case):
    found = {method: {"best": {}} for method in samplers.TUNED}
    found["dps"] = {"best": {"step_size": 0.2, "n_steps": 50}}
    rows = samplers.iterative(case, found)
    assert rows["dps.paper"].step_size == 1.0 and rows["dps.tuned"].step_size == 0.2 and rows["dps.tuned"].nfe == 50
    assert {row.partition(".")[0] for row in rows} == set(samplers.TUNED)
    denoising = SimpleNamespace(task=known_posteriors.gaussian_case(0.1, 2).task)
    assert not {"mcg.paper", "mcg.tuned"} & samplers.iterative(denoising, found).keys()


def test_variants_differ_from_the_tuned_row_of_their_method_in_their_own_settings_alone(case):
    best = {"dps": {"step_size": 0.2}, "pigdm": {"rule": "score", "n_steps": 20}, "daps": {"n_inner": 5}}
    found = {method: {"best": best.get(method, {})} for method in samplers.TUNED}
    tuned, rows = samplers.iterative(case, found), samplers.variants(case, found)
    assert list(rows) == list(samplers.VARIANTS)
    for row, sampler in rows.items():
        own, base = samplers.VARIANTS[row][1], tuned[f"{row.partition('.')[0]}.tuned"]
        names = [field.name for field in dataclasses.fields(base) if field.init]
        changed = {name for name in names if getattr(base, name) != getattr(sampler, name)}
        assert changed == set(own), row  # each says something that the class does not do by itself
    assert rows["dps.clip"].clip and rows["dps.clip"].last_pull and rows["pigdm.red_diff"].n_steps == 20


def test_variants_stand_below_their_method(run):
    for row in ("dps.tuned", "dps.clip", "pigdm.tuned"):
        run.number(f"mixture2.low.{row}.kl", 0.2, 0.01, n=4)
    assert list(samplers.table_rows(run, "mixture2.low")) == ["dps.tuned", "dps.clip", "pigdm.tuned"]
    _, _, dps, clipped, pigdm = samplers.verdicts(run.as_dict()["numbers"]).splitlines()
    assert dps.startswith("| DPS |") and clipped.startswith("| DPS, estimate clipped |") and "0.200 ± 0.010" in clipped
    assert pigdm.startswith("| PiGDM |")


@pytest.mark.slow
def test_the_search_keeps_the_best_and_the_papers_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(samplers, "GRIDS", {"ddrm": ({"n_steps": (3,), "eta": (0.5, 1.0)},)})
    path = tmp_path / "a.search.json"
    found = samplers.search(path, ("mixture2",), ("ddrm",), progress=lambda *a: None)
    assert json.loads(path.read_text()) == json.loads(json.dumps(found))
    result = tuning_records.read(path)["mixture2"]["ddrm"]
    scores = [row["score"] for row in result["search"]]
    assert len(scores) == 2 and result["search"][int(np.argmin(scores))]["settings"] == result["best"]
    assert result["paper"] not in scores and result["signals"] == "val" and result["sigma_y"] == 0.05
    table = tuning_records.summary(found["mixture2"], samplers.LABELS).splitlines()
    assert (
        len(table) == 3 and f"| DDRM | 2 | {result['paper']:.3g} | {min(scores):.3g} | n steps = 3, eta = " in table[2]
    )


def test_the_recorded_searches_are_of_the_methods_that_the_chapter_tunes():
    found = tuning_records.read(tuning_records.path("samplers"))
    assert set(found["mixture2"]) == set(samplers.TUNED)
    assert set(found["gaussian16"]) == set(samplers.TUNED) - {"mcg"}
    for problem, methods in found.items():
        for method, result in methods.items():
            tried = [tuple(sorted(row["settings"].items())) for row in result["search"]]
            wanted = {
                tuple(sorted(zip(grid, values, strict=True)))
                for grid in samplers.GRIDS[method]
                for values in itertools.product(*grid.values())
            }
            assert len(tried) == len(wanted) and set(tried) == wanted, (problem, method)
            assert result["sigma_y"] == samplers.LOW[problem]
    with pytest.raises(FileNotFoundError, match="no nothing.search.json"):
        tuning_records.path("nothing")


@pytest.mark.long
@pytest.mark.parametrize("row", ["score_prior", "surrogate"])
def test_score_priors_take_an_operator_that_is_not_linear(row):
    """Beside the posterior on a grid."""
    sensor = SaturatingSensor(FixedMask(np.array([1.0, 0.0])), gain=2.0)
    case = known_posteriors.mixture_case(0.05, 1, operator=sensor)
    samples, _ = samplers.draw(samplers.score_priors(case, 400, (row,))[row], KEY, case, 2000)
    found = case.judge(samples)
    assert found["kl"][0] < 0.1 and found["energy"][0] < 0.005


def test_excess_is_paired_by_measurement(case, run):
    half = type(
        "Half",
        (),
        {"nfe": 1, "sample": lambda self, key, one, n: 0.5 + 0.05 * np.asarray(jax.random.normal(key, (n, 2)))},
    )()
    rows = {"exact": samplers.Exact(case), "dps.tuned": half}
    drawn = samplers.compare(run, "m", rows, KEY, case, 300)
    apart = case.judge(drawn["dps.tuned"])["kl"] - case.judge(drawn["exact"])["kl"]
    number = run.as_dict()["numbers"]["m.dps.tuned.excess"]
    assert number["value"] == pytest.approx(apart.mean()) and number["n"] == len(case.x0)
    assert number["se"] == pytest.approx(apart.std(ddof=1) / np.sqrt(len(apart)))


def test_verdicts_are_bold_where_the_divergence_is_not_resolved_from_that_of_exact_draws():
    number = lambda value, se: {"value": value, "se": se, "unit": None}  # noqa: E731
    numbers = {
        "gaussian16.low.aps.kl": number(0.002, 0.001),
        "gaussian16.low.aps.excess": number(0.001, 0.0006),
        "gaussian16.low.dps.paper.kl": number(1.5, 0.1),
        "gaussian16.low.dps.paper.excess": number(1.5, 0.1),
        "gaussian16.low.dps.tuned.kl": number(0.005, 0.0019),
        "gaussian16.low.dps.tuned.excess": number(0.004, 0.0021),
        "mixture2.high.dps.paper.kl": number(0.02, None),
        "mixture2.high.dps.paper.excess": number(0.001, None),
        "mixture2.high.dps.tuned.kl": number(0.01, 0.001),
        "mixture2.high.dps.tuned.excess": number(0.01, 0.001),
    }
    *_, aps, dps = samplers.verdicts(numbers).splitlines()
    assert aps == "| APS (reverse, held-out measurements) | **0.002 ± 0.001** | – | – | – |"
    assert dps == "| DPS | 1.500 ± 0.100 / **0.005 ± 0.002** | – | – | 0.020 / 0.010 ± 0.001 |"


def test_methods_are_named_from_near_to_far(run):
    for row, kl in {"dps.tuned": 0.3, "dps.paper": 0.01, "score_prior": 0.1, "mcg.tuned": None, "exact": 0.0}.items():
        run.number(f"a.{row}.nfe", 1)
        if kl is not None:
            run.number(f"a.{row}.kl", kl)
    assert samplers.nearest_first(run.as_dict(), "a") == "score prior, exact, DPS; infinitely far MCG"
