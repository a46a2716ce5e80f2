"""Figures of samplers: infinite values at the edge, mass inside the contours, one range for all panels."""

import numpy as np
import pytest

from aps_book.figures import charts, curves, densities


def test_distances_in_order_with_infinite_ones_at_the_edge():
    groups = {"paper": {"DPS": 3.0, "MCG": None}, "tuned": {"DPS": 0.001, "MCG": 0.2, "APS": 0.02}}
    ax = charts.distance_chart(groups, "KL", 0.01, ["APS", "DPS"]).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["APS", "DPS", "MCG"]
    marks = {line.get_label(): line.get_xdata() for line in ax.lines}
    # the smallest on the dashed line
    assert list(marks["paper"]) == [3.0] and list(marks["tuned"]) == [0.01, 0.2, 0.02]
    assert max(max(line.get_xdata(), default=0) for line in ax.lines) == 9.0  # the arrow
    with pytest.raises(ValueError, match="no finite positive value"):
        charts.distance_chart({"paper": {"MCG": None}}, "KL")


def test_contours_hold_their_mass():
    side = (np.arange(200) + 0.5) / 200
    log_p = -((side[:, None] - 0.5) ** 2 + (side[None] - 0.5) ** 2) / (2 * 0.1**2)
    fig = densities.density_panel(log_p, 0, 1, {"a": np.full((5, 2), 0.5), "b": np.full((5, 2), 0.2)})
    axes = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title() for ax in axes] == ["density", "a", "b"] and {ax.get_xlim() for ax in axes} == {(0, 1)}
    radii = [np.linalg.norm(path.vertices - 0.5, axis=1).mean() for path in axes[1].collections[0].get_paths()]
    np.testing.assert_allclose(radii, 0.1 * np.sqrt(-2 * np.log([0.01, 0.1, 0.5])), rtol=0.05)
    with pytest.raises(ValueError, match=r"log_p has shape \(3, 2\)"):
        densities.density_panel(np.zeros((3, 2)), 0, 1, {})


def test_ratios_have_the_line_of_the_truth():
    ax = curves.step_size_plot({"low": ([0.1, 1], [2, 0.5])}, {"tuned": 0.3}).axes[0]
    assert 1 in [line.get_ydata()[0] for line in ax.lines] and "tuned" in [text.get_text() for text in ax.texts]
    with pytest.raises(ValueError, match="curves is empty"):
        curves.step_size_plot({})
