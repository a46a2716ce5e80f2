"""Between which numbers the data of a linear operator lie, for signals in [0, 1]."""

from functools import lru_cache

import jax
import numpy as np

from aps_core.operators.base import Operator, dense_matrix, is_of_the_package, kept_by, offset

LARGEST_MATRIX = 4_000_000  # entries up to which the range of the data is computed exactly


def range_of(operator: Operator) -> tuple[float, float] | None:
    """(smallest, largest) entry of A(x): what the package's operators say of themselves, what one of your own declares or,
    where it declares nothing, what its matrix says; None where nothing is known. May be called inside ``jit``.
    """
    if is_of_the_package(operator) or operator.diagonal or declares_range(operator):
        return operator.data_range
    return _kept_range(kept_by(operator))


def declares_range(operator: Operator) -> bool:
    """Whether an own operator says its ``data_range``: that of the base class is only a default."""
    return any(
        "data_range" in vars(base) for base in type(operator).__mro__ if not base.__module__.startswith("aps_core.")
    )


def exact_range(operator: Operator) -> tuple[float, float] | None:
    """The range from the matrix; None where A is not linear, is drawn, or is large."""
    size = operator.size * int(np.prod(operator.y_shape))
    if not operator.linear or operator.random or size > LARGEST_MATRIX:
        return None
    matrix, constant = dense_matrix(operator), offset(operator)
    constant = 0.0 if constant is None else constant.ravel()
    low = (np.minimum(matrix, 0).sum(axis=1) + constant).min()
    high = (np.maximum(matrix, 0).sum(axis=1) + constant).max()
    return float(low), float(max(high, low + 1e-6))


@lru_cache(maxsize=64)
def _kept_range(operator):
    with jax.ensure_compile_time_eval():
        return exact_range(operator)
