"""Training of the sphere's prior: a Gaussian with extrapolated variances, and the residual score of its leading modes."""

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments.seasons import seasonal_recombination
from aps_core import data
from aps_core.checks import real
from aps_core.diffusion import VPSDE
from aps_core.priors import bound
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.modal import ScorePrior
from aps_core.priors.networks.modal import RegimeResidual
from aps_core.priors.store import prior_settings, prior_tree
from aps_core.training.job import Job
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, prior_of

REQUIRED = ("data", "n_modes", "last_years", "batch", "network", "recombination")  # of a recipe's [prior]


def modal_prior_job(recipe):
    """The Job of a ScorePrior, the sphere's diffusion prior.

    Gaussian part with variances of the last years about the years before, residual network by denoising score matching
    on recombined anomalies; logged: the bound's gain over the Gaussian in nats per field on validation years, which
    training never sees.
    """
    settings, seed = prior_of(recipe, REQUIRED, {}), Optimizer.of(recipe["optimizer"]).seed
    months = data.load(settings["data"], "train")
    if not {"year", "month"} <= months.index.keys():
        raise ValueError(
            f"[prior] data = {settings['data']!r}: expected fields with year and month, they have {sorted(months.index)}"
        )
    gaussian = extrapolated_gaussian(months.values, months.index["year"], settings["n_modes"], settings["last_years"])
    network = RegimeResidual(**settings["network"])
    params = network.init(jax.random.key(seed), jnp.zeros(network.k), 0.5)
    prior = ScorePrior(gaussian, params, network)
    fields = seasonal_recombination(prior.modes(months.values), months.index["month"], **settings["recombination"])
    held_out = prior.modes(data.load(settings["data"], "val").values)

    def loss(params, arrays, key, progress):
        k_draw, k_loss = jax.random.split(key)
        amplitudes = arrays["fields"].sample(k_draw, settings["batch"])
        return score_matching_loss(arrays["prior"].replace(params=params), k_loss, amplitudes), {}

    measure = jax.jit(_gain_of_bound)

    def evaluate(params, arrays, key):
        gains = np.asarray(measure(arrays["prior"].replace(params=params), key, held_out))
        return {"val_gain": float(gains.mean()), "val_gain_se": float(gains.std(ddof=1) / np.sqrt(len(gains)))}

    return Job(
        loss,
        params,
        {"prior": prior, "fields": fields},
        evaluate,
        lambda params, card: prior.replace(params=params),
        {"data_sha256": months.sha256, "settings": prior_settings(prior)},
        prior_tree,
        np.float32,
        {"data": months.sha256},
    )


def _gain_of_bound(prior, key, amplitudes, n_times=256):
    """Estimated bound minus Gaussian log density for each row of ``amplitudes`` (n, K), (n,) nats."""

    def one(args):
        key, v = args
        k_time, k_eps = jax.random.split(key)
        t = prior.sde.likelihood_weighted_time(
            (jax.random.uniform(k_time) + jnp.arange(n_times)) / n_times % 1.0, prior.t_residual
        )
        return jnp.mean(jax.vmap(lambda k, ti: prior.modal_log_ratio(k, v, ti))(jax.random.split(k_eps, n_times), t))

    return jax.lax.map(one, (jax.random.split(key, len(amplitudes)), amplitudes))


def extrapolated_gaussian(signals, year, n_modes, last_years=20, sde=VPSDE()):
    """``fit_gaussian`` whose variances are those of years to come.

    With about as many signals as modes, variances within the sample are too small outside the leading modes, and a
    climate that drifts adds to them. Here mean and modes come from all signals (n, *shape); the variance of each mode
    and of the rest is that of the ``last_years`` years of ``year`` (n,) about the fit to all years before, modes
    matched by rank.

    Raises ValueError when fewer than ``n_modes`` + 2 signals are older than that.
    """
    signals, year = np.asarray(real("signals", signals)), np.asarray(year)
    later = year > year.max() - last_years
    if np.sum(~later) < n_modes + 2:
        raise ValueError(
            f"last_years = {last_years} leaves {np.sum(~later)} older signals, {n_modes} modes need {n_modes + 2}"
        )
    before = fit_gaussian(signals[~later], n_modes, sde=sde)
    v = signals[later].reshape(later.sum(), -1).astype(np.float64) - np.asarray(before.mean)
    c = v @ np.asarray(before.basis)
    modes = np.mean(c**2, axis=0)
    rest = (np.sum(v**2) - np.sum(c**2)) / len(v) / (before.dim - n_modes)
    excess = np.maximum(modes - rest, 0.0)
    prior = fit_gaussian(signals, n_modes, sde=sde)
    return prior.replace(excess=jnp.asarray(excess, jnp.float32), rest=jnp.asarray(rest, jnp.float32))


def score_matching_loss(prior, key, amplitudes):
    """Likelihood-weighted denoising score matching over ``amplitudes`` (n, K) of n signals, in nats per signal.

    Its expectation is the mean of log p_G minus the bound on log p_theta: below zero, the learned prior is the better
    one.
    """
    n = amplitudes.shape[0]
    k_time, k_eps = jax.random.split(key)
    t = bound.times(k_time, prior.sde, n, prior.t_residual)
    return -jnp.mean(jax.vmap(prior.modal_log_ratio)(jax.random.split(k_eps, n), amplitudes, t))


MODAL_PRIOR = Trainer(modal_prior_job, ("prior",))
