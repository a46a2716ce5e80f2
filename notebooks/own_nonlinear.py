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
# # An operator of your own that is not linear
#
# A camera blurs, then its gamma bends the brightness. No closed form knows such an operator. Near the answer to one
# measurement it is nearly its tangent, though, and that is linear. This page finds the answer by Gauss-Newton steps,
# draws samples under the tangent there, and asks two things of them: do they explain the measurement under the true
# operator, and do their intervals hold the truth? Put an operator of your own in the place of the camera.

# %% tags=["parameters"]
gamma = 2.2  # exponent of the camera; 1 is linear
blur = 0.7  # standard deviation of its blur, pixels
sigma_y = 0.02  # standard deviation of the noise, data in [0, 1]
n_test = 8  # signals that are measured and scored, each with a tangent of its own
n_samples = 128  # posterior samples of each
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.figures import images

run = record.start(
    "own_nonlinear",
    globals(),
    {
        "gamma": record.between(0.2, 5),
        "blur": record.between(0, 4, open=True),
        "sigma_y": record.between(0, 1, open=True),
        "n_test": record.integer(2, 512),
        "n_samples": record.integer(3, 4096),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The operator
#
# `linear = False` is all that has to be said. It must be differentiable by JAX, also a little outside of [0, 1]. The
# prior is a Gaussian that is fitted to grey patches of 16 by 16 pixels.

# %% tags=["show-code"]
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_core import data
from aps_core.operators import Linearized
from aps_core.priors.gaussian import fit_gaussian


@dataclass(frozen=True)
class Camera(aps_core.Operator):
    """A blur of ``std`` pixels, then brightness to the power ``gamma``."""

    shape: tuple
    std: float
    gamma: float
    kind = "camera"
    linear = False

    @property
    def y_shape(self):
        return self.shape

    def __call__(self, x, mask=None):
        return jnp.maximum(aps_core.GaussianBlur(self.shape, self.std)(x), 1e-3) ** self.gamma


parts = {split: data.load("patches16", split) for split in ("train", "test")}
signals = {split: part.values[..., None] for split, part in parts.items()}  # (n, 16, 16, 1), yours in their place
prior = fit_gaussian(signals["train"], n_modes=160)
task = aps_core.Task(Camera(prior.shape, blur, gamma), sigma_y, prior, lambda split: signals[split], unit_range=False)

# %% tags=["hide-input"]
run.uses_data(*parts.values())

# %% [markdown]
# ## The tangent at the answer
#
# `linearize` gives the task whose operator is the tangent at the most probable signal of one measurement. Everything
# for linear operators then serves it; here it is `gaussian_posterior`, which makes it Laplace's approximation. For
# operators on faces, `load_posterior` of it is the flow for any linear operator. Beside it stands the tangent at the
# mean of the prior, which knows nothing of the measurement.

# %% tags=["show-code"]
rng = np.random.default_rng(seed)
x0 = signals["test"][rng.choice(len(signals["test"]), n_test, replace=False)]
measured = [task.measure(jax.random.fold_in(jax.random.key(seed), i), x) for i, x in enumerate(x0)]
mean = np.asarray(prior.mean).reshape(prior.shape)
elsewhere = aps_core.Task(Linearized(task.operator, mean), sigma_y, prior, signals["test"], unit_range=False)
at_the_mean = aps_core.gaussian_posterior(elsewhere)
samples = {"answer": [], "mean": []}
for i, measurement in enumerate(measured):
    at_the_answer = aps_core.gaussian_posterior(aps_core.linearize(task, measurement))
    for name, posterior in (("answer", at_the_answer), ("mean", at_the_mean)):
        key = jax.random.fold_in(jax.random.key(seed + 1), i)
        samples[name].append(np.asarray(posterior.sample(key, measurement, n_samples)))

# %% tags=["hide-input"]
shown = np.stack(samples["answer"][:4])[..., 0]
run.figure(
    images.face_columns(
        {
            "truth": x0[:4, ..., 0],
            "measured": np.stack([np.asarray(one.y) for one in measured[:4]])[..., 0],
            "sample": shown[:, 0],
            "sample ": shown[:, 1],
            "mean": shown.mean(axis=1),
        },
        {"spread": shown.std(axis=1, ddof=1)},
    ),
    "patches",
    alt="Four rows of grey patches. Columns: the truth; its measurement, darker and blurred; two samples and their "
    "mean, as bright as the truth; and the standard deviation of the samples, larger where the patch is dark.",
    caption="Four signals, their measurements by the camera, two samples and the mean under the tangent at the answer, "
    "and the standard deviation of the samples.",
    label="fig-own-nonlinear",
)

# %% [markdown]
# ## Is it right?
#
# The misfit is the mean square of what the samples leave of the measurement, in units of the noise's variance, under
# the camera itself and not its tangent. Samples of the exact posterior have about 1; far above it the tangent does not
# hold. The 90 % intervals have to hold 90 % of the true pixels.

# %% tags=["show-code"]
from aps_core.metrics import evaluation

scores = {
    name: [evaluation.score(drawn, x) for drawn, x in zip(several, x0, strict=True)]
    for name, several in samples.items()
}
through = jax.jit(jax.vmap(task.operator))
misfit = {
    name: [np.mean((through(drawn) - one.y) ** 2) / sigma_y**2 for drawn, one in zip(several, measured, strict=True)]
    for name, several in samples.items()
}

# %% tags=["hide-input"]
for name, several in scores.items():
    run.mean(f"{name}.psnr_n1", [one["psnr_n1"] for one in several], "dB")
    run.mean(f"{name}.psnr_mean", [one["psnr_mean"] for one in several], "dB")
    run.mean(f"{name}.energy", [one["energy"] for one in several])
    run.mean(f"{name}.coverage_90", [100 * one["coverage"][1] for one in several], "%")
    run.mean(f"{name}.misfit", misfit[name])
run.mean("paired.energy", [a["energy"] - b["energy"] for a, b in zip(scores["answer"], scores["mean"], strict=True)])
run.table(
    {"answer": "tangent at the answer", "mean": "tangent at the prior's mean"},
    {
        "psnr_n1": ("one sample [dB]", ".2f"),
        "psnr_mean": (f"mean of {n_samples} [dB]", ".2f"),
        "energy": ("energy score", ".3f"),
        "coverage_90": ("90 % intervals hold [%]", ".1f"),
        "misfit": ("misfit", ".2f"),
    },
    caption=f"{n_test} signals that the Gaussian was not fitted to.",
)
run.verdict(
    record.Difference(
        "paired.energy",
        "the tangent at the answer",
        "that at the prior's mean",
        better="lower",
        form="+.3f",
        measure="energy score",
    ),
    before="Signal by signal:",
)

# %% [markdown]
# ## What next
#
# - **A misfit far above 1** says that the tangent does not hold over the width of the posterior: more noise, or a
#   stronger bend. Then train a flow for the operator itself, as the page {doc}`sensor` does for a saturating sensor.
# - **Samplers** such as DPS take operators that are not linear as they are: `make_sampler("dps", task)`.
# - **Many measurements** each need a tangent of their own; a flow that was trained for the operator needs none.

# %% tags=["hide-input"]
run.finish()
