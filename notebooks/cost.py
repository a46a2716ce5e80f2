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
# # What a bigger problem costs
#
# Nearly every flow of this book stands on the closed-form posterior of a Gaussian prior. For an operator that mixes
# entries ({py:func}`~aps_core.priors.linear_gaussian.linear_posterior_factors`) that posterior is held in matrices of
# $d \times d$, made once by eigenproblems: memory grows as $d^2$, time as $d^3$. At some size that ends.
#
# What takes its place: a Gaussian with $k$ modes and an isotropic rest is low rank plus diagonal, and where the
# operator acts on rows and columns (blurs, means of blocks) $A^\top A$ has known vectors that are products of small
# matrices. Woodbury's identity then leaves one eigenproblem of $k \times k$
# ({py:func}`~aps_core.priors.low_rank.low_rank_factors`): memory $d k$, time $d k^2$. It is the same posterior,
# exactly; what may be lost is in the prior, whose variances outside of the $k$ modes are all made equal. For masks this
# has always been so ({py:func}`~aps_core.priors.gaussian.gaussian_posterior`), which is why the sphere can be made
# finer without a change of code.

# %% tags=["parameters"]
sides_dense = [8, 16]  # images (side, side, 3), factorized in all entries
sides_modes = [16]  # the same in the modes of the prior
n_modes = 48  # of the prior of these images
parts = ["factor", "sample"]  # what is measured
axis_side = 8  # size at which what follows varies
batches = []  # measurements in a training step
counts = []  # samples of a measurement
depths = []  # couplings of the flow
devices = []  # virtual devices
beyond = [64]  # sides for which the dense factorization is modelled
modes_kept = [64, 256]  # modes to which the prior of faces is cut
n_faces = 8  # test faces on which these are compared with the whole prior
n_months = 0  # test months on both grids of the sphere; 0 leaves them out
n_samples = 128  # posterior samples of each month
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import cost, cost_measure
from aps_book.figures import curves, told

side = record.integer(2, 512)
run = record.start(
    "cost",
    globals(),
    {
        "sides_dense": record.list_of(side),
        "sides_modes": record.list_of(side),
        "n_modes": record.integer(1, 4096),
        "parts": record.list_of(record.one_of(*cost_measure.PARTS)),
        "axis_side": side,
        "batches": cost.counts_rule,
        "counts": cost.counts_rule,
        "depths": cost.counts_rule,
        "devices": cost.counts_rule,
        "beyond": record.list_of(side),
        "modes_kept": record.list_of(record.integer(1, 3072)),
        "n_faces": record.integer(2, 5189),
        "n_months": record.several(242),
        "n_samples": record.integer(3, 4096),
        "seed": record.seed(),
    },
)
cost.store_sizes(run, {"dense": sides_dense, "modes": sides_modes}, n_modes, parts)
cost.store_axes(run, axis_side, n_modes, {"batch": batches, "n_samples": counts, "depth": depths, "devices": devices})
cost.store_model(run, sides_dense, beyond)
run.uses_data(cost.store_truncation(run, modes_kept, n_faces, seed))
if n_months:
    cost.store_sphere(run, n_months, n_samples, seed)

# %% [markdown]
# ## By size
#
# Each size in a process of its own, on one core, without compilation. The prior has modes of cosines with the spectrum
# of photographs, so that nothing has to be fitted or fetched; times do not depend on its numbers. The flow is the one
# for any operator ({py:class}`~aps_core.flows.tokens.TokenFlow`), small, of 64 tokens at every size; a training step
# is value and gradient of the reverse divergence on eight measurements. Memory of the factorization is the most that
# the process held, the interpreter with JAX included; memory of a step is XLA's account of the compiled program.

# %% tags=["hide-input"]
run.table(
    cost.size_rows(run),
    {name: (label, ",.0f" if name == "factor_mib" else ".3g") for name, label in cost.QUANTITIES.items()},
    caption="Seconds and MiB by size of the image and by how the Gaussian posterior is held.",
)

# %% tags=["hide-input"]
run.chart(
    curves.path_curves,
    "sizes",
    cost.curves,
    alt="Panels against the number of entries of a signal, all axes logarithmic, with a line for the Gaussian in all "
    "entries, one for that in the modes, and one for the model of the first.",
    caption="Measured by how the Gaussian posterior is held, and modelled where the dense one does not fit. Memory of "
    "the factorization is what it adds to the process.",
    label="fig-cost-sizes",
    told=told.panels,
)

# %% [markdown]
# ## Where the dense base ends
#
# The model is $c\,d^3$ for the time and $c\,d^2$ for the memory, each $c$ from the largest size measured. The exponent
# between the two largest sizes, and the share of the time that the machine would need at its own speed for the
# $30\,d^3$ operations, say how far it can be trusted. A sample has to read a matrix of $d \times d$ from memory once:
# that alone bounds its time.

# %% tags=["hide-input"]
run.say(
    "Between the two largest sizes time grew as $d^{{{full/model.exponent:.1f}}}$ in the full run"
    " (this build: {model.exponent:.1f}); at the speed of a matrix product the operations would take "
    "{full/model.of_roofline:.2f} of the time measured. A side of {full/model.side_8gib:.0f} pixels fills 8 GiB, and "
    "one of {full/model.side_hour:.0f} takes an hour."
)
run.table(
    cost.model_rows(run),
    {
        "factor_seconds": ("factorization [s]", ",.0f"),
        "factor_mib": ("memory of it [MiB]", ",.0f"),
        "kept_mib": ("kept [MiB]", ",.0f"),
        "sample_seconds": ("one sample at least [s]", ".2g"),
    },
    caption="The factorization in all entries where it was not run: modelled.",
)

# %% [markdown]
# ## What few modes lose
#
# The Gaussian of the face prior has all 3072 modes. Cut to fewer, it gives another posterior: PSNR of its mean for
# deblurring faces, and the difference to that of the most modes of the run, paired by face.

# %% tags=["hide-input"]
run.table(
    cost.modes_rows(run),
    {"psnr": ("mean of the closed form [dB]", ".2f"), "lost": ("against the most modes [dB]", "+.2f")},
    caption="Deblurring faces in closed form, by modes of the prior (mean ± standard error over faces).",
)

# %% [markdown]
# ## Batch, samples, depth, devices
#
# In the modes, all else as above. Virtual devices are threads of one machine, whose cores they share, so what many of
# them can show here is what splitting costs and how little memory each needs, not what it gains.

# %% tags=["hide-input"]
for name in cost.measured_axes(run):
    run.table(
        cost.axis_rows(run, name),
        {"seconds": ("time [s]", ".3g"), "mib": ("memory [MiB]", ".4g")},
        caption=cost.CAPTIONS[name],
    )

# %% [markdown]
# ## Beside the samplers that iterate
#
# One sample with the default number of evaluations, each of the Gaussian's score, the cheapest that there is: a network
# in its place costs more. The times follow from runs with fewer evaluations, in proportion.

# %% tags=["hide-input"]
if rows := cost.rival_rows(run):
    run.table(rows, cost.rival_columns(), caption="Seconds of one sample, without compilation.")

# %% [markdown]
# ## Beside other packages
#
# `make bench` gives the same work to this package, to other packages where they are installed, and to an unadorned JAX
# loop without classes and checks: a conditional RealNVP of the paper's form, and samplers around a network that does
# nothing, so that the sampler itself is what is timed. These are costs without a quality: the flows compute the same
# function, but for flowjax's, which has no affine normalization between its couplings and so a little less work; what
# the samplers find at how many evaluations stands on {doc}`samplers`. deepinv runs on PyTorch, its super-resolution by
# bicubic resizing. A compilation is timed once: between two runs of this table on one machine it differed as much as
# between the packages.

# %% tags=["hide-input"]
if flows := cost.bench_rows(run, "flow"):
    run.table(
        flows,
        {
            "compile": ("compile [s]", ".2f"),
            "forward": ("evaluation [s]", ".3f"),
            "gradient_step": ("gradient step [s]", ".3f"),
            "peak_mib": ("peak memory [MiB]", ",.0f"),
        },
        caption="The same flow by package: seconds to compile a training step, of one evaluation with its "
        "log-determinant and of one gradient step, and memory of the process.",
    )
    run.say(
        "{full/bench.problem.dim:,.0f} entries of signal and condition, {full/bench.problem.steps:.0f} steps of two "
        "couplings, width {full/bench.problem.width:.0f}, batches of {full/bench.problem.batch:.0f}."
    )

# %% tags=["hide-input"]
if samplers := cost.bench_rows(run, "sampler"):
    run.table(
        samplers,
        {"denoising": ("denoising [ms]", ".2f"), "super_resolution": ("super-resolution [ms]", ".2f")},
        caption="Milliseconds of a sampler for each evaluation of a network, 16 images of 32 x 32 x 3 together.",
    )

# %% [markdown]
# ## The sphere at the reanalysis' own grid
#
# The embedded fields of 46 × 90 cells were interpolated from 73 × 144 = 10,512. Those come on demand
# (`aps data fetch ncep-temperature-fine`), and two recipes, `sphere-fine-prior` and
# `sphere-fine-impute-held-out`, train a prior and a flow on them with the same code, `load_task("sphere-fine-impute")`:
# 300 modes and a rest, a score network in 64 of them, a flow in these. The matrices of $d \times d$ that nobody makes
# would have 0.4 GB each. The months below are the same on both grids, the cells that are missing are not, and a finer
# grid has more of them to see a wide pattern by: the rows of one grid may be compared, those of two grids show the size
# of things. Before its first step a flow is given the Gaussian posterior of each measurement of its pool (1024 on the
# fine grid), at about the time of one sample each; that is not in the time of training.

# %% tags=["hide-input"]
spheres, trained = cost.sphere_rows(run)
if spheres:
    run.table(
        spheres,
        {
            "psnr_n1": ("N = 1 [dB]", ".2f"),
            "psnr_mean": ("mean [dB]", ".2f"),
            "coverage_90": ("90 % interval [%]", ".1f"),
            "energy": ("energy score", ".3f"),
            "seconds": ("one sample [s]", ".3g"),
            "many_seconds": ("all samples [s]", ".3g"),
            "peak_mib": ("peak memory [MiB]", ",.0f"),
        },
        caption="Temperature, 60 % of the cells missing, noise 0.05, on test months (± standard error over months); "
        f"{run.stated('n_samples')} samples of each.",
    )

# %% tags=["hide-input"]
if trained:
    run.table(
        trained,
        {"steps": ("steps", ",.0f"), "seconds": ("training [s]", ",.0f"), "peak_mib": ("peak memory [MiB]", ",.0f")},
        caption="Steps of the training and their time; memory with all that comes before the first step.",
    )
    run.verdict(
        *(
            record.Difference(f"{grid}.above.{key}", f"the flow ({label})", "the closed form", better, form, measure=of)
            for grid, label in cost.GRIDS.items()
            for key, better, form, of in cost.COMPARED
        ),
        before="Paired by month:",
        source="full",
    )

# %% [markdown]
# ## What it does not show
#
# Operators that act neither entry by entry nor on rows and columns (a blur that is turned, a part of the frequencies)
# are still factorized in all entries. The network is small: at the sizes of the paper it, and not the base, is what
# costs. No image of 64 × 64 was trained on, its rows are costs alone; and one core says nothing of a GPU, whose memory
# ends earlier.

# %% tags=["hide-input"]
run.finish()
