"""Which records of full runs are older than the weights or the code that they depend on: ``python -m
aps_book.record.stale [NAME ...]``.

A record names its weights by sha256 and its code by commit. Weights are compared with their cards. Of the code, the
definitions that its notebook reaches, directly or through others, are compared with all that the commit had: what was
moved, reformatted or described anew counts as unchanged, and so do definitions that are only new. What shows numbers
(``aps_book.record``, ``aps_book.figures``) is left out, and so are loaders of data that the record does not name.
Reaching goes by names, so that too much rather than too little is looked at. A change that is named may leave the
numbers as they are; that is for a reader to say.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aps_book.record.provenance import ROOT, sha256_of_file

PACKAGES = ("aps_core", "aps_book")
SHOWING = ("aps_book.record", "aps_book.figures")
SHOWN_AT_ONCE = 8
SAYS = ("say", "table", "verdict", "figure", "view")  # methods of Run that show and do not compute


@dataclass
class Age:
    """What changed since a record was made.

    Attributes:
      name: of the record, such as "faces".
      commit, date: where and when it was made; None where the record does not say.
      modified: whether the checkout had changes that no commit has.
      weights: names of weights or searches whose content is another one now, or that are gone.
      code: definitions that are another now, as module.name; "notebook" for the notebook's own code.
      unknown: why the code could not be compared, or "".
    """

    name: str
    commit: str | None
    date: str | None
    modified: bool
    weights: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    unknown: str = ""

    @property
    def stale(self) -> bool:
        """Whether anything changed, or the record's own code is not known."""
        return bool(self.modified or self.weights or self.code or self.unknown)

    def __str__(self) -> str:
        made = f"{(self.commit or 'no commit')[:9]} of {(self.date or 'no date')[:10]}"
        if not self.stale:
            return f"{self.name}: {made}: as it was"
        said = ["made in a modified checkout"] if self.modified else []
        said += [f"weights {', '.join(self.weights)}"] if self.weights else []
        more = f" and {len(self.code) - SHOWN_AT_ONCE} more" if len(self.code) > SHOWN_AT_ONCE else ""
        said += [f"code {', '.join(self.code[:SHOWN_AT_ONCE])}{more}"] if self.code else []
        said += [self.unknown] if self.unknown else []
        return f"{self.name}: {made}: {'; '.join(said)}"


def ages(names: Iterable[str] = (), root: Path = ROOT) -> list[Age]:
    """The Age of every record of a full run under ``root``, or of those of the given names.

    Raises FileNotFoundError for a name of which there is no record.
    """
    folder = root / "weights" / "results"
    names = list(names) or sorted(p.stem for p in folder.glob("*.json") if "provenance" in _json(p))
    blobs: dict[str, dict[str, str]] = {}
    found = []
    for name in names:
        path = folder / f"{name}.json"
        if not path.is_file():
            raise FileNotFoundError(f"no record {name!r}: expected {path.relative_to(root)}")
        found.append(_age(_json(path), name, root, blobs))
    return found


def _age(record: Mapping, name: str, root: Path, blobs: dict) -> Age:
    made = record["provenance"]
    age = Age(name, made.get("commit"), made.get("date"), bool(made.get("modified")))
    age.weights = [one for one, digest in made["weights"].items() if _digest(one, root) != digest]
    if not age.commit:
        age.unknown = "code: the record names no commit"
        return age
    old = _tree(age.commit, root, blobs)
    notebook = root / "notebooks" / f"{name}.py"
    if not old:
        age.unknown = "code: its commit is not in this checkout"
    elif not notebook.is_file():
        age.unknown = "code: no notebook of that name"
    else:
        if _notebook(notebook.read_text("utf-8")) not in old.get("", set()):
            age.code.append("notebook")
        now = reached(notebook, root, record["provenance"].get("data", {}))
        age.code += [f"{module}.{key}" for (module, key), digest in now.items() if digest not in old.get(key, {digest})]
    return age


def _json(path: Path) -> dict:
    read = json.loads(path.read_text("utf-8"))
    return read if isinstance(read, dict) else {}


def _digest(name: str, root: Path) -> str | None:
    """The sha256 of weights by the card beside them, or of a search; None where there is no such file."""
    if name.endswith(".json"):
        path = root / "weights" / "results" / name
        return sha256_of_file(path) if path.is_file() else None
    card = root / "weights" / f"{name}.json"
    return _json(card).get("sha256") if card.is_file() else None


# code


def definitions(source: str) -> dict[str, str]:
    """What a module defines at its top, and the methods of its classes: {name: digest of its code}.

    Docstrings, comments and layout do not count, nor by which name a module was imported.
    """
    tree = _without_text(ast.parse(source))
    imported = _imported_names(tree)
    return {name: _digest_of(node, imported) for name, node in _nodes(tree).items()}


def _nodes(tree: ast.Module) -> dict[str, ast.AST]:
    """{name: node} of a module's definitions; a class stands without its methods, which stand for themselves."""
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            node.body = [n for n in node.body if n not in methods] or [ast.Pass()]
            found |= {node.name: node} | {f"{node.name}.{m.name}": m for m in methods}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return found


def _notebook(source: str) -> str:
    """Digest of a notebook's code, without what it only says or shows and without its imports."""
    tree = _without_text(ast.parse(source))
    imported = _imported_names(tree)
    body = [n for n in tree.body if not isinstance(n, ast.Import | ast.ImportFrom) and not _shows(n)]
    return hashlib.sha256("".join(_digest_of(n, imported) for n in body).encode()).hexdigest()


def _shows(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in SAYS


def _without_text(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[:1] = [ast.Pass()] if len(body) == 1 else []
    return tree


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """{name bound by an import: what stands for it}: modules alike, functions and classes by their own name."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(a.asname or a.name).partition(".")[0]: "module" for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: a.name if a.asname else "" for a in node.names}
    return names


class _Renamed(ast.NodeTransformer):
    """Names of imported modules become one name, functions imported under another name their own."""

    def __init__(self, imported):
        self.imported = imported

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id in self.imported:
            return ast.Name(node.attr, ast.Load())  # module.function is function, wherever it lies
        return self.generic_visit(node)

    def visit_Name(self, node):
        return ast.Name(self.imported.get(node.id) or node.id, ast.Load())

    def visit_Import(self, node):
        return None

    visit_ImportFrom = visit_Import


def _digest_of(node: ast.AST, imported: Mapping[str, str]) -> str:
    renamed = _Renamed(imported).visit(node)
    return hashlib.sha256(ast.dump(renamed, annotate_fields=False).encode()).hexdigest()


def _tree(commit: str, root: Path, blobs: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """Digests of all definitions of a commit by name, and of its notebooks by ""; empty where it is not known.

    blobs: {name of a file's content in git: its definitions}, which fills up from commit to commit.
    """
    git = ["git", "-C", str(root)]
    listed = subprocess.run([*git, "ls-tree", "-r", commit, *PACKAGES, "notebooks"], capture_output=True, text=True)
    if listed.returncode:
        return {}
    files = [line.split(maxsplit=3)[2:] for line in listed.stdout.splitlines() if line.endswith(".py")]
    missing = sorted({blob for blob, _ in files} - blobs.keys())
    read = subprocess.run([*git, "cat-file", "--batch"], input="\n".join(missing).encode(), capture_output=True).stdout
    sources, position = {}, 0
    for blob in missing:
        head, _, _ = read[position:].partition(b"\n")
        size = int(head.split()[2])
        position += len(head) + 1
        sources[blob] = read[position : position + size].decode("utf-8")
        position += size + 1
    found: dict[str, set[str]] = {}
    for blob, path in files:
        if blob not in blobs:
            source = sources[blob]
            blobs[blob] = {"": _notebook(source)} if path.startswith("notebooks/") else definitions(source)
        for key, digest in blobs[blob].items():
            found.setdefault(key, set()).add(digest)
    return found


def reached(notebook: Path, root: Path = ROOT, data: Iterable[str] = ()) -> dict[tuple[str, str], str]:
    """Definitions that a notebook reaches: {(module, name): digest}.

    A definition is reached where code that is reached, or the notebook, has its name, and its file is among the
    ``dependencies``; a method where its class is reached too. data: names of data sets; loaders of others are left out.
    """
    nodes, digests = {}, {}
    for file in dependencies(notebook, root):
        module = ".".join(file.relative_to(root).with_suffix("").parts)
        if module.startswith("aps_core.data.") and not any(_loads(file.stem, name) for name in data):
            continue
        source = file.read_text("utf-8")
        nodes |= {(module, key): node for key, node in _nodes(_without_text(ast.parse(source))).items()}
        digests |= {(module, key): digest for key, digest in definitions(source).items()}
    words, found = _words(ast.parse(notebook.read_text("utf-8"))), {}
    while True:
        new = {}
        for (module, key), node in nodes.items():
            owner, _, name = key.rpartition(".")
            special = name.startswith("__") or name in words
            if (module, key) not in found and special and (not owner or (module, owner) in found):
                new[module, key] = node
        if not new:
            return {where: digests[where] for where in found}
        found |= new
        for node in new.values():
            words |= _words(node)


def _loads(stem: str, name: str) -> bool:
    """Whether a loader's file, such as ``bunny_mnist``, may be that of a data set such as ``bunny-mnist/test``."""
    return stem.startswith("_") or stem.replace("_", "-") in name or name.split("-")[0].split("/")[0] in stem


def _words(node: ast.AST) -> set[str]:
    """Every name, attribute and keyword of a piece of code, and every string of one word."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute):
            found.add(part.attr)
        elif isinstance(part, ast.alias):
            found |= set(part.name.split("."))
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isidentifier():
            found.add(part.value)
    return found


def dependencies(notebook: Path, root: Path = ROOT) -> list[Path]:
    """Files of the packages that a notebook imports, directly or through others; what shows numbers is left out.

    Of a package only what is taken from it counts: ``aps_core.load_task`` leads to the file that defines it. Samplers
    made by name are those whose name stands in one of the files.
    """
    found: set[Path] = set()
    todo, named = [notebook], set()
    while todo:
        file = todo.pop()
        taken, strings = _mentioned(file, file.stat().st_mtime_ns)
        named |= strings
        new = {path for name in taken for path in _files(name, root)} - found
        found |= new
        todo += sorted(new)
    methods = root / "aps_core" / "samplers"
    for path in sorted(methods.glob("*.py")):
        if found & {methods / "__init__.py"} and {path.stem, path.stem.replace("_", "-")} & named:
            found.add(path)
    return sorted(found)


@functools.cache
def _mentioned(file: Path, changed: int) -> tuple[set[str], set[str]]:
    """Dotted names of the packages that a file, last changed at ``changed``, takes (modules, and names of packages as
    ``package.name``), and its strings.
    """
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names, packages = set(), {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            packages |= {a.asname or a.name: a.name for a in node.names if a.name.split(".")[0] in PACKAGES}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            names.add(f"{packages[node.value.id]}.{node.attr}")
    return names, strings


def _files(name: str, root: Path) -> set[Path]:
    """The file of a dotted name: a module's, or that of the module from which a package takes it."""
    if name.startswith(SHOWING):
        return set()
    path = root.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file():
        return {path.with_suffix(".py")}
    if (path / "__init__.py").is_file():
        return {path / "__init__.py"}
    package, _, last = name.rpartition(".")
    path = root.joinpath(*package.split("."))
    if path.with_suffix(".py").is_file():
        return {path.with_suffix(".py")}
    if not (path / "__init__.py").is_file():
        return set()
    for node in ast.parse((path / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == last for a in node.names):
            return _files(f"{node.module}.{last}", root)
    return {path / "__init__.py"}


def of_no_commit(root: Path = ROOT) -> dict[str, str | None]:
    """{name: commit} of the records, added ones too, whose code nobody can get again: made in a checkout with changes that
    no commit has, or at a commit that is not in the history of this one.

    Raises ValueError where the history is not there to be asked: outside of git, or in a shallow clone.
    """
    git = ["git", "-C", str(root)]
    shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
    if shallow.stdout.strip() != "false":
        raise ValueError(f"{root}: expected a git checkout with its whole history")
    known = set(subprocess.run([*git, "rev-list", "HEAD"], capture_output=True, text=True).stdout.split())
    made = {p.stem: _json(p).get("provenance") for p in sorted((root / "weights" / "results").glob("*.json"))}
    return {
        name: one.get("commit")
        for name, one in made.items()
        if one is not None and (one.get("modified") or one.get("commit") not in known)
    }


def without_record(root: Path = ROOT) -> list[str]:
    """Notebooks that book/build.toml gives full-size parameters, and of which there is no record."""
    table = tomllib.loads((root / "book" / "build.toml").read_text("utf-8"))
    folder = root / "weights" / "results"
    return sorted(name for name, entry in table.items() if "full" in entry and not (folder / f"{name}.json").is_file())


def main(arguments: list[str] | None = None) -> None:
    """Print, for every record of a full run or for those named, what changed since it was made; and, without names, which
    notebooks have none.
    """
    parser = argparse.ArgumentParser(prog="python -m aps_book.record.stale", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="of records, such as faces")
    names = parser.parse_args(arguments).names
    for age in ages(names):
        print(age)
    for name in () if names else without_record():
        print(f"{name}: no full run")


if __name__ == "__main__":
    main()
