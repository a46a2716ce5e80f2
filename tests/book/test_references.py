"""References by long chains: on a posterior that is known, and on a learned prior of two modes against a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aps_core
from aps_book.experiments import references
from aps_core import Task
from aps_core.operators import RandomMask


@pytest.mark.slow
def test_chains_from_two_starts_find_a_known_posterior(tmp_path):
    task = aps_core.load_task("gaussian16", mask_fraction=0.4)
    (one,) = references.measured(task, 1)
    exact = aps_core.gaussian_posterior(task).flow.context(one)
    mean, std = (np.asarray(a, np.float64) for a in (exact.mean, exact.marginal_std))
    sizes = {"chains": 4, "steps": 800, "keep": 200, "progress": lambda said: None}
    found = references.reference(task, one, **sizes, folder=tmp_path)
    assert found["r_hat"].max() < 1.01 and found["ess"].min() > 200 and 0.4 < found["acceptance"] < 0.75
    errors = (found["mean"] + np.asarray(task.prior.mean) - mean) / (std / np.sqrt(found["ess"]))
    assert np.abs(errors).max() < 5 and np.abs(found["std"] / std - 1).max() < 0.2
    again = references.reference(task, one, **sizes, folder=tmp_path)  # from the blocks that are kept
    assert np.array_equal(again["mean"], found["mean"])


@pytest.mark.slow
def test_chains_under_a_learned_prior_find_what_a_grid_finds(make_score_prior):
    """Two modes: the density of the ODE on a grid times the likelihood, and the rest of the signal integrated out."""
    prior = make_score_prior(d=8, k=4, k_modes=2, scale=0.5)
    task = Task(RandomMask((8,), 0.4), 0.1, prior, unit_range=False)
    one = task.measure(jax.random.key(1), prior.gaussian.sample(jax.random.key(2), 1)[0])
    at = references.coordinates_of(prior)
    found = references.reference(task, one, at, chains=4, steps=400, keep=200, progress=lambda said: None)
    assert found["r_hat"].max() < 1.01

    precision, shift = references.likelihood(at, task, one)
    centre, factor = references.gaussian_part(at, precision, shift)
    side = np.linspace(-5, 5, 31)
    z = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    a = centre + z @ factor.T
    log_prob = jax.jit(lambda rows: jax.lax.map(lambda row: at.parts[0](row, at.prior, 0.0), rows, batch_size=64))
    log_p = np.asarray(log_prob(jnp.asarray(a, jnp.float32)), np.float64) + a @ shift
    log_p -= np.einsum("ni,ij,nj->n", a, precision, a) / 2
    weights = np.exp(log_p - log_p.max())
    weights /= weights.sum()
    mean = weights @ a
    std = np.sqrt(weights @ (a - mean) ** 2)
    assert np.abs((found["mean"] - mean) / (std / np.sqrt(found["ess"]))).max() < 5
    assert np.abs(found["std"] / std - 1).max() < 0.1
    gaussian = np.exp(-(z**2).sum(axis=1) / 2)
    assert np.abs(weights - gaussian / gaussian.sum()).sum() > 0.02  # the learned part has a say


def test_the_rest_of_the_signal_is_integrated_out():
    """Under a Gaussian prior the posterior of the coordinates is that of the whole signal, in the coordinates."""
    task = aps_core.load_task("sphere-impute")
    gaussian = task.prior.gaussian
    few = gaussian.replace(basis=gaussian.basis[:60], mean=gaussian.mean[:60], shape=(60,))
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(60, 5)))[0]
    full = np.asarray(few.covariance(), np.float64)
    outside = np.eye(60) - basis @ basis.T
    # of a Gaussian whose parts inside and outside of the basis are independent
    covariance = basis @ basis.T @ full @ basis @ basis.T + outside @ full @ outside
    at = references.Coordinates(*references.split(few, basis), few, 0.0, ())
    own = Task(RandomMask((60,), 0.5), 0.05, few, unit_range=False)
    one = own.measure(jax.random.key(0), few.sample(jax.random.key(1), 1)[0])
    mean, factor = references.gaussian_part(at, *references.likelihood(at, own, one))
    seen = np.asarray(one.mask) > 0
    gain = np.linalg.solve(covariance[np.ix_(seen, seen)] + 0.05**2 * np.eye(seen.sum()), covariance[seen]).T
    expected = basis.T @ gain @ (np.asarray(one.y)[seen] - at.mean[seen])
    assert np.allclose(mean, expected, rtol=1e-5, atol=1e-8)
    left = basis.T @ (covariance - gain @ covariance[seen]) @ basis
    assert np.allclose(factor @ factor.T, left, rtol=1e-5, atol=1e-9)
