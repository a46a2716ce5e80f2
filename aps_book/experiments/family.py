"""What the family of a flow costs the reverse divergence, on posteriors known in closed form: where its mean and its
spread end with the exact density, with the bound, and with the forward divergence.

``python -m aps_book.experiments.family`` adds its full-size numbers to the full run of the page on the paper's objective
(weights/results/protocol.added-family.json).
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import method
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core.diffusion import VPSDE
from aps_core.metrics import calibration
from aps_core.operators import Identity
from aps_core.posterior import gaussian_posterior
from aps_core.priors.mixture import gaussian_mixture
from aps_core.tasks.problem import Task
from aps_core.training.posterior import AS_IN_THE_PAPER, train_posterior

SIGMA_Y = 0.1
OBJECTIVES = {
    "exact": {"prior_term": "exact", "estimator": "path"},
    "bound": {"prior_term": "control-variate", "estimator": "path", "n_times": 8},
    "forward": {"kl": "forward"},
    "both": {"kl": "mixture", "prior_term": "exact", "estimator": "path"},
}
LABELS = {
    "gaussian": "Gaussian of the prior's mean and covariance",
    "forward": "forward divergence",
    "both": "half forward, half reverse, exact density",
    "exact": "reverse, exact density",
    "bound": "the same, then with the bound in its place",
    "truth": "draws of the exact posterior",
}


def problem(name, dim=8):
    """The Task "contrast" or "means", denoising with noise SIGMA_Y, whose posterior is a mixture known in closed form.

    "contrast": three Gaussians of ``dim`` entries with one mean and one set of modes, whose variances are 1, 1/10 and
    1/100 of each other: flat or busy, as pieces of a photograph are. The denoised signal depends on y through how busy
    it looks, and the posterior has heavy tails. "means": that of the page on the method, Gaussians whose means lie
    apart. Raises ValueError for another name.
    """
    if name == "means":
        return method.problem("mixture")
    if name != "contrast":
        raise ValueError(f'problem must be "contrast" or "means", got {name!r}')
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(dim, dim)))[0]
    busy = turn @ np.diag(np.geomspace(4e-2, 1e-2, dim)) @ turn.T
    prior = gaussian_mixture(
        [0.4, 0.3, 0.3], np.full((3, dim), 0.5), [busy, busy / 10, busy / 100], sde=VPSDE(t_min=1e-5)
    )
    return Task(
        Identity((dim,)), SIGMA_Y, prior, prior.sample(jax.random.key(11), 4096), name="contrast", unit_range=False
    )


def trained(task, objective, steps=600, couplings=4, width=64, rate=3e-3, start=None, seed=0):
    """The posterior that the structured flow with ``couplings`` couplings becomes by ``steps`` steps of an objective of
    OBJECTIVES, its ``rate`` falling to a hundredth; ``start``: a posterior whose weights are where it begins.
    """
    recipe = {
        "name": f"{task.name} {objective}",
        "flow": {"kind": "gaussian-base", "k": task.shape[0], "steps": couplings, "width": width},
        "objective": {**AS_IN_THE_PAPER, "batch": 64, **OBJECTIVES[objective]},
        "optimizer": {
            "steps": steps,
            "learning_rate": rate,
            "warmup": steps // 10,
            "final": 0.01,
            "ema": 0.95,
            "seed": seed,
        },
    }
    return train_posterior(task, recipe, start=start, progress=False)[0]


class ExactPosterior:
    """Draws of the exact posterior of a mixture, behind ``sample`` of an AmortizedPosterior."""

    def __init__(self, task):
        self.task = task

    def sample(self, key, measurements, n):
        """n draws (batch, n, *shape) of each of a batch of measurements."""
        prior, sigma_y = self.task.prior, self.task.sigma_y

        def one(k, y):
            return mixture_posterior(prior, sigma_y, y.reshape(-1), jnp.eye(prior.dim)).sample(k, n)

        return jax.lax.map(lambda a: one(*a), (jax.random.split(key, len(measurements.y)), measurements.y))


def exact_means(task, measurements):
    """E[x | y] of each of a batch of measurements, (batch, d)."""
    one = lambda y: mixture_posterior(task.prior, task.sigma_y, y.reshape(-1), jnp.eye(task.prior.dim)).mean  # noqa: E731
    return np.asarray(jax.vmap(one)(measurements.y))


def measure(sampler, measurements, x0, n=256, seed=3):
    """How far a sampler is from the exact posterior, for each measurement: {"shift", "lost", "inside_90", "variance"}.

    shift: mean square distance of its mean from the exact one over the exact mean's mean square error (of all
    measurements); lost: decibels of the mean below the exact one's, both without the noise of ``n`` draws; inside_90:
    per cent of the entries inside its central 90 % intervals; variance: of its samples, mean over the entries.
    """
    exact, truth = exact_means(sampler.task, measurements), np.asarray(x0).reshape(len(x0), -1)
    samples = np.asarray(sampler.sample(jax.random.key(seed), measurements, n), np.float64).reshape(len(x0), n, -1)
    mean, noise = samples.mean(axis=1), samples.var(axis=1, ddof=1) / n
    least = np.mean((exact - truth) ** 2)
    excess = np.mean((mean - truth) ** 2 - noise - (exact - truth) ** 2, axis=1)
    return {
        "shift": np.mean((mean - exact) ** 2 - noise, axis=1) / least,
        # of small differences: the derivative of the decibel
        "lost": 10 / np.log(10) * excess / least,
        "inside_90": np.array(
            [100 * calibration.coverage(s, x, (0.9,))[0] for s, x in zip(samples, truth, strict=True)]
        ),
        "variance": n * noise.mean(axis=1),
    }


def compare(name, steps=600, n_measurements=512, couplings=4, seed=0):
    """``measure`` of the rows of LABELS for the problem ``name``, on the same measurements and by row. "bound" goes on
    from "exact" for half as many steps.
    """
    task = problem(name)
    x0 = task.prior.sample(jax.random.key(seed + 2), n_measurements)
    measurements = task.measure(jax.random.key(seed + 1), x0)
    samplers = {"gaussian": gaussian_posterior(task), "truth": ExactPosterior(task)}
    samplers |= {row: trained(task, row, steps, couplings, seed=seed) for row in OBJECTIVES if row != "bound"}
    # from there, at a tenth of the rate: does it stay?
    samplers["bound"] = trained(task, "bound", steps // 2, couplings, rate=3e-4, start=samplers["exact"], seed=seed)
    return {row: measure(samplers[row], measurements, x0) for row in LABELS}


def store(run, name, found):
    """Keep what ``compare`` found as ``family.contrast.exact.lost`` and so on, and of the flows paired by measurement
    what the bound has lost more than the exact density as ``family.contrast.apart``.
    """
    for row, values in found.items():
        for key, unit in (("shift", None), ("lost", "dB"), ("inside_90", "%")):
            run.mean(f"family.{name}.{row}.{key}", values[key], unit)
    for key, row in (("apart", "bound"), ("mode_seeking", "forward")):
        run.mean(
            f"family.{name}.{key}", (1 if key == "apart" else -1) * (found[row]["lost"] - found["exact"]["lost"]), "dB"
        )


def main(arguments=None):
    """Command line: train, measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.family", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--measurements", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/family"))
    parser.add_argument("--out", type=Path, default=Path("weights/results/protocol.added-family.json"))
    options = parser.parse_args(arguments)
    run = record.Run("protocol", {"family_steps": options.steps}, options.folder)
    run.number("family.steps", options.steps)
    store(run, "contrast", compare("contrast", options.steps, options.measurements))
    run.finish()
    print(record.save({**record.load(options.folder / "protocol.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
