"""Checks of what users pass in: one clear error each."""

import numpy as np


def positive(name, value):
    """Raise TypeError or ValueError unless ``value`` is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and positive, got {value!r}")


def count(name, value):
    """Raise TypeError or ValueError unless ``value`` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def fraction(name, value):
    """Raise ValueError unless ``value`` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")


def check_measurement(measurement, operator, sigma_y, unit_range=True, extra_check=None):
    """Raise unless ``measurement`` holds floating-point data of ``operator.y_shape`` (or a batch of it) in the scale of [0, 1] signals.

    With ``unit_range``, y outside ``operator.data_range`` is valid as far as the noise can carry it (0.1 + 8 sigma_y beyond it).
    In a batch, every measurement must have something observed.
    """
    shape = tuple(operator.y_shape)
    if not hasattr(measurement, "y"):
        raise TypeError(f"measurement must be a Measurement, got {type(measurement).__name__}")
    y = np.asarray(measurement.y)
    if y.dtype.kind != "f":
        raise TypeError(f"y must be floating point in the scale [0, 1], got {y.dtype}; divide 8-bit data by 255")
    if y.shape[-len(shape) :] != shape or y.ndim > len(shape) + 1:
        if y.shape[-len(shape) :] != shape and sorted(y.shape[-len(shape) :]) == sorted(shape):
            raise ValueError(f"y has shape {y.shape}: its axes are in the wrong order, expected {shape}")
        raise ValueError(f"y must have shape {shape} or (batch, {', '.join(map(str, shape))}), got {y.shape}")
    if y.shape[0] == 0:
        raise ValueError("y is an empty batch")
    if not np.all(np.isfinite(y)):
        raise ValueError(f"y has {int(np.sum(~np.isfinite(y)))} non-finite values; write missing entries as 0 with mask 0")
    mask = _check_mask(measurement, y)
    if not np.all(np.any(mask.reshape((-1, *shape)) > 0, axis=tuple(range(1, len(shape) + 1)))):
        raise ValueError("mask is all zero: nothing was observed")
    operator.check_mask(None if measurement.mask is None else mask)
    if unit_range and operator.data_range is not None:
        for one, seen in zip(y.reshape((-1, *shape)), mask.reshape((-1, *shape)), strict=True):
            _check_scale(one[seen > 0], sigma_y, operator.data_range)
    if extra_check is not None:
        for i in range(len(y) if y.ndim > len(shape) else 1):
            single = y.ndim == len(shape)
            extra_check(type(measurement)(y=y if single else y[i], mask=mask if single else mask[i]))


def _check_mask(measurement, y):
    if measurement.mask is None:
        return np.ones(y.shape)
    mask = np.asarray(measurement.mask)
    if mask.shape != y.shape:
        raise ValueError(f"mask must have the shape of y, {y.shape}, got {mask.shape}")
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"mask must be 1 where observed and 0 where missing, got values from {mask.min()} to {mask.max()}")
    return mask


def _check_scale(observed, sigma_y, data_range):
    low, high = observed.min(), observed.max()
    slack = 0.1 + 8 * sigma_y
    if low < data_range[0] - slack or high > data_range[1] + slack:
        if low > 100 and high < 400:
            hint = "it looks like kelvin: normalise by (T - 202.66 K) / 118.27 K"
        elif low >= -255 * slack and 2 < high <= 255 * (1 + slack):
            hint = "it looks like 0-255: divide by 255"
        else:
            hint = "scale it to [0, 1]"
        raise ValueError(f"y ranges from {low:.4g} to {high:.4g}, signals are in [0, 1]; {hint}")
