"""The sphere on the reanalysis' own grid, from made-up fields in the format of the file that is fetched on demand: reading,
splits, what is said where something is missing, and recipes, task and closed form at 10,512 cells.
"""

import copy
from dataclasses import replace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

from aps_book.train import ALL
from aps_core import data, gaussian_posterior, load_posterior, load_task, weights
from aps_core.data import ncep, ncep_fine
from aps_core.data.temperature import to_kelvin
from aps_core.files import CHECKOUT, sha256_of
from aps_core.geometry import sphere
from aps_core.operators import Measurement
from aps_core.training import TRAINERS
from aps_core.training.job import run
from aps_core.training.recipes import read
from scripts.data import make_ncep

N_MONTHS = 720  # January 1948 to December 2007


def fields():
    """Degrees C (720, 73, 144): seasons, eight wide patterns that come and go, and a little noise; poles of one value."""
    rng = np.random.default_rng(0)
    latitude = np.radians(np.linspace(90, -90, 73))[:, None]
    longitude = np.radians(2.5 * np.arange(144))[None, :]
    season = np.cos(2 * np.pi * np.arange(N_MONTHS) / 12)[:, None, None]
    warm = 28 * np.cos(latitude) ** 2 - 30 - 25 * (latitude < -1.2) + 6 * np.cos(longitude) * np.cos(latitude)
    waves = np.stack(
        [np.cos(latitude) ** 2 * np.cos(k * longitude + f) * np.sin(m * latitude + f)
         for k, m, f in zip((1, 1, 2, 2, 3, 3, 4, 5), (1, 2, 1, 3, 2, 1, 2, 1), rng.uniform(0, 6, 8), strict=True)]
    )  # fmt: skip
    found = warm - 14 * season * np.sin(latitude) + np.einsum("nk,kij->nij", rng.normal(size=(N_MONTHS, 8)), 2 * waves)
    found[:, 1:-1] += 0.3 * rng.normal(size=(N_MONTHS, 71, 144))
    for pole in (0, -1):
        found[:, pole] = found[:, pole].mean(axis=-1, keepdims=True)
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a NetCDF-4 file of ``fields``."""
    path = tmp_path_factory.mktemp("fine") / "made.nc"
    with h5py.File(path, "w") as file:
        file["air"] = fields()
    return path.read_bytes()


@pytest.fixture
def own(tmp_path, monkeypatch, content):
    """The made-up file in APS_DATA_DIR, in the place of the real one, and no weights but those in ``tmp_path``."""
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "folders", lambda: [tmp_path / "weights"])
    monkeypatch.setattr(ncep_fine, "SHA256", sha256_of(content))
    (tmp_path / ncep_fine.SOURCE.name).mkdir()
    (tmp_path / ncep_fine.SOURCE.name / ncep_fine.FILE).write_bytes(content)
    return tmp_path


def test_months_and_scale(own):
    celsius = fields()
    year = 1948 + np.arange(N_MONTHS) // 12
    for split, select in ncep.SELECT.items():
        found = data.load("ncep-temperature-fine", split)
        assert found.values.shape == (select(year).sum(), 73, 144) and found.values.dtype == np.float32
        np.testing.assert_allclose(to_kelvin(found.values) - 273.15, celsius[select(year)], atol=1e-4)
        np.testing.assert_array_equal(found.index["year"], year[select(year)])
        np.testing.assert_array_equal(found.index["month"], (np.arange(N_MONTHS) % 12 + 1)[select(year)])
    poles = data.load("ncep-temperature-fine", "val").values[:, [0, -1]]
    np.testing.assert_array_equal(poles, np.broadcast_to(poles[..., :1], poles.shape))


def test_the_embedded_fields_are_interpolated_from_such_a_file(own):
    """What make_ncep makes of the file and what is read from it are the same fields on two grids."""
    made = make_ncep.make(ncep_fine.read_source(own / ncep_fine.SOURCE.name / ncep_fine.FILE))
    (own / "made.npz").write_bytes(made)
    with np.load(own / "made.npz") as coarse:
        x = coarse["codes"] * coarse["step"] - coarse["offset"]
    fine = data.load("ncep-temperature-fine", "val")
    val = ncep.SELECT["val"](1948 + np.arange(N_MONTHS) // 12)
    np.testing.assert_allclose(make_ncep.regrid(fine.values.astype(float)), x[val], atol=1.1 * make_ncep.STEP / 2)


def test_what_is_said_without_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path))
    wanted = "air.mon.mean.nc not found; looked for .*`aps data fetch ncep-temperature-fine` gets it"
    for ask in (lambda: data.load("ncep-temperature-fine", "test"), lambda: load_task("sphere-fine-impute")):
        with pytest.raises(FileNotFoundError, match=wanted):
            ask()
    with pytest.raises(ValueError, match="no split 'all'"):
        data.load("ncep-temperature-fine", "all")


def test_what_is_said_of_another_file(own, monkeypatch):
    monkeypatch.setattr(ncep_fine, "SHA256", "57ff")
    with pytest.raises(ValueError, match="air.mon.mean.nc has sha256 .*, expected 57ff"):
        data.load("ncep-temperature-fine", "test")


def test_what_is_said_without_a_prior(own):
    with pytest.raises(FileNotFoundError, match="not shipped: `aps train recipes/sphere-fine-prior.toml`"):
        load_task("sphere-fine-impute")


def test_areas_of_the_fine_grid():
    areas = sphere.cell_areas(sphere.FINE)
    assert areas.shape == (73, 144) and areas.sum() == pytest.approx(4 * np.pi, rel=1e-14)
    degree = np.pi / 180
    assert areas[0].sum() == pytest.approx(2 * np.pi * (1 - np.cos(1.25 * degree)), rel=1e-10)  # a cap
    assert areas[36, 0] == pytest.approx(2.5 * degree * 2 * np.sin(1.25 * degree), rel=1e-12)  # on the equator


def shortened(name, **changes):
    """The recipe ``name`` of the project with a few numbers of its tables changed, so that it takes seconds."""
    recipe = copy.deepcopy(read(CHECKOUT / "recipes" / f"{name}.toml"))
    for table, values in changes.items():
        recipe[table] |= values
    return recipe


@pytest.fixture
def task(own):
    """The task, its prior made by the shortened recipe."""
    network = {"k": 6, "lead": 3, "regimes": 2, "rank": 2, "width": 8}
    recipe = shortened(
        "sphere-fine-prior", prior={"n_modes": 12, "network": network, "batch": 8}, optimizer={"steps": 2, "warmup": 1}
    )
    job = replace(ALL["modal-prior"].job(recipe), evaluate=None)
    trained, _, card = run(job, recipe, progress=False)
    weights.save(own / "weights" / "sphere-fine-prior.safetensors", job.tree(trained), card, job.dtype)
    return load_task("sphere-fine-impute")


def check_closed_form(task):
    """It is that of regression on what was observed: a solve of the size of the data, which knows nothing of modes."""
    x0 = task.signals("test")[:1]
    few = task.measure(jax.random.key(0), x0)
    rows, columns = np.nonzero(np.asarray(few.mask[0]))
    kept = np.random.default_rng(0).permutation(len(rows))[:900]
    mask = np.zeros(task.shape, np.float32)
    mask[rows[kept], columns[kept]] = 1
    one = Measurement(few.y[0] * mask, jnp.asarray(mask))
    posterior = gaussian_posterior(task).flow.context(one)
    prior = task.prior.gaussian
    basis, mean, excess = (np.asarray(a, np.float64) for a in (prior.basis, prior.mean, prior.excess))
    seen = np.flatnonzero(mask)
    cross = (basis * excess) @ basis[seen].T
    cross[seen, np.arange(len(seen))] += float(prior.rest)
    factor = cho_factor(cross[seen] + task.sigma_y**2 * np.eye(len(seen)))
    exact = mean + cross @ cho_solve(factor, np.asarray(one.y, np.float64).ravel()[seen] - mean[seen])
    variance = basis**2 @ excess + float(prior.rest) - np.sum(cross * cho_solve(factor, cross.T).T, axis=1)
    np.testing.assert_allclose((posterior.mean - exact) / np.sqrt(variance), 0, atol=2e-3)
    np.testing.assert_allclose(posterior.marginal_std, np.sqrt(variance), rtol=1e-3)


@pytest.mark.slow
def test_the_recipe_trains_and_samples_and_the_closed_form_is_regression(task, own):
    check_closed_form(task)
    assert task.shape == sphere.FINE and task.name == "sphere-fine-impute"
    recipe = shortened(
        "sphere-fine-impute-held-out",
        flow={"k": 6, "steps": 2, "width": 8},
        objective={"pool": 8, "batch": 4},
        optimizer={"steps": 2, "warmup": 1},
    )
    job = replace(TRAINERS["posterior"].job(recipe), evaluate=None)
    trained, _, card = run(job, recipe, progress=False)
    weights.save(own / "weights" / "sphere-fine-impute-held-out.safetensors", job.tree(trained), card, job.dtype)
    assert card["any_mask"] and card["peak_mib"] > 100
    posterior = load_posterior("sphere-fine-impute")
    m = task.measure(jax.random.key(0), task.signals("test")[:1])
    x, log_q = posterior.sample_and_log_prob(jax.random.key(1), m, 3)
    assert x.shape == (1, 3, 73, 144)
    np.testing.assert_allclose(posterior.log_prob(x, m), log_q, rtol=1e-4)
    with pytest.raises(ValueError, match="latitude is flipped"):
        posterior.sample(jax.random.key(1), Measurement(m.y[0, ::-1], m.mask[0, ::-1]), 1)
    with pytest.raises(ValueError, match=r"axes are in the wrong order, expected \(73, 144\)"):
        posterior.sample(jax.random.key(1), Measurement(m.y[0].T, m.mask[0].T), 1)
