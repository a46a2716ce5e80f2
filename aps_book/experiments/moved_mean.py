"""Why training with the bound moves the mean of a flow away from Tweedie's: the posterior that the bound itself stands
for, by a chain that no family restricts, what the bound's times pay for, and whether the network is one density's score.

Denoising y = x + N(0, sigma_y^2) under a prior with a Gaussian part: for x = mu_G(y) + V diag(std) e the posterior is
N(e; 0, I) times the prior's ratio to its Gaussian, so that only the ratio has to be estimated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.metrics import calibration
from aps_core.priors import bound
from aps_core.priors.ode import log_prob_ode

DECIBEL = 10 / np.log(10)


@partial(jax.jit, static_argnums=2)
def tweedie_means(prior, y, sigma_y):
    """Tweedie's estimates (n, d) of flat measurements ``y`` (n, d), in the scale of the signals."""
    t = prior.sde.time_of(2 * jnp.log(2 * sigma_y))
    alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)

    def one(yi):
        ut = alpha * (2 * yi - 1)
        return ((ut - beta * prior.eps(ut, t)) / alpha + 1) / 2

    return jax.lax.map(one, y)


# --- the bound's own posterior ---


@dataclass(frozen=True)
class Chains:
    """What chains have left of n measurements with c chains each: means (n, c, d) and variance (n, d) over the kept
    steps, and samples (n, m, d) of them.
    """

    means: np.ndarray
    variance: np.ndarray
    samples: np.ndarray


def log_ratio(prior, x, key, u, weights=(1.0,)):
    """Estimate of the bound on log p(x) minus log p_G(x) at the time that the uniform number u becomes; ``weights``
    weigh as many equal parts of the log odds of the diffusion.
    """
    weights = jnp.asarray(weights)
    part = jnp.minimum((u * weights.size).astype(int), weights.size - 1)
    t = prior.sde.likelihood_weighted_time(u, prior.t_residual)
    return weights[part] * prior.log_ratio_at(key, x.reshape(prior.shape), t)


def bound_slope(weights=(1.0,)):
    """Gradient in x of ``log_ratio``: (prior, x, key, u) -> (d,)."""
    return lambda prior, x, key, u: jax.grad(lambda xi: log_ratio(prior, xi, key, u, weights))(x)


def score_slope(noise):
    """The network's own score minus the Gaussian's, in the scale of the signals, at x with fresh noise of that standard
    deviation: (prior, x, key, u) -> (d,). No divergence and no Jacobian of the network stands in it.
    """

    def slope(prior, x, key, u):
        del u
        t = prior.sde.time_of(2 * jnp.log(2 * jnp.asarray(noise)))
        alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)
        ut = alpha * (2 * x - 1) + beta * jax.random.normal(key, x.shape)
        return -2 * alpha / beta * (prior.eps(ut, t) - prior.gaussian.eps(ut, t))

    return slope


@dataclass(frozen=True)
class Langevin:
    """``steps`` of Langevin dynamics, of which the first ``burn`` are left out; every step averages ``n_times`` of the
    slopes ``slope`` (``bound_slope`` or ``score_slope``). ``step`` is in units of the relaxation time of the closed form;
    every ``keep_every``-th state is a sample.
    """

    slope: Callable
    steps: int
    burn: int
    n_times: int = 8
    step: float = 0.2
    keep_every: int = 5


@partial(jax.jit, static_argnums=(5, 6, 7))
def _chain_step(e, mu, modes, prior, key, slope, n_times, step):
    """One step of all chains, e (b, d): the exact step of the Gaussian with the slope of the ratio held fixed."""
    k_time, k_eps, k_noise = jax.random.split(key, 3)
    b = len(e)
    u = bound.uniforms(k_time, b * n_times).reshape(n_times, b)
    one = lambda ei, mi, ki, ui: (slope(prior, mi + modes.basis @ (modes.std * ei), ki, ui) @ modes.basis) * modes.std  # noqa: E731
    slopes = jax.lax.map(lambda a: jax.vmap(one)(e, mu, *a), (jax.random.split(k_eps, (n_times, b)), u))
    rho = np.exp(-step)
    # the noise of the estimate is a part of the noise that the step needs
    told = (1 - rho) ** 2 * jnp.mean(jnp.var(slopes, axis=0, ddof=1), axis=0) / n_times if n_times > 1 else 0.0
    noise = jnp.sqrt(jnp.maximum(1 - rho**2 - told, 0)) * jax.random.normal(k_noise, e.shape)
    return rho * e + (1 - rho) * slopes.mean(axis=0) + noise


def chains(task, modes, y, starts, key, how, said=None):
    """Draw from the posterior of a prior that is given by its slope, by Langevin dynamics ``how`` from ``starts``
    (n, c, d): Chains of the steps after the first ones.

    modes: the PosteriorModes of the task; y (n, d). The dynamics are preconditioned by the closed form, whose part of
    every step is exact. said: called with (step, the mean of all states so far (n, c, d)) after every 20 steps.
    """
    n, c, d = starts.shape
    mu = jnp.repeat(jax.lax.map(modes.mean, jnp.asarray(y)), c, axis=0)
    e = (jnp.asarray(starts).reshape(n * c, d) - mu) @ modes.basis / modes.std
    total, squares, samples, kept = np.zeros((n * c, d)), np.zeros((n * c, d)), [], 0
    for i in range(how.steps):
        e = _chain_step(e, mu, modes, task.prior, jax.random.fold_in(key, i), how.slope, how.n_times, how.step)
        if i >= how.burn:
            x = np.asarray(mu + (e * modes.std) @ modes.basis.T, np.float64)
            total, squares, kept = total + x, squares + x**2, kept + 1
            if i % how.keep_every == 0:
                samples.append(x.reshape(n, c, d).astype(np.float32))
            if said is not None and (i + 1) % 20 == 0:
                said(i + 1, (total / kept).reshape(n, c, d))
    total, squares = ((a / kept).reshape(n, c, d) for a in (total, squares))
    variance = squares.mean(axis=1) - total.mean(axis=1) ** 2
    return Chains(total, variance, np.concatenate(samples, axis=1))


def reverse_diffusion(prior, y, sigma_y, key, n, n_steps=64, last=0.01):
    """The reverse diffusion started from y itself, which for denoising draws from the posterior: (ratios (n_steps + 1,),
    means (n_steps + 1, b, d) of the denoised signal at each ratio of noise to signal, draws (b, n, d)).

    y (b, d). For the score of one density the mean of what is denoised is the same at all ratios, Tweedie's estimate
    (the denoised signal is a martingale). Ancestral steps, evenly spaced in the log of the ratio down to ``last``.
    """
    ratios = np.geomspace(2 * sigma_y, last, n_steps + 1)

    @jax.jit
    def denoised(prior, w, s):
        t = prior.sde.time_of(2 * jnp.log(s))
        alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)
        return jax.lax.map(lambda wi: wi - beta / alpha * prior.eps(alpha * wi, t), w, batch_size=16)

    b, d = y.shape
    w, means = jnp.repeat(2 * jnp.asarray(y) - 1, n, axis=0), []
    for i, s in enumerate(ratios):
        clean = denoised(prior, w, s)
        means.append((np.asarray(clean).reshape(b, n, d).mean(axis=1) + 1) / 2)
        if i < n_steps:
            share = (ratios[i + 1] / s) ** 2
            noise = ratios[i + 1] * np.sqrt(1 - share) * jax.random.normal(jax.random.fold_in(key, i), w.shape)
            w = clean + share * (w - clean) + noise
    return ratios, np.stack(means), (np.asarray(clean).reshape(b, n, d) + 1) / 2


# --- what is measured of any of them ---


def squared_error(means, x0):
    """Mean square error (n,) of the mean of independent estimates ``means`` (n, c, d), without their own noise."""
    away = np.asarray(means, np.float64) - np.asarray(x0)[:, None]
    return _without_noise(away, away)


def _without_noise(a, b):
    """Mean over the entries of the product of the means of a and b (n, c, d), of which one index is the same
    estimate: (n,).
    """
    c = a.shape[1]
    return np.mean((a.sum(axis=1) * b.sum(axis=1) - (a * b).sum(axis=1)) / (c * (c - 1)), axis=-1)


def against_tweedie(means, tweedie, moved, x0):
    """Of independent estimates ``means`` (n, c, d) of the posterior mean, for each measurement: {"lost", "along",
    "away"}.

    lost: decibels that their mean is below Tweedie's ``tweedie`` (n, d); along: how much of the way from there to the
    mean of other independent estimates ``moved`` (n, m, d) it has gone; away: root mean square distance from Tweedie's
    over that of ``moved``. All without the estimates' own noise.
    """
    shift, way = (np.asarray(a, np.float64) - tweedie[:, None] for a in (means, moved))
    length = _without_noise(way, way)
    return {
        "lost": DECIBEL * np.log(squared_error(means, x0) / np.mean((tweedie - x0) ** 2, axis=-1)),
        "along": np.mean(shift.mean(axis=1) * way.mean(axis=1), axis=-1) / length,
        "away": np.sqrt(np.maximum(_without_noise(shift, shift), 0) / length),
    }


def inside(samples, x0, level=0.9):
    """Per cent of the entries of each x0 (n, d) inside the central intervals of its samples (n, m, d), (n,)."""
    return np.array([100 * calibration.coverage(s, x, (level,))[0] for s, x in zip(samples, x0, strict=True)])


# --- what the bound pays for, and by which times ---


@partial(jax.jit, static_argnums=(3, 4))
def ratio_by_time(prior, key, x, n_parts, n=4):
    """The bound minus the Gaussian's log density of flat signals x (b, d), (b, n_parts): what each of ``n_parts`` equal
    parts of the log odds of the diffusion adds, in nats, from ``n`` times each. The same key has the same times and
    noise.
    """
    k_time, k_eps = jax.random.split(key)
    u = (jnp.arange(n_parts)[:, None] + jax.random.uniform(k_time, (n_parts, n))) / n_parts
    t = prior.sde.likelihood_weighted_time(u.reshape(-1), prior.t_residual)

    def one(a):
        k, xi = a
        at = lambda b: prior.log_ratio_at(b[0], xi.reshape(prior.shape), b[1])  # noqa: E731
        return jax.lax.map(at, (jax.random.split(k, n_parts * n), t), batch_size=16).reshape(n_parts, n).sum(1)

    return jax.lax.map(one, (jax.random.split(k_eps, len(x)), x)) / (n_parts * n)


@partial(jax.jit, static_argnums=(3, 4, 5))
def ratio_between(prior, key, x, low, high, n=16):
    """What the times from ``low`` to ``high`` add to the bound minus the Gaussian's log density of flat signals x (b, d),
    (b,) in nats, from ``n`` times each, the residual being there from ``low`` on. The same key has the same times and
    noise.
    """
    k_time, k_eps = jax.random.split(key)
    sde, opened = prior.sde, prior.replace(t_residual=low)
    begin, end = sde.log_odds(low), sde.log_odds(high)
    t = sde.time_of(begin + bound.low_discrepancy(k_time, n) * (end - begin))
    share = (end - begin) / sde.log_snr_span(low)

    def one(a):
        k, xi = a
        at = lambda b: opened.log_ratio_at(b[0], xi.reshape(prior.shape), b[1])  # noqa: E731
        return share * jnp.mean(jax.lax.map(at, (jax.random.split(k, n), t), batch_size=16))

    return jax.lax.map(one, (jax.random.split(k_eps, len(x)), x))


def edges(prior, n_parts):
    """Ratios of noise to signal in the scale [0, 1] at which the parts of ``ratio_by_time`` begin and end,
    (n_parts + 1,).
    """
    sde = prior.sde
    low, high = float(sde.log_odds(prior.t_residual)), float(sde.log_odds(1.0))
    return np.exp(0.5 * np.linspace(low, high, n_parts + 1)) / 2


def gaussian_part(modes, y, x):
    """log N(y; x, sigma_y^2) + log p_G(x) of flat signals x (b, d) for y (b, d), up to what does not depend on x."""
    e = (x - jax.lax.map(modes.mean, jnp.asarray(y))) @ modes.basis / modes.std
    return np.asarray(-0.5 * jnp.sum(e**2, axis=1))


@partial(jax.jit, static_argnums=3)
def ode_log_prob(prior, key, x, n_steps=24):
    """log density (b,) of flat signals x (b, d) by the probability-flow ODE in ``n_steps`` steps of Heun, the trace by
    one random vector, which is the same for signal i of every call with this key.
    """
    settings = dict(divergence="rademacher", solver="Heun", n_steps=n_steps)
    one = lambda a: log_prob_ode(prior, a[1].reshape(prior.shape), a[0], **settings).log_prob  # noqa: E731
    return jax.lax.map(one, (jax.random.split(key, len(x)), x))


# --- is the network a score? ---


@partial(jax.jit, static_argnums=3)
def asymmetry(prior, key, x, ratio):
    """Size of the antisymmetric part of the residual's Jacobian over that of the symmetric one (b,), at signals x (b, d)
    with noise of ``ratio`` to the signal (scale [0, 1]): root of the mean square of (J - J^T) v over (J + J^T) v for a
    random v. Zero for the score of a density, one for a rotation.
    """
    t = prior.sde.time_of(2 * jnp.log(2 * ratio))
    alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)

    def one(a):
        k, xi = a
        k_eps, k_v = jax.random.split(k)
        ut = alpha * (2 * xi - 1) + beta * jax.random.normal(k_eps, xi.shape)
        v = jax.random.normal(k_v, xi.shape)
        residual = lambda w: prior.eps(w, t) - prior.gaussian.eps(w, t)  # noqa: E731
        forward = jax.jvp(residual, (ut,), (v,))[1]
        (backward,) = jax.vjp(residual, ut)[1](v)
        return jnp.linalg.norm(forward - backward) / jnp.linalg.norm(forward + backward)

    return jax.lax.map(one, (jax.random.split(key, len(x)), x))
