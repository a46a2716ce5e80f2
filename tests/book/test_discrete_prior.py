"""The flow trained by maximum likelihood, as a prior."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

from aps_book.experiments.flow_prior import DiscreteFlowPrior, init_discrete_prior, maximum_likelihood_loss
from aps_core import weights
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.store import load_prior, prior_settings, prior_tree

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _prior(make_prior, randomise, scale=0.3, d=5, whiten=False, **settings):
    """A flow with random couplings."""
    gaussian = make_prior(d=d, k=d if whiten else 2, **settings)
    prior = DiscreteFlowPrior(gaussian, {}, steps=2, width=6, whiten=whiten)
    couplings = randomise(jax.eval_shape(lambda key: prior.stack.init(key, 0), jax.random.key(0)), scale)
    out = {"loc": gaussian.mean, "log_scale": jnp.full(d, -1.5, gaussian.mean.dtype)}
    return prior.replace(params={"couplings": couplings, "out": out})


@pytest.mark.parametrize("whiten", [False, True])
def test_log_prob_against_autodiff(make_prior, randomise, x64, whiten):
    prior = _prior(make_prior, randomise, d=6, shape=(2, 3), whiten=whiten)
    out, gaussian = prior.params["out"], prior.gaussian

    @jit
    def both(z):
        def draw(z):
            x = (
                out["loc"]
                + jnp.exp(out["log_scale"]) * prior.stack.forward(prior.params["couplings"], z, jnp.zeros(0))[0]
            )
            return gaussian.mean + gaussian.basis @ (jnp.sqrt(gaussian.excess + gaussian.rest) * x) if whiten else x

        return prior.log_prob(draw(z).reshape(2, 3)), jnp.linalg.slogdet(jax.jacfwd(draw)(z))[1]

    values = []
    for z in np.random.default_rng(0).normal(size=(4, 6)):
        ours, log_det = both(jnp.asarray(z))
        assert float(ours) == pytest.approx(-0.5 * z @ z - 3 * np.log(2 * np.pi) - float(log_det), abs=1e-8)
        values.append(float(log_det))
    assert np.ptp(values) > 1e-3


@pytest.mark.parametrize("whiten", [False, True])
def test_the_density_integrates_to_one_and_is_that_of_the_draws(make_prior, randomise, x64, whiten):
    prior = _prior(make_prior, randomise, scale=0.5, d=2, whiten=whiten)
    if whiten:  # spread as wide as that of the other
        prior = prior.replace(params={**prior.params, "out": {"loc": jnp.zeros(2), "log_scale": jnp.array([0.0, 0.4])}})
    axes = [np.linspace(float(m) - 3, float(m) + 3, 300) for m in prior.gaussian.mean]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    draws, log_density = jit(lambda key, x: (prior.sample(key, 4000), jax.vmap(prior.log_prob)(x)))(
        jax.random.key(0), grid
    )
    mass, draws = np.exp(np.asarray(log_density)) * np.prod([a[1] - a[0] for a in axes]), np.asarray(draws)
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    mean = mass @ grid
    cov = (grid - mean).T * mass @ (grid - mean)
    std = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / std, 0, atol=4 / np.sqrt(4000))
    np.testing.assert_allclose((np.cov(draws.T) - cov) / np.outer(std, std), 0, atol=0.12)
    x = jnp.asarray(grid[17])
    assert float(prior.elbo(jax.random.key(1), x, 3)) == float(prior.log_prob(x))


def test_it_starts_as_independent_entries(make_prior):
    gaussian = make_prior(d=4, k=2)
    prior = jit(lambda key: init_discrete_prior(key, gaussian, steps=2, width=3))(jax.random.key(0, impl="rbg"))
    x = gaussian.sample(jax.random.key(1), 3)
    exact = multivariate_normal(gaussian.mean, np.diag(np.diag(gaussian.covariance()))).logpdf(x)
    np.testing.assert_allclose(jit(jax.vmap(prior.log_prob))(x), exact, rtol=1e-4)


def test_whitened_it_starts_as_the_gaussian(make_prior):
    gaussian = make_prior(d=4, k=4)
    prior = jit(lambda key: init_discrete_prior(key, gaussian, steps=2, width=3, whiten=True))(
        jax.random.key(0, impl="rbg")
    )
    x = gaussian.sample(jax.random.key(1), 3)
    np.testing.assert_allclose(
        jit(jax.vmap(prior.log_prob))(x), multivariate_normal(gaussian.mean, gaussian.covariance()).logpdf(x), rtol=1e-4
    )
    with pytest.raises(ValueError, match="whiten needs a Gaussian of all 4 modes, got 2"):
        init_discrete_prior(jax.random.key(0), make_prior(d=4, k=2), whiten=True)


def test_the_loss_is_the_mean_over_dequantized_signals(make_prior, randomise, x64):
    prior = _prior(make_prior, randomise, d=2)
    x, width = jnp.array([[0.4, 0.5]]), 0.5
    loss = jit(lambda key, x: maximum_likelihood_loss(prior, key, x, width))
    ours = float(loss(jax.random.key(0), jnp.tile(x, (4000, 1))))
    offsets = (np.arange(60) + 0.5) / 60 - 0.5
    grid = x[0] + width * np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
    values = -np.asarray(jit(jax.vmap(prior.log_prob))(grid)) / 2
    assert ours == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(4000))
    exact = float(jit(lambda x: maximum_likelihood_loss(prior, jax.random.key(0), x))(x))
    assert exact == pytest.approx(-float(prior.log_prob(x[0])) / 2) and abs(ours - exact) > 0.01


def test_it_comes_back_from_its_file(make_prior, randomise, tmp_path):
    prior = _prior(make_prior, randomise, whiten=True)
    weights.save(tmp_path / "p.safetensors", prior_tree(prior), {"settings": prior_settings(prior)})
    again, _ = load_prior(tmp_path / "p.safetensors")
    log_prob = jit(lambda prior: prior.log_prob(jnp.linspace(0.2, 0.8, 5)))
    assert (again.steps, again.width, again.depth, again.shape, again.whiten) == (2, 6, 2, (5,), True)
    assert float(log_prob(again)) == float(log_prob(prior))


@pytest.mark.long
def test_maximum_likelihood_fits_a_mixture():
    """The loss on new draws is the entropy of the mixture, estimated from the same draws, up to a small KL."""
    spread = 0.06**2 * np.array([[[1.0, 0.6], [0.6, 1.0]], [[1.0, -0.6], [-0.6, 1.0]]])
    mixture = gaussian_mixture([0.4, 0.6], [[0.35, 0.4], [0.65, 0.55]], spread)
    prior = jax.jit(lambda key: init_discrete_prior(key, mixture.gaussian, steps=6, width=32))(jax.random.key(0))
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.warmup_cosine_decay_schedule(0.0, 3e-3, 50, 1500))
    )

    @jax.jit
    def train(params, key):
        def step(carry, k):
            params, state = carry
            gradient = jax.grad(lambda p: maximum_likelihood_loss(prior.replace(params=p), k, mixture.sample(k, 256)))(
                params
            )
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, 1500))[0][0]

    trained = prior.replace(params=train(prior.params, jax.random.key(1)))
    x = mixture.sample(jax.random.key(2), 20_000)
    gap = lambda p: float(jnp.mean(jax.vmap(mixture.log_prob)(x) - jax.vmap(p.log_prob)(x)))  # noqa: E731
    gaussian = GaussianPrior(
        *(getattr(mixture.gaussian, name) for name in ("mean", "basis", "excess", "rest")), shape=(2,)
    )
    assert -0.01 < gap(trained) < 0.05 < 0.2 < gap(gaussian)
