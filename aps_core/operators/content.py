"""What an object is made of, as a value that can be compared and hashed: so that compiled programs know a changed one."""

import copy
import dataclasses
import functools
import hashlib
import types
import warnings

import jax
import numpy as np


def content_of(thing):
    """A hashable description of ``thing``: its class and, by name, what its attributes hold; arrays by their bytes.

    Two of equal content compute the same. What has no attributes to look into (a function of a library, a handle)
    counts as itself.
    """
    return _described(thing, ())


FROZEN = "_frozen"  # in a snapshot: what it is told apart by


def snapshot(operator):
    """A frozen deep copy of somebody's operator, for compiled programs to be kept by: an array that is written to, or an
    attribute that is set later, changes the original alone.

    Two are equal where their content is and what they make of a fixed signal, whatever ``__eq__`` their class has: a
    function may read a global, and a dataclass leave a field out of its comparison.
    """
    done, now = vars(operator).get(FROZEN), action(operator)
    if done is not None and done[-1] == now.tobytes():
        return operator
    try:
        copied = copy.deepcopy(operator)
    except Exception:  # handles, modules and locks cannot be copied: they are shared, and all else is not
        copied = copy.copy(operator)
        vars(copied).update({name: _copied(value) for name, value in vars(operator).items()})
    for value in vars(copied).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    cls = getattr(type(operator), "kept_of", type(operator))
    vars(copied)[FROZEN] = (cls, content_of(operator), now.tobytes())
    object.__setattr__(copied, "__class__", _kept_class(cls))
    return copied


def _copied(value):
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def action(operator):
    """What an operator makes of one fixed signal in single precision, run and not compiled: float32, flat."""
    with jax.enable_x64(False), jax.ensure_compile_time_eval(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that float64 becomes float32 here
        x = np.random.default_rng(0).random(operator.shape, np.float32)
        return np.asarray(operator(jax.numpy.asarray(x), operator.draw(jax.random.key(0))), np.float32).ravel()


@functools.cache
def _kept_class(cls):
    """The class of snapshots of ``cls``: all that it is, but for equality and hash."""
    own = {"__eq__": _same_snapshot, "__hash__": _hash_of_snapshot, "__reduce_ex__": _reduced_snapshot, "kept_of": cls}
    return type(cls.__name__, (cls,), {**own, "__module__": cls.__module__, "__qualname__": cls.__qualname__})


def _key(one):
    return vars(one).get(FROZEN) or content_of(one)  # dataclasses.replace makes one without the mark


def _same_snapshot(one, other):
    return type(one) is type(other) and _key(one) == _key(other)


def _hash_of_snapshot(one):
    return hash(_key(one))


def _reduced_snapshot(one, protocol):
    """For pickle and copy: the mark, which may hold functions, is made anew."""
    del protocol
    return _restored, (type(one).kept_of, {name: value for name, value in vars(one).items() if name != FROZEN})


def _restored(cls, held):
    made = object.__new__(cls)
    vars(made).update(held)
    return snapshot(made)


def _described(thing, above):
    if thing is None or isinstance(thing, (bool, int, float, complex, str, bytes)):
        return (type(thing).__name__, repr(thing))
    if isinstance(thing, (np.ndarray, np.generic, jax.Array)):
        is_key = isinstance(thing, jax.Array) and jax.numpy.issubdtype(thing.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(thing) if is_key else thing)
        return (
            "array",
            array.shape,
            str(array.dtype),
            hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
        )
    if any(thing is other for other in above):
        return ("itself",)
    above = (*above, thing)
    if isinstance(thing, (list, tuple)):
        return (type(thing).__name__, *(_described(part, above) for part in thing))
    if isinstance(thing, dict):
        named = ((repr(name), _described(value, above)) for name, value in thing.items())
        return ("dict", *sorted(named, key=lambda pair: pair[0]))
    if isinstance(thing, functools.partial):
        return ("partial", thing.func, _described((thing.args, thing.keywords), above))
    return _attributes(thing, above)


def _attributes(thing, above):
    held = _held(thing)
    if isinstance(thing, (type, types.ModuleType)) or held is None or _is_function(thing):
        return _Same(thing)
    if dataclasses.is_dataclass(thing):
        held = {**{field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}, **held}
    held = {**_of_class(getattr(type(thing), "kept_of", type(thing))), **held}
    named = ((name, _described(value, above)) for name, value in held.items() if not _is_private(type(thing), name))
    return (getattr(type(thing), "kept_of", type(thing)), *sorted(named, key=lambda pair: pair[0]))


def _held(thing):
    """The attributes of an object by name, those in slots too; None where it has no place for any."""
    names = [name for base in type(thing).__mro__ for name in _slots(base)]
    held = {name: getattr(thing, name) for name in names if hasattr(thing, name)} | getattr(thing, "__dict__", {})
    return held if names or hasattr(thing, "__dict__") else None


def _slots(cls):
    slots = vars(cls).get("__slots__", ())
    return [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__")]


def _of_class(cls):
    """The data that a class of somebody's own holds for all its objects, with those that it inherits."""
    held = {}
    for base in reversed(cls.__mro__):
        if base is not object and not base.__module__.startswith("aps_core."):
            held |= {name: value for name, value in vars(base).items() if isinstance(value, DATA)}
    return {name: value for name, value in held.items() if not name.startswith("__")}


DATA = (bool, int, float, complex, str, tuple, list, dict, np.ndarray, np.generic, jax.Array)


def _is_private(cls, name):
    """Whether an attribute says nothing: the mark of a snapshot, or what is only remembered, and comes and goes."""
    return name == FROZEN or isinstance(getattr(cls, name, None), functools.cached_property)


def _is_function(thing):
    return callable(thing) and (hasattr(thing, "__code__") or hasattr(thing, "__wrapped__"))


class _Same:
    """Equal to what holds the very same object, which it keeps alive."""

    def __init__(self, thing):
        self.thing = thing

    def __eq__(self, other):
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self):
        return id(self.thing)
