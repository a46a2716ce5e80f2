"""The arrows of the house: every import points down, and no private name leaves its package."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Bottom up: what stands in a row may import what stands above it here, and its own module or package, nothing else.
ROWS = [
    ["aps_core.files", "aps_core.checks"],
    ["aps_core.metrics"],
    ["aps_core.diffusion", "aps_core.operators", "aps_core.geometry"],
    ["aps_core.weights", "aps_core.devices"],
    ["aps_core.priors"],
    ["aps_core.flows"],
    ["aps_core.problem", "aps_core.fingerprint"],
    ["aps_core.data"],
    ["aps_core.metrics.perception"],  # reads its networks where data keeps them
    ["aps_core.tasks"],
    ["aps_core.objective", "aps_core.posterior"],
    ["aps_core.metrics.trust"],
    ["aps_core.training"],
    ["aps_core.samplers"],
    ["aps_core.train"],
    ["aps_core"],
    ["aps_book.record", "aps_book.build_state"],
    ["aps_book.pages"],
    ["aps_book.figures"],
    ["aps_book.experiments"],
    ["aps_book.train"],
    ["aps_book.notebooks", "aps_book.compiled", "aps_book.progress", "aps_book.parameter_files"],
    ["aps_book.running"],
    ["aps_book.page", "aps_book.pdf"],
    ["aps_book.sweeps"],
    ["aps_book.cli"],
]
PLACE = {name: i for i, row in enumerate(ROWS) for name in row}
FILES = sorted([*(ROOT / "aps_core").rglob("*.py"), *(ROOT / "aps_book").rglob("*.py")])


def module_of(path):
    """Dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


def part(name):
    """The part of the house that a dotted name lies in: the longest of PLACE, else its first two words."""
    inside = [place for place in PLACE if place.count(".") and f"{name}.".startswith(f"{place}.")]
    return max(inside, key=len, default=".".join(name.split(".")[:2]))


def imports(path):
    """(line, module, name or None) of every import of the two packages in a file, also in functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield (node.lineno, module, None) if module in MODULES else (node.lineno, node.module, alias.name)


def ours():
    """(place in the text, importing module, imported module, imported name) of every import within the house."""
    for path in FILES:
        for line, module, name in imports(path):
            if module.split(".")[0] in ("aps_core", "aps_book"):
                yield f"{path.relative_to(ROOT)}:{line}", module_of(path), module, name


def private(name):
    return name is not None and name.startswith("_") and not name.startswith("__")


def test_every_part_has_its_place():
    assert {part(module) for module in MODULES} - {"aps_book"} == set(PLACE)


def test_every_arrow_points_down():
    wrong = []
    for place, source, target, _ in ours():
        a, b = part(source), part(target)
        if a == b or source == "aps_book":
            continue
        if b == "aps_book" or PLACE[b] >= PLACE[a]:
            wrong.append(f"{place}: {a} -> {b}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_circle_within_a_part():
    """Within a part modules import each other in one direction only; imports in functions count too."""
    graph = {}
    for _, source, target, _ in ours():
        if part(source) == part(target) and target in MODULES and source != target:
            graph.setdefault(source, set()).add(target)
    done, walked = set(), []

    def visit(module):
        assert module not in walked, " -> ".join([*walked[walked.index(module) :], module])
        if module in done:
            return
        walked.append(module)
        for other in sorted(graph.get(module, ())):
            visit(other)
        walked.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_no_private_name_leaves_its_package():
    wrong = []
    for place, source, target, name in ours():
        names = [*target.split("."), name]
        # the package that the first private name lies in
        hidden = next((i for i, word in enumerate(names) if private(word)), None)
        if hidden is not None and not f"{source}.".startswith(".".join(names[: max(hidden, 2)]) + "."):
            home = ".".join(names[:hidden])
            if (ROOT / Path(*home.split(".")) / "__init__.py").is_file() or source.rpartition(".")[
                0
            ] != home.rpartition(".")[0]:
                wrong.append(f"{place}: {'.'.join(filter(None, names))}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_private_attribute_of_a_module_is_read():
    """``module._name`` of an imported module is the same thing by another way."""
    wrong = []
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        bound = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if f"{node.module}.{alias.name}" in MODULES:
                        bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and private(node.attr):
                target = bound.get(node.value.id)
                if target and target.rpartition(".")[0] != module_of(path).rpartition(".")[0]:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {target}.{node.attr}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_library_knows_nothing_of_the_book():
    for path in (ROOT / "aps_core").rglob("*.py"):
        assert "aps_book" not in path.read_text("utf-8"), path


def test_the_library_opens_on_one_screen():
    entries = [p for p in (ROOT / "aps_core").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    assert len(entries) <= 20, sorted(p.name for p in entries)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    from aps_core.priors import store\n", [(2, "aps_core.priors.store", None)]),
        ("import aps_core.tasks as t\n", [(1, "aps_core.tasks", None)]),
        ("from aps_core.files import _umask\n", [(1, "aps_core.files", "_umask")]),
    ],
)
def test_imports_are_read(tmp_path, text, found):
    (tmp_path / "a.py").write_text(text)
    assert list(imports(tmp_path / "a.py")) == found
