"""The picture of the front page and of the README, made by ``python -m aps_book.experiments.front``: what flows of the
reverse divergence alone make of a face drawn from the prior, a digit on the bunny and a month of temperature.
"""

import io
from pathlib import Path

import jax
import numpy as np

import aps_core
from aps_book.record.provenance import ROOT
from aps_core.files import write_atomically
from aps_core.weights import load_card

PICTURE = Path("book/_static/front.png")
WEIGHTS = {"faces": "faces-denoise-reverse", "bunny": "bunny-inpaint-reverse", "sphere": "sphere-impute-held-out"}
TASKS = {"faces": "faces-denoise", "bunny": "bunny-inpaint", "sphere": "sphere-impute"}
CHOSEN = {"faces": 5, "bunny": 3, "sphere": 120}  # signals of the test sets
N_SAMPLES, SEED = 128, 0


def inputs():
    """{weights: sha256}, which the picture carries as its description."""
    return {name: load_card(name)["sha256"] for name in WEIGHTS.values()}


def row(name):
    """Measurement, two samples, mean and spread of one problem; NaN where nothing was measured."""
    from aps_core.data import faces, load

    task = aps_core.load_task(TASKS[name])
    post = aps_core.load_posterior(task, weights=WEIGHTS[name])
    data = {"faces": lambda: faces.prior_faces("test"), "bunny": lambda: load("bunny-mnist", "test")}
    test = data.get(name, lambda: load("ncep-temperature", "test"))()
    key_y, key_x = jax.random.split(jax.random.key(SEED))
    measurement = task.measure(key_y, test.values[CHOSEN[name]])
    samples = np.asarray(post.sample(key_x, measurement, N_SAMPLES))
    seen = np.asarray(measurement.y, float)
    if measurement.mask is not None:
        seen = np.where(np.asarray(measurement.mask) > 0, seen, np.nan)
    spread = samples.std(axis=0, ddof=1)
    return [seen, samples[0], samples[1], samples.mean(axis=0), spread.mean(axis=-1) if name == "faces" else spread]


def main():
    """Draw the picture and write it to ``book/_static/front.png``."""
    from aps_book.figures.front import front
    from aps_core.data.bunny import load_mesh

    fig = front({name: row(name) for name in WEIGHTS}, load_mesh())
    drawn = io.BytesIO()
    description = " ".join(f"{name}={sha}" for name, sha in inputs().items())
    fig.savefig(drawn, format="png", dpi=120, metadata={"Description": description, "Software": None})
    write_atomically(ROOT / PICTURE, drawn.getvalue())
    print(f"{PICTURE}: {len(drawn.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
