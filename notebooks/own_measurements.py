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
# # Only measurements
#
# You have recorded measurements, you know what was missing in each and how large the noise is, and you have a prior.
# Nothing clean that belongs to a measurement was ever seen. This page trains a flow by the paper's objective, the
# reverse divergence, on the recordings alone, and then asks without any truth whether it fits: by its objective on
# recordings that were kept apart, by what samples leave of the data, by entries that it was not shown, and by a verdict
# on each recording. The recordings here are curves over a day, read every hour, of which half are missing.

# %% tags=["parameters"]
sigma_y = 0.05  # standard deviation of the noise, signals in [0, 1]
missing = 0.5  # share of the readings that is missing
n_recorded = 1024  # recordings in the file
n_kept = 128  # of them, those that training does not see
n_samples = 99  # posterior samples of each
steps = 800  # of training; thousands for a good flow
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.figures import ranks, series

run = record.start(
    "own_measurements",
    globals(),
    {
        "sigma_y": record.between(0, 1, open=True),
        "missing": record.between(0, 0.9, open=True),
        "n_recorded": record.integer(256, 65536),
        "n_kept": record.integer(8, 128),
        "n_samples": record.integer(9, 4096),
        "steps": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The prior
#
# What curves are like is known before any is measured: a level that drifts, and a peak in the morning, at noon and in
# the evening, each of which is there or not and never quite as high as the last time. That is a mixture of eight
# Gaussians, which no single one can say. A diffusion model takes its place in the same way ({doc}`own_prior`).

# %% tags=["show-code"]
import itertools
import tempfile
from pathlib import Path

import jax
import numpy as np

import aps_core
from aps_core.priors.mixture import gaussian_mixture
from aps_core.training.recorded import load_measurements, save_measurements

hours = np.arange(24.0)
peaks = np.stack([0.3 * np.exp(-0.5 * ((hours - at) / 1.5) ** 2) for at in (7, 13, 19)])
there = np.array([*itertools.product((0, 1), repeat=3)])  # (8, 3): which of them
drift = 0.05**2 * np.exp(-0.5 * ((hours[:, None] - hours) / 4) ** 2)
within = drift + 0.15**2 * peaks.T @ peaks + 0.02**2 * np.eye(24)
prior = gaussian_mixture(np.ones(8), 0.3 + there @ peaks, np.stack([within] * 8))

# %% [markdown]
# ## The file
#
# An `.npz` file with `y` (n, 24), `mask` of the same shape, 1 where something was read, and `sigma_y`, one number. It
# is made here; put the path of your own in its place. The task has an operator, the noise and the prior, and no
# signals: whatever asks for one is told so. `RandomMask` takes the mask of each recording as it is.

# %% tags=["show-code"]
operator = aps_core.RandomMask((24,), missing)
task = aps_core.Task(operator, sigma_y, prior, unit_range=False)  # no signals
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "mine.npz"
save_measurements(path, task.measure(jax.random.key(seed + 1), prior.sample(jax.random.key(seed), n_recorded)), sigma_y)

recorded = load_measurements(path, task)
kept = jax.tree.map(lambda a: a[:n_kept], recorded)
used = jax.tree.map(lambda a: a[n_kept:], recorded)

# %% [markdown]
# ## Training
#
# The density of this prior is a formula, `"exact"`; a diffusion model has its bound, `"elbo"`, or the bound beside its
# Gaussian part, `"control-variate"`. The path estimator of the gradient has no noise left where the flow is the
# posterior. With a recipe in a file and a task that has a name the command is
# `aps train recipe.toml --measurements mine.npz`.

# %% tags=["show-code"]
recipe = {
    "flow": {"kind": "gaussian-base", "k": 24, "steps": 4, "width": 64},
    "objective": {"prior_term": "exact", "estimator": "path", "batch": 32},
    "optimizer": {"steps": steps, "learning_rate": 3e-3, "ema": 0.98},
}
flow, _ = aps_core.train_posterior(task, recipe, measurements=used)
closed = aps_core.gaussian_posterior(task)  # under one Gaussian with the mean and covariance of the prior
samples = np.asarray(flow.sample(jax.random.key(seed + 2), kept, n_samples))  # (n_kept, n_samples, 24)

# %% tags=["hide-input"]
run.number("recorded.used", len(used.y))
run.say(f"The flow was trained by: {flow.trained_by}; {{recorded.used:,.0f}} of them.")

# %% tags=["hide-input"]
seen = np.where(np.asarray(kept.mask) > 0, np.asarray(kept.y), np.nan)
run.figure(
    series.gap_panels(hours, {f"recording {i + 1}": (seen[i], samples[i]) for i in range(4)}, "hour", "value"),
    "curves",
    alt="Four panels, each a recording as dots over 24 hours, with two samples, the mean of many and a band. The band "
    "is narrow where dots are dense and wider in the gaps between them.",
    caption="Four recordings that were kept apart, with the central 90 % of the samples, two of these, and their mean.",
    label="fig-own-measurements",
)

# %% [markdown]
# ## Does it fit?
#
# *The objective on recordings that were kept apart.* It can be had without truth, up to a constant that is the same for
# every posterior: only differences mean something, and the smaller, the nearer to the posterior. Far less gain there
# than on the recordings of the training says that there were too few of these, or too many steps.

# %% tags=["show-code"]
from aps_core.training.validation import excess_objective

seen_too = jax.tree.map(lambda a: a[:n_kept], used)
gain = {}
for name, some in (("kept", kept), ("used", seen_too)):
    of_flow, of_closed = (excess_objective(one, jax.random.key(seed + 3), some) for one in (flow, closed))
    gain[name] = of_flow - of_closed  # (n_kept,), in nats

# %% tags=["hide-input"]
for name, values in gain.items():
    run.mean(f"gain.{name}", values)
run.say(
    "The flow has {gain.kept:+.2f} nats on the recordings that were kept apart and {gain.used:+.2f} on those of the "
    "training, each against the closed form on the same recordings."
)
run.verdict(
    record.Difference("gain.kept", "the flow", "the closed form", better="lower", form="+.2f", measure="objective"),
    before="Recording by recording, kept apart:",
)

# %% [markdown]
# *What samples leave of the data*, as $\chi^2$ for each reading: 1 on average, if noise, prior and flow are right.
# *Readings that the flow was not shown*: a fifth of each recording is hidden and told from the rest, with noise. The
# 90 % intervals have to hold 90 % of them, and their ranks have to be uniform. *A verdict on each recording* by
# `diagnose`, which doubts one in twenty by chance. To see what these say where something is wrong, they are asked of
# the same flow when it is told half of the noise.

# %% tags=["show-code"]
from aps_core.metrics import calibration
from aps_core.metrics.trust.predictive import left_out, misfit

asked = {"closed": closed, "flow": flow, "half": flow.with_noise(sigma_y / 2)}
chi2 = {name: misfit(one, jax.random.key(seed + 4), kept, n=n_samples) for name, one in asked.items()}
hidden = {name: left_out(one, jax.random.key(seed + 5), kept, n=n_samples) for name, one in asked.items()}
bands = {name: calibration.rank_band(found.rank, n_samples) for name, found in hidden.items()}
verdicts = {name: aps_core.diagnose(asked[name], kept) for name in ("flow", "half")}

# %% tags=["hide-input"]
titles = {"closed": "closed form", "flow": f"flow ({flow.trained_by})", "half": "the flow, told half of the noise"}
for name in asked:
    run.mean(f"{name}.misfit", chi2[name])
    run.mean(f"{name}.inside_90", 100 * hidden[name].inside, "%")
    run.number(f"{name}.rank_p", bands[name].p)
for name, found in verdicts.items():
    run.number(f"{name}.trusted", 100 * np.mean([one.verdict == "trust" for one in found]), unit="%", n=n_kept)
run.table(
    titles,
    {
        "misfit": ("misfit of the data", ".3f"),
        "inside_90": ("90 % intervals hold [%]", ".1f"),
        "rank_p": ("p of the ranks", ".2g"),
        "trusted": ("trusted by diagnose [%]", ".0f"),
    },
    caption=f"{n_kept} recordings that were kept apart; intervals and ranks are those of readings that were hidden.",
)
doubted = next((one.text for one in verdicts["half"] if one.verdict != "trust"), "none is doubted")
run.say(f"What is said under half of the noise of the first that is not trusted: “{doubted}”")

# %% tags=["hide-input"]
short = {"closed": "closed form", "flow": "flow", "half": "half of the noise"}
run.figure(
    ranks.rank_panels(
        {"one hidden reading of each recording": {short[name]: band for name, band in bands.items()}},
        columns=1,
        xlabel="rank of the reading",
    ),
    "ranks",
    alt="Distribution of ranks less the uniform one for the closed form, the flow and the flow that is told half of "
    "the noise, with the grey band in which 95 percent of uniform ranks stay.",
    caption="Ranks of hidden readings among the samples, less uniform ones; the band holds 95 % of what uniform ranks "
    "give.",
    label="fig-own-measurements-ranks",
)

# %% [markdown]
# ## And the truth
#
# The file was made here, so that the truth can be looked up after all: did the checks tell what the intervals hold? A
# hidden reading has noise of its own, which covers part of what is wrong with a curve; the larger the noise, the weaker
# is that check. On recordings of your own this is the table that you do not have.

# %% tags=["show-code"]
from aps_core.metrics import evaluation

x0 = np.asarray(prior.sample(jax.random.key(seed), n_recorded)[:n_kept])
scores = {}
for name, one in asked.items():
    drawn = np.asarray(one.sample(jax.random.key(seed + 2), kept, n_samples))
    scores[name] = [evaluation.score(several, x) for several, x in zip(drawn, x0, strict=True)]
folder.cleanup()

# %% tags=["hide-input"]
for name, several in scores.items():
    run.mean(f"{name}.coverage_90", [100 * one["coverage"][1] for one in several], "%")
    run.mean(f"{name}.energy", [one["energy"] for one in several])
run.mean("paired.energy", [a["energy"] - b["energy"] for a, b in zip(scores["flow"], scores["closed"], strict=True)])
run.table(
    titles,
    {"coverage_90": ("90 % intervals hold [%]", ".1f"), "energy": ("energy score", ".4f")},
    caption=f"The true curves behind the {n_kept} recordings.",
)
run.verdict(
    record.Difference(
        "paired.energy", "the flow", "the closed form", better="lower", form="+.4f", measure="energy score"
    ),
    before="Curve by curve:",
)

# %% [markdown]
# ## What next
#
# - **Another operator**: `misfit`, the objective and `diagnose` serve any; entries are left out where each recording
#   has a mask of its own. Of the flows `tokens` takes any linear operator ({doc}`own_operator`).
# - **The noise is not known**: the flow of `sphere-impute-blind-noise` finds it ({doc}`blind_impute`); with one level
#   for all recordings, the one whose misfit is 1.
# - **The prior is in doubt**: hidden readings are told by prior and flow together. Where they are told badly and a
#   longer training does not help, look at the prior; `diagnose` names the scale at which data are unlike it.
# - **More than one machine**: {doc}`../several_hosts`.

# %% tags=["hide-input"]
run.finish()
