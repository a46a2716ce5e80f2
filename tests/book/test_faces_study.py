"""The chapter on faces: what the record keeps, what Tweedie's formula gives for a known prior, figures of colour
images.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import faces as faces_study
from aps_book.experiments import faces_rivals
from aps_book.figures import curves as curves_figures
from aps_book.figures import images as plotting_images
from aps_core import data
from aps_core.flows.distilled import hats, matched_noise
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.training.network_prior import tweedie
from scripts.data import make_prior_faces

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def gaussian():
    basis = np.linalg.qr(RNG.normal(size=(192, 192)))[0]
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    return GaussianPrior(
        jnp.full(192, 0.5), as32(basis), as32(np.geomspace(0.3, 1e-4, 192)), as32(1e-5), shape=(8, 8, 3)
    )


@pytest.fixture(scope="module")
def untrained(gaussian):
    """A NetworkPrior that is the Gaussian."""
    return init_network_prior(
        jax.random.key(0), gaussian, PatchTransformer(image_patches((8, 8, 3), 4), width=8, depth=1, heads=1)
    )


def scores(error, spread, n, faces=300, dim=48):
    """Scores of samples N(truth + error, spread^2)."""
    truth = RNG.normal(size=(faces, dim))
    centre = truth + error * RNG.normal(size=truth.shape)
    samples = centre[:, None] + spread * RNG.normal(size=(faces, n, dim))
    psnr = lambda x: -10 * np.log10(np.mean((x - truth) ** 2, axis=1))  # noqa: E731
    return {
        "psnr_n1": psnr(samples[:, 0]),
        "psnr_mean": psnr(samples.mean(axis=1)),
        "ssim_n1": np.ones(faces),
        "ssim_mean": np.ones(faces),
        "ssim11_n1": np.ones(faces),
        "ssim11_mean": np.ones(faces),
        "energy": np.full(faces, error),
        "coverage": np.full((faces, 2), 0.5),
        "band_coverage": np.full((faces, 5, 2), 0.9),
    }


def test_what_is_stored(tmp_path):
    run = record.Run("faces_absent", {}, tmp_path)
    found = {"gaussian": scores(1.0, 1.0, 16), "aps": scores(0.5, 0.5, 16), "noise2score": scores(0.5, 0.0, 2)}
    faces_study.store(run, "denoise", found, 16)
    faces_study.store_differences(run, "denoise", found)
    faces_study.store_coverage(run, "denoise", found)
    numbers = run.as_dict()["numbers"]
    assert abs(numbers["denoise.aps.ratio"]["value"] - 2) < 0.05  # as much spread as error
    assert abs(numbers["denoise_paired.aps.psnr_n128"]["value"] - 10 * np.log10(4)) < 0.2
    assert abs(numbers["denoise.aps.gap"]["value"] - 10 * np.log10(2 / (1 + 1 / 16))) < 0.1
    assert numbers["denoise_coverage.band3.aps_90"]["value"] == pytest.approx(90)
    assert numbers["denoise_paired.aps.energy"]["value"] == pytest.approx(-0.5)
    assert "denoise.noise2score.psnr" in numbers and not any(key.startswith("denoise.noise2score.e") for key in numbers)
    labels = faces_study.rows(("gaussian", "noise2score", "dps"), 16)
    assert list(labels) == ["gaussian_n1", "gaussian_n128", "noise2score", "dps"]


def test_the_mean_of_many_from_the_mean_of_few(tmp_path):
    """The extrapolated error of the mean of 128 is that of a mean of 128, on average, whatever the number of samples."""
    truth, centre = np.zeros((4000, 6)), 0.5 * np.ones((4000, 6))
    few = centre[:, None] + RNG.normal(size=(4000, 4, 6))
    error = 10 ** (-faces_rivals.long_run_psnr(few, truth) / 10)
    expected = 0.25 + 1 / 128
    # errors below that of the exact mean are raised to it, which adds a little
    assert abs(error.mean() / expected - 1) < 0.12
    assert 1.5 * expected < 0.25 + 1 / 4  # what the mean of four has
    with pytest.raises(ValueError, match="at least 2"):
        faces_rivals.long_run_psnr(few[:, :1], truth)
    run = record.Run("faces_absent", {}, tmp_path)
    means = {"psnr_mean": np.array([20.0, 22.0, 24.0])}
    faces_study.store_long_run(
        run,
        "sr2",
        {"gaussian": means, "aps": {"psnr_mean": means["psnr_mean"] + 1}},
        {"ddrm": {"psnr_mean": means["psnr_mean"][:2] + 2}},
    )
    numbers = run.as_dict()["numbers"]
    assert numbers["sr2_long.ddrm.aps_above"]["value"] == pytest.approx(-1) and numbers["sr2_long.aps.psnr"][
        "value"
    ] == pytest.approx(22)


def test_settings_of_the_rivals_are_those_of_the_search(gaussian, tmp_path):
    for name in faces_study.TASKS:
        for method in faces_study.ITERATIVE:
            search = faces_rivals.found(name, method)
            finite = [row for row in search["search"] if row["finite"]]
            assert (
                search["best"] == min(finite, key=lambda row: row["energy"])["settings"] and search["signals"] == "val"
            )


def test_samples_do_not_depend_on_how_many_faces_follow(gaussian):
    from aps_core import Identity, Task, make_sampler

    task = Task(Identity((8, 8, 3)), 0.2, gaussian, gaussian.sample(jax.random.key(0), 5), unit_range=False)
    measurements = task.measure(jax.random.key(1), task.signals("test"))
    sampler, key = make_sampler("ddrm", task, n_steps=5), jax.random.key(2)
    all_five, _ = faces_rivals.sample(sampler, key, measurements, 2, at_once=2)
    four, seconds = faces_rivals.sample(sampler, key, jax.tree.map(lambda a: a[:4], measurements), 2, at_once=2)
    assert all_five.shape == (5, 2, 8, 8, 3) and seconds > 0
    np.testing.assert_allclose(all_five[:4], four, atol=1e-6)


def test_tweedie_of_a_gaussian_is_the_wiener_filter(gaussian, untrained):
    x = gaussian.sample(jax.random.key(1), 5)
    y = x + 0.1 * jax.random.normal(jax.random.key(2), x.shape)
    variance = np.asarray(gaussian.excess + gaussian.rest)
    basis = np.asarray(gaussian.basis)
    expected = 0.5 + ((np.asarray(y).reshape(5, -1) - 0.5) @ basis * (variance / (variance + 0.01))) @ basis.T
    np.testing.assert_allclose(jax.jit(tweedie)(untrained, y, 0.1).reshape(5, -1), expected, atol=2e-5)


def test_bits_of_a_gaussian(gaussian, untrained, tmp_path):
    """Untrained, the learned prior is the Gaussian: its bound is the Gaussian's density."""
    run = record.Run("faces_absent", {}, tmp_path)
    x = np.asarray(gaussian.sample(jax.random.key(1), 4))
    faces_study.store_bits(run, untrained, x, n_times=4)
    numbers = run.as_dict()["numbers"]
    assert numbers["bits.elbo"]["value"] == pytest.approx(numbers["bits.gaussian"]["value"], abs=1e-4)
    faces_study.store_tweedie(run, untrained, x, levels=(0.1,))
    assert run.as_dict()["numbers"]["tweedie.s100.gain"]["value"] == pytest.approx(0, abs=1e-4)


def test_matched_noise_and_hats(gaussian):
    variance = np.asarray(gaussian.excess + gaussian.rest, np.float64)
    left = np.mean(variance * 0.2**2 / (variance + 0.2**2))
    assert matched_noise(gaussian, left) == pytest.approx(0.2, rel=1e-6)
    functions = np.asarray(hats(100, 7))
    np.testing.assert_allclose(functions.sum(axis=1), 1, atol=1e-6)
    assert functions.min() >= 0 and set(functions.argmax(axis=1)) == set(range(7))


def test_nearest_training_image():
    train = RNG.integers(0, 256, (50, 48), dtype=np.uint8)
    images = train[[3, 40]] / 255.0 + np.array([[0.0], [0.02]])
    np.testing.assert_allclose(make_prior_faces.nearest(images, train, chunk=16), [0.0, 0.02], atol=2e-4)


def test_prior_faces_are_there_without_celeba(monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    test, val = data.load("faces", "test"), data.load("faces", "val")
    assert (test.name, test.values.shape, val.values.shape) == ("prior-faces", (192, 32, 32, 3), (64, 32, 32, 3))
    assert (
        0 <= test.values.min() < 0.05 and 0.95 < test.values.max() <= 1 and len(np.unique(test.index["image"])) == 192
    )
    with pytest.raises(FileNotFoundError, match="not in the package.*APS_DATA_DIR"):
        data.load("faces", "train")
    assert faces_study.other_images("lfw") is None


def test_iterative_samplers_are_scored_on_the_first_faces(gaussian):
    from aps_book.experiments.measured import Case
    from aps_core import Identity, Task, make_sampler

    task = Task(Identity((8, 8, 3)), 0.2, gaussian, gaussian.sample(jax.random.key(0), 6), unit_range=False)
    x0 = task.signals("test")
    case = Case(SimpleNamespace(values=x0), np.arange(6), np.asarray(x0), task.measure(jax.random.key(1), x0))
    found = faces_study.Experiment("denoise", task, {}, case, {})
    rivals = {"dps": make_sampler("dps", task, n_steps=20), "pigdm": make_sampler("pigdm", task, n_steps=20)}
    scored, seconds = faces_study.iterate(found, 3, 2, 4, rivals)
    assert scored["dps"]["psnr_n1"].shape == (3,) and scored["dps"]["psnr_mean"].shape == (2,) and seconds["dps"] > 0
    assert scored["pigdm"]["psnr_n1"].shape == (2,)
    assert np.all(scored["pigdm"]["psnr_mean"] > scored["pigdm"]["psnr_n1"])


def test_sweep_of_dps(gaussian, tmp_path):
    """A step size far too large diverges: it is counted, and left out of the curve."""
    from aps_book.experiments import dps_ablation
    from aps_book.experiments.measured import Case
    from aps_core import Identity, Task

    task = Task(Identity((8, 8, 3)), 0.2, gaussian, gaussian.sample(jax.random.key(0), 3), unit_range=False)
    x0 = task.signals("test")
    case = Case(SimpleNamespace(values=x0), np.arange(3), np.asarray(x0), task.measure(jax.random.key(1), x0))
    settings = {"good": {"n_steps": 30, "step_size": 1.0}, "wild": {"n_steps": 30, "step_size": 1e38}}
    found = dps_ablation.sweep(task, case, settings)
    assert np.isfinite(found["good"]["psnr"]).all() and not np.isfinite(found["wild"]["psnr"]).any()
    run = record.Run("dps_absent", {}, tmp_path)
    dps_ablation.store(run, "size", found)
    numbers = run.as_dict()["numbers"]
    assert (
        numbers["size.wild.finite"]["value"] == 0
        and "size.wild.psnr" not in numbers
        and numbers["size.good.finite"]["value"] == 100
    )
    x, y, _ = dps_ablation.points(run.as_dict(), "size", {"good": 1.0, "wild": 1e38})
    assert x == [1.0] and y[0] == pytest.approx(found["good"]["psnr"].mean())
    assert dps_ablation.points(None, "size", {"good": 1.0}) == ([], [], [])


def test_the_step_size_is_searched_from_the_one_that_was_best_before(monkeypatch):
    """The same as all of the grid gives where there is one minimum, in fewer tries; one that diverged is never chosen."""
    from aps_book.experiments import dps_ablation

    tried = []

    def tune(name, task, grid, **settings):
        (n,) = grid["n_steps"]
        rows = [
            {"settings": {"n_steps": n, "step_size": size}, "finite": size < 8, "energy": abs(np.log(size * n / 100))}
            for size in grid["step_size"]
        ]
        tried.extend(row["settings"]["step_size"] for row in rows)
        return {"search": rows}

    monkeypatch.setattr(dps_ablation, "tune", tune)
    monkeypatch.setattr(dps_ablation, "replace", lambda task, signals: task)
    found = dps_ablation.tuned_sizes(None, np.zeros((2, 1)), [1000, 10, 20, 50, 100, 1500])
    best = {n: min(dps_ablation.GRID[:-1], key=lambda size: abs(np.log(size * n / 100))) for n in found}
    assert found == best and list(found) == [1000, 10, 20, 50, 100, 1500]
    assert len(tried) < 6 * len(dps_ablation.GRID)


def test_the_ablation_says_which_step_sizes_were_tuned():
    from aps_book.experiments import dps_ablation

    found = {"numbers": {f"tuned_size.n{n}": {"value": size} for n, size in ((10, 8.0), (200, 1.0))}}
    said = dps_ablation.sizes_said(found, {"n10": 10, "n50": 50, "n200": 200})
    assert said.endswith(": 8 with 10, 1 with 200. With 10 it lies at the edge of what was tried.")
    assert dps_ablation.sizes_said({"numbers": {}}, {"n10": 10}).endswith("not run.")


def test_the_ablation_says_how_its_curves_go():
    """What the record of the full run has, in words that follow the numbers."""
    from aps_book.experiments import dps_ablation

    assert dps_ablation.shape([10, 100, 1000], [18.0, 27.0, 22.0], [0.5, 0.5, 0.1], "evaluations") == (
        "18.0 dB at 10 evaluations, rising to 27.0 dB at 100, falling to 22.0 dB at 1000"
    )
    assert dps_ablation.shape([1, 2], [18.0, 18.1], [0.5, 0.5], "steps") == ("18.0 dB at 1 steps, flat to 18.1 dB at 2")
    full = record.full_run("dps_ablation")
    costs = dps_ablation.evaluations({"parameters": {"nfe": [10, 30]}}, None, full)
    assert set(full["parameters"]["nfe"]) | {10, 30} == set(costs.values())
    xs, values, errors = dps_ablation.points(full, "nfe", costs)
    assert xs == full["parameters"]["nfe"]  # every number of evaluations of the full run is shown
    said = dps_ablation.shape(xs, values, errors, "evaluations")
    assert f"rising to {max(values):.1f} dB" in said and f"falling to {values[-1]:.1f} dB at {xs[-1]}" in said


def test_figures_of_faces():
    faces = RNG.random((3, 8, 8, 3))
    figure = plotting_images.face_columns(
        {"truth": faces, "measured": RNG.random((3, 4, 4, 3))}, {"spread": RNG.random((3, 8, 8))}, "s.d."
    )
    pictures = [ax for ax in figure.axes if ax.images]
    assert len(pictures) == 9
    assert {ax.get_title() for ax in figure.axes} >= {"truth", "measured", "spread"}
    with pytest.raises(ValueError, match="same number of images"):
        plotting_images.face_columns({"a": faces, "b": faces[:2]})
    sheet = plotting_images.face_sheet(faces, columns=2)
    assert sheet.axes[0].images[0].get_array().shape[:2] == (18, 18)
    curves = curves_figures.cost_curves({"DPS": ([10, 100], [20.0, 25.0], [0.1, 0.1])}, {"APS": 26.0})
    assert curves.axes[0].get_xscale() == "log" and len(curves.legends[0].get_texts()) == 2
