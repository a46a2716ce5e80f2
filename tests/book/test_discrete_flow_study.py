"""Flows of single measurements against the closed form, and the bookkeeping of the comparison of priors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.color import rgb2gray

from aps_book.experiments import discrete_flow as study
from aps_book.experiments import single_fit
from aps_book.experiments.flow_prior import init_discrete_prior
from aps_core import operators
from aps_core.data.faces import grey
from aps_core.priors.linear_gaussian import linear_posterior_factors
from aps_core.tasks.problem import Task
from aps_core.training.network_prior import drawn

SHAPE = (2, 3, 1)


@pytest.fixture
def case(make_prior):
    """(task with a blur, measurement, its closed-form posterior) under a Gaussian of six entries."""
    prior = make_prior(d=6, k=6, shape=SHAPE)
    task = Task(operators.GaussianBlur(SHAPE, 0.7), 0.1, prior, np.zeros((1, *SHAPE)), name="small")
    measurement = task.measure(jax.random.key(1), prior.sample(jax.random.key(0), 1)[0])
    return task, measurement, linear_posterior_factors(prior, task.operator, 0.1).posterior(measurement.y.reshape(-1))


def _fit(case, start, steps, **settings):
    task, measurement, posterior = case
    size = (SHAPE, 2, 8)
    flow = (
        single_fit.from_posterior(posterior, *size)
        if start == "posterior"
        else single_fit.from_noise(jnp.zeros(6), start, *size)
    )
    return single_fit.fit(flow, task, measurement, task.prior, "exact", single_fit.Descent(steps, batch=32, **settings))


def test_the_closed_form_posterior_is_where_a_fit_stays(case):
    task, measurement, posterior = case
    fit = _fit(case, "posterior", 20, learning_rate=1e-9)
    assert fit.finite and fit.steps == 20 and set(fit.history) == {"loss", "gradient", "fidelity", "prior", "log_q"}
    np.testing.assert_allclose(
        fit.history["loss"], sum(fit.history[name] for name in ("fidelity", "prior", "log_q")), rtol=1e-4
    )
    evidence = -fit.history["loss"] * 6  # the loss of the exact posterior is -log p(y), whatever the samples
    matrix = operators.dense_matrix(task.operator)
    cov = matrix @ np.asarray(task.prior.covariance(), np.float64) @ matrix.T + 0.1**2 * np.eye(6)
    residual = np.asarray(measurement.y, np.float64).ravel() - matrix @ np.asarray(task.prior.mean, np.float64)
    exact = -0.5 * (residual @ np.linalg.solve(cov, residual) + np.linalg.slogdet(2 * np.pi * cov)[1])
    np.testing.assert_allclose(evidence, exact, atol=2e-3)
    x = fit.sample(jax.random.key(5), 3)
    z = jax.jit(jax.vmap(lambda xi: fit.flow.inverse(fit.params, xi.reshape(-1))[0]))(x)
    back, log_det = jax.jit(jax.vmap(lambda zi: fit.flow.forward(fit.params, zi)))(z)
    np.testing.assert_allclose(back.reshape(x.shape), x, atol=1e-5)
    np.testing.assert_allclose(log_det, posterior.log_det, atol=1e-4)


def test_from_noise_it_reaches_the_closed_form(case):
    _, _, posterior = case
    fit = _fit(case, 1.0, 1500, learning_rate=1e-2, final=0.01, clip=10.0)
    samples = np.asarray(fit.sample(jax.random.key(2), 4000)).reshape(4000, -1)
    std = np.asarray(posterior.marginal_std)
    np.testing.assert_allclose((samples.mean(axis=0) - posterior.mean) / std, 0, atol=0.15)
    np.testing.assert_allclose(samples.std(axis=0) / std, 1, atol=0.1)


def test_the_gradient_is_clipped_and_its_norm_recorded_before(case):
    fits = [_fit(case, 1.0, 10, learning_rate=0.1, clip=clip) for clip in (1.0, 1e-12)]
    assert (
        fits[0].history["gradient"][0] == pytest.approx(fits[1].history["gradient"][0], rel=1e-5)
        and fits[0].history["gradient"][0] > 1
    )
    assert fits[0].history["loss"][-1] < fits[0].history["loss"][0]


def test_a_fit_that_diverges_ends_with_its_last_finite_parameters(case):
    fit = _fit(case, 1.0, 60, learning_rate=1e3)
    assert not fit.finite and fit.steps < 60
    assert all(np.all(np.isfinite(values)) for values in fit.history.values())
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(fit.params))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup": 5}, "warmup must lie in 0..steps-1"),
        ({"batch": 0}, "batch"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        single_fit.Descent(**{"steps": 5, "learning_rate": 1e-3, **settings})
    with pytest.raises(ValueError, match="std"):
        single_fit.from_noise(jnp.zeros(6), 0.0, SHAPE)


def test_the_schedule_of_the_rate():
    np.testing.assert_allclose(single_fit.Descent(6, 2.0).rates(), 2.0)
    np.testing.assert_allclose(single_fit.Descent(6, 2.0, 4).rates(), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    falling = np.asarray(single_fit.Descent(100, 2.0, 10, 0.1).rates())
    assert falling.argmax() in (8, 9) and falling[-1] == pytest.approx(0.2, rel=0.01)


def test_the_rule_drops_what_has_a_pixel_beyond_the_limit():
    samples = np.zeros((5, 2, 2, 1))
    samples[1, 0, 0], samples[2, 1, 1], samples[3, 0, 1], samples[4, 0, 0] = 2.001, -2.001, 1.6, np.nan
    assert study.dropped(samples).tolist() == [False, True, True, False, True]
    assert study.dropped(samples, scale="signed").tolist() == [False, True, True, True, True]  # 2 x 1.6 - 1 = 2.2
    with pytest.raises(ValueError, match="scale must be one of"):
        study.dropped(samples, scale="decibels")


def test_samples_with_and_without_the_rule():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(8, 8, 1))
    samples = truth + 0.05 * rng.normal(size=(40, 8, 8, 1))
    whole = study.with_and_without(samples, truth)
    assert whole["all"] == whole["kept"] and whole["dropped_unit"] == whole["dropped_signed"] == 0
    assert (
        whole["all"]["psnr_one"] == pytest.approx(-20 * np.log10(0.05), abs=0.2)
        and whole["all"]["psnr"] > whole["all"]["psnr_one"] + 10
    )
    spoiled = samples.copy()
    spoiled[:4] += 3
    found = study.with_and_without(spoiled, truth)
    assert found["dropped_unit"] == 10 and found["kept"]["psnr"] > found["all"]["psnr"] + 5
    assert found["kept"] == study.describe(spoiled[4:], truth)
    spoiled[0] = np.inf
    assert study.with_and_without(spoiled, truth)["all"] is None
    assert study.with_and_without(np.full_like(samples, 9.0), truth)["kept"] is None


def test_spread_and_coverage_of_samples_that_fit():
    rng = np.random.default_rng(1)
    mean = rng.uniform(size=(40, 40, 1))
    truth, samples = mean + 0.1 * rng.normal(size=mean.shape), mean + 0.1 * rng.normal(size=(100, *mean.shape))
    found = study.describe(samples, truth)
    assert found["coverage"] == pytest.approx(90, abs=2.5) and found["spread"] == pytest.approx(1, abs=0.05)


def test_spikes_of_the_gradient():
    norms = np.ones(100)
    norms[[50, 80]] = 3.0, 10.0
    assert study.spikes({"gradient": norms}) == {"share": 2 / 80, "largest": 10.0}
    assert np.isnan(study.spikes({"gradient": norms[:20]})["share"])


def test_bits_of_a_uniform_density():
    assert study.bits(0.0, 7) == pytest.approx(np.log2(255))  # 1 on [0, 1]: no better than the grey levels themselves
    assert study.bits(7 * np.log(2.0), 7) == pytest.approx(np.log2(255) - 1)


def test_densities_and_gradients_are_those_of_the_prior(make_prior):
    gaussian = make_prior(d=6, k=6, shape=SHAPE)
    prior = init_discrete_prior(jax.random.key(0), gaussian, steps=1, width=2, whiten=True)
    x = gaussian.sample(jax.random.key(1), 3)
    np.testing.assert_allclose(
        study.log_densities(prior, jax.random.key(2), x), jax.jit(jax.vmap(gaussian.log_prob))(x), rtol=1e-4
    )
    exact = np.linalg.norm(np.linalg.solve(gaussian.covariance(), (x.reshape(3, -1) - gaussian.mean).T), axis=0)
    np.testing.assert_allclose(study.gradient_norms(prior, jax.random.key(2), x)[1], exact, rtol=1e-3)


def test_kinds_of_images():
    held_out = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
    made = {"score": np.zeros((4, 8, 8, 1)), "flow": np.ones((4, 8, 8, 1))}
    kinds = study.image_kinds(jax.random.key(0), held_out, made, noise=(0.1,))
    assert all(images.shape == held_out.shape and images.dtype == np.float32 for images in kinds.values())
    assert np.abs(kinds["held-out faces"] - held_out).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(
        np.sort(kinds["faces, pixels shuffled"].ravel()), np.sort(kinds["held-out faces"].ravel())
    )
    assert np.std(kinds["faces, noise 0.1"] - held_out) == pytest.approx(0.1, rel=0.2)
    assert kinds["standard normal noise"].std() == pytest.approx(1, abs=0.2) and kinds["draws of the flow"].min() == 1


def test_grey_is_luminance():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    np.testing.assert_allclose(grey(colour / 255.0)[..., 0], rgb2gray(colour), atol=1e-6)
    assert grey(colour).dtype == np.uint8
    np.testing.assert_allclose(grey(colour)[..., 0] / 255.0, rgb2gray(colour), atol=0.51 / 255)
    with pytest.raises(ValueError, match=r"values must be colour images \(\.\.\., 3\), got shape \(2, 4\)"):
        grey(np.zeros((2, 4)))


def test_images_to_train_on_are_reflected_half_of_the_time():
    pixels = jnp.asarray(np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1))
    images = np.asarray(drawn(jax.random.split(jax.random.key(0)), pixels, 400, True)) * 255
    turned = np.isclose(images[:, 0, 0, 0], 1)
    assert np.all(turned | np.isclose(images[:, 0, 0, 0], 0)) and turned.mean() == pytest.approx(0.5, abs=0.1)
    assert not np.isclose(drawn(jax.random.split(jax.random.key(0)), pixels, 400, False)[:, 0, 0, 0], 1 / 255).any()


def test_grey_tasks_and_faces(make_prior):
    tasks = study.tasks(make_prior(d=64, k=3, shape=(8, 8, 1)), denoise_sigma=0.2, deblur_sigma=0.02)
    assert tasks["denoise"].sigma_y == 0.2 and tasks["deblur"].sigma_y == 0.02 and tasks["deblur"].operator.std == 1.5
    with pytest.raises(ValueError, match="n must lie in 1.."):
        study.faces(0)
