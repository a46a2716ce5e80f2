"""The samplers' own normal numbers are normal, independent, and a function of the key alone."""

import jax
import numpy as np
import pytest
from scipy import stats

from aps_core.samplers.noise import normal

N = 200_000


@pytest.fixture(scope="module")
def drawn():
    return np.asarray(jax.jit(lambda k: normal(k, (N,)))(jax.random.key(3)), np.float64)


def test_distribution(drawn):
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert abs(drawn.mean()) < 4 / np.sqrt(N) and abs(drawn.var() - 1) < 4 * np.sqrt(2 / N)
    assert 4 < np.abs(drawn).max() < 6.5


def test_no_correlation_within_or_between_keys(drawn):
    """Neighbours, the two words of a block (half the length apart), and the same place under the next key."""
    keys = jax.random.split(jax.random.key(3), 2)
    first, second = (np.asarray(normal(k, (N,)), np.float64) for k in keys)
    for a, b in ((drawn[:-1], drawn[1:]), (drawn[: N // 2], drawn[N // 2 :]), (first, second), (first**2, second**2)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(len(a))


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (4, 4, 3)])
def test_any_shape_alone_or_in_a_batch(shape):
    keys = jax.random.split(jax.random.key(0), 5)
    together = jax.vmap(lambda k: normal(k, shape))(keys)
    assert together.shape == (5, *shape) and together.dtype == np.float32 and np.isfinite(together).all()
    np.testing.assert_array_equal(together[3], normal(keys[3], shape))
    assert len(np.unique(together)) == together.size


def test_other_generators_are_left_to_jax():
    key = jax.random.key(1, impl="rbg")
    np.testing.assert_array_equal(normal(key, (5,)), jax.random.normal(key, (5,)))
