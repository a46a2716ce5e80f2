"""What stands for log p(x) in the objective: one estimate for each signal, differentiated in x.

| name | estimate | gradient |
| --- | --- | --- |
| exact | the prior's own ``log_prob`` | exact |
| ode | log-density of the probability-flow ODE (Song et al. 2021; Feng et al. 2023) | exact up to the solver and the trace estimate |
| elbo | the bound, Eq. 14 of the APS paper with the start-time term | full score Jacobian |
| elbo-no-start | the bound cut off at t_min | as above, without the term that sees structure finer than t_min |
| elbo-no-jacobian | the bound | Tweedie's estimate held fixed (SDS) |
| annealed-score | none | score at one time that falls from 1 to t_min during training |
| control-variate | closed-form Gaussian, plus the estimated difference to it | full score Jacobian |

"modes" in a recipe is "control-variate" evaluated in the leading modes alone (``training.objective.ModalDivergence``).
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from aps_core.priors import bound

TERMS = ("exact", "ode", "elbo", "elbo-no-start", "elbo-no-jacobian", "annealed-score", "control-variate", "modes")


FORMS = {  # of the bound
    "elbo": bound.WHOLE,
    "elbo-no-start": bound.Form(start_time_term=False),
    "elbo-no-jacobian": bound.Form(jacobian=False),
}


@dataclass(frozen=True)
class PriorTerm:
    """What stands for log p(x): the ``name`` of a term, and how it goes over the diffusion times.

    times: their density, one of ``bound.TIMES``. times_at_once: how many "control-variate" evaluates side by side; None
    is all of them. Fewer need less memory, and then the prior's own parameters get no gradient.
    """

    name: str = "elbo"
    times: str = "low-discrepancy"
    times_at_once: int | None = None

    def __call__(self, prior, x, u, key, progress=1.0):
        """Estimate of log p(x) in nats for one signal ``x`` of shape ``prior.shape``. Raises ValueError for an unknown
        term, and for "modes", which is no estimate of a whole signal.

        u: (n_times,) uniform numbers that become the diffusion times (see ``bound.uniforms``). progress: fraction of the
        training done, 0 to 1; only "annealed-score" uses it, and its value means nothing.
        """
        if self.name == "exact":
            return prior.log_prob(x)
        if self.name == "ode":
            from aps_core.priors.ode import log_prob_ode  # diffrax takes a second to import

            return log_prob_ode(
                prior, x, key, divergence="rademacher", rtol=1e-3, atol=1e-3, adjoint="checkpointed"
            ).log_prob
        if self.name == "annealed-score":
            return _annealed_score(prior, x, progress)
        if self.name == "control-variate":
            return prior.gaussian.log_prob(x) + self._mean_log_ratio(prior, x, u, key)
        if self.name not in FORMS:
            known = tuple(t for t in TERMS if t != "modes")
            raise ValueError(f"prior_term must be one of {known}, got {self.name!r}")
        return self._mean_bound(prior, x, u, key) + x.size * jnp.log(2.0)  # density of x, not of 2 x - 1

    def _mean_bound(self, prior, x, u, key):
        def at(k, ui):
            t, weight = bound.time_and_weight(prior.sde, ui, self.times)
            return bound.elbo_at(prior.eps, prior.sde, 2 * x.reshape(-1) - 1, t, k, weight, FORMS[self.name])

        return jnp.mean(jax.vmap(at)(jax.random.split(key, u.shape[0]), u))

    def _mean_log_ratio(self, prior, x, u, key):
        """Bound on log p_theta minus log p_G."""
        at, draws = partial(_log_ratio_at, self.times), (jax.random.split(key, u.shape[0]), u)
        if self.times_at_once is None or self.times_at_once >= u.shape[0]:
            return jnp.mean(jax.vmap(lambda *draw: at(prior, x, draw))(*draws))
        return mean_in_turn(at, self.times_at_once, prior, x, draws)


def _log_ratio_at(times, prior, x, draw):
    """Estimate of (bound on log p_theta) - log p_G at one time; draw: a key and a uniform number."""
    key, u = draw
    t, weight = bound.time_and_weight(prior.sde, u, times, prior.t_residual)
    return weight / prior.sde.log_snr_span(prior.t_residual) * prior.log_ratio_at(key, x, t)


def _annealed_score(prior, x, progress):
    """A number whose gradient in the signal is that of log p_t(alpha u), at a time that is evenly spaced in log SNR
    over the training.
    """
    sde, flat = prior.sde, 2 * x.reshape(-1) - 1
    t = sde.likelihood_weighted_time(1.0 - jnp.asarray(progress))
    alpha = sde.alpha(t)
    return jnp.sum(jax.lax.stop_gradient(alpha * prior.score(alpha * flat, t)) * flat)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def mean_in_turn(estimate, at_once, fixed, x, draws):
    """Mean over ``draws`` (a pytree with a leading axis) of ``estimate(fixed, x, draw)``, ``at_once`` of them side by
    side.

    The gradient in x is found together with the value, draw by draw: memory is that of ``at_once`` draws, and nothing
    is computed twice. ``fixed`` and ``draws`` get no gradient.
    """
    return jnp.mean(jax.lax.map(lambda draw: estimate(fixed, x, draw), draws, batch_size=at_once))


def _mean_and_slope(estimate, at_once, fixed, x, draws):
    def at(draw):
        return jax.value_and_grad(lambda xi: estimate(fixed, xi, draw))(x)

    values, slopes = jax.lax.map(at, draws, batch_size=at_once)
    return jnp.mean(values), jnp.mean(slopes, axis=0)


def _pull_back(estimate, at_once, slope, cotangent):
    del estimate, at_once
    return None, cotangent * slope, None


mean_in_turn.defvjp(_mean_and_slope, _pull_back)
