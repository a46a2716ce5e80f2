"""Labeled Faces in the Wild at 32 x 32, brought by the user (tier 3): faces of another data set, in the place of the
paper's FFHQ.
"""

import numpy as np

from aps_core.data import celeba
from aps_core.data._store import Dataset, Source, check_split
from aps_core.data.user_folder import user_folder
from aps_core.files import sha256_of

SOURCE = Source(
    name="lfw",
    title="Labeled Faces in the Wild (deep-funneled), central 140 of 250 pixels at 32 x 32",
    tier=3,
    shape=celeba.SOURCE.shape,
    splits={"test": 2000},
    origin="brought by the user: lfw32/test_0.webp in $APS_DATA_DIR, an atlas of 100 tiles a row",
    licence="research use",
    citation="Huang, Ramesh, Berg and Learned-Miller (2007), Labeled faces in the wild, University of Massachusetts, technical report 07-49",
)


def load(split="test"):
    """The faces as a Dataset: values (n, 32, 32, 3) float32 in [0, 1]; index ``image``, the tile. FileNotFoundError
    where they are not found.
    """
    check_split(SOURCE.name, split, SOURCE.splits)
    folder = user_folder()
    path = folder and folder / "lfw32" / "test_0.webp"
    if path is None or not path.is_file():
        looked = f"looked for {path}" if path else "APS_DATA_DIR is not set"
        raise FileNotFoundError(
            f"LFW faces not found: {looked}. Cut the deep-funneled images as SOURCE.title says, as lfw32/test_0.webp in "
            "the folder that APS_DATA_DIR names"
        )
    values = celeba.read_atlas(path)[: SOURCE.splits["test"]]
    if len(values) < SOURCE.splits["test"]:
        raise ValueError(f"{path} has {len(values)} tiles, expected at least {SOURCE.splits['test']}")
    return Dataset(
        name=SOURCE.name,
        split=split,
        values=values.astype(np.float32) / 255,
        index={"image": np.arange(len(values))},
        sha256=sha256_of(path.read_bytes()),
        licence=SOURCE.licence,
        citation=SOURCE.citation,
    )
