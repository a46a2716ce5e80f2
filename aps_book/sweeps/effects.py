"""What the parameters of a sweep do to a number: differences paired over all others, and shares of its variance."""

import numpy as np
import pandas as pd


def wide(table: pd.DataFrame, varied: list[str], key: str) -> pd.DataFrame:
    """The rows of one number: the varied parameters, value and se."""
    return table.loc[table["key"] == key, ["job", *varied, "value", "se"]].reset_index(drop=True)


def paired(rows: pd.DataFrame, varied: list[str], name: str) -> pd.DataFrame:
    """Differences of every level of parameter ``name`` from its first: level, first, difference, se and n.

    Jobs are paired that agree in all other varied parameters; se = s / sqrt(n) over the pairs, NaN for one pair.
    """
    others = [other for other in varied if other != name]
    levels = list(dict.fromkeys(rows[name]))
    keyed = {level: _by_others(rows[rows[name] == level], others) for level in levels}
    found = []
    for level in levels[1:]:
        common = [other for other in keyed[level] if other in keyed[levels[0]]]
        if not common:
            continue
        differences = np.asarray([keyed[level][other] - keyed[levels[0]][other] for other in common])
        se = differences.std(ddof=1) / np.sqrt(len(common)) if len(common) > 1 else np.nan
        found.append([level, levels[0], differences.mean(), se, len(common)])
    return pd.DataFrame(found, columns=["level", "first", "difference", "se", "n"])


def shares(rows: pd.DataFrame, varied: list[str]) -> dict[str, float]:
    """For each parameter the share of the variance over jobs that the means of its levels have (eta squared), in [0, 1];
    NaN where the number does not vary.
    """
    total = float(((rows["value"] - rows["value"].mean()) ** 2).sum())
    found = {}
    for name in varied:
        groups = rows.groupby(name, sort=False)["value"]
        between = float((groups.size() * (groups.mean() - rows["value"].mean()) ** 2).sum())
        found[name] = between / total if total > 0 else np.nan
    return found


def _by_others(rows: pd.DataFrame, others: list[str]) -> dict[tuple, float]:
    return {tuple(row[other] for other in others): row["value"] for row in rows.to_dict("records")}
