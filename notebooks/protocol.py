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
# # Whose measurements train the flow?
#
# The APS paper {cite:p}`mammadov2024aps` trains its flow on the measurements of the very images that it is tested on: no clean test image enters, but the
# noisy ones do. Its Table 5 then asks how the flow does on images that it has not seen. Every other page of this book keeps the test measurements out
# of training (protocol "held-out"). Here the paper's protocol is followed for denoising faces, with the paper's objective.

# %% tags=["parameters"]
n_test = 8  # faces of each split
n_samples = 128  # posterior samples of each measurement
n_objective = 0  # faces on which the objective is evaluated; 0 leaves it to the full run
seed = 0

# %% tags=["hide-input"]
import jax
import numpy as np

import aps_core
from aps_core import data, evaluation, faces_realnvp, faces_study, record, validation

run = record.start("protocol", globals(), {
    "n_test": record.integer(2, 5189), "n_samples": record.integer(3, 4096), "n_objective": record.integer(0), "seed": record.integer(0),
})  # fmt: skip

# %% [markdown]
# ## Two flows
#
# - **Held-out.** The flow of the page on faces: forward divergence, on draws of the prior and their simulated measurements. No photograph is used.
# - **Paper's protocol.** The same network, from the weights of the first, trained further by the paper's objective, the reverse divergence, fidelity + prior + entropy, on
#   measurements of the test faces, with new noise at every step. (From its own start this objective needs many more steps for the same place; the page on the method shows it.)
#
# Both are measured on test faces, which the second was trained on, and on validation faces, which neither has seen.

# %% tags=["hide-input"]
task = aps_core.load_task("faces-denoise")
samplers = {"held_out": aps_core.load_posterior(task), "paper": aps_core.load_posterior(task, protocol="paper")}
labels = {"held_out": "held-out", "paper": "paper's protocol"}
card = samplers["paper"].card
run.numbers("training", {"steps": card["steps"], "seconds": card["seconds"]})
run.uses_weights(*(sampler.card for sampler in samplers.values()))
splits = {split: data.load("faces", split) for split in ("test", "val")}
cases = {split: faces_study.measure(task, faces, n_test, seed) for split, faces in splits.items()}
run.uses_data(*splits.values())
run.say(f"The second flow was trained for {{training.steps:.0f}} steps in {{training.seconds:.0f}} s. This build measures {{parameters/n_test}} faces of each split of **{splits['test'].name}**"
        + ("." if splits["test"].name == "celeba" else ": draws of the prior, so that neither flow has seen them; the full run has the photographs."))

# %% tags=["hide-input"]
scores = {split: {} for split in cases}
for split, case in cases.items():
    for row, sampler in samplers.items():
        scores[split][row] = evaluation.evaluate(sampler, jax.random.key(seed + 1), case.measurements, case.x0, n_samples)
        run.mean(f"{split}.{row}.inside_90", 100 * scores[split][row]["coverage"][:, 1], "%")
    faces_study.store(run, split, scores[split], n_samples)
    faces_study.store_differences(run, split, scores[split], reference="held_out")
for split, title in (("test", "Test faces"), ("val", "Validation faces")):
    rows = {f"{row}_{kind}": f"{label}, {name}" for row, label in labels.items() for kind, name in (("n1", "N = 1"), ("n128", f"N = {n_samples}"))}
    run.table(rows, {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM", ".3f")}, split, caption=f"{title}, denoising, noise 0.1.")

# %% tags=["hide-input"]
run.say(
    "Measurement by measurement, the paper's protocol changes the mean by {test_paired.paper.psnr_n128:+.3f} ± {test_paired.paper.psnr_n128.se:.3f} dB and one sample by "
    "{test_paired.paper.psnr_n1:+.3f} ± {test_paired.paper.psnr_n1.se:.3f} dB on test faces, and by {val_paired.paper.psnr_n128:+.3f} ± {val_paired.paper.psnr_n128.se:.3f} and "
    "{val_paired.paper.psnr_n1:+.3f} ± {val_paired.paper.psnr_n1.se:.3f} dB on validation faces. Energy scores change by {test_paired.paper.energy:+.4f} ± {test_paired.paper.energy.se:.4f} and "
    "{val_paired.paper.energy:+.4f} ± {val_paired.paper.energy.se:.4f} (less is better). 90 % intervals of test faces hold {test.held_out.inside_90:.1f} % of the pixels for the first flow and "
    "{test.paper.inside_90:.1f} % for the second.")

# %% tags=["hide-input"]
for kind in ("psnr_n128", "psnr_n1"):
    change = [run.as_dict()["numbers"][f"{split}_paired.paper.{kind}"] for split in ("test", "val")]
    run.number(f"advantage.{kind}", change[0]["value"] - change[1]["value"], float(np.hypot(*(c["se"] for c in change))), "dB")
single = [run.as_dict()["numbers"][f"{split}.paper_n1.psnr"] for split in ("test", "val")]
run.number("apart.n1", single[0]["value"] - single[1]["value"], float(np.hypot(*(s["se"] for s in single))), "dB")
run.number("apart.paper", record.paper_value("aps.table2.celeba_denoise.aps_n1.psnr") - record.paper_value("aps.table5.celeba_val_denoise.aps_n1.psnr"), unit="dB")
run.say("So the change on test faces exceeds that on validation faces by {advantage.psnr_n128:+.3f} ± {advantage.psnr_n128.se:.3f} dB for the mean and {advantage.psnr_n1:+.3f} ± {advantage.psnr_n1.se:.3f} dB for one "
        "sample: what seeing their measurements is worth. Between test and validation faces the second flow's single sample differs by "
        "{apart.n1:.2f} ± {apart.n1.se:.2f} dB, which is a difference between the faces as well (the paper's: {apart.paper:.2f} dB).")

# %% [markdown]
# ## The objective itself
#
# What the second flow was trained to lower is the reverse divergence up to a constant, which can be computed for both.

# %% tags=["hide-input"]
if n_objective:
    for split, case in cases.items():
        few = jax.tree.map(lambda a: a[:n_objective], case.measurements)
        pair = {row: validation.excess_objective(sampler, jax.random.key(seed + 7), few, 4) for row, sampler in samplers.items()}
        run.mean(f"objective.{split}.change", pair["paper"] - pair["held_out"], "nats")
if n_objective or "objective.test.change" in (record.full_run("protocol") or {"numbers": ()})["numbers"]:
    run.table({"test": "test faces", "val": "validation faces"}, {"change": ("change [nats]", "+,.1f")}, "objective",
              caption="Objective of the flow of the paper's protocol minus that of the held-out one, in nats for 3072 entries, paired by face.")

# %% [markdown]
# ## The paper's own network
#
# Above the network is this book's. The paper's is a stack of affine couplings that start from a standard normal and get $y$ as a part of their input
# ({py:class}`~aps_core.flows.realnvp.ConditionalRealNVP`): nothing in it knows a denoised face, so that it has to learn first that its output resembles $y$. It was trained once, with the same
# objective and prior, on measurements of the test faces (`python -m aps_core.faces_realnvp`), for as long as there was time on one core; its weights are too many to be kept here.

# %% tags=["hide-input"]
along, used = faces_realnvp.store(run)
run.say("It has {own.training.parameters:,.0f} parameters and came to step {own.training.steps:,.0f} of " + f"{record.paper_value('aps.table4.celeba.flow_iterations'):,.0f}"
        " in the paper, after {own.training.seconds:,.0f} s. The mean of 64 of its samples on validation faces had "
        + ", ".join(f"{{own.step{step}.psnr:.1f}}" for step in along) + " dB after " + ", ".join(f"{step:,}" for step in along) + " steps.")
run.table(faces_study.rows(faces_realnvp.ROWS, used["n_samples"], faces_realnvp.ROWS), {"psnr": ("PSNR [dB]", ".2f"), "ssim": ("SSIM", ".3f")}, "own",
          caption=f"{used['n_faces']} test faces, denoising, noise 0.1. Numbers of the recorded training of the paper's network; the other rows are on the same faces.")
run.say("At that point its samples are all but equal: 90 % intervals hold {own.realnvp.inside_90:.1f} % of the pixels ({own.aps.inside_90:.1f} % with this book's flow, {own.gaussian.inside_90:.1f} % "
        "with the closed form). The objective pays most for the fit to $y$ and to the prior while the mean is still wrong, and what spread there is only adds to both. That is no verdict on the network, "
        "which the paper brings to {paper/aps.table2.celeba_denoise.aps_n1.psnr:.2f} dB, but says what a start from the closed form and from the score network's own estimate is worth where computing is scarce: "
        "it is above that before the first step.")

# %% [markdown]
# ## What it means, and what it does not show
#
# What changes is due to the objective, not to the measurements that it was given: the reverse divergence narrows the spread on seen and unseen faces alike, so that a single sample gains
# what the mean loses. The measurements of the test set give no advantage of their own that could be seen here, which is what the paper's Table 5 reports as well: a network for any
# measurement has little to gain from a particular few thousand of them. With a few in place of thousands it would be otherwise; then a flow is fitted to each, as on the page {doc}`score_prior`.

# %% tags=["hide-input"]
run.finish()
