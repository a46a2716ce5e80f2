"""Gradients of the ODE's log density against those of a mixture, their scatter against theory, the two adjoints against
each other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import gradients
from aps_core.diffusion import VPSDE
from aps_core.priors.mixture import gaussian_mixture

D = 6


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(0)
    axes = [np.linalg.qr(rng.normal(size=(D, D)))[0] for _ in range(2)]
    covariances = np.stack([(q * np.geomspace(0.01, size, D)) @ q.T for q, size in zip(axes, (0.02, 0.2), strict=True)])
    return gaussian_mixture([0.5, 0.5], np.full((2, D), 0.5), covariances, shape=(2, 3), sde=VPSDE(t_min=1e-3))


@pytest.fixture(scope="module")
def image(mixture):
    return gradients.draw(mixture, jax.random.key(0))


@pytest.fixture(scope="module")
def estimates(mixture, image):
    return {n: gradients.gradients(mixture, image, jax.random.key(n), n, 200, tolerance=1e-3) for n in (10, 50)}


def test_the_classes_of_contrast_make_a_mixture():
    prior = gradients.contrast_mixture(3)
    assert prior.shape == (16, 16) and prior.sde.t_min == 1e-3
    np.testing.assert_allclose(np.exp(prior.log_weights), 1 / 3, atol=0.01)
    assert float(prior.eigenvalues.min()) >= 0.0099
    values = np.sort(np.asarray(prior.eigenvalues), axis=1)
    texture = values[:, :-1].sum(axis=1)  # without the brightness, which varies in flat patches most of all
    assert np.all(np.diff(texture) > 0) and texture[-1] > 1.5 * texture[0]
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        gradients.contrast_mixture(0)


def test_the_score_is_the_gradient_of_the_density_at_t_min(mixture, image):
    exact = gradients.exact_gradient(mixture, image)
    np.testing.assert_allclose(gradients.score_gradient(mixture, image), exact, rtol=1e-3, atol=1e-3)
    clean = np.asarray(jax.jit(jax.grad(mixture.log_prob))(image)).ravel()
    assert 1e-6 < gradients.difference(exact, clean) < 0.02


@pytest.mark.long
def test_the_mean_of_the_estimates_is_the_known_gradient(mixture, image, estimates):
    exact = gradients.exact_gradient(mixture, image)
    values = estimates[50]["values"]
    error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(axis=0) - exact), 4 * error + 0.01 * np.abs(exact).max())
    assert estimates[50]["seconds"] > 0 and estimates[50]["bytes"] > 0


@pytest.mark.long
def test_the_scatter_falls_with_the_root_of_the_number_of_probes(estimates):
    few, many = (np.std(estimates[n]["values"], axis=0, ddof=1) for n in (10, 50))
    assert np.median(few / many) == pytest.approx(np.sqrt(5), rel=0.12)


def test_the_ratio_of_the_scatters_has_its_error():
    rng = np.random.default_rng(0)
    draws = [[3 + scale * rng.normal(size=(100, 40)) for scale in (0.2, 0.1)] for _ in range(30)]
    found = np.array([gradients.spread_ratio(*pair) for pair in draws])
    assert found[:, 0].mean() == pytest.approx(2, abs=0.02)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(ddof=1), rel=0.6)


@pytest.mark.long
def test_both_adjoints_give_one_gradient(mixture, image):
    args = (mixture, image, jax.random.key(1), 10, 1)
    both = [gradients.gradients(*args, adjoint, 1e-6)["values"][0] for adjoint in ("continuous", "checkpointed")]
    assert gradients.difference(*both) < 2e-3


def test_relative_spread_cosine_and_difference():
    values = np.array([[1.0, -2.0], [3.0, -2.0]])
    np.testing.assert_allclose(gradients.relative_std(values), [np.sqrt(2) / 2, 0])
    np.testing.assert_allclose(
        gradients.cosine_distance(np.array([[2.0, 0], [0, 3.0], [-1, 0]]), np.array([5.0, 0])), [0, 1, 2]
    )
    assert gradients.difference(np.array([3.0, 0]), np.array([0, 4.0])) == pytest.approx(1.25)


def test_priors_by_name():
    prior, card = gradients.load(gradients.CONTRASTS)
    assert card is None and prior.shape == (16, 16)
    with pytest.raises(FileNotFoundError, match="no weights 'nothing'"):
        gradients.load("nothing")


def test_a_learned_prior_is_asked_at_an_image_of_its_gaussian():
    prior, card = gradients.load("gaussian16-score")
    image = gradients.draw(prior, jax.random.key(0))
    assert card["name"] == "gaussian16-score" and image.shape == (16, 16)
    exact = np.asarray(jax.jit(jax.grad(prior.gaussian.log_prob))(jnp.asarray(image))).ravel()
    assert gradients.difference(gradients.score_gradient(prior, image), exact) < 0.2


@pytest.mark.long
def test_the_scatter_is_stored_with_the_factor(mixture, image, estimates):
    class Numbers(dict):
        def number(self, key, value, se=None):
            self[key] = float(value)

        def mean(self, key, values):
            self[key] = float(np.mean(values))

    run, score = Numbers(), gradients.score_gradient(mixture, image)
    gradients.store_scatter(run, "faces.", estimates, score)
    few, many = (np.median(gradients.relative_std(estimates[n]["values"])) for n in (10, 50))
    assert run["faces.traces10.relative_std"] == few and run["faces.ratio"] == pytest.approx(few / many)
    assert run["faces.traces50.mean_error"] < run["faces.traces50.one_error"] < run["faces.traces10.one_error"]
