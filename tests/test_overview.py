"""The page that puts the full runs side by side shows the numbers of their records, and a dash where there is none."""

import pytest

from aps_core import overview, record


@pytest.fixture
def run(tmp_path, monkeypatch):
    number = lambda value: {"value": value, "se": 0.1, "unit": "dB"}  # noqa: E731
    keys = {"denoise.gaussian_n1.psnr": 25.2, "denoise.gaussian_n128.psnr": 28.3, "denoise.aps_n1.psnr": 26.4, "denoise.aps_n128.psnr": 29.5, "time.aps.seconds": 0.012}
    faces = {"numbers": {key: number(value) for key, value in keys.items()}}
    monkeypatch.setattr(overview, "full_run", lambda page: faces if page == "faces" else None)
    return record.start("overview", {"experiments": ["bunny", "denoise", "sr2"]}, {"experiments": record.list_of(record.one_of(*overview.EXPERIMENTS))}, tmp_path)


def test_table_has_the_records_beside_the_paper(run, monkeypatch):
    shown = overview.collect(run, ["bunny", "denoise", "sr2"])
    assert list(shown) == ["denoise", "sr2"]  # of the bunny's page there is no full run
    said = []
    monkeypatch.setattr(record, "_show", said.append)
    run.say(overview.psnr_table(run, shown))
    *_, denoise, sr2 = said[0]["text/markdown"].splitlines()
    assert denoise.split(" | ")[1:] == ["27.93", "23.37 / 25.82", "25.20 / 28.30", "–", "26.40 / 29.50 |"]
    assert denoise.startswith("| {doc}`faces, noise 0.1 <faces>`")
    assert sr2.split(" | ")[1:] == ["–", "– / –", "– / –", "–", "– / – |"]
    assert run.as_dict()["numbers"]["denoise.seconds"]["value"] == 0.012


def test_numbers_of_other_pages_are_carried_with_their_errors(run):
    assert overview.carry(run, "faces", ["denoise.aps_n1.psnr"])
    assert run.as_dict()["numbers"]["faces.denoise.aps_n1.psnr"] == {"value": 26.4, "se": 0.1, "unit": "dB"}
    assert not overview.carry(run, "faces", ["denoise.aps_n1.psnr", "other"])
    assert not overview.carry(run, "sensor", ["anything"])


def test_claims_without_their_numbers_are_left_out(run, monkeypatch):
    monkeypatch.setattr(overview, "CLAIMS", (("faces", "one {faces.denoise.aps_n1.psnr:.1f}"), ("faces", "two {faces.other:.1f}"), ("sensor", "three {sensor.any:.1f}")))
    said = []
    monkeypatch.setattr(record, "_show", said.append)
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
            expected = {f"{one.prefix}.{where.format(aps=one.aps)}" for where in overview.KEYS.values()}
            assert expected <= set(full["numbers"])
