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
# # DPS: how many evaluations, which step size
#
# Diffusion posterior sampling {cite:p}`chung2023dps` walks from noise to an image in many steps and pulls each of them towards the measurement. The
# APS paper {cite:p}`mammadov2024aps` (Figure 4) asks on denoising how its quality falls with fewer steps and with a badly chosen step size; APS, with
# one evaluation and nothing to choose, is a flat line. The same is asked here, of our DPS with the prior of the page on faces.

# %% tags=["parameters"]
n_test = 4  # faces
nfe = [10, 30, 100]  # network evaluations of one sample
step_sizes = [0.1, 0.3, 1.0, 3.0, 10.0]
step_size = 1.0  # where the number of evaluations varies
steps = 40  # where the step size varies
n_samples = 64  # of APS, for its mean
seed = 0

# %% tags=["hide-input"]
import aps_core
from aps_core import data, dps_ablation, faces_study, plotting_images, record

run = record.start("dps_ablation", globals(), {
    "n_test": record.integer(2, 5189), "nfe": record.list_of(record.integer(2)), "step_sizes": record.list_of(record.between(0, 1e4, open=True)),
    "step_size": record.between(0, 1e4, open=True), "steps": record.integer(2), "n_samples": record.integer(2), "seed": record.integer(0),
})  # fmt: skip

# %% [markdown]
# ## Evaluations
#
# Denoising, noise 0.1, one sample of each face. DPS does not use the noise level: its step size stands for the weight of the data.

# %% tags=["hide-input"]
task = aps_core.load_task("faces-denoise")
faces = data.load("faces", "test")
case = faces_study.measure(task, faces, n_test, seed)
run.uses_data(faces)
posterior = aps_core.load_posterior(task)
run.uses_weights(posterior.card)
ours = faces_study.flat_lines(run, posterior, case, n_samples, seed)
by_nfe = dps_ablation.sweep(task, case, {f"n{n}": {"n_steps": n, "step_size": step_size} for n in nfe}, seed)
dps_ablation.store(run, "nfe", by_nfe)
run.say(f"{{parameters/n_test}} faces of **{faces.name}**. APS has {{aps.n1.psnr:.2f}} dB for one sample and {{aps.mean.psnr:.2f}} dB for the mean of {{parameters/n_samples}}.")

# %% mystnb={"image": {"alt": "PSNR of DPS against the number of network evaluations on a logarithmic axis, rising with the number, and two flat lines for APS with one sample and with the mean of many."}, "figure": {"caption": "PSNR of one DPS sample against its network evaluations (bars: two standard errors over faces); APS needs one.", "name": "fig-dps-nfe"}} tags=["hide-input"]
run.figure(plotting_images.cost_curves({"DPS": dps_ablation.curve(by_nfe, {f"n{n}": n for n in nfe})}, ours), "nfe")

# %% tags=["hide-input"]
run.table({f"n{n}": f"{n} evaluations" for n in nfe if f"nfe.n{n}.psnr" in run.as_dict()["numbers"]}, {"psnr": ("PSNR [dB]", ".2f")}, "nfe",
          caption="One sample of DPS. A number of evaluations at which a sample diverged is left out.")

# %% mystnb={"image": {"alt": "Rows of faces; columns: truth, measurement, DPS samples by number of evaluations, and a sample of APS. With few evaluations DPS is smooth or wrong, with more it comes nearer to the truth."}, "figure": {"caption": "One sample of each by number of evaluations.", "name": "fig-dps-pictures"}} tags=["hide-input"]
pictures = {f"DPS {n}": by_nfe[f"n{n}"]["samples"][:4] for n in nfe}
run.figure(plotting_images.face_columns(faces_study.beside(case, pictures, posterior, seed)), "pictures")

# %% [markdown]
# ## Step size

# %% tags=["hide-input"]
by_size = dps_ablation.sweep(task, case, {f"z{i}": {"n_steps": steps, "step_size": z} for i, z in enumerate(step_sizes)}, seed)
dps_ablation.store(run, "size", by_size)

# %% mystnb={"image": {"alt": "PSNR of DPS against its step size on a logarithmic axis: a maximum with lower values on both sides, and two flat lines for APS."}, "figure": {"caption": "PSNR of one DPS sample against its step size, at a fixed number of evaluations.", "name": "fig-dps-size"}} tags=["hide-input"]
curves = {f"DPS, {steps} evaluations": dps_ablation.curve(by_size, {f"z{i}": z for i, z in enumerate(step_sizes)})}
run.figure(plotting_images.cost_curves(curves, ours, xlabel="step size"), "size")

# %% tags=["hide-input"]
known = run.as_dict()["numbers"]
run.table({f"z{i}": f"step size {z:g}" for i, z in enumerate(step_sizes) if f"size.z{i}.psnr" in known}, {"psnr": ("PSNR [dB]", ".2f")}, "size",
          caption="One sample of DPS. A step size at which a sample diverged is left out.")

# %% [markdown]
# ## What it means
#
# With few evaluations DPS falls, as the paper says, and a step size that is off by a factor of ten costs decibels on either side. PSNR alone does not say which
# step size is right: one that pulls hard gives samples near to a mean, with too little spread. The page "Do they sample the posterior?" shows
# that on a posterior that is known. What is not shown here: other schedules of the times (these are even in $t$), and more than one sample of each face.

# %% tags=["hide-input"]
run.finish()
