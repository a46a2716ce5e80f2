"""Where a bound starts: what a least diffusion time t_min does to a posterior that is exact otherwise, for denoising,
in closed form.
"""

from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from aps_book.experiments.closed_form_modes import ClosedFormModes
from aps_book.experiments.gaussian16 import bound_precision
from aps_core.posterior import AmortizedPosterior
from aps_core.priors.base import Prior
from aps_core.priors.score_network import NetworkPrior

LEVEL = 0.9  # of the central intervals whose coverage is asked for


def noise_variance(sde, t_min):
    """v, the noise-to-signal variance (beta/alpha)^2 at ``t_min`` in the scale of signals in [0, 1]: a quarter of that
    of u = 2 x - 1.
    """
    return jnp.exp(sde.log_odds(t_min)) / 4


@flax.struct.dataclass
class CutOffPrior(Prior):
    """The bound of a residual NetworkPrior, stopped at ``t_min`` without the start-time term, for the term
    "control-variate" of ``priors.terms``.

    The Gaussian's own bound is then, up to a constant, its log density with v = ``noise_variance`` added to every
    variance: E log p_tmin(x_tmin) for x_tmin drawn from x. What is left to estimate is the difference that the network
    makes at times from t_min on. The sum has the gradient of "elbo-no-start" with the diffusion of that t_min, at a
    fraction of its noise.
    """

    has_log_ratio = True
    has_score = False
    can_be_sampled = False

    prior: NetworkPrior
    t_min: jax.Array

    @property
    def gaussian(self):
        """The Gaussian with v added to its variances."""
        g = self.prior.gaussian
        return g.replace(rest=g.rest + noise_variance(g.sde, self.t_min))

    @property
    def sde(self):
        """The diffusion."""
        return self.prior.sde

    @property
    def t_residual(self):
        """Where the times begin."""
        return self.t_min

    def log_ratio_at(self, key, x, t):
        """One-sample estimate of the difference of the two bounds for one signal at one weighted time >= t_min."""
        return self.prior.replace(t_residual=self.t_min).log_ratio_at(key, x, t)


def optimum(variance, v, sigma_y, start_time_term=False):
    """(gain (d,), variance (d,)) of the Gaussian that the objective with a bound stopped at t_min has as its optimum,
    mode by mode.

    variance: of the prior; v: ``noise_variance``. Its mean is m + gain (y - m) for a measurement y of the mode with
    noise ``sigma_y``. Without the start-time term it is the posterior under the prior variance + v, with it under
    (variance + v)^2 / (variance + 2 v).
    """
    spread = 1 / (bound_precision(variance, v, start_time_term) + 1 / sigma_y**2)
    return spread / sigma_y**2, spread


@dataclass(frozen=True)
class Expected:
    """What ``expected`` finds, averaged over entries: ``error``, squared error of the mean; ``spread``, variance of the
    samples; ``inside``, the share of the truth in the central intervals of LEVEL.
    """

    error: float
    spread: float
    inside: float

    def psnr(self, n):
        """PSNR in dB of the mean of ``n`` samples."""
        return -10 * np.log10(self.error + self.spread / n)

    @property
    def ratio(self):
        """Variance of the samples over squared error of the mean: 1 for an exact posterior."""
        return self.spread / self.error


def expected(variance, v, sigma_y, basis=None, start_time_term=False):
    """An Expected for signals that are Gaussian with ``variance`` (d,) along the columns of ``basis`` (d, d), measured
    with noise ``sigma_y`` and sampled from ``optimum``. Without ``basis`` ``inside`` is that of the modes, with it that
    of the entries.
    """
    variance = np.asarray(variance, np.float64)
    gain, spread = optimum(variance, v, sigma_y, start_time_term)
    error = (1 - gain) ** 2 * variance + gain**2 * sigma_y**2
    squares = np.eye(len(variance)) if basis is None else np.asarray(basis, np.float64) ** 2
    inside = 2 * norm.cdf(norm.ppf(0.5 + LEVEL / 2) * np.sqrt((squares @ spread) / (squares @ error))) - 1
    return Expected(float(error.mean()), float(spread.mean()), float(inside.mean()))


def curves(variance, sde, sigma_y, t_mins, start_time_term=False):
    """``expected`` at each of ``t_mins``: a list of Expected."""
    return [expected(variance, float(noise_variance(sde, t)), sigma_y, start_time_term=start_time_term) for t in t_mins]


def implied_variance(spread, sigma_y):
    """The prior variance (d,) under which denoising leaves the posterior variance ``spread`` (d,) < sigma_y^2, mode by
    mode.
    """
    spread = np.minimum(np.asarray(spread, np.float64), 0.999 * sigma_y**2)
    return 1 / (1 / spread - 1 / sigma_y**2)


@flax.struct.dataclass
class DenoisingModes:
    """``optimum`` for denoising as the modes of a flow: x = m + V (w V^T (y - m) + s^(1/2) z), V the modes of the prior."""

    centre: jax.Array  # m (d,)
    basis: jax.Array  # V (d, d)
    gain: jax.Array  # w (d,)
    std: jax.Array  # s^(1/2) (d,)

    def mean(self, y):
        """Mean (d,) for flat data ``y`` (d,)."""
        return self.centre + self.basis @ (self.gain * ((y - self.centre) @ self.basis))


def closed_form(task, t_min=None):
    """The optimum under the Gaussian part of a denoising task's prior, with the bound stopped at ``t_min``, as a
    sampler; None leaves it exact.
    """
    g = task.prior.gaussian
    v = 0.0 if t_min is None else float(noise_variance(g.sde, t_min))
    gain, spread = optimum(np.asarray(g.excess + g.rest, np.float64), v, task.sigma_y)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    modes = DenoisingModes(g.mean, g.basis, as32(gain), as32(np.sqrt(spread)))
    return AmortizedPosterior(task, ClosedFormModes(modes, tuple(task.shape)), {})


def parts_of_error(psnr_n1, psnr_mean, n, exact):
    """Parts of the squared error of a single sample with PSNR ``psnr_n1`` whose mean of ``n`` has ``psnr_mean``, in dB,
    beside ``exact``, the squared error of the exact posterior's mean: a dict of ``mean`` and ``sample``, what every
    exact sample has (both ``exact``), ``mean_excess`` and ``sample_excess``, what is left of the error of the mean and
    of the variance.
    """
    single, mean = (10 ** (-value / 10) for value in (psnr_n1, psnr_mean))
    spread = (single - mean) * n / (n - 1)
    return {"mean": exact, "sample": exact, "mean_excess": mean - spread / n - exact, "sample_excess": spread - exact}


def t_min_of_spread(variance, sde, sigma_y, spread):
    """The t_min at which ``optimum`` has samples of mean variance ``spread``, by bisection.

    Raises ValueError for a spread that no t_min in (1e-6, 1) has.
    """
    found = lambda t: expected(variance, float(noise_variance(sde, t)), sigma_y).spread  # noqa: E731
    low, high = 1e-6, 1.0
    if not found(low) < spread < found(high):
        raise ValueError(f"spread must lie between {found(low):g} and {found(high):g}, got {spread:g}")
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if found(middle) < spread else (low, middle)
    return float(middle)
