"""Checks without truth: misfit and entries left out, of the exact posterior and of wrong ones."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from aps_core import AveragePool, FixedMask, Measurement, RandomMask, Task, gaussian_posterior
from aps_core.metrics import calibration
from aps_core.metrics.trust import left_out, misfit, predictive

N = 150


@pytest.fixture
def task(make_prior):
    """Twelve entries, a third of them missing."""
    return Task(RandomMask((12,), 1 / 3), 0.1, make_prior(d=12, k=4, leading=0.05, rest=1e-3), unit_range=False)


@pytest.fixture
def measured(task):
    return task.measure(jax.random.key(1), task.prior.sample(jax.random.key(0), N))


def told(task, factor):
    """The exact posterior of one who takes the noise for ``factor`` times what it is."""
    return gaussian_posterior(replace(task, sigma_y=factor * task.sigma_y))


def test_the_misfit_of_the_exact_posterior_is_one(task, measured):
    found = misfit(gaussian_posterior(task), jax.random.key(2), measured)
    assert found.shape == (N,) and abs(found.mean() - 1) < 4 * found.std() / np.sqrt(N)
    assert misfit(told(task, 0.5), jax.random.key(2), measured).mean() > 1.5
    assert misfit(told(task, 2.0), jax.random.key(2), measured).mean() < 0.7


def test_the_misfit_is_that_of_its_definition(task, measured):
    """Of a posterior whose samples are known; whatever stands in y where it is missing counts for nothing."""

    class Half:
        task = None

        def sample(self, key, measurements, n):
            return np.full((len(measurements.y), n, 12), 0.5, np.float32)

    half = Half()
    half.task = task
    y, seen = np.asarray(measured.y), np.asarray(measured.mask) > 0
    expected = [np.mean((a[s] - 0.5) ** 2) / 0.01 for a, s in zip(y, seen, strict=True)]
    filled = Measurement(np.where(seen, y, 0.9).astype(np.float32), measured.mask)
    np.testing.assert_allclose(misfit(half, jax.random.key(0), filled, n=2), expected, rtol=1e-4)


def test_entries_left_out_are_told_by_the_exact_posterior_alone(task, measured):
    found = left_out(gaussian_posterior(task), jax.random.key(3), measured, n=59)
    error = found.inside.std() / np.sqrt(N)
    assert abs(found.inside.mean() - 0.9) < 4 * error and calibration.rank_band(found.rank, 59).p > 0.01
    narrow = left_out(told(task, 0.4), jax.random.key(3), measured, n=59)
    assert narrow.inside.mean() < 0.8 and calibration.rank_band(narrow.rank, 59).p < 0.01


def test_what_is_left_out_is_not_seen(task, measured):
    """Neither by its value nor by the mask, and a fifth of what was observed is hidden, each time other entries."""
    asked = []

    class Asked:
        def sample(self, key, measurements, n):
            asked.append(measurements)
            return np.zeros((len(measurements.y), n, 12), np.float32)

    asking = Asked()
    asking.task = task
    left_out(asking, jax.random.key(0), jax.tree.map(lambda a: a[:6], measured), share=0.25, n=9)
    (rest,) = asked
    hidden = np.asarray(measured.mask[:6]) - rest.mask
    assert np.all(hidden.sum(axis=1) == 2) and len(np.unique(hidden, axis=0)) > 1
    assert np.all(rest.y[rest.mask == 0] == 0)


def test_a_large_batch_is_drawn_in_parts(task, measured, monkeypatch):
    few, posterior = jax.tree.map(lambda a: a[:5], measured), gaussian_posterior(task)
    monkeypatch.setattr(predictive, "AT_ONCE", 2 * 9 * 12)
    assert misfit(posterior, jax.random.key(0), few, n=9).shape == (5,)
    found = left_out(posterior, jax.random.key(0), few, n=9)
    assert len(found.inside) == len(found.rank) == 5 and np.all((found.rank >= 0) & (found.rank <= 9))


def test_what_cannot_be_checked(task, measured):
    posterior, key = gaussian_posterior(task), jax.random.key(0)
    with pytest.raises(TypeError, match="posterior is a Task without task, sample; expected an AmortizedPosterior"):
        misfit(task, key, measured)
    with pytest.raises(TypeError, match="key must be a random key"):
        misfit(posterior, 3, measured)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\), got 1"):
        left_out(posterior, key, measured, share=1)
    with pytest.raises(ValueError, match="with 1 observed entries cannot be parted"):
        left_out(posterior, key, Measurement(np.eye(12, dtype=np.float32)[0], np.eye(12, dtype=np.float32)[0]))
    for operator in (FixedMask(np.arange(12) > 3), AveragePool((12, 1), 1)):
        other = replace(task, operator=operator, prior=task.prior.replace(shape=operator.shape))
        one = other.measure(key, other.prior.sample(key, 1)[0])
        with pytest.raises(ValueError, match="entries can be left out where each measurement has a mask of its own"):
            left_out(gaussian_posterior(other), key, one)
