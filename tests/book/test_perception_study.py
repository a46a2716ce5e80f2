"""The chapter on FID, KID and LPIPS: which faces are compared, and what the record keeps."""

import jax
import numpy as np
import pytest

from aps_book import perception, record
from aps_book.experiments import faces as faces_study
from aps_book.experiments import faces_rivals
from aps_book.experiments import perception as perception_study
from aps_book.experiments.measured import measure
from aps_book.figures import charts
from aps_core.data import faces
from aps_core.tasks import load_task

RNG = np.random.default_rng(0)


def test_no_reference_face_is_measured():
    dataset = faces.prior_faces("test")
    chosen, reference = perception_study.split(dataset, 7, 100)
    assert chosen.tolist() == measure(load_task("faces-denoise"), dataset, 7).chosen.tolist()
    assert len(set(reference)) == 100 and not set(chosen) & set(reference)
    assert np.diff(reference).min() >= 1 and reference[0] < 3 and reference[-1] > len(dataset) - 4
    with pytest.raises(
        ValueError, match="n_faces \\+ n_reference = 193: expected at most 192, the faces of prior-faces/test"
    ):
        perception_study.split(dataset, 93, 100)


class Scattered:
    """A stand-in for a sampler: the measurement, enlarged, with as much noise as it is told; equal keys give equal
    samples.
    """

    card = {"name": "stand-in"}  # noqa: RUF012

    def __init__(self, spread):
        self.spread = spread

    def sample(self, key, measurements, n):
        y = perception_study._enlarged(np.asarray(measurements.y), 32)
        return y[:, None] + self.spread * np.asarray(jax.random.normal(key, (len(y), n, *y.shape[1:])))


def test_pictures_of_every_row(monkeypatch):
    """One sample has more error than the mean, all rows are pictures of the same faces, and the measurement is
    enlarged.
    """
    samplers = {"gaussian": Scattered(0.2), "aps": Scattered(0.1)}
    monkeypatch.setattr(faces_study, "closed_and_trained", lambda task: samplers)
    monkeypatch.setattr(
        faces_rivals, "rivals", lambda name, task, methods: {method: Scattered(0.3) for method in methods}
    )
    monkeypatch.setattr(
        perception_study, "tempered", lambda sampler, temperature: Scattered(sampler.spread * temperature)
    )
    found, inside, card = perception_study.pictures("sr2", faces.prior_faces("test"), 5, 16, ("dps",), [0.5], at_once=2)
    assert card == Scattered.card
    assert set(found) == {*perception_study.rows(16, ("dps",)), "aps_t050"} and all(
        x.shape == (5, 32, 32, 3) for x in found.values()
    )
    np.testing.assert_array_equal(found["measured"][:, ::2, ::2], found["measured"][:, 1::2, 1::2])
    spread = {row: np.std(x - found["measured"]) for row, x in found.items()}
    expected = {"gaussian_n1": 0.2, "aps_n1": 0.1, "dps": 0.3, "aps_n128": 0.1 / 4, "aps_t050": 0.05}
    assert all(spread[row] == pytest.approx(value, rel=0.03) for row, value in expected.items())
    np.testing.assert_array_equal(found["truth"], faces.prior_faces("test").values[[0, 48, 96, 143, 191]])
    # the same noise
    np.testing.assert_allclose(
        found["aps_t050"] - found["measured"], 0.5 * (found["aps_n1"] - found["measured"]), atol=1e-6
    )
    assert set(inside) == {"aps_n1", "aps_t050"} and np.all(inside["aps_t050"] < inside["aps_n1"])


def stored(tmp_path):
    truth = RNG.random((24, 32, 32, 3))
    found = {"aps_n1": truth + 0.1, "gaussian_n1": truth + 0.2 * RNG.normal(size=truth.shape), "truth": truth}
    return record.Run("perception_absent", {}, tmp_path), found


def test_what_is_stored_of_pixels(tmp_path):
    run, found = stored(tmp_path)
    perception_study.store_pixels(run, "denoise", found)
    numbers = run.as_dict()["numbers"]
    assert numbers["denoise.aps_n1.psnr"]["value"] == pytest.approx(20)
    assert numbers["denoise.aps_n1.outside"]["value"] == pytest.approx(100 * np.mean(found["truth"] > 0.9))
    assert not any(key.startswith("denoise.truth") for key in numbers)


def test_what_is_stored_of_distances(tmp_path):
    """FID and KID times 1000, and differences to APS whose paired error is smaller than that of the values."""
    run, _ = stored(tmp_path)
    base, reference = RNG.normal(size=(64, 4)), RNG.normal(size=(200, 4))
    features = {"aps_n1": base + 0.5, "dps": base + 0.6, "truth": base}
    perception_study.store_distances(run, "sr2", features, reference)
    numbers = run.as_dict()["numbers"]
    for row, x in features.items():
        assert numbers[f"sr2.{row}.fid"]["value"] == pytest.approx(perception.frechet_distance(x, reference))
        assert numbers[f"sr2.{row}.kid"]["value"] == pytest.approx(
            1000 * perception.kernel_distance(x, reference).value
        )
    for kind in ("fid", "kid"):
        difference = numbers[f"sr2_paired.dps.{kind}"]
        assert difference["value"] == pytest.approx(
            numbers[f"sr2.dps.{kind}"]["value"] - numbers[f"sr2.aps_n1.{kind}"]["value"]
        )
        assert 0 < difference["se"] < 0.5 * numbers[f"sr2.dps.{kind}"]["se"]
        assert numbers[f"sr2_paired.truth.{kind}"]["value"] < 0
    assert not any("paired.aps_n1" in key for key in numbers)


def test_what_is_stored_of_lpips(tmp_path, monkeypatch):
    """Files are compared, that is clipped pictures, each with its truth."""
    shown = []

    def distance(a, b, params):
        shown.append((a, b))
        return np.abs(a - b).mean(axis=(1, 2, 3))

    monkeypatch.setattr(perception, "lpips", distance)
    run, found = stored(tmp_path)
    perception_study.store_lpips(run, "deblur", found, params={})
    numbers = run.as_dict()["numbers"]
    assert all(
        a.min() >= 0 and a.max() <= 1 and np.allclose(255 * a, np.rint(255 * a), atol=1e-4)
        for pair in shown
        for a in pair
    )
    difference = np.abs(
        perception_study.as_files(found["gaussian_n1"]) - perception_study.as_files(found["truth"])
    ).mean()
    assert numbers["deblur.gaussian_n1.lpips"]["value"] == pytest.approx(difference)
    paired = numbers["deblur_paired.gaussian_n1.lpips"]["value"]
    assert paired == pytest.approx(difference - numbers["deblur.aps_n1.lpips"]["value"])


def test_sets_of_pictures(tmp_path, monkeypatch):
    """The reference and the truth are shown to Inception once, every other row once for each task; no measured face is
    in the reference.
    """
    dataset, shown = faces.prior_faces("test"), []

    def features(x, progress):
        shown.append(x)
        return x.reshape(len(x), -1)[:, :5]

    monkeypatch.setattr(perception, "inception_features", features)
    run, _ = stored(tmp_path)
    truth = dataset.values[perception_study.split(dataset, 16, 40)[0]]
    found = {name: {"aps_n1": truth + shift, "truth": truth} for name, shift in (("denoise", 0.1), ("deblur", 0.2))}
    perception_study.store_sets(run, found, dataset, 40)
    assert [len(x) for x in shown] == [40, 16, 16, 16]
    assert np.abs(shown[0][:, None] - truth[None]).max(axis=(2, 3, 4)).min() > 0
    numbers = run.as_dict()["numbers"]
    assert numbers["denoise.truth.kid"] == numbers["deblur.truth.kid"]
    assert numbers["denoise.aps_n1.fid"]["value"] == pytest.approx(
        perception.frechet_distance(features(truth + 0.1, False), features(shown[0], False))
    )


def test_draws_of_the_prior(tmp_path, monkeypatch):
    """All embedded draws are held against the reference of a run; what is found goes into a record of its own, from
    where the page takes it.
    """
    brought, shown = faces.prior_faces("test"), []

    def features(x):
        shown.append(x)
        return x.reshape(len(x), -1)[:, :3]

    monkeypatch.setattr(perception, "inception_features", features)
    monkeypatch.setattr(perception_study.celeba, "load", lambda part: brought)
    perception_study.measure_draws(8, 50, tmp_path)
    assert len(shown[0]) == 256
    np.testing.assert_array_equal(shown[1], brought.values[perception_study.split(brought, 8, 50)[1]])
    kept = record.load(tmp_path / "perception.draws.json")
    monkeypatch.setattr(record, "full_run", lambda name: kept if name == "perception.draws" else None)
    run = record.Run("perception_absent", {}, tmp_path)
    levels = perception_study.store_draws(run)
    numbers = run.as_dict()["numbers"]
    assert levels == {"draws of the prior": numbers["prior.kid"]["value"]}
    assert numbers["prior.kid"]["value"] == pytest.approx(
        1000 * perception.kernel_distance(features(shown[0]), features(shown[1])).value
    )
    assert numbers["prior.fid"]["se"] > 0 and numbers["prior.draws"]["value"] == 256
    monkeypatch.setattr(record, "full_run", lambda name: None)
    assert not perception_study.store_draws(run)


def test_where_aps_stands():
    """A difference is that of the row to APS: a positive one, beyond two standard errors, says that APS lies below."""
    number = lambda value, se: {"value": value, "se": se, "unit": None}  # noqa: E731
    numbers = {
        "denoise_paired.dps.fid": number(3.0, 1.0),
        "denoise_paired.dps.kid": number(-3.0, 1.0),
        "sr2_paired.dps.fid": number(1.9, 1.0),
        "sr2_paired.dps.kid": number(30.0, 1.0),
        "sr2_paired.dps.lpips": number(0.1, 0.01),
    }
    assert perception_study.verdict(numbers, "dps") == (
        f"Single samples of the {perception_study.FLOW} against those of DPS: by FID below for denoising, not resolved "
        "for 2x super-resolution; by KID below for 2x super-resolution, above for denoising."
    )
    assert perception_study.verdict(numbers, "dps", ("lpips",)).endswith("by LPIPS below for 2x super-resolution.")
    assert perception_study.differences(numbers).splitlines()[2:] == [
        "| denoising | DPS | **+3.0 ± 1.0** | **-3.0 ± 1.0** | – |",
        "| 2x super-resolution | DPS | +1.9 ± 1.0 | **+30.0 ± 1.0** | **+0.1000 ± 0.0100** |",
    ]
    for value, said in ((2.1, "below"), (-2.1, "above"), (-1.9, "not resolved")):
        numbers |= {f"{name}_paired.dps.fid": number(value, 1.0) for name in ("denoise", "sr2")}
        expected = f"against those of DPS: by FID {said} for denoising and 2x super-resolution."
        assert perception_study.verdict(numbers, "dps", ("fid",)).endswith(expected)


def test_trade_off_is_drawn():
    """A point for every row that has both numbers, in every panel at its place, and the floor."""
    number = lambda value: {"value": value, "se": 0.5, "unit": None}  # noqa: E731
    numbers = {
        "sr2.aps_n1.psnr": number(27.0),
        "sr2.aps_n1.kid": number(80.0),
        "sr2.dps.psnr": number(26.0),
        "sr2.truth.kid": number(60.0),
    }
    found = perception_study.trade_off({"numbers": numbers, "parameters": {}}, {"aps_n1": "APS, N = 1", "dps": "DPS"})
    panels, floors = found["panels"], found["floors"]
    assert panels == {"2x super-resolution": {"APS, N = 1": (27.0, 0.5, 80.0, 0.5)}} and floors == {
        "2x super-resolution": 60.0
    }
    panels["deblurring"], floors["deblurring"] = (
        {"DPS": (26.0, 0.1, 90.0, 1.0), "APS, N = 1": (27.0, 0.1, 70.0, 1.0)},
        55.0,
    )
    fig = charts.trade_off(panels, floors, {"draws": 40.0}, {"deblurring": [(27.0, 70.0), (28.0, 50.0)]}, "less noise")
    assert [line.get_xydata().tolist() for ax in fig.axes for line in ax.lines if line.get_label() == "less noise"] == [
        [[27.0, 70.0], [28.0, 50.0]]
    ]
    assert all(
        [40.0, 40.0] in [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == ":"] for ax in fig.axes
    )
    first, second = fig.axes
    assert [container.lines[0].get_xydata().tolist() for container in second.containers] == [
        [[26.0, 90.0]],
        [[27.0, 70.0]],
    ]
    # one colour for one method
    assert second.containers[1].lines[0].get_color() == first.containers[0].lines[0].get_color()
    assert {line.get_ydata()[0] for ax in fig.axes for line in ax.lines if line.get_linestyle() == "--"} == {60.0, 55.0}
    assert first.get_title() == "2x super-resolution"
    with pytest.raises(ValueError, match="panels is empty"):
        charts.trade_off({}, {})


def test_path_of_less_noise():
    """From all of the noise down, where both numbers are known."""
    number = lambda value: {"value": value, "se": 0.5, "unit": None}  # noqa: E731
    numbers = {
        f"sr2.{row}.{what}": number(v)
        for row, v in (("aps_n1", 27.0), ("aps_t070", 28.0), ("aps_t050", 29.0))
        for what in ("psnr", "kid")
    }
    del numbers["sr2.aps_t050.kid"]
    assert perception_study.cooling(numbers, [0.5, 0.7])["2x super-resolution"] == [(27.0, 27.0), (28.0, 28.0)]


def test_where_less_noise_is_enough():
    """The largest temperature below the rival is named, with what it costs in coverage; or that there is none."""
    values = {
        "aps_n1": (40, 27.0, 90.0),
        "aps_t070": (25, 28.0, 75.0),
        "aps_t050": (20, 29.0, 55.0),
        "dps": (26, 27.5, 80.0),
    }
    numbers = {
        f"sr2.{row}.{what}": {"value": v, "se": 0.2}
        for row, all_of in values.items()
        for what, v in zip(("kid", "psnr", "inside_90"), all_of)
    }
    assert perception_study.enough_cooling(numbers, [0.5, 0.7]) == (
        "Where is the difference of the KID to one of DPS resolved for a sample of the flow? "
        "For 2x super-resolution with 0.7 of its noise: 1000 KID 25.0 against 26.0, PSNR 28.00 against 27.50 dB, and 75.0 % of the pixels inside its 90 % intervals."
    )
    numbers["sr2.dps.kid"]["value"] = 25.5  # of 0.7 the difference is less than two standard errors
    assert "with 0.5 of its noise" in perception_study.enough_cooling(numbers, [0.5, 0.7])
    numbers["sr2.dps.kid"]["value"] = 15
    assert perception_study.enough_cooling(numbers, [0.5, 0.7]).endswith(
        "For 2x super-resolution at none of these temperatures."
    )
    numbers["sr2.dps.kid"]["value"] = 50
    assert "with all of its noise: 1000 KID 40.0 against 50.0" in perception_study.enough_cooling(numbers, [0.5, 0.7])
    assert not perception_study.enough_cooling({}, [0.5])


def test_faces_of_the_figure():
    found = {name: {"truth": np.full((4, 8, 8, 3), i)} for i, name in enumerate(("denoise", "sr2"))}
    assert perception_study.columns(found, {"truth": "truth"})["truth"][:, 0, 0, 0].tolist() == [0, 1, 0]


def test_rows_that_are_known(tmp_path):
    run = record.Run("perception_absent", {}, tmp_path)
    run.number("sr2.aps_n1.psnr", 27.0)
    assert list(perception_study.known(run, "sr2", perception_study.rows(128))) == ["aps_n1"]
    assert not perception_study.known(run, "denoise", perception_study.rows(128))
