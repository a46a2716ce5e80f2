"""Measurements that a flow is trained on: recorded by a user, or made once from a split of signals, one of each."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.data.unpacking import read_npz
from aps_core.files import write_atomically
from aps_core.operators import Measurement

SEED = 2024  # of the masks and the noise of measurements that are made once; they are data, the same for every recipe
LIMIT = 2**33  # bytes of a file of measurements, unpacked
CHUNK = 2048  # signals that are measured side by side


def measured_once(task, split):
    """One Measurement of each signal of ``split``, batched: a fixed noise draw and mask for each, the same at every
    call.
    """
    signals, measure = np.asarray(task.signals(split), np.float32), jax.jit(task.measure)
    starts = range(0, len(signals), CHUNK)
    parts = [
        jax.device_get(measure(jax.random.fold_in(jax.random.key(SEED), i), signals[i : i + CHUNK])) for i in starts
    ]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *parts)


def checked(task, measurements, batch):
    """``measurements`` as a batched Measurement of float32 arrays that can train a flow for ``task`` on ``batch`` of
    them a step.

    Raises TypeError or ValueError: as ``task.check``; for a single measurement, fewer than ``batch``, or none that says
    which entries are missing where the operator draws a mask for each.
    """
    task.check(measurements)
    y = np.asarray(measurements.y)
    if y.ndim == len(task.y_shape):
        raise ValueError(
            f"measurements must be a batch, y of shape (n, {', '.join(map(str, task.y_shape))}), got {y.shape}; "
            "a flow of a single one is trained with measurement="
        )
    if task.operator.random and measurements.mask is None:
        raise ValueError(
            f"measurements have no mask, but {type(task.operator).__name__} draws one for each; pass Measurement(y, mask) "
            "with 1 where observed"
        )
    if len(y) < batch:
        raise ValueError(f"measurements hold {len(y)}, fewer than the batch of {batch} of the recipe's [objective]")
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), Measurement(measurements.y, measurements.mask))


def save_measurements(path, measurements, sigma_y):
    """Write a batched Measurement with noise ``sigma_y`` to ``path`` (.npz): arrays y (n, *y_shape), sigma_y (), and
    mask where there is one.
    """
    arrays = {"y": np.asarray(measurements.y), "sigma_y": np.asarray(float(sigma_y))}
    if measurements.mask is not None:
        arrays["mask"] = np.asarray(measurements.mask)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def load_measurements(path, task):
    """The batched Measurement in ``path`` (.npz, see ``save_measurements``) for ``task``.

    Raises FileNotFoundError where there is no file; ValueError where it is not such a file, lacks y or sigma_y, holds
    something else besides, or has another noise level than the task.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no measurements {path}")
    try:
        arrays = read_npz(path, limit=LIMIT)
    except ValueError as error:
        raise ValueError(f"measurements {path} are not a .npz file of plain arrays, as expected: {error}") from error
    missing, unknown = {"y", "sigma_y"} - set(arrays), set(arrays) - {"y", "sigma_y", "mask"}
    if missing or unknown:
        what = f"no array {sorted(missing)[0]!r}" if missing else f"an unknown array {sorted(unknown)[0]!r}"
        raise ValueError(
            f"measurements {path} have {what}; expected y, sigma_y (one number), and mask where data is missing"
        )
    sigma_y = arrays["sigma_y"]
    if (
        sigma_y.dtype.kind not in "iuf"
        or sigma_y.size != 1
        or not np.isclose(float(sigma_y.reshape(())), task.sigma_y, rtol=1e-3, atol=0)
    ):
        raise ValueError(
            f"measurements {path} have noise sigma_y = {np.squeeze(sigma_y).tolist()!r}, the task {task.name!r} has {task.sigma_y}; "
            "expected one number, that of the task"
        )
    return Measurement(arrays["y"], arrays.get("mask"))
