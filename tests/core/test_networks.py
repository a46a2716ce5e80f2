"""Token and convolutional networks, and the diffusion priors made of them."""

import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import kstest, multivariate_normal

from aps_core import weights
from aps_core.diffusion import VPSDE
from aps_core.geometry import sphere as geometry
from aps_core.priors import bound, score_network
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.mixture import gaussian_mixture
from aps_core.priors.networks.patches import (
    PatchTransformer,
    Tokens,
    TokenTrunk,
    grid_patches,
    image_patches,
    make_tokens,
    vertex_patches,
)
from aps_core.priors.score_network import NetworkPrior, denoising_loss, dequantized, init_network_prior

# these programs run once: compiling them is what takes the time
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SHAPE, DIM = (4, 2, 2), 16


def _points(n=61, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


PARTITIONS = {
    "image": lambda: image_patches(SHAPE, 2),
    "grid": lambda: grid_patches((7, 10), (3, 4)),
    "sphere": lambda: grid_patches(geometry.SHAPE, (6, 6)),
    "mesh": lambda: vertex_patches(_points(), 9),
    "one each": lambda: vertex_patches(_points(), 61),
    "one token": lambda: vertex_patches(_points(), 1),
}


@pytest.mark.parametrize("name", PARTITIONS)
def test_every_entry_belongs_to_one_token(name):
    tokens = PARTITIONS[name]()
    entries = np.sort(tokens.index[tokens.index >= 0])
    np.testing.assert_array_equal(entries, np.arange(tokens.dim))
    assert (tokens.index >= 0).any(axis=1).all()
    u = np.random.default_rng(0).normal(size=tokens.dim).astype(np.float32)
    cut = np.asarray(tokens.cut(u))
    assert cut.shape == tokens.shape and np.all(cut[~tokens.valid] == 0)
    np.testing.assert_array_equal(tokens.join(jnp.asarray(np.where(tokens.valid, cut, np.nan))), u)


def test_tokens_are_blocks_of_neighbours():
    index = image_patches((4, 6, 2), 2).index
    assert index.shape == (6, 8)
    row, column, _ = np.unravel_index(index, (4, 6, 2))
    np.testing.assert_array_equal(row // 2 * 3 + column // 2, np.arange(6)[:, None] * np.ones((1, 8), int))
    sphere = grid_patches(geometry.SHAPE, (6, 6))
    assert sphere.shape == (8 * 15, 36) and set(sphere.valid.sum(axis=1)) == {36, 30}  # 46 rows: six of 6 and two of 5
    points = _points(400)
    tokens = vertex_patches(points, 23)
    assert set(tokens.valid.sum(axis=1)) == {17, 18}
    spread = np.mean([points[row[row >= 0]].var(axis=0).sum() for row in tokens.index])
    # a disc of 1/23 of the sphere has 0.087; groups at random have 0.94
    assert spread < 0.13 * points.var(axis=0).sum()


def test_tokens_are_compared_by_value():
    a, b, other = image_patches(SHAPE, 2), image_patches(SHAPE, 2), image_patches(SHAPE, 1)
    assert a == b and hash(a) == hash(b) and a != other
    assert PatchTransformer(a, 8, 1, 2) == PatchTransformer(b, 8, 1, 2) != PatchTransformer(other, 8, 1, 2)
    made = (
        make_tokens("grid", geometry.SHAPE, size=(6, 6)),
        make_tokens("vertices", (61,), n_tokens=9, points=_points()),
    )
    assert made == (PARTITIONS["sphere"](), PARTITIONS["mesh"]()) and make_tokens("image", SHAPE, size=2) == a


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: Tokens(np.array([[0, 1], [1, 2]])), ValueError, "exactly once"),
        (lambda: Tokens(np.array([[0, 1], [3, -1]])), ValueError, "exactly once"),
        (lambda: Tokens(np.array([[0, -2]])), ValueError, "exactly once"),
        (lambda: Tokens(np.array([0, 1])), TypeError, "integer array"),
        (lambda: Tokens(np.array([[0.0, 1.0]])), TypeError, "float64"),
        (lambda: grid_patches((4, 4), (2, 5)), ValueError, r"size must have.*\(2, 5\)"),
        (lambda: grid_patches((4, 4), (2,)), ValueError, "size"),
        (lambda: grid_patches((4, 4), 2), TypeError, "size must be"),
        (lambda: image_patches((4, 4, 1), 1.5), (TypeError, ValueError), "size"),
        (lambda: image_patches((4, 4), 2), ValueError, r"\(h, w, c\)"),
        (lambda: vertex_patches(_points(), 62), ValueError, r"1\.\.61, got 62"),
        (lambda: make_tokens("hexagons", SHAPE), ValueError, "'hexagons'"),
        (lambda: make_tokens("vertices", (61,), n_tokens=3), ValueError, "points"),
        (
            lambda: TokenTrunk(8, 1, 3).init(jax.random.key(0), jnp.zeros((2, 2))),
            ValueError,
            "heads must divide width = 8, got 3",
        ),
        (lambda: score_network.build_network({"kind": "perceptron"}, SHAPE), ValueError, "'perceptron'"),
        (lambda: score_network.build_network({"kind": "patches"}, SHAPE), ValueError, "tokens"),
        (lambda: score_network.build_network({"kind": "dense", "widht": 3}, SHAPE), ValueError, "widht"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()


def _network(name, **settings):
    tokens = image_patches(SHAPE, 2) if name == "patches" else vertex_patches(_points(DIM), 3)  # tokens of 5 and 6
    return PatchTransformer(tokens, **{"width": 8, "depth": 2, "heads": 2, "mlp_ratio": 2.0, **settings})


NAMES = ("short tokens", pytest.param("patches", marks=pytest.mark.slow))


def _random(network, randomise, scale=0.3, condition=True):
    signals = (jnp.zeros(DIM), 0.5, jnp.zeros(DIM)) if condition else (jnp.zeros(DIM), 0.5)
    return randomise(jax.eval_shape(network.init, jax.random.key(0), *signals), scale)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_sees_everything_and_no_other_signal(randomise, name):
    network = _network(name)
    params = _random(network, randomise)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 3, DIM)).astype(np.float32)
    t = np.array([1e-4, 0.1, 1.0], np.float32)

    @jit
    def look(params):
        one = lambda a, s, b: network.apply(params, a, s, b)  # noqa: E731
        return (
            jax.vmap(one)(u, t, v),
            jax.lax.map(lambda args: one(*args), (u, t, v)),
            jax.jacfwd(one, argnums=(0, 1, 2))(u[1], t[1], v[1]),
        )

    together, alone, (du, dt, dv) = look(params)
    np.testing.assert_allclose(together, alone, atol=2e-5)
    assert together.shape == (3, DIM)
    assert all(np.abs(np.asarray(d)).min() > 0 for d in (du, dt, dv))


def _n_equations(jaxpr):
    """Equations of a jaxpr and of all inside it."""
    inner = (
        p
        for eqn in jaxpr.eqns
        for p in jax.tree.leaves(eqn.params, is_leaf=lambda q: hasattr(q, "eqns") or hasattr(q, "jaxpr"))
    )
    inside = (getattr(p, "jaxpr", p) for p in inner if hasattr(p, "eqns") or hasattr(p, "jaxpr"))
    return len(jaxpr.eqns) + sum(_n_equations(j) for j in inside)


def test_the_program_does_not_grow_with_depth():
    sizes, counts = [], []
    for depth in (2, 12):
        network = _network("patches", depth=depth)
        shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(DIM), 0.5)
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(shapes)))
        loss = lambda params, network=network: jnp.sum(network.apply(params, jnp.ones(DIM), 0.5) ** 2)  # noqa: E731
        sizes.append(_n_equations(jax.make_jaxpr(jax.grad(loss))(shapes).jaxpr))
    assert sizes[0] == sizes[1] > 100
    assert counts[1] > 3 * counts[0]


@pytest.mark.slow
def test_half_precision_is_close_to_single(randomise):
    network = _network("patches", depth=1)
    params, u = _random(network, randomise, condition=False), jnp.linspace(-1, 1, DIM)
    single = jit(network.apply)(params, u, 0.3)
    half = jit(_network("patches", depth=1, dtype="bfloat16").apply)(params, u, 0.3)
    assert half.dtype == jnp.float32
    assert 1e-5 < float(jnp.abs(half - single).max() / jnp.abs(single).max()) < 0.1


class Stub(nn.Module):
    """A fixed function in place of a network."""

    value: float = 0.0
    slope: float = 0.0

    def __call__(self, u, t, condition=None):
        del t
        return self.value + self.slope * jnp.sin(3 * u) * (1 if condition is None else 1 + condition)


def _gaussian(make_prior, **settings):
    return make_prior(d=DIM, k=6, shape=SHAPE, **settings)


def test_a_new_residual_prior_is_the_gaussian(make_prior):
    gaussian, network = _gaussian(make_prior), _network("patches", width=4, depth=1)
    x = gaussian.sample(jax.random.key(3), 1)[0]

    prior = jit(lambda key: init_network_prior(key, gaussian, network))(jax.random.key(0, impl="rbg"))

    @jit
    def compare(prior):
        ut = jnp.linspace(-1, 1, DIM)
        outs = jax.vmap(lambda t: (prior.residual_eps(ut, t), prior.eps(ut, t), gaussian.eps(ut, t)))(
            jnp.array([1e-5, 1e-4, 0.3, 1.0])
        )
        return outs, prior.log_ratio(jax.random.key(1), x), prior.elbo(jax.random.key(1), x)

    (residual, ours, exact), ratio, bound = compare(prior)
    np.testing.assert_array_equal(residual, np.zeros((4, DIM)))
    np.testing.assert_allclose(ours, exact, rtol=1e-6)
    assert float(ratio) == 0 and float(bound) == pytest.approx(float(gaussian.log_prob(x)), rel=1e-6)


def test_denoise_is_the_posterior_mean_of_a_gaussian(make_prior, x64):
    gaussian = _gaussian(make_prior)
    prior, ut, t = NetworkPrior(gaussian, {}, Stub()), np.linspace(-1, 1, DIM), 0.2
    alpha, beta = float(prior.sde.alpha(t)), float(prior.sde.beta(t))
    mean, cov = 2 * np.asarray(gaussian.mean) - 1, 4 * np.asarray(gaussian.covariance())
    exact = mean + alpha * cov @ np.linalg.solve(alpha**2 * cov + beta**2 * np.eye(DIM), ut - alpha * mean)
    np.testing.assert_allclose(jit(prior.denoise)(ut, t), exact, rtol=1e-8)


def test_the_residual_has_in_each_mode_the_size_of_a_score_prior(make_prior, x64):
    gaussian = _gaussian(make_prior)
    prior, ut = NetworkPrior(gaussian, {}, Stub(value=1.0)), jnp.linspace(-1, 1, DIM)
    times = np.array([9e-5, 1e-4, 0.01, 0.3, 1.0])
    look = jit(jax.vmap(lambda t: (prior.residual_eps(ut, t), prior.eps(ut, t), gaussian.eps(ut, t))))
    ours, eps, base = (np.asarray(a) for a in look(times))
    np.testing.assert_allclose(eps, base + ours, rtol=1e-9)
    assert not np.any(ours[0])
    variance, modes = np.linalg.eigh(4 * np.asarray(gaussian.covariance()))
    for t, residual in zip(times[1:], ours[1:], strict=True):
        alpha, beta = float(prior.sde.alpha(t)), float(prior.sde.beta(t))
        size = alpha * beta * np.sqrt(variance) / (alpha**2 * variance + beta**2)
        np.testing.assert_allclose(residual, modes @ (size * modes.sum(axis=0)), atol=1e-9)


def test_residuals_vanish_at_both_ends(make_prior):
    prior = NetworkPrior(_gaussian(make_prior), {}, Stub(value=1.0), t_residual=1e-5)
    size = jit(jax.vmap(lambda t: jnp.linalg.norm(prior.residual_eps(jnp.linspace(-1, 1, DIM), t))))
    small, middle, last = np.asarray(size(jnp.array([1e-5, 0.05, 1.0])))
    assert small < 0.05 * middle and last < 0.05 * middle


@pytest.mark.parametrize("residual", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_values_and_gradients_are_finite_at_both_ends(make_prior, randomise, residual):
    gaussian = _gaussian(make_prior, leading=0.3, rest=1e-6)
    network = _network("patches", depth=1)
    prior = NetworkPrior(
        gaussian, _random(network, randomise, condition=residual), network, residual, 1e-4 if residual else 1e-5
    )

    @jit
    def look(ut, t):
        value = lambda ut, t, params: jnp.sum(prior.replace(params=params).eps(ut, t) ** 2)  # noqa: E731
        return jax.value_and_grad(value, argnums=(0, 1, 2))(ut, t, prior.params)

    for t in (1e-5, 1e-4, 1.0):
        for leaf in jax.tree.leaves(look(jnp.linspace(-1, 1, DIM), t)):
            assert np.all(np.isfinite(leaf))


def test_the_target_of_a_plain_network_has_variance_one(make_prior):
    gaussian = _gaussian(make_prior, leading=0.3)
    skip, one = (NetworkPrior(gaussian, {}, Stub(value=v), residual=False) for v in (0.0, 1.0))
    u = 2 * gaussian.sample(jax.random.key(0), 10_000).reshape(-1, DIM) - 1

    @jit
    def targets(key, t):
        eps = jax.random.normal(key, u.shape)
        ut = gaussian.sde.perturb(u, t, eps)
        base = jax.vmap(lambda v: skip.eps(v, t))(ut)
        return (eps - base) / (jax.vmap(lambda v: one.eps(v, t))(ut) - base)

    for seed, t in enumerate([1e-5, 0.05, 0.4, 1.0]):
        assert float(jnp.mean(targets(jax.random.key(seed + 1), t) ** 2)) == pytest.approx(1, abs=0.04)


@pytest.mark.slow
def test_a_plain_prior_of_the_right_score_has_the_right_bound(x64):
    """Isotropic around 1/2: the preconditioning alone is the exact score, and the bound is tight up to t_min and the
    terminal Gaussian.
    """
    gaussian = GaussianPrior(jnp.full(4, 0.5), jnp.eye(4, 1), jnp.zeros(1), jnp.asarray(0.04), shape=(4,))
    prior = NetworkPrior(gaussian, {}, Stub(), residual=False, t_residual=gaussian.sde.t_min)
    x = gaussian.sample(jax.random.key(0), 1)[0]
    value, ratio = jit(lambda key: (prior.elbo(key, x, 30_000), prior.log_ratio(key, x, 30_000)))(jax.random.key(1))
    exact = multivariate_normal(np.full(4, 0.5), 0.04 * np.eye(4)).logpdf(x)
    assert float(value) == pytest.approx(exact, abs=0.6)  # four standard errors
    assert float(ratio) == pytest.approx(float(value) - exact, abs=1e-6)
    assert float(jit(partial(denoising_loss, prior))(jax.random.key(2), x[None])) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("residual", [True, False])
def test_the_loss_is_the_gain_in_weighted_denoising_error(make_prior, x64, residual):
    """Against independent noise and plain averages of 1/2 g^2/beta^2 |eps - eps_theta|^2 in log t."""
    gaussian = _gaussian(make_prior)
    t_first = 1e-4 if residual else 1e-5
    prior = NetworkPrior(gaussian, {}, Stub(slope=0.5), residual, t_first)
    x = gaussian.sample(jax.random.key(0), 8)

    @jit
    def ours(keys):
        return jax.lax.map(lambda k: denoising_loss(prior, k, x), keys)

    @jit
    def reference(key):
        n, sde = 20_000, prior.sde
        k_t, k_eps = jax.random.split(key)
        t = jnp.exp(jax.random.uniform(k_t, (n,)) * -jnp.log(t_first) + jnp.log(t_first))

        def one(xi, ti, ki):
            eps = jax.random.normal(ki, (DIM,))
            ut = sde.perturb(2 * xi.reshape(-1) - 1, ti, eps)
            error = jnp.sum((eps - prior.eps(ut, ti)) ** 2) - jnp.sum((eps - gaussian.eps(ut, ti)) ** 2)
            return 0.5 * sde.g(ti) ** 2 / sde.beta(ti) ** 2 * ti * -jnp.log(t_first) * error / DIM

        values = jax.vmap(one)(jnp.tile(x, (n // 8, *[1] * (x.ndim - 1))), t, jax.random.split(k_eps, n))
        return values.mean(), values.std() / jnp.sqrt(n)

    draws = np.asarray(ours(jax.random.split(jax.random.key(1), 400)))
    mean, error = (float(v) for v in reference(jax.random.key(2)))
    assert abs(mean) > 6 * error
    assert draws.mean() == pytest.approx(mean, abs=4 * np.hypot(error, draws.std() / np.sqrt(len(draws))))


@pytest.mark.parametrize("name, residual", [("patches", True), ("short tokens", False)])
def test_a_prior_comes_back_from_its_file(make_prior, randomise, tmp_path, name, residual):
    gaussian = _gaussian(make_prior, sde=VPSDE(0.1, 10.0, 1e-4))
    network = _network(name)
    prior = NetworkPrior(gaussian, _random(network, randomise, condition=residual), network, residual, 2e-4)
    card = {"settings": prior.settings()}
    weights.save(tmp_path / "p.safetensors", prior.tree(), card)
    tree, card = weights.load(tmp_path / "p.safetensors")
    again = NetworkPrior.from_tree(tree, json.loads(json.dumps(card["settings"])))
    assert (again.network, again.sde, again.shape, again.t_residual) == (network, gaussian.sde, SHAPE, 2e-4)
    eps = jit(lambda prior: prior.eps(jnp.linspace(-1, 1, DIM), 0.1))
    np.testing.assert_array_equal(eps(again), eps(prior))


def test_dequantization_is_uniform_and_centred():
    signals = jnp.asarray(np.random.default_rng(0).integers(0, 256, (50, 8, 8)) / 255)
    noise = np.asarray(dequantized(jax.random.key(0), signals, 1 / 255) - signals, np.float64).ravel()
    assert kstest(255 * noise, "uniform", (-0.5, 1)).pvalue > 0.01
    assert dequantized(jax.random.key(0), signals, None) is signals


@pytest.mark.long
@pytest.mark.parametrize("residual, share", [(True, 0.7), (False, 0.5)])
def test_training_comes_near_the_optimum(residual, share):
    """Of what the exact score of two clusters saves over their Gaussian; a plain network has the Gaussian to learn
    besides.
    """
    direction = np.ones(DIM) / 4
    means, spread = 0.5 + 0.25 * np.outer([-1, 1], direction), np.tile(0.05**2 * np.eye(DIM), (2, 1, 1))
    mixture = gaussian_mixture([0.5, 0.5], means, spread, shape=SHAPE, sde=VPSDE(t_min=1e-4))
    network = PatchTransformer(image_patches(SHAPE, 2), width=32, depth=2, heads=2, mlp_ratio=2.0)
    prior = jit(lambda key: init_network_prior(key, mixture.gaussian, network, residual))(jax.random.key(0))
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 3e-3, 50, 700))

    def loss(params, key, n=128):
        k_draw, k_loss = jax.random.split(key)
        return denoising_loss(prior.replace(params=params), k_loss, mixture.sample(k_draw, n))

    @jit
    def train(params, key):
        def step(carry, k):
            params, state = carry
            gradient = jax.grad(loss)(params, k)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, 700))[0][0]

    @jit
    def optimum(key):
        k_draw, k_t, k_eps = jax.random.split(key, 3)
        gain = lambda ut, t: mixture.eps(ut, t) - mixture.gaussian.eps(ut, t)  # noqa: E731
        one = lambda u, t, k: bound.log_ratio_at(mixture.gaussian.eps, gain, mixture.sde, u, t, k, prior.t_residual)  # noqa: E731
        u = 2 * mixture.sample(k_draw, 20_000).reshape(-1, DIM) - 1
        t = bound.times(k_t, mixture.sde, len(u), prior.t_residual)
        return -jnp.mean(jax.vmap(one)(u, t, jax.random.split(k_eps, len(u)))) / DIM

    reached = float(jit(partial(loss, n=20_000))(train(prior.params, jax.random.key(1)), jax.random.key(2)))
    best = float(optimum(jax.random.key(3)))
    assert best < -0.01
    assert best - 0.003 < reached < share * best
