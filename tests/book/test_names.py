"""Every name that a notebook, or a module of the book, takes from a module of the project is there: found without
running a notebook.
"""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = [*sorted((ROOT / "notebooks").glob("*.py")), *sorted((ROOT / "aps_book").rglob("*.py"))]


def missing(source):
    """``module.name`` for every name that ``source`` (text) takes from modules of aps_core or aps_book in vain."""
    tree, modules, absent = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("aps_core", "aps_book"):
            for alias in node.names:
                try:
                    found = getattr(importlib.import_module(node.module), alias.name, None)
                    found = importlib.import_module(f"{node.module}.{alias.name}") if found is None else found
                except ImportError:
                    absent.append(f"{node.module}.{alias.name}")
                    continue
                if isinstance(found, ModuleType):
                    modules[alias.asname or alias.name] = found
    rebound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in rebound:
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                absent.append(f"{module.__name__}.{node.attr}")
    return sorted(set(absent))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_name_is_there(path):
    assert missing(path.read_text("utf-8")) == []


def test_a_missing_name_is_found():
    source = "from aps_core.metrics import quality\nfrom aps_book import nothing\nquality.psnr(1, 2)\nquality.mean_psnr"
    assert missing(source) == ["aps_book.nothing", "aps_core.metrics.quality.mean_psnr"]
