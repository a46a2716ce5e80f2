"""Faces: formats that users bring, mirrored modes, draws of the prior, and the flow that starts from the score
network's estimate.
"""

import zipfile

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import everything
from PIL import Image

from aps_book.experiments.closed_form_modes import ClosedFormModes
from aps_core import AmortizedPosterior, data
from aps_core.data import celeba
from aps_core.flows import build_flow
from aps_core.operators import AveragePool, GaussianBlur, Identity, Measurement
from aps_core.priors import fast_sampling, linear_gaussian
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.linear_gaussian import linear_posterior_factors, posterior_modes
from aps_core.priors.mirror import halve, unhalve
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import NetworkPrior, init_network_prior
from aps_core.tasks.problem import Task
from aps_core.training.network_prior import fit_image_gaussian, tweedie
from aps_core.training.posterior import train_posterior

SHAPE = (8, 8, 3)


@pytest.fixture(scope="module")
def images():
    """8-bit images (400, 8, 8, 3): smooth random fields."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(400, 4, 4, 3)).repeat(2, axis=1).repeat(2, axis=2)
    return np.clip(128 + 40 * coarse + 12 * rng.normal(size=(400, *SHAPE)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def prior(images, randomise):
    """A NetworkPrior whose network was not trained but has parameters of order one, so that it says something."""
    gaussian = fit_image_gaussian(images, 192, 1 / 255, mirror=True)
    network = PatchTransformer(image_patches(SHAPE, 4), width=16, depth=1, heads=2)
    start = init_network_prior(jax.random.key(0), gaussian, network)
    return start.replace(params=randomise(start.params, 0.1))


def write_atlas(folder, pixels):
    """Tiles as an atlas with its index: the first half is "train", the rest "test"."""
    rows = -(-len(pixels) // 100)
    tiles = np.zeros((rows * 100, 32, 32, 3), np.uint8)
    tiles[: len(pixels)] = pixels
    picture = tiles.reshape(rows, 100, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(rows * 32, 3200, 3)
    Image.fromarray(picture).save(folder / "train_0.webp", lossless=True)
    lines = [f"train_0.webp,{i},{1000 + i},7,{'train' if i < len(pixels) // 2 else 'test'}" for i in range(len(pixels))]
    (folder / "index.csv").write_text("\n".join(["atlas,tile,image_id,identity,split", *lines]))


def test_celeba_from_atlases(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (104, 32, 32, 3), dtype=np.uint8)
    folder = tmp_path / "celeba32"
    folder.mkdir()
    write_atlas(folder, pixels)
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    found = data.load("celeba", "test")
    np.testing.assert_array_equal(np.round(255 * found.values).astype(np.uint8), pixels[52:])
    assert found.index["image"][0] == 1052 and found.name == "celeba"
    np.testing.assert_array_equal(data.pixels("celeba", "train", 3)[0], pixels[:3])
    assert data.load("faces", "test").name == "celeba"


@pytest.mark.parametrize("zipped", [False, True])
def test_celeba_as_published(tmp_path, monkeypatch, zipped):
    """Central 140 x 140 pixels of 178 x 218; a constant square in a frame of another colour outside of the crop stays
    constant.
    """
    picture = np.zeros((218, 178, 3), np.uint8)
    picture[39:179, 19:159] = (10, 200, 90)
    images = tmp_path / "img_align_celeba"
    images.mkdir()
    for number in (1, 2):
        Image.fromarray(picture).save(images / f"{number:06d}.jpg", quality=100, subsampling=0)
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n")
    if zipped:
        with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
            for path in images.iterdir():
                archive.write(path, f"img_align_celeba/{path.name}")
                path.unlink()
        images.rmdir()
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    found = data.load("celeba", "test")
    assert found.index["image"].tolist() == [2] and found.values.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(found.values[0, 2:-2, 2:-2] * 255, np.broadcast_to([10, 200, 90], (28, 28, 3)), atol=4)


def test_celeba_missing_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="looked for celeba32/index.csv.*APS_DATA_DIR"):
        data.load("celeba", "test")
    with pytest.raises(ValueError, match="no split 'dev'"):
        data.load("celeba", "dev")
    with pytest.raises(ValueError, match="has no 8-bit pixels"):
        data.pixels("ncep-temperature", "train")
    (tmp_path / "bad.webp").write_bytes(b"RIFF0000WEBP")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        celeba.read_atlas(tmp_path / "bad.webp")


def test_image_gaussian_is_that_of_images_and_mirror_images(images):
    both = np.concatenate([images, images[:, :, ::-1]]) / 255.0
    ours = fit_image_gaussian(images, 192, 1 / 255, mirror=True)
    assert (
        np.abs(ours.covariance() - np.cov(both.reshape(800, -1).T, bias=True) - np.eye(192) / 255**2 / 12).max() < 3e-4
    )
    np.testing.assert_allclose(ours.mean, both.mean(axis=0).ravel(), atol=1e-6)
    plain, reference = (
        fit_image_gaussian(images, 100, 1 / 255),
        fit_gaussian(images / 255.0, 100, diagonal=1 / 255**2 / 12),
    )
    np.testing.assert_allclose(plain.excess, reference.excess, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(plain.rest, reference.rest, rtol=1e-4)


def test_half_modes_say_all(prior):
    basis = np.asarray(prior.gaussian.basis)
    half, parity = halve(basis, SHAPE)
    assert half.shape == (96, 192) and set(parity) == {1.0, -1.0}
    np.testing.assert_allclose(unhalve(half, parity, SHAPE), basis, atol=1e-5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(192), atol=1e-5)
    with pytest.raises(ValueError, match="neither even nor odd"):
        halve(np.eye(192)[:, :3], SHAPE)


FACTOR = 1.7


@flax.struct.dataclass
class ScaledGaussian(NetworkPrior):
    """A "network" that makes the prior a Gaussian with FACTOR times the variance: its residual is known in closed form."""

    def network_output(self, ut, t, eps=None):
        alpha, beta, g = self.sde.alpha(t), self.sde.beta(t), self.gaussian
        c = g.basis.T @ (ut - alpha * (2 * g.mean - 1)) / alpha
        s, v = beta / alpha, 4 * (g.excess + g.rest)
        residual = s * c * (1 / (FACTOR * v + s**2) - 1 / (v + s**2))
        return g.basis @ (residual * (v + s**2) / (jnp.sqrt(v) * s))


def test_draws_follow_the_ode_to_second_order(prior):
    """Prior of 1.7 times the Gaussian's variance; at t = 1 the start has the Gaussian's marginal, which leaves a ratio
    below 1.7.
    """
    scaled = ScaledGaussian(prior.gaussian, {}, prior.network)
    fine = fast_sampling.draw(scaled, jax.random.key(0), 2, 512)
    errors = [
        float(jnp.sqrt(jnp.mean((fast_sampling.draw(scaled, jax.random.key(0), 2, n) - fine) ** 2)))
        for n in (8, 16, 32)
    ]
    assert errors[1] < 0.35 * errors[0] and errors[2] < 0.35 * errors[1]
    assert errors[1] < 0.02
    ratio = np.var(
        np.asarray(fast_sampling.draw(scaled, jax.random.key(1), 600, 32)).reshape(600, -1) @ prior.gaussian.basis,
        axis=0,
    )
    ratio = ratio / np.asarray(prior.gaussian.excess + prior.gaussian.rest)
    assert abs(ratio[20:].mean() / 1.7 - 1) < 0.02


def test_churned_draws_have_the_law_of_the_ode(prior):
    """The same prior of 1.7 times the variance; with noise on the way the start at t = 1 is forgotten, all modes have
    the ratio 1.7.
    """
    scaled = ScaledGaussian(prior.gaussian, {}, prior.network)
    x = (
        np.asarray(fast_sampling.draw(scaled, jax.random.key(1), 600, 64, churn=1.0)).reshape(600, -1)
        - prior.gaussian.mean
    )
    ratio = np.var(x @ prior.gaussian.basis, axis=0) / np.asarray(prior.gaussian.excess + prior.gaussian.rest)
    assert abs(ratio.mean() / 1.7 - 1) < 0.02 and np.all(np.abs(ratio / 1.7 - 1) < 0.3)
    for churn, n_steps, message in ((-1.0, 8, "churn must"), (1.0, 7, "even")):
        with pytest.raises(ValueError, match=message):
            fast_sampling.draw(scaled, jax.random.key(1), 2, n_steps, churn=churn)


@pytest.mark.slow
def test_churned_draws_without_a_network_are_those_of_the_gaussian(prior):
    zero = prior.replace(params=jax.tree.map(jnp.zeros_like, prior.params))
    x = (
        np.asarray(fast_sampling.draw(zero, jax.random.key(0), 2000, 2, churn=3.0)).reshape(2000, -1)
        - prior.gaussian.mean
    )
    ratio = np.var(x @ prior.gaussian.basis, axis=0) / np.asarray(prior.gaussian.excess + prior.gaussian.rest)
    assert abs(ratio.mean() - 1) < 0.01 and np.all(np.abs(ratio - 1) < 0.2)


def test_draws_without_a_network_are_those_of_the_gaussian(prior):
    zero = prior.replace(params=jax.tree.map(jnp.zeros_like, prior.params))
    x = np.asarray(fast_sampling.draw(zero, jax.random.key(0), 2000, 1)).reshape(2000, -1) - prior.gaussian.mean
    ratio = np.var(x @ prior.gaussian.basis, axis=0) / np.asarray(prior.gaussian.excess + prior.gaussian.rest)
    assert abs(ratio.mean() - 1) < 0.01 and np.all(np.abs(ratio - 1) < 0.2)
    with pytest.raises(ValueError, match="residual"):
        fast_sampling.draw(prior.gaussian, jax.random.key(0), 2)


def test_pool_is_kept_and_belongs_to_the_prior(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_DRAWS_DIR", str(tmp_path))
    first = fast_sampling.pool(prior, 4, n_steps=2)
    np.testing.assert_array_equal(first, fast_sampling.draw(prior, jax.random.key(0), 4, 2))
    assert len(list(tmp_path.iterdir())) == 1
    fast_sampling.pool(prior.replace(t_residual=2e-4), 4, n_steps=3)
    assert len(list(tmp_path.iterdir())) == 2


OPERATORS = [Identity(SHAPE), AveragePool(SHAPE, 2), GaussianBlur(SHAPE, 1.0)]


def test_modes_of_denoising_are_made_once_for_flows_of_one_task(prior, monkeypatch):
    """The same prior loaded anew is the same one; another noise and another prior are not."""
    asked, made = [], linear_gaussian._denoising
    monkeypatch.setattr(linear_gaussian, "_denoising", lambda *args: asked.append(args) or made(*args))
    gaussian = prior.gaussian
    first = posterior_modes(gaussian, Identity(SHAPE), 0.123)
    again = posterior_modes(jax.tree.map(jnp.array, gaussian), Identity(SHAPE), 0.123)
    assert np.array_equal(again.pull, first.pull) and len(asked) == 1
    assert not np.array_equal(posterior_modes(gaussian, Identity(SHAPE), 0.124).pull, first.pull)
    moved = posterior_modes(gaussian.replace(mean=gaussian.mean + 0.1), Identity(SHAPE), 0.123)
    np.testing.assert_allclose(moved.prior_mean, first.prior_mean + 0.1, atol=1e-6)
    assert len(asked) == 3


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.kind)
def test_posterior_modes_are_the_closed_form(prior, operator):
    modes, factors = (
        posterior_modes(prior.gaussian, operator, 0.05),
        linear_posterior_factors(prior.gaussian, operator, 0.05),
    )
    covariance = factors.factor @ factors.factor.T
    np.testing.assert_allclose((modes.basis * modes.std**2) @ modes.basis.T, covariance, atol=1e-6)
    np.testing.assert_allclose(modes.marginal_std, factors.marginal_std, rtol=1e-4)
    y = operator(prior.gaussian.sample(jax.random.key(0), 1)[0]).reshape(-1)
    np.testing.assert_allclose(modes.mean(y), factors.posterior(y).mean, atol=1e-5)
    flow = ClosedFormModes(modes, SHAPE)
    z = jax.random.normal(jax.random.key(1), (192,))
    x, log_det = flow.forward({}, z, flow.context(Measurement(y.reshape(operator.y_shape), None)))
    np.testing.assert_allclose(log_det, factors.log_det, rtol=1e-4)
    np.testing.assert_allclose(flow.inverse({}, x, modes.mean(y))[0], z, atol=2e-3)
    values, vectors = np.linalg.eigh(np.asarray(prior.gaussian.covariance(), np.float64))
    np.testing.assert_allclose(modes.pull, covariance @ (vectors / np.sqrt(values)) @ vectors.T, atol=2e-5)


@pytest.mark.parametrize(
    "operator", [OPERATORS[0], pytest.param(OPERATORS[1], marks=pytest.mark.slow)], ids=lambda o: o.kind
)
def test_distilled_flow(prior, randomise, operator):
    task = Task(operator, 0.1, prior, prior.gaussian.sample(jax.random.key(2), 8))
    flow = build_flow(task, {"kind": "distilled", "steps": 2, "width": 16})
    params = jax.jit(flow.init)(jax.random.key(3))
    measurement = task.measure(jax.random.key(4), task.signals("test")[0])
    of_params = jax.jit(everything)  # one program for both
    mean = of_params(flow, params, measurement, jnp.zeros((1, flow.dim)))[0][0]
    if operator.kind == "identity":  # before training its mean is Tweedie's estimate
        np.testing.assert_allclose(mean, jax.jit(tweedie)(prior, measurement.y[None], 0.1).reshape(-1), atol=1e-5)
    moved = randomise(params, 0.05)
    z = jax.random.normal(jax.random.key(6), (1, flow.dim))
    x, log_det, back, inverse_log_det, jacobian = of_params(flow, moved, measurement, z)
    np.testing.assert_allclose(back, z, atol=1e-3)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-2)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-2)
    assert np.abs(np.asarray(x[0] - mean)).max() > 0.01


@pytest.mark.slow
def test_distilled_flow_learns_from_draws_alone(prior, tmp_path, monkeypatch):
    """Started with samples that are a third too wide, forward KL on pooled draws finds back: seen on draws that it has
    not seen.
    """
    monkeypatch.setenv("APS_DRAWS_DIR", str(tmp_path))
    task = Task(AveragePool(SHAPE, 2), 0.05, prior, prior.gaussian.sample(jax.random.key(2), 8))
    recipe = {
        "flow": {"kind": "distilled", "steps": 2, "width": 16},
        "objective": {"kl": "forward", "draws": 512, "batch": 64, "mirror": True},
        "optimizer": {"steps": 80, "learning_rate": 5e-3, "warmup": 5, "ema": 0.0},
    }
    flow = build_flow(task, recipe["flow"])
    params = jax.jit(flow.init)(jax.random.key(0))
    right, wide = (
        AmortizedPosterior(task, flow, {**params, "spectrum": params["spectrum"] + off}) for off in (0.0, 0.3)
    )
    trained, log = train_posterior(task, recipe, start=wide, progress=False)
    x0 = fast_sampling.draw(prior, jax.random.key(9), 64)
    measured = task.measure(jax.random.key(10), x0)
    loss = {
        name: -float(jnp.mean(q.log_prob(x0[:, None], measured)))
        for name, q in (("right", right), ("wide", wide), ("trained", trained))
    }
    assert loss["wide"] - loss["right"] > 10
    assert loss["trained"] - loss["right"] < 0.3 * (loss["wide"] - loss["right"])
    assert "forward" in log.history[-1]


def test_distilled_flow_needs_a_network_prior(prior):
    task = Task(Identity(SHAPE), 0.1, prior.gaussian, prior.gaussian.sample(jax.random.key(0), 2))
    with pytest.raises(ValueError, match="needs a NetworkPrior"):
        build_flow(task, {"kind": "distilled"})
