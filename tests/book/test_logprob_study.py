"""The network with a closed trace against its Jacobian; log densities, their KL and their scatter against closed forms
and trials.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import gaussian16_score, logprob
from aps_book.experiments.gated_maps import GatedMaps
from aps_book.experiments.gaussian16_score import TracedPrior
from aps_core.diffusion import VPSDE
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.ode import log_prob_ode
from aps_core.priors.score_network import init_network_prior
from aps_core.training.job import run

SHAPE = (2, 3)
DIM = 6


def _gaussian():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    arrays = (rng.uniform(0.3, 0.7, DIM), basis, np.geomspace(0.1, 0.002, DIM), 0.002)
    return GaussianPrior(*(jnp.asarray(a, jnp.float32) for a in arrays), shape=SHAPE, sde=VPSDE(t_min=1e-3))


def _prior(width=8, seed=1):
    """A TracedPrior with parameters of its network that are not zero."""
    start = init_network_prior(
        jax.random.key(0), _gaussian(), GatedMaps(SHAPE, maps=3, width=width, time_width=8), residual=False
    )
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda a: a + jnp.asarray(0.1 * rng.normal(size=a.shape), a.dtype), start.params)
    return TracedPrior(start.gaussian, params, start.network, residual=False, t_residual=1e-3)


def test_the_network_starts_at_zero():
    network = GatedMaps(SHAPE)
    c = jnp.arange(6.0)
    params = jax.jit(network.init)(jax.random.key(0), c, 0.5)
    np.testing.assert_array_equal(network.apply(params, c, 0.3), 0)


@jax.jit
def _every_way(prior, u, t):
    return prior.eps(u, t), prior.mixed().eps(u, t), jax.jacfwd(lambda v: prior.eps(v, t))(u)


@pytest.mark.parametrize("t", [1e-3, 0.3])
def test_value_and_trace_of_the_network_by_every_way(t):
    prior, u = _prior(), jnp.linspace(-1, 1, DIM)
    value, trace = jax.jit(prior.eps_and_divergence)(u, t)
    same, mixed, jacobian = _every_way(prior, u, t)
    np.testing.assert_allclose(value, same, rtol=1e-5)
    np.testing.assert_allclose(value, mixed, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trace, np.trace(jacobian), rtol=1e-4)


@pytest.mark.slow
def test_closed_and_summed_divergence_give_the_same_density():
    prior, x = _prior(), jnp.linspace(0.2, 0.8, DIM).reshape(SHAPE)
    found = [
        log_prob_ode(prior, x, divergence=kind, rtol=1e-4, atol=1e-4).log_prob for kind in ("closed-form", "exact")
    ]
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-3)
    with pytest.raises(ValueError, match="eps_and_divergence, got GaussianPrior"):
        log_prob_ode(prior.gaussian, x, divergence="closed-form")


@pytest.mark.slow
def test_log_density_counts_evaluations_and_the_divergence_has_its_error():
    prior = _prior()
    x = logprob.draw(prior, jax.random.key(0), 8)
    close = logprob.log_density(prior, x, "dopri5", 1e-6)["log_q"]
    euler = logprob.log_density(prior, x, "euler", n_steps=64)
    assert x.shape == (8, *SHAPE)
    np.testing.assert_array_equal(euler["nfe"], 64)
    assert 0 < np.abs(euler["log_q"] - close).mean() < 5
    log_p = np.asarray(jax.vmap(prior.gaussian.log_prob)(x))
    kl, se = logprob.divergence(prior, x, log_p + np.arange(8.0))
    assert kl == pytest.approx(3.5, abs=1e-3) and se == pytest.approx(
        np.std(np.arange(8), ddof=1) / np.sqrt(8), abs=1e-3
    )


@pytest.mark.slow
def test_the_scatter_of_one_probe_is_that_of_trials():
    prior, x = _prior(), jnp.linspace(0.2, 0.8, DIM).reshape(SHAPE)
    values = logprob.by_traces(prior, x, [1, 4], 400, jax.random.key(0), 1e-4)
    single = logprob.trace_std(prior, x)
    np.testing.assert_allclose(values.std(axis=1), single / np.sqrt([1, 4]), rtol=0.15)
    assert logprob.trace_std(prior, x, "gaussian") > single


@pytest.mark.slow
def test_training_on_draws_comes_near_the_truth_and_is_refused_elsewhere(monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr(gaussian16_score, "load_task", lambda name: SimpleNamespace(prior=_gaussian()))
    recipe = {
        "draws": {"task": "small", "t_min": 1e-3, "batch": 64, "network": {"maps": 3, "width": 8, "time_width": 16}},
        "optimizer": {"steps": 400, "learning_rate": 1e-2, "warmup": 20, "ema": 0.97},
    }
    _, trained, card = run(gaussian16_score.draws_job(recipe), recipe, evaluate_every=400, progress=False)
    gaps = [row["val_gap"] for row in trained.history]
    assert gaps[-1] < 0.15 * gaps[0] and card["settings"]["t_min"] == 1e-3
    monkeypatch.setattr(
        gaussian16_score, "load_task", lambda name: SimpleNamespace(prior=SimpleNamespace(gaussian=None))
    )
    with pytest.raises(TypeError, match="expected a prior that is Gaussian"):
        gaussian16_score.truth("small", 1e-3)


@pytest.mark.slow
def test_the_shipped_network_is_within_a_nat_of_the_truth():
    prior, _ = gaussian16_score.load_score("gaussian16-score")
    x = logprob.draw(prior, jax.random.key(5), 64)
    kl, se = logprob.divergence(prior, x, logprob.log_density(prior, x, "dopri5", 1e-4)["log_q"])
    assert -3 * se < kl < 1 + 3 * se


@pytest.mark.slow
def test_the_programs_defaults_scatter_as_the_formula_says():
    """Against the exact trace: no more bias than the probes explain, and their standard deviation by `trace_std`."""
    prior = _prior()
    x = np.asarray(prior.gaussian.sample(jax.random.key(3), 128))
    reference = logprob.log_density(prior, x, "dopri5", 1e-5)["log_q"]
    found = logprob.by_code(prior, x, reference, jax.random.key(4), {"n_probes": 4})
    expected = np.sqrt(np.mean([logprob.trace_std(prior, xi) ** 2 for xi in x[:16]]) / 4)
    assert found["scatter"] == pytest.approx(expected, rel=0.35)
    assert abs(found["bias"]) < 4 * expected / np.sqrt(128) + 5e-3
    assert found["kl"][0] == pytest.approx(logprob.divergence(prior, x, reference)[0] + found["bias"], abs=1e-6)
