"""Rules for the parameters of a notebook: one small function per kind of value.

A rule takes ``(name, value)`` and gives the value back as a plain Python object, or raises TypeError or
ValueError naming the parameter, the value and what was expected.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from aps_core import checks

Rule = Callable[[str, Any], Any]

# What IPython puts into a notebook's namespace beside functions and modules.
_IPYTHON_NAMES = {"In": list, "Out": dict}


def between(low: float, high: float = math.inf, open: bool = False) -> Rule:
    """A finite real number in [low, high], or in (low, high) when `open`."""
    left, right = ("(", ")") if open else ("[", "]")
    expected = f"a number in {left}{low:g}, {high:g}{right}"

    def rule(name, value):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} = {value!r}: expected {expected}")
        inside = low < value < high if open else low <= value <= high
        if not (math.isfinite(checks.as_float(value)) and inside):
            raise ValueError(f"{name} = {value!r}: expected {expected}")
        return float(value)

    return rule


def integer(low: int | None = None, high: int | None = None) -> Rule:
    """An integer, at least `low` and at most `high` where these are given."""
    limits = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    expected = " ".join(["an integer", " and ".join(limits)]).strip()

    def rule(name, value):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name} = {value!r}: expected {expected}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{name} = {value!r}: expected {expected}")
        return int(value)

    return rule


def several(high: int | None = None) -> Rule:
    """How many signals to average over: 0, which leaves that out, or an integer of at least 2, since a mean comes with a
    standard error.
    """
    rule = integer(0, high)

    def some(name, value):
        if rule(name, value) == 1:
            raise ValueError(f"{name} = {value!r}: expected 0 or an integer of at least 2")
        return int(value)

    return some


@dataclass(frozen=True)
class AtMost:
    """What ``rule`` allows, and no more than the parameter ``other`` has."""

    rule: Rule
    other: str

    def __call__(self, name: str, value: Any) -> Any:
        """The value, as ``rule`` gives it."""
        return self.rule(name, value)

    def compare(self, name: str, values: Mapping[str, Any]) -> None:
        """Raise ValueError where the parameter ``name`` of ``values`` is larger than the other."""
        if values[name] > values[self.other]:
            limit = f"{self.other} = {values[self.other]!r}"
            raise ValueError(f"{name} = {values[name]!r}: expected at most {limit}")


def seed() -> Rule:
    """A seed: an integer from 0 to 2^31 - 1 (see `aps_core.checks.seed`)."""
    expected = f"a seed, an integer from 0 to {checks.LARGEST_SEED}"

    def rule(name, value):
        try:
            return checks.seed(name, value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} = {value!r}: expected {expected}") from None

    return rule


def one_of(*choices: Any) -> Rule:
    """One of the given values."""
    expected = "one of " + ", ".join(map(repr, choices))

    def rule(name, value):
        if value not in choices:
            raise ValueError(f"{name} = {value!r}: expected {expected}")
        return choices[choices.index(value)]

    return rule


def boolean() -> Rule:
    """True or False."""

    def rule(name, value):
        if not isinstance(value, bool):
            raise TypeError(f"{name} = {value!r}: expected True or False")
        return value

    return rule


def text(empty: bool = False) -> Rule:
    """A string on one line and without control characters, which may be empty where ``empty`` says so."""

    def rule(name, value):
        if not isinstance(value, str):
            raise TypeError(f"{name} = {value!r}: expected a string")
        if not (value or empty):
            raise ValueError(f"{name} = {value!r}: expected a string that is not empty")
        if not value.isprintable():
            raise ValueError(f"{name} = {value!r}: expected a string on one line without control characters")
        return value

    return rule


def optional(inner: Rule) -> Rule:
    """None, or what the inner rule allows."""
    return lambda name, value: None if value is None else inner(name, value)


def list_of(inner: Rule, length: int | None = None) -> Rule:
    """A list of different items that all keep the inner rule; not empty, or of the given length.

    An item that stands twice is refused: it would be computed twice, and its numbers can be stored only once.
    """

    def rule(name, value):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} = {value!r}: expected a list")
        if len(value) == 0 or length not in (None, len(value)):
            expected = f"a list of {length} items" if length else "a list that is not empty"
            raise ValueError(f"{name} = {value!r}: expected {expected}")
        items = [inner(f"{name}[{i}]", item) for i, item in enumerate(value)]
        for i, item in enumerate(items):
            if item in items[:i]:
                raise ValueError(
                    f"{name}[{i}] = {item!r}: expected different items, but {name}[{items.index(item)}] is the same"
                )
        return items

    return rule


def check_parameters(namespace: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The parameters in a notebook's namespace, each checked by its rule.

    Parameters are the public names bound so far that are neither modules nor callables: the notebook's
    parameters cell and the cell that papermill puts after it.

    Raises:
      ValueError: a name without a rule, a rule without its name, or a value outside its rule.
      TypeError: a value of the wrong type.
    """
    found = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and not isinstance(value, _IPYTHON_NAMES.get(name, ()))
        and not isinstance(value, ModuleType)
        and not (callable(value) and name not in rules)
    }
    for name, value in found.items():
        if name not in rules:
            near = difflib.get_close_matches(name, rules, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            expected = ", ".join(map(repr, rules)) or "no parameter at all"
            raise ValueError(f"unknown parameter {name!r} = {value!r}: expected one of {expected}{hint}")
    for name in rules:
        if name not in found:
            raise ValueError(f"parameter {name!r} is not set: the notebook's parameters cell must give it a value")
    values = {name: rule(name, found[name]) for name, rule in rules.items()}
    for name, rule in rules.items():
        if isinstance(rule, AtMost):
            rule.compare(name, values)
    return values
