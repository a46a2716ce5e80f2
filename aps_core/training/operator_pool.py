"""What a flow for any linear operator is trained on: factorized problems of a family, with pairs of signal and closed-form
posterior mean, on disk.
"""

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_core.files import sha256_of, write_atomically
from aps_core.flows.distilled import DistilledContext, matched_time
from aps_core.priors.content import digest_of
from aps_core.priors.linear_gaussian import PosteriorModes, posterior_modes
from aps_core.training.objective import forward_of_contexts
from aps_core.training.operator_family import draw_problem

GROUPS = 2  # operators in a step, each with a half of the batch


@dataclass(frozen=True)
class OperatorPool:
    """``n`` files in ``folder``, one for each problem: see ``make_pool``."""

    folder: Path
    pairs: int
    denoises: tuple  # of every problem, whether it is denoising

    @property
    def n(self):
        """Number of problems."""
        return len(self.denoises)

    def read(self, i):
        """The arrays of problem number i, as a dict: ``PARTS``."""
        with np.load(self.folder / f"{int(i):03d}.npz", allow_pickle=False) as held:
            return {name: held[name] for name in PARTS}

    def ranges(self):
        """[smallest, largest] noise and matched time of the problems, by name: what a card says of the family."""
        numbers = []
        for i in range(self.n):
            with np.load(self.folder / f"{i:03d}.npz", allow_pickle=False) as held:
                numbers.append(held["numbers"])
        ends = zip(np.min(numbers, axis=0), np.max(numbers, axis=0), strict=True)
        return {name: [float(f"{e:.4g}") for e in pair] for name, pair in zip(("sigma_y", "time"), ends, strict=True)}

    def shapes(self, dim):
        """What ``read`` gives for signals of ``dim`` entries, for a callback."""
        of = {
            "basis": (dim, dim),
            "pull": (dim, dim),
            "std": (dim,),
            "marginal_std": (dim,),
            "numbers": (2,),
            **dict.fromkeys(("mean", "noise", "x0"), (self.pairs, dim)),
        }
        return {name: jax.ShapeDtypeStruct(of[name], jnp.float32) for name in PARTS}


PARTS = (
    "basis",
    "pull",
    "std",
    "marginal_std",
    "numbers",
    "mean",
    "noise",
    "x0",
)  # numbers: sigma_y and the matched time


def make_pool(task, n, pairs, draws, mirror, seed=0):
    """The OperatorPool of ``n`` problems of the family for images under the task's prior, with ``pairs`` draws of the prior
    (from ``draws`` (m, h, w, c), reflected left to right at random with ``mirror``) and one simulated measurement of each.

    Files lie where those of ``fast_sampling.pool`` do, some 80 MB each at 3072 entries; what is there is not made again, so
    that an interrupted pool goes on. The name of the folder holds the digest of the prior, the draws and the arguments but ``n``.
    """
    gaussian = task.prior.gaussian
    of_draws = sha256_of(np.ascontiguousarray(draws, np.float32).tobytes())
    name = f"operators-{digest_of(gaussian, of_draws, pairs, mirror, seed)}"
    folder = Path(os.environ.get("APS_DRAWS_DIR", "checkpoints")) / name
    missing = [i for i in range(n) if not (folder / f"{i:03d}.npz").is_file()]
    for i in tqdm(missing, desc="factorizing operators", disable=None):
        content = io.BytesIO()
        np.savez(content, **_problem(task, gaussian, i, pairs, draws, mirror, seed))
        write_atomically(folder / f"{i:03d}.npz", content.getbuffer())
    return OperatorPool(folder, pairs, tuple(draw_problem(i, task.shape, seed)[0].is_identity for i in range(n)))


def _problem(task, gaussian, i, pairs, draws, mirror, seed):
    """The arrays of problem number i."""
    operator, sigma_y = draw_problem(i, task.shape, seed)
    task = replace(task, operator=operator, sigma_y=sigma_y)
    modes = posterior_modes(gaussian, operator, sigma_y)
    rng = np.random.default_rng([seed, i, 1])
    x0 = np.array(draws[rng.integers(0, len(draws), pairs)], np.float32)
    if mirror:
        flipped = rng.random(pairs) < 0.5
        x0[flipped] = x0[flipped, :, ::-1]
    measured = task.measure(jax.random.fold_in(jax.random.key(seed), i), x0)
    mean, noise = _seen(operator, sigma_y, modes, measured)
    numbers = np.array([sigma_y, matched_time(modes, gaussian)], np.float32)
    kept = {name: np.asarray(getattr(modes, name), np.float32) for name in ("basis", "pull", "std", "marginal_std")}
    return {**kept, "numbers": numbers, "mean": mean, "noise": noise, "x0": x0.reshape(pairs, -1)}


def _seen(operator, sigma_y, modes, measured):
    """Means mu_G(y) and noise A^T (y - A mu_G) / sigma_y, (pairs, d) each."""

    def one(modes, m):
        mean = modes.mean(m.y.reshape(-1))
        misfit = m.y - operator(mean.reshape(operator.shape), m.mask)
        return mean, operator.adjoint(misfit, m.mask).reshape(-1) / sigma_y

    found = jax.jit(jax.vmap(one, in_axes=(None, 0)))(modes, measured)
    return tuple(np.asarray(array, np.float32) for array in found)


def pool_loss(pool, batch, tied, params, arrays, key, progress):
    """The forward divergence per entry of ``arrays["flow"]``, a UniversalFlow, on ``batch`` pairs of GROUPS random problems of
    an OperatorPool, for ``loop.fit``; with a weight ``tied`` above 0 also ``from_tweedie`` of those that are denoising.
    """
    del progress
    flow, denoises = arrays["flow"], jnp.asarray(pool.denoises)

    def group(key):
        k_problem, k_pairs, k_mean = jax.random.split(key, 3)
        i = jax.random.randint(k_problem, (), 0, pool.n)
        picked = jax.random.randint(k_pairs, (batch // GROUPS,), 0, pool.pairs)
        held = jax.pure_callback(pool.read, pool.shapes(flow.dim), i)
        one, contexts = problem_of(flow, held, picked)
        forward = forward_of_contexts(one, params, lambda context: context, contexts, held["x0"][picked]) / flow.dim
        if not tied:
            return forward, jnp.zeros(())
        return forward, jax.lax.cond(
            denoises[i], lambda: from_tweedie(one, params, contexts, k_mean), lambda: jnp.zeros(())
        )

    forward, away = (jnp.mean(part) for part in jax.lax.map(group, jax.random.split(key, GROUPS)))
    return forward + tied * away, {"forward": forward, **({"from_tweedie": away} if tied else {})}


def problem_of(flow, held, picked):
    """The flow for the problem ``held`` (``OperatorPool.read``) and batched contexts of the pairs ``picked`` of it."""
    modes = PosteriorModes(
        **{name: held[name] for name in ("basis", "pull", "std", "marginal_std")},
        **{
            name: getattr(flow.modes, name) for name in ("gain", "prior_mean", "predicted")
        },  # of which nothing is needed
    )
    flow = flow.replace(modes=modes, sigma_y=held["numbers"][0], t=held["numbers"][1])
    signal = (held["mean"] - modes.prior_mean) / flow.scale
    return flow, DistilledContext(held["mean"][picked], signal[picked], held["noise"][picked])


def from_tweedie(flow, params, contexts, key):
    """Mean square of how far the flow's mean lies from Tweedie's estimate, in variances of the closed form, for denoising.

    The posterior mean under the learned prior is known there without noise, whatever the draws. The mean of the flow is that of z
    and -z, which differs from it by what its couplings bend.
    """

    def one(context, key):
        z = jax.random.normal(key, (flow.dim,))
        mean = (flow.forward(params, z, context)[0] + flow.forward(params, -z, context)[0]) / 2
        return jnp.mean(((mean - flow.first_guess(context)) / flow.modes.marginal_std) ** 2)

    return jnp.mean(jax.vmap(one)(contexts, jax.random.split(key, contexts.mean.shape[0])))
