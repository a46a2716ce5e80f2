"""A shipped flow of each task on signals that no training saw: nearer to the truth than the closed form that it starts from, and
intervals that hold what they say.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import gaussian_posterior, load_posterior, load_task
from aps_core.metrics.evaluation import evaluate

SIGNALS, SAMPLES = 12, 24
FLOWS = {  # (task, weights): the least PSNR of the mean in dB
    ("faces-denoise", "faces-denoise-reverse"): 28.0,
    ("faces-sr2", "faces-sr2-held-out"): 29.0,
    ("faces-deblur", "faces-deblur-held-out"): 28.5,
    ("cifar10-deblur", "cifar10-deblur-held-out"): 26.0,
    ("bunny-inpaint", "bunny-inpaint-held-out"): 29.0,
    ("sphere-impute", "sphere-impute-held-out"): 38.0,
    ("sphere-impute", "sphere-impute-any"): 38.0,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights"), FLOWS)
def test_a_shipped_flow_is_worth_its_training(name, weights):
    task = load_task(name)
    signals = np.asarray(task.signals("test"))
    x0 = jnp.asarray(signals[np.round(np.linspace(0, len(signals) - 1, SIGNALS)).astype(int)])
    measurements = task.measure(jax.random.key(0), x0)
    samplers = {"flow": load_posterior(task, weights=weights), "closed": gaussian_posterior(task)}
    found = {row: evaluate(s, jax.random.key(1), measurements, x0, SAMPLES) for row, s in samplers.items()}
    gain = found["closed"]["energy"] - found["flow"]["energy"]
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert found["flow"]["psnr_mean"].mean() > FLOWS[name, weights]
    assert 0.8 < found["flow"]["coverage"][:, 1].mean() < 0.97
