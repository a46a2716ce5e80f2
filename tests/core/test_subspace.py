"""Priors and flows in a subspace with local coordinates, and a user's own mesh from file to posterior."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from aps_core.geometry import projection
from aps_core.geometry.mesh import read_mesh
from aps_core.operators import Identity, RandomMask
from aps_core.posterior import gaussian_posterior, untrained_posterior
from aps_core.priors.networks.local import LocalMLP, Neighbourhoods, disc_neighbourhoods
from aps_core.priors.score_network import build_network
from aps_core.priors.store import load_prior, prior_settings, prior_tree
from aps_core.priors.subspace import local_basis
from aps_core.tasks.problem import Task
from aps_core.training import subspace_posterior, subspace_prior
from aps_core.training.posterior import train_posterior
from aps_core.training.subspace_prior import fit_subspace_gaussian, start_subspace_prior, train_subspace_prior
from aps_core.weights import WeightsError, save

K, NETWORK = 12, {"kind": "local", "width": 16, "depth": 1, "context": 4, "site": 3, "time_width": 8}


@pytest.fixture(scope="module")
def places():
    """A patch of 60 entries, scattered in the square."""
    return np.random.default_rng(0).uniform(size=(60, 2))


@pytest.fixture(scope="module")
def signals(places):
    """Smooth bumps at random places: they fill few dimensions, and are not Gaussian."""
    rng = np.random.default_rng(1)
    centres = rng.uniform(size=(600, 1, 2))
    return (rng.uniform(0.5, 1, (600, 1)) * np.exp(-((places - centres) ** 2).sum(axis=2) / 0.1)).astype(np.float32)


@pytest.fixture(scope="module")
def prior(places, signals):
    """A SubspacePrior whose network has random weights."""
    made = start_subspace_prior(fit_subspace_gaussian(signals, K), places, NETWORK, radius=2)
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda a: a + 0.2 * jnp.asarray(rng.normal(size=a.shape), jnp.float32), made.inner.params)
    return made.replace(inner=made.inner.replace(params=params))


@pytest.fixture(scope="module")
def task(prior, signals):
    return Task(
        RandomMask((60,), 0.3),
        0.1,
        prior,
        lambda split: signals[{"train": slice(400), "val": slice(400, 500), "test": slice(500, None)}[split]],
    )


def test_gaussian_is_that_of_the_signals_plus_the_rest(signals):
    gaussian = fit_subspace_gaussian(signals, K)
    covariance = np.cov(signals.T.astype(np.float64))
    values = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(gaussian.excess, values[:K], rtol=1e-4)
    assert float(gaussian.rest) == pytest.approx(values[K:].mean(), rel=1e-3)
    projected = np.asarray(gaussian.covariance()) - float(gaussian.rest) * np.eye(60)
    top = np.asarray(gaussian.basis, np.float64)
    np.testing.assert_allclose(projected, top @ top.T @ covariance @ top @ top.T, atol=1e-4)
    with pytest.raises(ValueError, match=r"n_modes must lie in 1..59, got 60"):
        fit_subspace_gaussian(signals, 60)


def test_local_basis_spans_the_modes_and_sits_at_its_sites(signals):
    modes = np.asarray(fit_subspace_gaussian(signals, K).basis, np.float64)
    basis, sites = local_basis(modes)
    np.testing.assert_allclose(basis.T @ basis, np.eye(K), atol=1e-5)
    np.testing.assert_allclose(basis @ basis.T, modes @ modes.T, atol=1e-5)
    assert len(set(sites.tolist())) == K
    at_sites = basis[sites]
    # nearest to unit vectors: the rows at the sites are symmetric and positive
    np.testing.assert_allclose(at_sites, at_sites.T, atol=1e-5)
    assert np.linalg.eigvalsh(at_sites).min() > 0
    full, _ = local_basis(np.linalg.qr(np.random.default_rng(0).normal(size=(K, K)))[0])
    # of the whole space: the unit vectors themselves
    assert np.allclose(np.sort(np.abs(full), axis=1)[:, :-1], 0, atol=1e-9)


def test_prior_without_network_is_its_gaussian_and_eps_is_a_gradient(places, signals, prior):
    plain = start_subspace_prior(fit_subspace_gaussian(signals, K), places, NETWORK, radius=2)
    ut = jax.random.normal(jax.random.key(0), (60,))
    np.testing.assert_allclose(plain.eps(ut, 0.3), plain.gaussian.eps(ut, 0.3), atol=1e-6)
    change = prior.eps(ut, 0.3) - prior.gaussian.eps(ut, 0.3)
    assert float(jnp.linalg.norm(change)) > 0.05
    inside = prior.basis @ (prior.basis.T @ change)
    np.testing.assert_allclose(change, inside, atol=1e-5)  # the network changes nothing outside of the subspace
    # and there it is the inner prior's noise prediction of the coordinates
    v = prior.basis.T @ (ut - prior.sde.alpha(0.3) * (2 * prior.gaussian.mean - 1))
    np.testing.assert_allclose(prior.basis.T @ prior.eps(ut, 0.3), prior.inner.eps(v, 0.3), atol=1e-4)


def test_coordinates_are_those_of_the_basis(prior, signals):
    v = prior.coordinates(jnp.asarray(signals[:5]))
    assert v.shape == (5, K)
    np.testing.assert_allclose(prior.coordinates(prior.signal(v)), v, atol=1e-5)
    key = jax.random.key(3)
    x = prior.signal(v[0])
    assert float(prior.log_ratio_at(key, x, 0.2)) == pytest.approx(
        float(prior.modal_log_ratio(key, 2 * (v[0] - 0.5), 0.2)), abs=1e-3
    )


def test_prior_comes_back_from_half_precision(prior, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_WEIGHTS_DIR", str(tmp_path))
    save(tmp_path / "small.safetensors", prior_tree(prior), {"settings": prior_settings(prior)}, np.float16)
    again, _ = load_prior("small")
    np.testing.assert_allclose(again.basis.T @ again.basis, np.eye(K), atol=1e-6)
    np.testing.assert_allclose(again.gaussian.basis.T @ again.gaussian.basis, np.eye(K), atol=1e-6)
    ut = jax.random.normal(jax.random.key(0), (60,))
    np.testing.assert_allclose(again.eps(ut, 0.3), prior.eps(ut, 0.3), atol=0.02)
    assert hash(again.inner.network) == hash(prior.inner.network)


def test_neighbourhoods_are_those_of_a_grid():
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), axis=-1).reshape(-1, 2)
    index = disc_neighbourhoods(grid, 1).index
    assert index.shape == (25, 5)
    assert index[:, 0].tolist() == list(range(25))
    assert set(index[12].tolist()) == {12, 7, 17, 11, 13}
    assert set(index[0].tolist()) == {0, 1, 5}  # at the corner the site itself stands for those that are not there
    with pytest.raises(ValueError, match="radius must be at least 1"):
        disc_neighbourhoods(grid, 0)
    with pytest.raises(ValueError, match="index holds 0 to 9, expected 0 to 1"):
        Neighbourhoods(np.array([[0], [9]]))


@pytest.mark.slow
def test_network_is_local_but_for_its_context():
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6), indexing="ij"), axis=-1).reshape(-1, 2)
    network = LocalMLP(disc_neighbourhoods(grid, 1), width=8, depth=1, context=1, site=2, time_width=8)
    params = network.init(jax.random.key(0), jnp.zeros(36), 0.5, jnp.zeros(36))
    params["params"]["out"]["kernel"] += 1.0
    params["params"]["Dense_6"]["kernel"] *= 0  # the whole signal is not listened to
    jacobian = jax.jacobian(lambda u: network.apply(params, u, 0.5, jnp.zeros(36)))(
        jax.random.normal(jax.random.key(1), (36,))
    )
    near = np.abs(grid[:, None] - grid[None]).sum(axis=2) <= 1
    assert np.all(np.asarray(jacobian)[~near] == 0)
    assert np.all(np.asarray(jacobian)[near] != 0)


def test_vectorized_network_starts_as_the_gaussian_and_sees_every_entry(places, signals):
    dense = {"kind": "dense", "width": 16, "depth": 1, "time_width": 8}
    made = start_subspace_prior(fit_subspace_gaussian(signals, K), places, dense)
    ut = jax.random.normal(jax.random.key(0), (60,))
    np.testing.assert_allclose(made.eps(ut, 0.3), made.gaussian.eps(ut, 0.3), atol=1e-6)
    params = jax.tree.map(lambda a: a + 0.1, made.inner.params)
    jacobian = jax.jacobian(lambda u: made.inner.network.apply(params, u, 0.3, u))(ut[:K])
    assert np.all(np.asarray(jacobian) != 0)
    with pytest.raises(ValueError, match='network "local" needs tokens'):
        build_network(NETWORK, (K,))


@pytest.mark.slow
def test_untrained_flow_has_the_tweedie_estimate_as_its_mean_where_nothing_is_missing(prior, signals):
    task = Task(RandomMask((60,), 0.0), 0.1, prior, signals)
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8})
    measurement = task.measure(jax.random.key(0), jnp.asarray(signals[0]))
    context = posterior.flow.context(measurement)
    x, _ = posterior.flow.forward(posterior.params, -context.directions @ jnp.zeros(K), context)
    t = prior.sde.time_of(2 * jnp.log(2 * 0.1))
    u = prior.sde.alpha(t) * (2 * measurement.y - 1)
    denoised = (u - prior.sde.beta(t) * prior.eps(u, t)) / prior.sde.alpha(t)
    np.testing.assert_allclose(x, (denoised + 1) / 2, atol=2e-3)


@pytest.mark.slow
def test_flow_inverts_and_its_log_det_is_that_of_autodiff(task, prior, randomise, signals):
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 3, "width": 8})
    flow, params = posterior.flow, randomise(posterior.params, 0.1)
    context = flow.context(task.measure(jax.random.key(0), jnp.asarray(signals[0])))
    z = jax.random.normal(jax.random.key(1), (60,))
    x, log_det = flow.forward(params, z, context)
    back, inverse_log_det = flow.inverse(params, x, context)
    np.testing.assert_allclose(back, z, atol=2e-3)
    assert float(log_det) == pytest.approx(-float(inverse_log_det), abs=2e-3)
    jacobian = np.asarray(jax.jacobian(lambda z: flow.forward(params, z, context)[0])(z), np.float64)
    assert float(log_det) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=0.02)


def test_prepared_masks_give_the_closed_form(task, prior, signals):
    flow = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8}).flow
    masks = subspace_posterior.prepare_masks(prior, task.operator, 0.1, 3, jax.random.key(4))
    v = prior.coordinates(jnp.asarray(signals[:6])).reshape(3, 2, K)
    contexts, amplitudes = subspace_posterior.simulate(flow, prior, masks, jax.random.key(5), v, jnp.arange(3))
    k_rest, k_noise = jax.random.split(jax.random.key(5))
    g = prior.gaussian
    x = prior.signal(v) + jnp.sqrt(g.rest) * jax.random.normal(k_rest, (3, 2, 60))
    y = masks.mask[:, None] * (x + 0.1 * jax.random.normal(k_noise, (3, 2, 60)))
    np.testing.assert_allclose(amplitudes, prior.coordinates(x) - 0.5, atol=1e-5)
    for i in range(3):
        from aps_core.operators import Measurement

        exact = flow.context(Measurement(y[i, 1], masks.mask[i])).modal
        np.testing.assert_allclose(contexts.mean[i, 1], exact.mean, atol=2e-4)
        np.testing.assert_allclose(contexts.chol[i, 1], exact.chol, atol=2e-4)
        np.testing.assert_allclose(contexts.features[i, 1], exact.features, atol=5e-3)


@pytest.mark.slow
def test_objective_in_coordinates_is_that_of_signals(task, prior, signals):
    """Up to a constant of the measurement, -log q of the coordinates is -log q of the signal."""
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8})
    measurement = task.measure(jax.random.key(0), jnp.asarray(signals[0]))
    context = posterior.flow.context(measurement)
    xs = gaussian_posterior(task).sample(jax.random.key(1), measurement, 4)
    rest = []
    for x in xs:
        whole = float(posterior.log_prob(x[None], measurement)[0])
        modal = jax.tree.map(lambda a: a[None], context.modal)
        inside = -float(
            subspace_posterior.forward_modal(
                posterior.flow, posterior.params, modal, (prior.coordinates(x) - 0.5)[None]
            )[0]
        )
        z, _ = context.posterior.inverse(x)
        outside = z - context.directions @ (context.directions.T @ z)
        rest.append(whole - inside + 0.5 * float(jnp.sum(outside**2)))
    assert np.ptp(rest) < 0.05


@pytest.mark.long
def test_own_mesh_from_file_to_posterior(tmp_path):
    """Blobs on a sphere that comes as a file: prior, training and samples, better than the Gaussian closed form in
    every step of the way.
    """
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "own.obj")
    mesh = read_mesh(tmp_path / "own.obj")
    rng = np.random.default_rng(0)
    images = np.zeros((700, 16, 16), np.float32)
    for image, row, column in zip(images, rng.integers(2, 10, 700), rng.integers(2, 10, 700)):
        image[row : row + 4, column : column + 4] = 1
    placed = projection.vertex_coordinates(mesh, "xy")
    signals = projection.project(images, placed)
    parts = {"train": signals[:600], "val": signals[600:664], "test": signals[664:]}
    recipe = {
        "name": "own",
        "prior": {"subspace": 40, "radius": 2, "batch": 64, "network": {**NETWORK, "width": 32}},
        "optimizer": {"steps": 150, "learning_rate": 5e-3, "warmup": 10, "ema": 0.95},
    }
    prior, trained, card = train_subspace_prior(recipe, parts, placed, evaluate_every=150, progress=False)
    assert trained.history[-1]["val_gain"] > 20  # nats per signal above the Gaussian
    assert card["settings"]["signal_shape"] == [162]
    task = Task(RandomMask((162,), 0.3), 0.1, prior, lambda split: parts[split], name="own")
    flow = {
        "name": "own",
        "flow": {"kind": "subspace", "steps": 2, "width": 16},
        "objective": {"kl": "mixture", "draws": None, "masks": 8, "masks_per_step": 4, "batch": 32},
        "optimizer": {"steps": 60, "learning_rate": 2e-3, "warmup": 10, "ema": 0.9},
    }
    posterior, history = subspace_posterior.train_subspace_posterior(task, flow, evaluate_every=60, progress=False)
    assert history.history[-1]["val_forward"] < history.history[0]["val_forward"]
    x0 = jnp.asarray(parts["test"][:16])
    measurements = task.measure(jax.random.key(1), x0)
    errors = {}
    for name, sampler in (("flow", posterior), ("gaussian", gaussian_posterior(task))):
        samples = sampler.sample(jax.random.key(2), measurements, 16)
        assert samples.shape == (16, 16, 162)
        errors[name] = float(jnp.mean((samples.mean(axis=1) - x0) ** 2))
    assert errors["flow"] < 0.85 * errors["gaussian"]


@pytest.mark.slow
def test_training_goes_on_from_weights_of_the_same_flow(task, signals, randomise, monkeypatch):
    monkeypatch.setattr(subspace_posterior, "_evaluate", lambda *_: {})  # not what is asked, and long to compile
    task = replace(task, signals=lambda split: signals[:64])
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8})
    posterior = replace(posterior, params=randomise(posterior.params, 0.05))
    recipe = {
        "flow": {"kind": "subspace", "steps": 2, "width": 8},
        "objective": {"kl": "forward", "masks": 4, "masks_per_step": 2, "batch": 4},
        "optimizer": {"steps": 3, "warmup": 0, "learning_rate": 1e-4, "ema": 0},
    }
    found, _ = subspace_posterior.train_subspace_posterior(task, recipe, start=posterior, progress=False)
    away = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found.params, posterior.params)
    # three steps of Adam, the weights themselves having a spread of 0.05
    assert 1e-4 < max(jax.tree.leaves(away)) < 3e-4
    with pytest.raises(ValueError, match="start has a flow of other shapes"):
        subspace_posterior.train_subspace_posterior(
            task, {**recipe, "flow": {"kind": "subspace", "steps": 4, "width": 8}}, start=posterior
        )


@pytest.mark.slow
def test_prior_goes_on_from_weights_of_the_same_network(prior, signals, places, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(subspace_prior, "_evaluate", lambda *_: {})
    save(tmp_path / "begun.safetensors", prior_tree(prior), {"settings": prior_settings(prior)}, np.float32)
    recipe = {
        "start": "begun",
        "prior": {"data": "none", "subspace": K, "radius": 2, "batch": 4, "network": NETWORK},
        "optimizer": {"steps": 3, "warmup": 0, "learning_rate": 1e-4, "ema": 0},
    }
    split = {"train": signals[:500], "val": signals[500:504]}
    found, *_ = train_subspace_prior(recipe, split, places, progress=False)
    away = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found.inner.params, prior.inner.params)
    assert 1e-4 < max(jax.tree.leaves(away)) < 3e-4
    recipe["prior"]["network"] = {**NETWORK, "width": NETWORK["width"] + 1}
    with pytest.raises(ValueError, match="network of other shapes"):
        train_subspace_prior(recipe, split, places)


def test_errors_name_what_is_wrong(task, signals):
    with pytest.raises(ValueError, match='flow "subspace" needs a SubspacePrior'):
        gaussian = task.prior.gaussian
        train_posterior(
            Task(RandomMask((60,), 0.3), 0.1, gaussian, signals),
            {"flow": {"kind": "subspace"}, "optimizer": {"steps": 1, "warmup": 0}},
        )
    with pytest.raises(ValueError, match="unknown entry 'pool'"):
        recipe = {"flow": {"kind": "subspace"}, "objective": {"pool": 3}, "optimizer": {"steps": 1, "warmup": 0}}
        subspace_posterior.train_subspace_posterior(task, recipe)


@pytest.mark.slow
def test_training_without_missing_entries_and_with_few_validation_signals(prior, signals):
    """Denoising draws no mask: its closed form is one. 20 validation signals are no multiple of the held-out masks."""
    parts = {"train": slice(400), "val": slice(400, 420), "test": slice(500, None)}
    task = Task(Identity((60,)), 0.1, prior, lambda split: signals[parts[split]])
    recipe = {
        "flow": {"kind": "subspace", "steps": 1, "width": 8, "depth": 1},
        "objective": {"kl": "forward", "masks": 4, "masks_per_step": 2, "batch": 8},
        "optimizer": {"steps": 2, "warmup": 0},
    }
    posterior, _ = subspace_posterior.train_subspace_posterior(task, recipe, evaluate_every=1)
    assert np.isfinite(posterior.card["history"][-1]["val_objective"])
    few = replace(task, signals=lambda split: signals[:9])
    with pytest.raises(ValueError, match="signals has 9 for validation, expected at least 16"):
        subspace_posterior.train_subspace_posterior(few, recipe)


@pytest.mark.parametrize("batch", [4, 60])
def test_a_batch_is_divided_by_its_masks(batch):
    objective = {"kl": "forward", "batch": batch, "masks_per_step": 8}
    with pytest.raises(ValueError, match=f"batch is {batch} and masks_per_step 8"):
        subspace_posterior.subspace_settings({"objective": objective, "optimizer": {"steps": 1}})
    subspace_posterior.subspace_settings({"objective": {**objective, "kl": "reverse"}, "optimizer": {"steps": 1}})


def test_what_the_reverse_divergence_measures_and_what_it_refuses(task, signals):
    """With new noise in every step too it measures the split that the protocol names."""
    asked = []
    watched = replace(task, signals=lambda split: asked.append(split) or signals[:100])
    recipe = {
        "flow": {"kind": "subspace", "steps": 1, "width": 8},
        "objective": {
            "kl": "reverse",
            "noise": "fresh",
            "protocol": "paper",
            "masks": 4,
            "masks_per_step": 2,
            "batch": 8,
        },
        "optimizer": {"steps": 1, "warmup": 0},
    }
    subspace_posterior.subspace_posterior_job(watched, recipe)
    assert asked == ["val", "test"]
    settings = lambda **given: subspace_posterior.subspace_settings({"objective": given, "optimizer": {"steps": 1}})  # noqa: E731
    with pytest.raises(ValueError, match='draws are for kl "forward" or "mixture"'):
        settings(kl="reverse", draws=8)
    with pytest.raises(ValueError, match='measures the signals of its forward loss; expected "held-out"'):
        settings(kl="mixture", noise="fresh", protocol="paper")


def test_a_prior_is_not_gone_on_with_from_other_signals(signals, places, tmp_path):
    recipe = {
        "name": "mine",
        "trains": "subspace-prior",
        "prior": {"subspace": K, "radius": 2, "batch": 4, "network": NETWORK},
        "optimizer": {"steps": 1, "warmup": 0},
    }
    split = {"train": signals[:100], "val": signals[500:504]}
    _, _, card = train_subspace_prior(recipe, split, places, folder=tmp_path, progress=False)
    assert re.fullmatch("[0-9a-f]{64}", card["data_sha256"])
    with pytest.raises(WeightsError, match="made from other inputs"):
        train_subspace_prior(recipe, {**split, "train": signals[100:200]}, places, folder=tmp_path, progress=False)
    with pytest.raises(WeightsError, match="made from other inputs"):
        train_subspace_prior(recipe, split, places + 0.5, folder=tmp_path, progress=False)
