"""Measured signals of a data set, and how far the error of one sample lies above that of the mean."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.metrics.quality import mean_and_standard_error


@dataclass(frozen=True)
class Case:
    """Measured signals of one split: x0 (n, *shape), a batched Measurement, and the signals' positions (n,) in the
    split.
    """

    dataset: object
    chosen: np.ndarray
    x0: np.ndarray
    measurements: object

    def one(self, i):
        """The i-th Measurement."""
        return jax.tree.map(lambda a: a[i], self.measurements)


def measure(task, dataset, n, seed=0):
    """n signals spread evenly over ``dataset``, measured. A signal's mask and noise depend on its position and ``seed``
    alone.

    So a run with fewer of them measures some of those of a run with all, in the same way. Raises ValueError unless 2 <=
    n <= the number of signals.
    """
    total = len(dataset.values)
    if not 2 <= n <= total:
        raise ValueError(f"n = {n}: expected 2 to {total}, the number of signals of {dataset.name}/{dataset.split}")
    chosen = np.round(np.linspace(0, total - 1, n)).astype(int)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.asarray(chosen))
    x0 = jnp.asarray(dataset.values[chosen])
    return Case(dataset, chosen, np.asarray(x0), jax.vmap(task.measure)(keys, x0))


def samples_of(draw, key, measurements, n):
    """``draw(key, measurements, n)`` of a batch, a sampler's ``sample`` or ``sample_and_log_prob``, one measurement after the
    other: the same numbers, by the program of a single one, which ``evaluation.evaluate`` and timings need too.
    """
    keys = jax.random.split(key, len(measurements.y))
    found = [draw(k, jax.tree.map(lambda a, i=i: a[i], measurements), n) for i, k in enumerate(keys)]
    return jax.tree.map(lambda *parts: np.stack(parts), *found)


def error_ratio(scores, n):
    """(ratio, standard error) of the mean squared error of one sample and that of the exact mean of the sampler's
    distribution.

    From the errors of one sample and of the mean of n: their difference is (1 - 1/n) times the sampler's variance, and
    the mean of n carries 1/n of that variance. An exact posterior has 2. The standard error is that of a ratio of means
    over the measurements.
    """
    single, mean = 10 ** (-scores["psnr_n1"] / 10), 10 ** (-scores["psnr_mean"] / 10)
    exact = mean - (single - mean) / (n - 1)
    ratio = single.mean() / exact.mean()
    _, spread = mean_and_standard_error(single - ratio * exact)
    return float(ratio), float(spread / exact.mean())
