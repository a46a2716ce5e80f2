"""References that are exact in the limit: long chains of single measurements, from two starts that must agree.

``python -m aps_book.experiments.references sphere`` measures the first test signals and writes the moments of their
posteriors, in the coordinates in which the prior was learned, to weights/references/sphere.safetensors with a card. Blocks
of steps are kept in a folder as they come: run again, it goes on. "gaussian16", whose posterior is known, tests the way;
"bunny" has more coordinates and a larger network, and takes hours.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments.convergence import AGREED, effective_sample_size, r_hat
from aps_book.experiments.kept import kept
from aps_core import weights
from aps_core.files import sha256_of
from aps_core.metrics.trust.langevin import Schedule, walk
from aps_core.operators import dense_matrix
from aps_core.priors.content import digest_of
from aps_core.priors.ode import log_prob_ode
from aps_core.priors.score_function import ScoreFunctionPrior
from aps_core.tasks import load_task
from aps_core.tasks.fingerprint import made_for

TASKS = {"gaussian16": "gaussian16", "sphere": "sphere-impute", "bunny": "bunny-inpaint"}
WIDE = 3.0  # times as wide as the closed form is the second start
ODE_STEPS = 40  # for the density of a learned prior: on the sphere within 0.03 nats of twice as many
FOLDER = Path("weights/references")


@dataclass(frozen=True)
class Coordinates:
    """The K coordinates a of a signal x = mean + basis a + rest in which the prior was learned, basis (d, K) orthonormal.
    The rest is Gaussian and independent of a, of covariance outer outer^T + floor (I - basis basis^T), outer (d, m).

    parts: functions of (a, prior, time) that give the prior's log density up to a constant, and its gradient or what
    stands for it, at ``time``. covariance (K, K): that of its Gaussian part.
    """

    mean: np.ndarray
    basis: np.ndarray
    covariance: np.ndarray
    outer: np.ndarray
    floor: float
    prior: Any
    time: float
    parts: tuple


def coordinates_of(prior):
    """The Coordinates of a Gaussian prior (all of it), one learned in modes, or one learned in a subspace."""
    if prior.kind == "modal":
        basis, inner = prior.gaussian.basis[:, : prior.network.k], _modal(prior)
    elif prior.kind == "subspace":
        basis, inner = prior.basis, prior.inner
    else:
        basis, inner = np.eye(prior.dim), None
    parts = split(prior.gaussian, np.asarray(basis, np.float64))
    if inner is None:
        return Coordinates(*parts, prior, 0.0, (_exact, _exact_slope))
    return Coordinates(*parts, inner, max(prior.t_residual, prior.sde.t_min), (_density, _score))


def split(gaussian, basis):
    """The first five fields of Coordinates of a GaussianPrior along a ``basis`` (d, K)."""
    mean, modes, excess = (np.asarray(a, np.float64) for a in (gaussian.mean, gaussian.basis, gaussian.excess))
    floor, inside = float(gaussian.rest), basis.T @ modes
    covariance = (inside * excess) @ inside.T + floor * np.eye(basis.shape[1])
    return mean, basis, covariance, (modes - basis @ inside) * np.sqrt(excess), floor


def _modal(prior):
    """The prior of a + 1/2, a the leading amplitudes of a ScorePrior: its network without all other modes."""
    k = prior.network.k

    def score(prior, u, t):
        alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)
        variance = (2 * alpha * prior.gaussian.mode_std[:k]) ** 2 + beta**2
        return -u / variance - prior.modal_residual(u, t) / beta

    return ScoreFunctionPrior(score, (k,), prior.sde, params=prior)


def _exact(a, prior, time):
    del time
    return prior.log_prob(prior.mean + a)


def _exact_slope(a, prior, time):
    return jax.grad(_exact)(a, prior, time)


def _density(a, prior, time):
    """That of the probability-flow ODE, by the same steps everywhere."""
    del time
    return log_prob_ode(prior, a + 0.5, n_steps=ODE_STEPS, time="log-snr").log_prob


def _score(a, prior, time):
    """The score at the earliest time that the network has a say in. It only directs the steps: what it lacks as a gradient
    of the density, the acceptance makes good.
    """
    return 2 * prior.score(2 * a, time)


def likelihood(at, task, measurement):
    """(H (K, K), b (K,)): log p(y | a) = b a - a H a / 2 up to a constant, the rest of the signal integrated out."""
    observed = np.asarray(task.operator.observed(measurement.mask)).ravel() > 0
    matrix = np.eye(len(at.mean)) if task.operator.diagonal else np.asarray(dense_matrix(task.operator), np.float64)
    matrix = matrix[observed]
    left = np.asarray(measurement.y, np.float64).ravel()[observed] - matrix @ at.mean
    seen, outer = matrix @ at.basis, matrix @ at.outer
    noise = outer @ outer.T + at.floor * (matrix @ matrix.T - seen @ seen.T)
    noise += float(task.sigma_y) ** 2 * np.eye(len(matrix))
    solved = np.linalg.solve(noise, np.column_stack([seen, left]))
    return seen.T @ solved[:, :-1], seen.T @ solved[:, -1]


def gaussian_part(at, precision, shift):
    """Mean (K,) and a factor (K, K) of the covariance of the posterior under the prior's Gaussian part."""
    total = np.linalg.inv(at.covariance) + precision
    covariance = np.linalg.inv((total + total.T) / 2)
    return covariance @ shift, np.linalg.cholesky((covariance + covariance.T) / 2)


@partial(jax.jit, static_argnames=("parts", "schedule"))
def _block(key, z, step, prior, time, quadratic, around, *, parts, schedule):
    """Langevin steps in z, a = mean + factor z, towards log p(a) + b a - a H a / 2: Walked."""
    (precision, shift), (mean, factor) = quadratic, around
    log_prob, slope = parts

    def log_density(zi):
        a = mean + factor @ zi
        here = jax.lax.stop_gradient(a)
        log_p = log_prob(here, prior, time) + slope(here, prior, time) @ (
            a - here
        )  # the value, with slope for a gradient
        return log_p + shift @ a - a @ precision @ a / 2

    return walk(log_density, key, z, schedule, at_once=z.shape[0], step=step)


def reference(task, measurement, at=None, chains=8, steps=1000, keep=100, most=20, seed=0, folder=None, progress=print):
    """Moments of the posterior of one measurement: a dict with mean (K,), std (K,), r_hat (K,), ess (K,), blocks and
    acceptance.

    ``chains`` chains start at draws of the posterior under the prior's Gaussian part and as many WIDE times as far out;
    blocks of ``steps`` steps, of which ``keep`` states of each chain are kept, follow one another until every R-hat of
    the second half of all blocks lies below AGREED, at most ``most``. at: the Coordinates of the prior, where they are at
    hand; folder: where blocks are kept.
    """
    at = coordinates_of(task.prior) if at is None else at
    quadratic = likelihood(at, task, measurement)
    around = gaussian_part(at, *quadratic)
    arrays = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (quadratic, around))
    z = jax.random.normal(jax.random.key(seed), (2 * chains, len(around[0])))
    z, step, blocks = z.at[chains:].multiply(WIDE), None, []
    posed = sha256_of(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(arrays)))
    name = digest_of(task.prior, posed, chains, steps, keep, seed, ODE_STEPS, WIDE)
    for i in range(most):
        settings = {"parts": at.parts, "schedule": Schedule(0 if blocks else steps // 2, steps, keep)}
        size = jnp.float32(step) if blocks else None
        make = partial(_made, jax.random.fold_in(jax.random.key(seed), i), z, size, at, arrays, settings)
        found = make() if folder is None else kept(Path(folder) / f"reference-{name}-{i}.npz", make)
        z, step = jnp.asarray(found["states"][-1]), float(found["step"])
        blocks.append(around[0] + np.asarray(found["states"], np.float64) @ around[1].T)
        draws = np.concatenate(blocks[len(blocks) // 2 :]).swapaxes(0, 1)  # (2 chains, n, K)
        agreed = r_hat(draws)
        progress(f"block {i + 1}: largest R-hat {agreed.max():.4f}, acceptance {float(found['acceptance']):.2f}")
        if agreed.max() < AGREED:
            break
    flat = draws.reshape(-1, draws.shape[2])
    moments = {"mean": flat.mean(axis=0), "std": flat.std(axis=0, ddof=1), "r_hat": agreed}
    return moments | {
        "ess": effective_sample_size(draws),
        "blocks": len(blocks),
        "acceptance": float(found["acceptance"]),
    }


def _made(key, z, step, at, arrays, settings):
    walked = _block(key, z, step, at.prior, jnp.float32(at.time), *arrays, **settings)
    return {"states": walked.states, "step": walked.step, "acceptance": walked.acceptance.mean()}


def measured(task, n, seed=0):
    """n Measurements of test signals, evenly spread."""
    signals = np.asarray(task.signals("test"))
    chosen = signals[np.round(np.linspace(0, len(signals) - 1, n)).astype(int)]
    batch = task.measure(jax.random.key(seed), chosen)
    return [jax.tree.map(lambda a, i=i: a[i], batch) for i in range(n)]


def main(arguments=None):
    """Command line: chains of each measurement until they agree, and one file for all."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.references", description=main.__doc__)
    parser.add_argument("problem", choices=list(TASKS))
    parser.add_argument("--measurements", type=int, default=4, help="test signals, evenly spread over the split")
    parser.add_argument("--chains", type=int, default=8, help="from each of the two starts")
    parser.add_argument("--steps", type=int, default=1000, help="of one block")
    parser.add_argument("--keep", type=int, default=100, help="states of each chain that are kept of a block")
    parser.add_argument("--most", type=int, default=20, help="blocks at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", type=Path, default=Path("checkpoints/references"), help="folder of the blocks")
    parser.add_argument("--out", type=Path, help="by default weights/references/PROBLEM.safetensors")
    options = parser.parse_args(arguments)
    task = load_task(TASKS[options.problem])
    sizes = {"chains": options.chains, "steps": options.steps, "keep": options.keep, "most": options.most}
    at, found = coordinates_of(task.prior), []
    for i, one in enumerate(measured(task, options.measurements, options.seed)):
        say = partial(print, f"{options.problem}, measurement {i + 1} of {options.measurements},", flush=True)
        found.append(reference(task, one, at, **sizes, seed=options.seed, folder=options.blocks, progress=say))
    tree = {name: np.stack([np.asarray(one[name]) for one in found]) for name in ("mean", "std", "r_hat", "ess")}
    card = {
        "reference": options.problem,
        "made_for": made_for(task),
        "measurements": options.measurements,
        "seed": options.seed,
        **sizes,
        "largest_r_hat": float(tree["r_hat"].max()),
        "least_ess": float(tree["ess"].min()),
        "blocks": [one["blocks"] for one in found],
        "agreed": bool(tree["r_hat"].max() < AGREED),
    }
    card = weights.save(options.out or FOLDER / f"{options.problem}.safetensors", tree, card, np.float32)
    print(
        f"{options.problem}: largest R-hat {card['largest_r_hat']:.4f}, least effective sample size {card['least_ess']:.0f}"
    )


if __name__ == "__main__":
    main()
