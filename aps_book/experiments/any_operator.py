"""The chapter on one flow for any linear operator on faces: noise levels of denoising, the operators that have a flow of
their own, and operators that no training has seen.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments import faces_rivals
from aps_book.experiments.closed_form_modes import ClosedFormModes
from aps_book.experiments.measured import measure
from aps_book.figures.sliders import Slider
from aps_book.record import full_run
from aps_book.record.labels import label_of
from aps_core import data
from aps_core.metrics import evaluation, quality
from aps_core.operators import (
    AveragePool,
    Composed,
    Convolution,
    FixedMask,
    GaussianBlur,
    Identity,
    Operator,
    gaussian_kernel,
)
from aps_core.posterior import AmortizedPosterior, load_posterior
from aps_core.samplers import make_sampler
from aps_core.tasks import FACE, load_task
from aps_core.training.network_prior import tweedie

ANY = "faces-any"
LABELS = {
    "gaussian": "Gaussian closed form",
    "any": f"one flow for all: {label_of(ANY)}",
    "own": "flow for this operator alone",
    **faces_rivals.LABELS,
}


@dataclass(frozen=True)
class ShiftedPool(Operator):
    """The means of 2 x 2 blocks that begin at the second row and column, the picture closed to a ring."""

    shape: tuple

    @property
    def y_shape(self):
        """(h / 2, w / 2, c)."""
        h, w, c = self.shape
        return h // 2, w // 2, c

    def __call__(self, x, mask=None):
        """A(x)."""
        del mask
        return AveragePool(self.shape, 2)(jnp.roll(x, (-1, -1), (0, 1)))


def _hidden(shape, side):
    """1 outside of a square in the middle of an image, 0 in it."""
    seen, first = np.ones(shape, np.float32), (shape[0] - side) // 2
    seen[first : first + side, first : first + side] = 0
    return seen


def _patchy(shape):
    """Squares of 4 x 4 pixels, every second of which is seen."""
    rows, columns = np.indices(shape[:2]) // 4
    return np.broadcast_to(((rows + columns) % 2 == 0)[..., None], shape)


@dataclass(frozen=True)
class Setting:
    """An operator on faces and its noise. own: weights of a flow for it alone, where there are any."""

    label: str
    operator: Operator
    sigma_y: float
    own: str | None = None
    kind: str = "known"  # to the training of one flow for all: "noise", "known" or "unseen"


SETTINGS = {
    "noise30": Setting("denoising, noise 0.03", Identity(FACE), 0.03, kind="noise"),
    "noise50": Setting("denoising, noise 0.05", Identity(FACE), 0.05, kind="noise"),
    "noise100": Setting("denoising, noise 0.1", Identity(FACE), 0.1, "faces-denoise-held-out", "noise"),
    "noise200": Setting("denoising, noise 0.2", Identity(FACE), 0.2, kind="noise"),
    "sr2": Setting("2x super-resolution", AveragePool(FACE, 2), 0.01, "faces-sr2-held-out"),
    "deblur": Setting("blur of 1.5 pixels", GaussianBlur(FACE, 1.5), 0.01, "faces-deblur-held-out"),
    "turned": Setting(
        "blur of 0.7 by 2.2 pixels, turned by 30 degrees",
        Convolution(FACE, gaussian_kernel(0.7, 2.2, 30)),
        0.03,
        kind="unseen",
    ),
    "box": Setting("a square of 12 x 12 pixels hidden", FixedMask(_hidden(FACE, 12)), 0.03, kind="unseen"),
    "shifted": Setting("means of shifted 2 x 2 blocks", ShiftedPool(FACE), 0.03, kind="unseen"),
    "patchy": Setting(
        "blur of 1 pixel, then squares hidden",
        Composed(GaussianBlur(FACE, 1.0), FixedMask(_patchy(FACE))),
        0.03,
        kind="unseen",
    ),
}


def task_of(setting):
    """The Task of a Setting: that of the faces with another operator and noise, under a name of its own."""
    task = load_task("faces-denoise")
    return replace(task, operator=setting.operator, sigma_y=setting.sigma_y, name="faces-any-operator")


def samplers_of(setting):
    """Samplers by row: the closed form, one flow for all and, where there is one, the flow for this operator alone. All
    stand on one factorization.
    """
    task = task_of(setting)
    any_flow = load_posterior(task, weights=ANY)
    closed = AmortizedPosterior(task, ClosedFormModes(any_flow.flow.modes, task.shape), {})
    found = {"gaussian": closed, "any": any_flow}
    if setting.own is not None:
        found["own"] = load_posterior(replace(task, name=setting.own.removesuffix("-held-out")), weights=setting.own)
    return found


RIVALS = ("ddrm", "pigdm")  # samplers that take any linear operator, with their default settings
FEW = 4  # samples of each measurement that what iterates draws


def scores(setting, n, n_samples, n_iterative=0, seed=0):
    """({row: ``evaluation.evaluate`` on ``n`` test faces, measured in the same way}, the same of ``FEW`` samples of the first
    ``n_iterative`` faces with RIVALS among the rows, PSNR (n,) of Tweedie's estimate where it is denoising or None).
    """
    task = task_of(setting)
    case = measure(task, data.load("faces", "test"), n, seed)
    key, found, few = jax.random.key(seed + 1), {}, {}
    for row, sampler in samplers_of(setting).items():
        found[row] = evaluation.evaluate(sampler, key, case.measurements, case.x0, n_samples, progress=True)
        if n_iterative:
            few[row] = _on_few(sampler, key, case, n_iterative)
    for row in RIVALS if n_iterative else ():
        few[row] = _on_few(make_sampler(row, task), key, case, n_iterative)
    if not setting.operator.is_identity:
        return found, few, None
    guess = np.asarray(tweedie(task.prior, case.measurements.y, task.sigma_y))
    return found, few, quality.psnr(guess, case.x0)


def _on_few(sampler, key, case, n):
    measurements = jax.tree.map(lambda a: a[:n], case.measurements)
    return evaluation.evaluate(sampler, key, measurements, case.x0[:n], FEW, progress=True)


def store(run, name, found, few, guess=None):
    """Keep the scores of one setting as ``name.row.psnr`` and so on, and what one flow has above the others, paired by
    face, as ``name.above_row.energy``; those of few samples as ``name.few.row.energy`` and ``name.above_few_row.energy``.
    """
    for row, of in found.items():
        run.mean(f"{name}.{row}_n1.psnr", of["psnr_n1"], "dB")
        run.mean(f"{name}.{row}.psnr", of["psnr_mean"], "dB")
        run.mean(f"{name}.{row}.energy", of["energy"])
        run.mean(f"{name}.{row}.coverage_90", 100 * of["coverage"][:, 1], "%")
    for row in found.keys() - {"any"}:
        run.mean(f"{name}.above_{row}.psnr_n1", found["any"]["psnr_n1"] - found[row]["psnr_n1"], "dB")
        run.mean(f"{name}.above_{row}.energy", found["any"]["energy"] - found[row]["energy"])
        run.mean(f"{name}.above_{row}.psnr", found["any"]["psnr_mean"] - found[row]["psnr_mean"], "dB")
    for row, of in few.items():
        run.mean(f"{name}.few.{row}_n1.psnr", of["psnr_n1"], "dB")
        run.mean(f"{name}.few.{row}.energy", of["energy"])
        if row != "any":
            run.mean(f"{name}.above_few_{row}.energy", few["any"]["energy"] - of["energy"])
            run.mean(f"{name}.above_few_{row}.psnr_n1", few["any"]["psnr_n1"] - of["psnr_n1"], "dB")
    if guess is not None:
        run.mean(f"{name}.tweedie.psnr", guess, "dB")
        run.mean(f"{name}.above_tweedie.psnr", found["any"]["psnr_mean"] - guess, "dB")


def times(setting, counts=(1, 128), batch=64, seed=0):
    """{row: seconds}: of one flow for all, for each number of samples of one measurement (``any.n1``), for a sample of each of a
    ``batch`` of measurements, per measurement (``any.batch``), and of one sample of RIVALS. Compiled before, the medians of five.
    """
    task, key = task_of(setting), jax.random.key(seed)
    case = measure(task, data.faces.prior_faces("test"), batch, seed)
    flow, found = load_posterior(task, weights=ANY), {}
    for n in counts:
        found[f"any.n{n}"] = evaluation.seconds_per_measurement(flow, key, case.one(0), n)
    found["any.batch"] = evaluation.seconds_per_measurement(flow, key, case.measurements, 1) / batch
    for row in RIVALS:
        found[f"{row}.n1"] = evaluation.seconds_per_measurement(make_sampler(row, task), key, case.one(0), 1)
    return found


def example(setting, n_samples=64, index=3, seed=0):
    """(x0, data as a picture, samples (n, 32, 32, 3)) of one draw of the prior under one flow for all."""
    task = task_of(setting)
    x0 = jnp.asarray(data.faces.prior_faces("test").values[index])
    measurement = task.measure(jax.random.key(seed), x0)
    samples = load_posterior(task, weights=ANY).sample(jax.random.key(seed + 1), measurement, n_samples)
    return np.asarray(x0), np.asarray(measurement.y), np.asarray(samples)


def columns(setting, n_samples=64, seed=0, faces=(0, 3, 5)):
    """Columns of faces, and of spreads, for ``images.face_columns``: draws of the prior under one flow for all."""
    found = [example(setting, n_samples, index, seed) for index in faces]
    x0, y, samples = (np.stack(parts) for parts in zip(*found, strict=True))
    pictures = {"truth": x0, "sample": samples[:, 0], "sample ": samples[:, 1], "mean": samples.mean(axis=1)}
    if y.ndim == 4:  # data that are a picture
        pictures = {"truth": x0, "data": y, **pictures}
    return pictures, {"spread": samples.std(axis=1, ddof=1).mean(axis=-1)}


def slider_noise(n_faces=3, n_shown=6, n_samples=32, seed=0):
    """What ``sliders.face_view`` shows of prior-faces under one flow for all, by noise level of denoising, face and sample:
    (sliders, faces, spread). A face has the same noise at every level, but for its size.
    """
    truth, found = data.faces.prior_faces("test").values[:n_faces], []
    levels = [one for one in SETTINGS.values() if one.kind == "noise"]
    for setting in levels:
        task = task_of(setting)
        measurements = task.measure(jax.random.key(seed), jnp.asarray(truth))
        samples = load_posterior(task, weights=ANY).sample(jax.random.key(seed + 10), measurements, n_samples)
        found.append((np.asarray(measurements.y), np.asarray(samples)))
    measured, samples = (np.stack(parts) for parts in zip(*found, strict=True))
    choices = [
        Slider("noise", tuple(f"{one.sigma_y:g}" for one in levels), len(levels) // 2),
        Slider("face", tuple(f"{i + 1} of {n_faces}" for i in range(n_faces))),
        Slider("sample", tuple(f"{i + 1} of {n_samples}" for i in range(n_shown))),
    ]
    pictures = {
        "truth {1}": (truth, (1,)),
        "measurement, noise {0}": (measured, (0, 1)),
        "sample {2}": (samples[:, :, :n_shown], (0, 1, 2)),
        f"mean of {n_samples}": (samples.mean(axis=2), (0, 1)),
    }
    spread = np.sqrt((samples.std(axis=2, ddof=1) ** 2).mean(axis=-1))
    return choices, pictures, {"standard deviation": (spread, (0, 1))}


def rows(run, columns=("any.psnr",)):
    """Labels of the settings, by name, of which this run or the full one has one of ``columns``."""
    numbers = run.as_dict()["numbers"].keys() | (full_run("any_operator") or {"numbers": {}})["numbers"].keys()
    return {
        name: one.label for name, one in SETTINGS.items() if any(f"{name}.{column}" in numbers for column in columns)
    }
