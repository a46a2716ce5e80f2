"""The diffusion against simulation and numerical integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from aps_core.sde import VPSDE, low_discrepancy


@pytest.mark.parametrize("rate_max", [20.0, 10.0])
def test_marginals_agree_with_simulated_paths(rate_max):
    sde = VPSDE(0.1, rate_max)
    rng = np.random.default_rng(0)
    n, steps, x0 = 20_000, 1000, 0.7
    x, dt = np.full(n, x0), 1 / steps
    times = (np.arange(steps) + 0.5) * dt
    drift, g = np.asarray(sde.drift(1.0, times)), np.asarray(sde.g(times))  # the drift is linear in x
    for i in range(steps):
        x = x + drift[i] * x * dt + g[i] * np.sqrt(dt) * rng.normal(size=n)
        if i + 1 in (100, 300, 1000):
            t = (i + 1) * dt
            mean, std = float(sde.alpha(t)) * x0, float(sde.beta(t))
            assert x.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(n) + 2e-3)
            assert x.std() == pytest.approx(std, rel=4 / np.sqrt(2 * n) + 8e-3)


def test_drift_and_rate():
    sde = VPSDE(0.1, 20.0)
    t, x = 0.37, np.array([1.0, -2.0])
    np.testing.assert_allclose(sde.drift(x, t), -0.5 * (0.1 + 0.37 * 19.9) * x, rtol=1e-6)
    assert sde.integrated_rate(t) == pytest.approx(quad(lambda s: float(sde.rate(s)), 0, t)[0], rel=1e-6)


def test_the_variance_is_preserved():
    t = jnp.geomspace(1e-5, 1.0, 200)
    for sde in (VPSDE(), VPSDE(0.1, 10.0)):
        np.testing.assert_allclose(sde.alpha(t) ** 2 + sde.beta(t) ** 2, 1, atol=2e-7)


def test_beta_does_not_cancel_at_small_times(x64):
    t = 1e-9
    assert VPSDE().beta(t) ** 2 == pytest.approx(0.1 * t, rel=1e-7)


def test_perturb_mixes_signal_and_noise():
    sde, t = VPSDE(), 0.4
    x0, eps = jnp.array([0.2, -0.5]), jnp.array([1.0, 3.0])
    np.testing.assert_allclose(sde.perturb(x0, t, eps), sde.alpha(t) * x0 + sde.beta(t) * eps, rtol=1e-6)


def test_v_min_is_the_ratio_of_variances_at_t_min(x64):
    for t_min in (1e-2, 1e-3, 1e-5):
        sde = VPSDE(t_min=t_min)
        assert sde.v_min == pytest.approx(float((sde.beta(t_min) / sde.alpha(t_min)) ** 2), rel=1e-9)
    assert VPSDE(t_min=1e-3).v_min == pytest.approx(1.1e-4, rel=0.01)  # the value found for faces


def _weight(sde):
    return lambda t: float(sde.g(t) ** 2 / sde.beta(t) ** 2)


@pytest.mark.parametrize("sde", [VPSDE(), VPSDE(0.1, 10.0, 1e-3), VPSDE(2.0, 2.0, 1e-2)], ids=str)
def test_likelihood_weighted_times_invert_the_integral(sde, x64):
    total = quad(lambda s: np.exp(s) * _weight(sde)(np.exp(s)), np.log(sde.t_min), 0)[0]
    assert sde.log_snr_span() == pytest.approx(total, rel=1e-8)
    for u in (0.0, 0.01, 0.3, 0.77, 1.0):
        t = float(sde.likelihood_weighted_time(u))
        below = quad(lambda s: np.exp(s) * _weight(sde)(np.exp(s)), np.log(sde.t_min), np.log(t))[0]
        assert below / total == pytest.approx(u, abs=1e-8)


def test_another_t_min_for_the_weighted_times(x64):
    sde = VPSDE()
    assert sde.likelihood_weighted_time(0.0, 1e-2) == pytest.approx(1e-2)
    assert sde.likelihood_weighted_time(1.0, 1e-2) == pytest.approx(1.0)
    total = quad(lambda s: np.exp(s) * _weight(sde)(np.exp(s)), np.log(1e-2), 0)[0]
    assert sde.log_snr_span(1e-2) == pytest.approx(total, rel=1e-8)


def test_likelihood_weighted_times_have_their_density():
    sde = VPSDE(t_min=1e-4)
    t = np.asarray(sde.likelihood_weighted_time(jax.random.uniform(jax.random.key(0), (4000,))))
    grid = np.geomspace(sde.t_min, 1, 4000)
    weight = np.asarray(sde.g(grid) ** 2 / sde.beta(grid) ** 2)
    cdf = np.concatenate([[0], np.cumsum(0.5 * (weight[1:] + weight[:-1]) * np.diff(grid))])
    assert kstest(t, lambda s: np.interp(s, grid, cdf / cdf[-1])).pvalue > 0.01


@pytest.mark.parametrize("n", [1, 7, 64, 1000])
def test_low_discrepancy_has_one_number_in_each_cell(n):
    for seed in range(5):
        u = np.asarray(low_discrepancy(jax.random.key(seed), n), np.float64)
        assert u.min() >= 0 and u.max() < 1
        np.testing.assert_array_equal(np.sort(np.floor(u * n)), np.arange(n))


def test_low_discrepancy_numbers_are_uniform():
    draw = jax.jit(jax.vmap(lambda k: low_discrepancy(k, 3)))
    u = np.asarray(draw(jax.random.split(jax.random.key(1), 3000)))
    for column in u.T:
        assert kstest(column, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "settings, text",
    [
        (dict(rate_min=0.0), "rate"), (dict(rate_min=3.0, rate_max=2.0), "rate"), (dict(rate_max=float("nan")), "rate"),
        (dict(t_min=0.0), "t_min"), (dict(t_min=1.0), "t_min"), (dict(t_min=float("nan")), "t_min"),
    ],
)  # fmt: skip
def test_impossible_settings(settings, text):
    with pytest.raises(ValueError, match=text):
        VPSDE(**settings)
