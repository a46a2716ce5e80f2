"""Score priors of the two-dimensional posteriors: flows trained side by side, one for each posterior, and their weights."""

from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core import aps, prior_terms, training, weights
from aps_core.priors.diffusion import DiffusionPrior
from aps_core.priors.mixture import GaussianMixturePrior
from aps_core.priors.ode import log_prob_ode
from aps_core.recipes import build_flow, provenance, read
from aps_core.toy_study import MEASURED, flow_kl, toys

FLOW = {"kind": "realnvp", "conditional": False, "steps": 16, "width": 32}  # 32 couplings, as in the paper
SETTINGS = {"term": "elbo", "low": 0.03, "high": 0.2, "batch": 256, "n_times": 8, "start": None}


@flax.struct.dataclass
class TrueScore(DiffusionPrior):
    """A prior that is known by its score alone, as a learned one is: its ``log_prob`` is that of the probability-flow ODE, exact trace."""

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


def fit(problems, term, optimizer, batch=256, n_times=8, start=None, **settings):
    """Score priors of all ``problems`` (a dict of Toys), trained side by side: (stacked parameters, Trained).

    term: "ode" takes log p(x) from the probability-flow ODE of the true score (the exact score prior), others as in ``prior_terms``
    ("elbo" is the surrogate). Each flow minimizes ``aps.objective`` of its own measurement with its own ``batch`` samples per step; the
    losses are added up, so that one compiled step serves all. start: stacked parameters to go on from. settings: those of
    ``training.fit``. Raises ValueError for an unknown term.
    """
    if term not in prior_terms.TERMS or term == "modes":
        raise ValueError(f"term must be one of {prior_terms.TERMS} without 'modes', got {term!r}")
    tasks = [problem.task for problem in problems.values()]
    flows = [build_flow(task, FLOW) for task in tasks]
    priors = [TrueScore(task.prior) if term == "ode" else task.prior for task in tasks]
    params = _stacked([flow.init(jax.random.key(optimizer.seed)) for flow in flows]) if start is None else start
    data = {"flow": _stacked(flows), "prior": _stacked(priors), "sigma_y": jnp.array([task.sigma_y for task in tasks])}
    measurement = jax.tree.map(lambda a: a[None], MEASURED)
    operator, prior_term = tasks[0].operator, "exact" if term == "ode" else term

    def loss(params, data, key, progress):
        def one(params, data, key):
            args = (operator, data["sigma_y"], data["prior"], prior_term, key, measurement, batch, n_times)
            return aps.objective(data["flow"], params, *args, progress=progress)[0]

        return jnp.sum(jax.vmap(one)(params, data, jax.random.split(key, len(tasks)))), {}

    trained = training.fit(loss, params, data, optimizer, **settings)
    return trained.params, trained


def _stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def posteriors(problems, params, card=None):
    """One AmortizedPosterior for each of ``problems`` from stacked parameters."""
    found = {}
    for i, (name, problem) in enumerate(problems.items()):
        own = jax.tree.map(lambda a, i=i: jnp.asarray(a[i]), params)
        found[name] = aps.AmortizedPosterior(problem.task, build_flow(problem.task, FLOW), own, card or {})
    return found


def train_toys(recipe, *, folder=None, budget=None, progress=True):
    """Train the score priors of all toy posteriors: (stacked parameters, Trained, card).

    recipe: [toys] with any of SETTINGS: ``term``, the noise levels ``low`` and ``high``, ``batch``, ``n_times``, and ``start``, the name of
    weights to go on from. Logged: the KL from the truth, ``val_kl_<shape>_<level>``, in nats. Raises ValueError for an unknown setting.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    unknown = sorted(set(recipe["toys"]) - set(SETTINGS))
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} of [toys]; expected one of {sorted(SETTINGS)}")
    settings, optimizer = {**SETTINGS, **recipe["toys"]}, training.Optimizer(**recipe["optimizer"])
    problems = toys(settings["low"], settings["high"])
    start = None if settings["start"] is None else jax.tree.map(jnp.asarray, weights.load(settings["start"])[0])

    def evaluate(params, data, key):
        del data
        found = posteriors(problems, params)
        return {f"val_kl_{shape}_{level}": flow_kl(problems[shape, level], q, key, 150, 5000)[0] for (shape, level), q in found.items()}

    params, trained = fit(
        problems, settings["term"], optimizer, settings["batch"], settings["n_times"], start, evaluate=evaluate,
        evaluate_every=max(1, optimizer.steps // 4), folder=folder, budget=budget, progress=progress, label=recipe.get("name", "toys"),
    )  # fmt: skip
    return params, trained, {**provenance(recipe, trained), "settings": settings, "flow": FLOW}


def load_toys(name, low, high):
    """(dict of Toys, dict of AmortizedPosteriors, card) of the weights ``name``, made by ``train_toys`` for these noise levels.

    Raises WeightsError for weights of other noise levels or of something else, and as ``weights.load``.
    """
    params, card = weights.load(name)
    settings = card.get("settings", {})
    if (settings.get("low"), settings.get("high")) != (low, high):
        known = f"{settings.get('low')} and {settings.get('high')}"
        raise weights.WeightsError(f"weights {name!r} are for noise {known}, not for {low} and {high}; give weights = None to train")
    problems = toys(low, high)
    return problems, posteriors(problems, jax.tree.map(np.asarray, params), card), card


def load_or_fit(problems, name, term, steps, seed=0):
    """(dict of AmortizedPosteriors of ``problems``, card): the weights ``name``, or trained here for ``steps`` where it is None."""
    low, high = (problems["gaussian", level].task.sigma_y for level in ("low", "high"))
    if name is not None:
        return load_toys(name, low, high)[1:]
    optimizer = training.Optimizer(steps=steps, learning_rate=3e-3, warmup=min(100, steps // 4), clip=4.0, ema=0.99, seed=seed)
    params, trained = fit(problems, term, optimizer, progress=False)
    return posteriors(problems, params), {"steps": trained.step, "seconds": trained.seconds}
