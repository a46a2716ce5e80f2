"""A bound that stops at t_min: its optimum in closed form against the optimization of the objective, and what the study
keeps of it.
"""

from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aps_book import record
from aps_book.experiments import noisy_samples, reopened_flow, start_time
from aps_book.experiments.measured import Case
from aps_core.diffusion import VPSDE
from aps_core.flows.distilled import DistilledFlow
from aps_core.operators import GaussianBlur, Identity
from aps_core.posterior import AmortizedPosterior
from aps_core.priors import terms
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.tasks.problem import Target, Task
from aps_core.training import objective

SIGMA_Y, SHAPE = 0.1, (8, 8, 3)
DIM = int(np.prod(SHAPE))
RNG = np.random.default_rng(0)


@flax.struct.dataclass
class Affine:
    """x = 1/2 + gain (y - 1/2) + std z, entry by entry."""

    shape: tuple = flax.struct.field(pytree_node=False)

    @property
    def dim(self):
        return self.shape[0]

    def context(self, measurement):
        return measurement.y

    def forward(self, params, z, y):
        return 0.5 + params["gain"] * (y - 0.5) + jnp.exp(params["log_std"]) * z, jnp.sum(params["log_std"])


def diagonal(variance, t_min=1e-5):
    rest = min(variance)
    excess = jnp.asarray(np.asarray(variance) - rest)
    return GaussianPrior(
        jnp.full(len(variance), 0.5),
        jnp.eye(len(variance)),
        excess,
        jnp.asarray(rest),
        (len(variance),),
        VPSDE(t_min=t_min),
    )


@pytest.mark.slow
@pytest.mark.parametrize("term, t_min", [("elbo-no-start", 0.05), ("elbo", 0.02)])
def test_optimum_is_where_the_objective_is_least(term, t_min, x64):
    """Brute force: an affine flow, Adam, and the objective as it is used for training."""
    variance = np.array([0.04, 2e-3, 1e-5])
    prior = diagonal(variance, t_min)
    flow, operator = Affine((3,)), Identity((3,))
    task = Task(operator, SIGMA_Y, prior, jnp.zeros((1, 3)), unit_range=False)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 500, 0.01))

    divergence, target = objective.ReverseDivergence(term, 2, 4), Target(operator, SIGMA_Y, prior)

    @jax.jit
    def train(key):
        def step(carry, key):
            params, state, mean = carry
            k_x, k_y, k_loss = jax.random.split(key, 3)
            measurements = task.measure(k_y, prior.sample(k_x, 64))
            loss = lambda p: divergence(flow, p, target, k_loss, measurements)[0]  # noqa: E731
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            params = optax.apply_updates(params, updates)
            return (params, state, jax.tree.map(lambda m, p: 0.98 * m + 0.02 * p, mean, params)), None

        start = {"gain": jnp.zeros(3), "log_std": jnp.full(3, -3.0)}
        return jax.lax.scan(step, (start, optimizer.init(start), start), jax.random.split(key, 500))[0][2]

    found = train(jax.random.key(0))
    gain, spread = start_time.optimum(
        variance, float(start_time.noise_variance(prior.sde, t_min)), SIGMA_Y, term == "elbo"
    )
    np.testing.assert_allclose(found["gain"], gain, atol=0.03)
    np.testing.assert_allclose(np.exp(2 * found["log_std"]) / spread, 1, atol=0.08)
    # far from the exact posterior
    assert np.any(np.abs(np.exp(2 * found["log_std"]) * (1 / variance + 1 / SIGMA_Y**2) - 1) > 2)


def test_expected_is_what_simulated_signals_have():
    variance, v, n = np.geomspace(0.1, 1e-5, 40), 2e-3, 20000
    for start in (False, True):
        gain, spread = start_time.optimum(variance, v, SIGMA_Y, start)
        x0 = np.sqrt(variance) * RNG.normal(size=(n, 40))
        y = x0 + SIGMA_Y * RNG.normal(size=x0.shape)
        sample = gain * y + np.sqrt(spread) * RNG.normal(size=x0.shape)
        found = start_time.expected(variance, v, SIGMA_Y, start_time_term=start)
        assert found.psnr(1) == pytest.approx(-10 * np.log10(np.mean((sample - x0) ** 2)), abs=0.02)
        assert found.error == pytest.approx(np.mean((gain * y - x0) ** 2), rel=0.01)
        assert found.inside == pytest.approx(np.mean(np.abs(gain * y - x0) < 1.6449 * np.sqrt(spread)), abs=2e-3)
    exact = start_time.expected(variance, 0.0, SIGMA_Y)
    assert exact.ratio == pytest.approx(1) and exact.inside == pytest.approx(0.9)
    turned = start_time.expected(variance, v, SIGMA_Y, np.linalg.qr(RNG.normal(size=(40, 40)))[0])
    assert turned.error == pytest.approx(start_time.expected(variance, v, SIGMA_Y).error) and turned.inside > 0.9


def test_implied_variance_and_t_min_of_spread_undo_the_formula():
    variance, sde = np.geomspace(0.1, 1e-5, 30), VPSDE()
    np.testing.assert_allclose(
        start_time.implied_variance(start_time.optimum(variance, 0.0, SIGMA_Y)[1], SIGMA_Y), variance
    )
    spread = start_time.expected(variance, float(start_time.noise_variance(sde, 0.02)), SIGMA_Y).spread
    assert start_time.t_min_of_spread(variance, sde, SIGMA_Y, spread) == pytest.approx(0.02, rel=1e-4)
    with pytest.raises(ValueError, match="spread must lie between .* got 1"):
        start_time.t_min_of_spread(variance, sde, SIGMA_Y, 1.0)


def test_parts_of_error_add_up():
    error, spread, n = 3e-3, 2e-3, 128
    decibel = lambda value: -10 * np.log10(value)  # noqa: E731
    parts = start_time.parts_of_error(decibel(error + spread), decibel(error + spread / n), n, exact=1e-3)
    assert parts == pytest.approx(
        {"mean": 1e-3, "sample": 1e-3, "mean_excess": error - 1e-3, "sample_excess": spread - 1e-3}
    )


@pytest.fixture(scope="module")
def posterior():
    """A DistilledFlow that was never trained, under a prior whose network says nothing yet: the exact posterior of a
    Gaussian.
    """
    basis = np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0]
    variance = np.geomspace(0.1, 1e-5, DIM)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    gaussian = GaussianPrior(jnp.full(DIM, 0.5), as32(basis), as32(variance - 5e-6), as32(5e-6), SHAPE)
    prior = init_network_prior(
        jax.random.key(0), gaussian, PatchTransformer(image_patches(SHAPE, 4), width=8, depth=1, heads=2)
    )
    return posterior_of(prior, Identity(SHAPE))


def posterior_of(prior, operator):
    modes, network = posterior_modes(prior.gaussian, operator, SIGMA_Y), prior.network
    flow = DistilledFlow(modes, prior.params, SIGMA_Y, 0.01, jnp.asarray(0.1), operator, network, steps=2, width=8)
    task = Task(operator, SIGMA_Y, prior, lambda split: prior.gaussian.sample(jax.random.key(3), 6), unit_range=False)
    return AmortizedPosterior(task, flow, jax.jit(flow.init)(jax.random.key(1)))


@pytest.mark.slow
def test_cut_off_prior_is_the_bound_without_its_start(posterior):
    """Differences of its estimates between signals are those of "elbo-no-start" with the diffusion of that t_min, on
    average.
    """
    prior, t_min = posterior.task.prior, 0.05
    plain = diagonal(np.asarray(prior.gaussian.excess + prior.gaussian.rest, np.float64), t_min)
    x = jnp.stack([plain.mean, plain.mean + 0.3 * jnp.sqrt(plain.excess + plain.rest)])
    u = jnp.asarray((np.arange(16) + 0.5) / 16)

    def bounds(key):
        return jax.vmap(lambda xi: terms.PriorTerm("elbo-no-start")(plain, xi, u, key))(x)

    found = np.asarray(
        jax.jit(lambda keys: jax.lax.map(bounds, keys))(jax.random.split(jax.random.key(0), 400)), np.float64
    )
    change = found[:, 1] - found[:, 0]
    error = float(np.std(change) / np.sqrt(len(change)))
    cut = start_time.CutOffPrior(prior, jnp.asarray(t_min))
    g = cut.gaussian.replace(mean=plain.mean, basis=plain.basis, shape=(DIM,))
    exact = float(g.log_prob(x[1]) - g.log_prob(x[0]))
    assert np.mean(change) == pytest.approx(exact, abs=4 * error) and abs(exact) > 10 * error
    ratio = cut.log_ratio_at(jax.random.key(1), prior.gaussian.sample(jax.random.key(2), 1)[0], 0.3)
    assert float(ratio) == 0.0  # a network that says nothing


@pytest.mark.long
def test_training_finds_the_formula(posterior):
    """From the exact posterior of a Gaussian to the optimum at each t_min: spreads and the pull of the mean, mode by
    mode.
    """
    t_mins = [1e-3, 0.03]
    trained, log = noisy_samples.train(posterior, posterior.task.signals("val"), t_mins, 120, batch=32)
    g = posterior.task.prior.gaussian
    variance = np.asarray(g.excess + g.rest, np.float64)
    w0, s0 = start_time.optimum(variance, 0.0, SIGMA_Y)
    assert log.finished
    for t in t_mins:
        w, s = start_time.optimum(variance, float(start_time.noise_variance(g.sde, t)), SIGMA_Y)
        change, exact = 2 * np.asarray(trained[t].params["spread"]), np.log(s / s0)
        assert np.sqrt(np.mean((change - exact) ** 2)) < 0.25 and abs(np.mean(change - exact)) < 0.06
        fine = w0 < 0.5  # elsewhere the data lie near the mean already
        pull = reopened_flow.PULL * np.asarray(trained[t].params["pull"])[fine]
        assert np.sqrt(np.mean((pull - ((w - w0) / (1 - w0))[fine]) ** 2)) < 0.06
    with pytest.raises(ValueError, match="t_mins"):
        noisy_samples.train(posterior, posterior.task.signals("val"), [0.0], 20)


def test_reopened_flow_is_a_bijection_that_starts_as_the_flow(posterior):
    flow = reopened_flow.reopen(posterior)
    forward = jax.jit(flow.forward)
    measurement = jax.tree.map(jnp.asarray, posterior.task.measure(jax.random.key(4), posterior.task.signals("val")[0]))
    z, context = jax.random.normal(jax.random.key(5), (flow.dim,)), jax.jit(flow.context)(measurement)
    x, log_det = forward(flow.init(), z, context)
    start, start_log_det = jax.jit(posterior.flow.forward)(posterior.params, z, context[0])
    np.testing.assert_allclose(x, start, atol=1e-6)
    assert float(log_det) == pytest.approx(float(start_log_det), abs=1e-2)
    params = jax.tree.map(lambda a: a + 0.3, flow.init())
    x, log_det = forward(params, z, context)
    back, inverse_log_det = jax.jit(flow.inverse)(params, x, context)
    np.testing.assert_allclose(back, z, atol=2e-2)
    assert float(log_det) == pytest.approx(-float(inverse_log_det), abs=1e-2)
    assert float(log_det - start_log_det) == pytest.approx(0.3 * DIM, rel=1e-3)
    with pytest.raises(ValueError, match="denoising"):
        reopened_flow.reopen(posterior_of(posterior.task.prior, GaussianBlur(SHAPE, 1.0)))


def test_scores_of_the_closed_form_are_those_expected(posterior, tmp_path):
    g, t_min = posterior.task.prior.gaussian, 0.03
    x0 = np.asarray(g.sample(jax.random.key(7), 48))
    measurements = posterior.task.measure(jax.random.key(8), jnp.asarray(x0))
    case = Case(SimpleNamespace(values=x0, name="prior-faces"), np.arange(48), x0, measurements)
    sampler = start_time.closed_form(posterior.task, t_min)
    found = noisy_samples.score(sampler, case, 32)
    variance = np.asarray(g.excess + g.rest, np.float64)
    exact = start_time.expected(variance, float(start_time.noise_variance(g.sde, t_min)), SIGMA_Y, g.basis)
    assert found.values["error"].mean() == pytest.approx(exact.error, rel=0.06)
    assert found.values["spread"].mean() == pytest.approx(exact.spread, rel=0.03)
    assert found.values["inside"].mean() == pytest.approx(exact.inside, abs=0.01)
    spread = start_time.optimum(variance, float(start_time.noise_variance(g.sde, t_min)), SIGMA_Y)[1]
    assert np.mean(found.by_mode / spread) == pytest.approx(1, abs=0.02)
    run = record.Run("noisy_samples_absent", {}, tmp_path)
    noisy_samples.store(run, "some", found)
    numbers = run.as_dict()["numbers"]
    assert numbers["some.ratio"]["value"] == pytest.approx(exact.ratio, rel=0.08) and numbers["some.ratio"]["se"] < 0.1
    noisy_samples.store_parts(run, 20.0, 22.0, 128, {"learned": noisy_samples.exact_error(found)})
    assert sum(
        run.as_dict()["numbers"][f"parts.{part}.learned_share"]["value"] for part in noisy_samples.PARTS
    ) == pytest.approx(100)
    columns = noisy_samples.pictures(case, {"one": sampler}, {"one": found}, 3)
    assert [c.shape for c in columns.values()] == [(3, *SHAPE)] * 3


def test_binned_and_key():
    at, values = noisy_samples.binned(np.arange(1, 3073) ** -1.0)
    np.testing.assert_allclose(values * at, 1, rtol=0.25)
    assert [noisy_samples.key(t) for t in (1e-3, 0.1)] == ["t00100", "t10000"]
