"""What the pictures of a page may show: draws of a shipped prior, never the photographs that its numbers stand on."""

import jax

from aps_book.experiments.measured import Case, measure
from aps_core.data.faces import prior_faces
from aps_core.data.photos import prior_photos

DRAWS = {"prior-faces": prior_faces, "prior-cifar10": prior_photos}
INSTEAD = {"celeba": "prior-faces", "lfw": "prior-faces", "cifar10": "prior-cifar10"}  # of photographs, by data set
LEFT_OUT = "No picture stands here: this run measures photographs, which are not shown. A run on draws of the prior shows them."


def allowed(dataset):
    """Whether pictures may show the signals of a Dataset: only those of DRAWS."""
    return dataset.name in DRAWS


def shown(dataset):
    """The Dataset itself where pictures may show it, else draws of the prior of its kind.

    Raises ValueError for a Dataset of which no draws are known.
    """
    if allowed(dataset):
        return dataset
    if dataset.name not in INSTEAD:
        raise ValueError(f"dataset = {dataset.name!r}: expected one of {', '.join([*DRAWS, *INSTEAD])}")
    return DRAWS[INSTEAD[dataset.name]](dataset.split)


def case(task, given, n, seed=0):
    """A Case of at most ``n`` signals for pictures: the first of the Case ``given`` where they may be shown, else draws of
    the prior, measured for ``task`` in the same way. Raises as ``shown``.
    """
    dataset, n = shown(given.dataset), min(n, len(given.x0))
    if dataset is not given.dataset:
        return measure(task, dataset, n, seed)
    return Case(dataset, given.chosen[:n], given.x0[:n], jax.tree.map(lambda a: a[:n], given.measurements))


def said(dataset):
    """What a caption adds where the pictures show other signals than those of ``dataset``."""
    return "" if allowed(dataset) else f" The pictures show {shown(dataset).name}, not what the numbers stand on."
