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
# # How real single samples look by FID, KID and LPIPS: APS Table 3
#
# The APS paper {cite:p}`mammadov2024aps` claims of its single samples for super-resolution and deblurring that they
# look better than those of DPS {cite:p}`chung2023dps`, by the Fréchet inception distance (FID)
# {cite:p}`heusel2017gans`, at about the same distortion. Its table with these values is not legible in our copy, so
# that there is nothing to put beside ours. Here the claim is asked of our flows and faces, for all three tasks, with
# the closed-form posterior under a Gaussian prior as a further row.

# %% tags=["parameters"]
tasks = ["denoise"]  # and "sr2", "deblur"
n_faces = 8  # measured test faces
n_samples = 128  # posterior samples of the flow behind its mean
temperatures = [0.7]  # of the noise of the flow, beside 1
with_rivals = False  # DPS, DDRM and PiGDM, which iterate
with_inception = False  # FID and KID: need torch
n_reference = 16  # other test faces that they compare with
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import perception, pictured
from aps_book.figures import charts, images, told
from aps_book.perception import alexnet, inception
from aps_core.priors.store import load_prior

run = record.start(
    "perception",
    globals(),
    {
        "tasks": record.list_of(record.one_of(*perception.TASKS)),
        "n_faces": record.integer(2, 5188),
        "n_samples": record.integer(2, 4096),
        "temperatures": record.list_of(record.between(0, 2, open=True)),
        "with_rivals": record.boolean(),
        "with_inception": record.boolean(),
        "n_reference": record.integer(2),
        "seed": record.seed(),
    },
)
if with_inception:
    inception.load()  # what is missing is said now, not after the samples are drawn

# %% [markdown]
# ## What is compared with what
#
# **Pictures.** Test faces are measured as on the page on faces, and each method gives one picture for each measurement.
# A perfect posterior sample of the measurement of a random face has, over all faces and noises, exactly the law of
# faces: a method that samples the posterior under the true prior cannot be told from real faces as a set. That is what
# FID and KID judge. They do not ask whether a sample fits its measurement; the sampler that ignores the measurement and
# draws from the prior would do as well.
#
# **Reference.** Other test faces, which neither the prior nor a flow has seen. The row "true faces" are the faces that
# were measured: what a perfect sampler would have with as many pictures.
#
# **FID** is the Fréchet distance between two Gaussians fitted to 2048 features of Inception-v3. With few pictures it is
# too large, and the fewer the larger; values count only beside others with the same number, and none of these can be
# compared with published ones, which are of ten thousand pictures and more. **KID**
# {cite:p}`binkowski2018demystifying`, the kernel distance of the same features, has no such bias: it is zero on average
# for equal laws, and can be negative. Its standard error comes from the scatter of what each picture contributes, that
# of FID from leaving out an eighth of the pictures in turn. **LPIPS** {cite:p}`zhang2018unreasonable` compares each
# picture with its own truth, by features of AlexNet that were weighted after what people see; it is a distance to the
# truth as PSNR is, and the posterior mean is not blamed for being no face.
#
# **Preparation.** Inception is shown what a file would hold: values clipped to [0, 1] and rounded to 8 bits, enlarged
# from 32 to 299 pixels by Pillow's bicubic filter and scaled to $(x - 128)/128$, as in clean-fid
# {cite:p}`parmar2022aliased`. LPIPS is shown the same files, enlarged to 64 pixels by linear interpolation, the size of
# the patches on which it was calibrated, in [-1, 1]. PSNR is of unclipped values, as everywhere in this book. Clipping
# is no favour to all alike: it takes away noise where a face is black or white, and so helps a sampler with too much of
# it. How many values it changes stands below.

# %% tags=["hide-input"]
test = perception.load_faces()
run.uses_data(test)
run.uses_weights(load_prior("faces-prior")[1])
found = {}
for name in tasks:
    found[name], inside, card = perception.pictures(
        name, test, n_faces, n_samples, perception.ITERATIVE if with_rivals else (), temperatures, seed
    )
    run.uses_weights(card)
    perception.store_inside(run, name, inside)
    perception.store_pixels(run, name, found[name])
    if alexnet.available():
        perception.store_lpips(run, name, found[name])
run.say(
    f"This build measures {{parameters/n_faces}} faces of **{test.name}**, for "
    + " and ".join(perception.TASKS[name] for name in tasks)
    + (
        ""
        if with_inception
        else ", and leaves FID and KID to the full run: they need torch and a network that are no part "
        "of the package (`aps data fetch inception`, `pip install torch`)"
    )
    + ("." if alexnet.available() else ", and LPIPS too (`aps data fetch lpips`).")
    + f" The flows: {perception.FLOW}."
)

# %% tags=["hide-input"]
if with_inception:
    perception.store_sets(run, found, test, n_reference, progress=True)

# %% tags=["hide-input"]
titles = {
    "truth": "truth",
    "measured": "measured",
    "gaussian_n1": "Gaussian",
    "aps_n1": "flow",
    "aps_n128": "mean of the flow",
}
seen = perception.shown(found, test, n_samples, seed=seed)
run.figure(
    images.face_columns(perception.columns(seen, titles)),
    "faces",
    alt="Three rows of faces. Columns: truth, measurement, a sample of the Gaussian posterior, a sample of the flow, "
    "and the mean of the samples of the flow. The samples have grain and fine detail; the mean is smooth.",
    caption="Three faces of this build. The mean of the samples is nearer to the truth than either sample, and "
    "smoother than a face." + pictured.said(test),
    label="fig-perception-faces",
)

# %% [markdown]
# ## The tables
#
# Rows with $N = 1$, DPS, DDRM {cite:p}`kawar2022ddrm` and PiGDM {cite:p}`song2023pigdm` are one sample of each face.
# DPS and PiGDM take 50 evaluations of the network and DDRM 50 to 100, with the settings that the page on faces found on
# validation faces by the energy score.

# %% tags=["hide-input"]
labels = perception.rows(n_samples)
full = record.full_run("perception")
numbers = (run.as_dict() if with_inception or full is None else full)["numbers"]
for name, label in perception.TASKS.items():
    if rows := perception.known(run, name, labels):
        if any(f"{name}.{row}.kid" in numbers for row in rows):
            run.table(
                rows,
                perception.SETS,
                name,
                caption=f"{label[0].upper()}{label[1:]}: distance of the set to other faces.",
                signals="n_faces",
            )
        near = {row: title for row, title in rows.items() if row != "truth"}
        run.table(
            near,
            perception.EACH,
            name,
            caption=f"{label[0].upper()}{label[1:]}: nearness of each picture to its truth.",
            signals="n_faces",
        )

# %% [markdown]
# ## Do single samples of the flow look better?

# %% tags=["hide-input"]
used = (run.as_dict() if with_inception or full is None else full)["parameters"]
if full is not None or with_inception:
    run.say(
        f"From {used['n_faces']} measured faces and {used['n_reference']} others as the reference, the row minus a "
        f"single sample of the {perception.FLOW}, paired by face (bold: at least two standard errors; all three are "
        "the smaller the better):\n\n" + perception.differences(numbers)
    )
    run.say(
        "\n".join(
            "- " + perception.verdict(numbers, row, ("fid", "kid", "lpips"))
            for row in ("gaussian_n1", *perception.ITERATIVE)
            if f"denoise_paired.{row}.kid" in numbers
        )
    )
else:
    run.say("FID and KID were not run.")

# %% [markdown]
# ## With less noise
#
# A flow can be given less noise than it was trained with, $x = f_\phi(\tau z; y)$ with a *temperature* $\tau < 1$
# {cite:p}`kingma2018glow`, so that its samples lie nearer to the middle of $q_\phi(x \mid y)$. That costs nothing, is
# no longer posterior sampling, and the coverage of its intervals tells by how much. It separates what a single sample
# owes to the flow from what it owes to the amount of noise.

# %% tags=["hide-input"]
temperatures_used = sorted(used.get("temperatures", []), reverse=True)
cooled = (
    {"aps_n1": labels["aps_n1"], **perception.cooler_rows(temperatures_used)}
    if full is not None or with_inception
    else {}
)
for name, label in perception.TASKS.items():
    if rows := perception.known(run, name, cooled):
        kid = {"kid": perception.SETS["kid"]} if f"{name}.aps_n1.kid" in numbers else {}
        run.table(
            rows,
            {**kid, "psnr": perception.EACH["psnr"], "inside_90": ("inside 90 % [%]", ".1f")},
            name,
            caption=f"{label[0].upper()}{label[1:]}: samples of the flow with all of their noise, and with less; "
            f"pixels inside the 90 % intervals of {run.stated('n_samples')} of them.",
            signals="n_faces",
        )
run.say(perception.enough_cooling(numbers, temperatures_used))

# %% tags=["hide-input"]
levels = perception.store_draws(run)
rows = {row: label for row, label in labels.items() if row not in ("truth", "measured")}
source = run.as_dict() if with_inception or full is None else full
run.shows_full_run("fig-perception-trade-off", source is full)
drawn = perception.trade_off(source, rows)
run.figure(
    charts.trade_off(**drawn, levels=levels, path_label="flow, N = 1, less noise"),
    "trade-off",
    alt="A panel for each task, of KID against PSNR; a black line with dots leads from single samples of the flow to "
    f"those with less noise. {told.trade_off(**drawn)}",
    caption=f"Perception against distortion in {'the full run' if source is full else 'this run'}: KID (less is "
    "better) against PSNR (more is better), two standard errors; the dashed line is what true faces have, the dotted "
    "one what draws of the prior have. All but the mean are single samples; along the black line the noise of the flow "
    "falls.",
    label="fig-perception-trade-off",
)

# %% tags=["hide-input"]
run.say(
    "The prior itself: its {prior.draws:.0f} embedded draws have an FID of {prior.fid:.1f} ± {prior.fid.se:.1f} and "
    "a 1000 KID of {prior.kid:.1f} ± {prior.kid.se:.1f} to the same reference."
)
run.say(
    "Outside [0, 1] lie {full/denoise.gaussian_n1.outside:.1f} % of the values of the closed form's samples for "
    "denoising, {full/denoise.aps_n1.outside:.1f} % of the flow's, "
    "{full/denoise.dps.outside:.1f} % of DPS's, {full/denoise.ddrm.outside:.1f} % of DDRM's, and "
    "{full/denoise.measured.outside:.1f} % of the measurements'. Clipping takes noise from the "
    "closed form and the flow more than from DPS and DDRM: it can help them, and is no reason for their distance to "
    "the other rows."
)

# %% [markdown]
# ## What it means
#
# - The measure holds at this number of pictures: the KID of true faces to other true faces stands in the last row of
#   each table, beside its error.
# - How single samples of the flow stand to those of the closed form, which has the same first and second moments of the
#   prior and no network, and to the samplers that iterate, the list above says by task and measure. The paper's claim
#   against DPS is of super-resolution and deblurring; DPS here is a tuned one with 50 evaluations, not the paper's.
#   LPIPS asks for the face behind the measurement, FID and KID for faces as a set.
# - A good part of the distance is the prior's: its own draws are no faces to Inception either, and single samples of
#   the flow lie above them by less than the draws lie above faces. An exact sample of the posterior under this prior
#   can be expected between the two; if so, the flow adds a distance of its own. A row far below the draws looks more
#   like faces than the prior that it is given.
# - The amount of noise is a part of what is left: the tables of less noise have the same flow at several amounts, and
#   the sentences below them say where its KID falls under that of DPS, with both PSNRs. What it pays is coverage: its
#   intervals then hold less than the nine tenths that they should. FID and KID do not see that price. They reward a
#   sample for being too near to the mean: by its PSNR a sample can be seen to be nearer than an exact one, which lies 3
#   dB from the mean.
# - A reason may be seen in the pictures: the samples of the flow are fine grain about a mean, which no face is, though
#   the grain has about the right size (coverage by band of modes, on the page {doc}`faces`). Inception, which is shown
#   the faces ninefold enlarged, may mind this grain more than blur. The mean of the samples has none, although no
#   single posterior sample is as smooth; where its row stands, by KID and by LPIPS, says
#   whether there is a trade-off between perception and distortion {cite:p}`blau2018perception` by that measure.
# - Coverage and energy score do not show what is missing.
#
# What is not shown: DPS with a thousand evaluations, which is the paper's; the coverage of the iterative samplers, of
# which there is one sample each; exact samples under this prior, whose place is only guessed here; what people would
# say; larger pictures, for which these networks were made.

# %% tags=["hide-input"]
run.finish()
