"""One flow for any linear operator: what it is before training, what its training learns, and how it is loaded."""

import io
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_checks import everything
from scipy.ndimage import gaussian_filter

import aps_core
from aps_core import Task, load_posterior, posterior, train_posterior
from aps_core import weights as weights_file
from aps_core.flows import build_flow
from aps_core.flows.distilled import distance_from_denoising
from aps_core.metrics.quality import psnr
from aps_core.metrics.trust import diagnose, make_reference
from aps_core.operators import AveragePool, FixedMask, GaussianBlur, Identity, Operator, RandomMask
from aps_core.priors import fast_sampling, kept
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.training import operator_pool
from aps_core.training.network_prior import tweedie
from aps_core.training.objective import forward_of_contexts
from aps_core.training.operator_family import KINDS, draw_problem
from aps_core.weights import WeightsError

SHAPE = (8, 8, 3)
FLOW = {"kind": "universal", "steps": 2, "width": 16, "n_bands": 4}
RECIPE = {
    "name": "any",
    "flow": FLOW,
    "objective": {
        "kl": "forward",
        "draws": 256,
        "mirror": True,
        "batch": 32,
        "operators": 16,
        "pairs": 64,
        "tweedie_weight": 0.5,
    },
    "optimizer": {"steps": 40, "learning_rate": 5e-3, "warmup": 5, "ema": 0.0},
}


@pytest.fixture(scope="module")
def prior(randomise):
    """A prior of small images whose network does something."""
    rng = np.random.default_rng(0)
    signals = np.clip(0.5 + 0.2 * gaussian_filter(rng.normal(size=(300, *SHAPE)), (0, 1.5, 1.5, 0)), 0, 1)
    network = PatchTransformer(image_patches(SHAPE, 4), width=16, depth=1, heads=2)
    made = init_network_prior(jax.random.key(0), fit_gaussian(signals, 60, 1e-3), network)
    return made.replace(params=randomise(made.params, 0.05))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Draws and pools of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("draws")
        patch.setenv("APS_DRAWS_DIR", str(path))
        yield path


def _task(prior, operator=None, sigma_y=0.1):
    return Task(operator or Identity(SHAPE), sigma_y, prior, prior.gaussian.sample(jax.random.key(2), 8))


@pytest.fixture(scope="module")
def trained(prior):
    """A flow trained for three steps on sixteen problems of the family."""
    recipe = {**RECIPE, "optimizer": {"steps": 3, "learning_rate": 1e-4}}
    return train_posterior(_task(prior), recipe, progress=False)[0]


@dataclass(frozen=True)
class Halved(Operator):
    """An operator of somebody's own: every second row, at half the brightness."""

    shape: tuple = SHAPE
    y_shape = (4, 8, 3)

    def __call__(self, x, mask=None):
        return 0.5 * x[::2]


_tweedie = jax.jit(tweedie)


@jax.jit
def _init(flow):
    return flow.init(jax.random.key(3))


@jax.jit
def _at_zero(flow, params, measurement):
    return flow.forward(params, jnp.zeros(flow.dim), flow.context(measurement))[0]


@pytest.mark.parametrize("sigma_y", [0.05, 0.2])
def test_before_training_it_is_tweedies_estimate_at_every_noise_level(prior, sigma_y):
    task = _task(prior, sigma_y=sigma_y)
    flow = build_flow(task, FLOW)
    params = _init(flow)
    measurement = task.measure(jax.random.key(4), task.signals("test")[0])
    mean = _at_zero(flow, params, measurement)
    np.testing.assert_allclose(mean, _tweedie(prior, measurement.y[None], sigma_y).reshape(-1), atol=1e-5)
    other = build_flow(_task(prior, sigma_y=0.1), FLOW).with_noise(sigma_y)
    np.testing.assert_allclose(_at_zero(other, params, measurement), mean, atol=1e-6)


@pytest.mark.parametrize("sigma_y", [0.05, 0.2])
def test_after_training_its_shift_is_tweedies_for_denoising_alone(prior, randomise, sigma_y):
    flow = build_flow(_task(prior, sigma_y=sigma_y), FLOW)
    params = _init(flow)
    params = {
        **params,
        "network": randomise(params["network"], 0.05),
    }  # the couplings, which bend the mean, do nothing yet
    measurement = _task(prior, sigma_y=sigma_y).measure(
        jax.random.key(4), prior.gaussian.sample(jax.random.key(2), 1)[0]
    )
    estimate = np.asarray(_tweedie(prior, measurement.y[None], sigma_y)).reshape(-1)
    np.testing.assert_allclose(_at_zero(flow, params, measurement), estimate, atol=1e-5)
    assert np.abs(_at_zero(flow.replace(anchored=False), params, measurement) - estimate).max() > 1e-2
    pooled = build_flow(_task(prior, AveragePool(SHAPE, 2), 0.01), FLOW)
    assert not pooled.anchored
    assert not build_flow(_task(prior, sigma_y=sigma_y), FLOW).replace(teacher=None)._with_share().anchored


@pytest.mark.parametrize("computed", ["anchored", "share", "gaussian"])
def test_what_the_flow_computes_is_no_setting(prior, computed):
    with pytest.raises(ValueError, match=computed):
        build_flow(_task(prior), {**FLOW, computed: 1})


def test_distance_from_denoising_grows_with_the_blur(prior):
    widths = (0.0, 0.3, 0.4, 0.6)
    operators = [GaussianBlur(SHAPE, width) if width else Identity(SHAPE) for width in widths]
    found = [distance_from_denoising(posterior_modes(prior.gaussian, one, 0.01), prior.gaussian) for one in operators]
    assert found[0] < 1e-4 and np.all(np.diff(found) > 0)
    shares = [float(build_flow(_task(prior, one, 0.01), FLOW).share) for one in operators]
    assert shares[0] < 1e-5 and np.all(np.diff(shares) >= 0) and shares[-1] > 0.99


@pytest.mark.parametrize(
    "operator",
    [Identity(SHAPE), pytest.param(AveragePool(SHAPE, 2), marks=pytest.mark.slow), Halved()],
    ids=lambda o: type(o).__name__,
)
def test_it_is_a_bijection_with_an_exact_density(prior, randomise, operator):
    task = _task(prior, operator)
    flow = build_flow(task, FLOW)
    params = randomise(jax.eval_shape(flow.init, jax.random.key(3)), 0.05)
    measurement = task.measure(jax.random.key(4), task.signals("test")[0])
    z = jax.random.normal(jax.random.key(6), (1, flow.dim))
    _, log_det, back, inverse_log_det, jacobian = jax.jit(everything)(flow, params, measurement, z)
    np.testing.assert_allclose(back, z, atol=1e-3)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-2)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-2)


def test_the_family_has_every_kind_and_is_the_same_every_time():
    problems = [draw_problem(i, SHAPE) for i in range(2 * len(KINDS))]
    assert {operator.kind for operator, _ in problems} == {
        *("identity", "gaussian-blur", "convolution", "average-pool", "fixed-mask", "fourier-subset")
    }
    for i, (operator, sigma_y) in enumerate(problems):
        assert operator.shape == SHAPE and operator == draw_problem(i, SHAPE)[0]
        low, high = (0.02, 0.3) if operator.kind == "identity" else (0.005, 0.1)
        assert low <= sigma_y <= high
    assert problems[0] != draw_problem(0, SHAPE, seed=1)


@pytest.mark.slow
def test_the_loss_on_a_pool_is_that_of_the_flow_of_each_task(prior):
    """By the pool's stored means and noise, and by the flow of a task and its measurement: the same density."""
    task = _task(prior)
    draws = fast_sampling.pool(prior, 32)
    pool = operator_pool.make_pool(task, 16, 8, draws, mirror=True)
    template = build_flow(task, FLOW)
    params = jax.jit(template.init)(jax.random.key(3))
    for i in (1, 7, 9):
        operator, sigma_y = draw_problem(i, SHAPE)
        held = pool.read(i)
        given, seen = operator_pool.problem_of(template, held, jnp.arange(3))
        value = forward_of_contexts(given, params, lambda context: context, seen, held["x0"][:3])
        flow = build_flow(replace(task, operator=operator, sigma_y=sigma_y), FLOW)
        assert float(flow.t) == pytest.approx(float(held["numbers"][1]), rel=1e-6)
        contexts = [(mean - flow.modes.prior_mean) / flow.scale for mean in held["mean"]]
        np.testing.assert_allclose(
            np.std(contexts), np.std(held["mean"] - flow.modes.prior_mean) / flow.scale, rtol=1e-4
        )
        x0 = held["x0"].reshape(-1, *SHAPE)
        own = posterior.AmortizedPosterior(replace(task, operator=operator, sigma_y=sigma_y), flow, params)
        # a measurement whose closed-form mean is the stored one: of the same signal and noise
        k_measure = jax.random.fold_in(jax.random.key(0), i)
        measured = own.task.measure(k_measure, x0)
        np.testing.assert_allclose(jax.vmap(flow.context)(measured).mean, held["mean"], atol=1e-5)
        expected = -jnp.mean(own.log_prob(x0[:3, None], jax.tree.map(lambda a: a[:3], measured)))
        assert float(value) == pytest.approx(float(expected), abs=0.05)


@pytest.mark.slow
def test_the_mean_is_tied_to_tweedies_estimate_in_denoising(prior):
    """Nothing is lost before training, where the mean is that; a shift of c closed-form standard deviations costs c^2; and it
    is Tweedie's estimate of the score network at the data.
    """
    task = _task(prior)
    pool = operator_pool.make_pool(task, 2, 8, fast_sampling.pool(prior, 32), mirror=False)
    assert pool.denoises == (True, False)
    template = build_flow(task, FLOW)
    params = jax.jit(template.init)(jax.random.key(3))
    flow, contexts = operator_pool.problem_of(template, pool.read(0), jnp.arange(4))
    assert float(operator_pool.from_tweedie(flow, params, contexts, jax.random.key(0))) < 1e-8
    y = contexts.mean[0] + flow.sigma_y * contexts.noise[0]  # of the identity
    np.testing.assert_allclose(
        flow.first_guess(jax.tree.map(lambda a: a[0], contexts)),
        tweedie(prior, y.reshape(1, *SHAPE), float(flow.sigma_y)).reshape(-1),
        atol=2e-4,
    )
    network = params["network"]["params"]
    biased = {**network, "Dense_0": {**network["Dense_0"], "bias": network["Dense_0"]["bias"] + 0.3}}
    away = operator_pool.from_tweedie(flow, {**params, "network": {"params": biased}}, contexts, jax.random.key(0))
    moved = flow.modes.pull @ np.full(flow.dim, 0.3) / flow.modes.marginal_std
    assert float(away) == pytest.approx(np.mean(np.square(moved)), rel=1e-3)
    plain, tied = (
        operator_pool.pool_loss(pool, 8, weight, params, {"flow": template}, jax.random.key(1), 0.0)
        for weight in (0.0, 2.0)
    )
    assert "from_tweedie" not in plain[1] and float(tied[1]["from_tweedie"]) < 1e-8
    np.testing.assert_allclose(plain[0], tied[0], rtol=1e-5)


@pytest.mark.slow
def test_a_pool_goes_on_where_it_was_and_grows(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_DRAWS_DIR", str(tmp_path))
    draws = prior.gaussian.sample(jax.random.key(0), 16)
    pool = operator_pool.make_pool(_task(prior), 4, 2, draws, mirror=False)
    first = {path: path.stat().st_mtime_ns for path in pool.folder.iterdir()}
    (pool.folder / "002.npz").unlink()
    again = operator_pool.make_pool(_task(prior), 6, 2, draws, mirror=False)
    assert again.folder == pool.folder and len(list(again.folder.iterdir())) == 6
    assert sum(path.stat().st_mtime_ns == first.get(path) for path in again.folder.iterdir()) == 3
    other = operator_pool.make_pool(_task(prior), 1, 2, draws[:8], mirror=False)
    assert other.folder != pool.folder


@pytest.mark.long
def test_training_on_the_family_helps_operators_that_it_has_not_seen(prior):
    """Started with samples that are a third too wide, it finds back on operators of the family, and so on others."""
    wide = _widened(posterior.untrained_posterior(_task(prior), FLOW))
    flow, log = train_posterior(_task(prior), RECIPE, start=wide, progress=False)
    assert log.finished and "forward" in log.history[-1]
    x0 = fast_sampling.draw(prior, jax.random.key(9), 48)
    for operator, sigma_y in ((GaussianBlur(SHAPE, 0.9), 0.03), (Halved(), 0.05)):
        task = _task(prior, operator, sigma_y)
        measured = task.measure(jax.random.key(10), x0)
        right = posterior.untrained_posterior(task, FLOW)
        loss = {
            name: -float(jnp.mean(replace(right, params=params).log_prob(x0[:, None], measured)))
            for name, params in (("right", right.params), ("wide", wide.params), ("trained", flow.params))
        }
        assert loss["wide"] - loss["right"] > 5
        assert loss["trained"] - loss["right"] < 0.4 * (loss["wide"] - loss["right"])


def _widened(untrained):
    """The posterior with every mode's standard deviation times exp(0.3)."""
    network = dict(untrained.params["network"]["params"])
    last = max(name for name in network if name.startswith("Dense_"))
    network[last] = {
        **network[last],
        "bias": network[last]["bias"] + jnp.arctanh(0.15),
    }  # two bands add up at every mode
    return replace(untrained, params={**untrained.params, "network": {"params": network}})


@pytest.mark.slow
def test_weights_of_such_a_flow_serve_every_linear_operator_and_no_other_prior(prior, trained, tmp_path, monkeypatch):
    path = tmp_path / "any.safetensors"
    posterior.save_posterior(trained, path)
    found = weights_file.find
    monkeypatch.setattr(weights_file, "find", lambda name: path if name == "any" else found(name))
    monkeypatch.setattr(posterior, "FOR_MANY", ("any",))
    task = replace(_task(prior, Halved(), 0.07), name="somebody's own")
    own = load_posterior(task)
    assert own.card["name"] == "any" and own.task is task and type(own.flow).__name__ == "UniversalFlow"
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    samples, log_q = own.sample_and_log_prob(jax.random.key(1), measurement, 64)
    np.testing.assert_allclose(own.log_prob(samples, measurement), log_q, atol=0.02)
    closed = posterior.gaussian_posterior(task).sample(jax.random.key(1), measurement, 64)
    truth = task.signals("test")[0]
    assert np.mean(psnr(samples.mean(axis=0), truth)) > np.mean(psnr(closed.mean(axis=0), truth)) - 1
    other = replace(task, prior=prior.replace(t_residual=3e-4, params=jax.tree.map(lambda a: 1.1 * a, prior.params)))
    with pytest.raises(FileNotFoundError, match="somebody's own-held-out"):
        load_posterior(other)
    with pytest.raises(WeightsError, match="another prior"):
        load_posterior(other, weights=path)
    with pytest.raises((WeightsError, FileNotFoundError)):
        load_posterior(_task(prior, RandomMask(SHAPE, 0.5)))  # another factorization for every measurement


WRONG = {
    "another flow": ({"flow": {"kind": "distilled"}}, 'operators need a flow of kind "universal"'),
    "the reverse divergence": ({"objective": {"kl": "reverse"}}, "kl = 'reverse'"),
    "no draws": ({"objective": {"draws": None}}, "draws = None"),
    "an odd batch": ({"objective": {"batch": 31}}, "batch must be a multiple of 2"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_recipes_that_do_not_fit(prior, changes, message):
    recipe = {
        name: {**table, **changes.get(name, {})} if isinstance(table, dict) else table for name, table in RECIPE.items()
    }
    if "flow" in changes:
        recipe["flow"] = changes["flow"]
    with pytest.raises(ValueError, match=message):
        train_posterior(_task(prior), recipe, progress=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_factorization_says_on_a_terminal_how_long_it_takes(prior, tmp_path, monkeypatch, terminal):
    said = io.StringIO()
    said.isatty = lambda: terminal
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept, "LEAST_DIM", 100)
    monkeypatch.setattr(sys, "stderr", said)
    for _ in range(2):
        posterior_modes(prior.gaussian, GaussianBlur(SHAPE, 1.0), 0.1)
    found = re.findall(r"factorizing GaussianBlur, [\d,]+ entries, once, in about \d+ s: +0%", said.getvalue())
    assert len(found) == terminal and (said.getvalue() == "") != terminal, "what is kept is said once"


def test_factorizations_are_kept_by_what_the_operator_does(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept, "LEAST_DIM", 100)
    weights = np.ones(SHAPE, np.float32)

    class Weighted(Operator):
        shape = SHAPE

        def __init__(self, held):
            self.apply = lambda x: held * x  # an array that no attribute shows

        def __call__(self, x, mask=None):
            return self.apply(x)

    first = posterior_modes(prior.gaussian, Weighted(weights), 0.1)
    again = posterior_modes(prior.gaussian, Weighted(weights.copy()), 0.1)
    files = list((tmp_path / "factorizations").iterdir())
    assert len(files) == 1
    np.testing.assert_array_equal(first.basis, again.basis)
    half = posterior_modes(prior.gaussian, Weighted(0.5 * weights), 0.1)
    assert np.abs(np.asarray(half.std - first.std)).max() > 1e-3
    posterior_modes(prior.gaussian, Weighted(weights), 0.2)
    assert len(list((tmp_path / "factorizations").iterdir())) == 3
    files[0].write_bytes(files[0].read_bytes()[:1000])  # damaged
    np.testing.assert_allclose(posterior_modes(prior.gaussian, Weighted(weights), 0.1).std, first.std, rtol=1e-6)
    monkeypatch.setattr(kept, "MOST_FILES", 2)
    posterior_modes(prior.gaussian, FixedMask(weights > 0), 0.3)
    assert len(list((tmp_path / "factorizations").iterdir())) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "file"))  # where nothing can be written
    np.testing.assert_allclose(posterior_modes(prior.gaussian, Weighted(weights), 0.1).std, first.std, rtol=1e-6)


@pytest.mark.slow
def test_the_card_of_such_a_flow_says_so(trained):
    card = json.loads(json.dumps(trained.card))
    assert card["any_operator"] is True and card["flow"]["kind"] == "universal"


@pytest.mark.long
def test_an_operator_outside_of_the_family_is_doubted(prior, trained):
    family = trained.card["family"]
    assert 0.005 <= family["sigma_y"][0] < family["sigma_y"][1] <= 0.3 and 0 < family["time"][0] < family["time"][1] < 1
    for operator, sigma_y, inside in ((Halved(), 0.05, True), (Identity(SHAPE), 0.9, False), (Halved(), 1e-4, False)):
        task = _task(prior, operator, sigma_y)
        own = posterior.AmortizedPosterior(task, build_flow(task, FLOW), trained.params, trained.card)
        reference = make_reference(own, jax.random.key(0), n=40)
        measured = task.measure(jax.random.key(3), prior.gaussian.sample(jax.random.key(4), 8))
        found = diagnose(own, measured, reference=reference)
        outside = ["not trained for such an operator" in d.text for d in found if d.verdict != "refuse"]
        assert len(outside) >= 4 and set(outside) == {not inside}
        assert inside or "trust" not in {d.verdict for d in found}


@pytest.mark.slow
def test_the_operator_of_the_readme(monkeypatch):
    """README's ten lines, as they stand there: samples of an operator that nothing was trained for, with their density."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    [code] = [
        block for block in re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S) if "EverySecondRow" in block
    ]
    names = {"jax": jax, "aps_core": aps_core}
    exec(code, names)
    samples, log_q = names["samples"], names["log_q"]
    assert samples.shape == (128, 32, 32, 3) and log_q.shape == (128,)
    data, truth = np.asarray(names["measurement"].y), np.asarray(names["mine"].signals("test")[0])
    assert np.sqrt(np.mean((np.asarray(samples.mean(axis=0))[::2] - data) ** 2)) < 0.04  # the rows that were measured
    closed = posterior.gaussian_posterior(names["mine"]).sample(jax.random.key(1), names["measurement"], 128)
    assert np.mean((samples.mean(axis=0) - truth) ** 2) < np.mean((closed.mean(axis=0) - truth) ** 2)
