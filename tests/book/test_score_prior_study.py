"""One flow for each measurement against one for all: curves of fits, when they reach a level, what terms of the prior
cost.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import score_prior, training_cost
from aps_book.experiments.measured import Case
from aps_book.record import verdicts
from aps_core import data
from aps_core.flows.distilled import DistilledFlow
from aps_core.operators import Identity
from aps_core.posterior import AmortizedPosterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.priors.networks.patches import PatchTransformer, image_patches
from aps_core.priors.score_network import init_network_prior
from aps_core.tasks.problem import Task

SIGMA_Y, SHAPE = 0.1, (4, 4, 3)
DIM = int(np.prod(SHAPE))
RNG = np.random.default_rng(0)


def curve(n1, mean, samples=None):
    """A Curve of three measurements that are alike."""
    rows = lambda values: np.asarray(values, float)[:, None] + np.array([-1.0, 0.0, 1.0])  # noqa: E731
    return score_prior.Curve(np.arange(len(n1)), 2.0 * np.arange(len(n1)), rows(n1), rows(mean), samples)


def test_reached_interpolates_in_time():
    found = curve([20, 24, 25], [26, 27, 29])
    assert score_prior.reached(found, "n1", 22) == pytest.approx(1.0)
    assert score_prior.reached(found, "mean", 28.5) == pytest.approx(3.5)
    assert score_prior.reached(found, "mean", 25) == 0.0
    assert score_prior.reached(found, "mean", 30) is None


def test_qualities():
    x0 = RNG.normal(size=(5, *SHAPE))
    samples = x0[:, None] + 0.1 * RNG.normal(size=(5, 400, *SHAPE))
    found = score_prior.qualities(samples, x0)
    assert found["n1"] == pytest.approx(np.full(5, 20.0), abs=0.2)
    assert np.mean(found["mean"]) == pytest.approx(20 + 10 * np.log10(400), abs=1.0)


def test_what_is_stored_and_said(tmp_path):
    x0 = np.zeros((3, *SHAPE))
    exact = 0.1 * RNG.normal(size=(3, 1, *SHAPE)) + 0.1 * RNG.normal(size=(3, 64, *SHAPE))
    run = record.Run("score_prior_absent", {}, tmp_path)
    level = np.mean(score_prior.qualities(exact, x0)["mean"])
    score_prior.store(run, "denoise", curve([15, 16, 17], [level - 3, level - 1, level + 1], exact), exact, x0)
    numbers = run.as_dict()["numbers"]
    assert numbers["denoise.reached_mean"]["value"] == pytest.approx(3.0)
    assert numbers["denoise.gain_mean"]["value"] == pytest.approx(1.0)
    assert numbers["denoise.fit.ratio"]["value"] == pytest.approx(2, abs=0.4) and numbers["denoise.aps.inside"][
        "value"
    ] == pytest.approx(90, abs=12)
    assert score_prior.say_reached(numbers, "denoise", "mean") == "after {denoise.reached_mean:.1f} s"
    ours = 0.01 * exact
    score_prior.store(run, "deblur", curve([15, 16, 17], [20, 21, 22], exact), ours, x0)
    assert (
        score_prior.say_reached(numbers, "deblur", "n1") == "not within {deblur.seconds:.1f} s"
        and "deblur.reached_n1" not in numbers
    )
    run.number("denoise.training", 400.0), run.number("deblur.training", 400.0)
    mean, single = score_prior.differences({"deblur": "flow (forward, draws of the prior)"})
    said = verdicts.sentence(run.as_dict(), mean)
    assert numbers["deblur.gain_mean"]["value"] < -10 and "n = 3" in said
    assert said.startswith("Deblurring: the mean of a flow of its own is **worse** than that of the flow (forward")
    assert "**below** one of the flow" in verdicts.sentence(run.as_dict(), single)
    assert score_prior.costs(numbers, ["denoise", "deblur"]).count("is worth 100 such fits") == 2
    assert score_prior.known(run, "denoise")[:2] == ["start", "fit"]


@pytest.fixture(scope="module")
def posterior():
    """A DistilledFlow that was never trained, under a prior whose network says nothing yet: the exact posterior of a
    Gaussian.
    """
    basis, variance = np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0], np.geomspace(0.1, 1e-4, DIM)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    gaussian = GaussianPrior(jnp.full(DIM, 0.5), as32(basis), as32(variance - 5e-5), as32(5e-5), SHAPE)
    prior = init_network_prior(
        jax.random.key(0), gaussian, PatchTransformer(image_patches(SHAPE, 2), width=8, depth=1, heads=2)
    )
    operator, network = Identity(SHAPE), prior.network
    modes = posterior_modes(gaussian, operator, SIGMA_Y)
    flow = DistilledFlow(modes, prior.params, SIGMA_Y, 0.01, jnp.asarray(0.1), operator, network, steps=2, width=8)
    task = Task(operator, SIGMA_Y, prior, lambda split: gaussian.sample(jax.random.key(3), 6), unit_range=False)
    return AmortizedPosterior(task, flow, jax.jit(flow.init)(jax.random.key(1)))


@pytest.mark.long
def test_fit_starts_as_the_closed_form_and_stays_there_where_it_is_right(posterior):
    x0 = np.asarray(posterior.task.signals("test"))
    case = Case(
        SimpleNamespace(values=x0), np.arange(6), x0, posterior.task.measure(jax.random.key(8), jnp.asarray(x0))
    )
    found = score_prior.fit(posterior, case, 20, 2, n_scored=64, points=4, learning_rate=1e-4)
    np.testing.assert_array_equal(found.steps, [0, 5, 10, 15, 20])
    assert found.seconds[0] == 0 and np.all(np.diff(found.seconds) > 0) and found.samples.shape == (6, 64, *SHAPE)
    ours = np.asarray(posterior.sample(jax.random.key(0), case.measurements, 512))
    exact = score_prior.qualities(ours, x0)
    for kind in score_prior.KINDS:
        np.testing.assert_allclose(found.values(kind)[0].mean(), exact[kind].mean(), atol=0.25)
        np.testing.assert_allclose(found.values(kind)[-1], found.values(kind)[0], atol=0.25)
    curves, levels = score_prior.lines({"denoise": (found, case, ours)})
    assert curves["denoising, mean"][1].shape == (5,) and levels["amortized, denoising, mean"] == pytest.approx(
        exact["mean"].mean()
    )
    assert all(c.shape == (4, *SHAPE) for c in score_prior.pictures(found, case, ours).values())


@pytest.mark.long
def test_costs(posterior):
    """The ODE takes many evaluations, the bound one or two; all are timed."""
    x = posterior.task.signals("test")[:2]
    found = score_prior.prior_costs(posterior.task.prior, x, ("checkpointed",), tolerance=1e-2, repeats=1)
    assert set(found) == {"elbo", "control-variate", "ode_checkpointed"}
    assert found["elbo"]["evaluations"] == 2 and found["ode_checkpointed"]["evaluations"] >= 20
    assert all(entry["seconds"] > 0 for entry in found.values())


def test_signals_of_another_split(posterior):
    values = data.load("faces", "val").values[:2, :4, :4]
    task = score_prior.measured_on(posterior.task, values)
    np.testing.assert_array_equal(task.signals("train"), values)


@pytest.mark.slow
def test_a_step_of_the_papers_flow_is_timed_for_one_measurement_and_for_many():
    task = training_cost.face_sized_task((8, 8, 3), depth=1, n_modes=8)
    found = training_cost.step_costs(width=8, repeats=1, batch=4, task=task)
    assert list(found) == ["unconditional", "conditional_4", "conditional"] and min(found.values()) > 0
