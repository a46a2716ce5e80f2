"""Draws the images of prior-cifar10 from the shipped prior: ``python -m scripts.data.make_prior_photos``.

Needs the CIFAR-10 training images, to drop every draw that is nearer to one of them, or to its mirror image, than
held-out images are.
"""

import io

import jax
import numpy as np

from aps_core.data import cifar10, photos
from aps_core.files import sha256_of, write_atomically
from aps_core.priors.fast_sampling import draw
from aps_core.priors.store import load_prior
from scripts.data.make_prior_faces import MEMORIZED, nearest

N_DRAWN, N_STEPS, SEED = 80, 32, 21


def main():
    """Draw, drop what is memorized, round to 8 bits, write the file, and print what the module ``photos`` must say of
    it.
    """
    prior, _ = load_prior("cifar10-prior")
    drawn = np.asarray(draw(prior, jax.random.key(SEED), N_DRAWN, N_STEPS, batch=16, progress=True))
    pixels = np.round(255 * np.clip(drawn, 0, 1)).astype(np.uint8)
    train = cifar10.pixels("train")[0]
    train = np.concatenate([train, train[:, :, ::-1]]).reshape(2 * len(train), -1)
    held_out = cifar10.pixels("val", 256)[0].reshape(256, -1)
    usual = nearest(held_out.astype(np.float32) / 255, train)
    distance = nearest(pixels.reshape(len(pixels), -1).astype(np.float32) / 255, train)
    good = distance > MEMORIZED * np.median(usual)
    kept = np.flatnonzero(good)[: sum(photos.SPLITS.values())]
    content = io.BytesIO()
    np.savez_compressed(content, pixels=pixels[kept])
    write_atomically(photos.FILE, content.getvalue())
    print(
        f"{np.sum(~good)} of {len(pixels)} dropped; nearest training image: median {np.median(distance):.4f}, "
        f"least kept {distance[kept].min():.4f}; of validation images median {np.median(usual):.4f}, least {usual.min():.4f}"
    )
    print(f"bytes={len(content.getvalue())}, sha256={sha256_of(content.getvalue())!r}")


if __name__ == "__main__":
    main()
