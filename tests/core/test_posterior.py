"""Trained posteriors by name: shapes, densities, refusals, cost."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import (
    AmortizedPosterior,
    FixedMask,
    Measurement,
    Task,
    gaussian_posterior,
    load_posterior,
    load_task,
    untrained_posterior,
    weights,
)
from aps_core.training import recipes

RECIPE = Path(__file__).parent.parent.parent / "recipes" / "sphere-impute-held-out.toml"


@pytest.fixture(scope="module")
def task():
    return load_task("gaussian16", mask_fraction=0.5)


@pytest.fixture(scope="module")
def posterior(task):
    return gaussian_posterior(task)


@pytest.fixture(scope="module")
def measured(task):
    return task.measure(jax.random.key(0), task.signals("test")[:3])


@pytest.fixture(scope="module")
def one(measured):
    return Measurement(measured.y[0], measured.mask[0])


def test_shapes_of_one_and_of_a_batch(posterior, measured, one):
    key = jax.random.key(1)
    x, log_q = posterior.sample_and_log_prob(key, one, 4)
    assert x.shape == (4, 16, 16) and log_q.shape == (4,)
    assert posterior.log_prob(x, one).shape == (4,)
    x, log_q = posterior.sample_and_log_prob(key, measured, 4)
    assert x.shape == (3, 4, 16, 16) and log_q.shape == (3, 4)
    np.testing.assert_allclose(posterior.log_prob(x, measured), log_q, atol=1e-4 * 256)
    np.testing.assert_array_equal(posterior.sample(key, measured, 4), x)
    assert posterior.nfe == 1


def test_a_key_is_a_draw(posterior, one):
    draws = [np.asarray(posterior.sample(jax.random.key(seed), one, 4)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 0.01


def test_numpy_and_jax_arrays_mean_the_same(posterior, one):
    as_numpy = Measurement(np.asarray(one.y, np.float64), np.asarray(one.mask).astype(bool))
    x = [posterior.sample(jax.random.key(1), m, 4) for m in (one, as_numpy)]
    np.testing.assert_allclose(x[0], x[1], atol=1e-6)


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples(posterior, one, n):
    with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
        posterior.sample(jax.random.key(0), one, n)


@pytest.mark.parametrize("n", [2.5, True, "3", None])
def test_n_that_is_no_integer(posterior, one, n):
    with pytest.raises(TypeError, match="n must be an integer, got"):
        posterior.sample(jax.random.key(0), one, n)


def test_bad_measurements_are_refused_everywhere(posterior, one):
    for bad, kind in (
        (Measurement((255 * one.y).astype(jnp.uint8), one.mask), TypeError),
        (Measurement(255 * one.y, one.mask), ValueError),
        (Measurement(one.y.at[0].set(jnp.nan), one.mask), ValueError),
        (Measurement(one.y, 0 * one.mask), ValueError),
        (Measurement(one.y, 2 * one.mask), ValueError),
        (Measurement(one.y[:15], one.mask[:15]), ValueError),
    ):
        with pytest.raises(kind):
            posterior.sample(jax.random.key(0), bad, 2)
        with pytest.raises(kind):
            posterior.sample_and_log_prob(jax.random.key(0), bad, 2)
        with pytest.raises(kind):
            posterior.log_prob(jnp.zeros((2, 16, 16)), bad)


@pytest.mark.parametrize("shape", [(16, 16), (2, 15, 16), (3, 2, 16, 16), (2, 256)])
def test_signals_of_the_wrong_shape(posterior, one, shape):
    with pytest.raises(ValueError, match=r"x must have shape \('n', 16, 16\), got"):
        posterior.log_prob(jnp.zeros(shape), one)


def test_a_batch_of_signals_of_another_length(posterior, measured):
    with pytest.raises(ValueError, match=r"x must have shape \(3, 'n', 16, 16\), got \(2, 5, 16, 16\)"):
        posterior.log_prob(jnp.zeros((2, 5, 16, 16)), measured)


def test_unknown_task_and_protocol():
    with pytest.raises(ValueError, match="unknown task 'sphere'"):
        load_posterior("sphere")
    with pytest.raises(ValueError, match="protocol must be one of .*'held-out', 'paper'.*, got 'test'"):
        load_posterior("gaussian16", protocol="test")


def test_missing_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        load_posterior("gaussian16", weights=tmp_path / "nothing.safetensors")


def test_weights_of_another_task():
    with pytest.raises(weights.WeightsError, match="not of 'gaussian16'"):
        load_posterior("gaussian16", weights="sphere-prior")


@pytest.fixture(scope="module")
def sphere():
    task = load_task("sphere-impute")
    return task, task.measure(jax.random.key(0), task.signals("test")[0])


@pytest.mark.slow
def test_an_untrained_structured_flow_is_the_closed_form(sphere):
    task, m = sphere
    flow = recipes.read(RECIPE)["flow"]
    draws = [
        p.sample_and_log_prob(jax.random.key(1), m, 8)
        for p in (untrained_posterior(task, flow), gaussian_posterior(task))
    ]
    np.testing.assert_allclose(draws[0][0], draws[1][0], atol=1e-4)
    np.testing.assert_allclose(draws[0][1], draws[1][1], atol=1e-5 * 4140)


def test_shipped_posteriors_of_the_sphere(sphere):
    """Near the closed form, exact in their density, and better than nothing."""
    task, m = sphere
    posterior, truth = load_posterior("sphere-impute"), task.signals("test")[0]
    assert isinstance(posterior, AmortizedPosterior) and posterior.card["recipe"]["name"] == "sphere-impute-held-out"
    x, log_q = posterior.sample_and_log_prob(jax.random.key(1), m, 32)
    np.testing.assert_allclose(posterior.log_prob(x, m), log_q, atol=1e-4 * 4140)
    psnr = -10 * np.log10(np.mean((np.asarray(x).mean(axis=0) - truth) ** 2))
    assert 37 < psnr < 43
    spread = (
        np.asarray(x).std(axis=0).mean()
        / np.asarray(gaussian_posterior(task).sample(jax.random.key(1), m, 32)).std(axis=0).mean()
    )
    assert 0.8 < spread < 1.2


def test_another_noise_or_mask_than_that_of_training(sphere):
    """The flow that was trained for many of them; one's own mask under a name of one's own, too. What fits has its own."""
    noisy = load_task("sphere-impute", sigma_y=0.2, mask_fraction=0.3)
    posterior = load_posterior(noisy)
    hidden = np.ones(noisy.shape, np.float32)
    hidden[:20] = 0
    own = load_posterior(Task(FixedMask(hidden), 0.02, noisy.prior))
    assert posterior.card["name"] == own.card["name"] == "sphere-impute-any"
    assert load_posterior(sphere[0]).card["name"] == "sphere-impute-held-out"
    assert load_posterior(noisy, weights="sphere-impute-held-out").flow.sigma_y == 0.2
    m = noisy.measure(jax.random.key(0), noisy.signals("test")[0])
    assert posterior.flow.sigma_y == 0.2
    assert np.all(np.isfinite(posterior.sample(jax.random.key(0), m, 2)))


@pytest.mark.slow
def test_128_samples_cost_a_tenth_of_128_calls(sphere):
    task, m = sphere
    posterior = untrained_posterior(task, recipes.read(RECIPE)["flow"])
    seconds = {}
    for n in (1, 128):
        draw = lambda n=n: posterior.sample(jax.random.key(0), m, n).block_until_ready()  # noqa: E731
        draw()
        times = []
        for _ in range(7):
            start = time.perf_counter()
            draw()
            times.append(time.perf_counter() - start)
        seconds[n] = min(times)
    assert seconds[128] < 128 * seconds[1] / 10
    assert seconds[128] < 1
