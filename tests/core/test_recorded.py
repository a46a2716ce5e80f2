"""Training from measurements that were recorded: the same as from the same array, and nothing clean is touched."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core import Identity, Measurement, RandomMask, Task, train, train_posterior
from aps_core.training import posterior, subspace_posterior
from aps_core.training.loop import Session, fit
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import objective_settings
from aps_core.training.recorded import load_measurements, measured_once, save_measurements
from aps_core.training.subspace_prior import fit_subspace_gaussian, start_subspace_prior

QUIET = Session(progress=False)
RECIPE = {
    "name": "mine",
    "flow": {"kind": "realnvp", "steps": 1, "width": 4},
    "objective": {"prior_term": "exact", "batch": 8},
    "optimizer": {"steps": 4, "learning_rate": 1e-2, "warmup": 1, "ema": 0.0},
}


@pytest.fixture
def task(make_prior):
    """Denoising, with 32 signals."""
    prior = make_prior(d=4, k=3)
    return Task(Identity((4,)), 0.1, prior, prior.sample(jax.random.key(0), 32))


@pytest.fixture
def recorded(task):
    """Measurements of all signals."""
    return task.measure(jax.random.key(1), task.signals("train"))


def _weights(found):
    return jax.tree.leaves(found[0].params)


def _train(task, recipe=RECIPE, **settings):
    return train_posterior(task, recipe, progress=False, **settings)


@pytest.mark.slow
def test_training_from_a_file_is_training_from_the_array(task, recorded, tmp_path):
    """With a task that has no signals; and other measurements lead to other weights."""

    def untouched(split):
        raise AssertionError(f"signals of {split} were used")

    save_measurements(tmp_path / "mine.npz", recorded, 0.1)
    blind = replace(task, signals=None)
    from_file = _train(blind, measurements=load_measurements(tmp_path / "mine.npz", blind))
    from_array = _train(replace(task, signals=untouched), measurements=recorded)
    others = _train(blind, measurements=recorded.replace(y=recorded.y[::-1] + 0.01))
    for one, same in zip(_weights(from_file), _weights(from_array), strict=True):
        np.testing.assert_array_equal(one, same)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(_weights(from_array), _weights(others), strict=True))


@pytest.mark.slow
def test_a_protocol_measures_each_signal_once(task):
    """What the loss is given are those measurements, so that they can be handed over as an array instead."""
    once, again = measured_once(task, "train"), measured_once(task, "train")
    np.testing.assert_array_equal(once.y, again.y)
    assert once.y.shape == (32, 4)
    noise = np.asarray(once.y - task.signals("train"))
    assert 0.07 < noise.std() < 0.13 and len(np.unique(noise)) == noise.size
    for one, other in zip(_weights(_train(task)), _weights(_train(task, measurements=once)), strict=True):
        np.testing.assert_array_equal(one, other)
    fresh = _train(task, {**RECIPE, "objective": {**RECIPE["objective"], "noise": "fresh"}})
    assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(_weights(fresh), _weights(_train(task)), strict=True))


def test_what_cannot_be_trained_on(task, recorded, make_prior):
    masked = replace(task, operator=RandomMask((4,), 0.5), signals=None)
    one = jax.tree.map(lambda a: a[0], recorded)
    for problem, given, text in (
        (task, Measurement(recorded.y[:, :3]), r"y must have shape \(4,\) or \(batch, 4\), got \(32, 3\)"),
        (task, Measurement(recorded.y.at[3, 1].set(jnp.nan)), "y has 1 non-finite values"),
        (task, Measurement(recorded.y[:7]), "measurements hold 7, fewer than the batch of 8"),
        (task, one, r"measurements must be a batch, y of shape \(n, 4\), got \(4,\)"),
        (masked, recorded, "measurements have no mask, but RandomMask draws one for each"),
        (masked, Measurement(recorded.y, jnp.ones((32, 3))), "mask must have the shape of y"),
    ):
        with pytest.raises(ValueError, match=text):
            _train(problem, measurements=given)
    with pytest.raises(TypeError, match="floating point"):
        _train(task, measurements=Measurement(np.ones((32, 4), np.uint8)))
    with pytest.raises(ValueError, match="not both"):
        _train(task, measurements=recorded, measurement=one)
    with pytest.raises(ValueError, match='measurements need kl "reverse" or "mixture", got "forward"'):
        _train(task, {**RECIPE, "objective": {"kl": "forward"}}, measurements=recorded)
    with pytest.raises(ValueError, match="task 'custom' has no signals, so none of split 'train'"):
        _train(replace(task, signals=None))


def test_files_that_are_not_measurements(task, recorded, tmp_path):
    path, y = tmp_path / "mine.npz", np.asarray(recorded.y)
    with pytest.raises(FileNotFoundError, match=r"no measurements .*mine\.npz"):
        load_measurements(path, task)
    for arrays, text in (
        ({"y": y}, "no array 'sigma_y'; expected y, sigma_y"),
        ({"sigma_y": 0.1}, "no array 'y'"),
        ({"y": y, "sigma_y": 0.1, "x0": y}, "an unknown array 'x0'"),
        ({"y": y, "sigma_y": 0.2}, r"have noise sigma_y = 0\.2, the task 'custom' has 0\.1"),
        ({"y": y, "sigma_y": [0.1, 0.1]}, "have noise sigma_y"),
        ({"y": np.array([{}]), "sigma_y": 0.1}, r"not a \.npz file of plain arrays"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=text):
            load_measurements(path, task)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"not a \.npz file of plain arrays"):
        load_measurements(path, task)


def test_the_command_trains_on_a_file_without_any_signal(task, recorded, tmp_path, monkeypatch, capsys):
    """What it writes are the weights of the same training in Python; a recipe without a task has no measurements."""
    monkeypatch.setattr(posterior, "load_task", lambda name: replace(task, name=name))
    save_measurements(tmp_path / "mine.npz", recorded, 0.1)
    (tmp_path / "mine.toml").write_text(
        '[task]\nname = "mine"\n[flow]\nkind = "realnvp"\nsteps = 1\nwidth = 4\n[objective]\nprior_term = "exact"\n'
        "batch = 8\n[optimizer]\nsteps = 4\nlearning_rate = 1e-2\nwarmup = 1\nema = 0.0\n"
    )
    arguments = ["--out", str(tmp_path), "--checkpoints", str(tmp_path), "--measurements", str(tmp_path / "mine.npz")]
    train.main([str(tmp_path / "mine.toml"), *arguments])
    assert "step 4" in capsys.readouterr().out
    found, card = train.weights.load(tmp_path / "mine.safetensors")
    assert "validation" not in card or not any(name.startswith("val_") for name in card["validation"])
    for one, other in zip(jax.tree.leaves(found), _weights(_train(task, measurements=recorded)), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    (tmp_path / "prior.toml").write_text('trains = "network-prior"\n[prior]\nkind = 1\n[optimizer]\nsteps = 1\n')
    with pytest.raises(ValueError, match="--measurements trains a posterior, but recipe 'prior' has no"):
        train.main([str(tmp_path / "prior.toml"), *arguments])


def test_defaults_of_the_reverse_divergence():
    """The path and four times, one after another, where there is a control variate; what a recipe says counts first."""
    defaults = {term: objective_settings({"objective": {"prior_term": term}}) for term in ("control-variate", "elbo")}
    picked = {k: [s[n] for n in ("estimator", "n_times", "times_at_once", "noise")] for k, s in defaults.items()}
    assert picked == {"control-variate": ["path", 4, 1, "fixed"], "elbo": ["total", 1, None, "fixed"]}
    own = objective_settings({"objective": {"prior_term": "control-variate", "estimator": "total", "n_times": 2}})
    assert (own["estimator"], own["n_times"], own["times_at_once"]) == ("total", 2, None)
    for objective, error, text in (
        ({"estimator": "score"}, ValueError, "estimator must be one of"),
        ({"noise": "none"}, ValueError, "noise must be one of"),
        ({"n_times": 0}, ValueError, "n_times must be at least 1"),
        ({"times_at_once": 1.5}, TypeError, "times_at_once must be an integer"),
    ):
        with pytest.raises(error, match=text):
            objective_settings({"objective": objective})


def test_frozen_parameters_stay():
    start = {"a": {"b": jnp.ones(3), "bc": jnp.ones(2)}, "c": jnp.ones(2)}
    loss = lambda p, *_: (sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)), {})  # noqa: E731
    trained = fit(loss, start, None, Optimizer(steps=5, warmup=0, ema=0.0, frozen=["a/b"]), session=QUIET)
    np.testing.assert_array_equal(trained.params["a"]["b"], 1)
    assert np.all(trained.params["a"]["bc"] < 1) and np.all(trained.params["c"] < 1)
    whole = Optimizer(steps=5, warmup=0, ema=0.0, frozen=["a"])
    np.testing.assert_array_equal(fit(loss, start, None, whole, session=QUIET).params["a"]["bc"], 1)
    with pytest.raises(ValueError, match="frozen names 'd', which is no path of parameters"):
        fit(loss, start, None, Optimizer(steps=5, warmup=0, frozen=["d"]), session=QUIET)
    with pytest.raises(TypeError, match="frozen must be a list of paths"):
        Optimizer(steps=5, warmup=0, frozen="a")


@pytest.fixture
def subspace_task():
    """Masked signals of 12 places under an untrained SubspacePrior."""
    rng = np.random.default_rng(0)
    signals = (0.5 + 0.1 * rng.normal(size=(64, 4)) @ rng.normal(size=(4, 12))).astype(np.float32)
    signals += 0.01 * rng.normal(size=signals.shape).astype(np.float32)
    network = {"kind": "local", "width": 4, "depth": 1, "context": 2, "site": 2, "time_width": 4}
    prior = start_subspace_prior(fit_subspace_gaussian(signals, 4), rng.uniform(size=(12, 2)), network, radius=1)
    return Task(RandomMask((12,), 0.3), 0.1, prior, lambda split: signals, unit_range=False)


@pytest.mark.slow
def test_pools_of_a_subspace_flow_are_the_closed_form(subspace_task):
    """Of recorded measurements, two of which share a mask, and of signals that are measured once."""
    task, flow_recipe = subspace_task, {"kind": "subspace", "steps": 1, "width": 4}
    prior, signals = task.prior, task.signals("train")
    measurements = task.measure(jax.random.key(2), jnp.asarray(signals[:5]))
    mask = measurements.mask.at[4].set(measurements.mask[0])
    measurements = Measurement(measurements.y * mask, mask)
    flow = subspace_posterior.build_flow(task, flow_recipe)
    pool = subspace_posterior.pool_of_measurements(prior, 0.1, measurements)
    assert len(pool.chol) == 4 and pool.masked[4] == pool.masked[0]
    found = pool.contexts(flow, jnp.arange(5))
    expected = jax.vmap(lambda m: flow.context(m).modal)(measurements)
    np.testing.assert_allclose(found.mean, expected.mean, atol=2e-4)
    np.testing.assert_allclose(
        found.chol @ found.chol.transpose(0, 2, 1), expected.chol @ expected.chol.transpose(0, 2, 1), atol=2e-5
    )
    masks = subspace_posterior.prepare_masks(prior, task.operator, 0.1, 3, jax.random.key(5))
    once = subspace_posterior.pool_of_signals(prior, 1e-3, masks, signals, jax.random.key(6))
    assert once.mean.shape == (64, 4) and set(np.asarray(once.masked)) == {0, 1, 2}


@pytest.mark.slow
def test_subspace_flows_train_on_recorded_measurements_too(subspace_task, monkeypatch):
    monkeypatch.setattr(subspace_posterior, "_evaluate", lambda *_: {})
    measurements = subspace_task.measure(jax.random.key(2), jnp.asarray(subspace_task.signals("train")[:16]))
    blind = replace(subspace_task, signals=None)
    recipe = {
        "flow": {"kind": "subspace", "steps": 1, "width": 4},
        "objective": {"kl": "reverse", "reverse_batch": 4, "masks": 3, "n_times": 2},
        "optimizer": {"steps": 2, "learning_rate": 1e-3, "warmup": 0, "ema": 0.0},
    }
    found, trained = subspace_posterior.train_subspace_posterior(
        blind, recipe, measurements=measurements, progress=False
    )
    others = measurements.replace(y=measurements.mask * (measurements.y[::-1] + 0.1))
    trainings = (measurements, others, measurements)
    total = {
        **recipe,
        "objective": {**recipe["objective"], "estimator": "total"},
    }  # the path gradient is zero at the start
    weights = [
        _weights(subspace_posterior.train_subspace_posterior(blind, total, measurements=m, progress=False))
        for m in trainings
    ]
    same = [max(np.abs(a - b).max() for a, b in zip(weights[0], other, strict=True)) for other in weights[1:]]
    assert trained.finished and found.card["steps"] == 2 and same[0] > 1e-4 and same[1] == 0
    with pytest.raises(ValueError, match="measurements hold 3, fewer than the batch of 4"):
        few = jax.tree.map(lambda a: a[:3], measurements)
        subspace_posterior.train_subspace_posterior(blind, recipe, measurements=few, progress=False)
    with pytest.raises(ValueError, match="measurements have no mask"):
        subspace_posterior.train_subspace_posterior(
            blind, recipe, measurements=Measurement(measurements.y), progress=False
        )
    mixed = {**recipe, "objective": {**recipe["objective"], "kl": "mixture"}}
    with pytest.raises(ValueError, match="its forward loss has no signals"):
        subspace_posterior.train_subspace_posterior(blind, mixed, measurements=measurements, progress=False)
    monkeypatch.setattr(subspace_posterior, "MOST_MASKS", 10)
    with pytest.raises(ValueError, match="16 different masks; their closed forms are kept, at most 10"):
        subspace_posterior.pool_of_measurements(subspace_task.prior, 0.1, measurements)
