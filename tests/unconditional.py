"""Draws of a diffusion prior by the steps of ``aps_core.samplers.steppers`` and by two others, for their tests."""

import jax
import jax.numpy as jnp

from aps_core.samplers import steppers
from aps_core.samplers.noise import normal


def euler_maruyama(sde, u, eps, t, s, z):
    """u_s = u - (t - s) (f(u, t) - g^2 score) + g sqrt(t - s) z: the reverse SDE (Song et al. 2021)."""
    dt, g = t - s, sde.g(t)
    return u - dt * (sde.drift(u, t) + g**2 / sde.beta(t) * eps) + g * jnp.sqrt(dt) * z


def heun(prior, u, t, s):
    """Heun's second-order step of the probability-flow ODE (Karras et al. 2022): two evaluations."""
    eps = prior.eps(u, t)
    ahead = prior.eps(steppers.along_ode(prior.sde, u, eps, t, s), s)
    return steppers.along_ode(prior.sde, u, 0.5 * (eps + ahead), t, s)


def one_step(prior, stepper, u, t, s, z):
    if stepper == "heun":
        return heun(prior, u, t, s)
    sde, eps = prior.sde, prior.eps(u, t)
    if stepper == "euler-maruyama":
        return euler_maruyama(sde, u, eps, t, s, z)
    u0 = (u - sde.beta(t) * eps) / sde.alpha(t)
    return steppers.ddim(sde, u0, eps, t, s, z, eta=1.0 if stepper == "ancestral" else 0.0)


def run(prior, u, key, stepper="ancestral", n_steps=1000, grid="log-snr", denoise=True):
    """u (d,) at t = 1 taken to t_min or, with ``denoise``, to 0."""
    t, s = steppers.time_steps(prior.sde, n_steps, grid, denoise)
    n = n_steps - 1 if denoise else n_steps

    def body(u, step):
        ti, si, k = step
        return one_step(prior, stepper, u, ti, si, normal(k, u.shape)), None

    u, _ = jax.lax.scan(body, u, (t[:n], s[:n], jax.random.split(key, n_steps)[:n]))
    # to s = 0: Tweedie's estimate, whatever the stepper
    return one_step(prior, "ddim", u, t[-1], s[-1], 0.0) if denoise else u


def draw(prior, key, n, stepper="ancestral", n_steps=1000, grid="log-snr", denoise=True):
    """n draws (n, *shape) of a diffusion prior, signals in [0, 1], not clipped; jit outside.

    stepper: "ancestral" (DDPM), "ddim", "euler-maruyama" (n_steps evaluations each) or "heun" (two for each step, less
    one for the last with ``denoise``); grid: one of ``steppers.GRIDS``. Euler-Maruyama wants "uniform" or "quadratic" times.
    """

    def one(key):
        k_start, k_steps = jax.random.split(key)
        u = prior.sde.prior_std * normal(k_start, (prior.dim,))
        return ((run(prior, u, k_steps, stepper, n_steps, grid, denoise) + 1) / 2).reshape(prior.shape)

    return jax.vmap(one)(jax.random.split(key, n))
