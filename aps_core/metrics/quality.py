"""Measures of quality for signals in [0, 1]. Nothing is clipped.

Conventions: the first axis is the batch and every signal is judged on its own, so no result
depends on what else is in the batch. `samples` has its n draws on the first axis.
Arrays may be NumPy or JAX; results are NumPy in float64.
"""

import numpy as np

from aps_core.checks import real_array

WINDOWS = {  # of `ssim`: size, settings of scikit-image
    "uniform": (7, {}),
    "gaussian": (11, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
}


def mse(x, ref, weights=None):
    """Mean squared error (batch,) over the axes of each signal; `x` and `ref` are (batch, *shape).

    weights: of the entries, of the shape of one signal, such as the areas of the cells of a sphere
    (`aps_core.geometry.sphere.cell_areas`); only their ratios matter. Without them all entries count alike.
    Raises ValueError for weights of another shape, negative, or without a positive sum.
    """
    x, ref = _pair(x, ref)
    square = ((x - ref) ** 2).reshape(len(x), -1)
    return square.mean(axis=1) if weights is None else square @ _shares(weights, x.shape[1:])


def psnr(x, ref, weights=None):
    """Peak signal-to-noise ratio (batch,) in dB with peak 1: -10 log10(MSE); infinite where MSE is 0.

    `x` and `ref` are (batch, *shape), `weights` those of `mse`. Average it over the batch, not the MSE. Raises ValueError for
    whole numbers above 1, such as 8-bit pictures have.
    """
    _check_peak(x=x, ref=ref)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse(x, ref, weights))


def ssim(x, ref, window="uniform"):
    """Structural similarity (batch,) of (batch, H, W) or (batch, H, W, channels), data range 1, averaged over channels.

    window: "uniform", 7 x 7 with sample covariances, the default of scikit-image's `structural_similarity`; or
    "gaussian", 11 x 11 of standard deviation 1.5 with population covariances, that of Wang et al. (2004), which most
    papers use. The two are different numbers. Raises ValueError for another window, for an image smaller than it, and for
    whole numbers above 1.
    """
    from skimage.metrics import structural_similarity

    _check_peak(x=x, ref=ref)
    x, ref = _pair(x, ref)
    if window not in WINDOWS:
        raise ValueError(f"window must be one of {sorted(WINDOWS)}, got {window!r}")
    size, settings = WINDOWS[window]
    if x.ndim not in (3, 4) or min(x.shape[1:3]) < size:
        expected = f"(batch, H, W) or (batch, H, W, channels) with H and W of at least {size}"
        raise ValueError(f"x has shape {x.shape}, expected {expected}")
    settings = {**settings, "data_range": 1.0, "channel_axis": -1 if x.ndim == 4 else None}
    return np.array([structural_similarity(a, b, **settings) for a, b in zip(x, ref, strict=True)])


def energy_score(samples, x):
    """Energy score of one signal: mean |s_i - x| - mean_{i != j} |s_i - s_j| / 2, Euclidean norm.

    samples (n, *shape) with n >= 2, x (*shape). A proper score: smaller is better, in
    expectation smallest for the true distribution. Pairs i = j are left out, so the value does
    not depend on n in expectation. Distances come from the Gram matrix.
    """
    samples, x = check_draws(samples, x, at_least=2)
    n = len(samples)
    d = (samples - x).reshape(n, -1)
    gram = d @ d.T
    norms = np.diag(gram)
    squares = norms[:, None] + norms[None, :] - 2 * gram
    np.fill_diagonal(squares, 0)
    between = np.sqrt(np.maximum(squares, 0)).sum() / (n * (n - 1))
    return float(np.sqrt(norms).mean() - between / 2)


def crps(samples, x):
    """Continuous ranked probability score (*shape) of each coordinate: mean |s_i - x| - mean_{i != j} |s_i - s_j| / 2.

    samples (n, *shape) with n >= 2, x (*shape). The mean difference of all pairs comes from
    the sorted samples: 2 / (n (n - 1)) * sum_i (2 i - n - 1) s_(i).
    """
    samples, x = check_draws(samples, x, at_least=2)
    n = len(samples)
    weights = 2 * np.arange(1, n + 1) - n - 1
    between = np.tensordot(weights, np.sort(samples, axis=0), axes=1) * 2 / (n * (n - 1))
    return np.abs(samples - x).mean(axis=0) - between / 2


def mmse_estimate(samples, x):
    """Estimate (batch,) of the squared error per coordinate of the posterior mean.

    samples (batch, n, *shape) with n >= 2, x (batch, *shape). The mean of n draws carries an
    error of its own; the sample variance over n is subtracted, which makes the estimate unbiased.
    """
    samples, x = _batched_draws(samples, x)
    n = samples.shape[1]
    error = mse(samples.mean(axis=1), x)
    variance = samples.var(axis=1, ddof=1).reshape(len(x), -1).mean(axis=1)
    return error - variance / n


def sample_error_over_mmse(samples, x, mmse=None):
    """(ratio, standard error) of the mean squared error of single samples and that of the posterior mean.

    samples (batch, n, *shape), x (batch, *shape); `mmse` is the known squared error per
    coordinate, (batch,) or one number, else `mmse_estimate`. The ratio is 2 for an exact
    posterior, below 2 for a sampler with too little spread, above for too much or a bias.
    The standard error is that of a ratio of means over the batch; it is NaN for a batch of one.
    """
    samples, x = _batched_draws(samples, x)
    error = ((samples - x[:, None]) ** 2).reshape(len(x), -1).mean(axis=1)
    reference = np.broadcast_to(
        mmse_estimate(samples, x) if mmse is None else np.asarray(mmse, np.float64), error.shape
    )
    ratio = error.mean() / reference.mean()
    _, spread = mean_and_standard_error(error - ratio * reference)
    return float(ratio), float(spread / reference.mean())


def mean_and_standard_error(values):
    """(mean, standard error) of independent `values` along the first axis; the error is NaN for a single value.

    For two methods on the same signals give the differences: that is the paired standard error.
    """
    values = np.atleast_1d(real_array("values", values))
    n = len(values)
    if n == 0:
        raise ValueError("values is empty, expected at least one")
    error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
    return values.mean(axis=0)[()], error[()]


def _check_peak(**arrays):
    """Raise ValueError for whole numbers above 1: those of 8-bit pictures, whose peak is not that of signals."""
    for name, value in arrays.items():
        real_array(name, value)  # names what is no array
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.max(initial=0) > 1:
            raise ValueError(
                f"{name} holds {array.dtype} up to {array.max()}, expected signals in [0, 1]: divide 8-bit ones by 255"
            )


def _shares(weights, shape):
    """Weights of `shape` as a flat float64 array of sum 1."""
    weights = np.asarray(weights, np.float64)
    if weights.shape != shape:
        raise ValueError(f"weights has shape {weights.shape}, expected that of a signal, {shape}")
    if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError("weights must be finite, not negative, and not all zero")
    return weights.ravel() / weights.sum()


def _pair(x, ref):
    """Two float64 arrays (batch, *shape) of the same shape."""
    x, ref = real_array("x", x), real_array("ref", ref)
    if x.shape != ref.shape:
        raise ValueError(f"x has shape {x.shape}, expected that of ref, {ref.shape}")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"x has shape {x.shape}, expected (batch, *shape) and not empty")
    return x, ref


def check_draws(samples, x, at_least=1):
    """float64 samples (n, *shape) and x (*shape), n >= at_least."""
    samples, x = real_array("samples", samples), real_array("x", x)
    if samples.ndim == 0 or samples.shape[1:] != x.shape:
        raise ValueError(f"samples has shape {samples.shape}, expected (n, *shape) with shape {x.shape} of x")
    if len(samples) < at_least:
        raise ValueError(f"samples holds {len(samples)} draws, expected at least {at_least}")
    return samples, x


def _batched_draws(samples, x):
    """float64 samples (batch, n, *shape) with n >= 2 and x (batch, *shape)."""
    samples, x = real_array("samples", samples), real_array("x", x)
    if samples.ndim < 2 or samples.shape[:1] + samples.shape[2:] != x.shape:
        raise ValueError(f"samples has shape {samples.shape}, expected (batch, n, *shape) where x has {x.shape}")
    if samples.shape[1] < 2:
        raise ValueError(f"samples holds {samples.shape[1]} draws, expected at least 2")
    return samples, x
