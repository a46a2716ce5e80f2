"""Faces: CelebA where the user has brought it, else ``prior-faces``, draws of the shipped face prior that come with the
package.

For prior-faces the prior is exact by construction; they show that everything runs, not how it does on photographs.
"""

from pathlib import Path

import numpy as np

from aps_core.checks import real
from aps_core.data import celeba
from aps_core.data._store import Source, check_split
from aps_core.data.prior_draws import embedded
from aps_core.data.user_folder import may_fall_back

FILE = Path(__file__).with_name("prior_faces.npz")
SPLITS = {"val": 64, "test": 192}

SOURCE = Source(
    name="faces",
    title="CelebA where it is found, else 256 faces drawn from the shipped prior (prior-faces)",
    tier=1,
    shape=celeba.SOURCE.shape,
    splits=SPLITS,
    origin="embedded; made by scripts.data.make_prior_faces from the weights faces-prior",
    licence="MIT, as this package: drawn from a model, no photographs; draws close to a training face were dropped",
    citation="this package; the prior was trained on CelebA (Liu, Luo, Wang and Tang 2015, Deep learning face attributes in the wild, ICCV)",
    bytes=768607,
    sha256="98a8059571e13d5d1213a047655f994939df6d66acdf3093611ea829dc433b3d",
)

LUMINANCE = (0.2125, 0.7154, 0.0721)  # weights of red, green and blue in scikit-image's rgb2gray


def grey(values):
    """Colour images ``values`` (..., 3) in grey, (..., 1): their luminance; of whole numbers rounded to such.

    Raises ValueError for images without three channels, TypeError for what are no real numbers.
    """
    values = np.asarray(real("values", values))
    if values.ndim < 1 or values.shape[-1] != 3:
        raise ValueError(f"values must be colour images (..., 3), got shape {values.shape}")
    light = sum(np.float32(weight) * values[..., i] for i, weight in enumerate(LUMINANCE))
    whole = values.dtype.kind in "iu"
    return (np.rint(light) if whole else np.asarray(light)).astype(values.dtype)[..., None]


def load(split):
    """CelebA's ``split`` (see ``celeba.load``), or prior-faces: values (n, 32, 32, 3) float32 in [0, 1], index
    ``image``.

    ``name`` of the Dataset says which. Raises FileNotFoundError for split "train" without CelebA, and where
    APS_DATA_DIR holds a part of it or nothing known (where it holds other data sets, a warning); ValueError for an
    unknown split or an altered file.
    """
    check_split(SOURCE.name, split, celeba.PARTITION)
    try:
        celeba.find()
    except FileNotFoundError as error:
        if split == "train":
            raise FileNotFoundError(f"faces to train on are not in the package. {error}") from None
        may_fall_back("celeba", "prior-faces", error)
        return prior_faces(split)
    return celeba.load(split)


def prior_faces(split):
    """The embedded draws as a Dataset, errors as those of ``prior_draws.embedded``."""
    return embedded("prior-faces", SOURCE, FILE, split, "make_prior_faces")
