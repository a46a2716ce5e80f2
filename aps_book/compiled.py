"""How the notebooks of one checkout are compiled: their flags of XLA, and JAX's cache of compiled programs.

A cache keeps what XLA compiled for one processor by one version; a folder of its own stands for both. Notebooks whose page
tells times that include compiling do without (`cache = false` in book/build.toml), so that no page depends on what was
built before.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

LIMIT = 2**31  # bytes; what was used least recently goes first
QUICK = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"  # compiles some 40 % faster


def variables(entry: Mapping[str, Any], folder: Path, build: bool = False) -> dict[str, str]:
    """Variables of a notebook's kernel by its entry in book/build.toml: the cache in ``folder`` where it may use one, and
    in a ``build`` flags of XLA, after those of this process, where it is to be compiled quickly. Full runs and those with
    a user's parameters never are.
    """
    found = environment(folder) if entry["cache"] else {}
    if build and entry["quick_compile"]:
        found["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
    return found


def environment(folder: Path) -> dict[str, str]:
    """Variables that make JAX keep compiled programs in ``folder``, below a name for its versions and this processor."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str((folder / key()).resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(LIMIT),
    }


def key() -> str:
    """Versions of JAX and the processor, such as "0.10.2-0.10.2-3f2a9c1b"."""
    versions = [metadata.version(name) for name in ("jax", "jaxlib")]
    return "-".join([*versions, hashlib.sha256(processor().encode()).hexdigest()[:8]])


def processor() -> str:
    """What compiled code depends on of the processor: its kind and its flags, where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    told = {line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(told)])
