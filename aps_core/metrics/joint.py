"""Is the joint distribution right? Two tests of pairs of a signal and its measurement: TARP, and a classifier.

Both take flat coordinates of the caller's choice. Distances and a small network see what the coordinates make large: in
entries of an image that are the coarse modes; whitened by a closed-form posterior, all modes alike. Arrays may be NumPy or
JAX; results are NumPy in float64.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aps_core import checks
from aps_core.checks import count, finite_array
from aps_core.metrics.calibration import RankBand, checked_levels, rank_band
from aps_core.metrics.quality import mean_and_standard_error

PASSES, RATE, DECAY = 60, 3e-3, 1.0  # steps of AdamW over all training pairs, step size, decay of the weights
LEAST_PAIRS = 20
# Of two measurements in different folds each has taught the network that judges the other. Where there is nothing to be
# found, that adds 1/(2 pi) for each to the variance 1/4 of a verdict, by a linear discriminant of many features; simulated
# nulls of this network scatter 1.27 times as far as verdicts alone would.
CROSSED = np.sqrt(1 + 2 / np.pi)
FAR = 10.0  # standard deviations beyond which a feature counts as that far


class Tarp(NamedTuple):
    """What ``tarp`` finds.

    band: the RankBand of the distances' ranks, whose ``inside`` is the test. levels (k,), and expected coverage there,
    coverage (k,) with standard errors coverage_se (k,): the level itself is right. area, area_se: the area between
    expected coverage and the diagonal, with sign; 0 is right, above 0 the samples are too wide or off, below 0 too
    narrow, where the reference lies among the samples.
    """

    band: RankBand
    levels: np.ndarray
    coverage: np.ndarray
    coverage_se: np.ndarray
    area: float
    area_se: float


def tarp(samples, truths, references, levels=(0.5, 0.9), level=0.95, seed=0):
    """Tests of accuracy with random points (Lemos et al. 2023): a Tarp.

    samples (m, n, p): n of each of m measurements; truths (m, p); references (m, p): a random point for each
    measurement. With f the share of samples that are nearer to the reference than the truth is, the region of
    credibility a is the ball around the reference that holds a of the samples, and it holds the truth where f < a. For
    the exact posterior f is uniform whatever the reference; its ECDF is the expected coverage, and ``level`` is the
    probability of the simultaneous band. A reference that does not depend on the measurement lets draws of the prior
    pass: give one that does, such as a draw of an approximate posterior.

    Raises TypeError or ValueError for other shapes, entries that are not finite, fewer than two measurements, or a level
    outside (0, 1).
    """
    samples, truths, references = (
        finite_array(name, value)
        for name, value in (("samples", samples), ("truths", truths), ("references", references))
    )
    if samples.ndim != 3 or len(samples) < 2 or not samples.size:
        raise ValueError(f"samples has shape {samples.shape}, expected (m, n, p) with m at least 2, n and p at least 1")
    for name, value in (("truths", truths), ("references", references)):
        if value.shape != (len(samples), samples.shape[2]):
            raise ValueError(
                f"{name} has shape {value.shape}, expected ({len(samples)}, {samples.shape[2]}), one for each measurement"
            )
    levels = checked_levels(levels)
    n = samples.shape[1]
    nearer = ((samples - references[:, None]) ** 2).sum(axis=2) < ((truths - references) ** 2).sum(axis=1)[:, None]
    ranks = nearer.sum(axis=1)
    band = rank_band(ranks, n, level, seed=seed)
    # f < a, where a (n + 1) is no integer the two ranks beside it in proportion: the expected value is the level
    held = np.clip(levels * (n + 1) - ranks[:, None], 0, 1)
    coverage, coverage_se = mean_and_standard_error(held)
    area, area_se = mean_and_standard_error(0.5 - (ranks + 0.5) / (n + 1))
    return Tarp(band, levels, coverage, coverage_se, float(area), float(area_se))


class C2st(NamedTuple):
    """What ``c2st`` finds: held-out accuracy (0.5 where the two cannot be told apart), its standard error over the
    pairs, and n, how many pairs there are.
    """

    accuracy: float
    se: float
    n: int


def c2st(truths, samples, folds=5, width=32, seed=0):
    """Classifier two-sample test (Lopez-Paz and Oquab 2017): how often a small network tells true signals from samples.

    truths (n, p) and samples (n, p): features of n pairs (x0, y) and of n pairs (x, y) with the same measurements, x one
    sample of the posterior for each. Nothing but these features is seen, so that they have to hold what of y the test is to
    depend on. They are standardized by the training folds, their squares stand beside them (a wrong spread is then as
    easy to see as a wrong mean), and a network of two hidden layers of ``width`` learns to tell the two; it judges the
    fold that it has not seen. Both pairs of one measurement are in the same fold. The standard error is that over
    measurements, of their two verdicts' mean. More pairs see more: an accuracy near 0.5 says that these features of so many
    pairs do not tell the two apart.

    Raises TypeError or ValueError for other shapes, entries that are not finite or above 1e10 in magnitude, fewer than
    LEAST_PAIRS pairs, or a number of folds that is not from 2 to n.
    """
    truths, samples = finite_array("truths", truths), finite_array("samples", samples)
    if truths.ndim != 2 or truths.shape != samples.shape or not truths.shape[1]:
        raise ValueError(f"truths {truths.shape} and samples {samples.shape} must have one shape (n, p), p at least 1")
    n, folds, width, seed = len(truths), count("folds", folds), count("width", width), checks.seed("seed", seed)
    if n < LEAST_PAIRS:
        raise ValueError(f"truths are {n}, expected at least {LEAST_PAIRS}: fewer say nothing")
    if not 2 <= folds <= n:
        raise ValueError(f"folds is {folds}, expected 2 to {n}, the number of pairs")
    both = np.stack([truths, samples], axis=1)
    if (largest := np.abs(both).max()) > checks.LARGEST_ENTRY:
        raise ValueError(
            f"truths and samples have entries up to {largest:.4g}, expected at most {checks.LARGEST_ENTRY:g} in magnitude"
        )
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(n) % folds)
    held_out = fold[None] == np.arange(folds)[:, None]
    keys = jax.random.split(jax.random.key(seed), folds)
    arrays = jnp.asarray(both - both.mean(axis=(0, 1)), jnp.float32), jnp.asarray(held_out)
    logits = np.asarray(_cross_validated(*arrays, keys, width))
    logits = logits[fold, np.arange(n)]  # (n, 2), each by the network that has not seen it
    right = (0.5 * (1 + np.sign(logits * [-1, 1]))).mean(axis=1)  # a logit of 0 decides nothing
    accuracy, se = mean_and_standard_error(right)
    return C2st(float(accuracy), float(CROSSED * se), n)


@partial(jax.jit, static_argnames="width")
def _cross_validated(both, held_out, keys, width):
    """Logits (folds, n, 2) of "a sample" for pairs ``both`` (n, 2, p), by networks that have not seen the pairs
    ``held_out`` (folds, n).
    """
    label, optimizer = jnp.array([0.0, 1.0]), optax.adamw(optax.cosine_decay_schedule(RATE, PASSES), weight_decay=DECAY)

    def fold(args):
        out, key = args
        weight = jnp.where(out, 0.0, 1.0) / jnp.sum(~out)
        mean = jnp.einsum("n,nij->j", weight, both) / 2
        std = jnp.sqrt(jnp.einsum("n,nij->j", weight, (both - mean) ** 2) / 2)
        f = jnp.clip((both - mean) / jnp.where(std > 0, std, 1.0), -FAR, FAR)
        f = jnp.concatenate([f, jnp.where(std > 0, (f**2 - 1) / jnp.sqrt(2.0), 0.0)], axis=-1)

        linear = f @ _linear(f, weight, jnp.sum(~out))

        def loss(params):
            each = optax.sigmoid_binary_cross_entropy(linear + _network(params, f), label)
            return jnp.sum(weight[:, None] * each) / 2

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        params = _start(key, f.shape[-1], width)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, PASSES)
        return linear + _network(params, f)

    return jax.lax.map(fold, (held_out, keys))


def _linear(f, weight, n):
    """Coefficients (p,) of Fisher's discriminant of f[:, 1] and f[:, 0] with ``weight`` (n,), of sum 1, shrunk as
    far as chance alone would make them large.
    """
    means = jnp.einsum("n,nij->ij", weight, f)
    within = f - means
    difference = means[1] - means[0]
    p = jnp.sum(difference != 0)  # what is constant, or the same in both pairs, has none
    covariance = jnp.einsum("n,nij,nik->jk", weight, within, within) / 2
    share = jnp.where(p > 0, p / (p + n), 1.0)  # where all are the same, what is constant would leave nothing to solve
    found = jnp.linalg.solve((1 - share) * covariance + share * jnp.eye(len(difference)), difference)
    distance = difference @ found  # 2 p / n by chance
    return jnp.maximum(1 - 2 * p / n / jnp.maximum(distance, 1e-12), 0) * found


def _start(key, p, width):
    """Parameters of two hidden layers before training: their output is zero."""
    keys = jax.random.split(key, 2)
    sizes = ((p, width), (width, width))
    hidden = [(jax.random.normal(k, s) / jnp.sqrt(s[0]), jnp.zeros(s[1])) for k, s in zip(keys, sizes, strict=True)]
    return {"hidden": hidden, "last": jnp.zeros(width), "offset": jnp.zeros(())}


def _network(params, f):
    for w, b in params["hidden"]:
        f = jax.nn.silu(f @ w + b)
    return f @ params["last"] + params["offset"]
