"""Log density by the probability-flow ODE against closed forms, its own draws, and the score.

The truth is the density of u at t_min. What is left at small tolerance is the end: N(0, prior_std^2 I) instead of p_1,
which is off by about alpha(1) |2 m - 1| = 0.004 standard deviations in each entry.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core.diffusion import VESDE, VPSDE, SubVPSDE
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.ode import SOLVERS, _probes, draw_ode, log_prob_ode, ode_drift, ode_map

D = 3
ORDER = {"Euler": 1, "Heun": 2, "Midpoint": 2, "Bosh3": 3, "Tsit5": 5, "Dopri5": 5, "Dopri8": 8, "Kvaerno3": 3}


def _mixture(sde=VPSDE(), smallest=1e-3):
    rng = np.random.default_rng(0)
    axes = [np.linalg.qr(rng.normal(size=(D, D)))[0] for _ in range(2)]
    covariances = np.stack([(q * np.geomspace(smallest, 0.04, D)) @ q.T for q in axes])
    return gaussian_mixture([0.3, 0.7], rng.uniform(0.2, 0.8, (2, D)), covariances, sde=sde)


def _truth(prior, x):
    """log density of x (n, d) whose u is diffused up to t_min."""
    return jax.jit(jax.vmap(lambda xi: prior.log_prob_at(2 * xi - 1, prior.sde.t_min)))(x) + D * np.log(2)


def _ode(prior, x, **settings):
    """log_prob_ode of x (n, d) as NumPy arrays."""
    out = jax.jit(jax.vmap(lambda xi: log_prob_ode(prior, xi, **settings)))(x)
    return jax.tree.map(np.asarray, out)


def _check(prior, x, truth, solver, **settings):
    out = _ode(prior, x, solver=solver, **settings)
    np.testing.assert_allclose(out.log_prob / D, truth / D, atol=0.01)
    np.testing.assert_array_equal(out.nfe, ORDER[solver] * out.n_steps)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["Dopri5", "Bosh3", "Tsit5", "Heun", "Dopri8"])
def test_the_density_of_a_mixture(solver):
    prior = _mixture()
    x = prior.sample(jax.random.key(0), 4)
    out = _check(prior, x, _truth(prior, x), solver, max_steps=2000)
    assert out.n_steps.min() >= 3 and out.n_steps.max() < (2000 if solver == "Heun" else 200)


@pytest.mark.parametrize(
    "solver", ["Bosh3", *(pytest.param(s, marks=pytest.mark.slow) for s in ("Dopri5", "Tsit5", "Heun"))]
)
def test_the_density_of_a_gaussian(make_prior, solver):
    prior = make_prior(d=D, k=2, shape=(1, D))
    x = prior.sample(jax.random.key(0), 4)
    # v_min is a millionth: t_min is 0
    _check(prior, x, np.asarray(jax.vmap(prior.log_prob)(x)), solver, max_steps=2000)


@pytest.mark.slow
@pytest.mark.parametrize("sde", [SubVPSDE(), VESDE()], ids=str)
def test_the_density_under_other_diffusions(sde):
    prior = _mixture(sde)
    x = prior.sample(jax.random.key(0), 4)
    _check(prior, x, _truth(prior, x), "Dopri5")


@pytest.mark.slow
@pytest.mark.parametrize("time", ["t", "log-snr"])
def test_other_integration_variables_give_the_same(time):
    prior = _mixture()
    x = prior.sample(jax.random.key(0), 4)
    _check(prior, x, _truth(prior, x), "Dopri5", time=time)


def test_the_variable_changes_only_the_pace(x64):
    prior, u = _mixture(), jnp.array([0.3, -0.2, 0.9])
    for t in (1e-5, 0.01, 0.9):
        expected = prior.sde.drift(u, t) - 0.5 * prior.sde.g(t) ** 2 * prior.score(u, t)
        np.testing.assert_allclose(ode_drift(prior, u, jnp.asarray(t)), expected, rtol=1e-12)
        s = prior.sde.log_odds(t)
        pace = float((prior.sde.beta(t) / prior.sde.g(t)) ** 2)
        np.testing.assert_allclose(ode_drift(prior, u, s, "log-snr"), pace * np.asarray(expected), rtol=1e-8)
        np.testing.assert_allclose(
            ode_drift(prior, u, jnp.sqrt(t), "sqrt-t"), 2 * np.sqrt(t) * np.asarray(expected), rtol=1e-8
        )


@pytest.mark.parametrize(
    "solver, counts, ratio",
    [("Euler", (200, 400, 800), 2.0), pytest.param("Midpoint", (50, 100, 200), 4.0, marks=pytest.mark.slow)],
)
def test_fixed_steps_have_the_order_of_the_solver(make_prior, x64, solver, counts, ratio):
    """Halving the steps of Euler halves its error, those of Midpoint quarters it; n_steps is what was asked for."""
    prior = make_prior(d=D, k=2, rest=1e-2)
    x = prior.sample(jax.random.key(0), 3)
    runs = [_ode(prior, x, solver=solver, n_steps=n) for n in counts]
    for run, n in zip(runs, counts, strict=True):
        np.testing.assert_array_equal(run.n_steps, n)
        np.testing.assert_array_equal(run.nfe, ORDER[solver] * n)
    # the limit is not needed: successive differences shrink like the error
    shrink = np.linalg.norm(runs[0].log_prob - runs[1].log_prob) / np.linalg.norm(runs[1].log_prob - runs[2].log_prob)
    assert shrink == pytest.approx(ratio, rel=0.2)


@pytest.mark.slow
def test_an_implicit_solver(x64):
    prior = _mixture()
    x = prior.sample(jax.random.key(0), 2)
    _check(prior, x, _truth(prior, x), "Kvaerno3", rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_probes_estimate_the_divergence_without_bias(kind):
    """The mean over 1000 trials is the exact value within 4 standard errors, and four probes have a quarter of the
    variance of one.
    """
    prior, n = _mixture(smallest=1e-2), 1000
    x = prior.sample(jax.random.key(0), 1)[0]
    settings = dict(solver="Midpoint", n_steps=40)  # the same steps for all, so that only the probes differ
    exact = float(log_prob_ode(prior, x, **settings).log_prob)

    def trials(n_probes):
        draw = jax.jit(
            jax.vmap(lambda k: log_prob_ode(prior, x, k, divergence=kind, n_probes=n_probes, **settings).log_prob)
        )
        return np.asarray(draw(jax.random.split(jax.random.key(1), n)), np.float64)

    one, four = trials(1), trials(4)
    for values in (one, four):
        assert values.std() > 1e-3
        assert values.mean() == pytest.approx(exact, abs=4 * values.std() / np.sqrt(n))
    # the ratio of two variances of 1000 trials scatters by sqrt(4/1000) for normal errors; Gaussian probes have heavier
    # tails
    assert one.var() / four.var() == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("kind", ["rademacher", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_probes_are_fixed_along_a_trajectory(make_prior, x64, kind):
    """For a Gaussian u_1 = R u with R = (C_1 C_tmin^-1)^(1/2), so that fixed probes v give the mean of v . log(R) v in
    place of log|R|.
    """
    prior, keys = make_prior(d=D, k=2), jax.random.split(jax.random.key(0), 5)
    x = jnp.full(D, 0.6)
    estimate = jax.jit(
        jax.vmap(
            lambda k: log_prob_ode(prior, x, k, divergence=kind, n_probes=2, solver="Midpoint", n_steps=200).log_prob
        )
    )
    values, vectors = np.linalg.eigh(np.asarray(prior.covariance()))
    alpha, beta = (np.array([float(f(t)) for t in (prior.sde.t_min, 1.0)]) for f in (prior.sde.alpha, prior.sde.beta))
    spread = 4 * alpha[:, None] ** 2 * values + beta[:, None] ** 2
    log_r = (vectors * (0.5 * np.log(spread[1] / spread[0]))) @ vectors.T
    away = (
        vectors
        * np.sqrt(spread[1] / spread[0])
        @ vectors.T
        @ (2 * np.asarray(x) - 1 - alpha[0] * (2 * np.asarray(prior.mean) - 1))
    )
    u_1 = alpha[1] * (2 * np.asarray(prior.mean) - 1) + away
    fixed = float(prior.sde.prior_log_prob(jnp.asarray(u_1))) + D * np.log(2)
    v = np.stack([_probes(k, kind, 2, x) for k in keys])
    np.testing.assert_allclose(
        estimate(keys), fixed + np.mean(np.einsum("npi,ij,npj->np", v, log_r, v), axis=1), atol=5e-3
    )


def _gradient_error(prior, x, gradient):
    """Length of (gradient - score in the x scale) per entry, in units of the prior's standard deviations, each of n
    signals.
    """
    expected = jax.jit(jax.vmap(lambda xi: 2 * prior.score(2 * xi - 1, prior.sde.t_min)))(x)
    root = np.linalg.cholesky(np.asarray(prior.covariance()))
    assert np.linalg.norm(np.asarray(expected) @ root) > 1
    return np.linalg.norm(np.asarray(gradient - expected) @ root, axis=1) / np.sqrt(D)


@pytest.mark.parametrize(
    "adjoint", ["continuous", *(pytest.param(a, marks=pytest.mark.slow) for a in ("checkpointed", "direct"))]
)
def test_gradients_are_the_score(make_prior, adjoint):
    """Tolerance: the end of the ODE is off by alpha(1) |2 m - 1| < 0.004 standard deviations (see above), steps by
    about 1e-3.
    """
    prior = make_prior(d=D, k=2)
    x = prior.sample(jax.random.key(0), 3)
    gradient = jax.jit(
        lambda prior, x: jax.vmap(jax.grad(lambda xi: log_prob_ode(prior, xi, adjoint=adjoint, max_steps=64).log_prob))(
            x
        )
    )
    assert np.all(_gradient_error(prior, x, gradient(prior, x)) < 0.01)


@pytest.mark.slow
def test_gradients_with_probes_are_the_score_on_average(make_prior):
    prior = make_prior(d=D, k=2)
    x = prior.sample(jax.random.key(0), 1)
    # the field of a Gaussian is linear: its divergence, and with it every estimate of it, has no gradient
    settings = dict(divergence="gaussian", n_probes=2, max_steps=64)
    gradient = jax.jit(jax.vmap(jax.grad(lambda xi: log_prob_ode(prior, xi, jax.random.key(3), **settings).log_prob)))
    assert np.all(_gradient_error(prior, x, gradient(x)) < 0.01)


@pytest.mark.slow
def test_direct_adjoint_has_a_forward_mode(make_prior):
    prior = make_prior(d=D, k=2)
    x = prior.sample(jax.random.key(0), 1)
    gradient = jax.jit(jax.jacfwd(lambda xi: log_prob_ode(prior, xi, adjoint="direct", max_steps=32).log_prob))(x[0])
    assert np.all(_gradient_error(prior, x, gradient[None]) < 0.01)


@pytest.mark.slow
def test_gradients_in_the_parameters_of_the_prior(make_prior):
    prior = make_prior(d=D, k=2)
    x = prior.sample(jax.random.key(0), 1)[0]

    def value(rest, adjoint):
        return log_prob_ode(prior.replace(rest=rest), x, adjoint=adjoint, max_steps=64).log_prob

    exact = float(jax.grad(lambda rest: prior.replace(rest=rest).log_prob(x))(prior.rest))
    assert float(jax.jit(jax.grad(lambda rest: value(rest, "checkpointed")))(prior.rest)) == pytest.approx(
        exact, rel=0.02
    )
    with pytest.raises(ValueError, match='adjoint "continuous" has the gradient in x only; expected "checkpointed"'):
        jax.grad(lambda rest: value(rest, "continuous"))(prior.rest)


def test_draws_have_the_density_that_the_ode_gives_them(x64):
    """Change of variables: log N(z) minus the log-determinant of the map from z to x is log_prob_ode, whatever the
    prior is.
    """
    prior, z, settings = _mixture(), np.array([0.3, -1.2, 0.7]), dict(n_steps=100, solver="Midpoint")
    h = 1e-5 * np.concatenate([np.zeros((1, D)), np.eye(D), -np.eye(D)])
    x = np.asarray(jax.jit(jax.vmap(lambda z: ode_map(prior, z, **settings)))(z + h))
    jacobian = (x[1 : D + 1] - x[D + 1 :]).T / 2e-5
    expected = -0.5 * np.sum(z**2) - 0.5 * D * np.log(2 * np.pi) - np.linalg.slogdet(jacobian)[1]
    assert _ode(prior, x[:1], **settings).log_prob[0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_draws_are_those_of_the_prior():
    prior, n = _mixture(), 2000
    x = np.asarray(jax.jit(lambda k: draw_ode(prior, k, n))(jax.random.key(1)), np.float64)
    assert x.shape == (n, D)
    mean, cov = np.asarray(prior.mean), np.asarray(prior.covariance())
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((x.mean(axis=0) - mean) / std, 0, atol=5 / np.sqrt(n) + 0.005)
    np.testing.assert_allclose((np.cov(x.T) - cov) / np.outer(std, std), 0, atol=5 * np.sqrt(2 / n) + 0.01)


@pytest.mark.parametrize(
    "settings, text",
    [
        (dict(solver="dopri5"), "solver must be one of .'Euler', 'Heun'"),
        (dict(solver="Euler"), "give n_steps"),
        (dict(divergence="trace"), "divergence must be one of .'exact'"),
        (dict(adjoint="discrete"), "adjoint must be one of .'continuous'"),
        (dict(time="sigma"), "time must be one of .'sqrt-t'"),
        (dict(divergence="rademacher"), "key"),
        (dict(divergence="gaussian", n_probes=0, key=jax.random.key(0)), "n_probes 0"),
        (dict(n_steps=0), "n_steps"),
    ],
)
def test_refuses(settings, text):
    with pytest.raises(ValueError, match=text):
        log_prob_ode(_mixture(), np.full(D, 0.5), **settings)


def test_every_solver_is_one_of_diffrax():
    import diffrax

    assert all(issubclass(getattr(diffrax, name), diffrax.AbstractSolver) for name in SOLVERS)


@pytest.mark.slow
def test_learned_priors_have_the_density_and_the_draws_of_their_ode(make_score_prior):
    """Without a residual a learned prior is its Gaussian, whose density and moments are known."""
    prior = make_score_prior(d=4, k=3, scale=0.0)
    x = prior.gaussian.sample(jax.random.key(0), 5)
    found = jax.jit(jax.vmap(lambda x: prior.log_prob(x, rtol=1e-4, atol=1e-4)))(x)
    np.testing.assert_allclose(found, jax.vmap(prior.gaussian.log_prob)(x), atol=0.04)
    draws = np.asarray(jax.jit(lambda key: prior.sample(key, 2000, rtol=1e-3, atol=1e-3))(jax.random.key(1)))
    assert draws.shape == (2000, 4)
    covariance = np.asarray(prior.gaussian.covariance())
    np.testing.assert_allclose(np.cov(draws, rowvar=False), covariance, atol=0.1 * np.abs(covariance).max())
