"""Why the bound moves the mean: every measure of it against a posterior, a density or a Jacobian that is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import (
    along_training,
    bunny_inpaint,
    family,
    mean_kept,
    moved_mean,
    objective_faces,
    protocol_controls,
)
from aps_book.experiments.measured import measure
from aps_book.experiments.mixture_posterior import mixture_posterior
from aps_core import data
from aps_core.posterior import gaussian_posterior, load_posterior
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.tasks import load_task
from aps_core.training.optimizer import Optimizer
from aps_core.training.recipes import read
from aps_core.weights import load_card

N = 6


@pytest.fixture(scope="module")
def measured():
    """(task of the problem "contrast" in four entries, modes, y (N, d), x0 (N, d), exact means (N, d))."""
    task = family.problem("contrast", dim=4)
    x0 = task.prior.sample(jax.random.key(1), N)
    y = task.measure(jax.random.key(2), x0).y
    return (
        task,
        posterior_modes(task.prior.gaussian, task.operator, task.sigma_y),
        np.asarray(y),
        np.asarray(x0),
        family.exact_means(task, task.measure(jax.random.key(2), x0)),
    )


def test_tweedie_is_the_exact_mean(measured):
    task, _, y, _, exact = measured
    np.testing.assert_allclose(moved_mean.tweedie_means(task.prior, y, task.sigma_y), exact, atol=2e-4)


@pytest.mark.parametrize(
    "slope",
    [pytest.param(moved_mean.bound_slope(), marks=pytest.mark.slow), moved_mean.score_slope(0.002)],
    ids=["bound", "score"],
)
def test_chains_of_an_exact_prior_end_at_its_posterior(slope):
    """Where the score is exact the bound is the density: mean and variance are the exact ones up to the step's length."""
    task = family.problem("means")
    modes = posterior_modes(task.prior.gaussian, task.operator, task.sigma_y)
    measurements = task.measure(jax.random.key(2), task.prior.sample(jax.random.key(1), N))
    y, exact = np.asarray(measurements.y), family.exact_means(task, measurements)
    starts = np.repeat(y[:, None], 64, axis=1)
    how = moved_mean.Langevin(slope, 200, 60, n_times=4, step=0.1)
    found = moved_mean.chains(task, modes, y, starts, jax.random.key(3), how)
    truth = [mixture_posterior(task.prior, task.sigma_y, jnp.asarray(yi), jnp.eye(4)) for yi in y]
    variance = np.array([np.diag(np.asarray(p.covariance())) for p in truth])
    assert found.means.shape == (N, 64, 4) and found.samples.shape == (N, 64 * 28, 4)
    assert np.sqrt(np.mean((found.means.mean(axis=1) - exact) ** 2 / variance)) < 0.1  # posterior standard deviations
    np.testing.assert_allclose(found.variance.mean() / variance.mean(), 1, atol=0.15)


def test_weights_of_the_times_weigh_the_ratio(measured):
    task, _, _, x0, _ = measured
    key, u = jax.random.key(0), jnp.asarray(0.7)
    whole, half, none = (
        float(moved_mean.log_ratio(task.prior, x0[0], key, u, w)) for w in ((1.0,), (2.0, 0.5), (1.0, 0.0))
    )
    assert half == pytest.approx(whole / 2, rel=1e-5) and none == 0


def test_reverse_diffusion_of_an_exact_score_keeps_its_mean(measured):
    task, _, y, _, exact = measured
    ratios, means, draws = moved_mean.reverse_diffusion(task.prior, y, task.sigma_y, jax.random.key(4), 400, 32)
    assert ratios[0] == pytest.approx(0.2) and means.shape == (33, N, 4) and draws.shape == (N, 400, 4)
    error = draws.std(axis=1) / 20
    np.testing.assert_allclose(means[0], exact, atol=2e-4)
    assert np.all(np.abs(means - exact) < 5 * error + 2e-4)


def test_earlier_times_add_what_the_density_has_there(measured):
    """In two parts, the second of which begins where the first ends."""
    task, _, _, x0, _ = measured
    x, gaussian, key = jnp.asarray(x0), task.prior.gaussian, jax.random.key(5)
    ends = (task.prior.sde.t_min, 0.01), (0.01, 1.0)
    parts = [np.asarray(moved_mean.ratio_between(task.prior, key, x, *pair, 1024)) for pair in ends]
    exact = [float(task.prior.log_prob(xi) - gaussian.log_prob(xi)) for xi in x]
    np.testing.assert_allclose(sum(parts), exact, atol=0.5)
    assert all(np.max(np.abs(part)) > 0.2 for part in parts)  # both of them count


def test_what_the_times_pay_adds_up_to_the_density(measured):
    task, _, _, x0, _ = measured
    x = jnp.asarray(x0)
    parts = np.asarray(moved_mean.ratio_by_time(task.prior, jax.random.key(5), x, 8, 256))
    gaussian = task.prior.gaussian
    exact = [float(task.prior.log_prob(xi) - gaussian.log_prob(xi)) for xi in x]
    assert parts.shape == (N, 8)
    np.testing.assert_allclose(parts.sum(axis=1), exact, atol=0.35)
    where = moved_mean.edges(task.prior, 8)
    assert len(where) == 9 and np.all(np.diff(where) > 0)


def test_gaussian_part_is_that_of_the_closed_form(measured):
    task, modes, y, x0, _ = measured
    found = moved_mean.gaussian_part(modes, y, x0)
    likelihood = -((y - x0) ** 2).sum(axis=1) / (2 * task.sigma_y**2)
    exact = likelihood + np.array([float(task.prior.gaussian.log_prob(jnp.asarray(x))) for x in x0])
    moved = moved_mean.gaussian_part(modes, y, x0 + 0.05)
    likelihood = -((y - x0 - 0.05) ** 2).sum(axis=1) / (2 * task.sigma_y**2)
    exact -= likelihood + np.array([float(task.prior.gaussian.log_prob(jnp.asarray(x + 0.05))) for x in x0])
    np.testing.assert_allclose(found - moved, exact, atol=2e-3)


def test_estimates_of_a_mean_are_measured_without_their_noise():
    rng = np.random.default_rng(0)
    x0, tweedie = rng.normal(size=(200, 40)), np.zeros((200, 40))
    moved = 0.3 + rng.normal(size=(200, 5, 40))
    means = 0.15 + rng.normal(size=(200, 3, 40))  # half of the way, each with noise far above it
    found = moved_mean.against_tweedie(means, tweedie, moved, x0)
    assert np.median(found["along"]) == pytest.approx(0.5, abs=0.15)
    error = moved_mean.squared_error(means, x0)
    assert error.mean() == pytest.approx(np.mean((x0 - 0.15) ** 2), abs=0.05)
    for values in found.values():
        assert values.shape == (200,)


def test_asymmetry_of_a_score_a_rotation_and_their_sum(make_prior):
    """Zero for the score of a density; the ratio of the two parts where a rotation is added."""
    gaussian = make_prior(d=4, k=2, shape=(4,))
    turn = np.zeros((4, 4))
    turn[0, 1], turn[1, 0], turn[2, 3], turn[3, 2] = 1, -1, 1, -1

    x = gaussian.sample(jax.random.key(0), 5)
    for symmetric, antisymmetric, expected in ((1, 0, 0), (1, 1, 1), (2, 0.5, 0.25)):
        matrix = jnp.asarray(symmetric * np.eye(4) + antisymmetric * turn, jnp.float32)
        field = SimpleNamespace(
            sde=gaussian.sde, gaussian=gaussian, eps=lambda ut, t, m=matrix: gaussian.eps(ut, t) + m @ ut
        )
        found = moved_mean.asymmetry.__wrapped__(field, jax.random.key(1), x, 0.1)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_exact_posterior_has_the_exact_mean_and_coverage():
    task = family.problem("contrast", dim=4)
    x0 = task.prior.sample(jax.random.key(1), 200)
    measurements = task.measure(jax.random.key(2), x0)
    found = family.measure(family.ExactPosterior(task), measurements, x0, n=128)
    for key, expected in (("shift", 0), ("lost", 0), ("inside_90", 90)):
        error = found[key].std(ddof=1) / np.sqrt(200)
        assert abs(found[key].mean() - expected) < 4 * error


def test_problem_refuses_another_name():
    with pytest.raises(ValueError, match="contrast"):
        family.problem("other")


def _number(value, se=1.0):
    return {"value": value, "se": se, "unit": None}


def test_causes_are_said_from_the_numbers():
    assert "not run" in objective_faces.causes({})
    numbers = {f"moved.{row}.along": _number(v) for row, v in (("bound", 80.0), ("score", 90.0), ("diffusion", 1.5))}
    numbers |= {f"segment.l100.{key}": _number(44.0, 5.0) for key in ("bound", "ode")}
    numbers |= {"paid.part1": _number(2.0), "paid.objective": _number(100.0, 20.0)}
    numbers |= {f"settles.step{i}.psnr": {"value": v, "se": None} for i, v in ((0, 29.6), (100, 29.3), (200, 29.31))}
    said = objective_faces.causes(numbers)
    assert "carries 80 ± 1 % of the way" in said and "2 ± 1 % (not resolved)" in said and "within 0.010 dB" in said
    assert "**b, the family:** not run" in said and "excluded" in said and "not excluded" not in said
    assert "not excluded" in objective_faces.causes({**numbers, "paid.objective": _number(10.0, 20.0)})
    ends = {
        "gap.frozen": _number(-9.0),
        "gap.moved": _number(0.5),
        "gap.reverse": _number(-4.0),
        "start.paid": _number(3.0),
    }
    ends |= {"start.low": _number(1e-5), "start.high": _number(1e-4)}
    more = objective_faces.causes({**numbers, **ends})
    assert "changes by +0 ± 1 (not resolved) when they are moved, and by -4 ± 1 to the samples" in more
    assert "from t = 1e-05 on, and not from 0.0001, the bound would pay the reverse flow +3.0 ± 1.0 nats more" in more
    keys = ("exact.lost", "mode_seeking", "apart")
    numbers |= {f"family.contrast.{key}": _number(0.1, 0.01) for key in keys}
    assert "costs 0.10 ± 0.01 dB against the exact mean" in objective_faces.causes(numbers)


def test_family_is_kept_paired(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    rows = {row: {k: np.arange(4.0) for k in ("shift", "lost", "inside_90")} for row in family.LABELS}
    rows["bound"]["lost"] = rows["exact"]["lost"] + 0.5
    family.store(run, "contrast", rows)
    numbers = run.as_dict()["numbers"]
    assert numbers["family.contrast.apart"]["value"] == 0.5 and numbers["family.contrast.apart"]["se"] == 0
    assert numbers["family.contrast.mode_seeking"]["value"] == 0


def test_remedy_is_kept_paired(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    scores = {
        row: {"psnr_n1": np.arange(3.0) + i, "psnr_mean": np.ones(3), "energy": np.ones(3), "coverage": np.ones((3, 2))}
        for i, row in enumerate(mean_kept.ROWS)
    }
    mean_kept.store(run, scores)
    numbers = run.as_dict()["numbers"]
    assert numbers["remedy_paired.kept.n1"]["value"] == 2 and numbers["remedy.kept.inside_90"]["value"] == 100
    assert "remedy_paired.forward.n1" not in numbers
    assert mean_kept.recorded(numbers) == ["sr2"]
    mean_kept.store(run, scores, mean_kept.prefix_of("deblur"))
    assert mean_kept.recorded(numbers) == ["sr2", "deblur"]
    said = mean_kept.goal(numbers, "deblur")
    assert said.startswith("It is within 0.1 dB") and "do not hold 88 to 92 % (100.0 %)" in said
    assert {key for key, *_ in mean_kept.differences("deblur")} < set(numbers)


@pytest.mark.parametrize("task", list(mean_kept.FACES))
def test_recipes_of_the_spread_keep_the_mean(task):
    recipe = read(f"recipes/{mean_kept.RECIPES[task]}.toml")
    assert recipe["task"]["name"] == f"faces-{task}" and len(recipe["optimizer"]["frozen"]) == 2
    assert recipe["objective"]["estimator"] == "path" and recipe["objective"].get("kl", "reverse") == "reverse"
    assert recipe.get("start") == (None if task == "denoise" else f"faces-{task}-held-out")


def test_the_recipe_of_the_bunny_keeps_the_mean():
    recipe = read(f"recipes/{mean_kept.RECIPES['bunny']}.toml")
    assert recipe["start"] == mean_kept.FORWARD["bunny"] and recipe["objective"]["kl"] == "reverse"
    assert recipe["objective"]["estimator"] == "path" and "draws" not in recipe["objective"]
    started = load_posterior("bunny-inpaint", weights=recipe["start"])
    frozen = Optimizer.of(recipe["optimizer"]).freeze
    grown = jax.grad(lambda p: sum(jnp.sum(a) for a in jax.tree.leaves(frozen(p))))(started.params)
    assert all(np.all(a == 1) for a in jax.tree.leaves(grown["couplings"]))
    trained = {
        name for name, part in grown["network"]["params"].items() if np.any(np.asarray(jax.tree.leaves(part)[0]))
    }
    assert trained == {"log_scale"}


def test_the_bunny_is_scored_as_on_its_page():
    sampler = gaussian_posterior(load_task("bunny-inpaint"))
    found = mean_kept.score({"forward": sampler}, "bunny", data.load("bunny-mnist", "test"), 3, 8)["forward"]
    case = measure(sampler.task, data.load("bunny-mnist", "test"), 3)
    chosen = bunny_inpaint.prior_spread(sampler.task.prior.gaussian) > bunny_inpaint.SPREAD
    page = bunny_inpaint.score(sampler, jax.random.key(1), case.measurements, case.x0, 8, chosen)
    assert np.array_equal(found["psnr_mean"], page["psnr_mean"]) and np.array_equal(found["plain"], page["coverage"])
    assert found["coverage"].shape == (3, 2) and not np.array_equal(found["coverage"], found["plain"])


def test_the_table_of_the_bunny_says_what_its_numbers_are(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    one = {"psnr_n1": np.ones(3), "psnr_mean": np.ones(3), "energy": np.ones(3), "coverage": np.full((3, 2), 0.9)}
    scores = {row: {**one, "plain": np.full((3, 2), 0.95)} for row in mean_kept.ROWS}
    mean_kept.store(run, scores, mean_kept.prefix_of("bunny"))
    numbers = run.as_dict()["numbers"]
    assert mean_kept.recorded(numbers) == ["bunny"]
    assert numbers["remedy_bunny.kept.plain_90"]["value"] == pytest.approx(95)
    assert all(
        f"remedy_bunny.{row}.{key}" in numbers for row in mean_kept.rows("bunny") for key in mean_kept.columns("bunny")
    )
    assert "plain_90" not in mean_kept.columns("sr2") and mean_kept.rows("denoise")["kept"].startswith("Tweedie")
    assert "digits" in mean_kept.caption("bunny") and "faces" not in mean_kept.caption("bunny")
    assert "faces" in mean_kept.caption("deblur")
    assert "hold 88 to 92 % (90.0 %)" in mean_kept.goal(numbers, "bunny")


def test_the_sphere_is_measured_without_training(tmp_path):
    assert mean_kept.on_the_sphere({}) == "The sphere: not run."
    out = tmp_path / "kept.json"
    mean_kept.main(
        ["--task", "sphere", "--signals", "2", "--samples", "4", "--folder", str(tmp_path), "--out", str(out)]
    )
    made = record.load(out)
    assert {key.split(".")[1] for key in made["numbers"]} == {"closed", "reverse"}
    assert list(made["provenance"]["weights"]) == ["sphere-impute-held-out"]
    said = mean_kept.on_the_sphere(made["numbers"])
    assert "on 2 validation months" in said and "±" in said
    assert mean_kept.recorded(made["numbers"]) == []


@pytest.mark.parametrize("task", ["sr2", "deblur", "denoise"])
def test_cards_tell_the_training(tmp_path, task):
    run = record.Run("absent", {}, tmp_path)
    labels = along_training.store(run, task)
    numbers = run.as_dict()["numbers"]
    assert "forward_0" in labels and "reverse_0" not in labels
    assert all(f"along.{task}.{row}.{key}" in numbers for row in labels for key in along_training.COLUMNS)
    last = load_card(f"faces-{task}-reverse")["history"][-1]
    key = f"along.{task}.reverse_{last['step']}"
    assert numbers[f"{key}.inside_90"]["value"] == pytest.approx(100 * last["val_coverage_90"])
    panels = along_training.curves(task)
    assert list(panels) == ["N = 1 (dB)", "mean of 64 (dB)", "90 % intervals hold (%)"]
    assert all(set(of_panel) == set(along_training.LABELS.values()) for of_panel in panels.values())


def test_an_equal_sample_is_found_between_two_entries(monkeypatch):
    forward = {"n1": np.array([24.0, 26.0]), "mean": np.array([29.0, 30.0]), "inside_90": np.array([92.0, 91.0])}
    reverse = {
        "n1": np.array([24.0, 25.0, 27.0]),
        "mean": np.array([29, 29.5, 29.9]),
        "inside_90": np.array([92, 90, 86.0]),
    }
    monkeypatch.setattr(along_training, "history", lambda task, flow: reverse if flow == "reverse" else forward)
    assert along_training.at_equal_sample("sr2") == pytest.approx((-0.3, 88.0, 91.0))
    said = along_training.traded({"sr2": "Here"})
    assert "hold 88.0 % (91.0 %), and its mean lies 0.30 dB below" in said
    forward["n1"] = forward["n1"] + 2
    assert along_training.at_equal_sample("sr2") is None and "never has" in along_training.traded({"sr2": "Here"})


def test_noise_of_the_gradient_is_said_per_step():
    assert along_training.noise_of_the_gradient({}) == "Noise of the gradient: not run."
    said = along_training.noise_of_the_gradient({"noise.path_8.variance_ratio": _number(20.0)})
    assert "is 20 times larger in the second at equal batch, 10 times in a step" in said


def test_figures_and_tables_have_the_names_of_the_record(measured):
    task = measured[0]
    columns = objective_faces.paid_columns(task.prior)
    assert "part1" in columns and list(columns)[-1] == "objective"
    numbers = {"diffusion.k0.noise": _number(0.1), "diffusion.k0.along": _number(0.0)}
    numbers |= {f"moved.{row}.along": _number(70.0) for row in ("score", "coarse")}
    curves = objective_faces.along_curves(numbers)
    assert curves["posterior of the score"][0].tolist() == [0.01, 0.06]
    assert curves["reverse diffusion from y"][1].tolist() == [0.0]
    assert set(objective_faces.stands_on()) == set(objective_faces.ROWS)


def test_controls_change_one_thing_each():
    base = protocol_controls.recipe_of("paper")
    for arm in protocol_controls.ROWS:
        recipe = protocol_controls.recipe_of(arm)
        assert recipe["optimizer"] == base["optimizer"] and recipe["flow"] == base["flow"]
        assert recipe["objective"]["batch"] == base["objective"]["batch"]
        assert recipe["objective"]["protocol"] == ("paper" if arm == "paper" else "held-out")
        assert recipe["objective"].get("kl", "reverse") == {"mixture": "mixture", "forward": "forward"}.get(
            arm, "reverse"
        )
    assert {arm for pair in protocol_controls.PAIRS.values() for arm in pair} - {None} == set(protocol_controls.ROWS)


def test_controls_are_kept_against_their_start_and_each_other(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    one = {"psnr_n1": np.zeros(3), "energy": np.ones(3), "coverage": np.full((3, 2), 0.9)}
    scores = {arm: {**one, "psnr_mean": np.full(3, float(i))} for i, arm in enumerate(protocol_controls.ROWS)}
    protocol_controls.store(run, "val", scores, {**one, "psnr_mean": np.full(3, 10.0)})
    numbers = run.as_dict()["numbers"]
    assert protocol_controls.recorded(numbers) == protocol_controls.ROWS
    assert numbers["controls.val.paper.mean"]["value"] == -10 and numbers["controls.val.forward.mean"]["value"] == -6
    assert numbers["controls_pair.val.steps.mean"]["value"] == -6  # against the start
    assert numbers["controls_pair.val.seen.mean"]["value"] == -1 and numbers["controls_pair.val.seen.mean"]["n"] == 3
    assert len(protocol_controls.differences(numbers, "val")) == len(protocol_controls.PAIRS)
    assert all(f"controls.val.{arm}.{key}" in numbers for arm in scores for key in protocol_controls.COLUMNS)
    assert not protocol_controls.recorded({}) and not protocol_controls.differences({}, "val")


def test_controls_of_some_arms_are_compared_among_themselves(tmp_path):
    run = record.Run("absent", {}, tmp_path)
    one = {"psnr_n1": np.zeros(3), "psnr_mean": np.ones(3), "energy": np.ones(3), "coverage": np.full((3, 2), 0.9)}
    protocol_controls.store(run, "val", {"forward": one}, one)
    numbers = run.as_dict()["numbers"]
    assert [key for key, *_ in protocol_controls.differences(numbers, "val")] == ["controls_pair.val.steps.mean"]
