"""Does a posterior fit measurements whose truth nobody knows? The misfit of its samples, and entries that were left out.

Where prior, operator and noise are right and the posterior is exact, a sample is to its measurement what the truth is: what it
leaves of the data is noise, and it tells entries that it was not shown as well as its own spread says.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import checks
from aps_core.metrics import calibration
from aps_core.operators import Measurement

AT_ONCE = 2**24  # numbers of samples that are drawn together
WANTED = "an AmortizedPosterior, with its task and sample(key, measurement, n)"


class LeftOut(NamedTuple):
    """What ``left_out`` finds of each measurement: the share of the entries left out that lies in the central interval of its
    samples, (batch,) in [0, 1], and the rank of one of these entries among them, (batch,) integers from 0 to n.
    """

    inside: np.ndarray
    rank: np.ndarray


def misfit(posterior, key, measurements, n=64):
    """chi^2 per observed entry of each of a batch of measurements, (batch,): the mean over ``n`` samples x of q(x | y) of
    |y - A(x)|^2 / (entries sigma_y^2).

    Samples of the exact posterior have 1 on average over measurements. More says that the samples do not follow the data
    or that the noise is larger than ``sigma_y``, less that they follow the noise or that it is smaller. Raises TypeError
    or ValueError as ``posterior.sample``, and ValueError for an operator whose noise is its own.
    """
    task, measurements = _batch(posterior, measurements)
    if not task.operator.additive_noise:
        raise ValueError(
            f"{type(task.operator).__name__} has noise of its own, so sigma_y is not the scale of the misfit; expected "
            "y = A(x) + N(0, sigma_y^2)"
        )
    parts = [
        _chi2(posterior.sample(k, some, n), some, task.sigma_y, operator=task.operator)
        for k, some in _in_parts(task, key, measurements, n)
    ]
    return np.concatenate(parts).astype(np.float64)


@partial(jax.jit, static_argnames="operator")
def _chi2(x, measurements, sigma_y, *, operator):
    def one(samples, measurement):
        observed = operator.observed(measurement.mask)
        left = jax.vmap(lambda xi: observed * (measurement.y - operator(xi, measurement.mask)))(samples)
        return jnp.sum(left**2) / (len(samples) * jnp.sum(observed) * sigma_y**2)

    return jax.lax.map(lambda pair: one(*pair), (x, measurements))


def left_out(posterior, key, measurements, share=0.2, n=99, level=0.9):
    """Hide ``share`` of the observed entries of each of a batch of measurements, and tell them from the rest: a LeftOut.

    Told are ``n`` posterior samples given the rest, with noise of ``sigma_y``. If the posterior is right, the central
    interval of ``level`` holds that share of the entries, and the ranks are uniform (``calibration.rank_band``). Entries
    of one measurement go together: the standard error is that over measurements. For denoising with missing entries,
    where each measurement has a mask of its own.

    Raises TypeError or ValueError as ``posterior.sample``; ValueError for another operator, a level or share outside
    (0, 1), and a measurement of which nothing is left to hide or to see.
    """
    task, measurements = _batch(posterior, measurements)
    if not (task.operator.diagonal and task.operator.random):
        raise ValueError(
            f"entries can be left out where each measurement has a mask of its own, got {task.operator!r}; expected RandomMask"
        )
    if not 0 < checks.number("share", share) < 1:
        raise ValueError(f"share must lie in (0, 1), got {share!r}")
    k_hide, k_draw, k_noise = jax.random.split(checks.random_key("key", key), 3)
    seen, hidden = _parted(measurements, share, np.random.default_rng(np.asarray(jax.random.key_data(k_hide))))
    y, inside, rank = np.asarray(measurements.y).reshape(len(hidden), -1), [], []
    rest = Measurement(np.where(seen, measurements.y, 0), seen.astype(np.float32))
    for k, some in _in_parts(task, k_draw, rest, n):
        x = np.asarray(posterior.sample(k, some, n)).reshape(len(some.y), n, -1)
        x = x + task.sigma_y * np.asarray(jax.random.normal(jax.random.fold_in(k_noise, len(rank)), x.shape))
        for samples in x:
            i = len(rank)
            inside.append(calibration.coverage(samples[:, hidden[i]], y[i, hidden[i]], (level,))[0])
            rank.append(calibration.sbc_ranks(samples[:, hidden[i][0]], y[i, hidden[i][0]]))
    return LeftOut(np.array(inside), np.array(rank))


def _batch(posterior, measurements):
    """The task of a posterior, and its measurements as a batch. Raises TypeError or ValueError as ``Task.check``."""
    checks.has("posterior", posterior, ["task", "sample"], WANTED)
    return posterior.task, posterior.task.batch(measurements)[1]


def _in_parts(task, key, measurements, n):
    """Keys and parts of a batch of which ``n`` samples each are at most AT_ONCE numbers."""
    together = max(1, AT_ONCE // (checks.count("n", n) * task.operator.size))
    for i in range(0, len(measurements.y), together):
        part = jax.tree.map(lambda a, i=i: a[i : i + together], measurements)
        yield jax.random.fold_in(checks.random_key("key", key), i), part


def _parted(measurements, share, rng):
    """The entries that stay, as an array of bool of the shape of y, and for each measurement the numbers of those that are
    hidden, in random order.
    """
    y, hidden = np.asarray(measurements.y), []
    seen = np.ones(y.shape, bool) if measurements.mask is None else np.array(measurements.mask) > 0
    for mask in seen.reshape(len(y), -1):  # a view
        observed = rng.permutation(np.flatnonzero(mask))
        hidden.append(observed[: max(1, round(share * len(observed)))])
        if len(hidden[-1]) >= len(observed):
            raise ValueError(
                f"a measurement with {len(observed)} observed entries cannot be parted with share = {share!r}"
            )
        mask[hidden[-1]] = False
    return seen, hidden
