"""What each number of a page may be: the rules of tolerances.toml, held against a record."""

import math
from collections.abc import Mapping
from typing import Any

from aps_core.checks import as_float


def check(record: Mapping[str, Any], tolerances: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare the numbers of a record with what they may be.

    Args:
      record: a record, as `record.load` gives it.
      tolerances: by key of the number, either ``min`` and / or ``max``, or ``value`` with ``within`` and / or
        ``se``: then |number - value| <= within + 3 se must hold.

    Returns:
      One sentence for each number outside its range, missing or not finite; empty when all is well.

    Raises:
      TypeError: a tolerance that is no table of numbers.
      ValueError: a tolerance that states no range, one that everything passes, or something unknown.
    """
    if not isinstance(tolerances, Mapping):
        raise TypeError(f"tolerances of {record['notebook']}: expected a table by keys, got {tolerances!r}")
    failures = []
    for key, rule in tolerances.items():
        low, high = _range(key, rule)
        name = f"{record['notebook']}: {key}"
        if key not in record["numbers"]:
            failures.append(f"{name} is missing from the record")
            continue
        value = record["numbers"][key]["value"]
        if not math.isfinite(value):
            failures.append(f"{name} = {value} is not a finite number")
        elif value < low:
            failures.append(f"{name} = {value:.6g} is below its range [{low:.6g}, {high:.6g}] by {low - value:.3g}")
        elif value > high:
            failures.append(f"{name} = {value:.6g} is above its range [{low:.6g}, {high:.6g}] by {value - high:.3g}")
    return failures


def _range(key: str, rule: Any) -> tuple[float, float]:
    if not isinstance(rule, Mapping):
        raise TypeError(f"tolerance of {key}: expected a table such as {{ min = 0.5 }}, got {rule!r}")
    if unknown := set(rule) - {"min", "max", "value", "within", "se", "why"}:
        raise ValueError(f"tolerance of {key}: unknown {', '.join(sorted(unknown))}")
    given = {name: _number(key, name, number) for name, number in rule.items() if name != "why"}
    if "value" in given:
        within, se = given.get("within", 0.0), given.get("se", 0.0)
        if {"min", "max"} & set(given) or not (within >= 0 and se >= 0 and within + se > 0):
            raise ValueError(
                f"tolerance of {key}: expected value with within and / or se above zero, and neither min nor max"
            )
        return given["value"] - within - 3.0 * se, given["value"] + within + 3.0 * se
    if not {"min", "max"} & set(given) or {"within", "se"} & set(given):
        raise ValueError(f"tolerance of {key}: expected value (with within or se), min or max")
    low, high = given.get("min", -math.inf), given.get("max", math.inf)
    if low > high:
        raise ValueError(f"tolerance of {key}: min = {low} lies above max = {high}")
    return low, high


def _number(key: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"tolerance of {key}: {name} = {value!r}, expected a number")
    if not math.isfinite(as_float(value)):
        raise ValueError(
            f"tolerance of {key}: {name} = {value!r:.80}, expected a finite number: nothing lies outside of it"
        )
    return value
