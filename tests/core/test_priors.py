"""Priors against dense linear algebra, autodiff, SciPy and simulation."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aps_book.experiments.seasons import seasonal_recombination
from aps_book.experiments.sphere_prior import extrapolated_gaussian, score_matching_loss
from aps_core.diffusion import VPSDE
from aps_core.priors import bound, terms
from aps_core.priors.gaussian import fit_gaussian, gaussian_posterior
from aps_core.priors.modal import ScorePrior
from aps_core.priors.networks.dense import ResidualMLP
from aps_core.priors.networks.modal import RegimeResidual
from aps_core.priors.score_network import init_network_prior


def _dense(prior):
    basis, excess = np.asarray(prior.basis, np.float64), np.asarray(prior.excess, np.float64)
    return np.asarray(prior.mean, np.float64), (basis * excess) @ basis.T + float(prior.rest) * np.eye(prior.dim)


def test_log_prob_against_scipy(make_prior, x64):
    prior = make_prior(d=12, shape=(3, 4))
    x = np.random.default_rng(0).random((5, 12))
    ours = jax.vmap(prior.log_prob)(x.reshape(5, 3, 4))
    np.testing.assert_allclose(ours, multivariate_normal(*_dense(prior)).logpdf(x), rtol=1e-10)


def test_log_prob_in_single_precision(make_prior):
    prior = make_prior(d=12, leading=1.0, rest=1e-6)  # condition 1e6
    x = np.asarray(prior.sample(jax.random.key(0), 6))
    expected = multivariate_normal(*_dense(prior)).logpdf(x)
    np.testing.assert_allclose(jax.jit(jax.vmap(prior.log_prob))(x), expected, atol=0.02)


def test_draws_have_the_mean_and_covariance(make_prior):
    prior, n = make_prior(d=6, k=3, shape=(2, 3)), 40_000
    x = prior.sample(jax.random.key(0), n)
    assert x.shape == (n, 2, 3)
    mean, cov = _dense(prior)
    flat, std = np.asarray(x, np.float64).reshape(n, -1), np.sqrt(np.diag(cov))
    np.testing.assert_allclose((flat.mean(axis=0) - mean) / std, 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(flat.T) - cov) / np.outer(std, std), 0, atol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(prior.covariance(), cov, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(prior.mode_std**2, np.asarray(prior.excess) + float(prior.rest), rtol=1e-6)


@pytest.mark.parametrize("t", [1e-5, 0.01, 0.3, 1.0])
def test_eps_and_score_are_those_of_the_diffused_gaussian(make_prior, x64, t):
    prior = make_prior()
    alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)
    mean, cov = _dense(prior)

    def log_density(ut):  # u = 2 x - 1 has mean 2 m - 1 and covariance 4 C
        spread = 4 * alpha**2 * cov + beta**2 * np.eye(prior.dim)
        return jax.scipy.stats.multivariate_normal.logpdf(ut, alpha * (2 * mean - 1), spread)

    ut = jnp.asarray(np.random.default_rng(0).normal(size=prior.dim))
    gradient = jax.jit(jax.grad(log_density))(ut)
    np.testing.assert_allclose(prior.score(ut, t), gradient, rtol=1e-7)
    np.testing.assert_allclose(prior.eps(ut, t), -beta * gradient, rtol=1e-7)


def copies_of_the_basis(function, prior, *arguments):
    """Lines of the compiled program that transpose or copy an array of the size of the prior's basis."""
    d, k = prior.gaussian.basis.shape
    program = jax.jit(function).lower(prior, *arguments).compile().as_text()
    return [
        line for line in program.splitlines() if re.search(rf"= f32\[({d},{k}|{k},{d})\]\S* (transpose|copy)\(", line)
    ]


@pytest.mark.parametrize("kind", ["gaussian", "score", "residual"])
def test_no_evaluation_copies_the_basis(make_prior, make_score_prior, kind):
    """A step of a sampler takes one product with the basis and one with its transpose: a copy of it would cost more
    than both.
    """
    prior = make_score_prior(d=37, k=29) if kind == "score" else make_prior(d=37, k=29)
    if kind == "residual":
        prior = init_network_prior(jax.random.key(0), prior, ResidualMLP(shape=(37,), width=8, depth=1))
    u = jnp.linspace(0, 1, 37)
    # is seen where it is
    assert copies_of_the_basis(lambda p, u: p.gaussian.basis @ (p.gaussian.basis.T @ u), prior, u)
    assert not copies_of_the_basis(lambda p, u: p.eps(u, 0.3), prior, u)
    assert not copies_of_the_basis(lambda p, u: jax.grad(lambda v: jnp.sum(p.eps(v, 0.3) ** 2))(u), prior, u)
    assert not copies_of_the_basis(lambda p, u: jax.vmap(lambda v: p.eps(v, 0.3))(u[None]), prior, u)


def test_fit_is_probabilistic_pca():
    rng = np.random.default_rng(0)
    data = rng.random((50, 2, 4)) @ rng.normal(size=(4, 4))
    flat = data.reshape(50, -1)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    prior = fit_gaussian(data, 3, diagonal=0.01)
    assert prior.shape == (2, 4)
    rest = values[:5].mean() + 0.01
    np.testing.assert_allclose(prior.mean, flat.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prior.rest, rest, rtol=1e-5)
    np.testing.assert_allclose(prior.excess, values[::-1][:3] + 0.01 - rest, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(np.asarray(prior.basis) * vectors[:, ::-1][:, :3], axis=0)), 1, rtol=1e-4)
    largest = np.abs(prior.basis).argmax(axis=0)
    assert np.all(np.asarray(prior.basis)[largest, range(3)] > 0)


@pytest.mark.parametrize("n", [30, 6], ids=["more signals than entries", "fewer"])
def test_fit_of_the_full_covariance(n):
    data = np.random.default_rng(1).random((n, 8))
    prior = fit_gaussian(data, 8, diagonal=0.01)
    np.testing.assert_allclose(prior.covariance(), np.cov(data.T) + 0.01 * np.eye(8), atol=1e-6)


def test_fit_refuses():
    data = np.random.default_rng(1).random((30, 8))
    for n_modes in (0, 9):
        with pytest.raises(ValueError, match="n_modes"):
            fit_gaussian(data, n_modes)
    with pytest.raises(ValueError, match="variance outside"):
        fit_gaussian(data, 8)


_closed_form = jax.jit(gaussian_posterior)


def _posterior_case(prior, sigma_y, seed, missing=0.5):
    """The closed form, and the exact mean and covariance. missing None: nothing is, and there is no mask."""
    rng = np.random.default_rng(seed)
    observed = (rng.random(prior.dim) > (missing or 0)).astype(float)
    y = observed * (np.asarray(prior.sample(jax.random.key(seed), 1))[0].ravel() + sigma_y * rng.normal(size=prior.dim))
    mean, cov = _dense(prior)
    precision = np.linalg.inv(cov) + np.diag(observed) / sigma_y**2
    exact_cov = np.linalg.inv(precision)
    exact_mean = mean + exact_cov @ (observed * (y - mean)) / sigma_y**2
    mask = None if missing is None else jnp.asarray(observed, prior.mean.dtype)
    ours = _closed_form(prior, sigma_y, jnp.asarray(y, prior.mean.dtype), mask)
    return ours, exact_mean, exact_cov


def _assert_posterior(prior, ours, mean, cov, tolerance):
    """All in units of the posterior standard deviation."""
    std = np.sqrt(np.diag(cov))
    ours = jax.tree.map(np.asarray, ours)
    np.testing.assert_allclose((ours.mean - mean) / std, 0, atol=tolerance)
    np.testing.assert_allclose((ours.covariance() - cov) / np.outer(std, std), 0, atol=tolerance)
    np.testing.assert_allclose(ours.marginal_std, std, rtol=tolerance)
    np.testing.assert_allclose(ours.log_det, 0.5 * np.linalg.slogdet(cov)[1], atol=tolerance * prior.dim)
    basis = np.asarray(prior.basis, np.float64)
    modes = basis.T @ cov @ basis
    scale = np.sqrt(np.diag(modes))
    np.testing.assert_allclose((ours.mode_cov - modes) / np.outer(scale, scale), 0, atol=tolerance)


# leading variance, rest, sigma_y: ordinary; leading a million times the rest; noise far below, and far above the rest
SCALES = [(0.05, 1e-3, 0.05), (1.0, 1e-6, 0.05), (0.05, 1e-2, 1e-3), (0.05, 1e-5, 0.5)]


@pytest.mark.parametrize("leading, rest, sigma_y", SCALES)
@pytest.mark.parametrize("missing", [None, 0.0, 0.5, 0.9])
def test_closed_form_posterior_against_a_dense_solve(make_prior, x64, leading, rest, sigma_y, missing):
    prior = make_prior(d=20, k=7, leading=leading, rest=rest)
    _assert_posterior(prior, *_posterior_case(prior, sigma_y, 1, missing), tolerance=1e-7)


@pytest.mark.parametrize("leading, rest, sigma_y", SCALES)
@pytest.mark.parametrize("missing", [None, 0.0, 0.5])
def test_closed_form_posterior_in_single_precision(make_prior, leading, rest, sigma_y, missing):
    prior = make_prior(d=20, k=7, leading=leading, rest=rest)
    _assert_posterior(prior, *_posterior_case(prior, sigma_y, 1, missing), tolerance=2e-3)


@pytest.mark.parametrize("leading, rest, sigma_y", SCALES)
@pytest.mark.parametrize("missing", [None, 0.5])
def test_closed_form_posterior_as_a_bijection(make_prior, leading, rest, sigma_y, missing):
    prior = make_prior(d=20, k=7, leading=leading, rest=rest)
    ours, _, cov = _posterior_case(prior, sigma_y, 2, missing)
    forward, inverse = (jax.jit(jax.vmap(f)) for f in (ours.forward, ours.inverse))
    z = jax.random.normal(jax.random.key(0), (50, 20))
    x, log_det = forward(z)
    back, inverse_log_det = inverse(x)
    rounding = np.finfo(np.float32).eps * np.abs(x).max() / np.sqrt(np.linalg.eigvalsh(cov).min())  # of x itself
    np.testing.assert_allclose(back, z, atol=1e-4 + rounding)
    np.testing.assert_allclose(forward(back)[0], x, atol=1e-4)
    np.testing.assert_allclose(log_det, -inverse_log_det)
    root = np.asarray(forward(jnp.eye(20))[0] - forward(jnp.zeros((20, 20)))[0], np.float64).T  # it is affine
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((root @ root.T - cov) / np.outer(std, std), 0, atol=2e-3)
    assert np.linalg.slogdet(root)[1] == pytest.approx(float(ours.log_det), abs=2e-3)


def _mean_bound(prior, x, n_batches, start_time_term=True):
    """Mean and standard error of the bound on log p(x) over batches of 1000 low-discrepancy times.

    The noise whose expectation is zero, that of |eps|^2 in the modes where the signal dominates, is taken out.
    """
    sde, u = prior.sde, 2 * x - 1
    mean, cov = _dense(prior)
    variances, axes = np.linalg.eigh(4 * cov)

    def one(key, t):
        estimate = bound.elbo_at(prior.eps, sde, u, t, key, form=bound.Form(start_time_term))
        eps = axes.T @ jax.random.normal(jax.random.split(key)[0], u.shape)
        alpha, beta = sde.alpha(t), sde.beta(t)
        share = alpha**2 * variances / (alpha**2 * variances + beta**2)  # eps - eps_G = share eps + const
        known = 0.5 * sde.log_snr_span() * (share**2 * (eps**2 - 1)).sum()
        return estimate + known + u.size * jnp.log(2.0)

    @jax.jit
    def batch(key):
        k_t, k_eps = jax.random.split(key)
        return jax.vmap(one)(jax.random.split(k_eps, 1000), bound.times(k_t, sde, 1000)).mean()

    means = [float(batch(key)) for key in jax.random.split(jax.random.key(8), n_batches)]
    return np.mean(means), np.std(means, ddof=1) / np.sqrt(n_batches)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bound_is_a_bound_and_is_tight_for_the_exact_score(make_prior, x64, seed):
    prior = make_prior(d=8, k=4)
    x = prior.sample(jax.random.key(seed), 1)[0]
    bound, error = _mean_bound(prior, x, 100)
    gap = float(prior.log_prob(x)) - bound
    assert error < 0.04
    assert -3 * error < gap < 0.01 * prior.dim


@pytest.mark.slow
def test_a_wrong_score_loosens_the_bound(make_prior, x64):
    prior = make_prior(d=8, k=4)
    x = prior.sample(jax.random.key(0), 1)[0]
    wrong = prior.replace(rest=3 * prior.rest, excess=0.3 * prior.excess)
    bounds = [_mean_bound(p, x, 20)[0] for p in (prior, wrong)]
    assert bounds[0] - float(wrong.log_prob(x)) > 1  # the example is one where the two differ
    assert bounds[1] == pytest.approx(float(wrong.log_prob(x)), abs=0.2)


@pytest.mark.parametrize("variance", [1e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("t_min", [1e-3, 1e-5])
def test_the_cut_off_bound_acts_like_a_wider_prior(make_prior, x64, variance, t_min):
    """Precision in the scale of u: 1/(lambda + v) without, and with the start-time term v/(lambda + v)^2 more."""
    prior = make_prior(d=1, k=1, leading=0.5 * variance / 4, rest=0.5 * variance / 4, sde=VPSDE(t_min=t_min))
    grid = (jnp.arange(8000) + 0.5) / 8000  # the bound is quadratic in x: its curvature has no noise but that of t
    v = prior.sde.v_min
    expected = {"elbo-no-start": 1 / (variance + v), "elbo": 1 / (variance + v) + v / (variance + v) ** 2}
    for name, precision in expected.items():
        term = lambda x, name=name: terms.PriorTerm(name)(prior, x, grid, jax.random.key(0))  # noqa: E731
        curvature = jax.jit(jax.hessian(term))(jnp.array([0.4]))[0, 0] / 4
        assert float(-curvature) == pytest.approx(precision, rel=1e-4)


def test_log_ratio_is_the_difference_of_two_bounds(make_score_prior, x64):
    prior = make_score_prior(sde=VPSDE(t_min=1e-4))
    g, basis = prior.gaussian, prior.gaussian.basis[:, :3]
    u = 2 * prior.gaussian.sample(jax.random.key(0), 1)[0] - 1

    def residual(ut, t):
        return prior.eps(ut, t) - g.eps(ut, t)

    @jax.jit
    def numbers(t):
        key, cut_off = jax.random.key(3), bound.Form(start_time_term=False)
        learned, gaussian = (bound.elbo_at(p.eps, prior.sde, u, t, key, form=cut_off) for p in (prior, g))
        ratio = bound.log_ratio_at(g.eps, residual, prior.sde, u, t, jax.random.split(key)[0], prior.sde.t_min)
        # and all of it is in the leading modes
        v = basis.T @ (u - (2 * g.mean - 1))
        eps = jax.random.normal(jax.random.key(5), (3,))
        full = basis @ eps
        ut = prior.sde.perturb(u, t, full)
        mismatch = [jnp.sum((full - p.eps(ut, t)) ** 2) for p in (prior, g)]
        direct = -0.5 * prior.sde.log_snr_span() * (mismatch[0] - mismatch[1])
        return learned, gaussian, ratio, direct, prior.modal_log_ratio(jax.random.key(5), v, t)

    for t in (2e-4, 0.01, 0.5):
        learned, gaussian, ratio, direct, modal = numbers(t)
        assert abs(float(ratio)) > 1e-3
        assert float(ratio) == pytest.approx(float(learned - gaussian), rel=1e-7, abs=1e-9)
        assert float(modal) == pytest.approx(float(direct), rel=1e-7, abs=1e-9)


def test_an_untrained_network_is_the_gaussian_prior(make_score_prior):
    prior = make_score_prior(scale=0.0)
    x = prior.gaussian.sample(jax.random.key(0), 4)
    both = jax.jit(
        jax.vmap(lambda xi: (prior.log_ratio(jax.random.key(1), xi, 8), prior.elbo(jax.random.key(1), xi, 8)))
    )
    ratio, bound = both(x)
    np.testing.assert_array_equal(ratio, np.zeros(4))
    np.testing.assert_allclose(bound, jax.vmap(prior.gaussian.log_prob)(x), rtol=1e-6)


def test_eps_is_that_of_the_gaussian_plus_the_residual(make_score_prior, x64):
    prior = make_score_prior()
    g, basis = prior.gaussian, np.asarray(prior.gaussian.basis)[:, :3]
    ut = jnp.asarray(np.random.default_rng(0).normal(size=8))
    for t in (2e-4, 0.1, 0.9):
        alpha, beta, sigma = prior.sde.alpha(t), prior.sde.beta(t), 2 * np.sqrt(g.excess + g.rest)[:3]
        variance = alpha**2 * sigma**2 + beta**2
        vt = basis.T @ np.asarray(ut - alpha * (2 * g.mean - 1))
        r = alpha * sigma * beta / variance * prior.network.apply(prior.params, vt / np.sqrt(variance), t)
        assert np.abs(r).max() > 1e-4
        np.testing.assert_allclose(prior.eps(ut, t), g.eps(ut, t) + basis @ r, rtol=1e-9)
        np.testing.assert_allclose(prior.score(ut, t), -prior.eps(ut, t) / beta, rtol=1e-12)
    np.testing.assert_array_equal(prior.eps(ut, 5e-5), g.eps(ut, 5e-5))  # below t_residual


def test_amplitudes_in_the_leading_modes(make_score_prior):
    prior = make_score_prior(d=8, shape=(2, 4))
    x = prior.gaussian.sample(jax.random.key(0), 5)
    expected = (2 * np.asarray(x).reshape(5, 8) - 2 * np.asarray(prior.gaussian.mean)) @ np.asarray(
        prior.gaussian.basis
    )[:, :3]
    np.testing.assert_allclose(prior.modes(x), expected, atol=1e-6)
    np.testing.assert_allclose(prior.modes(x[0]), expected[0], atol=1e-6)


@dataclass(frozen=True)
class _OtherGaussian:
    """In place of a network: the exact residual that turns N(0, sigma^2) in each mode into N(shift, factor sigma^2)."""

    k: int
    sigma: tuple
    factor: float
    shift: float
    sde: VPSDE

    def apply(self, params, c, t):
        del params
        alpha, beta, sigma = self.sde.alpha(t), self.sde.beta(t), jnp.asarray(self.sigma)
        before = alpha**2 * sigma**2 + beta**2
        vt = c * jnp.sqrt(before)
        after = alpha**2 * self.factor * sigma**2 + beta**2
        r = beta * (vt - alpha * self.shift * sigma) / after - beta * vt / before
        return r * before / (alpha * sigma * beta)


@pytest.mark.parametrize("factor, shift", [pytest.param(0.5, 0.0, marks=pytest.mark.slow), (1.7, 0.6)])
def test_log_ratio_of_a_known_learned_prior(make_prior, x64, factor, shift):
    g = make_prior(d=6, k=3)
    sigma = tuple(float(s) for s in 2 * g.mode_std[:2])
    prior = ScorePrior(g, {}, _OtherGaussian(2, sigma, factor, shift, g.sde), t_residual=1e-5)
    x = g.sample(jax.random.key(1), 1)[0]
    v, s = np.asarray(prior.modes(x)), np.asarray(sigma)
    exact = sum(
        multivariate_normal(shift * si, factor * si**2).logpdf(vi) - multivariate_normal(0, si**2).logpdf(vi)
        for vi, si in zip(v, s)
    )
    estimates = jax.jit(jax.vmap(lambda k: prior.log_ratio(k, x, 500)))(jax.random.split(jax.random.key(2), 40))
    error = float(np.std(estimates) / np.sqrt(40))
    assert error < 0.05 * max(1, abs(exact))
    assert float(np.mean(estimates)) == pytest.approx(exact, abs=4 * error + 0.005)
    # score matching measures the same: minus the mean log ratio over signals
    losses = jax.jit(jax.vmap(lambda k: score_matching_loss(prior, k, jnp.tile(v, (500, 1)))))(
        jax.random.split(jax.random.key(3), 40)
    )
    assert float(np.mean(losses)) == pytest.approx(-exact, abs=4 * error + 0.005)


def test_the_network_starts_at_zero_and_depends_on_time():
    network = RegimeResidual(k=5, lead=2, regimes=3, rank=2, width=8)
    c = jnp.linspace(-1, 1, 5)
    params, apply = jax.jit(network.init)(jax.random.key(0), c, 0.5), jax.jit(network.apply)
    np.testing.assert_array_equal(apply(params, c, 0.1), np.zeros(5))
    params = jax.tree.map(lambda a: a + 0.3, params)
    outs = [np.asarray(apply(params, c, t)) for t in (1e-4, 1.1e-4, 0.5)]
    assert outs[0].shape == (5,)
    assert np.abs(outs[0] - outs[1]).max() > 1e-5 and np.abs(outs[0] - outs[2]).max() > 1e-3


def test_extrapolated_variances_are_those_of_new_signals():
    """Ratios to the variances of 5000 new signals, averaged over data sets."""
    rng = np.random.default_rng(0)
    d, n, k = 80, 128, 16
    axes, scales = np.linalg.qr(rng.normal(size=(d, d)))[0], 0.8 ** np.arange(d) + 0.05
    year = np.repeat(np.arange(16), 8)
    draw = lambda n: (rng.normal(size=(n, d)) * scales) @ axes.T  # noqa: E731
    ratios = []
    for _ in range(12):
        signals, fresh = draw(n), draw(5000)
        prior, naive = extrapolated_gaussian(signals, year, k, last_years=4), fit_gaussian(signals, k)
        np.testing.assert_array_equal(prior.basis, naive.basis)
        v = fresh - np.asarray(prior.mean)
        modes = np.mean((v @ np.asarray(prior.basis)) ** 2, axis=0)
        rest = (np.mean(np.sum(v**2, axis=1)) - modes.sum()) / (d - k)
        ratios.append([np.r_[np.sum(p.mode_std**2) / modes.sum(), p.rest / rest] for p in (prior, naive)])
    ours, naive = np.mean(ratios, axis=0)
    np.testing.assert_allclose(ours, 1, atol=0.1)
    assert naive[1] < 0.85  # the variances of the sample itself will not do
    with pytest.raises(ValueError, match="last_years = 15 leaves 8"):
        extrapolated_gaussian(signals, year, k, last_years=15)


def _months(n_years, k=3):
    rng = np.random.default_rng(0)
    month = np.tile(np.arange(1, 13), n_years)
    scale = 1 + 0.5 * np.cos(2 * np.pi * (month - 1) / 12)
    amplitudes = scale[:, None] * rng.normal(size=(len(month), k)) @ rng.normal(size=(k, k))
    amplitudes[:, 0] += 100 * month  # so that a draw shows its month
    return amplitudes, month


@pytest.mark.parametrize("months_wide, any_month", [(0.2, 0.0), (1.0, 0.2)])
def test_recombined_months_keep_mean_and_covariance(months_wide, any_month):
    amplitudes, month = _months(8)
    n = 20_000
    drawn = seasonal_recombination(amplitudes, month, months_wide, any_month, n_mixed=6).sample(jax.random.key(0), n)
    drawn = np.asarray(drawn, np.float64)
    climatology = np.stack([amplitudes[month == m].mean(axis=0) for m in range(1, 13)])
    cov = np.stack([np.cov(amplitudes[month == m].T) for m in range(1, 13)])
    of = np.rint(drawn[:, 0] / 100).astype(int)
    assert set(of) == set(range(1, 13))
    ratios = []
    for m in range(1, 13):
        away = np.minimum((np.arange(1, 13) - m) % 12, (m - np.arange(1, 13)) % 12)
        near = np.exp(-0.5 * (away / months_wide) ** 2)
        expected = np.tensordot((1 - any_month) * near / near.sum() + any_month / 12, cov, 1)
        std, mine = np.sqrt(np.diag(expected)), drawn[of == m]
        np.testing.assert_allclose((mine.mean(axis=0) - climatology[m - 1]) / std, 0, atol=5 / np.sqrt(len(mine)))
        np.testing.assert_allclose((np.cov(mine.T) - expected) / np.outer(std, std), 0, atol=6 * np.sqrt(2 / len(mine)))
        ratios.append(mine.var(axis=0) / std**2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


def test_recombined_fields_are_new():
    amplitudes, month = _months(8)
    drawn = np.asarray(seasonal_recombination(amplitudes, month).sample(jax.random.key(0), 200))
    distance = np.linalg.norm(drawn[:, None] - amplitudes[None], axis=2).min(axis=1)
    assert np.median(distance) > 0.1


def test_recombination_refuses():
    amplitudes, month = _months(4)
    with pytest.raises(ValueError, match=r"\[7\] are absent"):
        seasonal_recombination(amplitudes[month != 7], month[month != 7])
    for settings in (dict(months_wide=0.0), dict(any_month=1.5), dict(n_mixed=0)):
        with pytest.raises(ValueError, match="expected months_wide"):
            seasonal_recombination(amplitudes, month, **settings)
