"""Reads tables of parameters that people write: JSON as JSON, YAML with numbers such as 1e-3.

A name that stands twice, a name that YAML takes for something else (``on``, 1) and a value that JSON does not have are
refused; dates, and what YAML 1.1 would count by eight or sixty (010, 1:30), stay the text that they are.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """YAML 1.1 without dates, octal and sexagesimal numbers, with 1e-3 as a number and every name once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        """A table. Raises ValueError for a name that stands twice or is no text."""
        self.flatten_mapping(node)
        pairs = [(self.construct_object(key, True), self.construct_object(value, True)) for key, value in node.value]
        return _table(pairs)


Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in several if tag.removeprefix(TAG) not in ("timestamp", "int", "float")]
    for first, several in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
DIGITS = r"(0|[1-9][0-9_]*)"
Loader.add_implicit_resolver(
    f"{TAG}int", re.compile(rf"[-+]?({DIGITS}|0b[01_]+|0x[0-9a-fA-F_]+)$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    f"{TAG}float",
    re.compile(
        rf"[-+]?({DIGITS}\.[0-9_]*([eE][-+]?\d+)?|{DIGITS}[eE][-+]?\d+|\.\d[\d_]*([eE][-+]?\d+)?|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node))


def read(path: Path) -> Any:
    """What a JSON or YAML file holds; one whose name ends in .json is JSON.

    Raises ValueError where it is neither, where a name in it stands twice or is no text, and for NaN and infinities.
    """
    try:
        text = path.read_text("utf-8-sig")
        found = (
            json.loads(text, object_pairs_hook=_table) if path.suffix.lower() == ".json" else yaml.load(text, Loader)
        )
        return _finite(found)
    except RecursionError:
        raise ValueError("it is nested too deeply, expected a table of numbers, texts and lists") from None
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not valid {'JSON' if path.suffix == '.json' else 'YAML'}: {error}") from error
    except (KeyError, AttributeError) as error:  # of PyYAML, for `!!bool x` and `!!timestamp x`
        raise ValueError(f"it is not valid YAML: a value is none of what its tag says ({error!r})") from error


def _table(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise ValueError(f"the name {name!r} is read as a {type(name).__name__}: write it in quotes")
        if name in found:
            raise ValueError(f"{name!r} stands twice")
        found[name] = value
    return found


def _finite(value: Any) -> Any:
    """``value``. Raises ValueError where a number in it is not finite or something is neither number, text, list nor
    table.
    """
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(part)
    if not isinstance(value, str | int | float | list | dict | None):
        raise ValueError(f"{value!r}: expected a number, a text, a list or a table")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r}: expected a finite number")
    return value
