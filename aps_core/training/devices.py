"""Data-parallel training: parameters on every device, the batch split over all of them, also over several processes; and
the memory that this process has taken.

Random numbers do not depend on the number of devices, so that the losses are those of one device up to the order of
summation.
"""

import contextlib
import sys
from contextvars import ContextVar
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_active = ContextVar("mesh", default=None)


def data_mesh():
    """All devices of all processes along one axis "data"; None when there is only one."""
    devices = np.array(jax.devices())
    return Mesh(devices, ("data",)) if devices.size > 1 else None


def replicate(tree, mesh):
    """``tree`` on every device of ``mesh``; unchanged when ``mesh`` is None."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.tree.map(lambda a: jax.device_put(a, sharding), tree)
    arrays = jax.tree.map(np.asarray, tree)  # every process has the whole array
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, sharding, lambda index: a[index]), arrays)


@contextlib.contextmanager
def over(mesh):
    """Inside, ``split_batch`` splits over ``mesh``."""
    token = _active.set(mesh)
    try:
        yield
    finally:
        _active.reset(token)


def split_batch(tree):
    """Split the leading axis of every array over the devices of the active mesh; call it inside jit. Without a mesh:
    unchanged.

    Raises ValueError when the leading axis is not a multiple of the number of devices.
    """
    mesh = _active.get()
    if mesh is None:
        return tree

    def split(a):
        if a.shape[0] % mesh.size:
            raise ValueError(
                f"a batch of {a.shape[0]} cannot be split over {mesh.size} devices; choose a multiple of {mesh.size}"
            )
        return jax.lax.with_sharding_constraint(a, NamedSharding(mesh, PartitionSpec("data")))

    return jax.tree.map(split, tree)


def peak_mib():
    """The most memory of the host that this process has held at once so far, in MiB; None where the system does not say."""
    try:  # of this process alone: what getrusage says begins at the peak of the process that started it
        status = Path("/proc/self/status").read_text("utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def is_main():
    """Whether this process writes files and shows progress: the first one."""
    return jax.process_index() == 0


def agree(value):
    """The first process's ``value`` (a bool) in every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return bool(broadcast_one_to_all(np.asarray(value)))


def alike(*numbers):
    """Whether integers below 2^31 are the same in every process."""
    if jax.process_count() == 1:
        return True
    from jax.experimental.multihost_utils import process_allgather

    own = np.asarray(numbers, np.int32)
    return bool(np.all(process_allgather(own) == own))


def start():
    """Join the processes of a run: ``jax.distributed.initialize`` (Slurm, Open MPI and Kubernetes are recognised).

    Elsewhere JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID say who takes part. Call it
    before anything else of JAX.
    """
    import os

    given = {name: os.environ.get(name) for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")}
    if all(given.values()):
        address, n, i = given.values()
        jax.distributed.initialize(address, int(n), int(i))
    elif any(given.values()):
        missing = [name for name, value in given.items() if not value]
        raise ValueError(f"a distributed run outside a cluster needs {', '.join(missing)} too")
    else:
        jax.distributed.initialize()
