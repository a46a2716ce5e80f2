"""The notebooks of a checkout: which there are, how the build runs them, and what their parameters may be.

Nothing here starts a kernel, and nothing but a notebook's own rules needs JAX.
"""

import ast
import difflib
import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[a-z][a-z0-9_]*")
WORDS = {"true": True, "false": False, "null": None, "none": None}
SETTINGS = {
    "weights": ["weights/**/*"],
    "build": {},
    "full": {},
    "cache": True,
    "alone": False,
    "quick_compile": True,
    "seconds": None,
}


def names(root: Path = ROOT) -> list[str]:
    """The notebooks under ``root``, sorted."""
    return sorted(path.stem for path in (root / "notebooks").glob("*.py"))


def settings(name: str, root: Path = ROOT) -> dict[str, Any]:
    """How a notebook is run, from book/build.toml: {"weights": [...], "build": {...}, "full": {...}, "cache": bool,
    "alone": bool, "quick_compile": bool, "seconds": of a build on another machine or None}.

    Raises ValueError for an entry of another notebook or with an unknown key.
    """
    table = tomllib.loads((root / "book" / "build.toml").read_text("utf-8"))
    for other, entry in table.items():
        unknown = set(entry) - set(SETTINGS)
        if other not in names(root) or unknown:
            what = f"unknown key {sorted(unknown)[0]!r}" if unknown else f"no notebook notebooks/{other}.py"
            raise ValueError(f"book/build.toml, [{other}]: {what}")
    return {**SETTINGS, **table.get(name, {})}


@dataclass(frozen=True)
class Notebook:
    """One notebook, read and not run.

    path: its file (.py in jupytext's percent form, or .ipynb). parameters: the values of its parameters cell by name.
    comments: what stands behind a parameter in that cell. start: code that gives its rules, or None where there is none.
    """

    path: Path
    parameters: dict[str, Any]
    comments: dict[str, str]
    title: str
    start: str | None

    @property
    def name(self) -> str:
        """The file's name without its suffix, which is that of its record."""
        return self.path.stem

    def checked(self, given: dict[str, Any]) -> dict[str, Any]:
        """``given`` after the notebook's own rules, which are applied to all of its parameters.

        Raises ValueError for an unknown name or a value out of range, TypeError for one of another type, each naming the
        parameter. A notebook whose rules cannot be read without running it checks them itself when it starts.
        """
        _known(self.name, given, self.parameters)
        rules = None if self.start is None else _rules(self.path, self.start)
        if rules is None:
            return dict(given)
        from aps_book.record.rules import check_parameters

        values = check_parameters({**self.parameters, **given}, rules)
        return {name: values[name] for name in given}

    def parsed(self, name: str, text: str) -> Any:
        """What ``text`` on a command line means: a number, list, True, None; where the parameter is a text, itself or None."""
        if isinstance(self.parameters.get(name), str):
            return None if text == "None" else text
        if text.lower() in WORDS:
            return WORDS[text.lower()]
        try:
            value = ast.literal_eval(text)
        # TypeError: of {[]: 1}; the last two: of thousands of signs
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return text
        return list(value) if isinstance(value, tuple) else value


def find(name: str, root: Path = ROOT) -> Notebook:
    """The notebook of that name under ``root``, or in the file of that path (.py or .ipynb).

    Raises FileNotFoundError where there is none, ValueError where the file is no notebook with a parameters cell.
    """
    path = Path(name)
    if path.suffix not in (".py", ".ipynb"):
        return of_the_book(name, root)
    if not path.is_file():
        raise FileNotFoundError(f"notebook {str(path)!r}: there is no such file")
    if not NAME.fullmatch(path.stem):
        raise ValueError(f"notebook {str(path)!r}: expected a name of lower-case letters, digits and underscores")
    return _read(path)


def of_the_book(name: str, root: Path = ROOT) -> Notebook:
    """The notebook of that name under ``root``. Raises FileNotFoundError for any other."""
    known = names(root)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        there = ", ".join(known) or f"none: {root} is no checkout"
        raise FileNotFoundError(
            f"notebook {name!r}: expected one of {there}{hint}, or the path of a notebook to run it"
        )
    return _read(root / "notebooks" / f"{name}.py")


def figures(root: Path = ROOT) -> dict[str, str]:
    """{label of a figure, such as "fig-toy-modes": the notebook under ``root`` that draws it}."""
    sources = {name: (root / "notebooks" / f"{name}.py").read_text("utf-8") for name in names(root)}
    return {label: name for name, source in sources.items() for label in _figures(name, source)}


def of_figure(label: str, root: Path = ROOT) -> Notebook:
    """The notebook under ``root`` that draws the figure ``label``. Raises ValueError where none does."""
    known = figures(root)
    if label not in known:
        near = difflib.get_close_matches(label, known, n=3)
        hint = f"near it are {', '.join(near)}" if near else "`aps list figures` names them"
        raise ValueError(f"figure {label!r}: expected the label of a figure that a notebook draws; {hint}")
    return of_the_book(known[label], root)


def identity(parameters: dict[str, Any]) -> str:
    """Eight characters that stand for these parameters, in whatever order they are given."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]


def _read(path: Path) -> Notebook:
    import jupytext
    from nbformat import ValidationError

    try:
        if path.suffix == ".py":
            ast.parse(path.read_text("utf-8"))
        notebook = jupytext.read(path)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ())]
        if not tagged:
            raise ValueError("it has no cell tagged parameters")
        parameters, comments = _parameters(tagged[0])
        code = "\n".join(cell.source for cell in cells)
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    except (ValueError, SyntaxError, AttributeError, KeyError, TypeError, RecursionError, ValidationError) as error:
        # JSON that is no notebook
        raise ValueError(f"notebook {str(path)!r} cannot be read: {error}") from error
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return Notebook(path, parameters, comments, title[1] if title else path.stem, _start(code))


def _parameters(source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of the assignments of a parameters cell, and the comments behind them."""
    values, comments, lines = {}, {}, source.splitlines()
    for node in ast.parse(source).body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and isinstance(target, ast.Name):
            name = target.id
            try:
                values[name] = ast.literal_eval(node.value)
            except ValueError:
                expected = "a number, text, list or None, not something to compute"
                raise ValueError(f"parameter {name} = {ast.unparse(node.value)}: expected {expected}") from None
            comments[name] = lines[(node.end_lineno or 1) - 1][node.end_col_offset :].partition("#")[2].strip()
    return values, comments


def _tree(code: str) -> ast.Module | None:
    """The code of a notebook without its magics, or None where it is no Python all the same."""
    try:
        return ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines()))
    except SyntaxError:
        return None


def _figures(name: str, code: str) -> tuple[str, ...]:
    """Labels of the figures and charts of ``run``, where the code spells them out: as `Run.figure` makes them."""
    found = []
    for node in ast.walk(_tree(code) or ast.Module([], [])):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("run.figure", "run.chart"):
            places = ("drawn", "name", "size or arguments", "alt", "caption", "label")  # the same in both
            given = dict(zip(places, node.args, strict=False)) | {k.arg: k.value for k in node.keywords}
            words = {k: v.value for k, v in given.items() if isinstance(v, ast.Constant)}
            if "alt" in given and "name" in words:
                found.append(words.get("label") or f"fig-{name}-{words['name']}".replace("_", "-"))
    return tuple(found)


def _start(code: str) -> str | None:
    """Code that binds ``rules`` as the call of ``record.start`` gives them: the imports they need, and the dictionary."""
    tree = _tree(code)
    if tree is None:
        return None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_start(node.func)]
    if not calls or len(calls[0].args) < 3:
        return None
    needed = {node.id for node in ast.walk(calls[0].args[2]) if isinstance(node, ast.Name)}
    imports = [
        ast.unparse(node)
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and needed & {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    ]
    return "\n".join([*imports, f"rules = {ast.unparse(calls[0].args[2])}"])


def _is_start(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and ast.unparse(function) == "record.start"


def _rules(path: Path, start: str) -> dict | None:
    """The rules of the notebook at ``path``, or None where they need more than its imports. Raises ValueError, naming it,
    where its own code for them fails.
    """
    space: dict[str, Any] = {}
    try:
        exec(start, space)
    except NameError:
        return None
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"notebook {str(path)!r}: its rules for parameters cannot be read: {said}") from error
    return space["rules"]


def _known(notebook: str, given, parameters) -> None:
    for name, value in given.items():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            expected = ", ".join(map(repr, parameters)) or "no parameter at all"
            raise ValueError(f"unknown parameter {name!r} = {value!r}: expected one of {expected}{hint}, of {notebook}")
