"""`aps list`: what there is of notebooks, figures, tasks, samplers, recipes and weights."""

import inspect
from enum import StrEnum
from typing import Annotated

import typer

from aps_book.cli.common import Json, printed, table


class Kind(StrEnum):
    """What `aps list` lists."""

    notebooks = "notebooks"
    figures = "figures"
    tasks = "tasks"
    samplers = "samplers"
    recipes = "recipes"
    weights = "weights"


def show_list(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.notebooks,
    name: Annotated[str, typer.Argument(help="Only this one; of a notebook its parameters too.")] = "",
    as_json: Json = False,
) -> None:
    """List notebooks (with their parameters), figures, tasks, samplers, recipes or weights.

    Examples:

    - `aps list`
    - `aps list notebooks sphere_impute`
    - `aps list weights --json`
    """
    found = {Kind.notebooks: notebooks, Kind.figures: figures, Kind.tasks: tasks, Kind.samplers: samplers}
    rows = (found | {Kind.recipes: recipes, Kind.weights: weights})[kind]()
    if name:
        if name not in [row["name"] for row in rows]:
            raise ValueError(f"{kind} {name!r}: expected one of {', '.join(row['name'] for row in rows)}")
        rows = [row for row in rows if row["name"] == name]
    if as_json:
        printed(rows)
        return
    if name and kind is Kind.notebooks:
        print(rows[0]["title"])
        table([(key, one["default"], one["comment"]) for key, one in rows[0]["parameters"].items()], ("", "", ""))
        return
    table([(row["name"], row["about"]) for row in rows], (kind.value, "about"))


def notebooks() -> list[dict]:
    """Name, title, and the parameters with their defaults and comments."""
    from aps_book import notebooks as known

    found = []
    for one in map(known.find, known.names()):
        parameters = {name: {"default": value, "comment": one.comments[name]} for name, value in one.parameters.items()}
        found.append({"name": one.name, "title": one.title, "about": one.title, "parameters": parameters})
    return found


def figures() -> list[dict]:
    """Label of each figure, and the notebook that draws it."""
    from aps_book import notebooks as known

    return [{"name": label, "about": f"of {name}", "notebook": name} for label, name in known.figures().items()]


def tasks() -> list[dict]:
    """Name, parameters with their defaults, and the sentence of each task."""
    from aps_core.tasks import TASKS

    found = []
    for name, make in sorted(TASKS.items()):
        defaults = {key: one.default for key, one in inspect.signature(make).parameters.items()}
        settings = ", ".join(f"{key}={value}" for key, value in defaults.items())
        plain = {key: value for key, value in defaults.items() if isinstance(value, int | float)}
        found.append({"name": name, "about": f"{_sentence(make)} [{settings}]", "parameters": plain})
    return found


def samplers() -> list[dict]:
    """Name and the sentence of each sampler, with its settings."""
    from importlib import import_module

    from aps_core.samplers import METHODS

    found = [{"name": "gaussian", "about": "the posterior under the Gaussian of the prior, in closed form"}]
    for name, (module, cls, implied) in METHODS.items():
        about = _sentence(getattr(import_module(f"aps_core.samplers.{module}"), cls))
        found.append({"name": name, "about": about, "implied": implied})
    return sorted(found, key=lambda row: row["name"])


def recipes() -> list[dict]:
    """Name, path and what each recipe trains."""
    from aps_core import files
    from aps_core.training.recipes import read

    paths = sorted({path.name: path for folder in files.folders("recipes") for path in folder.glob("*.toml")}.values())
    found = []
    for path in paths:
        recipe = read(path)
        what = recipe.get("trains", "posterior")
        task = recipe.get("task", {})
        about = f"{what} of {task['name']}" if isinstance(task, dict) and "name" in task else what
        found.append({"name": recipe["name"], "about": about, "path": str(path)})
    return found


def weights() -> list[dict]:
    """Name, what trained each, and its size."""
    from aps_core import weights as store

    names = sorted({p.stem for folder in store.folders() if folder.is_dir() for p in folder.glob("*.safetensors")})
    found = []
    for name in names:
        card = store.load_card(name)
        about = f"{_trained_by(card)}; {card['bytes'] / 1e6:.1f} MB"
        found.append({"name": name, "about": about, "task": card.get("task"), "sha256": card["sha256"]})
    return found


def _trained_by(card: dict) -> str:
    """What trained the weights of a card; one that was edited may not say it, which hides none of the others."""
    from aps_core.weights import trained_by

    try:
        return trained_by(card) if "task" in card else "prior"
    except (KeyError, TypeError, AttributeError):
        return "the card does not say what trained it"


def _sentence(thing) -> str:
    """The first sentence of a docstring."""
    text = " ".join((inspect.getdoc(thing) or "").split())
    return text.partition(". ")[0].rstrip(".")
