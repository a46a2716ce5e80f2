"""Evidence lower bound of a diffusion prior, in the form of Kingma et al. (2021): reconstruction - prior KL - diffusion loss.

With u = 2 x - 1, u_t = alpha u + beta eps and a network eps_theta (score = -eps_theta / beta),

    log p(u) >= log p(u | u_tmin) - KL(q(u_1 | u) || N(0, I)) - 1/2 int_tmin^1 g^2/beta^2 E||eps - eps_theta(u_t, t)||^2 dt.

This is Eq. 14 of the APS paper with its integrals carried out, plus the start-time term: log p(u | u_tmin) is Gaussian around
Tweedie's estimate with variance (beta/alpha)^2 (Song et al. 2021b, the "offset"). Times are drawn with density g^2/beta^2.
"""

import math

import jax
import jax.numpy as jnp

from aps_core.sde import low_discrepancy


def prior_kl(sde, u):
    """KL(N(alpha u, beta^2 I) || N(0, I)) at t = 1, for u (d,)."""
    alpha, beta = sde.alpha(1.0), sde.beta(1.0)
    return 0.5 * (jnp.sum((alpha * u) ** 2) + u.size * (beta**2 - 1 - 2 * jnp.log(beta)))


def times(key, sde, n, t_min=None):
    """``n`` low-discrepancy likelihood-weighted times in [t_min, 1]."""
    return sde.likelihood_weighted_time(low_discrepancy(key, n), t_min)


def elbo_at(eps_fn, sde, u, t, key, start_time_term=True):
    """One-sample estimate of the bound on log p(u) at one likelihood-weighted time ``t``, in nats of the u scale.

    eps_fn(ut, t): noise prediction for ut (d,). Without the start-time term the reconstruction is a constant, as in bounds
    that are simply cut off at t_min. The expectation over t and eps is the bound.
    """
    key_t, key_start = jax.random.split(key)
    eps = jax.random.normal(key_t, u.shape)
    mismatch = jnp.sum((eps - eps_fn(sde.perturb(u, t, eps), t)) ** 2)
    diffusion = 0.5 * sde.log_snr_span() * mismatch

    log_variance = math.log(sde.v_min)
    if start_time_term:
        eps = jax.random.normal(key_start, u.shape)
        mismatch = jnp.sum((eps - eps_fn(sde.perturb(u, sde.t_min, eps), sde.t_min)) ** 2)
    else:
        mismatch = float(u.size)
    reconstruction = -0.5 * (mismatch + u.size * (jnp.log(2 * jnp.pi) + log_variance))
    return reconstruction - prior_kl(sde, u) - diffusion


def log_ratio_at(eps_gaussian_fn, residual_fn, sde, u, t, key, t_min):
    """One-sample estimate of (bound of the learned prior) - (log density of the Gaussian prior) at one weighted time ``t`` >= t_min.

    With eps_theta = eps_G + r and the same noise in both bounds, the difference is -Z/2 E[r . (2 (eps_G - eps) + r)]: everything
    Gaussian has cancelled, and with it nearly all of the variance. Below t_min the residual is taken to be zero.
    """
    eps = jax.random.normal(key, u.shape)
    ut = sde.perturb(u, t, eps)
    r = residual_fn(ut, t)
    return -0.5 * sde.log_snr_span(t_min) * jnp.sum(r * (2 * (eps_gaussian_fn(ut, t) - eps) + r))
