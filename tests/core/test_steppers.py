"""Steps of the reverse diffusion against the moments of Gaussians, which they must carry to the prior's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import unconditional

from aps_core.diffusion import VESDE, VPSDE, SubVPSDE
from aps_core.priors.gaussian import GaussianPrior
from aps_core.samplers import steppers

VARIANCES = np.array([1e-3, 1e-2, 0.05, 0.25])  # of x
MEAN = 0.7


def _moments(stepper, sde, n_steps, grid, denoise):
    """Mean and variance of x for each of VARIANCES: a step is affine in u and in its noise, so that three values tell
    all of it.
    """
    t, s = steppers.time_steps(sde, n_steps, grid, denoise)

    def one(variance):
        ones = jnp.ones(1)
        prior = GaussianPrior(MEAN * ones, jnp.zeros((1, 1)), jnp.zeros(1), variance, shape=(1,), sde=sde)

        def body(carry, times):
            mean, var = carry
            step = lambda u, z, name=stepper: unconditional.one_step(prior, name, u * ones, *times, z * ones)[0]  # noqa: E731
            offset = step(0.0, 0.0)
            return (
                offset + (step(1.0, 0.0) - offset) * mean,
                (step(1.0, 0.0) - offset) ** 2 * var + (step(0.0, 1.0) - offset) ** 2,
            ), None

        n = n_steps - 1 if denoise else n_steps
        (mean, var), _ = jax.lax.scan(body, (jnp.zeros(()), jnp.asarray(sde.prior_std) ** 2), (t[:n], s[:n]))
        if denoise:
            u0 = lambda u: ((u - sde.beta(t[-1]) * prior.eps(u * ones, t[-1])) / sde.alpha(t[-1]))[0]  # noqa: E731
            mean, var = u0(mean), (u0(1.0) - u0(0.0)) ** 2 * var
        return (mean + 1) / 2, var / 4

    return (np.asarray(a, np.float64) for a in jax.jit(jax.vmap(one))(jnp.asarray(VARIANCES)))


CASES = [
    ("ancestral", VPSDE(), 1000, "log-snr"),
    ("ancestral", SubVPSDE(), 1000, "log-snr"),
    ("ddim", VESDE(0.01, 20.0), 1000, "log-snr"),
    ("euler-maruyama", VPSDE(), 1000, "quadratic"),
    ("heun", VPSDE(), 100, "log-snr"),
]


@pytest.mark.parametrize(
    "stepper, sde, n_steps, grid", CASES, ids=lambda a: type(a).__name__ if not isinstance(a, (str, int)) else str(a)
)
def test_variance_of_the_prior_within_two_percent(x64, stepper, sde, n_steps, grid):
    mean, variance = _moments(stepper, sde, n_steps, grid, denoise=True)
    np.testing.assert_allclose(variance / VARIANCES, 1, atol=0.02)
    start = 2e-3 if stepper in ("ddim", "heun") else 1e-3  # u_1 is not quite the centred Gaussian that it is taken for
    np.testing.assert_allclose(mean, MEAN, atol=start if isinstance(sde, VPSDE) else 0.02)


def test_the_error_of_heun_is_of_second_order(x64):
    coarse, fine = (list(_moments("heun", VPSDE(), n, "log-snr", False))[1] - VARIANCES for n in (50, 100))
    v_min = VPSDE().v_min / 4  # without denoising the variance is that at t_min
    np.testing.assert_allclose(((coarse - v_min) / (fine - v_min))[1:], 4, rtol=0.25)


def test_the_final_step_takes_the_noise_of_t_min_away(x64):
    sde = VPSDE(t_min=1e-2)
    noisy, clean = (list(_moments("ancestral", sde, 2000, "log-snr", denoise))[1] for denoise in (False, True))
    v = sde.v_min / 4
    # u at t_min, not yet divided by alpha
    np.testing.assert_allclose(noisy, float(sde.alpha(1e-2)) ** 2 * (VARIANCES + v), rtol=0.02)
    np.testing.assert_allclose(clean, VARIANCES**2 / (VARIANCES + v), rtol=0.02)


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE(0.05, 3.0)], ids=lambda s: s.kind)
def test_ancestral_step_is_the_gaussian_bridge(x64, sde):
    """q(u_s | u_t, u_0) by conditioning the joint Gaussian of u_s and u_t, whose covariance is alpha_t/alpha_s
    beta_s^2.
    """
    t, s, u0, ut = 0.6, 0.45, jnp.array([0.3, -0.8]), jnp.array([1.1, 0.2])
    a_t, b_t, a_s, b_s = (float(f(x)) for x in (t, s) for f in (sde.alpha, sde.beta))
    covariance = a_t / a_s * b_s**2
    mean = a_s * u0 + covariance / b_t**2 * (ut - a_t * u0)
    variance = b_s**2 - covariance**2 / b_t**2
    step = partial(steppers.ancestral, sde, u0, (ut - a_t * u0) / b_t, t, s)
    np.testing.assert_allclose(step(jnp.zeros(2)), mean, rtol=1e-9)
    np.testing.assert_allclose(step(jnp.ones(2)) - step(jnp.zeros(2)), np.sqrt(variance), rtol=1e-9)


def test_ddim_keeps_the_noise_level_for_every_eta(x64):
    sde, t, s = VPSDE(), 0.6, 0.45
    for eta in (0.0, 0.4, 1.0):
        of_eps = steppers.ddim(sde, jnp.zeros(1), jnp.ones(1), t, s, jnp.zeros(1), eta)
        of_z = steppers.ddim(sde, jnp.zeros(1), jnp.zeros(1), t, s, jnp.ones(1), eta)
        np.testing.assert_allclose(of_eps**2 + of_z**2, sde.beta(s) ** 2, rtol=1e-9)


def test_euler_maruyama_against_its_formula(x64):
    sde, t, s = VPSDE(), 0.5, 0.49
    u, eps, z = jnp.array([0.4]), jnp.array([-1.2]), jnp.array([0.7])
    rate = 0.1 + 0.5 * 19.9
    expected = 0.4 + 0.01 * (0.5 * rate * 0.4 + rate * 1.2 / float(sde.beta(t))) + np.sqrt(rate * 0.01) * 0.7
    np.testing.assert_allclose(unconditional.euler_maruyama(sde, u, eps, t, s, z), expected, rtol=1e-9)


@pytest.mark.parametrize("grid", steppers.GRIDS)
@pytest.mark.parametrize("sde", [VPSDE(), VESDE()], ids=lambda sde: sde.kind)
def test_times_fall_from_one_to_the_end(grid, sde):
    n = 9
    for denoise in (True, False):
        t, s = (np.asarray(a) for a in steppers.time_steps(sde, n, grid, denoise))
        assert t.shape == s.shape == (n,) and t[0] == 1
        np.testing.assert_array_equal(t[1:], s[:-1])
        assert np.all(s < t) and s[-1] == (0 if denoise else np.float32(sde.t_min))
        if denoise:
            assert t[-1] == pytest.approx(sde.t_min, rel=1e-4)
    t = np.asarray(steppers.time_steps(sde, 9, grid, True)[0], np.float64)
    even = {"uniform": t, "quadratic": np.sqrt(t), "log-snr": np.asarray(sde.log_odds(t))}[grid]
    np.testing.assert_allclose(np.diff(even), np.diff(even).mean(), rtol=2e-3)


@pytest.mark.slow
def test_unconditional_draws_have_the_moments_of_the_prior(make_prior):
    prior, n = make_prior(d=8, k=4, rest=1e-2, shape=(2, 4)), 4096
    draw = jax.jit(lambda key: unconditional.draw(prior, key, n, n_steps=800))
    x = np.asarray(draw(jax.random.key(0)), np.float64)
    assert x.shape == (n, 2, 4)
    x = x.reshape(n, 8) - np.asarray(prior.mean)
    whitened = np.linalg.solve(np.linalg.cholesky(np.asarray(prior.covariance(), np.float64)), x.T)
    np.testing.assert_allclose(np.mean(whitened**2), 1, atol=0.02)
    np.testing.assert_allclose(whitened @ whitened.T / n, np.eye(8), atol=5 * np.sqrt(2 / n) + 0.01)


def test_a_single_step_goes_all_the_way():
    t, s = steppers.time_steps(VPSDE(), 1)
    assert t.tolist() == [1] and s.tolist() == [0]
