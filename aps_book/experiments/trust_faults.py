"""Measurements that something is wrong with, and of signals of other kinds: what a diagnosis should find."""

import contextlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data
from aps_core.data.faces import SPLITS, prior_faces
from aps_core.data.photos import prior_photos
from aps_core.data.temperature import to_kelvin
from aps_core.operators import Measurement
from aps_core.priors import fast_sampling
from aps_core.tasks import load_task

RIGHT, DRAWN = "right", "drawn"
AS_TOLD = {RIGHT: "faces, as the task says", DRAWN: "draws of the prior, as the task says"}
FAULTS = {
    "noise_2": "noise of twice the level",
    "noise_1_5": "noise of 1.5 times the level",
    "noise_0_67": "noise of two thirds of the level",
    "noise_0_5": "noise of half the level",
    "blur": "blur of 1.3 times the width",
    "hidden": "a fifth of the data missing, no mask",
    "scale": "data from 0 to 255",
    "swapped": "red and blue swapped",
    "turned": "turned by 90 degrees",
    "cifar10": "photographs of things (CIFAR-10)",
    "prior_cifar10": "draws of a prior of things",
    "weather": "maps of temperature",
    "uniform": "uniform noise for a picture",
    "lfw": "faces of another data set (LFW)",
}
MONTHS = {
    RIGHT: "months, as the task says",
    "noise_2": FAULTS["noise_2"],
    "noise_0_5": FAULTS["noise_0_5"],
    "no_mask": "zeros, and a mask that hides none",
    "kelvin": "in kelvin",
    "other_half": "west in the place of east",
}
NOISE = {"noise_2": 2.0, "noise_1_5": 1.5, "noise_0_67": 1 / 1.5, "noise_0_5": 0.5}
HIDDEN, BLUR, LEVELS = 0.2, 1.3, 255.0
DRAW_STEPS, DRAWS_SEED = 32, 2000  # of new draws of the prior; the references have the same number and other seeds
PACKAGED = SPLITS["test"] // 2  # draws of the prior that come with the package and are used here, the last ones


def pictures(faces, n, seed=0):
    """(signals, data sets): by fault signals (n, 32, 32, 3) in the place of the first n ``faces``, those of other kinds and
    faces wrongly oriented; and the data sets that they are from, of those that are at hand.
    """
    x, rng = np.asarray(faces)[:n], np.random.default_rng(seed)
    others = {"prior_cifar10": prior_photos("test")}
    for fault, name in (("cifar10", "cifar10"), ("lfw", "lfw")):
        with contextlib.suppress(FileNotFoundError):  # fetched or brought by the user, or not there
            others[fault] = data.load(name, "test")
    months = data.load("ncep-temperature", "test")
    found = {"swapped": x[..., ::-1], "turned": np.rot90(x, 1, (1, 2)), "uniform": rng.random((n, 32, 32, 3))}
    found |= {"weather": _maps(months.values, n)} | {fault: one.values[:n] for fault, one in others.items()}
    signals = {
        fault: jnp.asarray(np.ascontiguousarray(found[fault]), jnp.float32) for fault in FAULTS if fault in found
    }
    return signals, [months, *others.values()]


def _maps(values, n):
    values = values[:: max(1, len(values) // n)][:n]
    return np.repeat(np.asarray(jax.image.resize(values, (len(values), 32, 32), "linear"))[..., None], 3, axis=-1)


def draws_of_prior(prior, n, seed=0):
    """(n draws (n, 32, 32, 3) of the shipped face prior, their data set or None): up to PACKAGED of them are the last of
    those that come with the package, more are drawn anew and kept (``fast_sampling.pool``).
    """
    if n <= PACKAGED:
        packaged = prior_faces("test")
        return packaged.values[-n:], packaged
    return np.asarray(fast_sampling.pool(prior, n, DRAW_STEPS, seed + DRAWS_SEED)), None


def faulty(task, faces, drawn, signals, n, seed=0):
    """Measurements by fault: RIGHT, of all ``faces``, and DRAWN, of the draws of the prior, as ``task`` says; then those of
    the first n faces with another noise, blur, mask or scale than it says, and of the ``signals`` of ``pictures``.
    """
    key, few = jax.random.key(seed), jnp.asarray(faces[:n])
    made = {
        RIGHT: task.measure(key, jnp.asarray(faces)),
        DRAWN: task.measure(jax.random.fold_in(key, 1), jnp.asarray(drawn)),
    }
    for name, factor in NOISE.items():
        made[name] = replace(task, sigma_y=factor * task.sigma_y).measure(key, few)
    if task.operator.kind == "gaussian-blur":
        made["blur"] = load_task(task.name, blur_std=BLUR * task.operator.std).measure(key, few)
    told = task.measure(key, few)
    seen = jax.random.bernoulli(jax.random.fold_in(key, 2), 1 - HIDDEN, (*told.y.shape[:3], 1))
    made["hidden"] = told.replace(y=told.y * seen)
    made["scale"] = told.replace(y=told.y * LEVELS)
    return made | {name: task.measure(key, x) for name, x in signals.items()}


def faulty_months(task, months, seed=0):
    """Measurements of temperature by fault: RIGHT, of ``months`` (n, 46, 90), as ``task`` says, with cells missing; then with
    another noise, with a mask that hides nothing, in kelvin, and with the west in the place of the east.
    """
    key, x = jax.random.key(seed), jnp.asarray(months)
    made = {RIGHT: task.measure(key, x)}
    for name in ("noise_2", "noise_0_5"):
        made[name] = replace(task, sigma_y=NOISE[name] * task.sigma_y).measure(key, x)
    y, mask = made[RIGHT].y, made[RIGHT].mask
    made["no_mask"] = Measurement(y, jnp.ones_like(mask))
    made["kelvin"] = Measurement(mask * to_kelvin(y), mask)
    made["other_half"] = Measurement(jnp.roll(y, y.shape[-1] // 2, -1), jnp.roll(mask, y.shape[-1] // 2, -1))
    return made
