"""The part of the bunny's chapter that asks a flow about another mesh than that of its training."""

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import bunny_inpaint, other_mesh
from aps_core.data import bunny, mnist
from aps_core.data.user_folder import may_fall_back

LABELS = {
    "own": "its own mesh",
    "coarse": "clustered",
    "fine": "each triangle cut in four",
    "official": "the repository's own decimation",
}
CELL = 0.0085  # metres: edge of the cubes whose vertices become one


def meshes():
    """The bunny in several triangulations by row of LABELS; the repository's own where the user has brought it."""
    own = bunny.load_mesh()
    found = {"own": own, "coarse": own.coarser(CELL), "fine": own.finer()}
    try:
        found["official"] = bunny.load_mesh("official")
    except FileNotFoundError as error:
        may_fall_back("bunny", "the embedded bunny alone", error)
    return found


def run(task, posterior, n, n_samples, missing, seed=0):
    """Scores of closed form and flow on the first of every mesh's digits: {row: {"vertices": how many, "gaussian" and
    "aps": ``bunny_study.score``}}.

    posterior: the trained one of ``task`` ("bunny-inpaint"); n digits spread over the 512 embedded ones, the same on
    every mesh, a share ``missing`` of whose vertices is hidden. The truth has the noise of the prior's rest, as
    coverage asks (see the chapter); PSNR is that of digits with it.
    """
    digits = mnist.load("test").values
    digits = digits[np.round(np.linspace(0, len(digits) - 1, n)).astype(int)].reshape(n, -1)
    lit, every = mnist.ever_lit().ravel(), meshes()
    own, scores = every["own"], {}
    at_home = other_mesh.other_lookup(own, own)[:, lit]
    for row, mesh in every.items():
        there = other_mesh.other_lookup(mesh, own)[:, lit]
        mean, basis = (jnp.asarray(a, jnp.float32) for a in other_mesh.carry(task.prior, at_home, there))
        used = {"gaussian": None, "aps": posterior.params}
        samplers = {
            name: other_mesh.CarriedPosterior(posterior.flow, params, mean, basis) for name, params in used.items()
        }
        k_rest, k_measure, k_sample = jax.random.split(jax.random.key(seed + 301), 3)
        x0 = jnp.asarray(digits[:, lit] @ there.T, jnp.float32)
        x0 = x0 + jnp.sqrt(samplers["aps"].rest) * jax.random.normal(k_rest, x0.shape)
        keys = jax.random.split(k_measure, n)
        measurements = jax.vmap(lambda k, x, p=samplers["aps"]: p.measure(k, x, missing))(keys, x0)
        chosen = np.asarray(samplers["aps"].spread) > bunny_inpaint.SPREAD
        scores[row] = {"vertices": len(mesh)}
        for name, sampler in samplers.items():
            scores[row][name] = bunny_inpaint.score(sampler, k_sample, measurements, np.asarray(x0), n_samples, chosen)
    return scores


def store(run, scores):
    """Keep ``transfer.coarse_aps.psnr`` (mean of the samples), psnr_n1 and coverage_90 for each mesh and posterior, and
    the flow's lead over the closed form.
    """
    for row, found in scores.items():
        run.number(f"transfer.{row}.vertices", found["vertices"])
        for name in ("gaussian", "aps"):
            one = found[name]
            run.mean(f"transfer.{row}_{name}.psnr", one["psnr_mean"], "dB")
            run.mean(f"transfer.{row}_{name}.psnr_n1", one["psnr_n1"], "dB")
            run.mean(f"transfer.{row}_{name}.coverage_90", 100 * one["coverage"][:, 1], "%")
        run.mean(f"transfer.{row}.lead", found["aps"]["psnr_mean"] - found["gaussian"]["psnr_mean"], "dB")


def known(run):
    """Labels of the meshes of this run."""
    numbers = run.as_dict()["numbers"]
    return {row: label for row, label in LABELS.items() if f"transfer.{row}.lead" in numbers}


def rows(run):
    """Labels of the table of meshes: those of this run and of the full one."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    known = run.as_dict()["numbers"].keys() | full["numbers"].keys()
    names = {"gaussian": "closed form", "aps": "flow"}
    return {
        f"{row}_{name}": f"{label}, {word}"
        for row, label in LABELS.items()
        for name, word in names.items()
        if f"transfer.{row}_{name}.psnr" in known
    }
