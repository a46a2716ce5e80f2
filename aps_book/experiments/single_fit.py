"""The posterior of one measurement by a flow of its own (DPI: Sun & Bouman 2021; Feng et al. 2023), with what its
optimization did at every step.
"""

from dataclasses import dataclass
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from aps_core.checks import count, positive
from aps_core.flows.coupling import CouplingStack
from aps_core.operators import Operator, dense_matrix
from aps_core.tasks.problem import Target
from aps_core.training.objective import ReverseDivergence

CHUNK = 10  # steps between two looks at the loss


@flax.struct.dataclass
class AffineRealNVP:
    """x = centre + factor f(z): a RealNVP f of ``steps`` flow steps (two couplings each) that starts as the identity,
    behind a fixed affine map.

    Where it starts is data, not structure: one compiled program fits flows from any start. No batch statistics: the
    density is exact.
    """

    centre: jax.Array  # (d,)
    factor: jax.Array  # (d, d)
    inverse_factor: jax.Array  # (d, d)
    log_det: jax.Array  # log|det factor|
    shape: tuple = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=32)
    width: int = flax.struct.field(pytree_node=False, default=64)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.centre.shape[0]

    @property
    def stack(self):
        """The scanned couplings, without a condition."""
        return CouplingStack(self.dim, self.width, self.steps)

    def init(self, key):
        """Parameters with which f is the identity."""
        return self.stack.init(key, 0)

    def context(self, measurement):
        """Nothing: the flow is that of a single measurement."""
        del measurement

    def forward(self, params, z, context=None):
        """x (d,) and log|dx/dz| for one z (d,)."""
        moved, log_det = self.stack.forward(params, z, jnp.zeros(0))
        return self.centre + self.factor @ moved, log_det + self.log_det

    def inverse(self, params, x, context=None):
        """z (d,) and log|dz/dx| for one x (d,)."""
        z, log_det = self.stack.inverse(params, self.inverse_factor @ (x - self.centre), jnp.zeros(0))
        return z, log_det - self.log_det


@flax.struct.dataclass
class MatrixOperator(Operator):
    """A linear operator by its matrix (n, d), as an array that a compiled program is given; A x of a signal of
    ``shape``, flat.
    """

    matrix: jax.Array
    shape: tuple = flax.struct.field(pytree_node=False)

    @property
    def y_shape(self):
        """(n,)."""
        return self.matrix.shape[:1]

    def __call__(self, x, mask=None):
        """A x, (n,)."""
        return self.matrix @ x.reshape(-1)

    def observed(self, mask=None):
        """All ones, (n,)."""
        return jnp.ones(self.matrix.shape[0])


def from_noise(centre, std, shape, steps=32, width=64):
    """An AffineRealNVP that starts as independent normal pixels of standard deviation ``std`` about ``centre`` (d,),
    signals of ``shape``.

    DPI starts at std 1. Raises ValueError for a ``std`` that is not positive.
    """
    positive("std", std)
    d = int(np.prod(shape))
    std = jnp.float32(std)
    return AffineRealNVP(
        jnp.asarray(centre, jnp.float32),
        std * jnp.eye(d),
        jnp.eye(d) / std,
        d * jnp.log(std),
        tuple(shape),
        steps,
        width,
    )


def from_posterior(posterior, shape, steps=32, width=64):
    """An AffineRealNVP that starts as a LinearGaussianPosterior, the closed form under a Gaussian prior."""
    f = posterior.factors
    return AffineRealNVP(posterior.mean, f.factor, f.inverse_factor, f.log_det, tuple(shape), steps, width)


@dataclass(frozen=True)
class Fit:
    """What ``fit`` found.

    history: ``loss`` and its parts ``fidelity``, ``prior``, ``log_q`` in nats per entry, and ``gradient``, its norm
    before clipping, each (steps,). ``steps`` were done, fewer than asked for where ``finite`` is False; ``params`` are
    the last ones with a finite loss.
    """

    flow: AffineRealNVP
    params: dict
    history: dict
    finite: bool

    @property
    def steps(self):
        """Number of steps done."""
        return len(self.history["loss"])

    def sample(self, key, n):
        """n samples (n, *shape)."""
        return _sample(self.flow, self.params, key, n)


@partial(jax.jit, static_argnames="n")
def _sample(flow, params, key, n):
    z = jax.random.normal(key, (n, flow.dim))
    return jax.vmap(lambda zi: flow.forward(params, zi)[0])(z).reshape((n, *flow.shape))


@dataclass(frozen=True)
class Descent:
    """How a fit descends: Adam for ``steps`` steps of ``batch`` samples of the flow, with ``n_times`` diffusion times each.

    The rate rises linearly over ``warmup`` steps, then falls as a cosine to ``final`` times ``learning_rate`` (1 keeps
    it); gradients are clipped to norm ``clip``. Raises ValueError for numbers out of range.
    """

    steps: int
    learning_rate: float
    warmup: int = 0
    final: float = 1.0
    batch: int = 64
    n_times: int = 1
    clip: float = 1.0

    def __post_init__(self):
        for name in ("steps", "batch", "n_times"):
            count(name, getattr(self, name))
        positive("learning_rate", self.learning_rate)
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup must lie in 0..steps-1 (steps {self.steps}), got {self.warmup!r}")

    def rates(self):
        """The rate of each step, (steps,)."""
        peak, warmup = self.learning_rate, self.warmup
        if self.final == 1.0:
            schedule = optax.linear_schedule(0.0, peak, warmup) if warmup else optax.constant_schedule(peak)
        else:
            schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, self.steps, peak * self.final)
        return jnp.asarray(schedule(jnp.arange(1, self.steps + 1)), jnp.float32) * jnp.ones(self.steps)


def fit(flow, task, measurement, prior, term, descent, seed=0):
    """Fit ``flow`` to p(x | y) of one ``measurement`` of ``task`` by a Descent: a Fit.

    The task's prior is replaced by ``prior``, with ``term`` of ``priors.terms`` for its log density; the loss is the KL
    divergence of ``objective.ReverseDivergence`` per entry. A loss or gradient that is not finite ends the fit, and is no
    error. Raises TypeError for an operator that is not linear.
    """
    operator = MatrixOperator(jnp.asarray(dense_matrix(task.operator), jnp.float32), tuple(task.shape))
    problem = {
        "flow": flow,
        "operator": operator,
        "sigma_y": jnp.float32(task.sigma_y),
        "prior": prior,
        "measurement": jax.tree.map(lambda a: jnp.asarray(a).reshape(1, -1), measurement),
    }
    params = flow.init(jax.random.key(seed))
    state = (params, optax.scale_by_adam().init(params))
    rates, keys = descent.rates(), jax.random.split(jax.random.key(seed + 1), descent.steps)
    size = {"term": term, "batch": descent.batch, "n_times": descent.n_times}
    rows, finite, begin = [], True, 0
    while finite and begin < descent.steps:
        now = slice(begin, begin + CHUNK)
        after, row = _chunk(state, problem, rates[now], keys[now], descent.clip, **size)
        row = {name: np.asarray(values, np.float64) for name, values in row.items()}
        good = np.isfinite(row["loss"]) & np.isfinite(row["gradient"])
        finite = bool(good.all())
        state = after if finite else state
        rows.append(row if finite else {name: values[: int(np.argmin(good))] for name, values in row.items()})
        begin += CHUNK
    history = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return Fit(flow, state[0], history, finite)


@partial(jax.jit, static_argnames=("term", "batch", "n_times"))
def _chunk(state, problem, rates, keys, clip, *, term, batch, n_times):
    """``len(rates)`` steps: the state after them, and loss, parts and gradient norm of each."""
    flow, adam = problem["flow"], optax.scale_by_adam()

    def loss(params, key):
        target = Target(problem["operator"], problem["sigma_y"], problem["prior"])
        value, parts = ReverseDivergence(term, batch, n_times)(flow, params, target, key, problem["measurement"])
        return value / flow.dim, parts

    def step(carry, inputs):
        params, memory = carry
        rate, key = inputs
        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params, key)
        norm = optax.tree.norm(gradient)
        gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / norm), gradient)
        updates, memory = adam.update(gradient, memory)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, memory), {"loss": value, "gradient": norm, **parts}

    return jax.lax.scan(step, state, (rates, keys))
