"""The objectives that train a posterior q(x|y): reverse divergence (the paper's), in signal space or in modes, and forward.

Of the gradient of the reverse divergence there are two estimators. With x = f(z; phi), the gradient of E[log q(x)] has two
parts: the path through x, and the score of q at x, whose expectation is zero. "total" keeps both; "path" leaves the second
out (Roeder et al. 2017; Vaitl et al. 2022), so that nothing of the noise is left where q is the posterior. Both have the
same expectation.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from aps_core.flows.base import log_standard_normal
from aps_core.operators import log_likelihood
from aps_core.priors import bound, terms
from aps_core.training import devices


@dataclass(frozen=True)
class ReverseDivergence:
    """KL(q(x|y) || p(x|y)) up to log p(y), Eq. 11: fidelity + prior + log q, in nats, and how it is estimated.

    prior_term, times, times_at_once: see ``priors.terms.PriorTerm``. n_samples: posterior samples of each measurement;
    n_times: diffusion times of each sample, which are low-discrepancy over the whole batch. estimator: of the gradient,
    "path" or "total", see the top of this module.
    """

    prior_term: str = "elbo"
    n_samples: int = 1
    n_times: int = 1
    times: str = "low-discrepancy"
    times_at_once: int | None = None
    estimator: str = "total"

    def __call__(self, flow, params, target, key, measurements, progress=1.0):
        """The value, averaged over a batch of measurements, and its three parts per entry of the signal. target: a
        ``tasks.problem.Target``.
        """
        batch = measurements.y.shape[0]
        log_prior = terms.PriorTerm(self.prior_term, self.times, self.times_at_once)
        k_z, k_t, k_eps = jax.random.split(key, 3)
        z = jax.random.normal(k_z, (batch, self.n_samples, flow.dim))
        u = bound.uniforms(k_t, batch * self.n_samples * self.n_times, self.times)
        u = u.reshape(self.n_times, self.n_samples, batch).T
        measurements, z, u, keys = _split(measurements, z, u, jax.random.split(k_eps, (batch, self.n_samples)))

        def one(measurement, zs, us, ks):
            context = flow.context(measurement)

            def sample(zi, ui, ki):
                x, log_det = flow.forward(params, zi, context)
                log_q = log_prob_of_sample(self.estimator, zi, log_det, lambda p: flow.inverse(p, x, context), params)
                signal = x.reshape(flow.shape)
                fidelity = -log_likelihood(target.operator, target.sigma_y, signal, measurement)
                return fidelity, -log_prior(target.prior, signal, ui, ki, progress), log_q

            return jax.vmap(sample)(zs, us, ks)

        parts = [jnp.mean(p) for p in jax.vmap(one)(measurements, z, u, keys)]
        names = ("fidelity", "prior", "log_q")
        return sum(parts), {name: part / flow.dim for name, part in zip(names, parts, strict=True)}


def _split(measurements, *draws):
    """Split measurements and their draws (batch, n_samples, ...) over the devices: along the batch, along the samples
    of a single one.
    """
    if measurements.y.shape[0] > 1:
        return devices.split_batch((measurements, *draws))
    return measurements, *(devices.split_batch(a[0])[None] for a in draws)


def forward_objective(flow, params, measurements, x0):
    """KL(p(x|y) || q(x|y)) up to a constant: -log q(x0 | y) averaged over a batch of pairs, in nats.

    x0 (batch, *shape) are draws from the prior and ``measurements`` simulated from them: neural posterior estimation
    (Papamakarios & Murray 2016). Needs no score, no likelihood and no data.
    """

    value = forward_of_contexts(flow, params, flow.context, *devices.split_batch((measurements, x0)))
    return value, {"forward": value / flow.dim}


def forward_of_contexts(flow, params, context_of, given, x0):
    """-log q(x0 | y) in nats, averaged over pairs: x0 (batch, *shape), and ``given``, batched, of each of which
    ``context_of`` makes what the flow sees of y.
    """

    def one(given, x):
        z, log_det = flow.inverse(params, x.reshape(-1), context_of(given))
        return -log_standard_normal(z) - log_det

    return jnp.mean(jax.vmap(one)(given, x0))


@dataclass(frozen=True)
class ModalDivergence:
    """The ReverseDivergence of a GaussianBaseFlow under a ScorePrior, sample for sample, without the constant -log p_G(y):
    in K dimensions.

    The learned prior and the flow differ from the Gaussian only in the K leading modes, and there fidelity + prior +
    log q = log N(e) - log|det dT| - log N(T(e)) - log p_theta/p_G - log p_G(y): everything outside the modes cancels.
    n_samples, n_times, estimator: as of ReverseDivergence.
    """

    n_samples: int = 1
    n_times: int = 1
    estimator: str = "total"

    def __call__(self, flow, params, prior, key, modal):
        """The value in nats and its two parts per mode. modal: a batched ModalContext, which is computed once for each
        measurement.
        """
        batch, n_samples, n_times = modal.mean.shape[0], self.n_samples, self.n_times
        k_e, k_t, k_eps = jax.random.split(key, 3)
        e = jax.random.normal(k_e, (batch, n_samples, flow.k))
        u = bound.low_discrepancy(k_t, batch * n_samples * n_times).reshape(n_times, n_samples, batch).T
        keys = jax.random.split(k_eps, (batch, n_samples, n_times))
        modal, e, u, keys = devices.split_batch((modal, e, u, keys))

        def one(context, es, us, ks):
            def sample(ei, ui, ki):
                moved, log_det = flow.modal_forward(params, ei, context)
                amplitudes = 2 * (context.mean + context.chol @ moved)  # in the scale u = 2 x - 1
                t = prior.sde.likelihood_weighted_time(ui, prior.t_residual)
                ratio = jnp.mean(jax.vmap(lambda k, ti: prior.modal_log_ratio(k, amplitudes, ti))(ki, t))
                inverse = lambda p: flow.modal_inverse(p, moved, context)  # noqa: E731
                log_q = log_prob_of_sample(self.estimator, ei, log_det, inverse, params)
                return log_q - log_standard_normal(moved), -ratio

            return jax.vmap(sample)(es, us, ks)

        parts = [jnp.mean(p) for p in jax.vmap(one)(modal, e, u, keys)]
        return sum(parts), {"from_base": parts[0] / flow.k, "prior_ratio": parts[1] / flow.k}


ESTIMATORS = ("path", "total")


def log_prob_of_sample(estimator, z, log_det, inverse, params):
    """log q(x) in nats of one sample x of a flow, with the gradient in ``params`` that ``estimator`` says.

    z (d,) and log_det = log|dx/dz|: where x came from. inverse(params) -> (z, log|dz/dx|): of that x, differentiable in
    it; only "path" evaluates it. Raises ValueError for an unknown estimator.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {ESTIMATORS}, got {estimator!r}")
    if estimator == "total":
        return log_standard_normal(z) - log_det
    z, log_det = inverse(jax.lax.stop_gradient(params))
    return log_standard_normal(z) + log_det
