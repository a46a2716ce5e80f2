"""Training fields for the climate prior: recombined anomalies of neighbouring months.

A few hundred fields are too few to fit a score network in tens of dimensions: it learns them by heart. Anomalies from
the monthly climatology are nearly Gaussian with a covariance that follows the season, so weighted sums of the anomalies
of several years (weights on the unit sphere), taken from neighbouring months, are new fields with the same mean and
covariance.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class SeasonalRecombination:
    """Draws month m, then climatology(m) + sum_j w_j anomaly_j, j over ``n_mixed`` fields whose months are near m.

    Works on amplitudes (n, K). ``months_wide`` is the standard deviation in months of the circular kernel; a fraction
    ``any_month`` of the fields is taken from anywhere in the year, which shrinks the covariance towards that of the
    year.
    """

    climatology: jax.Array  # (12, K)
    anomalies: jax.Array  # (n, K)
    log_weights: jax.Array  # (12, n)
    n_mixed: int = flax.struct.field(pytree_node=False, default=6)

    def sample(self, key, n):
        """n amplitudes (n, K)."""
        k_month, k_pick, k_weight = jax.random.split(key, 3)
        month = jax.random.randint(k_month, (n,), 0, 12)
        picked = jax.random.categorical(k_pick, self.log_weights[month], shape=(self.n_mixed, n))
        weights = jax.random.normal(k_weight, (self.n_mixed, n))
        weights = weights / jnp.linalg.norm(weights, axis=0)
        return self.climatology[month] + jnp.einsum("jn,jnk->nk", weights, self.anomalies[picked])


def seasonal_recombination(amplitudes, month, months_wide=1.5, any_month=0.2, n_mixed=6):
    """The sampler made from training ``amplitudes`` (n, K) and their calendar ``month`` (n,), 1..12.

    Raises ValueError when a calendar month is absent or a setting is out of range.
    """
    amplitudes, month = np.asarray(amplitudes), np.asarray(month)
    absent = sorted(set(range(1, 13)) - set(month.tolist()))
    if absent:
        raise ValueError(f"month must hold every calendar month, {absent} are absent")
    if not months_wide > 0 or not 0 <= any_month <= 1 or n_mixed < 1:
        raise ValueError(
            f"expected months_wide > 0, any_month in [0, 1], n_mixed >= 1; got {months_wide}, {any_month}, {n_mixed}"
        )
    climatology = np.stack([amplitudes[month == m].mean(axis=0) for m in range(1, 13)])
    # a month of n years underestimates its variance by (n - 1)/n when its own mean is taken out
    years = amplitudes.shape[0] / 12
    anomalies = (amplitudes - climatology[month - 1]) * np.sqrt(years / (years - 1))
    distance = (month[None, :] - np.arange(1, 13)[:, None]) % 12
    distance = np.minimum(distance, 12 - distance)
    near = np.exp(-0.5 * (distance / months_wide) ** 2)
    weights = (1 - any_month) * near / near.sum(axis=1, keepdims=True) + any_month / amplitudes.shape[0]
    as32 = lambda a: jnp.asarray(a, dtype=jnp.float32)  # noqa: E731
    return SeasonalRecombination(as32(climatology), as32(anomalies), as32(np.log(weights)), n_mixed=n_mixed)
