"""Figures: what is drawn, shared ranges, legibility, and that importing draws nothing."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from aps_book.figures import charts, style
from aps_book.figures import curves as curves_figures
from aps_book.figures import images as images_figures
from aps_book.figures import maps as maps_figures
from aps_book.figures import series as series_figures

RNG = np.random.default_rng(0)
FIELD = 280 + 20 * RNG.normal(size=(46, 90))
PARTIAL = np.where(RNG.random((46, 90)) < 0.4, FIELD - 30, np.nan)
STEPS = np.arange(1, 40)
GROUPS = ["all", "band 1", "band 2", "band 3", "band 4", "band 5"]


def globe():
    maps = {"truth": FIELD, "measurement (40 % of cells)": PARTIAL, "sample 1": FIELD + 5}
    errors = {"mean − truth": RNG.normal(size=(46, 90))}
    return maps_figures.globe_panel(maps, spread={"standard deviation": np.abs(FIELD - 280)}, errors=errors)


def images():
    rows = RNG.random((3, 4, 16, 16))
    rows[1][rows[1] < 0.5] = np.nan
    named = {"truth": rows[0], "measurement": rows[1], "posterior\nmean": rows[2, :2]}
    return images_figures.image_grid(named, columns=["a", "b", "c", "d"], label="grey value")


def covariances():
    matrix = np.diag(np.linspace(0.1, 2, 16))
    return images_figures.covariance_panel(
        {"exact posterior": matrix, "RealNVP": -3 * matrix, "structured flow": matrix}
    )


def kl():
    curve = 0.1 * np.exp(-STEPS / 9) + 0.004
    curves = {"RealNVP, exact gradient": (STEPS, curve, curve / 5), "RealNVP, ELBO": (STEPS, 2 * curve)}
    curves |= {"structured flow, exact": (STEPS, curve / 2), "structured flow, ELBO": (STEPS, curve / 3)}
    return curves_figures.kl_curves(curves, threshold=0.01)


def cover():
    value = np.tile([0.5, 0.9], (6, 1))
    results = {"Gaussian closed form": (value, value / 50), "APS": (value - 0.05, None)}
    return charts.coverage_plot(results, [0.5, 0.9], GROUPS, tolerance=0.03)


def trap():
    lam = np.logspace(-5, 0, 20)
    curves = {"t_min = 1e-5": (lam, np.ones(20), 0.05 * np.ones(20)), "t_min = 1e-3": (lam, 1 + 1.1e-4 / lam)}
    return curves_figures.eigen_trap_plot(curves, v_min={"v_min at t_min = 1e-3": 1.1e-4})


def gaps():
    samples = 0.5 + 0.1 * RNG.normal(size=(20, 39))
    y = np.where(RNG.random(39) < 0.5, np.nan, samples[0])
    panels = {f"recording {i}": (y, samples) for i in range(1, 5)}
    return series_figures.gap_panels(STEPS, panels, "hour", "value")


FIGURES = {f.__name__: f for f in (globe, images, covariances, kl, cover, trap, gaps)}


@pytest.fixture(scope="module", params=FIGURES)
def figure(request):
    made = FIGURES[request.param]()
    FigureCanvasAgg(made).draw()
    return made


def visible_texts(figure):
    renderer = figure.canvas.get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    # Ticks outside the view limits are never drawn.
    drawn = []
    for axis in (a for ax in figure.findobj(lambda o: hasattr(o, "xaxis")) for a in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                drawn += [tick.label1, tick.label2]
    return [(t, t.get_window_extent(renderer)) for t in texts if not any(t is other for other in drawn)]


def test_it_is_a_white_figure_of_the_common_width(figure):
    assert isinstance(figure, Figure)
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.get_figwidth() == style.WIDTH
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert (pixels[..., 3] == 255).all()
    assert (pixels[..., :3] < 250).any(axis=-1).mean() > 0.01


def test_text_is_large_inside_and_does_not_overlap(figure):
    texts = visible_texts(figure)
    assert texts
    for text, box in texts:
        assert text.get_fontsize() >= 10
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        assert not a.overlaps(b), (one.get_text(), other.get_text())


def test_it_saves_as_svg_and_png(figure, tmp_path):
    for kind in ("svg", "png"):
        figure.savefig(tmp_path / f"figure.{kind}")
    assert (tmp_path / "figure.svg").stat().st_size < 600_000


def test_globe_maps_share_one_range_and_missing_cells_are_grey():
    figure = globe()
    mesh = {ax.get_title(): ax.findobj(QuadMesh)[0] for ax in figure.axes if ax.name == "mollweide"}
    shared = [mesh[title].get_clim() for title in ("truth", "measurement (40 % of cells)", "sample 1")]
    low = min(FIELD.min(), np.nanmin(PARTIAL))
    assert set(shared) == {(low, (FIELD + 5).max())}
    assert mesh["standard deviation"].get_clim()[0] == 0
    assert sum(mesh["mean − truth"].get_clim()) == 0
    measured = mesh["measurement (40 % of cells)"]
    assert measured.get_rasterized()
    colours = measured.to_rgba(np.ma.masked_invalid([np.nan, FIELD.mean()]))
    assert np.allclose(colours[0, :3], 217 / 255, atol=1e-3) and not np.allclose(colours[1, :3], 217 / 255, atol=0.05)
    assert len([ax for ax in figure.axes if ax.name != "mollweide"]) == 3  # one bar shared, two of their own
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()] == ["temperature (K)", "K", "K"]


def test_a_cell_is_drawn_at_its_own_place():
    """One marked cell at 38 N, 120 E: the mesh has it between 118 and 122 E and between 36 and 40 N."""
    field = np.zeros((46, 90))
    field[13, 30] = 1
    mesh = maps_figures.globe_panel({"one": field}).axes[0].findobj(QuadMesh)[0]
    corners = np.degrees(mesh.get_coordinates())
    row, column = np.argwhere(mesh.get_array().reshape(46, 91) == 1)[0]
    cell = corners[row : row + 2, column : column + 2]
    np.testing.assert_allclose(cell[..., 0], [[118, 122], [118, 122]])
    np.testing.assert_allclose(cell[..., 1], [[40, 40], [36, 36]])


def test_the_column_at_180_degrees_is_on_both_sides():
    field = np.zeros((46, 90))
    field[:, 45] = 1
    mesh = maps_figures.globe_panel({"one": field}).axes[0].findobj(QuadMesh)[0]
    cells = mesh.get_array().reshape(46, 91)
    assert np.array_equal(np.flatnonzero(cells[20]), [0, 90])


def test_images_and_covariances_share_one_range():
    grid = {image.get_clim() for ax in images().axes for image in ax.get_images()}
    assert grid == {(0.0, 1.0)}
    panel = {image.get_clim() for ax in covariances().axes for image in ax.get_images()}
    assert panel == {(-6.0, 6.0)}


def test_curves_carry_the_data_and_their_scales():
    ax = kl().axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), 2 * (0.1 * np.exp(-STEPS / 9) + 0.004))
    assert ax.get_lines()[4].get_ydata()[0] == 0.01
    ax = trap().axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_coverage_points_and_bars_of_two_standard_errors():
    ax = cover().axes[0]
    first = ax.containers[1]  # closed form at 90 %
    np.testing.assert_allclose(first.lines[0].get_ydata(), 90)
    heights = [np.ptp(s[:, 1]) for s in first.lines[2][0].get_segments()]
    np.testing.assert_allclose(heights, 2 * 200 * 0.9 / 50)


def test_lines_differ_without_colour():
    lines = list(kl().axes[0].get_lines()[:2])
    assert lines[0].get_marker() != lines[1].get_marker()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_pyplot_is_never_imported():
    code = (
        "import sys, numpy as np; from aps_book.figures import maps; assert 'matplotlib' not in sys.modules; "
        "maps.globe_panel({'one': np.zeros((46, 90))}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maps_figures.globe_panel({}), "fields is empty"),
        (lambda: maps_figures.globe_panel({"a": np.zeros((90, 46))}), r"map 'a' has shape \(90, 46\)"),
        (lambda: maps_figures.globe_panel({"a": np.full((46, 90), np.nan)}), "map 'a' has no finite value"),
        (lambda: images_figures.image_grid({"a": np.zeros((16, 16))}), "images has shapes"),
        (lambda: images_figures.covariance_panel({"a": np.zeros((3, 4))}), "covariances has shapes"),
        (lambda: curves_figures.kl_curves({}), "curves is empty"),
        (lambda: curves_figures.eigen_trap_plot({}), "curves is empty"),
        (lambda: curves_figures.panels({"dB": {}}), "curves is empty"),
        (lambda: charts.coverage_plot({"a": (np.zeros((2, 2)), None)}, [0.5], ["x"]), "coverage of 'a' has shape"),
        (lambda: series_figures.gap_panels(STEPS, {}), "panels is empty"),
        (lambda: series_figures.gap_panels(STEPS, {"a": (STEPS, np.zeros((3, 2)))}), r"panel .a. has shapes \(39,\)"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_quality_against_time_marks_what_was_not_timed():
    """A point for every setting at its place, hollow where its time was not taken; a panel for each task."""
    panels = {
        "faces": {"DPS": [(2.0, 26.0, 0.1, False), (1.0, 24.0, None, True)], "APS": [(0.01, 26.5, 0.1, True)]},
        "a sphere of which the title is long": {"APS": [(0.02, 37.0, 0.1, True)]},
    }
    fig = charts.quality_time(panels)
    faces, sphere = (ax for ax in fig.axes if ax.get_visible())
    marks = [
        (line.get_xydata().tolist(), line.get_markerfacecolor()) for line in faces.lines if line.get_marker() != "None"
    ]
    assert ([[2.0, 26.0]], "white") in marks and any(xy == [[1.0, 24.0]] and face != "white" for xy, face in marks)
    assert sphere.get_xscale() == "log" and "\n" in sphere.get_title()
    with pytest.raises(ValueError, match="panels is empty"):
        charts.quality_time({})


def test_no_two_lines_of_a_figure_look_alike():
    """Nor do two of many: where the colours begin anew, marker and dashes do not."""
    looks = {(style.colour_of(i), style.marker_of(i), str(style.dash_of(i))) for i in range(21)}
    assert len(looks) == 21
    assert len({(style.colour_of(i), style.marker_of(i)) for i in range(21)}) == 21
