"""Full-size numbers of the flows on faces that the reverse divergence alone has trained, added to the full run of the
page on faces.

``python -m aps_book.experiments.faces_reverse --faces 5189`` scores them on the faces and with the noise and draws of
that run, without the samplers that iterate, and writes weights/results/faces.added-reverse.json. Needs CelebA in
APS_DATA_DIR. Scores are kept in a folder as they come: run again, it goes on.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import faces
from aps_book.experiments.kept import kept
from aps_book.experiments.measured import measure
from aps_core import data
from aps_core.files import sha256_of
from aps_core.metrics import evaluation, quality
from aps_core.tasks import load_task
from aps_core.training import validation

PART = 512  # faces between two files


def scores(task, row, sampler, case, n_samples, folder, where=slice(None), seed=0):
    """``evaluation.score`` of the faces ``where`` of a Case, with the draws that the page takes for all of it; kept in
    ``folder`` part by part.
    """
    chosen = np.arange(len(case.x0))[where]
    keys = jax.random.split(jax.random.key(seed + 1), len(case.x0))
    modes, parts = np.asarray(task.prior.gaussian.basis[:, : faces.BAND_MODES]), []
    for i in range(0, len(chosen), PART):
        name = f"{task.name}-{row}-{_digest(sampler)[:12]}-{len(case.x0)}-{len(chosen)}-{n_samples}-{i}.npz"
        part = chosen[i : i + PART]
        parts.append(kept(folder / name, lambda part=part: _evaluate(sampler, keys, case, part, n_samples, modes)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _digest(sampler):
    """By what a sampler is known again: its weights, or those numbers that a closed form is made of."""
    if "sha256" in sampler.card:
        return sampler.card["sha256"]
    return sha256_of(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(sampler.flow)))


def _evaluate(sampler, keys, case, chosen, n_samples, modes):
    rows = []
    for i in chosen:
        samples = np.asarray(sampler.sample(keys[i], case.one(i), n_samples))
        rows.append(evaluation.score(samples, case.x0[i], evaluation.Scoring(modes, faces.BANDS)))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def objectives(run, prefix, samplers, case, n_faces, n=4, seed=7):
    """Keep the objective of every row of ``samplers`` minus the closed form's as ``prefix_objective.row.objective``, and
    that of the reverse flows minus the others' as ``prefix_below.row_other.objective``, in nats, paired by face.
    """
    where = np.round(np.linspace(0, len(case.x0) - 1, n_faces)).astype(int)
    few = jax.tree.map(lambda a: a[where], case.measurements)
    values = {row: validation.excess_objective(s, jax.random.key(seed), few, n) for row, s in samplers.items()}
    for row in values.keys() - {"gaussian"}:
        run.mean(f"{prefix}_objective.{row}.objective", values[row] - values["gaussian"], "nats")
    for row in faces.trained_rows(samplers):
        for other in values.keys() - {row, "gaussian"}:
            run.mean(f"{prefix}_below.{row}_{other}.objective", values[row] - values[other], "nats")


def paired(run, prefix, row, ours, theirs, where):
    """Keep what ``row`` has above the flow of the forward divergence on the faces ``where`` of it: PSNR, energy
    score.
    """
    for name, key in (("psnr_n1", "psnr_n1"), ("psnr_mean", "psnr_n128"), ("energy", "energy")):
        run.mean(f"{prefix}_versus.{row}.{key}", ours[name][where] - theirs[name], None if name == "energy" else "dB")


def against_closed_form(run, prefix, rows, closed, where):
    """Keep what ``rows`` have on the closed form on the faces ``where`` of theirs, as the page keeps it for all faces:
    ``faces.store_differences``.
    """
    few = {row: {name: values[where] for name, values in found.items()} for row, found in rows.items()}
    faces.store_differences(run, prefix, {"gaussian": closed, **few})


def against_tweedie(run, prefix, rows, tweedie, case, where):
    """Keep what the means of ``rows`` have on Noise2Score, a point estimate (the sampler ``tweedie``), on the faces
    ``where``, paired, as ``prefix_tweedie.row.psnr_n128``.
    """
    few = jax.tree.map(lambda a: a[where], case.measurements)
    estimate = np.asarray(tweedie.sample(jax.random.key(0), few, 1))[:, 0]
    base = quality.psnr(estimate, case.x0[where])
    for row, found in rows.items():
        run.mean(f"{prefix}_tweedie.{row}.psnr_n128", found["psnr_mean"][where] - base, "dB")


def main(arguments=None):
    """Command line: score the flows and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.faces_reverse", description=main.__doc__)
    parser.add_argument("--faces", type=int, default=5189, help="test faces, spread evenly over the split")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--paired-faces", type=int, default=512, help="of them, for what the flows are held against")
    parser.add_argument("--objective-faces", type=int, default=24, help="faces for the objective; 0: none")
    parser.add_argument("--tasks", nargs="*", default=list(faces.TASKS), choices=list(faces.TASKS))
    parser.add_argument("--scores", type=Path, default=Path("checkpoints/faces-reverse"), help="folder of the parts")
    parser.add_argument("--out", type=Path, default=Path("weights/results/faces.added-reverse.json"))
    options = parser.parse_args(arguments)
    test = data.load("faces", "test")
    parameters = {
        "n_test": options.faces,
        "n_samples": options.samples,
        "n_paired": min(options.paired_faces, options.faces),
        "n_objective": options.objective_faces,
        "tasks": options.tasks,
    }
    run = record.Run("faces", parameters, options.scores)
    run.uses_data(test)
    for name in options.tasks:
        task = load_task(f"faces-{name}")
        case = measure(task, test, options.faces)
        samplers = {**faces.amortized(task)}
        tweedie = samplers.pop("noise2score", None)
        where = np.round(np.linspace(0, options.faces - 1, parameters["n_paired"])).astype(int)
        found, reverse = {}, [row for row in faces.trained_rows(samplers) if row != "aps"]
        for row in ("gaussian", "aps", *reverse):
            if "sha256" in samplers[row].card:
                run.uses_weights(samplers[row].card)
            some = slice(None) if row in reverse else where
            found[row] = scores(task, row, samplers[row], case, options.samples, options.scores, some)
            means = {k: round(float(v.mean()), 4) for k, v in found[row].items() if v.ndim == 1}
            print(name, row, means, flush=True)
        for row in reverse:
            card = samplers[row].card
            run.numbers(f"flow.{name}_{row}", {"steps": card["steps"], "seconds": (card["seconds"])})
            paired(run, name, row, found[row], found["aps"], where)
        rows = {row: found[row] for row in reverse}
        against_closed_form(run, name, rows, found["gaussian"], where)
        if tweedie is not None:
            against_tweedie(run, name, rows, tweedie, case, where)
        faces.store(run, name, rows, options.samples)
        faces.store_coverage(run, name, found, tuple(rows))
        if options.objective_faces:
            objectives(run, name, samplers, case, options.objective_faces)
    run.finish()
    made = _with_other_tasks(record.load(options.scores / "faces.json"), options.out)
    print(record.save({**made, "figures": []}, options.out))


def _with_other_tasks(made, path):
    """A new record together with the numbers of other tasks that the one at ``path`` has from the same settings."""
    if not path.is_file():
        return made
    before = record.load(path)
    settings = [{k: v for k, v in one["parameters"].items() if k != "tasks"} for one in (before, made)]
    if settings[0] != settings[1]:
        return made
    tasks = [name for name in faces.TASKS if name in {*before["parameters"]["tasks"], *made["parameters"]["tasks"]}]
    used = {**before["provenance"]["weights"], **made["provenance"]["weights"]}
    commands = dict.fromkeys(filter(None, (one["provenance"].get("command") for one in (before, made))))
    return {
        **made,
        "numbers": {**before["numbers"], **made["numbers"]},
        "parameters": {**made["parameters"], "tasks": tasks},
        "provenance": {
            **made["provenance"],
            "weights": dict(sorted(used.items())),
            "command": " && ".join(commands) or None,
        },
    }


if __name__ == "__main__":
    main()
