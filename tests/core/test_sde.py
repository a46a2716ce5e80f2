"""The diffusions against simulation and numerical integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, norm

from aps_core.diffusion import VESDE, VPSDE, SubVPSDE, low_discrepancy, make_sde

ALL = [VPSDE(), VPSDE(2.0, 2.0, 1e-2), SubVPSDE(), VESDE(0.05, 3.0)]


@pytest.mark.parametrize("sde", [VPSDE(0.1, 20.0), VPSDE(0.1, 10.0), SubVPSDE(0.1, 20.0), VESDE(0.05, 3.0)], ids=str)
def test_marginals_agree_with_simulated_paths(sde):
    rng = np.random.default_rng(0)
    n, steps, x0 = 20_000, 1000, 0.7
    x, dt = np.full(n, x0), 1 / steps
    times = (np.arange(steps) + 0.5) * dt
    drift, g = np.broadcast_to(sde.drift(1.0, times), steps), np.asarray(sde.g(times))  # the drift is linear in x
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
    assert SubVPSDE().beta(t) == pytest.approx(0.1 * t, rel=1e-7)
    assert VESDE().beta(t) ** 2 == pytest.approx(0.01**2 * t * 2 * np.log(5000), rel=1e-7)


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_single_precision_is_enough_down_to_t_min(sde):
    t = np.geomspace(sde.t_min, 1, 300)

    def everything(t):
        return sde.log_odds(t), sde.beta(t) / sde.g(t), sde.time_of(sde.log_odds(t)) / t

    single = jax.jit(everything)(jnp.asarray(t, jnp.float32))
    with jax.enable_x64(True):
        double = jax.jit(everything)(jnp.asarray(t))
    np.testing.assert_allclose(single[0], double[0], atol=4e-6)
    np.testing.assert_allclose(single[1], double[1], rtol=4e-6)
    np.testing.assert_allclose(single[2], np.ones(300), rtol=4e-6)
    np.testing.assert_allclose(double[2], np.ones(300), rtol=1e-12)


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_log_odds_are_the_antiderivative_of_the_weight(sde, x64):
    t = np.geomspace(sde.t_min, 1.0, 50)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(sde.log_odds)))(t)
    alpha, beta, g = jax.jit(lambda t: (sde.alpha(t), sde.beta(t), sde.g(t)))(t)
    np.testing.assert_allclose(value, 2 * np.log(np.asarray(beta / alpha)), atol=1e-9)
    np.testing.assert_allclose(slope, np.asarray(g / beta) ** 2, rtol=1e-10)


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_alpha_and_beta_solve_the_moment_equations(sde, x64):
    """d alpha/dt = f(alpha, t) and d beta^2/dt = 2 f(beta^2, t) + g^2, from alpha = 1 and beta = 0 at t = 0."""
    assert float(sde.alpha(0.0)) == 1 and float(sde.beta(0.0)) == 0

    @jax.jit
    @jax.vmap
    def sides(t):
        (alpha, d_alpha), (variance, d_variance) = (
            jax.value_and_grad(sde.alpha)(t),
            jax.value_and_grad(lambda s: sde.beta(s) ** 2)(t),
        )
        return (d_alpha, d_variance), (sde.drift(alpha, t), 2 * sde.drift(variance, t) + sde.g(t) ** 2)

    left, right = sides(np.array([1e-3, 0.1, 0.5, 1.0]))
    np.testing.assert_allclose(left, right, rtol=1e-9)


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_the_prior_at_the_end(sde, x64):
    u = np.array([0.3, -2.0, 40.0])
    assert sde.prior_log_prob(jnp.asarray(u)) == pytest.approx(norm(0, sde.prior_std).logpdf(u).sum(), rel=1e-12)
    end = float(sde.beta(1.0))
    if isinstance(sde, VESDE):
        assert sde.prior_std == pytest.approx(end, rel=1e-12)
        assert end == pytest.approx(np.sqrt(sde.sigma_max**2 - sde.sigma_min**2), rel=1e-12)
    else:
        assert sde.prior_std == 1


def test_perturb_mixes_signal_and_noise():
    sde, t = VPSDE(), 0.4
    x0, eps = jnp.array([0.2, -0.5]), jnp.array([1.0, 3.0])
    np.testing.assert_allclose(sde.perturb(x0, t, eps), sde.alpha(t) * x0 + sde.beta(t) * eps, rtol=1e-6)


def test_v_min_is_the_ratio_of_variances_at_t_min(x64):
    for sde in (kind(t_min=t_min) for t_min in (1e-2, 1e-3, 1e-5) for kind in (VPSDE, SubVPSDE, VESDE)):
        assert sde.v_min == pytest.approx(float((sde.beta(sde.t_min) / sde.alpha(sde.t_min)) ** 2), rel=1e-9)
    assert VPSDE(t_min=1e-3).v_min == pytest.approx(1.1e-4, rel=0.01)  # the value found for faces


def _weight(sde):
    weight = jax.jit(lambda t: sde.g(t) ** 2 / sde.beta(t) ** 2)
    return lambda t: float(weight(t))


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_likelihood_weighted_times_invert_the_integral(sde, x64):
    weight, u = _weight(sde), np.array([0.0, 0.01, 0.3, 0.77, 1.0])
    total = quad(lambda s: np.exp(s) * weight(np.exp(s)), np.log(sde.t_min), 0)[0]
    assert sde.log_snr_span() == pytest.approx(total, rel=1e-8)
    for ui, t in zip(u, np.asarray(jax.jit(sde.likelihood_weighted_time)(u)), strict=True):
        below = quad(lambda s: np.exp(s) * weight(np.exp(s)), np.log(sde.t_min), np.log(t))[0]
        assert below / total == pytest.approx(ui, abs=1e-8)


def test_another_t_min_for_the_weighted_times(x64):
    sde = VPSDE()
    assert sde.likelihood_weighted_time(0.0, 1e-2) == pytest.approx(1e-2)
    assert sde.likelihood_weighted_time(1.0, 1e-2) == pytest.approx(1.0)
    weight = _weight(sde)
    total = quad(lambda s: np.exp(s) * weight(np.exp(s)), np.log(1e-2), 0)[0]
    assert sde.log_snr_span(1e-2) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("kind", [VPSDE, SubVPSDE, VESDE])
def test_likelihood_weighted_times_have_their_density(kind):
    sde = kind(t_min=1e-4)
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


@pytest.mark.parametrize("sde", ALL, ids=str)
def test_settings_build_the_same_diffusion(sde):
    assert make_sde(sde.settings()) == sde
    assert hash(make_sde(sde.settings())) == hash(sde)


def test_settings_have_defaults():
    assert make_sde({}) == VPSDE() and make_sde({"rate_max": 10.0, "t_min": 1e-3}) == VPSDE(0.1, 10.0, 1e-3)
    assert make_sde({"kind": "sub-vp"}) == SubVPSDE() != VPSDE()
    assert make_sde({"kind": "ve", "sigma_max": 10.0}) == VESDE(sigma_max=10.0)


@pytest.mark.parametrize(
    "settings, text",
    [({"kind": "vpsde"}, "'vpsde'"), ({"kind": "ve", "rate_min": 1.0}, "rate_min"), ({"tmin": 0.1}, "tmin")],
)
def test_unknown_settings(settings, text):
    with pytest.raises(ValueError, match=text):
        make_sde(settings)


@pytest.mark.parametrize(
    "settings, text",
    [
        (dict(rate_min=0.0), "rate"),
        (dict(rate_min=3.0, rate_max=2.0), "rate"),
        (dict(rate_max=float("nan")), "rate"),
        (dict(t_min=0.0), "t_min"),
        (dict(t_min=1.0), "t_min"),
        (dict(t_min=float("nan")), "t_min"),
        (dict(kind="sub-vp", rate_min=-1.0), "rate"),
        (dict(kind="ve", t_min=2.0), "t_min"),
        (dict(kind="ve", sigma_min=0.0), "sigma_min"),
        (dict(kind="ve", sigma_max=0.01), "sigma_min"),
        (dict(kind="ve", sigma_max=float("inf")), "sigma_max"),
    ],
)
def test_impossible_settings(settings, text):
    with pytest.raises(ValueError, match=text):
        make_sde(settings)
