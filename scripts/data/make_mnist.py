"""Make the embedded digits from the full set: ``python -m scripts.data.make_mnist``."""

from aps_core.data.mnist import EMBEDDED, FILE, read_idx
from aps_core.files import sha256_of, write_atomically
from scripts.data.packing import pack


def make():
    """The bytes of the embedded file, from the full set."""
    images, labels = read_idx("t10k-images-idx3-ubyte")[0], read_idx("t10k-labels-idx1-ubyte")[0]
    lit = (read_idx("train-images-idx3-ubyte")[0] > 0).any(axis=0)
    return pack({"images": images[EMBEDDED], "labels": labels[EMBEDDED], "ever_lit": lit})


if __name__ == "__main__":
    made = make()
    write_atomically(FILE, made)
    print(f"{FILE.name}: {len(made)} bytes, sha256 {sha256_of(made)}")
