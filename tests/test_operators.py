"""Forward operators, the noise and the likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from aps_core.operators import Identity, Measurement, RandomMask, log_likelihood, simulate

SHAPE = (6, 7)


def _operators():
    return [Identity(SHAPE), RandomMask(SHAPE, 0.6), RandomMask(SHAPE, 0.0)]


@pytest.mark.parametrize("operator", _operators(), ids=str)
def test_adjoint(operator):
    rng = np.random.default_rng(0)
    mask = operator.draw(jax.random.key(0))
    x, y = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    left, right = float(jnp.sum(operator(x, mask) * y)), float(jnp.sum(x * operator.adjoint(y, mask)))
    assert left == pytest.approx(right, abs=float(1e-5 * np.linalg.norm(x) * np.linalg.norm(y)))
    basis = jnp.eye(42).reshape(42, *SHAPE)
    gram = jax.vmap(lambda b: operator.adjoint(operator(b, mask), mask))(basis).reshape(42, 42)
    np.testing.assert_array_equal(gram, np.diag(np.ravel(operator.observed(mask))))


def test_leading_axes_are_batches():
    mask = RandomMask(SHAPE, 0.5).draw(jax.random.key(0))
    x = np.random.default_rng(0).random((3, *SHAPE))
    np.testing.assert_array_equal(RandomMask(SHAPE, 0.5)(x, mask)[1], np.asarray(mask) * x[1].astype(np.float32))
    np.testing.assert_array_equal(Identity(SHAPE)(x), x)


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.6, 0.97])
def test_exactly_the_asked_share_is_missing(missing):
    operator = RandomMask(SHAPE, missing)
    masks = np.asarray(jax.vmap(operator.draw)(jax.random.split(jax.random.key(0), 50)))
    assert set(np.unique(masks)) <= {0.0, 1.0}
    np.testing.assert_array_equal((masks == 0).sum(axis=(1, 2)), round(missing * 42))


def test_every_entry_is_missing_equally_often():
    operator = RandomMask(SHAPE, 0.5)
    masks = np.asarray(jax.vmap(operator.draw)(jax.random.split(jax.random.key(1), 2000)))
    counts = (masks == 0).sum(axis=0).ravel()
    assert min(binomtest(int(c), 2000, 0.5).pvalue for c in counts) > 0.01 / 42


@pytest.mark.parametrize("missing", [-0.1, 1.0, 0.999, float("nan")])
def test_a_mask_that_leaves_nothing(missing):
    with pytest.raises(ValueError, match="missing must be a fraction"):
        RandomMask(SHAPE, missing)


def test_simulated_noise():
    operator, sigma_y = RandomMask(SHAPE, 0.6), 0.05
    x0 = jnp.asarray(np.random.default_rng(0).random(SHAPE))
    m = jax.vmap(lambda k: simulate(operator, sigma_y, k, x0))(jax.random.split(jax.random.key(0), 500))
    y, mask = np.asarray(m.y), np.asarray(m.mask) == 1
    assert np.all(y[~mask] == 0)
    noise = (y - np.asarray(x0))[mask]
    assert noise.std() == pytest.approx(sigma_y, rel=4 / np.sqrt(2 * noise.size))
    assert noise.mean() == pytest.approx(0, abs=4 * sigma_y / np.sqrt(noise.size))
    assert len(np.unique(mask.reshape(500, -1), axis=0)) == 500


def test_denoising_has_no_mask():
    x0 = jnp.full(SHAPE, 0.5)
    m = simulate(Identity(SHAPE), 0.1, jax.random.key(0), x0)
    assert m.mask is None
    assert np.asarray(m.y - x0).std() == pytest.approx(0.1, rel=0.4)


@pytest.mark.parametrize("operator", _operators(), ids=str)
def test_log_likelihood_against_scipy(operator):
    rng = np.random.default_rng(0)
    x, x0 = rng.random((2, *SHAPE)).astype(np.float32)
    m = simulate(operator, 0.2, jax.random.key(3), x0)
    seen = np.asarray(operator.observed(m.mask)) == 1
    expected = norm.logpdf(np.asarray(m.y, np.float64)[seen], x[seen], 0.2).sum()
    assert log_likelihood(operator, 0.2, x, m) == pytest.approx(expected, rel=1e-5)


def test_what_stands_at_missing_entries_does_not_matter():
    operator = RandomMask(SHAPE, 0.5)
    x0 = jnp.full(SHAPE, 0.3)
    m = simulate(operator, 0.2, jax.random.key(0), x0)
    filled = Measurement(jnp.where(m.mask == 1, m.y, 0.9), m.mask)
    assert log_likelihood(operator, 0.2, x0, filled) == log_likelihood(operator, 0.2, x0, m)
