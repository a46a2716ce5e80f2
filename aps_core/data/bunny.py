"""The Stanford bunny with 1889 vertices: the embedded one, or the user's own ``bun_zipper_res3.ply`` of the Stanford
repository.

The embedded mesh is made by `make_bunny`: connected, every edge with one or two faces, four small holes in its base.
The repository's own decimation has the same number of vertices in other places, two of them isolated, and edges with
more than two faces.
"""

from pathlib import Path

from aps_core.data._store import Source, read_checked
from aps_core.data.user_folder import user_folder
from aps_core.geometry.mesh import TriangleMesh, read_mesh

FILE = Path(__file__).with_name("bunny.npz")
OFFICIAL = "bun_zipper_res3.ply"
N_VERTICES = 1889

SOURCE = Source(
    name="bunny",
    title="Stanford bunny, mesh of 1889 vertices and 3756 faces",
    tier=1,
    shape=(N_VERTICES, 3),
    splits={},
    origin="embedded; decimated by scripts.data.make_bunny from the 35,947 vertices in the sdist compas-cgal==0.10.0 (data/Bunny.ply)",
    licence="Stanford 3D Scanning Repository: free for research and for mirroring with acknowledgement, not for commercial use without permission",
    citation=(
        "Turk and Levoy (1994), Zippered polygon meshes from range images, SIGGRAPH 94, 311-318; "
        "Stanford Computer Graphics Laboratory, Stanford 3D Scanning Repository"
    ),
    bytes=38039,
    sha256="1504fea07a8072afec7e50e7e90c33ece8c7719b79c0265fa4d4007c2b3e5863",
)

HOW_TO_GET = (
    f"{OFFICIAL} is in the bunny archive of the Stanford 3D Scanning Repository; set APS_DATA_DIR to the folder that holds it "
    "(or that has it in `bunny` or `bunny/reconstruction`)"
)


def load_mesh(which="embedded"):
    """The bunny as a TriangleMesh of 1889 vertices, y up, lengths in metres.

    which: "embedded", or "official" for ``bun_zipper_res3.ply`` in APS_DATA_DIR. Raises ValueError for another name or
    an altered file, FileNotFoundError that says what was looked for, where, and how to get it.
    """
    if which == "embedded":
        arrays = read_checked(
            FILE, SOURCE.sha256, "reinstall the package or make it again with `python -m scripts.data.make_bunny`"
        )
        return TriangleMesh(arrays["vertices"], arrays["faces"])
    if which != "official":
        raise ValueError(f"which must be 'embedded' or 'official', got {which!r}")
    mesh = read_mesh(find_official())
    if len(mesh) != N_VERTICES:
        raise ValueError(f"{OFFICIAL} has {len(mesh)} vertices, expected {N_VERTICES}. {HOW_TO_GET}")
    return mesh


def find_official():
    """Path of the user's ``bun_zipper_res3.ply``. Raises FileNotFoundError."""
    folder = user_folder()
    if folder is None:
        raise FileNotFoundError(f"{OFFICIAL} was not looked for: APS_DATA_DIR is not set. {HOW_TO_GET}")
    places = [folder / below / OFFICIAL for below in (".", "bunny", "bunny/reconstruction")]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{OFFICIAL} not found; looked for {', '.join(map(str, places))}. {HOW_TO_GET}")
