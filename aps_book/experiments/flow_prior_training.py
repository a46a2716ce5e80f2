"""Training of the discrete-flow prior by maximum likelihood on 8-bit images."""

import jax
import jax.numpy as jnp

from aps_book.experiments.flow_prior import init_discrete_prior, maximum_likelihood_loss
from aps_core.training.network_prior import VALIDATION, drawn, fit_image_gaussian, images_of, network_job
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, prior_of

REQUIRED = ("data", "batch", "flow")  # of a recipe's [prior]
DEFAULTS = {"grey": False, "dequantize": 1 / 255, "mirror": False}


def flow_prior_job(recipe):
    """The Job of a DiscreteFlowPrior.

    [prior]: ``data``, ``grey``, ``batch``, ``dequantize`` and ``mirror`` as for ``train_network_prior``; [prior.flow]:
    ``steps``, ``width``, ``depth`` and ``whiten`` as for ``init_discrete_prior``. The Gaussian has all modes. Logged:
    ``val_bits``, bits per entry of validation images, and ``val_gain``, nats per entry over the Gaussian. Errors as
    those of the functions it calls.
    """
    settings, seed = prior_of(recipe, REQUIRED, DEFAULTS), Optimizer.of(recipe["optimizer"]).seed
    width, mirror = settings["dequantize"], settings["mirror"]
    values, sha = images_of(settings, "train")
    gaussian = fit_image_gaussian(values, values[0].size, width, mirror)
    start = init_discrete_prior(jax.random.key(seed), gaussian, **settings["flow"])
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

    return network_job(loss, start, arrays, evaluate, sha)


FLOW_PRIOR = Trainer(flow_prior_job, ("prior",))
