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
# # The paper's objective: where it leads, and whose measurements it sees (APS Tables 4 and 5)
#
# The APS paper {cite:p}`mammadov2024aps` puts the evidence bound of a diffusion prior in the place of $\log p$ and
# trains the reverse divergence on measurements alone. Three questions to that. Is what it leads to the posterior that
# the prior's own denoiser stands for? Does it matter that the paper trains on the measurements of the images that it is
# tested on (its Table 5)? And how far does the paper's own network come?

# %% tags=["parameters"]
n_test = 8  # faces of each split
n_samples = 128  # posterior samples of each measurement
n_objective = 0  # faces on which the objective is evaluated; 0 leaves it to the full run
family_steps = 60  # of each training on the mixture
seed = 0

# %% tags=["hide-input"]
import jax
import numpy as np

import aps_core
from aps_book import record
from aps_book.experiments import along_training, faces_realnvp, family, mean_kept, objective_faces, protocol_controls
from aps_book.experiments import faces as faces_study
from aps_book.figures import curves as curves_figures
from aps_core import data
from aps_core.metrics import evaluation
from aps_core.training import validation

run = record.start(
    "protocol",
    globals(),
    {
        "n_test": record.integer(2, 5189),
        "n_samples": record.integer(3, 4096),
        "n_objective": record.several(),
        "family_steps": record.integer(20),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## Why the mean moves
#
# For denoising the posterior mean under the prior is known in one evaluation: Tweedie's estimate, the prior's denoised
# signal at the noise of $y$. A flow can start there, with its mean frozen, and have only its spread trained. The
# reverse divergence with the bound, free to move the mean, leaves that place, and is rewarded for it. What could move
# it:
#
# - **a, the density.** The prior's density, of which the bound is one estimate, may have another posterior mean than
#   the one its denoiser gives.
# - **b, the family.** A reverse divergence in a restricted family seeks modes, with any density.
# - **c, noise** of the gradient, which a rate that falls takes away.
# - **d, the start** of the diffusion: below `t_residual` the bound sees the Gaussian alone.
# - **e, a mistake** of the optimizer: then the objective would not be lower where the flow ends.
#
# The rows below take the flow away. The *posterior of the bound* is drawn from by Langevin dynamics with the gradient
# of the bound ({py:func}`~aps_book.experiments.moved_mean.chains`), from a sample of the flow with the frozen mean and
# from one of the reverse flow: no family restricts it. The *posterior of the score* is the same with the network's own
# score at one small noise, in which no Jacobian and no divergence stands. The *reverse diffusion* starts from $y$
# itself. "Along" is how much of the way from Tweedie's mean to that of the reverse flow a mean has gone, "away" its
# distance from Tweedie's over that of the reverse flow, "lost" the decibels that it lies below Tweedie's.

# %% tags=["hide-input"]
full = record.full_run("protocol") or {"numbers": {}}
run.table(
    objective_faces.rows(full["numbers"]),
    {
        "along": ("along [%]", ".0f"),
        "away": ("away [%]", ".0f"),
        "lost": ("lost [dB]", "+.2f"),
        "inside_90": ("90 % intervals hold [%]", ".1f"),
    },
    "moved",
    signals=objective_faces.stands_on(),
    caption="Means of flows, and of the posterior without a flow, against Tweedie's; real validation faces, denoising, "
    "noise 0.1.",
)

run.say(
    "The chains begun at the two flows end {full/chain.bound.apart:+.0f} ± {full/chain.bound.apart.se:.0f} % of the "
    "way apart for the bound, {full/chain.score.apart:+.0f} ± {full/chain.score.apart.se:.0f} % for the score."
)

# %% tags=["hide-input"]
run.verdict(
    record.Difference(
        "moved.reverse.lost", "the mean of the reverse flow", "Tweedie's", "lower", "+.2f", measure="decibels lost"
    ),
    record.Difference(
        "moved.bound.lost",
        "the mean of the bound's own posterior",
        "Tweedie's",
        "lower",
        "+.2f",
        measure="decibels lost",
    ),
    record.Difference(
        "moved.score.lost", "that of the score at noise 0.01", "Tweedie's", "lower", "+.2f", measure="decibels lost"
    ),
    record.Difference(
        "moved.diffusion.lost", "that of the reverse diffusion", "Tweedie's", "lower", "+.2f", measure="decibels lost"
    ),
    record.Difference(
        "segment.l100.bound",
        "the bound at the reverse flow's mean",
        "the bound at Tweedie's",
        None,
        "+.0f",
        measure="its value, the spread being the same",
    ),
    record.Difference(
        "segment.l100.ode",
        "the density of the probability-flow ODE there",
        "that at Tweedie's",
        None,
        "+.0f",
        measure="its value, the spread being the same",
    ),
    before="Full run:",
    source="full",
)

# %% tags=["hide-input"]
run.say(objective_faces.causes(full["numbers"]))

# %% tags=["hide-input"]
if "moved.score.along" in full["numbers"]:
    run.shows_full_run("fig-protocol-times")
    run.figure(
        curves_figures.cost_curves(
            objective_faces.along_curves(full["numbers"]),
            xlabel="noise at which the network is asked",
            ylabel="way to the reverse flow's mean (%)",
        ),
        "times",
        alt="Share of the way from Tweedie's mean to that of the reverse flow against noise. A curve for the reverse "
        "diffusion, and two points for the posterior of the score at small noise.",
        caption="How far the posterior mean lies from Tweedie's, by how the same network is asked: from large noise to "
        "small along the reverse diffusion from $y$, or for the density at one noise. Full run.",
        label="fig-protocol-times",
    )

# %% [markdown]
# With the score of one density all rows without a flow would have Tweedie's mean, in whatever way the network is asked.
# A network is trained at each noise $s$ for the denoised signal at that noise. A score that is wrong by $\delta$
# along a
# direction costs that training $\tfrac12 s^2 \delta^2$ nats, but a posterior of spread $\tau$ along it
# $\tfrac12 \tau^2 \delta^2$, and moves its mean by $\tau^2 \delta$: at $s \ll \tau$ the training does not see an
# error that the posterior sees. Tweedie's estimate and the reverse diffusion ask the network at each noise for what it
# was trained for; a density, by the bound, by the ordinary differential equation or by the score at small noise, is
# asked for differences over the distance $\tau$. That is a reason why the two can differ, not a measurement that they
# differ for no other. The row at noise 0.06 is no test of it: noise of that size is larger than the spread of this
# posterior and weakens by itself what the network adds to the Gaussian.
#
# ### What the bound pays for

# %% tags=["hide-input"]
run.table(
    {"paid": "reverse flow minus frozen mean"},
    objective_faces.paid_columns(aps_core.load_task("faces-denoise").prior),
    caption="What the reverse flow has gained on the flow with the frozen mean, in nats for 3072 entries: by noise of "
    "the bound's times, by likelihood and Gaussian part of the prior, and by the entropy of the flow. Positive lowers "
    "the objective.",
)
run.say(
    "Jacobian of the learned part of the noise prediction, its antisymmetric part over the symmetric one (0 for a "
    "gradient, 100 for a rotation): {full/asymmetry.s010:.0f} % at noise 0.01, {full/asymmetry.s050:.0f} % at 0.05, "
    "{full/asymmetry.s200:.0f} % at 0.2."
)

# %% [markdown]
# ### The family, where the bound is exact
#
# A mixture of three Gaussians with one mean, flat or busy as pieces of a photograph are
# ({py:func}`~aps_book.experiments.family.problem`): the score is exact, the bound is the density, and the exact
# posterior is known. The flow is of the same kind, smaller.

# %% tags=["hide-input"]
run.number("family.steps", family_steps)
family.store(run, "contrast", family.compare("contrast", family_steps, 256))
run.table(
    family.LABELS,
    {"lost": ("lost [dB]", "+.2f"), "shift": ("shift²/MMSE", ".3f"), "inside_90": ("90 % intervals hold [%]", ".1f")},
    "family.contrast",
    caption="Mean and spread against the exact posterior.",
)
run.say("Trainings of {family.steps:.0f} steps in this build, {full/family.steps:.0f} in the full run.")
run.verdict(
    record.Difference(
        "family.contrast.mode_seeking",
        "the mean by the reverse divergence with the exact density",
        "that by the forward divergence",
        "lower",
        "+.3f",
        measure="decibels lost",
    ),
    record.Difference(
        "family.contrast.apart",
        "the mean after going on with the bound",
        "that before it",
        "lower",
        "+.3f",
        measure="decibels lost",
    ),
    source="full",
    before="Full run:",
)

# %% [markdown]
# ## What keeps the mean
#
# For denoising the mean can be Tweedie's, frozen, with the spread alone trained by the reverse divergence: the row
# "mean frozen" above. It needs measurements and the prior only; its scores on test faces are on the page on
# {doc}`faces`. For other operators no single evaluation gives the mean. What corresponds to it is the mean of the flow
# of the forward divergence, which needs the prior alone (draws of it and their simulated measurements), with the spread
# trained on by the reverse divergence (recipes `faces-sr2-spread`, `faces-deblur-spread`, `bunny-inpaint-spread`).
# Frozen is the copy of the score network, from which the mean comes; the couplings behind it are trained and could
# still move it. Whether mean and spread are kept, the lists say. The steps are few: their number was chosen on the
# validation signals of the lists, by the intervals. Nothing here says that a longer training would keep their width.

# %% tags=["hide-input"]
for name in mean_kept.recorded(full["numbers"]):
    prefix, title = mean_kept.prefix_of(name), mean_kept.TITLES[name]
    run.table(mean_kept.rows(name), mean_kept.columns(name), prefix, caption=mean_kept.caption(name))
    run.say(
        f"The last row was trained for {{full/{prefix}.training.steps:.0f}} steps in "
        f"{{full/{prefix}.training.seconds:.0f}} s"
        + ("." if name in mean_kept.SHIPPED else ", on from the first; its weights are not kept.")
    )
    run.say(mean_kept.goal(full["numbers"], name))
    run.verdict(
        *(
            record.Difference(key, this, that, better, form, measure=measure)
            for key, this, that, better, form, measure in mean_kept.differences(name)
        ),
        before=f"{title}, full run:",
        source="full",
    )
not_run = [title for name, title in mean_kept.TITLES.items() if name not in mean_kept.recorded(full["numbers"])]
if not_run:
    run.say(f"Not run: {', '.join(not_run)}.")
run.say(mean_kept.on_the_sphere(full["numbers"]))

# %% [markdown]
# ### Why the reverse divergence alone does not do it
#
# For the other two operators on faces the reverse divergence, from the untrained flow and with nothing frozen, ends
# with a lower mean and narrower intervals than the forward one; how its single samples stand, the lists above say. The
# tables are the cards of the shipped flows: validation faces along their training. The seconds of the forward
# divergence leave out the 6144 draws of the prior that it is trained on.

# %% tags=["hide-input"]
for name in ("sr2", "deblur"):
    labels = along_training.store(run, name)
    run.table(
        labels,
        along_training.COLUMNS,
        f"along.{name}",
        caption=f"{mean_kept.TITLES[name]}: sample, mean and coverage along the training of the two flows.",
    )
run.say(along_training.traded(mean_kept.FACES))

# %% tags=["hide-input"]
for name in ("sr2", "deblur"):
    title = mean_kept.TITLES[name]
    run.figure(
        curves_figures.panels(along_training.curves(name)),
        f"along-{name}",
        alt=f"{title}: decibels of a sample, decibels of the mean, and coverage of 90 % intervals against seconds of "
        "training, one panel each, for the forward and the reverse divergence.",
        caption=f"{title}, validation faces, from the cards of the flows: what seconds of training are worth.",
    )

# %% [markdown]
# ## How its gradient is estimated
#
# Of the gradient of $\log q$ there are two estimators, "total" and "path", of one expectation
# ({py:mod}`~aps_core.training.objective`); of the bound there is one draw of time and noise for each sample or several.
# The paper takes the total gradient with one time. On small problems the page on the {doc}`method` compares them with
# the way the times are drawn; here they are at the untrained flow for faces.

# %% tags=["hide-input"]
if "noise.path_8.std" in full["numbers"]:
    run.table(
        {
            "total_1": "total, 1 time",
            "path_1": "path, 1 time",
            "path_2": "path, 2 times",
            "path_4": "path, 4 times",
            "path_8": "path, 8 times",
        },
        {
            "std": ("noise of the gradient", ".3f"),
            "variance_ratio": ("variance: total, 1 time, over it", ".1f"),
            "cost_ratio": ("seconds of a gradient, over total, 1 time", ".2f"),
        },
        "noise",
        caption="Standard deviation of the gradient per entry, 4 noisy faces, by estimator and number of times; time "
        "for a batch of 16 with nothing beside it.",
    )
run.say(along_training.noise_of_the_gradient(full["numbers"]))

# %% [markdown]
# ## Two flows
#
# This book keeps the test measurements out of training (protocol "held-out"), but for rows that say otherwise. Here the
# paper's protocol is followed for denoising faces, with the paper's objective.
#
# - **Held-out.** The flow of the page on faces: forward divergence, on draws of the prior and their simulated
#   measurements. No photograph is used.
# - **Paper's protocol.** The same network, from the weights of the first, trained further by the paper's objective, the
#   reverse divergence, fidelity + prior + entropy, on measurements of the test faces, with new noise at every step.
#   What the objective makes of the untrained flow, the page on {doc}`faces` has.
#
# Both are measured on test faces, which the second was trained on, and on validation faces, which neither has seen.

# %% tags=["hide-input"]
task = aps_core.load_task("faces-denoise")
samplers = {
    "held_out": aps_core.load_posterior(task, weights="faces-denoise-held-out"),
    "paper": aps_core.load_posterior(task, protocol="paper"),
}
labels = {"held_out": "held-out", "paper": "paper's protocol"}
card = samplers["paper"].card
run.numbers("training", {"steps": card["steps"], "seconds": card["seconds"]})
run.uses_weights(*(sampler.card for sampler in samplers.values()))
splits = {split: data.load("faces", split) for split in ("test", "val")}
cases = {split: faces_study.measure(task, faces, n_test, seed) for split, faces in splits.items()}
run.uses_data(*splits.values())
run.say(
    f"The second flow was trained for {{training.steps:.0f}} steps in {{training.seconds:.0f}} s. This build "
    f"measures {{parameters/n_test}} faces of each split of **{splits['test'].name}**"
    + (
        "."
        if splits["test"].name == "celeba"
        else ": draws of the prior, so that neither flow has seen them; the full run has the photographs."
    )
)

# %% tags=["hide-input"]
scores = {split: {} for split in cases}
for split, case in cases.items():
    for row, sampler in samplers.items():
        scores[split][row] = evaluation.evaluate(
            sampler, jax.random.key(seed + 1), case.measurements, case.x0, n_samples
        )
        run.mean(f"{split}.{row}.inside_90", 100 * scores[split][row]["coverage"][:, 1], "%")
    faces_study.store(run, split, scores[split], n_samples)
    faces_study.store_differences(run, split, scores[split], reference="held_out")
for split, title in (("test", "Test faces"), ("val", "Validation faces")):
    rows = {
        f"{row}_{kind}": f"{label}, {name}"
        for row, label in labels.items()
        for kind, name in (("n1", "N = 1"), ("n128", f"N = {run.stated('n_samples')}"))
    }
    columns = {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM, 7 × 7", ".3f"), "ssim11": ("SSIM, 11 × 11", ".3f")}
    run.table(rows, columns, split, caption=f"{title}, denoising, noise 0.1.", signals="n_test")

# %% tags=["hide-input"]
run.table(
    {"test_paired.paper": "test faces", "val_paired.paper": "validation faces"},
    {
        "psnr_n128": ("PSNR of the mean [dB]", "+.3f"),
        "psnr_n1": ("PSNR of one sample [dB]", "+.3f"),
        "energy": ("energy score", "+.4f"),
    },
    caption="The flow of the paper's protocol minus the held-out one, paired by face.",
    signals="n_test",
)
for split, title in (("test", "test faces"), ("val", "validation faces")):
    key, that = f"{split}_paired.paper", "of the held-out flow"
    differences = (
        record.Difference(
            f"{key}.psnr_n128", "the mean of the flow of the paper's protocol", f"that {that}", form="+.3f"
        ),
        record.Difference(f"{key}.psnr_n1", "one sample of it", f"one {that}", None, "+.3f"),
        record.Difference(f"{key}.energy", "the flow", "the held-out one", "lower", "+.4f", measure="energy score"),
    )
    run.verdict(*differences, before=f"On {title}, in the full run:", source="full")
    run.verdict(*differences, before="In this build:")
run.say(
    "In the full run 90 % intervals of test faces hold {full/test.held_out.inside_90:.1f} % of the pixels for the "
    "held-out flow and {full/test.paper.inside_90:.1f} % for that of the paper's protocol."
)

# %% tags=["hide-input"]
for kind in ("psnr_n128", "psnr_n1"):
    change = [run.as_dict()["numbers"][f"{split}_paired.paper.{kind}"] for split in ("test", "val")]
    value, error = change[0]["value"] - change[1]["value"], float(np.hypot(*(c["se"] for c in change)))
    run.number(f"advantage.{kind}", value, error, "dB", n_test)
single = [run.as_dict()["numbers"][f"{split}.paper_n1.psnr"] for split in ("test", "val")]
error = float(np.hypot(*(s["se"] for s in single)))
run.number("apart.n1", single[0]["value"] - single[1]["value"], error, "dB", n_test)
run.number(
    "apart.paper",
    record.paper_value("aps.table2.celeba_denoise.aps_n1.psnr")
    - record.paper_value("aps.table5.celeba_val_denoise.aps_n1.psnr"),
    unit="dB",
)
advantages = [
    record.Difference(f"advantage.{kind}", f"the change of {what} on test faces", "that on others", None, "+.3f")
    for kind, what in (("psnr_n128", "the mean"), ("psnr_n1", "one sample"))
]
run.verdict(
    *advantages,
    before="What seeing their measurements is worth to test faces (n of each kind), in the full run:",
    source="full",
)
run.verdict(*advantages, before="In this build:")
run.say(
    "Between test and validation faces of the full run the second flow's single sample differs by "
    "{full/apart.n1:.2f} ± {full/apart.n1.se:.2f} dB, "
    "which is a difference between the faces as well (the paper's: {apart.paper:.2f} dB)."
)

# %% [markdown]
# ### Objective, measurements and steps apart
#
# The second flow differs from the first in three things: objective, measurements, and the steps that it went on for.
# In the controls each is changed alone: all go on from the held-out flow for as many steps, with the same optimizer
# (`python -m aps_book.experiments.protocol_controls`). In the forward arm draws are reflected at random, as in its
# first training; in the reverse one they are not.

# %% tags=["hide-input"]
if controls := protocol_controls.recorded(full["numbers"]):
    run.say("Steps of each: {full/controls.draws.training.steps:.0f}.")
    for split, title in protocol_controls.SPLITS.items():
        run.table(
            controls,
            protocol_controls.COLUMNS,
            f"controls.{split}",
            caption="What the steps have changed, against the held-out flow, paired; "
            f"{full['numbers'][f'controls.{split}.draws.mean']['n']} real {title}, denoising, noise 0.1.",
        )
        run.verdict(
            *(
                record.Difference(key, this, that, form="+.3f")
                for key, this, that in protocol_controls.differences(full["numbers"], split)
            ),
            before=f"On {title}, full run:",
            source="full",
        )
else:
    run.say("Not run.")

# %% [markdown]
# ## The objective itself
#
# What the second flow was trained to lower is the reverse divergence up to a constant, which can be computed for both.

# %% tags=["hide-input"]
if n_objective:
    for split, case in cases.items():
        few = jax.tree.map(lambda a: a[:n_objective], case.measurements)
        pair = {
            row: validation.excess_objective(sampler, jax.random.key(seed + 7), few, 4)
            for row, sampler in samplers.items()
        }
        run.mean(f"objective.{split}.change", pair["paper"] - pair["held_out"], "nats")
if n_objective or "objective.test.change" in (record.full_run("protocol") or {"numbers": ()})["numbers"]:
    run.table(
        {"test": "test faces", "val": "validation faces"},
        {"change": ("change [nats]", "+,.1f")},
        "objective",
        caption="Objective of the flow of the paper's protocol minus that of the held-out one, in nats for 3072 "
        "entries, paired by face.",
        signals="n_objective",
    )

# %% [markdown]
# ## The paper's own network
#
# Above the network is this book's. The paper's is a stack of affine couplings that start from a standard normal and
# get $y$ as a part of their input ({py:class}`~aps_core.flows.realnvp.ConditionalRealNVP`): nothing in it knows a
# denoised face, so that it has to learn first that its output resembles $y$. It was trained once, with the same
# objective and prior, on measurements of the test faces (`python -m aps_book.experiments.faces_realnvp`), for as long
# as there was time on one core; its weights are too many to be kept here.

# %% tags=["hide-input"]
along, used = faces_realnvp.store(run)
run.say(
    "It has {own.training.parameters:,.0f} parameters and came to step {own.training.steps:,.0f} of "
    + f"{record.paper_value('aps.table4.celeba.flow_iterations'):,.0f}"
    " in the paper, after {own.training.seconds:,.0f} s. The mean of 64 of its samples on validation faces had "
    + ", ".join(f"{{own.step{step}.psnr:.1f}}" for step in along)
    + " dB after "
    + ", ".join(f"{step:,}" for step in along)
    + " steps."
)
run.table(
    faces_study.rows(faces_realnvp.ROWS, used["n_samples"], faces_realnvp.ROWS),
    {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM, 7 × 7", ".3f")},
    "own",
    caption=f"{used['n_faces']} test faces, denoising, noise 0.1. Numbers of the recorded training of the paper's "
    f"network; the other rows are on the same faces.",
    signals=used["n_faces"],
)
run.say(
    "At that point its samples are all but equal: 90 % intervals hold {own.realnvp.inside_90:.1f} % of the pixels "
    "({own.aps.inside_90:.1f} % with this book's flow, {own.gaussian.inside_90:.1f} % "
    "with the closed form). The objective pays most for the fit to $y$ and to the prior while the mean is still "
    "wrong, and what spread there is only adds to both. That is no verdict on the network, "
    "which the paper brings to {paper/aps.table2.celeba_denoise.aps_n1.psnr:.2f} dB, but says what a start from the "
    "closed form and from the score network's own estimate is worth where computing is scarce: one sample of the "
    "closed form has {own.gaussian_n1.psnr:.2f} dB before the first step."
)

# %% tags=["hide-input"]
if len(faces_realnvp.recorded(full["numbers"])) > 1:
    run.say(
        "What holds it? Two arms are there of the same network and the same start, with the path gradient and several "
        "times: with a single linear map of $y$ added to its output, or with couplings and $y$ in whitened "
        "coordinates, the modes of the closed-form posterior, where faces and measurements have unit variance. Neither "
        "knows anything of $y$ before the first step. Estimator, times and coordinates change together: the table does "
        "not tell what each is worth."
    )
    run.table(
        faces_realnvp.store_arms(run, full["numbers"]),
        faces_realnvp.COLUMNS,
        "arms",
        caption="Test faces, denoising, noise 0.1: the recorded trainings of the paper's network. The error of a "
        "sample of an exact posterior is twice that of its mean.",
    )
    run.say(faces_realnvp.reached(full["numbers"]))

# %% tags=["hide-input"]
if len(faces_realnvp.recorded(full["numbers"])) > 1:
    run.shows_full_run("fig-protocol-realnvp")
    run.figure(
        curves_figures.panels(faces_realnvp.training_panels(full["numbers"])),
        "realnvp",
        alt="Decibels of one sample, decibels of the mean of 64 samples, and spread of the samples against seconds of "
        "training, one panel each, a curve for each arm.",
        caption="The paper's network on validation faces along its training on one core. The spread of the samples was "
        "recorded for the second arm alone. Full run.",
        label="fig-protocol-realnvp",
    )

# %% [markdown]
# ## What it means, and what it does not show
#
# - The bound does what the paper wants of it: it stands for the density of this prior, which the probability-flow
#   equation gives another way. What it does not give is the posterior that the prior's denoiser stands for, since
#   density and denoiser of this network are not those of one distribution. That is a finding about a network of this
#   size, trained for as long as its card says: with an exact score the two agree, as in the mixture. The paper reports
#   no posterior mean without a flow, so that nothing here says how far apart the two are for its prior.
# - The mean is the place where it can be seen, because one evaluation gives it. Where no such evaluation is at hand a
#   lower objective is no sign of a better posterior: calibration and the mean on draws of the prior are.
# - What the measurements of the test set are worth stands above, as a difference with its error. The two flows differ
#   in three things: the objective, the faces whose measurements were trained on, and that the second went on from the
#   weights of the first. The controls change one of them at a time.
# - The chains are short and on few faces, and a step of finite length puts a share of its own into their means. In a
#   mixture of much narrower components than a face's posterior it pulls the mean towards the Gaussian's, the way that
#   the means here have gone; the row with a third of the step says how much of it there is here, where it was run. What
#   the bound and the ODE pay for the move (the list above) needs no chain. The probability-flow ODE was evaluated
#   with one random vector for its trace, the same at both
#   ends.
# - Remedies that train the prior, to be the gradient of one density or to agree between times, were not tried.
#
# The paper's Table 5 compares seen and unseen measurements too. With a few measurements in the place of thousands it
# would be another question; then a flow is fitted to each, as on the page {doc}`score_prior`.

# %% tags=["hide-input"]
run.finish()
