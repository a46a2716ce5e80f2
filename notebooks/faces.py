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
# # Faces: denoising, super-resolution, deblurring: APS Tables 2, 3 and 5
#
# The main experiment of the APS paper {cite:p}`mammadov2024aps` (Section 5.2, Tables 2, 3 and 5): colour faces of 32 ×
# 32 pixels in noise of standard deviation 0.1, or seen through 2 × 2 block means or a Gaussian blur of 1.5 pixels with
# noise 0.01. One network for each task is to draw posterior samples of any measurement at once.

# %% tags=["parameters"]
n_test = 16  # test faces
n_iterative = 4  # of them, the first ones, for the samplers that iterate and the untrained flow
n_long = 4  # of these for the mean of the iterative samplers
n_long_samples = 4  # posterior samples of each for that mean
iterated_tasks = ["denoise", "sr2", "deblur"]  # on which the samplers that iterate are run
n_samples = 128  # posterior samples of each measurement
time_steps = 100  # network evaluations of DPS where times are compared; the paper takes 1000
n_bits = 8  # faces whose log-density is estimated
n_ode = 0  # of them by the probability-flow ODE too
n_objective = 4  # faces on which the paper's objective is evaluated
n_objective_samples = 4  # posterior samples of each for that
n_robust = 16  # images of other data sets, where they are at hand, and faces in other noise
seed = 0

# %% tags=["hide-input"]
import numpy as np

from aps_book import record
from aps_book.experiments import any_operator, coverage, default_flows, diagnosed, faces, faces_rivals, pictured
from aps_book.figures import charts, images, sliders
from aps_book.record import tuning_records
from aps_core import data
from aps_core.priors.store import load_prior
from aps_core.weights import load_card, trained_by

run = record.start(
    "faces",
    globals(),
    {
        "n_test": record.integer(2, 5189),
        "n_iterative": record.integer(2),
        "n_long": record.integer(2),
        "n_long_samples": record.integer(2),
        "iterated_tasks": record.list_of(record.one_of(*faces.TASKS)),
        "n_samples": record.integer(3, 4096),
        "time_steps": record.integer(2),
        "n_bits": record.integer(2),
        "n_ode": record.AtMost(record.several(), "n_bits"),
        "n_objective": record.integer(2),
        "n_objective_samples": record.integer(1),
        "n_robust": record.integer(2),
        "seed": record.seed(),
    },
)
n_iterative = min(n_iterative, n_test)
n_long = min(n_long, n_iterative)
n_robust = min(n_robust, n_test)

# %% [markdown]
# ## Which faces
#
# CelebA {cite:p}`liu2015celeba` may not be passed on. Where the reader has it (`APS_DATA_DIR`), this page measures its
# test faces; the full run did. Otherwise it uses *prior-faces*: draws of the shipped prior, of which none is near a
# training face. For those the prior is exact by construction, so that they show whether the posterior is right, not how
# well the prior knows photographs. Pictures show these draws, whatever is measured.

# %% tags=["hide-input"]
test = data.load("faces", "test")
run.uses_data(test)
run.number("test.faces", n_test)
run.say(f"This build measures {{test.faces:.0f}} faces of **{test.name}**, spread evenly over its test split.")

# %% [markdown]
# ## The prior
#
# A Gaussian with the mean and the full covariance of the CelebA training faces and their mirror images, and a
# transformer on 4 × 4 patches that learns the residual to the Gaussian's score by denoising score matching
# ({py:class}`~aps_core.priors.score_network.NetworkPrior`). How much the network adds is seen where the answer is a
# single evaluation: Tweedie's estimate, the posterior mean for white noise.

# %% tags=["hide-input"]
prior, card = load_prior("faces-prior")
run.uses_weights(card)
run.number("prior.steps", card["steps"])
run.number("prior.seconds", card["seconds"], unit="s")
run.number("prior.parameters", sum(int(np.prod(a.shape)) for a in faces.jax.tree.leaves(prior.params)))
run.number("prior.val_tweedie", card["validation"]["val_tweedie"], unit="dB")
faces.store_tweedie(run, prior, test.values[: min(n_test, 512)])
faces.store_bits(run, prior, test.values[:n_bits], n_ode=n_ode)
run.say(
    "The network has {prior.parameters:,.0f} parameters and was trained for {prior.steps:,.0f} steps of 64 faces in "
    "{prior.seconds:,.0f} s on two "
    "cores (shared with other work). On CelebA validation faces with noise 0.1 its estimate has "
    "{prior.val_tweedie:.2f} dB (from its card)."
)
run.table(
    {f"s{round(1000 * s):03d}": f"noise {s}" for s in (0.05, 0.1, 0.2, 0.4)},
    {"gaussian": ("Gaussian [dB]", ".2f"), "learned": ("learned prior [dB]", ".2f"), "gain": ("gain [dB]", "+.2f")},
    "tweedie",
    caption="PSNR of the posterior mean for white noise, by Tweedie's formula; the gain is paired by face.",
    signals=512,  # of the full run, which does not say it
)
run.say(
    "In bits per dimension of 8-bit faces: {bits.gaussian:.3f} ± {bits.gaussian.se:.3f} for the Gaussian and at "
    "most {bits.elbo:.3f} ± "
    "{bits.elbo.se:.3f} for the learned prior, by its evidence lower bound with uniform dequantization (full run: "
    "{full/bits.gaussian:.3f} ± {full/bits.gaussian.se:.3f} and {full/bits.elbo:.3f} ± {full/bits.elbo.se:.3f})."
    + (" The probability-flow ODE gives {bits.ode:.3f} ± {bits.ode.se:.3f}." if n_ode > 1 else "")
)

# %% tags=["hide-input"]
run.figure(
    images.face_sheet(faces.draws_of_prior(prior, 24, seed=seed + 9)),
    "draws",
    alt="Twenty-four colour faces drawn from the prior. Most are recognizable as faces with eyes, mouth and hair; "
    "some are blurred or distorted.",
    caption="New draws of the prior, 16 network evaluations each, not selected. They are drawn from the model: "
    "nobody in "
    "particular.",
    label="fig-faces-draws",
)

# %% [markdown]
# ## The posterior
#
# **Start.** For a linear operator the posterior under the Gaussian alone is known, $\mathcal N(\mu_G(y), \Sigma_G)$.
# Under any prior $p$ the mean obeys Stein's identity
#
# $$
# \mathbb E[x \mid y] = \mu_G(y) + \Sigma_G\, \mathbb E\Big[\nabla \log \frac{p}{p_G}(x) \,\Big|\, y\Big] ,
# $$ (eq-faces-stein)
#
# so that the flow ({py:class}`~aps_core.flows.distilled.DistilledFlow`) has the form
#
# $$
# x = \mu_G(y) - \Sigma_G \Sigma^{-1/2}\, o_\phi(y) + s \odot T_\phi\big(V D_\phi(y) z / s;\, y\big) ,
# $$ (eq-faces-flow)
#
# with $V$ the principal axes of $\Sigma_G$, $D_\phi$ the standard deviations along them times learned factors, $s$ the
# marginal standard deviations of $\Sigma_G$ and $T_\phi$ an elementwise scale and four affine couplings. The network
# $o_\phi$ starts as a copy of the prior's score network. For denoising that start is exactly Tweedie's estimate; for
# the other tasks it is a first guess, given $\mu_G(y)$ in the place of a denoised face.
#
# **Training.** Every row says what trained its flow. "APS (reverse, held-out measurements)" is the paper's method: the
# reverse divergence {eq}`eq-method-objective` on measurements of the training faces alone, one of each, from the
# untrained flow, with the path gradient ({py:mod}`aps_core.training.objective`) and several diffusion times for each
# sample. "flow (forward, draws of the prior)" is the same network trained on draws of the prior and their simulated
# measurements, by maximum likelihood: the forward divergence $\mathbb E_{p_\theta(x) p(y \mid x)}[-\log q_\phi(x \mid
# y)]$. It sees no photograph, neither clean nor measured. Where the family of flows holds the posterior under
# $p_\theta$, both have their least value there; where it does not, they lead to different flows: the forward one
# covers the posterior, the reverse one prefers to be narrow. The page {doc}`method` compares the two.

# %% tags=["hide-input"]
found = {name: faces.experiment(name, test, n_test, n_samples, n_iterative, seed) for name in faces.TASKS}
iterated = {name: faces.iterate(found[name], n_iterative, n_long, n_long_samples, seed=seed) for name in iterated_tasks}
for name, one in found.items():
    for row in faces.trained_rows(one.samplers):
        flow_card = one.samplers[row].card
        key = name if row == "aps" else f"{name}_{row}"
        run.uses_weights(flow_card)
        run.number(f"flow.{key}.steps", flow_card["steps"])
        run.number(f"flow.{key}.seconds", flow_card["seconds"], unit="s")
    faces.store(run, name, one.scores, n_samples)
    if name in iterated:
        faces.store(run, name, iterated[name][0], n_long_samples)
        faces.store_long_run(run, name, one.scores, iterated[name][0])
    faces.store_differences(run, name, one.scores)
    faces.store_coverage(run, name, one.scores, ("gaussian", *faces.trained_rows(one.samplers)))
run.number("iterative.faces", n_iterative)
run.number("iterative.long", n_long)
run.say(
    "\n".join(
        f"- {faces.TASKS[name]}: "
        + "; ".join(
            f"{sampler.trained_by}, {{flow.{name if row == 'aps' else f'{name}_{row}'}.steps:.0f}} steps in "
            f"{{flow.{name if row == 'aps' else f'{name}_{row}'}.seconds:.0f}} s"
            for row, sampler in one.samplers.items()
            if row in faces.trained_rows(one.samplers)
        )
        for name, one in found.items()
    )
    + "\n\nThe times are those of two cores with other work on them."
)

# %% [markdown]
# ## Denoising: Table 2
#
# $N = 1$ is one posterior sample, the other rows are means of several. A posterior sample has twice the squared error
# of the posterior mean, 3 dB less: a sample much nearer to the truth than that would be over-concentrated. Noise2Score
# is Tweedie's estimate, the posterior mean under the prior: of draws of that prior no estimate has a smaller mean
# squared error; of photographs, which are no draws of it, another one can have. The paper's APS leads its Noise2Score
# by more than a decibel; on draws of one prior that could not be. DPS {cite:p}`chung2023dps`, DDRM
# {cite:p}`kawar2022ddrm` and PiGDM {cite:p}`song2023pigdm` stand on fewer faces, the first of the same list, since each
# of their samples costs as many evaluations as it has steps: each cell says on how many. Differences below are of the
# same faces. Their settings were tuned on validation faces by the energy score, for every task, at the few evaluations
# that stand below; the page {doc}`dps_ablation` has DPS at other numbers of evaluations.

# %% tags=["hide-input"]
quality = {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM, 7 × 7", ".3f"), "ssim11": ("SSIM, 11 × 11", ".3f")}
searched = {name: {method: faces_rivals.found(name, method) for method in faces_rivals.LABELS} for name in faces.TASKS}
named = {name: faces.labels(one.samplers) for name, one in found.items()}
trained = {name: {row: named[name][row] for row in faces.trained_rows(one.samplers)} for name, one in found.items()}
many = run.stated("n_samples")
tables = {name: faces.rows((*one.samplers, *faces.ITERATIVE), many, named[name]) for name, one in found.items()}
beside = faces.PAPER_ROWS if "reverse" in found["denoise"].samplers else None
on = {name: faces.stands_on((*one.samplers, *faces.ITERATIVE)) for name, one in found.items()}
caption = "Denoising, noise 0.1."
run.table(tables["denoise"], quality, "denoise", faces.PAPER["denoise"], caption, on["denoise"], beside)
compared = faces.against_closed_form("denoise", trained["denoise"])
run.verdict(*compared, before="Face by face, against the closed form, in the full run:", source="full")
run.verdict(*compared, before="In this build:")
run.say(
    "SSIM stands with two windows: the uniform one of 7 × 7 pixels, and the Gaussian one of 11 × 11, which most papers "
    "use; the paper does not say which it took. Settings of the rivals: "
    + "; ".join(
        f"{label} {tuning_records.settings(searched['denoise'][method]['best'])}"
        for method, label in faces_rivals.LABELS.items()
    )
    + "."
)

# %% tags=["hide-input"]
run.say("\n\n".join(default_flows.say(f"faces-{name}") for name in faces.TASKS))
run.say(diagnosed.of_experiment(run, found["denoise"]))

# %% [markdown]
# The paper's objective is the reverse divergence, fidelity + prior + entropy. It can be evaluated for any flow,
# whatever trained it; the smaller, the nearer to the posterior under the prior's bound. "Untrained" is Tweedie's mean
# with the closed form's covariance.

# %% tags=["hide-input"]
faces.store_objectives(run, "denoise", found["denoise"], min(n_objective, n_test), n_objective_samples, seed + 7)
run.table(
    {row: named["denoise"][row] for row in ("untrained", *faces.trained_rows(found["denoise"].samplers))},
    {"objective": ("APS objective [nats]", "+,.0f")},
    "denoise_objective",
    caption="Objective minus that of the Gaussian closed form, paired by face, in nats for all 3072 entries together.",
)

# %% tags=["hide-input"]
run.figure(
    faces.picture(found["denoise"], 4, n_samples, seed),
    "denoise",
    alt="Four rows of faces for denoising. Columns: truth, noisy measurement, one sample of the Gaussian posterior, "
    "two samples and the mean of the flow, and a map of its standard deviation. Samples of the flow look like sharp "
    "noise-free faces with small differences; the spread is largest along edges.",
    caption="Denoising: truth, measurement, a sample of the closed form, two samples and the mean of the "
    f"{named['denoise']['aps']}, and the standard deviation of its samples (root mean square over the colours)."
    + pictured.said(test),
    label="fig-faces-denoise",
)

# %% [markdown]
# ## Super-resolution and deblurring: Table 3
#
# The paper's Table 3 is not legible in our copy, so these tables have no column of the paper.

# %% tags=["hide-input"]
run.table(tables["sr2"], quality, "sr2", caption="2x super-resolution (block means), noise 0.01.", signals=on["sr2"])
run.table(
    tables["deblur"], quality, "deblur", caption="Deblurring (Gaussian, 1.5 pixels), noise 0.01.", signals=on["deblur"]
)
for name in ("sr2", "deblur"):
    compared = faces.against_closed_form(name, trained[name])
    title = f"Face by face, against the closed form, {faces.TASKS[name]}, in the full run:"
    run.verdict(*compared, before=title, source="full")
    run.verdict(*compared, before="In this build:")

# %% [markdown]
# ## How far from the best mean?
#
# For denoising Tweedie's formula says what the mean should be. For the other tasks the mean of many samples of an
# iterative sampler with the same prior can stand in, as far as that samples the posterior. A mean of 128 is not
# computed: the mean of a few, and their variance, say what its squared error would be
# ({py:func}`~aps_book.experiments.faces_rivals.long_run_psnr`).

# %% tags=["hide-input"]
names = {"gaussian": "Gaussian closed form", **faces_rivals.LABELS, "aps": named["denoise"]["aps"]}
for name, label in faces.TASKS.items():
    run.table(
        names,
        {"psnr": ("mean of 128 [dB]", ".2f"), "aps_above": ("flow minus it, paired [dB]", "+.2f")},
        f"{name}_long",
        caption=f"The mean of 128 samples, {label}, all on the same faces.",
        signals="n_long",
    )
    where = "" if name in iterated else "full"
    title = f"The mean of the flow, {label}, in {'the full run' if where else 'this build'}:"
    run.verdict(*faces.against_rivals(name, named[name]["aps"]), before=title, source=where)

# %% tags=["hide-input"]
run.figure(
    faces.picture(found["sr2"], 4, n_samples, seed),
    "sr2",
    alt="Four rows of faces for two times super-resolution. Columns: truth, coarse measurement, one sample of the "
    "Gaussian posterior, two samples and the mean of the flow, and its standard deviation, which is largest along "
    "edges.",
    caption="Super-resolution, columns as above; the measurement is enlarged." + pictured.said(test),
    label="fig-faces-sr2",
)

# %% tags=["hide-input"]
run.figure(
    faces.picture(found["deblur"], 4, n_samples, seed),
    "deblur",
    alt="Four rows of faces for deblurring. Columns: truth, blurred measurement, one sample of the Gaussian "
    "posterior, two samples and the mean of the flow, and its standard deviation, which is largest along edges.",
    caption="Deblurring, columns as above." + pictured.said(test),
    label="fig-faces-deblur",
)

# %% [markdown]
# ## Move it
#
# Faces drawn from the prior, whatever data this build found, measured in the three ways: choose the task, the face and
# which sample of the posterior is shown. Samples of one measurement differ in what the data leave open.

# %% tags=["hide-input"]
title = "Faces drawn from the prior, with sliders for the task, the face and the sample of the posterior"
run.say(f"The flows are those that `load_posterior` gives, trained by: {faces.given_flows()}.")
run.view(sliders.face_view(title, *faces.slider_faces(n_samples=n_samples, seed=seed)), "sliders", title)

# %% [markdown]
# Denoising at four noise levels by one flow that serves any ({doc}`any_operator`): the more noise, the less of the face
# the measurement holds, and the wider the samples spread.

# %% tags=["hide-input"]
title = "Faces drawn from the prior, with sliders for the noise, the face and the sample of the posterior"
any_card = load_card(any_operator.ANY)
run.uses_weights(any_card)
run.say(f"This flow was trained by: {trained_by(any_card)}.")
run.view(sliders.face_view(title, *any_operator.slider_noise(seed=seed)), "noise", title)

# %% [markdown]
# ## Is the spread right?
#
# 90 % of the true pixels should lie in the central 90 % intervals of the samples, and so should the coordinates along
# the principal modes of the prior, in each of five bands of two hundred. A mean with noise on it can have the first; it
# fails the second.

# %% tags=["hide-input"]
groups = faces.coverage_groups()
rows = {title: (f"{name}_coverage", "aps") for name, title in faces.TASKS.items()}
run.chart(
    charts.coverage_plot,
    "coverage",
    lambda shown: coverage.chart_arguments(shown, rows, groups),
    alt="Share of truths inside the 50 and 90 percent intervals for the three tasks, for all pixels and five bands "
    "of modes, beside dashed lines at 50 and 90 percent.",
    caption="Coverage of the central 50 and 90 % intervals, overall and by band of modes, for each task: "
    f"{named['denoise']['aps']}. Grey bands: three percentage points about the nominal level; bars: two standard "
    "errors.",
    label="fig-faces-coverage",
)

# %% tags=["hide-input"]
for name, label in faces.TASKS.items():
    run.table(
        groups,
        {
            f"{row}_90": (f"{named[name][row]}, 90 %", ".1f")
            for row in ("gaussian", *faces.trained_rows(found[name].samplers))
        },
        f"{name}_coverage",
        caption=f"Coverage of 90 % intervals in per cent, {label}.",
        signals="n_test",
    )
run.say(
    f"In the full run the squared error of one sample of the {named['denoise']['aps']} over that of the mean, 2 for an "
    "exact posterior, is {full/denoise.aps.ratio:.2f} ± {full/denoise.aps.ratio.se:.2f} for denoising, "
    "{full/sr2.aps.ratio:.2f} ± {full/sr2.aps.ratio.se:.2f} for super-resolution, {full/deblur.aps.ratio:.2f} ± "
    "{full/deblur.aps.ratio.se:.2f} for deblurring. From one sample to the "
    "mean there are {full/denoise.aps.gap:.2f}, {full/sr2.aps.gap:.2f} and {full/deblur.aps.gap:.2f} dB."
)

# %% [markdown]
# ## Time
#
# One posterior sample of one measurement, compiled before. A speed means something only beside the quality of the same
# setting: the DPS that is timed here has as many evaluations as `time_steps` says and the usual step size 1, which is
# not the setting of the tables above. Its PSNR, and that of the flow on the same faces, are those of the page
# {doc}`dps_ablation`.

# %% tags=["hide-input"]
seconds = faces.single_sample_seconds(found["denoise"], time_steps, n_samples, seed + 3)
for row, value in seconds.items():
    run.number(f"time.{row}.seconds", float(f"{value:.2g}"), unit="s")
faces.store_timed_quality(run, time_steps)
run.number("time.speedup", float(f"{seconds['dps'] / seconds['aps']:.2g}"))
run.number(
    "time.paper_speedup",
    record.paper_value("aps.table2.celeba_denoise.dps.seconds")
    / record.paper_value("aps.table2.celeba_denoise.aps_n1.seconds"),
)
run.table(
    {
        "gaussian": "Gaussian closed form",
        "noise2score": "Noise2Score",
        "dps": "DPS, step size 1",
        "aps": f"{named['denoise']['aps']}, N = 1",
        "aps_all": f"{named['denoise']['aps']}, N = {run.stated('n_samples')}",
    },
    {"seconds": ("time [s]", ".3g"), "psnr": ("PSNR [dB]", ".2f")},
    "time",
    caption=f"Denoising, one measurement; DPS with {run.stated('time_steps')} evaluations.",
)
full = record.full_run("faces")
source, at = ("full/", full["parameters"]["time_steps"]) if full else ("", time_steps)
run.say(
    f"A sample of DPS with {at} evaluations takes {{{source}time.speedup:,.0f}} times as long as one of "
    f"the {named['denoise']['aps']}{' (full run)' if source else ''}; "
    "the paper has {time.paper_speedup:,.0f} for its DPS with a thousand evaluations or more. "
    + faces.say_timed_quality(at, named["denoise"]["aps"])
)

# %% [markdown]
# ## Other images, other noise
#
# The prior and the flows come from CelebA training faces. Where the reader has them, validation faces, faces of another
# data set (LFW {cite:p}`huang2007lfw` in the place of the paper's FFHQ) and CIFAR-10 {cite:p}`krizhevsky2009cifar`,
# which has no faces, are denoised by the same flow; otherwise the numbers are those of the full run.

# %% tags=["hide-input"]
others = {name: faces.other_images(name) for name in faces.OTHERS}
for name, dataset in others.items():
    if dataset is not None:
        run.uses_data(dataset)
        faces.score_others(run, found["denoise"], dataset, name, min(n_robust, len(dataset)), n_samples, seed)
for name, title in (("val", "CelebA validation faces"), ("lfw", "LFW faces"), ("cifar10", "CIFAR-10 images")):
    if others[name] is not None or f"{name}.aps_n1.psnr" in (record.full_run("faces") or {"numbers": {}})["numbers"]:
        run.table(
            faces.rows(("gaussian", "aps"), many, named["denoise"]),
            quality,
            name,
            faces.ROBUST_PAPER[name],
            f"Denoising, {title}.",
            signals="n_robust",
        )
        where = "" if others[name] is not None else "full/"
        mean = record.Difference(
            f"{name}_paired.aps.psnr_n128",
            f"the mean of the {named['denoise']['aps']}",
            "that of the closed form",
            n="n_robust",
        )
        run.verdict(mean, before=f"On {title}, image by image:", source=where.strip("/"))
        run.say(f"Its 90 % intervals hold {{{where}{name}.aps.inside_90:.1f}} % of the pixels.")

# %% [markdown]
# The flow, again that of the forward divergence, has noise 0.1 built in. Given measurements with other noise it goes on
# as if nothing had changed; the closed form below is told.

# %% tags=["hide-input"]
for sigma in faces.OTHER_NOISE:
    faces.score_other_noise(run, found["denoise"], test, sigma, n_robust, n_samples, seed)
run.table(
    faces.noise_rows(),
    {
        "aps_n1": ("flow, N = 1 [dB]", ".2f"),
        "aps_n128": (f"flow, N = {run.stated('n_samples')} [dB]", ".2f"),
        "gaussian_n128": ("closed form, told [dB]", ".2f"),
        "inside_90": ("flow, inside 90 % [%]", ".1f"),
    },
    "noise",
    caption=f"Denoising with the {named['denoise']['aps']}, trained at noise 0.1.",
    signals="n_robust",
)

# %% [markdown]
# ## What it means, and what it does not show
#
# - What a learned prior adds is the distance to the closed form, which has no network. The paper does not have that
#   row.
# - The flow's mean for denoising can be held against the exact one under the same prior, Noise2Score: what is missing
#   there is the flow's fault; what is missing beyond it is the prior's.
# - DPS is tuned for the few evaluations that it has here; its rows are no bound on what it reaches with more.
# - In noise that it was not trained for the intervals of the flow are too wide where there is less of it and too narrow
#   where there is more, as the table has it. A network for each noise level, or one that is told the level, is needed.
# - On prior-faces the prior is exact, so that the numbers of a build without CelebA flatter every method that uses it.
#
# Perceptual scores (FID, KID, LPIPS) stand on the page that follows; a flow trained by the reverse divergence, and what
# the paper's own network comes to in an hour, on the page {doc}`protocol`.

# %% tags=["hide-input"]
run.finish()
