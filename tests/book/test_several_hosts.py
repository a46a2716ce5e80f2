"""The page on several hosts: its recipe, and its commands on two processes, as they stand in its text."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "book/several_hosts.md").read_text("utf-8")
RECIPE = re.search(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FIRST, SECOND, BATCH = COMMANDS
ADDRESS = "localhost:29400"
VARIABLES = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}


def free(port=0):
    """A free port of this machine, or None where ``port`` is taken."""
    with socket.socket() as tried:
        try:
            tried.bind(("localhost", port))
        except OSError:
            return None
        return tried.getsockname()[1]


def together(commands, folders, variables=({}, {})):
    """Run commands side by side, each in its folder: (exit code, stdout, stderr) of each."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    processes = [
        subprocess.Popen(
            ["bash", "-ec", command], cwd=folder, env={**os.environ, **VARIABLES, "PATH": path, **own},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        for command, folder, own in zip(commands, folders, variables, strict=False)
    ]  # fmt: skip
    try:
        printed = [process.communicate(timeout=240) for process in processes]
        return [(process.returncode, *texts) for process, texts in zip(processes, printed, strict=True)]
    finally:
        for process in processes:
            process.kill()


def terminals(folder, *more, other=None):
    """The commands of the two terminals, at a free port, with further options."""
    address = f"localhost:{free()}"
    commands = [
        text.rstrip().replace(ADDRESS, address) + "".join(f" {one}" for one in more) for text in (FIRST, SECOND)
    ]
    return together(commands, [folder, other or folder])


def in_slurm(folder, *more):
    """The line of the batch file as two tasks on one host: srun gives each these variables."""
    (command,) = re.findall(r"^srun (.*)$", BATCH, re.MULTILINE)
    job = next(n for n in range(1000, 5000) if free(65535 - 2**12 + 1 + n % 2**12))  # JAX makes the port of it
    common = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    tasks = [{**common, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
    return together([" ".join([command, *more])] * 2, [folder] * 2, tasks)


def weights(folder):
    return load_file(folder / "weights/tiny.safetensors")


def ended(found, with_code=0):
    assert [code for code, _, _ in found] == [with_code] * len(found), "\n".join(error[-2000:] for _, _, error in found)
    return [printed for _, printed, _ in found]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the commands of the page have trained its recipe."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "tiny.toml").write_text(RECIPE)
    printed = ended(terminals(folder))
    assert "step 60" in printed[0] and "weights/tiny.safetensors" in printed[0] and "step" not in printed[1]
    return folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def test_the_batch_file_asks_slurm_for_what_jax_expects():
    """A task for each GPU, none of which is bound to one: JAX picks it by the task's number on its host."""
    asked = dict(re.findall(r"^#SBATCH --(\S+?)=(\S+)$", BATCH, re.MULTILINE))
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] and "gpus-per-task" not in asked
    assert asked["signal"].startswith("TERM@") and BATCH.startswith("#!/bin/bash\n")
    assert all(
        f"JAX_PROCESS_ID={i} aps train tiny.toml --distributed" in text for i, text in enumerate((FIRST, SECOND))
    )


@pytest.mark.slow
def test_two_processes_train_as_one(finished, folder):
    ended(together(["aps train tiny.toml"], [folder]))
    alone, both = weights(folder), weights(finished)
    assert alone.keys() == both.keys()
    for name, one in alone.items():
        np.testing.assert_allclose(both[name].astype(float), one.astype(float), atol=2e-3)
    card = json.loads((finished / "weights/tiny.json").read_text())
    assert card["steps"] == 60 and card["finished"]


@pytest.mark.slow
def test_a_run_that_slurm_stopped_goes_on_in_two_terminals_with_the_same_bits(finished, folder, tmp_path_factory):
    printed = ended(in_slurm(folder, "--budget 0"))
    assert "step 1 " in printed[0] and "run the same command to go on" in printed[0]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "tiny.toml").write_text(RECIPE)
    for code, _, error in terminals(folder, other=elsewhere):
        assert code != 0 and "expected a folder that all of them see" in error
    ended(terminals(folder))
    for name, one in weights(finished).items():
        np.testing.assert_array_equal(weights(folder)[name], one)


@pytest.mark.slow
def test_processes_with_different_recipes_are_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "tiny.toml").write_text(RECIPE.replace("3e-3", "1e-3"))
    for code, _, error in terminals(folder, other=other):
        assert code != 0 and "the processes of this run have different recipes" in error
