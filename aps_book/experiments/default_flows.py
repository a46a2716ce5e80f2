"""Which flow ``load_posterior`` gives of a task that has several: the one of the usual name, unless another has a lower
energy score on validation signals, by more than its error, and 90 % intervals that are not wrong.

``python -m aps_book.experiments.default_flows`` scores the flows of CANDIDATES and writes
weights/results/default_flows.json. Needs the validation signals (CelebA in APS_DATA_DIR, CIFAR-10, MNIST).
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import files
from aps_core.metrics import calibration, quality
from aps_core.posterior import default_weights, load_posterior
from aps_core.tasks import load_task

CANDIDATES = {
    "faces-denoise": ("faces-denoise-held-out", "faces-denoise-reverse", "faces-denoise-reverse-spread"),
    "faces-sr2": ("faces-sr2-held-out", "faces-sr2-reverse"),
    "faces-deblur": ("faces-deblur-held-out", "faces-deblur-reverse"),
    "cifar10-deblur": ("cifar10-deblur-held-out", "cifar10-deblur-reverse"),
    "bunny-inpaint": ("bunny-inpaint-held-out", "bunny-inpaint-reverse"),
}
PATH = Path("weights/results/default_flows.json")
COVERAGE = (85.0, 95.0)  # per cent that 90 % intervals may hold


def judge(posterior, measurements, x0, n, seed=1):
    """Energy score (batch,) and coverage of the central 90 % intervals (batch,), in per cent, of n samples each."""
    energy, inside = [], []
    for i, key in enumerate(jax.random.split(jax.random.key(seed), len(x0))):
        samples = np.asarray(posterior.sample(key, jax.tree.map(lambda a, i=i: a[i], measurements), n))
        energy.append(quality.energy_score(samples, x0[i]))
        inside.append(100 * calibration.coverage(samples, x0[i], (0.9,))[0])
    return np.array(energy), np.array(inside)


def compare(name, n_signals=96, n=64, seed=0):
    """Scores of the flows of CANDIDATES[name] on the same validation measurements, and the one that is chosen.

    Another flow than the first, which has the usual name, must be better by two paired standard errors.
    """
    task = load_task(name)
    x0 = np.asarray(task.signals("val"), np.float32)
    x0 = x0[np.round(np.linspace(0, len(x0) - 1, n_signals)).astype(int)]
    measurements, found, energies = task.measure(jax.random.key(seed), jnp.asarray(x0)), {}, {}
    for row in CANDIDATES[name]:
        try:
            posterior = load_posterior(task, weights=row)
        except FileNotFoundError:
            continue
        energies[row], inside = judge(posterior, measurements, x0, n)
        energy, inside = quality.mean_and_standard_error(energies[row]), quality.mean_and_standard_error(inside)
        found[row] = {
            "trained_by": posterior.trained_by,
            "sha256": posterior.card["sha256"],
            "energy": [float(a) for a in energy],
            "inside_90": [float(a) for a in inside],
        }
    usual = CANDIDATES[name][0]
    for row in found:
        found[row]["above_usual"] = [float(a) for a in quality.mean_and_standard_error(energies[row] - energies[usual])]
    allowed = [row for row in found if COVERAGE[0] <= found[row]["inside_90"][0] <= COVERAGE[1]] or list(found)
    best = min(allowed, key=lambda row: found[row]["energy"][0])
    value, error = found[best]["above_usual"]
    if usual in allowed and value > -2 * error:
        best = usual
    return {"signals": n_signals, "samples": n, "flows": found, "chosen": best}


def recorded():
    """What ``compare`` found for each task when it was last run; empty where it was not."""
    path = files.find("weights", "results", PATH.name)
    return {} if path is None else json.loads(path.read_text("utf-8"))


def say(name):
    """A sentence on why ``load_posterior`` gives the flow that it gives, from the record; says so where there is none."""
    one = recorded().get(name)
    if one is None:
        return f'Why `load_posterior("{name}")` gives the flow that it gives was not recorded.'
    scores = "; ".join(
        f"{row['trained_by']}: {row['energy'][0]:.3f} and {row['inside_90'][0]:.1f} %" for row in one["flows"].values()
    )
    return (
        f'`load_posterior("{name}")` gives the flow that was trained by the {one["flows"][one["chosen"]]["trained_by"]}. It was chosen on '
        f"{one['signals']} validation signals by the energy score (the smaller, the nearer to the truth), with 90 % intervals that hold about as much: {scores}."
    )


def main(arguments=None):
    """Command line: score the flows and write the record; says where ``load_posterior`` gives another one."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.default_flows", description=main.__doc__)
    parser.add_argument("tasks", nargs="*", default=list(CANDIDATES), help="of " + ", ".join(CANDIDATES))
    parser.add_argument("--signals", type=int, default=96)
    options = parser.parse_args(arguments)
    found = json.loads(PATH.read_text("utf-8")) if PATH.is_file() else {}
    for name in options.tasks:
        found[name] = compare(name, options.signals)
        given = default_weights(name, "held-out")
        print(name, "chosen:", found[name]["chosen"], "" if given == found[name]["chosen"] else f"but given: {given}")
        print(json.dumps(found[name]["flows"], indent=1), flush=True)
        files.write_atomically(PATH, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
