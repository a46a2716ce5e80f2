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
# # Score prior and discrete-flow prior: Feng et al., Figure 4
#
# A normalizing flow that was trained on images gives $\log p(x)$ exactly, in one evaluation, where a score prior needs
# a bound or an ODE. {cite:t}`feng2023principled` (supplement, Section C and Figure 4) put such a discrete-flow prior, a
# RealNVP of 64 affine couplings, in the place of their score prior, fit posteriors of denoising and of deblurring with
# both, and report two failures: samples that convince less, and an unstable optimization. They suggest two reasons. A
# RealNVP is less expressive than a diffusion model; and its density does not generalize to images unlike those it was
# trained on, which is where an optimization that starts from noise begins. Both reasons can be measured. That is done
# here, on grey faces of 32 × 32 pixels.

# %% tags=["parameters"]
n_held_out = 8  # faces for the likelihoods
n_kind = 2  # images of each kind
n_draws = 32  # of each prior, for the rule
n_ode = 0  # faces whose density is taken from the ODE as well
n_faces = 1  # measured and fitted
fitted = ["score", "flow"]  # or "whitened" too
posterior_steps = 20  # of each fit to a measurement
noise_stds = [1.0, 0.3]  # where fits from noise start
noise_steps = 20  # of each of those fits
learning_rate = 1e-3  # of all fits
rates = None  # a list of constant learning rates to try from the last of the starts
rate_steps = 50  # at each of these rates
width = 64  # of the couplings of the fitted flow
n_samples = 128  # posterior samples of each fit
n_times = 32  # diffusion times of each bound
seed = 0

# %% tags=["hide-input"]
import jax

from aps_book import record
from aps_book.experiments import discrete_flow as study
from aps_book.experiments import discrete_flow_fits as fits
from aps_book.experiments import pictured
from aps_book.figures import charts, curves, images, told
from aps_book.record.run import between, integer, list_of, one_of, optional

run = record.start(
    "discrete_flow",
    globals(),
    {
        "n_held_out": integer(2),
        "n_kind": integer(2),
        "n_draws": integer(8),
        "n_ode": record.AtMost(record.several(), "n_held_out"),
        "n_faces": integer(1),
        "fitted": list_of(one_of(*study.TERMS)),
        "posterior_steps": integer(2),
        "noise_stds": list_of(between(0, 10, open=True)),
        "noise_steps": integer(2),
        "learning_rate": between(0, 1, open=True),
        "rates": optional(list_of(between(0, 1, open=True))),
        "rate_steps": integer(2),
        "width": integer(1),
        "n_samples": integer(8),
        "n_times": integer(1),
        "seed": record.seed(),
    },
)
keys = jax.random.split(jax.random.key(seed), 6)

# %% [markdown]
# ## Three priors of the same faces
#
# All were trained on the same photographs, the CelebA training split in grey, and stand on the same Gaussian of all
# 1024 modes. The score prior is a small transformer on 4 × 4 patches for the residual to the score of that Gaussian.
# The discrete-flow prior ("flow") is the supplement's: a RealNVP on the vector of pixels, 64 couplings, here with half
# of the width, trained by maximum likelihood. The third ("whitened flow") is not in the supplement: a RealNVP of half
# as many couplings in the modes of the Gaussian, so that it starts as the Gaussian and not as independent pixels; it
# asks whether another discrete flow would do better.
#
# Bits per pixel of held-out faces, with the uniform noise of one grey level that all priors were trained with: exact
# for the flows, a bound for the score prior.

# %% tags=["hide-input"]
priors, cards = study.load_priors()
run.uses_weights(*cards)
held_out, dataset = study.faces(max(n_held_out, n_faces))
run.uses_data(dataset)
study.store_likelihoods(run, priors, keys[0], held_out[:n_held_out], n_ode, n_times)
columns = {"bits": ("bits per pixel", ".3f"), "gain": ("nats per pixel over the Gaussian", ".3f")}
run.table(
    fits.known(run, {"gaussian": "Gaussian", **study.LABELS, **study.ODE_LABELS}, "held_out"),
    columns,
    "held_out",
    caption="Held-out faces; the score prior's bits are an upper bound",
    signals=study.stands_on(),
)
run.say(f"{{parameters/n_held_out}} faces of **{dataset.name}**. " + study.about(dataset))

# %% tags=["hide-input"]
drawn = study.prior_draws(priors, keys[1], n_draws)
study.store_draws(run, drawn)
run.figure(
    images.grey_rows({study.LABELS[kind]: {f"{i + 1}": x for i, x in enumerate(d[:8])} for kind, d in drawn.items()}),
    "draws",
    alt="Three rows of eight small grey pictures, all of them faces seen from the front: blotchy and soft under the "
    "score prior, with more contrast under the flow, some of them torn, and soft under the whitened flow.",
    caption="Draws of the three priors, not chosen.",
    label="fig-flow-prior-draws",
)

# %% tags=["hide-input"]
columns = {
    "dropped_unit": ("beyond 2 on [0, 1] [%]", ".1f"),
    "dropped_signed": ("beyond 2 on [-1, 1] [%]", ".1f"),
    "largest": ("largest magnitude", ".2f"),
}
run.table(
    study.LABELS, columns, "draws", caption="Draws of the priors themselves that the supplement's rule would drop"
)

# %% [markdown]
# The rule drops a sample with a pixel of magnitude above 2. The supplement does not say in which scale; its authors'
# published code keeps images on $[0, 1]$ by default, and the other usual scale, $[-1, 1]$, is shown beside it.
#
# ## What they say of other images
#
# A prior is asked about images unlike its training images whenever an optimization begins away from them. First, how
# probable each prior calls images of several kinds.

# %% tags=["hide-input"]
kinds = study.image_kinds(keys[2], held_out[:n_kind], drawn)
study.store_kinds(run, priors, keys[3], kinds, n_times)
run.chart(
    charts.kinds_dots,
    "kinds",
    lambda shown: {"values": study.kinds_of(shown, list(kinds))},
    alt="A dot plot of bits per pixel with one row for each kind of image and one mark per prior.",
    caption="Bits per pixel by kind of image; larger means less probable. A value beyond $10^4$ is an open mark at the "
    "edge, with its power of ten beside it.",
    label="fig-flow-prior-kinds",
    told=told.kinds,
)

# %% [markdown]
# Then along a path: noise of growing strength is added to faces, up to that of a fit that starts from standard normal
# pixels. The gradient of $\log p$ is what such a fit follows.

# %% tags=["hide-input"]
study.store_path(run, priors, held_out[:2], keys[4], n_times)
run.chart(
    curves.path_curves,
    "path",
    lambda shown: {"levels": study.LEVELS, "panels": study.path_of(shown)},
    alt="Two panels over the noise added to a face, all axes logarithmic: bits per pixel and the norm of the "
    "gradient of log p.",
    caption="Bits per pixel and norm of the gradient of $\\log p$ (per unit of pixel value), along noise added to "
    "held-out faces.",
    label="fig-flow-prior-path",
    told=told.panels,
)

# %% tags=["hide-input"]
run.say(
    "In the full run a face with noise of 0.1 costs {full/path.l3.score.bits:.1f} bits per pixel under the score prior "
    "and {full/path.l3.flow.bits:.1f} under the flow; with noise of 1 "
    "{full/path.l5.score.bits:,.0f} and {full/path.l5.flow.bits:.1e}. The gradient norms are then "
    "{full/path.l5.score.gradient:.1e} and {full/path.l5.flow.gradient:.1e} (at most the largest number that "
    "32 bits hold). The score prior grows as a Gaussian does, with the square of the distance. The flow takes 64 "
    "scalings in a row, each by a network that never saw such input, "
    "and they multiply: its density falls far faster than the square of the distance. That is not so of every "
    "discrete flow: with the modes of the Gaussian in front, the same kind of couplings "
    "stays at {full/path.l5.whitened.bits:.0f} bits, and its gradient at {full/path.l5.whitened.gradient:.1e}."
)

# %% [markdown]
# ## Posteriors that begin at the closed form
#
# Denoising ($\sigma = 0.1$) and deblurring (Gaussian blur of 1.5 pixels, $\sigma = 0.01$). As in DPI, a RealNVP of 64
# couplings is fitted to the posterior of a single measurement, the same for all priors, with 64 samples in each step
# and gradients clipped to norm 1. The score prior enters by its bound, a flow by its density. Here the fitted flow
# starts as the closed-form posterior under the Gaussian that all priors stand on: one form of the "clever
# initialization" that the supplement suggests.

# %% tags=["hide-input"]
cases = fits.measured(study.tasks(priors["score"]), held_out[:n_faces], seed)
chosen = {kind: priors[kind] for kind in fitted}
shared = {"n_samples": n_samples, "seed": seed}
start, descent = fits.Start("posterior", width), fits.descent(posterior_steps, learning_rate)
begun = {}
for name, case in cases.items():
    exact = fits.closed_form_quality(run, name, case, keys[5], n_samples)
    begun[name] = exact, fits.compare(run, f"{name}.posterior", case, chosen, start, descent, **shared)

# %% tags=["hide-input"]
exact, found = begun["deblur"]
seen = {"closed form": exact, **{study.LABELS[k]: s for k, (_, s) in found.items()}}
if pictured.allowed(dataset):
    run.figure(
        images.grey_rows(fits.pictures(cases["deblur"], seen)),
        "deblur",
        alt="A first row with a face and its blurred measurement; then a row for the closed form, the score prior and "
        "each flow prior with four samples and the mean.",
        caption="Deblurring: samples and the mean of the fitted posteriors, and of the closed form where they started.",
        label="fig-flow-prior-deblur",
    )
else:
    run.say(pictured.LEFT_OUT)

# %% tags=["hide-input"]
exact, found = begun["denoise"]
seen = {"closed form": exact, **{study.LABELS[k]: s for k, (_, s) in found.items()}}
if pictured.allowed(dataset):
    run.figure(
        images.grey_rows(fits.pictures(cases["denoise"], seen)),
        "denoise",
        alt="The same rows for denoising: a face, the face in noise, and samples and means under each prior, all alike "
        "in layout.",
        caption="Denoising, as above.",
        label="fig-flow-prior-denoise",
    )
else:
    run.say(pictured.LEFT_OUT)

# %% tags=["hide-input"]
rows = {"closed_form": "closed form", **{f"posterior.{kind}": label for kind, label in study.LABELS.items()}}
single = {"psnr_one": ("PSNR of a sample [dB]", ".2f"), "ssim_one": ("SSIM, 7 × 7", ".3f"), "mse_one": ("MSE", ".4f")}
run.table(
    fits.known(run, rows, "deblur"),
    single,
    "deblur",
    "feng.appendix_c.deblur",
    caption="Deblurring, single samples, mean of their metrics. The paper's numbers: one colour face, another blur",
)
run.table(fits.known(run, rows, "denoise"), single, "denoise", caption="Denoising, single samples")

# %% tags=["hide-input"]
whole = {
    "psnr": ("PSNR of the mean [dB]", ".2f"),
    "coverage": ("coverage of 90 % intervals [%]", ".1f"),
    "spread": ("spread over error", ".2f"),
    "dropped_signed": ("dropped, either scale [%]", ".1f"),
}
for name in cases:
    run.table(
        fits.known(run, rows, name),
        whole,
        name,
        caption=f"{'Deblurring' if name == 'deblur' else 'Denoising'}: means and spread of the samples",
    )

# %% [markdown]
# ## Posteriors that begin at noise
#
# Deblurring again, from where DPI begins: independent normal pixels. DPI's have standard deviation 1; smaller ones,
# about the mean face, are nearer to what a prior was trained on.

# %% tags=["hide-input"]
case, descent = cases["deblur"], fits.descent(noise_steps, learning_rate)
starts = [fits.Start(std, width) for std in noise_stds]
stds = fits.keyed("noise", noise_stds)
noisy = {
    key: fits.compare(run, f"deblur.{key}", case, chosen, start, descent, 1, **shared)
    for key, start in zip(stds, starts, strict=True)
}
scanned = fits.rates(run, "deblur", case, chosen, starts[-1], rates or [], rate_steps, seed)

# %% tags=["hide-input"]
histories = {
    f"{study.LABELS[kind]}, from {record.exact(stds[key])}": fit.history
    for key, found in noisy.items()
    for kind, (fit, _) in found.items()
}
run.chart(
    curves.optimization_curves,
    "optimization",
    {"histories": fits.above_least(histories)},
    alt="Two panels over the optimization step, logarithmic: loss over its least and gradient norm, one curve for "
    "each prior and start; one that was not finite has none.",
    caption="Optimization from noise: the loss above its least value, plus 0.1 so that the axis can show it, and the "
    "norm of the gradient before it is clipped to 1 (grey line). A fit whose first loss was not finite has no curve; "
    "one whose second was not is a single mark.",
    label="fig-flow-prior-optimization",
    told=told.histories,
)

# %% tags=["hide-input"]
begins = {
    f"{key}.{kind}": f"{study.LABELS[kind]}, from noise {record.exact(std)}"
    for key, std in stds.items()
    for kind in fitted
}
run.table(
    begins,
    {
        "steps": ("steps with a finite loss", ".0f"),
        "first_gradient": ("first gradient norm", ".1e"),
        "loss": ("last loss [nats per pixel]", ".3g"),
        "spike_largest": ("largest jump of the gradient", ".1f"),
    },
    "deblur",
    caption="Optimization from noise, deblurring",
)
run.table(
    begins,
    {
        "dropped_unit": ("dropped [%]", ".0f"),
        "psnr_one": ("PSNR of a sample [dB]", ".2f"),
        "psnr_one_kept": ("without the dropped", ".2f"),
        "spread": ("spread over error", ".2f"),
        "spread_kept": ("without the dropped", ".2f"),
    },
    "deblur",
    caption="Samples at the end of it, with and without the rule (on [0, 1])",
)

# %% tags=["hide-input"]
tried = {
    f"{key}.{kind}": f"{study.LABELS[kind]}, rate {record.exact(value)}"
    for key, value in fits.keyed("r", fits.full_rates(rates)).items()
    for kind in fitted
}
if tried:
    run.table(
        tried,
        {
            "steps": ("steps with a finite loss", ".0f"),
            "loss": ("last loss [nats per pixel]", ".3g"),
            "spike_share": ("steps with a jump of the gradient [%]", ".1f"),
            "spike_largest": ("largest jump", ".1f"),
        },
        "deblur",
        caption="Constant learning rates, from the last of the starts",
    )

# %% [markdown]
# ## What it means, and what it does not show

# %% tags=["hide-input"]
run.verdict(
    record.Difference("held_out.flow.gain", "the flow", "the Gaussian", n="n_held_out", measure="log-density"),
    record.Difference("held_out.score.gain", "the bound of the score prior", "the Gaussian", n="n_held_out"),
    before="On held-out photographs, in nats per pixel, full run:",
    source="full",
)
run.say(
    "- *Expressiveness.* The score prior has {full/held_out.score.gain:.2f} nats per pixel on the Gaussian, "
    "though that is "
    "but a bound, and the flow {full/held_out.flow.gain:.2f}, with {parameters.score:,.0f} trained parameters "
    "against {parameters.flow:,.0f}. To the eye its draws are not "
    "worse than those of this small score network in twelve evaluations, which does not reproduce what the "
    "supplement saw. But {full/draws.flow.dropped_unit:.1f} % of them would fall to the supplement's rule on "
    "[0, 1] (score prior {full/draws.score.dropped_unit:.0f} %): the tail is in the prior, not only in the "
    "fit.\n"
    "- *Instability.* From standard normal pixels, where DPI begins, the score prior's fit ran all "
    "{full/deblur.noise0.score.steps:.0f} steps of the full run; the flow's ended after "
    "{full/deblur.noise0.flow.steps:.0f}, because loss or gradient was no longer a finite number, and after "
    "{full/deblur.noise1.flow.steps:.0f} and {full/deblur.noise2.flow.steps:.0f} from noise of 0.3 and 0.1. "
    "Clipping a gradient to norm 1 does not help where it is not finite. From noise of 0.1 a rate of "
    "{paper/feng.dpi.learning_rate:.0e}, that of the supplement's other fits, ended the flow's fit after "
    "{full/deblur.r1.flow.steps:.0f} steps, and one "
    "of {paper/feng.appendix_c.learning_rate:.0e}, that of the supplement's fits under the flow, did not within "
    "{full/deblur.r0.flow.steps:.0f} steps, in which it hardly moved: which suggests why the smaller rate was "
    "taken.\n"
    "- *It is where the fit begins.* From the closed form all priors are stable, and the flow is no bad prior "
    "there. Samples of the full run for deblurring have {full/deblur.posterior.score.psnr_one:.2f} dB under "
    "the score prior, "
    "{full/deblur.posterior.flow.psnr_one:.2f} under the flow and {full/deblur.closed_form.psnr_one:.2f} in the "
    "closed form; for denoising {full/denoise.posterior.score.psnr_one:.2f}, "
    "{full/denoise.posterior.flow.psnr_one:.2f} and "
    "{full/denoise.closed_form.psnr_one:.2f}. The flow's intervals are narrower: its 90 % hold "
    "{full/deblur.posterior.flow.coverage:.0f} % and {full/denoise.posterior.flow.coverage:.0f} % of the "
    "pixels, the score prior's "
    "{full/deblur.posterior.score.coverage:.0f} % and {full/denoise.posterior.score.coverage:.0f} %.\n"
    "- *It is not every discrete flow, and not every start.* On the modes of the Gaussian the couplings call "
    "noise improbable without exploding, and fits from noise of 1 and 0.3 ran all "
    "{full/deblur.noise0.whitened.steps:.0f} steps. "
    "From noise of 0.1 that one ended as well, after {full/deblur.noise2.whitened.steps:.0f}, though its first "
    "gradient was small: it is not where a fit begins alone, but also where its first steps lead.\n"
    "- *The rule.* It removes what a failed fit leaves and hides the failure: it drops "
    "{full/deblur.noise0.flow.dropped_unit:.0f} % of the samples of the flow's fit from standard normal noise. "
    "Of that from noise of 0.3 it drops "
    "{full/deblur.noise1.flow.dropped_unit:.0f} % on [0, 1] and {full/deblur.noise1.flow.dropped_signed:.0f} % on "
    "[-1, 1], though none is a face. Where a fit is sound it drops nothing and changes no number."
)

# %% [markdown]
# Not shown: the flow at the supplement's width, its 20,000 to 50,000 steps with batch normalization, colour, and its
# measurements; the numbers of the paper's Table 1. The fits here are shorter by a factor of a hundred, and from noise
# none has converged: their losses are above those from the closed form and their samples too narrow. Fits from noise
# measure one face, those from the closed form two in the full run, so that their decibels must not be compared. The
# score prior enters by its bound, whose gradient is finite wherever the network is; its exact density by the ODE costs
# hundreds of evaluations for each sample and was not fitted. A bound at images as unlikely as noise says little about
# the density there; what counts is that it can be followed. With one or two faces, differences of a few tenths of a
# decibel between priors are not settled. And all three priors were trained for minutes: a longer training may improve
# each, though nothing in it would bound the flow's density away from faces.

# %% tags=["hide-input"]
run.finish()
