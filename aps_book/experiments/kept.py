"""Arrays of a long evaluation, kept as they come: run again, it goes on where it was."""

import io

import numpy as np

from aps_core import files


def kept(path, make):
    """The dict of arrays in the file ``path``, or what ``make()`` gives, which is then written there whole. The name of
    the file tells what the arrays depend on.
    """
    if not path.is_file():
        content = io.BytesIO()
        np.savez(content, **make())
        files.write_atomically(path, content.getvalue())
    with np.load(path) as file:
        return dict(file)
