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
# # DPS, its evaluations and its step size: APS Figure 4
#
# Diffusion posterior sampling {cite:p}`chung2023dps` walks from noise to an image in many steps and pulls each of them
# towards the measurement. The APS paper {cite:p}`mammadov2024aps` (Figure 4) asks on denoising how its quality falls
# with fewer steps and with a badly chosen step size; a trained flow, with one evaluation and nothing to choose, is a
# flat line. The same is asked here, of our DPS with the prior of the page on faces, with one step size for all numbers
# of evaluations and, in the full run, with one that is tuned at each on validation faces (parameter `n_tuned`). What
# tuning brings in spread and calibration at 20, 50 and 100 evaluations, the {doc}`overview` has.

# %% tags=["parameters"]
n_test = 4  # faces
nfe = [10, 30, 100]  # network evaluations of one sample
step_sizes = [0.1, 0.3, 1.0, 3.0, 10.0]  # of DPS, with `steps` evaluations
step_size = 1.0  # where the number of evaluations varies
steps = 40  # where the step size varies
n_tuned = 0  # validation faces on which the step size is tuned at each number of evaluations; 0 leaves it out
n_samples = 64  # of the flow, for its mean
seed = 0

# %% tags=["hide-input"]
import aps_core
from aps_book import record
from aps_book.experiments import dps_ablation, pictured
from aps_book.experiments import faces as faces_study
from aps_book.figures import curves as curves_figures
from aps_book.figures import images
from aps_core import data

run = record.start(
    "dps_ablation",
    globals(),
    {
        "n_test": record.integer(2, 5189),
        "nfe": record.list_of(record.integer(2)),
        "step_sizes": record.list_of(record.between(0, 1e4, open=True)),
        "step_size": record.between(0, 1e4, open=True),
        "steps": record.integer(2),
        "n_tuned": record.integer(0),
        "n_samples": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## Evaluations
#
# Denoising, noise 0.1, one sample of each face. DPS does not use the noise level: its step size stands for the weight
# of the data.

# %% tags=["hide-input"]
task = aps_core.load_task("faces-denoise")
faces = data.load("faces", "test")
case = faces_study.measure(task, faces, n_test, seed)
run.uses_data(faces)
posterior = aps_core.load_posterior(task, weights="faces-denoise-held-out")
run.uses_weights(posterior.card)
faces_study.flat_lines(run, posterior, case, n_samples, seed)
fixed_size = {f"n{n}": {"n_steps": n, "step_size": step_size} for n in nfe}
by_nfe = dps_ablation.sweep(task, case, fixed_size, seed)
dps_ablation.store(run, "nfe", by_nfe)
if n_tuned:
    val = data.load("faces", "val")
    sizes = dps_ablation.tuned_sizes(task, faces_study.measure(task, val, n_tuned, seed).x0, nfe)
    run.uses_data(val)
    run.numbers("tuned_size", {f"n{n}": size for n, size in sizes.items()})
    settings = {f"n{n}": {"n_steps": n, "step_size": size} for n, size in sizes.items()}
    dps_ablation.store(run, "nfe", dps_ablation.sweep(task, case, settings, seed), "tuned")
run.say(
    f"{{parameters/n_test}} faces of **{faces.name}**. The flow ({posterior.trained_by}) has {{aps.n1.psnr:.2f}} dB "
    "for one sample and {aps.mean.psnr:.2f} dB for the mean of {parameters/n_samples}."
)

# %% tags=["hide-input"]
full = record.full_run("dps_ablation")
shown = run.as_dict() if full is None else full  # the figures show the full run, where there is one
source = "this build" if full is None else "the full run"
costs = dps_ablation.evaluations(run.as_dict(), full)
fixed = dps_ablation.points(shown, "nfe", costs)
tuned = dps_ablation.points(shown, "nfe", costs, "tuned")
curves = {f"DPS, step size {shown['parameters']['step_size']:g}": fixed} | ({"DPS, tuned": tuned} if tuned[0] else {})
going = {label: dps_ablation.shape(*curve, "evaluations") for label, curve in curves.items()}
flat = faces_study.flat_lines_of(shown)
run.shows_full_run("fig-dps-nfe", full is not None)
run.shows_full_run("fig-dps-size", full is not None)
run.figure(
    curves_figures.cost_curves(curves, flat),
    "nfe",
    alt="PSNR of DPS against the number of network evaluations on a logarithmic axis, and two flat lines for the flow "
    "with one sample and with the mean of many. " + " ".join(f"{label}: {text}." for label, text in going.items()),
    caption=f"PSNR of one DPS sample against its network evaluations, in {source} (bars: two standard errors "
    f"over faces); "
    "the flow needs one.",
    label="fig-dps-nfe",
)

# %% tags=["hide-input"]
run.say(
    f"In {source}, "
    + "; ".join(f"{label}: {text}" for label, text in going.items())
    + "."
    + ("" if tuned[0] else " With the step size tuned at each number of evaluations: not run.")
)
run.table(
    {label: f"{n} evaluations" for label, n in costs.items()},
    {"psnr": ("one step size [dB]", ".2f"), "tuned": ("tuned [dB]", ".2f")},
    "nfe",
    caption="PSNR of one sample of DPS. A number of evaluations at which a sample diverged has a dash.",
    signals="n_test",
)
run.say(f"In {source}: {dps_ablation.sizes_said(shown, costs)}")

# %% tags=["hide-input"]
run.figure(
    images.face_columns(dps_ablation.pictures(task, case, fixed_size, by_nfe, posterior, seed=seed)),
    "pictures",
    alt="Rows of faces; columns: truth, measurement, DPS samples by number of evaluations, and a sample of the flow.",
    caption="One sample of each by number of evaluations, in this build." + pictured.said(faces),
    label="fig-dps-pictures",
)

# %% [markdown]
# ## Step size

# %% tags=["hide-input"]
used, tried = shown["parameters"]["steps"], shown["parameters"]["step_sizes"]
here = record.keyed("z", step_sizes, tried)
by_size = dps_ablation.sweep(task, case, {key: {"n_steps": steps, "step_size": z} for key, z in here.items()}, seed)
dps_ablation.store(run, "size", by_size)

# %% tags=["hide-input"]
sizes = record.keyed("z", tried, tried)
by_step = dps_ablation.points(shown, "size", sizes)
going = dps_ablation.shape(*by_step, "(step size)")
run.figure(
    curves_figures.cost_curves({f"DPS, {used} evaluations": by_step}, flat, xlabel="step size"),
    "size",
    alt="PSNR of DPS against its step size on a logarithmic axis, and two flat lines for the flow. DPS: " + going + ".",
    caption=f"PSNR of one DPS sample against its step size, at {used} evaluations, in {source}.",
    label="fig-dps-size",
)

# %% tags=["hide-input"]
run.table(
    {
        key: f"step size {record.exact(z)}"
        for key, z in {**sizes, **here}.items()
        if any(f"size.{key}.psnr" in one["numbers"] for one in (shown, run.as_dict()))
    },
    {"psnr": ("PSNR [dB]", ".2f")},
    "size",
    caption=f"One sample of DPS with {used} evaluations in {source}, with {steps} in this build.",
    signals="n_test",
)
run.say(f"In {source}, DPS with {used} evaluations: {going}.")

# %% [markdown]
# ## What it means
#
# Number of evaluations and step size go together: every step pulls, so that a step size which is right for few steps
# pulls too much in many. A curve with one step size says how DPS does with that one, not what DPS can do with so many
# evaluations; that is the curve with the step size tuned at each. PSNR alone does not say which step size is right: one
# that pulls hard gives samples near to a mean, with too little spread. The page {doc}`samplers` shows that on a
# posterior that is known. What is not shown here: other schedules of the times (these are even in $t$), and more than
# one sample of each face.

# %% tags=["hide-input"]
run.finish()
