"""Numbers as text: settings in keys and labels, exact, so that two never share one; values as they are shown."""

import os
from collections.abc import Sequence
from decimal import Decimal


def exact(value: float, times: int = 1) -> str:
    """A number with all its digits, times ``times``: ``exact(0.302, 100)`` is "30.2", ``exact(1e-5)`` is "1e-05"."""
    number = _decimal(value, times)
    short = f"{float(number):g}"
    return short if Decimal(short) == number else format(number, "f")


def word(value: float, times: int = 1, digits: int = 1) -> str:
    """The same as a word of a key, its whole part with at least ``digits`` digits: ``word(0.302, 100)`` is "30_2"."""
    whole, dot, rest = format(_decimal(value, times), "f").partition(".")
    return whole.replace("-", "minus_").zfill(digits) + ("_" + rest if dot else "")


def keyed(prefix: str, values: Sequence[float], known: Sequence[float] | None = None) -> dict[str, float]:
    """{key: value} of settings under ``prefix``: by their place among those ``known``, of the full run, or else by what
    they are, so that a number never stands in the row of another setting. A full run knows its own.
    """
    known = list(values if known is None or os.environ.get("APS_FULL_RUN") else known)
    return {f"{prefix}{known.index(v)}" if v in known else f"{prefix}_{word(v)}": v for v in values}


def shown(value: float, form: str) -> str:
    """A number in a format, without the sign of a zero: -0.0001 in "+.3f" is "+0.000"."""
    text = format(value, form)
    if text.startswith("-") and not text.strip("-0.,"):
        return ("+" if form.startswith("+") else "") + text[1:]
    return text


def error_shown(se: float, form: str) -> str:
    """A standard error in the format of its number; where that leaves nothing but zeros, in one digit: 0.0003 and not
    "0.000".
    """
    text = shown(se, form.replace("+", ""))
    return format(se, ".1g") if se and not text.strip("0.,") else text


def _decimal(value, times):
    number = Decimal(repr(float(value))) * times
    return number.normalize() if number else Decimal(0)
