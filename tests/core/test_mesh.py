"""Triangle meshes against what is known of spheres and planes, and what is said about broken ones."""

import numpy as np
import pytest
import trimesh
from scipy.interpolate import RegularGridInterpolator

from aps_book.figures.meshes import normals
from aps_core.data import bunny
from aps_core.geometry import projection
from aps_core.geometry.mesh import TriangleMesh, read_mesh


@pytest.fixture(scope="module")
def sphere():
    made = trimesh.creation.icosphere(subdivisions=3)  # 642 vertices on the unit sphere
    return TriangleMesh(made.vertices, made.faces)


def two_triangles(**changes):
    """The unit square, cut in two."""
    arrays = {"vertices": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "faces": [[0, 1, 2], [0, 2, 3]], **changes}
    return TriangleMesh(arrays["vertices"], arrays["faces"])


def test_areas_of_sphere_and_square(sphere):
    assert sphere.face_areas.sum() == pytest.approx(4 * np.pi, rel=0.01)
    np.testing.assert_allclose(two_triangles().face_areas, [0.5, 0.5])


def test_a_mesh_keeps_its_own_vertices():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = TriangleMesh(vertices, np.array([[0, 1, 2]]))
    vertices *= 1000
    assert mesh.face_areas == pytest.approx([0.5]) and mesh.vertices.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1


def test_normals_point_outwards_on_the_sphere(sphere):
    np.testing.assert_allclose(normals(sphere), sphere.vertices, atol=0.02)


def test_eigenvalues_of_the_sphere_are_l_times_l_plus_one(sphere):
    values, functions = sphere.eigenfunctions(16)
    expected = np.repeat([0, 2, 6, 12], [1, 3, 5, 7])
    np.testing.assert_allclose(values, expected, rtol=0.02, atol=1e-6)
    _, mass = sphere.laplacian()
    np.testing.assert_allclose(functions.T @ (mass[:, None] * functions), np.eye(16), atol=1e-8)
    assert np.ptp(functions[:, 0]) < 1e-6 * np.abs(functions[0, 0])


def test_eigenfunctions_are_the_same_every_time(sphere):
    np.testing.assert_array_equal(sphere.eigenfunctions(8)[1], sphere.eigenfunctions(8)[1])


def test_laplacian_is_the_cotangent_formula_where_the_mesh_is_delaunay():
    # the square's diagonal is opposite to two right angles, whose cotangents vanish
    stiffness, mass = two_triangles().laplacian()
    expected = np.array([[1, -0.5, 0, -0.5], [-0.5, 1, -0.5, 0], [0, -0.5, 1, -0.5], [-0.5, 0, -0.5, 1]])
    np.testing.assert_allclose(stiffness.toarray(), expected, atol=1e-4)
    assert mass.sum() == pytest.approx(1, rel=1e-4)


def test_laplacian_takes_edges_with_three_faces():
    fins = two_triangles(
        vertices=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]], faces=[[0, 1, 2], [0, 2, 3], [0, 2, 4]]
    )
    assert fins.defects()["non-manifold edges"] == 1
    stiffness, _ = fins.laplacian()
    np.testing.assert_allclose(stiffness @ np.ones(5), 0, atol=1e-9)
    assert np.linalg.eigvalsh(stiffness.toarray()).min() > -1e-9


def test_distances_along_edges_bound_the_great_circle(sphere):
    along = sphere.distances([0])[0]
    circle = np.arccos(np.clip(sphere.vertices @ sphere.vertices[0], -1, 1))
    assert along[0] == 0
    assert (along >= 0.99 * circle).all()  # a chord is a little shorter than its arc
    assert (along <= 1.25 * circle + 1e-9).all()


def test_neighbours_are_the_nearest_along_edges(sphere):
    found = sphere.neighbours(6)
    along = sphere.distances(np.arange(20))
    for i in range(20):
        order = np.sort(np.delete(along[i], i))
        np.testing.assert_allclose(along[i][found[i]], order[:6])
    with pytest.raises(ValueError, match="k = 4: vertex 0 reaches fewer"):
        two_triangles().neighbours(4)


def test_defects_are_counted_and_refused_where_they_matter():
    broken = two_triangles(
        vertices=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5], [2, 0, 0], [3, 0, 0], [2, 1, 0]],
        faces=[[0, 1, 2], [0, 2, 3], [0, 0, 1], [5, 6, 7]],
    )
    found = broken.defects()
    assert (found["isolated vertices"], found["faces without area"], found["components"]) == (1, 1, 2)
    with pytest.raises(ValueError, match="the Laplacian needs a mesh without isolated vertices, this one has 1"):
        broken.laplacian()
    with pytest.raises(ValueError, match="without faces without area"):
        broken.without_isolated().laplacian()
    with pytest.raises(ValueError, match="connected mesh, this one has 2 components"):
        TriangleMesh(broken.vertices, broken.faces[[0, 1, 3]]).without_isolated().require("it", connected=True)
    with pytest.raises(ValueError, match="without boundary edges, this one has 4"):
        two_triangles().require("it", closed=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vertices": [[0, 0], [1, 1]]}, ValueError, r"vertices has shape \(2, 2\), expected \(n, 3\)"),
        ({"vertices": [[0, 0, np.nan]] * 4}, ValueError, "4 rows that are not finite"),
        ({"faces": [[0, 1, 2, 3]]}, ValueError, r"faces has shape \(1, 4\).*triangles"),
        ({"faces": [[0, 1, 4]]}, ValueError, "names vertices 0 to 4, expected 0 to 3"),
        ({"faces": [[0.0, 1.0, 2.0]]}, TypeError, "faces must hold integers"),
        ({"faces": [[0, 1, 2], [0, 1]]}, ValueError, "faces must be an array of numbers"),
        ({"vertices": [["0", "0", "0"]] * 4}, TypeError, "vertices must be an array of real numbers"),
    ],
)
def test_arrays_that_are_no_mesh_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        two_triangles(**changes)


@pytest.mark.parametrize("cell", ["a", True, np.inf, np.array([1.0, 2.0, 3.0])], ids=str)
def test_a_cell_that_is_no_length_is_refused(cell):
    with pytest.raises((TypeError, ValueError), match="cell must be"):
        two_triangles().coarser(cell)


@pytest.mark.parametrize(
    ("images", "message"), [(np.full((1, 4, 4), np.nan), "not finite"), (np.zeros((0, 4, 4)), "none of them 0")]
)
def test_images_that_are_none_are_refused(images, message):
    with pytest.raises(ValueError, match=f"images .*{message}"):
        projection.project(images, np.full((3, 2), 0.5))


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_files_keep_vertices_and_faces_in_order(tmp_path, sphere, suffix):
    path = tmp_path / f"sphere{suffix}"
    trimesh.Trimesh(sphere.vertices, sphere.faces, process=False).export(path)
    read = read_mesh(path)
    np.testing.assert_allclose(read.vertices, sphere.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, sphere.faces)


def test_files_that_are_no_mesh_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no mesh .*nothing.obj"):
        read_mesh(tmp_path / "nothing.obj")
    for name, content, message in (
        ("a.xyz", "0 0 0", "expected a file of type .obj"),
        ("a.ply", "not a mesh", "a.ply cannot be read"),
        ("cloud.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "cloud.obj"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            read_mesh(tmp_path / name)


def test_bunny_has_exactly_1889_vertices_all_of_them_in_one_piece():
    mesh = bunny.load_mesh()
    assert len(mesh) == 1889
    assert mesh.defects() == {
        "isolated vertices": 0,
        "boundary edges": 26,
        "non-manifold edges": 0,
        "faces without area": 0,
        "components": 1,
    }
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([0.156, 0.154, 0.121], abs=0.002)  # metres
    values, _ = mesh.eigenfunctions(3)
    assert values[0] == pytest.approx(0, abs=1e-3 * values[1])


def test_official_bunny_is_looked_for_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="APS_DATA_DIR is not set.*Stanford"):
        bunny.load_mesh("official")
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="looked for .*bunny"):
        bunny.load_mesh("official")
    mesh = bunny.load_mesh()
    (tmp_path / "bunny").mkdir()
    path = tmp_path / "bunny" / bunny.OFFICIAL
    path.write_bytes(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="ply"))
    assert len(bunny.load_mesh("official")) == 1889
    path.write_bytes(trimesh.creation.icosphere(subdivisions=1).export(file_type="ply"))
    with pytest.raises(ValueError, match="has 42 vertices, expected 1889"):
        bunny.load_mesh("official")
    with pytest.raises(ValueError, match="'embedded' or 'official', got 'res4'"):
        bunny.load_mesh("res4")


@pytest.mark.parametrize("name", projection.PROJECTIONS)
def test_every_projection_lies_in_the_square(sphere, name):
    mesh = bunny.load_mesh() if name == "laplacian" else sphere
    placed = projection.vertex_coordinates(mesh, name)
    assert placed.shape == (len(mesh), 2)
    assert placed.min() >= 0 and placed.max() <= 1
    assert np.ptp(placed, axis=0).min() > 0.95


def test_projections_mean_what_they_say(sphere):
    np.testing.assert_allclose(
        projection.vertex_coordinates(sphere, "zy"), (sphere.vertices[:, [2, 1]] + 1) / 2, atol=1e-9
    )
    longitude, latitude = projection.vertex_coordinates(sphere, "spherical").T
    np.testing.assert_allclose(np.sin(np.pi * (latitude - 0.5)), sphere.vertices[:, 1], atol=1e-9)
    top = np.abs(sphere.vertices[:, 1]) < 0.999
    turned = np.stack([np.sin(2 * np.pi * (longitude - 0.5)), np.cos(2 * np.pi * (longitude - 0.5))], axis=1)
    radius = np.hypot(sphere.vertices[:, 0], sphere.vertices[:, 2])[:, None]
    np.testing.assert_allclose((turned * radius)[top], sphere.vertices[top][:, [0, 2]], atol=1e-9)
    with pytest.raises(ValueError, match="projection must be one of .*got 'xx'"):
        projection.vertex_coordinates(sphere, "xx")


def test_look_up_agrees_with_scipy_and_puts_the_first_row_on_top():
    rng = np.random.default_rng(0)
    image, placed = rng.uniform(size=(28, 20)), np.concatenate([rng.uniform(size=(200, 2)), [[0, 0], [1, 1], [0, 1]]])
    expected = RegularGridInterpolator((np.arange(28), np.arange(20)), image)(
        np.stack([27 * (1 - placed[:, 1]), 19 * placed[:, 0]], axis=1)
    )
    matrix = projection.bilinear_lookup(placed, image.shape)
    np.testing.assert_allclose(matrix @ image.ravel(), expected, atol=1e-12)
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1, atol=1e-12)
    assert matrix.min() >= 0
    np.testing.assert_allclose(expected[-1], image[0, 0])
    np.testing.assert_allclose(projection.project(image[None], placed)[0], expected, atol=1e-6)
    with pytest.raises(ValueError, match="range from .* expected 0 to 1"):
        projection.bilinear_lookup(placed + 0.2, image.shape)
