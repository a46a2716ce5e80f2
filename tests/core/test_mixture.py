"""The Gaussian mixture prior against SciPy, autodiff, quadrature on a grid, and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core.diffusion import VESDE, VPSDE, SubVPSDE
from aps_core.priors import bound
from aps_core.priors.mixture import gaussian_mixture

WEIGHTS = np.array([0.2, 0.5, 0.3])


def _moments(d, smallest=2e-3, seed=0):
    """Means (3, d) and covariances (3, d, d) with eigenvalues from ``smallest`` to 0.03."""
    rng = np.random.default_rng(seed)
    axes = [np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(3)]
    return rng.uniform(0.2, 0.8, (3, d)), np.stack([(q * np.geomspace(smallest, 0.03, d)) @ q.T for q in axes])


@pytest.fixture
def make_mixture():
    """make_mixture(d, smallest, sde, shape): three components in the default precision."""

    def make(d=4, smallest=2e-3, sde=VPSDE(), shape=None):
        return gaussian_mixture(WEIGHTS, *_moments(d, smallest), shape=shape, sde=sde)

    return make


def _logpdf(x, means, covariances, weights=WEIGHTS):
    terms = [
        np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return logsumexp(terms, axis=0)


def test_log_prob_against_scipy(make_mixture, x64):
    prior = make_mixture(shape=(2, 2))
    x = np.random.default_rng(0).random((5, 2, 2))
    np.testing.assert_allclose(jax.jit(jax.vmap(prior.log_prob))(x), _logpdf(x.reshape(5, 4), *_moments(4)), rtol=1e-10)


def test_log_prob_in_single_precision(make_mixture):
    prior = make_mixture(smallest=1e-6)  # condition 3e4
    x = np.asarray(prior.sample(jax.random.key(0), 8))
    np.testing.assert_allclose(jax.jit(jax.vmap(prior.log_prob))(x), _logpdf(x, *_moments(4, 1e-6)), atol=0.05)


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=str)
def test_density_and_score_of_the_diffused_mixture(make_mixture, x64, sde):
    prior, (means, covariances) = make_mixture(sde=sde), _moments(4)
    ut = np.random.default_rng(0).normal(size=4)
    times = np.array([1e-5, 0.05, 0.5, 1.0])

    @jax.jit
    @jax.vmap
    def everything(t):
        return (
            sde.alpha(t),
            sde.beta(t),
            *jax.value_and_grad(prior.log_prob_at)(ut, t),
            prior.score(ut, t),
            prior.eps(ut, t),
        )

    for alpha, beta, value, slope, score, eps in zip(*map(np.asarray, everything(times)), strict=True):
        expected = _logpdf(ut, alpha * (2 * means - 1), 4 * alpha**2 * covariances + beta**2 * np.eye(4))
        assert value == pytest.approx(expected, rel=1e-9)
        np.testing.assert_allclose(score, slope, rtol=1e-9)
        np.testing.assert_allclose(eps, -beta * slope, rtol=1e-9)


def test_far_away_the_score_is_finite(make_mixture):
    prior = make_mixture(smallest=1e-6)
    assert np.all(np.isfinite(jax.jit(prior.score)(jnp.full(4, 30.0), 1e-5)))


def test_draws_have_the_mean_covariance_and_shares(make_mixture):
    prior, n = make_mixture(shape=(2, 2)), 20_000
    x = prior.sample(jax.random.key(0), n)
    assert x.shape == (n, 2, 2)
    x, (means, covariances) = np.asarray(x, np.float64).reshape(n, 4), _moments(4)
    away = means - WEIGHTS @ means
    cov = np.tensordot(WEIGHTS, covariances + away[:, :, None] * away[:, None, :], 1)
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((x.mean(axis=0) - WEIGHTS @ means) / std, 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(x.T) - cov) / np.outer(std, std), 0, atol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(prior.covariance(), cov, rtol=1e-5, atol=1e-7)
    share = (
        np.bincount(
            np.argmax([multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariances, strict=True)], axis=0)
        )
        / n
    )
    np.testing.assert_allclose(share, WEIGHTS, atol=0.02)  # the components hardly overlap


def test_the_gaussian_has_the_same_moments(make_mixture):
    prior = make_mixture(shape=(2, 2), sde=SubVPSDE())
    gaussian = prior.gaussian
    np.testing.assert_allclose(gaussian.mean, WEIGHTS @ _moments(4)[0], rtol=1e-5)
    np.testing.assert_allclose(gaussian.covariance(), prior.covariance(), atol=1e-7)
    assert (gaussian.shape, gaussian.sde, gaussian.excess.shape) == ((2, 2), prior.sde, (4,))
    assert np.all(np.diff(gaussian.excess) <= 0) and gaussian.excess[-1] == 0


def test_one_component_is_a_gaussian(make_prior, x64):
    gaussian = make_prior(d=5)
    prior = gaussian_mixture([2.0], gaussian.mean[None], gaussian.covariance()[None])
    u = np.random.default_rng(0).normal(size=5)
    both = jax.jit(lambda p: (p.eps(u, 0.01), p.log_prob(u)))
    for ours, expected in zip(both(prior), both(gaussian), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("sigma_y", [pytest.param(0.3, marks=pytest.mark.slow), 0.02])
def test_posterior_against_quadrature_in_the_plane(make_mixture, x64, sigma_y):
    prior, matrix, y = make_mixture(d=2), np.array([[1.0, -0.7]]), np.array([0.15])
    axis = np.linspace(-0.6, 1.6, 601)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_joint = _logpdf(x, *_moments(2)) - 0.5 * np.sum((y - x @ matrix.T) ** 2, axis=1) / sigma_y**2
    cell = (axis[1] - axis[0]) ** 2
    log_exact = log_joint - logsumexp(log_joint) - np.log(cell)
    log_ours = np.asarray(jax.jit(jax.vmap(mixture_posterior(prior, sigma_y, y, matrix).log_prob))(x))
    seen = log_exact > log_exact.max() - 20
    np.testing.assert_allclose(log_ours[seen], log_exact[seen], atol=1e-6)
    assert np.sum(np.exp(log_ours)) * cell == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("q, sigma_y", [(2, 1e-3), (6, 0.1), pytest.param(4, 1e-3, marks=pytest.mark.slow)])
def test_posterior_against_dense_algebra(make_mixture, x64, q, sigma_y):
    prior, (means, covariances) = make_mixture(), _moments(4)
    rng = np.random.default_rng(q)
    matrix = rng.normal(size=(q, 4))
    y = matrix @ means[0] + sigma_y * rng.normal(size=q) + 0.02 * matrix @ rng.normal(size=4)
    ours, evidence = mixture_posterior(prior, sigma_y, y, matrix), []
    for j in range(3):
        precision = np.linalg.inv(covariances[j]) + matrix.T @ matrix / sigma_y**2
        mean = np.linalg.solve(precision, np.linalg.solve(covariances[j], means[j]) + matrix.T @ y / sigma_y**2)
        np.testing.assert_allclose(ours.means[j], mean, rtol=1e-6)
        vectors, values = np.asarray(ours.eigenvectors[j]), np.asarray(ours.eigenvalues[j])
        np.testing.assert_allclose(
            (vectors * values) @ vectors.T, np.linalg.inv(precision), rtol=1e-6, atol=1e-9 * values.max()
        )
        spread = matrix @ covariances[j] @ matrix.T + sigma_y**2 * np.eye(q)
        evidence.append(multivariate_normal(matrix @ means[j], spread).logpdf(y))
    expected = np.log(WEIGHTS) + evidence - logsumexp(np.log(WEIGHTS) + evidence)
    np.testing.assert_allclose(ours.log_weights, expected, rtol=1e-6, atol=1e-9)


def test_posterior_in_single_precision(make_mixture):
    """Low noise, so that the posterior covariance is a small difference in the textbook's formula."""
    single, y, matrix = make_mixture(smallest=1e-5), np.array([0.4, 0.6], np.float32), np.eye(4, dtype=np.float32)[:2]
    with jax.enable_x64(True):
        expected = mixture_posterior(make_mixture(smallest=1e-5), 1e-3, y.astype(float), matrix.astype(float))
    ours = jax.jit(lambda y: mixture_posterior(single, 1e-3, y, matrix))(y)
    assert ours.means.dtype == jnp.float32
    ours, expected = jax.tree.map(np.asarray, ours), jax.tree.map(np.asarray, expected)
    std = np.sqrt(np.einsum("mij,mj->mi", expected.eigenvectors**2, expected.eigenvalues))
    np.testing.assert_allclose((ours.means - expected.means) / std, 0, atol=2e-3)
    np.testing.assert_allclose(ours.eigenvalues, expected.eigenvalues, rtol=2e-3)
    np.testing.assert_allclose(ours.log_weights, expected.log_weights, rtol=1e-3)


NODES, WEIGHTS_1D = np.polynomial.hermite_e.hermegauss(32)
EPS = np.stack(np.meshgrid(NODES, NODES, indexing="ij"), axis=-1).reshape(-1, 2)


@jax.jit
def _mismatch(prior, u, times):
    """E||eps - eps_theta(u_t, t)||^2 at each time, by Gauss-Hermite quadrature."""
    weights = np.outer(WEIGHTS_1D, WEIGHTS_1D).ravel() / (2 * np.pi)

    def at(t):
        return jnp.sum((EPS - jax.vmap(lambda e: prior.eps(prior.sde.perturb(u, t, e), t))(EPS)) ** 2, axis=1) @ weights

    return jax.lax.map(at, times)


def _bound_by_quadrature(prior, x):
    """The bound on log p(x) in the plane, Gauss-Hermite in eps and Simpson over likelihood-weighted times: no noise."""
    sde, u, grid = prior.sde, 2 * x - 1, np.linspace(0, 1, 401)
    mismatch = np.asarray(_mismatch(prior, u, sde.likelihood_weighted_time(grid)))  # the first is at t_min
    diffusion = 0.5 * sde.log_snr_span() * simpson(mismatch, x=grid)
    start = -0.5 * (mismatch[0] + 2 * np.log(2 * np.pi * sde.v_min))
    return float(start - bound.prior_kl(sde, u) - diffusion + 2 * np.log(2))


@pytest.mark.parametrize(
    "name", ["mixture", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gaussian", "sub-vp"))]
)
def test_the_bound_with_the_exact_score_is_tight(make_prior, make_mixture, x64, name):
    """The gap is the KL between the paths of the reverse SDE and those of the diffusion given x, nought with the exact
    score but for the start (p(u | u_tmin) is Gaussian where v_min is far below every eigenvalue) and the end (p_1 is
    nearly N(0, I)).
    """
    sde = SubVPSDE() if name == "sub-vp" else VPSDE()
    prior = make_prior(d=2, k=1, rest=2e-3) if name == "gaussian" else make_mixture(d=2, sde=sde)
    for x in np.asarray(prior.sample(jax.random.key(7), 3)):
        gap = (float(prior.log_prob(x)) - _bound_by_quadrature(prior, x)) / 2
        assert abs(gap) < 0.01
    # and it is a bound: with v_min above the small eigenvalues it loosens
    prior = prior.replace(sde=VPSDE(t_min=0.1))
    assert float(prior.log_prob(x)) > _bound_by_quadrature(prior, x) + 0.1


def test_elbo_estimates_the_bound(make_mixture, x64):
    prior, n = make_mixture(d=2), 40
    x = prior.sample(jax.random.key(7), 1)[0]
    values = np.asarray(jax.jit(jax.vmap(lambda k: prior.elbo(k, x, 128)))(jax.random.split(jax.random.key(0), n)))
    error = values.std() / np.sqrt(n)
    assert error < 0.3
    assert values.mean() == pytest.approx(_bound_by_quadrature(prior, x), abs=4 * error)
    assert values.mean() < float(prior.log_prob(x)) + 4 * error


@pytest.mark.parametrize(
    "change, text",
    [
        (dict(weights=[1.0, 0.0]), "weights"),
        (dict(weights=[1.0]), "weights"),
        (dict(means=[0.5, 0.5]), "means"),
        (dict(covariances=-np.eye(2) * np.ones((2, 1, 1))), "positive definite"),
        (dict(covariances=np.eye(2)), "covariances"),
        (dict(covariances=np.array([[1.0, 0.5], [0.0, 1.0]]) * np.ones((2, 1, 1))), "symmetric"),
        (dict(shape=(3,)), "shape"),
    ],
)
def test_refuses(change, text):
    settings = dict(weights=[0.5, 0.5], means=np.full((2, 2), 0.5), covariances=np.eye(2) * np.ones((2, 1, 1)))
    with pytest.raises(ValueError, match=text):
        gaussian_mixture(**{**settings, **change})


@pytest.mark.parametrize(
    "sigma_y, y, matrix, text",
    [(0.0, (2,), (2, 4), "sigma_y"), (0.1, (3,), (2, 4), "matrix"), (0.1, (2,), (2, 3), "matrix")],
)
def test_posterior_refuses(make_mixture, sigma_y, y, matrix, text):
    with pytest.raises(ValueError, match=text):
        mixture_posterior(make_mixture(), sigma_y, np.zeros(y), np.zeros(matrix))
