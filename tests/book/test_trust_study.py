"""The chapter on trust: what it computes beside the library."""

import jax
import numpy as np
import pytest

import aps_core
from aps_book.experiments import trust
from aps_core.metrics.trust import importance
from aps_core.metrics.trust.reference import shipped_reference


def test_area_under_the_curve():
    assert trust.area([-5, -4], [0, -1, -2]) == 1.0
    assert trust.area([0, 0], [0, 0]) == 0.5
    rng = np.random.default_rng(0)
    wrong, right = rng.normal(-1, 1, 3000), rng.normal(0, 1, 3000)
    assert abs(trust.area(wrong, right) - 0.760) < 0.02  # Phi(1 / sqrt 2)


def test_faulty_pictures_have_the_shape_of_faces():
    found = trust.pictures(np.random.default_rng(0).random((3, 32, 32, 3)).astype(np.float32), 3)
    assert {"swapped", "turned", "cifar10", "weather", "uniform"} <= set(found)
    assert all(np.shape(v) == (3, 32, 32, 3) for v in found.values())


@pytest.mark.long
def test_corrections_on_a_known_posterior():
    task = aps_core.load_task("gaussian16")
    closed, trained = aps_core.gaussian_posterior(task), aps_core.load_posterior(task, weights=trust.TRAINED)
    measured = task.measure(jax.random.key(1), task.signals("test")[0])
    mean, _ = trust.exact_moments(closed, measured)
    found = importance(trained, jax.random.key(0), measured, 4000)
    z = (found.mean().ravel() - mean) / found.mean_error().ravel()
    assert np.sqrt(np.mean(z**2)) < 1.6 and found.pareto_k < 0.9
    assert importance(trust.wrong_on_purpose(trained), jax.random.key(0), measured, 4000).pareto_k > 0.7


@pytest.mark.slow
def test_the_shipped_reference_is_that_of_the_weights():
    posterior = aps_core.load_posterior("faces-denoise")
    reference = shipped_reference(posterior)
    assert reference is not None and reference.n_draws == 512
    faces = aps_core.data.load("faces", "test").values[:3]
    found = aps_core.diagnose(posterior, posterior.task.measure(jax.random.key(0), faces))
    assert "draws of the prior" in found[0].text
    noisy = aps_core.load_task("faces-denoise", sigma_y=0.2).measure(jax.random.key(0), faces)
    assert all(one.verdict == "refuse" for one in aps_core.diagnose(posterior, noisy))
