"""Small problems that several test files share."""

import os
import shutil
from pathlib import Path

from aps_book import compiled

# Most tests compile more than they compute: without optimization, and without the emitters that make large code of each
# fusion, compilation takes half the time. Set before JAX starts.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers on two cores: its threads wait busily for each other
# What was compiled is kept for the other tests and the next run (`make clean` removes it): twice as fast where all is there.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".build/compiled-tests" / compiled.key())
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_core.diffusion import VPSDE
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.modal import ScorePrior
from aps_core.priors.networks.modal import RegimeResidual


def pytest_configure(config):
    """Remove what was compiled where it has grown beyond 2 GB."""
    folder = Path(__file__).resolve().parent.parent / ".build/compiled-tests"
    if not hasattr(config, "workerinput") and sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) > 2e9:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def make_prior():
    """make_prior(d, k, leading, rest, sde, seed): a GaussianPrior with random orthonormal modes in the default
    precision.
    """

    def make(d=8, k=4, leading=0.05, rest=1e-3, sde=VPSDE(), seed=0, shape=None):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(d, k)))[0]
        excess = leading * 0.6 ** np.arange(k)
        mean = rng.uniform(0.3, 0.7, d)
        arrays = [jnp.asarray(a, dtype=jnp.result_type(float)) for a in (mean, basis, excess, rest)]
        return GaussianPrior(*arrays, shape=shape or (d,), sde=sde)

    return make


@pytest.fixture(scope="session")
def randomise():
    """randomise(params, scale, seed): every leaf plus normal noise, so that nothing is left at zero; shapes alone count
    as zeros.
    """

    def apply(params, scale=0.3, seed=1):
        leaves, structure = jax.tree.flatten(params)
        rng = np.random.default_rng(seed)
        noise = [scale * rng.normal(size=leaf.shape) for leaf in leaves]
        values = [0 if isinstance(leaf, jax.ShapeDtypeStruct) else np.asarray(leaf) for leaf in leaves]
        return jax.tree.unflatten(
            structure, [jnp.asarray(v + e, jnp.result_type(float)) for v, e in zip(values, noise, strict=True)]
        )

    return apply


@pytest.fixture
def make_score_prior(make_prior, randomise):
    """make_score_prior(d, k, k_modes): a ScorePrior whose residual network has random, non-zero weights."""

    def make(d=8, k=4, k_modes=3, scale=0.3, sde=VPSDE(), **settings):
        network = RegimeResidual(k=k_modes, lead=2, regimes=2, rank=2, width=8)
        shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(k_modes), 0.5)
        params = randomise(shapes, scale)
        return ScorePrior(make_prior(d, k, sde=sde, **settings), params, network)

    return make
