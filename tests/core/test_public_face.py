"""Whatever is thrown at the public functions: an error of the package that names argument, value and expectation, or
finite numbers.
"""

import io
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aps_core import (
    AveragePool,
    BicubicDownsample,
    FixedMask,
    FourierSubset,
    GaussianBlur,
    Identity,
    Measurement,
    RandomMask,
    SaturatingSensor,
    Task,
    WeightsError,
    gaussian_posterior,
    load_posterior,
    load_task,
    make_sampler,
    untrained_posterior,
)
from aps_core.flows import build_flow
from aps_core.metrics import calibration, quality
from aps_core.operators import make_operator, random_frequencies
from aps_core.priors.gaussian import GaussianPrior, fit_gaussian
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import POSTERIOR, objective_settings
from aps_core.training.recipes import checked
from aps_core.training.recorded import load_measurements

PRIOR = GaussianPrior(jnp.full(4, 0.5), jnp.eye(4), jnp.array([0.05, 0.04, 0.03, 0.02]), jnp.asarray(0.01), shape=(4,))
EXAMPLES = {"cheap": 230, "compiled": 40}
KNOWN = (TypeError, ValueError, FileNotFoundError, WeightsError)


def thrown(kind):
    """Settings of a property test: the same examples in every run."""
    return settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def answered(call):
    """What ``call`` returns, or None after an error that the package raised on purpose and in words."""
    try:
        return call()
    except KNOWN as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        assert "aps_core" in where.filename and where.line.startswith("raise"), (
            f"not raised on purpose: {error!r} {where}"
        )
        text = str(error)
        assert any(word in text for word in ("must", "expected", "did you mean", "got")), text
        assert 10 < len(text) < 1500, text
        return None


def finite(*arrays):
    """Assert that arrays of an answer are finite."""
    for array in arrays:
        assert np.all(np.isfinite(np.asarray(array))), array


numbers = st.one_of(
    st.integers(-3, 9),
    st.sampled_from([2**31, 2**64, -(10**400), 10**400]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e-300, 1e300, np.float32(0.3), np.int64(2), np.float64("nan")]),
)
junk = st.one_of(
    numbers,
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.lists(st.integers(-2, 4), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(0, 2), max_size=2),
    st.just(np.zeros(0)),
    st.just(np.array(["a"])),
    st.just(np.ones((2, 2), complex)),
    st.just(object()),
)
shapes = st.one_of(st.lists(st.integers(-1, 6), max_size=4).map(tuple), junk)
arrays = st.one_of(
    st.sampled_from([(4,), (2, 4), (0, 4), (3,), (1, 1, 4), ()]).flatmap(
        lambda shape: st.sampled_from(
            [float, np.float32, np.float16, int, np.uint8, bool, complex, object, "U1"]
        ).flatmap(
            lambda kind: st.sampled_from([0, 1, 0.5, 0.25, 200, -3, 1e-30, 1e9]).map(
                lambda value: np.full(shape, value).astype(kind)
            )
        )
    ),
    st.sampled_from([np.full(4, np.nan), np.full(4, np.inf), np.full(4, 1e300), np.ma.masked_equal(np.arange(4.0), 2)]),
    st.lists(st.one_of(st.floats(), st.just([0.1]), st.text(max_size=1)), max_size=5),
    junk,
)
good = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4).map(np.array)
masks = st.one_of(st.none(), st.lists(st.integers(0, 1), min_size=4, max_size=4).map(np.array), arrays)


MAKERS = {
    "identity": lambda a, b, c: Identity(a),
    "random mask": lambda a, b, c: RandomMask(a, b),
    "fixed mask": lambda a, b, c: FixedMask(c),
    "blur": lambda a, b, c: GaussianBlur(a, b, "reflect" if c is None else c),
    "pool": lambda a, b, c: AveragePool(a, b),
    "bicubic": lambda a, b, c: BicubicDownsample(a, b),
    "fourier": lambda a, b, c: FourierSubset(a, c),
    "frequencies": lambda a, b, c: random_frequencies(a, b, seed=c),
    "sensor": lambda a, b, c: SaturatingSensor(Identity((4,)) if c is None else c, b, 1.0),
    "settings": lambda a, b, c: make_operator({"kind": "random-mask", "shape": a, "missing": b}),
}


@thrown("cheap")
@given(st.sampled_from(sorted(MAKERS)), shapes, st.one_of(numbers, junk), st.one_of(st.none(), arrays))
def test_operators(name, shape, value, other):
    made = answered(lambda: MAKERS[name](shape, value, other))
    if made is not None and name != "frequencies":
        assert made.size >= 1 and all(n >= 1 for n in made.y_shape)


@thrown("cheap")
@given(st.one_of(st.just(0.1), junk), st.one_of(st.just(Identity((4,))), junk), st.one_of(st.none(), arrays), junk)
def test_tasks(sigma_y, operator, signals, name):
    task = answered(lambda: Task(operator, sigma_y, PRIOR, signals, name="mine" if name is None else name))
    if task is not None:
        assert 1e-6 <= task.sigma_y <= 1e6 and task.shape == (4,)


TASK = Task(RandomMask((4,), 0.25), 0.1, PRIOR)


@thrown("cheap")
@given(arrays, masks)
def test_measurements(y, mask):
    def check():
        measurement = Measurement(y, mask)
        TASK.check(measurement)
        return measurement

    measurement = answered(check)
    if measurement is not None:
        finite(np.asarray(measurement.y, float))


@thrown("cheap")
@given(
    st.sampled_from(["mixture2", "mixture3", "gaussian16x"]), st.sampled_from(["sigma_y", "sigma", "operator"]), junk
)
def test_named_tasks(name, parameter, value):
    task = answered(lambda: load_task(name, **{parameter: value}))
    assert task is None or task.shape == (2,)


@thrown("cheap")
@given(
    st.sampled_from(
        ["dps", "pigdm", "daps", "ddrm", "red-diff", "mcg", "sde-proj", "score-ald", "noise2score", "gausian"]
    ),
    st.sampled_from(["n_steps", "step_size", "eta", "grid", "weight", "rule", "start", "clip", "n_levels", "stepsize"]),
    junk,
)
def test_settings_of_samplers(name, setting, value):
    answered(lambda: make_sampler(name, TASK, **{setting: value}))


FIELDS = ["steps", "learning_rate", "warmup", "final", "clip", "ema", "seed", "matmul", "frozen", "step"]


@thrown("cheap")
@given(st.dictionaries(st.sampled_from(FIELDS), junk, max_size=3), st.booleans())
def test_optimizers(given_settings, with_steps):
    if with_steps:
        given_settings = {"steps": 100, **given_settings}
    optimizer = answered(lambda: Optimizer.of(given_settings))
    if optimizer is not None:
        assert 0 <= optimizer.warmup < optimizer.steps
        finite(optimizer.learning_rate, optimizer.clip, optimizer.ema)


OBJECTIVE = [
    "batch",
    "n_times",
    "kl",
    "prior_term",
    "noise",
    "forward_share",
    "draws",
    "pool",
    "mirror",
    "estimator",
    "x",
]


@thrown("cheap")
@given(st.dictionaries(st.sampled_from(OBJECTIVE), junk, max_size=2), st.one_of(st.just({"steps": 3}), junk), junk)
def test_recipes(objective, optimizer, name):
    recipe = {"flow": {"kind": "realnvp"}, "objective": objective, "optimizer": optimizer}
    if name is not None:
        recipe["name"] = name

    def read():
        recipe_read = checked(recipe, POSTERIOR)
        return Optimizer.of(recipe_read["optimizer"]), objective_settings(recipe_read)

    answered(read)


FLOWS = ["kind", "steps", "width", "depth", "k", "shortcut", "inflate", "widht"]


@thrown("cheap")
@given(st.sampled_from(["realnvp", "gaussian-base", "subspace", "glow"]), st.dictionaries(st.sampled_from(FLOWS), junk))
def test_flows(kind, flow):
    answered(lambda: build_flow(TASK, {"kind": kind, **flow}))


METRICS = {
    "psnr": lambda a, b, c: quality.psnr(a, b),
    "mse": lambda a, b, c: quality.mse(a, b),
    "energy": lambda a, b, c: quality.energy_score(a, b),
    "mean": lambda a, b, c: quality.mean_and_standard_error(a),
    "coverage": lambda a, b, c: calibration.coverage(a, b, c),
    "ranks": lambda a, b, c: calibration.sbc_ranks(a, b),
}


@thrown("cheap")
@given(
    st.sampled_from(sorted(METRICS)), st.one_of(good, arrays), st.one_of(good, arrays), st.one_of(st.just(0.5), junk)
)
def test_metrics(name, a, b, c):
    answered(lambda: METRICS[name](a, b, c))


@thrown("cheap")
@given(st.one_of(st.just(np.full((3, 4), 0.5)), arrays), junk, junk)
def test_gaussians_of_signals(signals, n_modes, diagonal):
    prior = answered(lambda: fit_gaussian(signals, n_modes, 0.1 if diagonal is None else diagonal))
    if prior is not None:
        finite(prior.mean, prior.basis, prior.excess, prior.rest)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "measured.npz"


@thrown("cheap")
@given(arrays, st.one_of(st.none(), arrays), st.one_of(st.just(0.1), junk), st.integers(0, 400), st.booleans())
def test_files_of_measurements(path, y, mask, sigma_y, cut, whole):
    content = io.BytesIO()
    given_arrays = {"y": y, "sigma_y": sigma_y} | ({} if mask is None else {"mask": mask})
    try:
        np.savez(content, **{name: np.asarray(value) for name, value in given_arrays.items()})
    except (TypeError, ValueError):  # ragged lists, which NumPy does not write
        return
    path.write_bytes(content.getvalue() if whole else content.getvalue()[:cut])

    def read():
        measurement = load_measurements(path, TASK)
        TASK.check(measurement)

    answered(read)


POSTERIOR_OF = gaussian_posterior(TASK)
KEYS = st.one_of(st.integers(0, 9).map(jax.random.key), st.just(jax.random.PRNGKey(1)), junk)


@thrown("cheap")
@given(KEYS, st.one_of(good, arrays), masks, st.one_of(st.sampled_from([1, 2, np.int64(2)]), junk))
def test_samples(key, y, mask, n):
    if isinstance(n, int) and 4 < n < 2**31:
        n = 2  # sizes are the user's, memory the machine's
    found = answered(lambda: POSTERIOR_OF.sample_and_log_prob(key, Measurement(y, mask), n))
    if found is not None:
        finite(*found)


@thrown("cheap")
@given(st.one_of(good.map(lambda x: x[None]), arrays), st.one_of(good, arrays))
def test_log_densities(x, y):
    found = answered(lambda: POSTERIOR_OF.log_prob(x, Measurement(y)))
    if found is not None:
        finite(found)


SAMPLER = make_sampler("dps", TASK, n_steps=3)


@thrown("compiled")
@given(good, st.floats(1e-6, 1e30))
def test_samples_of_an_iterative_method(y, step_size):
    sampler = make_sampler("dps", TASK, n_steps=3, step_size=step_size)
    found = answered(lambda: sampler.sample(jax.random.key(0), Measurement(y), 2))
    if found is not None:
        finite(found)


@thrown("compiled")
@given(junk, junk)
def test_names_of_tasks_and_weights(task, weights):
    answered(lambda: load_posterior(task, weights=weights))
    answered(lambda: load_posterior(TASK, protocol=weights))
    answered(lambda: untrained_posterior(TASK, task))


def test_enough_is_thrown():
    kinds = [value for name, value in globals().items() if name.startswith("test_") and hasattr(value, "hypothesis")]
    total = sum(test._hypothesis_internal_use_settings.max_examples for test in kinds)
    assert total >= 3000
