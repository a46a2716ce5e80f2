"""Embedded draws of a shipped prior, which stand in for a data set of real images that is not at hand."""

import numpy as np

from aps_core.data._store import Dataset, check_split, read_checked


def embedded(name, source, path, split, script):
    """The draws in ``path`` (.npz, 8-bit ``pixels``) as a Dataset called ``name``: first those of "val", then "test".

    source: the Source that holds their sha256 and number of each split; script: the module that makes the file again.
    Raises ValueError for an unknown split or an altered file, FileNotFoundError for a missing one.
    """
    check_split(name, split, source.splits)
    arrays = read_checked(
        path, source.sha256, f"reinstall the package or make it again with `python -m scripts.data.{script}`"
    )
    first = 0 if split == "val" else source.splits["val"]
    chosen = np.arange(first, first + source.splits[split])
    return Dataset(
        name=name,
        split=split,
        values=arrays["pixels"][chosen].astype(np.float32) / 255,
        index={"image": chosen},
        sha256=source.sha256,
        licence=source.licence,
        citation=source.citation,
    )
