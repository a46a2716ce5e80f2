"""Photographs of things: CIFAR-10 where it was fetched, else ``prior-cifar10``, draws of the shipped CIFAR-10 prior
that come with the package.

For prior-cifar10 the prior is exact by construction; they show that everything runs, not how it does on photographs.
"""

from pathlib import Path

from aps_core.data import cifar10
from aps_core.data._store import Source, check_split
from aps_core.data.prior_draws import embedded
from aps_core.data.user_folder import may_fall_back

FILE = Path(__file__).with_name("prior_cifar10.npz")
SPLITS = {"val": 16, "test": 48}

SOURCE = Source(
    name="photos",
    title="CIFAR-10 where it is found, else 64 images drawn from the shipped prior (prior-cifar10)",
    tier=1,
    shape=cifar10.SOURCE.shape,
    splits=SPLITS,
    origin="embedded; made by scripts.data.make_prior_photos from the weights cifar10-prior",
    licence="MIT, as this package: drawn from a model, no photographs; draws close to a training image were dropped",
    citation="this package; the prior was trained on CIFAR-10 (Krizhevsky 2009, Learning multiple layers of features from tiny images)",
    bytes=188710,
    sha256="8065ce733159aa8477a5faf26c503db39b9dc424d3b58b13e92b0183d1de616d",
)


def load(split):
    """CIFAR-10's ``split`` (see ``cifar10.load``), or prior-cifar10: values (n, 32, 32, 3) float32 in [0, 1], index
    ``image``.

    ``name`` of the Dataset says which. Raises FileNotFoundError for split "train" without CIFAR-10, and where
    APS_DATA_DIR holds a part of it or nothing known (where it holds other data sets, a warning); ValueError for an
    unknown split or an altered file.
    """
    check_split(SOURCE.name, split, cifar10.RANGES)
    try:
        return cifar10.load(split)
    except FileNotFoundError as error:
        if split == "train":
            raise FileNotFoundError(f"photographs to train on are not in the package. {error}") from None
        may_fall_back("cifar10", "prior-cifar10", error)
        return prior_photos(split)


def prior_photos(split):
    """The embedded draws as a Dataset, errors as those of ``prior_draws.embedded``."""
    return embedded("prior-cifar10", SOURCE, FILE, split, "make_prior_photos")
