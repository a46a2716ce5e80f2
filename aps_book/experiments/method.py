"""Which parts of the method matter: the same short training with one part changed, held against a posterior known in
closed form.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments import short_trainings
from aps_book.experiments.gaussian16 import trap_ratio
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core.diffusion import VPSDE
from aps_core.operators import Identity
from aps_core.priors import bound, terms
from aps_core.priors.mixture import gaussian_mixture
from aps_core.tasks.problem import Task
from aps_core.training.posterior import AS_IN_THE_PAPER, train_posterior
from aps_core.training.validation import kl_to_closed_form

FLOWS = {
    "wrong base": {"kind": "gaussian-base", "steps": 4, "width": 64, "inflate": 2.0, "offset_std": 1.0},
    "gaussian base": {"kind": "gaussian-base", "steps": 8, "width": 64},
    "plain": {"kind": "realnvp", "steps": 8, "width": 64, "shortcut": True},
}


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: ``problem`` ("gaussian" or "mixture"), where its bound stops, a flow of FLOWS, and what
    its recipe's [objective] says. ``warm`` is the share of the steps that the forward KL has before the reverse KL goes
    on.
    """

    problem: str
    t_min: float = 1e-5
    flow: str = "wrong base"
    objective: dict = field(default_factory=dict)
    warm: float = 0.0


def variants():
    """Every run by name: start time and its term, times, Jacobian, control variate and base, direction of the KL.

    "t5_start" (bound down to 1e-5 with its start-time term, low-discrepancy times, full Jacobian) and "mixture" are the
    method.
    """
    gaussian, mixture = (
        Variant("gaussian"),
        Variant("mixture", flow="gaussian base", objective={"prior_term": "control-variate"}),
    )
    rows = {}
    for exponent in (2, 3, 4, 5):
        for name, term in (("start", "elbo"), ("cut", "elbo-no-start")):
            rows[f"t{exponent}_{name}"] = replace(gaussian, t_min=10.0**-exponent, objective={"prior_term": term})
    for times in ("importance", "uniform"):
        rows[times] = replace(gaussian, objective={"times": times})
    for name, term in (("exact", "exact"), ("dropped", "elbo-no-jacobian"), ("annealed", "annealed-score")):
        rows[name] = replace(gaussian, objective={"prior_term": term})
    rows["mixture"] = mixture
    rows["no_control_variate"] = replace(mixture, objective={"prior_term": "elbo"})
    rows["plain"] = replace(mixture, flow="plain")
    rows["forward"] = replace(mixture, objective={"kl": "forward"})
    rows["both"] = replace(mixture, objective={"kl": "mixture", "prior_term": "control-variate"})
    rows["warm"] = replace(mixture, warm=0.5)
    return rows


def dispensable():
    """Rows that a run may leave out: no sentence of the page compares with them, or it takes them from the full run."""
    compared = {"plain", "forward", "mixture", "t2_start", "t2_cut", "t5_start", "dropped"}
    return [name for name in variants() if name not in compared]


def predicted_kl(task, start_time_term=True):
    """KL in nats per entry from the posterior of the "gaussian" problem to where the bound stopped at t_min is least,
    in closed form.

    Each direction is a Gaussian of the right mean whose variance is off by r (``gaussian_study.trap_ratio``): (r - 1 -
    log r) / 2.
    """
    variances = np.asarray(task.prior.excess + task.prior.rest, np.float64)
    r = trap_ratio(variances, task.prior.sde.v_min / 4, task.sigma_y, start_time_term)
    return float(np.mean(r - 1 - np.log(r)) / 2)


def problem(name, t_min=1e-5):
    """The Task of a problem: denoising with noise 0.1.

    "gaussian": 32 independent entries whose prior variances fall from 1e-1 to 1e-5. "mixture": three Gaussians in 4
    dimensions, near enough to each other that a measurement leaves more than one of them possible. Raises ValueError
    for another name.
    """
    if name == "gaussian":
        return short_trainings.diagonal_task(np.logspace(-1, -5, 32), 0.1, t_min)
    if name != "mixture":
        raise ValueError(f'problem must be "gaussian" or "mixture", got {name!r}')
    rng, dim = np.random.default_rng(5), 4
    means = 0.5 + 0.12 * rng.normal(size=(3, dim))
    turns = [np.linalg.qr(rng.normal(size=(dim, dim)))[0] for _ in means]
    covariances = [turn * np.geomspace(2e-2, 2e-3, dim) @ turn.T for turn in turns]
    prior = gaussian_mixture([0.5, 0.3, 0.2], means, covariances, sde=VPSDE(t_min=t_min))
    return Task(Identity((dim,)), 0.1, prior, prior.sample(jax.random.key(11), 4096), name="mixture", unit_range=False)


@partial(jax.jit, static_argnums=1)
def _log_posterior(prior, sigma_y, samples, y):
    def one(xs, yi):
        return jax.vmap(mixture_posterior(prior, sigma_y, yi, jnp.eye(prior.dim)).log_prob)(xs)

    return jax.vmap(one)(samples, y)


def kl_to_truth(posterior, key, measurements, n=64):
    """(KL(q || p) in nats per entry, its standard error) over a batch of measurements, from n draws of q for each."""
    task = posterior.task
    if task.prior.gaussian is task.prior:
        return kl_to_closed_form(posterior, key, measurements, n)
    samples, log_q = posterior.sample_and_log_prob(key, measurements, n)
    log_p = _log_posterior(task.prior, task.sigma_y, samples, measurements.y)
    kl = np.asarray(log_q - log_p, np.float64).mean(axis=1) / posterior.flow.dim
    return float(kl.mean()), float(kl.std(ddof=1) / np.sqrt(len(kl)))


N_MEASUREMENTS = 64  # that training does not see, on which ``run`` measures


def run(variant, steps=400, seed=0, n_measurements=N_MEASUREMENTS, evaluations=8):
    """Train ``variant`` for ``steps`` steps: {"step", "kl", "se"} as arrays over training, and "seconds_per_step".

    kl in nats per entry on measurements that training does not see. Compilation and evaluation are not part of the time
    per step.
    """
    task = problem(variant.problem, variant.t_min)
    measurements = task.measure(jax.random.key(seed + 1), task.prior.sample(jax.random.key(seed + 2), n_measurements))
    rows, offset = [], 0

    def evaluate(posterior, key):
        kl, se = kl_to_truth(posterior, jax.random.key(seed + 3), measurements)
        return {"kl": kl, "se": se}

    start = None
    parts = [(variant.objective, steps)]
    if variant.warm:
        first = round(variant.warm * steps)
        parts = [({"kl": "forward"}, first), (variant.objective, steps - first)]
    for objective, n in parts:
        recipe = {
            "name": variant.problem,
            "flow": {**FLOWS[variant.flow], **({} if variant.flow == "plain" else {"k": task.shape[0]})},
            "objective": {**AS_IN_THE_PAPER, "batch": 64, "n_times": 4, **objective},
            "optimizer": {"steps": n, "learning_rate": 3e-3, "warmup": n // 10, "ema": 0.95, "seed": seed},
        }
        start, trained = train_posterior(
            task, recipe, start=start, evaluate=evaluate, evaluate_every=max(1, steps // evaluations), progress=False
        )
        rows += [{**row, "step": row["step"] + offset} for row in trained.history if row["step"] or not offset]
        offset += n
    found = {name: np.array([row[name] for row in rows]) for name in ("step", "kl", "se")}
    return {**found, "seconds_per_step": short_trainings.seconds_per_step(trained.history)}


def gradient_noise(task, objective, key, n=256, draws=256):
    """Noise that times and eps put on the gradient of the prior term, over the gradient itself: sqrt(n tr Cov(g) /
    E|grad log p(x)|^2).

    g is the gradient of the estimate, averaged over n draws x of the prior with one time each, in a common shift of all
    of them, as the last affine layer of a flow feels it; the covariance is over ``draws`` random keys. At 1 the
    estimate is as noisy as the sampling.
    """
    k_x, k_draw = jax.random.split(key)
    x = task.prior.sample(k_x, n)
    times = objective.get("times", "low-discrepancy")
    term = terms.PriorTerm(objective.get("prior_term", "elbo"), times)

    @jax.jit
    def gradients(prior, x, keys):
        def one(k):
            k_time, k_eps = jax.random.split(k)
            u = bound.uniforms(k_time, n, times)
            at = jax.grad(lambda xi, ui, ki: term(prior, xi, ui[None], ki))
            return jnp.mean(jax.vmap(at)(x, u, jax.random.split(k_eps, n)), axis=0)

        return jax.lax.map(one, keys, batch_size=16), jax.vmap(jax.grad(prior.log_prob))(x)

    g, exact = (np.asarray(a, np.float64) for a in gradients(task.prior, x, jax.random.split(k_draw, draws)))
    return float(np.sqrt(n * g.var(axis=0, ddof=1).sum() / np.mean(np.sum(exact**2, axis=1))))
