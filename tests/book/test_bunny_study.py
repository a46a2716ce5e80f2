"""Scores of the chapter on the bunny, on samplers whose answers are known."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import bunny_flows, bunny_inpaint
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
