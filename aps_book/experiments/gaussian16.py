"""Measurements of the chapter on a known Gaussian posterior: how far a flow is from the truth, in numbers that need no
reference run.
"""

from pathlib import Path

import jax
import numpy as np

from aps_book.experiments.measured import samples_of
from aps_core import files
from aps_core.metrics import evaluation, quality
from aps_core.posterior import gaussian_posterior
from aps_core.training import posterior as posterior_training
from aps_core.training import recipes
from aps_core.training.validation import validation

# KL(q || posterior) in nats per dimension that a trained flow of this kind must reach.
TARGETS = {"realnvp": 0.01, "structured": 0.005}


def named_recipe(name, steps=None, prior_term=None):
    """The recipe ``name`` of the project, with another length or prior term.

    A shorter run gets a warm-up and an averaging window that fit into it.

    Raises FileNotFoundError for an unknown name.
    """
    recipe = recipes.read(files.find("recipes", f"{name}.toml") or Path("recipes") / f"{name}.toml")
    if prior_term is not None:
        recipe["objective"] = {**recipe.get("objective", {}), "prior_term": prior_term}
    if steps is not None and steps != recipe["optimizer"]["steps"]:
        given = recipe["optimizer"]
        shorter = {"warmup": min(given["warmup"], steps // 4), "ema": min(given["ema"], max(0.0, 1 - 10 / steps))}
        recipe["optimizer"] = {**given, "steps": steps, **shorter}
    return recipe


def train(task, name, steps=None, prior_term=None, evaluations=6):
    """(AmortizedPosterior, history) of the recipe ``name`` on ``task``; the history has ``evaluations`` values of the
    KL after step 0.
    """
    recipe = named_recipe(name, steps, prior_term)
    every = max(1, recipe["optimizer"]["steps"] // evaluations)
    posterior, trained = posterior_training.train_posterior(
        task, recipe, evaluate=validation(task), evaluate_every=every, progress=False
    )
    return posterior, trained.history


def kl_history(history):
    """(steps, KL, standard error) of the rows of a training log that have ``val_kl``, in nats per dimension."""
    rows = [row for row in history if "val_kl" in row]
    return tuple(np.array([row[name] for row in rows]) for name in ("step", "val_kl", "val_kl_se"))


@jax.jit
def _moments(flow, measurements):
    def one(measurement):
        context = flow.context(measurement)
        return context.mean, context.marginal_std

    return jax.lax.map(one, measurements)


def exact_moments(task, measurements):
    """Mean (batch, d) and marginal standard deviation (batch, d) of the closed-form posterior of a batch of
    measurements.
    """
    mean, std = _moments(gaussian_posterior(task).flow, measurements)
    return np.asarray(mean, np.float64), np.asarray(std, np.float64)


def compare(posterior, key, measurements, n=128):
    """Distance of ``posterior`` from the closed-form one on a batch of measurements: {"kl": (value, se), "ratio":
    (value, se)}.

    kl: KL(q || p) in nats per dimension, the mean of log q - log p over n draws of q for each measurement. ratio:
    expected squared error of one sample over that of the posterior mean, E|x - x0|^2 / tr Sigma. The truth x0 is itself
    a draw of the known posterior N(m, Sigma), so its expectation is taken in closed form: 1 + E|x - m|^2 / tr Sigma,
    which is 2 for x ~ p. The standard errors are over measurements.
    """
    task = posterior.task
    samples, log_q = samples_of(posterior.sample_and_log_prob, key, measurements, n)
    log_p = gaussian_posterior(task).log_prob(samples, measurements)
    kl = np.asarray(log_q - log_p, np.float64).mean(axis=1) / posterior.flow.dim
    mean, std = exact_moments(task, measurements)
    samples = np.asarray(samples, np.float64).reshape(*log_q.shape, -1)
    ratio = 1 + ((samples - mean[:, None]) ** 2).sum(-1).mean(1) / (std**2).sum(-1)
    return {name: tuple(map(float, quality.mean_and_standard_error(v))) for name, v in (("kl", kl), ("ratio", ratio))}


@jax.jit
def _standardized(flow, samples, measurements):
    def one(args):
        xs, measurement = args
        context = flow.context(measurement)
        return jax.vmap(lambda x: context.inverse(x.reshape(-1))[0])(xs)

    return jax.lax.map(one, (samples, measurements))


def kl_of_mean(posterior, key, measurements, n=128):
    """The part of KL(q || p) that a wrong mean alone makes, (batch,) in nats per dimension: (m_q - m)^T Sigma^-1 (m_q -
    m) / (2 d).

    m_q is the mean of n >= 2 draws; what their finite number adds on average is subtracted.
    """
    samples = samples_of(posterior.sample, key, measurements, n)
    z = np.asarray(_standardized(gaussian_posterior(posterior.task).flow, samples, measurements), np.float64)
    return ((z.mean(axis=1) ** 2).sum(-1) - z.var(axis=1, ddof=1).sum(-1) / n) / (2 * z.shape[-1])


def seconds(posterior, key, measurements, n=128):
    """Seconds of the first measurement for one sample and for n: {"seconds_one", "seconds_many"}."""
    one = jax.tree.map(lambda a: a[0], measurements)
    return {
        f"seconds_{label}": evaluation.seconds_per_measurement(posterior, key, one, k)
        for label, k in (("one", 1), ("many", n))
    }


def sample_moments(posterior, key, measurement, n):
    """Mean (d,), standard deviation (d,) and covariance (d, d) of n samples of one measurement."""
    samples = np.asarray(posterior.sample(key, measurement, n), np.float64).reshape(n, -1)
    covariance = np.cov(samples, rowvar=False)
    return samples.mean(axis=0), np.sqrt(np.diag(covariance)), covariance


def exact_covariance(task, measurement):
    """Covariance (d, d) of the closed-form posterior of one measurement."""
    return np.asarray(gaussian_posterior(task).flow.context(measurement).covariance(), np.float64)


def relative_error(matrix, reference):
    """Frobenius norm of the difference over that of the reference."""
    return float(np.linalg.norm(matrix - reference) / np.linalg.norm(reference))


def bound_precision(variance, v, start_time_term=True):
    """Precision that the bound stopped at t_min gives a direction of prior variance lambda: 1/(lambda + v) + v/(lambda
    + v)^2.

    v: the noise-to-signal variance (beta/alpha)^2 at t_min in the scale of ``variance`` (a quarter of ``sde.v_min`` for
    signals in [0, 1], as the diffused variable is 2 x - 1). Without the start-time term only 1/(lambda + v) is left.
    The truth is 1/lambda.
    """
    variance = np.asarray(variance, np.float64)
    return 1 / (variance + v) + (v / (variance + v) ** 2 if start_time_term else 0.0)


def trap_ratio(variance, v, sigma_y, start_time_term=True):
    """Posterior variance under ``bound_precision`` over the exact one, for a direction measured with noise ``sigma_y``."""
    exact = 1 / np.asarray(variance, np.float64) + 1 / sigma_y**2
    return exact / (bound_precision(variance, v, start_time_term) + 1 / sigma_y**2)
