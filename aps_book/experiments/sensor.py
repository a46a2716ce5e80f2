"""The chapter on an operator that is not linear: which samplers are compared, and what the record keeps of them."""

from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from aps_book.experiments import faces as faces_study
from aps_book.experiments import faces_rivals, pictured
from aps_book.experiments.gauss_newton import LinearizedPosterior
from aps_book.experiments.sampler_names import names
from aps_book.record import tuning_records
from aps_book.record.labels import label_of
from aps_core.metrics import evaluation, quality
from aps_core.posterior import load_posterior
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.tasks import load_task

LABELS = {"gaussian": "Gaussian, linearized", **names("dps"), "aps": label_of("faces-saturated-held-out")}
GRID = {"n_steps": (100,), "step_size": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)}
EDGES = np.linspace(0, 1, 6)  # of the bins of brightness


def search(path=None, n_faces=8, n=4, progress=print):
    """The step size of DPS by the energy score of n samples of each of ``n_faces`` validation faces; written with
    ``path``.
    """
    task, trials = load_task("faces-saturated"), Trials(n, "energy", n_faces)
    found = {"dps": tune("dps", task, GRID, trials, progress=progress)}
    if path is not None:
        tuning_records.write(path, found)
    return found


def direct(task):
    """The samplers that need no iteration of a network, by row. Raises as ``load_posterior``."""
    return {"gaussian": LinearizedPosterior(task), "aps": load_posterior(task)}


def dps(task):
    """DPS with the recorded settings."""
    return make_sampler("dps", task, **tuning_records.read(tuning_records.path("sensor"))["dps"]["best"])


def score(sampler, key, case, n):
    """What ``evaluation.evaluate`` returns, and of each pixel the squared error of the mean and the variance of n
    samples (faces, *shape).
    """
    rows = []
    for i, k in enumerate(tqdm(jax.random.split(key, len(case.x0)), desc="measurements", disable=None)):
        samples = np.asarray(sampler.sample(k, case.one(i), n))
        maps = {"error": (samples.mean(axis=0) - case.x0[i]) ** 2, "variance": samples.var(axis=0, ddof=1)}
        rows.append({**evaluation.score(samples, case.x0[i]), **maps})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def score_dps(sampler, key, case, n_faces):
    """PSNR and SSIM of one sample of each of the first ``n_faces`` faces, and the seconds of one."""
    few = jax.tree.map(lambda a: a[:n_faces], case.measurements)
    samples, seconds = faces_rivals.sample(sampler, key, few, 1)
    return {
        "psnr_n1": quality.psnr(samples[:, 0], case.x0[:n_faces]),
        "ssim_n1": quality.ssim(samples[:, 0], case.x0[:n_faces]),
    }, seconds


def store_dps(run, found, scores):
    """Keep what DPS reached, what the others of ``scores`` have on the same faces under ``iterative.row`` (PSNR of one
    sample and of the mean, coverage), and what one sample of the flow has above DPS there.
    """
    n = len(found["psnr_n1"])
    run.mean("test.dps.psnr", found["psnr_n1"], "dB")
    run.mean("test.dps.ssim", found["ssim_n1"])
    run.mean("paired.aps_dps", scores["aps"]["psnr_n1"][:n] - found["psnr_n1"], "dB")
    for row, values in scores.items():
        run.mean(f"iterative.{row}.psnr_n1", values["psnr_n1"][:n], "dB")
        run.mean(f"iterative.{row}.psnr_mean", values["psnr_mean"][:n], "dB")
        run.mean(f"iterative.{row}.coverage_90", 100 * values["coverage"][:n, 1], "%")


def by_brightness(run, task, case, scores):
    """Keep the rms error of the mean and the rms spread of samples by the brightness that the sensor meets, under
    ``brightness.bN.row_error`` and ``..._spread``. A bin without pixels is left out.

    Returns lines {label: (brightness, spread)} and points {label: (brightness, error, its standard error)} for a
    figure.
    """
    seen = np.asarray(jax.vmap(task.operator.inner)(case.x0))
    place = np.clip(np.digitize(seen, EDGES) - 1, 0, len(EDGES) - 2)
    lines, points = {}, {}
    for row, found in scores.items():
        for kind, values in (("error", found["error"]), ("spread", found["variance"])):
            at = []
            for b in range(len(EDGES) - 1):
                faces = [v[p == b].mean() for v, p in zip(values, place, strict=True) if np.sum(p == b) >= 30]
                if len(faces) < 2:
                    continue
                square, se = quality.mean_and_standard_error(np.asarray(faces))
                root = float(np.sqrt(square))
                run.number(f"brightness.b{b}.{row}_{kind}", root, float(se) / (2 * root))
                at.append(((EDGES[b] + EDGES[b + 1]) / 2, root, float(se) / (2 * root)))
            columns = tuple(map(np.array, zip(*at, strict=True)))
            if kind == "error":
                points[LABELS[row]] = columns
            else:
                lines[LABELS[row]] = columns[:2]
    return lines, points


def columns(samplers, key, case, n_faces, n):
    """Columns and maps for ``images.face_columns``: truth, measurement, samples, mean and spread of the first faces, or of
    draws in the place of photographs (see ``pictured``).
    """
    few = pictured.case(samplers["aps"].task, case, n_faces)
    laplace, ours = (
        np.asarray(samplers[row].sample(key, few.measurements, k)) for row, k in (("gaussian", 1), ("aps", n))
    )
    pictures = {
        "truth": few.x0,
        "measured": np.asarray(few.measurements.y),
        "Gaussian": laplace[:, 0],
        "flow": ours[:, 0],
        "mean": ours.mean(axis=1),
    }
    return pictures, {"spread": np.stack([faces_study.spread(s) for s in ours])}


if __name__ == "__main__":
    search(Path("weights/results/sensor.search.json"))
