"""The lock, environment.yml, the Makefile and the README agree with each other and with pyproject.toml."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
SWEEPS = (ROOT / "workflow" / "requirements.txt").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _requirements(lock):
    """The requirements of a lock, each with its continuation lines joined and its comments left out."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()


def _name(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize("lock", [LOCK, SWEEPS], ids=["lock", "workflow"])
def test_lock_names_no_address(lock):
    assert ":" + "//" not in lock
    assert "file:" not in lock
    assert not re.search(r"^\s*(-i|-e|-f|--index|--extra-index|--find-links)", lock, re.MULTILINE)


def test_lock_pins_and_hashes_every_requirement():
    requirements = _requirements(LOCK)
    assert len(requirements) > 100
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_lock_holds_every_dependency_of_the_project():
    locked = {_name(requirement) for requirement in _requirements(LOCK)}
    groups = PROJECT["dependency-groups"]
    wanted = {_name(entry) for entry in [*PROJECT["project"]["dependencies"], *groups["dev"], *groups["book"]]}
    assert wanted <= locked


def test_lock_keeps_the_constraints_of_the_project():
    pins = dict(re.match(r"([^=\[ ]+)(?:\[.*?\])?==(\S+)", requirement).groups() for requirement in _requirements(LOCK))
    for constraint in PROJECT["tool"]["uv"]["constraint-dependencies"]:
        name, version = constraint.split("==")
        assert pins[name] == version


def test_environment_is_in_step_with_the_lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts/lock.py")
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    committed = (ROOT / "environment.yml").read_text("utf-8")
    assert committed == lock.environment((ROOT / "requirements.lock").read_bytes())
    assert committed != lock.environment(b"another lock")


def test_every_make_command_of_the_readme_is_a_target():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pages = (ROOT / "README.md").read_text("utf-8") + (ROOT / "book/intro.md").read_text("utf-8")
    commands = set(re.findall(r"(?:^|`)make ([a-z]+)", pages, re.MULTILINE))
    assert {"book", "test", "clean", "help", "train", "full"} <= commands
    assert commands <= targets


def test_help_lists_the_public_targets():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} >= {"book", "test", "clean", "help", "train", "full"}


@pytest.mark.parametrize("python", ["", "old-python"])
def test_make_says_which_python_it_needs(tmp_path, python):
    """No interpreter, or one that calls itself too old, ends with a message and makes no .venv."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text("utf-8"))
    (tmp_path / "requirements.lock").touch()
    if python:
        python = tmp_path / python
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    done = subprocess.run(["make", "test", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_wheel_carries_the_package_with_weights_and_recipes(tmp_path, monkeypatch):
    """Built from a small tree of the same shape, so that the test does not depend on what was trained."""
    from hatchling import build

    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in (
        "aps_core/__init__.py",
        "aps_book/record/paper_values.toml",
        "weights/a.safetensors",
        "recipes/a.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(Path("dist") / build.build_wheel("dist")) as wheel:
        names = set(wheel.namelist())
    assert {"aps_book/record/paper_values.toml", "aps_core/_weights/a.safetensors", "aps_core/_recipes/a.toml"} <= names


SAMPLE_EVERY_TASK = """
import jax, numpy as np
import aps_core
assert aps_core.__file__.startswith({folder!r}), aps_core.__file__
for name in aps_core.list_tasks():
    try:
        task = aps_core.load_task(name)
    except FileNotFoundError as error:  # its fields are fetched on demand and its prior is not shipped, which it says
        assert name == "sphere-fine-impute" and "python -m aps_core." in str(error), error
        continue
    try:
        posterior = aps_core.load_posterior(task)
        assert posterior.trained_by != "nothing", name
    except FileNotFoundError:
        assert name in ("gaussian16", "mixture2"), name  # of which no flow is shipped
        posterior = aps_core.gaussian_posterior(task) if name != "mixture2" else aps_core.make_sampler("dps", task, n_steps=20)
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    samples = np.asarray(posterior.sample(jax.random.key(1), measurement, 2))
    assert samples.shape == (2, *task.shape) and np.isfinite(samples).all(), name
print("every task was sampled")
"""


@pytest.mark.slow
def test_the_wheel_is_small_enough_for_an_index_and_samples_every_task(tmp_path):
    """At most 90 MB; installed in a folder of its own, with nothing of the checkout, each task is sampled."""
    build = "import os; from hatchling import build; print(build.build_wheel(os.environ['OUT']))"
    environment = {**os.environ, "OUT": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", build], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    wheel = tmp_path / made.stdout.split()[-1]
    assert wheel.stat().st_size < 90e6
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    alone = {**os.environ, "PYTHONPATH": str(installed)}  # its factorizations are kept where the book finds them
    code = SAMPLE_EVERY_TASK.format(folder=str(installed))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert "every task was sampled" in done.stdout, done.stderr


def test_what_installs_the_lock_is_pinned_by_it():
    """uv is installed by the hashes of the lock, and nothing is installed without hashes but the project itself."""
    assert re.search(r"^uv==\S+ .*\\\n    --hash=sha256:", LOCK, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    installs = re.findall(r"-m (?:uv )?pip (?:install|sync)[^&;|]*", makefile)
    assert len(installs) == 5
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command


def test_the_workflow_runs_actions_by_commit_and_publishes_apart():
    import yaml

    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    steps = [(name, step) for name, job in workflow["jobs"].items() for step in job["steps"]]
    for _, step in steps:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step.get("uses", "actions/none@" + "0" * 40)), step
    assert workflow["permissions"] == {"contents": "read"}
    trusted = {name for name, job in workflow["jobs"].items() if "write" in job.get("permissions", {}).values()}
    assert trusted == {"publish", "notebooks"}
    for name, step in steps:  # without a checkout there is nothing of the repository that could run
        assert name not in trusted or "checkout" not in step.get("uses", "")
        assert name != "publish" or "run" not in step
        assert name != "notebooks" or not re.search(r"(?m)^ *(bash|sh|python|make|\./)", step.get("run", ""))


def test_the_notebooks_go_to_the_branch_where_colab_looks_for_them():
    import yaml

    from aps_book.pages import elsewhere

    job = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))["jobs"]["notebooks"]
    script = job["steps"][-1]["run"]
    assert f"--initial-branch={elsewhere.BRANCH}\n" in script
    assert script.rstrip().endswith(f'$GITHUB_REPOSITORY.git" {elsewhere.BRANCH}')
    assert f"/blob/{elsewhere.BRANCH}/faces.ipynb" in elsewhere.colab("https://github.com/somebody/aps", "faces")


def test_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
