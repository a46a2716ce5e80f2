"""The chapter on one flow for any mask and noise on the sphere: shares of missing cells, noise levels, and masks as they
come from satellites and stations.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_book.figures.sliders import Slider
from aps_book.record.labels import label_of
from aps_core import data, posterior
from aps_core.checks import seed as checked_seed
from aps_core.data.temperature import T_SPAN, to_kelvin
from aps_core.geometry import sphere
from aps_core.metrics import evaluation
from aps_core.operators import FixedMask, RandomMask

ANY, USUAL = "sphere-impute-any", "sphere-impute-held-out"
LABELS = {
    "gaussian": "Gaussian closed form",
    "usual": f"flow for 60 % and noise 0.05: {label_of(USUAL)}",
    "any": f"one flow for all: {label_of(ANY)}",
}
INCLINATION = 98.0  # degrees, of an orbit that keeps to the sun
ORBITS = 14.5  # in a day
SWATH = 2.5  # degrees on either side of the track


@dataclass(frozen=True)
class Setting:
    """A mask and a noise level: ``missing`` is a share drawn at random, or one of the masks of ``masks``."""

    label: str
    missing: float | str
    sigma_y: float = 0.05


SETTINGS = {
    "r20": Setting("20 % missing", 0.2),
    "r40": Setting("40 % missing", 0.4),
    "r60": Setting("60 % missing", 0.6),
    "r80": Setting("80 % missing", 0.8),
    "r90": Setting("90 % missing", 0.9),
    "noise10": Setting("60 % missing, noise 0.01", 0.6, 0.01),
    "noise200": Setting("60 % missing, noise 0.2", 0.6, 0.2),
    "track": Setting("one day of a satellite's track", "track"),
    "stations": Setting("stations on a sparse net", "stations"),
    "gap": Setting("nothing from a box of 60 by 80 degrees", "gap"),
}


def satellite_track(days=1.0):
    """A mask (46, 90): 1 within SWATH degrees of the ground track of a polar orbit, 0 elsewhere."""
    along = np.linspace(0, 2 * np.pi * ORBITS * days, 6000)
    tilt = np.radians(INCLINATION)
    latitude = np.degrees(np.arcsin(np.sin(tilt) * np.sin(along)))
    ascending = np.degrees(np.arctan2(np.cos(tilt) * np.sin(along), np.cos(along)))
    longitude = (ascending - along / ORBITS * 180 / np.pi) % 360
    cells = unit_vectors().reshape(-1, 3)
    track = _on_sphere(latitude, longitude)
    nearest = np.concatenate([(part @ track.T).max(axis=1) for part in np.array_split(cells, 8)])
    return (nearest > np.cos(np.radians(SWATH))).astype(np.float32).reshape(sphere.SHAPE)


def unit_vectors():
    """Cell centres (46, 90, 3) on the unit sphere: x to (0 N, 0 E), y to (0 N, 90 E), z to the north pole."""
    latitude, longitude = np.deg2rad(sphere.LATITUDE)[:, None], np.deg2rad(sphere.LONGITUDE)[None, :]
    x = np.cos(latitude) * np.cos(longitude)
    y = np.cos(latitude) * np.sin(longitude)
    z = np.broadcast_to(np.sin(latitude), sphere.SHAPE)
    return np.stack([x, y, z], axis=-1)


def _on_sphere(latitude, longitude):
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def masks():
    """The masks (46, 90) that are not drawn, by name."""
    stations = np.zeros(sphere.SHAPE, np.float32)
    stations[2:-2:4, ::5] = 1
    gap = np.ones(sphere.SHAPE, np.float32)
    gap[15:30, 60:80] = 0
    return {"track": satellite_track(), "stations": stations, "gap": gap}


def task_of(setting):
    """The Task of a Setting: that of the sphere with another mask, or share of missing cells, and noise."""
    task = aps_core.load_task("sphere-impute", sigma_y=setting.sigma_y)
    drawn = not isinstance(setting.missing, str)
    operator = RandomMask(sphere.SHAPE, setting.missing) if drawn else FixedMask(masks()[setting.missing])
    return replace(task, operator=operator)


def scores(setting, n, n_samples, seed=0):
    """``evaluation.evaluate`` of every row of LABELS on ``n`` test months, measured in the same way."""
    task, months = task_of(setting), data.load("ncep-temperature", "test").values
    x0 = months[np.round(np.linspace(0, len(months) - 1, n)).astype(int)]
    measured = task.measure(jax.random.key(checked_seed("seed", seed)), jnp.asarray(x0))
    samplers = {
        "gaussian": posterior.gaussian_posterior(task),
        "usual": posterior.load_posterior(task, weights=USUAL),
        "any": posterior.load_posterior(task, weights=ANY),
    }
    key = jax.random.key(seed + 1)
    return {row: evaluation.evaluate(sampler, key, measured, x0, n_samples) for row, sampler in samplers.items()}


def store(run, name, found):
    """Keep the scores of one setting as ``name.row.psnr`` and so on, and what one flow has above each of the others,
    paired by month, as ``name.above_row.energy``.
    """
    for row, of in found.items():
        run.mean(f"{name}.{row}_n1.psnr", of["psnr_n1"], "dB")
        run.mean(f"{name}.{row}.psnr", of["psnr_mean"], "dB")
        run.mean(f"{name}.{row}.energy", of["energy"])
        run.mean(f"{name}.{row}.coverage_90", 100 * of["coverage"][:, 1], "%")
    for row in ("gaussian", "usual"):
        run.mean(f"{name}.above_{row}.energy", found["any"]["energy"] - found[row]["energy"])
        run.mean(f"{name}.above_{row}.psnr", found["any"]["psnr_mean"] - found[row]["psnr_mean"], "dB")


def example(setting, n_samples=64, seed=0):
    """(x0, Measurement, samples (n, 46, 90)) of the last test month under one flow for all."""
    task = task_of(setting)
    x0 = jnp.asarray(data.load("ncep-temperature", "test").values[-1])
    measurement = task.measure(jax.random.key(checked_seed("seed", seed)), x0)
    samples = posterior.load_posterior(task, weights=ANY).sample(jax.random.key(seed + 1), measurement, n_samples)
    return np.asarray(x0), measurement, np.asarray(samples)


def slider_fields(missing=(0.2, 0.4, 0.6, 0.8, 0.9), noise=(0.01, 0.05, 0.2), n_shown=6, n_samples=64, seed=0):
    """What ``sliders.globe_view`` shows of the last test month, by share of missing cells and noise, in K: (sliders, fields,
    spread, error). The same cells go missing first at every share and noise level.
    """
    made = [[example(Setting("", share, sigma), n_samples, seed) for sigma in noise] for share in missing]
    grid = lambda of: np.array([[of(*one) for one in row] for row in made])  # noqa: E731
    seen = grid(lambda _, given, __: np.where(np.asarray(given.mask) > 0, np.asarray(given.y), np.nan))
    samples = grid(lambda *one: one[2])
    mean, truth = samples.mean(axis=2), made[0][0][0]
    choices = [
        Slider("missing", tuple(f"{100 * share:.0f} %" for share in missing), len(missing) // 2),
        Slider("noise", tuple(f"{T_SPAN * sigma:.1f} K" for sigma in noise), len(noise) // 2),
        Slider("sample", tuple(f"{i + 1} of {n_samples}" for i in range(n_shown))),
    ]
    fields = {
        "truth": (to_kelvin(truth), ()),
        "measurement, {0} missing (grey), noise {1}": (to_kelvin(seen), (0, 1)),
        "sample {2}": (to_kelvin(samples[:, :, :n_shown]), (0, 1, 2)),
        f"mean of {n_samples}": (to_kelvin(mean), (0, 1)),
    }
    spread = {"standard deviation": (T_SPAN * samples.std(axis=2, ddof=1), (0, 1))}
    return choices, fields, spread, {"mean − truth": (T_SPAN * (mean - truth), (0, 1))}
