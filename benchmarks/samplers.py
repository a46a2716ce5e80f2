"""What a sampler itself costs for each network evaluation: ours beside deepinv's DPS, DiffPIR and DDRM and DPS as an unadorned
JAX loop, with a network that does nothing.

    python benchmarks/samplers.py [--json FILE] [--small] [--steps N]

Denoising and 2x super-resolution (deepinv's by bicubic resizing) of 16 images of 32x32x3, float32: seconds of one call,
compiled before, over the evaluations of one sample. The prior's noise prediction is u/2: the rest is the sampler.
deepinv (``pip install deepinv``, 0.5) is left out where it is not installed. ``--small`` runs a tiny size, to see that
it works.
"""

import argparse
import importlib.metadata
import json
import time
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aps_core import AveragePool, Identity, Task
from aps_core.files import write_atomically
from aps_core.priors.gaussian import GaussianPrior
from aps_core.samplers import make_sampler

SIGMA_Y = 0.1
OURS = {
    "dps": {"n_steps": 100},
    "mcg": {"n_steps": 100},
    "red-diff": {"n_steps": 100},
    "sde-proj": {"n_steps": 100},
    "ddrm": {"n_steps": 100},
    "pigdm": {"n_steps": 100},
    "score-ald": {"n_levels": 20, "n_inner": 5},
    "daps": {"n_levels": 20, "n_ode": 5, "n_inner": 20},
}


@flax.struct.dataclass
class TrivialPrior:
    """A noise prediction that costs nothing; the Gaussian is where RED-diff starts."""

    gaussian: GaussianPrior

    shape = property(lambda self: self.gaussian.shape)
    sde = property(lambda self: self.gaussian.sde)
    dim = property(lambda self: self.gaussian.dim)

    def eps(self, ut, t):
        """u/2."""
        del t
        return 0.5 * ut


def trivial_task(side, factor):
    """Denoising (factor 1) or super-resolution of images (side, side, 3)."""
    shape, d = (side, side, 3), 3 * side**2
    gaussian = GaussianPrior(jnp.full(d, 0.5), jnp.zeros((d, 1)), jnp.zeros(1), jnp.full((), 0.05), shape=shape)
    operator = Identity(shape) if factor == 1 else AveragePool(shape, factor)
    return Task(operator, SIGMA_Y, TrivialPrior(gaussian), jnp.zeros((1, *shape)), unit_range=False)


def median_seconds(call, repeats=5, clock=time.perf_counter):
    """Median seconds of a call that was made once before; clock: ``time.process_time`` counts those of all cores."""
    call()
    times = []
    for _ in range(repeats):
        begin = clock()
        call()
        times.append(clock() - begin)
    return float(np.median(times))


def measured(task, batch):
    """``batch`` measurements of which all data are 1/2."""
    y = jnp.full((batch, *task.y_shape), 0.5)
    return task.measure(jax.random.key(0), jnp.full((batch, *task.shape), 0.5)).replace(y=y)


def ours(task, batch):
    """Milliseconds for each evaluation of every sampler of the package, and those of all cores for "dps"."""
    found = {}
    for name, settings in OURS.items():
        sampler = make_sampler(name, task, **settings)
        call = partial(sampled, sampler, measured(task, batch))
        found[name] = 1e3 * median_seconds(call) / sampler.nfe
        if name == "dps":
            found["dps, all cores"] = 1e3 * median_seconds(call, clock=time.process_time) / sampler.nfe
    return found


def sampled(sampler, measurements):
    """A sample of each of ``measurements``, ready."""
    return jax.block_until_ready(sampler.sample(jax.random.key(1), measurements, 1))


def plain_dps(task, batch, steps=100):
    """DPS written as one scan over a batch: the same steps, no classes, no checks. A compiled function of a key."""
    sde, d = task.prior.sde, int(np.prod(task.shape))
    t = jnp.append(jnp.linspace(1.0, sde.t_min, steps), 0.0)
    share = -jnp.expm1(sde.log_odds(t[1:]) - sde.log_odds(t[:-1]))
    columns = sde.alpha(t[:-1]), sde.beta(t[:-1]), sde.alpha(t[1:]), sde.beta(t[1:]), share
    side, factor = task.shape[0], task.shape[0] // task.y_shape[0]
    blocks = (batch, side // factor, factor, side // factor, factor, 3)
    y = jnp.full((batch, *task.y_shape), 0.5)

    def misfit(u, alpha, beta):
        eps = 0.5 * u
        u0 = (u - beta * eps) / alpha
        r = y - ((u0 + 1) / 2).reshape(blocks).mean((2, 4))
        squares = jnp.sum(r**2, axis=(1, 2, 3))
        return squares.sum(), (squares, u0, eps)

    @jax.jit
    def run(key):
        def body(u, step):
            (a_t, b_t, a_s, b_s, new), k = step
            (_, (squares, u0, eps)), gradient = jax.value_and_grad(misfit, has_aux=True)(u, a_t, b_t)
            noise = jnp.sqrt(1 - new) * eps + jnp.sqrt(new) * jax.random.normal(k, u.shape)
            return a_s * u0 + b_s * noise - gradient / jnp.sqrt(squares)[:, None], None

        k_start, k_steps = jax.random.split(key)
        start = sde.prior_std * jax.random.normal(k_start, (batch, d))
        return jax.lax.scan(body, start, (columns, jax.random.split(k_steps, steps)))[0]

    return run


def plain(task, batch, steps=100):
    """Milliseconds for each evaluation of ``plain_dps``, and those of all cores."""
    run, found = plain_dps(task, batch, steps), {}
    for label, clock in (("plain JAX dps", time.perf_counter), ("plain JAX dps, all cores", time.process_time)):
        found[label] = 1e3 * median_seconds(lambda: jax.block_until_ready(run(jax.random.key(1))), clock=clock) / steps
    return found


def deepinv(side, factor, batch, steps):
    """Milliseconds for each evaluation of deepinv's DPS and DiffPIR, and of its DDRM where its operator has an SVD."""
    import deepinv as dinv
    import torch

    class Trivial(torch.nn.Module):
        def forward(self, x, sigma, **settings):
            del sigma, settings
            return 0.5 * x

    noise = dinv.physics.GaussianNoise(SIGMA_Y)
    size = (3, side, side)
    pool = dinv.physics.Downsampling(size, filter="bicubic", factor=factor, noise_model=noise)
    physics = dinv.physics.Denoising(noise) if factor == 1 else pool
    y = physics(torch.full((batch, *size), 0.5))
    methods = {
        "deepinv DPS": dinv.sampling.DPS(Trivial(), num_steps=steps, dtype=torch.float32),
        "deepinv DiffPIR": dinv.sampling.DiffPIR(
            Trivial(), data_fidelity=dinv.optim.data_fidelity.L2(), max_iter=steps, verbose=False
        ),
    }
    if factor == 1:
        methods["deepinv DDRM"] = dinv.sampling.DDRM(Trivial(), sigmas=np.linspace(1, 0, steps))
    return {name: 1e3 * median_seconds(lambda m=method: m(y, physics)) / steps for name, method in methods.items()}


def main(arguments=None):
    """Measure what is installed, print a table, and write it with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--steps", type=int, default=100, help="of deepinv's samplers")
    options = parser.parse_args(arguments)
    side, batch = (4, 2) if options.small else (32, 16)
    results = {}
    for label, factor in (("denoising", 1), ("super-resolution", 2)):
        task = trivial_task(side, factor)
        found = {**ours(task, batch), **plain(task, batch)}
        try:
            found.update(deepinv(side, factor, batch, options.steps))
            found["version"] = importlib.metadata.version("deepinv")
        except ImportError as error:
            print(f"deepinv is not installed ({error.name})")
        results[label] = found
        print(f"{label}, {batch} images {side}x{side}x3, milliseconds for each evaluation")
        for name, value in found.items():
            print(f"    {name:18}{value if isinstance(value, str) else f'{value:8.3f}'}")
    if options.json:
        table = {"side": side, "batch": batch, "device": jax.devices()[0].device_kind, "milliseconds": results}
        write_atomically(options.json, json.dumps(table, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
