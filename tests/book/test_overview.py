"""The page that puts the full runs side by side shows the numbers of their records, and a dash where there is none."""

import pytest

import aps_book.record.run as recording
from aps_book import record
from aps_book.experiments import faces_rivals, overview, quality_time
from aps_book.record import tuning_records


@pytest.fixture
def run(tmp_path, monkeypatch):
    number = lambda value: {"value": value, "se": 0.1, "unit": "dB"}  # noqa: E731
    keys = {
        "denoise.gaussian_n1.psnr": 25.2,
        "denoise.gaussian_n128.psnr": 28.3,
        "denoise.aps_n1.psnr": 26.4,
        "denoise.aps_n128.psnr": 29.5,
        "denoise.reverse_n1.psnr": 26.5,
        "denoise.reverse_n128.psnr": 29.3,
        "denoise_paired.reverse.psnr_n1": 1.3,
        "denoise_paired.aps.psnr_n1": 1.2,
        "denoise_paired.aps.psnr_n128": 1.2,
        "denoise_long.dps.psnr": 28.2,
        "denoise_long.dps.aps_above": 1.3,
        "time.aps.seconds": 0.012,
        "budgets_denoise.aps.psnr": 26.4,
        "budgets_denoise.aps.mean": 29.5,
        "budgets_denoise.aps.seconds": 0.012,
        "budgets_denoise.aps.seconds_many": 0.3,
        "budgets_denoise.ddrm_50.energy": 1.4,
        "budgets_denoise.ddrm_50.minus_reverse.energy": 0.08,
        "budgets_denoise.ddrm_100.mean": 29.9,
        "budgets_denoise.ddrm_100.seconds_many": 4.0,
        "budgets_denoise.ddrm_100.energy": 1.3,
        "budgets_denoise.ddrm_100.minus_reverse.energy": -0.02,
    }
    faces = {
        "numbers": {key: number(value) for key, value in keys.items()},
        "parameters": {"n_test": 5189, "n_long": 64, "n_iterative": 512, "n_budgets": 8},
    }
    for module in (overview, quality_time):
        monkeypatch.setattr(module, "full_run", lambda page: faces if page == "faces" else None)
    return record.start(
        "overview",
        {"experiments": ["bunny", "denoise", "sr2"]},
        {"experiments": record.list_of(record.one_of(*overview.EXPERIMENTS))},
        tmp_path,
    )


def said_by(run, monkeypatch, template):
    """What ``run.say`` shows of a template."""
    said = []
    monkeypatch.setattr(recording, "_show", said.append)
    run.say(template)
    return said[0]["text/markdown"]


def test_table_has_the_records_beside_the_paper(run, monkeypatch):
    shown = overview.collect(run, ["bunny", "denoise", "sr2"])
    assert list(shown) == ["denoise", "sr2"]  # of the bunny's page there is no full run
    *_, denoise, sr2, _, trained = said_by(run, monkeypatch, overview.psnr_table(run, shown)).splitlines()
    assert trained.endswith("forward divergence, draws of the prior (faces, noise 0.1, faces, 2x super-resolution).")
    assert denoise.split(" | ")[1:] == [
        *("27.93", "23.37 / 25.82", "5,189", "25.20 / 28.30", "26.50 / 29.30", "+1.30 ± 0.10 / –"),
        *("26.40 / 29.50", "+1.20 ± 0.10 / +1.20 ± 0.10 |"),
    ]
    assert denoise.startswith("| {doc}`faces, noise 0.1 <faces>`")
    assert sr2.split(" | ")[1:] == ["–", "– / –", "–", *["– / –"] * 4, "– / – |"]
    assert run.as_dict()["numbers"]["denoise.seconds"]["value"] == 0.012


def test_a_row_stands_on_one_set_of_signals(run, monkeypatch):
    """All numbers of a row are of one record and one parameter, and the paired difference gives the flow where it is
    not.
    """
    subsets = {name: one for name, one in overview.MEANS.items() if not name.endswith("_budget")}
    means = overview.collect_subsets(run, "mean", subsets, ["denoise", "bunny"])
    assert list(means) == ["denoise"]
    numbers = run.as_dict()["numbers"]
    assert {number["n"] for key, number in numbers.items() if key.startswith("mean.denoise.")} == {64}
    assert numbers["mean.denoise.aps"]["value"] == pytest.approx(28.2 + 1.3)  # DPS and what APS has above it
    head, _, row, _, below = said_by(run, monkeypatch, overview.subset_table(run, "mean", means)).splitlines()
    assert head == "| experiment | signals | mean of | DPS | another flow |"
    assert row.endswith("| 64 | 128, from 4 and their variance | 28.20 ± 0.10 | 29.50 |")
    assert below == "The other flow was trained by: forward divergence, draws of the prior (faces, noise 0.1)."
    (one,) = overview.differences(run, "mean", means)
    assert (one.key, one.that) == ("mean.denoise.above.dps", "that of DPS")
    assert one.this == "faces, noise 0.1, without APS: the mean of the flow (forward, draws of the prior)"


def test_aps_stands_beside_its_rivals_on_the_same_faces(run, monkeypatch):
    """And what it has on them is paired: the record keeps rival minus flow."""
    numbers = overview.full_run("faces")["numbers"]
    number = lambda value: {"value": value, "se": 0.1, "unit": "dB", "n": 8}  # noqa: E731
    numbers |= {"budgets_denoise.ddrm_50.psnr": number(28.6), "budgets_denoise.reverse.psnr": number(26.5)}
    numbers |= {"budgets_denoise.ddrm_50.minus_reverse.psnr": number(2.1)}
    single = overview.collect_subsets(run, "one", overview.SINGLES, ["denoise"])
    *_, row, _, below = said_by(run, monkeypatch, overview.subset_table(run, "one", single)).splitlines()
    assert row.startswith("| {doc}`faces, noise 0.1, 50 evaluations <faces>` | 8 | ") and "28.60 ± 0.10 | " in row
    assert row.endswith("| 26.50 ± 0.10 | 26.40 ± 0.10 |") and "forward divergence, draws of the prior" in below
    (one,) = overview.differences(run, "one", single)
    assert one.this.endswith("one sample of APS (reverse, held-out measurements)") and one.that == "that of DDRM"
    assert run.as_dict()["numbers"][one.key]["value"] == -2.1


def test_what_ran_beside_the_times_follows_the_record(run, monkeypatch):
    made = {"provenance": {"at_once": 2}, "numbers": {f"a.{row}.seconds": {"value": 1.0} for row in ("x", "y")}}
    monkeypatch.setattr(quality_time, "full_run", lambda page: {"added": {"budgets": made}})
    assert "1 other run beside it" in quality_time.beside_their_times()
    made["provenance"]["at_once"] = 1
    assert quality_time.beside_their_times() == "They were timed with nothing beside them."
    made["numbers"] |= {f"a.{row}.at_once": {"value": n} for row, n in {"x": 1, "y": 2}.items()}
    assert quality_time.beside_their_times().startswith("1 of the 2 settings were timed with nothing beside them, the")
    monkeypatch.setattr(quality_time, "full_run", lambda page: None)
    assert quality_time.beside_their_times() == ""


def test_a_rule_that_diverges_is_said_with_its_scores(monkeypatch):
    row = lambda rule, energy: {"settings": {"rule": rule}, "finite": energy is not None, "energy": energy}  # noqa: E731
    rows = [row("score", None), row("score", 2e6), row("paper", 1.25)]
    found = {"denoise.pigdm_20": {"search": rows}, "sr2.dps_20": {}}
    monkeypatch.setattr(quality_time.tuning_records, "path", lambda name: name)
    monkeypatch.setattr(quality_time.tuning_records, "read", lambda path: found)
    said = quality_time.diverging_rule()
    assert "was tried 2 times" in said and "at 20 even steps: 1 of" in said and "2e+06" in said
    assert said.endswith("from 1.25 to 1.25.")


def test_plane_has_what_is_known_and_says_what_is_not(run, monkeypatch):
    settings = quality_time.collect_plane(run, ["denoise", "bunny"])
    assert {one.task for one in settings.values()} == {"denoise"}
    lines = said_by(run, monkeypatch, quality_time.plane_table(run, settings, "denoise")).splitlines()
    flow = "flow (forward, draws of the prior)"
    assert not any(line.startswith(("| APS |", "| flow |")) for line in lines)
    (said,) = (line for line in lines if line.startswith(f"| {flow} |"))
    head = "| method, budget | 1 sample [s] | 128 samples [s] | PSNR, 1 sample [dB] | PSNR, mean [dB] | energy score"
    assert lines[0] == f"{head} | energy score minus that of APS | signals |"  # no column without a number
    shown = "0.012 ± 0.1 | 0.3 ± 0.1 | 26.40 ± 0.10 | 29.50 ± 0.10"
    assert said == f"| {flow} | {shown} | not run | – | 8 |"
    points = quality_time.plane(run, settings)["faces, noise 0.1"]
    assert points[flow] == [(0.012, 26.4, 0.1, True)]
    means = quality_time.plane(run, settings, "mean of 128")["faces, noise 0.1"]
    assert means[flow] == [(0.3, 29.5, 0.1, True)] and means["DDRM, tuned"] == [(4.0, 29.9, 0.1, True)]
    (one, *_) = quality_time.plane_differences(run, settings, "denoise")
    assert one.this == "DDRM, tuned, 100 evaluations" and run.as_dict()["numbers"][one.key]["value"] == -0.02


def test_time_in_proportion_to_the_evaluations():
    """DPS at other numbers of evaluations than the one that was timed is placed by theirs, and marked as such."""
    full = overview.full_run("faces")["numbers"]["time.dps.seconds"]["value"]
    fresh = record.start("overview", {}, {}, "unused")
    panel = quality_time.plane(fresh, quality_time.collect_plane(fresh, ["denoise"]))["faces, noise 0.1"]
    assert {point[3] for point in panel["DPS"]} == {True, False}
    assert [point[0] for point in sorted(panel["DPS"])] == pytest.approx(
        [full * n / 1000 for n in (10, 20, 50, 100, 200, 500, 1000)]
    )


def _budgets_were_run():
    return quality_time.BUDGETS_RUN in record.full_run("faces")["numbers"]


def test_budgets_of_the_plane_are_those_of_the_searches():
    """The labels name the setting that the full run took."""
    searched = tuning_records.read(tuning_records.path("faces_budgets")) if _budgets_were_run() else {}
    for one in quality_time.SETTINGS:
        method, _, budget = one.label.partition(", tuned, ")
        if one.page == "dps_ablation":  # at the numbers of evaluations of its record
            assert one.psnr in record.full_run("dps_ablation")["numbers"]
            continue
        if budget and one.unless is not None:
            assert budget == f"{faces_rivals.found('denoise', method.lower())['best']['n_steps']} evaluations"
        elif budget and one.task in ("denoise", "sr2", "deblur"):
            row = one.energy.split(".")[1]
            if f"{one.task}.{row}" not in searched:
                assert budget == f"{row.split('_')[1]} evaluations" and not _budgets_were_run()
                continue
            assert budget == f"{searched[f'{one.task}.{row}']['best']['n_steps']} evaluations"
        elif budget and one.task == "sphere":
            found = tuning_records.read(tuning_records.path("sphere_impute"))[method.lower()]
            assert budget == f"{found['best']['n_steps']} evaluations"
        elif budget and one.task == "bunny":
            assert budget == f"{record.full_run('bunny_inpaint')['parameters']['n_steps']} evaluations"
        elif budget:
            found = tuning_records.read(tuning_records.path("sensor"))["dps"]
            assert budget == f"{found['best']['n_steps']} evaluations"


def test_numbers_of_other_pages_are_carried_with_their_errors(run):
    assert overview.carry(run, "faces", ["denoise.aps_n1.psnr"])
    assert run.as_dict()["numbers"]["faces.denoise.aps_n1.psnr"] == {"value": 26.4, "se": 0.1, "unit": "dB"}
    assert not overview.carry(run, "faces", ["denoise.aps_n1.psnr", "other"])
    assert not overview.carry(run, "sensor", ["anything"])


def test_claims_without_their_numbers_are_left_out(run, monkeypatch):
    monkeypatch.setattr(
        overview,
        "CLAIMS",
        (
            ("faces", "one {faces.denoise.aps_n1.psnr:.1f}"),
            ("faces", "two {faces.other:.1f}"),
            ("sensor", "three {sensor.any:.1f}"),
        ),
    )
    said = []
    monkeypatch.setattr(recording, "_show", said.append)
    run.say("\n".join(overview.claims(run)))
    assert said[0]["text/markdown"] == "one 26.4 ({doc}`faces`)."


def test_every_claim_has_a_full_run(tmp_path):
    """Against renamed numbers: the records that come with the code have what the page says."""
    fresh = record.start("overview", {}, {}, tmp_path)
    assert len(overview.claims(fresh)) == len(overview.CLAIMS)


def test_every_key_of_the_table_is_in_some_record():
    """Against renamed numbers: each experiment that has a full run has all its PSNR there."""
    for one in overview.EXPERIMENTS.values():
        full = record.full_run(one.page)
        if full is not None:
            flows = {"reverse": one.reverse, "other": one.other}
            there = {flow for flow, row in flows.items() if any(f".{row}_n1." in key for key in full["numbers"])}
            assert there, f"{one.page}: no flow"  # one that was trained later comes with all its numbers or none
            expected = {
                f"{one.prefix}.{where.format(**flows)}"
                for key, where in overview.KEYS.items()
                if key.rpartition("_")[0] not in flows or key.rpartition("_")[0] in there
            } | {
                f"{overview._paired(one)}.{flows[flow]}.psnr_{kind}"
                for flow in there - {"reverse"}
                for kind in ("n1", "n128")
            }
            # of the flow of the paper's objective both numbers or none: its scores are added to the full run
            reverse = {f"{one.prefix}.{one.reverse}_{n}.psnr" for n in ("n1", "n128")}
            missing = expected - set(full["numbers"]) - (reverse if not reverse & set(full["numbers"]) else set())
            assert not missing, f"{one.page}: {missing}"


def waits(keys, full):
    """Whether the program that keeps these keys was written after the record was made: it has none of their kind."""
    kinds = {key.partition(".")[0] for key in keys}
    return not any(key.startswith(f"{kind}.") for kind in kinds for key in full["numbers"])


def test_every_number_of_the_tables_is_in_some_record():
    """Against renamed numbers: what the tables of subsets and the plane look for is there."""
    for subset in (*overview.SINGLES.values(), *overview.MEANS.values()):
        full = record.full_run(subset.page)
        expected = {*subset.keys.values(), *(key for key, _ in subset.above.values())}
        missing = expected - set(full["numbers"])
        assert not missing or (missing == expected and waits(expected, full)), subset.label
    of_faces = record.full_run("faces")["numbers"]
    later = {"denoise.reverse"} - {key.rpartition("_n")[0] for key in of_faces}
    for one in quality_time.SETTINGS:
        page = one.page or overview.EXPERIMENTS[one.task].page
        for where in filter(None, (getattr(one, column) for column in quality_time.COLUMNS)):
            other, _, key = where.rpartition("/")
            found = key in record.full_run(other or page)["numbers"]
            full = record.full_run(other or page)
            later_flow = "reverse" in key and later  # the full run has nothing of this flow yet
            # a record from before these were kept has none of them at all: no subset, no energy score on it
            subset = key.startswith("iterative.") and not any(
                k.startswith("iterative.") and k.endswith(key.rpartition(".")[2]) for k in full["numbers"]
            )
            new = key in ("test.mcg_stopped.seconds", "test.reverse_n1.seconds", "test.reverse_n128.seconds")
            known = found or waits([key], full) or later_flow or subset or new
            assert known or key in ("test.aps.energy", "test.gaussian.energy"), (one.label, key)
