"""Score priors of the two-dimensional posteriors: flows trained side by side, one for each posterior, and their
weights.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments.toy2d import MEASURED, flow_kl, toys
from aps_core import weights
from aps_core.flows import build_flow
from aps_core.posterior import AmortizedPosterior
from aps_core.priors import terms
from aps_core.priors.base import DiffusionPrior
from aps_core.priors.mixture import GaussianMixturePrior
from aps_core.priors.ode import log_prob_ode
from aps_core.tasks.problem import Target
from aps_core.training.job import Job, run
from aps_core.training.objective import ReverseDivergence
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, prior_of

FLOW = {"kind": "realnvp", "conditional": False, "steps": 16, "width": 32}  # 32 couplings, as in the paper
SETTINGS = {"term": "elbo", "low": 0.03, "high": 0.2, "batch": 256, "n_times": 8, "start": None}


@flax.struct.dataclass
class TrueScore(DiffusionPrior):
    """A prior that is known by its score alone, as a learned one is: its ``log_prob`` is that of the probability-flow
    ODE, exact trace.
    """

    mixture: GaussianMixturePrior

    @property
    def gaussian(self):
        """The Gaussian with the mixture's mean and covariance."""
        return self.mixture.gaussian

    @property
    def sde(self):
        """The diffusion."""
        return self.mixture.sde

    @property
    def shape(self):
        """Shape of a signal."""
        return self.mixture.shape

    def eps(self, ut, t):
        """Optimal noise prediction at ``ut`` (2,)."""
        return self.mixture.eps(ut, t)

    def log_prob(self, x, key=None, **settings):
        """log density of one signal in nats; ``settings`` as in ``ode.log_prob_ode``."""
        settings = {"rtol": 1e-3, "atol": 1e-3, "adjoint": "checkpointed", "max_steps": 256, **settings}
        return log_prob_ode(self, x, key, **settings).log_prob


def toys_job(problems, settings, seed, start=None):
    """The Job of the score priors of all ``problems`` (a dict of Toys), trained side by side: stacked parameters.

    settings: those of SETTINGS. Their term "ode" takes log p(x) from the probability-flow ODE of the true score (the
    exact score prior), others as in ``priors.terms`` ("elbo" is the surrogate). Each flow minimizes
    ``objective.ReverseDivergence`` of its own measurement with its own ``batch`` samples per step; the losses are added
    up, so that one compiled step serves all. start: stacked parameters to go on from. Raises ValueError for an unknown
    term, WeightsError for a start of other flows.
    """
    term, batch, n_times = settings["term"], settings["batch"], settings["n_times"]
    if term not in terms.TERMS or term == "modes":
        raise ValueError(f"term must be one of {terms.TERMS} without 'modes', got {term!r}")
    tasks = [problem.task for problem in problems.values()]
    flows = [build_flow(task, FLOW) for task in tasks]
    priors = [TrueScore(task.prior) if term == "ode" else task.prior for task in tasks]
    begin = lambda: _stacked([flow.init(jax.random.key(seed)) for flow in flows])  # noqa: E731
    if start is not None:
        weights.check_arrays(settings["start"], start, jax.eval_shape(begin))
    params = begin() if start is None else start
    data = {"flow": _stacked(flows), "prior": _stacked(priors), "sigma_y": jnp.array([task.sigma_y for task in tasks])}
    measurement = jax.tree.map(lambda a: a[None], MEASURED)
    operator = tasks[0].operator
    divergence = ReverseDivergence("exact" if term == "ode" else term, batch, n_times)

    def loss(params, data, key, progress):
        def one(params, data, key):
            target = Target(operator, data["sigma_y"], data["prior"])
            return divergence(data["flow"], params, target, key, measurement, progress)[0]

        return jnp.sum(jax.vmap(one)(params, data, jax.random.split(key, len(tasks)))), {}

    def evaluate(params, data, key):
        del data
        return {
            f"val_kl_{shape}_{level}": flow_kl(problems[shape, level], q, key, 150, 5000)[0]
            for (shape, level), q in posteriors(problems, params).items()
        }

    facts = {"settings": settings, "flow": FLOW}
    return Job(loss, params, data, evaluate, facts=facts, dtype=np.float32)


def _stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def posteriors(problems, params, card=None):
    """One AmortizedPosterior for each of ``problems`` from stacked parameters."""
    found = {}
    for i, (name, problem) in enumerate(problems.items()):
        own = jax.tree.map(lambda a, i=i: jnp.asarray(a[i]), params)
        found[name] = AmortizedPosterior(problem.task, build_flow(problem.task, FLOW), own, card or {})
    return found


def toys_from_recipe(recipe):
    """The Job of a recipe with [toys], which has any of SETTINGS: ``term``, the noise levels ``low`` and ``high``,
    ``batch``, ``n_times``, and ``start``, the name of weights to go on from.

    Logged: the KL from the truth, ``val_kl_<shape>_<level>``, in nats. Raises TypeError or ValueError for a setting that is
    unknown or out of range.
    """
    settings = prior_of(recipe, (), SETTINGS, "toys")
    start = None if settings["start"] is None else jax.tree.map(jnp.asarray, weights.load(settings["start"])[0])
    problems = toys(settings["low"], settings["high"])
    return toys_job(problems, settings, Optimizer.of(recipe["optimizer"]).seed, start)


TOYS = Trainer(toys_from_recipe, ("toys",))


def load_toys(name, low, high):
    """(dict of Toys, dict of AmortizedPosteriors, card) of the weights ``name``, of a recipe with [toys], for these
    noise levels.

    Raises WeightsError for weights of other noise levels or of something else, and as ``weights.load``.
    """
    params, card = weights.load(name)
    settings = card.get("settings", {})
    if (settings.get("low"), settings.get("high")) != (low, high):
        known = f"{settings.get('low')} and {settings.get('high')}"
        raise weights.WeightsError(
            f"weights {name!r} are for noise {known}, not for {low} and {high}; give None in the place of its name to train anew"
        )
    problems = toys(low, high)
    return problems, posteriors(problems, jax.tree.map(np.asarray, params), card), card


def load_or_fit(problems, name, term, steps, seed=0):
    """(dict of AmortizedPosteriors of ``problems``, card): the weights ``name``, or trained here for ``steps`` where it
    is None.
    """
    low, high = (problems["gaussian", level].task.sigma_y for level in ("low", "high"))
    if name is not None:
        return load_toys(name, low, high)[1:]
    recipe = {
        "optimizer": {
            "steps": steps,
            "learning_rate": 3e-3,
            "warmup": min(100, steps // 4),
            "clip": 4.0,
            "ema": 0.99,
            "seed": seed,
        }
    }
    job = replace(toys_job(problems, {**SETTINGS, "term": term}, seed), evaluate=None)
    params, trained, _ = run(job, recipe, progress=False)
    return posteriors(problems, params), {"steps": trained.step, "seconds": trained.seconds}
