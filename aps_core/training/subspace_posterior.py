"""Training of a SubspaceFlow: everything happens in the K coordinates, with the masks' closed forms made ready once.

For a mask m and the prior N(mean, P L P^T + s^2 I), G = P^T diag(m) P and a = s^2 + sigma_y^2, the posterior of the
mode amplitudes has mean M P^T m (y - mean) and covariance (L + s^2) - M G (L + s^2), with M = (L + s^2) (a I + G
L)^(-1). Only M and a Cholesky factor are kept for each mask; digits, noise and samples are new at every step.
"""

from dataclasses import replace
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from aps_core.checks import count, has, one_of
from aps_core.checks import number as check_number
from aps_core.flows import build_flow
from aps_core.flows.base import log_standard_normal
from aps_core.posterior import AmortizedPosterior
from aps_core.priors import fast_sampling
from aps_core.tasks.fingerprint import made_for
from aps_core.tasks.problem import PROTOCOLS
from aps_core.training import objective, recorded
from aps_core.training.job import Job, run
from aps_core.training.objective import ESTIMATORS
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import begun_by, initial, inputs_of, task_and_start
from aps_core.training.recipes import Trainer, checked, objective_of
from aps_core.training.subspace_prior import coordinates_of

SETTINGS = {
    "kl": "mixture",
    "forward_share": 0.5,
    "draws": None,
    "draw_steps": 12,
    "churn": 0.0,
    "masks": 192,
    "masks_per_step": 8,
    "batch": 64,
    "reverse_batch": None,
    "n_samples": 1,
    "n_times": 4,
    "estimator": "path",
    "protocol": "held-out",
    "noise": "fixed",
}
CHOICES = {"kl": ("forward", "reverse", "mixture"), "estimator": ESTIMATORS, "noise": ("fixed", "fresh")}
MOST_MASKS = 4096
CHUNK = 4096  # measurements that are brought to coordinates at once
HELD_OUT_MASKS = 16
VALIDATION = 256


@flax.struct.dataclass
class Masks:
    """``n`` masks and their closed forms in the local coordinates."""

    mask: jax.Array  # (n, d)
    gain: jax.Array  # (n, K, K): P^T m (y - mean) to the posterior mean of the coordinates
    chol: jax.Array  # (n, K, K): of their posterior covariance


def prepare_masks(prior, operator, sigma_y, n, key):
    """``Masks`` of ``n`` masks drawn by ``operator`` under a SubspacePrior; those of one that draws none are all the same."""
    keys = jax.random.split(key, n if operator.random else 1)
    drawn = np.stack([np.ravel(operator.observed(operator.draw(k))) for k in keys])
    made = closed_forms(prior, sigma_y, drawn)
    return made if operator.random else jax.tree.map(lambda a: jnp.repeat(a, n, axis=0), made)


def closed_forms(prior, sigma_y, masks):
    """``Masks`` of given ``masks`` (n, d) under a SubspacePrior."""
    g = prior.gaussian
    basis, excess, rest = (np.asarray(a, np.float64) for a in (g.basis, g.excess, g.rest))
    turn, total, noise = basis.T @ np.asarray(prior.basis, np.float64), excess + rest, rest + sigma_y**2
    gains, chols = [], []
    for mask in masks:
        seen = np.asarray(g.basis)[mask > 0]
        gram = (seen.T @ seen).astype(np.float64)
        gain = np.linalg.solve(noise * np.eye(len(total)) + excess[:, None] * gram, np.diag(total)).T
        covariance = turn.T @ (np.diag(total) - gain @ gram * total) @ turn
        gains.append((turn.T @ gain).astype(np.float32))
        chols.append(np.linalg.cholesky((covariance + covariance.T) / 2).astype(np.float32))
    return Masks(jnp.asarray(masks), jnp.asarray(np.stack(gains)), jnp.asarray(np.stack(chols)))


@flax.struct.dataclass
class Pool:
    """Measurements that are made, or were recorded, once: mu_G (n, K) in the local coordinates, and which of ``chol``
    (m, K, K) each has (n,).
    """

    mean: jax.Array
    masked: jax.Array
    chol: jax.Array

    def contexts(self, flow, picked):
        """ModalContexts of the measurements ``picked`` (b,)."""
        return jax.vmap(flow.local_context)(self.mean[picked], self.chol[self.masked[picked]])


def pool_of_signals(prior, sigma_y, masks, signals, key):
    """The Pool of one measurement of each of ``signals`` (n, *shape), each with a noise draw and one of ``masks``."""
    k_mask, k_noise = jax.random.split(key)
    n = len(signals)
    masked = np.asarray(jax.random.randint(k_mask, (n,), 0, len(masks.mask)))
    means = []
    for i in range(0, n, CHUNK):
        x = np.asarray(signals[i : i + CHUNK], np.float32).reshape(len(signals[i : i + CHUNK]), -1)
        noise = sigma_y * np.asarray(jax.random.normal(jax.random.fold_in(k_noise, i), x.shape))
        means.append(_posterior_means(prior, masks, x + noise, masked[i : i + CHUNK]))
    return Pool(jnp.asarray(np.concatenate(means)), jnp.asarray(masked), masks.chol)


def pool_of_measurements(prior, sigma_y, measurements):
    """The Pool of a batch of recorded measurements. Raises ValueError for more than MOST_MASKS different masks."""
    y = np.asarray(measurements.y, np.float32).reshape(len(measurements.y), -1)
    mask = np.ones_like(y) if measurements.mask is None else np.asarray(measurements.mask).reshape(y.shape)
    _, first, masked = np.unique(np.packbits(mask > 0, axis=1), axis=0, return_index=True, return_inverse=True)
    if len(first) > MOST_MASKS:
        raise ValueError(
            f"measurements have {len(first)} different masks; their closed forms are kept, at most {MOST_MASKS}: pass fewer"
        )
    masks, masked = closed_forms(prior, sigma_y, mask[first]), masked.reshape(-1)
    means = [_posterior_means(prior, masks, y[i : i + CHUNK], masked[i : i + CHUNK]) for i in range(0, len(y), CHUNK)]
    return Pool(jnp.asarray(np.concatenate(means)), jnp.asarray(masked), masks.chol)


def _posterior_means(prior, masks, y, masked):
    """mu_G (n, K) in the coordinates for data ``y`` (n, d), each with the mask of its number in ``masked`` (n,)."""
    seen = (np.asarray(masks.mask)[masked] * (y - np.asarray(prior.gaussian.mean))) @ np.asarray(prior.gaussian.basis)
    means, gain = np.empty_like(seen), np.asarray(masks.gain)
    for number in np.unique(masked):
        rows = masked == number
        means[rows] = seen[rows] @ gain[number].T
    return means


def simulate(flow, prior, masks, key, coordinates, picked, drawn=False):
    """(ModalContexts, amplitudes about the mean), both (n_masks, n_each, ...), of measurements of signals at
    ``coordinates`` (n_masks, n_each, K).

    The signals are m + W (v - 1/2) + N(0, s^2 I), those of the prior; coordinates that are ``drawn`` from it have their
    part of the rest already, and get it outside of the subspace alone. picked: (n_masks,) which mask each group has.
    """
    g, shape = prior.gaussian, (*coordinates.shape[:2], prior.dim)
    k_rest, k_noise = jax.random.split(key)
    rest = jnp.sqrt(g.rest) * jax.random.normal(k_rest, shape)
    if drawn:
        rest = rest - (rest @ prior.basis) @ prior.basis.T
    noise = flow.sigma_y * jax.random.normal(k_noise, shape)
    amplitudes = coordinates - 0.5 + rest @ prior.basis
    deviation = (coordinates - 0.5) @ prior.basis.T + rest
    seen = (masks.mask[picked][:, None] * (deviation + noise)) @ g.basis
    mean = jnp.einsum("gij,gnj->gni", masks.gain[picked], seen)
    chol = masks.chol[picked]
    contexts = jax.vmap(lambda m, c: jax.vmap(lambda mi: flow.local_context(mi, c))(m))(mean, chol)
    return contexts, amplitudes


def forward_modal(flow, params, contexts, amplitudes):
    """-log q of the coordinates under T and its base, in nats, (batch,), without log|L|: what the forward KL averages."""

    def one(context, amplitude):
        moved = solve_triangular(context.chol, amplitude - context.mean, lower=True)
        e, log_det = flow.modal_inverse(params, moved, context)
        return -log_standard_normal(e) - log_det

    return jax.vmap(one)(contexts, amplitudes)


def train_subspace_posterior(task, recipe, *, measurements=None, start=None, **session):
    """Train a SubspaceFlow for ``task``, missing entries under a SubspacePrior: (AmortizedPosterior, Trained).

    [objective] of the recipe: ``kl`` "forward", "reverse" or "mixture" with ``forward_share``; the signals of the
    forward loss are ``draws`` draws of the prior in ``draw_steps`` evaluations each with ``churn`` (see
    ``draws.pool``), or the task's training signals where it is absent; ``masks`` are made ready, of which
    ``masks_per_step`` share each ``batch``. The reverse loss, several times as costly, is that of ``reverse_batch``
    measurements a step, with ``estimator`` and ``n_times`` as for ``train_posterior``. They are one of each signal of
    the ``protocol``, made once (``noise`` "fixed"), or the first ones of the forward loss ("fresh"). Logged: PSNR of
    the mean of 16 samples and the objective on validation signals and masks that training does not see.

    measurements: a batched Measurement that somebody has recorded, for the reverse loss; then nothing clean is used,
    and nothing is validated. start: an AmortizedPosterior with a flow of the same shapes whose weights are where
    training starts; session: see ``job.run``. Raises ValueError for an unknown setting, TypeError for another flow, and as
    ``recorded.checked``.
    """
    recipe = checked(recipe, SUBSPACE_POSTERIOR)
    return run(subspace_posterior_job(task, recipe, measurements, start), recipe, **session)[:2]


def subspace_posterior_job(task, recipe, measurements=None, start=None):
    """The Job of ``train_subspace_posterior``."""
    settings, seed = subspace_settings(recipe), Optimizer.of(recipe["optimizer"]).seed
    flow, prior = build_flow(task, recipe["flow"]), task.prior
    has("flow", flow, ["local_context", "modal_inverse"], 'one of kind "subspace"')
    arrays = {"flow": flow, "prior": prior}
    key, split = jax.random.key(seed + 1), PROTOCOLS[settings["protocol"]]
    if measurements is not None:
        if settings["kl"] == "forward":
            raise ValueError(
                'measurements need kl "reverse" or "mixture", got "forward", which uses draws of the prior'
            )
        if settings["kl"] == "mixture" and not settings["draws"]:
            raise ValueError('kl "mixture" with measurements needs draws = (a number): its forward loss has no signals')
        reverse_batch = settings["reverse_batch"] or settings["batch"]
        measurements = recorded.checked(task, measurements, reverse_batch)
        arrays["pool"] = pool_of_measurements(prior, float(task.sigma_y), measurements)
    if measurements is None or settings["kl"] == "mixture":
        arrays["masks"] = prepare_masks(
            prior, task.operator, float(task.sigma_y), settings["masks"] + HELD_OUT_MASKS, key
        )
    if measurements is None:
        measured = np.asarray(task.signals("val")[:VALIDATION], np.float32)
        if len(measured) < HELD_OUT_MASKS:
            raise ValueError(f"signals has {len(measured)} for validation, expected at least {HELD_OUT_MASKS}")
        measured = measured[: len(measured) // HELD_OUT_MASKS * HELD_OUT_MASKS]  # as many for each of the masks
        arrays |= {"val": coordinates_of(prior, measured), "x_val": measured}
        if settings["kl"] != "forward" and settings["noise"] == "fixed":
            masks = jax.tree.map(lambda a: a[: settings["masks"]], arrays["masks"])
            arrays["pool"] = pool_of_signals(
                prior, float(task.sigma_y), masks, task.signals(split), jax.random.key(recorded.SEED)
            )
    if settings["kl"] != "reverse" or "pool" not in arrays:
        if settings["draws"]:
            arrays["signals"] = fast_sampling.pool(
                prior.inner, settings["draws"], settings["draw_steps"], churn=settings["churn"]
            )
        else:
            arrays["signals"] = coordinates_of(prior, task.signals(split if settings["kl"] == "reverse" else "train"))
    return Job(
        partial(_loss, settings),
        initial(flow, seed, start),
        arrays,
        _evaluate if measurements is None else None,
        lambda params, card: AmortizedPosterior(task, flow, params, card),
        {"task": task.name, "flow": recipe["flow"], "made_for": made_for(task), **begun_by(start)},
        lambda posterior: posterior.params,
        inputs=inputs_of(task, start, measurements, arrays),
    )


def from_recipe(recipe, measurements=None):
    """The Job of a recipe with a [task]; measurements: path of recorded ones."""
    task, start = task_and_start(recipe)
    if measurements is not None:
        task = replace(task, signals=None)
        measurements = recorded.load_measurements(measurements, task)
    return subspace_posterior_job(task, recipe, measurements, start)


def subspace_settings(recipe):
    """The recipe's [objective] with the defaults of a SubspaceFlow. Raises ValueError for unknown names or values."""
    settings = objective_of(recipe, SETTINGS)
    for name in ("draw_steps", "masks", "masks_per_step", "batch", "n_samples", "n_times"):
        count(name, settings[name])
    for name in ("draws", "reverse_batch"):
        if settings[name]:
            count(name, settings[name])
    if (settings["kl"] != "reverse" or settings["noise"] == "fresh") and settings["batch"] % settings["masks_per_step"]:
        raise ValueError(
            f"batch is {settings['batch']} and masks_per_step {settings['masks_per_step']}, expected a batch that the masks "
            "divide, as many measurements for each"
        )
    check_number("forward_share", settings["forward_share"])
    for name, choices in {**CHOICES, "protocol": tuple(PROTOCOLS)}.items():
        one_of(f"objective setting {name}", settings[name], choices)
    if not 0 < settings["forward_share"] < 1:
        raise ValueError(f"forward_share must lie in (0, 1), got {settings['forward_share']!r}")
    if settings["kl"] == "reverse" and settings["draws"]:
        raise ValueError(f'draws are for kl "forward" or "mixture", got draws = {settings["draws"]!r} and kl "reverse"')
    if settings["kl"] == "mixture" and settings["noise"] == "fresh" and settings["protocol"] != "held-out":
        raise ValueError(
            'kl "mixture" with noise "fresh" measures the signals of its forward loss; expected "held-out"'
        )
    return settings


def _flat(tree):
    return jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), tree)


def _loss(settings, params, arrays, key, progress):
    del progress
    flow, prior = arrays["flow"], arrays["prior"]
    k_signal, k_mask, k_measure, k_reverse = jax.random.split(key, 4)
    value, parts, whole = 0.0, {}, {"forward": 1.0, "reverse": 0.0}
    share = whole[settings["kl"]] if settings["kl"] in whole else settings["forward_share"]
    if "signals" in arrays:
        contexts, amplitudes = _simulated(settings, arrays, k_signal, k_mask, k_measure)
    if share > 0:
        forward = jnp.mean(forward_modal(flow, params, contexts, amplitudes)) / flow.k
        value, parts = share * forward, {"forward": forward}
    if share < 1:
        if "pool" in arrays:
            k_pick, k_reverse = jax.random.split(k_reverse)
            n = settings["reverse_batch"] or settings["batch"]
            some = arrays["pool"].contexts(flow, jax.random.randint(k_pick, (n,), 0, len(arrays["pool"].masked)))
        else:
            some = jax.tree.map(lambda a: a[: settings["reverse_batch"]], contexts)
        divergence = objective.ModalDivergence(settings["n_samples"], settings["n_times"], settings["estimator"])
        reverse, more = divergence(flow, params, prior, k_reverse, some)
        value, parts = value + (1 - share) * reverse / flow.k, {**parts, **more}
    return value, parts


def _simulated(settings, arrays, k_signal, k_mask, k_measure):
    """ModalContexts and amplitudes of ``batch`` new measurements of the signals, in groups that share a mask."""
    groups = settings["masks_per_step"]
    each = settings["batch"] // groups
    picked = jax.random.randint(k_signal, (groups, each), 0, arrays["signals"].shape[0])
    masked = jax.random.randint(k_mask, (groups,), 0, settings["masks"])
    signals, drawn = arrays["signals"][picked], bool(settings["draws"])
    return _flat(simulate(arrays["flow"], arrays["prior"], arrays["masks"], k_measure, signals, masked, drawn))


@jax.jit
def _validate(params, arrays, key):
    flow, prior = arrays["flow"], arrays["prior"]
    k_measure, k_e, k_objective = jax.random.split(key, 3)
    n = arrays["masks"].mask.shape[0]
    v = arrays["val"].reshape(HELD_OUT_MASKS, -1, flow.k)
    contexts, amplitudes = _flat(
        simulate(flow, prior, arrays["masks"], k_measure, v, n - HELD_OUT_MASKS + jnp.arange(HELD_OUT_MASKS))
    )
    value, _ = objective.ModalDivergence(1, 8)(flow, params, prior, k_objective, contexts)

    def samples(context, es):
        return jax.vmap(lambda e: context.mean + context.chol @ flow.modal_forward(params, e, context)[0])(es)

    drawn = jax.vmap(samples)(contexts, jax.random.normal(k_e, (len(amplitudes), 16, flow.k)))
    inside = arrays["val"] - 0.5
    outside = jnp.sum((arrays["x_val"] - prior.gaussian.mean) ** 2, axis=1) - jnp.sum(inside**2, axis=1)
    errors = [jnp.sum((x - inside) ** 2, axis=1) + outside for x in (drawn.mean(axis=1), drawn[:, 0])]
    psnr = [jnp.mean(-10 * jnp.log10(e / prior.dim)) for e in errors]
    return jnp.mean(forward_modal(flow, params, contexts, amplitudes)) / flow.k, value / flow.k, *psnr


def _evaluate(params, arrays, key):
    forward, objective, mean, single = map(float, _validate(params, arrays, jax.random.key(2)))
    return {"val_forward": forward, "val_objective": objective, "val_psnr_mean16": mean, "val_psnr_n1": single}


SUBSPACE_POSTERIOR = Trainer(from_recipe, ("task", "flow", "objective"), ("start", "start_task"))
