"""Numbers of the full runs in formulas and texts: ``faces/denoise.dps.psnr`` is a number of the page "faces",
``paper/aps.table2.celeba_denoise.dps.psnr`` one that a source paper prints, ``faces/parameters.n_test`` a parameter of the full run.

A formula joins such names and plain numbers by + - * / and brackets, with blanks around its operators. Its standard error
is that of independent numbers; a difference that was measured in pairs has a name of its own.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from aps_book.record.run import full_run, paper_value
from aps_book.record.verdicts import RESOLVED, size
from aps_book.record.words import error_shown, shown

NAME = re.compile(r"[a-z][a-z0-9_]*/[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True)
class Measured:
    """A value with its standard error (0: it has none), and on how many signals it stands (None: nobody says it)."""

    value: float
    se: float = 0.0
    n: int | None = None

    def __sub__(self, other: Measured) -> Measured:
        return Measured(self.value - other.value, math.hypot(self.se, other.se))


def stored(name: str) -> Measured:
    """The number that a name such as ``faces/denoise.dps.psnr`` stands for.

    Raises KeyError: no full run of that page, no such number in it, or none in the paper.
    """
    page, _, key = name.partition("/")
    if page == "paper":
        value = paper_value(key)
        if not isinstance(value, (int, float)):
            raise KeyError(f"{name!r}: the paper has no such number")
        return Measured(float(value))
    record = full_run(page)
    section, _, parameter = key.partition(".")
    if record is not None and section == "parameters" and isinstance(record["parameters"].get(parameter), (int, float)):
        return Measured(float(record["parameters"][parameter]))
    if record is None or key not in record["numbers"]:
        raise KeyError(
            f"{name!r}: " + ("there is no full run" if record is None else "the full run has no such number")
        )
    number = record["numbers"][key]
    return Measured(number["value"], number["se"] or 0.0, size(record, number))


def evaluate(formula: str, look_up: Callable[[str], Measured] = stored) -> Measured:
    """What a formula comes to, with the standard error to first order; n where it is a single name.

    Raises:
      KeyError: a name stands for nothing.
      ValueError: not a formula.
    """
    names = list(dict.fromkeys(NAME.findall(formula)))
    found = [look_up(name) for name in names]
    written = formula
    for i in sorted(range(len(names)), key=lambda i: -len(names[i])):
        written = written.replace(names[i], f"x{i}")
    try:
        tree = ast.parse(written.strip(), mode="eval").body
        values = {f"x{i}": one.value for i, one in enumerate(found)}
        value = _value(tree, values)
        moved = [_value(tree, {**values, f"x{i}": one.value + one.se}) - value for i, one in enumerate(found)]
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"{formula!r}: expected names such as page/key and numbers, joined by + - * /") from error
    return Measured(value, math.hypot(*moved), found[0].n if len(found) == 1 else None)


def _value(node: ast.AST, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, values)
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    raise TypeError(type(node).__name__)


def settled(inequality: str, look_up: Callable[[str], Measured] = stored) -> bool | None:
    """Whether ``formula > formula`` or ``formula < formula`` is true, by at least two standard errors; None where the
    difference is smaller. Numbers without a standard error settle it by their value alone.

    Raises ValueError for another form, KeyError for a name that stands for nothing.
    """
    sides = re.split(r" ([<>]) ", inequality)
    if len(sides) != 3:
        raise ValueError(f"{inequality!r}: expected one ' > ' or ' < ' between two formulas")
    left, right = evaluate(sides[0], look_up), evaluate(sides[2], look_up)
    gap = left - right if sides[1] == ">" else right - left
    if abs(gap.value) < RESOLVED * gap.se:
        return None
    return gap.value > 0


class Filled(string.Formatter):
    """Fills ``{formula:format}`` with "value ± standard error".

    ``{formula!v:format}`` is the value alone, ``{formula!n}`` on how many signals it stands, and ``{formula!d:format}``
    a difference in words: "0.33 ± 0.06 dB below", where ``formula`` is in dB.
    """

    def __init__(self, look_up: Callable[[str], Measured] = stored):
        self.look_up = look_up

    def get_field(self, field_name, args, kwargs):
        return evaluate(field_name, self.look_up), field_name

    def convert_field(self, value, conversion):
        if conversion == "v":
            return replace(value, se=0.0)
        if conversion == "n":
            if value.n is None:
                raise ValueError("nobody says on how many signals this number stands")
            return f"{value.n:,}"
        return ("d", value) if conversion == "d" else value

    def format_field(self, value, format_spec):
        if isinstance(value, str):
            return value
        if isinstance(value, tuple):
            return _in_words(value[1], format_spec)
        error = f" ± {error_shown(value.se, format_spec)}" if value.se else ""
        return shown(value.value, format_spec) + error


def _in_words(gap: Measured, form: str) -> str:
    """A difference in dB as a sentence holds it: its size, and on which side it lies. The paper's have no standard error."""
    error = f" ± {error_shown(gap.se, form)}" if gap.se else ""
    amount = f"{format(abs(gap.value), form)}{error} dB"
    if abs(gap.value) < RESOLVED * gap.se:
        return f"{amount} (not resolved) from"
    return f"{amount} {'above' if gap.value > 0 else 'below'}"


def fill(template: str, look_up: Callable[[str], Measured] = stored) -> str:
    """A template with its formulas filled in; see `Filled`. A brace of the text is doubled."""
    return Filled(look_up).format(template)
