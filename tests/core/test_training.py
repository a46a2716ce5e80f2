"""The training loop: what it minimises, and that interruptions of every kind change nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aps_book.experiments.flow_prior import init_discrete_prior
from aps_book.train import ALL
from aps_core import (
    AmortizedPosterior,
    Identity,
    Measurement,
    Operator,
    RandomMask,
    Task,
    WeightsError,
    gaussian_posterior,
    load_posterior,
    load_task,
    train,
    train_posterior,
)
from aps_core.flows import build_flow
from aps_core.posterior import save_posterior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.modal import RegimeResidual
from aps_core.priors.networks.patches import make_tokens
from aps_core.priors.score_network import NETWORKS, build_network
from aps_core.priors.terms import PriorTerm
from aps_core.training import loop, network_prior, recipes
from aps_core.training import posterior as posterior_training
from aps_core.training.loop import Session, Watch, fit
from aps_core.training.optimizer import Optimizer
from aps_core.training.validation import excess_objective, kl_to_closed_form

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.toml"))
OPTIMIZER = Optimizer(steps=30, learning_rate=0.05, warmup=3, ema=0.9, seed=4)
TARGET = jnp.array([1.0, -2.0, 0.5])


def _loss(params, data, key, progress):
    """Noisy, so that the order of the random numbers shows."""
    distance = params["w"] - data + 0.1 * jax.random.normal(key, data.shape)
    return jnp.sum(distance**2) + params["b"] ** 2, {"bias": params["b"]}


def _start():
    return {"w": jnp.zeros(3), "b": jnp.ones(())}


def _fit(folder=None, optimizer=OPTIMIZER, params=None, evaluate=None, evaluate_every=1, budget=None):
    session = Session(folder, budget, progress=False)
    return fit(_loss, params or _start(), TARGET, optimizer, Watch(evaluate, evaluate_every), session)


def _losses(trained):
    return [(row["step"], row["loss"], row["bias"]) for row in trained.history]


def _assert_same(one, other):
    assert _losses(one) == _losses(other)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


@pytest.fixture(scope="module")
def uninterrupted():
    return _fit()


def test_it_minimises():
    trained = _fit(optimizer=Optimizer(steps=400, learning_rate=0.05, ema=0.9), evaluate_every=100)
    assert trained.finished and trained.step == 400
    np.testing.assert_allclose(trained.params["w"], TARGET, atol=0.03)
    assert [row["step"] for row in trained.history] == [100, 200, 300, 400]
    assert trained.history[-1]["loss"] < 0.1 < trained.history[0]["loss"]


def test_ema_is_the_average_of_the_weights():
    seen = []
    _fit(
        optimizer=Optimizer(steps=6, warmup=1, ema=0.0), evaluate=lambda p, d, k: seen.append(np.asarray(p["w"])) or {}
    )
    average = seen[0]
    for w in seen[1:]:
        average = 0.8 * average + 0.2 * w
    trained = _fit(optimizer=Optimizer(steps=6, warmup=1, ema=0.8))
    np.testing.assert_allclose(trained.params["w"], average, rtol=1e-4)
    assert np.abs(seen[-1] - average).max() > 1e-4


def test_another_seed_is_another_run(uninterrupted):
    other = _fit(optimizer=Optimizer(steps=30, learning_rate=0.05, warmup=3, ema=0.9, seed=5))
    assert _losses(other)[3] != _losses(uninterrupted)[3]


def test_a_budget_stops_and_the_next_run_goes_on(tmp_path, uninterrupted):
    for step in range(1, 4):
        trained = _fit(tmp_path, budget=0.0)  # one step each
        assert trained.step == step and not trained.finished
    final = _fit(tmp_path)
    assert final.finished
    _assert_same(final, uninterrupted)
    assert final.seconds > 0


def test_a_finished_run_is_not_run_again(tmp_path, uninterrupted):
    _fit(tmp_path)
    again = fit(None, _start(), TARGET, OPTIMIZER, session=Session(tmp_path, progress=False))
    _assert_same(again, uninterrupted)


def test_sums_since_the_last_row_survive(tmp_path):
    rows = _losses(_fit(evaluate_every=10))
    for _ in range(3):
        _fit(tmp_path, evaluate_every=10, budget=0.0)
    assert _losses(_fit(tmp_path, evaluate_every=10)) == rows


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, uninterrupted, number):
    before = signal.getsignal(number)

    def evaluate(params, data, key):
        evaluate.calls += 1
        if evaluate.calls == 9:
            os.kill(os.getpid(), number)
        return {}

    evaluate.calls = 0
    trained = _fit(tmp_path, evaluate=evaluate)
    assert trained.step == 8 and not trained.finished  # the first call is that of step 0
    assert signal.getsignal(number) == before
    resumed = _fit(tmp_path)
    assert _losses_from(resumed, 1) == _losses(uninterrupted)


def _losses_from(trained, step):
    return [(row["step"], row["loss"], row["bias"]) for row in trained.history if row["step"] >= step]


@pytest.mark.parametrize("call", [1, 2], ids=["the arrays", "the state"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dying_while_saving(tmp_path, monkeypatch, uninterrupted, call, after):
    """The checkpoint before stands until the new one is whole."""
    _fit(tmp_path, budget=0.0)
    write, calls = loop.write_atomically, []

    def dying(path, content):
        calls.append(path)
        if len(calls) == call and not after:
            path.with_name(f".{path.name}.dead.part").write_bytes(b"half of it")
            raise KeyboardInterrupt
        write(path, content)
        if len(calls) == call:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "write_atomically", dying)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, budget=0.0)
    monkeypatch.undo()
    resumed = _fit(tmp_path)
    _assert_same(resumed, uninterrupted)
    assert [p.name for p in tmp_path.glob("state-*.safetensors")] == ["state-30.safetensors"]


def test_the_loss_that_is_not_finite_names_its_step(tmp_path):
    def loss(params, data, key, progress):
        return jnp.log(params["w"]), {}

    optimizer = Optimizer(steps=100, learning_rate=0.1, warmup=0, final=1.0, ema=0.0)
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan.* at step (\d+); the last good state is that of step"
    ) as error:
        fit(loss, {"w": jnp.array(0.55)}, None, optimizer, session=Session(tmp_path, progress=False))
    step = int(str(error.value).split(" at step ")[1].split(";")[0])
    assert step in (6, 7, 8)  # 0.1 down at every step of Adam
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["step"] == step - 1


def test_a_gradient_that_is_not_finite_stops_before_it_is_applied(tmp_path):
    def loss(params, data, key, progress):
        return jnp.sqrt(params["w"] ** 2), {}  # zero, with a gradient of 0/0

    with pytest.raises(FloatingPointError, match="gradient nan at step 1;"):
        session = Session(tmp_path, progress=False)
        fit(loss, {"w": jnp.zeros(())}, None, Optimizer(steps=5, warmup=0), session=session)
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 0


def test_a_checkpoint_of_other_settings(tmp_path):
    _fit(tmp_path, budget=0.0)
    with pytest.raises(WeightsError, match="made from other inputs: optimizer.learning_rate was 0.05, now it is 0.01"):
        _fit(tmp_path, optimizer=Optimizer(steps=30, learning_rate=0.01, warmup=3, ema=0.9, seed=4))
    with pytest.raises(WeightsError, match="another network"):
        session = Session(tmp_path, progress=False)
        fit(_loss, {"w": jnp.zeros(4), "b": jnp.ones(())}, TARGET, OPTIMIZER, session=session)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink], ids=["truncated", "one bit flipped", "missing"])
def test_a_damaged_checkpoint(tmp_path, damage):
    _fit(tmp_path, budget=0.0)
    damage(tmp_path / "state-1.safetensors")
    with pytest.raises(WeightsError, match="truncated or altered"):
        _fit(tmp_path)


def test_a_damaged_state(tmp_path):
    _fit(tmp_path, budget=0.0)
    _truncate(tmp_path / "state.json")
    with pytest.raises(WeightsError, match="truncated or altered"):
        _fit(tmp_path)


def test_a_state_that_was_altered(tmp_path):
    _fit(tmp_path, budget=0.0)
    state = json.loads((tmp_path / "state.json").read_text())
    for change, said in (
        ({"step": 31}, "is altered: step is 31, expected one of 0 to 30"),
        ({"recent": [{"loss": "x"}]}, "truncated or altered: .*recent is"),
        ({"history": [{"step": [1]}]}, "truncated or altered: .*history is"),
    ):
        changed = state | change
        (tmp_path / "state.json").write_text(json.dumps(changed))
        content = (tmp_path / "state-1.safetensors").read_bytes()
        (tmp_path / f"state-{changed['step']}.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match=said):
            _fit(tmp_path)


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: Session(""), ValueError, "folder must be a path, or None for no checkpoint, got ''"),
        (lambda: Session(3), TypeError, "folder must be a path, or None for no checkpoint, got 3"),
        (lambda: Session(progress="no"), TypeError, "progress must be True or False, got 'no'"),
        (lambda: Watch(every=0), ValueError, "every must be at least 1, got 0"),
        (
            lambda: _fit(evaluate=lambda *_: {"a": "x"}),
            TypeError,
            "evaluate must give a dict of numbers, got 'a' = 'x'",
        ),
        (lambda: _fit(evaluate=lambda *_: None), TypeError, "evaluate must give a dict of numbers, got None"),
    ],
)
def test_sessions_and_watches_that_cannot_be(make, kind, said):
    with pytest.raises(kind, match=said):
        make()


def test_numbers_of_jax_can_be_evaluated_and_kept(tmp_path):
    watched = _fit(tmp_path, evaluate=lambda p, d, k: {"w": jnp.sum(p["w"]), "n": np.int64(3)}, budget=0.0)
    assert type(watched.history[0]["w"]) is float and type(watched.history[0]["n"]) is int
    assert json.loads((tmp_path / "state.json").read_text())["history"] == watched.history


def test_the_log(tmp_path):
    trained = _fit(
        tmp_path, evaluate=lambda p, d, k: {"distance": float(jnp.sum((p["w"] - d) ** 2))}, evaluate_every=10
    )
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 10, 20, 30]
    assert [float(row["distance"]) for row in rows] == [row["distance"] for row in trained.history]
    each = _losses(_fit())
    assert float(rows[1]["loss"]) == pytest.approx(np.mean([loss for _, loss, _ in each[:10]]), rel=1e-6)


@pytest.mark.parametrize(
    "settings, text",
    [
        (dict(steps=0), "steps"),
        (dict(steps=10, warmup=10), "warmup"),
        (dict(steps=200, learning_rate=-1.0), "learning_rate"),
        (dict(steps=200, clip=0.0), "clip"),
        (dict(steps=200, ema=1.0), "ema"),
        (dict(steps=200, matmul="float8"), "matmul"),
    ],
)
def test_impossible_settings(settings, text):
    with pytest.raises(ValueError, match=f"optimizer {text} must"):
        Optimizer(**settings)


def test_recipes_exist():
    assert {"sphere-prior", "sphere-impute-held-out", "gaussian16-realnvp-denoise"} <= {path.stem for path in RECIPES}


# an eigenproblem of 3072 entries each, or the flow of others of these on the same faces
COSTLY = (
    "faces-sr2-held-out",
    "faces-deblur-held-out",
    "faces-saturated-held-out",
    "cifar10-deblur-held-out",
    "faces-denoise-realnvp-whitened",
    "faces-any-start",
    "faces-any-tied",
    "faces-denoise-held-out",
    "faces-denoise-paper",
    "faces-denoise-reverse",
    "faces-denoise-reverse-closed",
    "faces-denoise-reverse-paper",
    "faces-denoise-reverse-spread",
)

# trains on a prior that is not shipped; tests/core/test_fine_sphere.py trains both, small
NOT_SHIPPED = ("sphere-fine-impute-held-out",)

# the paper's network in the paper's protocol
OF_THE_PAPER = ("faces-denoise-realnvp", "faces-denoise-realnvp-linear", "faces-denoise-realnvp-whitened")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_accepted(path):
    recipe = recipes.read(path)
    assert recipe["name"] == path.stem
    assert recipes.checked(recipe, ALL[recipe.get("trains", "posterior")]) == recipe
    Optimizer.of(recipe["optimizer"])
    if "task" not in recipe:
        _check_prior(recipe.get("prior", {}))
        return
    own = recipe["flow"]["kind"] == "subspace"  # whose objective has settings of its own
    settings = {"protocol": "held-out", **recipe["objective"]} if own else posterior_training.objective_settings(recipe)
    assert settings["protocol"] == ("paper" if path.stem.endswith("paper") or path.stem in OF_THE_PAPER else "held-out")


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow) if p.stem in COSTLY else p for p in RECIPES if p.stem not in NOT_SHIPPED],
    ids=lambda path: path.stem,
)
def test_every_recipe_builds(path):
    recipe = recipes.read(path)
    if "task" not in recipe:
        return
    task = load_task(recipe["task"]["name"], **recipe["task"].get("parameters", {}))
    flow = build_flow(task, recipe["flow"])
    assert flow.dim == np.prod(task.shape)
    assert jax.tree.leaves(jax.eval_shape(flow.init, jax.random.key(0)))


def _check_prior(prior):
    """The network of a recipe's [prior] can be built: by its kind where it has one, else as that of the sphere."""
    network = prior.get("network", {})
    if "flow" in prior:
        gaussian = GaussianPrior(jnp.full(16, 0.5), jnp.eye(16), jnp.full(16, 0.1), jnp.asarray(0.01), shape=(4, 4))
        assert (
            jax.eval_shape(lambda key: init_discrete_prior(key, gaussian, **prior["flow"]), jax.random.key(0)).dim == 16
        )
    elif prior and "kind" not in network:
        RegimeResidual(**network)
    elif "tokens" in prior:
        assert build_network(network, (32, 32, 3), make_tokens(shape=(32, 32, 3), **prior["tokens"]))
    elif prior:
        assert network["kind"] in NETWORKS


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"batch": 0}, ValueError, "batch must be at least 1, got 0"),
        ({"batch": "64"}, TypeError, "batch must be an integer, got '64'"),
        ({"n_modes": True}, TypeError, "n_modes must be an integer, got True"),
        ({"mirror": "no"}, TypeError, "mirror must be True or False, got 'no'"),
        ({"dequantize": -1.0}, ValueError, "dequantize must lie in"),
        ({"t_residual": "1e-4"}, TypeError, "t_residual must be a number"),
        ({"network": "dense"}, TypeError, "network must be a table"),
        ({"data": ["celeba"]}, TypeError, "data must be a name, got"),
    ],
)
def test_settings_of_a_prior_that_cannot_be(change, kind, said):
    given = {"data": "celeba", "n_modes": 4, "batch": 2, "network": {"kind": "dense"}}
    assert recipes.prior_of({"prior": given}, network_prior.REQUIRED, network_prior.DEFAULTS)["batch"] == 2
    with pytest.raises(kind, match=rf"\[prior\] {said}"):
        recipes.prior_of({"prior": given | change}, network_prior.REQUIRED, network_prior.DEFAULTS)


@pytest.mark.parametrize(
    ("trains", "tables", "kind", "said"),
    [
        (
            "network-prior",
            {"prior": {"data": "a", "n_modes": 1, "batch": 1, "network": {}, "tokens": 3}},
            TypeError,
            "tokens must",
        ),
        (
            "modal-prior",
            {"prior": {"data": "ncep-temperature"}},
            ValueError,
            r"\[prior\] has no n_modes: expected data, n_modes",
        ),
        (
            "modal-prior",
            {
                "prior": {
                    "data": "patches16",
                    "n_modes": 1,
                    "last_years": 1,
                    "batch": 1,
                    "network": {},
                    "recombination": {},
                }
            },
            ValueError,
            "data = .patches16.: expected fields with year and month",
        ),
        (
            "flow-prior",
            {"prior": {"data": "celeba", "batch": 0, "flow": {}}},
            ValueError,
            r"\[prior\] batch must be at least 1",
        ),
        (
            "flow-prior",
            {"prior": {"data": "celeba", "batch": 1, "flow": {}, "grey": "no"}},
            TypeError,
            "grey must be True or False",
        ),
        ("score-on-draws", {"draws": {"task": "gaussian16"}}, ValueError, r"\[draws\] has no t_min"),
        ("toys", {"toys": {"batch": 0}}, ValueError, r"\[toys\] batch must be at least 1, got 0"),
        ("toys", {"toys": {"low": "0.1"}}, TypeError, r"\[toys\] low must be a number"),
    ],
)
def test_settings_of_every_trainer_are_checked(trains, tables, kind, said):
    with pytest.raises(kind, match=said):
        ALL[trains].job({"name": "a", "optimizer": STEPS, **tables})


TASK, FLOW, STEPS = {"name": "mixture2"}, {"kind": "realnvp"}, {"steps": 2}


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"start_task": "mixture2"}, ValueError, "start_task = 'mixture2' is the task of start, and there is no start"),
        ({"validate_objective": "no"}, TypeError, "validate_objective must be True or False, got 'no'"),
        ({"start": 3}, TypeError, "weights must be a name or a path, got 3"),
        ({"trains": ["posterior"]}, ValueError, "trains must be one of .*, got .'posterior'."),
        (
            {"trains": "subspace-posterior"},
            TypeError,
            'flow is a .*RealNVP without .*; expected one of kind "subspace"',
        ),
    ],
)
def test_what_a_recipe_asks_for_without_sense_is_named(tmp_path, monkeypatch, change, kind, said):
    recipe = {"name": "a", "task": TASK, "flow": FLOW, "objective": {}, "optimizer": STEPS, **change}
    monkeypatch.setattr(train, "read", lambda _: recipe)
    with pytest.raises(kind, match=said):
        train.main(["a.toml", "--out", str(tmp_path), "--checkpoints", str(tmp_path)])


def test_checkpoints_that_cannot_be_written_are_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(
        train, "read", lambda _: {"name": "a", "task": {"name": "nothing"}, "flow": FLOW, "optimizer": STEPS}
    )
    with pytest.raises(ValueError, match="state of --checkpoints .*: /dev/null is a file, expected a folder"):
        train.main(["a.toml", "--out", str(tmp_path), "--checkpoints", "/dev/null"])


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"kind": ["dense"]}, ValueError, "network kind must be one of"),
        ({"kind": "dense", "width": 0}, ValueError, "network 'dense': width must be at least 1"),
        ({"kind": "dense", "depth": 2.0}, TypeError, "depth must be an integer, got 2.0"),
        ({"kind": "dense", "width": 2**31 - 1}, ValueError, "width must be at most 32768"),
    ],
)
def test_networks_that_cannot_be(settings, kind, said):
    with pytest.raises(kind, match=said):
        build_network(settings, (4,))


def test_recipes_that_cannot_be(tmp_path, make_prior):
    with pytest.raises(FileNotFoundError, match="nothing.toml"):
        recipes.read(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("[flow\n")
    with pytest.raises(ValueError, match="bad.toml is not valid TOML"):
        recipes.read(tmp_path / "bad.toml")
    for objective, text in (
        ({"prior_terms": "elbo"}, "unknown entry 'prior_terms'"),
        ({"prior_term": "evidence"}, "prior_term must be one of"),
        ({"protocol": "mine"}, "protocol must be one of"),
    ):
        with pytest.raises(ValueError, match=text):
            posterior_training.objective_settings({"objective": objective})
    task = _small_task(make_prior)
    for flow, text in (
        ({"kind": "glow"}, "flow kind must be one of"),
        ({}, "None"),
        ({"kind": "realnvp", "wide": 3}, "wide"),
    ):
        with pytest.raises(ValueError, match=text):
            build_flow(task, flow)


def _small_task(make_prior):
    prior = make_prior(d=4, k=4)
    return Task(RandomMask((4,), 0.5), 0.1, prior, prior.sample(jax.random.key(0), 64))


@pytest.mark.slow
def test_training_mends_a_wrong_base_and_its_weights_load(make_prior, tmp_path):
    """A user's own task: covariance doubled and mean shifted; a few hundred steps bring it back to the known posterior."""
    task = _small_task(make_prior)
    recipe = {
        "name": "mine",
        "flow": {"kind": "gaussian-base", "k": 4, "steps": 1, "width": 8, "inflate": 2.0, "offset_std": 1.0},
        "objective": {"prior_term": "exact", "batch": 32},
        "optimizer": {"steps": 300, "learning_rate": 2e-2, "warmup": 10, "ema": 0.95},
    }
    m = task.measure(jax.random.key(1), task.signals("test")[:32])
    posterior, trained = train_posterior(task, recipe, progress=False)
    assert trained.finished and posterior.card["steps"] == 300 and posterior.card["recipe"] == recipe
    before = kl_to_closed_form(
        type(posterior)(task, posterior.flow, posterior.flow.init(jax.random.key(0))), jax.random.key(2), m
    )[0]
    after = kl_to_closed_form(posterior, jax.random.key(2), m)[0]
    assert before > 0.3
    assert after < 0.02
    save_posterior(posterior, tmp_path / "mine.safetensors")
    loaded = load_posterior(task, weights=tmp_path / "mine.safetensors")
    np.testing.assert_allclose(
        loaded.sample(jax.random.key(3), m, 4), posterior.sample(jax.random.key(3), m, 4), atol=5e-3
    )
    with pytest.raises(ValueError, match='"modes" needs a flow of kind "gaussian-base" and a ScorePrior'):
        train_posterior(task, {**recipe, "objective": {"prior_term": "modes"}}, progress=False)


def _command(recipe, folder, every_step=False):
    """Command line of the recipes, with a checkpoint after every step where asked for."""
    arguments = [str(recipe), "--checkpoints", str(folder), "--out", str(folder)]
    if not every_step:
        return [sys.executable, "-m", "aps_core.train", *arguments]
    code = f"from aps_core import train; from aps_core.training import loop; loop.SAVE_SECONDS = 0; train.main({arguments!r})"
    return [sys.executable, "-c", code]


@pytest.mark.slow
def test_kill_9_in_the_middle_of_training(tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'name = "tiny"\n[task]\nname = "gaussian16"\n[flow]\nkind = "realnvp"\nsteps = 1\nwidth = 4\n'
        '[objective]\nprior_term = "elbo"\nbatch = 4\n[optimizer]\nsteps = 300\nwarmup = 10\n'
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(_command(recipe, tmp_path / "whole"), check=True, **quiet)
    broken = tmp_path / "broken"
    for at_least in (20, 90):
        process = subprocess.Popen(_command(recipe, broken, every_step=True), **quiet)
        try:
            while _step(broken) < at_least and process.poll() is None:
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert at_least <= _step(broken) < 300
    done = subprocess.run(_command(recipe, broken), check=True, capture_output=True, text=True)
    assert "step 300" in done.stdout and "finished" in done.stdout
    logs = []
    for folder in (tmp_path / "whole", broken):
        with open(folder / "tiny" / "log.csv", newline="") as file:
            logs.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)])
    assert logs[0] == logs[1] and len(logs[0]) == 3
    assert (broken / "tiny.safetensors").read_bytes() == (tmp_path / "whole" / "tiny.safetensors").read_bytes()


def _step(folder):
    try:
        return json.loads((folder / "tiny" / "state.json").read_text())["step"]
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_the_budget_of_the_command_line(tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'name = "tiny"\n[task]\nname = "gaussian16"\n[flow]\nkind = "gaussian-base"\nk = 4\nsteps = 1\nwidth = 4\n'
        '[objective]\nprior_term = "exact"\nbatch = 4\n[optimizer]\nsteps = 100000\nwarmup = 10\n'
    )
    assert tomllib.loads(recipe.read_text())["optimizer"]["steps"] == 100_000
    done = subprocess.run([*_command(recipe, tmp_path), "--budget", "0.5"], check=True, capture_output=True, text=True)
    assert "stopped; run the same command to go on" in done.stdout
    assert _step(tmp_path) > 0
    assert not (tmp_path / "tiny.safetensors").exists()
    subprocess.run([*_command(recipe, tmp_path), "--budget", "0.1", "--write"], check=True, capture_output=True)
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert card["finished"] is False and card["steps"] == _step(tmp_path) and (tmp_path / "tiny.safetensors").is_file()


@pytest.mark.slow
def test_the_objective_of_the_closed_form_under_a_mixture_and_under_a_score():
    """E_q[log q - log p_G(x|y) - log p/p_G] of q = p_G(x|y) is -E[log p/p_G], with the exact density of a mixture."""
    task = load_task("mixture2")
    exact = gaussian_posterior(task)
    measurements = task.measure(jax.random.key(0), jnp.asarray(task.signals("test")[:3]))
    found = excess_objective(exact, jax.random.key(1), measurements, 64)
    for i in range(3):
        one = jax.tree.map(lambda a, i=i: a[i], measurements)
        x = exact.sample(jax.random.key(2), one, 4000)
        ratio = np.asarray(jax.vmap(task.prior.log_prob)(x) - jax.vmap(task.prior.gaussian.log_prob)(x))
        assert abs(found[i] + ratio.mean()) < 5 * ratio.std() / 8
    gaussian = load_task("gaussian16")
    y = gaussian.measure(jax.random.key(0), jnp.asarray(gaussian.signals("test")[:2]))
    np.testing.assert_allclose(excess_objective(gaussian_posterior(gaussian), jax.random.key(1), y, 4), 0, atol=1e-2)


@pytest.mark.slow
def test_modes_of_a_task_without_masks_can_be_trained(make_score_prior):
    prior = make_score_prior(d=8, k=4, k_modes=3)
    task = Task(Identity((8,)), 0.1, prior, np.full((20, 8), 0.5))
    recipe = {
        "flow": {"kind": "gaussian-base", "k": 3, "steps": 1, "width": 4},
        "objective": {"prior_term": "modes", "pool": 8, "batch": 4, "n_times": 2},
        "optimizer": {"steps": 1, "warmup": 0},
    }
    assert train_posterior(task, recipe, progress=False)[0].card["steps"] == 1
    with pytest.raises(ValueError, match="pool_missing is for a RandomMask"):
        train_posterior(task, {**recipe, "objective": {**recipe["objective"], "pool_missing": [0.3]}}, progress=False)


SMALL = {
    "name": "small",
    "flow": {"kind": "realnvp", "steps": 1, "width": 4},
    "objective": {"prior_term": "exact", "batch": 8},
    "optimizer": {"steps": 4, "learning_rate": 1e-2, "warmup": 1, "ema": 0.0},
}


def small_task(make_prior, operator=None, signals=1.0):
    prior = make_prior(d=4, k=3)
    return Task(operator or Identity((4,)), 0.1, prior, signals * prior.sample(jax.random.key(0), 32))


def test_a_training_does_not_go_on_from_other_signals_or_another_start(make_prior, tmp_path):
    task = small_task(make_prior)
    first, _ = train_posterior(task, SMALL, folder=tmp_path / "a", progress=False)
    again, _ = train_posterior(small_task(make_prior), SMALL, folder=tmp_path / "a", progress=False)
    for one, same in zip(*(jax.tree.leaves(p.params) for p in (first, again)), strict=True):
        np.testing.assert_array_equal(one, same)
    with pytest.raises(WeightsError, match="made from other inputs"):
        train_posterior(small_task(make_prior, signals=0.9), SMALL, folder=tmp_path / "a", progress=False)
    train_posterior(task, SMALL, start=first, folder=tmp_path / "b", progress=False)
    moved = replace(first, params=jax.tree.map(lambda a: a + 0.1, first.params))
    with pytest.raises(WeightsError, match="made from other inputs"):
        train_posterior(task, SMALL, start=moved, folder=tmp_path / "b", progress=False)


def test_a_training_with_an_operator_of_ones_own_goes_on(make_prior, tmp_path):
    class Gain(Operator):
        shape = (4,)

        def __call__(self, x, mask=None):
            return 2 * x

    recipe = {**SMALL, "optimizer": {**SMALL["optimizer"], "steps": 2}}
    whole, _ = train_posterior(small_task(make_prior, Gain()), recipe, progress=False)
    for _ in range(2):  # a budget of nothing stops after each step
        found, trained = train_posterior(
            small_task(make_prior, Gain()), recipe, folder=tmp_path, budget=0.0, progress=False
        )
    assert trained.finished
    for one, same in zip(*(jax.tree.leaves(p.params) for p in (whole, found)), strict=True):
        np.testing.assert_array_equal(one, same)


def test_numbers_of_numpy_are_numbers(make_prior, tmp_path):
    recipe = {
        **SMALL,
        "objective": {"prior_term": "exact", "batch": np.int64(8)},
        "optimizer": {
            "steps": np.int32(2),
            "learning_rate": np.float32(1e-2),
            "warmup": np.int64(1),
            "ema": np.float64(0),
        },
    }
    found, _ = train_posterior(small_task(make_prior), recipe, folder=tmp_path, progress=False)
    assert json.loads(json.dumps(found.card))["recipe"]["objective"]["batch"] == 8


def test_the_log_has_one_row_for_the_start(tmp_path):
    """Also where a run ended before its first step, and began again."""
    loss = lambda params, data, key, progress: (jnp.where(progress < 1, jnp.nan, 0.0) * params["a"], {})  # noqa: E731
    for _ in range(3):
        with pytest.raises(FloatingPointError):
            watch, session = Watch(lambda *_: {"seen": 1.0}), Session(tmp_path, progress=False)
            loop.fit(loss, {"a": jnp.ones(())}, {}, Optimizer(steps=2), watch, session)
    assert len(json.loads((tmp_path / "state.json").read_text())["history"]) == 1


@pytest.mark.parametrize("given", [{"kl": "mixture"}, {"kl": "forward"}, {}])
def test_modes_are_for_many_measurements_of_the_reverse_divergence(make_score_prior, given):
    prior = make_score_prior(d=8, k=4, k_modes=3)
    task = Task(Identity((8,)), 0.1, prior, np.full((20, 8), 0.5))
    recipe = {"flow": {"kind": "gaussian-base", "k": 3, "steps": 1, "width": 4}, "optimizer": {"steps": 1, "warmup": 0}}
    one = None if given else task.measure(jax.random.key(0), jnp.full(8, 0.5))
    with pytest.raises(ValueError, match=r'prior_term "modes" is for kl = "reverse" and many measurements, got'):
        train_posterior(
            task, {**recipe, "objective": {"prior_term": "modes", **given}}, measurement=one, progress=False
        )
    with pytest.raises(ValueError, match="prior_term must be one of .*got 'control_variate'"):
        PriorTerm("control_variate")(prior, jnp.full(8, 0.5), jnp.array([0.5]), jax.random.key(0))


def test_signals_that_are_no_images_have_no_mirror_image(make_prior):
    recipe = {**SMALL, "objective": {"kl": "forward", "draws": 8, "mirror": True}}
    with pytest.raises(ValueError, match=r"mirror is for images .h, w, c., got signals of shape .4,."):
        train_posterior(small_task(make_prior), recipe, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["realnvp", "gaussian-base"])
def test_flows_of_one_coupled_entry(make_prior, kind):
    """Nothing is left to be the unchanged half: the couplings see the measurement alone."""
    prior = make_prior(d=1, k=1) if kind == "realnvp" else make_prior(d=4, k=3)
    task = Task(Identity(prior.shape), 0.1, prior, prior.sample(jax.random.key(0), 16))
    settings = {"kind": kind, "steps": 2, "width": 4, **({"k": 1} if kind == "gaussian-base" else {})}
    posterior, _ = train_posterior(task, {**SMALL, "flow": settings}, progress=False)
    one = task.measure(jax.random.key(1), task.signals("test")[0])
    x, log_q = posterior.sample_and_log_prob(jax.random.key(2), one, 8)
    np.testing.assert_allclose(posterior.log_prob(x, one), log_q, atol=1e-3)
    other = posterior.sample(jax.random.key(2), Measurement(one.y + 0.3), 8)
    assert np.abs(np.asarray(other - x)).max() > 1e-3


def test_realnvp_in_double_precision_takes_signals_in_single(make_prior, randomise):
    task = small_task(make_prior)
    flow = build_flow(task, SMALL["flow"])
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), randomise(flow.init(jax.random.key(0))))
    x0 = np.asarray(task.signals("test")[:2], np.float32)
    one = task.measure(jax.random.key(1), x0[0])
    single = AmortizedPosterior(task, flow, params).log_prob(x0, one)
    with jax.enable_x64(True):
        double = AmortizedPosterior(task, flow, params).log_prob(x0, Measurement(np.asarray(one.y, np.float64)))
    np.testing.assert_allclose(double, single, rtol=1e-4)
