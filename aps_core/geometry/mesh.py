"""Triangle meshes: reading, checking, areas, cotangent Laplacian and its eigenfunctions, distances along edges.

A signal on a mesh has one number for each vertex.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import eigsh

from aps_core.checks import count, measured_array, positive, real_array
from aps_core.geometry.mesh_files import READERS
from aps_core.geometry.polygons import triangulate


@dataclass(frozen=True, eq=False)
class TriangleMesh:
    """vertices (n, 3) in any unit of length, faces (m, 3) of vertex numbers.

    Any orientation, holes, several components, isolated vertices and edges with more than two faces are accepted, since
    a signal lives on vertices alone; ``require`` refuses them where they matter. Raises TypeError or ValueError for
    arrays that are no mesh.
    """

    vertices: np.ndarray
    faces: np.ndarray

    def __post_init__(self):
        vertices = np.array(real_array("vertices", self.vertices))  # its own: what is computed of it is kept
        faces = np.asarray(measured_array("faces", self.faces))
        if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) == 0:
            raise ValueError(f"vertices has shape {vertices.shape}, expected (n, 3)")
        if not np.isfinite(vertices).all():
            raise ValueError(f"vertices has {int((~np.isfinite(vertices)).any(axis=1).sum())} rows that are not finite")
        if faces.dtype.kind not in "iu":
            raise TypeError(f"faces must hold integers, got {faces.dtype}")
        if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
            raise ValueError(f"faces has shape {faces.shape}, expected (m, 3): triangles")
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise ValueError(f"faces names vertices {faces.min()} to {faces.max()}, expected 0 to {len(vertices) - 1}")
        for name, array in (("vertices", vertices), ("faces", faces.astype(np.int64))):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self):
        return len(self.vertices)

    @cached_property
    def face_areas(self):
        """Area of each face, (m,)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)

    @cached_property
    def edges(self):
        """Edges (e, 2), each once with the smaller number first, and how many faces each has, (e,)."""
        pairs = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        return np.unique(pairs, axis=0, return_counts=True)

    def defects(self):
        """What is unusual about the mesh: a dict of counts (isolated vertices, boundary and non-manifold edges, faces
        without area, components).
        """
        edges, n_faces = self.edges
        used = np.unique(self.faces)
        graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(self), len(self)))
        span = np.ptp(self.vertices, axis=0).max()
        return {
            "isolated vertices": len(self) - len(used),
            "boundary edges": int(np.sum(n_faces == 1)),
            "non-manifold edges": int(np.sum(n_faces > 2)),
            "faces without area": int(np.sum(self.face_areas <= 1e-12 * span**2)),
            "components": connected_components(graph, directed=False)[0] - (len(self) - len(used)),
        }

    def require(self, what, *, manifold=False, closed=False, connected=False, isolated=False, area=True):
        """Raise ValueError, saying that ``what`` needs it, where the mesh has defects that the arguments do not allow.

        ``isolated`` allows vertices without a face, ``area`` refuses faces without area; the others are refused where
        they are True.
        """
        found = self.defects()
        refused = {
            "isolated vertices": not isolated,
            "boundary edges": closed,
            "non-manifold edges": manifold,
            "faces without area": area,
        }
        for name, number in found.items():
            if refused.get(name) and number:
                raise ValueError(f"{what} needs a mesh without {name}, this one has {number}")
        if connected and found["components"] != 1:
            raise ValueError(f"{what} needs a connected mesh, this one has {found['components']} components")

    def without_isolated(self):
        """The mesh without the vertices that belong to no face; the others keep their order."""
        used = np.unique(self.faces)
        number = np.full(len(self), -1)
        number[used] = np.arange(used.size)
        return TriangleMesh(self.vertices[used], number[self.faces])

    def coarser(self, cell):
        """The mesh with one vertex kept of those that share a cell of a cubic grid of edge ``cell``, in the mesh's
        unit; TypeError or ValueError unless ``cell`` is a positive number, ValueError where no face is left.
        """
        import trimesh

        positive("cell", cell)
        made = trimesh.Trimesh(self.vertices / cell, self.faces, process=False)
        made.merge_vertices(digits_vertex=0)
        made.update_faces(made.nondegenerate_faces())
        if not len(made.faces):
            raise ValueError(f"no face is left at cell = {cell!r}")
        return TriangleMesh(np.asarray(made.vertices) * cell, made.faces).without_isolated()

    def finer(self):
        """The mesh with each triangle cut in four; the vertices that it had come first."""
        import trimesh

        return TriangleMesh(*trimesh.remesh.subdivide(self.vertices, self.faces))

    def laplacian(self):
        """Cotangent Laplacian L (n, n), sparse and positive semi-definite, and the vertex masses M (n,): L f = lambda M
        f.

        That of Sharp & Crane (2020, "A Laplacian for nonmanifold triangle meshes"): intrinsic Delaunay on a double
        cover, so that edges with more than two faces are no obstacle. Raises ValueError for isolated vertices (see
        ``without_isolated``) or faces without area.
        """
        import robust_laplacian

        self.require("the Laplacian")
        stiffness, mass = robust_laplacian.mesh_laplacian(self.vertices, self.faces)
        return sparse.csr_matrix(stiffness), mass.diagonal()

    def eigenfunctions(self, k):
        """The ``k`` smallest eigenvalues (k,) of the Laplacian, in 1 / length^2, and eigenfunctions (n, k), orthonormal
        over the area.

        The first is constant on a connected mesh. The entry of largest magnitude of each is positive.
        Raises ValueError unless 1 <= k < n, and as ``laplacian``.
        """
        count("k", k)
        if k >= len(self):
            raise ValueError(f"k must be less than the {len(self)} vertices, got {k}")
        stiffness, mass = self.laplacian()
        scale = stiffness.diagonal().sum() / mass.sum()
        start = np.random.default_rng(0).normal(size=len(self))  # ARPACK's own start differs from call to call
        values, functions = eigsh(stiffness, k, sparse.diags(mass), sigma=-1e-8 * scale, v0=start)
        order = np.argsort(values)
        functions = functions[:, order]
        sign = np.sign(functions[np.abs(functions).argmax(axis=0), np.arange(k)])
        return np.maximum(values[order], 0.0), functions * sign

    def distances(self, sources):
        """Shortest way along edges from each of ``sources`` to every vertex, (len(sources), n), in the mesh's unit;
        infinite where there is none.
        """
        sources = np.atleast_1d(np.asarray(sources))
        if sources.dtype.kind not in "iu" or sources.size == 0 or sources.min() < 0 or sources.max() >= len(self):
            raise ValueError(f"sources must be vertex numbers 0 to {len(self) - 1}, got {sources!r}")
        return dijkstra(self._lengths, directed=False, indices=sources)

    def neighbours(self, k):
        """The ``k`` nearest other vertices of each, (n, k), along edges, nearest first.

        Raises ValueError where a vertex has fewer than k that can be reached.
        """
        count("k", k)
        found = np.empty((len(self), k), np.int64)
        for begin in range(0, len(self), 512):
            rows = np.arange(begin, min(begin + 512, len(self)))
            far = dijkstra(self._lengths, directed=False, indices=rows)
            far[np.arange(len(rows)), rows] = np.inf
            order = np.argsort(far, axis=1, kind="stable")[:, :k]
            reached = np.isfinite(np.take_along_axis(far, order, axis=1)).all(axis=1)
            if order.shape[1] < k or not reached.all():
                raise ValueError(
                    f"k = {k}: vertex {rows[~reached][0] if not reached.all() else 0} reaches fewer vertices than that"
                )
            found[rows] = order
        return found

    @cached_property
    def _lengths(self):
        edges, _ = self.edges
        edges = edges[edges[:, 0] != edges[:, 1]]
        length = np.linalg.norm(self.vertices[edges[:, 0]] - self.vertices[edges[:, 1]], axis=1)
        return sparse.coo_matrix((np.maximum(length, 1e-300), edges.T), shape=(len(self), len(self))).tocsr()


def read_mesh(path):
    """The TriangleMesh of an OBJ, PLY, OFF or STL file: its vertices in the order of the file, its polygons cut into
    triangles in the order of the file. STL has no vertices of its own: corners at one place are one.

    Raises FileNotFoundError, or ValueError that names the file where it is no mesh of polygons: other counts than it
    states, numbers that are not finite, faces that name no vertex or cross themselves, no faces at all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no mesh {path}")
    if path.suffix.lower() not in READERS:
        raise ValueError(f"mesh {path.name}: expected a file of type {', '.join(READERS)}")
    try:
        vertices, corners, sizes = READERS[path.suffix.lower()](path.read_bytes())
        if not len(sizes):
            raise ValueError("it has no faces, and a cloud of points has no Laplacian and no neighbours")
        _finite(vertices)
        return TriangleMesh(vertices, triangulate(vertices, corners, sizes))
    except ValueError as error:
        raise ValueError(f"mesh {path.name} cannot be read: {error}") from error


def _finite(vertices):
    if (bad := ~np.isfinite(vertices).all(axis=1)).any():
        raise ValueError(
            f"{bad.sum()} of {len(bad)} vertices are not finite, the first is number {bad.argmax()}: {vertices[bad][0]}"
        )
