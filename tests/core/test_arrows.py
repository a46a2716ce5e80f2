"""The arrows of the house: imports point down, no private name leaves its package; attributes decide, not classes."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Bottom up: what stands in a row may import what stands above it here, and its own module or package, nothing else.
ROWS = [
    ["aps_core.files", "aps_core.checks"],
    ["aps_core.metrics"],
    ["aps_core.diffusion", "aps_core.operators", "aps_core.geometry"],
    ["aps_core.weights"],
    ["aps_core.priors"],
    ["aps_core.flows"],
    ["aps_core.data"],
    ["aps_core.tasks"],
    ["aps_core.posterior"],
    ["aps_core.metrics.trust"],
    ["aps_core.training"],
    ["aps_core.samplers"],
    ["aps_core.train"],
    ["aps_core"],
    ["aps_book.record", "aps_book.build_state"],
    ["aps_book.pages"],
    ["aps_book.figures", "aps_book.perception"],
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


@cache
def parsed(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"))


MODULES = {module_of(path) for path in FILES}


def part(name):
    """The part of the house that a dotted name lies in: the longest of PLACE, else its first two words."""
    inside = [place for place in PLACE if place.count(".") and f"{name}.".startswith(f"{place}.")]
    return max(inside, key=len, default=".".join(name.split(".")[:2]))


def imports(path):
    """(line, module, name or None) of every import of the two packages in a file, also in functions."""
    for node in ast.walk(parsed(path)):
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
        tree = parsed(path)
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
    assert len(entries) <= 16, sorted(p.name for p in entries)


# What decides stands in attributes of the contracts (Operator, Prior, Flow, networks). Here: what objects of other
# packages are asked for, and the few places that may ask ours.
FOREIGN = {"__code__", "__dict__", "__name__", "__wrapped__", "dtype", "idx", "key", "n_frames", "name", "shape"}
FOREIGN |= {"tag_v2"}  # of a picture
MAY_ASK = {
    ("aps_core/data/__init__.py", "pixels"),  # which loaders have 8-bit pixels
    ("aps_core/flows/tokens.py", "extra"),  # a base of somebody's own, which need not be a PosteriorBase
    ("aps_core/flows/tokens.py", "operator"),
    ("aps_core/operators/content.py", "_Same"),  # equality
    ("aps_core/operators/content.py", "kept_of"),
    ("aps_core/posterior.py", "Task"),  # a task, or its name
    ("aps_core/priors/content.py", "LinearSDE"),  # a diffusion of somebody's own has no settings
    ("aps_core/priors/content.py", "sde"),
    ("aps_core/priors/networks/local.py", "Neighbourhoods"),  # equality
    ("aps_core/priors/networks/patches.py", "Tokens"),
    ("aps_core/priors/score_function.py", "GaussianPrior"),  # a Gaussian, or signals to fit one to
    ("aps_core/tasks/problem.py", "Prior"),  # an object that is no Prior but has what one must have
    ("aps_core/weights.py", "subspace"),  # the word in a recipe
}


def choices(tree, classes, words):
    """(line, what is asked for) where code chooses by a class of ours, by a ``kind``, or by whether an attribute is
    there; an ``if`` that raises is a check of what somebody passed in.
    """
    checks = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)
        for part in ast.walk(node.test)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "isinstance" and id(node) not in checks:
                asked = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                yield from ((node.lineno, name) for name in sorted(asked & classes))
            elif node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3):
                name = getattr(node.args[1], "value", None)
                if isinstance(name, str) and id(node) not in checks:
                    yield node.lineno, name
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asks = any("kind" in ast.unparse(side) for side in sides if not isinstance(side, ast.Constant))
            named = [side.value for side in sides if isinstance(side, ast.Constant) and side.value in words]
            yield from ((node.lineno, word) for word in named if asks)


def test_attributes_decide_and_not_classes():
    trees = {path.relative_to(ROOT).as_posix(): parsed(path) for path in FILES}
    trees = {name: tree for name, tree in trees.items() if name.startswith("aps_core/")}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    kinds = [part for node in classes for part in node.body if isinstance(part, ast.Assign)]
    kinds = [part.value for part in kinds if ast.unparse(part.targets[0]) == "kind"]
    words = {kind.value for kind in kinds if isinstance(kind, ast.Constant)} - {None}
    assert {"identity", "modal", "patches"} <= words
    names = {node.name for node in classes}
    found = {(file, *choice) for file, tree in trees.items() for choice in choices(tree, names, words)}
    wrong = [one for one in sorted(found) if one[2] not in FOREIGN and (one[0], one[2]) not in MAY_ASK]
    assert not wrong, "\n" + "\n".join(f"{file}:{line}: {name}" for file, line, name in wrong)
    idle = MAY_ASK - {(file, name) for file, _, name in found}
    assert not idle, f"{sorted(idle)} ask no longer; take them away"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("if isinstance(prior, GaussianPrior):\n    x = 1", ["GaussianPrior"]),
        ("if not isinstance(prior, GaussianPrior):\n    raise TypeError", []),
        ('x = 1 if operator.kind == "identity" else 2', ["identity"]),
        ('x = array.dtype.kind in "iu"', []),
        ('x = hasattr(prior, "eps")', ["eps"]),
        ('x = getattr(prior, "residual", False)', ["residual"]),
    ],
)
def test_choices_are_found(text, asked):
    assert [name for _, name in choices(ast.parse(text), {"GaussianPrior"}, {"identity"})] == asked


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


def at_import(tree):
    """The calls that run when a module is imported: outside of functions, but with their defaults and decorators."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Call):
            yield node
        inner = ("body",) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else ()
        for name, value in ast.iter_fields(node):
            if name not in inner:
                left += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST)]


def test_nothing_is_computed_by_jax_when_a_module_is_imported():
    """It would start JAX before `--distributed` can say that there are other processes."""
    wrong = []
    for path in FILES:
        for call in at_import(parsed(path)):
            if re.match(r"(jnp|jax\.(numpy|random|devices|device_put))\b", ast.unparse(call.func)):
                wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:60]}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_calls_at_import_are_told_from_those_in_functions():
    source = "a = jnp.ones(2)\ndef f(x=jnp.zeros(1)):\n    return jnp.exp(x)\nclass C:\n    b = jax.random.key(0)\ng = lambda: jnp.sin(1)\n"
    found = sorted(ast.unparse(call.func) for call in at_import(ast.parse(source)))
    assert found == ["jax.random.key", "jnp.ones", "jnp.zeros"]
