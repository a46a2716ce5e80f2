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
# # Digits on the bunny: APS Table 2
#
# A signal that lives on the vertices of a mesh, not on a grid of pixels: a share of the vertices is missing, the others
# are noisy. This is the mesh experiment of the APS paper {cite:p}`mammadov2024aps` (the Bunny-MNIST columns of its
# Table 2): handwritten digits {cite:p}`lecun1998gradient` on the Stanford bunny {cite:p}`turk1994zippered` of 1889
# vertices, 30 % of them missing at random, Gaussian noise of standard deviation 0.1 on the rest.

# %% tags=["parameters"]
mask_fraction = 0.3  # share of vertices that are missing
sigma_y = 0.1  # noise standard deviation, digits in [0, 1]
n_samples = 128  # posterior samples of each measurement
n_test = 16  # test digits, of the 512 that come with the package
n_iterative = 8  # of these, how many DPS and MCG are run on
n_steps = 100  # network evaluations of DPS and MCG
n_best = 0  # test digits on which means of the rivals' samples show how near the prior can come; 0: left out
n_meshes = 8  # test digits on other meshes
seed = 0

# %% tags=["hide-input"]
import jax
import numpy as np

import aps_core
from aps_book import record
from aps_book.experiments import (
    bunny_flows,
    bunny_inpaint,
    bunny_transfer,
    coverage,
    default_flows,
    digit_classes,
    measured,
    sphere_impute,
)
from aps_book.figures import charts, meshes
from aps_core import data
from aps_core.data import bunny
from aps_core.priors.store import load_prior

run = record.start(
    "bunny_inpaint",
    globals(),
    {
        "mask_fraction": record.between(0, 0.95, open=True),
        "sigma_y": record.between(0, 1, open=True),
        "n_samples": record.integer(3, 4096),
        "n_test": record.integer(2, 512),
        "n_iterative": record.integer(2, 512),
        "n_steps": record.integer(2, 4000),
        "n_best": record.several(512),
        "n_meshes": record.integer(2, 512),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## Signals and mesh
#
# The mesh is the Stanford bunny decimated to exactly 1889 vertices (`scripts.data.make_bunny`; any OBJ, PLY, OFF or STL
# file works in its place, {py:func}`~aps_core.geometry.mesh.read_mesh`). A digit is projected along the depth axis:
# each vertex takes the value of the image at its place in the x-y plane, bilinearly
# ({py:func}`~aps_core.geometry.projection.project`), so that front and back of the bunny carry the same digit. The
# paper does not say how it projects; other choices (spherical, by eigenfunctions of the Laplacian) are a parameter of
# the function.
#
# Prior and flow are made from the 55,000 training digits; the test digits here are 512 of the 10,000, which come with
# the package.

# %% tags=["hide-input"]
task = aps_core.load_task("bunny-inpaint", sigma_y=sigma_y, mask_fraction=mask_fraction)
test = data.load("bunny-mnist", "test")
case = measured.measure(task, test, n_test, seed)
prior, prior_card = load_prior("bunny-prior")
found = bunny_inpaint.posteriors(task)
run.uses_data(test)
flows = [row for row in ("reverse", "aps") if row in found]
named = bunny_inpaint.labels(found)
beside = bunny_inpaint.PAPER_ROWS if "reverse" in found else None
run.uses_weights(prior_card, *(found[row].card for row in flows))
mesh = bunny.load_mesh()

run.numbers("mesh", {"vertices": len(mesh), "faces": len(mesh.faces), "varying": bunny_inpaint.varying().sum()})
run.number("mesh.dimensions", bunny_inpaint.dimensions())
run.numbers(
    "prior",
    {
        "modes": len(prior.gaussian.excess),
        "rest": float(np.sqrt(prior.gaussian.rest)),
        "t_min": prior.t_residual,
        "parameters": bunny_inpaint.n_parameters(prior.inner.params),
        **bunny_inpaint.training(prior_card),
    },
)
run.number("prior.val_gain", prior_card["validation"]["val_gain"], prior_card["validation"]["val_gain_se"], "nats")
run.numbers(
    "flow",
    {
        "parameters": bunny_inpaint.n_parameters(found["aps"].params),
        **bunny_inpaint.training(found["aps"].card),
        **bunny_inpaint.before_and_after(found["aps"].card),
    },
)
run.say(
    "The mesh has {mesh.vertices:.0f} vertices and {mesh.faces:.0f} triangles; {mesh.varying:.0f} of the vertices "
    "take more than one value over the training "
    "digits (others would be left out: a constant entry has no density). But a signal is a linear function of the "
    "pixels, and the signals fill only "
    "{mesh.dimensions:.0f} of the {mesh.vertices:.0f} dimensions."
)

# %% [markdown]
# ## Prior: a density where signals have none
#
# On a subspace no density exists in the surrounding space. The prior is therefore that of the signals projected on
# their leading principal modes, plus isotropic Gaussian noise of a small standard deviation $s$, the rms of what the
# modes leave out:
#
# $$
# x = m + W\,(v - \tfrac12) + s\, n , \qquad n \sim \mathcal N(0, I).
# $$ (eq-bunny-prior)
#
# $W$ has orthonormal columns which span the modes, one function around each of as many vertices, as concentrated as
# orthonormality allows ({py:func}`~aps_core.priors.subspace.local_basis`). In these coordinates neighbours mean
# something. The score network is one small network that all sites share; each sees its neighbours within three steps
# and a summary of the whole signal, and passes a few numbers on to the nearest of them in every layer
# ({py:class}`~aps_core.priors.networks.local.LocalMLP`). It predicts the residual to the Gaussian score. Outside of
# the subspace the prior is the Gaussian. The density is that of the diffusion at its least time, of the signal plus
# noise $s$, in all dimensions of the mesh.

# %% tags=["hide-input"]
run.say(
    "Here there are {prior.modes:.0f} modes and $s$ = {prior.rest:.4f}. The score network has "
    "{prior.parameters:,.0f} parameters and was trained for {prior.steps:.0f} "
    "steps in {prior.seconds:.0f} s. On validation digits its bound minus the log-density of the "
    "Gaussian is {prior.val_gain:.0f} ± {prior.val_gain.se:.0f} nats per signal."
)
for name, seen in bunny_inpaint.networks().items():
    run.numbers(
        f"network.{name}",
        {
            "parameters": seen["parameters"],
            "signals": seen["signals"],
            "val_gain": (seen["val_gain"], seen["val_gain_se"]),
        },
    )
run.number(
    "network.share",
    100 * bunny_inpaint.networks()["local"]["parameters"] / bunny_inpaint.networks()["dense"]["parameters"],
    unit="%",
)
run.say(
    "What the sharing is worth: a network of {network.dense.parameters:,.0f} parameters that takes the same "
    "coordinates as one vector, as the paper's does, was "
    "{network.dense.val_gain:.0f} ± {network.dense.val_gain.se:.1f} nats from the Gaussian after "
    "{network.dense.signals:,.0f} training digits; the one here, with {network.local.parameters:,.0f} parameters, "
    "was {network.local.val_gain:.0f} ± {network.local.val_gain.se:.1f} nats from it after "
    "{network.local.signals:,.0f} "
    "(both in the middle of their training, neither tuned for long; recipes "
    "`bunny-prior-dense` and `bunny-prior`). It has {network.share:.1f} % of the other's parameters."
)

# %% [markdown]
# ## Flow
#
# The flow starts from the closed-form Gaussian posterior of the measurement and transforms the coordinates $v$ only.
# Its condition network is a copy of the score network, so that before any training its mean is the score network's
# one-step estimate; then follow scales of single coordinates and couplings whose network all sites share
# ({py:class}`~aps_core.flows.subspace.SubspaceFlow`). It was trained twice, and every row says how. By the paper's own
# objective, the reverse divergence, on measurements alone, one of each training digit, from the untrained flow. And
# with the forward divergence on draws of the prior and measurements of them, then with a small share of the reverse
# one, which is to hold back the spread that the forward one leaves. No clean digit enters: what is known of digits
# comes through the prior alone. The draws are made with fresh noise at every step
# ({py:func}`~aps_core.priors.fast_sampling.draw` with `churn`): those of the probability-flow ODE keep the errors of
# the network.

# %% tags=["hide-input"]
run.numbers("tuned", {name: bunny_inpaint.tuned(name, n_steps) for name in bunny_inpaint.ITERATIVE})
run.say(
    "The flow has {flow.parameters:,.0f} parameters. The one that `load_posterior` gives "
    f"({found['aps'].trained_by}) was trained for {{flow.steps:.0f}} steps in "
    "{flow.seconds:.0f} s. On validation digits the share of the reverse divergence "
    "changed the objective from {flow.begun.objective:.2f} to {flow.ended.objective:.2f} nats per mode, the mean of "
    "16 samples from {flow.begun.psnr:.2f} to {flow.ended.psnr:.2f} dB and one "
    "sample from {flow.begun.psnr_n1:.2f} to {flow.ended.psnr_n1:.2f} dB. DPS and MCG use the same prior, with "
    "the step size of seven that is best on validation digits, {tuned.dps:g} and {tuned.mcg:g} at "
    "{parameters/n_steps} network evaluations "
    "(the search is in `weights/results/bunny_inpaint.search.json`). " + bunny_inpaint.edges_of_search()
)

# %% [markdown]
# What neighbours are worth in the flow was measured in the same way: two flows from the same closed-form posterior,
# neither with a copy of the score network, trained for some minutes on one core with the same loss, the same masks
# and the same draws. It is one pair, neither of them tuned, with steps and times that are not equal, as the table
# says. One has the networks of the flow above. The other has an affine map and couplings whose networks take all
# coordinates and all features as one vector ({py:class}`~aps_core.flows.subspace.VectorizedSubspaceFlow`), as the
# paper's do.

# %% tags=["hide-input"]
for name, seen in bunny_flows.recorded().items():
    run.numbers(
        f"compared.{name}",
        {
            "parameters": seen["parameters"],
            "steps": seen["steps"],
            "cpu": seen["cpu_seconds"],
            "psnr": seen["end"]["val_psnr_mean16"],
            "psnr_n1": seen["end"]["val_psnr_n1"],
            "objective": seen["end"]["val_objective"],
            "forward": seen["end"]["val_forward"],
        },
    )
run.number("compared.start.psnr", bunny_flows.recorded()["local"]["start"]["val_psnr_mean16"])
run.number("compared.start.psnr_n1", bunny_flows.recorded()["local"]["start"]["val_psnr_n1"])
run.number("compared.start.objective", bunny_flows.recorded()["local"]["start"]["val_objective"])
run.number("compared.start.forward", bunny_flows.recorded()["local"]["start"]["val_forward"])
run.table(
    {"start": "before training: the closed form", "vectorized": "vectorized", "local": "shared by all sites"},
    {
        "parameters": ("parameters", ",.0f"),
        "steps": ("steps", ",.0f"),
        "cpu": ("CPU time [s]", ".0f"),
        "psnr": ("PSNR, mean of 16 [dB]", ".2f"),
        "psnr_n1": ("PSNR, one sample [dB]", ".2f"),
        "objective": ("reverse loss [nats/mode]", ".3f"),
        "forward": ("forward loss [nats/mode]", ".3f"),
    },
    "compared",
    caption="Two flows on validation digits and masks that training did not see (recipes bunny-flow-local and "
    "bunny-flow-vectorized; their numbers are in weights/results/bunny_inpaint.flows.json). Losses up to a "
    "constant: lower is better.",
)

# %% [markdown]
# ## Against the paper's Table 2
#
# $N = 1$ is a single posterior sample, $N = 128$ the mean of 128. An exact posterior sample has twice the squared
# error of the posterior mean, 3 dB less. The paper's projection and prior are not known to us, so its columns show
# the size of things, not a contest.

# %% tags=["hide-input"]
chosen = bunny_inpaint.prior_spread(prior.gaussian) > bunny_inpaint.SPREAD
modes = np.asarray(prior.gaussian.basis)
key = jax.random.key(seed + 1)
scores = {
    row: bunny_inpaint.score(sampler, key, case.measurements, case.x0, n_samples, chosen, modes)
    for row, sampler in found.items()
}
first = jax.tree.map(lambda a: a[:n_iterative], case.measurements)
for row, sampler in bunny_inpaint.iterative(task, n_steps).items():
    scores[row] = bunny_inpaint.score(sampler, key, first, case.x0[:n_iterative], 1, chosen, modes)
bunny_inpaint.store_scores(run, scores, n_samples)
bunny_inpaint.store_few(run, scores)
bunny_inpaint.store_floor(run, sigma_y, mask_fraction)
quality = {"psnr": ("PSNR [dB]", ".2f"), "mse": ("MSE", ".4f")}
run.table(
    bunny_inpaint.rows(found, n_samples, named),
    quality,
    "test",
    bunny_inpaint.PAPER,
    "Test digits, all vertices, unclipped. No flow here has seen anything of the test set (protocol “held-out”); the "
    "paper's is trained on the measurements of its test set.",
    signals="n_test",
    paper_rows=beside,
)
run.say(
    f"From one sample to the mean of {run.stated('n_samples')} there are {{full/test.aps.gap:.2f}} ± "
    f"{{full/test.aps.gap.se:.2f}} dB with the {named['aps']} and {{full/test.gaussian.gap:.2f}} ± "
    "{full/test.gaussian.gap.se:.2f} dB with the closed form, in the full run."
)
for row in flows:
    compared = bunny_inpaint.comparisons(row, named[row])
    run.verdict(*compared, before="Paired by digit, in the full run:", source="full")
    run.verdict(*compared, before="In this build:")

# %% [markdown]
# DPS and MCG are a single sample, as in the paper, and were run on the first few digits. Here every row stands on
# those. The last projection of MCG puts the noisy data in the place of what was measured, so that its error there is
# that of the data. The row "MCG, stopped" ends the projections where y is as noisy as the sample
# ({py:class}`~aps_core.samplers.mcg.MCG`, `until=1`) and goes on as DPS, at the step size of DPS.

# %% tags=["hide-input"]
run.table(
    bunny_inpaint.rows(["mcg", "mcg_stopped", "dps", *found], n_samples, named),
    quality,
    "iterative",
    bunny_inpaint.PAPER,
    f"The first {run.stated('n_iterative')} test digits for every row.",
    paper_rows=beside,
)
run.say(
    "Data as noisy as these at the measured vertices, and no error at the others, have {iterative.data.psnr:.2f} dB: "
    "no sample that ends with the data can have more. The paper prints {paper/aps.table2.bunny_inpaint.mcg.psnr:.2f} "
    "dB for MCG."
)
run.verdict(*bunny_inpaint.of_mcg(), before="In the full run:", source="full")
run.verdict(*bunny_inpaint.of_mcg(), before="In this build:")

# %% [markdown]
# How much of the error is the prior's and how much the flow's? The mean of many samples of another sampler with the
# same prior is another guess at the posterior mean under it. On draws of the prior no estimate has a smaller mean
# squared error than that mean; digits are no draws of it, so that these rows show how far one gets, and are no bound.

# %% tags=["hide-input"]
if n_best:
    few = jax.tree.map(lambda a: a[:n_best], case.measurements)
    for name, psnr in bunny_inpaint.best_estimates(task, key, few, case.x0[:n_best]).items():
        run.mean(f"best.{name}.psnr", psnr, "dB")
        run.mean(f"best.{name}.lead", psnr - scores["aps"]["psnr_mean"][:n_best], "dB")
if n_best or "best.dps.psnr" in (record.full_run(run.notebook) or {"numbers": ()})["numbers"]:
    run.table(
        {"dps": "DPS", "ddrm": "DDRM, 20 steps", "daps": "DAPS, 50 levels", "together": "mean of the three"},
        {"psnr": ("PSNR [dB]", ".2f"), "lead": ("minus that of the flow [dB]", "+.2f")},
        "best",
        caption="Means of 16 samples with the same prior, and of the three together, on the first test digits of "
        "the full run; and what they have more than the flow's mean on the same digits.",
        signals="n_best",
    )
for name, label in bunny_inpaint.BEST.items():
    lead = record.Difference(f"best.{name}.lead", label, f"that of the {named['aps']}", n="n_best")
    run.verdict(lead, before="In the full run:", source="full")

# %% [markdown]
# ## One digit

# %% tags=["hide-input"]
shown = 3 % n_test
samples = np.asarray(found["aps"].sample(key, case.one(shown), n_samples))
one = {
    "truth": case.x0[shown],
    "measurement": np.where(np.asarray(case.one(shown).mask) > 0, np.asarray(case.one(shown).y), np.nan),
}
one |= {"mean": samples.mean(axis=0)} | {f"sample {i + 1}": samples[i] for i in range(3)}
spread, error = (
    {"standard deviation": samples.std(axis=0, ddof=1)},
    {"error of the mean": samples.mean(axis=0) - case.x0[shown]},
)

# %% tags=["hide-input"]
run.figure(
    meshes.mesh_panel(mesh, one, spread, error),
    "digit",
    alt="Eight views of the bunny. Truth: a handwritten digit over its body. Measurement: noisy dots at the vertices "
    "that are left. Mean and three samples of the flow, all of which look like the truth. Below, the standard "
    "deviation of the samples, largest along the edges of the strokes, and the error of the mean.",
    caption="One test digit: truth, measurement (vertices that face the reader), mean of all samples and three "
    "samples, "
    "in one colour range; below, the samples' standard deviation and the error of their mean.",
    label="fig-bunny-digit",
)

# %% [markdown]
# The same signals on a mesh that can be turned: with the mouse, a finger, the buttons, or the arrow keys once it has
# the focus. The menu chooses which.

# %% tags=["hide-input"]
title = "The bunny in three dimensions, with a menu of signals: truth, measurement, mean, samples, spread and error"
run.view(meshes.mesh_view(mesh, {**one, **spread, **error}, title, "value of the signal"), "view", title)

# %% [markdown]
# ## Is the spread right?
#
# Counted are the vertices where the prior's standard deviation exceeds a tenth, a choice that knows nothing of the
# truth, and five bands of principal modes. The test signals have no noise $s$, but the prior and the samples do: a
# blank vertex is exactly zero and lies always inside of its narrow interval. So coverage is asked for signals drawn as
# the prior draws them, test digits plus $\mathcal N(0, s^2)$, measured anew; for the
# digits as they are the shares stand below the table.

# %% tags=["hide-input"]
noisy = bunny_inpaint.with_rest(jax.random.key(seed + 2), prior, case.x0)
again = task.measure(jax.random.key(seed + 3), noisy)
calibrated = {
    row: bunny_inpaint.score(found[row], key, again, noisy, n_samples, chosen, modes) for row in ("gaussian", *flows)
}
run.number("coverage.vertices", chosen.sum())
bunny_inpaint.store_coverage(run, calibrated)
for row in ("gaussian", *flows):
    run.mean(f"plain.{row}.coverage_90", 100 * scores[row]["coverage"][:, 1], "%")
groups = bunny_inpaint.coverage_groups(modes.shape[1])

# %% tags=["hide-input"]
run.chart(
    charts.coverage_plot,
    "coverage",
    lambda shown: coverage.chart_arguments(shown, {named[row]: ("coverage", row) for row in calibrated}, groups),
    alt="Share of truths inside the 50 and 90 percent intervals, for the chosen vertices and five bands of modes, "
    "closed form and flows, with dashed lines at the nominal levels.",
    caption="Coverage of the central 50 and 90 % intervals on test digits, over the chosen vertices and by band of "
    "modes. Grey bands: three percentage points about the nominal level; bars: two standard errors.",
    label="fig-bunny-coverage",
)

# %% tags=["hide-input"]
columns = {f"{row}_{level}": (f"{named[row]}, {level} %", ".1f") for row in calibrated for level in (50, 90)}
run.table(
    groups,
    columns,
    "coverage",
    caption="Coverage in per cent on test digits plus the prior's rest (mean ± standard error over n digits).",
    signals="n_test",
)
run.say(
    f"In the full run the 90 % intervals of the {named['aps']} hold {{full/coverage.all.aps_90:.1f}} ± "
    "{full/coverage.all.aps_90.se:.1f} % over the {full/coverage.vertices:.0f} chosen vertices, those of the closed "
    "form {full/coverage.all.gaussian_90:.1f} ± {full/coverage.all.gaussian_90.se:.1f} %. Of digits without the noise "
    "$s$ they hold {full/plain.aps.coverage_90:.1f} % and {full/plain.gaussian.coverage_90:.1f} %"
    + (f", those of {named['reverse']} {{full/plain.reverse.coverage_90:.1f}} %." if "reverse" in calibrated else ".")
)

# %% [markdown]
# Whether intervals are right for digits is a question to the prior as well. The flow alone is asked by signals that are
# draws of the prior: for those an exact posterior would hold 90 %.

# %% tags=["hide-input"]
own = bunny_inpaint.own_draws(task, found["aps"], jax.random.key(seed + 4), min(n_test, 32), n_samples, chosen, modes)
run.mean("own.coverage_90", 100 * own["coverage"][:, 1], "%")
run.mean("own.psnr", own["psnr_mean"], "dB")
run.mean("own.gap", own["psnr_mean"] - own["psnr_n1"], "dB")
run.say(
    f"Of draws of the prior the 90 % intervals of the {named['aps']} hold {{full/own.coverage_90:.1f}} ± "
    "{full/own.coverage_90.se:.1f} % in the full run. Its mean has {full/own.psnr:.2f} ± {full/own.psnr.se:.2f} dB "
    "there and {full/test.aps_n128.psnr:.2f} ± {full/test.aps_n128.psnr.se:.2f} dB on digits; between one sample and "
    "the mean there are {full/own.gap:.2f} ± {full/own.gap.se:.2f} dB. Where the first number is nominal and that of "
    "digits is not, it is the prior that is wide for digits, not the flow that is wide for the prior."
)

# %% tags=["hide-input"]
run.say(default_flows.say("bunny-inpaint"))

# %% [markdown]
# ## Does a sample show another digit?
#
# The reverse divergence seeks modes: a flow that it trained could settle on one digit where the measurement allows
# several, or on the wrong one. A small classifier of digits on the bunny
# ({py:mod}`aps_book.experiments.digit_classes`) says which digit a sample shows.

# %% tags=["hide-input"]
digit_classes.store(
    run,
    {
        row: digit_classes.changes(
            found[row], prior.gaussian, key, case.measurements, test.index["label"][case.chosen], n_samples
        )
        for row in ("gaussian", *flows)
    },
)
run.table(
    {row: named[row] for row in ("gaussian", *flows)},
    {
        "samples": ("samples of another digit [%]", ".2f"),
        "mean": ("means of another digit [%]", ".2f"),
        "several": ("measurements whose samples show several [%]", ".1f"),
    },
    "classes",
    caption="Test digits; another digit than was measured, as the classifier sees it.",
)

# %% [markdown]
# ## The same flow on another mesh
#
# The flow acts on coordinates, and knows of a measurement only their closed-form posterior. So it can be asked about
# another triangulation of the bunny without any training: each local function is the projection of an image, which is
# projected on the other mesh, and the closed-form posterior of the coordinates is that of the new measurement
# ({py:mod}`aps_book.experiments.other_mesh`). The meshes here have fewer vertices (one of those in each cube of a
# grid is kept), or more (each triangle cut in four), and so more or less noise in each coordinate than the flow was
# trained with. The repository's own decimation, with its vertices in other places, is included where the reader has
# brought it. Its measurements have the same noise in each vertex and the same share missing.

# %% tags=["hide-input"]
moved = bunny_transfer.run(task, found["aps"], n_meshes, n_samples, mask_fraction, seed)
bunny_transfer.store(run, moved)
run.table(
    bunny_transfer.rows(run),
    {
        "psnr": (f"PSNR, N = {run.stated('n_samples')} [dB]", ".2f"),
        "psnr_n1": ("PSNR, N = 1 [dB]", ".2f"),
        "coverage_90": ("90 % intervals [%]", ".1f"),
    },
    "transfer",
    caption="The same digits on several meshes (with the prior's rest), closed form and flow.",
    signals="n_meshes",
)
run.verdict(
    *(
        record.Difference(
            f"transfer.{mesh}.lead", f"on the mesh “{label}”, the mean of the flow", "that of the closed form"
        )
        for mesh, label in bunny_transfer.known(run).items()
    ),
    before="Paired by digit:",
)
run.say(
    "The flow's 90 % intervals, which hold {full/transfer.own_aps.coverage_90:.0f} % of the vertices on its own mesh "
    "in the full run, hold {full/transfer.coarse_aps.coverage_90:.0f} % with {full/transfer.coarse.vertices:.0f} "
    "vertices and {full/transfer.fine_aps.coverage_90:.0f} % with {full/transfer.fine.vertices:.0f}: a coordinate has "
    "another amount of noise there than the flow has learned for."
)

# %% [markdown]
# ## Time

# %% tags=["hide-input"]
timed = {row: found[row] for row in ("gaussian", *flows)}
sphere_impute.store_seconds(run, "test", timed, key, case.one(0), n_samples)
for row, sampler in bunny_inpaint.iterative(task, n_steps).items():
    seconds = bunny_inpaint.seconds(sampler, key, case.one(0))
    run.number(f"test.{row}.seconds", seconds, unit="s")
run.table(
    bunny_inpaint.rows([*bunny_inpaint.FEW, *timed], n_samples, named),
    {"seconds": ("time for one measurement [s]", ".3g")},
    "test",
    "aps.table2.bunny_inpaint",
    f"Time of one measurement; DPS and MCG with {run.stated('n_steps')} evaluations. The paper's is on one RTX 3090.",
    paper_rows=beside,
)

# %% [markdown]
# ## What it means, and what it does not show
#
# - What a learned prior is worth here, the paired differences to the closed form say: that knows which directions
#   digits vary in, not that most of the bunny is blank.
# - What sharing a network over all sites is worth is shown for the score network, after the same digits; for the flow
#   there is one pair with unequal budgets, whose means ended where the table says, beside their common start. That is
#   no verdict on geometry. A longer training of the larger networks was not tried.
# - The first guess of the score network and the trained flow stand in the table side by side: what training adds to the
#   mean, and to single samples, is their distance.
# - DPS and MCG have step sizes tuned on what they are scored by, on validation digits; nothing holds their spread to
#   account.
# - PSNR here is a mean over all vertices, blank ones included. The same closed form on the same mesh scores higher for
#   a digit that covers less of it, so levels of PSNR can be compared between rows, not between projections.
# - From the closed form, without the copy of the score network, neither of the two short trainings brought the flow's
#   mean beyond its start. What the copy alone brings is the row of the first guess.
# - The digit on the back is that on the front, and the basis knows it: a planar projection makes the task easier than
#   1889 separate vertices would be.
# - The neighbourhoods are those of the projection plane. For signals that were made on the surface itself, neighbours
#   along the surface ({py:class}`~aps_core.geometry.mesh.TriangleMesh`) would take their place.
#
# - On another mesh the flow serves as it is, because it never sees vertices. That works for signals that are images
#   projected on the mesh; for signals made on the surface, the functions would have to be carried along the surface.
#
# Not shown: masks that leave out a whole region; a prior whose sites are those of the new mesh.

# %% tags=["hide-input"]
run.finish()
