"""Draws the faces that come with the package from the shipped prior: ``python -m scripts.data.make_prior_faces``.

Needs the CelebA training faces, to drop every draw that is too close to one of them or to its mirror image.
"""

import io

import jax
import numpy as np

from aps_core.data import celeba, faces
from aps_core.files import sha256_of, write_atomically
from aps_core.priors.fast_sampling import draw
from aps_core.priors.store import load_prior

N_DRAWN, N_STEPS, SEED = 288, 32, 20
MEMORIZED = 0.5  # of the typical distance between a validation face and its nearest training face


def nearest(images, train, chunk=2048):
    """Root-mean-square distance of each of ``images`` (n, d) to the nearest row of ``train`` (m, d) uint8, in the scale
    [0, 1].
    """
    best = np.full(len(images), np.inf)
    for start in range(0, len(train), chunk):
        rows = train[start : start + chunk].astype(np.float32) / 255
        squared = (images**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * images @ rows.T
        best = np.minimum(best, squared.min(axis=1))
    return np.sqrt(np.maximum(best, 0) / images.shape[1])


def main():
    """Draw, drop what is memorized, round to 8 bits, write the file, and print what the module ``faces`` must say of
    it.
    """
    prior, _ = load_prior("faces-prior")
    drawn = np.asarray(draw(prior, jax.random.key(SEED), N_DRAWN, N_STEPS, progress=True))
    pixels = np.round(255 * np.clip(drawn, 0, 1)).astype(np.uint8)
    train = celeba.pixels("train")[0]
    train = np.concatenate([train, train[:, :, ::-1]]).reshape(2 * len(train), -1)
    held_out = celeba.pixels("val", 256)[0].reshape(256, -1)
    usual = float(np.median(nearest(held_out.astype(np.float32) / 255, train)))
    distance = nearest(pixels.reshape(len(pixels), -1).astype(np.float32) / 255, train)
    kept = np.flatnonzero(distance > MEMORIZED * usual)[: sum(faces.SPLITS.values())]
    content = io.BytesIO()
    np.savez_compressed(content, pixels=pixels[kept])
    write_atomically(faces.FILE, content.getvalue())
    print(
        f"{len(pixels) - np.sum(distance > MEMORIZED * usual)} of {len(pixels)} dropped; nearest training face: median {np.median(distance):.4f}, "
        f"least kept {distance[kept].min():.4f}; of validation faces {usual:.4f}"
    )
    print(f"bytes={len(content.getvalue())}, sha256={sha256_of(content.getvalue())!r}")


if __name__ == "__main__":
    main()
