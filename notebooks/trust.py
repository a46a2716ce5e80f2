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
# # When to trust it
#
# An amortized posterior answers every measurement, also one that it was never made for.
# Whether it is the posterior, on average over measurements, asks {doc}`the page before <joint_calibration>`. Two
# questions remain:
#
# 1. May it be believed for *this* measurement? `aps_core.diagnose` compares it with measurements of known signals.
# 2. If it is a little wrong, can it be mended? The exact density of the flow gives importance weights, and a few more
#    gradient steps for the one measurement.

# %% tags=["parameters"]
face_tasks = ["denoise"]  # of "denoise", "sr2" and "deblur"
n_right = 64  # faces that are measured as the task says
n_faulty = 12  # of each fault
n_weights = 4000  # importance samples
refine_steps = 60  # of the flow's own objective, for one measurement
seed = 0

# %% tags=["hide-input"]
import jax

import aps_core
from aps_book import record
from aps_book.experiments import trust
from aps_book.figures import curves
from aps_core import data
from aps_core.metrics.trust import importance

run = record.start(
    "trust",
    globals(),
    {
        "face_tasks": record.list_of(record.one_of(*trust.FACE_TASKS)),
        "n_right": record.integer(20, 5189),
        "n_faulty": record.integer(2, 5189),
        "n_weights": record.integer(100, 100000),
        "refine_steps": record.integer(20, 10000),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## May it be believed for this measurement?
#
# `aps_core.diagnose(posterior, measurement)` looks at one measurement. Under the Gaussian part of the prior the data
# are Gaussian too, $y \sim \mathcal N(A\mu,\, A \Sigma A^\top + \sigma_y^2 I)$, and along the eigenvectors of $A \Sigma
# A^\top$ they can be whitened to independent standard normal numbers. The first of them tell of the signal, the last of
# the noise; their mean squares in bands say where something is too strong or too weak. To these come the misfit of the
# data under samples of the flow, its free energy $\mathbb E_q[\log q - \log p(y \mid x) - \log p(x)]$, how far
# $\mu_G(y)$ lies from the prior, and what the learned prior says of the samples. Each number is compared with those
# of a reference, 512 draws of the prior measured as the task says, by its place among them; and all of them together by
# their Mahalanobis distance and by the most unusual of them. A measurement is trusted where these are not beyond 95 %
# of the draws.
#
# The learned prior makes faces that are more alike than real ones. So the shipped references hold 400 validation faces
# besides, and a measurement that is beyond 95 % of the draws is still trusted where it is not beyond 85 % of the real
# faces. No picture is in the file, only the statistics. Those of the sphere hold validation months in the same way,
# whose climate is not that of the years that the prior was trained on.
#
# What is trusted is not thereby right: nothing speaks against it, that is all.

# %% tags=["hide-input"]
faces, key = data.load("faces", "test"), jax.random.key(seed)
run.uses_data(faces)
for name in face_tasks:
    posterior = trust.study_faults(run, name, faces.values[:n_right], n_faulty, seed)
    run.uses_weights(posterior.card)
    run.number(f"time.{name}", trust.seconds(posterior, posterior.task.measure(key, faces.values[0])), unit="s")
    rows = {trust.RIGHT: "as the task says"} | trust.FAULTS
    stored = run.as_dict()["numbers"]
    known = {row: label for row, label in rows.items() if f"diagnose.{name}.{row}.share" in stored}
    run.table(
        known,
        {"share": ("not trusted [%]", ".0f"), "auc": ("area under the ROC curve", ".3f")},
        f"diagnose.{name}",
        caption=f"Diagnosis of measurements of faces, {trust.FACE_TASKS[name]}: the share that is not trusted, and "
        "how well the p-value tells them from right ones.",
        signals={row: "n_right" if row == trust.RIGHT else "n_faulty" for row in known},
    )
run.say(
    f"This build measures faces of **{faces.name}**. The flow of {trust.FACE_TASKS[face_tasks[-1]]} was trained by: "
    f"{posterior.trained_by}. One diagnosis, with its {trust.N_SAMPLES} samples, takes {{time.{face_tasks[-1]}:.2f}} "
    "s on the processor that built this page, once everything is compiled."
)

# %% tags=["hide-input"]
one = posterior.task.measure(key, faces.values[0])
noisier = aps_core.load_task(posterior.task.name, sigma_y=2 * posterior.task.sigma_y)
for measured in (one, noisier.measure(key, faces.values[0])):
    print(aps_core.diagnose(posterior, measured))

# %% [markdown]
# ## Corrections with the exact density
#
# Samples of the flow with weights $w = p(y \mid x)\, p(x) / q(x \mid y)$ are exact in the limit. How far one is from it
# says the shape $\hat k$ of the tail of the weights: means are to be believed below 0.7 {cite:p}`vehtari2024psis`. The
# flow below was trained with the exact prior; beside it stands the same flow with its noise made smaller by a fifth,
# too sure of itself on purpose.

# %% tags=["hide-input"]
task = aps_core.load_task("gaussian16")
closed, trained = aps_core.gaussian_posterior(task), aps_core.load_posterior(task, weights=trust.TRAINED)
run.uses_weights(trained.card)
measured = task.measure(jax.random.key(seed + 1), task.signals("test")[0])
truth = trust.exact_moments(closed, measured)
for row, other in {"trained": trained, "narrow": trust.wrong_on_purpose(trained)}.items():
    trust.correct(run, row, other, measured, truth, n_weights, seed)
run.table(
    {"trained": trust.LABELS["trained"], "narrow": "the same, its noise too small"},
    {
        "k": ("k-hat", ".2f"),
        "ess": ("effective samples [%]", ".1f"),
        "plain": ("error of the mean", ".3f"),
        "weighted": ("weighted", ".3f"),
        "expected": ("weighted, expected", ".3f"),
    },
    "correct",
    caption="Importance weights on a patch: rms error of the mean in posterior standard deviations, without weights, "
    "with weights, and what the weights themselves expect.",
)

# %% tags=["hide-input"]
faint = importance(posterior, key, one, 100)
run.number("correct.faces.log_weight_error", faint.log_weight_error, unit="nats")
run.say(
    "On faces the density of the prior is known only by an estimate of its bound. The Monte Carlo error of one "
    "log-weight is {correct.faces.log_weight_error:.1f} nats there, and a correction is not available: weights would "
    "be those of the noise. The limit is an error of 1 nat."
)

# %% [markdown]
# ## Refinement
#
# `posterior.refine(measurement, seconds=...)` goes on training the flow by its own objective for one measurement alone.

# %% tags=["hide-input"]
steps, kl, kl_se, seconds = trust.refined(trained, closed, measured, refine_steps, max(1, refine_steps // 4), seed=seed)
for label, at in (("start", 0), ("end", -1)):
    run.number(f"refine.{label}.kl", kl[at], kl_se[at], unit="nats")
run.number("refine.seconds", seconds[-1], unit="s")
run.chart(
    curves.cost_curves,
    "refine",
    {
        "curves": {"refined flow": (steps, kl, kl_se)},
        "xlabel": "step for this measurement",
        "ylabel": "KL (nats)",
        "log_x": False,
    },
    alt="The divergence of the flow from the exact posterior of one measurement against the number of steps.",
    caption="KL(q ‖ p) of the flow from the closed-form posterior of one measurement while it is refined for that "
    "measurement (bars: two standard errors).",
    label="fig-trust-refine",
)

# %% tags=["hide-input"]
run.say(
    "{parameters/refine_steps} steps, {refine.seconds:.0f} s with compilation, bring the divergence from "
    "{refine.start.kl:.2f} ± {refine.start.kl.se:.2f} to {refine.end.kl:.2f} ± {refine.end.kl.se:.2f} nats over all "
    "dimensions together."
)

# %% [markdown]
# ## What it does not show
#
# A signal that looks like those of the prior in every band and differs in kind alone passes. A face of another data set
# is such a signal, and should be. The references are tied to one set of weights and one task; for a problem of one's
# own, one is made of draws of the prior at the first call.

# %% tags=["hide-input"]
run.finish()
