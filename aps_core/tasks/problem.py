"""An inverse problem: an operator, its noise, a prior, and signals to measure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core import checks, operators
from aps_core.checks import check_measurement, measured_array, real
from aps_core.operators import Operator
from aps_core.operators.content import content_of
from aps_core.priors.base import PRIOR_WANTED, Prior, capability


@flax.struct.dataclass
class Target:
    """What makes p(x|y), proportional to N(y; A(x), sigma_y^2 I) p(x), for compiled functions to take: the noise level and
    the prior's arrays may change, another operator compiles anew.
    """

    operator: Operator = flax.struct.field(pytree_node=False)
    sigma_y: float
    prior: Prior


@dataclass(frozen=True, repr=False, eq=False)
class Task:
    """y = A(x0) + N(0, sigma_y^2) with x0 from ``prior``.

    operator: an Operator (see aps_core.operators) of signals of ``operator.shape`` and data of ``operator.y_shape``;
    what one of your own declares is tested here (``operators.check_declared``), and it must not change afterwards.
    sigma_y: noise standard deviation in the scale of the signals, from 1e-6 to 1e6. prior: a GaussianPrior or another
    Prior over signals of the operator's shape; ``ScoreFunctionPrior`` makes one of a score of your own. signals: an
    array (n, *shape), or a function of the split's name ("train", "val", "test") that returns one; None where there are
    measurements alone, and then whatever needs signals raises ValueError. unit_range: signals lie in [0, 1] (or as far
    beyond as those in the array ``signals``, or the draws of a Gaussian prior, do), so signals far outside of the prior's
    and y far outside what A makes of them are refused as being in another scale; False for signals of any range.
    extra_check: optional function of a single measurement that raises ValueError for input of the wrong kind.
    """

    operator: Operator
    sigma_y: float
    prior: Prior
    signals: Callable | None = field(default=None, repr=False)
    name: str = "custom"
    unit_range: bool = True
    extra_check: Callable | None = field(default=None, repr=False)
    _given: ClassVar = None  # somebody's operator, of which a copy was taken, and its content
    _content: ClassVar = None
    _signal_range: ClassVar[Any] = None  # (smallest, largest) entry of a signal, None for signals of any range
    _data_range: ClassVar = None

    def __post_init__(self):
        object.__setattr__(self, "sigma_y", checks.noise("sigma_y", self.sigma_y))
        checks.flag("unit_range", self.unit_range)
        operators.check_declared(self.operator)
        checks.has("prior", self.prior, ["shape"], PRIOR_WANTED)
        _check_traced(self.prior)
        if tuple(self.prior.shape) != tuple(self.operator.shape):
            raise ValueError(
                f"prior has signals of shape {self.prior.shape}, the operator of shape {self.operator.shape}"
            )
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, got {self.name!r}")
        if self.extra_check is not None and not callable(self.extra_check):
            raise TypeError(f"extra_check must be a function of a measurement or None, got {self.extra_check!r:.80}")
        range_of_signals = self._set_signals()
        set_private = partial(object.__setattr__, self)
        if not operators.is_of_the_package(self.operator):
            set_private("_given", self.operator)
            set_private("_content", content_of(self.operator))
            set_private("operator", operators.kept_by(self.operator))
        set_private("_signal_range", range_of_signals if self.unit_range else None)
        set_private("_data_range", None)
        if self.unit_range:
            (low, high), beyond = range_of_signals, BEYOND if self.operator.saturates else 0.0
            set_private("_data_range", operators.data_extremes(self.operator, low - beyond, high + beyond))

    def _set_signals(self):
        """Make ``signals`` a function that checks what it returns; (smallest, largest) entry that signals can have."""
        given = self.signals
        if given is None:
            given = partial(_no_signals, self.name)
        low, high = _range_of_draws(self.prior)
        ends = (low, high) if self.unit_range else None
        # signals of the Task that this one is made from
        if isinstance(given, partial) and given.func in (_all_of, _real_signals):
            given = given.args[0]
        if not callable(given):
            values = self._checked_array(given)
            _check_scale_of_signals("signals", values, ends)
            low, high = min(low, float(np.min(values, initial=0))), max(high, float(np.max(values, initial=1)))
            given = partial(_all_of, values)
        elif not (isinstance(given, partial) and given.func is _no_signals):
            given = partial(_real_signals, given, self.shape, ends)
        object.__setattr__(self, "signals", given)
        return low, high

    def _checked_array(self, given):
        values = jnp.asarray(real("signals", measured_array("signals", given)))
        if values.dtype == bool or not jnp.issubdtype(values.dtype, jnp.number):
            raise TypeError(f"signals must be numbers, got {values.dtype}")
        if values.shape[1:] != tuple(self.shape) or values.ndim != len(self.shape) + 1 or not len(values):
            raise ValueError(
                f"signals must have shape (n, {', '.join(map(str, self.shape))}), n at least 1, got {values.shape}"
            )
        if bad := int(jnp.sum(~jnp.isfinite(values).all(axis=tuple(range(1, values.ndim))))):
            raise ValueError(f"signals hold {bad} of {len(values)} signals that are not finite, expected numbers")
        return values

    @property
    def shape(self):
        """Shape of a signal."""
        return tuple(self.operator.shape)

    @property
    def y_shape(self):
        """Shape of the data of one signal."""
        return tuple(self.operator.y_shape)

    @property
    def target(self):
        """What makes the posterior, without signals, name and checks: a Target."""
        return Target(self.operator, float(self.sigma_y), self.prior)

    def measure(self, key, x0):
        """Simulate Measurement(s) of ``x0`` (*shape,) or (batch, *shape): a new mask and new noise for each."""
        key = checks.random_key("key", key)
        self._check_operator()
        x0 = self._signal("x0", x0)
        if x0.shape == self.shape:
            return operators.simulate(self.operator, self.sigma_y, key, x0)
        if x0.ndim == 0 or x0.shape[1:] != self.shape:
            raise ValueError(f"x0 must have shape {self.shape} or (batch, *{self.shape}), got {x0.shape}")
        keys = jax.random.split(key, x0.shape[0])
        return jax.vmap(lambda k, x: operators.simulate(self.operator, self.sigma_y, k, x))(keys, x0)

    @staticmethod
    def _signal(name, value):
        """``value`` as a floating-point JAX array: operators are tested on such signals. Raises TypeError or ValueError."""
        x = jnp.asarray(real(name, measured_array(name, value)))
        if not jnp.issubdtype(x.dtype, jnp.number):
            raise TypeError(f"{name} must be numbers, got {x.dtype}")
        x = x.astype(jnp.result_type(x.dtype, jnp.float32))
        if not checks.is_traced(x) and not np.all(np.isfinite(np.asarray(x))):
            raise ValueError(f"{name} holds entries that are not finite, expected numbers")
        return x

    def check(self, measurement):
        """Raise TypeError or ValueError when ``measurement`` cannot be one of this task. Inside ``jit``, ``grad`` and
        ``vmap`` kinds and shapes are checked, values cannot be.
        """
        self._check_operator()
        check_measurement(measurement, self.operator, self.sigma_y, self._data_range, self.extra_check)

    def check_form(self, measurement):
        """As ``check``, but numbers in another scale or order than this task's (``unit_range``, ``extra_check``) pass."""
        self._check_operator()
        check_measurement(measurement, self.operator, self.sigma_y)

    def _check_operator(self):
        """Raise ValueError where somebody's operator, or what it reads outside of itself, has changed: compiled programs may
        hold what it was.
        """
        operators.check_unchanged(self._given, self._content)
        operators.check_same_action(self.operator)

    def batch(self, measurement):
        """(whether ``measurement`` was a batch, the measurement as a batch). Raises as ``check``."""
        self.check(measurement)
        y = measured_array("y", measurement.y)
        mask = None if measurement.mask is None else measured_array("mask", measurement.mask)
        measurement = operators.Measurement(y, mask)
        if y.ndim > len(self.y_shape):
            return True, measurement
        return False, jax.tree.map(lambda a: jnp.asarray(a)[None], measurement)

    def undone_range(self):
        """(smallest, largest) entry of the linear data behind a sensor that saturates, for ``SaturatingSensor.undo``: of the
        signals of this task, infinite for those of any range; None where it is not known.
        """
        if self._signal_range is None:
            return -np.inf, np.inf
        sensor: Any = self.operator
        return operators.data_extremes(sensor.inner, *self._signal_range)

    def __repr__(self):
        return (
            f"Task({self.name!r}: {self.operator!r}, sigma_y={float(self.sigma_y):g}, prior {type(self.prior).__name__}, "
            f"signals {self.shape}, data {self.y_shape})"
        )

    def log_likelihood(self, x, measurement):
        """log p(y | x) in nats for one signal x of shape ``shape`` and one measurement: a scalar. Raises as ``check``,
        TypeError or ValueError for an x that is no array of finite numbers, and ValueError for a batch, over which
        ``jax.vmap`` goes.
        """
        self.check(measurement)
        x = self._signal("x", x)
        for name, given, shape in (("x", x, self.shape), ("y", measurement.y, self.y_shape)):
            if np.shape(given) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {np.shape(given)}; use jax.vmap for a batch")
        return operators.log_likelihood(self.operator, self.sigma_y, x, measurement)


PROTOCOLS = {"held-out": "train", "paper": "test"}  # the split whose measurements train the flow


DEVIATIONS = 8  # of a Gaussian prior, within which its draws lie


def _check_traced(prior):
    """Raise TypeError for a prior that compiled programs cannot take as an argument."""
    if not isinstance(prior, Prior):  # whatever it is, it says what it lacks where that is asked for
        return
    odd = [leaf for leaf in jax.tree.leaves(prior) if not (hasattr(leaf, "dtype") or isinstance(leaf, (int, float)))]
    if odd:
        raise TypeError(
            f"prior is {type(prior).__name__}, of which JAX sees {type(odd[0]).__name__} {odd[0]!r:.60} and no arrays; expected a "
            "flax.struct.dataclass, or aps_core.ScoreFunctionPrior(score_fn, shape, sde)"
        )


def _range_of_draws(prior):
    """(smallest, largest) entry of a signal in [0, 1] or, under a prior that is a Gaussian, of its draws."""
    if not capability(prior, "is_gaussian"):
        return 0.0, 1.0
    mean, std = np.asarray(prior.mean, np.float64), np.asarray(prior.marginal_std, np.float64)
    return min(0.0, float((mean - DEVIATIONS * std).min())), max(1.0, float((mean + DEVIATIONS * std).max()))


def _all_of(values, split):
    """The same signals for every split."""
    del split
    return values


BEYOND = 0.4  # that draws of a prior of pictures go beyond [0, 1]; without a sensor that saturates the check of data allows for it
FAR = 10  # times the width of what a prior's draws span, beyond which signals are in another scale than it


def _check_scale_of_signals(name, values, ends):
    """Raise ValueError where signals lie far outside ``ends`` (low, high), as 8-bit pictures do under a prior of [0, 1]: data
    in their scale would pass, and the posterior be one of the prior alone. None: signals of any range.
    """
    if ends is None or checks.is_traced(values):
        return
    low, high, slack = float(np.min(values)), float(np.max(values)), FAR * (ends[1] - ends[0])
    if low < ends[0] - slack or high > ends[1] + slack:
        hint = "divide 8-bit pictures by 255, or say" if low >= 0 and high <= 255 else "expected that of the prior, or"
        raise ValueError(
            f"{name} range from {low:.4g} to {high:.4g}, but the prior is over signals from {ends[0]:.4g} to {ends[1]:.4g}: they "
            f"are in another scale; {hint} unit_range=False for signals of any range"
        )


def _real_signals(signals, shape, ends, split):
    """What a function of somebody's gives for a split, as it is. Raises TypeError or ValueError unless it is an array of
    finite signals, in the scale of ``ends``.
    """
    name, values = f"signals({split!r})", signals(split)
    array = real(name, measured_array(name, values))
    if array.shape[1:] != shape or array.ndim != len(shape) + 1 or not len(array):
        raise ValueError(f"{name} has shape {array.shape}, expected (n, {', '.join(map(str, shape))}), n at least 1")
    if not checks.is_traced(array) and not np.isfinite(np.sum(np.asarray(array), dtype=np.float64)):
        raise ValueError(f"{name} holds entries that are not finite, expected numbers")
    _check_scale_of_signals(name, array, ends)
    return values


def _no_signals(name, split):
    raise ValueError(f"task {name!r} has no signals, so none of split {split!r}; train on measurements= instead")
