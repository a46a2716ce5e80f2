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
# # Is it the posterior?
#
# Draw a signal from the shipped prior and measure it: then the signal *is* a sample of the posterior, and whoever
# samples the posterior must produce pairs $(x, y)$ that nobody can tell from the pair $(x_0, y)$. Four tests ask for
# that, each of another kind of error:
#
# - **ranks** of the signal among the samples, in single quantities {cite:p}`talts2018sbc`;
# - **intervals** of 90 %, band by band of the modes of the prior, coarse to fine;
# - **TARP**, coverage of balls around random points {cite:p}`lemos2023tarp`, of all modes at once;
# - a **classifier** that is shown pairs and has to say which hold the true signal {cite:p}`lopezpaz2017c2st`: with the
#   posterior its accuracy on pairs that it has not seen is 50 %.
#
# All of it on average over measurements; whether *this* measurement may be believed asks {doc}`the next page <trust>`.

# %% tags=["parameters"]
problems = ["gaussian16", "mixture2"]  # also "sphere", "bunny", "denoise", "sr2", "deblur"
n_signals = 128  # draws of the prior, for ranks and intervals
n_samples = 31  # posterior samples of each of them
n_pairs = 256  # draws of the prior, with one sample of each, for the classifier
rivals = ["dps"]  # where the posterior is known, of "dps", as it comes, and "dps_tuned", "ddrm", "pigdm"
dps_steps = 100  # steps of DPS as it comes; its default is 1000
n_iterative = 0  # of the draws of the prior of faces, with one sample of each of the tuned rivals
corrected = ["mixture2"]  # problems on which Metropolis steps correct a flow
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import joint_calibration as study
from aps_book.figures import charts, ranks

run = record.start(
    "joint_calibration",
    globals(),
    {
        "problems": record.list_of(record.one_of(*study.PROBLEMS)),
        "n_signals": record.integer(32, 4096),
        "n_samples": record.integer(25, 1023),
        "n_pairs": record.integer(0, 16384),
        "rivals": record.list_of(record.one_of(*study.RIVALS)),
        "dps_steps": record.integer(2, 10000),
        "n_iterative": study.pairs(512),
        "corrected": record.list_of(record.one_of(*study.CORRECTED)),
        "seed": record.seed(),
    },
)
results, iterated = {}, {"rivals": rivals, "dps_steps": dps_steps}
for problem in problems:
    mended = problem in corrected
    results[problem] = study.study(problem, n_signals, n_samples, n_pairs, n_iterative, mended, seed, **iterated)
    study.store(run, problem, results[problem])
    run.uses_weights(*study.cards(problem))

# %% [markdown]
# ## Where the posterior is known
#
# On 16 × 16 patches with noise of 0.1 the prior is a Gaussian, and the closed form is the posterior. The quantities are
# one pixel, two modes of the prior, the log-likelihood $\log p(y \mid x)$, and, where a sampler has a density,
# $\log q(x \mid y)$. Coordinates alone are not enough: draws of the prior, which never look at the data, have uniform
# ranks in each of them. The log-likelihood gives them away, and TARP, whose random points here are draws of the closed
# form. DPS stands there as it comes, and samplers that were tuned to this posterior with the settings that a search
# found best.

# %% tags=["hide-input"]
first = problems[0]
run.chart(
    ranks.rank_panels,
    "ranks",
    {"panels": study.panels(results[first], first)},
    alt="A panel for each quantity and one for TARP. Lines show the cumulative distribution of the rank of the truth "
    "less that of uniform ranks, about a grey band around zero.",
    caption="Cumulative distribution of the rank of the true signal among the samples, less the uniform one. Grey: "
    "the band that ranks of the exact posterior stay inside of with probability 95 %, at all ranks together "
    "{cite:p}`sailynoja2022ecdf`; one quantity in twenty leaves it by chance.",
    label="fig-joint-ranks",
)

# %% [markdown]
# The second problem has a posterior of several humps, which the closed form of a Gaussian is not. Metropolis steps that
# propose from it are exact in the limit, since the density of the prior is known, and so is the posterior itself.

# %% tags=["hide-input"]
for problem in study.known_problems(run):
    if study.PROBLEMS[problem].prior is None:
        run.table(
            study.rows(run, problem, "tarp_p"),
            {f"{name}_p": (label, ".2g") for name, label in study.QUANTITIES.items()}
            | {"tarp_p": ("TARP", ".2g"), "outside": ("outside the band", ".0f")},
            problem,
            caption=f"{study.PROBLEMS[problem].label}: p-values of uniform ranks, {run.stated('n_signals')} signals, "
            f"{run.stated('n_samples')} samples of each; the last column counts the quantities that leave the 95 % "
            f"band. DPS in its default setting, with {run.stated('dps_steps')} steps.",
        )

# %% [markdown]
# ## What the classifier sees
#
# A network that is shown pixels sees coarse modes: fine ones, where grain is, have a thousandth of their variance. So
# signals are whitened by the closed form, $w = F^{-1}(x - \mu_G(y))$, which is an invertible map for every $y$, and
# turned into the modes of the prior. It is shown the twelve coarsest modes of $w$ and of $\mu_G(y)$, the energy of $w$
# in bands of modes, fourth moments in the same bands and over the entries, and the misfit of the data: in fivefold
# cross-validation, both pairs of a measurement in the same fold. It is a Fisher discriminant with a small network
# beside it, so what it does not find may still be there; what it finds is there.

# %% tags=["hide-input"]
groups = study.accuracies(run)
run.shows_full_run("fig-joint-c2st", study.of_full_run(run))
run.figure(
    charts.rows_with_errors(groups, 50.0, "accuracy of the classifier (%)"),
    "c2st",
    alt="Accuracy of the classifier for each sampler, problem by problem, with error bars, and a dashed line at 50 %.",
    caption=f"How often the classifier tells the true signal from a sample, {study.source(run)}: 50 % is the "
    "posterior, 100 % is known at a glance. Bars: two standard errors.",
    label="fig-joint-c2st",
)

# %% [markdown]
# ## Learned priors
#
# Draws of the learned priors of temperature, of digits on the bunny and of faces. Such a prior is not one density: the
# bound that the reverse divergence pays for, the probability-flow ODE and its draws in few steps differ where the
# network is not the score of anything. The draws here are made as those on which the forward flows were trained, with
# another seed, so for a forward flow they are the truth; for a reverse flow they are so as far as its bound agrees.

# %% tags=["hide-input"]
for problem in study.known_problems(run):
    if study.PROBLEMS[problem].prior is not None:
        run.table(
            study.rows(run, problem, "all_90"),
            {
                "all_90": ("all entries", ".1f"),
                **{f"{band}_90": (f"band {i + 1}", ".1f") for i, band in enumerate(study.bands())},
            },
            problem,
            caption=f"{study.PROBLEMS[problem].label}: truths in 90 % intervals [%], of all entries and of the modes "
            f"of the prior in five bands, coarse to fine. {run.stated('n_signals')} signals.",
        )
        run.table(
            study.rows(run, problem, "all_90"),
            {"tarp_area": ("TARP, area [%]", "+.1f"), "outside": ("ranks outside the band", ".0f")},
            problem,
            caption=f"{study.PROBLEMS[problem].label}: area between TARP's coverage and the diagonal; how many of the "
            f"five quantities above leave the 95 % band of ranks. {run.stated('n_signals')} signals.",
        )

# %% tags=["hide-input"]
shown = study.learned_problems(run)
if shown:
    run.verdict(*study.verdicts(shown), before="The full run on the default flows:", source="full")
    run.say("Band by band:\n\n" + "\n".join(f"- {study.by_how_much(run, problem)}" for problem in shown))

# %% [markdown]
# ### What gives a sample away
#
# The same classifier, shown one group of features at a time beside those of the data.

# %% tags=["hide-input"]
for problem in study.known_problems(run):
    run.table(
        study.rows(run, problem),
        {"c2st": ("all features", ".1f")} | {f"c2st_{group}": (label, ".1f") for group, label in study.GROUPS.items()},
        problem,
        caption=f"{study.PROBLEMS[problem].label}: accuracy of the classifier by group of features [%].",
        signals="n_pairs",
    )

# %% [markdown]
# ## After a correction
#
# Where the density of the prior is exact, Metropolis steps mend a flow: the tables above have the row. A learned prior
# gives its log density only as an estimate of a bound, and a correction is available where that has an error below 1
# nat.

# %% tags=["hide-input"]
for problem in problems:
    if study.PROBLEMS[problem].prior is not None:
        study.store_correction(run, problem, seed)
if said := study.not_available(run):
    run.say(said)

# %% [markdown]
# ## What it does not show
#
# A test that is passed says that so many pairs, in these coordinates, do not tell the two apart. Photographs are not
# draws of the prior: there its own error comes on top, which {doc}`faces` measures by coverage of real ones. Refinement
# for one measurement ({doc}`trust`) is not tested here: it takes seconds for each.

# %% tags=["hide-input"]
run.finish()
