"""What every rival is: a task and settings, written for one sample of one measurement, compiled once around all of
them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.checks import count, drawn_at_once, finite_result, has, random_key
from aps_core.operators import Operator, is_of_the_package, offset
from aps_core.operators.spectrum import Spectrum
from aps_core.priors.base import PRIOR_WANTED
from aps_core.samplers.noise import normal
from aps_core.samplers.steppers import GRIDS

TOGETHER = 64  # trajectories of several measurements that advance side by side
COUNTS = ("n_steps", "n_inner", "n_ode")  # settings that are integers of at least 1


@flax.struct.dataclass
class Problem:
    """What a trajectory sees of a task: y = A(x) + N(0, sigma_y^2) with x = (u + 1)/2, and the prior of u (d,).

    ``spectrum`` is there for methods that need the singular values of A, ``slope``, the largest of them, for those that
    ask for it.
    """

    prior: Any
    sigma_y: Any
    operator: Operator = flax.struct.field(pytree_node=False)
    spectrum: Any = None
    slope: Any = None

    @property
    def sde(self):
        """The diffusion of the prior."""
        return self.prior.sde

    @property
    def dim(self):
        """d, the number of entries of a signal."""
        return self.operator.size

    def start(self, key):
        """u (d,) at t = 1."""
        return self.sde.prior_std * normal(key, (self.dim,))

    def denoise(self, u, t):
        """Tweedie's estimate of u_0 and the noise prediction, both (d,): one NFE."""
        eps = self.prior.eps(u, t)
        return (u - self.sde.beta(t) * eps) / self.sde.alpha(t), eps

    def signal(self, u):
        """x of the shape of a signal, in [0, 1]."""
        return ((u + 1) / 2).reshape(self.operator.shape)

    def residual(self, u, measurement):
        """y - A(x) in the scale of the data, zero where nothing was observed."""
        observed = self.operator.observed(measurement.mask)
        return observed * (measurement.y - self.operator(self.signal(u), measurement.mask))

    def linear_data(self, measurement):
        """2 y - A(1) - A(0) of ``y_shape``, for a linear A(x) = M x + b: the data of u, M u + N(0, 4 sigma_y^2)."""
        observed, constant = self.operator.observed(measurement.mask), offset(self.operator)
        data = 2 * measurement.y - self.operator(jnp.ones(self.operator.shape), measurement.mask)
        return observed * (data if constant is None else data - jnp.asarray(constant, data.dtype))

    def spectral(self, measurement):
        """(s, c), each (r,): singular values, zero where nothing is measured, and the data of u there, c = s V^T u +
        noise.
        """
        s = self.spectrum.values
        if s is None:
            s = self.operator.observed(measurement.mask).reshape(-1)
        return s, self.spectrum.data(self.linear_data(measurement).reshape(-1))


@dataclass(frozen=True)
class Sampler(ABC):
    """Draws posterior samples of any measurement of ``task`` by running ``trajectory`` for each: nothing is shared
    within a batch.

    A subclass is a frozen dataclass with its settings, ``trajectory(key, measurement) -> u (d,)`` of ``self.problem``,
    and ``nfe``. It is a pytree whose leaves are the prior and the settings named in ``traced``: trying others of those
    compiles nothing anew.

    traced: settings that are numbers. search: what ``tune`` tries. needs: "any" operator, a "linear" one, one with
    singular values ("svd"), or the identity ("denoising"). needs_slope: whether ``problem.slope`` is to be there.
    """

    task: Any
    problem: ClassVar[Any]  # the Problem of the task, made with the sampler
    traced: ClassVar[tuple] = ()
    search: ClassVar[dict] = {}
    needs: ClassVar[str] = "any"
    needs_slope: ClassVar[bool] = False

    def __init_subclass__(cls):
        super().__init_subclass__()
        jax.tree_util.register_pytree_node(cls, _flatten, partial(_unflatten, cls))

    def __post_init__(self):
        operator = self.task.operator
        has("prior", self.task.prior, ["eps", "sde"], PRIOR_WANTED)
        check_operator(type(self).__name__, operator, self.needs)
        self.check_settings()
        for name in self.traced:  # an int beyond 32 bits could not be traced
            object.__setattr__(self, name, float(getattr(self, name)))
        spectrum = Spectrum.of(operator) if self.needs == "svd" else None
        slope = largest_gain(operator) if self.needs_slope else None
        object.__setattr__(
            self, "problem", Problem(self.task.prior, float(self.task.sigma_y), operator, spectrum, slope)
        )

    def check_settings(self):
        """Raise ValueError or TypeError for a setting out of range."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name in COUNTS:
                object.__setattr__(self, setting.name, count(setting.name, value))
            if setting.name == "grid" and (not isinstance(value, str) or value not in GRIDS):
                raise ValueError(f"grid must be one of {sorted(GRIDS)}, got {value!r}")

    @property
    def nfe(self):
        """Network evaluations of one sample. One with a gradient through it counts as one, as in the papers; it costs
        about three.
        """
        return self.n_steps  # pyright: ignore[reportAttributeAccessIssue] (a setting of most)

    @abstractmethod
    def trajectory(self, key, measurement):
        """One sample u (d,) of one measurement."""

    def sample(self, key, measurement, n):
        """n samples (n, *shape), or (batch, n, *shape) of a batch of measurements; signals in [0, 1], not clipped.

        Measurement i of a batch uses split(key, batch)[i], as AmortizedPosterior does: alone with that key it gets the
        same numbers. Raises ValueError or TypeError for an invalid key, measurement or n, and NotFiniteError (a
        FloatingPointError), naming the settings, where samples are not finite. Works inside ``jit``, where values are
        not checked.
        """
        n, key = count("n", n), random_key("key", key)
        batched, measurement = self.task.batch(measurement)
        drawn_at_once(n, len(measurement.y), self.task.shape)
        keys = jax.random.split(key, measurement.y.shape[0]) if batched else key[None]
        x = _sample(self, keys, measurement, n)
        settings = ", ".join(f"{f.name} = {getattr(self, f.name)!r}" for f in fields(self) if f.name != "task")
        x = x if batched else x[0]
        finite_result(f"{type(self).__name__} with {settings}", x)
        return x


@partial(jax.jit, static_argnums=3)
def _sample(sampler, keys, measurements, n):
    def one(args):
        key, measurement = args
        u = jax.vmap(lambda k: sampler.trajectory(k, measurement))(jax.random.split(key, n))
        return jax.vmap(sampler.problem.signal)(u)

    return jax.lax.map(one, (keys, measurements), batch_size=max(1, TOGETHER // n))


def _flatten(sampler):
    settings = {f.name: getattr(sampler, f.name) for f in fields(sampler) if f.name != "task"}
    traced = [settings.pop(name) for name in sampler.traced]
    return (sampler.problem, traced), tuple(settings.items())


def _unflatten(cls, settings, children):
    sampler = object.__new__(cls)  # without the checks, which want numbers
    problem, traced = children
    for name, value in (("problem", problem), *settings, *zip(cls.traced, traced, strict=True)):
        object.__setattr__(sampler, name, value)
    return sampler


def check_operator(method, operator, needs):
    """Raise TypeError, saying why, where ``method`` cannot take ``operator``."""
    kind = type(operator).__name__
    if not operator.additive_noise:
        raise TypeError(f"{method} takes data A(x) + N(0, sigma_y^2), got {kind}, of which something is not told")
    if needs == "denoising" and not operator.is_identity:
        raise TypeError(f"{method} is for denoising only (Identity), got {kind}")
    if needs != "any" and not operator.linear:
        what = "linear operators only" if needs == "linear" else "operators with a singular value decomposition only"
        raise TypeError(f"{method} takes {what}, got {kind}, which is not linear")
    if needs == "svd" and operator.random and not operator.diagonal:
        raise TypeError(
            f"{method} needs a singular value decomposition, and {kind} is another matrix for every measurement"
        )


@lru_cache(maxsize=16)
def largest_gain(operator, n_iterations=100):
    """Largest singular value of A or, where A is not linear, of its Jacobian at the constant signals 0, 1/2 and 1: by
    power iteration.
    """
    if operator.diagonal:
        return 1.0
    mask = None if is_of_the_package(operator) else operator.draw(jax.random.key(0))

    def at(level):
        _, jvp = jax.linearize(lambda x: operator(x, mask), jnp.full(operator.shape, level))
        transpose = jax.linear_transpose(jvp, jnp.zeros(operator.shape))
        v = normal(jax.random.key(0), operator.shape)
        v = jax.lax.fori_loop(
            0, n_iterations, lambda _, v: transpose(jvp(v / jnp.maximum(jnp.linalg.norm(v), 1e-30)))[0], v
        )
        return jnp.sqrt(jnp.linalg.norm(v))

    levels = jnp.array([0.5]) if operator.linear else jnp.array([0.0, 0.5, 1.0])
    return float(jnp.max(jax.jit(lambda levels: jax.lax.map(at, levels))(levels)))
