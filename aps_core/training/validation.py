"""What is watched while a posterior trains: on measurements of the validation split, never of the test split."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import checks
from aps_core.diffusion import low_discrepancy
from aps_core.flows.base import log_standard_normal
from aps_core.flows.closed_form import closed_form
from aps_core.metrics import calibration, quality
from aps_core.metrics.trust.statistics import has_exact_density
from aps_core.priors.terms import PriorTerm


@partial(jax.jit, static_argnums=4)
def _log_densities(flow, params, closed, args, n):
    """log q(x|y) and log of the closed-form Gaussian posterior at n draws from q for each measurement, 2 x (batch, n)."""

    def one(args):
        key, measurement = args
        context = flow.context(measurement)
        exact = closed.context(measurement)
        z = jax.random.normal(key, (n, flow.dim))
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        z_exact, log_det_exact = jax.vmap(exact.inverse)(x)
        log_normal = jax.vmap(log_standard_normal)
        return log_normal(z) - log_det, log_normal(z_exact) + log_det_exact

    return jax.lax.map(one, args)


def kl_to_closed_form(posterior, key, measurements, n=16):
    """KL(q || closed-form Gaussian posterior) in nats per entry of the signal, and its standard error over
    measurements.

    measurements: a batched Measurement. Under a Gaussian prior the closed form is the true posterior.
    """
    task = posterior.task
    keys = jax.random.split(key, measurements.y.shape[0])
    closed = closed_form(task.prior.gaussian, task.operator, task.sigma_y)
    log_q, log_p = _log_densities(posterior.flow, posterior.params, closed, (keys, measurements), n)
    per_measurement = np.asarray(jnp.mean(log_q - log_p, axis=1)) / posterior.flow.dim
    return float(per_measurement.mean()), float(per_measurement.std(ddof=1) / np.sqrt(len(per_measurement)))


def _log_ratio(prior, key, x, n_times=64):
    """log p - log p_G of one signal ``x`` in nats: exact where the density is, else by the bound."""
    if has_exact_density(prior):
        return prior.log_prob(x) - prior.gaussian.log_prob(x)
    if prior.has_log_ratio:
        return prior.log_ratio(key, x, n_times)
    k_time, k_noise = jax.random.split(key)
    return PriorTerm("elbo")(prior, x, low_discrepancy(k_time, n_times), k_noise) - prior.gaussian.log_prob(x)


@partial(jax.jit, static_argnums=6)
def _excess_objective(flow, params, prior, closed, measurements, key, n):
    """E_q[log q - log p_G(x|y) - (log p_theta - log p_G)(x)] for each measurement, (batch,) nats."""

    def one(args):
        key, measurement = args
        k_z, k_ratio = jax.random.split(key)
        context = flow.context(measurement)
        exact = closed.context(measurement)
        z = jax.random.normal(k_z, (n, flow.dim))
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        z_exact, log_det_exact = jax.vmap(exact.inverse)(x)
        log_normal = jax.vmap(log_standard_normal)
        kl = log_normal(z) - log_det - log_normal(z_exact) - log_det_exact
        ratio = jax.vmap(lambda k, xi: _log_ratio(prior, k, xi.reshape(flow.shape)))(jax.random.split(k_ratio, n), x)
        return jnp.mean(kl - ratio)

    return jax.lax.map(one, (jax.random.split(key, measurements.y.shape[0]), measurements))


def excess_objective(posterior, key, measurements, n=32):
    """The APS objective minus the constant -log p_G(y), in nats for each measurement, (batch,).

    The Gaussian posterior scores -E[log p_theta - log p_G] at its samples; the true posterior scores -log
    p_theta(y)/p_G(y), the least possible. Only differences between posteriors on the same measurements and ``key`` mean
    something.
    """
    task = posterior.task
    closed = closed_form(task.prior.gaussian, task.operator, task.sigma_y)
    return np.asarray(_excess_objective(posterior.flow, posterior.params, task.prior, closed, measurements, key, n))


def validation(task, n_measurements=48, seed=7, objective=True):
    """A function evaluate(posterior, key) -> dict for ``train_posterior``, on fixed validation measurements of
    ``task``.

    Under a Gaussian prior the KL to the closed form; else PSNR of one sample and of the mean of 64, coverage of the
    central 90 % intervals, standard deviation of the samples (root mean square over the entries), and with
    ``objective`` (which needs a few thousand evaluations of the score network for each measurement) that of
    ``excess_objective``.
    """
    signals = jnp.asarray(task.signals("val"))
    signals = signals[:: max(1, len(signals) // n_measurements)][:n_measurements]
    measurements = task.measure(jax.random.key(checks.seed("seed", seed)), signals)
    gaussian_prior = task.prior.gaussian is task.prior

    def evaluate(posterior, key):
        if gaussian_prior:
            kl, se = kl_to_closed_form(posterior, key, measurements)
            return {"val_kl": kl, "val_kl_se": se}
        samples = np.asarray(posterior.sample(key, measurements, 64))
        found = {"val_objective": float(excess_objective(posterior, key, measurements).mean())} if objective else {}
        coverage = np.mean(
            [calibration.coverage(s, x, (0.9,))[0] for s, x in zip(samples, np.asarray(signals), strict=True)]
        )
        psnr = {
            name: float(quality.psnr(x, np.asarray(signals)).mean())
            for name, x in (("mean64", samples.mean(axis=1)), ("n1", samples[:, 0]))
        }
        return {
            **found,
            **{f"val_psnr_{name}": value for name, value in psnr.items()},
            "val_coverage_90": float(coverage),
            "val_spread": float(np.sqrt(samples.var(axis=1, ddof=1).mean())),
        }

    return evaluate
