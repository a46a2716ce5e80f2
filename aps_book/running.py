"""Runs a notebook with papermill in a folder of its own and publishes what it made when all of it is there.

The build, `aps run` and sweeps all come through `execute`.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}  # of a notebook that names none


class RunFailed(Exception):
    """A notebook that did not run to its end, or left no whole record; the message says where what it did lies."""


def execute(
    source: Path,
    parameters: Mapping[str, Any],
    made: Path,
    results: Path,
    cwd: Path,
    environment: Mapping[str, str],
    progress: bool = False,
) -> dict[str, Any]:
    """Run the notebook ``source`` (.py or .ipynb) in the folder ``made``, publish its results in ``results``, and give
    its record.

    cwd: where its kernel works. environment: variables of the kernel beside those of this process. progress: a bar of the
    cells that are done, with the time left. What was published before stays as it was unless all is there; then ``made`` is
    removed, and else kept. Several may run at once, in threads. Raises RunFailed.
    """
    import jupytext
    import papermill
    from traitlets.config import Config

    name = source.stem
    no_loopback()
    encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})  # without it each kernel prints a warning
    ran = made / f"{name}.ipynb"
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        # "immediate": a kernel that has done its work is ended; asked to end, it is interrupted first and logs an error
        papermill.execute_notebook(
            jupytext.read(source),
            ran,
            dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=progress,
            cwd=str(cwd),
            config=encrypted,
            kernel_manager_class=manager({**environment, "APS_RESULTS_DIR": str(made.resolve())}),
            shutdown_kernel="immediate",
        )
        return publish(source, made, results)
    except (papermill.PapermillExecutionError, RuntimeError, OSError) as error:  # RuntimeError: the kernel died
        raise RunFailed(f"{source} failed; what it did is in {ran}\n{error}") from error


def _published(record: Path) -> list[str]:
    """The figures that an earlier run of the notebook left beside its record; nothing else there is ours."""
    from aps_book.record import load

    try:
        return [file for file in load(record)["figures"] if Path(file).name == file]
    except (OSError, ValueError):
        return []


def manager(variables: Mapping[str, str]) -> type:
    """A kernel manager whose kernels have these variables beside those of this process, which stays as it is: other
    notebooks may run in it.
    """
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        async def start_kernel(self, **settings: Any) -> None:
            await super().start_kernel(**{"env": {**os.environ, **variables}, **settings})

    return Manager


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder that ``what``, "run" or "sweep", writes to, until the process ends. Raises FileExistsError where
    another one is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{what}.lock", timeout=0):
            yield
    except Timeout:
        raise FileExistsError(f"another {what} is at work in {folder}: wait for it, or name another folder") from None


def no_loopback() -> None:
    """Raise RunFailed where no kernel could be reached: notebook and kernel talk over 127.0.0.1, and wait without a
    word.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as error:
        what = "notebooks cannot run: their kernels are reached over the loopback network, 127.0.0.1"
        raise RunFailed(f"{what}, which does not answer here ({error})") from error


def publish(source: Path, made: Path, results: Path) -> dict[str, Any]:
    """Move what a notebook made into ``results``: figures, the notebook without what differs from machine to machine
    (paths, times, random cell names), and last the record, so that what has a record is whole. Gives the record; raises
    RunFailed where it is not whole.
    """
    import nbformat

    from aps_book.record import figure_data, load
    from aps_core.files import write_atomically

    name = source.stem
    path = made / f"{name}.json"
    if not path.exists():
        raise RunFailed(f"{source} wrote no record: its last cell must call run.finish()")
    try:
        record = load(path)
    except ValueError as error:
        raise RunFailed(str(error)) from error
    missing = [file for file in record["figures"] if not (made / file).is_file()]
    if record["notebook"] != name or missing:
        odd = f"names {', '.join(missing)}, which it did not write" if missing else f"is of {record['notebook']!r}"
        raise RunFailed(f"{source}: its record {odd}")
    notebook = nbformat.read(made / f"{name}.ipynb", as_version=4)
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", KERNEL)}
    notebook.cells = [one for cell in notebook.cells for one in _one_figure_each(cell)]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
    data = figure_data.file_name(name)
    files = [*record["figures"], *([data] if (made / data).is_file() else [])]
    for old in [*_published(results / path.name), data]:
        if old not in files and (results / old).is_file():
            (results / old).unlink()
    for file in files:
        write_atomically(results / file, (made / file).read_bytes())
    write_atomically(results / f"{name}.ipynb", nbformat.writes(notebook) + "\n")
    write_atomically(results / path.name, path.read_bytes())
    shutil.rmtree(made)
    return record


def _one_figure_each(cell) -> list[Any]:
    """The cell with the alt text and caption of its figure where the book's pages look for them, in the metadata of the
    cell, and a cell of its own, whose code is hidden, for each further figure that it drew (a loop, say): pages would
    give all of them the caption of one.
    """
    from nbformat.v4 import new_code_cell

    cells, outputs = [cell], cell.get("outputs", ())
    if outputs:
        cell.outputs = []
    for output in outputs:
        told = output.get("metadata", {}).pop("mystnb", None)
        if told and "mystnb" in cells[-1].metadata:
            cells.append(new_code_cell(metadata={"tags": ["remove-input"]}))
        cells[-1].outputs.append(output)
        cells[-1].metadata |= {"mystnb": told} if told else {}
    return cells
