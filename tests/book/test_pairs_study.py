"""Deblurring pairs: score priors fitted side by side against closed forms, and what the chapter's study keeps."""

from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import everything

from aps_book import record
from aps_book.experiments import pairs, single_fit_in_modes
from aps_book.experiments.measured import Case
from aps_core.metrics import quality
from aps_core.operators import GaussianBlur, Identity
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import NetworkPrior, init_network_prior
from aps_core.tasks.problem import Task
from aps_core.training.network_prior import fit_image_gaussian
from aps_core.training.optimizer import Optimizer

SHAPE, FACTOR = (4, 4, 3), 1.7
LARGER = (12, 12, 3)  # the larger window of SSIM is 11 x 11
RNG = np.random.default_rng(0)


@flax.struct.dataclass
class ScaledGaussian(NetworkPrior):
    """A "network" that makes the prior a Gaussian with FACTOR times the variance and another mean: its posterior is
    known in closed form.
    """

    def network_output(self, ut, t, eps=None):
        alpha, beta, g = self.sde.alpha(t), self.sde.beta(t), self.gaussian
        c = g.basis.T @ (ut - alpha * (2 * g.mean - 1)) / alpha
        s, v = beta / alpha, 4 * (g.excess + g.rest)
        moved = c - 0.5 * jnp.sqrt(v)
        residual = s * (moved / (FACTOR * v + s**2) - c / (v + s**2))
        return g.basis @ (residual * (v + s**2) / (jnp.sqrt(v) * s))


@pytest.fixture(scope="module")
def prior():
    """A NetworkPrior of small images whose network says nothing yet."""
    return init_network_prior(
        jax.random.key(0), gaussian_of(SHAPE), PatchTransformer(image_patches(SHAPE, 2), width=8, depth=1, heads=2)
    )


def gaussian_of(shape):
    """The Gaussian of 8-bit images: smooth random fields."""
    coarse = RNG.normal(size=(400, shape[0] // 2, shape[1] // 2, 3)).repeat(2, axis=1).repeat(2, axis=2)
    pixels = np.clip(128 + 40 * coarse + 12 * RNG.normal(size=(400, *shape)), 0, 255).astype(np.uint8)
    return fit_image_gaussian(pixels, int(np.prod(shape)), 1 / 255, mirror=True)


def flow_of(prior, operator, sigma_y):
    """A small FittedFlow of a task."""
    return single_fit_in_modes.FittedFlow(
        posterior_modes(prior.gaussian, operator, sigma_y), SHAPE, prior.network.tokens, steps=2, width=8
    )


def stirred(params, scale, seed=1):
    """Parameters plus noise."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: a + jnp.asarray(scale * rng.normal(size=a.shape), a.dtype), params)


@pytest.mark.long
def test_fitted_flow(prior):
    task = Task(GaussianBlur(SHAPE, 1.0), 0.05, prior, prior.gaussian.sample(jax.random.key(2), 4), unit_range=False)
    flow = flow_of(prior, task.operator, task.sigma_y)
    measurement = task.measure(jax.random.key(4), task.signals("test")[0])
    z = jax.random.normal(jax.random.key(6), (1, flow.dim))
    start = flow.init(jax.random.key(3))
    x, log_det = flow.forward(start, z[0], flow.context(measurement))
    np.testing.assert_allclose(
        x, flow.modes.mean(measurement.y.reshape(-1)) + flow.modes.basis @ (flow.modes.std * z[0]), atol=1e-5
    )
    params = stirred(start, 0.05)
    _, log_det, back, inverse_log_det, jacobian = jax.jit(everything)(flow, params, measurement, z)
    np.testing.assert_allclose(back, z, atol=2e-3)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-2)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=2e-2)


@pytest.mark.slow
def test_objective_is_the_divergence_to_the_closed_form_where_the_prior_is_gaussian(prior):
    """At the start 0 for every draw; with another mean and spectrum, KL between two Gaussians."""
    flow = flow_of(prior, Identity(SHAPE), 0.1)
    contexts = jnp.zeros((2, flow.dim)) + prior.gaussian.mean
    params = jax.vmap(flow.init)(jax.random.split(jax.random.key(0), 2))
    value = jax.jit(single_fit_in_modes.objective, static_argnames="n_samples")
    assert abs(float(value(flow, params, prior, jax.random.key(1), contexts, n_samples=64)[0])) < 1e-2
    shift, spectrum = 0.05 * RNG.normal(size=(2, flow.dim)), 0.2 * RNG.normal(size=(2, flow.dim))
    moved = {**params, "shift": jnp.asarray(shift, jnp.float32), "spectrum": jnp.asarray(spectrum, jnp.float32)}
    m = flow.modes
    delta = np.einsum("ij,bj->bi", np.asarray(m.basis.T @ m.pull), single_fit_in_modes.GAIN * shift) / np.asarray(m.std)
    exact = np.mean(0.5 * np.sum(np.expm1(2 * spectrum) + delta**2, axis=1) - spectrum.sum(axis=1))
    found = [float(value(flow, moved, prior, jax.random.key(k), contexts, n_samples=64)[0]) for k in range(8)]
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / np.sqrt(8) + 1e-3) and exact > 1


@pytest.mark.long
def test_fit_finds_a_posterior_that_is_known(prior):
    """Denoising under 1.7 times the Gaussian's variance and another mean: posterior means and variances mode by mode."""
    scaled = ScaledGaussian(prior.gaussian, {}, prior.network)
    task = Task(Identity(SHAPE), 0.1, scaled, prior.gaussian.sample(jax.random.key(2), 3), unit_range=False)
    measurements = task.measure(jax.random.key(4), task.signals("test"))
    flow = flow_of(scaled, task.operator, task.sigma_y)
    optimizer = Optimizer(steps=150, learning_rate=1e-2, warmup=10, ema=0.9)
    params, contexts, _ = single_fit_in_modes.fit(flow, scaled, measurements, optimizer, 8, progress=False)
    basis, variance = np.asarray(flow.modes.basis), np.asarray(prior.gaussian.excess + prior.gaussian.rest)
    centre = basis.T @ np.asarray(prior.gaussian.mean) + 0.25 * np.sqrt(variance)  # 0.5 in the scale of u = 2 x - 1
    gain = FACTOR * variance / (FACTOR * variance + 0.1**2)
    y = np.asarray(measurements.y).reshape(3, -1) @ basis
    exact = centre + gain * (y - centre)
    shift = np.stack([np.asarray(flow.shift(jax.tree.map(lambda a, i=i: a[i], params))) for i in range(3)])
    wrong = (np.asarray(contexts) @ basis - exact) / (0.1 * np.sqrt(gain))
    right = ((np.asarray(contexts) + shift) @ basis - exact) / (0.1 * np.sqrt(gain))
    # 1 where the shift is the right one but for the noise of the steps
    learned = np.sum((wrong - right) * wrong) / np.sum(wrong**2)
    assert abs(learned - 1) < 0.2 and np.mean(right**2) < 0.6 * np.mean(wrong**2)
    z = jax.random.normal(jax.random.key(5), (600, flow.dim))
    noise = [
        jax.vmap(lambda zi, p=jax.tree.map(lambda a, i=i: a[i], params): flow.noise(p, zi)[0])(z) for i in range(3)
    ]
    found = np.mean([np.var(np.asarray(e) @ basis, axis=0) for e in noise], axis=0) / (0.1**2 * gain)
    start = np.asarray(flow.modes.std) ** 2 / (0.1**2 * gain)
    assert abs(np.mean(found) - 1) < 0.6 * abs(np.mean(start) - 1), (np.mean(found), np.mean(start))
    with pytest.raises(ValueError, match="residual"):
        single_fit_in_modes.fit(flow, prior.gaussian, measurements, optimizer)


@pytest.fixture(scope="module")
def small():
    """Samples of a pair by row: exact draws of a posterior around random signals, and one row with half the spread."""
    gaussian, rng = gaussian_of(LARGER), np.random.default_rng(3)
    task = Task(Identity(LARGER), 0.1, gaussian, gaussian.sample(jax.random.key(2), 4), unit_range=False)
    mean = np.full((4, *LARGER), 0.5)
    x0 = mean + 0.1 * rng.normal(size=mean.shape)
    case = Case(
        SimpleNamespace(values=x0), np.arange(4), x0, task.measure(jax.random.key(1), jnp.asarray(x0, jnp.float32))
    )
    draw = lambda spread: mean[:, None] + spread * rng.normal(size=(4, 16, *LARGER))  # noqa: E731
    return task, case, {row: draw(0.05 if row == "aps" else 0.1) for row in pairs.LABELS}


def test_store(small, tmp_path):
    task, case, samples = small
    run = record.Run("pairs_absent", {}, tmp_path)
    psnr = pairs.store(run, "celeba_with_celeba_prior", samples, case, task)
    numbers = run.as_dict()["numbers"]
    key = "celeba_with_celeba_prior"
    dps = np.mean((samples["dps"] - case.x0[:, None]) ** 2)
    assert numbers[f"{key}.dps.mse"]["value"] == pytest.approx(dps) and dps == pytest.approx(0.02, rel=0.15)
    flat = samples["dps"].reshape(-1, *LARGER), np.repeat(case.x0, 16, axis=0)
    for name, window in (("ssim", "uniform"), ("ssim11", "gaussian")):
        assert numbers[f"{key}.dps.{name}"]["value"] == pytest.approx(quality.ssim(*flat, window).mean())
        assert numbers[f"{key}.dps.{name}"]["n"] == 4
    assert numbers[f"{key}.dps.ratio"]["value"] == pytest.approx(2, abs=0.25)
    assert numbers[f"{key}.aps.ratio"]["value"] == pytest.approx(1.25, abs=0.1)
    assert numbers[f"{key}.dps.mean"]["value"] == pytest.approx(20 - 10 * np.log10(1 + 1 / 128), abs=0.6)
    y = np.asarray(case.measurements.y)[:, None]
    assert numbers[f"{key}.aps.misfit"]["value"] == pytest.approx(np.mean((y - samples["aps"]) ** 2) / 0.01, rel=1e-3)
    assert pairs.best_rows(numbers, key)[0] == "aps" == pairs.best_rows(numbers, key, "mse")[0]
    first, *_, last = (one.split() for one in pairs.verdict(numbers).removesuffix(".").split("; "))
    assert pairs.LABELS["aps"] in " ".join(first) and float(first[-4]) > float(last[-4]) and first[-3] == "±"
    best = pairs.store_differences(run, key, psnr)
    assert best in pairs.GRIDS
    change = numbers[f"{key}_paired.aps.psnr"]["value"]
    assert change == pytest.approx(np.mean(psnr["aps"] - psnr[best])) and change > 1.5


def test_pictures_have_a_row_for_each_pair(small):
    _, case, samples = small
    measured = {name: {"celeba": case, "cifar10": case} for name in pairs.WEIGHTS}
    columns = pairs.pictures(dict.fromkeys(pairs.PAIRS, samples), measured)
    assert len(pairs.pictures({"cifar10_with_celeba_prior": samples}, measured)["truth"]) == 1
    assert list(columns)[:2] == ["truth", "measured"] and len(columns) == 2 + len(pairs.LABELS)
    assert all(column.shape == (4, *LARGER) for column in columns.values())


def test_search_table_and_images(tmp_path, monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path))
    rows = [
        {"settings": {"n_steps": 4}, "psnr": p, "finite": f, "nfe": 4}
        for p, f in ((20.0, True), (22.5, True), (None, False))
    ]
    found = {
        f"{pair}.{method}": {"best": {"n_steps": 4}, "search": rows} for pair in pairs.PAIRS for method in pairs.GRIDS
    }
    table = pairs.search_table(found)
    assert pairs.evaluations(found) == "4 for Score-ALD, 4 for DPS, 4 for SDE+Proj"
    longer = {**rows[0], "settings": {"n_steps": 9}, "nfe": 9}
    found["cifar10_by_code.dps"] = {"best": longer["settings"], "search": [longer]}
    assert "4 to 9 for DPS" in pairs.evaluations(found)
    assert table.count("20.00 to 22.50") == 18 and "n steps = 4" in table
    assert pairs.images("celeba", "test", real=False).name == "prior-faces"
    assert pairs.images("cifar10", "test", real=False).name == "prior-cifar10"
    with pytest.raises(FileNotFoundError, match="fetch cifar10"):
        pairs.images("cifar10", "test", real=True)
    with pytest.raises(FileNotFoundError, match="APS_DATA_DIR"):
        pairs.images("celeba", "test", real=True)


def test_misfit_of_the_truth_is_one(prior):
    task = Task(GaussianBlur(SHAPE, 1.0), 0.05, prior, prior.gaussian.sample(jax.random.key(2), 6), unit_range=False)
    x0 = jnp.asarray(task.signals("test"))
    measurements = task.measure(jax.random.key(1), x0)
    assert pairs.misfit(task, np.asarray(x0)[:, None], measurements).mean() == pytest.approx(1, abs=0.2)


def test_the_blur_of_the_authors_program(prior):
    """Against its definition: the lowest frequencies of the plain DFT, 0.1 in complex noise, half of it in each part."""
    task = pairs.task_of("code")
    x = np.asarray(task.signals("test")[0], np.float64)
    lowest = np.fft.fft2(x, axes=(0, 1))[:8, :8].reshape(-1, 3)
    y = np.asarray(task.operator(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(y, np.stack([lowest.real, lowest.imag]) / 32, atol=2e-5)
    assert 32 * task.sigma_y == pytest.approx(0.1 / np.sqrt(2))


def test_the_rows_of_the_codes_blur_name_the_flow_for_any_operator(tmp_path):
    run = record.Run("pairs_absent", {}, tmp_path)
    for pair in ("celeba_by_code", "celeba_with_celeba_prior"):
        run.number(f"{pair}.aps.psnr", 1.0)
    labels = [pairs.rows(run, pair)["aps"] for pair in ("celeba_by_code", "celeba_with_celeba_prior")]
    assert labels[0] != labels[1] == pairs.LABELS["aps"]
    assert set(pairs.PAPER) == set(pairs.PAIRS) == set(pairs.TITLES)
