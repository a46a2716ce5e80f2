"""A flow that is asked about another mesh, and the two kinds of networks of a flow in a subspace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from aps_book.experiments import other_mesh
from aps_core.geometry import projection
from aps_core.geometry.mesh import TriangleMesh
from aps_core.operators import RandomMask
from aps_core.posterior import untrained_posterior
from aps_core.tasks.problem import Task
from aps_core.training.subspace_prior import fit_subspace_gaussian, start_subspace_prior

NETWORK = {"kind": "local", "width": 12, "depth": 2, "context": 4, "site": 3, "time_width": 8, "mix": 4, "near": 5}
SHAPE = (8, 8)


@pytest.fixture(scope="module")
def sphere():
    made = trimesh.creation.icosphere(subdivisions=2)  # 162 vertices
    return TriangleMesh(made.vertices, made.faces)


@pytest.fixture(scope="module")
def task(sphere):
    """Smooth images of 8 x 8 pixels on the sphere under an untrained prior in 12 dimensions."""
    rng = np.random.default_rng(0)
    waves = np.stack(
        [
            np.outer(np.cos(np.pi * i * np.arange(8) / 7), np.cos(np.pi * j * np.arange(8) / 7))
            for i in range(4)
            for j in range(3)
        ]
    )
    images = 0.5 + np.einsum("nk,kij->nij", 0.1 * rng.normal(size=(300, 12)), waves).astype(np.float32)
    places = projection.vertex_coordinates(sphere, "xy")
    signals = projection.project(images, places) + 0.01 * rng.normal(size=(300, 162)).astype(np.float32)
    prior = start_subspace_prior(fit_subspace_gaussian(signals, 12), places, NETWORK, radius=2)
    return Task(RandomMask((162,), 0.3), 0.1, prior, signals, name="smooth")


def look(mesh, sphere):
    return other_mesh.other_lookup(mesh, sphere, SHAPE)


@pytest.mark.slow
def test_the_own_mesh_has_the_posterior_of_the_flow(task, sphere, randomise):
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8})
    mean, basis = other_mesh.carry(task.prior, np.eye(162), np.eye(162))
    there = other_mesh.CarriedPosterior(
        posterior.flow,
        randomise(posterior.params, 0.1),
        jnp.asarray(mean, jnp.float32),
        jnp.asarray(basis, jnp.float32),
    )
    measurement = task.measure(jax.random.key(0), jnp.asarray(task.signals("test")[0]))
    expected = posterior.flow.context(measurement).modal
    flow, found = there.context(measurement)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-3, atol=2e-4)
    # the rest, 1 % of the noise here, is counted inside too
    np.testing.assert_allclose(found.chol, expected.chol, rtol=1e-2, atol=1e-3)
    assert float(flow.missing) == pytest.approx(0.3, abs=0.06)
    np.testing.assert_allclose(there.spread**2, np.diag(np.asarray(task.prior.gaussian.covariance())), rtol=0.02)
    # same law: many samples of the closed form have its mean and spread
    samples = np.asarray(there.replace(params=None).sample(jax.random.key(1), measurement, 4000))
    exact = posterior.flow.context(measurement).posterior
    np.testing.assert_allclose(samples.mean(axis=0), exact.mean, atol=0.012)
    np.testing.assert_allclose(samples.std(axis=0), exact.marginal_std, rtol=0.1)


def test_functions_are_carried_as_images_are(task, sphere):
    """An image in the span of the functions is the same on the other mesh, whichever of its pixels the first one sees."""
    finer = sphere.finer()
    mean, basis = other_mesh.carry(task.prior, look(sphere, sphere), look(finer, sphere))
    patterns = np.linalg.pinv(look(sphere, sphere)) @ np.asarray(task.prior.basis, np.float64)
    np.testing.assert_allclose(basis, look(finer, sphere) @ patterns, atol=1e-5)
    # its first vertices are the old ones
    np.testing.assert_allclose(look(finer, sphere)[:162], look(sphere, sphere), atol=1e-9)
    assert np.abs(mean - 0.5).max() < 0.2
    with pytest.raises(ValueError, match=r"look-ups have shapes \(642, 64\) and \(162, 64\), expected \(162, pixels\)"):
        other_mesh.carry(task.prior, look(finer, sphere), look(sphere, sphere))


@pytest.mark.slow
def test_more_vertices_know_more(task, sphere):
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8})
    spread = {}
    for name, mesh in {"coarser": sphere.coarser(0.45), "own": sphere, "finer": sphere.finer()}.items():
        mean, basis = (
            jnp.asarray(a, jnp.float32) for a in other_mesh.carry(task.prior, look(sphere, sphere), look(mesh, sphere))
        )
        there = other_mesh.CarriedPosterior(posterior.flow, posterior.params, mean, basis)
        measurement = there.measure(jax.random.key(2), mean, 0.3)
        assert measurement.mask.sum() == len(mesh) - round(0.3 * len(mesh))
        assert there.sample(jax.random.key(3), measurement, 5).shape == (5, len(mesh))
        spread[name] = float(jnp.linalg.norm(there.context(measurement)[1].chol))
    assert spread["finer"] < 0.8 * spread["own"] and spread["own"] < 0.95 * spread["coarser"]


def test_coarser_and_finer_meshes(sphere):
    finer, coarser = sphere.finer(), sphere.coarser(0.45)
    assert len(finer) == 642 and len(finer.faces) == 4 * len(sphere.faces)
    assert (
        20 < len(coarser) < 162
        and coarser.defects()["isolated vertices"] == 0
        and coarser.defects()["faces without area"] == 0
    )
    gap = np.linalg.norm(coarser.vertices[:, None] - sphere.vertices, axis=2).min(axis=1)
    assert gap.max() < 1e-6  # every vertex is one of those before
    with pytest.raises(ValueError, match="cell must be finite and positive, got 0"):
        sphere.coarser(0)
    with pytest.raises(ValueError, match="no face is left"):
        sphere.coarser(100.0)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"vectorized": True}, {"copy": False}])
def test_flows_for_comparison_start_at_the_closed_form_and_invert(task, randomise, settings):
    posterior = untrained_posterior(task, {"kind": "subspace", "steps": 2, "width": 8, **settings})
    flow = posterior.flow
    context = flow.context(task.measure(jax.random.key(0), jnp.asarray(task.signals("test")[1])))
    z = jax.random.normal(jax.random.key(1), (162,))
    np.testing.assert_allclose(
        flow.forward(posterior.params, z, context)[0], context.posterior.forward(z)[0], atol=1e-4
    )
    params = randomise(posterior.params, 0.1)
    x, log_det = flow.forward(params, z, context)
    back, inverse = flow.inverse(params, x, context)
    np.testing.assert_allclose(back, z, atol=5e-3)
    assert float(log_det) == pytest.approx(-float(inverse), abs=5e-3)
    jacobian = np.asarray(jax.jacobian(lambda z: flow.forward(params, z, context)[0])(z), np.float64)
    assert float(log_det) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=0.05)


def test_numbers_passed_on_widen_what_a_site_sees(task):
    """With one step to its neighbours per layer the first site hears of sites that its own neighbourhood lacks."""
    network = task.prior.inner.network
    params = jax.tree.map(lambda a: a + 0.1, task.prior.inner.params)
    d = task.prior.basis.shape[1]
    jacobian = jax.jit(lambda p, u: jax.jacobian(lambda u: network.apply(p, u, 0.3, jnp.zeros(d))[0])(u))

    def gradient(mix_off):
        silent = params
        if mix_off:  # rows of the layers that take what is heard
            tree = jax.tree.map(jnp.asarray, params)
            silent = {
                "params": {
                    name: dict(layer) if isinstance(layer, dict) else layer for name, layer in tree["params"].items()
                }
            }
            for layer in silent["params"].values():
                if isinstance(layer, dict) and layer["kernel"].shape[0] == network.width + network.mix * network.near:
                    layer["kernel"] = layer["kernel"].at[network.width :].set(0.0)
        return jacobian(silent, jnp.full(d, 0.1))

    loud, silent = gradient(False), gradient(True)
    assert np.abs(np.asarray(loud - silent)).max() > 1e-6
