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
# # Blind imputation on the sphere: APS Figure 5
#
# The share of missing cells is drawn between 30 and 60 % and not told, nor is the mask; one network serves all of it.
# This is Figure 5 of the APS paper {cite:p}`mammadov2024aps`, on the monthly temperatures of the page
# {doc}`sphere_impute`. What "blind" means must be said exactly.

# %% tags=["parameters"]
sigma_y = 0.05  # noise standard deviation, temperatures in [0, 1]
levels = [0.3, 0.4, 0.5, 0.6]  # shares of cells that are missing
noises = [0.05, 0.1, 0.2, 0.4]  # of the last table
n_samples = 128  # posterior samples of each measurement
n_test = 6  # test months at each level
n_unknown = 4  # test months whose noise is not told
seed = 0

# %% tags=["hide-input"]
import jax

from aps_book import record
from aps_book.experiments import blind_impute
from aps_book.figures import curves as curves_figures
from aps_book.figures import told
from aps_core import data, load_posterior

run = record.start(
    "blind_impute",
    globals(),
    {
        "sigma_y": record.between(0, 1, open=True),
        "levels": record.list_of(record.between(0.3, 0.6)),
        "noises": record.list_of(record.between(0, 2, open=True)),
        "n_samples": record.integer(3, 4096),
        "n_test": record.integer(2, 242),
        "n_unknown": record.integer(2, 242),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## Two settings
#
# **The paper's.** A missing cell is zero and has no noise: $y = m \odot (x + \sigma_y n)$. A measured cell is never
# exactly zero, so $y$ gives the mask away; a network that is "not told" the mask can read it off. The honest answer
# is to read it off: the flow of the page {doc}`sphere_impute` is given the mask $y \ne 0$
# ({py:func}`~aps_core.flows.untold_mask.mask_of_zeros`). It was trained at shares between 30 and 80 %, so one
# network serves every level.
#
# **Truly blind.** Every cell has noise, $y = m \odot x + \sigma_y n$: a missing cell is a thermometer that reads noise.
# For a share $r$ that is itself unknown,
#
# $$
# p(y \mid x) = \int \prod_i \big[ (1 - r)\, \mathcal N(y_i; x_i, \sigma_y^2) + r\, \mathcal N(y_i; 0, \sigma_y^2)
# \big]\, p(r)\, dr ,
# $$ (eq-blind-likelihood)
#
# with $r$ uniform between 0.3 and 0.6. A training loss that is told the mask would not converge to the posterior of
# this likelihood. Here the mask is inferred from $y$: each cell's odds of being missing compare its value with zero
# and with what the other cells predict for it under the Gaussian prior, with $r$ averaged over its posterior
# ({py:func}`~aps_core.flows.untold_mask.infer_mask`); the flow is then given the cells that were more likely measured
# than not ({py:class}`~aps_core.flows.untold_mask.InferMask`). That is a plug-in. It leaves out the uncertainty of the
# mask, which the coverage below would show if it mattered. The same flow was then trained on, by the reverse
# divergence with {eq}`eq-blind-likelihood` itself, on measurements that tell no mask: its row is the public task,
#
# ```python
# task = aps_core.load_task("sphere-impute-blind", noise_everywhere=True)  # False: the paper's setting
# measurement = task.measure(jax.random.key(0), task.signals("test")[0])  # y alone
# samples = aps_core.load_posterior(task).sample(jax.random.key(1), measurement, 128)
# ```
#
# and `"sphere-impute-blind-noise"`, whose measurements hold a mask and no noise level, is the task of the flow "trained
# on noise that is not told" in the last section.

# %% tags=["hide-input"]
test = data.load("ncep-temperature", "test")
run.uses_data(test)
flow = load_posterior("sphere-impute")
blind, blind_noise = load_posterior("sphere-impute-blind"), load_posterior("sphere-impute-blind-noise")
run.uses_weights(flow.card, blind.card, blind_noise.card)
run.say(
    f"The flow that is told the mask was trained by: {flow.trained_by}. Those of the public tasks: {blind.trained_by}, "
    f"and {blind_noise.trained_by}."
)
key = jax.random.key(seed + 1)
for level in levels:
    scores, misjudged = blind_impute.run_level(level, sigma_y, test, n_test, n_samples, key, seed)
    blind_impute.store(run, level, scores, misjudged)

# %% tags=["hide-input"]
labels = {
    f"{blind_impute.level_key(level)}.{row}_n128": f"{blind_impute.missing(level)}, {label}"
    for level in levels
    for row, label in blind_impute.LABELS.items()
}
run.table(
    labels,
    {"psnr": ("PSNR of the mean [dB]", ".2f")},
    caption="Test months, mean of the samples (mean ± standard error over months).",
)
low, high = (blind_impute.level_key(level) for level in (min(levels), max(levels)))
run.say(
    f"At every level the blind flow in the paper's setting is the told one, sample for sample: the difference is "
    f"{{{low}.zeros.loss:.3f}} dB at the lowest level and {{{high}.zeros.loss:.3f}} dB at the highest. The "
    f"paper has at "
    "least {paper/aps.figure5.psnr_at_least:.0f} dB at every level, on single fields of ERA5, which are harder than "
    "monthly means."
)
beside_told = [
    record.Difference(f"{level}.{row}.loss", f"the told flow ({share:.0%} missing)", label, form="+.3f")
    for level, share in ((low, min(levels)), (high, max(levels)))
    for row, label in (("noise", "the truly blind one"), ("trained", "the one trained on the blind likelihood"))
]
run.verdict(*beside_told, before="By the mean, month by month, in the full run:", source="full")
run.verdict(*beside_told, before="In this build:")
run.verdict(
    *(
        record.Difference(
            f"{level}.trained.gain",
            f"the flow trained on the blind likelihood ({share:.0%} missing)",
            "the plug-in, which was trained told the mask",
            form="+.3f",
        )
        for level, share in ((low, min(levels)), (high, max(levels)))
    ),
    before="What that training is worth, full run:",
    source="full",
)

# %% tags=["hide-input"]
run.chart(
    curves_figures.level_plot,
    "levels",
    lambda shown: {"curves": blind_impute.by_level(shown), "least": record.paper_value("aps.figure5.psnr_at_least")},
    alt="PSNR of the mean of the samples against the share of missing cells, a curve for each method, and the "
    "paper's least value.",
    caption="PSNR of the mean of the samples against the share of missing cells. Bars: two standard errors. Dashed: "
    "the "
    "least value that the paper reports, on other data.",
    label="fig-blind-levels",
    told=told.curves,
)

# %% [markdown]
# ## How well the mask is found, and whether the spread is right

# %% tags=["hide-input"]
rows = {f"{blind_impute.level_key(level)}.misjudged": blind_impute.missing(level) for level in levels}
run.table(
    rows,
    {"seen": ("missing, taken as measured", ".2f"), "lost": ("measured, taken as missing", ".2f")},
    caption="Cells misjudged in the truly blind setting, in per cent of all cells.",
)
rows = {
    f"{blind_impute.level_key(level)}.{row}": f"{blind_impute.missing(level)}, {blind_impute.LABELS[row]}"
    for level in levels
    for row in ("told", "noise", "trained")
}
run.table(rows, {"coverage_90": ("90 % interval", ".1f")}, caption="Coverage in per cent of all cells.")

# %% [markdown]
# ## Where the mask is hard to see
#
# At the noise of the paper a cell that is not measured stands out: most of the Earth is ten standard deviations from
# zero. With more noise it does not. No flow was trained for that, so the table compares the closed form with itself:
# truly blind against told the mask, at 45 % missing.

# %% tags=["hide-input"]
for noise in noises:
    blind_impute.store_noise(run, noise, *blind_impute.noise_level(noise, 0.45, test, n_test, n_samples, key, seed))
rows = {blind_impute.noise_key(noise): f"noise {record.exact(noise)}" for noise in noises}
run.table(
    rows,
    {"loss": ("PSNR lost [dB]", "z.2f"), "coverage_90": ("90 % interval [%]", ".1f")},
    caption="What it costs not to be told the mask, and the coverage of the blind intervals.",
)
run.table(
    rows,
    {"seen": ("missing, taken as measured", ".2f"), "lost": ("measured, taken as missing", ".2f")},
    caption="Cells misjudged, in per cent of all cells.",
)

# %% [markdown]
# ## Where the noise is not told
#
# Now the standard deviation of the noise is drawn for each field, uniform in its logarithm over a factor of five, and
# not told; missing cells are zero, 45 % of all. Under the Gaussian prior the density of the observed cells is known
# for every noise level, and so is the posterior of the level ({py:func}`~aps_core.flows.untold_noise.infer_noise`).
# Its mean is put in the place of the level. The flow was trained at one level only; it meets another one through its
# closed-form base, which is exact at every level, and through the posterior standard deviations, which its networks
# see. The flow of the public task went on from it, with the level inferred in the same way, by the reverse divergence
# with the likelihood that is averaged over the levels.

# %% tags=["hide-input"]
scores, drawn, inferred = blind_impute.unknown_noise(sigma_y, 0.45, test, n_unknown, n_samples, key, seed)
blind_impute.store_unknown(run, scores, drawn, inferred)
run.numbers("unknown", {"low": blind_impute.NOISES[0], "high": blind_impute.NOISES[1]})
run.table(
    blind_impute.UNKNOWN,
    {
        "psnr": ("PSNR of the mean [dB]", ".2f"),
        "loss": ("lost by not being told [dB]", "z.3f"),
        "coverage_90": ("90 % interval [%]", ".1f"),
    },
    "unknown",
    caption="Test months whose noise level is drawn at random.",
)
run.say(
    "Between {unknown.low:g} and {unknown.high:g} the inferred level is off by {unknown.error:.1f} ± "
    "{unknown.error.se:.1f} % (mean of absolute values; its own posterior standard deviation is "
    "{unknown.spread:.1f} %; "
    "signed, {unknown.bias:+.1f} ± {unknown.bias.se:.1f} %)."
)
run.verdict(
    record.Difference(
        "unknown.inferred.loss",
        "the mean of the flow that is told the level",
        "that of the flow with it inferred",
        form="+.3f",
    ),
    before="Month by month, in the full run:",
    source="full",
)
run.verdict(
    record.Difference(
        "unknown.trained.gain",
        "the flow trained on noise that is not told",
        "the plug-in, which was trained at one level",
        form="+.3f",
    ),
    before="What that training is worth, full run:",
    source="full",
)
run.say("The plug-in's 90 % intervals hold {full/unknown.inferred.coverage_90:.1f} % of the cells in the full run.")

# %% [markdown]
# ## What it means, and what it does not show
#
# - In the paper's setting blindness costs nothing, and could not: the zeros say where the mask is.
# - Truly blind, at the paper's noise, it costs what the lists above say. Most of the Earth is far from zero in these
#   units: only the coldest cells, over Antarctica and the Arctic winter, can be mistaken for noise, and their
#   neighbours say what they should be. With more noise it costs more and more, and the plug-in mask makes the intervals
#   far too narrow: a posterior that is sure of a wrong mask is sure of a wrong field. In units in which zero is a usual
#   temperature it would be a harder problem at any noise.
# - The inference of the mask is a computation before the flow, not a network; training on {eq}`eq-blind-likelihood`
#   can teach the flow what to make of a mask that may be wrong. What that is worth over the plug-in, the verdicts above
#   say, for the mask and for the noise.
# - What an unknown noise level costs where missing cells are zero stands above. Thousands of cells tell it to a few per
#   cent. What the network learned at one level can serve the others, since the level enters through the closed form.
#
# Not shown: a network that reads the mask from $y$ by itself; mask and noise level unknown together; shares outside of
# 30 to 60 %. A flow trained at many noise levels is on the page {doc}`any_mask`.

# %% tags=["hide-input"]
run.finish()
