"""The table's function against scikit-image and a sampler whose scores are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from aps_core.metrics import evaluation
from aps_core.operators import Measurement

SHAPE, SPREAD = (16, 16), 0.1


class Around:
    """Draws N(y, SPREAD^2): the exact posterior of x0 = y + SPREAD * noise."""

    def sample(self, key, measurement, n):
        assert measurement.y.shape == SHAPE  # one measurement at a time
        return measurement.y + SPREAD * jax.random.normal(key, (n, *SHAPE))


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    y = rng.uniform(size=(24, *SHAPE)).astype(np.float32)
    x0 = y + SPREAD * rng.normal(size=y.shape).astype(np.float32)
    modes = np.linalg.qr(rng.normal(size=(256, 20)))[0]
    measurements = Measurement(y=jnp.asarray(y))
    scoring = evaluation.Scoring(modes, n_bands=4)
    return x0, y, evaluation.evaluate(Around(), jax.random.key(0), measurements, x0, 64, scoring)


def test_psnr_and_ssim_are_those_of_scikit_image(scored):
    x0, y, rows = scored
    key = jax.random.split(jax.random.key(0), 24)[3]
    samples = np.asarray(Around().sample(key, Measurement(y=jnp.asarray(y[3])), 64))
    assert rows["psnr_n1"][3] == pytest.approx(peak_signal_noise_ratio(x0[3], samples[0], data_range=1), abs=1e-3)
    assert rows["psnr_mean"][3] == pytest.approx(
        peak_signal_noise_ratio(x0[3], samples.mean(axis=0), data_range=1), abs=1e-3
    )
    assert rows["ssim_n1"][3] == pytest.approx(structural_similarity(x0[3], samples[0], data_range=1), abs=1e-6)


def test_signals_that_are_no_images_have_no_ssim(scored):
    x0, y, rows = scored

    class Flat:
        def sample(self, key, measurement, n):
            return Around().sample(key, Measurement(y=measurement.y.reshape(SHAPE)), n).reshape(n, -1)

    flat = evaluation.evaluate(
        Flat(), jax.random.key(0), Measurement(y=jnp.asarray(y.reshape(24, -1))), x0.reshape(24, -1), 64
    )
    assert set(flat) == {"psnr_n1", "psnr_mean", "energy", "coverage"} < set(rows)
    for name, values in flat.items():
        np.testing.assert_allclose(values, rows[name], rtol=1e-5)


def test_an_exact_sampler_has_three_decibels_between_sample_and_mean(scored):
    _, _, rows = scored
    gap = rows["psnr_mean"].mean() - rows["psnr_n1"].mean()
    assert gap == pytest.approx(10 * np.log10(2 / (1 + 1 / 64)), abs=0.1)


def test_an_exact_sampler_is_calibrated_overall_and_in_every_band(scored):
    _, _, rows = scored
    assert rows["coverage"].shape == (24, 2) and rows["band_coverage"].shape == (24, 4, 2)
    np.testing.assert_allclose(rows["coverage"].mean(axis=0), [0.5, 0.9], atol=0.03)
    np.testing.assert_allclose(rows["band_coverage"].mean(axis=0), np.tile([0.5, 0.9], (4, 1)), atol=0.15)


def test_seconds_are_the_median_of_compiled_calls():
    class Slow:
        calls = 0

        def sample(self, key, measurement, n):
            del key, measurement
            self.calls += 1
            return jnp.zeros(n)

    sampler = Slow()
    seconds = evaluation.seconds_per_measurement(sampler, jax.random.key(0), None, 3, repeats=4)
    assert sampler.calls == 5 and 0 < seconds < 1


@pytest.mark.parametrize("n", [2, 8])
def test_every_signal_has_a_measurement(n):
    with pytest.raises(ValueError, match=rf"measurements has data of shape \({n}, 4\) .* \(6, 4\)"):
        evaluation.evaluate(None, jax.random.key(0), Measurement(jnp.zeros((n, 4))), np.zeros((6, 4)))


def test_signals_of_four_axes_have_no_ssim():
    rng = np.random.default_rng(0)
    x0 = rng.random((12, 12, 12, 2))
    found = evaluation.score(x0 + 0.1 * rng.normal(size=(4, *x0.shape)), x0)
    assert not any(name.startswith("ssim") for name in found) and abs(found["psnr_n1"] - 20) < 0.3
