"""Training in the leading modes alone: the contexts of measurements, computed once, and the loss on them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_core import operators
from aps_core.priors.base import capability
from aps_core.priors.gaussian import gaussian_posterior
from aps_core.training import devices, objective

AT_ONCE = 256  # contexts between two steps of the bar


def modal_loss(settings, params, arrays, key, progress):
    del progress
    k_pick, k_loss = jax.random.split(key)
    picked = jax.random.randint(k_pick, (settings["batch"],), 0, len(arrays["pool"].mean))
    modal = jax.tree.map(lambda a: a[picked], arrays["pool"])
    flow = arrays["flow"]
    divergence = objective.ModalDivergence(settings["n_samples"], settings["n_times"], settings["estimator"])
    value, parts = divergence(flow, params, arrays["prior"], k_loss, modal)
    return value / flow.k, parts


def _check_modal(task, flow):
    """Raise ValueError unless the flow can be trained in the modes of the task's prior."""
    modes = capability(task.prior, "leading_modes")
    if not flow.has_modal_context or modes is None:
        raise ValueError(
            f'prior_term "modes" needs a flow of kind "gaussian-base" and a ScorePrior, got {type(flow).__name__} and '
            f"{type(task.prior).__name__}; a SubspacePrior has train_subspace_posterior"
        )
    if flow.k != modes:
        raise ValueError(f'prior_term "modes" needs as many coupled modes as the prior has, {modes}, got k = {flow.k}')


@jax.jit
def _modal_contexts(flow, measurements):
    """The ModalContext of each of a batch of measurements."""

    def one(m):
        observed = jnp.ones_like(m.y) if m.mask is None else m.mask
        return flow.modal_context(gaussian_posterior(flow.prior, flow.sigma_y, m.y.reshape(-1), observed.reshape(-1)))

    return jax.lax.map(one, measurements)


def contexts_of(task, flow, measurements):
    """ModalContexts of measurements that somebody has recorded."""
    _check_modal(task, flow)
    return _modal_contexts(flow, measurements)


def context_pool(task, flow, signals, settings, key):
    """ModalContexts of ``pool`` measurements of random signals, their masks drawn at the fractions ``pool_missing``, in
    noise of the task's level or, with ``pool_noise`` = [low, high], of one drawn for each, uniform in its logarithm.
    """
    _check_modal(task, flow)
    if settings["pool_missing"] and not isinstance(task.operator, operators.RandomMask):
        raise ValueError(f"pool_missing is for a RandomMask, got the operator {task.operator!r}")
    fractions = settings["pool_missing"] or [None]
    shares, levels = np.array_split(np.arange(settings["pool"]), len(fractions)), settings["pool_noise"]

    @partial(jax.jit, static_argnums=2)
    def contexts(flow, args, operator):
        def one(args):
            key, x0, sigma_y = args
            m = operators.simulate(operator, sigma_y, key, x0)
            observed = operator.observed(m.mask).reshape(-1)
            return flow.modal_context(gaussian_posterior(flow.prior, sigma_y, m.y.reshape(-1), observed))

        return jax.lax.map(one, args)

    parts = []
    bar = tqdm(total=settings["pool"], desc="contexts", disable=None if devices.is_main() else True, mininterval=1.0)
    for fraction, share in zip(fractions, shares, strict=True):
        key, k_pick, k_measure = jax.random.split(key, 3)
        picked = jax.random.randint(k_pick, (len(share),), 0, signals.shape[0])
        sigmas = jnp.full(len(share), task.sigma_y)
        if levels:
            key, k_level = jax.random.split(key)
            low, high = jnp.log(jnp.asarray(levels))
            sigmas = jnp.exp(jax.random.uniform(k_level, (len(share),), minval=low, maxval=high))
        operator = task.operator if fraction is None else replace(task.operator, missing=fraction)
        made = jax.random.split(k_measure, len(share)), signals[picked], sigmas
        for some in np.array_split(np.arange(len(share)), -(-len(share) // AT_ONCE)):
            part = contexts(flow, jax.tree.map(lambda a, some=some: a[some], made), operator)
            parts.append(jax.block_until_ready(part))
            bar.update(len(some))
    bar.close()
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
