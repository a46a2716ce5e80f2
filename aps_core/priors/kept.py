"""Factorizations that take long, kept by a digest of what they were made of: in the cache folder, or the last one in memory."""

import hashlib
import io
import math
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from aps_core.files import cache_folder, write_atomically
from aps_core.operators import kept_by

STAGES = 4  # of a factorization, after each of which it calls ``done``
TRIAL = 512  # entries of the eigenproblem that tells the machine's speed
PRODUCTS = 1.2  # all but the eigenproblem, in eigenproblems of the same size
LEAST_DIM = 1024  # entries of a signal below which nothing is kept: it takes a second
MOST_FILES = 12  # of some 100 MB each; the least recently used go first
FORM = "1"  # of the files; another one makes all anew


def kept(name, prior, operator, sigma_y, make):
    """``make(done)``, a tuple of arrays, from the last time that it was asked for with the same arguments, or anew.

    Kept in the prior's precision under ``name``, where signals are large. An operator is known by what it makes of fixed
    signals, so that two that close over different arrays are told apart. A file that cannot be read is made again, and
    where none can be written nothing is kept.
    """
    if prior.dim < LEAST_DIM:
        return make(lambda: None)
    dtype = np.asarray(prior.mean).dtype
    file = f"{name}-{digest(prior, operator, sigma_y)}.npz"
    try:
        path = _folder() / file
        with np.load(path, allow_pickle=False) as held:
            arrays = tuple(held[f"arr_{i}"] for i in range(len(held.files)))
        path.touch()
        return arrays
    except Exception:  # missing, or damaged in one of many ways
        what = f"factorizing {type(operator).__name__}, {prior.dim:,} entries"
        if sys.stderr.isatty():
            what += f", once, in about {estimate(prior.dim, math.prod(operator.y_shape)):.0f} s"
        with tqdm(total=STAGES, desc=what, disable=None) as bar:
            arrays = tuple(np.asarray(array, dtype) for array in make(bar.update))
    _write(file, arrays)
    return arrays


def estimate(dim, y_size):
    """Seconds that the factorization of a posterior of ``dim`` entries under ``y_size`` data may take here, from a trial with
    TRIAL entries; within a factor of two.
    """
    trial = np.random.default_rng(0).normal(size=(TRIAL, TRIAL))
    begin = time.perf_counter()
    np.linalg.eigh(trial @ trial.T)
    one = (time.perf_counter() - begin) / TRIAL**3
    return one * (PRODUCTS * dim**3 + min(dim, y_size) ** 3)


def digest(prior, operator, sigma_y):
    """Hexadecimal digest of a GaussianPrior, the action of a linear operator that draws no masks, and the noise."""
    found = _of_prior(prior, sigma_y)
    found.update(action(operator).tobytes())
    return found.hexdigest()[:24]


def _of_prior(prior, sigma_y):
    found = hashlib.sha256(f"{FORM} {float(sigma_y)!r} {prior.mean.dtype}".encode())
    for leaf in (prior.mean, prior.basis, prior.excess, prior.rest):
        found.update(np.ascontiguousarray(leaf))
    return found


_LATEST = {}


def latest(prior, sigma_y, make):
    """``make()``, a tuple of arrays, or what it gave the last time, where that was for the same GaussianPrior and noise: several
    flows of one task stand on the same. In the prior's precision.
    """
    key = _of_prior(prior, sigma_y).hexdigest()
    arrays = _LATEST.get(key)
    if arrays is None:
        arrays = tuple(np.asarray(array, np.asarray(prior.mean).dtype) for array in make())
        _LATEST.clear()  # no more than one: it may have 100 MB
        _LATEST[key] = arrays
    return arrays


def action(operator, n=8):
    """A(x) of n fixed signals of normal noise, and of zero, (n + 1, y_size) in single precision: the fingerprint of a linear
    operator that draws no masks.
    """
    signals = np.random.default_rng(20).normal(size=(n, *operator.shape))
    signals = np.concatenate([np.zeros((1, *operator.shape)), signals])
    with jax.enable_x64(True):
        data = jax.jit(jax.vmap(kept_by(operator)))(jnp.asarray(signals))
    return np.asarray(data, np.float32).reshape(n + 1, -1)


def _folder():
    return cache_folder() / "factorizations"


def _write(file, arrays):
    content = io.BytesIO()
    np.savez(content, *arrays)
    try:
        write_atomically(_folder() / file, content.getbuffer())
        files = sorted(_folder().glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[MOST_FILES:]:
            file.unlink(missing_ok=True)
    except OSError:  # a full disk, a folder that is not ours, or none
        pass
