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
# # At a glance
#
# The full runs of the other pages, side by side with what the papers report {cite:p}`mammadov2024aps,feng2023principled`. Every number here is read from the
# records of those runs, which come with the code; the pages say how each was made, with its standard error, its settings and what it does not show.

# %% tags=["parameters"]
experiments = ["sphere", "bunny", "denoise", "sr2", "deblur", "sensor"]  # rows of the first table

# %% tags=["hide-input"]
from aps_core import overview, record

run = record.start("overview", globals(), {"experiments": record.list_of(record.one_of(*overview.EXPERIMENTS))})
shown = overview.collect(run, experiments)

# %% [markdown]
# ## The experiments of the APS paper
#
# PSNR in dB. Where two numbers stand, the first is one posterior sample and the second the mean of 128. "Closed form" is the posterior under a Gaussian prior,
# which needs no training. DPS uses the same prior as APS and has its step size tuned on validation signals. Data, projection and priors differ from the paper's: its columns show the
# size of things. What can be compared are the columns of one row that were made here.

# %% tags=["hide-input"]
run.say(overview.psnr_table(run, shown))

# %% [markdown]
# An exact posterior sample lies 3 dB below the mean, so a smaller gap is no merit: it says that samples are too much alike.

# %% tags=["hide-input"]
timed = {name: one for name, one in shown.items() if f"{name}.seconds" in run.as_dict()["numbers"]}
run.say("One posterior sample of a new measurement took, on two CPU cores: " + "; ".join(f"{one.label} {{{name}.seconds:.3f}} s" for name, one in timed.items()) + ".")

# %% [markdown]
# ## What else the papers claim

# %% tags=["hide-input"]
claims = []
if overview.carry(run, "faces", ["time.speedup", "denoise_coverage.all.aps_90", "sr2_coverage.all.aps_90", "deblur_coverage.all.aps_90", "lfw_paired.aps.psnr_n128"]):
    claims.append("**Speed.** One sample of APS is {faces.time.speedup:,.0f} times as fast as one of DPS with 1000 evaluations of the same prior ({{doc}}`faces`). "
                  "90 % intervals of its samples hold {faces.denoise_coverage.all.aps_90:.1f}, {faces.sr2_coverage.all.aps_90:.1f} and {faces.deblur_coverage.all.aps_90:.1f} % of the pixels "
                  "for denoising, super-resolution and deblurring.")
    claims.append("**Unseen images.** On faces of another collection the flow keeps {faces.lfw_paired.aps.psnr_n128:+.2f} dB on the closed form.")
if overview.carry(run, "protocol", ["test_paired.paper.psnr_n128", "val_paired.paper.psnr_n128"]):
    claims.append("**Training on the measurements of the test set**, as the paper does, changes the mean by {protocol.test_paired.paper.psnr_n128:+.3f} dB on them and by "
                  "{protocol.val_paired.paper.psnr_n128:+.3f} dB on others ({{doc}}`protocol`).")
kinds = [f"{task}.{row}.kid" for task in ("denoise", "sr2", "deblur") for row in ("aps_n1", "dps", "gaussian_n1")]
if overview.carry(run, "perception", kinds):
    pictures = (f"{{perception.{task}.aps_n1.kid:.0f}}, {{perception.{task}.dps.kid:.0f}} and {{perception.{task}.gaussian_n1.kid:.0f}} for {name}"
                for task, name in (("denoise", "denoising"), ("sr2", "super-resolution"), ("deblur", "deblurring")))
    claims.append("**How one sample looks.** Kernel distance to photographs (KID, times 1000) of one sample of APS, of DPS and of the closed form: " + "; ".join(pictures) + " ({{doc}}`perception`). "
                  "A sample that lies too near to the mean looks cleaner than an exact one.")
if overview.carry(run, "blind_impute", ["r30.zeros_n128.psnr", "r60.zeros_n128.psnr", "r60.noise_n128.psnr"]):
    claims.append("**Blind imputation.** With 30 and 60 % missing the mean has {blind_impute.r30.zeros_n128.psnr:.2f} and {blind_impute.r60.zeros_n128.psnr:.2f} dB in the paper's setting, where zeros give the mask away, and "
                  "{blind_impute.r60.noise_n128.psnr:.2f} dB at 60 % where nothing does ({{doc}}`blind_impute`).")
if overview.carry(run, "samplers", ["gaussian16.low.dps.paper.kl", "gaussian16.low.dps.tuned.kl", "gaussian16.low.aps.kl"]):
    claims.append("**Do iterative samplers sample the posterior?** On a posterior that is known DPS is {samplers.gaussian16.low.dps.paper.kl:.2f} nats per dimension away from it with the usual step size, {samplers.gaussian16.low.dps.tuned.kl:.3f} "
                  "with a tuned one, and APS {samplers.gaussian16.low.aps.kl:.4f} ({{doc}}`samplers`).")
if overview.carry(run, "logprob", ["solver.dopri5.kl"]):
    claims.append("**Density of a score network by its ODE.** KL to a Gaussian truth {logprob.solver.dopri5.kl:.3f} nats with Dopri5 in 256 dimensions (Feng et al.: {paper/feng.table1.dopri5.kl:.3f}; {{doc}}`logprob`).")
if overview.carry(run, "gradients", ["faces.ratio", "faces.traces10.relative_std", "faces.traces50.relative_std"]):
    claims.append("**Gradient of that density.** The median relative standard deviation falls from {gradients.faces.traces10.relative_std:.3f} to {gradients.faces.traces50.relative_std:.3f} from 10 to 50 trace estimators "
                  "(Feng et al.: {paper/feng.figure2.traces10.relative_std:.3f} and {paper/feng.figure2.traces50.relative_std:.3f}; {{doc}}`gradients`).")
if overview.carry(run, "discrete_flow", ["held_out.gaussian.bits", "held_out.flow.bits", "held_out.score.bits"]):
    claims.append("**Score prior or discrete flow as prior.** {discrete_flow.held_out.score.bits:.2f} bits per pixel of unseen grey faces at most with the score prior, {discrete_flow.held_out.flow.bits:.2f} with a flow of 64 couplings, "
                  "{discrete_flow.held_out.gaussian.bits:.2f} with a Gaussian; fits under the flow are unstable away from faces, as reported ({{doc}}`discrete_flow`).")
run.say("\n".join(f"- {claim}" for claim in claims))

# %% tags=["hide-input"]
run.finish()
