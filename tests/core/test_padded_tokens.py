"""Flows over tokens where the tokens do not divide the signal: what pads them is no part of the density."""

import jax
import numpy as np
import pytest
from flow_checks import everything

from aps_core import Task
from aps_core.flows import build_flow
from aps_core.operators import Identity
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior

OTHERS = [("distilled", 5), ("distilled", 4), ("universal", 4)]  # with the same couplings; at 4 nothing is padded


@pytest.mark.parametrize(
    "kind, side", [("universal", 5), *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)]
)
def test_a_flow_whose_tokens_are_padded_is_a_bijection_with_an_exact_density(kind, side, randomise):
    shape = (side, side, 1)
    signals = np.random.default_rng(0).uniform(0.2, 0.8, (60, *shape))
    network = PatchTransformer(image_patches(shape, 2), width=8, depth=1, heads=2)
    prior = init_network_prior(jax.random.key(0), fit_gaussian(signals, 8, 1e-2), network)
    task = Task(Identity(shape), 0.1, prior, signals)
    flow = build_flow(task, {"kind": kind, "steps": 2, "width": 8, "n_bands": 4})
    params = randomise(jax.jit(flow.init)(jax.random.key(3)), 0.1)
    measurement = task.measure(jax.random.key(4), signals[0])
    z = jax.random.normal(jax.random.key(6), (2, flow.dim))
    _, log_det, back, inverse_log_det, jacobian = jax.jit(everything)(flow, params, measurement, z)
    np.testing.assert_allclose(back, z, atol=1e-3)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-3)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-3)
