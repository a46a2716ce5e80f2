"""What all rivals have in common: one interface, no influence of the batch, evaluations as counted, operators refused
with a reason.
"""

import json
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments import tuning
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
)
from aps_core.operators import Operator, dense_matrix, simulate
from aps_core.operators.spectrum import Spectrum
from aps_core.priors.gaussian import GaussianPrior
from aps_core.samplers import base, list_samplers, make_sampler, tune

SHAPE = (2, 2)
SMALL = {
    "daps": {"n_levels": 3, "n_ode": 2, "n_inner": 4},
    "ddrm": {"n_steps": 4},
    "dps": {"n_steps": 5},
    "mcg": {"n_steps": 5},
    "noise2score": {},
    "pigdm": {"n_steps": 4},
    "red-diff": {"n_steps": 6},
    "score-ald": {"n_levels": 3, "n_inner": 2},
    "sde-proj": {"n_steps": 5},
}
LINEAR_ONLY = ("mcg", "pigdm", "ddrm", "sde-proj")


@flax.struct.dataclass
class CountingPrior:
    """A Gaussian prior that counts the evaluations of its network."""

    gaussian: GaussianPrior
    counted: list = flax.struct.field(pytree_node=False)

    shape = property(lambda self: self.gaussian.shape)
    sde = property(lambda self: self.gaussian.sde)
    dim = property(lambda self: self.gaussian.dim)

    def eps(self, ut, t):
        jax.debug.callback(lambda: self.counted.append(1))
        return self.gaussian.eps(ut, t)


@dataclass(frozen=True)
class SinglePixel(Operator):
    """Means over three rectangles of an image: linear, but not rows and then columns."""

    shape: tuple
    kind = "single-pixel"

    @property
    def y_shape(self):
        return (2, 2)

    def __call__(self, x, mask=None):
        return jnp.stack([x[:2, :2].mean(), x[1:].mean(), x[:, 1:].mean(), x[0, 0]]).reshape(2, 2)


class _Counter(list):
    __hash__ = object.__hash__  # a static of jit


@pytest.fixture
def make_task(make_prior):
    """make_task(operator, sigma_y): over the prior of SHAPE with signals drawn from it."""

    def make(operator=None, sigma_y=0.1):
        prior = make_prior(d=4, k=2, rest=1e-2, shape=SHAPE)
        return Task(operator or Identity(SHAPE), sigma_y, prior, prior.sample(jax.random.key(3), 20), unit_range=False)

    return make


@pytest.fixture
def quick_to_compile():
    """Programs that run once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def measured():
    """measured(operator): 16 measurements of uniform signals."""

    @cache
    def measure(operator):
        keys = jax.random.split(jax.random.key(1), 16)
        one = lambda k: simulate(operator, 0.1, k, jax.random.uniform(k, SHAPE))  # noqa: E731
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))

    return measure


def _operator(name):
    return Identity(SHAPE) if name == "noise2score" else RandomMask(SHAPE, 0.25)


LONG = ("daps", "ddrm", "mcg", "pigdm", "red-diff", "score-ald", "sde-proj")  # to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in SMALL]
)
def test_a_result_does_not_depend_on_the_batch_and_evaluations_are_as_stated(
    make_task, measured, quick_to_compile, name
):
    counted, n = _Counter(), 2
    task = make_task(_operator(name))
    task = Task(task.operator, task.sigma_y, CountingPrior(task.prior, counted), task.signals, unit_range=False)
    sampler, keys = make_sampler(name, task, **SMALL[name]), jax.random.split(jax.random.key(7), 16)
    measurements = measured(task.operator)
    alone = [np.asarray(sampler.sample(keys[i], jax.tree.map(lambda a, i=i: a[i], measurements), n)) for i in (0, 11)]
    jax.effects_barrier()
    assert len(counted) == 2 * sampler.nfe  # one evaluation serves the n samples that advance side by side
    together = np.asarray(sampler.sample(jax.random.key(7), measurements, n))
    assert together.shape == (16, n, *SHAPE) and np.isfinite(together).all()
    np.testing.assert_allclose(alone, together[[0, 11]], rtol=1e-4, atol=1e-5)
    if name != "noise2score":  # different keys, different samples
        assert np.abs(together[0, 0] - together[0, 1]).max() > 1e-4


def test_another_step_size_compiles_nothing(make_task, measured):
    task = make_task()
    measurement = jax.tree.map(lambda a: a[0], measured(task.operator))
    samples = [
        make_sampler("dps", task, n_steps=4, step_size=z).sample(jax.random.key(0), measurement, 3) for z in (0.1, 0.2)
    ]
    before = base._sample._cache_size()
    make_sampler("dps", task, n_steps=4, step_size=0.3).sample(jax.random.key(0), measurement, 3)
    assert base._sample._cache_size() == before
    assert np.abs(samples[0] - samples[1]).max() > 1e-3


@pytest.mark.parametrize(
    "name", ["red-diff", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dps", "daps", "score-ald"))]
)
def test_a_saturating_sensor_is_fitted(make_task, name):
    operator = SaturatingSensor(RandomMask(SHAPE, 0.25), gain=2.0)
    task = make_task(operator, 0.05)
    x0 = task.signals("val")[0]
    measurement = task.measure(jax.random.key(1), x0)
    settings = {"dps": {"n_steps": 300, "step_size": 0.1}, "red-diff": {"n_steps": 300}, "daps": {"n_levels": 50}}
    x = make_sampler(name, task, **settings.get(name, {})).sample(jax.random.key(0), measurement, 32)
    problem = base.Problem(task.prior, task.sigma_y, operator)
    residual = jax.vmap(lambda x: problem.residual(2 * x.reshape(-1) - 1, measurement))
    of_prior = residual(task.prior.sample(jax.random.key(5), 200))
    rms = [float(jnp.sqrt(jnp.mean(r**2))) for r in (residual(x), of_prior)]
    assert rms[0] < 2 * task.sigma_y < rms[1]


@pytest.mark.parametrize("name", LINEAR_ONLY)
def test_methods_for_linear_operators_refuse_others(make_task, name):
    with pytest.raises(TypeError, match="SaturatingSensor, which is not linear"):
        make_sampler(name, make_task(SaturatingSensor(Identity(SHAPE))))


def test_denoising_only_and_singular_values_needed(make_task):
    with pytest.raises(TypeError, match="Noise2Score is for denoising only .*RandomMask"):
        make_sampler("noise2score", make_task(RandomMask(SHAPE, 0.5)))
    another = SimpleNamespace(kind="other", linear=True, additive_noise=True, random=True, diagonal=False)
    with pytest.raises(TypeError, match="DDRM needs a singular value decomposition"):
        base.check_operator("DDRM", another, "svd")
    base.check_operator("MCG", another, "linear")


def test_noise_outside_the_diffusion(make_task):
    with pytest.raises(ValueError, match="sigma_y must be a noise level of the diffusion"):
        make_sampler("noise2score", make_task(sigma_y=1e-4))


WRONG = [
    ("dps", {"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
    ("dps", {"n_steps": 2.0}, TypeError, "n_steps must be an"),
    ("dps", {"step_size": -1.0}, ValueError, "step_size must be finite"),
    ("dps", {"grid": "cosine"}, ValueError, "grid must be one of"),
    ("dps", {"stepsize": 1.0}, TypeError, "stepsize"),
    ("red-diff", {"weight": 0.0}, ValueError, "weight"),
    ("sde-proj", {"weight": 1.2}, ValueError, r"weight must lie in \[0, 1\], got 1.2"),
    ("ddrm", {"eta": -0.1}, ValueError, "eta must lie"),
    ("pigdm", {"rule": "book"}, ValueError, "rule must be one of"),
    ("pigdm", {"prior_variance": 0.0}, ValueError, "prior_variance"),
    ("score-ald", {"gamma": 0.0}, ValueError, "gamma"),
    ("score-ald", {"n_inner": 0}, ValueError, "n_inner"),
    ("daps", {"n_levels": 0}, ValueError, "n_levels"),
    ("daps", {"n_ode": 0}, ValueError, "n_ode"),
    ("daps", {"schedule": "linear"}, ValueError, "schedule must be one of"),
    ("daps", {"decay": 1.5}, ValueError, "decay must lie"),
    ("dps", {"clip": 1}, TypeError, "clip must be True or False, got 1"),
    ("mcg", {"until": -1.0}, ValueError, "until must be finite and positive"),
    ("red-diff", {"start": "zero"}, ValueError, "start must be one of"),
    ("score-prior", {"prior_term": "modes"}, ValueError, "prior_term must be one of"),
    ("score-prior", {"objective": {"batchsize": 3}}, ValueError, "batchsize"),
    (
        "score-prior",
        {"objective": {"prior_term": "elbo"}},
        ValueError,
        "prior_term stands in objective, 'elbo', and is 'ode'",
    ),
    ("score-prior", {"optimizer": {"steps": 0}}, ValueError, "optimizer steps must be at least 1, got 0"),
    ("score-prior", {"optimizer": [3]}, TypeError, "optimizer must be a table"),
    ("score-prior", {"flow": {"width": 0}}, ValueError, "width must be at least 1, got 0"),
    ("dpm", {}, ValueError, "unknown sampler 'dpm'; expected"),
]


@pytest.mark.parametrize("name, settings, error, text", WRONG)
def test_impossible_settings(make_task, name, settings, error, text):
    with pytest.raises(error, match=text):
        make_sampler(name, make_task(), **settings)


def test_whole_numbers_of_any_size_can_be_step_sizes(make_task):
    sampler = make_sampler("dps", make_task(), n_steps=2, step_size=2**31)
    assert type(sampler.step_size) is float and sampler.step_size == 2**31


def test_impossible_samples_and_measurements(make_task):
    task = make_task()
    sampler = make_sampler("noise2score", task)
    measurement = task.measure(jax.random.key(0), task.signals("val")[0])
    for n, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n must be"):
            sampler.sample(jax.random.key(0), measurement, n)
    with pytest.raises(ValueError, match="y must have shape"):
        sampler.sample(jax.random.key(0), Measurement(jnp.zeros(3)), 1)


def test_every_name_makes_a_sampler(make_task):
    task = make_task()
    for name in list_samplers():
        sampler = make_sampler(name, task)
        assert type(sampler).__doc__ and sampler.nfe >= 1 and callable(sampler.sample)
    assert "gaussian" in list_samplers() and set(SMALL) < set(list_samplers())


@pytest.mark.parametrize(
    "operator, n_factors",
    [
        (AveragePool((4, 6, 3), 2), 2),
        (GaussianBlur((3, 4), 0.8), 2),
        (BicubicDownsample((6, 6), 3), 2),
        (FourierSubset((4, 4), np.eye(4)), 1),
        (SinglePixel((3, 4)), 1),
    ],
    ids=lambda a: getattr(a, "kind", ""),
)
def test_spectrum_is_that_of_the_matrix(operator, n_factors):
    spectrum, matrix = Spectrum.of(operator), dense_matrix(operator)
    assert len(spectrum.right) == len(spectrum.left) == n_factors
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(
        np.sort(spectrum.values)[::-1], np.where(expected > 1e-6 * expected[0], expected, 0), atol=1e-6
    )
    u = jax.random.normal(jax.random.key(0), (matrix.shape[1],))
    c = spectrum.coordinates(u)
    np.testing.assert_allclose(spectrum.coordinates(spectrum.signal(c)), c, atol=1e-5)
    np.testing.assert_allclose(spectrum.data(matrix @ u), spectrum.values * c, atol=1e-5)
    np.testing.assert_allclose(spectrum.signal(spectrum.values**2 * c), matrix.T @ (matrix @ u), atol=1e-5)


def test_masks_have_no_spectrum_of_their_own():
    assert Spectrum.of(Identity((4, 4))).values is None and Spectrum.of(RandomMask((4, 4), 0.5)).right is None


def test_largest_gain_is_the_largest_singular_value():
    blur = GaussianBlur((4, 4), 0.8, boundary="periodic")
    for operator in (AveragePool((4, 4), 2), blur):
        assert base.largest_gain(operator) == pytest.approx(np.linalg.norm(dense_matrix(operator), 2), rel=1e-4)
    assert base.largest_gain(FixedMask(np.eye(3))) == 1
    # darkest signals have the steepest response
    assert base.largest_gain(SaturatingSensor(blur, gain=3.0)) == pytest.approx(
        3 * np.linalg.norm(dense_matrix(blur), 2), rel=1e-4
    )


def test_score_prior_fits_each_measurement_once(make_task, measured, monkeypatch):
    fitted = []

    def train(task, recipe, measurement, progress):
        fitted.append(mean := jnp.asarray(measurement.y))
        draw = lambda key, m, n: (mean + jax.random.normal(key, (n, *SHAPE)), jnp.zeros(n))  # noqa: E731
        return SimpleNamespace(sample_and_log_prob=draw, log_prob=lambda x, m: jnp.sum(x - mean, (1, 2))), None

    monkeypatch.setattr("aps_core.samplers.score_prior.train_posterior", train)
    task, key = make_task(), jax.random.key(0)
    sampler = make_sampler("score-prior-surrogate", task, objective={"batch": 8}, optimizer={"steps": 3})
    assert (
        sampler.nfe == 1
        and sampler.training_nfe == 3 * 8 * 2
        and make_sampler("score-prior", task).training_nfe is None
    )
    measurements = jax.tree.map(lambda a: a[:2], measured(task.operator))
    first, second = (jax.tree.map(lambda a, i=i: a[i], measurements) for i in (0, 1))
    x, log_q = sampler.sample_and_log_prob(key, measurements, 5)
    assert x.shape == (2, 5, *SHAPE) and log_q.shape == (2, 5) and len(fitted) == 2
    np.testing.assert_array_equal(sampler.sample(jax.random.split(key)[1], second, 5), x[1])
    np.testing.assert_array_equal(sampler.log_prob(x, measurements)[1], jnp.sum(x[1] - second.y, (1, 2)))
    np.testing.assert_array_equal(sampler.log_prob(x[0], first), sampler.log_prob(x, measurements)[0])
    assert len(fitted) == 2  # nothing was trained again
    with pytest.raises(ValueError, match=r"x must have shape .2, 'n', .*, got .3, 5"):
        sampler.log_prob(jnp.concatenate([x, x[:1]]), measurements)
    forgetful = make_sampler("score-prior", task, keep=1)
    for measurement in (first, first, second, first):
        forgetful.fit(measurement)
    assert len(fitted) == 5


def test_tuning_records_the_whole_search(make_task, tmp_path):
    task, path = make_task(), tmp_path / "search.json"
    seen = []
    grid = {"step_size": (0.01, 0.05, 1e30), "n_steps": (10,)}
    found = tune.tune("dps", task, grid, tune.Trials(3, "psnr", 4), path, seen.append)
    assert json.loads(path.read_text()) == json.loads(json.dumps(found))
    assert [row["settings"]["step_size"] for row in found["search"]] == [0.01, 0.05, 1e30] and seen == found["search"]
    rows = [row for row in found["search"] if row["finite"]]
    assert found["best"] == max(rows, key=lambda row: row["psnr"])["settings"]
    by_energy = tune.tune("dps", task, grid, tune.Trials(3, "energy", 4))
    assert by_energy["best"] == min(rows, key=lambda row: row["energy"])["settings"]
    assert all(row["nfe"] == 10 for row in rows)
    with pytest.raises(ValueError, match="no setting of 'dps' gave finite samples"):
        tune.tune("dps", task, {"step_size": (1e30,), "n_steps": (10,)}, tune.Trials(3, n_measurements=4))
    with pytest.raises(ValueError, match="metric must be one of"):
        tune.Trials(metric="fid")
    with pytest.raises(ValueError, match='metric "energy" needs n of at least 2, got 1'):
        tune.Trials(n=1, metric="energy")


def test_a_search_survives_what_its_metric_and_its_grid_are(make_task, tmp_path, monkeypatch):
    """A score that is NaN is not the best, numbers of NumPy are numbers, and a file that cannot be written is told before."""
    made = lambda name, task, n_steps: SimpleNamespace(sample=lambda *_: jnp.full((1, 2, *SHAPE), n_steps / 8), nfe=1)  # noqa: E731
    monkeypatch.setattr(tune, "make_sampler", made)
    score = partial(lambda shift, samples, measurements: np.nan if samples.max() < 0.3 else samples.max() + shift, 1.0)
    grid, trials = {"n_steps": np.array([2, 4, 3])}, tune.Trials(2, score, 1)
    found = tune.tune("dps", make_task(), grid, trials, tmp_path / "a.json")
    assert found["best"] == {"n_steps": 3} and [row["score"] for row in found["search"]] == [None, 1.5, 1.375]
    assert (
        json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps(found)) and found["metric"] == "partial"
    )
    with pytest.raises(ValueError, match="path .*a.json/b.json: .*a.json is a file, expected a folder"):
        tune.tune("dps", make_task(), grid, trials, tmp_path / "a.json" / "b.json")


def test_every_default_search_is_of_settings_that_exist(make_task):
    task = make_task()
    for name in SMALL:
        for setting, values in tune.default_grid(name).items():
            for value in values:
                assert getattr(make_sampler(name, task, **{setting: value}), setting) == value


def test_tuning_from_the_command_line(tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(
        tuning, "load_task", lambda name, **parameters: SimpleNamespace(name=name, parameters=parameters)
    )
    monkeypatch.setattr(
        tune, "tune", lambda *args, **settings: called.append((args, settings)) or {"best": {"eta": 0.5}}
    )
    tried = [
        "--try",
        "eta=0.5,1",
        "--try",
        "grid=uniform",
        "--measurements",
        "3",
        "--samples",
        "2",
        "--metric",
        "energy",
    ]
    tuning.main(
        ["ddrm", "--task", "gaussian16", "--parameter", "sigma_y=0.2", *tried, "--out", str(tmp_path / "a.json")]
    )
    (name, task, grid, trials, path, _), _ = called[0]
    assert name == "ddrm" and task.parameters == {"sigma_y": 0.2} and grid == {"eta": [0.5, 1], "grid": ["uniform"]}
    assert (trials.n_measurements, trials.n, trials.metric) == (3, 2, "energy")
    assert path == tmp_path / "a.json"
    assert "chosen by energy: {'eta': 0.5}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="expected NAME=VALUE, got 'eta'"):
        tuning.main(["ddrm", "--task", "gaussian16", "--try", "eta"])


def test_a_method_without_a_trajectory_cannot_be_made():
    from aps_core.samplers.base import Sampler

    class Nothing(Sampler):
        pass

    with pytest.raises(TypeError, match="abstract.*trajectory"):
        Nothing(None)
