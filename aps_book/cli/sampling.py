"""What `aps sample` reads and writes: a measurement in a file, and its posterior samples in another."""

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import aps_core
from aps_book.notebooks import WORDS
from aps_core import checks, data
from aps_core.data.unpacking import read_npz
from aps_core.files import check_writable, write_atomically
from aps_core.training.recorded import LIMIT, load_measurements
from aps_core.weights import WeightsError

SPHERE = "sphere-impute"
SHOWN = 3  # samples in a picture


@dataclass(frozen=True)
class Drawn:
    """Posterior samples: samples (n, *shape), or (batch, n, *shape) of a batch; log_prob in nats; what drew them."""

    samples: np.ndarray
    log_prob: np.ndarray
    about: dict[str, Any]


def check_out(out: Path, task: str, measurement: Path) -> None:
    """Raise ValueError, before anything is drawn, for a file that the samples of a task cannot be written to."""
    expected = [".npz", ".png"] + [".nc"] * (task == SPHERE)
    if out.suffix.lower() not in expected:
        raise ValueError(f"--out {out}: expected a name that ends in {' or '.join(expected)} for task {task!r}")
    check_writable("--out", out)
    if out.exists() and measurement.exists() and out.samefile(measurement):
        raise ValueError(f"--out {out}: it is the file of the measurement, expected another one")


def check_form(out: Path, task, measurement) -> None:
    """Raise ValueError, before anything is drawn, where samples for this measurement have not the form of ``out``."""
    y_axes = len(task.operator.y_shape)
    batch = np.asarray(measurement.y).shape[:-y_axes] if y_axes else np.asarray(measurement.y).shape
    suffix = out.suffix.lower()
    if suffix != ".npz" and batch and batch[0] > 1:
        raise ValueError(f"--out {out}: expected .npz for a batch of {batch[0]} measurements")
    if suffix == ".png" and not _is_image(np.empty(task.shape)):
        raise ValueError(f"--out {out}: expected .npz, signals of shape {task.shape} are no pictures")


def settings(task: str, given: dict[str, str]) -> dict[str, Any]:
    """Parameters of a task as numbers, or tuples of them. Raises ValueError for a value that is neither."""
    found = {}
    for name, text in given.items():
        try:
            if "," in text:
                found[name] = tuple(float(part) for part in text.strip("()[]").split(","))
            else:
                found[name] = WORDS[text.lower()] if text.lower() in WORDS else float(text)
        except ValueError:
            expected = f"a number, or two with a comma, a parameter of task {task!r}"
            raise ValueError(f"-p {name} {text}: expected {expected}") from None
    return found


def read(path: Path, name: str, given: dict[str, float], time: str | None):
    """(task, Measurement, time as text) of a file; its noise is that of the task unless ``given`` says another.

    Raises FileNotFoundError, or ValueError for a file of another kind or a measurement that is none of the task.
    """
    if name not in aps_core.list_tasks():
        raise ValueError(f"task {name!r}: expected one of {', '.join(aps_core.list_tasks())}")
    if not path.exists():
        raise FileNotFoundError(f"--measurement {path}: there is no such file")
    if path.suffix.lower() == ".npz":
        if not path.is_file():
            raise ValueError(f"--measurement {path}: expected a file")
        if time is not None:
            raise ValueError(f"--time {time}: expected none beside an .npz file")
        given = {**_noise_of(path), **given}
        task = aps_core.load_task(name, **given)
        measurement = load_measurements(path, task)
        try:
            task.check(measurement)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--measurement {path}: {error}") from error
        return task, measurement, ""
    if name != SPHERE:
        raise ValueError(f"--measurement {path}: expected an .npz file for task {name!r}")
    try:
        field = data.open_field(path, time=data.index_or_date(time))
    except ValueError as error:
        if time is None or not re.fullmatch(r"[0-9]{4}", time) or "time is" not in str(error):
            raise
        raise ValueError(f"{error}; --time {time} is a year, as an index it is --time +{time}") from error
    task = aps_core.load_task(name, **given)
    if "sigma_y" not in given:
        said = f"aps: {path} says no noise: taken is the task's sigma_y = {task.sigma_y:g}, -p sigma_y says another"
        print(said, file=sys.stderr)
    return task, field.measurement, field.time


def _noise_of(path: Path) -> dict[str, float]:
    """The noise that a file of measurements says, where it is one number above zero."""
    sigma_y = read_npz(path, limit=LIMIT).get("sigma_y")
    if sigma_y is None or sigma_y.size != 1 or sigma_y.dtype.kind not in "iuf":
        return {}
    try:
        return {"sigma_y": checks.noise("sigma_y", float(sigma_y.reshape(())))}
    except ValueError as error:
        raise ValueError(f"--measurement {path}: {error}") from error


def draw(task, measurement, n: int, seed: int, protocol: str, weights: str | None) -> Drawn:
    """n samples of the trained posterior of a task. Raises as ``load_posterior`` and ``AmortizedPosterior.sample``.

    What takes seconds is told on standard error: a line before, and a bar over the measurements of a batch.
    """
    key = jax.random.key(checks.seed("--seed", seed))
    posterior = aps_core.load_posterior(task, protocol, weights)
    batched, batch = task.batch(measurement)
    many = len(batch.y)
    checks.drawn_at_once(checks.count("n", n), many, task.shape)
    what = f"{n} samples of {many} measurements" if batched else f"{n} samples"
    about = {
        "task": task.name,
        "sigma_y": float(task.sigma_y),
        "seed": seed,
        **_said(posterior, weights),
    }  # before the work
    print(f"aps: drawing {what} with {about['weights']}; compiling first takes some ten seconds", file=sys.stderr)
    if batched:  # with the keys and so the samples that one call for all of them would have
        one = lambda i: jax.tree.map(lambda a: a[i], batch)  # noqa: E731
        bar = tqdm(jax.random.split(key, many), desc="measurements", disable=None)
        drawn = [posterior.sample_and_log_prob(k, one(i), n) for i, k in enumerate(bar)]
        samples, log_prob = (np.stack(parts) for parts in zip(*drawn, strict=True))
    else:
        samples, log_prob = posterior.sample_and_log_prob(key, measurement, n)
    return Drawn(np.asarray(samples), np.asarray(log_prob), about)


def _said(posterior, weights: str | None) -> dict[str, Any]:
    """What the card of a posterior says of its weights. Raises WeightsError where it does not say what trained them.

    A posterior that was saved without a recipe has no name: it gets that by which it was asked for.
    """
    card = posterior.card
    try:
        trained_by = posterior.trained_by
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the card of weights {str(weights)!r} does not say what trained them ({error!r}); expected the recipe of the training"
        ) from error
    return {"weights": card.get("name", str(weights)), "weights_sha256": card["sha256"], "trained_by": trained_by}


def write(out: Path, drawn: Drawn, measurement, when: str) -> Path:
    """Write samples of a measurement that ``check_form`` has passed by the suffix of ``out``."""
    if out.suffix.lower() == ".npz":
        axis = drawn.log_prob.ndim - 1  # that of the samples
        arrays = {"samples": drawn.samples, "log_prob": drawn.log_prob, **drawn.about}
        content = io.BytesIO()
        np.savez(content, mean=drawn.samples.mean(axis), std=drawn.samples.std(axis), **arrays)
        return write_atomically(out, content.getvalue())
    if drawn.log_prob.ndim > 1:
        measurement, samples = jax.tree.map(lambda a: a[0], measurement), drawn.samples[0]
    else:
        samples = drawn.samples
    if out.suffix.lower() == ".nc":
        return data.write_samples(out, samples, measurement, time=when, **drawn.about)
    return write_atomically(out, picture(samples, measurement))


def picture(samples: np.ndarray, measurement) -> bytes:
    """PNG of the measurement, mean and standard deviation of the samples, and the first of them."""
    from matplotlib.figure import Figure

    mean, std = samples.mean(0), samples.std(0)
    panels = {"measurement": np.asarray(measurement.y), "mean": mean, "standard deviation": std}
    if measurement.mask is not None:
        panels["measurement"] = np.where(np.asarray(measurement.mask) > 0, panels["measurement"], np.nan)
    panels = {name: values for name, values in panels.items() if _is_image(values)}
    panels |= {f"sample {i + 1}": samples[i] for i in range(min(SHOWN, len(samples)))}
    fig = Figure(figsize=(2.4 * len(panels), 2.6), layout="constrained")
    for ax, (name, values) in zip(fig.subplots(1, len(panels)), panels.items(), strict=True):
        if name == "standard deviation" and values.ndim == 3:
            values = values.mean(-1)
        shown = np.clip(values, 0, 1) if values.ndim == 3 else values
        limits = {} if name == "standard deviation" else {"vmin": 0, "vmax": 1}
        ax.imshow(shown, interpolation="nearest", **limits)
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    content = io.BytesIO()
    fig.savefig(content, format="png", dpi=150)
    return content.getvalue()


def _is_image(values: np.ndarray) -> bool:
    return values.ndim == 2 or (values.ndim == 3 and values.shape[-1] == 3)
