"""A plain score network trained on draws from a known Gaussian: how near it comes to the truth can be measured without
another model.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from aps_book.experiments.gated_maps import GatedMaps
from aps_core import weights
from aps_core.priors.score_network import NetworkPrior, denoising_loss, init_network_prior
from aps_core.tasks import load_task
from aps_core.training.job import Job
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, prior_of

VALIDATION = 4096  # draws
REQUIRED = ("task", "t_min", "batch", "network")  # of a recipe's [draws]


def truth(task, t_min):
    """The Gaussian prior of the task's name with a diffusion that stops at ``t_min``. Raises TypeError where that prior
    is not Gaussian.
    """
    prior = load_task(task).prior
    if prior.gaussian is not prior:
        raise TypeError(f"task {task!r} has a {type(prior).__name__}, expected a prior that is Gaussian")
    return prior.replace(sde=replace(prior.sde, t_min=t_min))


def draws_job(recipe):
    """The Job of a network trained by denoising score matching on fresh draws of a Gaussian.

    recipe: [draws] with ``task`` (one whose prior is a GaussianPrior), ``t_min``, ``batch``, and [draws.network], the
    fields of GatedMaps. The network predicts the whole score, not the residual to that Gaussian, which lends it nothing
    but the mean square of its signals; its loss is shown less that of the exact score under the same noise, which
    changes no gradient. Logged: ``val_gap``, how far the bound lies below the truth, in nats per signal. Errors as
    those of the functions it calls.
    """
    settings, seed = prior_of(recipe, REQUIRED, {}, "draws"), Optimizer.of(recipe["optimizer"]).seed
    gaussian = truth(settings["task"], settings["t_min"])
    network = GatedMaps(gaussian.shape, **settings["network"])
    start = init_network_prior(jax.random.key(seed), gaussian, network, residual=False)

    def loss(params, arrays, key, progress):
        del progress
        return _gap(arrays["prior"].replace(params=params), key, settings["batch"]), {}

    measure = jax.jit(lambda prior, key: prior.dim * _gap(prior, key, VALIDATION))

    def evaluate(params, arrays, key):
        return {"val_gap": float(measure(arrays["prior"].replace(params=params), key))}

    described = {"task": settings["task"], "t_min": settings["t_min"], "network": settings["network"]}
    return Job(loss, start.params, {"prior": start.replace(params={})}, evaluate, facts={"settings": described})


def _gap(prior, key, n):
    """Estimate of (exact log density) - (bound) over n draws, in nats per entry."""
    k_draw, k_loss = jax.random.split(key)
    return denoising_loss(prior, k_loss, prior.gaussian.sample(k_draw, n))


def load_score(name):
    """(TracedPrior, card) of weights of a recipe with [draws]; its ``gaussian`` is the truth. Errors as in
    ``weights.load``.
    """
    tree, card = weights.load(name)
    try:
        settings = card["settings"]
        gaussian = truth(settings["task"], settings["t_min"])
        network = GatedMaps(gaussian.shape, **settings["network"])
    except (KeyError, TypeError) as error:
        raise weights.WeightsError(f"weights {name!r} do not hold a score network: {error!r}") from error
    return TracedPrior(
        gaussian, jax.tree.map(jnp.asarray, tree), network, residual=False, t_residual=settings["t_min"]
    ), card


@flax.struct.dataclass
class TracedPrior(NetworkPrior):
    """A NetworkPrior without residual whose network gives the trace of its Jacobian: densities by the ODE need no
    probes.
    """

    has_divergence = True

    def eps_and_divergence(self, ut, t):
        """Noise prediction for ``ut`` (d,) and the trace of its Jacobian."""
        factor, total, size = self._preconditioning(t)
        out, trace = self.network.apply(self.params, ut / jnp.sqrt(total), t, trace=True)
        return factor * ut + size * out, factor * self.dim + size / jnp.sqrt(total) * trace

    def mixed(self):
        """The same prior, faster where many directions of one Jacobian are asked for."""
        return self.replace(network=self.network.clone(mixed=True))


DRAWS = Trainer(draws_job, ("draws",))
