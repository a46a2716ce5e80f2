"""Training of a SubspaceFlow: everything happens in the K coordinates, with the masks' closed forms made ready once.

For a mask m and the prior N(mean, P L P^T + s^2 I), G = P^T diag(m) P and a = s^2 + sigma_y^2, the posterior of the mode amplitudes has mean
M P^T m (y - mean) and covariance (L + s^2) - M G (L + s^2), with M = (L + s^2) (a I + G L)^(-1). Only M and a Cholesky factor are
kept for each mask; digits, noise and samples are new at every step.
"""

from functools import partial
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from aps_core import aps, training
from aps_core.priors import draws
from aps_core.recipes import build_flow, initial, provenance, read

SETTINGS = {
    "kl": "mixture", "forward_share": 0.5, "draws": None, "draw_steps": 12, "churn": 0.0, "masks": 192, "masks_per_step": 8, "batch": 64, "reverse_batch": None,
    "n_samples": 1, "n_times": 2,
}  # fmt: skip
HELD_OUT_MASKS = 16
VALIDATION = 256


@flax.struct.dataclass
class Masks:
    """``n`` masks and their closed forms in the local coordinates."""

    mask: jax.Array  # (n, d)
    gain: jax.Array  # (n, K, K): P^T m (y - mean) to the posterior mean of the coordinates
    chol: jax.Array  # (n, K, K): of their posterior covariance


def prepare_masks(prior, operator, sigma_y, n, key):
    """``Masks`` of ``n`` masks drawn by ``operator`` (a RandomMask) under a SubspacePrior."""
    g = prior.gaussian
    basis, excess, rest = (np.asarray(a, np.float64) for a in (g.basis, g.excess, g.rest))
    turn, total, noise = basis.T @ np.asarray(prior.basis, np.float64), excess + rest, rest + sigma_y**2
    drawn = np.asarray(jax.vmap(operator.draw)(jax.random.split(key, n))).reshape(n, -1)
    gains, chols = [], []
    for mask in drawn:
        seen = np.asarray(g.basis)[mask > 0]
        gram = (seen.T @ seen).astype(np.float64)
        gain = np.linalg.solve(noise * np.eye(len(total)) + excess[:, None] * gram, np.diag(total)).T
        covariance = turn.T @ (np.diag(total) - gain @ gram * total) @ turn
        gains.append((turn.T @ gain).astype(np.float32))
        chols.append(np.linalg.cholesky((covariance + covariance.T) / 2).astype(np.float32))
    return Masks(jnp.asarray(drawn), jnp.asarray(np.stack(gains)), jnp.asarray(np.stack(chols)))


def simulate(flow, prior, masks, key, coordinates, picked, drawn=False):
    """(ModalContexts, amplitudes about the mean), both (n_masks, n_each, ...), of measurements of signals at ``coordinates`` (n_masks, n_each, K).

    The signals are m + W (v - 1/2) + N(0, s^2 I), those of the prior; coordinates that are ``drawn`` from it have their part of the rest already,
    and get it outside of the subspace alone. picked: (n_masks,) which mask each group has.
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
        return -aps.log_standard_normal(e) - log_det

    return jax.vmap(one)(contexts, amplitudes)


def train_subspace_posterior(task, recipe, *, start=None, evaluate_every=200, folder=None, budget=None, progress=True):
    """Train a SubspaceFlow for ``task``, missing entries under a SubspacePrior: (AmortizedPosterior, Trained).

    [objective] of the recipe: ``kl`` "forward", "reverse" or "mixture" with ``forward_share``; the signals of the forward loss, and those behind
    the measurements of the reverse one, are ``draws`` draws of the prior in ``draw_steps`` evaluations each with ``churn`` (see ``draws.pool``), or the task's training signals where it is
    absent; ``masks`` are made ready, of which ``masks_per_step`` share each ``batch``; the reverse loss, several times as costly, is that of its
    first ``reverse_batch`` measurements. Logged: PSNR of the mean of 16 samples and the
    objective on validation signals and masks that training does not see. start: an AmortizedPosterior with a flow of the same shapes whose weights are
    where training starts. Raises ValueError for an unknown setting or another flow.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    given = recipe.get("objective", {})
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown or given.get("kl", "mixture") not in ("forward", "reverse", "mixture"):
        what = unknown[0] if unknown else f"kl = {given['kl']!r}"
        raise ValueError(f"unknown objective setting {what!r}; expected some of {sorted(SETTINGS)}, kl forward, reverse or mixture")
    settings, optimizer = {**SETTINGS, **given}, training.Optimizer(**recipe["optimizer"])
    flow, prior = build_flow(task, recipe["flow"]), task.prior
    n = settings["masks"] + HELD_OUT_MASKS
    masks = prepare_masks(prior, task.operator, float(task.sigma_y), n, jax.random.key(optimizer.seed + 1))
    if settings["draws"]:
        signals = draws.pool(prior.inner, settings["draws"], settings["draw_steps"], churn=settings["churn"])
    else:
        signals = _coordinates(prior, task.signals("train"))
    measured = np.asarray(task.signals("val")[:VALIDATION], np.float32)
    arrays = {"flow": flow, "prior": prior, "masks": masks, "signals": signals, "val": _coordinates(prior, measured), "x_val": measured}
    params = initial(flow, optimizer.seed, start)
    trained = training.fit(
        partial(_loss, settings), params, arrays, optimizer, evaluate=_evaluate, evaluate_every=evaluate_every, folder=folder,
        budget=budget, progress=progress, label=recipe.get("name", task.name),
    )  # fmt: skip
    return aps.AmortizedPosterior(task, flow, trained.params, provenance(recipe, trained)), trained


def _coordinates(prior, values):
    chunks = np.array_split(np.asarray(values, np.float32).reshape(len(values), -1), -(-len(values) // 8192))
    mean, basis = np.asarray(prior.gaussian.mean), np.asarray(prior.basis)
    return jnp.asarray(np.concatenate([0.5 + (chunk - mean) @ basis for chunk in chunks]))


def _flat(tree):
    return jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), tree)


def _loss(settings, params, arrays, key, progress):
    del progress
    flow, prior = arrays["flow"], arrays["prior"]
    k_signal, k_mask, k_measure, k_reverse = jax.random.split(key, 4)
    groups = settings["masks_per_step"]
    each = settings["batch"] // groups
    picked = jax.random.randint(k_signal, (groups, each), 0, arrays["signals"].shape[0])
    masked = jax.random.randint(k_mask, (groups,), 0, settings["masks"])
    contexts, amplitudes = _flat(simulate(flow, prior, arrays["masks"], k_measure, arrays["signals"][picked], masked, bool(settings["draws"])))
    value, parts, share = 0.0, {}, {"forward": 1.0, "reverse": 0.0}.get(settings["kl"], settings["forward_share"])
    if share > 0:
        forward = jnp.mean(forward_modal(flow, params, contexts, amplitudes)) / flow.k
        value, parts = share * forward, {"forward": forward}
    if share < 1:
        some = jax.tree.map(lambda a: a[: settings["reverse_batch"]], contexts)
        reverse, more = aps.modal_objective(flow, params, prior, k_reverse, some, settings["n_samples"], settings["n_times"])
        value, parts = value + (1 - share) * reverse / flow.k, {**parts, **more}
    return value, parts


@jax.jit
def _validate(params, arrays, key):
    flow, prior = arrays["flow"], arrays["prior"]
    k_measure, k_e, k_objective = jax.random.split(key, 3)
    n = arrays["masks"].mask.shape[0]
    v = arrays["val"].reshape(HELD_OUT_MASKS, -1, flow.k)
    contexts, amplitudes = _flat(simulate(flow, prior, arrays["masks"], k_measure, v, n - HELD_OUT_MASKS + jnp.arange(HELD_OUT_MASKS)))
    objective, _ = aps.modal_objective(flow, params, prior, k_objective, contexts, 1, 8)

    def samples(context, es):
        return jax.vmap(lambda e: context.mean + context.chol @ flow.modal_forward(params, e, context)[0])(es)

    drawn = jax.vmap(samples)(contexts, jax.random.normal(k_e, (len(amplitudes), 16, flow.k)))
    inside = arrays["val"] - 0.5
    outside = jnp.sum((arrays["x_val"] - prior.gaussian.mean) ** 2, axis=1) - jnp.sum(inside**2, axis=1)
    errors = [jnp.sum((x - inside) ** 2, axis=1) + outside for x in (drawn.mean(axis=1), drawn[:, 0])]
    psnr = [jnp.mean(-10 * jnp.log10(e / prior.dim)) for e in errors]
    return jnp.mean(forward_modal(flow, params, contexts, amplitudes)) / flow.k, objective / flow.k, *psnr


def _evaluate(params, arrays, key):
    forward, objective, mean, single = map(float, _validate(params, arrays, jax.random.key(2)))
    return {"val_forward": forward, "val_objective": objective, "val_psnr_mean16": mean, "val_psnr_n1": single}
