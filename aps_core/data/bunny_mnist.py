"""MNIST digits on the bunny: each of the 1889 vertices takes the value of the digit at its place in the x-y plane,
bilinearly.

Splits are those of `mnist`. Signals are linear in the 784 pixels, so they fill at most 784 of their 1889 dimensions,
and vertices over pixels that no training digit lights are constant.
"""

from functools import lru_cache

from aps_core.data import bunny, mnist
from aps_core.data._store import Dataset, Source, check_split
from aps_core.geometry import projection

PROJECTION = "xy"

SOURCE = Source(
    name="bunny-mnist",
    title="MNIST digits on the bunny mesh, planar x-y projection",
    tier=1,
    shape=(bunny.N_VERTICES,),
    splits=dict(mnist.SOURCE.splits),
    origin="made at load from the data sets bunny and mnist by aps_core.geometry.projection",
    licence=f"{mnist.SOURCE.licence}; mesh: {bunny.SOURCE.licence}",
    citation=f"{mnist.SOURCE.citation}; {bunny.SOURCE.citation}",
    bytes=mnist.SOURCE.bytes + bunny.SOURCE.bytes,
    sha256=mnist.SOURCE.sha256,
)


def load(split):
    """The signals of `split`: values (n, 1889) float32 in [0, 1]; index as that of `mnist`. Errors as those of
    `mnist.load`.
    """
    check_split(SOURCE.name, split, SOURCE.splits)
    digits = mnist.load(split)
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=projection.project(digits.values, coordinates()),
        index=digits.index,
        sha256=digits.sha256,
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )


@lru_cache(maxsize=1)
def coordinates():
    """Place (1889, 2) of each vertex in the unit square of the digit."""
    return projection.vertex_coordinates(bunny.load_mesh(), PROJECTION)
