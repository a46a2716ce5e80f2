"""Training of a network prior on images: what its log says before any step is the Gaussian's, by the Wiener filter."""

import jax
import numpy as np
import pytest

from aps_core import data
from aps_core.training.network_prior import network_prior_job, train_network_prior

SHAPE, WIDTH = (4, 4, 3), 1 / 255
RECIPE = {
    "name": "small",
    "trains": "network-prior",
    "evaluate_every": 2,
    "prior": {"data": "few", "n_modes": 48, "batch": 8, "t_residual": 1e-3, "tokens": {"kind": "image", "size": 2}},
    "optimizer": {"steps": 2, "warmup": 0, "learning_rate": 1e-3, "ema": 0.0},
}
RECIPE["prior"]["network"] = {"kind": "patches", "width": 8, "depth": 1, "heads": 2}


@pytest.fixture
def pixels(monkeypatch):
    """64 images of correlated 8-bit pixels for training, 32 for validation."""
    rng = np.random.default_rng(0)
    smooth = (
        rng.normal(size=(96, 1, 1, 3)) * 30 + rng.normal(size=(96, 4, 1, 1)) * 20 + rng.normal(size=(96, *SHAPE)) * 6
    )
    images = np.clip(np.rint(128 + smooth), 0, 255).astype(np.uint8)
    parts = {"train": images[:64], "val": images[64:]}
    monkeypatch.setattr(data, "pixels", lambda name, split, limit=None: (parts[split][:limit], "0" * 64))
    return parts


def wiener(parts, noisy, sigma_y):
    """E[x | y] of a Gaussian with the mean and covariance of the training images, their uniform noise included."""
    flat = parts["train"].reshape(64, -1) / 255
    mean, covariance = flat.mean(axis=0), np.cov(flat.T, bias=True) + WIDTH**2 / 12 * np.eye(48)
    gain = covariance @ np.linalg.inv(covariance + sigma_y**2 * np.eye(48))
    return mean + (noisy - mean) @ gain.T


def test_before_training_it_denoises_as_the_wiener_filter_and_gains_nothing(pixels):
    made = network_prior_job(RECIPE)
    row = made.evaluate(made.params, made.data, jax.random.key(7))
    assert row["val_gain"] == pytest.approx(0, abs=1e-6)
    truth = pixels["val"].reshape(32, -1) / 255
    noise = np.asarray(jax.random.normal(jax.random.split(jax.random.key(7))[1], (32, *SHAPE))).reshape(32, -1)
    errors = np.mean((wiener(pixels, truth + 0.1 * noise, 0.1) - truth) ** 2, axis=1)
    assert row["val_tweedie"] == pytest.approx(np.mean(-10 * np.log10(errors)), abs=0.02)


@pytest.mark.slow
def test_two_steps_move_it_and_are_the_same_again(pixels):
    prior, trained, card = train_network_prior(RECIPE, progress=False)
    again, *_ = train_network_prior(RECIPE, progress=False)
    start = network_prior_job(RECIPE).params
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (prior.params, start)), strict=True)]
    assert 0 < max(moved) < 0.01 and trained.step == 2 and card["data_sha256"] == "0" * 64
    assert [row["step"] for row in trained.history] == [0, 2]
    for one, same in zip(*map(jax.tree.leaves, (prior.params, again.params)), strict=True):
        np.testing.assert_array_equal(one, same)
