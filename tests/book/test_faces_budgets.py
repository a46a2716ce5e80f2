"""The samplers that iterate at several budgets: the search goes on at its edges, scores are those of the posterior where it
is known, and what is done is kept.
"""

import jax
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import faces_budgets
from aps_book.experiments.kept import kept
from aps_book.experiments.measured import Case
from aps_core import Identity, Task, gaussian_posterior
from aps_core.metrics import quality


def fake_tune(best_at):
    """Like ``tune``, with an energy score that is smallest where the varied number is ``best_at``."""

    def tune(method, task, grid, **settings):
        name = next(n for n, values in grid.items() if n in ("step_size", "prior_variance", "eta"))
        rows = [
            {"settings": {**{n: v[0] for n, v in grid.items()}, name: value}, "finite": True,
             "energy": abs(np.log(value / best_at))}
            for value in grid[name]
        ]  # fmt: skip
        return {"metric": "energy", "search": rows, "best": min(rows, key=lambda row: row["energy"])["settings"]}

    return tune


@pytest.mark.parametrize(("best_at", "found"), [(3.0, 4.0), (1.0, 1.0), (30.0, 32.0), (0.5, 0.5), (1e4, 64.0)])
def test_a_search_goes_on_beyond_its_edge(monkeypatch, best_at, found):
    """Beyond both edges, by three settings at most, and no further than the best."""
    monkeypatch.setattr(faces_budgets, "tune", fake_tune(best_at))
    result = faces_budgets.search(None, "dps", 50)
    assert result["best"] == {"n_steps": 50, "step_size": found}
    assert len({row["settings"]["step_size"] for row in result["search"]}) == len(result["search"]) <= 7


@pytest.mark.parametrize(("best_at", "found"), [(0.3, 0.5 / 2**0.5), (0.7, 0.7), (2.0, 1.0)])
def test_the_search_of_ddrm_stays_within_the_bounds_of_its_setting(monkeypatch, best_at, found):
    monkeypatch.setattr(faces_budgets, "tune", fake_tune(best_at))
    assert faces_budgets.search(None, "ddrm", 50)["best"]["eta"] == pytest.approx(found)


def test_scores_of_an_exact_posterior(make_prior):
    """Of a Gaussian posterior the exact mean lies half the squared error of a sample away, and intervals hold 90 %."""
    prior = make_prior(d=16, k=16, shape=(4, 4))
    task = Task(Identity((4, 4)), 0.1, prior, prior.sample(jax.random.key(0), 64), name="small")
    x0 = task.signals("test")
    case = Case(None, np.arange(64), np.asarray(x0), task.measure(jax.random.key(1), x0))
    exact = gaussian_posterior(task)
    found = faces_budgets.timed_scores(exact, case, 32)
    mean = np.asarray(exact.sample(jax.random.key(2), case.measurements, 2000)).mean(axis=1)
    assert found["mean"].mean() == pytest.approx(quality.psnr(mean, case.x0).mean(), abs=0.15)
    gap = -10 * np.log10(
        0.5
    )  # of the logarithms of the mean squared errors; of the mean logarithm a little more or less
    assert (found["mean"] - found["psnr"]).mean() == pytest.approx(gap, abs=0.6)
    assert found["inside"].mean() == pytest.approx(0.9, abs=0.03)
    assert found["psnr"].shape == found["energy"].shape == (64,)
    assert found["seconds_one"] > 0 and found["seconds"] > 0 and found["at_once"] == 1


def test_differences_are_paired_by_face(tmp_path):
    energy = np.array([1.0, 2.0, 4.0])
    values = {
        "psnr": energy,
        "mean": energy,
        "energy": energy,
        "inside": energy / 10,
        "seconds": 2.0,
        "seconds_one": 1.0,
    }
    run = record.Run("absent", {}, tmp_path)
    faces_budgets.store(run, "budgets_denoise", {"dps_50": {**values, "energy": energy + 0.5}, "aps": values})
    numbers = run.as_dict()["numbers"]
    above = numbers["budgets_denoise.dps_50.minus_aps.energy"]
    assert (above["value"], above["se"], above["n"]) == (0.5, 0.0, 3)
    assert numbers["budgets_denoise.dps_50.minus_aps.psnr"]["value"] == 0
    assert numbers["budgets_denoise.aps.coverage"]["value"] == pytest.approx(100 * energy.mean() / 10)
    assert not any(key.startswith("budgets_denoise.aps.minus") for key in numbers)


def test_what_is_done_is_kept(tmp_path):
    first = kept(tmp_path / "a" / "one.npz", lambda: {"x": np.arange(3)})
    np.testing.assert_array_equal(kept(tmp_path / "a" / "one.npz", None)["x"], first["x"])


def test_recorded_settings_are_not_searched_again(tmp_path, monkeypatch):
    path = tmp_path / "s.search.json"
    monkeypatch.setattr(faces_budgets, "tune", fake_tune(2.0))
    monkeypatch.setitem(faces_budgets.GRIDS, "pigdm", {"prior_variance": (1.0, 2.0, 3.0)})
    monkeypatch.setitem(faces_budgets.GRIDS, "ddrm", {"eta": (0.5, 1.0)})
    settings = faces_budgets.tuned("sr2", "task", path)
    monkeypatch.setattr(faces_budgets, "search", None)
    assert faces_budgets.tuned("sr2", "task", path) == settings
    assert settings["dps_50"] == {"n_steps": 50, "step_size": 2.0} and set(settings) == {
        f"{method}_{n}" for method, budgets in faces_budgets.FACE_BUDGETS.items() for n in budgets
    }
