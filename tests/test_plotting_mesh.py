"""Figures of signals on meshes: what is drawn, and what the turning view holds."""

import re

import numpy as np
import pytest
import trimesh

from aps_core import plotting_mesh
from aps_core.mesh import TriangleMesh


@pytest.fixture(scope="module")
def mesh():
    made = trimesh.creation.icosphere(subdivisions=1)
    return TriangleMesh(made.vertices, made.faces)


def test_panel_draws_every_signal_in_one_range(mesh):
    low, high = mesh.vertices[:, 1], 3 * mesh.vertices[:, 1]
    fig = plotting_mesh.mesh_panel(mesh, {"low": low, "high": high}, {"spread": np.abs(low)}, {"error": low}, columns=2)
    parts = fig.subfigs
    drawn = [ax for part in parts for ax in part.axes if ax.name == "3d"]
    assert [ax.get_title() for ax in drawn] == ["low", "high", "spread", "error"]
    assert [len(ax.collections[0].get_facecolor()) for ax in drawn] == [80] * 4
    bars = [ax for part in parts for ax in part.axes if ax.name != "3d"]
    assert [bar.get_xlim() for bar in bars] == [pytest.approx((-3, 3), rel=0.1), pytest.approx((0, 1), rel=0.1), pytest.approx((-1, 1), rel=0.1)]
    # equal values have equal colours in signals that share a range: the top of `low` is a third of that of `high`
    tops = [ax.collections[0].get_facecolor()[np.argmax(mesh.vertices[mesh.faces, 1].mean(axis=1))] for ax in drawn[:2]]
    assert np.abs(tops[0] - tops[1]).max() > 0.05


def test_panel_shows_missing_vertices_as_gaps(mesh):
    field = np.where(np.arange(len(mesh)) % 2, 1.0, np.nan)
    fig = plotting_mesh.mesh_panel(mesh, {"measured": field})
    faces, dots = fig.subfigs[0].axes[0].collections
    assert np.ptp(faces.get_facecolor()[:, :3], axis=1).max() < 1e-6  # grey
    front = (mesh.normals[:, 2] > 0.1) & ~np.isnan(field)
    assert len(dots._offsets3d[0]) == front.sum() > 0


def test_view_needs_nothing_from_elsewhere(mesh):
    page = plotting_mesh.mesh_view(mesh, {"truth": mesh.vertices[:, 0], "error of the mean": mesh.vertices[:, 1]})
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert '"label":"error of the mean"' in page
    assert page.count("mesh3d") > 0


def test_fields_of_another_length_are_refused(mesh):
    for draw in (plotting_mesh.mesh_panel, plotting_mesh.mesh_view):
        with pytest.raises(ValueError, match=r"\(42,\)"):
            draw(mesh, {"a": np.zeros(41)})
        with pytest.raises(ValueError, match="at least one"):
            draw(mesh, {})
