"""How things are called: keys, counts, lists, transformations of JAX, pickling; and numbers that would not be finite."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aps_core
from aps_book.experiments.failures import finite_or_not
from aps_core import (
    Identity,
    Measurement,
    RandomMask,
    ScoreFunctionPrior,
    Task,
    gaussian_posterior,
    load_task,
    make_sampler,
    train_posterior,
)
from aps_core.checks import NotFiniteError
from aps_core.diffusion import VPSDE
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.store import load_prior
from aps_core.training.optimizer import Optimizer

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def prior():
    excess = jnp.array([0.05, 0.04, 0.03, 0.02])
    return GaussianPrior(jnp.full(4, 0.5), jnp.eye(4), excess, jnp.asarray(0.01), shape=(4,))


@pytest.fixture(scope="module")
def task(prior):
    return Task(RandomMask((4,), 0.25), 0.1, prior)


@pytest.fixture(scope="module")
def measurement(task):
    return task.measure(jax.random.key(1), jnp.full(4, 0.5))


@pytest.fixture(scope="module")
def posterior(task):
    return gaussian_posterior(task)


@pytest.fixture(scope="module")
def drawn(posterior, measurement):
    return posterior.sample(KEY, measurement, 3)


def test_a_task_accepts_its_own_draws():
    task = load_task("gaussian16", sigma_y=0.01)
    measured = task.measure(KEY, task.signals("test"))
    for y in np.asarray(measured.y):
        task.check(Measurement(y))
    with pytest.raises(ValueError, match=r"y ranges from .* the data are expected between"):
        task.check(Measurement(255 * np.asarray(measured.y[0])))


def test_a_prior_that_is_exact_and_signals_beyond_the_range(prior):
    wide = prior.replace(excess=4.0 * jnp.ones(4))
    task = Task(Identity((4,)), 0.01, wide)
    task.check(task.measure(KEY, wide.sample(jax.random.key(2), 512)))
    Task(Identity((4,)), 0.01, prior, np.full((2, 4), 9.0)).check(Measurement(np.full(4, 9.0)))


@pytest.mark.parametrize("sigma_y", [1e-20, 1e-7, 1e7])
def test_noise_that_single_precision_cannot_square(prior, sigma_y):
    with pytest.raises(ValueError, match=r"sigma_y must lie in \[1e-06, 1e\+06\], got"):
        Task(Identity((4,)), sigma_y, prior)


def test_numbers_that_would_not_be_finite(posterior, task, measurement, drawn):
    with pytest.raises(ValueError, match="y has entries up to 1e.300, expected at most"):
        posterior.sample(KEY, Measurement(np.full(4, 1e300)), 2)
    for x in (np.nan * drawn, drawn.at[0].set(jnp.inf), 1e20 * drawn):
        with pytest.raises(ValueError, match="x must be finite and at most"):
            posterior.log_prob(x, measurement)
    sampler = make_sampler("dps", task, n_steps=5, step_size=1e20)
    with pytest.raises(NotFiniteError, match=r"DPS with n_steps = 5, step_size = 1e\+20, .* not finite"):
        sampler.sample(KEY, measurement, 2)
    assert issubclass(NotFiniteError, FloatingPointError)
    assert finite_or_not(lambda: sampler.sample(KEY, measurement, 2)).shape == (2, 4)  # for those who count failures


@pytest.mark.parametrize("key", [0, 1.5, None, np.zeros(2, np.int32), "key"])
def test_what_is_no_key(posterior, task, measurement, key):
    for call in (
        lambda: posterior.sample(key, measurement, 2),
        lambda: make_sampler("dps", task, n_steps=2).sample(key, measurement, 2),
        lambda: task.measure(key, jnp.full(4, 0.5)),
    ):
        with pytest.raises(TypeError, match=r"key must be a random key, got .*such as jax.random.key\(0\)"):
            call()


def test_keys_counts_and_lists_of_other_kinds(posterior, measurement, drawn):
    np.testing.assert_array_equal(posterior.sample(jax.random.PRNGKey(0), measurement, np.int64(3)), drawn)
    lists = Measurement(np.asarray(measurement.y, float).tolist(), np.asarray(measurement.mask).tolist())
    np.testing.assert_allclose(posterior.sample(KEY, lists, 3), drawn, atol=1e-6)
    with pytest.raises(ValueError, match="key holds keys of shape"):
        posterior.sample(jax.random.split(KEY, 2), measurement, 2)
    with pytest.raises(ValueError, match="y must be an array of numbers"):
        Measurement([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="n must be at most"):
        posterior.sample(KEY, measurement, 10**12)
    for sampler in (posterior, make_sampler("dps", posterior.task, n_steps=2)):
        with pytest.raises(
            ValueError, match="n = 1000000000 makes an array of 4,000,000,000 entries, expected at most"
        ):
            sampler.sample(KEY, measurement, 10**9)


def test_inside_jit_grad_and_vmap(posterior, task, measurement, drawn):
    sample = lambda k, m: posterior.sample(k, m, 3)  # noqa: E731
    np.testing.assert_allclose(jax.jit(sample)(KEY, measurement), drawn, atol=1e-6)
    two = jax.tree.map(lambda a: jnp.stack([a, a]), measurement)
    np.testing.assert_allclose(jax.vmap(sample, (None, 0))(KEY, two)[1], drawn, atol=1e-6)
    # the mean of the samples moves with y as the conjugate formula says: v / (v + sigma^2) on observed entries
    slope = jax.grad(lambda y: jnp.sum(sample(KEY, measurement.replace(y=y))) / 3)(measurement.y)
    variance = np.array([0.06, 0.05, 0.04, 0.03])
    np.testing.assert_allclose(slope, measurement.mask * variance / (variance + 0.01), rtol=1e-4)
    with pytest.raises(ValueError, match="y must have shape"):
        jax.jit(sample)(KEY, Measurement(jnp.zeros(5)))
    gradient = jax.grad(lambda x: jnp.sum(posterior.log_prob(x, measurement)))(drawn)
    assert gradient.shape == (3, 4) and np.all(np.isfinite(gradient))
    sampler = make_sampler("dps", task, n_steps=4)
    inside = jax.jit(lambda k, m: sampler.sample(k, m, 2))(KEY, measurement)
    np.testing.assert_allclose(inside, sampler.sample(KEY, measurement, 2), atol=1e-4)


def test_pickling(posterior, task, measurement, drawn):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(posterior)).sample(KEY, measurement, 3), drawn)
    assert repr(pickle.loads(pickle.dumps(task))) == repr(task)
    named = pickle.loads(pickle.dumps(load_task("gaussian16")))
    assert named.signals("val").shape == (512, 16, 16)


def test_double_precision_in_red_diff(task, measurement, x64):
    x = make_sampler("red-diff", task, n_steps=3).sample(KEY, measurement, 2)
    assert x.dtype == np.float64 and np.all(np.isfinite(x))


SDE, SPREAD = VPSDE(), 0.04


def gaussian_score(u, t):
    """Of independent entries of u with mean 0 and variance 0.04: x has mean 0.5 and variance 0.01."""
    return -u / (SDE.alpha(t) ** 2 * SPREAD + SDE.beta(t) ** 2)


def test_a_prior_made_of_a_score(measurement):
    """PiGDM is exact for it: the mean is that of the conjugate formula."""
    task = Task(Identity((4,)), 0.05, ScoreFunctionPrior(gaussian_score, (4,), SDE))
    sampler = make_sampler("pigdm", task, rule="score", prior_variance=SPREAD, n_steps=60)
    x = np.asarray(sampler.sample(KEY, Measurement(np.full(4, 0.6)), 400))
    gain = 0.01 / (0.01 + 0.05**2)
    np.testing.assert_allclose(x.mean(), 0.5 + gain * 0.1, atol=0.01)
    with pytest.raises(ValueError, match=r"gaussian of this ScoreFunctionPrior is None.*with_fitted_gaussian\(key\)"):
        gaussian_posterior(task)
    fitted = task.prior.with_fitted_gaussian(KEY, 512)
    np.testing.assert_allclose(fitted.gaussian.marginal_std, 0.1, rtol=0.12)
    closed = gaussian_posterior(Task(Identity((4,)), 0.05, fitted)).sample(KEY, Measurement(np.full(4, 0.6)), 400)
    np.testing.assert_allclose(np.mean(closed), 0.5 + gain * 0.1, atol=0.02)


def test_score_functions_that_are_none():
    for arguments, kind, text in (
        ((3, (4,), SDE), TypeError, "score_fn must be a function"),
        ((gaussian_score, (0,), SDE), ValueError, "shape must be positive integers"),
        ((gaussian_score, (4,), "vp"), TypeError, "sde must be a diffusion"),
        ((lambda u, t: u[:2], (4,), SDE), ValueError, "expected the score of one u"),
        ((lambda u: u, (4,), SDE), TypeError, "score_fn failed on one u"),
        ((gaussian_score, (4,), SDE, np.zeros((3, 5))), ValueError, "gaussian must be a GaussianPrior or at least 2"),
    ):
        with pytest.raises(kind, match=text):
            ScoreFunctionPrior(*arguments)


def test_an_object_that_is_no_prior():
    class Nothing:
        shape = (4,)

    task = Task(Identity((4,)), 0.1, Nothing())
    with pytest.raises(TypeError, match="prior is a Nothing without eps, sde; expected a Prior .*ScoreFunctionPrior"):
        make_sampler("dps", task)
    with pytest.raises(TypeError, match="prior is a Nothing without gaussian; expected a Prior"):
        gaussian_posterior(task)
    with pytest.raises(TypeError, match="without shape; expected a Prior"):
        Task(Identity((4,)), 0.1, object())


def test_default_warm_up_fits_short_trainings():
    assert [Optimizer(steps).warmup for steps in (1, 5, 200, 400, 12000)] == [0, 1, 50, 100, 100]


@pytest.mark.parametrize(
    "settings, kind, text",
    [
        ({"steps": float("inf")}, TypeError, "optimizer steps must be an integer, got inf"),
        ({"steps": "many"}, TypeError, "optimizer steps must be an integer"),
        ({"steps": 5, "warmup": 5}, ValueError, "optimizer warmup must lie in 0..steps-1"),
        ({"steps": 5, "learning_rate": float("nan")}, ValueError, "optimizer learning_rate must be finite"),
        ({"steps": 5, "learning_rate": "1e-3"}, TypeError, "optimizer learning_rate must be a number"),
        ({"steps": 5, "final": 3.0}, ValueError, r"optimizer final must lie in \[0, 1\]"),
        ({"steps": 5, "ema": None}, TypeError, "optimizer ema must be a number"),
        ({"steps": 5, "frozen": 3}, TypeError, "optimizer frozen must be a list"),
        ({"step": 5}, ValueError, "unknown entry 'step'; did you mean 'steps'"),
    ],
)
def test_settings_of_the_optimizer(settings, kind, text):
    with pytest.raises(kind, match=text):
        Optimizer.of(settings)


RECIPE = {"flow": {"kind": "realnvp", "steps": 1, "width": 4}, "objective": {"batch": 4}, "optimizer": {"steps": 2}}


@pytest.mark.parametrize(
    "change, kind, text",
    [
        ({"flow": {"kind": "realnvp", "steps": "one"}}, TypeError, "flow 'realnvp': steps must be an integer"),
        ({"flow": {"kind": "realnvp", "stepz": 1}}, ValueError, "stepz"),
        ({"flow": {"kind": "gaussian-base", "k": 9}}, ValueError, "k must be at most 4"),
        ({"flow": {"kind": "realnvp", "width": 2**31 - 1}}, ValueError, "width must be at most 32768, got 2147483647"),
        ({"flow": ["realnvp"]}, TypeError, "flow must be a table"),
        ({"objective": {"batch": "all"}}, TypeError, "batch must be an integer"),
        ({"objective": {"forward_share": "half"}}, TypeError, "forward_share must be a number"),
        ({"objective": {"batches": 4}}, ValueError, "unknown entry 'batches'"),
        (
            {"objective": {"pool_missing": 0.3}},
            TypeError,
            "pool_missing must be a list of shares of missing entries, got 0.3",
        ),
        ({"objective": {"pool_missing": [1.5]}}, ValueError, r"pool_missing must lie in \[0, 1\], got 1.5"),
        ({"objective": {"pool_missing": [0.3]}}, ValueError, 'pool_missing is for prior_term "modes" and kl "reverse"'),
        (
            {"objective": {"pool": 1, "pool_missing": [0.3, 0.6]}},
            ValueError,
            "pool_missing has 2 shares, expected at most the 1",
        ),
        ({"objective": {"pool_noise": [0.1, 0.2]}}, ValueError, 'pool_noise is for prior_term "modes"'),
        ({"optimizer": 3}, TypeError, "optimizer must be a table"),
        ({"evaluate_every": 0}, ValueError, "evaluate_every must be at least 1"),
    ],
)
def test_recipes_that_are_wrong(task, change, kind, text):
    with pytest.raises(kind, match=text):
        train_posterior(task, {**RECIPE, **change}, progress=False)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"evaluate_every": 0}, ValueError, "evaluate_every must be at least 1, got 0"),
        ({"evaluate_every": 2.5}, TypeError, "evaluate_every must be an integer, got 2.5"),
        ({"folder": ""}, ValueError, "folder must be a path"),
        ({"start": "toy2d-exact"}, TypeError, "start must be an AmortizedPosterior .*, got 'toy2d-exact'"),
    ],
)
def test_trainings_that_are_called_wrongly(task, measurement, given, kind, text):
    with pytest.raises(kind, match=text):
        train_posterior(task, RECIPE, measurement=measurement, progress=False, **given)


FILES = {
    "empty.toml": (b"", "has no \\[optimizer\\] table"),
    "task.toml": (
        b'[task]\nname = "gaussian16"\nparameters = { sigma = 1.0 }\n[flow]\nkind = "realnvp"\n[optimizer]\nsteps = 2\n',
        "TypeError: task 'gaussian16'.*'sigma'",
    ),
    "digits.toml": (b"[optimizer]\nsteps = " + b"9" * 5000, "digits.toml is not valid TOML: Exceeds the limit"),
    "deep.toml": (b"a = " + b"[" * 3000, "deep.toml is not valid TOML: maximum recursion depth"),
    "bom.toml": (
        b'\xef\xbb\xbf[task]\nname = "gaussian17"\n[flow]\nkind = "realnvp"\n[optimizer]\nsteps = 2\n',
        "gaussian17",
    ),
}


@pytest.mark.parametrize("name", [*FILES, "folder"])
def test_recipe_files_that_are_wrong(tmp_path, name):
    path, text = tmp_path / name, "FileNotFoundError: no recipe .*it is a folder"
    if name in FILES:
        path.write_bytes(FILES[name][0])
        text = FILES[name][1]
    else:
        path.mkdir()
    from aps_core.train import command

    with pytest.raises(SystemExit, match=text):
        command([str(path), "--checkpoints", str(tmp_path), "--out", str(tmp_path)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faces-deblur", "cifar10-deblur"])
def test_shipped_posteriors_in_double_precision(name):
    code = (
        "import jax; jax.config.update('jax_enable_x64', True)\nimport aps_core, numpy as np\n"
        f"p = aps_core.load_posterior({name!r}); t = p.task; x = t.prior.gaussian.mean.reshape(t.shape)\n"
        "m = t.measure(jax.random.key(0), x); assert np.isfinite(p.sample(jax.random.key(1), m, 2)).all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "call",
    [
        aps_core.gaussian_posterior,
        lambda thing: aps_core.linearize(thing, aps_core.Measurement(np.zeros((46, 90)))),
        lambda thing: aps_core.untrained_posterior(thing, {"kind": "realnvp"}),
        lambda thing: aps_core.train_posterior(thing, {"flow": {"kind": "realnvp"}, "optimizer": {"steps": 2}}),
        lambda thing: aps_core.make_sampler("dps", thing),
    ],
)
@pytest.mark.parametrize("thing", [None, "sphere-impute", 3])
def test_what_is_no_task_is_named(call, thing):
    with pytest.raises(TypeError, match=rf"task .*{type(thing).__name__}"):
        call(thing)


def test_no_signals_have_no_density():
    posterior = aps_core.load_posterior("sphere-impute")
    with pytest.raises(ValueError, match=r"x is empty, of shape \(0, 46, 90\)"):
        posterior.log_prob(np.zeros((0, 46, 90)), posterior.task.measure(jax.random.key(0), np.zeros((46, 90))))


def test_numbers_of_a_files_byte_order_and_of_more_than_double_precision(posterior, measurement, drawn):
    y, mask = np.asarray(measurement.y), np.asarray(measurement.mask)
    for kind in (">f4", ">f8", np.longdouble, jnp.bfloat16):
        x = posterior.sample(KEY, Measurement(y.astype(kind), mask.astype(kind)), 3)
        np.testing.assert_allclose(x, drawn, atol=5e-3)  # rounding of bfloat16
        assert np.all(np.isfinite(posterior.log_prob(np.asarray(drawn).astype(kind), measurement)))


@pytest.mark.parametrize(
    "x, kind, text",
    [
        (np.full(4, np.nan), ValueError, "x holds entries that are not finite"),
        (np.zeros(4, complex), TypeError, "x holds complex numbers"),
        (np.ma.array(np.zeros(4), mask=[1, 0, 0, 0]), ValueError, "x is a masked array that hides 1 of 4"),
        ("abcd", TypeError, "x must be an array of numbers"),
        (np.zeros((2, 4)), ValueError, "x must have shape"),
    ],
)
def test_signals_whose_likelihood_is_asked_for(task, measurement, x, kind, text):
    with pytest.raises(kind, match=text):
        task.log_likelihood(x, measurement)


def test_the_likelihood_of_a_list(task, measurement):
    known = task.log_likelihood(np.full(4, 0.25), measurement)
    np.testing.assert_allclose(task.log_likelihood([0.25] * 4, measurement), known)
    np.testing.assert_allclose(jax.vmap(task.log_likelihood, (0, None))(jnp.full((2, 4), 0.25), measurement), known)


@pytest.mark.parametrize(
    "values, kind, text",
    [
        (np.zeros((3, 5)), ValueError, r"signals\('test'\) has shape \(3, 5\), expected \(n, 4\)"),
        (np.zeros(4), ValueError, r"signals\('test'\) has shape"),
        (np.zeros((0, 4)), ValueError, r"signals\('test'\) has shape \(0, 4\)"),
        (np.full((3, 4), np.nan), ValueError, r"signals\('test'\) holds entries that are not finite"),
        (None, TypeError, r"signals\('test'\) must be an array of numbers"),
    ],
)
def test_what_a_function_of_signals_gives(prior, values, kind, text):
    with pytest.raises(kind, match=text):
        Task(Identity((4,)), 0.1, prior, lambda split: values).signals("test")


def test_empty_signals_and_a_check_that_is_no_function(prior):
    with pytest.raises(ValueError, match="signals must have shape .*n at least 1, got"):
        Task(Identity((4,)), 0.1, prior, np.zeros((0, 4)))
    with pytest.raises(TypeError, match="extra_check must be a function"):
        Task(Identity((4,)), 0.1, prior, extra_check=3)


@pytest.mark.parametrize(
    ("weights", "error"),
    [("", ValueError), (3, TypeError), (True, TypeError), (b"name", TypeError), (["name"], TypeError)],
)
def test_weights_that_are_no_name(task, weights, error):
    with pytest.raises(error, match="weights must be a name or a path, or None"):
        aps_core.load_posterior(task, weights=weights)


def test_a_watch_that_is_none(posterior, measurement):
    with pytest.raises(TypeError, match="watch must be a Watch, got 3"):
        posterior.refine(measurement, steps=1, watch=3)


def test_draws_of_a_prior_of_pictures_are_served_and_pictures_of_another_scale_are_not():
    prior = load_prior("faces-prior")[0]
    task = Task(Identity((32, 32, 3)), 0.01, prior)
    picture = np.full((32, 32, 3), 0.5, np.float32)
    for entry in (-0.46, 1.48):  # the darkest and the brightest of 6144 draws
        picture[3, 4, 1] = entry
        task.check(Measurement(jnp.asarray(picture)))
    for scaled in (2 * picture - 1.2, 2 * picture + 0.2, 255 * picture):
        with pytest.raises(ValueError, match="y ranges from"):
            task.check(Measurement(jnp.asarray(scaled)))


def test_draws_of_a_prior_of_pictures_are_served_by_a_sensor_that_saturates():
    task = load_task("faces-saturated")
    for entry in (-0.46, 1.48):
        drawn = jnp.full((32, 32, 3), 0.5).at[3, 4, 1].set(entry)
        task.check(task.measure(KEY, drawn))


def test_degrees_are_not_taken_for_a_picture(task):
    for y, hint in (
        ([-41.0, 0.0, 20.0, 36.0], "scale it as the signals"),
        ([-20.0, 0.0, 90.0, 250.0], "divide by 255"),
    ):
        with pytest.raises(ValueError, match=f"y ranges from .*{hint}"):
            task.check(Measurement(np.array(y)))
