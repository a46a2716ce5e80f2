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
# # One flow for any mask and noise on the sphere
#
# The paper amortizes over the data of one operator at one noise level. Does one flow serve them all? Here a single
# network is trained on measurements with 10 to 95 % of the cells missing, in noise from 0.01 to 0.2, and asked for
# shares, noise levels and masks of other kinds: one day of a satellite's track, a sparse net of stations, and a gap of
# the size of a continent. Nothing is trained for these.
#
# It can work because of what the flow stands on. Whatever the linear operator, the posterior is
# $\mathcal N(\mu_G(y), \Sigma_G)$ times $p/p_G$, the ratio of the learned prior to its Gaussian: mean and covariance of
# the closed form say all that the data say, and the networks see them in the leading modes
# ({py:class}`~aps_core.flows.modal.GaussianBaseFlow`).

# %% tags=["parameters"]
# shares of missing cells in %, noise levels in thousandths, and masks of other shapes
settings = ["r20", "r40", "r60", "r80", "r90", "noise10", "noise200", "track", "stations", "gap"]  # what is measured
n_samples = 64  # posterior samples of each measurement
n_test = 6  # test months
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import any_mask
from aps_book.figures import maps, sliders
from aps_core import data, load_posterior

run = record.start(
    "any_mask",
    globals(),
    {
        "settings": record.list_of(record.one_of(*any_mask.SETTINGS)),
        "n_samples": record.integer(3, 4096),
        "n_test": record.integer(2, 242),
        "seed": record.seed(),
    },
)
run.uses_data(data.load("ncep-temperature", "test"))
flow = load_posterior("sphere-impute", weights=any_mask.ANY)
run.uses_weights(flow.card, load_posterior("sphere-impute", weights=any_mask.USUAL).card)
run.say(f"The flow was trained by: {flow.trained_by}.")
for name in settings:
    any_mask.store(run, name, any_mask.scores(any_mask.SETTINGS[name], n_test, n_samples, seed))

# %% [markdown]
# ## Against the closed form, setting by setting
#
# Differences are paired by month. The closed form is exact under the Gaussian prior and knows each mask and noise
# level, so it is what a network has to pass everywhere.

# %% tags=["hide-input"]
run.table(
    {name: any_mask.SETTINGS[name].label for name in settings},
    {
        "any_n1.psnr": ("one flow, N = 1 [dB]", ".2f"),
        "any.psnr": ("its mean [dB]", ".2f"),
        "any.coverage_90": ("90 % interval [%]", ".1f"),
    },
    caption="One flow for all settings (mean ± standard error over months).",
)
run.table(
    {name: any_mask.SETTINGS[name].label for name in settings},
    {
        "above_gaussian.psnr": ("mean minus closed form [dB]", "+.3f"),
        "above_gaussian.energy": ("energy score minus closed form", "+.4f"),
        "above_usual.energy": ("energy score minus flow for one setting", "+.4f"),
    },
    caption="Paired differences; a lower energy score is better.",
)
run.verdict(
    *(
        record.Difference(
            f"{name}.above_gaussian.energy",
            f"one flow ({any_mask.SETTINGS[name].label})",
            "the closed form",
            better="lower",
            form="+.4f",
            measure="energy score",
        )
        for name in settings
    ),
    before="Setting by setting, in the full run:",
    source="full",
)

# %% tags=["hide-input"]
run.figure(
    maps.imputation_globe(*any_mask.example(any_mask.SETTINGS["track"], n_samples, seed)),
    "track",
    alt="Globes of one test month: the truth, the cells under one day of a polar satellite's track, others grey, "
    "samples of the posterior and their mean, its standard deviation, largest between the tracks, and its error.",
    caption="One test month seen along one day of a satellite's track: truth, data, samples, their mean, its spread "
    "and its error.",
    label="fig-any-track",
)

# %% [markdown]
# ## Move it
#
# The last test month under the one flow: choose how many cells are missing, in how much noise, and which sample of the
# posterior is shown. The more is missing, the wider the spread and the more the samples differ.

# %% tags=["hide-input"]
title = "A month of temperature with sliders for the share of missing cells, the noise, and the sample of the posterior"
run.view(sliders.globe_view(title, *any_mask.slider_fields(seed=seed)), "sliders", title)

# %% [markdown]
# ## What it does not show
#
# Masks are the only operators here. Another linear operator (an average over cells, say) has a posterior with the same
# two statistics, but the networks of this flow were never shown the spreads that it gives.

# %% tags=["hide-input"]
run.finish()
