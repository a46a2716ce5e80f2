"""Diagnosis of a measurement, corrections with the exact density, refinement, and bands of ranks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import genpareto, kstest, norm

from aps_core import AveragePool, Identity, Measurement, RandomMask, Task, WeightsError, gaussian_posterior
from aps_core.flows.modal import GaussianBaseFlow
from aps_core.flows.wrappers import tempered
from aps_core.metrics import calibration
from aps_core.metrics.trust import diagnose, importance, latent_mala, make_reference, metropolis
from aps_core.metrics.trust import reference as reference_file
from aps_core.metrics.trust.evidence import evidence_of, summary
from aps_core.metrics.trust.langevin import Schedule, walk
from aps_core.metrics.trust.psis import effective_sample_size, fit_generalized_pareto, psis
from aps_core.posterior import AmortizedPosterior
from aps_core.priors.gaussian import GaussianPrior


def shares(found):
    """Shares of trust, doubt and refuse."""
    return [float(np.mean([one.verdict == word for one in found])) for word in ("trust", "doubt", "refuse")]


@pytest.fixture(scope="module")
def task():
    """16 entries, of which 8 modes tell of the signal and the rest of the noise."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    excess = jnp.asarray(np.append(0.05 * 0.7 ** np.arange(8), np.zeros(8)), jnp.float32)
    arrays = (jnp.full(16, 0.5), jnp.asarray(basis, jnp.float32), excess, jnp.asarray(1e-5, jnp.float32))
    return Task(Identity((16,)), 0.05, GaussianPrior(*arrays, shape=(16,)))


@pytest.fixture(scope="module")
def posterior(task):
    return gaussian_posterior(task)


def measured(task, n=300, factor=1.0, seed=3):
    """Measurements of draws of the prior with a noise ``factor`` times that of the task."""
    x = task.prior.sample(jax.random.key(seed), n)
    return replace(task, sigma_y=factor * task.sigma_y).measure(jax.random.key(seed + 1), x)


def test_draws_of_the_prior_are_trusted_as_often_as_they_should(posterior, task):
    found = diagnose(posterior, measured(task, 1000))
    trusted = shares(found)[0]
    assert abs(trusted - 0.95) < 0.025, trusted
    assert kstest([one.p_values["all"] for one in found], "uniform").pvalue > 1e-3


def test_a_wrong_noise_level_is_seen(posterior, task):
    for factor, least in ((2.0, 0.6), (0.4, 0.6)):
        assert 1 - shares(diagnose(posterior, measured(task, 200, factor)))[0] > least


@pytest.mark.slow
def test_other_signals_and_a_missing_mask_are_refused(posterior, task):
    noise = Measurement(np.random.default_rng(0).random((20, 16), np.float32))
    assert shares(diagnose(posterior, noise))[0] < 0.1
    masked = replace(task, operator=RandomMask((16,), 0.5))
    hidden = masked.measure(jax.random.key(0), task.prior.sample(jax.random.key(1), 20))
    assert shares(diagnose(gaussian_posterior(masked), hidden))[0] > 0.7
    assert shares(diagnose(gaussian_posterior(masked), Measurement(hidden.y)))[0] < 0.1


def test_one_measurement_and_its_batch_say_the_same(posterior, task):
    batch = measured(task, 3)
    together = diagnose(posterior, batch)
    alone = diagnose(posterior, jax.tree.map(lambda a: a[1], batch))
    assert together[1].verdict == alone.verdict and alone.text.endswith(".")
    assert np.isclose(together[1].p_values["all"], alone.p_values["all"], rtol=1e-3)
    assert diagnose(posterior, batch, key=jax.random.key(5)) == together  # one measurement, one verdict


def test_another_scale_is_refused_in_words_and_another_form_raises(posterior, task):
    kelvin = Measurement(np.full(16, 280.0, np.float32))
    found = diagnose(posterior, kelvin)
    assert found.verdict == "refuse" and "kelvin" in found.text and found.p_values == {}
    both = diagnose(posterior, Measurement(np.stack([np.full(16, 0.5, np.float32), kelvin.y])))
    assert both[0].p_values and both[1].verdict == "refuse" and both[1].p_values == {}
    with pytest.raises(ValueError, match="y must have shape"):
        diagnose(posterior, Measurement(np.zeros(15, np.float32)))
    with pytest.raises(ValueError, match="non-finite"):
        diagnose(posterior, Measurement(np.full(16, np.nan, np.float32)))
    with pytest.raises(TypeError, match="posterior must be"):
        diagnose(task, kelvin)
    with pytest.raises(TypeError, match="reference must be"):
        diagnose(posterior, kelvin, reference=3)
    with pytest.raises(TypeError, match="key must be"):
        diagnose(posterior, kelvin, key=3)


def test_a_reference_is_kept_with_its_weights(posterior, tmp_path, monkeypatch):
    named = AmortizedPosterior(posterior.task, posterior.flow, {}, {"name": "small", "sha256": "abc"})
    made = make_reference(named, jax.random.key(0), n=100, signals=named.task.prior.sample(jax.random.key(5), 50))
    reference_file.save_reference(made, named, tmp_path / "diagnose" / "small.safetensors")
    monkeypatch.setenv("APS_WEIGHTS_DIR", str(tmp_path))
    found = reference_file.shipped_reference(named)
    assert found.names == made.names and found.n_draws == 100 and len(found.values) == 150
    assert np.allclose(found.values, made.values, rtol=1e-5) and "50 validation signals" in found.source
    noisier = replace(named, task=replace(named.task, sigma_y=0.1))
    assert reference_file.shipped_reference(noisier) is None
    path = tmp_path / "diagnose" / "small.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="truncated"):
        reference_file.shipped_reference(named)


def test_a_reference_of_too_few_draws_is_refused(posterior):
    with pytest.raises(ValueError, match="at least 40"):
        make_reference(posterior, jax.random.key(0), n=10)


@pytest.mark.parametrize("operator", [AveragePool((4, 4), 2), RandomMask((16,), 0.4)])
def test_whitened_data_have_the_energy_of_a_standard_normal(task, operator):
    prior = task.prior.replace(shape=operator.shape)
    own = Task(operator, 0.05, prior)
    data = own.measure(jax.random.key(0), prior.sample(jax.random.key(1), 2000))
    white = jax.jit(jax.vmap(evidence_of(own).white))
    w, freedom, gain = white(data.y, data.mask if data.mask is not None else jnp.ones_like(data.y))
    mean_square = np.asarray(jnp.sum(w**2, axis=0) / jnp.maximum(jnp.sum(freedom, axis=0), 1))
    assert np.allclose(mean_square[np.asarray(freedom).mean(axis=0) > 0.9], 1, atol=0.15)
    assert np.all(np.asarray(gain) > 0) and np.all(np.asarray(gain) <= 1)


def test_closeness_is_that_of_the_posterior_mean(task, posterior):
    one = jax.tree.map(lambda a: a[0], measured(task, 1))
    mean = np.asarray(posterior.flow.context(one).mean, np.float64) - 0.5
    distance = mean @ np.linalg.solve(np.asarray(task.prior.covariance(), np.float64), mean)
    evidence = evidence_of(task)
    found = float(jax.jit(lambda y: summary(evidence, y)["closeness"])(one.y))
    assert np.isclose(np.exp(found) * float(jnp.sum(evidence.gain)), distance, rtol=2e-2)


def test_pareto_k_and_smoothed_weights_are_those_of_arviz():
    """Numbers of arviz_stats 0.8.0 (``psislw``): k, and the largest, smallest and twentieth largest log-weight."""
    cases = {
        (1.3264630085198859, -0.9380925339322945, -15.763845386434829, -5.6402637675472596): -np.random.default_rng(
            1
        ).standard_t(4, size=1000),
        (0.34906420756853695, -4.144953550994387, -13.434496045314532, -5.28297764891432): -1.5
        * np.random.default_rng(2).normal(size=2000),
        (-0.573706539084784, -4.600279035300039, -9.593552108006543, -4.771056509866381): -np.random.default_rng(
            3
        ).uniform(-5, 0, size=500),
    }
    for expected, log_weights in cases.items():
        smoothed, k = psis(log_weights)
        found = (k, smoothed.max(), smoothed.min(), np.sort(smoothed)[-20])
        assert np.allclose(found, expected, rtol=1e-6), (found, expected)


def test_the_generalized_pareto_fit_finds_the_shape():
    for k in (-0.3, 0.2, 0.9):
        drawn = np.sort(genpareto.rvs(k, scale=2.0, size=20000, random_state=0))
        shape, scale = fit_generalized_pareto(drawn)
        assert abs(shape - k) < 0.05 and abs(scale - 2) < 0.1


def test_weights_that_are_equal_need_no_correction():
    smoothed, k = psis(np.zeros(100))
    assert k == -np.inf and np.isclose(effective_sample_size(smoothed), 100)
    with pytest.raises(ValueError, match="at least 25"):
        psis(np.zeros(10))


@pytest.fixture(scope="module")
def white():
    """A task whose posterior has about the same width in all directions."""
    rng = np.random.default_rng(1)
    basis = jnp.asarray(np.linalg.qr(rng.normal(size=(16, 4)))[0], jnp.float32)
    excess = jnp.asarray([0.03, 0.02, 0.01, 0.01], jnp.float32)
    prior = GaussianPrior(jnp.full(16, 0.5), basis, excess, jnp.asarray(0.02, jnp.float32), shape=(16,))
    return Task(Identity((16,)), 0.1, prior)


def wrong_flow(task, offset, inflate=1.0, k=2):
    flow = GaussianBaseFlow(task.prior, task.sigma_y, k=k, steps=1, width=8, inflate=inflate, offset_std=offset)
    return AmortizedPosterior(task, flow, jax.jit(flow.init)(jax.random.key(0)))


@pytest.mark.slow
def test_a_correction_brings_a_wrong_mean_back(white):
    one = jax.tree.map(lambda a: a[0], measured(white, 1))
    exact = gaussian_posterior(white).flow.context(one)
    mean, std = (np.asarray(a, np.float64) for a in (exact.mean, exact.marginal_std))
    off = wrong_flow(white, 0.2, 1.2)
    found = importance(off, jax.random.key(1), one, 4000)
    assert found.reliable and found.log_weight_error == 0 and found.ess > 400
    assert np.abs((found.mean() - mean) / found.mean_error()).max() < 4.5
    assert ((np.asarray(found.samples).mean(axis=0) - mean) / std).mean() > 0.15
    chains = metropolis(off, jax.random.key(2), one, n=1000, steps=20)
    assert np.abs((chains.mean() - mean) / std).max() < 0.15 and 0.2 < chains.acceptance < 1


def test_scores_are_the_p_values_with_a_sign(posterior, task):
    loud, quiet = (diagnose(posterior, measured(task, 20, factor)) for factor in (2.0, 0.4))
    for found in loud:
        assert found.scores.keys() == found.p_values.keys() - {"all"}
        for name, score in found.scores.items():
            assert np.isclose(2 * norm.sf(abs(score)), found.p_values[name], rtol=1e-6)
    more = np.mean([found.scores["modes_9_16"] for found in loud])
    less = np.mean([found.scores["modes_9_16"] for found in quiet])
    assert more > 1 and less < -1


def test_langevin_steps_walk_to_a_gaussian_in_two_dimensions():
    """From far away and with the wrong spread: mean and covariance of the last states, and the acceptance aimed at."""
    mean, covariance = jnp.array([1.0, -0.5]), jnp.array([[0.5, 0.3], [0.3, 0.4]])
    precision = jnp.linalg.inv(covariance)
    start = 3.0 + 0.1 * jax.random.normal(jax.random.key(0), (2000, 2))
    log_density = lambda z: -0.5 * (z - mean) @ precision @ (z - mean)  # noqa: E731
    run = jax.jit(lambda key: walk(log_density, key, start, Schedule(60, 40, keep=4)))
    found = run(jax.random.key(1))
    assert found.states.shape == (4, 2000, 2) and found.log_density.shape == (40, 2000)
    last = np.asarray(found.states[-1])
    assert np.abs(last.mean(axis=0) - mean).max() < 4 * np.sqrt(0.5 / 2000)
    assert np.abs(np.cov(last.T) - covariance).max() < 0.08
    assert abs(float(found.acceptance.mean()) - 0.574) < 0.06


@pytest.mark.slow
def test_langevin_steps_mend_a_flow_that_weights_cannot(white):
    """A flow of a third of the spread: k-hat condemns the weights, proposals from it stay narrow, these steps do not."""
    one = jax.tree.map(lambda a: a[0], measured(white, 1))
    exact = gaussian_posterior(white).flow.context(one)
    mean, std = (np.asarray(a, np.float64) for a in (exact.mean, exact.marginal_std))
    narrow = wrong_flow(white, 0.0, 0.3)
    chains = latent_mala(narrow, jax.random.key(2), one, n=1000, steps=30, warmup=40)
    assert chains.reliable and abs(chains.drift) < 3 and np.isnan(chains.pareto_k)
    spread = np.asarray(chains.samples, np.float64).std(axis=0)
    assert np.abs(spread / std - 1).max() < 0.12 and np.abs((chains.mean() - mean) / chains.mean_error()).max() < 4.5
    proposed = np.asarray(metropolis(narrow, jax.random.key(2), one, n=1000, steps=30).samples).std(axis=0)
    assert (proposed / std).mean() < 0.9 * (spread / std).mean()
    short = latent_mala(narrow, jax.random.key(2), one, n=1000, steps=2, warmup=1)
    assert not short.reliable and short.drift < -3  # from the mode outwards
    with pytest.raises(ValueError, match="steps must be at least 2"):
        latent_mala(narrow, jax.random.key(2), one, steps=1)


def test_k_says_when_a_flow_is_too_wrong_to_be_corrected(white):
    one = jax.tree.map(lambda a: a[0], measured(white, 1))
    found = importance(tempered(gaussian_posterior(white), 0.3**0.5), jax.random.key(1), one, 4000)
    assert found.pareto_k > 0.7 and not found.reliable


@pytest.mark.slow
def test_a_correction_by_a_rough_bound_is_not_available(make_score_prior):
    prior = make_score_prior(d=8, k=4, k_modes=3, scale=20.0)
    own = Task(Identity((8,)), 0.1, prior, unit_range=False)
    one = own.measure(jax.random.key(0), prior.gaussian.sample(jax.random.key(1), 1)[0])
    found = importance(gaussian_posterior(own), jax.random.key(2), one, 50)
    assert not found.available and found.log_weight_error > 1 and "Monte Carlo error" in found.reason
    walked = latent_mala(gaussian_posterior(own), jax.random.key(2), one, 50)
    assert not walked.available and "only as an estimate" in walked.reason
    with pytest.raises(ValueError, match="not available"):
        found.mean()
    near = replace(own, prior=make_score_prior(d=8, k=4, k_modes=3, scale=0.01))
    assert importance(gaussian_posterior(near), jax.random.key(2), one, 50).available


@pytest.mark.slow
def test_refinement_comes_nearer_to_the_posterior(white):
    one, posterior = jax.tree.map(lambda a: a[0], measured(white, 1)), gaussian_posterior(white)
    off = wrong_flow(white, 0.5, k=4)

    def kl(other):
        x, log_q = other.sample_and_log_prob(jax.random.key(5), one, 500)
        return float(jnp.mean(log_q - posterior.log_prob(x, one)))

    refined = off.refine(one, steps=150, learning_rate=2e-2)
    assert kl(refined) < 0.9 * kl(off)
    assert refined.trained_by == "reverse divergence, measurements only"
    with pytest.raises(ValueError, match="one of the two"):
        off.refine(one)
    with pytest.raises(ValueError, match="parameters to train"):
        posterior.refine(one, steps=2)
    with pytest.raises(ValueError, match="single one"):
        off.refine(measured(white, 2), steps=2)


def test_ranks_of_an_exact_posterior_stay_in_the_band():
    rng = np.random.default_rng(0)
    inside = [calibration.rank_band(rng.integers(0, 64, 200), 63, seed=i).inside for i in range(120)]
    assert 0.9 <= np.mean(inside) < 1  # of 120 bands of 95 % not one that all stay in: 0.2 %
    narrow = calibration.rank_band(np.clip(rng.normal(31.5, 9, 200).round(), 0, 63), 63)
    assert not narrow.inside and narrow.p < 0.01
    assert np.all(narrow.low <= narrow.high) and np.any(
        np.abs(narrow.difference) > np.maximum(-narrow.low, narrow.high)
    )
    with pytest.raises(ValueError, match="integers from 0"):
        calibration.rank_band([1, 70], 63)
