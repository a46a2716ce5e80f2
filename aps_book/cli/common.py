"""What the commands of `aps` share: errors in one line, `-p NAME VALUE`, and options that several have."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from aps_book.running import RunFailed

FAILED, BAD_INPUT = 1, 2
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--parameter", metavar="NAME VALUE", help="A parameter and its value (or NAME=VALUE); may be repeated."
    ),
]


def reported(command: Callable) -> Callable:
    """The command with errors in one line: exit code 1 for runs that failed, 2 for what the user gave."""

    @functools.wraps(command)
    def run(*arguments, **options):
        try:
            done = command(*arguments, **options)
            sys.stdout.flush()
            return done
        except (BrokenPipeError, typer.Exit, typer.Abort):  # of `| head`, which has read enough
            raise
        except RunFailed as error:
            leave(str(error), FAILED)
        except (RuntimeError, AssertionError, MemoryError) as error:
            if os.environ.get("APS_TRACEBACK"):
                raise
            if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                leave(f"not enough memory: {_in_one_line(error)}; fewer samples, or a smaller batch, need less", FAILED)
            if _jax_starts():
                raise
            what = f"JAX does not start with JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
            leave(f"{what}: {_in_one_line(error)}; expected cpu, or none", BAD_INPUT)
        except (TypeError, ValueError, OSError, ImportError, FloatingPointError) as error:
            if os.environ.get("APS_TRACEBACK"):
                raise
            leave(_in_one_line(error), BAD_INPUT)

    return run


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _jax_starts() -> bool:
    """Whether JAX has a device to compute on, by the variable JAX_PLATFORMS."""
    import jax

    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def leave(message: str, code: int) -> None:
    """End with a message on standard error."""
    print(f"aps: {message}", file=sys.stderr)
    raise typer.Exit(code)


class PairsCommand(TyperCommand):
    """A command whose `-p` takes a name and a value, as papermill's does; they reach it as NAME=VALUE."""

    def parse_args(self, ctx, args):
        """As usual, after each `-p NAME VALUE` has become `-p NAME=VALUE`."""
        return super().parse_args(ctx, joined(args))


def joined(arguments: Iterable[str]) -> list[str]:
    """``arguments`` in which the two behind each -p or --parameter are one, NAME=VALUE."""
    found, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        found.append(word)
        if word in ("-p", "--parameter") and rest:
            name = rest.pop(0)
            found.append(name if "=" in name or not rest else f"{name}={rest.pop(0)}")
    return found


def pairs(given: Iterable[str] | None) -> dict[str, str]:
    """{name: text} of NAME=VALUE. Raises ValueError for one without a value and for a name that stands twice."""
    found = {}
    for one in given or ():
        name, equals, text = one.partition("=")
        if not (name and equals):
            raise ValueError(f"-p {one}: expected a name and a value, -p NAME VALUE")
        if name in found:
            raise ValueError(f"-p {name}: given twice, {found[name]!r} and {text!r}; expected one value")
        found[name] = text
    return found


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters in a JSON or YAML file: {name: value}. Raises FileNotFoundError, ValueError naming the file."""
    from aps_book import parameter_files

    if not path.is_file():
        raise FileNotFoundError(f"parameters {str(path)!r}: there is no such file")
    try:
        found = parameter_files.read(path)
    except ValueError as error:
        raise ValueError(f"parameters {str(path)!r}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"parameters {str(path)!r}: expected names with their values, got {found!r}")
    return found


def printed(value: Any) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def table(rows: list[tuple], heads: tuple[str, ...]) -> None:
    """Print columns of text, as wide as they need to be, the last one as it is."""
    lines = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, line[-1]]).rstrip())
