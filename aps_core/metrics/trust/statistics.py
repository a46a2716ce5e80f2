"""What ``diagnose`` looks at: a dozen or two numbers of one measurement and of a few samples of its posterior."""

import jax
import jax.numpy as jnp

from aps_core.diffusion import low_discrepancy
from aps_core.flows.base import log_standard_normal
from aps_core.metrics.trust import evidence as evidence_file
from aps_core.operators import log_likelihood
from aps_core.priors.terms import PriorTerm

SAMPLES = 8  # of the posterior, for each measurement
TIMES = 1  # diffusion times at which the prior is asked about each of them


def has_exact_density(prior):
    """Whether ``prior.log_prob(x)`` is exact and cheap: that of a Gaussian or of a mixture of Gaussians."""
    return prior.is_gaussian or prior.has_log_prob_at


def statistics(posterior, evidence, measurements):
    """The statistics of a batch of measurements: dict name -> (batch,) in the order in which they are kept.

    With x from q(x | y), the flow:

    - misfit: log of the mean of |y - A(x)|^2 / (n sigma_y^2), the chi^2 of the data under the posterior predictive; where
      mask or noise are not told, in its place fit: E_q[log p(y | x)] in nats;
    - free_energy: E_q[log q(x) - log p(y | x) - log p(x)] in nats, with the bound where there is no exact density;
    - prior_ratio: E_q[log p(x) - log p_G(x)] in nats, what the learned prior says of the samples beyond its Gaussian
      part p_G; not for a prior that is a Gaussian;
    - closeness and modes_i_j: of the data, see ``evidence.summary``; not where the operator has no linear part.

    The same random numbers serve every measurement, and every reference: what they do to a statistic is the same in
    both, and nothing depends on a measurement's company.
    """
    task, key = posterior.task, jax.random.key(0)
    if task.operator.saturates:
        undone = measurements.replace(y=task.operator.undo(measurements.y, task.undone_range()))
    else:
        undone = measurements
    return _statistics(posterior.flow, posterior.params, task.target, evidence, key, (measurements, undone))


@jax.jit
def _statistics(flow, params, target, evidence, key, measurements):
    operator, sigma_y = target.operator, target.sigma_y

    def one(args):
        measurement, undone = args
        k_z, k_prior = jax.random.split(key)
        context = flow.context(measurement)
        z = jax.random.normal(k_z, (SAMPLES, flow.dim))
        x, log_det = jax.vmap(lambda zi: flow.forward(params, zi, context))(z)
        x, log_q = x.reshape((SAMPLES, *flow.shape)), jax.vmap(log_standard_normal)(z) - log_det
        log_lik = jax.vmap(lambda xi: log_likelihood(operator, sigma_y, xi, measurement))(x)
        log_p, ratio = _log_prior(target.prior, k_prior, x)
        found = {} if operator.additive_noise else {"fit": jnp.mean(log_lik)}
        if operator.additive_noise:
            n_observed = jnp.sum(operator.observed(measurement.mask))
            # log p(y | x) = -n/2 (chi^2/n + log 2 pi sigma^2)
            chi2 = -2 * jnp.mean(log_lik) / n_observed - jnp.log(2 * jnp.pi * sigma_y**2)
            found["misfit"] = jnp.log(jnp.maximum(chi2, 1e-12))
        found["free_energy"] = jnp.mean(log_q - log_lik) - log_p
        found |= {} if ratio is None else {"prior_ratio": ratio}
        return found | ({} if evidence is None else evidence_file.summary(evidence, undone.y, undone.mask))

    return jax.lax.map(one, measurements)


def _log_prior(prior, key, x):
    """Mean of log p over samples ``x`` (n, *shape), and of log p - log p_G, None for a Gaussian."""
    if prior.is_gaussian:
        return jnp.mean(jax.vmap(prior.log_prob)(x)), None
    gaussian = jnp.mean(jax.vmap(prior.gaussian.log_prob)(x))
    if has_exact_density(prior):
        log_p = jnp.mean(jax.vmap(prior.log_prob)(x))
    else:
        k_time, k_eps = jax.random.split(key)
        u = low_discrepancy(k_time, len(x) * TIMES).reshape(TIMES, len(x)).T
        term = PriorTerm("control-variate" if prior.has_log_ratio else "elbo")
        log_p = jnp.mean(jax.vmap(lambda xi, ui, ki: term(prior, xi, ui, ki))(x, u, jax.random.split(k_eps, len(x))))
    return log_p, log_p - gaussian
