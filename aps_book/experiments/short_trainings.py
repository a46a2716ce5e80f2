"""Small controlled experiments of the method, each against a posterior known in closed form."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.diffusion import VPSDE
from aps_core.metrics import quality
from aps_core.operators import Identity
from aps_core.posterior import gaussian_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.tasks.problem import Task
from aps_core.training.posterior import train_posterior
from aps_core.training.validation import kl_to_closed_form


def diagonal_task(eigenvalues, sigma_y=0.1, t_min=1e-5):
    """Denoising under a Gaussian prior of mean 1/2 with the given variances (d,), largest first, in the scale of the
    signals.
    """
    eigenvalues = np.asarray(eigenvalues, dtype=np.float32)
    dim, rest = eigenvalues.size, eigenvalues.min()
    prior = GaussianPrior(
        jnp.full(dim, 0.5),
        jnp.eye(dim),
        jnp.asarray(eigenvalues - rest),
        jnp.asarray(rest),
        shape=(dim,),
        sde=VPSDE(t_min=t_min),
    )
    signals = prior.sample(jax.random.key(11), 4096)
    return Task(Identity((dim,)), sigma_y, prior, signals, name="diagonal", unit_range=False)


N_MEASUREMENTS = 256  # on which ``start_from_exact`` measures


def start_from_exact(
    task,
    prior_term,
    steps=200,
    learning_rate=2e-4,
    seed=0,
    n_measurements=N_MEASUREMENTS,
    n_samples=128,
    progress=False,
):
    """Train a GaussianBaseFlow that starts as the exact posterior, and measure where training leaves it.

    Returns a dict of numbers and arrays: ``kl`` after training (before it is zero; nats per entry) with ``kl_se``;
    ``ratio``, the squared error of single samples over that of the exact posterior mean, each entry in units of its
    posterior standard deviation (2 for an exact sampler), with ``ratio_se``; ``ratio_before``, the same for the exact
    posterior on the same draws, and the paired ``ratio_change`` with ``ratio_change_se``; ``variance_ratio`` (d,),
    sample variance over posterior variance; ``n``, the number of measurements.
    """
    recipe = {
        "name": f"start from exact, {prior_term}",
        "flow": {"kind": "gaussian-base", "k": task.shape[0], "steps": 4, "width": 64},
        "objective": {"prior_term": prior_term, "batch": 64, "n_times": 4, "noise": "fresh"},
        "optimizer": {"steps": steps, "learning_rate": learning_rate, "warmup": 20, "ema": 0.9, "seed": seed},
    }
    posterior, _ = train_posterior(task, recipe, progress=progress)
    exact = gaussian_posterior(task)
    x0 = np.asarray(task.signals("test"))[:n_measurements]
    measurements = task.measure(jax.random.key(seed + 1), jnp.asarray(x0))
    key = jax.random.key(seed + 2)
    kl, kl_se = kl_to_closed_form(posterior, key, measurements, n_samples)

    variances = np.asarray(task.prior.excess + task.prior.rest)
    std = np.sqrt(1 / (1 / variances + 1 / task.sigma_y**2))
    mean = np.asarray(jax.vmap(lambda m: exact.flow.context(m).mean)(measurements))
    mmse = np.mean(((mean - x0) / std) ** 2, axis=-1)
    before, after = (np.asarray(p.sample(key, measurements, n_samples)) / std for p in (exact, posterior))
    errors = [((samples - (x0 / std)[:, None]) ** 2).mean(axis=(1, 2)) for samples in (before, after)]
    change, change_se = quality.mean_and_standard_error((errors[1] - errors[0]) / mmse.mean())
    ratio, ratio_se = quality.sample_error_over_mmse(after, x0 / std, mmse=mmse)
    ratio_before, _ = quality.sample_error_over_mmse(before, x0 / std, mmse=mmse)
    return {
        "kl": kl,
        "kl_se": kl_se,
        "n": len(x0),
        "ratio": ratio,
        "ratio_se": ratio_se,
        "ratio_before": ratio_before,
        "ratio_change": float(change),
        "ratio_change_se": float(change_se),
        "variance_ratio": np.mean(np.var(after, axis=1, ddof=1), axis=0),
    }


def seconds_per_step(history, statistic=np.median):
    """Median (or another statistic) over the spans between two rows of a training log; the first, with the compilation,
    is left out.
    """
    spans = [(b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairwise(history[1:])]
    return float(statistic(spans))
