"""The chapter on trust: simulation-based calibration, diagnosis of faulty measurements, corrections and refinement."""

import contextlib
import time
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.record import tuning_records
from aps_core import data
from aps_core.flows.wrappers import tempered
from aps_core.metrics import calibration
from aps_core.metrics.trust import diagnose, importance
from aps_core.metrics.trust.statistics import SAMPLES
from aps_core.posterior import gaussian_posterior, load_posterior
from aps_core.samplers import make_sampler
from aps_core.tasks import load_task
from aps_core.weights import label_of

N_SAMPLES = SAMPLES  # of each diagnosis
TRAINED = "gaussian16-realnvp-denoise"
LABELS = {"closed": "Gaussian closed form", "trained": label_of(TRAINED), "prior": "draws of the prior", "dps": "DPS"}
QUANTITIES = {
    "pixel": "one pixel",
    "mode": "first mode of the prior",
    "fine_mode": "fortieth mode of the prior",
    "log_likelihood": "log-likelihood",
    "log_q": "log q",
}
FINE = 39  # position of the fortieth mode
NARROW = 0.8  # factor of the noise of a flow that is wrong on purpose
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


@dataclass(frozen=True)
class PriorDraws:
    """A sampler that never looks at the data: draws of the prior."""

    task: object

    def sample(self, key, measurement, n):
        """n draws (batch, n, *shape) for a batch."""
        batch = len(measurement.y)
        return self.task.prior.sample(key, batch * n).reshape((batch, n, *self.task.shape))


def calibrated(task, n_signals, n, seed=0):
    """Bands of the ranks of ``n_signals`` true signals among n samples: dict quantity -> dict sampler -> RankBand.

    Samplers of LABELS on gaussian16; log q for those that have a density.
    """
    k_signal, k_measure, k_sample = jax.random.split(jax.random.key(seed), 3)
    x0 = task.prior.sample(k_signal, n_signals)
    measured = task.measure(k_measure, x0)
    dps = tuning_records.read(tuning_records.path("samplers"))["gaussian16"]["dps"]["best"]
    samplers = {
        "closed": gaussian_posterior(task),
        "trained": load_posterior(task, weights=TRAINED),
        "prior": PriorDraws(task),
        "dps": make_sampler("dps", task, **{**dps, "n_steps": 100}),
    }
    found = {name: {} for name in QUANTITIES}
    for row, sampler in samplers.items():
        together = jnp.concatenate([x0[:, None], sampler.sample(k_sample, measured, n)], axis=1)
        for name, values in quantities(task, sampler, together, measured).items():
            values = np.asarray(values, np.float64)
            ranks = [calibration.sbc_ranks(v[1:, None], v[:1])[0] for v in values]
            found[name][row] = calibration.rank_band(ranks, n, seed=seed)
    return found


@jax.jit
def _modes(prior, x):
    return (x.reshape((*x.shape[:2], -1)) - prior.mean) @ prior.basis


def quantities(task, sampler, x, measured):
    """Test quantities (batch, n) of signals ``x`` (batch, n, *shape), by name."""
    modes = _modes(task.prior, x)
    likelihood = jax.jit(
        lambda xs, ms: jax.lax.map(lambda a: jax.vmap(lambda xi: task.log_likelihood(xi, a[1]))(a[0]), (xs, ms))
    )
    flat = x.reshape((*x.shape[:2], -1))
    found = {"pixel": flat[..., flat.shape[-1] // 2], "mode": modes[..., 0], "fine_mode": modes[..., FINE]}
    found["log_likelihood"] = likelihood(x, measured)
    return found | ({"log_q": sampler.log_prob(x, measured)} if hasattr(sampler, "log_prob") else {})


def store_calibration(run, found):
    """Keep the p-value of each quantity and sampler, and how many quantities of a sampler leave the band."""
    for row in LABELS:
        bands = {name: panel[row] for name, panel in found.items() if row in panel}
        for name, band in bands.items():
            run.number(f"sbc.{row}.{name}", band.p)
        run.number(f"sbc.{row}.outside", sum(not band.inside for band in bands.values()))


def panels(found):
    """The same with the words of the page, for a figure."""
    return {QUANTITIES[name]: {LABELS[row]: band for row, band in panel.items()} for name, panel in found.items()}


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
    posterior = load_posterior(task)
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
