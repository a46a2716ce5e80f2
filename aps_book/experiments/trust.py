"""The chapter on trust: diagnosis of faulty measurements, corrections and refinement."""

import contextlib
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data
from aps_core.flows.wrappers import tempered
from aps_core.metrics.trust import diagnose, importance
from aps_core.metrics.trust.statistics import SAMPLES
from aps_core.posterior import load_posterior
from aps_core.tasks import load_task

N_SAMPLES = SAMPLES  # of each diagnosis
FACE_TASKS = {"denoise": "denoising", "sr2": "2x super-resolution", "deblur": "deblurring"}
FAULTS = {
    "noise_2": "noise of twice the level",
    "noise_1_5": "noise of 1.5 times the level",
    "noise_0_67": "noise of two thirds of the level",
    "noise_0_5": "noise of half the level",
    "blur": "blur of 1.3 times the width",
    "swapped": "red and blue swapped",
    "turned": "turned by 90 degrees",
    "cifar10": "photographs of things",
    "weather": "maps of temperature",
    "uniform": "uniform noise in the place of a picture",
    "lfw": "faces of another data set (LFW)",
}
RIGHT = "right"
NOISE = {"noise_2": 2.0, "noise_1_5": 1.5, "noise_0_67": 1 / 1.5, "noise_0_5": 0.5}


def pictures(faces, n, seed=0):
    """Signals (n, 32, 32, 3) in the place of faces, by fault: those of other kinds, and faces wrongly oriented."""
    x, rng = faces[:n], np.random.default_rng(seed)
    found = {
        "swapped": x[..., ::-1],
        "turned": np.rot90(x, 1, (1, 2)),
        "cifar10": data.load("photos", "test").values[:n],
        "weather": _maps(n),
        "uniform": rng.random((n, 32, 32, 3)),
    }
    with contextlib.suppress(FileNotFoundError):  # brought by the user, or not there
        found["lfw"] = data.load("lfw", "test").values[:n]
    return {name: jnp.asarray(np.ascontiguousarray(v), jnp.float32) for name, v in found.items()}


def _maps(n):
    values = data.load("ncep-temperature", "test").values
    values = values[:: max(1, len(values) // n)][:n]
    return np.repeat(np.asarray(jax.image.resize(values, (len(values), 32, 32), "linear"))[..., None], 3, axis=-1)


def faulty(task, faces, n, seed=0):
    """Measurements by fault, "right" first: of the first n ``faces`` with another operator than ``task`` says, and of
    other signals. The right ones are of all ``faces``.
    """
    key, few = jax.random.key(seed), jnp.asarray(faces[:n])
    made = {RIGHT: task.measure(key, jnp.asarray(faces))}
    for name, factor in NOISE.items():
        made[name] = replace(task, sigma_y=factor * task.sigma_y).measure(key, few)
    if task.operator.kind == "gaussian-blur":
        made["blur"] = load_task(task.name, blur_std=1.3 * task.operator.std).measure(key, few)
    return made | {name: task.measure(key, x) for name, x in pictures(faces, n, seed).items()}


def diagnosed(posterior, measurements):
    """log p of all statistics together (batch,) and whether each is not trusted."""
    found = diagnose(posterior, measurements)
    log_p = np.array([np.log(one.p_values["all"]) if one.p_values else -np.inf for one in found])
    return log_p, np.array([one.verdict != "trust" for one in found])


def seconds(posterior, measurement, repeats=3):
    """Median wall-clock seconds of one diagnosis after the first."""
    diagnose(posterior, measurement)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        diagnose(posterior, measurement)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def area(wrong, right):
    """The area under the ROC curve of telling ``wrong`` from ``right`` by a smaller value; ties count half."""
    wrong, right = np.asarray(wrong)[:, None], np.asarray(right)[None]
    return float(np.mean(wrong < right) + 0.5 * np.mean(wrong == right))


def study_faults(run, name, faces, n, seed=0):
    """Diagnose ``n`` measurements of each fault of the task ``name`` and keep, under ``diagnose.<task>.<fault>``, the
    share that is not trusted (%) and the area under the ROC curve against all right ones. Returns the posterior.
    """
    task = load_task(f"faces-{name}")
    posterior = load_posterior(task, weights=f"{task.name}-held-out")
    results = {fault: diagnosed(posterior, m) for fault, m in faulty(task, faces, n, seed).items()}
    for fault, (log_p, doubted) in results.items():
        share = float(np.mean(doubted))
        error = 100 * np.sqrt(max(share * (1 - share), 1 / len(doubted) ** 2) / len(doubted))
        run.number(f"diagnose.{name}.{fault}.share", 100 * share, error, "%", len(doubted))
        if fault != RIGHT:
            run.number(f"diagnose.{name}.{fault}.auc", area(log_p, results[RIGHT][0]), n=len(doubted))
    return posterior


def wrong_on_purpose(posterior):
    """The posterior with its noise made smaller by NARROW: too sure of itself."""
    return tempered(posterior, NARROW)


def correct(run, row, posterior, measurement, truth, n, seed=0):
    """Keep what importance weights say of a posterior whose mean ``truth`` (d,) and standard deviations are known:
    k-hat, effective share of the samples, and the rms error of the mean before and after, in posterior standard
    deviations.
    """
    found, (mean, std) = importance(posterior, jax.random.key(seed), measurement, n), truth
    plain = (np.asarray(found.samples, np.float64).mean(axis=0).ravel() - mean) / std
    weighted = (found.mean().ravel() - mean) / std
    expected = found.mean_error().ravel() / std
    run.number(f"correct.{row}.k", found.pareto_k)
    run.number(f"correct.{row}.ess", 100 * found.ess / n, unit="%")
    for name, values in (("plain", plain), ("weighted", weighted), ("expected", expected)):
        run.number(f"correct.{row}.{name}", np.sqrt(np.mean(values**2)))


def exact_moments(closed, measurement):
    """Mean (d,) and standard deviation (d,) of a closed-form posterior."""
    context = closed.flow.context(measurement)
    return np.asarray(context.mean, np.float64), np.asarray(context.marginal_std, np.float64)


def refined(posterior, closed, measurement, steps, every, n=128, seed=0):
    """(steps, KL, standard error, seconds) along a refinement of ``posterior`` for one measurement, KL in nats to the
    closed form.
    """

    def evaluate(now):
        x, log_q = now.sample_and_log_prob(jax.random.key(seed), measurement, n)
        away = np.asarray(log_q - closed.log_prob(x, measurement), np.float64)
        return {"kl": float(away.mean()), "kl_se": float(away.std(ddof=1) / np.sqrt(n))}

    after = posterior.refine(measurement, steps=steps, evaluate=evaluate, evaluate_every=every)
    return tuple(np.array([row[name] for row in after.card["history"]]) for name in ("step", "kl", "kl_se", "seconds"))
