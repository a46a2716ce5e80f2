"""The page of settings and the recipes to start from: every setting has its line, none has one too many, and recipes are
read as they are written.
"""

import re
import tomllib
from pathlib import Path

import pytest

from aps_book.cli import starting
from aps_book.pages import settings
from aps_core import flows, load_task
from aps_core.flows import build_flow
from aps_core.priors.networks.patches import PatchTransformer
from aps_core.tasks import list_tasks
from aps_core.training import TRAINERS
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import objective_settings
from aps_core.training.recipes import checked, prior_of

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = settings.tables()


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_has_a_line(table):
    for name in settings.known(table):
        line = settings.said(table, name)
        assert 3 < len(line) < 160 and not line.endswith("."), name


def test_no_line_is_left_over():
    lines = settings.words()
    for table in settings.TABLES:
        assert set(lines[table]) == set(settings.known(table)), table
    for group in ("flow", "prior", "network"):
        kinds = {table.partition(".")[2]: settings.known(table) for table in TABLES if table.startswith(f"{group}.")}
        assert set(lines[group]["kinds"]) == set(kinds)
        assert set(lines[group]) - {"kinds"} <= {name for known in kinds.values() for name in known}
        for kind, own in lines[group]["kinds"].items():
            assert set(own) <= set(kinds[kind]), kind


def test_defaults_are_those_of_the_code():
    assert settings.known("flow.realnvp")["steps"] == 24 == flows.ConditionalRealNVP.steps
    assert settings.known("flow.gaussian-base")["k"] == settings.REQUIRED
    assert settings.known("optimizer")["learning_rate"] == Optimizer(steps=1).learning_rate
    assert "<code>0.001</code>" in settings.table("optimizer")
    assert settings.known("network.patches")["heads"] == PatchTransformer.heads
    assert settings.known("prior.subspace-prior") == {
        "subspace": settings.REQUIRED, "batch": settings.REQUIRED, "network": settings.REQUIRED,
        "data": None, "t_residual": 3e-4, "tokens": 72, "radius": 3,
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected one of recipe, task"):
        settings.known("flow.none")


def test_the_page_has_every_table():
    page = (ROOT / "book" / "settings.md").read_text("utf-8")
    assert set(re.findall(r"```\{settings\} (\S+)", page)) == {*TABLES, "tasks"}


@pytest.mark.parametrize("task", list_tasks())
def test_a_recipe_to_start_from_is_a_recipe(task):
    text = starting.text(task)
    recipe = tomllib.loads(text)
    assert recipe["task"]["name"] == task and recipe["name"] == f"{task}-own"
    checked(recipe, TRAINERS[recipe.get("trains", "posterior")])
    Optimizer.of(recipe["optimizer"])
    if "trains" not in recipe:
        objective_settings(recipe)
    for name in settings.known(f"flow.{recipe['flow']['kind']}"):
        assert re.search(rf"^(# )?{name} = |^\[flow.{name}\]", text, re.MULTILINE), name


def test_the_priors_recipes_have_known_settings_alone():
    """Those that are shipped, and what every one needs; a name that nothing reads is refused."""
    for path in sorted((ROOT / "recipes").glob("*.toml")):
        recipe = tomllib.loads(path.read_text("utf-8"))
        if (word := recipe.get("trains")) in settings.PRIORS:
            module = settings.PRIORS[word]
            assert prior_of(recipe, module.REQUIRED, module.DEFAULTS)["batch"] == recipe["prior"]["batch"]
            network = recipe["prior"]["network"]
            assert set(network) <= set(settings.known(f"network.{network['kind']}")), path.stem
    given = {"prior": {"data": "celeba", "n_modes": 8, "batch": 4, "network": {}, "miror": True}}
    with pytest.raises(ValueError, match=r"\[prior\].*miror"):
        prior_of(given, settings.PRIORS["network-prior"].REQUIRED, settings.PRIORS["network-prior"].DEFAULTS)
    del given["prior"]["miror"], given["prior"]["batch"]
    with pytest.raises(ValueError, match="has no batch: expected data, n_modes, batch, network"):
        prior_of(given, settings.PRIORS["network-prior"].REQUIRED, settings.PRIORS["network-prior"].DEFAULTS)


def test_its_comments_are_settings_too():
    """With the # of every default that is set taken away it is the same recipe."""
    text = starting.text("gaussian16")
    spelled = tomllib.loads(re.sub(r"^# (\w+ = (?!unset).*)$", r"\1", text, flags=re.MULTILINE))
    checked(spelled, TRAINERS["posterior"])
    assert objective_settings(spelled) == objective_settings(tomllib.loads(text))
    assert Optimizer.of(spelled["optimizer"]) == Optimizer.of(tomllib.loads(text)["optimizer"])
    assert spelled["flow"] == {"kind": "gaussian-base", "k": 256, "steps": 4, "width": 128, "depth": 2} | {
        "inflate": 1.0, "offset_std": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("task", sorted(starting.STAND_INS))
def test_stand_ins_build(task):
    given = starting.STAND_INS[task]
    assert build_flow(load_task(task), given["flow"]).dim == load_task(task).prior.dim


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="task 'sphere'.*expected one of bunny-inpaint"):
        starting.text("sphere")
