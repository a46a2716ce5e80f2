"""Training of a SubspacePrior, the learned prior of signals on a mesh (or anywhere) that fill few of their dimensions.

A recipe's [prior] has ``data``, ``subspace`` (K, the number of modes), ``batch``, ``t_residual``, ``tokens`` (how many,
for a network of kind "patches") or ``radius`` (of what a site sees, for kind "local"), and [prior.network].
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data
from aps_core.data import bunny_mnist
from aps_core.diffusion import VPSDE
from aps_core.files import sha256_of
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.local import disc_neighbourhoods
from aps_core.priors.networks.patches import vertex_patches
from aps_core.priors.score_network import build_network, denoising_loss, init_network_prior
from aps_core.priors.store import load_prior, prior_settings, prior_tree
from aps_core.priors.subspace import SubspacePrior, inner_gaussian, local_basis
from aps_core.training.job import Job, run
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import Trainer, checked, prior_of

POINTS = {"bunny-mnist": lambda: bunny_mnist.coordinates()}  # where the entries of a signal lie, for neighbours
VALIDATION = 512
REQUIRED = ("subspace", "batch", "network")  # of a recipe's [prior]
DEFAULTS = {"data": None, "t_residual": 3e-4, "tokens": 72, "radius": 3}


def fit_subspace_gaussian(signals, n_modes, sde=VPSDE()):
    """The GaussianPrior of ``signals`` (n, d) by their covariance matrix: K modes, and as isotropic rest s^2 the mean
    variance outside.

    s^2 is added inside as well: the Gaussian is that of signal + N(0, s^2 I), which has a density where the signals
    alone have none. Raises ValueError unless 1 <= n_modes < d and something is left outside.
    """
    d = signals.shape[1]
    if not 1 <= n_modes < d:
        raise ValueError(f"n_modes must lie in 1..{d - 1}, got {n_modes}")
    mean = signals.mean(axis=0, dtype=np.float64)
    total = np.zeros((d, d))
    for chunk in np.array_split(signals, -(-len(signals) // 8192)):
        v = chunk - mean.astype(np.float32)
        total += v.T @ v
    variances, basis = np.linalg.eigh(total / (len(signals) - 1))
    variances, basis = variances[::-1], basis[:, ::-1][:, :n_modes]
    rest = variances[n_modes:].mean()
    if not rest > 0:
        raise ValueError(f"nothing is left outside of {n_modes} modes; use fewer")
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(n_modes)])
    as32 = lambda a: jnp.asarray(a, dtype=jnp.float32)  # noqa: E731
    return GaussianPrior(as32(mean), as32(basis), as32(variances[:n_modes]), as32(rest), shape=(d,), sde=sde)


def start_subspace_prior(
    gaussian,
    points,
    network,
    t_residual=DEFAULTS["t_residual"],
    tokens=DEFAULTS["tokens"],
    radius=DEFAULTS["radius"],
    seed=0,
):
    """An untrained SubspacePrior, equal to ``gaussian``.

    points: (d, 2 or 3), where the entries lie: neighbouring sites share one of ``tokens`` tokens, or see each other
    within ``radius`` steps (in the first two coordinates), as the network's ``kind`` needs. network: settings for
    ``build_network``.
    """
    basis, sites = local_basis(gaussian.basis)
    points = np.asarray(points)[sites]
    cut = {
        "patches": lambda: vertex_patches(points, tokens),
        "local": lambda: disc_neighbourhoods(points[:, :2], radius),
    }
    basis = jnp.asarray(basis, jnp.float32)
    within = inner_gaussian(gaussian, basis)
    kind = network.get("kind")
    built = build_network(network, within.shape, cut[kind]() if kind in cut else None)
    return SubspacePrior(gaussian, init_network_prior(jax.random.key(seed), within, built, True, t_residual), basis)


def train_subspace_prior(recipe, signals=None, points=None, **session):
    """Train a SubspacePrior as a recipe says: (prior, Trained, card). session: see ``job.run``; the rest as for
    ``subspace_prior_job``.
    """
    recipe = checked(recipe, SUBSPACE_PRIOR)
    return run(subspace_prior_job(recipe, signals, points), recipe, **session)


def subspace_prior_job(recipe, signals=None, points=None):
    """The Job of a SubspacePrior.

    signals: dict of "train" and "val" arrays (n, d) in the place of the recipe's ``data``, with the ``points`` (d, 2 or
    3) of its entries. Each time a signal is used, N(0, s^2 I) is added to it, s^2 being the Gaussian's rest. A recipe's
    ``start`` names weights of the same network on the same Gaussian, from which training goes on. Logged: the gain of
    the bound over the Gaussian in nats per signal on validation signals. Raises ValueError for a ``start`` of another
    network, a [prior] with neither ``data`` nor signals here, and what ``prior_of`` and ``weights.load`` raise.
    """
    settings, seed = prior_of(recipe, REQUIRED, DEFAULTS), Optimizer.of(recipe["optimizer"]).seed
    sha = None
    if signals is None and settings["data"] not in POINTS:
        known = " or ".join(map(repr, POINTS))
        raise ValueError(f"[prior] data = {settings['data']!r}: expected {known}, or signals and points of your own")
    if signals is None:
        loaded = {split: data.load(settings["data"], split) for split in ("train", "val")}
        signals, sha = {split: dataset.values for split, dataset in loaded.items()}, loaded["train"].sha256
        points = POINTS[settings["data"]]()
    sha = sha or _sha256({**signals, "points": points})
    gaussian = fit_subspace_gaussian(signals["train"].reshape(len(signals["train"]), -1), settings["subspace"])
    given = {name: settings[name] for name in ("t_residual", "tokens", "radius")}
    start = start_subspace_prior(gaussian, points, settings["network"], seed=seed, **given)
    if "start" in recipe:
        start = start.replace(inner=start.inner.replace(params=_params_of(recipe["start"], start.inner.params)))
    inside = {split: coordinates_of(start, values) for split, values in signals.items()}
    arrays = {"prior": start.inner.replace(params={}), "train": inside["train"], "val": inside["val"][:VALIDATION]}
    return Job(
        partial(_loss, settings["batch"]),
        start.inner.params,
        arrays,
        _evaluate,
        lambda params, card: start.replace(inner=start.inner.replace(params=params)),
        {"data_sha256": sha, "settings": prior_settings(start)},
        prior_tree,
        inputs={"data": sha},
    )


def _sha256(arrays):
    """Of somebody's own signals and points, the checksum of their numbers in single precision."""
    content = b"".join(np.ascontiguousarray(arrays[name], np.float32).tobytes() for name in ("train", "val", "points"))
    return sha256_of(content)


def _params_of(name, expected):
    prior: Any = load_prior(name)[0]
    if not prior.has_coordinates:
        raise ValueError(
            f"start = {name!r} is the weights of a {type(prior).__name__}, expected those of a SubspacePrior"
        )
    params = prior.inner.params
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (params, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"start = {name!r} has a network of other shapes than the recipe's [prior.network]")
    return params


def coordinates_of(prior, values):
    """Coordinates (n, K) of an array of signals (n, ...), in single precision, without a copy of all of them at once."""
    flat = np.asarray(values, np.float32).reshape(len(values), -1)
    mean, basis = np.asarray(prior.gaussian.mean), np.asarray(prior.basis)
    return jnp.asarray(
        np.concatenate([0.5 + (chunk - mean) @ basis for chunk in np.array_split(flat, -(-len(flat) // 8192))])
    )


def _noisy(prior, key, coordinates):
    return coordinates + jnp.sqrt(prior.gaussian.rest) * jax.random.normal(key, coordinates.shape)


def _loss(batch, params, arrays, key, progress):
    del progress
    k_pick, k_noise, k_loss = jax.random.split(key, 3)
    picked = jax.random.randint(k_pick, (batch,), 0, arrays["train"].shape[0])
    prior = arrays["prior"].replace(params=params)
    return denoising_loss(prior, k_loss, _noisy(prior, k_noise, arrays["train"][picked])), {}


@jax.jit
def _gains(prior, key, coordinates):
    k_noise, k_ratio = jax.random.split(key)
    noisy = _noisy(prior, k_noise, coordinates)
    return jax.lax.map(lambda a: prior.log_ratio(a[0], a[1], 16), (jax.random.split(k_ratio, len(noisy)), noisy))


def _evaluate(params, arrays, key):
    gains = np.asarray(_gains(arrays["prior"].replace(params=params), jax.random.key(1), arrays["val"]))
    return {"val_gain": float(gains.mean()), "val_gain_se": float(gains.std(ddof=1) / np.sqrt(len(gains)))}


SUBSPACE_PRIOR = Trainer(subspace_prior_job, ("prior",), ("start",))
