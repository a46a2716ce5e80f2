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
# # Temperature on the sphere: APS Tables 2 and 5
#
# Most cells of a global temperature map are missing and the others are noisy; what fields are consistent with what is
# left? This is the sphere experiment of the APS paper {cite:p}`mammadov2024aps` (its Section 5, the ERA5 columns of its
# Table 2, and Table 5): a map of 46 × 90 cells, 60 % of them missing at random, Gaussian noise of standard deviation
# 0.05 on the others, in the scale in which the coldest and warmest temperatures of the data set of
# {cite:t}`dupont2022functions` are 0 and 1 (so 0.05 is 5.9 K).

# %% tags=["parameters"]
mask_fraction = 0.6  # share of cells that are missing
sigma_y = 0.05  # noise standard deviation, temperatures in [0, 1]
n_samples = 128  # posterior samples of each measurement
n_test = 24  # test months, of 242; and as many validation months, of 96
n_iterative = 2  # test months for DPS and MCG
n_iterative_samples = 4  # samples of each of these
seed = 0
weights = None  # name or path of the weights of the flow under study; None for those of its protocol
protocol = "held-out"  # or "paper"
file = ""  # a NetCDF file or zarr store with a temperature field of your own, whose posterior is then shown
file_time = ""  # its time, such as "2020-07", where the file has more than one

# %% tags=["hide-input"]
import math
import pathlib

import jax

import aps_core
from aps_book import record
from aps_book.experiments import coverage, diagnosed, measured, sphere_impute, sphere_rivals
from aps_book.figures import charts, maps
from aps_book.record import tuning_records
from aps_core import data
from aps_core.priors.store import load_prior

run = record.start(
    "sphere_impute",
    globals(),
    {
        "mask_fraction": record.between(0, 1, open=True),
        "sigma_y": record.between(0, 1, open=True),
        "n_samples": record.integer(3, 4096),
        "n_test": record.integer(2, 242),
        "n_iterative": record.integer(2, 242),
        "n_iterative_samples": record.integer(2, 4096),
        "seed": record.seed(),
        "weights": record.optional(record.text()),
        "protocol": record.one_of("held-out", "paper"),
        "file": record.text(empty=True),
        "file_time": record.text(empty=True),
    },
)

# %% [markdown]
# ## Data: what stands in for ERA5
#
# The fields are monthly means of the NCEP/NCAR reanalysis {cite:p}`kalnay1996ncep`, on the paper's grid of 4 degrees.
# They come with the package, so that everything on this page can be made again. The paper uses single fields of ERA5.
# That changes two things. A mean over a month has no weather in it: it is smoother, so that the closed form, DPS
# and the flows around the closed form score several dB more here than in the paper's column, and the numbers of the
# two must not be compared one to one. And it is closer
# to a Gaussian: the closed-form Gaussian posterior, which has no network and no training, is a strong rival. It stands
# beside the flows wherever quality is compared, and what a learned prior adds is the distance to it.
#
# Months after 2005 are the test set. Neither prior nor flow of the protocol "held-out" has seen anything of them; for
# the protocol "paper" the flow is trained on measurements of these months, never on the fields. Of the years before,
# every eighth is for validation.

# %% tags=["hide-input"]
task = aps_core.load_task("sphere-impute", sigma_y=sigma_y, mask_fraction=mask_fraction)
train, val, test = (data.load("ncep-temperature", split) for split in ("train", "val", "test"))
test_months = measured.measure(task, test, n_test, seed)
val_months = measured.measure(task, val, min(n_test, len(val.values)), seed)
run.uses_data(train, val, test)

run.number("train.months", len(train.values))
run.number("test.months", len(test_months.x0))
run.number("val.months", len(val_months.x0))
run.number("warming", sphere_impute.warming(train, test), unit="K")
run.say(
    "This run measures {test.months:.0f} test months and {val.months:.0f} validation months, spread evenly over "
    "their years, each "
    "with its own mask and noise. The prior is made from {train.months:.0f} months. The global mean of the test "
    "years differs from that of the training years by {warming:+.2f} K: the test set lies a little outside."
)

# %% [markdown]
# ## Method
#
# **Prior.** A Gaussian $p_G = \mathcal N(m, \Sigma)$ with the leading empirical orthogonal functions (EOFs) of the
# training months and an isotropic rest. Mean and EOFs are those of all training months; the variance of each mode is
# that of the last training years about a fit to the years before, because within the sample the variances of the minor
# modes come out too small, and the climate drifts. On top of it a score network learns what is not Gaussian, as a
# residual to the Gaussian score in the first few dozen EOFs. A few hundred fields are too few to train such a network
# on, it would learn them by heart; it is trained on recombined anomalies: random weighted sums of the anomalies of
# several years, taken from neighbouring months, put back on the climatology. Such sums have the mean and the covariance
# that belong to the season.
#
# **Posterior.** Bayes' rule with the Gaussian taken out reads
#
# $$
# \begin{aligned}
# p(x \mid y) &\propto \mathcal N(x;\, \mu_G, \Sigma_G)\, \frac{p_\theta(x)}{p_G(x)}, \\
# \Sigma_G &= \big(\Sigma^{-1} + \sigma_y^{-2} A^\top A\big)^{-1}, \\
# \mu_G &= m + \sigma_y^{-2}\, \Sigma_G A^\top (y - A m),
# \end{aligned}
# $$ (eq-sphere-posterior)
#
# where $A$ picks the observed cells. The measurement enters through $\mu_G$ and $\Sigma_G$ alone: they are sufficient
# for $y$ under any prior, so a flow that sees them loses nothing.
#
# **Flow.** It starts from exactly this Gaussian posterior, written as $x = \mu_G + F z$ with $F F^\top = \Sigma_G$ and
# standard normal $z$, and moves the directions $e = O^\top z$ that drive these EOFs:
#
# $$
# \begin{aligned}
# x &= \mu_G + F \big( z + O\, (T_\phi(e) - e) \big), \\
# \log q_\phi &= \log \mathcal N(z; 0, I) - \log |F| \\
# &\quad - \log \left|\partial T_\phi / \partial e\right| .
# \end{aligned}
# $$ (eq-sphere-flow)
#
# $T_\phi$ is an affine map and a few steps of affine couplings, all conditioned on $\mu_G$ and $\Sigma_G$ in these
# EOFs; untrained it is the identity.
#
# **Objective.** That of APS, the divergence from the posterior; all Gaussian parts cancel sample by sample:
#
# $$
# \begin{aligned}
# & \mathrm{KL}(q_\phi \,\|\, p) + \mathrm{const} = \mathbb E_{q_\phi}\Big[ \log q_\phi(x \mid y) \\
# & \quad - \log \mathcal N(x; \mu_G, \Sigma_G) - \log \frac{p_\theta(x)}{p_G(x)} \Big],
# \end{aligned}
# $$ (eq-sphere-objective)
#
# with $\log p_\theta / p_G$ estimated by the difference of the two evidence lower bounds at the same noise.

# %% tags=["hide-input"]
prior, prior_card = load_prior("sphere-prior")
found, studied = sphere_impute.posteriors(task, protocol, weights)
flow = found[studied]
trained = {row: sampler.card for row, sampler in found.items() if "sha256" in sampler.card}
run.uses_weights(prior_card, *trained.values())
for row, card in trained.items():
    run.number(f"steps.{row}", card["steps"])
gain = prior_card["validation"]
run.number("prior.val_gain", gain["val_gain"], gain["val_gain_se"], "nats")
run.number("prior.train_seconds", prior_card["seconds"], unit="s")
run.number("flow.train_seconds", flow.card["seconds"], unit="s")
run.number("prior.eofs", len(prior.gaussian.excess))
run.number("prior.learned_eofs", prior.network.k)
run.number("prior.last_years", prior_card["recipe"]["prior"]["last_years"])
run.number("flow.steps", flow.flow.steps)
run.say(
    "The Gaussian has {prior.eofs:.0f} EOFs, their variances from the last {prior.last_years:.0f} training years; "
    "network and flow act on the "
    "first {prior.learned_eofs:.0f}, the flow in {flow.steps:.0f} steps. On the validation months the learned "
    "prior's bound minus the Gaussian's log-density is {prior.val_gain:.1f} ± {prior.val_gain.se:.1f} nats per field "
    "(from the card of its weights). The prior was trained in {prior.train_seconds:.0f} s, "
    "the flow under study "
    "in {flow.train_seconds:.0f} s."
)

# %% [markdown]
# ## Against the paper's Table 2
#
# Each row is one sampler on the same measurements. $N = 1$ is a single posterior sample and $N = 128$ the mean of 128.
# An exact posterior sample has twice the squared error of the posterior mean, 3 dB less, so a single sample that scores
# close to the mean would be over-concentrated. The structured flow before training equals the closed form
# by construction. The vectorized RealNVP is the paper's architecture: 24 flow steps of two affine couplings on the 4140
# cells as one vector, $y$ concatenated, from a standard normal; it is narrower than the paper's, so that it can be
# trained on two cores. The paper's values of APS stand in the rows of its own protocol. DPS and MCG draw from the same
# prior as the flows, with the step size that was best on validation months, on fewer months than the others (see
# below). The table's third quantity, time, has its own section.

# %% tags=["hide-input"]
key_score, key_objective, key_time = jax.random.split(jax.random.key(seed + 1), 3)
key_own = jax.random.fold_in(key_time, 0)
eofs = prior.gaussian.basis
scores = sphere_impute.score(found, key_score, test_months, n_samples, eofs)
sphere_impute.store_scores(run, "test", scores)
search = tuning_records.read(tuning_records.path("sphere_impute"))
run.uses_weights(tuning_records.path("sphere_impute"))
rivals = sphere_rivals.samplers(task, search)
few, positions = sphere_rivals.subset(test_months, min(n_iterative, n_test))
rival_scores = sphere_impute.score(rivals, key_score, few, n_iterative_samples)
sphere_rivals.store(run, "test", rival_scores, {row: scores[row] for row in ("gaussian", studied)}, positions)

order = list(sphere_impute.LABELS)
quality = {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM, 7 × 7", ".3f")}
labels = sphere_impute.rows(run, "test", order)
run.table(
    labels,
    quality,
    "test",
    "aps.table2.era5_impute",
    "Test months. Protocol “held-out”: flow trained on measurements of the training months; protocol “paper”: "
    "on those of "
    "the test months.",
    signals=sphere_impute.signals(labels),
)
run.say(diagnosed.said(run, studied, flow, test_months.measurements))
other_measures = {"psnr_area": ("PSNR by area [dB]", ".2f"), "ssim11": ("SSIM, 11 × 11", ".3f")}
run.table(
    sphere_impute.rows(run, "test", order, columns=other_measures),
    other_measures,
    "test",
    caption="The same months with two other measures: PSNR in which a cell counts by its area on the sphere "
    "(the grid has "
    "as many cells around a pole as around the equator), and SSIM with the Gaussian window.",
    signals=sphere_impute.signals(labels),
)
run.say(
    f"From one sample to the mean of {run.stated('n_samples')} there are {{full/test.{studied}.gap:.2f}} ± "
    f"{{full/test.{studied}.gap.se:.2f}} dB with the flow under study and {{full/test.gaussian.gap:.2f}} ± "
    "{full/test.gaussian.gap.se:.2f} dB with the closed form, in the full run."
)

# %% [markdown]
# ## DPS and MCG, run here
#
# Both take a thousand steps for one sample, each with a gradient through the score, so they run on a few months. Their
# one setting is the step size. It was searched on validation months by the PSNR of the mean of a few samples, which is
# what favours them in the table above.

# %% tags=["hide-input"]
for method, result in search.items():
    run.number(f"search.{method}.step_size", result["best"]["step_size"])
    run.number(f"search.{method}.tried", len(result["search"]))
run.table(
    {row: sphere_impute.LABELS[row].removesuffix(", N = 1") for row in ("mcg", "dps", "gaussian", studied)},
    {
        "psnr_n1": ("PSNR, N = 1 [dB]", ".2f"),
        "psnr_mean": ("PSNR, mean [dB]", ".2f"),
        "coverage_90": ("90 % coverage [%]", ".0f"),
    },
    "iterative",
    caption=f"The same few months for all: mean of {run.stated('n_iterative_samples')} samples for DPS and MCG, of "
    f"{run.stated('n_samples')} for the others.",
    signals="n_iterative",
)
beside_dps = (
    record.Difference(
        f"iterative.{studied}.above_dps", "one sample of the flow under study", "one of DPS", None, n="n_iterative"
    ),
    record.Difference("iterative.mcg.above_dps", "one sample of MCG", "one of DPS", None, n="n_iterative"),
)
run.verdict(*beside_dps, before="With the same prior, month by month, in the full run:", source="full")
run.verdict(*beside_dps, before="In this build:")
run.say(
    "Chosen among {search.dps.tried:.0f} step sizes: {search.dps.step_size} for DPS, {search.mcg.step_size} "
    "for MCG (their "
    "papers: 1). "
    + tuning_records.edges(search, sphere_impute.method_of)
    + " MCG puts the noisy measurement in the place of the observed cells at its last step, so that at least "
    "their noise stays in the sample. The share of truths inside the 90 % intervals is that of DPS's few "
    "samples; the page "
    "{{doc}}`samplers` asks the same where the posterior is known."
)

# %% [markdown]
# ## Unseen months: the paper's Table 5
#
# The paper's flow is trained on the measurements of its test set, and Table 5 asks what it does on another set. Here
# the other set are the validation years, which no flow was trained on. They lie between the training years, so the
# climate is the one of the prior and all methods score better than on the test months.

# %% tags=["hide-input"]
val_scores = sphere_impute.score(
    {row: found[row] for row in found if row != "realnvp_untrained"}, key_score, val_months, n_samples, eofs
)
sphere_impute.store_scores(run, "val", val_scores)
run.table(
    sphere_impute.rows(run, "val", order[2:]),
    quality,
    "val",
    "aps.table5.era5_val_impute",
    "Validation months, on whose measurements no flow was trained (names of the protocols as above).",
    signals="val.months",
)
run.say(
    "Between test and validation months of the full run the flow under study ($N = 1$) goes from "
    f"{{full/test.{studied}_n1.psnr:.2f}} to {{full/val.{studied}_n1.psnr:.2f}} dB and the closed form from "
    "{full/test.gaussian_n1.psnr:.2f} to {full/val.gaussian_n1.psnr:.2f} dB; the paper's flow from "
    "{paper/aps.table2.era5_impute.aps_n1.psnr:.2f} to {paper/aps.table5.era5_val_impute.aps_n1.psnr:.2f} dB."
)

# %% [markdown]
# ## What training adds
#
# The same test months, the same masks and noise, the same draws of $z$: differences to the closed form, month by month.
# Energy score (a proper score of the whole distribution, in units of the norm over all cells) and the objective
# {eq}`eq-sphere-objective` are the smaller the better, PSNR the larger. Standard errors take months as independent.

# %% tags=["hide-input"]
objectives = sphere_impute.objectives(found, key_objective, test_months)
sphere_impute.store_differences(run, scores, objectives)
run.table(
    sphere_impute.rows(run, "paired", order[3:], both=False),
    {"psnr_n128": ("PSNR of the mean [dB]", "+z.3f"), "psnr_n1": ("PSNR of one sample [dB]", "+z.3f")},
    "paired",
    caption="PSNR minus that of the Gaussian closed form, paired over the test months (mean ± standard error).",
    signals="n_test",
)
run.table(
    sphere_impute.rows(run, "paired", order[3:], both=False),
    {"energy": ("energy score", "+z.4f"), "objective": ("APS objective [nats]", "+z,.1f")},
    "paired",
    caption="Energy score and objective minus those of the closed form, paired alike.",
    signals="n_test",
)
beside_closed_form = (
    record.Difference(
        f"paired.{studied}.psnr_n128", "the mean of the trained flow", "that of the closed form", n="n_test"
    ),
    record.Difference(
        f"paired.{studied}.energy", "the trained flow", "the closed form", "lower", "+.4f", "n_test", "energy score"
    ),
    record.Difference(
        f"paired.{studied}.objective", "the trained flow", "the closed form", "lower", "+.1f", "n_test", "the objective"
    ),
)
run.verdict(*beside_closed_form, before="Month by month, in the full run:", source="full")
run.verdict(*beside_closed_form, before="In this build:")
if {"held_out", "aps"} <= found.keys():
    for key, months in (("test", scores), ("val", val_scores)):
        apart = months["aps"]["psnr_mean"] - months["held_out"]["psnr_mean"]
        run.mean(f"protocols.{key}", apart, "dB")
    run.say(
        "The flow of the protocol “held-out” was trained for {steps.held_out:.0f} steps, that of the protocol “paper” "
        "for {steps.aps:.0f}."
    )
    run.verdict(
        *(
            record.Difference(f"protocols.{key}", f"on {title} months, the mean of “paper”", "that of “held-out”")
            for key, title in (("test", "test"), ("val", "validation"))
        ),
        before="Month by month, in this build:",
    )

# %% [markdown]
# ## One month on the globe

# %% tags=["hide-input"]
middle = n_test // 2
samples = flow.sample(key_score, test_months.one(middle), n_samples)
year, month = (int(test.index[name][test_months.chosen[middle]]) for name in ("year", "month"))

# %% tags=["hide-input"]
run.figure(
    maps.imputation_globe(test_months.x0[middle], test_months.one(middle), samples, when=f"{month:02d}/{year}"),
    "globe",
    alt="Eight maps of the globe. Truth, noisy measurement with most cells missing, three posterior samples and "
    "their mean, in one colour range from cold poles to warm tropics; the samples and the mean look like the "
    "truth. Below, the standard deviation of the samples, largest over the polar regions and northern "
    "continents, and the error of the mean.",
    caption="One test month: truth, measurement, three samples of the trained flow and the mean of all samples in one "
    "colour range; their standard deviation and the error of the mean, each with its own bar.",
    label="fig-sphere-globe",
)

# %% [markdown]
# ## Is the spread right?
#
# Of all cells of all test months, 50 % should lie in the central 50 % interval of their samples, and 90 % in the 90 %
# interval. A cell sums many modes, so the same is asked of the coordinates along the EOFs, in five bands, leading band
# first.

# %% tags=["hide-input"]
shown = {name: scores[name] for name in ("gaussian", studied)}
sphere_impute.store_coverage(run, shown)
groups = sphere_impute.coverage_groups(eofs.shape[1])

# %% tags=["hide-input"]
rows = {sphere_impute.LABELS[name]: ("coverage", name) for name in shown}
run.chart(
    charts.coverage_plot,
    "coverage",
    lambda drawn: coverage.chart_arguments(drawn, rows, groups),
    alt="Share of truths inside the 50 and 90 percent intervals, for all cells and for five bands of EOFs, for the "
    "closed form and the trained flow, beside dashed lines at 50 and 90 percent.",
    caption="Coverage of the central 50 and 90 % intervals on test months, overall and by band of EOFs. Grey bands: "
    "three percentage points about the nominal level; bars: two standard errors.",
    label="fig-sphere-coverage",
)

# %% tags=["hide-input"]
columns = {
    f"{name}_{level}": (f"{sphere_impute.LABELS[name]}, {level} %", ".1f") for name in shown for level in (50, 90)
}
run.table(
    groups,
    columns,
    "coverage",
    caption="Coverage in per cent on test months (mean ± standard error over months).",
    signals="n_test",
)
run.say(
    "In the full run the squared error of one sample over that of the posterior mean is "
    f"{{full/test.{studied}.ratio:.3f}} ± {{full/test.{studied}.ratio.se:.3f}} for the flow and "
    "{full/test.gaussian.ratio:.3f} ± {full/test.gaussian.ratio.se:.3f} for the closed form; an exact posterior has 2, "
    "too little spread gives less."
)

# %% tags=["hide-input"]
sphere_impute.store_shift(run, sphere_impute.standardized_errors(found["gaussian"], test_months))
for zone, inside in zip(
    ("tropics", "elsewhere"), sphere_impute.coverage_by_latitude(flow, key_score, test_months, n_samples), strict=True
):
    run.mean(f"zone.{zone}.coverage_90", inside, "%")
run.say(
    "Within 20 degrees of the equator the flow's 90 % intervals hold {full/zone.tropics.coverage_90:.1f} ± "
    "{full/zone.tropics.coverage_90.se:.1f} % of the cells, elsewhere {full/zone.elsewhere.coverage_90:.1f} ± "
    "{full/zone.elsewhere.coverage_90.se:.1f} %. Along the EOFs the squared error of the closed-form mean is "
    "{full/shift.all:.2f} ± {full/shift.all.se:.2f} posterior variances, where 1 is expected; "
    "{full/shift.common:.2f} of it is a shift that all test months share."
)

# %% [markdown]
# The shares of flow and closed form are close to nominal. Over all cells the intervals are a little too wide, mostly in
# the tropics: the isotropic rest of the prior gives every cell the same variance at the smallest scales, and the
# tropics vary less. Along the EOFs they hold a few truths too few, and the shift that all test months share accounts
# for that: the climate of the test years is not that of the training years, and a posterior that is centred on the
# latter is off in the directions that the observations determine weakly. The prior's variances, taken from the last
# training years about the years before, allow for such a drift, not for all of it. Training narrows the leading band a
# little; the learned prior may know the season's spread, and be surer of it than the changed climate warrants.

# %% [markdown]
# ## Time
#
# All samples of one measurement share the one costly step, the closed-form posterior of its mask (an eigenproblem of
# the size of the number of EOFs).

# %% tags=["hide-input"]
sphere_impute.store_seconds(run, "test", found, key_time, test_months.one(0), n_samples)
fast = run.as_dict()["numbers"][f"test.{studied}_n1.seconds"]["value"]
sphere_rivals.store_seconds(run, "test", rivals, key_time, test_months.one(0), fast)
run.number(
    "speedup.paper",
    record.paper_value("aps.table2.era5_impute.dps.seconds")
    / record.paper_value("aps.table2.era5_impute.aps_n1.seconds"),
)
run.table(
    sphere_impute.rows(run, "test", order),
    {"seconds": ("time for one measurement [s]", ".4g")},
    "test",
    "aps.table2.era5_impute",
    "Time on this machine, and the paper's on one RTX 3090.",
)
calls = run.number(
    "time.separate", sphere_impute.separate_calls(flow, key_time, test_months.one(0), n_samples), unit="s"
)
run.number("time.ratio", calls / run.as_dict()["numbers"][f"test.{studied}_n128.seconds"]["value"])
run.say(
    f"In the full run {run.stated('n_samples')} samples of one measurement take "
    f"{{full/test.{studied}_n128.seconds:.3f}} s in one call and {{full/time.separate:.1f}} s in separate calls, "
    "{full/time.ratio:.0f} times as long; a single "
    f"sample takes {{full/test.{studied}_n1.seconds:.3f}} s. The paper reports "
    "{paper/aps.table2.era5_impute.aps_n128.seconds} s and {paper/aps.table2.era5_impute.aps_n1.seconds} s on its "
    "graphics processor."
)

# %% tags=["hide-input"]
run.say(
    "One sample of DPS takes {full/test.dps.seconds:.2g} s there, {full/speedup.dps:,.0f} times as long as one of the "
    f"flow under study ({{full/test.{studied}_n1.seconds:.3f}} s), at the setting and with the quality of the table of "
    "DPS and MCG. The paper has a factor of {full/speedup.paper:,.0f}. Two reasons are at hand. The score network of "
    "this page acts on the leading EOFs alone, so that a step of DPS is cheap, where the paper's is a large network on "
    "the whole field; and a sample of the closed form alone takes {full/test.gaussian_n1.seconds:.3f} of the flow's "
    f"{{full/test.{studied}_n1.seconds:.3f}} s, for the posterior of the mask, which the paper's flow does not have."
)

# %% [markdown]
# ## No padding
#
# The paper pads the 4140 cells with 20 zero vertices to 4160, for its architecture. Neither flow here needs that: the
# structured flow works on EOFs, and the couplings of the vectorized one on any number of entries. It also matters for
# the density. A constant entry has none: modelled with standard deviation $s$, each adds $-\log(s\sqrt{2 \pi e})$ to
# the mean log-density, which has no limit as $s \to 0$. A density over padded entries says how far that limit was
# followed, not how likely the field is.

# %% tags=["hide-input"]
log_q, disagreement = sphere_impute.density_agreement(flow, key_time, test_months.one(0))
run.number("padding.entries", flow.flow.dim)
run.number("padding.disagreement", disagreement, unit="nats")
run.number("padding.none.log_q", log_q, unit="nats")
for power in (2, 4, 6):
    run.number(f"padding.e{power}.log_q", sphere_impute.padded_log_density(log_q, 20, 10.0**-power), unit="nats")
run.number("padding.shift", 20 * math.log(100), unit="nats")
run.table(
    {"none": "4140 cells, as here", **{f"e{p}": f"with 20 constant entries, s = {10.0**-p:.{p}f}" for p in (2, 4, 6)}},
    {"log_q": ("mean log q [nats]", ".1f")},
    "padding",
    caption="What constant entries do to the density of the samples of one measurement.",
)
run.say(
    "Each factor of 100 in $s$ is worth {padding.shift:.0f} nats. "
    "The density of the {padding.entries:.0f} cells is exact: `sample_and_log_prob`, and `log_prob`, which inverts "
    "the flow, agree on the "
    "same samples to {padding.disagreement:.0e} nats per entry."
)

# %% [markdown]
# ## Real ERA5 fields
#
# Where `APS_DATA_DIR` holds the five ERA5 fields of the data set of the paper (`aps_core.data` says in which format),
# they are measured too. They are fields of single hours: to a prior of monthly means they come from outside. They are
# not part of the package, so the table holds the numbers of the full run where a build has none of its own.

# %% tags=["hide-input"]
frames = sphere_impute.era5_frames()
if frames is not None:
    run.uses_data(frames)
    frame_scores = sphere_impute.score(
        {name: found[name] for name in found if name != "realnvp_untrained"},
        key_score,
        measured.measure(task, frames, len(frames.values), seed),
        n_samples,
        eofs,
    )
    sphere_impute.store_scores(run, "era5", frame_scores)
    sphere_impute.store_inside(run, "era5", frame_scores)
source = "" if frames is not None else "full/"
if labels := sphere_impute.rows(run, "era5", order[2:]):
    caption = "ERA5 fields under the prior of monthly means."
    fields = sphere_impute.ERA5_FIELDS
    run.table(labels, quality, "era5", "aps.table2.era5_impute", caption, signals=fields)
    run.table(
        sphere_impute.rows(run, "era5_coverage", order[2:], both=False),
        {"50": ("50 % interval", ".1f"), "90": ("90 % interval", ".1f")},
        "era5_coverage",
        caption="Coverage in per cent of the cells of the ERA5 fields.",
        signals=fields,
    )
    run.say(
        f"On these fields the flow under study has {{{source}era5.{studied}_n128.psnr:.2f}} ± "
        f"{{{source}era5.{studied}_n128.psnr.se:.2f}} dB for the mean and "
        f"{{{source}era5.{studied}_n1.psnr:.2f}} ± {{{source}era5.{studied}_n1.psnr.se:.2f}} dB for one sample, "
        f"where the paper has "
        "{paper/aps.table2.era5_impute.aps_n128.psnr:.2f} and {paper/aps.table2.era5_impute.aps_n1.psnr:.2f} dB "
        "over its test set. Its 90 % intervals hold "
        f"{{{source}era5_coverage.{studied}.90:.0f}} % of the cells, those of the closed form "
        f"{{{source}era5_coverage.gaussian.90:.0f}} %: both stand on a prior of monthly means, which does not know the "
        "weather."
    )

# %% [markdown]
# ## A field of your own
#
# With the parameter `file`, this notebook reads a temperature field from a NetCDF file or a zarr store that keeps to
# the CF conventions, such as one of ERA5 from the Copernicus store, takes the mean over each cell of the grid
# ({py:func}`~aps_core.data.fields.open_field`), and shows its posterior. Where the field has gaps, they are imputed
# and `sigma_y` says how far the other values are trusted; from a complete field cells are left out as above.
# {py:func}`~aps_core.data.sample_files.write_samples` writes samples as NetCDF again.

# %% tags=["hide-input"]
if file:
    own, own_measurement, own_samples = sphere_impute.own_field(task, flow, key_own, file, file_time, n_samples)
    if pathlib.Path(file).is_file():
        run.uses_data(file)
    sphere_impute.store_own(run, own_measurement, own_samples)
    run.figure(
        maps.imputation_globe(own.exact, own_measurement, own_samples, when=own.time[:10]),
        "own",
        alt="Maps of the globe for the field of the parameter file: the measurement with missing cells in grey, three "
        "posterior samples and their mean in one colour range, and the standard deviation of the samples.",
        caption="The field of `file`: measurement, three samples of the trained flow and the mean of all samples in "
        "one colour range, and the standard deviation of the samples.",
        label="fig-sphere-own",
    )

# %% tags=["hide-input"]
if file:
    run.say(
        "Of the cells {own.observed:.0f} % are observed. The posterior mean lies {own.misfit:.2f} K (root mean square) "
        "from the observed values; the samples' standard deviation is {own.spread_observed:.2f} K where cells are "
        "observed"
        + (", and {own.spread_missing:.2f} K where they are missing." if (own_measurement.mask == 0).any() else ".")
    )

# %% [markdown]
# ## What it means, and what it does not show
#
# - What the learned prior adds stands above, paired by month. It is a fraction of a decibel. A network trained on
#   recombined anomalies can know the season, which one Gaussian for the whole year does not.
# - Numbers over the paper's do not mean a better method. The data are easier, and the flow starts from a closed form
#   that the paper does not compare with. What the paper's flow gains over that closed form on ERA5 is not known.
# - What training on the measurements of the test set does, beside training on others, stands above; the two flows
#   differ in their number of steps as well.
# - The vectorized flow must learn what the closed form knows, here with a narrow network and a short training. Its row
#   is no bound on what that architecture can do.
# - A part of the time of a single sample is the eigenproblem of its mask, which the paper's flow does not have.
#
# Masks that leave out whole regions (here cells are missing at random, so that a missing cell mostly has an observed
# neighbour) and other noise levels are on the page {doc}`any_mask`, unknown masks and levels on {doc}`blind_impute`.
# Not shown: a prior trained on fields of single hours. Months that follow one another are not independent, so the
# standard errors are somewhat too small. Coverage, and PSNR where it is not said to be by area, count all cells alike,
# although those near the poles are smaller. And the learned prior is Gaussian outside its EOFs.

# %% tags=["hide-input"]
run.finish()
