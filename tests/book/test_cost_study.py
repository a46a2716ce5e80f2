"""The measurements of the page on costs: a prior that is what it says, two routes to one posterior, and a model that finds a
law that is known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import cost, cost_measure
from aps_core.priors.linear_gaussian import linear_posterior_factors
from aps_core.priors.low_rank import LowRankFactors, low_rank_factors, posterior_factors


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run without a full run beside it."""
    monkeypatch.setattr(record, "full_run", lambda notebook: None)
    return record.Run("cost", {"n_test": 2}, tmp_path)


def test_the_prior_of_images_has_orthonormal_modes_and_the_stated_spread():
    prior = cost_measure.image_prior(6, 40)
    assert prior.shape == (6, 6, 3) and prior.basis.shape == (108, 40)
    np.testing.assert_allclose(prior.basis.T @ prior.basis, np.eye(40), atol=1e-5)
    assert np.all(np.diff(prior.excess) <= 0) and prior.excess[-1] >= 0 < prior.rest
    # what the modes leave out is in the rest: the mean variance of an entry is that of all modes
    assert float(jnp.mean(prior.marginal_std**2)) == pytest.approx(0.06, rel=1e-4)
    whole = cost_measure.image_prior(6, 108)
    np.testing.assert_allclose(cost_measure.truncated(whole, 40).covariance(), prior.covariance(), atol=1e-5)
    grey = prior.basis[:, 0].reshape(6, 6, 3)
    np.testing.assert_allclose(grey, np.full((6, 6, 3), grey[0, 0, 0]), atol=1e-6)  # brightness varies most


def test_both_routes_hold_the_posterior_of_the_problem():
    task = cost_measure.problem(6, 20)
    m = task.measure(jax.random.key(1), task.signals("test")[0])
    dense, modes = (
        make(task.prior, task.operator, cost_measure.SIGMA_Y) for make in (linear_posterior_factors, low_rank_factors)
    )
    assert isinstance(posterior_factors(task.prior, task.operator, cost_measure.SIGMA_Y), LowRankFactors)
    np.testing.assert_allclose(modes.marginal_std, dense.marginal_std, rtol=1e-4)
    np.testing.assert_allclose(
        modes.posterior(m.y.ravel()).mean,
        dense.posterior(m.y.ravel()).mean,
        atol=1e-4 * float(dense.marginal_std.max()),
    )


@pytest.mark.slow
def test_a_process_of_its_own_says_what_it_found_and_why_it_failed():
    found = cost_measure.in_a_process("measure", side=4, route="modes", k=8, parts=["factor"])
    assert 0 < found["factor_seconds"] < 600 and 50 < found["idle_mib"] <= found["factor_mib"]
    wq = 48 * 8 * 4  # bytes
    assert wq < 2**20 * found["held_mib"] < 4 * wq
    assert found["std"] == pytest.approx(float(jnp.mean(task_std(4, 8))), rel=1e-4)
    with pytest.raises(RuntimeError, match="measure with .* ended with 1: KeyError: 'odd'"):
        cost_measure.in_a_process("measure", side=4, route="odd", k=8, parts=[])


def task_std(side, k):
    """Standard deviations of the posterior (d,) by dense algebra."""
    task = cost_measure.problem(side, k)
    return linear_posterior_factors(task.prior, task.operator, cost_measure.SIGMA_Y).marginal_std


def test_the_model_finds_the_law(run, monkeypatch):
    """Times of 2e-9 d^3 s and 5 arrays of d x d numbers, on a machine of 15 GFlop/s and 10 GB/s."""
    monkeypatch.setattr(cost, "in_a_process", lambda what: {"gflops": 15.0, "gbytes": 10.0})
    for side in (8, 16):
        d = 3 * side**2
        run.number(f"s{side}.dense.factor_seconds", 2e-9 * d**3)
        run.number(f"s{side}.dense.idle_mib", 300.0)
        run.number(f"s{side}.dense.factor_mib", 300.0 + 5 * 8 * d**2 / 2**20)
    cost.store_model(run, [8, 16], [64])
    found = {key: number["value"] for key, number in run.as_dict()["numbers"].items()}
    assert found["model.exponent"] == pytest.approx(3)
    assert found["model.of_roofline"] == pytest.approx(1.0)  # 30 d^3 / 15e9 = 2e-9 d^3
    assert found["model.arrays"] == pytest.approx(5)
    assert found["model.s64.factor_seconds"] == pytest.approx(2e-9 * 12288**3)
    assert found["model.s64.factor_mib"] == pytest.approx(40 * 12288**2 / 2**20)
    assert found["model.s64.sample_seconds"] == pytest.approx(4 * 12288**2 / 1e10)
    assert 3 * found["model.side_hour"] ** 2 == pytest.approx((3600 / 2e-9) ** (1 / 3))
    assert 40 * (3 * found["model.side_8gib"] ** 2) ** 2 == pytest.approx(8 * 2**30)
    with pytest.raises(ValueError, match="sides_dense = .16.: expected at least two"):
        cost.store_model(run, [16], [64])
    assert cost.model_rows(run) == {"model.s64": "64 x 64 x 3"}
    assert list(cost.size_rows(run)) == ["s8.dense", "s16.dense"]
    drawn = cost.curves(run.as_dict())
    entries, memory = drawn["levels"], drawn["panels"]["its memory (MiB)"]
    assert entries == [192, 768, 12288]
    np.testing.assert_allclose(memory["in all entries"][:2], [40 * d**2 / 2**20 for d in entries[:2]], rtol=1e-6)
    assert memory["in all entries, modelled"][2] == pytest.approx(found["model.s64.factor_mib"])


def test_a_prior_cut_to_fewer_modes_loses(run):
    cost.store_truncation(run, [16, 256], 3)
    found = run.as_dict()["numbers"]
    lost = found["modes.n256.psnr"]["value"] - found["modes.n16.psnr"]["value"]
    assert found["modes.n16.lost"]["value"] == pytest.approx(-lost) and lost > 0.5
    assert "modes.n256.lost" not in found and cost.modes_rows(run) == {
        "modes.n16": "16 modes",
        "modes.n256": "256 modes",
    }


def test_rows_of_the_sphere_and_what_is_above_the_closed_form(run, monkeypatch):
    """A flow that is one decibel better on every month, on both grids."""

    def found(what, task, weights, **settings):
        better = 0.0 if weights is None else 1.0
        scores = {name: [30.0 + better, 32.0 + better] for name in ("psnr_n1", "psnr_mean", "n1", "mean")}
        seconds = {"seconds": 0.1, "many_seconds": 1.0, "peak_mib": 900.0}
        return {**scores, **seconds, "energy": [1.0 - 0.1 * better, 1.2 - 0.1 * better], "coverage_90": [89.0, 91.0]}

    monkeypatch.setattr(cost, "in_a_process", found)
    card = {"name": "a", "sha256": "0" * 64, "seconds": 100.0, "steps": 50, "peak_mib": 1000}
    monkeypatch.setattr(cost.weights, "load_card", lambda name: card)
    cost.store_sphere(run, 2, 4)
    numbers = run.as_dict()["numbers"]
    for grid in cost.GRIDS:
        assert numbers[f"{grid}.above.psnr_n1"]["value"] == pytest.approx(1)
        assert numbers[f"{grid}.above.energy"]["value"] == pytest.approx(-0.1)
    rows, training = cost.sphere_rows(run)
    assert list(rows) == list(cost.SPHERES) and len(training) == 4


def test_lists_may_be_empty():
    assert cost.counts_rule("counts", []) == [] and cost.counts_rule("counts", [1, 8]) == [1, 8]
    with pytest.raises(ValueError, match="at least 1"):
        cost.counts_rule("counts", [0])
