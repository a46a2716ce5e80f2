"""The score prior of Feng et al. (2023) and its surrogate (Feng & Bouman 2023): a flow fitted to the posterior of one
measurement (DPI).
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import count, is_traced, random_key
from aps_core.flows import build_flow
from aps_core.posterior import signals_for
from aps_core.priors import terms
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import objective_settings, train_posterior

FLOW = {"kind": "realnvp", "conditional": False, "steps": 16, "width": 64}
OPTIMIZER = {"steps": 5000, "learning_rate": 1e-3}
# of the network, for one time
EVALUATIONS = {"elbo": 2, "elbo-no-start": 1, "elbo-no-jacobian": 2, "annealed-score": 1, "control-variate": 1}


@dataclass(frozen=True)
class DPI:
    """min KL(q(x) || p(x | y)) over the weights of an unconditional RealNVP q (deep probabilistic imaging, Sun & Bouman
    2021), anew for every measurement:

        E_q[-log p(y | x) - log p(x) + log q(x)].

    prior_term: what stands for log p(x), see ``priors.terms``: "ode" (the exact score prior: the log density of the
    probability-flow ODE), "exact" (the prior's own ``log_prob``: closed forms where there are any), "elbo" (the
    surrogate: the bound). flow, objective, optimizer: tables of a recipe, laid over FLOW, the defaults of recipes and
    OPTIMIZER. Any differentiable operator. The ``keep`` last measurements are remembered, so that ``log_prob`` after
    ``sample`` trains nothing again.

    Against the authors' program (berthyf96/score_prior, configs/dpi_config.py; the paper does not say which of its
    defaults it used): a RealNVP of 32 steps with batch norm, whose density depends on the batch, is one of ``steps``
    without here; its Adam has rate 1e-5 after 5000 warm-up steps for 20,000 steps of batch 64, here a larger rate and
    fewer steps; its bound ("dsm") has one time for each sample, as here by default.

    nfe: 1, that of the flow. What a measurement costs is its training, ``training_nfe``.
    Raises TypeError or ValueError for an unknown prior_term, and for settings that no flow could be trained with.
    """

    task: Any
    prior_term: str = "elbo"
    flow: dict = field(default_factory=dict)
    objective: dict = field(default_factory=dict)
    optimizer: dict = field(default_factory=dict)
    keep: int = 16
    search: ClassVar[dict] = {}
    _fitted: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        known = tuple(term for term in terms.TERMS if term != "modes")
        if self.prior_term not in known:
            raise ValueError(f"prior_term must be one of {known}, got {self.prior_term!r}")
        count("keep", self.keep)
        for name in ("flow", "objective", "optimizer"):
            if not isinstance(getattr(self, name), dict):
                raise TypeError(f"{name} must be a table, a dict of settings, got {getattr(self, name)!r:.80}")
        if "prior_term" in self.objective:
            raise ValueError(
                f"prior_term stands in objective, {self.objective['prior_term']!r}, and is {self.prior_term!r} of its own: "
                "expected it in one place, prior_term="
            )
        build_flow(self.task, self.recipe["flow"])  # before the first measurement, as the rest
        Optimizer.of(self.recipe["optimizer"])
        objective_settings(self.recipe)

    @property
    def recipe(self):
        """What ``train_posterior`` is given."""
        objective = {**self.objective, "prior_term": self.prior_term}
        return {
            "name": "score-prior",
            "flow": {**FLOW, **self.flow},
            "objective": objective,
            "optimizer": {**OPTIMIZER, **self.optimizer},
        }

    @property
    def nfe(self):
        """1: samples cost one evaluation of the flow."""
        return 1

    @property
    def training_nfe(self):
        """Network evaluations, each with a gradient, of the training for one measurement; None where an ODE solver
        chooses how many.
        """
        if self.prior_term not in EVALUATIONS:
            return None
        settings = objective_settings(self.recipe)
        per_step = settings["batch"] * settings["n_samples"] * settings["n_times"] * EVALUATIONS[self.prior_term]
        return self.recipe["optimizer"]["steps"] * per_step

    def fit(self, measurement):
        """The trained AmortizedPosterior of a single measurement, always with the optimizer's seed."""
        if is_traced(measurement):
            raise TypeError("measurement is traced by jit, grad or vmap, expected numbers: a flow is trained for each")
        self.task.check(measurement)
        name = b"".join(np.asarray(leaf, np.float32).tobytes() for leaf in jax.tree.leaves(measurement))
        if name not in self._fitted:
            self._fitted[name] = train_posterior(self.task, self.recipe, measurement=measurement, progress=False)[0]
            while len(self._fitted) > self.keep:
                del self._fitted[next(iter(self._fitted))]
        return self._fitted[name]

    def sample(self, key, measurement, n):
        """n samples (n, *shape), or (batch, n, *shape), as ``AmortizedPosterior.sample``; a flow is trained for each
        measurement.
        """
        return self.sample_and_log_prob(key, measurement, n)[0]

    def sample_and_log_prob(self, key, measurement, n):
        """Samples as in ``sample`` and their log density in nats, (n,) or (batch, n)."""
        n, key = count("n", n), random_key("key", key)
        batched, measurements = self.task.batch(measurement)
        keys = jax.random.split(key, measurements.y.shape[0]) if batched else key[None]
        parts = [self.fit(m).sample_and_log_prob(k, m, n) for k, m in zip(keys, _singles(measurements), strict=True)]
        x, log_q = (jnp.stack(part) for part in zip(*parts, strict=True))
        return (x, log_q) if batched else (x[0], log_q[0])

    def log_prob(self, x, measurement):
        """log q(x | y) in nats: x (n, *shape) -> (n,), or (batch, n, *shape) -> (batch, n)."""
        batched, measurements = self.task.batch(measurement)
        rows = signals_for(x, self.task, measurements, batched)
        log_q = jnp.stack([self.fit(m).log_prob(xs, m) for xs, m in zip(rows, _singles(measurements), strict=True)])
        return log_q if batched else log_q[0]


def _singles(measurements):
    return [jax.tree.map(lambda a, i=i: a[i], measurements) for i in range(measurements.y.shape[0])]
