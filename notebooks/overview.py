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
# The full runs of the other pages, side by side with what the papers report {cite:p}`mammadov2024aps,feng2023principled`. Every number here is read from the
# records of those runs, which come with the code; the pages say how each was made, with its standard error, its settings and what it does not show.

# %% tags=["parameters"]
experiments = ["sphere", "bunny", "denoise", "sr2", "deblur", "sensor"]  # rows of the first table

# %% tags=["hide-input"]
from aps_core import overview, record

run = record.start("overview", globals(), {"experiments": record.list_of(record.one_of(*overview.EXPERIMENTS))})
shown = overview.collect(run, experiments)

# %% [markdown]
# ## The experiments of the APS paper
#
# PSNR in dB. Where two numbers stand, the first is one posterior sample and the second the mean of 128. "Closed form" is the posterior under a Gaussian prior,
# which needs no training. DPS uses the same prior as APS and has its step size tuned on validation signals. Data, projection and priors differ from the paper's: its columns show the
# size of things. What can be compared are the columns of one row that were made here.

# %% tags=["hide-input"]
run.say(overview.psnr_table(run, shown))

# %% [markdown]
# An exact posterior sample lies 3 dB below the mean, so a smaller gap is no merit: it says that samples are too much alike.

# %% tags=["hide-input"]
timed = {name: one for name, one in shown.items() if f"{name}.seconds" in run.as_dict()["numbers"]}
run.say("One posterior sample of a new measurement took, on two CPU cores: " + "; ".join(f"{one.label} {{{name}.seconds:.3f}} s" for name, one in timed.items()) + ".")

# %% [markdown]
# ## What else the papers claim

# %% tags=["hide-input"]
run.say("\n".join(f"- {claim}" for claim in overview.claims(run)))

# %% tags=["hide-input"]
run.finish()
