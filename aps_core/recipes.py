"""Recipes (TOML) for every network: what to train, on what, how long. ``python -m aps_core.train FILE`` runs one.

A recipe has [task] or [prior], [flow], [objective] and [optimizer] tables; the files in ``recipes/`` are the examples. ``start`` names
weights of the same flow to go on from (of another task where ``start_task`` names it), ``validate_objective = false`` leaves the costly part of the validation out.
"""

import platform
import subprocess
import time
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import aps, data, operators, prior_terms, training, weights
from aps_core.flows.base import posterior_base
from aps_core.flows.distilled import DistilledFlow, matched_noise
from aps_core.flows.gaussian_base import GaussianBaseFlow
from aps_core.flows.image import ImageFlow
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.flows.subspace import subspace_flow
from aps_core.flows.through_sensor import ThroughSensor
from aps_core.flows.tokens import TokenFlow
from aps_core.operators.saturation import SaturatingSensor
from aps_core.priors import draws, elbo
from aps_core.priors.gaussian import extrapolated_gaussian, gaussian_posterior
from aps_core.priors.networks import RegimeResidual
from aps_core.priors.patches import PatchTransformer, make_tokens
from aps_core.priors.posterior_modes import posterior_modes
from aps_core.priors.score import ScorePrior, score_matching_loss
from aps_core.priors.seasons import seasonal_recombination
from aps_core.priors.store import prior_settings
from aps_core.priors.subspace import SubspacePrior

OBJECTIVE = {
    "prior_term": "elbo", "times": "low-discrepancy", "kl": "reverse", "forward_share": 0.5, "batch": 64, "n_samples": 1, "n_times": 1,
    "protocol": "held-out", "pool": 2048, "pool_missing": None, "draws": None, "mirror": False,
}  # fmt: skip
CHOICES = {"prior_term": prior_terms.TERMS, "times": elbo.TIMES, "kl": ("reverse", "forward", "mixture")}
PROTOCOLS = {"held-out": "train", "paper": "test"}  # the split whose measurements train the flow


def read(path):
    """The recipe at ``path`` as a dict. Raises FileNotFoundError or ValueError naming the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no recipe {path}")
    try:
        recipe = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {path} is not valid TOML: {error}") from error
    recipe.setdefault("name", path.stem)
    return recipe


def build_flow(task, settings):
    """The untrained flow that ``settings`` (a recipe's [flow] table with its ``kind``) describes, for ``task``.

    "gaussian-base" and "realnvp" act on vectors; "tokens" (whose ``tokens`` table says how signals are cut, see ``make_tokens``) and
    "image" start from the Gaussian posterior of any linear operator, "distilled" from the estimate of the prior's score network;
    "through-sensor" is the ``flow`` of the linear problem inside a saturating sensor, with noise ``sigma_y`` there.
    Raises ValueError for an unknown kind or setting.
    """
    settings = dict(settings)
    kind = settings.pop("kind", None)
    if kind not in FLOWS:
        raise ValueError(f"flow kind must be one of {sorted(FLOWS)}, got {kind!r}")
    try:
        return FLOWS[kind](task, **settings)
    except TypeError as error:
        if "argument" in str(error):
            raise ValueError(f"flow {kind!r}: {error}") from None
        raise


def _gaussian_base(task, **settings):
    if not task.operator.diagonal:
        raise ValueError('flow "gaussian-base" is for denoising and masks; "tokens" and "image" take any linear operator')
    return GaussianBaseFlow(task.prior.gaussian, float(task.sigma_y), **settings)


def _realnvp(task, **settings):
    return ConditionalRealNVP(*_location_scale(task.prior.gaussian), shape=task.shape, **settings)


def _token_flow(task, tokens, **settings):
    return TokenFlow(_base(task), *_location_scale(task.prior.gaussian), task.shape, make_tokens(shape=task.shape, **tokens), **settings)


def _image_flow(task, **settings):
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    return ImageFlow(_base(task), *_location_scale(task.prior.gaussian), task.shape, **settings)


def _distilled(task, **settings):
    network = getattr(task.prior, "network", None)
    if not isinstance(network, PatchTransformer) or not task.prior.residual:
        raise ValueError('flow "distilled" needs a NetworkPrior whose network is "patches" on the residual to a Gaussian score')
    gaussian, sde = task.prior.gaussian, task.prior.sde
    modes = posterior_modes(gaussian, task.operator, float(task.sigma_y))
    time = float(sde.time_of(2 * jnp.log(2 * matched_noise(gaussian, float(modes.mean_variance)))))
    widths = (network.width, network.depth, network.heads, network.mlp_ratio)
    scale = jnp.sqrt(task.prior.mean_variance) / 2
    return DistilledFlow(modes, task.prior.params, float(task.sigma_y), time, scale, task.shape, task.operator, network.tokens, widths, **settings)


def _through_sensor(task, flow, sigma_y):
    if not isinstance(task.operator, SaturatingSensor):
        raise ValueError(f'flow "through-sensor" is for a saturating sensor, got {task.operator!r}')
    return ThroughSensor(build_flow(replace(task, operator=task.operator.inner, sigma_y=sigma_y), flow), task.operator)


def _subspace(task, **settings):
    if not isinstance(task.prior, SubspacePrior) or not task.operator.diagonal:
        raise ValueError('flow "subspace" needs a SubspacePrior, and is for denoising and random masks')
    return subspace_flow(task.prior, task.sigma_y, getattr(task.operator, "missing", 0.0), **settings)


def _base(task):
    return posterior_base(task.prior.gaussian, task.operator, float(task.sigma_y))


FLOWS = {
    "gaussian-base": _gaussian_base, "realnvp": _realnvp, "tokens": _token_flow, "image": _image_flow, "distilled": _distilled, "subspace": _subspace,
    "through-sensor": _through_sensor,
}  # fmt: skip


def _location_scale(gaussian):
    variance = gaussian.rest + jnp.sum(gaussian.basis**2 * gaussian.excess, axis=1)
    return gaussian.mean, jnp.sqrt(variance)


def objective_settings(recipe):
    """The recipe's [objective] with its defaults. Raises ValueError for unknown names or values."""
    given = recipe.get("objective", {})
    unknown = sorted(set(given) - set(OBJECTIVE))
    if unknown:
        raise ValueError(f"unknown objective setting {unknown[0]!r}; expected one of {sorted(OBJECTIVE)}")
    settings = {**OBJECTIVE, **given}
    for name, choices in {**CHOICES, "protocol": tuple(PROTOCOLS)}.items():
        if settings[name] not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {settings[name]!r}")
    if not 0 < settings["forward_share"] < 1:
        raise ValueError(f"forward_share must lie in (0, 1), got {settings['forward_share']!r}")
    return settings


def train_posterior(task, recipe, *, measurement=None, start=None, evaluate=None, evaluate_every=200, folder=None, budget=None, progress=True):
    """Train q(x | y) for ``task``: (AmortizedPosterior, Trained).

    recipe: a dict or the path of a TOML file with tables [flow] (kind = "gaussian-base" or "realnvp" and its settings),
    [objective] and [optimizer] (steps, learning_rate, ...; see training.Optimizer). Of the objective:

    - kl: "reverse" is APS (Eq. 11); "forward" fits draws of the prior and their simulated measurements, without score, likelihood or
      data; "mixture" adds both, ``forward_share`` of the second.
    - prior_term, times: what stands for the prior, see ``prior_terms``; n_times diffusion times for each of n_samples samples of each
      of ``batch`` measurements.
    - protocol: measurements are simulated from ``task.signals("train")`` ("held-out") or ("test") ("paper"), anew at every step; with
      prior_term "modes" (a GaussianBaseFlow under a ScorePrior) from a pool of ``pool`` measurements, whose contexts are computed once;
      ``pool_missing`` lists the fractions of missing entries that share the pool. The reverse loss never sees the signals.
    - draws: number of draws of the prior that are made once for the forward loss (``priors.draws.pool``), instead of new ones at each
      step; ``mirror`` reflects each left to right at random, for a prior that is the same after it.

    measurement: a single Measurement makes it the posterior of that one alone, as in DPI and the score prior of Feng et al. (2023).
    start: an AmortizedPosterior with a flow of the same shapes whose weights are where training starts.
    ``evaluate(posterior, key) -> dict`` is logged along the way.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    settings = objective_settings(recipe)
    optimizer = training.Optimizer(**recipe["optimizer"])
    flow = build_flow(task, recipe["flow"])
    params = initial(flow, optimizer.seed, start)
    arrays = {"flow": flow, "prior": task.prior}
    if measurement is not None:
        task.check(measurement)
        arrays["measurement"] = jax.tree.map(lambda a: jnp.asarray(a)[None], measurement)
    elif settings["prior_term"] == "modes" and settings["kl"] == "reverse":
        signals = jnp.asarray(task.signals(PROTOCOLS[settings["protocol"]]))
        arrays["pool"] = _context_pool(task, flow, signals, settings, jax.random.key(optimizer.seed + 1))
    elif settings["kl"] != "forward":
        arrays["signals"] = jnp.asarray(task.signals(PROTOCOLS[settings["protocol"]]))

    def evaluate_params(params, arrays, key):
        return evaluate(aps.AmortizedPosterior(task, flow, params), key)

    trained = training.fit(
        _loss(task, settings, arrays), params, arrays, optimizer, evaluate=None if evaluate is None else evaluate_params,
        evaluate_every=evaluate_every, folder=folder, budget=budget, progress=progress, label=recipe.get("name", task.name),
    )  # fmt: skip
    card = provenance(recipe, trained)
    return aps.AmortizedPosterior(task, flow, trained.params, card), trained


def initial(flow, seed, start=None):
    """Initial parameters: those of ``start`` where given. Raises ValueError when its flow is another one."""
    if start is None:
        return jax.jit(flow.init)(jax.random.key(seed))
    shapes = [jax.tree.map(jnp.shape, params) for params in (start.params, jax.eval_shape(flow.init, jax.random.key(seed)))]
    if shapes[0] != shapes[1]:
        raise ValueError("start has a flow of other shapes than the recipe's [flow]")
    return start.params


def _loss(task, settings, arrays):
    """The loss per entry of the signal that ``settings`` describe, for ``training.fit``."""
    if settings["kl"] != "reverse" and "measurement" in arrays:
        raise ValueError(f'a single measurement needs kl "reverse", got {settings["kl"]!r}: draws of the prior have other measurements')
    if settings["prior_term"] == "control-variate" and not hasattr(task.prior, "log_ratio_at"):
        raise ValueError(f'prior_term "control-variate" needs a prior beyond the Gaussian, got {type(task.prior).__name__}')
    if "pool" in arrays:
        return partial(_modal_loss, settings)
    if settings["kl"] == "reverse":
        return partial(_reverse_loss, task, settings)
    if settings["draws"] is not None:
        arrays["draws"] = draws.pool(task.prior, settings["draws"])
    elif not hasattr(task.prior, "sample"):
        raise ValueError(f'kl "{settings["kl"]}" needs a prior that can be sampled, {type(task.prior).__name__} cannot')
    if settings["kl"] == "forward":
        return partial(_forward_loss, task, settings)

    def mixture(params, arrays, key, progress):
        share = settings["forward_share"]
        k_reverse, k_forward = jax.random.split(key)
        reverse, parts = _reverse_loss(task, settings, params, arrays, k_reverse, progress)
        forward, more = _forward_loss(task, settings, params, arrays, k_forward, progress)
        return (1 - share) * reverse + share * forward, {**parts, **more}

    return mixture


def _modal_loss(settings, params, arrays, key, progress):
    del progress
    k_pick, k_loss = jax.random.split(key)
    picked = jax.random.randint(k_pick, (settings["batch"],), 0, settings["pool"])
    modal = jax.tree.map(lambda a: a[picked], arrays["pool"])
    flow = arrays["flow"]
    value, parts = aps.modal_objective(flow, params, arrays["prior"], k_loss, modal, settings["n_samples"], settings["n_times"])
    return value / flow.k, parts


def _reverse_loss(task, settings, params, arrays, key, progress):
    k_pick, k_measure, k_loss = jax.random.split(key, 3)
    if "measurement" in arrays:
        measurements, n_samples = arrays["measurement"], settings["batch"] * settings["n_samples"]
    else:
        picked = jax.random.randint(k_pick, (settings["batch"],), 0, arrays["signals"].shape[0])
        measurements, n_samples = task.measure(k_measure, arrays["signals"][picked]), settings["n_samples"]
    value, parts = aps.objective(
        arrays["flow"], params, task.operator, task.sigma_y, arrays["prior"], settings["prior_term"],
        k_loss, measurements, n_samples, settings["n_times"], settings["times"], progress,
    )  # fmt: skip
    return value / arrays["flow"].dim, parts


def _forward_loss(task, settings, params, arrays, key, progress):
    del progress
    k_draw, k_measure = jax.random.split(key)
    x0 = _drawn(settings, arrays, k_draw)
    value, parts = aps.forward_objective(arrays["flow"], params, task.measure(k_measure, x0), x0)
    return value / arrays["flow"].dim, parts


def _drawn(settings, arrays, key):
    """``batch`` draws of the prior: new ones, or from the pool, then reflected at random with ``mirror``."""
    if "draws" not in arrays:
        return arrays["prior"].sample(key, settings["batch"])
    k_pick, k_flip = jax.random.split(key)
    x0 = arrays["draws"][jax.random.randint(k_pick, (settings["batch"],), 0, len(arrays["draws"]))]
    if not settings["mirror"]:
        return x0
    return jnp.where(jax.random.bernoulli(k_flip, shape=(len(x0), 1, 1, 1)), x0[:, :, ::-1], x0)


def _context_pool(task, flow, signals, settings, key):
    """ModalContexts of ``pool`` measurements of random signals, their masks drawn at the fractions ``pool_missing``."""
    if not isinstance(flow, GaussianBaseFlow) or not hasattr(task.prior, "modal_log_ratio"):
        raise ValueError('prior_term "modes" needs a gaussian-base flow and a score prior')
    if flow.k != task.prior.network.k:
        raise ValueError(f'prior_term "modes" needs as many coupled modes as the prior has, {task.prior.network.k}, got k = {flow.k}')
    fractions = settings["pool_missing"] or [task.operator.missing]
    shares = np.array_split(np.arange(settings["pool"]), len(fractions))

    @partial(jax.jit, static_argnums=2)
    def contexts(flow, args, operator):
        def one(args):
            key, x0 = args
            m = operators.simulate(operator, task.sigma_y, key, x0)
            posterior = gaussian_posterior(flow.prior, flow.sigma_y, m.y.reshape(-1), m.mask.reshape(-1))
            return flow.modal_context(posterior)

        return jax.lax.map(one, args)

    parts = []
    for fraction, share in zip(fractions, shares, strict=True):
        key, k_pick, k_measure = jax.random.split(key, 3)
        picked = jax.random.randint(k_pick, (len(share),), 0, signals.shape[0])
        operator = replace(task.operator, missing=fraction)
        parts.append(contexts(flow, (jax.random.split(k_measure, len(share)), signals[picked]), operator))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def train_prior(recipe, *, evaluate_every=500, folder=None, budget=None, progress=True):
    """Train the sphere's diffusion prior: (ScorePrior, Trained, card).

    Gaussian part with variances of the last years about the years before, residual network by denoising score matching on recombined anomalies;
    logged: the bound's gain over the Gaussian in nats per field on validation years, which training never sees.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    settings = recipe["prior"]
    optimizer = training.Optimizer(**recipe["optimizer"])
    months = data.load(settings["data"], "train")
    gaussian = extrapolated_gaussian(months.values, months.index["year"], settings["n_modes"], settings["last_years"])
    network = RegimeResidual(**settings["network"])
    params = network.init(jax.random.key(optimizer.seed), jnp.zeros(network.k), 0.5)
    prior = ScorePrior(gaussian, params, network)
    fields = seasonal_recombination(prior.modes(months.values), months.index["month"], **settings["recombination"])
    held_out = prior.modes(data.load(settings["data"], "val").values)

    def loss(params, arrays, key, progress):
        k_draw, k_loss = jax.random.split(key)
        amplitudes = arrays["fields"].sample(k_draw, settings["batch"])
        return score_matching_loss(arrays["prior"].replace(params=params), k_loss, amplitudes), {}

    measure = jax.jit(_gain_of_bound)

    def evaluate(params, arrays, key):
        gains = np.asarray(measure(arrays["prior"].replace(params=params), key, held_out))
        return {"val_gain": float(gains.mean()), "val_gain_se": float(gains.std(ddof=1) / np.sqrt(len(gains)))}

    arrays = {"prior": prior, "fields": fields}
    trained = training.fit(
        loss, params, arrays, optimizer, evaluate=evaluate, evaluate_every=evaluate_every,
        folder=folder, budget=budget, progress=progress, label=recipe.get("name", "prior"),
    )  # fmt: skip
    prior = prior.replace(params=trained.params)
    card = {**provenance(recipe, trained), "data_sha256": months.sha256, "settings": prior_settings(prior)}
    return prior, trained, card


def _gain_of_bound(prior, key, amplitudes, n_times=256):
    """Estimated bound minus Gaussian log density for each row of ``amplitudes`` (n, K), (n,) nats."""

    def one(args):
        key, v = args
        k_time, k_eps = jax.random.split(key)
        t = prior.sde.likelihood_weighted_time((jax.random.uniform(k_time) + jnp.arange(n_times)) / n_times % 1.0, prior.t_residual)
        return jnp.mean(jax.vmap(lambda k, ti: prior.modal_log_ratio(k, v, ti))(jax.random.split(k_eps, n_times), t))

    return jax.lax.map(one, (jax.random.split(key, len(amplitudes)), amplitudes))


def provenance(recipe, trained):
    """What every card says of a training run."""
    return {
        "name": recipe.get("name", "unnamed"),
        "recipe": recipe,
        "steps": trained.step,
        "finished": trained.finished,
        "seconds": round(trained.seconds, 1),
        "device": f"{jax.devices()[0].device_kind} ({platform.machine()})",
        "jax": jax.__version__,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "validation": trained.history[-1] if trained.history else {},
        "history": [{name: _rounded(value) for name, value in row.items()} for row in trained.history],
    }


def _rounded(value):
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _commit():
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def save_posterior(posterior, path, dtype=np.float16):
    """Write a trained posterior and its card to ``path`` (.safetensors); the card holds all that ``load_posterior`` needs."""
    card = {**posterior.card, "task": posterior.task.name, "flow": posterior.card["recipe"]["flow"]}
    return weights.save(path, posterior.params, card, dtype)
