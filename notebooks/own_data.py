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
# # Data of your own
#
# You have signals like those that you expect to measure, and nothing trained. This page goes the whole way: a diffusion
# prior from the signals, a flow for the posterior, both from recipes, and then the question that matters, whether it
# fits: ranks and intervals over many measurements, and a verdict on a single one. The signals here are grey patches of
# 16 by 16 pixels of which half is missing; put arrays of your own in their place.

# %% tags=["parameters"]
sigma_y = 0.05  # standard deviation of the noise, signals in [0, 1]
missing = 0.5  # share of the entries that is not measured
n_modes = 48  # modes of the signals in which the networks work
n_test = 40  # signals, kept apart, that are measured and scored
n_samples = 39  # posterior samples of each
steps = 100  # of training, of the prior and of the flow; thousands for good ones
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import own_problem
from aps_book.figures import diagnoses, images, ranks

run = record.start(
    "own_data",
    globals(),
    {
        "sigma_y": record.between(0, 1, open=True),
        "missing": record.between(0, 1, open=True),
        "n_modes": record.integer(2, 255),
        "n_test": record.integer(8, 1024),
        "n_samples": record.integer(3, 4096),
        "steps": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The signals
#
# Arrays (n, d) in [0, 1] for training and validation, and where each entry lies, for networks that look at neighbours.
# Keep another part apart: what a prior was trained on says nothing about whether it fits.

# %% tags=["show-code"]
import jax
import numpy as np

import aps_core
from aps_core import data
from aps_core.training.subspace_posterior import train_subspace_posterior
from aps_core.training.subspace_prior import train_subspace_prior

parts = {split: data.load("patches16", split) for split in ("train", "val", "test")}  # yours in their place
flat = {split: part.values.reshape(len(part.values), -1) for split, part in parts.items()}  # (n, 256)
signals = {"train": flat["train"], "val": flat["val"][:96]}
points = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0), indexing="ij"), axis=-1).reshape(-1, 2)
x0 = flat["test"][np.random.default_rng(seed).choice(len(flat["test"]), n_test, replace=False)]

# %% tags=["hide-input"]
run.uses_data(*parts.values())
run.number("train.signals", len(signals["train"]))
run.say("The prior sees {train.signals:,.0f} signals.")

# %% [markdown]
# ## A prior and a flow, from recipes
#
# A recipe is a dict, or a TOML file of the same form. The prior is a Gaussian in the leading modes of the signals and a
# small score network for what a Gaussian cannot say. The flow stands on both; this one is trained by the forward
# divergence on your signals and their simulated measurements (`kl = "reverse"` is the paper's, on measurements alone).
# `aps recipe TASK` prints a recipe with all settings, and the page {doc}`../settings` explains them.

# %% tags=["show-code"]
prior_recipe = {
    "trains": "subspace-prior",
    "prior": {
        "subspace": n_modes,
        "radius": 2,
        "batch": 64,
        "network": {"kind": "local", "width": 32, "depth": 2, "mix": 8},
    },
    "optimizer": {"steps": steps, "learning_rate": 2e-3, "ema": 0.98},
}
recipe = {
    "trains": "subspace-posterior",
    "flow": {"kind": "subspace", "steps": 2, "width": 32},
    "objective": {"kl": "forward", "masks": 16, "masks_per_step": 8, "batch": 64},
    "optimizer": {"steps": steps, "learning_rate": 1e-3, "ema": 0.98},
}
prior, _, _ = train_subspace_prior(prior_recipe, signals, points)
task = aps_core.Task(aps_core.RandomMask((256,), missing), sigma_y, prior, lambda split: signals[split], name="patches")
flow, _ = train_subspace_posterior(task, recipe)
closed = aps_core.gaussian_posterior(task)
measurements = task.measure(jax.random.key(seed + 1), x0)
samples = np.asarray(flow.sample(jax.random.key(seed + 2), measurements, n_samples))  # (n_test, n_samples, 256)

# %% tags=["hide-input"]
run.say(f"The flow was trained by: {flow.trained_by}.")

# %% tags=["hide-input"]
square = lambda values: np.asarray(values)[:4].reshape(4, 16, 16)  # noqa: E731
run.figure(
    images.face_columns(
        {
            "truth": square(x0),
            "measured": square(np.where(np.asarray(measurements.mask) > 0, np.asarray(measurements.y), 1.0)),
            "sample": square(samples[:, 0]),
            "sample ": square(samples[:, 1]),
            "mean": square(samples.mean(axis=1)),
        },
        {"spread": square(samples.std(axis=1, ddof=1))},
    ),
    "patches",
    alt="Four rows of grey patches. Columns: truth, the measurement with missing pixels in white, two samples and the "
    "mean of the flow, and the standard deviation of its samples.",
    caption="Four signals that were kept apart, their measurements (white: missing), two samples and the mean of the "
    "flow, and the standard deviation of its samples.",
    label="fig-own-data",
)

# %% [markdown]
# ## Does it fit?
#
# Over many signals the rank of the truth among the samples is uniform, if the posterior is right. Shown are the ranks
# of one pixel and of the mean over all of them, on signals that were kept apart. A curve that leaves the band says
# that the prior or the flow is wrong there; one that stays inside has passed a weak test, and more signals make it a
# stronger one.

# %% tags=["show-code"]
from aps_core.metrics import calibration

tested = {"pixel (8, 8)": lambda x: x[..., 136], "mean over the patch": lambda x: x.mean(axis=-1)}
bands = {}
for name, of in tested.items():
    by_signal = [
        calibration.sbc_ranks(of(drawn)[:, None], of(x)[None])[0] for drawn, x in zip(samples, x0, strict=True)
    ]
    bands[name] = calibration.rank_band(np.array(by_signal), n_samples)

# %% tags=["hide-input"]
for name, band in zip(("pixel", "mean"), bands.values(), strict=True):
    run.number(f"ranks.{name}.p", band.p)
run.say(
    "Uniform ranks would be as far from the line by chance with p = {ranks.pixel.p:.2g} for the pixel and "
    "{ranks.mean.p:.2g} for the mean over the patch."
)

# %% tags=["hide-input"]
run.figure(
    ranks.rank_panels({name: {"flow": band} for name, band in bands.items()}),
    "ranks",
    alt="Two panels, one pixel and the mean over the patch: the distribution of ranks less the uniform one, with the "
    "grey band in which 95 percent of uniform ranks stay.",
    caption="Ranks of the truth among the samples, less uniform ones; the band holds 95 % of what uniform ranks give.",
    label="fig-own-data-ranks",
)

# %% [markdown]
# The intervals over all pixels say the same in one number. The closed form beside it is the posterior under the
# Gaussian alone: what the networks are worth is the difference.

# %% tags=["show-code"]
from aps_core.metrics.evaluation import evaluate

scores = {
    name: evaluate(sampler, jax.random.key(seed + 6), measurements, x0, n_samples)
    for name, sampler in (("closed", closed), ("flow", flow))
}

# %% tags=["hide-input"]
own_problem.beside_closed_form(run, scores, n_samples, flow.trained_by, f"{n_test} signals that were kept apart", 4)
run.verdict(own_problem.energy(4), before="Signal by signal:")

# %% [markdown]
# ## One measurement
#
# `diagnose` compares single measurements with those that the posterior was made for: draws of the prior, and signals of
# your own that no training saw. Of measurements like these one in twenty is doubted by chance; where it is many more,
# some of your signals are unlike the others, or unlike what the prior knows. Beside them stand the same signals with
# three times the noise, which nobody told the posterior.

# %% tags=["show-code"]
from aps_core.metrics.trust.reference import make_reference

kept = flat["val"][96 : 96 + max(40, n_test)]
reference = make_reference(flow, jax.random.key(seed + 7), n=len(kept), signals=kept)
more = 3 * sigma_y * jax.random.normal(jax.random.key(seed + 8), x0.shape)
noisier = aps_core.Measurement(measurements.mask * (x0 + more), measurements.mask)
verdicts = {
    "usual": aps_core.diagnose(flow, measurements, reference=reference),
    "noisier": aps_core.diagnose(flow, noisier, reference=reference),
}

# %% tags=["hide-input"]
for name, found in verdicts.items():
    run.number(f"diagnose.{name}.trusted", sum(one.verdict == "trust" for one in found), n=len(found))
run.say(
    f"Of {n_test} measurements as the task says {{diagnose.usual.trusted:.0f}} are trusted, with three times the "
    "noise {diagnose.noisier.trusted:.0f}. What is said of the first of these: “"
    f"{verdicts['noisier'][0].text}”"
)

# %% [markdown]
# Why it says so is in `scores`: each statistic as a standard normal score among those of the reference, which
# {py:func}`~aps_book.figures.diagnoses.score_rows` draws. What is wrong shows in the rows that leave the band on one
# side, measurement after measurement.

# %% tags=["hide-input"]
run.figure(
    diagnoses.score_rows(
        {
            "as the task says": [one.scores for one in verdicts["usual"][:8]],
            "three times the noise": [one.scores for one in verdicts["noisier"][:8]],
        }
    ),
    "diagnosis",
    alt="A row for each statistic, a grey band from -2 to 2 and marks of eight measurements as the task says and of "
    "the same signals in more noise.",
    caption="Statistics of eight measurements as the task says and of the same signals with three times the noise, as "
    "standard normal scores among those of the reference. Grey: where 95 % of the reference lie.",
    label="fig-own-data-diagnosis",
)

# %% [markdown]
# ## What next
#
# - **Another prior**: {doc}`own_prior` takes the score of a diffusion model that you have; `recipes/faces-prior.toml`
#   is how the larger network for the package's faces was trained.
# - **Another operator**: {doc}`own_operator`; flows of kind `subspace` are for denoising and masks, `tokens` for any
#   linear one.
# - **Only measurements, nothing clean**: `train_subspace_posterior(task, {**recipe, "objective": {"kl": "reverse"}},
#   measurements=recorded)`, the paper's objective; `train_posterior` likewise, on the page {doc}`own_measurements`.

# %% tags=["hide-input"]
run.finish()
