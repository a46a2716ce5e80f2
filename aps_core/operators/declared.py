"""What an operator declares, tested by its action on random signals: a wrong word in it would be a wrong posterior."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.checks import sizes
from aps_core.operators.base import Operator, is_of_the_package
from aps_core.operators.content import FROZEN, action, content_of
from aps_core.operators.extent import declares_range, exact_range, range_of

TOLERANCE = 1e-5  # of the largest number that is compared: an operator may compute in single precision within
SCALES = (-2.5, 1e-3, 40.0)
WANTED = (
    "an Operator with a shape and __call__(x, mask=None), see aps_core.operators.Operator; for instance "
    "class Gain(Operator): shape = (4,); __call__ = lambda self, x, mask=None: 2 * x"
)


def check_declared(operator):
    """Raise unless ``operator`` is what it declares: kinds and shapes of data, ``linear``, ``diagonal``, ``adjoint``,
    ``observed``, ``data_range``.

    Those of the package are not tested again. A linear operator may add a constant, A(x) = M x + b. Tests are those of
    additivity and homogeneity on random signals in float64, with one mask where masks are drawn. Raises TypeError for
    what is no Operator, cannot be hashed or traced, or gives other than real numbers, ValueError for a property that
    does not hold.
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"operator is {type(operator).__name__} {operator!r:.80}, expected {WANTED}")
    if type(operator) is Operator:
        raise TypeError(f"operator is the base class alone, without a shape; expected {WANTED}")
    if is_of_the_package(operator):
        return
    name = type(operator).__name__
    _check_words(operator, name)
    _check_hash(operator, name)
    shape, y_shape = (sizes(f"{what} of {name}", getattr(operator, what, None)) for what in ("shape", "y_shape"))
    if operator.saturates:
        sensor: Any = operator
        return check_declared(sensor.inner)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        mask = _check_draw(operator, name)
        _check_output(operator, name, shape, y_shape, mask)
        _check_precisions(operator, name, rng.random(shape))
        apply = lambda x: np.asarray(operator(jnp.asarray(x), mask), np.float64)  # noqa: E731
        seen = np.asarray(_own(name, "observed", operator.observed, mask), np.float64)
        if seen.shape != y_shape or not np.all((seen == 0) | (seen == 1)):
            raise ValueError(f"observed of {name} must be 0 and 1 of shape {y_shape}, got shape {seen.shape}")
        if operator.diagonal:
            _check_diagonal(apply, name, rng.normal(size=shape), seen, shape == y_shape, operator.linear)
        if operator.linear:
            _check_linear(operator, apply, name, rng, shape, seen)
            _check_adjoint(operator, apply, name, rng, shape, mask)
        _check_masks(operator, apply, name, rng.normal(size=shape), mask, seen)
    if operator.is_identity and not (operator.diagonal and np.all(seen == 1)):
        raise ValueError(
            f"operator {name} declares is_identity but does not declare diagonal = True and observe all of x; expected "
            "is_identity = False"
        )
    _check_noise(operator, name)
    _check_range(operator, name)


def _check_words(operator, name):
    """What is declared by True or False is one of them."""
    for word in ("linear", "diagonal", "is_identity", "random", "additive_noise", "saturates"):
        if not isinstance(getattr(operator, word), (bool, np.bool_)):
            raise TypeError(f"{word} of {name} must be True or False, got {getattr(operator, word)!r:.80}")


def _own(name, word, call, *arguments):
    """What a method of somebody's own gives: real numbers, or None. Raises ValueError or TypeError that names the method."""
    try:
        found = call(*arguments)
        array = np.asarray(0.0 if found is None else found)
    except Exception as error:  # whatever somebody's program raises
        raise ValueError(
            f"{word} of {name} failed: {type(error).__name__}: {_line(error)}; see Operator.{word} for what is expected"
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{word} of {name} gives {array.dtype}, expected real numbers")
    return found


def check_unchanged(operator, content):
    """Raise ValueError where ``operator`` is no longer what it was when its ``content_of`` was ``content``."""
    if content is not None and content_of(operator) != content:
        raise ValueError(
            f"{type(operator).__name__} {operator!r:.80} has changed since its Task was made, and what was computed for it "
            "no longer holds; make a new operator and a new Task"
        )


def check_same_action(operator):
    """Raise ValueError where the operator of a Task, a snapshot, no longer makes of a signal what it did: it reads something
    outside of itself that has changed, a global or an array that a function holds.
    """
    known = vars(operator).get(FROZEN)
    if known is None:
        return
    before, now = np.frombuffer(known[-1], np.float32), action(operator)
    if before.shape != now.shape or not np.allclose(before, now, rtol=1e-4, atol=1e-6 * np.abs(now).max(initial=0.0)):
        raise ValueError(
            f"{type(operator).__name__} {operator!r:.80} gives other data than when its Task was made: something that it reads "
            "has changed; make a new Task"
        )


def data_extremes(operator, low=0.0, high=1.0):
    """Smallest and largest entry that A(x) can have for signals in [low, high]; None where nothing is known.

    ``data_range`` widened by what the signals go beyond [0, 1]; of an own linear operator that declares none, from its
    matrix.
    """
    if operator.saturates:
        inner = data_extremes(operator.inner, low, high)
        return None if inner is None else tuple(float(operator.response(end)) for end in inner)
    if operator.data_range is None:
        return None
    ends = range_of(operator)
    if ends is None:
        return None
    below, above, width = max(0.0, -low), max(0.0, high - 1), ends[1] - ends[0]
    beyond = (below, above) if operator.diagonal else (below + above,) * 2
    return ends[0] - beyond[0] * width, ends[1] + beyond[1] * width


def _check_hash(operator, name):
    try:
        hash(operator)
    except TypeError as error:
        raise TypeError(
            f"operator {name} cannot be hashed ({error}), and compiled programs are kept by it; expected "
            "@dataclass(frozen=True, eq=False), or no dataclass"
        ) from None


def _check_output(operator, name, shape, y_shape, mask):
    """One traced call: what comes out has the shape that is declared, and is real."""
    try:
        out = jax.eval_shape(lambda x: operator(x, mask), jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception as error:  # whatever somebody's program raises
        if isinstance(error, (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)):
            raise TypeError(f"operator {name} must be written in jax.numpy, which traces it; {_line(error)}") from error
        raise ValueError(
            f"operator {name} failed on a signal of its shape {shape}: {type(error).__name__}: {_line(error)}; expected data "
            f"of its y_shape {y_shape}"
        ) from error
    if getattr(out, "dtype", None) is None:
        raise TypeError(f"operator {name} gives {type(out).__name__}, expected an array of shape {y_shape}")
    if jnp.issubdtype(out.dtype, jnp.complexfloating):
        raise TypeError(
            f"operator {name} gives complex data ({out.dtype}), whose noise is complex too; expected real numbers: return "
            "jnp.stack([y.real, y.imag]), with y_shape (2, ...), as FourierSubset does"
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(f"operator {name} gives {out.dtype}, expected floating-point data")
    if operator.linear and jnp.finfo(out.dtype).bits < 32:
        raise TypeError(
            f"operator {name} gives {out.dtype} of float32 signals, too coarse to be linear; expected float32 data"
        )
    if out.shape != y_shape:
        raise ValueError(f"operator {name} gives data of shape {out.shape}, its y_shape is {y_shape}")


def _check_draw(operator, name):
    """An operator that draws other masks for other keys says so."""
    masks = [_own(name, "draw", operator.draw, jax.random.key(i)) for i in range(4)]
    differ = any((mask is None) != (masks[0] is None) or not np.array_equal(mask, masks[0]) for mask in masks[1:])
    if differ and not operator.random:
        raise ValueError(
            f"operator {name} draws another mask for every key but declares random = False (the default); expected random = True"
        )
    if masks[0] is not None and np.shape(masks[0]) != tuple(operator.y_shape):
        raise ValueError(
            f"draw of {name} gives shape {np.shape(masks[0])}, expected a mask of shape {tuple(operator.y_shape)}"
        )
    return masks[0]


def _check_masks(operator, apply, name, x, mask, seen):
    """What ``draw`` gives is a mask of the operator; one that is always the same is known without it; one of an operator
    that only hides entries says where it observes.
    """
    if mask is None:
        return
    try:
        operator.check_mask(np.asarray(mask))
    except Exception as error:  # whatever somebody's program raises
        raise ValueError(
            f"check_mask of {name} refuses what its draw gives: {_line(error)}; expected check_mask(self, mask) that accepts "
            "it, or with `pass` any mask"
        ) from error
    if operator.random:
        if operator.diagonal and not np.array_equal(seen, np.asarray(mask)):
            raise ValueError(f"observed of {name} is not the mask that it drew; expected 1 where observed in both")
        return
    try:
        alone = np.asarray(operator(jnp.asarray(x)), np.float64)
        same = _agree(alone, apply(x)) and np.array_equal(np.asarray(operator.observed(), np.float64), seen)
    except Exception:  # whatever somebody's program raises
        same = False
    if not same:
        raise ValueError(
            f"operator {name} has one mask for all measurements (random = False) but gives other data, or observes other "
            "entries, without it; expected the same from A(x) as from A(x, mask), and from observed() as from observed(mask)"
        )


def _check_precisions(operator, name, x):
    """A(x) is the same in both precisions: numbers drawn inside it from a fixed key are not."""
    if operator.random:
        return
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that float64 becomes float32 here
        single = np.asarray(operator(jnp.asarray(x, jnp.float32), operator.draw(jax.random.key(0))), np.float64)
    double = np.asarray(operator(jnp.asarray(x, jnp.float64), operator.draw(jax.random.key(0))), np.float64)
    with np.errstate(invalid="ignore"):
        apart, scale = np.abs(single - double).max(initial=0.0), np.abs(double).max(initial=1e-30)
    if np.isfinite(scale) and not apart <= 1e-2 * scale:
        raise ValueError(
            f"operator {name} gives other data in single than in double precision, up to {apart:.3g} apart; expected the same: "
            "draw random numbers once, outside of __call__, and keep them as an array"
        )


def _check_noise(operator, name):
    """What measures and weighs data in a way of its own does not say that its noise is additive."""
    own = [
        word for word in ("simulate", "log_likelihood") if getattr(type(operator), word) is not getattr(Operator, word)
    ]
    if own and operator.additive_noise:
        raise ValueError(
            f"operator {name} has its own {own[0]} but declares additive_noise = True (the default), y = A(x) + N(0, sigma_y^2); "
            "expected additive_noise = False"
        )


def _line(error):
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else ""


def _agree(first, second, *others):
    """Whether two arrays are the same up to the rounding of single precision in what they were made of."""
    scale = max(float(np.abs(a).max()) for a in (first, second, *others))
    return bool(np.isfinite(scale) and np.abs(first - second).max() <= TOLERANCE * scale)


def _check_diagonal(apply, name, x, seen, same_shape, linear):
    if not linear or not same_shape or not _agree(apply(x), seen * x):
        raise ValueError(
            f"operator {name} declares diagonal = True, but A(x) is not observed(mask) * x; expected diagonal = False, "
            "which any linear operator may have"
        )


def _check_linear(operator, apply, name, rng, shape, seen):
    """A(x) - A(0) is additive and homogeneous, also inside [0, 1], and nothing comes where nothing is observed."""
    zero, (a, b) = apply(np.zeros(shape)), rng.normal(size=(2, *shape))
    c, d = rng.uniform(size=(2, *shape))
    wrong = None
    if not np.all(np.isfinite(apply(c))):
        raise ValueError(
            f"operator {name} gives numbers that are not finite of a signal in [0, 1], expected finite ones"
        )
    for first, second in ((a, b), (c, d), (c, -a)):
        parts, whole = (apply(first) - zero, apply(second) - zero), apply(first + second) - zero
        if not _agree(whole, parts[0] + parts[1], *parts, zero):
            wrong = "A(x + z) - A(0) is not A(x) - A(0) + A(z) - A(0)"
    for factor in SCALES:
        if not _agree(apply(factor * a) - zero, factor * (apply(a) - zero), zero):
            wrong = f"A({factor:g} x) - A(0) is not {factor:g} (A(x) - A(0))"
    if wrong is None and not np.array_equal(apply(a), apply(a)):
        wrong = "two calls with the same signal differ"
    if wrong is not None:
        raise ValueError(
            f"operator {name} declares linear = True (the default), but {wrong} for random signals; expected linear = False "
            "on its class, or A(x) = M x + b"
        )
    if np.any(zero) and operator.random:
        raise ValueError(
            f"operator {name} draws masks and adds a constant, A(0) up to {np.abs(zero).max():.4g}; expected A(0) = 0: take "
            "the constant from y"
        )
    if not _agree(seen * apply(a), apply(a)):
        raise ValueError(f"operator {name} gives data where observed is 0, expected A(x) = 0 there")


def _check_adjoint(operator, apply, name, rng, shape, mask):
    x, zero = rng.normal(size=shape), apply(np.zeros(shape))
    y = rng.normal(size=zero.shape)
    back = np.asarray(_own(name, "adjoint", operator.adjoint, jnp.asarray(y), mask), np.float64)
    if back.shape != shape:
        raise ValueError(f"adjoint of {name} gives shape {back.shape}, expected that of a signal, {shape}")
    forward = apply(x) - zero
    scale = np.linalg.norm(forward) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(back)
    if abs(np.sum(forward * y) - np.sum(x * back)) > TOLERANCE * scale:
        raise ValueError(f"adjoint of {name} is not that of its A: <A x, y> and <x, A^T y> differ; expected them equal")


def _check_range(operator, name):
    """A ``data_range`` that somebody wrote down holds; that of the base class is only a default."""
    declared = operator.data_range
    if declared is None or not declares_range(operator):
        return
    if np.shape(declared) != (2,) or not np.all(np.isfinite(declared)) or not declared[0] < declared[1]:
        raise ValueError(f"data_range of {name} must be (low, high) or None, got {declared!r}")
    found = exact_range(operator)
    slack = 1e-3 * (declared[1] - declared[0])
    if found is not None and (found[0] < declared[0] - slack or found[1] > declared[1] + slack):
        raise ValueError(
            f"data_range of {name} is {tuple(declared)}, but signals in [0, 1] give data from {found[0]:.4g} to {found[1]:.4g}; "
            "expected a range that holds them, or None"
        )
