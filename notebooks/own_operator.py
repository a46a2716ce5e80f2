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
# # An operator of your own
#
# You have a measurement that no task of this package describes. What is needed is its operator as a small class, the
# standard deviation of its noise, a prior, and signals like those that you expect; where there are none, draws of the
# prior will do. This page does it for grey faces of which a square in the middle is not seen at all: the closed form
# in one call, a flow trained in a minute or so, and the check that says whether to believe it. The code of these
# steps stands on the page; copy it and put your own in its place.

# %% tags=["parameters"]
box = 12  # side of the square that is not seen, pixels
sigma_y = 0.05  # standard deviation of the noise, signals in [0, 1]
n_draws = 96  # draws of the prior that stand for your signals
n_test = 16  # of them, those that are measured and scored
n_samples = 64  # posterior samples of each measurement
steps = 60  # of training; thousands for a good flow
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import own_problem
from aps_book.figures import images

run = record.start(
    "own_operator",
    globals(),
    {
        "box": record.integer(1, 31),
        "sigma_y": record.between(0, 1, open=True),
        "n_draws": record.integer(8, 4096),
        "n_test": record.AtMost(record.integer(3, 1024), "n_draws"),
        "n_samples": record.integer(3, 4096),
        "steps": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The operator
#
# A frozen dataclass with the shape of a signal, the shape of its data and what is done to one signal, in `jax.numpy`.
# It may add a constant; an operator that is not linear says so with `linear = False`. A `Task` tests what is
# declared, and its messages name what is wrong. {py:class}`~aps_core.operators.base.Operator` has the whole contract.

# %% tags=["show-code"]
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_core.operators import Operator


@dataclass(frozen=True)
class AroundTheBox(Operator):
    """The pixels of an image (h, w, 1) outside a square in its middle, as one vector."""

    shape: tuple
    side: int
    kind = "around-the-box"

    @property
    def seen(self):
        hidden, first = np.zeros(self.shape, bool), (self.shape[0] - self.side) // 2
        hidden[first : first + self.side, first : first + self.side] = True
        return np.flatnonzero(~hidden)

    @property
    def y_shape(self):
        return (len(self.seen),)

    def __call__(self, x, mask=None):
        return jnp.ravel(x)[self.seen]


# %% [markdown]
# ## The task
#
# The prior is the score network for grey faces that comes with the package, and the signals are draws of it: for those
# the prior is exact, so that a wrong spread can only be the posterior's fault.

# %% tags=["show-code"]
from aps_core.priors.fast_sampling import draw
from aps_core.priors.store import load_prior

prior, card = load_prior("grey-faces-prior")
signals = draw(prior, jax.random.key(seed), n_draws)  # (n_draws, 32, 32, 1)
task = aps_core.Task(AroundTheBox(prior.shape, box), sigma_y, prior, signals)
keys = jax.random.split(jax.random.key(seed + 1), n_test)
measurements = jax.vmap(task.measure)(keys, signals[:n_test])

# %% tags=["hide-input"]
run.uses_weights(card)
run.number("data.size", task.operator.y_shape[0])
run.number("signal.size", task.operator.size)
run.say("A measurement has {data.size:,.0f} of the {signal.size:,.0f} pixels.")

# %% [markdown]
# ## Closed form and flow
#
# `gaussian_posterior` is exact under the Gaussian part of the prior, for any linear operator, and needs no training:
# look at it first. `train_posterior` starts this flow at the estimate of the score network, which is near it (with
# `"copy": False` at the closed form itself). This recipe trains by the forward divergence, on draws of the prior and
# simulated measurements of them; without `"kl": "forward"` it would be the paper's reverse divergence on
# measurements of `task.signals`, which costs several evaluations of the score network in every step.

# %% tags=["show-code"]
recipe = {
    "flow": {"kind": "distilled", "steps": 2, "width": 32},
    "objective": {"kl": "forward", "draws": 512, "batch": 32},
    "optimizer": {"steps": steps, "warmup": max(1, steps // 6), "learning_rate": 1e-3},
}
closed = aps_core.gaussian_posterior(task)
flow, log = aps_core.train_posterior(task, recipe)
# (n_test, n_samples, 32, 32, 1)
samples = flow.sample(jax.random.key(seed + 2), measurements, n_samples)

# %% tags=["hide-input"]
run.number("training.seconds", log.seconds, unit="s")
run.say(
    f"The flow was trained by: {flow.trained_by}, in {{training.seconds:.0f}} s "
    "(another notebook may have run beside it)."
)

# %% tags=["hide-input"]
shown = np.asarray(samples[:3])
measured = np.full((3, task.operator.size), np.nan)
measured[:, task.operator.seen] = np.asarray(measurements.y[:3])
run.figure(
    images.face_columns(
        {
            "truth": np.asarray(signals[:3])[..., 0],
            "measured": np.nan_to_num(measured, nan=1.0).reshape(3, *prior.shape[:2]),
            "sample": shown[:, 0, ..., 0],
            "sample ": shown[:, 1, ..., 0],
            "mean": shown.mean(axis=1)[..., 0],
        },
        {"spread": shown.std(axis=1, ddof=1)[..., 0]},
    ),
    "faces",
    alt="Three rows of grey faces. Columns: truth, measurement with a white square in its middle, two samples and the "
    "mean of the flow, and the standard deviation of its samples, which is large inside the square and small outside.",
    caption="Three draws of the prior, their measurements (white: not seen), two samples and the mean of the flow, and "
    "the standard deviation of its samples.",
    label="fig-own-operator",
)

# %% [markdown]
# ## Is it right?
#
# Three numbers, on signals that training has not seen. The 90 % intervals of the samples have to hold 90 % of the true
# pixels. The energy score judges the whole distribution; the smaller, the better. And a single sample has to lie about
# 3 dB from the mean of many: nearer means that samples are too much alike.

# %% tags=["show-code"]
from aps_core.metrics.evaluation import evaluate

scores = {
    name: evaluate(sampler, jax.random.key(seed + 3), measurements, signals[:n_test], n_samples)
    for name, sampler in (("closed", closed), ("flow", flow))
}

# %% tags=["hide-input"]
own_problem.beside_closed_form(
    run, scores, n_samples, "forward, draws of the prior", f"{n_test} draws of the prior that training has not seen"
)
run.mean("paired.psnr_mean", scores["flow"]["psnr_mean"] - scores["closed"]["psnr_mean"], "dB")
run.verdict(
    record.Difference("paired.psnr_mean", "the mean of the flow", "that of the closed form", form="+.2f"),
    own_problem.energy(),
    before="Draw by draw:",
)

# %% [markdown]
# ## What next
#
# - **Your own signals** in the place of the draws: an array (n, *shape) in [0, 1]; a `Task` takes a function of the
#   split, or the array itself.
# - **Only measurements**: `train_posterior(task, {**recipe, "objective": {"kl": "reverse", "batch": 8}},
#   measurements=recorded)`, the paper's objective; the forward one needs signals or draws. {doc}`own_measurements` has
#   the whole way, and checks without truth.
# - **A longer training**: `recipes/` has those of the shipped flows; `steps` in the thousands, `evaluate_every` to see
#   where it stands. `train_posterior(task, recipe, folder="checkpoints/mine", budget=600)` stops after ten minutes; the
#   same call goes on from there.
# - **Not linear**: `linear = False`, and {doc}`own_nonlinear`.
#
# The coverage above is that of draws of the prior. For photographs the prior is only a model, and coverage has to be
# looked at again, on signals of your own.

# %% tags=["hide-input"]
run.finish()
