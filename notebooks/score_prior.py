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
# # One flow for all measurements, or one for each: APS Section 5.2.3
#
# The score prior of {cite:t}`feng2023principled` fits a flow to the posterior of a single measurement; APS
# {cite:p}`mammadov2024aps` trains one conditional flow for all of them, in the paper with the same divergence averaged
# over measurements. The amortized flow of this page was trained by another one, the forward divergence on draws of the
# prior, so that objective and amortization differ at once. What does the fit of its own bring a measurement, how long
# does it take, and what does its prior term cost, exact or by the surrogate {cite:p}`feng2023surrogate`? The APS paper
# answers in Section 5.2.3; here the same is asked of 32 × 32 colour faces with the flows and the prior of the page on
# faces.

# %% tags=["parameters"]
tasks = ["denoise"]  # and "deblur"
n_test = 4  # faces, each with a flow of its own
fit_steps = 60  # of every fit
fit_samples = 4  # samples of each flow in a step
n_samples = 64  # samples that are scored
batch = 16  # samples in the steps whose cost is compared
four = True  # whether a step with four samples of each measurement is among them
repeats = 2  # of each timing
exact = False  # whether the exact prior is timed, or left to the full run
n_costs = 4  # faces whose log density is timed side by side
width = 0  # of the paper's RealNVP whose steps are timed; 0 leaves it to the full run
seed = 0

# %% tags=["hide-input"]
import jax
import jax.numpy as jnp
import numpy as np

import aps_core
from aps_book import record
from aps_book.experiments import measured, pictured, training_cost
from aps_book.experiments import score_prior as study
from aps_book.figures import curves, images, told
from aps_book.record.labels import row_label
from aps_core import data

run = record.start(
    "score_prior",
    globals(),
    {
        "tasks": record.list_of(record.one_of(*study.TASKS)),
        "n_test": record.integer(2, 5189),
        "fit_steps": record.integer(20),
        "fit_samples": record.integer(1),
        "n_samples": record.integer(3, 4096),
        "batch": record.integer(4),
        "four": record.boolean(),
        "repeats": record.integer(1),
        "exact": record.boolean(),
        "n_costs": record.integer(1, 64),
        "width": record.integer(0),
        "seed": record.seed(),
    },
)
test = data.load("faces", "test")
val = data.load("faces", "val")
run.uses_data(test, val)
run.say(f"This build measures {{parameters/n_test}} faces of **{test.name}**.")

# %% [markdown]
# ## Quality against the time of the fit
#
# Both kinds of flow stand on the closed-form posterior under the prior's Gaussian part. The flow of one measurement
# ({py:class}`~aps_book.experiments.single_fit_in_modes.FittedFlow`) has a free mean, free scales and four couplings,
# starts as that closed form and is trained by the reverse divergence with the surrogate prior, whose Gaussian part is
# known. It sees only its measurement. The amortized flow was trained before, on other measurements; a new one costs it
# an evaluation. The times are those of one measurement, its share of fits that run side by side, without compilation.

# %% tags=["hide-input"]
posteriors = {name: aps_core.load_posterior(f"faces-{name}", weights=f"faces-{name}-held-out") for name in tasks}
fitted = {}
for name, posterior in posteriors.items():
    run.uses_weights(posterior.card)
    run.say(f"The amortized flow for {study.TASKS[name]} was trained by: {posterior.trained_by}.")
    run.number(f"{name}.training", posterior.card["seconds"], unit="s")
    case = measured.measure(posterior.task, test, n_test, seed)
    ours = np.asarray(posterior.sample(jax.random.key(seed + 1), case.measurements, n_samples))
    fitted[name] = study.fit(posterior, case, fit_steps, fit_samples, n_samples, seed=seed), case, ours
    study.store(run, name, *[fitted[name][i] for i in (0, 2)], case.x0)
    run.table(
        {
            "start": "closed form, where both start",
            "fit": "one flow for each measurement",
            "aps": row_label(posterior.card),
        },
        {
            "n1": ("one sample [dB]", ".2f"),
            "mean": (f"mean of {run.stated('n_samples')} [dB]", ".2f"),
            "ratio": ("error, sample / mean", ".2f"),
            "inside": ("inside [%]", ".1f"),
        },
        name,
        caption=f"{study.TASKS[name].capitalize()}: PSNR, and whether the spread is right: squared error of a "
        f"sample over that of the mean, and pixels in their 90 % intervals (2 and 90 % for an exact posterior).",
        signals="n_test",
    )
    numbers = run.as_dict()["numbers"]
    run.say(
        f"{study.TASKS[name].capitalize()}, in this build: the mean of the fits reaches the amortized flow's quality "
        f"{study.say_reached(numbers, name, 'mean')} of fitting one measurement, a single sample "
        f"{study.say_reached(numbers, name, 'n1')}. "
        f"At the end, after {{{name}.seconds:.1f}} s, it lies {{{name}.gain_mean:+.2f}} ± "
        f"{{{name}.gain_mean.se:.2f}} dB from the amortized flow by the mean and {{{name}.gain_n1:+.2f}} ± "
        f"{{{name}.gain_n1.se:.2f}} dB by one sample."
    )

# %% tags=["hide-input"]
lines, levels = study.lines(fitted)
run.chart(
    curves.cost_curves,
    "time",
    {"curves": lines, "levels": levels, "xlabel": "seconds of fitting for one measurement", "log_x": False},
    alt="PSNR against seconds of fitting for one measurement: curves of the mean and of one sample of the fitted "
    "flows, which start at the closed form, and flat lines of the amortized flow.",
    caption="PSNR of flows of one measurement each against the seconds of their fit (bars: two standard errors over "
    "faces). Flat lines: the amortized flow on the same measurements, which needs one evaluation.",
    label="fig-score-prior-time",
    told=told.curves,
)

# %% tags=["hide-input"]
if pictured.allowed(test):
    run.figure(
        images.face_columns(study.pictures(*fitted[tasks[0]])),
        "pictures",
        alt="Rows of faces; columns: truth, measurement, a sample and the mean of the flow of that measurement alone, "
        "a sample and the mean of the amortized flow.",
        caption="A sample and the mean of the flow of each measurement and of the amortized flow.",
        label="fig-score-prior-pictures",
    )
else:
    run.say(pictured.LEFT_OUT)

# %% tags=["hide-input"]
run.say(
    "In the paper an unconditional flow trained on a single measurement has "
    "{paper/aps.section5_2_3.unconditional_single_measurement_psnr:.2f} dB and the amortized one "
    "{paper/aps.section5_2_3.amortized_same_measurement_psnr:.2f} dB on that measurement: what amortization loses "
    "there."
)

# %% [markdown]
# ## The cost of a step: conditional and unconditional
#
# Same number of samples in a step, the same learned prior with one diffusion time for each sample, everything included:
# simulation, fidelity, prior, flow, Adam. "Own" are the flows of this page; the conditional one has the prior's network
# once more inside, all of it trained. The paper's RealNVP is timed in the full run only, with the same prior; the page
# on the method has it beside an untrained prior.

# %% tags=["hide-input"]
costs = study.step_costs(posteriors["denoise"], val.values, batch, repeats, four) if "denoise" in tasks else {}
for name, seconds in costs.items():
    run.number(f"cost.own.{name}.seconds", seconds, unit="s")
    run.number(f"cost.own.{name}.ratio", seconds / costs["unconditional"])
kinds = {
    "unconditional": "one measurement",
    "conditional_4": "amortized, four samples of each measurement",
    "conditional": "amortized, one sample of each measurement",
}
columns = {"seconds": ("one step [s]", ".2f"), "ratio": ("over unconditional", ".2f")}
run.table(kinds, columns, "cost.own", caption=f"Own flows: seconds of one optimization step with {batch} samples.")
if width and "denoise" in tasks:
    theirs = training_cost.step_costs(width, repeats, batch, study.measured_on(posteriors["denoise"].task, val.values))
    for name, seconds in theirs.items():
        run.number(f"cost.realnvp.{name}.seconds", seconds, unit="s")
        run.number(f"cost.realnvp.{name}.ratio", seconds / theirs["unconditional"])
if study.known(run, "cost.realnvp"):
    run.table(
        kinds,
        columns,
        "cost.realnvp",
        paper="aps.section5_2_3.step",
        caption="The paper's RealNVP of 24 steps, the same prior. Paper: its own networks and batch, one RTX 3090.",
    )

# %% [markdown]
# ## The cost of the prior: exact and surrogate
#
# The exact prior is the log density of the probability-flow ODE ({py:func}`~aps_core.priors.ode.log_prob_ode`): a
# solver evaluates the network many times, each time with a trace estimate, and its gradient needs as many again. The
# surrogate is the bound at one random time. The times are those of log p and its gradient for one face, several side by
# side; an evaluation of the ODE is counted as in {cite:t}`feng2023principled`, steps times order of the solver, without
# the gradient's.

# %% tags=["hide-input"]
prior = next(iter(posteriors.values())).task.prior
adjoints = ("checkpointed", "continuous") if exact else ()
terms = study.prior_costs(prior, jnp.asarray(test.values[:n_costs]), adjoints, repeats=repeats, seed=seed)
for name, cost in terms.items():
    key = name.replace("-", "_")
    run.number(f"prior.{key}.seconds", cost["seconds"], unit="s")
    run.number(f"prior.{key}.evaluations", cost["evaluations"])
    run.number(f"prior.{key}.ratio", cost["seconds"] / terms["elbo"]["seconds"])
columns = {
    "evaluations": ("network evaluations", ".0f"),
    "seconds": ("seconds", ".3f"),
    "ratio": ("over the bound", ".0f"),
}
run.table(study.known_terms(run), columns, "prior", caption="log p and its gradient, for one face.")
run.say(
    "In the full run the exact prior costs {full/prior.ode_checkpointed.ratio:.0f} times the bound with checkpoints "
    "and {full/prior.ode_continuous.ratio:.0f} times with the continuous adjoint, which needs little memory. "
    "The paper says about {paper/aps.section5_2_3.surrogate_over_exact_speedup:.0f} times."
)

# %% [markdown]
# ## What it means

# %% tags=["hide-input"]
differences = study.differences({name: row_label(posterior.card) for name, posterior in posteriors.items()})
run.verdict(*differences, before="In this build:")
run.verdict(*differences, before="In the full run:", source="full")
run.say(study.costs(run.as_dict()["numbers"], tasks))

# %% [markdown]
# ## What it does not show
#
# - Both flows stand on a closed form that needs a linear operator, and both start near the answer. From noise a fit
#   takes thousands of steps; in the supplement of Feng et al. five to ten thousand.
# - A longer fit, more samples in a step or another rate may bring the flow of one measurement further. Its mean and its
#   spread are trained on the surrogate, whose noise it averages with what steps there are.
# - Times are those of the machine that ran the page, in seconds of one or two cores with whatever else ran there.

# %% tags=["hide-input"]
run.finish()
