"""`aps recipe`: a recipe to start from, with every setting, its default and what it is."""

import inspect
import json
import tomllib
from typing import Annotated, Any

import typer

from aps_book.cli.common import Json, printed

# tasks that no flow is shipped for under their own name: the recipe that stands for them
STAND_INS = {
    "gaussian16": {"flow": {"kind": "gaussian-base", "k": 256}, "objective": {"prior_term": "exact"}},
    "mixture2": {"flow": {"kind": "gaussian-base", "k": 2}, "objective": {"prior_term": "exact"}},
}
OPTIMIZER = {"steps": 2000}


def recipe(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, such as faces-denoise (`aps list tasks`).")],
    as_json: Json = False,
) -> None:
    """Print a recipe to start from: that of the flow which is shipped for a task, every other setting behind a #.

    Examples:

    - `aps recipe sphere-impute > mine.toml`, then `aps train mine.toml`
    - `aps recipe sphere-impute --json`, as `aps_core.train_posterior` takes it
    """
    printed(tomllib.loads(text(task))) if as_json else print(text(task))


def text(task: str) -> str:
    """The recipe as TOML. Raises ValueError for an unknown task."""
    from aps_core.tasks import list_tasks

    if task not in list_tasks():
        raise ValueError(f"task {task!r}: expected one of {', '.join(list_tasks())}")
    given = _shipped(task)
    objective = "subspace-objective" if given.get("trains") == "subspace-posterior" else "objective"
    top = {name: value for name, value in given.items() if not isinstance(value, dict)} | {"name": f"{task}-own"}
    lines = ["# A line behind # is a default; take the # away to set another value. Train it with `aps train FILE`."]
    lines += _lines("recipe", top)
    for name, table in (("task", "task"), ("objective", objective), ("optimizer", "optimizer")):
        own = {"parameters": _parameters(task)} if name == "task" else {}
        lines += ["", f"[{name}]", *_lines(table, given.get(name, {}), own=own)]
        if name == "task":
            lines += _flow("flow", given["flow"])
    return "\n".join(lines)


def _shipped(task: str) -> dict[str, Any]:
    from aps_core import files
    from aps_core.training.recipes import read

    path = files.find("recipes", f"{task}-held-out.toml")
    if path is not None:
        return read(path)
    return {"task": {"name": task}, "optimizer": OPTIMIZER, **STAND_INS[task]}


def _flow(name: str, given: dict[str, Any]) -> list[str]:
    """The table of a flow and those of flows inside of it."""
    plain = {key: value for key, value in given.items() if key != "flow"}
    lines = ["", f"[{name}]", *_lines(f"flow.{given['kind']}", plain, skip=("flow",))]
    return lines + (_flow(f"{name}.flow", given["flow"]) if "flow" in given else [])


def _parameters(task: str) -> str:
    """The parameters of a named task with their defaults."""
    from aps_core.tasks import TASKS

    defaults = {name: one.default for name, one in inspect.signature(TASKS[task]).parameters.items()}
    return _toml({name: value for name, value in defaults.items() if value is not None})


def _lines(
    table: str, given: dict[str, Any], skip: tuple[str, ...] = (), own: dict[str, str] | None = None
) -> list[str]:
    """One line for each setting of a table: those that are given as they are, the others as comments. own: defaults that
    the table itself does not know, as TOML.
    """
    from aps_book.pages import settings

    found = []
    for name, default in settings.known(table).items():
        if name in skip:
            continue
        default = (own or {}).get(name) or settings.shown(default)
        line = f"{name} = {_toml(given[name])}" if name in given else f"# {name} = {default}"
        found.append(f"{line}  # {settings.said(table, name)}")
    return found


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
