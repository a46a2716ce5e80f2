# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An operator that is not linear: APS Section 6
#
# Many samplers of posteriors under a diffusion prior need a linear operator. APS does not: its objective holds the
# likelihood, whatever is inside {cite:p}`mammadov2024aps`. Here is a measurement where that matters: a face of 32 × 32
# pixels, blurred, then read by a sensor that saturates,
#
# $$
# \begin{aligned}
# y &= \tanh\big(2\, B x\big) + n, \\
# n &\sim \mathcal N(0, \sigma_y^2 I) ,
# \end{aligned}
# $$ (eq-sensor)
#
# with $B$ a Gaussian blur of 1.5 pixels. The sensor answers steeply in the dark and hardly at all where the blurred
# face is white.

# %% tags=["parameters"]
n_test = 4  # faces
n_dps = 2  # of them, the first ones, for DPS
n_samples = 128  # posterior samples of each face
seed = 0

# %% tags=["hide-input"]
import jax

import aps_core
from aps_book import record
from aps_book.experiments import faces as faces_study
from aps_book.experiments import pictured, sensor
from aps_book.figures import curves, images, told
from aps_book.record import tuning_records
from aps_core import data
from aps_core.metrics import evaluation

run = record.start(
    "sensor",
    globals(),
    {
        "n_test": record.integer(2, 5189),
        "n_dps": record.integer(2),
        "n_samples": record.integer(3, 4096),
        "seed": record.seed(),
    },
)
n_dps = min(n_dps, n_test)

# %% [markdown]
# ## What is compared
#
# - **The amortized flow.** That of the page on faces for the blur alone goes on here
#   ({py:class}`~aps_core.flows.wrappers.ThroughSensor`): it is given the data with the sensor's answer undone,
#   $\tfrac12 \operatorname{artanh} y$, whose noise is no longer the same everywhere, and is trained further on draws of
#   the prior and their measurements through the sensor.
# - **Gaussian, linearized.** Under the Gaussian part of the prior there is no closed form any more, but Laplace's
#   approximation at the most probable signal ({py:class}`~aps_book.experiments.gauss_newton.LinearizedPosterior`): it
#   knows the noise of every undone datum.
# - **DPS**, which differentiates through any operator, with the step size that is best on validation faces by the
#   energy score.

# %% tags=["hide-input"]
task = aps_core.load_task("faces-saturated")
slope = jax.grad(task.operator.response)
run.numbers(
    "sensor", {"sigma_y": task.sigma_y, "dark": slope(0.0), "white": slope(1.0), "hidden": task.sigma_y / slope(1.0)}
)
run.say(
    "The slope of the sensor is {sensor.dark:.1f} in the dark and {sensor.white:.2f} in the white, so that there "
    "the noise of {sensor.sigma_y:.2f} in $y$ hides differences of {sensor.hidden:.2f}."
)
faces = data.load("faces", "test")
run.uses_data(faces)
case = faces_study.measure(task, faces, n_test, seed)
samplers, key = sensor.direct(task), jax.random.key(seed + 1)
card = samplers["aps"].card
run.uses_weights(card)
run.say(f"The amortized flow was trained by: {samplers['aps'].trained_by}.")
run.numbers("flow", {"steps": card["steps"], "seconds": card["seconds"]})
searched = tuning_records.read(tuning_records.path("sensor"))["dps"]
run.say(
    f"This build measures {{parameters/n_test}} faces of **{faces.name}**, DPS the first {{parameters/n_dps}} of "
    f"them with {tuning_records.settings(searched['best'])}, "
    f"found among {len(searched['search'])} settings. The flow was trained for {{flow.steps:.0f}} further steps in "
    f"{{flow.seconds:.0f}} s."
)

# %% tags=["hide-input"]
scores = {row: sensor.score(sampler, key, case, n_samples) for row, sampler in samplers.items()}
dps = sensor.dps(task)
by_dps, dps_seconds = sensor.score_dps(dps, jax.random.key(seed + 2), case, n_dps)
faces_study.store(run, "test", scores, n_samples)
faces_study.store_differences(run, "test", scores)
sensor.store_dps(run, by_dps, scores)
for row, found in scores.items():
    run.mean(f"test.{row}.inside_90", 100 * found["coverage"][:, 1], "%")
labels = {
    f"{row}_{kind}": f"{sensor.LABELS[row]}, {name}"
    for row in samplers
    for kind, name in (("n1", "N = 1"), ("n128", f"N = {run.stated('n_samples')}"))
}
run.table(
    {**labels, "dps": "DPS, one sample"},
    {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM, 7 × 7", ".3f"), "ssim11": ("SSIM, 11 × 11", ".3f")},
    "test",
    caption="Deblurring behind a saturating sensor.",
    signals={**dict.fromkeys(labels, "n_test"), "dps": "n_dps"},
)
laplace = "of Laplace's approximation"
differences = (
    record.Difference("test_paired.aps.psnr_n128", "the mean of the flow", f"that {laplace}"),
    record.Difference("test_paired.aps.psnr_n1", "one sample of the flow", f"one {laplace}", None),
    record.Difference("test_paired.aps.energy", "the flow", laplace[3:], "lower", "+.3f", measure="energy score"),
    record.Difference("paired.aps_dps", "one sample of the flow", "one of DPS", None),
)
run.verdict(*differences, before="Face by face, in the full run:", source="full")
run.verdict(*differences, before="In this build:")
run.say(
    "A sample of an exact posterior has twice the squared error of its mean; in the full run the flow's has "
    "{full/test.aps.ratio:.2f} ± {full/test.aps.ratio.se:.2f} times, Laplace's {full/test.gaussian.ratio:.2f} ± "
    "{full/test.gaussian.ratio.se:.2f}. 90 % intervals "
    "hold {full/test.aps.inside_90:.1f} ± {full/test.aps.inside_90.se:.1f} % of the pixels with the flow, "
    "{full/test.gaussian.inside_90:.1f} ± {full/test.gaussian.inside_90.se:.1f} % with Laplace's approximation."
)

# %% tags=["hide-input"]
columns, spread = sensor.columns(samplers, key, case, min(3, n_test), n_samples)
run.figure(
    images.face_columns(columns, spread, "standard deviation"),
    "faces",
    alt="Three rows of faces behind the saturating sensor. Columns: truth, the blurred and saturated measurement, a "
    "sample of the linearized Gaussian posterior, a sample of the flow, the mean of the flow, and the standard "
    "deviation of its samples, which is largest at bright edges.",
    caption="Truth, measurement as the sensor gives it, one sample of Laplace's approximation, one of the "
    "flow, the mean of "
    "the flow, and the standard deviation of its samples." + pictured.said(faces),
    label="fig-sensor-faces",
)

# %% [markdown]
# ## Does the spread know where the sensor is blind?
#
# The brighter the blurred face, the less the sensor says. But bright skin is smooth as well, and the dark holds hair.
# Laplace's approximation knows the first alone, since its prior is the same at every brightness; a flow can know both.
# For an exact posterior the mean squared error of the mean is the variance of the samples.

# %% tags=["hide-input"]
lines, points = sensor.by_brightness(run, task, case, scores)
run.chart(
    curves.lines_and_points,
    "brightness",
    {
        "lines": lines,
        "points": points,
        "xlabel": "brightness of the blurred face",
        "ylabel": "rms error or spread",
        "log_x": False,
    },
    alt="Spread of the samples as lines and root-mean-square error of the mean as points against the brightness that "
    "the sensor meets.",
    caption="Spread of the samples (lines) and error of their mean (points) in the scale of signals, by the brightness "
    "of the blurred face, which the sensor meets (bars: two standard errors over faces).",
    label="fig-sensor-brightness",
    told=told.lines_and_points,
)

# %% [markdown]
# ## Time

# %% tags=["hide-input"]
for row, sampler in samplers.items():
    run.number(f"time.{row}", evaluation.seconds_per_measurement(sampler, key, case.one(0), 1, repeats=1), unit="s")
run.number("time.dps", dps_seconds, unit="s")
run.say(
    "One posterior sample of a new measurement takes {time.aps:.3f} s with the flow, {time.gaussian:.1f} s with "
    "Laplace's approximation, which factorizes a matrix anew for every measurement, and "
    "{time.dps:.1f} s with DPS, on the processor that built this page."
)

# %% [markdown]
# ## What it does not show
#
# The sensor can be undone but for its noise, which helps the flow: it begins near the answer. An operator that loses
# more, such as a phase or a count, would need another start. DDRM, PiGDM and MCG are not here since they need a linear
# operator.

# %% tags=["hide-input"]
run.finish()
