"""Figures of signals on meshes: what is drawn, and what the turning view holds."""

import json
import re

import numpy as np
import pytest
import trimesh

from aps_book.figures import meshes
from aps_core.geometry.mesh import TriangleMesh


@pytest.fixture(scope="module")
def mesh():
    made = trimesh.creation.icosphere(subdivisions=1)
    return TriangleMesh(made.vertices, made.faces)


def test_panel_draws_every_signal_in_one_range(mesh):
    low, high = mesh.vertices[:, 1], 3 * mesh.vertices[:, 1]
    fig = meshes.mesh_panel(mesh, {"low": low, "high": high}, {"spread": np.abs(low)}, {"error": low}, columns=2)
    parts = fig.subfigs
    drawn = [ax for part in parts for ax in part.axes if ax.name == "3d"]
    assert [ax.get_title() for ax in drawn] == ["low", "high", "spread", "error"]
    assert [len(ax.collections[0].get_facecolor()) for ax in drawn] == [80] * 4
    bars = [ax for part in parts for ax in part.axes if ax.name != "3d"]
    assert [bar.get_xlim() for bar in bars] == [
        pytest.approx((-3, 3), rel=0.1),
        pytest.approx((0, 1), rel=0.1),
        pytest.approx((-1, 1), rel=0.1),
    ]
    # equal values have equal colours in signals that share a range: the top of `low` is a third of that of `high`
    tops = [ax.collections[0].get_facecolor()[np.argmax(mesh.vertices[mesh.faces, 1].mean(axis=1))] for ax in drawn[:2]]
    assert np.abs(tops[0] - tops[1]).max() > 0.05


def test_panel_shows_missing_vertices_as_gaps(mesh):
    field = np.where(np.arange(len(mesh)) % 2, 1.0, np.nan)
    fig = meshes.mesh_panel(mesh, {"measured": field})
    faces, dots = fig.subfigs[0].axes[0].collections
    assert np.ptp(faces.get_facecolor()[:, :3], axis=1).max() < 1e-6  # grey
    front = (meshes.normals(mesh)[:, 2] > 0.1) & ~np.isnan(field)
    assert len(dots._offsets3d[0]) == front.sum() > 0


def test_view_needs_nothing_from_elsewhere(mesh):
    gaps = np.where(np.arange(len(mesh)) % 2, 1.0, np.nan)
    page = meshes.mesh_view(
        mesh, {"truth": mesh.vertices[:, 0], "measured": gaps, "error": mesh.vertices[:, 1]}, "A ball"
    )
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=(?!.data:)", page)
    assert '<html lang="en">' in page and "<title>A ball</title>" in page
    data = json.loads(re.search(r'id="data">(.*)</script>', page).group(1))
    assert (len(data["vertices"]), len(data["normals"]), len(data["faces"])) == (42, 42, 80)
    assert np.ptp(data["vertices"], axis=0).max() == pytest.approx(1, abs=1e-3)
    truth, measured, error = data["fields"]
    assert measured["values"].count(None) == 21
    assert error["low"] == -error["high"] and truth["high"] == pytest.approx(mesh.vertices[:, 0].max())
    assert len(page) < 60_000


def test_fields_of_another_length_are_refused(mesh):
    for draw in (meshes.mesh_panel, lambda *given: meshes.mesh_view(*given, "A ball")):
        with pytest.raises(ValueError, match=r"\(42,\)"):
            draw(mesh, {"a": np.zeros(41)})
        with pytest.raises(ValueError, match="at least one"):
            draw(mesh, {})
