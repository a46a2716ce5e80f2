"""Seconds of a training step, amortized over measurements and for a single one."""

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments.short_trainings import seconds_per_step
from aps_core.operators import Identity
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.tasks.problem import Task
from aps_core.training.posterior import AS_IN_THE_PAPER, train_posterior


def face_sized_task(shape=(32, 32, 3), depth=6, n_modes=64):
    """Denoising images of ``shape`` under a NetworkPrior of face size that was never trained: only its cost matters."""
    dim = int(np.prod(shape))
    basis = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(dim, n_modes)))[0], jnp.float32)
    gaussian = GaussianPrior(jnp.full(dim, 0.5), basis, jnp.full(n_modes, 0.05), jnp.asarray(1e-3), shape=shape)
    network = PatchTransformer(image_patches(shape, 4), depth=depth)
    prior = init_network_prior(jax.random.key(0), gaussian, network)
    return Task(Identity(shape), 0.1, prior, gaussian.sample(jax.random.key(1), 64), name="cost", unit_range=False)


def step_costs(width=384, repeats=3, batch=64, task=None):
    """Seconds of one training step of the paper's RealNVP (24 steps) at ``batch`` samples, by name; the fastest of
    ``repeats``.

    "unconditional": one measurement, all samples of it; "conditional": as many measurements as samples;
    "conditional_4": four samples of each measurement. Simulation, fidelity, learned prior (one time per sample, full
    Jacobian), flow, Adam and averaging are included.
    """
    task = face_sized_task() if task is None else task
    one = task.measure(jax.random.key(2), task.signals("train")[0])
    kinds = {
        "unconditional": ({"conditional": False}, {"batch": batch}, one),
        "conditional_4": ({}, {"batch": batch // 4, "n_samples": 4}, None),
        "conditional": ({}, {"batch": batch}, None),
    }
    found = {}
    for name, (flow, objective, measurement) in kinds.items():
        recipe = {
            "name": name,
            "flow": {"kind": "realnvp", "width": width, **flow},
            "objective": {"prior_term": "control-variate", **AS_IN_THE_PAPER, **objective},
            "optimizer": {"steps": repeats + 2, "warmup": 1},
        }
        _, trained = train_posterior(task, recipe, measurement=measurement, evaluate_every=1, progress=False)
        found[name] = seconds_per_step(trained.history, np.min)
    return found
