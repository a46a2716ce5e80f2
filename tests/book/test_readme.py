"""The Python of the README and of the pages that show some: run as it stands, from top to bottom."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def blocks(text):
    """The Python blocks of a Markdown text."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def field(path):
    """A NetCDF file of one month, in degrees Celsius, a third of its cells missing."""
    import xarray

    from aps_core import data
    from aps_core.data.temperature import to_kelvin

    kelvin = to_kelvin(data.load("ncep-temperature", "test").values[-1])
    hidden = np.random.default_rng(0).random(kelvin.shape) < 1 / 3
    values = np.where(hidden, np.nan, kelvin - 273.15)[None]
    axes = {"lat": np.linspace(90, -90, 46), "lon": np.arange(0.0, 360.0, 4.0)}
    coordinates = {"time": [np.datetime64("2020-07-16", "ns")]} | {
        name: (name, v, {"units": f"degrees_{'north' if name == 'lat' else 'east'}"}) for name, v in axes.items()
    }
    one = xarray.DataArray(values, coordinates, ("time", "lat", "lon"), "t2m", {"units": "degC"})
    one.to_netcdf(path, engine="h5netcdf")


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    field(tmp_path / "my.nc")
    names = {"__name__": "readme"}
    found = blocks((ROOT / "README.md").read_text("utf-8"))
    assert len(found) >= 7
    for block in found:
        exec(compile(block, "README.md", "exec"), names)
    assert names["verdict"].verdict in ("trust", "doubt") and (tmp_path / "posterior.nc").is_file()
    assert names["log_q"].shape == (128,) and names["samples"].shape == (128, 32, 32, 3)
    assert "reverse divergence, measurements only" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["book/reference.md"])
def test_what_a_page_shows_runs(name):
    for block in blocks((ROOT / name).read_text("utf-8")):
        names = {}
        exec(compile(block, name, "exec"), names)
        assert names["samples"].shape == (128, 46, 90)
