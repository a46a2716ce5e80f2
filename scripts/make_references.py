"""Makes references for ``diagnose``: ``python -m scripts.make_references NAME ...`` for weights NAME, into weights/diagnose.

Validation signals are measured besides: faces need CelebA in APS_DATA_DIR, digits what `aps data fetch
mnist` gets. Draws of learned priors are kept in the folder that APS_DRAWS_DIR names (``checkpoints`` by default) for the
next weights under the same prior.
"""

import argparse
import io
import os
from pathlib import Path

import jax
import numpy as np

from aps_core import files, weights
from aps_core.metrics.trust import reference
from aps_core.posterior import load_posterior
from aps_core.priors.content import digest_of
from aps_core.tasks import load_task

N_DRAWS, N_SIGNALS, CHUNK, SEED = 512, 400, 128, 100


def draws_of(prior, n):
    """``n`` draws of a prior in chunks of CHUNK, each from its own seed and kept in a file of its own."""
    digest = digest_of(prior)
    folder, parts = Path(os.environ.get("APS_DRAWS_DIR", "checkpoints")), []
    for i in range(-(-n // CHUNK)):
        path = folder / f"diagnose-{digest}-{i}.npy"
        if not path.is_file():
            content = io.BytesIO()
            np.save(content, np.asarray(reference.draw_prior(prior, jax.random.key(SEED + i), CHUNK)))
            files.write_atomically(path, content.getvalue())
        parts.append(np.load(path, allow_pickle=False))
    return np.concatenate(parts)[:n]


def main(names, folder):
    """Write the reference of each of the weights ``names`` and print what its card says."""
    for name in names:
        task = load_task(weights.load_card(name)["task"])
        posterior = load_posterior(task, weights=name)
        signals = np.asarray(task.signals("val"))
        signals = signals[:: max(1, len(signals) // N_SIGNALS)][:N_SIGNALS]
        made = reference.make_reference(
            posterior, jax.random.key(SEED), signals=signals, draws=draws_of(task.prior, N_DRAWS)
        )
        card = reference.save_reference(made, posterior, Path(folder) / f"{name}.safetensors")
        print(f"{name}: {card['source']}, {card['bytes']} bytes", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="weights of a posterior")
    parser.add_argument("--folder", default=f"weights/{reference.FOLDER}", help="where the files go")
    given = parser.parse_args()
    main(given.names, given.folder)
