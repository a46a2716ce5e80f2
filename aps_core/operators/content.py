"""What an object is made of, as a value that can be compared and hashed: so that compiled programs know a changed one."""

import copy
import dataclasses
import functools
import hashlib

import jax
import numpy as np


def content_of(thing):
    """A hashable description of ``thing``: its class and, by name, what its attributes hold; arrays by their bytes.

    Two of equal content compute the same. What has no attributes to look into (a function of a library, a handle)
    counts as itself.
    """
    return _described(thing, ())


def snapshot(operator):
    """A frozen deep copy of somebody's operator, for compiled programs to be kept by: an array that is written to, or an
    attribute that is set later, changes the original alone.
    """
    if vars(operator).get(FROZEN):
        return operator
    try:
        copied = copy.deepcopy(operator)
    except Exception:  # handles, modules and locks cannot be copied: they are shared
        copied = copy.copy(operator)
    for value in vars(copied).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    vars(copied)[FROZEN] = True
    return copied


FROZEN = "_frozen"


def _described(thing, above):
    if thing is None or isinstance(thing, (bool, int, float, complex, str, bytes)):
        return (type(thing).__name__, repr(thing))
    if isinstance(thing, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(thing)
        return ("array", array.shape, str(array.dtype), hashlib.sha256(np.ascontiguousarray(array)).hexdigest())
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
    held = getattr(thing, "__dict__", None)
    if isinstance(thing, type) or held is None or _is_function(thing):
        return _Same(thing)
    if dataclasses.is_dataclass(thing):
        held = {**{field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}, **held}
    held = {**_of_class(type(thing)), **held}
    named = ((name, _described(value, above)) for name, value in held.items() if not _is_private(type(thing), name))
    return (type(thing), *sorted(named, key=lambda pair: pair[0]))


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
