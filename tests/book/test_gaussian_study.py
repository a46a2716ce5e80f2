"""The numbers of the chapter on a known posterior, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import gaussian16
from aps_book.experiments.measured import samples_of
from aps_core import Identity, RandomMask, Task, gaussian_posterior, untrained_posterior
from aps_core.diffusion import VPSDE
from aps_core.priors import bound

DIM, SIGMA_Y = 8, 0.05
WRONG = {"kind": "gaussian-base", "k": 4, "steps": 1, "width": 4, "inflate": 2.0, "offset_std": 1.0}


@pytest.fixture
def task(make_prior):
    prior = make_prior(d=DIM, k=4)
    signals = prior.sample(jax.random.key(5), 64)
    return Task(RandomMask((DIM,), 0.5), SIGMA_Y, prior, signals, unit_range=False)


def measure(task, n):
    return task.measure(jax.random.key(1), task.signals("test")[:n])


def dense_posterior(task, measurement):
    """Mean and covariance by the textbook formula, in float64."""
    prior = task.prior
    mean, covariance = np.asarray(prior.mean, np.float64), np.asarray(prior.covariance(), np.float64)
    mask, y = np.asarray(measurement.mask, np.float64), np.asarray(measurement.y, np.float64)
    sigma = np.linalg.inv(np.linalg.inv(covariance) + np.diag(mask) / task.sigma_y**2)
    return mean + sigma @ (mask * (y - mean)) / task.sigma_y**2, sigma


def test_moments_are_the_textbook_formula(task):
    measurements = measure(task, 3)
    mean, std = gaussian16.exact_moments(task, measurements)
    for i in range(3):
        one = jax.tree.map(lambda a, i=i: a[i], measurements)
        expected_mean, expected = dense_posterior(task, one)
        np.testing.assert_allclose(mean[i], expected_mean, rtol=1e-4)
        np.testing.assert_allclose(std[i], np.sqrt(np.diag(expected)), rtol=1e-4)
        np.testing.assert_allclose(gaussian16.exact_covariance(task, one), expected, atol=1e-4 * expected.max())


def test_the_truth_has_no_divergence_and_twice_the_error(task):
    found = gaussian16.compare(gaussian_posterior(task), jax.random.key(2), measure(task, 32), n=256)
    assert abs(found["kl"][0]) < 1e-5
    assert abs(found["ratio"][0] - 2) < 4 * found["ratio"][1] < 0.1


def test_samples_one_after_the_other_are_those_of_the_batch(task):
    posterior, measurements, key = untrained_posterior(task, WRONG), measure(task, 3), jax.random.key(2)
    found = samples_of(posterior.sample_and_log_prob, key, measurements, 5)
    for one, together in zip(found, posterior.sample_and_log_prob(key, measurements, 5), strict=True):
        assert one.shape == together.shape and np.allclose(one, together, rtol=1e-5, atol=1e-5)


def test_a_wrong_base_is_as_wrong_as_it_was_made(task):
    """Covariance doubled, mean off by delta = the marginal standard deviations: both numbers are known."""
    measurements = measure(task, 32)
    wrong = untrained_posterior(task, WRONG)
    found = gaussian16.compare(wrong, jax.random.key(2), measurements, n=512)
    expected, of_mean = [], []
    for i in range(32):
        sigma = dense_posterior(task, jax.tree.map(lambda a, i=i: a[i], measurements))[1]
        delta = np.sqrt(np.diag(sigma))
        of_mean.append(delta @ np.linalg.solve(sigma, delta) / (2 * DIM))
        expected.append((1 - np.log(2)) / 2 + of_mean[-1])
    assert found["kl"][0] == pytest.approx(np.mean(expected), rel=0.02)
    assert gaussian16.kl_of_mean(wrong, jax.random.key(2), measurements, n=512).mean() == pytest.approx(
        np.mean(of_mean), rel=0.03
    )
    # 1 + E|x - m|^2 / tr Sigma = 1 + (2 tr Sigma + |delta|^2) / tr Sigma
    assert found["ratio"][0] == pytest.approx(4, rel=0.02)


def test_the_truth_has_the_right_mean_and_takes_time(task):
    exact, measurements = gaussian_posterior(task), measure(task, 32)
    values = gaussian16.kl_of_mean(exact, jax.random.key(2), measurements, n=64)
    assert values.shape == (32,)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(32)
    times = gaussian16.seconds(exact, jax.random.key(3), measurements, n=4)
    assert set(times) == {"seconds_one", "seconds_many"} and min(times.values()) > 0


def test_sample_moments(task):
    one = jax.tree.map(lambda a: a[0], measure(task, 1))
    expected_mean, expected = dense_posterior(task, one)
    mean, std, covariance = gaussian16.sample_moments(gaussian_posterior(task), jax.random.key(3), one, 20_000)
    np.testing.assert_allclose(mean, expected_mean, atol=5 * np.sqrt(expected.max() / 20_000))
    np.testing.assert_allclose(std, np.sqrt(np.diag(expected)), rtol=0.03)
    assert gaussian16.relative_error(covariance, expected) < 0.03


def test_relative_error_of_known_matrices():
    assert gaussian16.relative_error(np.eye(2) * 1.5, np.eye(2)) == pytest.approx(0.5)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("variance", [1e-5, 1e-3])
def test_precision_is_the_curvature_of_the_bound(make_prior, variance, start):
    """The bound is quadratic in x, with the same curvature for every noise: minus its second derivative, averaged over
    times.
    """
    prior = make_prior(d=1, k=1, leading=0.0, rest=variance, sde=VPSDE(t_min=1e-3))
    sde, n = prior.sde, 4096
    t = sde.likelihood_weighted_time((jnp.arange(n) + 0.5) / n)

    def mean_bound(x):
        at = jax.vmap(lambda ti, k: bound.elbo_at(prior.eps, sde, 2 * x - 1, ti, k, form=bound.Form(start)))
        return jnp.mean(at(t, jax.random.split(jax.random.key(0), n)))

    curvature = -jax.jit(jax.hessian(mean_bound))(jnp.array([0.4]))[0, 0]
    assert float(curvature) == pytest.approx(gaussian16.bound_precision(variance, sde.v_min / 4, start), rel=2e-3)


def test_trap_ratio_is_one_where_v_vanishes_and_large_below_it():
    np.testing.assert_allclose(gaussian16.trap_ratio([1.0, 1e-5], 0.0, 0.1, start_time_term=False), 1)
    without, with_term = (gaussian16.trap_ratio(1e-5, 3e-5, 1e3, start) for start in (False, True))
    assert without == pytest.approx(4, rel=1e-6)
    assert with_term == pytest.approx(16 / 7, rel=1e-6)


def test_a_recipe_made_shorter_fits_and_keeps_the_rest():
    long = gaussian16.named_recipe("gaussian16-structured-denoise")
    short = gaussian16.named_recipe("gaussian16-structured-denoise", steps=40, prior_term="exact")
    assert long["optimizer"]["steps"] == 600 and long["objective"]["prior_term"] == "elbo"
    assert short["optimizer"]["steps"] == 40 and short["optimizer"]["warmup"] == 10
    assert short["optimizer"]["ema"] == pytest.approx(0.75)
    assert short["objective"] == {**long["objective"], "prior_term": "exact"}
    assert short["flow"] == long["flow"]


def test_an_unknown_recipe_is_named():
    with pytest.raises(FileNotFoundError, match="gaussian17"):
        gaussian16.named_recipe("gaussian17")


@pytest.mark.long
def test_training_mends_the_wrong_base(make_prior, monkeypatch):
    """A short run on a small problem: the log starts at the divergence of the base and ends well below."""
    prior = make_prior(d=DIM, k=DIM - 1)
    task = Task(Identity((DIM,)), SIGMA_Y, prior, prior.sample(jax.random.key(5), 256), unit_range=False)
    recipe = {
        "flow": {**WRONG, "k": DIM - 1, "width": 16},
        "objective": {"prior_term": "exact", "batch": 32},
        "optimizer": {"steps": 120, "learning_rate": 1e-2, "warmup": 10, "ema": 0.9},
    }
    monkeypatch.setattr(gaussian16, "named_recipe", lambda *_: recipe)
    posterior, history = gaussian16.train(task, "small", evaluations=2)
    steps, kl, se = gaussian16.kl_history([*history, {"step": 999}])
    assert steps.tolist() == [0, 60, 120] and (se > 0).all()
    assert kl[0] > 0.3 and kl[-1] < 0.2 * kl[0]
    assert gaussian16.compare(posterior, jax.random.key(4), measure(task, 32))["kl"][0] == pytest.approx(
        kl[-1], rel=0.3
    )
