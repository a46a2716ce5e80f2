"""The settings of a recipe: names and defaults from the code, a line each from ``settings.toml``; as tables of a page."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from aps_core import flows, tasks
from aps_core.flows.subspace import SubspaceFlow
from aps_core.priors.score_network import NETWORKS
from aps_core.training import network_prior, posterior, subspace_posterior, subspace_prior
from aps_core.training.optimizer import PRECISIONS, Optimizer

REQUIRED = "required"
TABLES = ("recipe", "task", "objective", "subspace-objective", "optimizer", "tokens")
PRIORS = {"network-prior": network_prior, "subspace-prior": subspace_prior}  # by the word that a recipe trains
CHOICES = {
    "objective": {**posterior.CHOICES, "protocol": tuple(posterior.PROTOCOLS)},
    "subspace-objective": {**subspace_posterior.CHOICES, "protocol": tuple(posterior.PROTOCOLS)},
    "optimizer": {"matmul": PRECISIONS},
}
# what SubspaceFlow.for_task computes itself
COMPUTED = {"k", "local", "root", "teacher", "missing", "scale", "network"}


@functools.cache
def words() -> dict[str, Any]:
    """The lines of ``settings.toml``."""
    return tomllib.loads(Path(__file__).with_name("settings.toml").read_text("utf-8"))


def known(table: str) -> dict[str, Any]:
    """{setting: default} of a table of a recipe, one of ``tables``; REQUIRED where it has none.

    Raises ValueError for another table.
    """
    if table not in tables():
        raise ValueError(f"table {table!r}: expected one of {', '.join(tables())}")
    group, _, kind = table.partition(".")
    if group == "flow":
        return {"kind": REQUIRED, **_of_flow(kind)}
    if group == "network":
        return {"kind": REQUIRED, **_of_network(kind)}
    if group == "prior":
        return {**dict.fromkeys(PRIORS[kind].REQUIRED, REQUIRED), **PRIORS[kind].DEFAULTS}
    if table == "tokens":
        return dict.fromkeys(("kind", "size"), REQUIRED)
    if table == "optimizer":
        fields = dataclasses.fields(Optimizer)
        return {one.name: REQUIRED if one.default is dataclasses.MISSING else one.default for one in fields}
    if table == "recipe":
        names = ("name", "trains", "evaluate_every", *posterior.POSTERIOR.settings)
        return dict.fromkeys(names)
    objectives = {"objective": posterior.OBJECTIVE, "subspace-objective": subspace_posterior.SETTINGS}
    return {"name": REQUIRED, "parameters": None} if table == "task" else dict(objectives[table])


def tables() -> tuple[str, ...]:
    """TABLES, "prior.WORD" for the words of PRIORS, "network.KIND" and "flow.KIND"."""
    kinds = {"prior": PRIORS, "network": NETWORKS, "flow": flows.FLOWS}
    return (*TABLES, *(f"{group}.{kind}" for group, of in kinds.items() for kind in of))


def _of_network(kind: str) -> dict[str, Any]:
    """{setting: default} of the fields of a network; how signals are cut and their shape come with the data."""
    own = [one for one in dataclasses.fields(NETWORKS[kind]) if one.name not in ("tokens", "shape", "parent", "name")]
    return {one.name: REQUIRED if one.default is dataclasses.MISSING else one.default for one in own}


def _of_flow(kind: str) -> dict[str, Any]:
    """{setting: default} of the function that builds a flow, and of the fields that it passes on."""
    build, given = flows.FLOWS[kind], {}
    cls = getattr(build, "__self__", None)
    for one in list(inspect.signature(build).parameters.values())[1:]:
        if one.kind is not one.VAR_KEYWORD:
            given[one.name] = REQUIRED if one.default is one.empty else one.default
        else:
            given |= _fields(cls)
    return given


def _fields(cls: Any) -> dict[str, Any]:
    """The static fields of a flow that have defaults or that its ``for_task`` leaves to the recipe."""
    static = {one.name: one for one in dataclasses.fields(cls) if not one.metadata.get("pytree_node", True)}
    left = COMPUTED if issubclass(cls, SubspaceFlow) else set(inspect.signature(cls.for_task).parameters)
    left = left | {"shape", "operator", "network", "anchored"}
    return {
        name: REQUIRED if one.default is dataclasses.MISSING else one.default
        for name, one in static.items()
        if name not in left
    }


def said(table: str, name: str) -> str:
    """The line of a setting. Raises KeyError where there is none."""
    group, _, kind = table.partition(".")
    lines = words()[group]
    return (lines["kinds"][kind].get(name) or lines[name]) if kind else lines[name]


def shown(value: Any) -> str:
    """A default as a recipe writes it; "unset" where it may be left out and has no value."""
    if value is None:
        return "unset"
    return REQUIRED if value == REQUIRED else json.dumps(value)


def table(name: str) -> str:
    """The settings of one table as HTML."""
    rows = []
    for setting, default in known(name).items():
        choices = CHOICES.get(name, {}).get(setting)
        line = re.sub("`([^`]+)`", r"<code>\1</code>", escape(said(name, setting))) + (
            f" ({', '.join(map(_code, choices))})" if choices else ""
        )
        rows.append(f'<tr><th scope="row">{_code(setting)}</th><td>{_default(default)}</td><td>{line}</td></tr>')
    return _html(f"Settings of {name}", ("setting", "default", "what it is"), rows)


def task_table() -> str:
    """The tasks, with their parameters and defaults, as HTML."""
    rows = []
    for name, make in sorted(tasks.TASKS.items()):
        given = ", ".join(_code(f"{one.name} = {one.default}") for one in inspect.signature(make).parameters.values())
        doc = " ".join((inspect.getdoc(make) or "").split())
        sentence = re.split(r"(?<!Sec)(?<!Fig)\. ", doc)[0].rstrip(":.")
        about = re.sub("``([^`]+)``", r"<code>\1</code>", escape(sentence))
        rows.append(f'<tr><th scope="row">{_code(name)}</th><td>{given}</td><td>{about}</td></tr>')
    return _html("Tasks", ("task", "parameters", "what it is"), rows)


def _default(value: Any) -> str:
    return shown(value) if value is None or value == REQUIRED else _code(shown(value))


def _code(text: Any) -> str:
    return f"<code>{escape(str(text))}</code>"


def _html(label: str, heads: tuple[str, ...], rows: list[str]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return (
        f'<div class="aps-table aps-settings" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
