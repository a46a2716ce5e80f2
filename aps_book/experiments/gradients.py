"""The gradient of the log density of the probability-flow ODE: by adjoint, by number of trace estimators, beside the
score.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import gaussian16_score
from aps_core import data
from aps_core.diffusion import VPSDE
from aps_core.priors import fast_sampling
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.ode import log_prob_ode
from aps_core.priors.store import load_prior

T_MIN = 1e-3  # where the paper evaluates its score
CONTRASTS = "patches16-contrasts"


def contrast_mixture(components=4, diagonal=0.01, t_min=T_MIN):
    """A GaussianMixturePrior of 16 x 16 grey patches, its score and gradient known: one Gaussian for each class of
    contrast.

    The training patches are sorted by their standard deviation into ``components`` classes of equal size, and each has
    its mean and covariance, ``diagonal`` added. Flat and busy patches differ in their covariance many times over, as
    natural images do: the score is not linear, and its divergence depends on the image. Raises ValueError for less than
    one component.
    """
    if components < 1:
        raise ValueError(f"components must be at least 1, got {components}")
    patches = data.load("patches16", "train").values
    flat = patches.reshape(len(patches), -1).astype(np.float64)
    classes = np.array_split(np.argsort(flat.std(axis=1), kind="stable"), components)
    covariances = [np.cov(flat[c], rowvar=False) + diagonal * np.eye(flat.shape[1]) for c in classes]
    means = [flat[c].mean(axis=0) for c in classes]
    return gaussian_mixture(
        [len(c) for c in classes], means, covariances, shape=patches.shape[1:], sde=VPSDE(t_min=t_min)
    )


def load(name):
    """(prior, card or None) by name: ``CONTRASTS``, the plain score network "gaussian16-score", or the weights of any
    diffusion prior.
    """
    if name == CONTRASTS:
        return contrast_mixture(), None
    if name == "gaussian16-score":
        prior, card = gaussian16_score.load_score(name)
        return prior.mixed(), card
    return load_prior(name)


def draw(prior, key):
    """One signal of the prior: of its own, or of the Gaussian under a learned one whose draws are costly."""
    if prior.has_fast_sampler:
        return fast_sampling.draw(prior, key, 1)[0]
    source = prior if prior.has_log_prob_at else prior.gaussian
    return source.sample(key, 1)[0]


def exact_gradient(prior, x):
    """grad log p(x) of a prior whose density at t_min is known, flat (d,): 2 grad log p_t(u) at t_min, u = 2 x - 1."""
    u = 2 * jnp.asarray(x).reshape(-1) - 1
    return 2 * np.asarray(jax.grad(lambda ui: prior.log_prob_at(ui, prior.sde.t_min))(u), np.float64)


def score_gradient(prior, x):
    """2 s(u, t) at t = 1e-3 (or t_min where that is later), flat (d,): the gradient, if the network is the score of its
    own density.
    """
    t = max(T_MIN, prior.sde.t_min)
    return 2 * np.asarray(jax.jit(prior.score)(2 * jnp.asarray(x).reshape(-1) - 1, t), np.float64)


@partial(jax.jit, static_argnames=("n_probes", "adjoint", "max_steps"))
def _gradients(prior, x, keys, n_probes, adjoint, tolerance, max_steps):
    def one(key):
        settings = dict(divergence="rademacher", n_probes=n_probes, rtol=tolerance, atol=tolerance, time="t")
        return jax.grad(
            lambda xi: log_prob_ode(prior, xi, key, adjoint=adjoint, max_steps=max_steps, **settings).log_prob
        )(x)

    return jax.lax.map(one, keys, batch_size=5)


def gradients(prior, x, key, n_probes, trials, adjoint="continuous", tolerance=1e-3, max_steps=256):
    """grad log p(x) by the ODE with ``n_probes`` Rademacher probes: {"values" (trials, d), "seconds" of one trial,
    "bytes"}.

    bytes: what the compiled program of a single trial needs beside its inputs and outputs, by XLA's own account.
    seconds: without compilation; the least of five runs of a single trial, else the mean over trials of which five run
    side by side.
    """
    keys, static = jax.random.split(key, trials), dict(n_probes=n_probes, adjoint=adjoint, max_steps=max_steps)
    single = _gradients.lower(prior, x, keys[:1], tolerance=tolerance, **static).compile()
    compiled = single if trials == 1 else _gradients.lower(prior, x, keys, tolerance=tolerance, **static).compile()
    spans = []
    for _ in range(5 if trials == 1 else 1):
        begin = time.perf_counter()
        values = jax.block_until_ready(compiled(prior, x, keys, tolerance=tolerance))
        spans.append((time.perf_counter() - begin) / trials)
    return {
        "values": np.asarray(values, np.float64).reshape(trials, -1),
        "seconds": min(spans),
        "bytes": float(single.memory_analysis().temp_size_in_bytes),
    }


def relative_std(values):
    """|s| / |m| of each entry over trials, (d,): s the standard deviation of ``values`` (trials, d) and m their mean."""
    return np.std(values, axis=0, ddof=1) / np.abs(values.mean(axis=0))


def spread_ratio(few, many, resamples=200, seed=0):
    """(median of ``relative_std`` of ``few`` over that of ``many``, its standard error), each (trials, d): by
    resampling the trials.

    Pixels scatter together, so that the median over them is no better known than a few of them.
    """
    rng = np.random.default_rng(seed)

    def median(values, draw):
        # the means stay: a resampled one near zero would say nothing of the scatter
        return np.median(np.std(values[draw], axis=0, ddof=1) / np.abs(values.mean(axis=0)))

    drawn = [
        median(few, rng.integers(len(few), size=len(few))) / median(many, rng.integers(len(many), size=len(many)))
        for _ in range(resamples)
    ]
    return float(np.median(relative_std(few)) / np.median(relative_std(many))), float(np.std(drawn, ddof=1))


def store_scatter(run, prefix, found, score, truth=None):
    """Store how gradients scatter by number of trace estimators: ``found`` {n: result of ``gradients``}, with two
    numbers.

    As ``prefix.traces<n>``: ``relative_std`` (median over entries), ``cosine`` (distance to ``score``, its mean over
    trials), ``one_error`` and ``mean_error`` (distance of one and of their mean from ``truth``, relative);
    ``prefix.ratio``, the factor between the two medians.
    """
    truth = score if truth is None else truth
    for n, f in found.items():
        run.number(f"{prefix}traces{n}.relative_std", np.median(relative_std(f["values"])))
        run.mean(f"{prefix}traces{n}.cosine", cosine_distance(f["values"], score))
        run.number(f"{prefix}traces{n}.mean_error", difference(f["values"].mean(axis=0), truth))
        run.number(f"{prefix}traces{n}.one_error", np.mean([difference(v, truth) for v in f["values"]]))
    few, many = found.values()
    run.number(f"{prefix}ratio", *spread_ratio(few["values"], many["values"]), n=len(few["values"]))


def has_faces(run):
    """Whether this run or the full run has the gradients of the network for grey faces."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    return any(key.startswith("faces.") for key in [*run.as_dict()["numbers"], *full["numbers"]])


def cosine_distance(values, reference):
    """1 - cos of the angle between each row of ``values`` (trials, d) and ``reference`` (d,), (trials,)."""
    norms = np.linalg.norm(values, axis=1) * np.linalg.norm(reference)
    return 1 - values @ reference / norms


def difference(value, reference):
    """|value - reference| / |reference|."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))
