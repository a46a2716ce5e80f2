"""What each number of a page may be: the rules of tolerances.toml, held against a record."""

import math
from collections.abc import Mapping
from typing import Any


def check(record: Mapping[str, Any], tolerances: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare the numbers of a record with what they may be.

    Args:
      record: a record, as `record.load` gives it.
      tolerances: by key of the number, either ``min`` and / or ``max``, or ``value`` with ``within`` and / or
        ``se``: then |number - value| <= within + 3 se must hold.

    Returns:
      One sentence for each number outside its range or missing; empty when all is well.

    Raises:
      ValueError: a tolerance that states no range, or something unknown.
    """
    failures = []
    for key, rule in tolerances.items():
        low, high = _range(key, rule)
        name = f"{record['notebook']}: {key}"
        if key not in record["numbers"]:
            failures.append(f"{name} is missing from the record")
            continue
        value = record["numbers"][key]["value"]
        if value < low:
            failures.append(f"{name} = {value:.6g} is below its range [{low:.6g}, {high:.6g}] by {low - value:.3g}")
        elif value > high:
            failures.append(f"{name} = {value:.6g} is above its range [{low:.6g}, {high:.6g}] by {value - high:.3g}")
    return failures


def _range(key: str, rule: Mapping[str, Any]) -> tuple[float, float]:
    unknown = set(rule) - {"min", "max", "value", "within", "se", "why"}
    if unknown:
        raise ValueError(f"tolerance of {key}: unknown {', '.join(sorted(unknown))}")
    if "value" in rule:
        half = rule.get("within", 0.0) + 3.0 * rule.get("se", 0.0)
        if half <= 0 or {"min", "max"} & set(rule):
            raise ValueError(f"tolerance of {key}: expected value with within and / or se, and neither min nor max")
        return rule["value"] - half, rule["value"] + half
    if not {"min", "max"} & set(rule):
        raise ValueError(f"tolerance of {key}: expected value, min or max")
    return rule.get("min", -math.inf), rule.get("max", math.inf)
