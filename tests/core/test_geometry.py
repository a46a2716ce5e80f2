"""The sphere grid against closed forms, and the orientation check against real months."""

import numpy as np
import pytest

from aps_book.experiments.any_mask import unit_vectors
from aps_core import data
from aps_core.data.ncep import monthly_climatology
from aps_core.geometry import sphere


@pytest.fixture(scope="module")
def climatology():
    return monthly_climatology(data.load("ncep-temperature", "train"))


@pytest.fixture(scope="module")
def measured():
    """All test months with 60 % missing and noise of 0.05, and their masks."""
    rng = np.random.default_rng(0)
    x = data.load("ncep-temperature", "test").values
    mask = rng.random(x.shape) < 0.4
    return (x + 0.05 * rng.normal(size=x.shape)) * mask, mask


def test_areas_cover_the_sphere():
    areas = sphere.cell_areas()
    assert areas.shape == (46, 90)
    assert areas.sum() == pytest.approx(4 * np.pi, rel=1e-14)
    assert sphere.area_weights().sum() == pytest.approx(1, rel=1e-14)
    assert np.array_equal(areas, np.repeat(areas[:, :1], 90, axis=1))
    np.testing.assert_allclose(areas, areas[::-1], rtol=1e-12)


def test_areas_of_single_cells_in_closed_form():
    areas, degree = sphere.cell_areas(), np.pi / 180
    cap = 2 * np.pi * (1 - np.cos(2 * degree))
    assert areas[0].sum() == pytest.approx(cap, rel=1e-10)
    assert areas[22, 0] == pytest.approx(4 * degree * np.sin(4 * degree), rel=1e-12)  # 0 to 4 degrees north
    # Away from the poles a band between two parallels, 2 sin(2 deg) cos(latitude) high.
    inner = 4 * degree * 2 * np.sin(2 * degree) * np.cos(sphere.LATITUDE[1:-1] * degree)
    np.testing.assert_allclose(areas[1:-1, 5], inner, rtol=1e-12)


def test_area_weights_integrate_harmonics():
    """Mean of sin^2(latitude) is 1/3, of the latitude's sine 0; the midpoint rule leaves a small error."""
    z = unit_vectors()[..., 2]
    weights = sphere.area_weights()
    assert (weights * z).sum() == pytest.approx(0, abs=1e-12)
    assert (weights * z**2).sum() == pytest.approx(1 / 3, abs=1e-3)


def test_unit_vectors():
    v = unit_vectors()
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), 1, atol=1e-14)
    np.testing.assert_allclose(v[0], np.broadcast_to([0, 0, 1], (90, 3)), atol=1e-14)
    np.testing.assert_allclose(v[-1], np.broadcast_to([0, 0, -1], (90, 3)), atol=1e-14)
    np.testing.assert_allclose(v[22, 0], [np.cos(np.pi / 90), 0, np.sin(np.pi / 90)], atol=1e-14)  # 2 N, 0 E
    assert np.degrees(np.arctan2(v[10, 20, 1], v[10, 20, 0])) == pytest.approx(80)


def test_neighbours_are_mutual_and_close():
    near = sphere.neighbours()
    assert near.shape == (4140, 4)
    for side, back in ((2, 3), (3, 2)):
        assert np.array_equal(near[near[:, side], back], np.arange(4140))
    sets = [set(row) for row in near.tolist()]
    assert all(len(s) == 4 for s in sets)
    assert all(i in sets[j] for i, s in enumerate(sets) for j in s)
    v = unit_vectors().reshape(-1, 3)
    angle = np.degrees(np.arccos(np.clip((v[:, None] * v[near]).sum(-1), -1, 1)))
    assert angle.max() < 4 + 1e-5


def test_neighbours_wrap_in_longitude_and_over_the_pole():
    near = sphere.neighbours().reshape(46, 90, 4)
    assert near[10, 0].tolist() == [9 * 90, 11 * 90, 10 * 90 + 89, 10 * 90 + 1]
    assert near[10, 89, 3] == 10 * 90
    assert near[0, 3, 0] == 48
    assert near[45, 50, 1] == 45 * 90 + 5


def test_every_real_month_passes_the_orientation_check(measured, climatology):
    y, mask = measured
    sphere.check_orientation(y, mask, climatology)
    sphere.check_orientation(data.load("ncep-temperature", "val").values, None, climatology)
    sphere.check_orientation(y[0], mask[0], climatology)


def test_every_flipped_month_is_caught(measured, climatology):
    y, mask = measured
    for one, m in zip(y, mask):
        with pytest.raises(ValueError, match="latitude is flipped"):
            sphere.check_orientation(one[::-1], m[::-1], climatology)


def test_one_flipped_month_in_a_batch_is_named(measured, climatology):
    y, mask = (a[:5].copy() for a in measured)
    y[3], mask[3] = y[3, ::-1].copy(), mask[3, ::-1].copy()
    with pytest.raises(ValueError, match=r"y\[3\].*latitude is flipped"):
        sphere.check_orientation(y, mask, climatology)


def test_longitude_from_180_is_caught(measured, climatology):
    y, mask = (np.roll(a, 45, axis=-1) for a in measured)
    with pytest.raises(ValueError, match="longitude starts at 180"):
        sphere.check_orientation(y, mask, climatology)


def test_values_at_missing_cells_do_not_matter(measured, climatology):
    y, mask = measured
    sphere.check_orientation(np.where(mask, y, np.nan), mask, climatology)


def test_too_few_cells_raise_nothing(climatology):
    rng = np.random.default_rng(1)
    x = data.load("ncep-temperature", "test").values
    mask = rng.random(x.shape) < 0.002
    sphere.check_orientation(x, mask, climatology)


@pytest.mark.parametrize(
    ("y", "mask", "climate", "message"),
    [
        (np.zeros((90, 46)), None, np.zeros((12, 46, 90)), r"\(90, 46\): axes are transposed"),
        (np.zeros((2, 90, 46)), None, np.zeros((12, 46, 90)), "axes are transposed"),
        (np.zeros((4140,)), None, np.zeros((12, 46, 90)), r"y has shape \(4140,\)"),
        (np.zeros((46, 90)), np.ones((2, 46, 90)), np.zeros((12, 46, 90)), "mask has shape"),
        (np.zeros((46, 90)), None, np.zeros((46, 90)), "climatology has shape"),
    ],
)
def test_wrong_shapes_are_named(y, mask, climate, message):
    with pytest.raises(ValueError, match=message):
        sphere.check_orientation(y, mask, climate)
