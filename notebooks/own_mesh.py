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
# # A mesh of your own
#
# You have a surface as a file of triangles or polygons, and numbers on its vertices that were measured with gaps and
# noise. This page reads the mesh, builds a prior and a flow on it, fills the gaps and checks the samples on signals
# that were kept apart. The surface is a dome that is written here; the signals are smooth patches on it, high or low.
# Put your own file and your own signals in their place.

# %% tags=["parameters"]
sigma_y = 0.1  # standard deviation of the noise, signals in [0, 1]
missing = 0.8  # share of the vertices that is not measured
n_signals = 512  # signals for training; as many again are made, of which 96 serve validation and n_test the test
n_modes = 40  # modes of the signals in which the networks work
n_test = 32  # signals, kept apart, that are measured and scored
n_samples = 64  # posterior samples of each
steps = 100  # of training, of the prior and of the flow; thousands for good ones
seed = 0

# %% tags=["hide-input"]
from aps_book import record
from aps_book.experiments import own_problem
from aps_book.figures import meshes

run = record.start(
    "own_mesh",
    globals(),
    {
        "sigma_y": record.between(0, 1, open=True),
        "missing": record.between(0, 1, open=True),
        "n_signals": record.integer(96, 65536),
        "n_modes": record.integer(2, 60),
        "n_test": record.integer(2, 64),
        "n_samples": record.integer(3, 4096),
        "steps": record.integer(2),
        "seed": record.seed(),
    },
)

# %% [markdown]
# ## The mesh
#
# `read_mesh` takes OBJ, PLY, OFF and STL files. Vertices stay in the order of the file, so that an array of numbers on
# them means what it meant in the program that wrote it. `defects` counts what is unusual about the surface.

# %% tags=["show-code"]
import tempfile
from pathlib import Path

import jax
import numpy as np
import trimesh

import aps_core
from aps_core.geometry.mesh import read_mesh

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "dome.obj"  # yours in its place
ball = trimesh.creation.icosphere(subdivisions=3)
dome = ball.submesh([np.flatnonzero(ball.triangles_center[:, 2] > -0.2)], append=True)
dome.export(path)
mesh = read_mesh(path)

# %% tags=["hide-input"]
run.number("mesh.vertices", len(mesh))
run.number("mesh.boundary", mesh.defects()["boundary edges"])
run.say("The mesh has {mesh.vertices:,.0f} vertices; {mesh.boundary:,.0f} edges lie on its border.")

# %% [markdown]
# ## The signals
#
# Arrays (n, vertices). These are made from the eigenfunctions of the surface's Laplacian with amplitudes that fall with
# the frequency, as a Matérn field has them, and pressed to high or low values, which no Gaussian can say.

# %% tags=["show-code"]
frequency, functions = mesh.eigenfunctions(60)
amplitude = (4.0 + frequency) ** -1.5
fields = np.random.default_rng(seed).standard_normal((2 * n_signals, 60)) * amplitude @ functions.T
signals = 0.5 + 0.4 * np.tanh(3 * fields / fields.std())  # (2 n_signals, vertices)
split = {"train": signals[:n_signals], "val": signals[n_signals:-n_test][:96]}
x0 = signals[-n_test:]

# %% [markdown]
# ## Prior, flow and closed form
#
# The same recipes as on the page {doc}`own_data`. The first two coordinates of the vertices tell the networks which of
# them are neighbours: turn a surface of your own so that it is seen from its broad side. The closed form is the
# posterior under the Gaussian part of the prior.

# %% tags=["show-code"]
from aps_core.training.subspace_posterior import train_subspace_posterior
from aps_core.training.subspace_prior import train_subspace_prior

prior_recipe = {
    "trains": "subspace-prior",
    "prior": {
        "subspace": n_modes,
        "radius": 2,
        "batch": 64,
        "network": {"kind": "local", "width": 32, "depth": 2, "mix": 8},
    },
    "optimizer": {"steps": steps, "learning_rate": 2e-3, "ema": 0.98},
}
recipe = {
    "trains": "subspace-posterior",
    "flow": {"kind": "subspace", "steps": 2, "width": 32},
    "objective": {"kl": "forward", "masks": 16, "masks_per_step": 8, "batch": 64},
    "optimizer": {"steps": steps, "learning_rate": 1e-3, "ema": 0.98},
}
prior, _, _ = train_subspace_prior(prior_recipe, split, mesh.vertices)
task = aps_core.Task(aps_core.RandomMask((len(mesh),), missing), sigma_y, prior, lambda part: split[part], name="dome")
flow, _ = train_subspace_posterior(task, recipe)
closed = aps_core.gaussian_posterior(task)
measurements = task.measure(jax.random.key(seed + 1), x0)

# %% tags=["hide-input"]
run.say(f"The flow was trained by: {flow.trained_by}.")

# %% tags=["hide-input"]
shown = int(np.argmax(x0.std(axis=1)))  # the one that varies most
one = jax.tree.map(lambda a: a[shown], measurements)
samples = np.asarray(flow.sample(jax.random.key(seed + 2), one, n_samples))
run.figure(
    meshes.mesh_panel(
        mesh,
        {
            "truth": x0[shown],
            "measured": np.where(np.asarray(one.mask) > 0, np.asarray(one.y), np.nan),
            "sample": samples[0],
            "sample ": samples[1],
            "mean": samples.mean(axis=0),
        },
        {"standard deviation": samples.std(axis=0, ddof=1)},
        {"error of the mean": samples.mean(axis=0) - x0[shown]},
    ),
    "dome",
    alt="A dome in several panels: the truth with patches of high and low values; the measurement as scattered dots; "
    "two samples and their mean with patches in the same places; the standard deviation of the samples; and the error "
    "of their mean.",
    caption="Of the signals that were kept apart the one that varies most, its measurement (dots: seen vertices), two "
    "samples and the mean of the flow, the standard deviation of its samples and the error of their mean.",
    label="fig-own-mesh",
)

# %% [markdown]
# ## Is it right?
#
# On signals that were kept apart, the 90 % intervals of the samples have to hold 90 % of the true values. The energy
# score judges the whole distribution; the smaller, the better.

# %% tags=["show-code"]
from aps_core.metrics.evaluation import evaluate

scores = {
    name: evaluate(sampler, jax.random.key(seed + 3), measurements, x0, n_samples)
    for name, sampler in (("closed", closed), ("flow", flow))
}

# %% tags=["hide-input"]
own_problem.beside_closed_form(run, scores, n_samples, flow.trained_by, f"{n_test} signals that were kept apart")
run.verdict(own_problem.energy(), before="Signal by signal:")

# %% [markdown]
# ## What next
#
# - **A mesh with gaps, handles or several parts** works as well: a signal lives on vertices. `mesh.laplacian()` says
#   what it cannot do, such as vertices without a face (`mesh.without_isolated()` removes them).
# - **Many vertices**: the networks act on the modes, so their cost does not grow with the mesh; `mesh.coarser(cell)`
#   makes a smaller one.
# - **Pictures on a mesh**: {doc}`bunny_inpaint` projects digits onto a surface.

# %% tags=["hide-input"]
run.finish()
