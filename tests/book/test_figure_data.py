"""Figures of full runs: what they are drawn from is kept, and the pages show it with the provenance of that run."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from docutils import nodes

from aps_book import record
from aps_book.experiments import blind_impute, bunny_inpaint, coverage, discrete_flow, faces, samplers, sphere_impute
from aps_book.record import figure_data, sphinx_extension
from aps_core import files

SHOWN = {"alt": "A line.", "caption": "A line."}


def line(heights, label="line"):
    """A drawing function; `drawn` keeps what it was given."""
    drawn.append((np.asarray(heights).tolist(), label))
    fig, ax = plt.subplots()
    ax.plot(heights)
    return fig


drawn = []


@pytest.fixture
def full(tmp_path, monkeypatch):
    """full(figures): keeps figure data as that of the full run of the notebook "chapter"."""
    folder = tmp_path / "weights/results"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files, "folders", lambda name: [tmp_path / name])
    return lambda figures: (folder / "chapter.figures.npz").write_bytes(figure_data.packed(figures))


@pytest.fixture
def run(tmp_path):
    drawn.clear()
    return record.start("chapter", {}, {}, directory=tmp_path / "results")


def test_arguments_come_back_as_they_were(tmp_path):
    given = {
        "curves": {"one": (np.arange(3.0), [1, None, "x"]), ("low", 0.5): {}, 2: True},
        "many": np.linspace(-1, 1, 5000).reshape(50, 100),
        "large": np.full(5000, 1e6),
        "whole": jnp.arange(4),
        "scalar": np.float32(0.5),
    }
    path = tmp_path / "a.npz"
    path.write_bytes(figure_data.packed({"figure": given}))
    found = figure_data.unpacked(path)["figure"]
    assert list(found["curves"]) == ["one", ("low", 0.5), 2] and found["curves"]["one"][1] == [1, None, "x"]
    np.testing.assert_array_equal(found["curves"]["one"][0], np.arange(3.0))
    np.testing.assert_allclose(found["many"], given["many"], atol=5e-4)
    np.testing.assert_array_equal(found["large"], given["large"])
    assert found["whole"].dtype.kind == "i" and found["whole"].tolist() == [0, 1, 2, 3]
    assert found["scalar"] == 0.5 and found["curves"][2] is True
    assert figure_data.packed({"figure": given}) == path.read_bytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"f": len}, "'f'.*builtin_function"),
        ({b"a": 1}, "key b'a'"),
        ({(1, None): 1}, "key"),
        (["a", {"b": 1j}], "1, 'b'"),
    ],
)
def test_what_cannot_be_kept_is_named(value, text):
    with pytest.raises(TypeError, match=text):
        figure_data.packed({"figure": {"x": value}})


@pytest.mark.parametrize("content", [b"", b"no zip", figure_data.packed({"figure": {"x": np.ones(9)}})[:-30]])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is no figure data"):
        figure_data.unpacked(tmp_path / "a.npz")


def test_a_page_shows_the_full_run(full, run, tmp_path, monkeypatch):
    full({"line": {"heights": [5.0, 6.0], "label": "full"}})
    made = {"schema": 1, "notebook": "chapter", "parameters": {"n": 9}, "numbers": {}, "figures": [], "provenance": {}}
    record.save(made, tmp_path / "weights/results/chapter.json")
    monkeypatch.setenv("APS_FULL_FIGURES", "1")
    shown = []
    monkeypatch.setattr("aps_book.record.run._show", lambda bundle, metadata=None: shown.append(metadata))
    run.chart(line, "line", {"heights": [1.0, 2.0]}, **SHOWN)
    run.chart(line, "other", {"heights": [3.0, 4.0]}, **SHOWN)
    assert drawn == [([5.0, 6.0], "full"), ([3.0, 4.0], "line")]
    assert run.shown_by("line")["parameters"] == {"n": 9} and run.shown_by("other")["parameters"] == {}
    captions = [one["mystnb"]["figure"]["caption"] for one in shown]
    assert captions == ["A line. Full run.", "A line. This build."]
    run.finish()
    assert record.load(run.directory / "chapter.json")["of_full_run"] == ["fig-chapter-line"]
    kept = figure_data.unpacked(run.directory / "chapter.figures.npz")
    assert kept["line"]["heights"] == [1.0, 2.0], "what this run found, whatever its page shows"


def test_a_chart_of_numbers_needs_the_record_alone(full, run, tmp_path, monkeypatch):
    """Of the full run where that has them all, else of this one; its alt text is that of the same record."""
    number = {"value": 7.0, "se": None, "unit": None}
    made = {"schema": 1, "notebook": "chapter", "parameters": {}, "figures": [], "provenance": {}}
    record.save({**made, "numbers": {"a": number}}, tmp_path / "weights/results/chapter.json")
    shown = []
    monkeypatch.setattr("aps_book.record.run._show", lambda bundle, metadata=None: shown.append(metadata))
    run.number("a", 1.0)
    run.number("b", 2.0)
    heights = lambda *keys: lambda of: {"heights": [of["numbers"][key]["value"] for key in keys]}  # noqa: E731
    told = {**SHOWN, "alt": lambda of: f"The heights begin at {of['numbers']['a']['value']:g}."}
    run.chart(line, "own", heights("a"), **told)
    monkeypatch.setenv("APS_FULL_FIGURES", "1")
    run.chart(line, "full", heights("a"), **told)
    run.chart(line, "both", heights("a", "b"), **told)
    assert [found for found, _ in drawn] == [[1.0], [7.0], [1.0, 2.0]]
    figures = [one["mystnb"] for one in shown]
    assert [one["image"]["alt"] for one in figures] == [f"The heights begin at {a}." for a in (1, 7, 1)]
    assert [one["figure"]["caption"][-10:] for one in figures] == ["his build.", " Full run.", "his build."]
    run.finish()
    assert not list(run.directory.glob("*.figures.npz")), "nothing that has to be kept"


def test_the_records_hold_what_their_charts_are_drawn_from():
    """Of the charts that are drawn from numbers: those of the full runs."""
    tasks = {title: (f"{name}_coverage", "aps") for name, title in faces.TASKS.items()}
    shown = coverage.chart_arguments(record.full_run("faces"), tasks, faces.coverage_groups())
    assert list(shown["results"]) == list(tasks) and np.shape(shown["results"]["denoising"]) == (2, 6, 2)
    bunny, sphere = bunny_inpaint.coverage_groups(), sphere_impute.coverage_groups()
    for page, rows, groups in (("bunny_inpaint", ("gaussian", "aps"), bunny),
                               ("sphere_impute", ("gaussian", "held_out"), sphere)):  # fmt: skip
        named = {row: ("coverage", row) for row in rows}
        found = coverage.chart_arguments(record.full_run(page), named, groups)["results"]
        assert set(found) == set(rows) and 0.8 < found["gaussian"][0][0][1] < 0.97
    curves = blind_impute.by_level(record.full_run("blind_impute"))
    assert set(curves) == set(blind_impute.LABELS.values()) and curves["told the mask"][0] == [30, 40, 50, 60]
    flow_prior = record.full_run("discrete_flow")
    assert len(discrete_flow.path_of(flow_prior)["gradient norm"]["flow"]) == len(discrete_flow.LEVELS)
    assert list(discrete_flow.kinds_of(flow_prior, ["held-out faces"])["score prior"]) == ["held-out faces"]
    groups = samplers.chart(record.full_run("samplers"), {"low noise": "gaussian16.low"})["groups"]
    assert groups["low noise, tuned"]["DPS"] > 0.01


def test_coverage_says_where_its_signals_differ():
    number = lambda value, n: {"value": value, "se": 1.0, "unit": "%", "n": n}  # noqa: E731
    numbers = {
        f"coverage.all.{row}_{level}": number(level, n) for row, n in (("a", 96), ("b", 24)) for level in (50, 90)
    }
    found = coverage.chart_arguments(
        {"numbers": numbers},
        {"A": ("coverage", "a"), "B": ("coverage", "b"), "C": ("coverage", "c")},
        {"all": "all cells"},
    )
    assert list(found["results"]) == ["A", "B (24 signals)"] and found["groups"] == ["all\ncells"]
    np.testing.assert_allclose(found["results"]["A"], [[[0.5, 0.9]], [[0.01, 0.01]]])
    with pytest.raises(KeyError, match="no coverage of"):
        coverage.chart_arguments({"numbers": numbers}, {"C": ("coverage", "c")}, {"all": "all"})


def test_any_other_run_shows_itself(full, run):
    """With a user's parameters, or in a full run."""
    full({"line": {"heights": [5.0]}})
    run.chart(line, "line", {"heights": [1.0, 2.0]}, **SHOWN)
    assert drawn == [([1.0, 2.0], "line")] and run.as_dict()["of_full_run"] == []


def test_arguments_that_no_longer_fit_say_what_renews_them(full, run, monkeypatch):
    full({"line": {"values": [5.0]}})
    monkeypatch.setenv("APS_FULL_FIGURES", "1")
    with pytest.raises(ValueError, match=r"'line': the full run kept other arguments .*make full NOTEBOOK=chapter"):
        run.chart(line, "line", {"heights": [1.0]}, **SHOWN)
    with pytest.raises(ValueError, match="'other': .*missing a required argument: 'heights'"):
        run.chart(line, "other", {}, **SHOWN)


def test_what_is_kept_belongs_to_a_full_run():
    """Every file of figure data lies beside the record of the run that wrote it, and is small."""
    for path in (files.CHECKOUT / "weights/results").glob("*.figures.npz"):
        notebook = path.name.removesuffix(".figures.npz")
        source = (files.CHECKOUT / f"notebooks/{notebook}.py").read_text("utf-8")
        assert json.loads(path.with_name(f"{notebook}.json").read_text("utf-8"))["notebook"] == notebook
        assert path.stat().st_size < 2_000_000
        for name in figure_data.unpacked(path):
            assert f'"{name}"' in source, f"{notebook} has no figure {name!r}: `make full NOTEBOOK={notebook}`"


def test_the_provenance_under_a_figure_is_that_of_the_run_it_shows(full, tmp_path):
    full({})
    source = tmp_path / "results/chapter.ipynb"
    source.parent.mkdir()
    made = {"schema": 1, "notebook": "chapter", "parameters": {}, "numbers": {}, "figures": []}
    made["provenance"] = {"commit": "b" * 40, "modified": False, "weights": {}, "data": {}}
    record.save({**made, "of_full_run": ["fig-of-full-run"]}, source.with_suffix(".json"))
    other = {**made["provenance"], "commit": "f" * 40}
    record.save({**made, "provenance": other}, tmp_path / "weights/results/chapter.json")
    env = SimpleNamespace(docname="results/chapter", doc2path=lambda name: source, note_dependency=lambda path: None)
    page = nodes.section()
    for name in ("fig-of-full-run", "fig-of-this-build"):
        image = nodes.image(alt="A line.")
        page += nodes.figure("", image, nodes.caption("", "A line."), names=[name])
    sphinx_extension.check_and_sign(SimpleNamespace(env=env), page)
    first, second = (figure.astext() for figure in page.findall(nodes.legend))
    assert "commit fffffffff" in first and "full run" in first
    assert "commit bbbbbbbbb" in second and "full run" not in second


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(1e-9, 9e-8, 5000),
        np.linspace(280, 281, 5000),
        np.linspace(50000, 50100, 5000),
        np.geomspace(1e-30, 1e30, 5000),
        np.array([1e39, 1.0]),
        np.array([1e-60]),
        1.7e9 + np.arange(3),
        np.array([np.nan, np.inf, -1.0]),
        np.full(5000, 0.1),
    ],
)
def test_what_is_kept_is_what_was_drawn(tmp_path, values):
    """To a thousandth of itself and of the range, whatever the numbers are."""
    (tmp_path / "a.npz").write_bytes(figure_data.packed({"figure": {"x": values}}))
    found = figure_data.unpacked(tmp_path / "a.npz")["figure"]["x"].astype(float)
    np.testing.assert_allclose(found, values, rtol=1.001e-3)
    finite = np.isfinite(values)
    assert np.abs(found[finite] - values[finite]).max() <= 1.001e-3 * np.ptp(values[finite])


def test_masked_arrays_are_not_kept_as_if_they_were_whole():
    with pytest.raises(ValueError, match="'x' is a masked array that hides 1 of 3"):
        figure_data.packed({"figure": {"x": np.ma.array([1, 2, -999], mask=[0, 0, 1])}})


def test_two_figures_of_one_label_are_refused(run):
    run.chart(line, "a_b", {"heights": [1.0]}, **SHOWN)
    with pytest.raises(ValueError, match="label 'fig-chapter-a-b' was used before"):
        run.chart(line, "a-b", {"heights": [1.0]}, **SHOWN)
