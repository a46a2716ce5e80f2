"""Mesh files of every kind that people bring: the vertices, areas and pieces that the file states, or an error that
names it.
"""

import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from aps_book.figures.meshes import normals
from aps_core.geometry.mesh import read_mesh
from aps_core.geometry.polygons import triangulate

PYRAMID = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]])
SIDES = [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
CLOSED = [*SIDES, [3, 2, 1, 0]]  # a square below the four triangles
AREA = 1 + 4 * 0.5 * np.sqrt(1.25)
V = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in PYRAMID)
F = "".join(f"f {' '.join(str(i + 1) for i in face)}\n" for face in CLOSED)


def read(folder, name, content):
    """The mesh of a file with this content, text or bytes."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_mesh(path)


def is_the_pyramid(mesh):
    """Five vertices in the order of PYRAMID, six triangles, one closed piece, the right area, all faces outwards."""
    np.testing.assert_allclose(mesh.vertices, PYRAMID, atol=1e-7)
    assert len(mesh.faces) == 6 and mesh.face_areas.sum() == pytest.approx(AREA, rel=1e-6)
    assert mesh.defects() == {
        "isolated vertices": 0,
        "boundary edges": 0,
        "non-manifold edges": 0,
        "faces without area": 0,
        "components": 1,
    }
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 == pytest.approx(1 / 3, rel=1e-6)  # its volume


def slashes(face, pattern):
    return "f " + " ".join(pattern.format(i + 1, i % 3 + 1, i % 2 + 1) for i in face) + "\n"


OBJ = {
    "plain": V + F,
    "byte-order mark": "\ufeff" + V + F,
    "utf-16": (V + F).encode("utf-16"),
    "windows": (V + F).replace("\n", "\r\n").encode(),
    "old mac": (V + F).replace("\n", "\r").encode(),
    "two materials": V + "mtllib a.mtl\nusemtl red\n" + F[:16] + "usemtl blue\n" + F[16:],
    "groups and objects": "o first\n" + V + "g a b\ns 1\n" + F[:16] + "o second\ng c\ns off\n" + F[16:],
    "textures and normals": V
    + "vt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\nvn 1 0 0\n"
    + "".join(slashes(face, "{}/{}/{}") for face in CLOSED),
    "textures": V + "vt 0 0\nvt 1 0\nvt 0 1\n" + "".join(slashes(face, "{}/{}") for face in CLOSED),
    "normals": V + "vn 0 0 1\nvn 1 0 0\n" + "".join(slashes(face, "{}//{}") for face in CLOSED),
    "counted from the end": V + "".join("f " + " ".join(str(i - 5) for i in face) + "\n" for face in CLOSED),
    "counted from the end, in between": V[: V.index("v 0.5")]
    + "f -1 -2 -3 -4\n"
    + V[V.index("v 0.5") :]
    + "".join(f"f {a + 1} {b + 1} -1\n" for a, b, _ in SIDES),
    "colours": V.replace("\n", " 0.5 0.25 1.0\n") + F,
    "comments": "# a caf\xe9\n".encode("latin-1") + (V.replace("\n", " # here\n") + F).encode(),
    "continued": V + F.replace(" 5\n", " \\\n5\n"),
    "indented, tabs, no last line end": ("  " + V.replace(" ", "\t") + F).rstrip(),
    "faces first": F + V,
    "backslashes in comments, names and paths": "# from C:\\models\\\n"
    + V
    + "g part\\\n"
    + F[:8]
    + "mtllib C:\\tmp\\\no b\\\nusemtl c\\\n"
    + F[8:16]
    + "f 3 4 5 # end \\\n"
    + F[24:],
    "continued after comments": V.replace(" 1\n", " \\ # here\r\n1\n") + F.replace(" 5\n", "\\\n\\  \n 5\\\n\n"),
    "slashes without numbers": V + F.replace("f 1 2 5", "f 1/ 2// 5"),
    "statements for other programs": "maplib m\nlod 1\nbevel on\ncstype bezier\ndeg 3\n" + V + "vp 0 0\nmg off\n" + F,
    "lines and points": V + "p 1\nl 1 2 3\n" + F,
    "exponents": V.replace("0.5", "5e-1") + F,
    "a corner twice": V + F.replace("f 1 2 5", "f 1 2 5 5"),
}


@pytest.mark.parametrize("name", OBJ)
def test_obj(tmp_path, name):
    is_the_pyramid(read(tmp_path, "a.obj", OBJ[name]))


def ply(order, *, face="list uchar int vertex_indices", more="", end="\n", vertices=PYRAMID, kind="float"):
    """A PLY of the closed pyramid, ``order`` "<" or ">", or None for text; ``face`` are its face properties, of which
    those beside the indices are filled with ``more``, the format of struct and its values.
    """
    word = {None: "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {word} 1.0", "comment made by hand", "obj_info none", f"element vertex {len(vertices)}"]
    lines += [f"property {kind} {axis}" for axis in "xyz"] + ["element face 5"]
    lines += [f"property {one}" for one in face.split(";")] + ["end_header", ""]
    head = end.join(lines).encode()
    code = {"float": "f", "double": "d"}[kind]
    if order is None:
        rows = [" ".join(f"{x:g}" for x in vertex) for vertex in vertices]
        rows += [" ".join(map(str, [len(f), *f, *(more[1] if more else [])])) for f in CLOSED]
        return head + (end.join(rows) + end).encode()
    body = b"".join(struct.pack(f"{order}3{code}", *vertex) for vertex in vertices)
    for f in CLOSED:
        body += struct.pack(f"{order}B{len(f)}i", len(f), *f)
        body += struct.pack(order + more[0], *more[1]) if more else b""
    return head + body


TEXTURED = {"face": "list uchar int vertex_index;list uchar float texcoord", "more": ("B6f", [6, 0, 0, 1, 0, 0, 1])}


@pytest.mark.parametrize("order", [None, "<", ">"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"end": "\r\n"},
        {"kind": "double"},
        TEXTURED,
        {"face": "list uchar int vertex_indices;uchar red;short flag", "more": ("Bh", [7, -2])},
    ],
    ids=["plain", "windows", "double", "textured", "scalars"],
)
def test_ply(tmp_path, order, changes):
    is_the_pyramid(read(tmp_path, "a.ply", ply(order, **changes)))


def test_ply_with_a_byte_order_mark_and_other_elements(tmp_path):
    text = ply(None).decode()
    is_the_pyramid(read(tmp_path, "a.ply", b"\xef\xbb\xbf" + text.encode()))
    more = text.replace("element face", "element camera 2\nproperty float f\nproperty list uchar int n\nelement face")
    more = more.replace("3 0 1 4", "1.5 2 8 9\n2.5 0\n3 0 1 4")
    is_the_pyramid(read(tmp_path, "b.ply", more))
    turned = text.replace("float x\nproperty float y", "float y\nproperty uchar red\nproperty float x")
    rows = [" ".join(f"{y:g} 9 {x:g} {z:g}".split()) for x, y, z in PYRAMID]
    body = text.index("end_header\n") + 11
    mixed = turned[: turned.index("end_header\n") + 11] + "\n".join(rows) + text[text.index("\n3 0 1 4", body) :]
    is_the_pyramid(read(tmp_path, "c.ply", mixed))


def test_ply_of_triangle_strips(tmp_path):
    """An octahedron's side as two strips; every second triangle of a strip is turned in the file."""
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    square = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n"
    strips = head + "element tristrips 1\nproperty list int int vertex_indices\nend_header\n" + square
    mesh = read(tmp_path, "a.ply", strips + "8 0 1 2 3 -1 0 1 2\n")
    assert mesh.faces.tolist() == [[0, 1, 2], [2, 1, 3], [0, 1, 2]]
    assert mesh.face_areas.sum() == pytest.approx(1.5) and normals(mesh)[3].tolist() == [0, 0, 1]


def stl(triangles, header=b"made", attribute=0):
    """The bytes of a binary STL."""
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *np.ravel(t), attribute) for t in triangles)
    return header.ljust(80, b" ") + struct.pack("<I", len(triangles)) + body


def text_stl(triangles, name="made"):
    facets = "".join(
        "facet normal 0 0 0\n outer loop\n"
        + "".join(f"  vertex {x:e} {y:e} {z:e}\n" for x, y, z in t)
        + " endloop\nendfacet\n"
        for t in triangles
    )
    return f"solid {name}\n{facets}endsolid {name}\n"


CORNERS = PYRAMID[[*SIDES, [3, 2, 1], [3, 1, 0]]]
STL = {
    "binary": stl(CORNERS),
    "binary that calls itself solid": stl(CORNERS, b"solid of a program", 7),
    "text": text_stl(CORNERS),
    "windows": text_stl(CORNERS).replace("\n", "\r\n").encode(),
    "capitals": text_stl(CORNERS).upper(),
    "byte-order mark": "\ufeff" + text_stl(CORNERS),
    "two solids": text_stl(CORNERS[:2], "a") + text_stl(CORNERS[2:], "b"),
    "minus zero": stl(np.where(CORNERS == 0, -0.0, CORNERS) * [1, 1, 1])[:134] + stl(CORNERS)[134:],
    "last bit off": stl(np.where(np.arange(18).reshape(6, 3, 1) % 2, CORNERS, CORNERS * (1 + 1.2e-7) + 3e-8)),
}


@pytest.mark.parametrize("name", STL)
def test_stl_is_welded_in_the_order_of_the_file(tmp_path, name):
    mesh = read(tmp_path, "a.stl", STL[name])
    order = [0, 1, 4, 2, 3]  # as the corners come in the file
    np.testing.assert_allclose(mesh.vertices, PYRAMID[order], atol=2e-7)
    assert mesh.face_areas.sum() == pytest.approx(AREA, rel=1e-6) and len(mesh.faces) == 6
    assert mesh.defects()["components"] == 1 and mesh.defects()["boundary edges"] == 0
    np.testing.assert_allclose(mesh.vertices[mesh.faces], CORNERS, atol=2e-7)


def test_stl_far_from_its_origin_keeps_its_small_triangles(tmp_path):
    """Edges of a tenth at 500,000 are a few roundings long, and still edges."""
    corners = np.round((CORNERS * 0.125 + 5e5) * 32) / 32
    mesh = read(tmp_path, "a.stl", stl(corners))
    assert len(mesh) == 5 and mesh.defects()["faces without area"] == 0
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], corners)


FAR = np.array([5e5, 4e6, 0])


def plates(side, at, shift):
    """The four triangles of two squares, the second one shifted by ``shift``."""
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])[[[0, 1, 2], [0, 2, 3]]] * side + at
    return np.concatenate([square, square + shift])


def digits(triangles):
    """A text STL with all digits."""
    rows = ["  vertex " + " ".join(f"{x:.17g}" for x in corner) for corner in np.reshape(triangles, (-1, 3))]
    loops = ["\n".join(["facet normal 0 0 0", "outer loop", *rows[i : i + 3]]) for i in range(0, len(rows), 3)]
    return "solid a\n" + "\nendloop\nendfacet\n".join(loops) + "\nendloop\nendfacet\nendsolid a\n"


@pytest.mark.parametrize("axis", range(3))
def test_stl_keeps_parts_asunder_that_its_numbers_tell_apart(tmp_path, axis):
    """A tenth of a metre far from the origin: text tells it in every coordinate, float32 where its steps are finer."""
    for gap, write in ((0.1, digits), (0.5, stl), (1.0, stl), (0.1, stl)):
        triangles = plates(10, FAR, gap * np.eye(3)[axis])
        mesh = read(tmp_path, "a.stl", write(triangles))
        one = write is stl and gap == 0.1 and axis == 1  # float32 goes in steps of 0.25 at 4e6
        assert len(mesh) == (4 if one else 8) and mesh.defects()["components"] == (1 if one else 2)
        np.testing.assert_allclose(mesh.vertices[mesh.faces], triangles, atol=1e-12 if write is digits else 0.13)


@pytest.mark.parametrize("write", [stl, digits])
def test_stl_keeps_small_parts_beside_large_ones(tmp_path, write):
    large, small = plates(300, [0, 0, 300], 0)[:2], plates(1e-3, [0, 0, 0], [0, 0, 1e-5])
    mesh = read(tmp_path, "a.stl", write([*large, *small]))
    assert len(mesh) == 12 and mesh.defects()["components"] == 3
    with_a_giant = read(tmp_path, "b.stl", write([*large, *small, *plates(1e12, [0, 0, 0], 0)[:2]]))
    assert len(with_a_giant) == 14 + 1 and with_a_giant.defects()["components"] == 3  # two parts share the corner at 0


def test_stl_is_welded_beside_a_triangle_that_is_not(tmp_path):
    """Corners of a sphere each a rounding off; the short side of one far triangle is no reason to leave them."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    corners = ball.vertices[ball.faces]
    corners = corners + np.random.default_rng(0).uniform(-6e-8, 6e-8, corners.shape)
    sliver = np.array([[2, 0, 0], [2 + 1e-7, 0, 0], [2, 1, 0]])
    for triangles, n, parts in ((corners, 162, 1), ([*corners, sliver], 165, 2)):
        mesh = read(tmp_path, "a.stl", digits(triangles))
        assert len(mesh) == n and mesh.defects()["components"] == parts
        np.testing.assert_allclose(mesh.vertices[mesh.faces], triangles, atol=3e-7)


def test_stl_closes_the_seam_of_a_sphere_in_float32(tmp_path):
    """The sine of 2 pi is 1.7e-7 there, more than a rounding of the sides of its small triangles."""
    n = 32
    turn, tilt = np.linspace(0, 2 * np.pi, n + 1).astype(np.float32), np.linspace(0.1, 3, n).astype(np.float32)[:, None]
    grid = np.stack(np.broadcast_arrays(np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)), axis=2)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    sides = [np.stack(t, axis=2).reshape(-1, 3, 3) for t in ((a, b, c), (a, c, d))]
    mesh = read(tmp_path, "a.stl", stl(np.concatenate(sides)))
    assert len(mesh) == n * n and mesh.defects()["boundary edges"] == 2 * n  # of the two holes at the poles


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_stl_in_text_of_any_coding(tmp_path, coding):
    mesh = read(tmp_path, "a.stl", text_stl(CORNERS).encode(coding))
    assert len(mesh) == 5 and mesh.face_areas.sum() == pytest.approx(AREA, rel=1e-6)


def test_stl_of_a_sphere_has_its_eigenvalues(tmp_path):
    """Not welded, the first six would all be 0."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    values, _ = read(tmp_path, "a.stl", stl(ball.vertices[ball.faces])).eigenfunctions(4)
    np.testing.assert_allclose(values, [0, 2, 2, 2], atol=0.1)


OFF = "".join(f"{x} {y} {z}\n" for x, y, z in PYRAMID), "".join(f"{len(f)} {' '.join(map(str, f))}\n" for f in CLOSED)


@pytest.mark.parametrize(
    "text",
    [
        "OFF\n5 5 0\n" + "".join(OFF),
        "OFF 5 5 0\n" + "".join(OFF),
        "OFF5 5 0\n" + "".join(OFF),
        "# by hand\nOFF # kind\n\n5 5 8 # counts\n" + OFF[0] + "\n" + OFF[1].replace("\n", " 255 0 0\n"),
        "COFF\n5 5 0\n" + OFF[0].replace("\n", " 1 0 0 1\n") + OFF[1],
        "NOFF\r\n5 5 0\r\n" + OFF[0].replace("\n", " 0 0 1\r\n") + OFF[1],
        "\ufeffOFF\n5 5 0\n" + "".join(OFF),
        "# an OFF 4 4 0\n#OFF\n \n" + "#" * 5000 + "\nOFF\n5 5 0\n" + "".join(OFF),
        "# an OFF 4 4 0\r#OFF\rOFF\r5 5 0\r" + "".join(OFF).replace("\n", "\r"),
    ],
    ids=["plain", "one line", "no space", "comments", "colours", "normals", "byte-order mark", "banner", "old mac"],
)
def test_off(tmp_path, text):
    is_the_pyramid(read(tmp_path, "a.off", text))


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".off", ".stl"])
def test_agrees_with_trimesh_on_what_it_writes(tmp_path, suffix):
    ball = trimesh.creation.icosphere(subdivisions=2)
    ball.export(tmp_path / f"a{suffix}")
    mesh = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(mesh.vertices[mesh.faces], ball.vertices[ball.faces], atol=1e-6)
    assert len(mesh) == len(ball.vertices)
    if suffix != ".stl":
        np.testing.assert_array_equal(mesh.faces, ball.faces)


L_SHAPE = "v 0 0 0\nv 2 0 0\nv 2 1 0\nv 1 1 0\nv 1 2 0\nv 0 2 0\nf 1 2 3 4 5 6\n"


@pytest.mark.parametrize(
    ("text", "area", "triangles"),
    [
        ("v 0 0 0\nv 2 0 0\nv 0.5 0.5 0\nv 0 2 0\nf 2 3 4 1\n", 1.0, 2),  # a concave quadrilateral, from each corner
        ("v 0 0 0\nv 2 0 0\nv 0.5 0.5 0\nv 0 2 0\nf 1 2 3 4\n", 1.0, 2),
        ("v 0 0 0\nv 2 0 0\nv 0.5 0.5 0\nv 0 2 0\nf 1 4 3 2\n", 1.0, 2),
        (L_SHAPE, 3.0, 4),
        (L_SHAPE.replace(" 0\n", " 7\n").replace("f", "f"), 3.0, 4),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\nf 1 2 3 4 5\n", 4.0, 3),  # a corner on an edge
        (
            "v 0 0 0\nv 3 0 0\nv 3 3 0\nv 0 3 0\nv 1 1 0\nv 1 2 0\nv 2 2 0\nv 2 1 0\nf 1 2 3 4 1 5 6 7 8 5\n",
            8.0,
            8,
        ),  # a hole
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nv 3 0 0\nv 1 1 0\nf 1 2 3 4\nf 1 2 5\n", 0.5, 3),  # one without area
        ("v 0 0 0\nv 0 0 5\nv 0 5 5\nv 0 1 4\nf 1 2 3 4\n", 5.0, 2),  # another plane
    ],
)
def test_polygons_keep_their_area(tmp_path, text, area, triangles):
    mesh = read(tmp_path, "a.obj", text)
    assert mesh.face_areas.sum() == pytest.approx(area, rel=1e-9)
    assert len(mesh.faces) == triangles


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.1, 1.0), min_size=4, max_size=14), st.integers(0, 2**31))
def test_any_star_keeps_its_area_in_any_plane(radii, seed):
    """Star-shaped polygons are simple; their area is known from polar coordinates."""
    rng, n = np.random.default_rng(seed), len(radii)
    angles = 2 * np.pi * (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / n
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles), np.zeros(n)], axis=1) @ turn + rng.normal(size=3)
    following = np.roll(radii, -1), np.append(angles[1:], angles[0] + 2 * np.pi)
    expected = 0.5 * np.sum(radii * following[0] * np.sin(following[1] - angles))
    faces = triangulate(points, np.arange(n), np.array([n]))
    a, b, c = (points[faces[:, i]] for i in range(3))
    assert len(faces) == n - 2
    assert 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() == pytest.approx(expected, rel=1e-6)


PENTAGRAM = "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in 4 * np.pi * np.arange(5) / 5) + "f 1 2 3 4 5\n"
REFUSED = {
    "zero.obj": (V + "f 0 1 2\n", "line 6: a face names vertex 0, but OBJ counts from 1"),
    "far.obj": (V + "f 1 2 6\n", "names vertex 6, but there are 5"),
    "before.obj": (V + "f -6 1 2\n", "names vertex -6, but only 5 stand before it"),
    "nan.obj": (
        V.replace("1 1 0", "1 nan 0") + F,
        r"1 of 5 vertices are not finite, the first is number 2: \[ 1. nan  0.\]",
    ),
    "overflow.obj": (V.replace("0.5 0.5 1", "0.5 0.5 1e999") + F, "not finite"),
    "comma.obj": (V.replace("0.5", "0,5") + F, "line 5: expected a number, got '0,5'"),
    "underscore.obj": (V.replace("1 0 0", "1_0 0 0") + F, "expected a number, got '1_0'"),
    "float.obj": (V + "f 1.0 2 3\n", "line 6: expected a whole number, got '1.0'"),
    "short.obj": (V.replace("1 0 0", "1 0") + F, "line 2: a vertex needs 3 coordinates, got 2"),
    "edge.obj": (V + "f 1 2\n", "line 6: a face needs at least 3 corners, got 2"),
    "cloud.obj": (V, "no faces"),
    "empty.obj": ("", "no faces"),
    "curved.obj": (V + F + "surf 0 1 0 1 1 2 3\n", "free-form geometry"),
    "bowtie.obj": ("v 0 0 0\nv 1 1 0\nv 1 0 0\nv 0 1 0\nf 1 2 3 4\n", "face 1 with 4 corners crosses itself"),
    "bow.obj": ("v 0 0 0\nv 2 1 0\nv 2 0 0\nv 0 2 0\nf 1 2 3 4\n", "crosses itself"),
    "pentagram.obj": (PENTAGRAM, "face 1 with 5 corners crosses itself"),
    "capital.obj": (V + "F 1 2 4\n" + F, "line 6: 'F' is no statement that is known; expected v, f"),
    "typo.obj": ("v0 0 0\n" + V + F, "line 1: 'v0' is no statement that is known"),
    "call.obj": (V + F + "call other.obj\n", "line 11: 'call' is no statement that is known"),
    "patch.obj": (V + F + "bzp 1 2 3 4\n", r"line 11: free-form geometry \(bzp\)"),
    "texture.obj": (V + "f 1/x 2/y 3/z\n", "line 6: expected a whole number, got 'x'"),
    "slashes.obj": (V + "f 1/1/1/1 2 3\n", "line 6: a corner '1/1/1/1', expected v, v/vt"),
    "on.obj": (V + "f 1 2 3\\\nf 1 2 4\n", "line 6: it goes on with a statement of its own, f"),
    "swallowed.obj": ("vt 0 0 \\\n" + V + F, "line 1: it goes on with a statement of its own, v"),
    "weights.obj": ("v 1 2 3 x\n" + F, "line 1: expected a number, got 'x'"),
    "two_lines.obj": ("v 0 0 0 1 0 0 0 1 0\n" + F, "line 1: a vertex has 9 numbers, expected at most 8"),
    "mark.stl": (text_stl(CORNERS).encode("utf-16-le"), "text in UTF-16 or UTF-32 without its byte-order mark"),
    "cut.stl": (stl(CORNERS)[:-10], "it states 6 triangles, which take 384 bytes, but has 374"),
    "long.stl": (stl(CORNERS) + b"more", "it states 6 triangles, which take 384 bytes, but has 388"),
    "nan.stl": (stl(CORNERS * [np.nan, 1, 1]), "18 corners are not finite"),
    "cut_text.stl": (text_stl(CORNERS)[: text_stl(CORNERS).rindex(" endloop")], "ends early"),
    "lost.stl": (text_stl(CORNERS).replace("vertex", "vortex", 1), "facet 1 ends at corner 2, expected 3"),
    "empty.stl": (b"", "it has 0 bytes"),
    "none.stl": (stl([]), "no faces"),
    "cut.ply": (ply(">")[:-3], "ends within a row of face"),
    "long.ply": (ply("<") + b"\x01\x02", "2 bytes more than its header states"),
    "cut_text.ply": (ply(None)[:-12], "its header states 10 lines, but it has 9"),
    "row.ply": (ply(None).replace(b"3 0 1 4", b"3 0 1"), "expected 3 numbers for vertex_indices, got 2"),
    "wide.ply": (ply(None).replace(b"3 0 1 4", b"3 0 1 4 9"), "expected 4 numbers for a row of face, got 5"),
    "huge.ply": (ply("<").replace(b"vertex 5", b"vertex 999999999999"), "ends within a row of vertex"),
    "nan.ply": (ply("<", vertices=PYRAMID * [1, np.nan, 1]), "5 of 5 vertices are not finite"),
    "far.ply": (ply(None).replace(b"3 0 1 4", b"3 0 1 5"), "names vertex 0 or 5, expected 0 to 4"),
    "negative.ply": (ply(None).replace(b"3 0 1 4", b"3 0 1 -1"), "names vertex -1 or 4"),
    "unlisted.ply": (ply(None, face="list uchar float vertex_indices"), "expected the whole numbers of vertices"),
    "flat.ply": (ply(None).replace(b"float z", b"float w"), "no property z of element vertex"),
    "unknown.ply": (ply(None).replace(b"float z", b"half z"), "line 8 of its header is not understood"),
    "format.ply": (ply(None).replace(b"ascii", b"morse"), "line 2 of its header is not understood"),
    "empty.ply": (b"", "expected ply in its first line"),
    "twice.ply": (
        ply(None).replace(b"element face 5", b"element face 1\nproperty list uchar int vertex_indices\nelement face 4"),
        "line 11 of its header states element face again, expected it once",
    ),
    "property.ply": (ply("<").replace(b"float y", b"float x"), "line 7 of its header states property x again"),
    "both.ply": (
        ply(None, face="list uchar int vertex_indices;list uchar int vertex_index", more=("", [3, 0, 1, 2])),
        r"element face has the properties \['vertex_index', 'vertex_indices'\], expected one list",
    ),
    "scalar.ply": (
        ply(None, face="list uchar int corners;int vertex_indices", more=("", [0])),
        r"element face has the properties \['corners', 'vertex_indices'\], expected one list",
    ),
    "banner.off": ("#" * 5000 + "\n" + "# a\n" * 5000 + "COF\n", "expected OFF in its first line that is no comment"),
    "count.off": ("OFF\n5 6 0\n" + "".join(OFF), "states 5 vertices and 6 faces, which are 11 lines, but has 10"),
    "far.off": ("OFF\n5 5 0\n" + OFF[0] + OFF[1].replace("3 0 1 4", "3 0 1 5"), "expected 0 to 4"),
    "bin.off": ("OFF BINARY\n", "OFF BINARY is not read"),
    "four.off": ("4OFF\n5 5 0\n", "4OFF is not read"),
    "other.off": ("not a mesh", "expected OFF in its first line"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_refused_by_name(tmp_path, name):
    content, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"mesh {name} cannot be read: .*{message}"):
        read(tmp_path, name, content)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["a.obj", "a.ply", "b.ply", "a.stl", "b.stl", "a.off"]), st.data())
def test_damaged_files_are_a_mesh_or_a_value_error(tmp_path_factory, name, data):
    """Bytes changed, cut out and put in at random places."""
    whole = {"a.obj": (V + F).encode(), "a.ply": ply(None), "b.ply": ply(">"), "a.stl": stl(CORNERS)}
    whole |= {"b.stl": text_stl(CORNERS).encode(), "a.off": ("OFF\n5 5 0\n" + "".join(OFF)).encode()}
    content = whole[name]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        drop = data.draw(st.integers(0, 4))
        content = content[:at] + data.draw(st.binary(max_size=4)) + content[at + drop :]
    try:
        mesh = read(tmp_path_factory.getbasetemp(), name, content)
    except ValueError as error:
        assert f"mesh {name}" in str(error)
    else:
        assert np.isfinite(mesh.vertices).all() and len(mesh.faces)
