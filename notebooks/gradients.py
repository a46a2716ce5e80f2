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
# # Gradients of the log-probability: Feng et al., Figure 2
#
# Fitting a flow to a posterior needs the gradient of $\log p(x)$, and with the probability-flow ODE that is a gradient
# through the solution of an ODE whose divergence is estimated with random vectors. {cite:t}`feng2023principled` take it
# by the continuous adjoint and ask how much it scatters (supplement, Section A.1.2 and Figure 2). Here the same, with
# the two ways of differentiating compared, on a density whose gradient is known.

# %% tags=["parameters"]
prior = "patches16-contrasts"  # or "gaussian16-score", or the weights of another diffusion prior
probes = [10, 50]  # trace estimators
trials = 50  # for each number of them
tolerance = 1e-3  # relative and absolute, of Dopri5
fine = 1e-5  # that of the comparison of the two adjoints
network = "grey-faces-prior"  # score prior of 32 x 32 grey faces
network_trials = 0  # for each number of trace estimators, of that prior; 0 leaves it out
seed = 0

# %% tags=["hide-input"]
import jax
import numpy as np

from aps_book import record
from aps_book.experiments import gradients
from aps_book.figures import charts, images, told
from aps_book.record.run import between, integer, list_of, text

run = record.start(
    "gradients",
    globals(),
    {
        "prior": text(),
        "probes": list_of(integer(1), 2),
        "trials": integer(3),
        "tolerance": between(0, 1, open=True),
        "fine": between(0, 1, open=True),
        "network": text(),
        "network_trials": record.several(),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The density
#
# The paper uses a network for 32 × 32 grey faces. Such a network has its turn further down, in the full run; it takes
# minutes for what follows, and the gradient of its own density is not known. Here the density is a mixture of four
# Gaussians of 16 × 16 grey patches of photographs, one for each quarter of the patches by contrast
# ({py:func}`~aps_book.experiments.gradients.contrast_mixture`), with its true score. It is not Gaussian: its divergence
# depends on the image, which is what makes the estimator's noise show in a gradient at all. And its gradient is known,
# so that nothing has to stand in for the truth.
#
# The paper has no such truth, and takes the network's score at $t = 10^{-3}$ for it. For a trained network the two
# differ, since no network is exactly the score of the density of its own ODE; for the true score they are the same, up
# to what the diffusion changes by that time.

# %% tags=["hide-input"]
model, card = gradients.load(prior)
if card is not None:
    run.uses_weights(card)
key_image, *keys = jax.random.split(jax.random.key(seed), 4)
image = gradients.draw(model, key_image)
score = gradients.score_gradient(model, image)
truth = gradients.exact_gradient(model, image) if hasattr(model, "log_prob_at") else score
run.numbers("score", {"difference": gradients.difference(score, truth)})

# %% [markdown]
# ## 10 and 50 trace estimators
#
# The continuous adjoint, as in the paper. The relative standard deviation is that of a pixel's gradient over trials
# with different random vectors, over the size of its mean. Its standard deviation falls with the square root of the
# number of vectors.

# %% tags=["hide-input"]
found = {
    n: gradients.gradients(model, image, key, n, trials, "continuous", tolerance)
    for n, key in zip(probes, keys, strict=False)
}
gradients.store_scatter(run, "", found, score, truth)
cosine = {n: gradients.cosine_distance(f["values"], score) for n, f in found.items()}
few, many = probes
run.number("theory", np.sqrt(many / few))
run.number("paper_ratio", np.divide(*(record.paper_value(f"feng.figure2.traces{n}.relative_std") for n in (10, 50))))
labels = {f"traces{n}": f"{n} trace estimators" for n in probes}
run.table(
    labels,
    {"relative_std": ("median relative std", ".4f")},
    signals="trials",
    caption="Relative standard deviation of the gradient over trials, median over pixels",
)

# %% tags=["hide-input"]
columns = {
    "one_error": ("error of one estimate", ".4f"),
    "mean_error": ("error of their mean", ".4f"),
    "cosine": ("cosine distance to the score", ".1e"),
}
run.table(
    labels,
    columns,
    signals="trials",
    caption=f"Distance of the gradients from the known one, relative to its norm; {run.stated('trials')} trials",
)

# %% tags=["hide-input"]
maps = {f"{n} traces": (score, f["values"].mean(axis=0), f["values"].std(axis=0, ddof=1)) for n, f in found.items()}
spreads = ", ".join(f"{f['values'].std(axis=0, ddof=1).mean():.2g} with {n}" for n, f in found.items())
run.figure(
    images.gradient_maps(maps, image),
    "maps",
    alt="Rows of three 16 by 16 maps: score at small time, mean gradient, standard deviation. The score and the mean "
    "gradients look alike; the standard deviation falls with the number of estimators "
    f"({spreads}, on average).",
    caption="The score at $t = 10^{-3}$, the mean of the gradients and their standard deviation, by the number of "
    "trace estimators. Gradients share one range, standard deviations another.",
    label="fig-gradients-maps",
)

# %% tags=["hide-input"]
run.chart(
    charts.cosine_histogram,
    "cosine",
    {"distances": {f"{n} trace estimators": cosine[n] for n in probes}},
    alt="Histograms of cosine distances on a logarithmic axis, one for each number of trace estimators.",
    caption="Cosine distance of each estimate of the gradient to the score at $t = 10^{-3}$.",
    label="fig-gradients-cosine",
    told=told.medians,
)

# %% tags=["hide-input"]
run.say(
    f"In the full run, from {few} to {many} trace estimators, the median relative standard deviation falls from "
    f"{{full/traces{few}.relative_std:.2%}} to "
    f"{{full/traces{many}.relative_std:.2%}}, by a factor of {{full/ratio:.2f}} ± {{full/ratio.se:.2f}}; the theory "
    f"has {{full/theory:.2f}}, and the paper's {{paper/feng.figure2.traces10.relative_std:.0%}} and "
    f"{{paper/feng.figure2.traces50.relative_std:.1%}} make {{full/paper_ratio:.2f}}. "
    f"The mean of the estimates is {{full/traces{many}.mean_error:.4f}} from the known gradient, relative to its norm, "
    f"with {many} of them: "
    "what is left beside the scatter is the solver's. The score at $t = 10^{{-3}}$ differs from the known gradient "
    "by {full/score.difference:.1e}."
)

# %% [markdown]
# ## A network for grey faces
#
# The same for a score network trained on 32 × 32 grey faces, as in the paper: that of the page on the discrete-flow
# prior, the residual to a Gaussian score. The image is a draw of it. There is no known gradient, and the score at $t =
# 10^{-3}$ stands in for it as in the paper. It takes too long for the build of this book: numbers are those of the full
# run.

# %% tags=["hide-input"]
if network_trials:
    faces_prior, card = gradients.load(network)
    run.uses_weights(card)
    key_face, *face_keys = jax.random.split(jax.random.key(seed + 1), 3)
    face = gradients.draw(faces_prior, key_face)
    of_faces = {
        n: gradients.gradients(faces_prior, face, key, n, network_trials, "continuous", tolerance)
        for n, key in zip(probes, face_keys, strict=True)
    }
    gradients.store_scatter(run, "faces.", of_faces, gradients.score_gradient(faces_prior, face))
    run.numbers("faces", {f"traces{n}.seconds": f["seconds"] for n, f in of_faces.items()}, unit="s")
if gradients.has_faces(run):
    run.table(
        labels,
        {"relative_std": ("median relative std", ".3f"), "cosine": ("cosine distance to the score", ".1e")},
        "faces",
        "feng.figure2",
        "Gradients of the network for grey faces",
        signals="network_trials",
    )
else:
    run.say("The full run has not been made with this network yet.")
if "faces.ratio" in (record.full_run(run.notebook) or {"numbers": ()})["numbers"]:
    run.say(
        f"In the full run the median falls by {{full/faces.ratio:.2f}} ± {{full/faces.ratio.se:.2f}} from {few} to "
        f"{many} estimators, where theory has {{theory:.2f}}. "
        f"One gradient took {{full/faces.traces{few}.seconds:.0f}} s with {few} and "
        f"{{full/faces.traces{many}.seconds:.0f}} s with {many}.\n\n"
        f"The cosine distance to the score is {{full/faces.traces{few}.cosine:.3f}} with {few} estimators and "
        f"{{full/faces.traces{many}.cosine:.3f}} with {many}, and the mean of all gradients is still "
        f"{{full/faces.traces{many}.mean_error:.2f}} of the score's norm away from it. "
        "So it is not scatter alone. The score of a trained network at one time and the gradient of the density that "
        "its "
        "ODE carries through all times agree "
        "only for a perfect network."
    )

# %% [markdown]
# ## Two adjoints
#
# The continuous adjoint solves a second ODE backwards, in constant memory, and its gradient is that of the ideal ODE,
# not of the solution that was computed. Back-propagation through the solver's steps, with the states in between kept at
# checkpoints, is exact for what was computed and needs memory for them. The continuous adjoint is the paper's choice
# for its memory. The same random vectors for both: what differs is the adjoint alone. Memory is what the compiled
# program sets aside for a single image.

# %% tags=["hide-input"]
methods = {"continuous": "continuous adjoint", "checkpointed": "checkpointed back-propagation"}
for name, tol in (("coarse", tolerance), ("fine", fine)):
    single = {m: gradients.gradients(model, image, keys[2], probes[0], 1, m, tol, 256) for m in methods}
    for m, f in single.items():
        run.number(f"{name}.{m}.seconds", float(f"{f['seconds']:.2g}"), unit="s")
        run.number(f"{name}.{m}.memory", f["bytes"] / 2**20, unit="MiB")
        other = single["checkpointed" if m == "continuous" else "continuous"]["values"][0]
        run.number(f"{name}.{m}.apart", gradients.difference(f["values"][0], other))
        run.number(f"{name}.{m}.error", gradients.difference(f["values"][0], truth))
rows = {
    f"{name}.{m}": f"{label}, tolerance {tol:g}"
    for name, tol in (("coarse", tolerance), ("fine", fine))
    for m, label in methods.items()
}
columns = {"apart": ("apart from the other", ".1e"), "error": ("error, noise included", ".1e")}
run.table(rows, columns, caption=f"Gradients with {few} trace estimators, relative to the norm of the known one")

# %% tags=["hide-input"]
columns = {"seconds": ("one gradient [s]", ".2g"), "memory": ("memory [MiB]", ".1f")}
run.table(rows, columns, caption=f"Time and memory of one gradient with {few} trace estimators")
run.say(
    "With the same random vectors the two gradients of the full run differ by {full/coarse.continuous.apart:.1e} of "
    "their norm at the coarse tolerance and by "
    "{full/fine.continuous.apart:.1e} at the fine one; the error of one estimate, its noise included, is "
    "{full/coarse.continuous.error:.1e}. At the coarse tolerance "
    "the difference between the adjoints is as large as the noise of many probes: it does not average out, but a "
    "closer tolerance removes it. "
    "Checkpoints need {full/coarse.checkpointed.memory:.1f} MiB for an image and the continuous adjoint "
    "{full/coarse.continuous.memory:.1f}: a state is "
    "256 numbers, and few are kept. What would fill memory in a network of many layers are the values inside an "
    "evaluation, which both "
    "adjoints hold for one evaluation at a time."
)

# %% [markdown]
# ## What it means, and what it does not show
#
# - The estimator is right on average, and what scatters falls as theory says. A flow is trained with fresh vectors in
#   every step, so that the scatter is one more noise of its gradient, beside that of the samples.
# - How large the relative standard deviation is depends on the density: for a Gaussian the divergence is the same for
#   every image and the gradient of its estimate vanishes, for a network of faces it stands above. The value for this
#   mixture must not be compared with the paper's; the factor between the two numbers of estimators may.
# - Here it is far smaller than the paper's, since within each class of contrast the density is Gaussian and only the
#   change between classes scatters.
# - Rademacher vectors; Gaussian ones scatter a little more, by the diagonal of the Jacobian.
# - The image is a draw of the prior, as in the paper. Far from the prior, where a flow starts, steps are smaller and
#   gradients larger.

# %% tags=["hide-input"]
run.finish()
