"""Scores of the chapter on the bunny, on samplers whose answers are known."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import bunny_flows, bunny_inpaint
from aps_book.record import verdicts
from aps_core.data import bunny_mnist
from aps_core.operators import Measurement
from aps_core.training.recipes import read
from aps_core.weights import load


class Oracle:
    """Samples truth + N(0, 0.1^2), the truth being written in the measurement."""

    def sample(self, key, measurement, n):
        return measurement.y + 0.1 * jax.random.normal(key, (n, *measurement.y.shape))


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(size=(6, 500)).astype(np.float32)


def test_scores_of_a_known_sampler(truth):
    found = bunny_inpaint.score(
        Oracle(),
        jax.random.key(0),
        Measurement(jnp.asarray(truth)),
        truth,
        99,
        np.arange(500) < 200,
        np.eye(500)[:, :20],
    )
    assert found["mse_n1"].mean() == pytest.approx(0.01, rel=0.1)
    assert found["mse_mean"].mean() == pytest.approx(0.01 / 99, rel=0.1)
    np.testing.assert_allclose(found["psnr_n1"], -10 * np.log10(found["mse_n1"]))
    assert found["coverage"].shape == (6, 2) and found["band_coverage"].shape == (6, 5, 2)
    assert (found["coverage"] > 0.99).all()  # the truth is the centre of its own samples
    alone = bunny_inpaint.score(
        Oracle(), jax.random.key(0), Measurement(jnp.asarray(truth)), truth, 1, np.arange(500) < 200, np.eye(500)
    )
    assert set(alone) == {"mse_n1", "mse_mean", "psnr_n1", "psnr_mean"}


def test_every_row_of_the_table_of_rivals_stands_on_the_same_digits(tmp_path):
    rng, run = np.random.default_rng(1), record.Run("bunny_absent", {}, tmp_path)
    names, many = ("psnr_n1", "psnr_mean", "mse_n1", "mse_mean"), {"gaussian": 9, "reverse": 9, "aps": 9}
    scores = {
        row: {name: rng.uniform(20, 30, many.get(row, 4)) for name in names}
        for row in (*bunny_inpaint.FEW, "gaussian", "reverse", "aps")
    }
    for row in many:
        scores[row] |= {"energy": rng.uniform(size=9), "coverage": rng.uniform(size=(9, 2))}
    bunny_inpaint.store_few(run, scores)
    bunny_inpaint.store_floor(run, 0.1, 0.3)
    numbers = run.as_dict()["numbers"]
    assert {number["n"] for key, number in numbers.items() if "data" not in key} == {4}
    labels = bunny_inpaint.rows(["mcg", "mcg_stopped", "dps", "gaussian", "aps"], 128, dict.fromkeys(scores, ""))
    assert all(f"iterative.{row}.psnr" in numbers for row in labels)
    apart = scores["reverse"]["psnr_n1"][:4] - scores["dps"]["psnr_n1"]
    paired = numbers["iterative.reverse.above_dps"]
    assert paired["value"] == pytest.approx(apart.mean()) and paired["se"] == pytest.approx(apart.std(ddof=1) / 2)
    stopped = numbers["iterative.mcg_stopped.above_paper"]["value"]
    assert stopped == pytest.approx(scores["mcg_stopped"]["psnr_n1"].mean() - 26.69)
    assert numbers["iterative.data.psnr"]["value"] == pytest.approx(-10 * np.log10(0.7 * 0.01))
    said = [verdicts.sentence(run.as_dict(), one) for one in bunny_inpaint.of_mcg()]
    assert all("n = 4" in one for one in said) and "MCG" in said[0]


def test_signals_fill_fewer_dimensions_than_the_mesh_has():
    assert 500 < bunny_inpaint.dimensions() <= bunny_mnist.mnist.ever_lit().sum() < 784 < bunny_mnist.SOURCE.shape[0]


def test_rows_have_the_names_of_the_papers_table():
    from aps_book.record.run import paper_value

    named = {**bunny_inpaint.LABELS, "aps": "flow (forward, draws of the prior)"}
    labels = bunny_inpaint.rows(["mcg", "dps", "gaussian", "aps"], 128, named)
    known = [row for row in labels if paper_value(f"aps.table2.bunny_inpaint.{row}.psnr") is not None]
    assert known == ["mcg", "dps", "aps_n1", "aps_n128"]


def test_rest_is_added_with_the_variance_of_the_prior(make_prior, truth):
    prior = make_prior(500, 4)
    noisy = bunny_inpaint.with_rest(jax.random.key(1), prior, truth)
    assert np.std(noisy - truth) == pytest.approx(float(np.sqrt(prior.gaussian.rest)), rel=0.05)
    spread = bunny_inpaint.prior_spread(prior.gaussian)
    np.testing.assert_allclose(spread**2, np.diag(np.asarray(prior.covariance())), rtol=1e-4)


def test_flows_were_compared_by_the_recipes_as_they_are_and_the_prior_as_it_is():
    found = bunny_flows.recorded()
    for row, name in bunny_flows.RECIPES.items():
        recipe = read(Path(__file__).parent.parent.parent / "recipes" / f"{name}.toml")
        recipe.pop("trains")
        later = {setting: recipe["objective"].pop(setting) for setting in ("estimator", "noise")}
        assert later == {"estimator": "total", "noise": "fresh"}  # the only way when the record was made
        assert found[row]["recipe"] == recipe
        assert found[row]["prior"] == load("bunny-prior")[1]["sha256"]
        assert found[row]["steps"] == found[row]["recipe"]["optimizer"]["steps"]
    start = {row: seen["start"] for row, seen in found.items()}
    assert start["local"] == pytest.approx(start["vectorized"], rel=1e-4)  # both start from the closed form
