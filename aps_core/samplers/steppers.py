"""Steps of the reverse diffusion from time t to s < t, for one u (d,), and the times at which they are taken.

A run of n steps evaluates the network at n times from 1 to t_min. With the final denoising the last step goes from
t_min to 0, where beta = 0: it returns Tweedie's estimate, so that no noise of variance v_min is left in the sample, and
costs nothing extra. Without it the sample is one of u at t_min: that is the density which the probability-flow ODE and
the bound speak of.
"""

import jax.numpy as jnp

GRIDS = {
    "uniform": lambda sde, q: 1 - q + q * sde.t_min,
    "quadratic": lambda sde, q: (1 - q + q * sde.t_min**0.5) ** 2,
    "log-snr": lambda sde, q: sde.time_of((1 - q) * sde.log_odds(1.0) + q * sde.log_odds(sde.t_min)),
}  # the time after a fraction q of the run: even steps in t, in sqrt(t), in log(beta^2/alpha^2)


def time_steps(sde, n_steps, grid="uniform", denoise=True):
    """(t, s), each (n_steps,): the steps go from t[i] to s[i] = t[i + 1], from 1 to t_min, or on to 0 with ``denoise``."""
    n = n_steps if denoise else n_steps + 1
    t = GRIDS[grid](sde, jnp.arange(n) / max(1, n - 1)).at[0].set(1.0)
    t = jnp.append(t, 0.0) if denoise else t.at[-1].set(sde.t_min)
    return t[:-1], t[1:]


def shrinkage(sde, t, s):
    """1 - exp(lambda(s) - lambda(t)) in (0, 1]: the share of beta(s)^2 that is new noise in the ancestral step."""
    return -jnp.expm1(sde.log_odds(s) - sde.log_odds(t))


def ddim(sde, u0, eps, t, s, z, eta=0.0):
    """u_s = alpha_s u0 + sqrt(beta_s^2 - c^2) eps + c z, c^2 = eta^2 beta_s^2 (1 - exp(lambda_s - lambda_t)) (DDIM,
    Song et al. 2021a).

    u0, eps: Tweedie's estimate and the noise prediction at t; z: standard normal. eta = 0 is deterministic, eta = 1 the
    ancestral step.
    """
    share = eta**2 * shrinkage(sde, t, s)
    return sde.alpha(s) * u0 + sde.beta(s) * (jnp.sqrt(1 - share) * eps + jnp.sqrt(share) * z)


def ancestral(sde, u0, eps, t, s, z):
    """A draw of q(u_s | u_t, u_0 = u0) (DDPM, Ho et al. 2020): mean and variance of the Gaussian bridge."""
    return ddim(sde, u0, eps, t, s, z, eta=1.0)


def along_ode(sde, u, slope, t, s):
    """A step of the probability-flow ODE d(u/alpha)/d(beta/alpha) = eps, with eps = ``slope`` all along it."""
    ratio = sde.alpha(s) / sde.alpha(t)
    return ratio * u + (sde.beta(s) - ratio * sde.beta(t)) * slope
