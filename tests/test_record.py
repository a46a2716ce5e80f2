"""Parameters, numbers, tables, text and tolerances of a result record."""

import hashlib
import json
import math
import re

import numpy as np
import pytest

from aps_core import record, tolerances

RULES = {"mask_fraction": record.between(0, 1, open=True), "n_test": record.integer(1)}


@pytest.fixture
def shown(monkeypatch):
    """What a run shows, one bundle of MIME types after the other."""
    bundles = []
    monkeypatch.setattr(record, "_show", bundles.append)
    return bundles


@pytest.fixture
def run(tmp_path, shown):
    return record.start("chapter", {"mask_fraction": 0.6, "n_test": 4}, RULES, tmp_path)


@pytest.fixture
def full(monkeypatch):
    """A full run of the same notebook with one number."""
    numbers = {"aps_n1.psnr": {"value": 36.5, "se": 0.01, "unit": "dB"}}
    made = {"date": "2026-01-02T03:04:05+00:00", "device": "a device", "commit": "0123456789abcdef", "modified": False}
    full = {"parameters": {"n_test": 242}, "numbers": numbers, "provenance": made}
    monkeypatch.setattr(record, "full_run", lambda notebook: full)


# parameters


def test_parameters_are_the_public_data_of_the_namespace(run):
    namespace = {"mask_fraction": 0.6, "n_test": 4, "np": np, "print": print, "_i": 1, "In": [], "Out": {}}
    assert record.start("chapter", namespace, RULES).parameters == run.parameters == {"mask_fraction": 0.6, "n_test": 4}


def test_unknown_parameter_is_named_with_the_nearest_known_one():
    with pytest.raises(ValueError, match="unknown parameter 'mask_fracton' = 0.8.*did you mean 'mask_fraction'"):
        record.start("chapter", {"mask_fraction": 0.6, "n_test": 4, "mask_fracton": 0.8}, RULES)


def test_missing_parameter_is_named():
    with pytest.raises(ValueError, match="'n_test' is not set"):
        record.start("chapter", {"mask_fraction": 0.6}, RULES)


@pytest.mark.parametrize(
    ("rule", "value", "kept"),
    [
        (record.between(0, 1), 1, 1.0),
        (record.between(0, 1, open=True), np.float32(0.5), 0.5),
        (record.between(2), 1e9, 1e9),
        (record.integer(1, 3), np.int64(3), 3),
        (record.one_of("paper", "held-out"), "paper", "paper"),
        (record.boolean(), False, False),
        (record.text(), "a", "a"),
        (record.optional(record.text()), None, None),
        (record.list_of(record.integer(0), length=2), (1, 2), [1, 2]),
    ],
)
def test_rule_keeps_a_valid_value_as_a_plain_object(rule, value, kept):
    result = rule("name", value)
    assert result == kept
    assert json.loads(json.dumps(result)) == kept


@pytest.mark.parametrize(
    ("rule", "value", "error", "message"),
    [
        (record.between(0, 1, open=True), 0, ValueError, r"name = 0: expected a number in \(0, 1\)"),
        (record.between(0, 1), 1.1, ValueError, r"name = 1.1: expected a number in \[0, 1\]"),
        (record.between(0), math.nan, ValueError, "name = nan: expected a number in"),
        (record.between(0), math.inf, ValueError, "name = inf: expected a number in"),
        (record.between(0, 1), "0.5", TypeError, "name = '0.5': expected a number"),
        (record.between(0, 1), True, TypeError, "name = True: expected a number"),
        (record.integer(1), 0, ValueError, "name = 0: expected an integer at least 1"),
        (record.integer(1, 3), 4, ValueError, "name = 4: expected an integer at least 1 and at most 3"),
        (record.integer(), 1.0, TypeError, "name = 1.0: expected an integer"),
        (record.one_of("a", "b"), "c", ValueError, "name = 'c': expected one of 'a', 'b'"),
        (record.boolean(), 1, TypeError, "name = 1: expected True or False"),
        (record.text(), "", ValueError, "name = '': expected a string"),
        (record.list_of(record.integer()), [], ValueError, r"name = \[\]: expected a list"),
        (record.list_of(record.integer(0)), [1, -1], ValueError, r"name\[1\] = -1: expected an integer"),
        (record.list_of(record.integer(), 2), [1], ValueError, "expected a list of 2 items"),
    ],
)
def test_rule_refuses_naming_parameter_value_and_expectation(rule, value, error, message):
    with pytest.raises(error, match=message):
        rule("name", value)


# numbers


def test_mean_stores_the_standard_error_of_the_mean(run):
    run.mean("a.psnr", np.array([1.0, 2.0, 3.0, 4.0], np.float32), unit="dB")
    # variance of 1..4 with n - 1 is 5/3
    expected = {"value": 2.5, "se": pytest.approx(math.sqrt(5 / 3 / 4)), "unit": "dB"}
    assert run.as_dict()["numbers"]["a.psnr"] == expected


def test_numbers_takes_values_and_pairs(run):
    run.numbers("band", {"1": 0.5, "2": (0.9, 0.01)})
    numbers = run.as_dict()["numbers"]
    assert [numbers[f"band.{i}"]["value"] for i in (1, 2)] == [0.5, 0.9]
    assert [numbers[f"band.{i}"]["se"] for i in (1, 2)] == [None, 0.01]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("a", math.nan), ValueError, "a = nan: expected a finite number"),
        (("a", np.ones(2)), TypeError, "expected a real scalar"),
        (("a", "1"), TypeError, "expected a real scalar"),
        (("a", 1j), TypeError, "expected a real scalar"),
        (("a", 1, -0.1), ValueError, "standard error of a = -0.1"),
        (("a", 1, math.inf), ValueError, "standard error of a = inf"),
        (("A b", 1), ValueError, "key 'A b': expected lower-case words"),
        (("used", 1), ValueError, "key 'used' was used before"),
    ],
)
def test_number_refuses(run, arguments, error, message):
    run.number("used", 1)
    with pytest.raises(error, match=message):
        run.number(*arguments)


def test_mean_needs_two_values(run):
    with pytest.raises(ValueError, match="a: expected at least two values, got 1"):
        run.mean("a", [1.0])


# the file


def test_finish_writes_what_load_reads(run, tmp_path, shown):
    weights = tmp_path / "flow.safetensors"
    weights.write_bytes(b"weights")
    run.uses_weights(weights, {"name": "score", "sha256": "ab" * 32})
    run.uses_data(type("Data", (), {"name": "ncep", "split": "test", "sha256": "cd" * 32}))
    run.number("a.psnr", np.float32(1.5), se=0.5, unit="dB")
    run.finish()

    made = record.load(tmp_path / "chapter.json")
    assert made["numbers"] == {"a.psnr": {"value": 1.5, "se": 0.5, "unit": "dB"}}
    assert made["parameters"] == {"mask_fraction": 0.6, "n_test": 4}
    provenance = made["provenance"]
    assert provenance["weights"] == {"flow.safetensors": hashlib.sha256(b"weights").hexdigest(), "score": "ab" * 32}
    assert provenance["data"] == {"ncep/test": "cd" * 32}
    assert provenance["versions"]["numpy"] == np.__version__
    assert provenance["seconds"] >= 0
    assert not list(tmp_path.glob("*.part"))

    line = shown[-1]["text/plain"]
    for part in ("notebooks/chapter.py", "mask_fraction = 0.6", hashlib.sha256(b"weights").hexdigest()[:12], "ncep/test"):
        assert part in line
    assert str(tmp_path) not in json.dumps(made) + line


def test_uses_weights_refuses_what_has_no_sha256(run):
    with pytest.raises(TypeError, match="expected a path, or something with a name and a sha256"):
        run.uses_weights({"name": "score"})


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ('{"schema": 0}', "schema 1"), ("[]", "schema 1")])
def test_load_refuses_what_is_no_record(tmp_path, text, message):
    (tmp_path / "chapter.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        record.load(tmp_path / "chapter.json")


def test_directory_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("APS_RESULTS_DIR", str(tmp_path))
    assert record.start("chapter", {}, {}).directory == tmp_path


# figures


def _figure():
    from matplotlib.figure import Figure

    fig = Figure(figsize=(2, 1))
    fig.subplots().plot([0, 1], [1, 0])
    return fig


def test_the_same_figure_gives_the_same_file(tmp_path, shown):
    written = []
    for name in ("first", "second"):
        run = record.start("chapter", {}, {}, tmp_path / name)
        run.figure(_figure(), "line")
        written.append((tmp_path / name / "chapter-line.svg").read_bytes())
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0]
    assert shown[0]["image/svg+xml"].encode() == written[0]
    assert run.as_dict()["figures"] == ["chapter-line.svg"]


def test_view_is_saved_beside_the_record_and_framed(run, tmp_path, shown):
    run.view("<html>turn me</html>", "mesh", 'a "mesh" & more')
    assert (tmp_path / "chapter-mesh.html").read_text() == "<html>turn me</html>"
    frame = shown[-1]["text/html"]
    assert 'src="chapter-mesh.html"' in frame and 'title="a &quot;mesh&quot; &amp; more"' in frame
    assert run.as_dict()["figures"] == ["chapter-mesh.html"]
    with pytest.raises(ValueError, match="'mesh' was used before"):
        run.view("", "mesh", "again")
    with pytest.raises(ValueError, match="view name 'Mesh'"):
        run.view("", "Mesh", "again")


def test_figure_name_is_checked(run):
    run.figure(_figure(), "line")
    with pytest.raises(ValueError, match="'line' was used before"):
        run.figure(_figure(), "line")
    with pytest.raises(ValueError, match="'../line'"):
        run.figure(_figure(), "../line")


# tables and text


def test_table_has_paper_full_run_and_this_build(run, shown, full):
    run.number("test.aps_n1.psnr", 37.04, se=0.05)
    run.number("test.gaussian.psnr", 37.11)
    rows = {"gaussian": "Gaussian", "dps": "DPS <fast>", "aps_n1": "APS"}
    run.table(rows, {"psnr": ("PSNR", ".2f")}, "test", "aps.table2.era5_impute", "Imputation")
    lines = shown[-1]["text/plain"].splitlines()
    assert lines[:2] == ["Imputation", " | PSNR, paper | PSNR, full run | PSNR, this build"]
    assert lines[2:5] == ["Gaussian | – | – | 37.11", "DPS <fast> | 28.95 | – | –", "APS | 33.17 | – | 37.04 ± 0.05"]
    assert lines[5] == "Full run: 2026-01-02, a device, n_test = 242, commit 012345678."
    assert "DPS &lt;fast&gt;" in shown[-1]["text/html"]


def test_table_shows_the_number_of_the_full_run(run, shown, full):
    run.number("aps_n1.psnr", 37.04)
    run.table({"aps_n1": "APS"}, {"psnr": ("PSNR", ".1f")})
    assert "APS | 36.5 ± 0.0 | 37.0" in shown[-1]["text/plain"]


def test_table_without_a_full_run_says_so(run, shown):
    run.number("aps_n1.psnr", 37.04)
    run.table({"aps_n1": "APS"}, {"psnr": ("PSNR", ".2f")}, paper="aps.table3.sr2")
    assert "APS | not legible in our copy | not run | 37.04" in shown[-1]["text/plain"]


def test_table_shows_a_sign_for_differences_but_not_for_their_errors(run, shown):
    run.number("aps_n1.psnr", 0.316, se=0.014)
    run.table({"aps_n1": "APS N=1"}, {"psnr": ("PSNR [dB]", "+.2f")})
    assert "+0.32 ± 0.01" in shown[-1]["text/plain"]


def test_table_refuses_a_row_that_stands_nowhere(run):
    with pytest.raises(KeyError, match="row 'apsn1'"):
        run.table({"apsn1": "APS"}, {"psnr": ("PSNR", ".2f")}, paper="aps.table2.era5_impute")


def test_say_fills_in_numbers(run, shown, full):
    run.number("aps_n1.psnr", 37.04, se=0.05)
    run.say(
        "{aps_n1.psnr:.1f} ± {aps_n1.psnr.se:.2f}, {full/aps_n1.psnr:.1f}, {paper/aps.table2.era5_impute.dps.psnr:.1f}, "
        "{parameters/mask_fraction:.0%}, $x_{{0}}$"
    )
    assert shown[-1]["text/markdown"] == "37.0 ± 0.05, 36.5, 28.9, 60%, $x_{0}$"


def test_say_without_a_full_run(run, shown):
    run.say("{full/aps_n1.psnr:.1f}")
    assert shown[-1]["text/markdown"] == "not run"


@pytest.mark.parametrize("template", ["{aps_n1.ssim:.1f}", "{aps_n1.psnr.se:.1f}", "{parameters/sigma}", "{fll/aps_n1.psnr}"])
def test_say_refuses_a_number_that_does_not_exist(run, template):
    run.number("aps_n1.psnr", 37.04)
    with pytest.raises(KeyError):
        run.say(template)


def test_paper_values():
    assert record.paper_value("aps.table2.era5_impute.aps_n128.psnr") == 34.61
    assert record.paper_value("aps.table2.era5_impute.gaussian.psnr") is None
    assert record.paper_value("aps.table2.era5_impute.aps_n1.mse") is None
    assert record.paper_value("aps.table3.sr2.aps_n1.psnr") == "not legible in our copy"
    assert record.paper_value("feng.table1.dopri5.nfe") == 65
    with pytest.raises(KeyError, match="'era5' is unknown; expected one of 'celeba_denoise'"):
        record.paper_value("aps.table2.era5.dps.psnr")


# tolerances


def _record(value):
    return {"notebook": "chapter", "numbers": {"psnr": {"value": value, "se": None, "unit": "dB"}}}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"value": 37.0, "within": 0.1}, 37.1),
        ({"value": 37.0, "se": 0.1}, 36.7 + 1e-9),
        ({"value": 37.0, "within": 0.1, "se": 0.1, "why": "months differ"}, 37.4 - 1e-9),
        ({"min": 36.0}, 99.0),
        ({"min": 36.0, "max": 38.0}, 36.0),
    ],
)
def test_check_accepts_a_number_in_its_range(rule, value):
    assert tolerances.check(_record(value), {"psnr": rule}) == []


@pytest.mark.parametrize(
    ("rule", "value", "failure"),
    [
        ({"value": 37.0, "within": 0.1}, 37.35, r"chapter: psnr = 37.35 is above its range \[36.9, 37.1\] by 0.25"),
        ({"value": 37.0, "se": 0.1}, 36.5, r"chapter: psnr = 36.5 is below its range \[36.7, 37.3\] by 0.2"),
        ({"max": 1.0}, 2.0, r"psnr = 2 is above its range \[-inf, 1\] by 1"),
    ],
)
def test_check_names_number_value_range_and_distance(rule, value, failure):
    (said,) = tolerances.check(_record(value), {"psnr": rule})
    assert re.search(failure, said)


def test_check_misses_no_number():
    assert tolerances.check(_record(1.0), {"ssim": {"min": 0}}) == ["chapter: ssim is missing from the record"]


@pytest.mark.parametrize("rule", [{}, {"value": 1.0}, {"value": 1.0, "min": 0.0}, {"mn": 0.0}, {"se": 1.0}])
def test_check_refuses_a_tolerance_without_a_range(rule):
    with pytest.raises(ValueError, match="tolerance of psnr"):
        tolerances.check(_record(1.0), {"psnr": rule})
