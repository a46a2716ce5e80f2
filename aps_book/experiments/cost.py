"""The chapter on what a bigger problem costs: measured by size, by the other numbers of a run, modelled beyond, and the sphere
at the reanalysis' own grid.
"""

import sys

import numpy as np

from aps_book import record
from aps_book.experiments.cost_measure import RIVALS, in_a_process, truncated
from aps_book.experiments.sampler_names import NAMES
from aps_book.record.labels import row_label
from aps_core import data, files, weights
from aps_core.flows.closed_form import closed_form
from aps_core.metrics import quality
from aps_core.tasks import load_task
from aps_core.training import recipes

ROUTES = {"dense": "in all entries", "modes": "in the modes"}
QUANTITIES = {
    "factor_seconds": "factorization [s]",
    "factor_mib": "memory of it [MiB]",
    "held_mib": "kept [MiB]",
    "sample_seconds": "one sample [s]",
    "many_seconds": "128 samples [s]",
    "step_seconds": "training step [s]",
    "step_mib": "memory of it [MiB]",
}
AXES = {"batch": "measurements in a step", "n_samples": "samples", "depth": "couplings", "devices": "virtual devices"}
BASE = {"batch": 8, "n_samples": 128, "depth": 4, "devices": 1}  # what `cost_measure.measure` takes by default
OF_AXIS = {"batch": "step", "n_samples": "many", "depth": "step", "devices": "step"}  # what is timed along each
CAPTIONS = {
    "batch": "A training step by the number of measurements in it.",
    "n_samples": "Drawing by the number of samples of one measurement.",
    "depth": "A training step by the number of couplings of the flow.",
    "devices": "A training step split over virtual devices.",
}
GRIDS = {"fine": "73 x 144 cells", "coarse": "46 x 90 cells"}
COMPARED = (
    ("psnr_n1", None, "+.3f", "PSNR of one sample"),
    ("psnr_mean", "higher", "+.3f", "PSNR of the mean"),
    ("energy", "lower", "+.4f", "energy score"),
)
FLOPS = 30  # of a dense factorization, in d^3: two eigenproblems and products
GIB_8 = 8 * 2**10  # MiB
FINE, COARSE = "sphere-fine-impute", "sphere-impute"
SPHERES = {  # task, weights, grid
    "fine.gaussian": (FINE, None, "fine"),
    "fine.flow": (FINE, "sphere-fine-impute-held-out", "fine"),
    "coarse.gaussian": (COARSE, None, "coarse"),
    "coarse.flow": (COARSE, "sphere-impute-held-out", "coarse"),
}


def counts_rule(name, value):
    """The rule of a list of numbers of at least 1, which may be empty."""
    return [] if isinstance(value, list) and not value else record.list_of(record.integer(1, 4096))(name, value)


def said(text):
    """Tell on a terminal what is measured now: it takes minutes."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def store_sizes(run, sides, k, parts):
    """Measure images of each side by route (``sides`` dict route -> list) and keep what was found as ``s32.dense.factor_seconds``
    and so on.
    """
    for route, chosen in sides.items():
        for side in chosen:
            said(f"{ROUTES[route]}, {side} x {side} x 3")
            chosen_parts = [part for part in parts if part != "rivals" or route == "modes"]  # they know of no route
            found = in_a_process("measure", side=side, route=route, k=k, parts=chosen_parts)
            for name, value in found.items():
                run.number(f"s{side}.{route}.{name}", value, unit="s" if name.endswith("seconds") else None)
    for side in set(sides["dense"]) & set(sides["modes"]):
        here = run.as_dict()["numbers"]
        ours, dense = (here[f"s{side}.{route}.std"]["value"] for route in ("modes", "dense"))
        run.number(f"s{side}.agree", abs(ours / dense - 1))


def store_axes(run, side, k, axes):
    """Measure what each of AXES (``axes``: dict name -> list) changes at images of one side in the modes, and keep it as
    ``batch.n16.seconds``. The usual number, of BASE, is not measured again.
    """
    usual = {name.removeprefix(f"s{side}.modes."): number["value"] for name, number in run.as_dict()["numbers"].items()}
    for name, values in axes.items():
        part = OF_AXIS[name]
        if values and f"{part}_seconds" in usual:
            run.number(f"{name}.n{BASE[name]}.seconds", usual[f"{part}_seconds"], unit="s")
            run.number(f"{name}.n{BASE[name]}.mib", usual[f"{part}_mib"])
        for value in values:
            if f"{name}.n{value}.seconds" in run.as_dict()["numbers"]:
                continue
            said(f"{value} {AXES[name]}")
            found = in_a_process("measure", side=side, route="modes", k=k, parts=[part], **{name: value})
            run.number(f"{name}.n{value}.seconds", found[f"{part}_seconds"], unit="s")
            run.number(f"{name}.n{value}.mib", found[f"{part}_mib"])


def store_model(run, sides, beyond):
    """Fit the dense factorization, seconds c d^3 and memory c d^2 at the largest side measured, and keep what that says at the
    sides ``beyond``, where 8 GiB and an hour end, and the least times that the machine allows (its roofline). Raises
    ValueError for fewer than two sides.
    """
    if len(sides) < 2:
        raise ValueError(f"sides_dense = {sides}: expected at least two, between which the growth is seen")
    found = in_a_process("machine")
    run.numbers("machine", found)
    measured = run.as_dict()["numbers"]
    at = lambda side, name: measured[f"s{side}.dense.{name}"]["value"]  # noqa: E731
    last = max(sides)
    before, d = max(s for s in sides if s < last), 3 * last**2
    growth = np.log(at(last, "factor_seconds") / at(before, "factor_seconds")) / np.log(last**2 / before**2)
    seconds, mib = at(last, "factor_seconds") / d**3, (at(last, "factor_mib") - at(last, "idle_mib")) / d**2
    run.number("model.exponent", growth)
    run.number("model.of_roofline", FLOPS * d**3 / (found["gflops"] * 1e9) / at(last, "factor_seconds"))
    run.number("model.arrays", mib * 2**20 / 8)  # of d x d numbers of 8 bytes
    for side in beyond:
        d = 3 * side**2
        run.number(f"model.s{side}.factor_seconds", seconds * d**3, unit="s")
        run.number(f"model.s{side}.factor_mib", mib * d**2)
        run.number(f"model.s{side}.kept_mib", 3 * 4 * d**2 / 2**20)
        run.number(f"model.s{side}.sample_seconds", 4 * d**2 / (found["gbytes"] * 1e9), unit="s")
    run.number("model.side_8gib", np.sqrt(np.sqrt(GIB_8 / mib) / 3))
    run.number("model.side_hour", np.sqrt((3600 / seconds) ** (1 / 3) / 3))


def store_truncation(run, modes, n_faces, seed=0):
    """What few modes cost where all fit: PSNR of the mean of the closed form for deblurring faces under the Gaussian of the
    face prior cut to each of ``modes``, and the difference to that of the most of them, paired by face.
    """
    import jax
    import jax.numpy as jnp

    task, found = load_task("faces-deblur"), {}
    run.uses_weights(weights.load_card("faces-prior"))
    faces = data.load("faces", "test")
    x0 = faces.values[np.round(np.linspace(0, len(faces) - 1, n_faces)).astype(int)]
    measured = task.measure(jax.random.key(seed), jnp.asarray(x0))
    for k in sorted(modes):
        said(f"{k} modes")
        flow = closed_form(truncated(task.prior.gaussian, k), task.operator, float(task.sigma_y))
        means = jax.jit(lambda flow, m: jax.lax.map(lambda one: flow.context(one).mean, m))(flow, measured)
        found[k] = quality.psnr(np.asarray(means).reshape(x0.shape), x0)
        run.mean(f"modes.n{k}.psnr", found[k], "dB")
    most = max(modes)
    for k in sorted(set(modes) - {most}):
        run.mean(f"modes.n{k}.lost", found[k] - found[most], "dB")
    return faces


def store_sphere(run, n_months, n_samples, seed=0):
    """Score the closed form and the flow on both grids, the same months, and keep what their training took."""
    for row, (task, name, grid) in SPHERES.items():
        said(f"sphere: {row}")
        found = in_a_process("sphere", task=task, weights=name, n_months=n_months, n_samples=n_samples, seed=seed)
        for kind, area in (("n1", "n1"), ("mean", "mean")):
            run.mean(f"{row}.psnr_{kind}", found[f"psnr_{kind}"], "dB")
            run.mean(f"{row}.psnr_area_{kind}", found[area], "dB")
        run.mean(f"{row}.coverage_90", found["coverage_90"], "%")
        run.mean(f"{row}.energy", found["energy"])
        for key in ("seconds", "many_seconds"):
            run.number(f"{row}.{key}", found[key], unit="s")
        run.number(f"{row}.peak_mib", found["peak_mib"])
        if name is None:
            closed = found
            continue
        for key, unit in (("psnr_n1", "dB"), ("psnr_mean", "dB"), ("energy", None)):
            run.mean(f"{grid}.above.{key}", np.subtract(found[key], closed[key]), unit)
        for step, of in (("prior", "sphere-fine-prior" if grid == "fine" else "sphere-prior"), ("training", name)):
            card = weights.load_card(of)
            run.number(f"{grid}.{step}.seconds", card["seconds"], unit="s")
            run.number(f"{grid}.{step}.steps", card["steps"])
            if card.get("peak_mib"):
                run.number(f"{grid}.{step}.peak_mib", card["peak_mib"])
            run.uses_weights(card)


def numbers(run):
    """The numbers of the full run where there is one, with those of this run that it has not."""
    return {**run.as_dict()["numbers"], **(record.full_run(run.notebook) or {"numbers": {}})["numbers"]}


def known(run, rows, columns):
    """Of ``rows`` (label by key), those of which a run has one of ``columns``."""
    there = numbers(run).keys()
    return {row: label for row, label in rows.items() if any(f"{row}.{column}" in there for column in columns)}


def sizes(found):
    """Sides of images that were measured or modelled, in order, from ``numbers``, or those of a record."""
    words = {key.split(".")[1 if key.startswith("model.s") else 0] for key in found if "factor_seconds" in key}
    return sorted(int(word[1:]) for word in words)


def size_rows(run):
    """Labels of the rows ``s32.dense`` of the table of sizes."""
    rows = {
        f"s{side}.{route}": f"{side} x {side} x 3, {name}"
        for side in sizes(numbers(run))
        for route, name in ROUTES.items()
    }
    return known(run, rows, QUANTITIES)


def model_rows(run):
    """Labels of the rows ``model.s64``."""
    return known(run, {f"model.s{side}": f"{side} x {side} x 3" for side in sizes(numbers(run))}, ["factor_seconds"])


def curves(shown):
    """Arguments of ``curves.path_curves`` from a record: seconds and memory of factorization, sample and step by route, and
    the model of the dense one, against the entries of a signal.
    """
    sides = sizes(shown["numbers"])
    value = lambda key: shown["numbers"].get(key, {"value": np.nan})["value"]  # noqa: E731
    labels = {
        "factor_seconds": "factorization (s)",
        "factor_mib": "its memory (MiB)",
        "sample_seconds": "one sample (s)",
    }
    labels["step_seconds"] = "training step (s)"
    panels = {}
    for name, label in labels.items():
        lines = {ROUTES[route]: [value(f"s{side}.{route}.{name}") for side in sides] for route in ROUTES}
        lines["in all entries, modelled"] = [value(f"model.s{side}.{name}") for side in sides]
        if name == "factor_mib":  # what the process held before is no part of the model
            for route in ROUTES:
                held = [value(f"s{side}.{route}.idle_mib") for side in sides]
                lines[ROUTES[route]] = np.maximum(np.subtract(lines[ROUTES[route]], held), 1)
        last = np.flatnonzero(np.isfinite(lines[ROUTES["dense"]]))
        if name.startswith("factor") and last.size:  # from which the model was made
            lines["in all entries, modelled"][last[-1]] = lines[ROUTES["dense"]][last[-1]]
        kept = {label: line for label, line in lines.items() if np.isfinite(line).any()}
        if kept:
            panels[label] = kept
    return {"levels": [3 * side**2 for side in sides], "panels": panels, "xlabel": "entries of a signal"}


def measured_axes(run):
    """Which of AXES were measured."""
    return [name for name in AXES if axis_rows(run, name)]


def axis_rows(run, name):
    """Labels of the rows of one axis, ``batch.n16``."""
    there = sorted({int(key.split(".")[1][1:]) for key in numbers(run) if key.startswith(f"{name}.n")})
    return {f"{name}.n{n}": f"{n} {AXES[name]}" for n in there}


def modes_rows(run):
    """Labels of the rows ``modes.n64``."""
    there = sorted({int(key.split(".")[1][1:]) for key in numbers(run) if key.startswith("modes.n")})
    return {f"modes.n{k}": f"{k:,} modes" for k in there}


def rival_rows(run):
    """Labels of the rows ``s32.modes`` with times of rivals."""
    return known(run, size_rows(run), [f"{name}_seconds" for name in RIVALS])


def sphere_rows(run):
    """Labels of the rows of the spheres, and of their training."""
    rows = {row: f"{GRIDS[grid]}, {_sampler(name)}" for row, (_, name, grid) in SPHERES.items()}
    training = {"fine.prior": "73 x 144 cells, prior", "fine.training": "73 x 144 cells, flow"}
    training |= {"coarse.prior": "46 x 90 cells, prior", "coarse.training": "46 x 90 cells, flow"}
    return known(run, rows, ["psnr_n1"]), known(run, training, ["seconds"])


def _sampler(name):
    """What samples, by the recipe of its weights (None: the closed form); the weights themselves need not be there."""
    if name is None:
        return "closed form"
    return row_label({"recipe": recipes.read(files.find("recipes", f"{name}.toml"))})


BENCH = {  # what `make bench` times, by the word in its record
    "flow": {"aps_core": "this package", "plain_jax": "unadorned JAX loop", "flowjax": "flowjax", "distrax": "distrax"},
    "sampler": {
        **{word: f"{label}, this package" for word, label in NAMES.items()},
        "plain_jax_dps": "DPS, unadorned JAX loop",
        **{f"deepinv_{name.lower()}": f"{name}, deepinv" for name in ("DPS", "DiffPIR", "DDRM")},
    },
}


def bench_rows(run, kind):
    """Labels of the rows ``bench.flow.aps_core`` of a kind of BENCH."""
    columns = {"flow": ["compile"], "sampler": ["denoising", "super_resolution"]}[kind]
    return known(run, {f"bench.{kind}.{word}": label for word, label in BENCH[kind].items()}, columns)


def rival_columns():
    """Columns of the table of rivals."""
    return {"sample_seconds": ("flow [s]", ".3g"), **{f"{n}_seconds": (f"{NAMES[n]} [s]", ".3g") for n in RIVALS}}
