"""Parameters, numbers, tables, text and tolerances of a result record."""

import hashlib
import json
import math
import re
from html import unescape

import numpy as np
import pytest

import aps_book.record.run as recording
from aps_book import record
from aps_book.record import tolerances, words
from aps_book.record.rules import check_parameters
from aps_core import files

RULES = {"mask_fraction": record.between(0, 1, open=True), "n_test": record.integer(1)}


@pytest.fixture
def shown(monkeypatch):
    """What a run shows, one bundle of MIME types after the other."""
    bundles = []
    monkeypatch.setattr(recording, "_show", bundles.append)
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
    monkeypatch.setattr(recording, "full_run", lambda notebook: full)


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
        (record.text(empty=True), "", ""),
        (record.optional(record.text()), None, None),
        (record.list_of(record.integer(0), length=2), (1, 2), [1, 2]),
        (record.seed(), np.uint32(7), 7),
        (record.seed(), 2**31 - 1, 2**31 - 1),
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
        (record.list_of(record.between(0)), [0.3, 0.6, 0.3], ValueError, r"name\[2\] = 0.3: expected different items"),
        (record.list_of(record.between(0)), [1, 1.0], ValueError, r"name\[1\] = 1.0: expected different items"),
        (record.text(), "a\nb", ValueError, r"name = 'a\\nb': expected a string on one line"),
        (record.text(), "a\x1b[2J", ValueError, "without control characters"),
        (record.seed(), 2**32, ValueError, "name = 4294967296: expected a seed, an integer from 0 to 2147483647"),
        (record.seed(), 2**63, ValueError, "name = 9223372036854775808: expected a seed"),
        (record.seed(), -1, ValueError, "name = -1: expected a seed"),
        (record.seed(), True, TypeError, "name = True: expected a seed"),
        (record.seed(), 1.0, TypeError, "name = 1.0: expected a seed"),
        (record.seed(), "1", TypeError, "name = '1': expected a seed"),
    ],
)
def test_rule_refuses_naming_parameter_value_and_expectation(rule, value, error, message):
    with pytest.raises(error, match=message):
        rule("name", value)


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "A", "a.b", "a-b", "_a", None, "a\n"])
def test_name_of_a_notebook_leads_nowhere_else(name, tmp_path):
    with pytest.raises(ValueError, match="expected a name of lower-case letters, digits and underscores"):
        record.start(name, {}, {}, tmp_path)


# settings as words


def test_settings_that_differ_have_different_keys_and_labels():
    levels = [0.3, 0.302, 0.304, 0.45, 0.451, 1e-7, 2e-7, 0.30000000000000004]
    assert [record.word(level, 100) for level in levels[:5]] == ["30", "30_2", "30_4", "45", "45_1"]
    assert [record.exact(level, 100) for level in levels[:5]] == ["30", "30.2", "30.4", "45", "45.1"]
    assert len({record.word(level, 100) for level in levels}) == len({record.exact(level) for level in levels}) == 8
    assert record.word(3e-4, 100_000, digits=5) == "00030"
    assert record.word(1.25e-5, 100_000, digits=5) == "00001_25"
    assert (record.exact(1e-5), record.exact(1000), record.exact(0)) == ("1e-05", "1000", "0")
    assert record.word(-0.5) == "minus_0_5"


def test_keys_of_levels_and_noises_are_exact(run):
    from aps_book.experiments import blind_impute, noisy_samples, perception

    assert [blind_impute.level_key(x) for x in (0.3, 0.302, 0.304)] == ["r30", "r30_2", "r30_4"]
    assert blind_impute.missing(0.451) == "45.1 % missing"
    assert [blind_impute.noise_key(x) for x in (0.05, 0.0504)] == ["noise50", "noise50_4"]
    assert [noisy_samples.key(x) for x in (1e-3, 1.2e-5)] == ["t00100", "t00001_2"]
    assert list(perception.cooler_rows([0.7, 0.704])) == ["aps_t070", "aps_t070_4"]
    run.number(f"{blind_impute.level_key(0.302)}.told.psnr", 1.0)


# numbers


def test_mean_stores_the_standard_error_of_the_mean(run):
    run.mean("a.psnr", np.array([1.0, 2.0, 3.0, 4.0], np.float32), unit="dB")
    # variance of 1..4 with n - 1 is 5/3
    expected = {"value": 2.5, "se": pytest.approx(math.sqrt(5 / 3 / 4)), "unit": "dB", "n": 4}
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
    for part in (
        "notebooks/chapter.py",
        "mask_fraction = 0.6",
        hashlib.sha256(b"weights").hexdigest()[:12],
        "ncep/test",
    ):
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
    assert 'sandbox="allow-scripts"' in frame and "allow-same-origin" not in frame
    assert 'src="chapter-mesh.html"' in frame and 'title="a &quot;mesh&quot; &amp; more"' in frame
    assert run.as_dict()["figures"] == ["chapter-mesh.html"]
    with pytest.raises(ValueError, match="'mesh' was used before"):
        run.view("", "mesh", "again")
    with pytest.raises(ValueError, match="view name 'Mesh'"):
        run.view("", "Mesh", "again")


def test_caption_and_alt_text_go_into_the_metadata_of_the_output(run, monkeypatch):
    shown = []
    monkeypatch.setattr(recording, "_show", lambda bundle, metadata=None: shown.append(metadata))
    run.figure(_figure(), "line", alt="A line.", caption="It falls.")
    run.figure(_figure(), "again", alt="A line.", caption="It falls.", label="fig-other")
    named = [{"caption": "It falls.", "name": name} for name in ("fig-chapter-line", "fig-other")]
    assert shown == [{"mystnb": {"image": {"alt": "A line."}, "figure": figure}} for figure in named]
    with pytest.raises(ValueError, match="'bare': alt text and caption go together"):
        run.figure(_figure(), "bare", alt="A line.")


def test_figure_name_is_checked(run):
    run.figure(_figure(), "line")
    with pytest.raises(ValueError, match="'line' was used before"):
        run.figure(_figure(), "line")
    with pytest.raises(ValueError, match="'../line'"):
        run.figure(_figure(), "../line")


# tables and text


def test_table_has_paper_full_run_and_this_build(run, shown, full):
    run.number("test.aps_n1.psnr", 37.04, se=0.05, n=4)
    run.number("test.gaussian.psnr", 37.11)
    rows = {"gaussian": "Gaussian", "dps": "DPS <fast>", "aps_n1": "flow"}
    run.table(rows, {"psnr": ("PSNR", ".2f")}, "test", "aps.table2.era5_impute", "Imputation")
    lines = shown[-1]["text/plain"].splitlines()
    assert lines[:2] == ["Imputation", " | PSNR, paper | PSNR, full run | PSNR, this build"]
    assert lines[2:5] == ["Gaussian | – | – | 37.11", "DPS <fast> | 28.95 | – | –", "flow | 33.17 | – | 37.04 ± 0.05"]
    assert lines[5] == "Full run: 2026-01-02, a device, commit 012345678. n_test = 242."
    assert "DPS &lt;fast&gt;" in shown[-1]["text/html"]


def test_table_shows_the_number_of_the_full_run(run, shown, full):
    run.number("aps_n1.psnr", 37.04)
    run.table({"aps_n1": "flow"}, {"psnr": ("PSNR", ".1f")})
    assert "flow | 36.5 ± 0.01 | 37.0" in shown[-1]["text/plain"]


def test_table_without_a_full_run_says_so(run, shown):
    run.number("aps_n1.psnr", 37.04)
    run.table({"aps_n1": "flow"}, {"psnr": ("PSNR", ".2f")}, paper="aps.table3.sr2")
    assert "flow | not legible in our copy | not run | 37.04" in shown[-1]["text/plain"]


def test_table_shows_a_sign_for_differences_but_not_for_their_errors(run, shown):
    run.number("aps_n1.psnr", 0.316, se=0.014)
    run.table({"aps_n1": "flow N=1"}, {"psnr": ("PSNR [dB]", "+.2f")})
    assert "+0.32 ± 0.01" in shown[-1]["text/plain"]


def test_table_refuses_a_row_that_stands_nowhere(run):
    with pytest.raises(KeyError, match="row 'apsn1'"):
        run.table({"apsn1": "flow"}, {"psnr": ("PSNR", ".2f")}, paper="aps.table2.era5_impute")


def test_table_refuses_rows_on_different_signals_unless_each_cell_says_how_many(run, shown, full):
    run.mean("test.aps.psnr", [1.0, 2.0, 3.0])
    run.mean("test.dps.psnr", [1.0, 2.0])
    rows, columns = {"aps": "flow", "dps": "DPS"}, {"psnr": ("PSNR", ".1f")}
    with pytest.raises(ValueError, match=r"column 'psnr'.*different numbers of signals, \{'aps': 3, 'dps': 2\}"):
        run.table(rows, columns, "test")
    run.table(rows, columns, "test", signals="n_test")
    assert "flow | – | 2.0 ± 0.6 (n = 3)" in shown[-1]["text/plain"]
    assert "DPS | – | 1.5 ± 0.5 (n = 2)" in shown[-1]["text/plain"]
    run.mean("aps_n1.psnr", [37.0, 37.1, 37.0, 37.1])
    run.table({"aps_n1": "flow"}, columns, signals={"aps_n1": "n_test"})  # the older record's parameter says it
    head, row, _ = shown[-1]["text/plain"].splitlines()
    assert head.endswith("PSNR, full run (n = 242) | PSNR, this build (n = 4)") and "(n =" not in row
    html = shown[-1]["text/html"]
    assert ">(n = 242)</p>" in html and "<summary>This build (n = 4)</summary>" in html


def test_signals_of_several_parameters_are_said_cell_by_cell(run, shown):
    """Also where both are the same number: they need not be the same signals."""
    run.mean("test.aps.psnr", [1.0, 2.0])
    run.mean("test.dps.psnr", [1.0, 2.0])
    run.number("val.months", 2)
    rows, columns = {"aps": "flow", "dps": "DPS"}, {"psnr": ("PSNR", ".1f")}
    run.table(rows, columns, "test", signals={"aps": "n_test", "dps": "val.months"})
    assert shown[-1]["text/plain"].count("(n = 2)") == 2
    run.number("test.odd.psnr", 3.0, 0.5)
    run.table({"odd": "number"}, columns, "test", signals="val.months")
    assert "PSNR, this build (n = 2)" in shown[-1]["text/plain"]


# verdicts

CASES = [  # value, standard error, what is better, what is said
    (0.5, 0.1, "higher", "**better** than B (+0.50 ± 0.10 dB, n = 8)"),
    (-0.5, 0.1, "higher", "**worse** than B (-0.50 ± 0.10 dB, n = 8)"),
    (-0.5, 0.1, "lower", "**better** than B (-0.50 ± 0.10 dB, n = 8)"),
    (0.5, 0.1, None, "**above** B (+0.50 ± 0.10 dB, n = 8)"),
    (0.19, 0.1, "higher", "against B: **not resolved** (+0.19 ± 0.10 dB, n = 8)"),
    (-0.19, 0.1, "lower", "against B: **not resolved** (-0.19 ± 0.10 dB, n = 8)"),
    (0.0, 0.0, "higher", "against B: **not resolved** (+0.00 ± 0.00 dB, n = 8)"),
]


@pytest.mark.parametrize(("value", "error", "better", "said"), CASES)
def test_verdict_is_what_the_numbers_say(run, shown, value, error, better, said):
    run.number("a_b.psnr", value, error, "dB", n=8)
    run.verdict(record.Difference("a_b.psnr", "a", "B", better))
    assert shown[-1]["text/markdown"] == f"A {'is ' if 'resolved' not in said else ''}{said}."


def test_verdicts_of_several_differences_are_a_list(run, shown):
    run.mean("one", [1.0, 1.1, 1.2])
    run.mean("two", [1.0, -1.0])
    differences = (record.Difference("one", "A", "B", form="+.1f"), record.Difference("two", "A", "C", measure="score"))
    run.verdict(*differences, before="So:")
    first, second = "- A is **better** than B (+1.1 ± 0.1, n = 3).", "- A against C by score: **not resolved** ("
    assert shown[-1]["text/markdown"].startswith(f"So:\n\n{first}\n{second}")


def test_verdict_of_the_full_run(run, shown, full):
    run.verdict(record.Difference("aps_n1.psnr", "APS", "zero", n="n_test"), source="full")
    assert shown[-1]["text/markdown"] == "APS is **better** than zero (+36.50 ± 0.01 dB, n = 242)."
    run.verdict(record.Difference("no.such", "APS", "zero"), source="full")
    assert shown[-1]["text/markdown"] == "APS against zero: not run."


def test_verdict_refuses_what_cannot_be_said(run):
    run.number("bare", 1.0, n=3)
    run.number("unsized", 1.0, 0.1)
    for key, error, said in (
        ("no.such", KeyError, "no such number"),
        ("bare", ValueError, "without a standard error"),
        ("unsized", ValueError, "needs the number of signals"),
    ):
        with pytest.raises(error, match=said):
            run.verdict(record.Difference(key, "A", "B"))
    with pytest.raises(ValueError, match="better = 'more'"):
        record.Difference("bare", "A", "B", "more")


def test_say_fills_in_numbers(run, shown, full):
    run.number("aps_n1.psnr", 37.04, se=0.05)
    run.say(
        "{aps_n1.psnr:.1f} ± {aps_n1.psnr.se:.2f}, {full/aps_n1.psnr:.1f}, {paper/aps.table2.era5_impute.dps.psnr:.1f}, "
        "{parameters/mask_fraction:.0%}, $x_{{0}}$"
    )
    assert shown[-1]["text/markdown"] == "37.0 ± 0.05, 36.5, 28.9, 60%, $x_{0}$"


def test_stated_names_the_parameter_of_both_runs(run, full):
    assert run.stated("n_test") == "4 (full run: 242)" and run.stated("mask_fraction") == "0.6"
    with pytest.raises(KeyError):
        run.stated("n_tests")


def test_say_without_a_full_run(run, shown):
    run.say("{full/aps_n1.psnr:.1f}")
    assert shown[-1]["text/markdown"] == "not run"


def test_say_takes_the_text_of_a_parameter_as_text(tmp_path, shown):
    """Read as Markdown it is the text itself, whatever it holds; no tag and no link come of it."""
    from markdown_it import MarkdownIt

    for value in (
        "<script>alert(1)</script>",
        "[a](javascript:alert(1))",
        "**bold** `code` {ref}`x` $x$",
        "&lt;b&gt;",
        "1. one # two | three \\ ![i](j)",
    ):
        run = record.start("chapter", {"weights": value}, {"weights": record.text()}, tmp_path)
        run.say("Weights: {parameters/weights}.")
        html = MarkdownIt().render(shown[-1]["text/markdown"])
        inner = html.removeprefix("<p>").removesuffix("</p>\n")
        assert "<" not in inner, html
        assert unescape(inner) == f"Weights: {value}."
        assert shown[-1]["text/plain"] == f"Weights: {value}."


@pytest.mark.parametrize(
    "template", ["{aps_n1.ssim:.1f}", "{aps_n1.psnr.se:.1f}", "{parameters/sigma}", "{fll/aps_n1.psnr}"]
)
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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [{"min": 0}, {"max": 0}, {"value": 1, "within": 1}])
def test_check_fails_for_a_number_that_is_not_finite(value, rule):
    (said,) = tolerances.check(_record(value), {"psnr": rule})
    assert said == f"chapter: psnr = {value} is not a finite number"


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ({"value": 1, "within": math.nan}, ValueError, "within = nan, expected a finite number"),
        ({"value": math.nan, "within": 1}, ValueError, "value = nan, expected a finite number"),
        ({"value": 1, "within": math.inf}, ValueError, "within = inf"),
        ({"value": 1, "within": -1, "se": 5}, ValueError, "within and / or se above zero"),
        ({"value": 1, "within": 5, "se": -1}, ValueError, "within and / or se above zero"),
        ({"min": -math.inf}, ValueError, "min = -inf"),
        ({"max": math.inf}, ValueError, "max = inf"),
        ({"min": math.nan, "max": 1}, ValueError, "min = nan"),
        ({"min": 2, "max": 1}, ValueError, "min = 2 lies above max = 1"),
        ({"min": 0, "within": 1}, ValueError, "expected value"),
        ({"min": 0, "max": 1, "wihtin": 1}, ValueError, "unknown wihtin"),
        ({"min": "0"}, TypeError, "min = '0', expected a number"),
        ({"min": True}, TypeError, "min = True, expected a number"),
        (3, TypeError, "expected a table such as"),
        ([1, 2], TypeError, "expected a table such as"),
    ],
)
def test_check_refuses_a_tolerance_that_anything_passes(rule, error, message):
    with pytest.raises(error, match=f"tolerance of psnr.*{message}"):
        tolerances.check(_record(1.0), {"psnr": rule})


def test_check_refuses_tolerances_that_are_no_table():
    with pytest.raises(TypeError, match="tolerances of chapter: expected a table"):
        tolerances.check(_record(1.0), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"numbers": {"a": {"value": math.nan, "se": None, "unit": None}}},
            "value of a = nan, expected a finite number",
        ),
        ({"numbers": {"a": {"value": 1.0, "se": math.inf, "unit": None}}}, "se of a = inf, expected a finite number"),
        ({"numbers": {"a": {"value": None, "se": None, "unit": None}}}, "value of a = None, expected a number"),
        ({"numbers": {"a": {"value": "1", "se": None, "unit": None}}}, "value of a = '1', expected a number"),
        ({"numbers": {"a": {"se": None, "unit": None}}}, "a = .*expected value, se and unit"),
        ({"numbers": {"a": 1.0}}, "a = 1.0, expected value, se and unit"),
        (
            {"numbers": {"a": {"value": 10**400, "se": None, "unit": None}}},
            "value of a = 1000.*expected a finite number",
        ),
        ({"numbers": {"a": {"value": 1.0, "se": -1.0, "unit": None}}}, "se of a = -1.0, expected at least 0"),
        ({"numbers": {"a": {"value": 1.0, "se": None, "unit": 5}}}, "unit of a = 5, expected a text or null"),
        ({"numbers": {"a": {"value": 1.0, "se": None, "unit": None, "n": -3}}}, "a: n must be at least 1, got -3"),
        ({"numbers": {"a": {"value": 1.0, "se": None, "unit": None, "n": "x"}}}, "a: n must be an integer, got 'x'"),
        ({"numbers": [1]}, "a record needs numbers, a dict"),
        ({"provenance": None}, "a record needs provenance"),
    ],
)
def test_load_refuses_numbers_that_are_none(tmp_path, change, message):
    made = {"schema": 1, "notebook": "chapter", "parameters": {}, "numbers": {}, "figures": [], "provenance": {}}
    path = tmp_path / "chapter.json"
    path.write_text(json.dumps(made))
    assert record.load(path) == made
    path.write_text(json.dumps({**made, **change}))
    with pytest.raises(ValueError, match=message):
        record.load(path)


def test_a_key_that_stands_twice_in_a_file_is_refused(tmp_path):
    path = tmp_path / "chapter.json"
    number = '{"value": 1.0, "se": null, "unit": null}'
    path.write_text(f'{{"schema": 1, "numbers": {{"a": {number}, "a": {number}}}}}')
    with pytest.raises(ValueError, match="'a' stands twice"):
        record.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run: run.number("a", np.ma.masked), TypeError, "a = masked: expected a real scalar"),
        (lambda run: run.number("a", np.ma.array(5.0, mask=True)), TypeError, "expected a real scalar"),
        (lambda run: run.number("a", np.longdouble("1e400")), ValueError, "a = inf: expected a finite number"),
        (lambda run: run.number("a", 1, 0.1, 8), TypeError, "unit of a = 8: expected a text or None"),
        (lambda run: run.number("a", 1, n=2.7), TypeError, "n of a must be an integer, got 2.7"),
        (lambda run: run.number("a", 1, n=True), TypeError, "n of a must be an integer"),
        (lambda run: run.number("a", 1, n="3"), TypeError, "n of a must be an integer"),
        (
            lambda run: run.numbers("a", {"b": (1, 2, 3)}),
            ValueError,
            r"a.b = \(1, 2, 3\): expected a number, or a pair",
        ),
        (lambda run: run.mean("a", np.ma.array([1, 2, -999], mask=[0, 0, 1])), ValueError, "a is a masked array"),
        (lambda run: run.mean("a", [1 + 2j, 2 + 5j]), TypeError, "a must be an array of real numbers"),
        (lambda run: run.mean("a", ["1", "2"]), TypeError, "a must be an array of real numbers"),
        (
            lambda run: run.mean("a", np.array(["2020", "2021"], "M8[Y]")),
            TypeError,
            "a must be an array of real numbers",
        ),
    ],
)
def test_what_is_no_number_is_not_stored(run, call, error, message):
    with pytest.raises(error, match=message):
        call(run)
    assert run.as_dict()["numbers"] == {}


@pytest.mark.parametrize("name", ["open", "exit", "In"])
def test_names_of_the_interpreter_are_no_way_around_the_rules(tmp_path, name):
    assert record.start("chapter", {"In": [""], "Out": {}, "open": open, "exit": exit}, {}, tmp_path).parameters == {}
    with pytest.raises(ValueError, match=f"unknown parameter '{name}' = 5"):
        record.start("chapter", {name: 5}, {}, tmp_path)


# rules that look at more than one value, and keys of settings


def test_a_mean_takes_none_or_several():
    rule = record.several(10)
    assert [rule("n", value) for value in (0, 2, 10)] == [0, 2, 10]
    for value in (1, 11, -1):
        with pytest.raises(ValueError, match=f"n = {value}: expected"):
            rule("n", value)
    with pytest.raises(TypeError, match="n = True: expected an integer"):
        rule("n", True)


def test_a_parameter_that_another_limits():
    rules = {"n": record.AtMost(record.integer(1), "m"), "m": record.integer(1)}
    assert check_parameters({"n": 3, "m": 3}, rules) == {"n": 3, "m": 3}
    with pytest.raises(ValueError, match="n = 4: expected at most m = 3"):
        check_parameters({"n": 4, "m": 3}, rules)


def test_settings_keep_their_keys_and_others_get_their_own(monkeypatch):
    """So that a number never stands in the row of another setting."""
    known = [0.1, 0.3, 1.0]
    assert record.keyed("z", known, known) == {"z0": 0.1, "z1": 0.3, "z2": 1.0}
    assert record.keyed("z", [1.0, 0.5], known) == {"z2": 1.0, "z_0_5": 0.5}
    monkeypatch.setenv("APS_FULL_RUN", "1")
    assert record.keyed("z", [0.5, 1.0], known) == {"z0": 0.5, "z1": 1.0}


def test_a_full_run_is_read_anew_where_a_file_of_it_has_changed(tmp_path, monkeypatch):
    """What is kept of it is neither another version's nor what a caller has made of it."""
    monkeypatch.setattr(files, "CHECKOUT", tmp_path)
    results = tmp_path / "weights/results"
    results.mkdir(parents=True)
    number = {"value": 1.0, "se": None, "unit": None}
    made = {"schema": recording.SCHEMA, "notebook": "chapter", "parameters": {}, "figures": [], "provenance": {}}
    store = lambda name, **numbers: record.save({**made, "numbers": numbers}, results / name)  # noqa: E731
    assert record.full_run("chapter") is None
    store("chapter.json", one=number)
    record.full_run("chapter")["numbers"].clear()
    assert record.full_run("chapter")["numbers"] == {"one": number}
    store("chapter.json", one={**number, "value": 2.0})
    assert record.full_run("chapter")["numbers"]["one"]["value"] == 2
    store("chapter.added-more.json", two=number)
    assert set(record.full_run("chapter")["numbers"]) == {"one", "two"}
    store("chapter.added-more.json", three=number)
    assert set(record.full_run("chapter")["numbers"]) == {"one", "three"}
    (results / "chapter.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a result record"):
        record.full_run("chapter")


@pytest.mark.parametrize(
    ("se", "form", "text"),
    [
        (0.0003, ".3f", "0.0003"),
        (0.0123, "+.2f", "0.01"),
        (0.0, ".2f", "0.00"),
        (0.04, ".1f", "0.04"),
        (0.2, ".0f", "0.2"),
    ],
)
def test_a_standard_error_is_not_rounded_to_nothing(se, form, text):
    assert words.error_shown(se, form) == text
