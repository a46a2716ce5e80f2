"""Each rival on problems whose posterior is known: what its theory says it samples, and where that is not the
posterior.
"""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core import AveragePool, FixedMask, GaussianBlur, Identity, Measurement, RandomMask, Task
from aps_core.diffusion import VESDE, VPSDE
from aps_core.operators import dense_matrix
from aps_core.posterior import gaussian_posterior
from aps_core.priors.mixture import gaussian_mixture
from aps_core.samplers import make_sampler
from aps_core.samplers.base import Problem
from aps_core.samplers.ddrm import DDRM

SHAPE, D = (4, 4), 16
POOL = AveragePool(SHAPE, 2)


@pytest.fixture
def make_case(make_prior):
    """make_case(operator, sigma_y, **prior): (task, one measurement, mean (d,), covariance (d, d)) of a known
    posterior.
    """

    def make(operator, sigma_y=0.1, **settings):
        prior = make_prior(d=D, k=4, shape=SHAPE, **{"rest": 1e-2, **settings})
        prior_mean, prior_cov = np.asarray(prior.mean, np.float64), np.asarray(prior.covariance(), np.float64)
        rng = np.random.default_rng(1)
        x0 = rng.multivariate_normal(prior_mean, prior_cov).reshape(SHAPE)
        task = Task(operator, sigma_y, prior, x0[None], unit_range=False)
        mask = operator.draw(jax.random.key(0))
        y = np.asarray(operator(jnp.asarray(x0, jnp.float32), mask)) + sigma_y * rng.normal(size=operator.y_shape)
        measurement = Measurement(np.asarray(y if mask is None else mask * y, np.float32), mask)
        matrix = np.diag(np.ravel(operator.observed(mask))) if operator.diagonal else dense_matrix(operator)
        covariance = np.linalg.inv(np.linalg.inv(prior_cov) + matrix.T @ matrix / sigma_y**2)
        mean = prior_mean + covariance @ matrix.T @ (measurement.y.ravel() - matrix @ prior_mean) / sigma_y**2
        return task, measurement, mean, covariance

    return make


def _draw(name, case, n, **settings):
    """Mean (d,) and covariance (d, d) of n samples, and the samples (n, d)."""
    task, measurement = case[:2]
    x = np.asarray(make_sampler(name, task, **settings).sample(jax.random.key(0), measurement, n), np.float64).reshape(
        n, D
    )
    return x.mean(axis=0), np.cov(x, rowvar=False), x


def _bias(mean, case):
    """Error of a mean in posterior standard deviations, rms over the entries."""
    return float(np.sqrt(np.mean((mean - case[2]) ** 2 / np.diag(case[3]))))


def _ratio(covariance, case):
    return float(np.trace(covariance) / np.trace(case[3]))


def test_noise2score_is_the_posterior_mean(make_case):
    for sigma_y in (0.02, 0.1, 0.5):
        case = make_case(Identity(SHAPE), sigma_y)
        mean, covariance, _ = _draw("noise2score", case, 2)
        np.testing.assert_allclose(mean, case[2], atol=1e-4)
        assert not covariance.any()


def test_noise2score_is_the_posterior_mean_of_a_mixture():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(3, 4, 4))
    prior = gaussian_mixture(
        [0.5, 0.3, 0.2], rng.uniform(0.2, 0.8, (3, 4)), 0.01 * (spread @ spread.transpose(0, 2, 1) + np.eye(4))
    )
    task = Task(Identity((4,)), 0.2, prior, jnp.zeros((1, 4)), unit_range=False)
    measurements = Measurement(jnp.asarray(rng.uniform(0, 1, (8, 4)), jnp.float32))
    found = make_sampler("noise2score", task).sample(jax.random.key(2), measurements, 1)[:, 0]
    posterior = jax.jit(lambda y: mixture_posterior(prior, 0.2, y, jnp.eye(4)).mean)
    exact = np.stack([posterior(y) for y in measurements.y])
    np.testing.assert_allclose(found, exact, atol=1e-3)
    assert np.abs(exact - prior.mean).max() > 0.1


def test_mcg_is_dps_on_denoising(make_case):
    case = make_case(Identity(SHAPE))
    dps, mcg = (_draw(name, case, 3, n_steps=50, step_size=0.1)[2] for name in ("dps", "mcg"))
    np.testing.assert_array_equal(mcg, dps)


@pytest.mark.parametrize(
    "operator", [pytest.param(POOL, marks=pytest.mark.slow), RandomMask(SHAPE, 0.5)], ids=lambda a: a.kind
)
def test_mcg_ends_on_the_noisy_measurement(make_case, operator):
    """Masks and pooling have equal singular values, so that the last projection, at beta = 0, is onto A x = y."""
    case = make_case(operator)
    task, measurement = case[:2]
    x = _draw("mcg", case, 20, n_steps=60, step_size=0.3)[2]
    problem = Problem(task.prior, task.sigma_y, operator)
    residual = jax.vmap(lambda u: problem.residual(u, measurement))(jnp.asarray(2 * x - 1, jnp.float32))
    np.testing.assert_allclose(residual, 0, atol=1e-5)
    assert np.trace(np.cov(x, rowvar=False)) > 0.1 * np.trace(case[3])  # what is not measured is spread


def test_mcg_that_stops_at_the_noise_of_y_does_not_take_it_for_signal(make_case):
    """Along what was measured the default has the error of y and no spread; stopped there, it has neither."""
    case = make_case(FixedMask(np.arange(D).reshape(SHAPE) % 2 == 0), rest=4e-3)
    seen = np.ravel(case[0].operator.mask)[:] > 0
    settings = dict(n_steps=200, step_size=0.003, grid="log-snr")
    ends = {until: _draw("mcg", case, 300, until=until, **settings)[:2] for until in (0.0, 1.0)}
    away = {u: np.sqrt(np.mean((mean - case[2])[seen] ** 2)) for u, (mean, _) in ends.items()}
    spread = {u: np.sqrt(np.diag(covariance)[seen].mean()) for u, (_, covariance) in ends.items()}
    assert away[1.0] < 0.7 * away[0.0]
    assert spread[0.0] < 1e-4 < 0.2 * np.sqrt(np.diag(case[3])[seen].mean()) < spread[1.0]


def test_dps_without_its_last_pull_returns_tweedies_estimate(make_case):
    """One step: E[u_0 | u_1] of the Gaussian prior in closed form, and the pull on top of it."""
    case = make_case(Identity(SHAPE), leading=0.0, rest=0.04)
    task, measurement = case[:2]
    key, sde, centre = jax.random.key(5), task.prior.sde, 2 * np.asarray(task.prior.mean, np.float64) - 1
    alpha, beta, v = float(sde.alpha(1.0)), float(sde.beta(1.0)), 4 * 0.04
    gain = alpha * v / (alpha**2 * v + beta**2)
    ends = {}
    for pulled in (True, False):
        sampler = make_sampler("dps", task, n_steps=1, step_size=20.0, last_pull=pulled)
        ends[pulled] = np.asarray(sampler.trajectory(key, measurement), np.float64)
    start = np.asarray(sampler.problem.start(jax.random.split(key)[0]), np.float64)
    expected = centre + gain * (start - alpha * centre)
    np.testing.assert_allclose(ends[False], expected, atol=1e-4)
    residual = np.ravel(measurement.y) - (expected + 1) / 2
    pull = 20 * gain * residual / np.linalg.norm(residual)  # of ||r||^2 over ||r||: 2 r (1/2) gain
    np.testing.assert_allclose(ends[True] - ends[False], pull, rtol=1e-2, atol=1e-4)


def test_dps_that_clips_stays_in_the_range_and_is_dps_where_nothing_is_clipped(make_case):
    wide, narrow = make_case(Identity(SHAPE), rest=0.3), make_case(Identity(SHAPE), rest=1e-4, leading=0.0)
    settings = dict(n_steps=40, step_size=0.05)
    x = _draw("dps", wide, 50, clip=True, last_pull=False, **settings)[2]
    assert x.min() >= 0 and x.max() <= 1 and ((x == 0) | (x == 1)).any()
    assert np.abs(_draw("dps", wide, 50, **settings)[2] - 0.5).max() > 0.6
    same = (_draw("dps", narrow, 20, clip=clip, **settings)[2] for clip in (False, True))
    np.testing.assert_allclose(*same, atol=2e-4)


def test_dps_is_concentrated_by_its_step_size_not_by_the_noise(make_case):
    """From the prior's spread at a small step to a point; and sigma_y, which makes the posterior, does not enter."""
    case = make_case(Identity(SHAPE))
    sizes = (0.003, 0.01, 0.03, 0.1)
    found = [_draw("dps", case, 200, n_steps=300, step_size=z)[:2] for z in sizes]
    ratios = [_ratio(covariance, case) for _, covariance in found]
    assert ratios[0] > 1.5 and ratios[-1] < 0.15
    assert np.all(np.diff(ratios) < 0)
    biases = [_bias(mean, case) for mean, _ in found]
    assert np.argmin(biases) == 2 and biases[2] < 0.5 < biases[3]  # in between the mean is roughly right
    task, measurement = case[:2]
    louder = Task(task.operator, 0.3, task.prior, task.signals, unit_range=False)
    settings = dict(n_steps=300, step_size=0.03)
    same = (make_sampler("dps", t, **settings).sample(jax.random.key(0), measurement, 200) for t in (task, louder))
    np.testing.assert_array_equal(*same)


@pytest.mark.slow
@pytest.mark.parametrize(
    "operator", [POOL, GaussianBlur(SHAPE, 0.8), FixedMask(np.tri(4))], ids=lambda operator: operator.kind
)
def test_pigdm_is_exact_under_an_isotropic_gaussian(make_case, operator):
    """p(u_0 | u_t) then is the Gaussian that it takes it for, so that only the error of the steps is left: about
    8/n_steps.
    """
    case = make_case(operator, leading=0.0, rest=0.04)
    mean, covariance, _ = _draw("pigdm", case, 3000, rule="score", prior_variance=4 * 0.04, n_steps=600, grid="log-snr")
    assert _bias(mean, case) < 0.04
    assert _ratio(covariance, case) == pytest.approx(1, abs=0.03)
    white = np.linalg.solve(np.linalg.cholesky(case[3]), np.linalg.cholesky(covariance))
    np.testing.assert_allclose(white @ white.T, np.eye(D), atol=0.12)


@pytest.mark.slow
def test_pigdm_with_another_variance_is_not(make_case):
    case = make_case(Identity(SHAPE), leading=0.0, rest=0.04)
    settings = dict(rule="score", n_steps=200, grid="log-snr")
    ratios = [_ratio(_draw("pigdm", case, 500, prior_variance=v, **settings)[1], case) for v in (0.02, 0.16, 1.6)]
    assert ratios[0] < 0.8 and ratios[1] == pytest.approx(1, abs=0.1) and ratios[2] > ratios[1] + 0.1


@pytest.mark.slow
def test_the_rule_of_the_pigdm_paper_pulls_harder_with_more_steps(make_case):
    case = make_case(POOL, leading=0.0, rest=0.04)
    matrix, y = dense_matrix(POOL), np.asarray(case[1].y).ravel()
    misfit = [np.sqrt(np.mean((_draw("pigdm", case, 300, n_steps=n)[2] @ matrix.T - y) ** 2)) for n in (20, 400)]
    assert misfit[1] < 0.7 * misfit[0]


def test_the_rule_of_the_red_diff_program_is_its_recursion(make_case):
    """For a prior with equal variances each coordinate follows an affine recursion, the same one whatever the noise."""
    n_steps, v = 40, 4 * 0.04
    case = make_case(Identity(SHAPE), leading=0.0, rest=0.04)
    task, measurement = case[:2]
    settings = dict(n_steps=n_steps, rule="red-diff", eta=0.0, grid="log-snr")
    mean, covariance, x = _draw("pigdm", case, 4000, **settings)
    sde, target = task.prior.sde, 2 * np.asarray(measurement.y, np.float64).ravel() - 1
    centre = 2 * np.asarray(task.prior.mean, np.float64) - 1
    odds = np.linspace(float(sde.log_odds(1.0)), float(sde.log_odds(sde.t_min)), n_steps)
    alpha = np.append(1 / np.sqrt(1 + np.exp(odds)), 1.0)
    beta = np.append(1 / np.sqrt(1 + np.exp(-odds)), 0.0)
    m, s2 = np.zeros(D), 1.0
    for a, b, a_s, b_s in zip(alpha, beta, alpha[1:], beta[1:]):
        gain = a * v / (a**2 * v + b**2)  # u0_hat = centre + gain (u - a centre)
        keep = a_s * gain + b_s / b * (1 - a * gain) - a_s * a * gain**2
        u0 = centre + gain * (m - a * centre)
        m, s2 = a_s * u0 + b_s / b * (m - a * u0) + a_s * a * gain * (target - u0), keep**2 * s2
    np.testing.assert_allclose(2 * mean - 1, m, atol=5 * np.sqrt(s2 / 4000) + 1e-3)
    assert 4 * np.trace(covariance) / D == pytest.approx(s2, rel=0.05)
    louder = Task(task.operator, 0.3, task.prior, task.signals, unit_range=False)
    np.testing.assert_array_equal(x, _draw("pigdm", (louder, *case[1:]), 4000, **settings)[2])


def test_sde_proj_with_full_weight_reproduces_the_data_and_without_samples_the_prior(make_case):
    case, settings = make_case(POOL), dict(n_steps=300, grid="log-snr")
    x = _draw("sde-proj", case, 600, weight=1.0, **settings)[2]
    y = np.asarray(case[1].y).ravel()
    np.testing.assert_allclose(x @ dense_matrix(POOL).T, np.tile(y, (600, 1)), atol=3e-3)
    mean, covariance, _ = _draw("sde-proj", case, 600, weight=0.0, **settings)
    prior = case[0].prior
    np.testing.assert_allclose(mean, prior.mean, atol=5 * np.sqrt(0.06 / 600))
    assert np.trace(covariance) / np.trace(np.asarray(prior.covariance())) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_sde_proj_with_any_weight_reproduces_the_data_as_steps_are_added(make_case):
    case = make_case(Identity(SHAPE))
    y = np.asarray(case[1].y, np.float64).ravel()
    found = [_draw("sde-proj", case, 200, weight=0.1, n_steps=n, grid="log-snr") for n in (10, 40, 400)]
    away = [np.sqrt(np.mean((mean - y) ** 2)) for mean, _, _ in found]
    ratios = [_ratio(covariance, case) for _, covariance, _ in found]
    assert away[0] > 1.5 * away[1] > 10 * away[2] and ratios[0] > 3 * ratios[1] > 100 * ratios[2]


def test_sde_proj_moments_are_those_of_its_recursion(make_case):
    """For a Gaussian prior with equal variances each coordinate follows an affine recursion: carried here in NumPy."""
    n_steps, weight, v = 30, 0.15, 4 * 0.04
    case = make_case(Identity(SHAPE), leading=0.0, rest=0.04)
    mean, covariance, _ = _draw("sde-proj", case, 4000, weight=weight, n_steps=n_steps, grid="log-snr")
    sde = case[0].prior.sde
    centre, target = (
        2 * np.asarray(case[0].prior.mean, np.float64) - 1,
        2 * np.asarray(case[1].y, np.float64).ravel() - 1,
    )
    odds = np.linspace(float(sde.log_odds(1.0)), float(sde.log_odds(sde.t_min)), n_steps)
    alpha, beta = 1 / np.sqrt(1 + np.exp(odds)), 1 / np.sqrt(1 + np.exp(-odds))
    m, s2 = np.zeros(D), 1.0
    for i in range(n_steps):
        a, b = alpha[i], beta[i]
        m, s2 = (1 - weight) * m + weight * a * target, (1 - weight) ** 2 * s2 + weight**2 * b**2
        gain = a * v / (a**2 * v + b**2)  # u0_hat = centre + gain (u - a centre)
        if i == n_steps - 1:
            m, s2 = centre + gain * (m - a * centre), gain**2 * s2
            break
        a_s, b_s = alpha[i + 1], beta[i + 1]
        keep = a / a_s * b_s**2 / b**2  # of u_t in the ancestral step
        pull = a_s * (1 - (a / a_s * b_s / b) ** 2)
        m, s2 = keep * m + pull * (centre + gain * (m - a * centre)), (keep + pull * gain) ** 2 * s2
        s2 += b_s**2 * (1 - (a / a_s * b_s / b) ** 2)
    np.testing.assert_allclose(2 * mean - 1, m, atol=5 * np.sqrt(s2 / 4000) + 1e-4)
    assert 4 * np.trace(covariance) / D == pytest.approx(s2, rel=0.03)


def test_ddrm_marginals_when_the_denoiser_knows_the_signal():
    """What the paper proves: with v0 = x0, and y drawn anew, v at every level r is N(x0, r^2), measured well, badly or
    not at all.
    """
    n, x0, q = 200_000, 0.3, 0.5
    rng = np.random.default_rng(0)
    sampler = object.__new__(DDRM)
    object.__setattr__(sampler, "eta", 0.7), object.__setattr__(sampler, "eta_b", 0.8)
    c = x0 + q * rng.normal(size=n)
    levels = (4.0, 1.0, 0.6, 0.4, 0.1)
    for noise in (q, np.inf):
        data = c if np.isfinite(noise) else np.zeros(n)
        v = (c if np.isfinite(noise) else x0) + np.sqrt(
            levels[0] ** 2 - (q**2 if np.isfinite(noise) else 0)
        ) * rng.normal(size=n)
        for before, r in pairwise(levels):
            mean, std = sampler.transition(jnp.asarray(v), x0, jnp.asarray(data), jnp.full(n, noise), before, r)
            v = np.asarray(mean) + np.asarray(std) * rng.normal(size=n)
            assert v.mean() == pytest.approx(x0, abs=5 * r / np.sqrt(n))
            assert v.std() == pytest.approx(r, rel=0.01)


def test_ddrm_moments_are_those_of_its_recursion(make_case):
    """For equal prior variances the coordinates that pooling measures, and those that it does not, each follow an
    affine recursion.
    """
    n_steps, v, eta, eta_b, n = 25, 4 * 0.04, 0.8, 0.9, 3000
    case = make_case(POOL, leading=0.0, rest=0.04)
    x = _draw("ddrm", case, n, n_steps=n_steps, eta=eta, eta_b=eta_b, grid="log-snr")[2]
    sde, right = case[0].prior.sde, np.linalg.svd(dense_matrix(POOL))[2].T
    centre = right.T @ (2 * np.asarray(case[0].prior.mean, np.float64) - 1)
    c, q = np.zeros(D), np.full(D, np.inf)
    left, s, _ = np.linalg.svd(dense_matrix(POOL))
    c[:4], q[:4] = left.T @ (2 * case[1].y.ravel() - 1) / s, 2 * case[0].sigma_y / s
    levels = [*np.exp(0.5 * np.linspace(float(sde.log_odds(1.0)), float(sde.log_odds(sde.t_min)), n_steps)), 0.0]
    seen = np.isfinite(q)
    known = np.where(seen, q, 1.0)
    m, s2 = np.where(seen, c, 0.0), levels[0] ** 2 - np.where(seen, known**2, 0.0)
    for before, r in pairwise(levels):
        gain, keep = v / (v + before**2), np.sqrt(1 - eta**2) * r
        v0 = centre + gain * (m - centre)
        near = q <= r  # weight of v0, of v and of c in the mean, and the new variance
        of_v0 = np.where(near, 1 - eta_b, np.where(seen, 1 - keep / known, 1 - keep / before))
        of_v, of_c = np.where(seen, 0.0, keep / before), np.where(near, eta_b, np.where(seen, keep / known, 0.0))
        fresh = np.where(near, r**2 - eta_b**2 * known**2, eta**2 * r**2)
        m, s2 = of_v0 * v0 + of_v * m + of_c * c, (of_v0 * gain + of_v) ** 2 * s2 + fresh
    found = (2 * x - 1) @ right
    np.testing.assert_allclose(found.mean(axis=0), m, atol=5 * np.sqrt(s2.max() / n))
    for part in (seen, ~seen):
        assert found.var(axis=0)[part].mean() == pytest.approx(s2[part].mean(), rel=0.05)


@pytest.mark.slow
def test_ddrm_tends_to_the_data_as_steps_are_added(make_case):
    case = make_case(Identity(SHAPE))
    y = np.asarray(case[1].y, np.float64).ravel()
    found = [_draw("ddrm", case, 100, n_steps=n, grid="log-snr")[:2] for n in (20, 200, 2000)]
    away = [np.sqrt(np.mean((mean - y) ** 2)) for mean, _ in found]
    ratios = [_ratio(covariance, case) for _, covariance in found]
    assert away[0] > 2 * away[1] > 6 * away[2] and ratios[0] > 2 * ratios[1] > 4 * ratios[2]
    # at the paper's 20 steps the mean is nearly that of the posterior, and the spread too small
    assert _bias(found[0][0], case) < 0.2 and 0.1 < ratios[0] < 0.6


@pytest.mark.slow
def test_score_ald_approaches_the_posterior_from_above(make_case):
    case = make_case(POOL)
    few, many = (_draw("score-ald", case, 400, n_levels=200, n_inner=k)[:2] for k in (2, 20))
    ratios = [_ratio(covariance, case) for _, covariance in (few, many)]
    assert ratios[0] > 1.15 and ratios[1] == pytest.approx(1, abs=0.08)
    assert _bias(many[0], case) < 0.1


def test_langevin_of_daps_reaches_its_target(make_case):
    task, measurement, *_ = make_case(Identity(SHAPE))
    sampler = make_sampler("daps", task, n_inner=200, step_size=0.05)
    centre, r, noise = jnp.linspace(-0.5, 0.5, D), 0.3, 0.2  # sigma_y in the scale of u
    draws = jax.jit(jax.vmap(lambda k: sampler.langevin(centre, r, k, measurement)))(
        jax.random.split(jax.random.key(0), 4000)
    )
    draws = np.asarray(draws, np.float64)
    precision = 1 / r**2 + 1 / noise**2
    target = (np.asarray(centre) / r**2 + (2 * np.asarray(measurement.y).ravel() - 1) / noise**2) / precision
    np.testing.assert_allclose(draws.mean(axis=0), target, atol=5 / np.sqrt(4000 * precision))
    inflated = 1 / (1 - 0.05 / 2)  # unadjusted steps of h = 0.05/precision
    np.testing.assert_allclose(draws.var(axis=0).mean() * precision, inflated, rtol=0.02)


@pytest.mark.parametrize("sde, deviation", [(VESDE(0.01, 500.0), 100.0), (VESDE(0.01, 50.0), 50.0), (VPSDE(), 1.0)])
def test_daps_starts_with_the_noise_of_its_first_level(make_case, sde, deviation):
    task = make_case(Identity(SHAPE))[0]
    task = replace(task, prior=task.prior.replace(sde=sde))
    sampler = make_sampler("daps", task, schedule="power-7")
    drawn = jax.vmap(sampler.start)(jax.random.split(jax.random.key(0), 2000))
    assert float(drawn.std()) == pytest.approx(deviation, rel=5 / np.sqrt(2 * drawn.size))


def test_the_ode_of_daps_ends_where_the_exact_one_does(make_case):
    task = make_case(Identity(SHAPE), leading=0.0, rest=0.04)[0]
    sampler, sde, v = make_sampler("daps", task, n_ode=200), task.prior.sde, 4 * 0.04
    u, t = jnp.linspace(-2, 2, D), 0.5
    centre, alpha, beta = 2 * np.asarray(task.prior.mean) - 1, float(sde.alpha(t)), float(sde.beta(t))
    # every quantile stays one
    exact = centre + (np.asarray(u) - alpha * centre) * np.sqrt(v / (alpha**2 * v + beta**2))
    np.testing.assert_allclose(jax.jit(sampler.clean)(u, t), exact, atol=0.02)


def test_the_annealing_of_the_authors_of_daps(make_case):
    """Levels from 100 by the seventh power, a step that falls to 1 %; and the posterior, as near as by the default."""
    case = make_case(Identity(SHAPE))
    sampler = make_sampler("daps", case[0], n_levels=50, n_ode=2, n_inner=20, schedule="power-7", decay=0.01)
    t, s = (np.asarray(a, np.float64) for a in sampler.times())
    r = np.exp(0.5 * np.asarray(case[0].prior.sde.log_odds(jnp.asarray(t, jnp.float32)), np.float64))
    np.testing.assert_allclose(r[0], 100, rtol=1e-3)
    np.testing.assert_allclose(r ** (1 / 7), np.linspace(100 ** (1 / 7), 0.1 ** (1 / 7), 51)[:-1], rtol=1e-3)
    np.testing.assert_array_equal(s, [*t[1:], 0.0])
    mean, covariance, _ = _draw("daps", case, 200, n_levels=50, n_ode=2, n_inner=20, schedule="power-7", decay=0.3)
    assert _bias(mean, case) < 0.6 and 0.3 < _ratio(covariance, case) < 2


def test_langevin_of_daps_takes_the_share_of_its_step(make_case):
    task, measurement, *_ = make_case(Identity(SHAPE))
    centre, key = jnp.linspace(-0.5, 0.5, D), jax.random.key(0)
    found = {
        (size, share): make_sampler("daps", task, n_inner=3, step_size=size).langevin(
            centre, 0.3, key, measurement, share
        )
        for size, share in ((0.1, 0.5), (0.05, 1.0))
    }
    np.testing.assert_allclose(found[0.1, 0.5], found[0.05, 1.0], rtol=1e-5)


@pytest.mark.slow
def test_daps_is_near_the_posterior(make_case):
    case = make_case(Identity(SHAPE))
    mean, covariance, _ = _draw("daps", case, 200, n_levels=100, n_inner=50)
    assert _bias(mean, case) < 0.4 and _ratio(covariance, case) == pytest.approx(1, abs=0.3)


def test_red_diff_seeks_a_point_between_prior_and_data(make_case):
    case = make_case(Identity(SHAPE))
    y, prior_mean = np.asarray(case[1].y, np.float64).ravel(), np.asarray(case[0].prior.mean, np.float64)
    found = [_draw("red-diff", case, 50, weight=w) for w in (0.01, 0.25, 10.0)]
    away = [np.sqrt(np.mean((mean - y) ** 2)) for mean, _, _ in found]
    assert away[0] < away[1] < away[2] < np.sqrt(np.mean((prior_mean - y) ** 2))
    assert _ratio(found[1][1], case) < 0.05  # a point, where the posterior has a spread


def test_red_diff_from_the_pseudo_inverse_ends_where_it_ends_from_the_prior(make_case):
    case = make_case(POOL)
    task, measurement = case[:2]
    start = np.asarray(make_sampler("red-diff", task, start="pseudo-inverse").initial(measurement), np.float64)
    matrix = dense_matrix(POOL)
    data = 2 * np.ravel(measurement.y) - matrix @ np.ones(D)
    np.testing.assert_allclose(start, np.linalg.pinv(matrix) @ data, atol=1e-5)
    means = [_draw("red-diff", case, 30, start=start)[0] for start in ("prior", "pseudo-inverse")]
    np.testing.assert_allclose(*means, atol=0.02)


@cache
def _small_task():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(4, 4))
    prior = gaussian_mixture([1.0], rng.uniform(0.3, 0.7, (1, 4)), [0.01 * (root @ root.T + np.eye(4))]).gaussian
    return Task(FixedMask(np.array([1.0, 1, 0, 1])), 0.1, prior, prior.sample(jax.random.key(0), 4), unit_range=False)


@pytest.mark.long
@pytest.mark.parametrize("name", ["score-prior", "score-prior-surrogate"])
def test_score_priors_reach_the_posterior(name):
    """KL(q || p) in nats per dimension, its standard error far below the bound."""
    task = _small_task()
    measurement = task.measure(jax.random.key(1), task.signals("val")[0])
    exact = {"prior_term": "exact"} if name == "score-prior" else {}
    flow, optimizer = {"steps": 4, "width": 16, "shortcut": True}, {"steps": 1500, "learning_rate": 3e-3}
    sampler = make_sampler(name, task, flow=flow, optimizer=optimizer, objective={"batch": 128}, **exact)
    x, log_q = sampler.sample_and_log_prob(jax.random.key(2), measurement, 4000)
    gap = np.asarray(log_q - gaussian_posterior(task).log_prob(x, measurement), np.float64) / 4
    assert gap.std() / np.sqrt(4000) < 2e-3
    assert gap.mean() < 0.01
