"""Training of the discrete-flow prior by maximum likelihood on 8-bit images."""

from pathlib import Path

import jax
import jax.numpy as jnp

from aps_core import training
from aps_core.prior_training import VALIDATION, drawn, fit_image_gaussian, images_of
from aps_core.priors.discrete import discrete_prior_settings, init_discrete_prior, maximum_likelihood_loss
from aps_core.recipes import provenance, read


def train_flow_prior(recipe, *, evaluate_every=500, folder=None, budget=None, progress=True):
    """Train a DiscreteFlowPrior as a recipe says: (prior, Trained, card).

    [prior]: ``data``, ``grey``, ``batch``, ``dequantize`` and ``mirror`` as for ``train_network_prior``; [prior.flow]: ``steps``, ``width``,
    ``depth`` and ``whiten`` as for ``init_discrete_prior``. The Gaussian has all modes. Logged: ``val_bits``, bits per entry of validation
    images, and ``val_gain``, nats per entry over the Gaussian. Errors as those of the functions it calls.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    settings, optimizer = recipe["prior"], training.Optimizer(**recipe["optimizer"])
    width, mirror = settings.get("dequantize", 1 / 255), settings.get("mirror", False)
    values, sha = images_of(settings, "train")
    gaussian = fit_image_gaussian(values, values[0].size, width, mirror)
    start = init_discrete_prior(jax.random.key(optimizer.seed), gaussian, **settings["flow"])
    arrays = {"prior": start.replace(params={}), "pixels": jnp.asarray(values)}
    held_out = jnp.asarray(images_of(settings, "val", VALIDATION)[0], jnp.float32) / 255

    def loss(params, arrays, key, progress):
        *k_draw, k_loss = jax.random.split(key, 3)
        images = drawn(k_draw, arrays["pixels"], settings["batch"], mirror)
        return maximum_likelihood_loss(arrays["prior"].replace(params=params), k_loss, images, width), {}

    @jax.jit
    def measure(prior, key):
        gaussian = -jnp.mean(jax.vmap(prior.gaussian.log_prob)(held_out)) / prior.dim
        return maximum_likelihood_loss(prior, key, held_out, width), gaussian

    def evaluate(params, arrays, key):
        nats, gaussian = (float(v) for v in measure(arrays["prior"].replace(params=params), key))
        return {"val_bits": nats / float(jnp.log(2.0)) + float(jnp.log2(255.0)), "val_gain": gaussian - nats}

    trained = training.fit(
        loss, start.params, arrays, optimizer, evaluate=evaluate, evaluate_every=evaluate_every,
        folder=folder, budget=budget, progress=progress, label=recipe.get("name", "prior"),
    )  # fmt: skip
    prior = start.replace(params=trained.params)
    return prior, trained, {**provenance(recipe, trained), "data_sha256": sha, "settings": discrete_prior_settings(prior)}
