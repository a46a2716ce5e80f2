"""Pages that a reader moves: what they hold, and that pictures are what they are said to be."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from aps_book.experiments import quality_time
from aps_book.figures import charts, sliders, views
from aps_core.geometry import sphere


def told(page):
    """What the script of a view reads."""
    return json.loads(re.search(r'id="data">(.*)</script>', page).group(1))


def opened(address):
    """The colours (h, w, 4) of a picture."""
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))


@pytest.mark.parametrize("kind", ["slide", "turn", "plane"])
def test_a_view_needs_nothing_from_elsewhere(kind):
    page = views.page(kind, 'Title & "more"', {"text": "</script><b>"})
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=(?!.data:)|https?://(?!www\.w3\.org)", page)
    assert '<html lang="en">' in page and "<title>Title &amp; &quot;more&quot;</title>" in page
    assert "{{" not in page.replace("{{}}", "") and told(page) == {"text": "</script><b>"}
    assert page.count("</script>") == 2
    with pytest.raises(ValueError):
        views.page(kind, "", {"bad": float("nan")})


def test_pictures_have_the_colours_of_their_values():
    scale = sliders.Scale.of("viridis", np.array([0.0, 2.0]))
    drawn = opened(scale.picture(np.array([[0.0, 2.0], [1.0, np.nan]])))
    expected = [255 * np.asarray(scale.colours(share)[:3]) for share in (0.0, 1.0, 0.5)]
    np.testing.assert_allclose(drawn[[0, 0, 1], [0, 1, 0], :3], expected, atol=2.5)
    assert tuple(drawn[1, 1]) == (217, 217, 217, 255)
    assert scale.bar("temperature", "K")["low"] == "0.0 K"
    np.testing.assert_array_equal(opened(views.picture(np.full((2, 3, 3), 2.0)))[..., :3], 255)
    signed = sliders.Scale.signed(np.array([-3.0, 1.0]))
    assert (signed.low, signed.high) == (-3, 3)


def test_the_map_shows_each_place_where_it_is():
    cells = sliders.mollweide(360)
    assert cells.shape == (180, 360)
    row, column = np.divmod(cells, sphere.SHAPE[1])
    assert (row[90, 180], column[90, 180]) in {(22, 0), (23, 0)}  # the middle: equator, Greenwich
    assert row[0, 180] <= 2 and row[-1, 180] >= 43
    assert column[90, 1] == 45 and column[90, 358] == 45 and 20 < column[90, 270] < 25  # 180 degrees, and 90 east
    assert (cells[[0, 0, -1, -1], [0, -1, 0, -1]] == -1).all()
    shares = np.bincount(cells[cells >= 0], minlength=cells.max() + 1) / (cells >= 0).sum()
    np.testing.assert_allclose(
        shares.reshape(sphere.SHAPE).sum(axis=1)[5:40], sphere.area_weights().sum(axis=1)[5:40], rtol=0.25
    )  # equal areas
    outside = opened(sliders.Scale.of("viridis", np.arange(2.0)).globe(np.zeros(sphere.SHAPE)))
    assert outside[0, 0, 3] == 0 and outside[72, 144, 3] == 255


def test_sliders_choose_among_as_many_pictures_as_they_have_values():
    choices = [sliders.Slider("missing", ("20 %", "60 %"), 1), sliders.Slider("sample", ("1", "2", "3"))]
    maps = np.arange(2 * 3)[:, None, None] * np.ones(sphere.SHAPE)
    fields = {"truth": (maps[0], ()), "sample {1}": (maps.reshape(2, 3, *sphere.SHAPE), (0, 1))}
    page = sliders.globe_view("A globe", choices, fields, {"spread": (maps[:2], (0,))}, {"error": (maps[:2], (0,))})
    data = told(page)
    assert [len(one["images"]) for one in data["pictures"]] == [1, 6, 2, 2]
    assert data["pictures"][1]["by"] == [0, 1] and data["sliders"][0]["start"] == 1
    assert [one["label"] for one in data["bars"]] == ["temperature", "spread", "error"]
    assert all(one["alt"] for one in data["pictures"])
    faces = np.full((3, 4, 4, 3), 0.5)
    small = told(sliders.face_view("Faces", choices[1:], {"face": (faces, (0,))}, {"spread": (faces[..., 0], (0,))}))
    assert opened(small["pictures"][0]["images"][0]).shape == (4, 4, 4)
    with pytest.raises(ValueError, match=r"'face' have shape \(3,\), expected \(2,\)"):
        sliders.face_view("Faces", choices[:1], {"face": (faces, (0,))}, {"spread": (faces[0, ..., 0], ())})


def test_points_say_what_they_are():
    point = {"method": "DPS", "said": "DPS, 10 evaluations", "quality": 20.0, "se": None, "taken": True}
    panels = {"faces": [point | {"seconds": 2.0}, point | {"seconds": 1.0, "method": "flow"}]}
    data = told(charts.quality_time_view(panels, "Plane"))
    assert data["methods"] == ["DPS", "flow"]
    assert [one["seconds"] for one in data["panels"][0]["points"]] == [1.0, 2.0]
    with pytest.raises(ValueError, match="at least one"):
        charts.quality_time_view({}, "Plane")
    words = quality_time.point_in_words("DPS, 1 sample", {"value": 20.0, "se": 0.5, "n": 1024}, 123.4, False)
    assert words == "DPS, 1 sample: 20.00 ± 0.50 dB in 123 s (in proportion), on 1,024 signals"
