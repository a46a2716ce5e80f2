"""Standard normal numbers for the steps of a sampler: with a cheap network they are most of what a step costs on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

_LOW = np.nextafter(np.float32(-1), np.float32(0))


def normal(key, shape):
    """Standard normal numbers of ``shape``, float32: a function of ``key`` alone, as ``jax.random.normal`` is, in two
    thirds of its time.

    Each block of the Threefry-2x32 generator (Salmon et al. 2011) gives two words. ``jax.random`` makes a block for
    every number and folds the two into one; here both are used. They become normal as there, by the inverse error
    function of 23 random bits. Keys of another generator, and a default of 64 bits, are left to ``jax.random.normal``.
    """
    if jax.random.key_data(key).shape != (2,) or jnp.result_type(float) != jnp.float32:
        return jax.random.normal(key, shape)
    n = int(np.prod(shape))
    words = threefry_2x32(jax.random.key_data(key), jnp.arange(n, dtype=jnp.uint32))
    unit = jax.lax.bitcast_convert_type(words >> 9 | jnp.uint32(0x3F800000), jnp.float32) - 1  # in [0, 1)
    uniform = jnp.maximum(_LOW, unit * (1 - _LOW) + _LOW)  # in (-1, 1)
    return (np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)).reshape(shape)
