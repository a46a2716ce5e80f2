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
# # At a glance
#
# The full runs of the other pages, side by side with what the papers report
# {cite:p}`mammadov2024aps,feng2023principled`. Every number here is read from the records of those runs, which come
# with the code; the pages say how each was made, with its standard error, its settings and what it does not show.

# %% tags=["parameters"]
experiments = ["sphere", "bunny", "denoise", "sr2", "deblur", "sensor"]  # rows of the first table

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import overview, quality_time
from aps_book.figures import charts

run = record.start("overview", globals(), {"experiments": record.list_of(record.one_of(*overview.EXPERIMENTS))})
shown = overview.collect(run, experiments)

# %% [markdown]
# ## The experiments of the APS paper
#
# PSNR in dB. Where two numbers stand, the first is one posterior sample and the second the mean of 128. "Closed form"
# is the posterior under a Gaussian prior, which needs no training. "APS, reverse divergence" is the paper's method: the
# flow saw measurements alone, none of the test set; "another flow" is trained as the line below says. All of a row
# stands on the same signals, as many as the table says (a cell on others says on how many), and differences to the
# closed form are paired by signal. Data, projection and priors differ from the paper's: its columns show the size of
# things.

# %% tags=["hide-input"]
run.say(overview.psnr_table(run, shown))

# %% [markdown]
# An exact posterior sample lies 3 dB from the mean, so a smaller gap is no merit: it says that samples are too much
# alike.
#
# ## Beside the samplers that iterate
#
# These were run on fewer signals. The two tables below hold each row to those: all numbers of a row are of the same
# signals. The two flows are those of the table above. On faces a task has two rows: one of many faces, where APS was
# not run, and one of few, where it was. All methods use the same prior; what iterates has its settings tuned on
# validation signals, at the budgets of the section that follows (on the bunny DDRM has its defaults, DAPS fewer levels
# and inner steps than those, and for the means the step size of DPS is that found for half its evaluations). In the
# rows without APS DPS and PiGDM have 50 evaluations and DDRM 50 to 100.
# "not run" means that the full run has not that method on those signals.

# %% tags=["hide-input"]
single = overview.collect_subsets(run, "one", overview.SINGLES, experiments)
run.say("**One sample**, PSNR in dB:\n\n" + overview.subset_table(run, "one", single))
run.verdict(*overview.differences(run, "one", single), before="Paired by signal, where a full run has it so:")

# %% tags=["hide-input"]
means = overview.collect_subsets(run, "mean", overview.MEANS, experiments)
run.say("**The mean of many samples**, PSNR in dB:\n\n" + overview.subset_table(run, "mean", means))
run.verdict(*overview.differences(run, "mean", means), before="Paired by signal:")

# %% [markdown]
# ## Quality and time
#
# A speed means something only beside the quality of the same setting. Each row below is one method at one budget, with
# what it takes and what it gives, as far as the full runs have measured it: times of one measurement on two CPU cores,
# compiled before, PSNR of one sample and of the mean of 128 (of a method that iterates, from fewer and their variance),
# energy score (the smaller, the nearer to the truth as a distribution), the share of the truth inside the central 90 %
# intervals. The last column says on how many signals the quality stands; rows on the same number of them, from the same
# run, stand on the same signals, and others are near each other, not paired. Times come from runs beside which other
# work may have run.

# %% tags=["hide-input"]
settings = quality_time.collect_plane(run, experiments)
if quality_time.budgets_were_run(run, settings):
    run.say(
        "On faces the rows with an energy score minus that of APS, and APS (reverse divergence) itself, stand on the "
        "same faces; settings of samplers were chosen on validation faces for each budget. The difference is paired by "
        f"face. The other rows come from other runs. {quality_time.beside_their_times()}"
    )
    run.say(quality_time.diverging_rule())
    run.say(quality_time.edges_of_budgets())
for task in dict.fromkeys(one.task for one in settings.values()):
    run.say(f"**{overview.EXPERIMENTS[task].label}**\n\n" + quality_time.plane_table(run, settings, task))
    differences = quality_time.plane_differences(run, settings, task)
    if differences:
        run.verdict(*differences, before="By the energy score, each at its best budget, paired by face:")

# %% tags=["hide-input"]
if panels := quality_time.plane(run, settings, "one sample"):
    run.figure(
        charts.quality_time(panels),
        "plane",
        alt=quality_time.in_words(panels, "one sample"),
        caption="Quality against the time of one measurement, one sample (bars: two standard errors). Hollow: the time "
        "was not taken, but follows from that of the same method with another number of evaluations, in proportion. "
        "Settings without a time stand in the tables only.",
        label="fig-overview-plane",
    )

# %% tags=["hide-input"]
if panels := quality_time.plane(run, settings, "mean of 128"):
    run.figure(
        charts.quality_time(panels),
        "plane-means",
        alt=quality_time.in_words(panels, "the mean of 128 samples"),
        caption="The same for the mean of 128 samples.",
        label="fig-overview-plane-means",
    )

# %% [markdown]
# The same planes, one at a time: each mark says what it is when it is pointed at, or reached with the Tab key.

# %% tags=["hide-input"]
title = "Quality against the time of one measurement, with a menu of experiments; each mark says what it is"
if points := quality_time.plane_points(run, settings):
    run.view(charts.quality_time_view(points, title), "points", title)

# %% [markdown]
# ## What else the papers claim

# %% tags=["hide-input"]
run.say("\n".join(f"- {claim}" for claim in overview.claims(run)))

# %% tags=["hide-input"]
run.finish()
