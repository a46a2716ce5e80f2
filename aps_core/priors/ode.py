"""Exact log density of a diffusion prior by its probability-flow ODE (Song et al. 2021), and draws by the same ODE.

With u = 2 x - 1 and the score -eps/beta of a prior,

    du/dt = F(u, t) = f(u, t) - 1/2 g(t)^2 score(u, t),   log p(u) = log N(u_1; 0, prior_std^2 I) + int_tmin^1 div
    F(u_t, t) dt.

u is taken as the state at t_min, and what comes out is the density of the ODE's own draws (``draw_ode``) there. It is
not the density that the ELBO bounds, that of the reverse SDE: the two agree only where the score is exact.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp

from aps_core.checks import one_of

SOLVERS = (
    "Euler",
    "Heun",
    "Midpoint",
    "Ralston",
    "Bosh3",
    "Tsit5",
    "Dopri5",
    "Dopri8",
    "ImplicitEuler",
    "Kvaerno3",
    "Kvaerno4",
    "Kvaerno5",
)
DIVERGENCES = ("exact", "closed-form", "rademacher", "gaussian")
ADJOINTS = {
    "continuous": diffrax.BacksolveAdjoint,
    "checkpointed": diffrax.RecursiveCheckpointAdjoint,
    "direct": diffrax.DirectAdjoint,
}
# the integration variable s, as s(sde, t) and its inverse t(sde, s)
TIMES = {
    "sqrt-t": (lambda sde, t: t**0.5, lambda sde, s: s**2),
    "t": (lambda sde, t: t, lambda sde, s: s),
    "log-snr": (lambda sde, t: sde.log_odds(t), lambda sde, s: sde.time_of(s)),
}


class OdeLogProb(NamedTuple):
    """log_prob in nats (density of x in [0, 1]); nfe, steps times the order of the solver; n_steps, accepted and
    rejected.
    """

    log_prob: jax.Array
    nfe: jax.Array
    n_steps: jax.Array


@dataclass(frozen=True)
class Solve:
    """How the ODE is solved.

    solver: one of ``SOLVERS``, a class of diffrax; steps adapt to ``rtol`` and ``atol``, at most ``max_steps``, or are
    ``n_steps`` equal ones. adjoint: "continuous" (a second ODE, constant memory, gradient in x only), "checkpointed" (gradient
    of the discrete solve, in the prior's parameters too) or "direct" (also forward mode; its cost grows with ``max_steps``).
    time: the variable that the steps are taken in, "sqrt-t", "t" or "log-snr" (log(beta^2/alpha^2)). At the same error
    sqrt-t takes the fewest evaluations for VP, the more so the smaller the least eigenvalue of the prior; for sub-VP and
    VE "t" takes fewer. Raises ValueError for an unknown solver, adjoint or time, for n_steps < 1, and for a solver without
    error estimate ("Euler") without ``n_steps``.
    """

    solver: str = "Dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    n_steps: int | None = None
    adjoint: str = "continuous"
    max_steps: int = 4096
    time: str = "sqrt-t"

    def __post_init__(self):
        for name, known in (("solver", SOLVERS), ("adjoint", ADJOINTS), ("time", TIMES)):
            one_of(name, getattr(self, name), known)
        if self.n_steps is not None and self.n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {self.n_steps}")
        if self.n_steps is None and not issubclass(getattr(diffrax, self.solver), diffrax.AbstractAdaptiveSolver):
            raise ValueError(f"solver {self.solver!r} has no error estimate: give n_steps")

    def span(self, sde):
        """The variable ``time`` at t_min and at 1."""
        return TIMES[self.time][0](sde, sde.t_min), TIMES[self.time][0](sde, 1.0)

    def __call__(self, field, prior, key, y0, span):
        """y at the end of ``span`` for dy/ds = field(s, y, prior, key), the number of steps, and the order of the solver."""
        method = getattr(diffrax, self.solver)
        implicit = issubclass(method, diffrax.AbstractImplicitSolver)
        root_finder = diffrax.VeryChord(rtol=self.rtol, atol=self.atol)
        method = method(root_finder=root_finder) if implicit else method()  # pyright: ignore[reportCallIssue]
        s0, s1 = (jnp.asarray(s, jax.tree.leaves(y0)[0].dtype) for s in span)
        controller, dt0, max_steps = diffrax.PIDController(rtol=self.rtol, atol=self.atol), None, self.max_steps
        if self.n_steps is not None:
            controller, dt0, max_steps = diffrax.ConstantStepSize(), (s1 - s0) / self.n_steps, self.n_steps
        arrays, restore = _as_bits(prior) if self.adjoint == "continuous" else (prior, lambda prior: prior)
        term = diffrax.ODETerm(lambda s, y, args: field(s, y, restore(args[0]), args[1]))
        solution = diffrax.diffeqsolve(
            term,
            method,
            s0,
            s1,
            dt0,
            y0,
            (arrays, key),
            stepsize_controller=controller,
            adjoint=ADJOINTS[self.adjoint](),
            max_steps=max_steps,
        )
        return jax.tree.map(lambda y: y[0], solution.ys), solution.stats["num_steps"], method.order(term)


def log_prob_ode(prior, x, key=None, *, divergence="exact", n_probes=1, **settings):
    """log p(x) in nats of one signal ``x`` of ``prior.shape``, by the probability-flow ODE from t_min to 1; an
    OdeLogProb.

    prior: anything with ``eps(ut, t)``, ``sde`` and ``shape``; jit and vmap outside. divergence: "exact" (d
    Jacobian-vector products per evaluation), "closed-form" (that of a prior whose ``eps_and_divergence(ut, t)`` knows
    the trace of its Jacobian), or the mean over ``n_probes`` of v . (dF/du) v with "rademacher" or "gaussian" probes v
    drawn from ``key`` once per trajectory (FFJORD, Grathwohl et al. 2019). settings: those of ``Solve``.

    nfe is the count of Feng et al. (2023, supplement, Table 1), number of steps times order: a lower bound, since a
    step of order above four has more stages than its order, and the divergence is counted as one evaluation. Raises
    ValueError for an unknown divergence, for probes without ``key`` or n_probes < 1, for "closed-form" where the prior has
    none, and as ``Solve``; TypeError for an unknown setting; diffrax's error when ``max_steps`` do not suffice.
    """
    solve = Solve(**settings)
    one_of("divergence", divergence, DIVERGENCES)
    if divergence == "closed-form" and not prior.has_divergence:
        raise ValueError(f'divergence "closed-form" needs a prior with eps_and_divergence, got {type(prior).__name__}')
    if divergence not in ("exact", "closed-form") and (key is None or n_probes < 1):
        raise ValueError(
            f"divergence {divergence!r} needs a key and n_probes >= 1, got key {key} and n_probes {n_probes}"
        )

    def field(s, state, prior, key):
        u = state[0]
        if divergence == "closed-form":
            return _drift_and_divergence(prior, u, s, solve.time)
        # drawn anew from one key in every evaluation: the same probes, but nothing that the second ODE would have to
        # carry
        probes = None if divergence == "exact" else _probes(key, divergence, n_probes, u)
        return _value_and_divergence(lambda ui: ode_drift(prior, ui, s, solve.time), u, probes)

    u = 2 * jnp.asarray(x).reshape(-1) - 1
    (u_1, volume), taken, order = solve(field, prior, key, (u, jnp.zeros((), u.dtype)), solve.span(prior.sde))
    return OdeLogProb(prior.sde.prior_log_prob(u_1) + volume + u.size * math.log(2.0), order * taken, taken)


def ode_map(prior, z, *, adjoint="checkpointed", **settings):
    """The signal x of ``prior.shape`` that the ODE makes from standard normal ``z`` (d,), from t = 1 down to t_min: a
    bijection.

    ``log_prob_ode`` is the density of x. Settings and errors as there.
    """
    solve = Solve(adjoint=adjoint, **settings)

    def field(s, u, prior, key):
        del key
        return ode_drift(prior, u, s, solve.time)

    u = solve(field, prior, None, prior.sde.prior_std * jnp.asarray(z), solve.span(prior.sde)[::-1])[0]
    return ((u + 1) / 2).reshape(prior.shape)


def draw_ode(prior, key, n, **settings):
    """``n`` draws (n, *shape) by ``ode_map`` with its ``settings``; each adapts its own steps."""
    return jax.vmap(lambda z: ode_map(prior, z, **settings))(jax.random.normal(key, (n, math.prod(prior.shape))))


def ode_drift(prior, u, s, time="t"):
    """du/ds = F(u, t) dt/ds of the probability-flow ODE for u (d,), where s is the variable ``time``."""
    sde = prior.sde
    t, rate = jax.jvp(lambda s: TIMES[time][1](sde, s), (s,), (jnp.ones_like(s),))
    return rate * (sde.drift(u, t) + 0.5 * sde.g(t) ** 2 / sde.beta(t) * prior.eps(u, t))


def _drift_and_divergence(prior, u, s, time):
    """``ode_drift`` and its divergence, from those of the noise prediction; the drift of the diffusion is a multiple of
    u.
    """
    sde = prior.sde
    t, rate = jax.jvp(lambda s: TIMES[time][1](sde, s), (s,), (jnp.ones_like(s),))
    factor = 0.5 * sde.g(t) ** 2 / sde.beta(t)
    eps, divergence = prior.eps_and_divergence(u, t)
    return rate * (sde.drift(u, t) + factor * eps), rate * (
        u.size * sde.drift(jnp.ones_like(t), t) + factor * divergence
    )


def _as_bits(tree):
    """``tree`` with its floating-point arrays as unsigned integers, and the function that turns them back.

    The second ODE of the continuous adjoint integrates a gradient for every floating-point array that the field is
    given. For the parameters of a network that is the network once more for each signal and each stage, where only the
    gradient in x is wanted.
    """
    leaves, structure = jax.tree.flatten(tree)
    dtypes = [leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else None for leaf in map(jnp.asarray, leaves)]

    def bits(leaf, dtype):
        return leaf if dtype is None else jax.lax.bitcast_convert_type(_constant(leaf), f"uint{8 * dtype.itemsize}")

    def restore(converted):
        back = zip(jax.tree.leaves(converted), dtypes, strict=True)
        return jax.tree.unflatten(
            structure, [b if dtype is None else jax.lax.bitcast_convert_type(b, dtype) for b, dtype in back]
        )

    return [bits(leaf, dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)], restore


@jax.custom_jvp
def _constant(leaf):
    return leaf


@_constant.defjvp
def _refuse(primals, tangents):
    raise ValueError(
        'adjoint "continuous" has the gradient in x only; expected "checkpointed" or "direct" for the parameters of the prior'
    )


def _value_and_divergence(drift, u, probes):
    """F(u) and div F for u (d,): the trace of the Jacobian, or Hutchinson's mean of v . (dF/du) v over ``probes`` v (k,
    d).
    """
    value, tangent = jax.linearize(drift, u)
    if probes is None:
        return value, jnp.trace(jax.vmap(tangent)(jnp.eye(u.size, dtype=u.dtype)))
    return value, jnp.mean(jnp.sum(probes * jax.vmap(tangent)(probes), axis=1))


def _probes(key, kind, n, u):
    """(n, d) random vectors with identity covariance."""
    draw = jax.random.rademacher if kind == "rademacher" else jax.random.normal
    return draw(key, (n, u.size), dtype=u.dtype)
