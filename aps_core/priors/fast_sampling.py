"""Draws of a NetworkPrior with few evaluations: the probability-flow ODE with its Gaussian part solved exactly.

With s = beta/alpha, w = u_t/alpha, prior modes of variance v_k (of u) and eps = eps_G + R(t) out, the ODE dw/ds = eps
reads, for the standardized amplitudes q_k = (w - m)_k / (v_k + s^2)^(1/2),

    dq_k = -out_k d phi_k,   phi_k(s) = v_k^(1/2) / (v_k + s^2)^(1/2),

since R_k = v_k^(1/2) s / (v_k + s^2) in these variables: an exponential integrator whose only error is that of the
network's output between two times. A prior without a network is drawn exactly in one step. Second order by
Adams-Bashforth extrapolation in log s.

With ``churn`` noise is added before every step, up to a higher s from which the step then comes down (Karras et al.
2022, with the midpoint rule, two evaluations a step): noise replaces errors that an imperfect network has
made before, so that draws are nearer to the data. Under the Gaussian it, too, is exact.
"""

import io
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_core import checks
from aps_core.checks import count
from aps_core.files import write_atomically
from aps_core.priors.content import digest_of


def draw(prior, key, n, n_steps=16, batch=64, progress=False, churn=0.0):
    """n draws (n, *shape) of a residual NetworkPrior, signals in [0, 1] up to noise, not clipped; ``n_steps``
    evaluations each.

    The start, t = 1, is the Gaussian's marginal there, as it is for the residual network (R vanishes there to 4
    digits). batch: draws that advance side by side. churn: how many steps of log s the noise goes up before each step
    down; 0 is the probability-flow ODE. Raises ValueError for a prior without a Gaussian residual, a count below 1, a
    negative churn, or one with an odd n_steps.
    """
    if not prior.has_fast_sampler:
        raise ValueError("draw needs a NetworkPrior that predicts the residual to a Gaussian score")
    for name, value in (("n", n), ("n_steps", n_steps), ("batch", batch)):
        count(name, value)
    if checks.number("churn", churn) < 0:
        raise ValueError(f"churn must not be negative, got {churn!r}")
    if churn and n_steps % 2:
        raise ValueError(f"n_steps must be even with churn, two evaluations a step, got {n_steps!r}")
    return _draw(prior, jax.random.split(key, n), n_steps, min(batch, n), progress, churn)


def _amplitudes(prior):
    """Mean of u (d,), basis (d, k) and standard deviations of u along it (k,) and outside of it."""
    g = prior.gaussian
    return 2 * g.mean - 1, g.basis, 2 * jnp.sqrt(g.excess + g.rest), 2 * jnp.sqrt(g.rest)


def _scaled(basis, inside, outside, v):
    """The matrix with eigenvalues ``inside`` (k,) along the basis and ``outside`` elsewhere, times ``v`` (d,)."""
    return outside * v + basis @ ((inside - outside) * (v @ basis))


def _phi(s, variance_root):
    return variance_root / jnp.sqrt(variance_root**2 + s**2)


def _standardized(prior, s, q):
    """w - m of standardized amplitudes ``q`` (d,) at noise ratio ``s``."""
    _, basis, std, rest = _amplitudes(prior)
    return _scaled(basis, jnp.sqrt(std**2 + s**2), jnp.sqrt(rest**2 + s**2), q)


def _output(prior, q, s):
    t = prior.sde.time_of(2 * jnp.log(s))
    return prior.network_output(prior.sde.alpha(t) * (_amplitudes(prior)[0] + _standardized(prior, s, q)), t)


def _moved(prior, q, now, after, value):
    """``q`` at the noise ratio ``after``, the network's output being ``value`` all the way from ``now``."""
    _, basis, std, rest = _amplitudes(prior)
    return q - _scaled(basis, _phi(after, std) - _phi(now, std), _phi(after, rest) - _phi(now, rest), value)


def _signal(prior, q):
    """Below the last time nothing but the Gaussian is left, and q stays: u (d,)."""
    mean, basis, std, rest = _amplitudes(prior)
    return mean + _scaled(basis, std, rest, q)


def trajectory(prior, q, s):
    """u (d,) from standardized noise ``q`` (d,) at noise ratio s[0], through the decreasing ratios ``s`` (n + 1,), by
    the ODE.
    """

    def body(carry, step):
        q, previous, ratio = carry
        now, after = step
        value = _output(prior, q, now)
        # value at the middle of the step in log s, from this time and the one before
        ahead = value + 0.5 * ratio * (value - previous)
        return (_moved(prior, q, now, after, ahead), value, 1.0), None

    (q, _, _), _ = jax.lax.scan(body, (q, jnp.zeros_like(q), 0.0), (s[:-1], s[1:]))
    return _signal(prior, q)


def churned_trajectory(prior, key, q, s, churn):
    """As ``trajectory``, but ``churn`` steps up in log s by fresh noise before each step down."""
    _, basis, std, rest = _amplitudes(prior)

    def body(q, step):
        now, after, k = step
        high = jnp.minimum(now * (now / after) ** churn, s[0])
        noisy = _standardized(prior, now, q) + jnp.sqrt(jnp.maximum(high**2 - now**2, 0)) * jax.random.normal(
            k, q.shape
        )
        q = _scaled(basis, 1 / jnp.sqrt(std**2 + high**2), 1 / jnp.sqrt(rest**2 + high**2), noisy)
        middle = jnp.sqrt(high * after)
        half = _moved(prior, q, high, middle, _output(prior, q, high))
        return _moved(prior, q, high, after, _output(prior, half, middle)), None

    q, _ = jax.lax.scan(body, q, (s[:-1], s[1:], jax.random.split(key, len(s) - 1)))
    return _signal(prior, q)


@partial(jax.jit, static_argnames="churn")
def _one_batch(prior, keys, s, churn):
    def one(key):
        if not churn:
            return (trajectory(prior, jax.random.normal(key, (prior.dim,)), s) + 1) / 2
        k_start, k_path = jax.random.split(key)
        return (churned_trajectory(prior, k_path, jax.random.normal(k_start, (prior.dim,)), s, churn) + 1) / 2

    return jax.vmap(one)(keys).reshape((-1, *prior.shape))


def _draw(prior, keys, n_steps, batch, progress, churn):
    sde = prior.sde
    t = jnp.array([1.0, max(prior.t_residual, sde.t_min)])
    n = n_steps // 2 if churn else n_steps
    first, last = 0.5 * sde.log_odds(t)
    s = jnp.exp(jnp.linspace(first, last, n + 1))
    starts = tqdm(range(0, len(keys), batch), desc="draws of the prior", disable=None if progress else True)
    return jnp.concatenate([_one_batch(prior, keys[i : i + batch], s, churn) for i in starts])


def pool(prior, n, n_steps=12, seed=0, churn=0.0):
    """``draw`` of n signals with key(seed), kept in the folder that APS_DRAWS_DIR names (``checkpoints`` by default)
    for the next use.

    The file's name holds the digest of the prior and of the arguments: another prior has another file.
    """
    seed = checks.seed("seed", seed)
    name = f"draws-{digest_of(prior, n, n_steps, seed, churn)}.npy"
    path = Path(os.environ.get("APS_DRAWS_DIR", "checkpoints")) / name
    if not path.is_file():
        content = io.BytesIO()
        np.save(content, np.asarray(draw(prior, jax.random.key(seed), n, n_steps, progress=True, churn=churn)))
        write_atomically(path, content.getvalue())
    return jnp.asarray(np.load(path, allow_pickle=False))
