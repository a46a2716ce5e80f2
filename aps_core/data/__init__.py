"""Data sets behind one function: `load(name, split)`.

`registry` maps each name to its Source: title, sizes, origin, licence, citation, checksum.
Tier 1 needs nothing beyond the installed package; tier 2 is fetched on demand; tier 3 is
brought by the user in the folder that the environment variable APS_DATA_DIR names.
`open_field` reads a temperature field of the user's from a CF file, `write_samples` writes posterior samples as one.
"""

from aps_core.data import bunny_mnist, celeba, cifar10, era5, faces, lfw, mnist, ncep, ncep_fine, patches, photos
from aps_core.data._store import Dataset, Source
from aps_core.data.fields import Field, index_or_date, open_field
from aps_core.data.sample_files import write_samples
from aps_core.data.user_folder import warn_if_useless

__all__ = ["Dataset", "Field", "Source", "index_or_date", "load", "open_field", "pixels", "registry", "write_samples"]

_MODULES = {
    module.SOURCE.name: module
    for module in (ncep, ncep_fine, patches, era5, celeba, lfw, faces, mnist, bunny_mnist, cifar10, photos)
}
ALWAYS_EMBEDDED = ("ncep-temperature", "patches16", "mnist", "bunny-mnist")  # their split "test"
registry = {name: module.SOURCE for name, module in _MODULES.items()}


def load(name, split):
    """Return the Dataset `name`, split `split`: values (n, *shape) float32 and their index.

    Raises ValueError for an unknown name or split or for an altered file,
    FileNotFoundError for a file that is not there, and ImportError for a format whose extra is not installed.
    """
    if not isinstance(name, str) or name not in _MODULES:
        raise ValueError(f"unknown data set {name!r}; expected one of {sorted(_MODULES)}")
    if name in ALWAYS_EMBEDDED and split == "test":
        warn_if_useless(name)
    return _MODULES[name].load(split)


def pixels(name, split, limit=None):
    """8-bit pixels (n, h, w, c) of ``split``, or of its first ``limit`` images, and the sha256 of what they were read
    from.

    For data sets too large to be held as floating point. Raises ValueError for a name without 8-bit pixels, and as
    ``load``.
    """
    known = sorted(key for key, module in _MODULES.items() if hasattr(module, "pixels"))
    if name not in known:
        raise ValueError(f"data set {name!r} has no 8-bit pixels; expected one of {known}")
    values, _, sha = _MODULES[name].pixels(split, limit)
    return values, sha
