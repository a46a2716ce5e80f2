"""The pool of measurements in modes: shares of missing entries and noise levels that it was asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import load_task
from aps_core.flows import build_flow
from aps_core.training.modal_contexts import context_pool
from aps_core.training.posterior import objective_settings

FLOW = {"kind": "gaussian-base", "k": 64, "steps": 1, "width": 8}


def spread(pool):
    """log of the posterior over the prior standard deviation of the first mode, (n,)."""
    return np.asarray(pool.features[:, 64])


@pytest.mark.slow
def test_pool_has_the_noise_levels_that_it_was_asked_for():
    task = load_task("sphere-impute", sigma_y=0.05)
    flow, signals = build_flow(task, FLOW), jnp.asarray(task.signals("val")[:4])

    def pool(**settings):
        return context_pool(task, flow, signals, {"pool": 6, "pool_missing": [0.6], **settings}, jax.random.key(0))

    usual = spread(pool(pool_noise=None))
    np.testing.assert_allclose(spread(pool(pool_noise=[0.05, 0.050001])), usual, rtol=0.05)
    low, high = spread(pool(pool_noise=[0.01, 0.0101])), spread(pool(pool_noise=[0.2, 0.201]))
    # where the data determine the mode its posterior deviation follows the noise
    assert np.all(low < usual) and np.all(usual < high)
    assert np.std(spread(pool(pool_noise=[0.01, 0.2]))) > 5 * np.std(usual)


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        (0.1, TypeError, "pool_noise must be two noise levels"),
        ([0.2, 0.1], ValueError, "low < high"),
        ([0.0, 0.1], ValueError, "pool_noise must be finite and positive"),
        (["a", 0.1], TypeError, "pool_noise must be a number"),
    ],
)
def test_bad_noise_levels_are_refused(levels, error, message):
    with pytest.raises(error, match=message):
        objective_settings({"objective": {"pool_noise": levels}})
