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
# # Do they sample the posterior? APS Table 1
#
# Diffusion models come with many ways to solve an inverse problem, and most are called posterior samplers. Their papers
# show that the signals they return look right and fit the measurement. This page asks for more: are the samples
# distributed as the posterior? That can be answered only where the posterior is known, so the two problems of this page
# have a prior whose score is a formula at every diffusion time. No network is involved, and whatever a method does
# wrong here it does wrong by itself.

# %% tags=["parameters"]
n_gaussian = 2  # measurements of the Gaussian problem
n_gaussian_samples = 24  # samples of each
n_mixture = 4  # measurements of the mixture problem
n_mixture_samples = 250  # samples of each
high_gaussian = 0.5  # the higher noise level
high_mixture = 0.3  # and that of the mixture problem
with_high_mixture = False  # whether the mixture is sampled at the higher noise too
n_fitted = 1  # measurements to which score priors are fitted
fit_steps = 300  # of score priors, and of APS on the mixture
fit_mixture = False  # whether flows are fitted to the mixture too, through either operator
fit_high = False  # whether they are fitted at the higher noise too
with_variants = False  # whether rows with what only the authors' programs do are drawn
n_denoise = 32  # signals for the comparison of posterior means
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.record.run import between, boolean, integer

run = record.start(
    "samplers",
    globals(),
    {
        "n_gaussian": integer(2, 512),
        "n_gaussian_samples": integer(8),
        "n_mixture": integer(2, 512),
        "n_mixture_samples": integer(8),
        "high_gaussian": between(0, 10, open=True),
        "high_mixture": between(0, 10, open=True),
        "with_high_mixture": boolean(),
        "n_fitted": integer(1),
        "fit_steps": integer(20),
        "fit_mixture": boolean(),
        "fit_high": boolean(),
        "with_variants": boolean(),
        "n_denoise": integer(2, 512),
        "seed": record.seed(),
    },
)

# %% tags=["hide-input"]
import jax
import numpy as np

import aps_core
from aps_book.experiments import known_posteriors
from aps_book.experiments import samplers as sampler_study
from aps_book.figures import charts, curves, densities, told
from aps_book.record import tuning_records

key_compare, key_sweep, key_denoise, key_saturating = jax.random.split(jax.random.key(seed), 4)
found = tuning_records.read(tuning_records.path("samplers"))
run.uses_weights(tuning_records.path("samplers"))
LOW = sampler_study.LOW
noises = {
    "gaussian16": {"low": LOW["gaussian16"], "high": high_gaussian},
    "mixture2": {"low": LOW["mixture2"], "high": high_mixture},
}
sizes = {"gaussian16": (n_gaussian, n_gaussian_samples), "mixture2": (n_mixture, n_mixture_samples)}
cases = {
    (problem, level): sampler_study.known_case(problem, sigma_y, sizes[problem][0], seed)
    for problem, levels in noises.items()
    for level, sigma_y in levels.items()
}
for problem, levels in noises.items():
    for level, sigma_y in levels.items():
        run.number(f"noise.{problem}.{level}", sigma_y)

# %% [markdown]
# ## Two posteriors that are known
#
# **Gaussian.** Denoising of 16 × 16 signals under the Gaussian prior of the page "A posterior we know". Along the
# principal directions of the prior, prior and posterior are independent normal variables: their variances are
# $\lambda_i$ and $s_i = \lambda_i \sigma_y^2/(\lambda_i + \sigma_y^2)$.
#
# **Mixture.** Three Gaussians in the plane, of which a measurement sees the first coordinate, $y = x_1 + \sigma_y n$.
# The posterior is a mixture again, in closed form, and most measurements leave more than one component possible.
#
# What is asked of the samples of a method, over several measurements of test signals
# ({py:class}`~aps_book.experiments.known_posteriors.KnownPosterior`):
#
# - *KL*, in nats per dimension, from the samples to the posterior. In the Gaussian problem it compares mean and
#   variance along the principal directions, so it is a lower bound: shape and correlations could only add to it. In the
#   mixture the entropy of the samples is estimated from the distances to their nearest neighbours
#   {cite:p}`kozachenko1987entropy`, and $\log p(x \mid y)$ is exact. Draws of the posterior itself have zero in
#   expectation and scatter about it; they stand in the first row of each table. Where the samples have no spread in
#   some direction the KL is infinite, and the table has a dash.
# - *Variance ratio*: the variance of the samples over that of the posterior. It should be 1.
# - *Mean error*: how far the mean of the samples is from the posterior mean, in posterior standard deviations. It
#   should be 0.
# - *Coverage*: the share of true coordinates inside the central 90 % interval of the samples. It should be 90 %, up to
#   the few measurements of a small run.

# %% tags=["hide-input"]
run.say(
    "The noise $\\sigma_y$ is {noise.gaussian16.low} and {noise.gaussian16.high} in the Gaussian problem, "
    "{noise.mixture2.low} and "
    "{noise.mixture2.high} in the mixture. This run has {parameters/n_gaussian} measurements with "
    "{parameters/n_gaussian_samples} samples each, and "
    "{parameters/n_mixture} with {parameters/n_mixture_samples}; the score priors are fitted to "
    "{parameters/n_fitted} of them" + (" in either problem." if fit_mixture else " in the Gaussian problem alone.")
)

# %% [markdown]
# ## Methods and settings
#
# | method | what it does | operators |
# | --- | --- | --- |
# | Gaussian closed form | exact under the Gaussian with mean and covariance of the prior | linear |
# | APS {cite:p}`mammadov2024aps` | a conditional flow, trained once for all measurements | any |
# | score prior {cite:p}`feng2023principled` | a flow for one measurement, with the exact log-prior or its bound | any |
# | Noise2Score {cite:p}`kim2021noise2score` | Tweedie's formula, once: the posterior mean | denoising |
# | DPS {cite:p}`chung2023dps` | ancestral sampling with a gradient step on the misfit | any |
# | MCG {cite:p}`chung2022mcg` | DPS and a projection onto the measurement; on denoising it is DPS | linear |
# | PiGDM {cite:p}`song2023pigdm` | guidance by a Gaussian guess at $p(x_0 \mid x_t)$ | singular values |
# | DDRM {cite:p}`kawar2022ddrm` | denoising in the singular coordinates of the operator | singular values |
# | SDE+Proj {cite:p}`song2022solving` | a projection onto the noised measurement before every step | singular values |
# | Score-ALD {cite:p}`jalal2021robust` | annealed Langevin steps with an approximate likelihood | any |
# | DAPS {cite:p}`zhang2024daps` | Langevin steps around the end of the probability-flow ODE, noised again | any |
# | RED-diff {cite:p}`mardani2023reddiff` | optimization of one signal | any |
#
# “Default setting” is that of each class: the setting of the method's paper or program, where it has one that carries
# over to other data (DPS, MCG, PiGDM, DDRM, RED-diff), and this project's own for SDE+Proj, Score-ALD and DAPS; the
# docstring of each class says which, and how the class differs from the authors' program. “Tuned” is the best of a
# search on validation signals at the *low* noise level, by the KL to the known posterior. In practice nobody can tune
# by that, so a tuned row is the best that was found of the method. The same value is used at the high noise, as
# {cite:t}`feng2023principled` do: a method that samples the posterior needs no new tuning when the noise changes.
#
# Where the authors' program does something else than the class does by default, and the class can do it too, the full
# run has a row for that: DPS with its estimate clipped to the range of the data, DPS without the pull after the last
# step, PiGDM by the rule of RED-diff's program and without noise, DAPS with the levels and the decaying step size of
# its program, RED-diff from the pseudo-inverse of the measurement. These rows stand at the tuned setting of the class,
# and were not tuned themselves: they say what the difference does there, not how far it can be brought.

# %% tags=["hide-input"]
for problem, title in (("gaussian16", "Gaussian"), ("mixture2", "Mixture")):
    run.say(
        f"**{title}**, score of the search (KL in nats per dimension, ∞ where it is infinite):\n\n"
        + tuning_records.summary(found[problem], sampler_study.LABELS)
        + "\n\n"
        + tuning_records.edges(found[problem], sampler_study.LABELS.get)
    )

# %% [markdown]
# Every setting that was tried stands in `weights/results/samplers.search.json`; `python -m
# aps_book.experiments.samplers` repeats the search.

# %% [markdown]
# ## The Gaussian posterior

# %% tags=["hide-input"]
samples = {}
aps = {"gaussian16": aps_core.load_posterior(cases["gaussian16", "low"].task, weights="gaussian16-realnvp-denoise")}
if fit_mixture:
    aps["mixture2"] = sampler_study.fitted_aps(cases["mixture2", "low"], fit_steps)
run.uses_weights(aps["gaussian16"].card)
for (problem, level), case in cases.items():
    if (problem, level) == ("mixture2", "high") and not with_high_mixture:
        continue
    rows = {"exact": sampler_study.Exact(case), "gaussian": aps_core.gaussian_posterior(case.task)}
    if problem == "gaussian16":
        rows["noise2score"] = aps_core.make_sampler("noise2score", case.task)
    if level == "low" and problem in aps:
        rows["aps"] = aps[problem]
    if (level == "low" or fit_high) and (problem == "gaussian16" or fit_mixture):
        rows |= sampler_study.score_priors(case, fit_steps)
    rows |= sampler_study.iterative(case, found[problem])
    if with_variants:
        rows |= sampler_study.variants(case, found[problem])
    samples[problem, level] = sampler_study.compare(
        run, f"{problem}.{level}", rows, key_compare, case, sizes[problem][1], n_fitted
    )

quality = {
    "kl": ("KL [nats/dim]", ".3f"),
    "ratio": ("variance ratio", ".3f"),
    "mean": ("mean error", ".2f"),
    "coverage": ("coverage [%]", ".0f"),
}
run.table(
    sampler_study.table_rows(run, "gaussian16.low"),
    quality,
    "gaussian16.low",
    caption=f"Gaussian problem, σ_y = {noises['gaussian16']['low']}",
    signals=sampler_study.signals(sampler_study.table_rows(run, "gaussian16.low"), "n_gaussian"),
)

# %% tags=["hide-input"]
run.table(
    sampler_study.table_rows(run, "gaussian16.high"),
    quality,
    "gaussian16.high",
    caption=f"Gaussian problem, σ_y = {noises['gaussian16']['high']}, settings tuned at the low noise",
    signals=sampler_study.signals(sampler_study.table_rows(run, "gaussian16.high"), "n_gaussian"),
)

# %% tags=["hide-input"]
run.chart(
    charts.distance_chart,
    "gaussian",
    lambda shown: sampler_study.chart(shown, {"low noise": "gaussian16.low", "high noise": "gaussian16.high"}),
    alt=lambda shown: (
        "Divergence of each method on a logarithmic axis, up to four marks each. At the low noise, tuned, from near to "
        f"far: {sampler_study.nearest_first(shown, 'gaussian16.low')}."
    ),
    caption="Gaussian problem: KL from the samples to the posterior by method. Open marks: default setting; filled: "
    "tuned at the low noise, or nothing to tune. An arrow at the right edge is infinite; marks on the dashed "
    "line are within what draws of the posterior itself would show.",
    label="fig-samplers-gaussian",
)

# %% [markdown]
# ### What the step size of DPS does
#
# DPS has no $\sigma_y$ in it: its step size takes the place of the noise level, and the spread of its samples is
# whatever the step size makes it.

# %% tags=["hide-input"]
steps = np.geomspace(3e-4, 1.0, 8)
for level in ("low", "high"):
    sampler_study.sweep(run, f"sweep.{level}", cases["gaussian16", level], steps, key_sweep, n_gaussian_samples)

# %% tags=["hide-input"]
run.chart(
    curves.step_size_plot,
    "dps",
    lambda shown: sampler_study.sweep_chart(shown, found["gaussian16"]["dps"]["best"]["step_size"]),
    alt="Variance of the samples of DPS over that of the posterior against the step size, both logarithmic.",
    caption="Gaussian problem: variance ratio of DPS against its step size. Dashed: the posterior. Dotted: the paper's "
    "setting and the tuned one.",
    label="fig-samplers-dps",
    told=told.curves,
)

# %% tags=["hide-input"]
run.say(
    "In the full run the ratio goes from {full/sweep.low.s0.ratio:.2g} at the smallest step size to "
    "{full/sweep.low.s6.ratio:.2g} at {full/sweep.low.s6.size:.2g} where the noise is low, and from "
    "{full/sweep.high.s0.ratio:.2g} to {full/sweep.high.s6.ratio:.2g} where it is high; at "
    "{full/sweep.low.s7.size:.0f}, the paper's, it is {full/sweep.low.s7.ratio:.2g} and "
    "{full/sweep.high.s7.ratio:.2g}: steps this large overshoot. One step size can make it 1 at one noise level, in "
    "the sum over all directions; it does not make each direction right, and at another noise level it is another one."
)

# %% [markdown]
# ## The mixture

# %% tags=["hide-input"]
wide = {**quality, "energy": ("energy distance", ".4f")}
run.table(
    sampler_study.table_rows(run, "mixture2.low"),
    wide,
    "mixture2.low",
    caption=f"Mixture problem, σ_y = {noises['mixture2']['low']}",
    signals=sampler_study.signals(sampler_study.table_rows(run, "mixture2.low"), "n_mixture"),
)

# %% tags=["hide-input"]
run.table(
    sampler_study.table_rows(run, "mixture2.high"),
    wide,
    "mixture2.high",
    caption=f"Mixture problem, σ_y = {noises['mixture2']['high']}, settings tuned at the low noise",
    signals=sampler_study.signals(sampler_study.table_rows(run, "mixture2.high"), "n_mixture"),
)

# %% tags=["hide-input"]
run.chart(
    charts.distance_chart,
    "mixture",
    lambda shown: sampler_study.chart(shown, {"low noise": "mixture2.low", "high noise": "mixture2.high"}),
    alt=lambda shown: (
        "Divergence of each method on the mixture on a logarithmic axis, up to four marks each. At the low noise, "
        f"tuned, from near to far: {sampler_study.nearest_first(shown, 'mixture2.low')}."
    ),
    caption="Mixture problem: KL from the samples to the posterior by method, marks as in the figure of the Gaussian "
    "problem.",
    label="fig-samplers-mixture",
)

# %% tags=["hide-input"]
case = cases["mixture2", "low"]
fit_steps_shown = run.shown_by("mixture-samples")["parameters"]["fit_steps"]
names = ["exact", "aps", "surrogate", *(f"{method}.tuned" for method in sampler_study.TUNED)]
run.chart(
    densities.density_panel,
    "mixture-samples",
    {
        "log_p": known_posteriors.grid_log_prob(case, 0),
        "low": 0.0,
        "high": 1.0,
        "samples": {
            sampler_study.SHORT.get(name, sampler_study.LABELS[name.split(".")[0]]): samples["mixture2", "low"][name][0]
            for name in names
            if name in samples["mixture2", "low"]
        },
    },
    alt=lambda shown: (
        "A panel for each method: the contours of one posterior with two modes, and the samples of the method as dots. "
        f"Over all measurements, tuned, from near to far: {sampler_study.nearest_first(shown, 'mixture2.low')}."
    ),
    caption="Mixture problem, low noise, one measurement: the posterior density, and samples (dots) "
    "over its contours, which hold 50, 90 and 99 % of the probability. Iterative methods at their tuned settings; the "
    f"flows of APS and of the score priors after {fit_steps_shown} steps of training.",
    label="fig-samplers-mixture-samples",
)

# %% [markdown]
# ## Denoising: Noise2Score is the posterior mean
#
# The paper's Table 2 has APS, as the mean of 128 samples, above Noise2Score on denoising. With one and the same
# prior, and signals that are its draws, that cannot be. Noise2Score is Tweedie's formula at the noise level of the
# measurement, and that is $\mathbb E[x_0
# \mid y]$: no estimate has a smaller expected squared error. The mean of $N$ samples can at best come within $10
# \log_{10}(1 + 1/N)$ dB of it.

# %% tags=["hide-input"]
sampler_study.denoising_means(run, aps["gaussian16"], key_denoise, n_denoise, 128)
run.table(
    {
        "formula": "posterior mean, formula",
        "noise2score": "Noise2Score",
        "exact": "mean of 128 exact samples",
        "aps": f"{sampler_study.LABELS['aps']}, mean of 128 samples",
    },
    {"psnr": ("PSNR [dB]", ".2f"), "above": ("minus the formula [dB]", "+.4f")},
    "denoise",
    caption="Gaussian problem, low noise: estimates of the posterior mean",
    signals="n_denoise",
)
run.number(
    "paper.lead",
    record.paper_value("aps.table2.celeba_denoise.aps_n128.psnr")
    - record.paper_value("aps.table2.celeba_denoise.noise2score.psnr"),
    unit="dB",
)
run.say(
    "In the full run Noise2Score and the formula differ by at most {full/denoise.noise2score.difference:.1e} in any "
    "pixel. The mean of 128 exact samples differs from the formula by {full/denoise.exact.above:+.3f} ± "
    "{full/denoise.exact.above.se:.3f} dB, where {full/denoise.expected:+.3f} dB is expected, that of APS by "
    "{full/denoise.aps.above:+.3f} ± {full/denoise.aps.above.se:.3f} dB. The paper reports "
    "{paper/aps.table2.celeba_denoise.aps_n128.psnr:.2f} dB for APS and "
    "{paper/aps.table2.celeba_denoise.noise2score.psnr:.2f} dB for Noise2Score. On draws of one prior a difference of "
    "{full/paper.lead:.2f} dB to the posterior mean could not be; it says something about the two networks and the "
    "photographs, not about the two methods."
)

# %% [markdown]
# ## An operator that is not linear
#
# The same mixture through a sensor that saturates, $y = \tanh(2 x_1) + \sigma_y n$: bright values can no longer be told
# apart. The posterior is computed on a fine grid. The methods that need a linear operator refuse it with an error that
# says so; the others run with the settings that were tuned for the linear problem.

# %% tags=["hide-input"]
sensor = aps_core.SaturatingSensor(aps_core.FixedMask(np.array([1.0, 0.0])), gain=2.0)
saturating = known_posteriors.mixture_case(LOW["mixture2"], n_mixture, seed, operator=sensor)
rows = {
    "exact": sampler_study.Exact(saturating),
    **(sampler_study.score_priors(saturating, fit_steps) if fit_mixture else {}),
    **sampler_study.iterative(saturating, found["mixture2"], sampler_study.ANY_OPERATOR, paper=False),
}
_ = sampler_study.compare(run, "saturating", rows, key_saturating, saturating, n_mixture_samples, n_fitted)
run.table(
    sampler_study.table_rows(run, "saturating"),
    wide,
    "saturating",
    caption=f"Mixture through a saturating sensor, σ_y = {LOW['mixture2']}",
    signals=sampler_study.signals(sampler_study.table_rows(run, "saturating"), "n_mixture"),
)

# %% [markdown]
# ## What it costs
#
# Seconds for all samples of one measurement on this machine, and network evaluations: of one sample for the iterative
# methods, of the training on one measurement for the surrogate score prior. The scores here are formulas; with a
# network the evaluations are what takes the time. A score prior trains anew for every measurement (its time has the
# compilation in it), APS once for all.

# %% tags=["hide-input"]
cost = {"nfe": ("NFE", ",.0f"), "seconds": ("seconds", ".2g")}
shown = {row: label for row, label in sampler_study.table_rows(run, "gaussian16.low").items() if row != "exact"}
run.table(shown, cost, "gaussian16.low", caption="Gaussian problem")

# %% tags=["hide-input"]
shown = {row: label for row, label in sampler_study.table_rows(run, "mixture2.low").items() if row != "exact"}
run.table(shown, cost, "mixture2.low", caption="Mixture problem")

# %% [markdown]
# ## Which of them samples the posterior?

# %% tags=["hide-input"]
full = record.full_run("samplers")
shown = run.as_dict() if full is None else full
run.say(
    f"KL in nats per dimension in {'this build' if full is None else 'the full run'} (default / tuned at the "
    f"low noise), "
    "with the standard error over measurements. **Bold**: not resolved from draws of the posterior itself. The "
    f"score priors have {run.stated('n_fitted')} of the measurements, the others all.\n\n"
    + sampler_study.verdicts(shown["numbers"])
)

# %% [markdown]
# What the table says of each method is what its theory says:
#
# - *Score priors and APS* minimize this very divergence, the score priors anew for every measurement. The score priors
#   of the mixture are fitted to its widest posteriors; APS is trained over all measurements. Where the variance falls
#   short, a mode is left out or a bridge between two of them stays: the reverse KL forgives the first, and a flow bends
#   only gradually.
# - *Score-ALD* has a likelihood that is wrong at every noise level but tends to the true one as the level falls, and it
#   takes enough Langevin steps to forget the rest. Feng et al. show the same in two dimensions (their Supplementary
#   Figure 5).
# - *DAPS* spreads too widely where its Gaussian around the end of the ODE is wider than the prior. *PiGDM* depends on
#   where its guidance enters and on the prior variance that it assumes.
# - *DPS, DDRM and SDE+Proj*: $\sigma_y$ enters neither DPS nor SDE+Proj, so that a value is right for one noise level
#   at most; the number of steps is part of DDRM.
# - *MCG* reproduces the noisy data, *RED-diff* seeks a point, and *Noise2Score* is the posterior mean: none of the
#   three samples a posterior. Where one has no spread in some direction its KL is infinite, and the table has a dash.

# %% [markdown]
# What this does not show. The scores are exact; with a learned score every method inherits its error, and that of a
# flow comes on top. The problems are small, and neither has the structure of images. The tuned rows use the known
# posterior to tune by, which is nowhere else possible. A sampler with too little spread is not useless: it is close to
# the posterior mean. It is its spread that means nothing.

# %% tags=["hide-input"]
run.finish()
