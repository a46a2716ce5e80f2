"""Amortized posterior sampling: the objective and the sampler that it trains."""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp

from aps_core import parallel, prior_terms
from aps_core.checks import count
from aps_core.operators import log_likelihood
from aps_core.priors import elbo

def log_standard_normal(z):
    """log N(z; 0, I) of one z (d,)."""
    return -0.5 * (jnp.sum(z**2) + z.size * jnp.log(2 * jnp.pi))


def objective(flow, params, operator, sigma_y, prior, prior_term, key, measurements, n_samples=1, n_times=1, times="low-discrepancy", progress=1.0):
    """KL(q(x|y) || p(x|y)) up to log p(y), Eq. 11: fidelity + prior + log q, averaged over a batch of measurements, in nats.

    prior_term, times, progress: see ``prior_terms.estimate``. measurements: a batched Measurement; n_samples: posterior samples of
    each; n_times: diffusion times of each sample, which are low-discrepancy over the whole batch. Returns the value and its three
    parts per entry of the signal.
    """
    batch = measurements.y.shape[0]
    k_z, k_t, k_eps = jax.random.split(key, 3)
    z = jax.random.normal(k_z, (batch, n_samples, flow.dim))
    u = elbo.uniforms(k_t, batch * n_samples * n_times, times).reshape(n_times, n_samples, batch).T
    measurements, z, u, keys = _split(measurements, z, u, jax.random.split(k_eps, (batch, n_samples)))

    def one(measurement, zs, us, ks):
        context = flow.context(measurement)

        def sample(zi, ui, ki):
            x, log_det = flow.forward(params, zi, context)
            x = x.reshape(flow.shape)
            fidelity = -log_likelihood(operator, sigma_y, x, measurement)
            prior_part = -prior_terms.estimate(prior, prior_term, x, ui, ki, times, progress)
            return fidelity, prior_part, log_standard_normal(zi) - log_det

        return jax.vmap(sample)(zs, us, ks)

    parts = [jnp.mean(p) for p in jax.vmap(one)(measurements, z, u, keys)]
    names = ("fidelity", "prior", "log_q")
    return sum(parts), {name: part / flow.dim for name, part in zip(names, parts, strict=True)}


def _split(measurements, *draws):
    """Split measurements and their draws (batch, n_samples, ...) over the devices: along the batch, along the samples of a single one."""
    if measurements.y.shape[0] > 1:
        return parallel.split_batch((measurements, *draws))
    return measurements, *(parallel.split_batch(a[0])[None] for a in draws)


def forward_objective(flow, params, measurements, x0):
    """KL(p(x|y) || q(x|y)) up to a constant: -log q(x0 | y) averaged over a batch of pairs, in nats.

    x0 (batch, *shape) are draws from the prior and ``measurements`` simulated from them: neural posterior estimation
    (Papamakarios & Murray 2016). Needs no score, no likelihood and no data.
    """

    def one(measurement, x):
        z, log_det = flow.inverse(params, x.reshape(-1), flow.context(measurement))
        return -log_standard_normal(z) - log_det

    value = jnp.mean(jax.vmap(one)(*parallel.split_batch((measurements, x0))))
    return value, {"forward": value / flow.dim}


def modal_objective(flow, params, prior, key, modal, n_samples=1, n_times=1):
    """The objective of a GaussianBaseFlow under a ScorePrior, sample for sample, without the constant -log p_G(y): in K dimensions.

    The learned prior and the flow differ from the Gaussian only in the K leading modes, and there
    fidelity + prior + log q = log N(e) - log|det dT| - log N(T(e)) - log p_theta/p_G - log p_G(y): everything outside the modes cancels.
    modal: a batched ModalContext, which is computed once for each measurement. Returns nats and their two parts per mode.
    """
    batch = modal.mean.shape[0]
    k_e, k_t, k_eps = jax.random.split(key, 3)
    e = jax.random.normal(k_e, (batch, n_samples, flow.k))
    u = elbo.low_discrepancy(k_t, batch * n_samples * n_times).reshape(n_times, n_samples, batch).T
    keys = jax.random.split(k_eps, (batch, n_samples, n_times))
    modal, e, u, keys = parallel.split_batch((modal, e, u, keys))

    def one(context, es, us, ks):
        def sample(ei, ui, ki):
            moved, log_det = flow.modal_forward(params, ei, context)
            amplitudes = 2 * (context.mean + context.chol @ moved)  # in the scale u = 2 x - 1
            t = prior.sde.likelihood_weighted_time(ui, prior.t_residual)
            ratio = jnp.mean(jax.vmap(lambda k, ti: prior.modal_log_ratio(k, amplitudes, ti))(ki, t))
            return log_standard_normal(ei) - log_det - log_standard_normal(moved), -ratio

        return jax.vmap(sample)(es, us, ks)

    parts = [jnp.mean(p) for p in jax.vmap(one)(modal, e, u, keys)]
    return sum(parts), {"from_base": parts[0] / flow.k, "prior_ratio": parts[1] / flow.k}


@dataclass(frozen=True)
class AmortizedPosterior:
    """q(x | y): draws posterior samples of any measurement of ``task`` with one network evaluation, with exact density.

    ``flow`` gives context(measurement), forward(params, z, context) and inverse(params, x, context); ``card`` says where the
    weights come from. Rivals that have a density are the same class with another flow.
    """

    task: object
    flow: object
    params: dict = field(repr=False)
    card: dict = field(default_factory=dict, repr=False)
    nfe: int = 1

    def sample(self, key, measurement, n):
        """n samples (n, *shape), or (batch, n, *shape) of a batch of measurements; signals in [0, 1], not clipped.

        Raises ValueError or TypeError for an invalid measurement or n.
        """
        return self.sample_and_log_prob(key, measurement, n)[0]

    def sample_and_log_prob(self, key, measurement, n):
        """Samples as in ``sample`` and their log density in nats, (n,) or (batch, n)."""
        count("n", n)
        batched, measurement = self._checked(measurement)
        keys = jax.random.split(key, measurement.y.shape[0]) if batched else key[None]
        x, log_q = _sample(self.flow, self.params, keys, measurement, n)
        return (x, log_q) if batched else (x[0], log_q[0])

    def log_prob(self, x, measurement):
        """log q(x | y) in nats: x (n, *shape) -> (n,), or (batch, n, *shape) -> (batch, n)."""
        batched, measurement = self._checked(measurement)
        x = jnp.asarray(x)
        expected = (measurement.y.shape[0], "n", *self.task.shape) if batched else ("n", *self.task.shape)
        if x.ndim != len(expected) or any(e != "n" and e != s for e, s in zip(expected, x.shape, strict=True)):
            raise ValueError(f"x must have shape {expected}, got {x.shape}")
        log_q = _log_prob(self.flow, self.params, x if batched else x[None], measurement)
        return log_q if batched else log_q[0]

    def _checked(self, measurement):
        self.task.check(measurement)
        batched = measurement.y.ndim > len(self.task.y_shape)
        if not batched:
            measurement = jax.tree.map(lambda a: jnp.asarray(a)[None], measurement)
        return batched, measurement


@partial(jax.jit, static_argnums=4)
def _sample(flow, params, keys, measurements, n):
    def one(args):
        key, measurement = args
        context = flow.context(measurement)
        z = jax.random.normal(key, (n, flow.dim))
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        return x.reshape((n, *flow.shape)), jax.vmap(log_standard_normal)(z) - log_det

    return jax.lax.map(one, (keys, measurements))


@jax.jit
def _log_prob(flow, params, x, measurements):
    def one(args):
        xs, measurement = args
        context = flow.context(measurement)
        z, log_det = jax.vmap(lambda xi: flow.inverse(params, xi.reshape(-1), context))(xs)
        return jax.vmap(log_standard_normal)(z) + log_det

    return jax.lax.map(one, (x, measurements))
