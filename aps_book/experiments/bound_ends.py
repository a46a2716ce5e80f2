"""The bound against the probability-flow ODE at both ends of the way that the mean goes, and against a bound that begins
earlier, added to the full run of the page on the paper's objective.

``python -m aps_book.experiments.bound_ends`` writes weights/results/protocol.added-ends.json; some minutes of one core. Needs
CelebA in APS_DATA_DIR.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import moved_mean
from aps_book.experiments.objective_faces import PARTS, Faces
from aps_core import data

SAMPLES = 2  # of each face, for what earlier times pay
TIMES = 16  # of the bound, in each part of the times


def store_start(run, faces, key):
    """Keep what the times between ``sde.t_min`` and ``t_residual``, where the prior's network is not asked, would add to the
    bound at samples of the reverse flow minus that at samples with the frozen mean: ``start.paid`` in nats.
    """
    low, high = faces.prior.sde.t_min, faces.prior.t_residual
    run.numbers("start", {"low": low, "high": high})
    found = {}
    for row in ("reverse", "spread"):
        x = jnp.asarray(faces.samples[row][:, :SAMPLES])
        ratio = moved_mean.ratio_between(faces.prior, key, x.reshape(-1, x.shape[-1]), low, high, TIMES)
        found[row] = np.asarray(ratio).reshape(-1, SAMPLES).mean(axis=1)
    run.mean("start.paid", found["reverse"] - found["spread"], "nats")


def store_gap(run, faces, key):
    """Keep the bound minus the density of the probability-flow ODE, in nats, at a sample of each face with the frozen mean as
    ``gap.frozen``; and by how much that changes, paired, when the sample is moved to the reverse flow's mean
    (``gap.moved``), and to a sample of that flow (``gap.reverse``).
    """
    n, frozen = len(faces.y), faces.samples["spread"][:, 0]
    ends = {"frozen": frozen, "moved": frozen + faces.way(n), "reverse": faces.samples["reverse"][:, 0]}
    gap = {name: _bound(faces.prior, key, jnp.asarray(x)) - _density(faces.prior, key, x) for name, x in ends.items()}
    run.mean("gap.frozen", gap["frozen"], "nats")
    for name in ("moved", "reverse"):
        run.mean(f"gap.{name}", gap[name] - gap["frozen"], "nats")


def _bound(prior, key, x):
    gaussian = jax.lax.map(prior.gaussian.log_prob, x)
    return np.asarray(gaussian + moved_mean.ratio_by_time(prior, key, x, PARTS, TIMES).sum(axis=1))


def _density(prior, key, x):
    return np.asarray(moved_mean.ode_log_prob(prior, key, jnp.asarray(x)))


def main(arguments=None):
    """Command line: measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.bound_ends", description=main.__doc__)
    parser.add_argument("--faces", type=int, default=12, help="validation faces")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/bound-ends"))
    parser.add_argument("--out", type=Path, default=Path("weights/results/protocol.added-ends.json"))
    options = parser.parse_args(arguments)
    faces, key = Faces(data.load("faces", "val"), options.faces), jax.random.key(1)
    run = record.Run("protocol", {"n_test": options.faces}, options.folder)
    run.uses_data(faces.dataset)
    run.uses_weights(*(flow.card for flow in faces.flows.values()))
    store_start(run, faces, key)
    store_gap(run, faces, key)
    run.finish()
    print(record.save({**record.load(options.folder / "protocol.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
