"""Evidence lower bound of a diffusion prior, in the form of Kingma et al. (2021): reconstruction - prior KL - diffusion
loss.

With u = 2 x - 1, u_t = alpha u + beta eps and a network eps_theta (score = -eps_theta / beta),

    log p(u) >= log p(u | u_tmin) - KL(q(u_1 | u) || N(0, I)) - 1/2 int_tmin^1 g^2/beta^2 E||eps - eps_theta(u_t, t)||^2
    dt.

This is Eq. 14 of the APS paper with its integrals carried out, plus the start-time term: log p(u | u_tmin) is Gaussian
around Tweedie's estimate with variance (beta/alpha)^2 (Song et al. 2021b, the "offset"). Times are drawn with density
g^2/beta^2.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from aps_core.diffusion import low_discrepancy

TIMES = ("low-discrepancy", "importance", "uniform")


def prior_kl(sde, u):
    """KL(N(alpha u, beta^2 I) || N(0, s^2 I)) at t = 1, for u (d,), where s = sde.prior_std starts the reverse
    diffusion.
    """
    alpha, ratio = sde.alpha(1.0) / sde.prior_std, sde.beta(1.0) / sde.prior_std
    return 0.5 * (jnp.sum((alpha * u) ** 2) + u.size * (ratio**2 - 1 - 2 * jnp.log(ratio)))


def uniforms(key, n, times="low-discrepancy"):
    """``n`` numbers in [0, 1) that become diffusion times: one in each of n equal cells, or independent ones."""
    return low_discrepancy(key, n) if times == "low-discrepancy" else jax.random.uniform(key, (n,))


def time_and_weight(sde, u, times="low-discrepancy", t_min=None):
    """A time in [t_min, 1] from a uniform number, and g^2/beta^2 over the density that it was drawn with.

    times: "low-discrepancy" and "importance" draw with density g^2/beta^2 / Z, so that the weight is Z for all;
    "uniform" does not. Raises ValueError for another name.
    """
    if times not in TIMES:
        raise ValueError(f"times must be one of {TIMES}, got {times!r}")
    if times != "uniform":
        return sde.likelihood_weighted_time(u, t_min), sde.log_snr_span(t_min)
    low = sde.t_min if t_min is None else t_min
    t = low + u * (1 - low)
    return t, (1 - low) * (sde.g(t) / sde.beta(t)) ** 2


def times(key, sde, n, t_min=None):
    """``n`` low-discrepancy likelihood-weighted times in [t_min, 1]."""
    return sde.likelihood_weighted_time(low_discrepancy(key, n), t_min)


@dataclass(frozen=True)
class Form:
    """What of the bound is kept. Without ``start_time_term`` the reconstruction is a constant, as in bounds that are simply
    cut off at t_min. Without ``jacobian`` the value is the same, but its gradient holds Tweedie's estimate fixed (as SDS
    does: Poole et al. 2023); that is not the gradient of any density.
    """

    start_time_term: bool = True
    jacobian: bool = True


WHOLE = Form()


def elbo_at(eps_fn, sde, u, t, key, weight=None, form=WHOLE):
    """One-sample estimate of the bound on log p(u) at one time ``t``, in nats of the u scale.

    eps_fn(ut, t): noise prediction for ut (d,). weight: g^2/beta^2 over the density of ``t``; None for
    likelihood-weighted times. The expectation over t and eps is the bound in its ``form``.
    """
    key_t, key_start = jax.random.split(key)
    weight = sde.log_snr_span() if weight is None else weight
    diffusion = 0.5 * weight * _mismatch(eps_fn, sde, u, t, key_t, form.jacobian)
    if form.start_time_term:
        mismatch = _mismatch(eps_fn, sde, u, sde.t_min, key_start, form.jacobian)
    else:
        mismatch = float(u.size)
    reconstruction = -0.5 * (mismatch + u.size * (jnp.log(2 * jnp.pi) + math.log(sde.v_min)))
    return reconstruction - prior_kl(sde, u) - diffusion


def _mismatch(eps_fn, sde, u, t, key, jacobian):
    """||eps - eps_theta(u_t, t)||^2 = (alpha/beta)^2 ||u - u_hat||^2 with Tweedie's estimate u_hat."""
    eps = jax.random.normal(key, u.shape)
    ut = sde.perturb(u, t, eps)
    if jacobian:
        return jnp.sum((eps - eps_fn(ut, t)) ** 2)
    alpha, beta = sde.alpha(t), sde.beta(t)
    # u - u_hat: small, so not formed as a difference
    shift = jax.lax.stop_gradient(beta / alpha * (eps_fn(ut, t) - eps))
    return (alpha / beta) ** 2 * jnp.sum((u - jax.lax.stop_gradient(u) + shift) ** 2)


def log_ratio_at(eps_gaussian_fn, residual_fn, sde, u, t, key, t_min):
    """One-sample estimate of (bound of the learned prior) - (log density of the Gaussian prior) at one weighted time
    ``t`` >= t_min.

    With eps_theta = eps_G + r and the same noise in both bounds, the difference is -Z/2 E[r . (2 (eps_G - eps) + r)]:
    everything Gaussian has cancelled, and with it nearly all of the variance. Below t_min the residual is taken to be
    zero.
    """
    eps = jax.random.normal(key, u.shape)
    ut = sde.perturb(u, t, eps)
    r = residual_fn(ut, t)
    return -0.5 * sde.log_snr_span(t_min) * jnp.sum(r * (2 * (eps_gaussian_fn(ut, t) - eps) + r))


def mean_bound(prior, key, x, n_times=1):
    """Estimate of the bound on log p(x) in nats, density of ``x`` (of ``prior.shape``), from ``n_times``
    low-discrepancy times.
    """
    k_time, k_eps = jax.random.split(key)
    t, u = times(k_time, prior.sde, n_times), 2 * x.reshape(-1) - 1
    bound = jax.vmap(lambda k, ti: elbo_at(prior.eps, prior.sde, u, ti, k))(jax.random.split(k_eps, n_times), t)
    return jnp.mean(bound) + u.size * jnp.log(2.0)
