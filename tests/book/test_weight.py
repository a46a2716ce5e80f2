"""What pages weigh: icons that no page shows are left out, and filled areas of many points are drawn as pixels."""

import io
import re

import numpy as np

from aps_book.figures import densities
from aps_book.pages import weight

SCRIPT = (
    'var p={monero:[496,512,[],"f3d0","M352 1z"],"magnifying-glass":[512,512,[128269,"search"],"f002","M4z"],'
    'sun:[512,512,[9728],"f185",["M1z","M2z"]],x:[1,1,[],"a","M"]};d("fas",p)'
)


def test_only_icons_that_are_shown_are_kept(tmp_path):
    assert weight.only(SCRIPT, {"search"}) == (
        'var p={"magnifying-glass":[512,512,[128269,"search"],"f002","M4z"],};d("fas",p)'
    )
    assert weight.only("another form of script", {"sun"}) == "another form of script"
    (tmp_path / "page.html").write_text('<i class="fa-solid fa-sun"></i>')
    (tmp_path / "_static/scripts").mkdir(parents=True)
    (tmp_path / "_static/theme.js").write_text('icon("fa-magnifying-glass")')
    (tmp_path / weight.SCRIPT).write_text(SCRIPT + "fa-monero")
    weight.lighten(tmp_path)
    left = (tmp_path / weight.SCRIPT).read_text()
    assert re.findall(r'"f\w+"', left) == ['"f002"', '"f185"', '"fas"']
    weight.lighten(tmp_path / "nowhere")


def test_filled_densities_are_pixels():
    """The outlines of a fine density would weigh megabytes as paths."""
    side = np.linspace(0, 1, 300)
    points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    bumps = np.exp(np.sin(60 * points).sum(axis=-1))
    truth = np.exp(-((densities.plane((0, 1, 0, 1)) - 0.5) ** 2).sum(axis=-1))
    fig = densities.density_panels({"low": {"flow": (points, bumps)}}, {"low": truth}, (0, 1, 0, 1))
    drawn = io.BytesIO()
    fig.savefig(drawn, format="svg", dpi=150)
    assert len(drawn.getvalue()) < 600_000
