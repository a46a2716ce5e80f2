"""Metropolis-adjusted Langevin steps, many chains side by side, whose step size finds itself before they count."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

TARGET = 0.574  # acceptance at which these steps reach farthest in many dimensions (Roberts and Rosenthal 1998)
FIRST_STEP = 1.65  # of a standard normal density, times d^(-1/6): the same theory


class Walked(NamedTuple):
    """states (keep, n, d) of n chains, evenly spaced, the last one last; log_density (steps, n) after each step, up to the
    constant that ``log_density`` leaves out; acceptance (steps,), the mean over chains; step, the size h of all of them.
    """

    states: jax.Array
    log_density: jax.Array
    acceptance: jax.Array
    step: jax.Array


@dataclass(frozen=True)
class Schedule:
    """How far chains walk: ``steps`` after ``warmup`` steps that do not count; of each chain ``keep`` states are kept, which
    must divide ``steps``.
    """

    warmup: int
    steps: int
    keep: int = 1


def walk(log_density, key, start, schedule, at_once=16, step=None):
    """Langevin steps of each chain from ``start`` (n, d) towards the density pi with logarithm ``log_density(z)`` of one z
    (d,), as many as the ``schedule`` says: Walked.

    z' = z + h^2/2 grad log pi(z) + h xi, xi ~ N(0, I), is accepted with probability min(1, pi(z') q(z | z') / (pi(z)
    q(z' | z))), so that the chains converge to pi whatever h and the gradient are (Roberts and Tweedie 1996). In the
    warmup h follows the acceptance of all chains towards TARGET; then it stays. It begins at ``step``, by default at what
    is best for a standard normal density. ``at_once`` chains are evaluated side by side. Call it inside of ``jit``.
    """
    n, d = start.shape
    steps, keep = schedule.steps, schedule.keep

    def values(z):
        return jax.lax.map(jax.value_and_grad(log_density), z, batch_size=min(n, at_once))

    def move(carry, inputs):
        (z, value, slope), log_h = carry
        k, gain = inputs
        k_noise, k_accept = jax.random.split(k)
        h = jnp.exp(log_h)
        forward = z + h**2 / 2 * slope
        new = forward + h * jax.random.normal(k_noise, z.shape, z.dtype)
        new_value, new_slope = values(new)
        back = new + h**2 / 2 * new_slope
        squares = jnp.sum((z - back) ** 2 - (new - forward) ** 2, axis=1)
        log_ratio = new_value - value - squares / (2 * h**2)
        log_ratio = jnp.where(jnp.isfinite(log_ratio), log_ratio, -jnp.inf)  # a state without a density is refused
        moves = jnp.log(jax.random.uniform(k_accept, (n,), minval=1e-12)) < log_ratio
        state = jax.tree.map(
            lambda a, b: jnp.where(moves.reshape(-1, *[1] * (a.ndim - 1)), a, b),
            (new, new_value, new_slope),
            (z, value, slope),
        )
        accepted = jnp.mean(jnp.exp(jnp.minimum(log_ratio, 0.0)))
        return (state, log_h + gain * (accepted - TARGET)), (state[1], accepted)

    k_warm, k_walk = jax.random.split(key)
    first = (
        (start, *values(start)),
        jnp.log(jnp.asarray(FIRST_STEP * d ** (-1 / 6) if step is None else step, start.dtype)),
    )
    gains = jnp.arange(1, schedule.warmup + 1, dtype=start.dtype) ** -0.6
    settled, _ = jax.lax.scan(move, first, (jax.random.split(k_warm, schedule.warmup), gains))

    def block(carry, keys):
        carry, found = jax.lax.scan(move, carry, (keys, jnp.zeros(len(keys), start.dtype)))
        return carry, (carry[0][0], *found)

    keys = jax.random.split(k_walk, steps).reshape(keep, steps // keep)
    last, (states, log_densities, acceptance) = jax.lax.scan(block, settled, keys)
    return Walked(states, log_densities.reshape(steps, n), acceptance.reshape(steps), jnp.exp(last[1]))
