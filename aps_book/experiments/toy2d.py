"""Two-dimensional posteriors that are known, and what samplers whose settings were tuned at one noise level make of
them.
"""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments.densities import divergence, grid_for, kernel_density, within_covariance
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core.operators import FixedMask, Measurement
from aps_core.priors.mixture import GaussianMixturePrior, gaussian_mixture
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks.problem import Task

NOISE = {"low": 0.03, "high": 0.2}  # standard deviation of the measurement
SHAPES = ("gaussian", "modes")
RIVALS = {
    "sde_proj": ("sde-proj", {"weight": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)}),
    "score_ald": ("score-ald", {"gamma": (0.1, 0.3, 1.0, 3.0, 10.0)}),
    "dps": ("dps", {"step_size": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)}),
}  # name of the sampler, and the values that are tried of its setting
TARGET = 0.02  # nats: KL from the truth that the score prior must reach
# the first coordinate, and what it was measured to be
MEASURED = Measurement(np.array([0.5, 0.0], np.float32), np.array([1.0, 0.0], np.float32))


@dataclass(frozen=True)
class Toy:
    """A Task in the plane and the posterior of its measurement ``MEASURED``, a GaussianMixturePrior."""

    task: Task
    truth: GaussianMixturePrior

    def log_target(self, points):
        """log p(x | y) in nats at ``points`` (..., 2)."""
        flat = np.asarray(points).reshape(-1, 2)
        return np.asarray(_log_target(self.truth, flat), np.float64).reshape(np.shape(points)[:-1])

    @property
    def centres(self):
        """Means (m, 2) of the components of the posterior."""
        return np.asarray(self.truth.means)


@jax.jit
def _log_target(truth, points):
    return jax.vmap(truth.log_prob)(points)


def toy(shape, sigma_y):
    """The Toy of a prior ("gaussian", correlated coordinates, or "modes", three Gaussians apart from each other) and a
    noise level > 0.

    Signals stay in the unit square or near it. Raises ValueError for another name.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {SHAPES}, got {shape!r}")
    if shape == "modes":
        means, covariances = [[0.4, 0.25], [0.6, 0.5], [0.4, 0.75]], [np.diag([0.08**2, 0.05**2])] * 3
        prior = gaussian_mixture([0.4, 0.25, 0.35], means, covariances)
    else:  # one Gaussian, three times: compiled programs then serve both priors
        prior = gaussian_mixture([1, 1, 1], [[0.5, 0.5]] * 3, [[[0.0225, 0.018], [0.018, 0.0225]]] * 3)
    task = Task(
        FixedMask(np.array([1, 0])),
        sigma_y,
        prior,
        prior.sample(jax.random.key(1), 64),
        name=f"toy-{shape}",
        unit_range=False,
    )
    return Toy(task, mixture_posterior(prior, sigma_y, MEASURED.y[:1], jnp.array([[1.0, 0.0]])))


def toys(low=NOISE["low"], high=NOISE["high"]):
    """All Toys by (shape, "low" or "high")."""
    return {(shape, level): toy(shape, sigma) for shape in SHAPES for level, sigma in (("low", low), ("high", high))}


def draw_truth(problem, key, n):
    """n exact posterior samples (n, 2)."""
    return np.asarray(problem.truth.sample(key, n))


def kernel_kl(problem, samples, n_grid=300):
    """(KL(q || p(x | y)) in nats with q the kernel estimate of ``samples`` (n, 2), q on its grid, the grid).

    The kernel widens what it smooths and follows the accidents of the samples; ``draw_truth`` put through it shows by
    how much.
    """
    covariance = within_covariance(samples, problem.centres) + 1e-10 * np.eye(2)
    grid = grid_for(samples, covariance, n_grid)
    density = kernel_density(samples, grid)
    return divergence(density, problem.log_target(grid.points), grid), density, grid


def flow_kl(problem, posterior, key, n_grid=300, n=20000):
    """(KL(q || p(x | y)) in nats by quadrature of the flow's own density, that density on its grid, the grid, its
    integral).
    """
    samples = np.asarray(posterior.sample(key, MEASURED, n))
    grid = grid_for(samples, within_covariance(samples, problem.centres), n_grid, margin=2.0)
    log_q = posterior.log_prob(jnp.asarray(grid.points.reshape(-1, 2), jnp.float32), MEASURED)
    density = np.exp(np.asarray(log_q, np.float64)).reshape(n_grid, n_grid)
    return divergence(density, problem.log_target(grid.points), grid), density, grid, grid.integral(density)


def tune_rivals(problem, key, n, rivals=RIVALS):
    """The best setting of each rival for ``problem``, by the KL of its samples from the truth as the paper has it: what
    ``tune`` records.

    Tried on the very measurement that is judged afterwards, which favours the rivals.
    """

    def score(samples, measurements):
        del measurements
        return kernel_kl(problem, np.asarray(samples)[0], 150)[0]

    one = jax.tree.map(lambda a: a[None], MEASURED)
    trials = Trials(n, score, key=key, measurements=one)
    return {name: tune(method, problem.task, grid, trials) for name, (method, grid) in rivals.items()}


def draw_rival(problem, name, settings, key, n):
    """(n samples (n, 2) of the rival ``name`` of RIVALS, seconds with compilation left out, its NFE)."""
    sampler = make_sampler(RIVALS[name][0], problem.task, **settings)
    jax.block_until_ready(sampler.sample(key, MEASURED, n))
    begin = time.perf_counter()
    samples = np.asarray(sampler.sample(key, MEASURED, n))
    return samples, time.perf_counter() - begin, sampler.nfe


def in_words(shown, shape, labels):
    """How wide each method of ``labels`` (by row) is at both noises, from the numbers of a record: for an alt text."""
    numbers, said = shown["numbers"], []
    for level in ("low", "high"):
        found = {label: numbers.get(f"{shape}.{row}.{level}.measured") for row, label in labels.items()}
        wide = ", ".join(f"{label} {one['value']:.2f}" for label, one in found.items() if one)
        said.append(f"{level} noise: {wide}")
    return f"Variance in the measured direction over that of the posterior, {'; '.join(said)}."


def spread(problem, samples, n=100_000, seed=9):
    """Variance of ``samples`` over that of the posterior, along the measured coordinate and along the other one."""
    exact = draw_truth(problem, jax.random.key(seed), n)
    return tuple(np.var(samples, axis=0, ddof=1) / np.var(exact, axis=0, ddof=1))


def measure(problem, flows, settings, keys, n):
    """What the chapter tells of each row: "truth" (exact samples), the ``flows`` (dict by row), and the RIVALS with
    their ``settings``.

    keys: three, for the flows, the rivals and the exact samples; n samples each. A row has "kernel", "measured",
    "other" (see ``spread``), "density" (points, values), and where they apply "kl", "seconds" and "nfe".
    """
    key_flow, key_draw, key_exact = keys
    rows = {"truth": _described(problem, draw_truth(problem, key_exact, n))}
    for row, q in flows.items():
        jax.block_until_ready(q.sample(key_flow, MEASURED, n))
        begin = time.perf_counter()
        samples = np.asarray(q.sample(key_flow, MEASURED, n))
        seconds = time.perf_counter() - begin
        kl, density, grid, _ = flow_kl(problem, q, key_flow)
        rows[row] = {
            **_described(problem, samples),
            "kl": kl,
            "density": (grid.points, density),
            "seconds": seconds,
            "nfe": q.nfe,
        }
    for row, chosen in settings.items():
        samples, seconds, nfe = draw_rival(problem, row, chosen, key_draw, n)
        rows[row] = {**_described(problem, samples), "seconds": seconds, "nfe": nfe}
    return rows


def _described(problem, samples):
    kl, density, grid = kernel_kl(problem, samples)
    measured, other = spread(problem, samples)
    return {"kernel": kl, "measured": measured, "other": other, "density": (grid.points, density)}


def search_curve(search):
    """(values, KL) of a search over one setting, those that gave finite samples."""
    rows = [row for row in search["search"] if row["finite"]]
    return [next(iter(row["settings"].values())) for row in rows], [row["score"] for row in rows]


def store(run, name, rows, searches, settings):
    """Keep what ``measure`` found of the problem ``name`` = (shape, level), the settings in use, and the best KL of
    ``searches``.

    excess: KL by the kernel estimate less that of exact samples.
    """
    shape, level = name
    for row, values in rows.items():
        numbers = {key: values[key] for key in ("kl", "kernel", "measured", "other") if key in values}
        numbers["excess"] = values["kernel"] - rows["truth"]["kernel"]
        run.numbers(f"{shape}.{row}.{level}", numbers)
        if name == ("gaussian", "low") and "seconds" in values:
            run.number(f"cost.{row}.seconds", float(f"{values['seconds']:.2g}"), unit="s")
            run.number(f"cost.{row}.nfe", values["nfe"])
    for row, search in searches.items():
        run.number(f"{shape}.{row}.{level}.setting", next(iter(settings[row].values())))
        run.number(f"{shape}.{row}.{level}.retuned", min(search_curve(search)[1]))
