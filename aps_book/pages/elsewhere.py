"""Where the notebook of a page can be run without installing anything: Binder and Colab.

Binder opens notebooks of the repository as they are. Colab wants ipynb, which the repository does not hold: the workflow of the
book puts the executed ones on a branch of their own, each with a first cell that fetches the project where it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aps_core.files import write_atomically

BRANCH = "notebooks"  # where the workflow puts the executed notebooks
FETCH = """\
# Where the project is missing, as in Colab, this fetches it; elsewhere it does nothing.
import importlib.util

if importlib.util.find_spec("aps_core") is None:
    !git clone --quiet --depth 1 --branch {branch} {repository} aps-companion
    %cd -q aps-companion
    %pip install --quiet --editable ."""


def binder(repository: str, branch: str, page: str) -> str | None:
    """The address under which Binder opens the notebook of a page; None without a repository that it knows."""
    for host, service in (("https://github.com/", "gh"), ("https://gitlab.com/", "gl")):
        if repository.startswith(host):
            where = repository.removeprefix(host).strip("/")
            where = where if service == "gh" else quote(where, safe="")
            return f"https://mybinder.org/v2/{service}/{where}/{branch}?urlpath=lab/tree/notebooks/{page}.py"
    return None


def colab(repository: str, page: str) -> str | None:
    """The address under which Colab opens the executed notebook of a page; None without a repository on GitHub."""
    host = "https://github.com/"
    if not repository.startswith(host):
        return None
    where = repository.removeprefix(host).strip("/")
    return f"https://colab.research.google.com/github/{where}/blob/{BRANCH}/{page}.ipynb"


def launches(repository: str, branch: str, page: str) -> dict[str, str]:
    """{name: address} of where the notebook of a page can be run; empty without a repository."""
    found = {"Binder": binder(repository, branch, page), "Colab": colab(repository, page)}
    return {name: address for name, address in found.items() if address is not None}


def with_fetching(notebook: Mapping[str, Any], repository: str, branch: str) -> dict[str, Any]:
    """A notebook, as its JSON, with a first cell that fetches the project where it is missing."""
    text = FETCH.format(repository=repository, branch=branch)
    cell = {"cell_type": "code", "id": "fetch-the-project", "execution_count": None, "metadata": {}, "outputs": []}
    return {**notebook, "cells": [{**cell, "source": text.splitlines(keepends=True)}, *notebook["cells"]]}


def complete_notebooks(folder: Path, repository: str, branch: str) -> None:
    """Give the notebooks in ``folder``, those that pages offer, the cell that fetches the project; without a repository,
    none.
    """
    for path in sorted(folder.glob("*.ipynb")) if repository else ():
        notebook = json.loads(path.read_text("utf-8"))
        if notebook["cells"][0].get("id") != "fetch-the-project":
            completed = with_fetching(notebook, repository, branch)
            write_atomically(path, json.dumps(completed, indent=1, ensure_ascii=False) + "\n")
