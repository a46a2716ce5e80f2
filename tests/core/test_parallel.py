"""Training over several devices and processes: the losses are those of one."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from aps_core.training import devices as parallel

RUN = """
import json, sys
import jax
import aps_core
from aps_core.training import devices as parallel
if len(sys.argv) > 1:
    parallel.start()
import jax.numpy as jnp
from aps_core import train_posterior
from aps_book.experiments import short_trainings
task = short_trainings.diagonal_task(jnp.geomspace(1e-2, 1e-4, 16))
recipe = {"name": "parallel", "flow": {"kind": "realnvp", "steps": 2, "width": 16},
          "objective": {"batch": 16}, "optimizer": {"steps": 15, "warmup": 3, "learning_rate": 3e-2}}
posterior, trained = train_posterior(task, recipe, evaluate_every=1, progress=False)
runs = [trained]
if len(sys.argv) == 1:
    measurement = task.measure(jax.random.key(0), task.signals("test")[0])
    runs.append(train_posterior(task, recipe, measurement=measurement, evaluate_every=1, progress=False)[1])
if parallel.is_main():
    moved = sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(posterior.params["couplings"]["first"]["params"]["Dense_3"]))
    print(json.dumps({"moved": moved, "devices": jax.device_count(), "losses": [[row["loss"] for row in run.history] for run in runs]}))
"""


def _environment(devices=1, **more):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "OMP_NUM_THREADS": "1", **more}


def _run(devices):
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=_environment(devices), check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def one_device():
    return _run(1)


@pytest.mark.slow
def test_eight_devices_have_the_losses_of_one(one_device):
    """Of a batch of measurements, and of a batch of samples of a single one."""
    many = _run(8)
    assert (one_device["devices"], many["devices"]) == (1, 8)
    assert many["moved"] > 0.5  # a wrong gradient would show in the losses that follow
    for alone, split in zip(one_device["losses"], many["losses"], strict=True):
        np.testing.assert_allclose(split, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(one_device):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    who = [{"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(i)} for i in range(2)]
    command = [sys.executable, "-c", RUN, "distributed"]
    processes = [
        subprocess.Popen(
            command, env=_environment(2, **names), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for names in who
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-2000:] + outputs[1][1][-2000:]
    assert "losses" not in outputs[1][0]  # the first process alone reports
    found = json.loads(outputs[0][0].splitlines()[-1])
    assert found["devices"] == 4
    np.testing.assert_allclose(found["losses"], one_device["losses"][:1], rtol=1e-5, atol=1e-5)


def test_one_device_splits_nothing():
    assert parallel.data_mesh() is None
    tree = {"a": np.arange(3.0)}
    assert parallel.split_batch(tree) is tree and parallel.replicate(tree, None) is tree
    assert parallel.is_main() and parallel.agree(True) is True


def test_a_batch_that_cannot_be_split():
    class Two:
        size = 2

    with parallel.over(Two()), pytest.raises(ValueError, match="a batch of 3 cannot be split over 2 devices"):
        parallel.split_batch({"a": np.zeros((3, 1))})
    assert parallel.split_batch(7) == 7


def test_a_distributed_run_that_is_half_described(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    monkeypatch.delenv("JAX_PROCESS_ID", raising=False)
    with pytest.raises(ValueError, match="needs JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID too"):
        parallel.start()
    assert jax.process_count() == 1
