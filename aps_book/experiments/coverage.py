"""Coverage of central 50 and 90 % intervals by group of coordinates, from the numbers of a record, for its chart."""

LEVELS = (0.5, 0.9)


def chart_arguments(record, rows, groups):
    """Arguments of ``charts.coverage_plot`` from the numbers ``PREFIX.GROUP.ROW_50`` and ``_90`` (per cent) of a record.

    rows: {label: (prefix, row)}, of which those are shown that the record has; groups: {group: label}. Rows that stand on
    other numbers of signals than the first say on how many. Raises KeyError where the record has none of them.
    """
    found = {}
    for label, (prefix, row) in rows.items():
        keys = [[f"{prefix}.{group}.{row}_{round(100 * level)}" for level in LEVELS] for group in groups]
        if all(key in record["numbers"] for of_group in keys for key in of_group):
            found[label] = [[record["numbers"][key] for key in of_group] for of_group in keys]
    if not found:
        raise KeyError(f"no coverage of {list(rows)} in the record")
    signals = {label: numbers[0][0].get("n") for label, numbers in found.items()}
    first = next(iter(signals.values()))
    results = {
        label + (f" ({signals[label]} signals)" if signals[label] not in (None, first) else ""): tuple(
            [[(number[part] or 0.0) / 100 for number in of_group] for of_group in numbers] for part in ("value", "se")
        )
        for label, numbers in found.items()
    }
    return {
        "results": results,
        "levels": LEVELS,
        "groups": [label.replace(" ", "\n", 1) for label in groups.values()],
        "tolerance": 0.03,
    }
