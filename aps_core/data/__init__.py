"""Data sets behind one function: `load(name, split)`.

`registry` maps each name to its Source: title, sizes, origin, licence, citation, checksum.
Tier 1 needs nothing beyond the installed package; tier 3 is brought by the user in the
folder that the environment variable APS_DATA_DIR names.
"""

from aps_core.data import bunny_mnist, era5, mnist, ncep, patches
from aps_core.data._store import Dataset, Source

__all__ = ["Dataset", "Source", "load", "registry"]

_MODULES = {module.SOURCE.name: module for module in (ncep, patches, era5, mnist, bunny_mnist)}
registry = {name: module.SOURCE for name, module in _MODULES.items()}


def load(name, split):
    """Return the Dataset `name`, split `split`: values (n, *shape) float32 and their index.

    Raises ValueError for an unknown name or split or for an altered file, and
    FileNotFoundError for a file that is not there.
    """
    if name not in _MODULES:
        raise ValueError(f"unknown data set {name!r}; expected one of {sorted(_MODULES)}")
    return _MODULES[name].load(split)
