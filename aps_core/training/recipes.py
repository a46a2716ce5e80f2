"""Recipes (TOML): reading one, and refusing what nothing would read. ``aps train FILE`` runs one.

``trains`` says what a recipe trains (a word of ``training.TRAINERS``; a posterior where it is absent), and with it which tables it
has. Every recipe has an [optimizer]; the files in ``recipes/`` are the examples.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aps_core.checks import count, flag, fraction, known

# what a [prior] has, without a default, that is a number of something, a table, or a name
COUNTED = ("n_modes", "batch", "subspace", "last_years")
TABLES = ("network", "flow", "recombination")
NAMES = ("data", "task")
EVERY = ("name", "trains", "evaluate_every", "optimizer")


@dataclass(frozen=True)
class Trainer:
    """What trains one kind of recipe: ``job(recipe) -> Job`` (``job(recipe, measurements)`` for posteriors).

    tables and settings: the top-level names that such a recipe has beside those of every recipe; optional: tables that it
    may lack.
    """

    job: Callable
    tables: tuple
    settings: tuple = ()
    optional: tuple = ("objective", "task")


def read(path):
    """The recipe at ``path`` as a dict. Raises FileNotFoundError or ValueError naming the file."""
    path = Path(path)
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise FileNotFoundError(f"no recipe {path}: {what}; expected a TOML file")
    try:
        recipe = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also for an integer of thousands of digits, and tables as deep
        raise ValueError(f"recipe {path} is not valid TOML: {error}") from error
    recipe.setdefault("name", path.stem)
    _check_name(recipe["name"])
    return recipe


def checked(recipe: Any, trainer=None):
    """``recipe`` (a dict, or the path of one), of which every top-level entry is one that is read; numbers of NumPy become
    those of Python, which JSON knows.

    trainer: the Trainer that it is for; without one only what every recipe needs is checked. Raises TypeError or
    ValueError that names the recipe and the entry.
    """
    recipe = read(recipe) if isinstance(recipe, (str, Path)) else recipe
    if not isinstance(recipe, dict):
        raise TypeError(f"recipe must be a dict or the path of a TOML file, got {recipe!r}")
    recipe = _plain(recipe)
    what = f"recipe {recipe.get('name', 'unnamed')!r}"
    if trainer is not None:
        known(what, recipe, (*EVERY, *trainer.tables, *trainer.settings))
    if "evaluate_every" in recipe:
        count(f"{what}: evaluate_every", recipe["evaluate_every"])
    for table in ("optimizer", *(trainer.tables if trainer else ())):
        if table not in recipe and (trainer is None or table not in trainer.optional):
            raise ValueError(f"{what} has no [{table}] table")
        if not isinstance(recipe.get(table, {}), dict):
            raise TypeError(f"{what}: {table} must be a table, [{table}], got {recipe[table]!r}")
    return recipe


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def objective_of(recipe, defaults):
    """The recipe's [objective] table over its ``defaults``. Raises TypeError where it is no table, ValueError for a name
    that is not among them.
    """
    given = recipe.get("objective", {})
    if not isinstance(given, dict):
        raise TypeError(f"[objective] must be a table, a dict of settings, got {given!r:.80}")
    known("[objective]", given, defaults)
    return {**defaults, **given}


def prior_of(recipe, required, defaults, table="prior"):
    """The recipe's [prior] table, or the ``table`` that stands in its place, over its ``defaults``. Raises ValueError for a
    name that is neither among them nor ``required``, and where one of those is missing; TypeError or ValueError for a value
    of another kind than its default, of COUNTED that is no count, of TABLES that is no table, or of NAMES that is no text.
    """
    given = recipe[table]
    known(f"[{table}]", given, (*required, *defaults))
    if missing := [name for name in required if name not in given]:
        raise ValueError(f"[{table}] has no {missing[0]}: expected {', '.join(required)}")
    settings = {**defaults, **given}
    for name, value in settings.items():
        default, what = defaults.get(name), f"[{table}] {name}"
        if name in TABLES and not isinstance(value, dict):
            raise TypeError(f"{what} must be a table, [{table}.{name}], got {value!r:.80}")
        if name in NAMES and not isinstance(value, str | None):
            raise TypeError(f"{what} must be a name, got {value!r:.80}")
        if name in COUNTED or type(default) is int:
            settings[name] = count(what, value)
        elif isinstance(default, bool):
            flag(what, value)
        elif isinstance(default, float):
            fraction(what, value)
    return settings


def _check_name(name):
    """The name of a recipe from a file becomes that of files: letters, digits, ".", "_" and "-", and no way out of their folder."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f'recipe name must be letters, digits, ".", "_" and "-", beginning with the former, got {name!r}'
        )
