"""The paper's conditional RealNVP (24 steps, 3072 dimensions, width 384 twice) here and in flowjax and distrax, in one run.

    python benchmarks/flows.py [--json FILE] [--small]

For each: seconds to compile one training step, of one evaluation with log-determinant, and of one gradient step with Adam, all of the
same loss (reverse KL to a standard normal), batch 64, float32, of the same flow: in each step an affine normalization, a permutation and
two couplings; flowjax's own flow has no normalization. Rivals that are not installed (``pip install flowjax distrax``) are left out.
``--small`` runs a tiny size, to see that it works.
"""

import argparse
import importlib.metadata
import json
import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aps_core.flows.coupling import strided_permutations
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.operators import Measurement


@dataclass(frozen=True)
class Size:
    """dim: entries of the signal and of the condition; steps: of two couplings each."""

    dim: int = 3072
    steps: int = 24
    width: int = 384
    batch: int = 64


def ours(size, conditional=True):
    """(params, forward): forward(params, z, y) -> x, log|dx/dz| for batches."""
    flow = ConditionalRealNVP(
        jnp.zeros(size.dim), jnp.ones(size.dim), (size.dim,), steps=size.steps, width=size.width, conditional=conditional
    )

    def forward(params, z, y):
        return jax.vmap(lambda zi, yi: flow.forward(params, zi, flow.context(Measurement(yi))))(z, y)

    return jax.jit(flow.init)(jax.random.key(0)), forward


def flowjax(size):
    """flowjax's coupling_flow (scanned), one affine coupling for each of its layers."""
    import equinox as eqx
    from flowjax.bijections import Affine
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    flow = coupling_flow(
        jax.random.key(0), base_dist=Normal(jnp.zeros(size.dim)), transformer=Affine(), cond_dim=size.dim,
        flow_layers=2 * size.steps, nn_width=size.width, nn_depth=2, nn_activation=jax.nn.silu, invert=False,
    )  # fmt: skip
    params, static = eqx.partition(flow.bijection, eqx.is_inexact_array)

    def forward(params, z, y):
        from paramax import unwrap

        bijection = unwrap(eqx.combine(params, static))
        return jax.vmap(bijection.transform_and_log_det)(z, y)

    return params, forward


def distrax(size):
    """A distrax.ScalarAffine, a permutation and two distrax.SplitCoupling for each step, with the same networks, scanned by hand."""
    import distrax as dx

    half = size.dim // 2
    shapes = [(half + size.dim, size.width), (size.width, size.width), (size.width, 2 * half)]

    def init(key):
        keys = jax.random.split(key, 3)
        layers = [(jax.random.normal(k, s) / np.sqrt(s[0]), jnp.zeros(s[1])) for k, s in zip(keys, shapes, strict=True)]
        return [*layers[:2], (0 * layers[2][0], layers[2][1])]

    def network(layers, y, kept):
        h = jnp.concatenate([kept, y], -1)
        for weight, bias in layers[:-1]:
            h = jax.nn.silu(h @ weight + bias)
        log_scale, shift = jnp.split(h @ layers[-1][0] + layers[-1][1], 2, -1)
        return jnp.tanh(log_scale), shift

    def coupling(layers, y, swap):
        def affine(p):
            return dx.ScalarAffine(shift=p[1], log_scale=p[0])

        return dx.SplitCoupling(half, 1, conditioner=partial(network, layers, y), bijector=affine, swap=swap)

    def forward(params, z, y):
        def body(carry, layer):
            x, log_det = carry
            *couplings, (log_scale, shift), permutation = layer
            x, extra = dx.Block(dx.ScalarAffine(shift=shift, log_scale=log_scale), 1).forward_and_log_det(x)
            x, log_det = x[:, permutation], log_det + extra
            for layers, swap in zip(couplings, (False, True), strict=True):
                x, extra = coupling(layers, y, swap).forward_and_log_det(x)
                log_det = log_det + extra
            return (x, log_det), None

        return jax.lax.scan(body, (z, jnp.zeros(z.shape[0])), (*params, permutations))[0]

    keys = jax.random.split(jax.random.key(0), (2, size.steps))
    permutations = strided_permutations(size.dim, size.steps)  # distrax has none of its own
    normalization = (jnp.zeros((size.steps, size.dim)), jnp.zeros((size.steps, size.dim)))
    return (*(jax.vmap(init)(k) for k in keys), normalization), forward


def median_seconds(call, *arguments, repeats=7):
    """Median seconds of a compiled call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def measure(params, forward, size):
    """Compile and run times in seconds, and the number of parameters."""
    optimizer = optax.adam(1e-4)

    def loss(params, key):
        k_z, k_y = jax.random.split(key)
        z, y = (jax.random.normal(k, (size.batch, size.dim)) for k in (k_z, k_y))
        x, log_det = forward(params, z, y)
        return jnp.mean(0.5 * jnp.sum(x**2, -1) - log_det)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, key):
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    z, y = (jax.random.normal(k, (size.batch, size.dim)) for k in jax.random.split(jax.random.key(1)))
    evaluate = jax.jit(forward)
    jax.block_until_ready(evaluate(params, z, y))
    found = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params)), "forward": median_seconds(evaluate, params, z, y)}
    state, key = optimizer.init(params), jax.random.key(2)
    begin = time.perf_counter()
    compiled = step.lower(params, state, key).compile()
    found["compile"] = time.perf_counter() - begin
    times = []
    for i in range(8):
        begin = time.perf_counter()
        params, state, value = compiled(params, state, jax.random.fold_in(key, i))
        jax.block_until_ready(value)
        times.append(time.perf_counter() - begin)
    return {**found, "gradient_step": float(np.median(times[1:]))}


def main(arguments=None):
    """Measure what is installed, print a table, and write it with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    options = parser.parse_args(arguments)
    size = Size(dim=32, steps=2, width=8, batch=4) if options.small else Size()
    builders = {"aps_core": ours, "aps_core, no condition": partial(ours, conditional=False), "flowjax": flowjax, "distrax": distrax}
    results = {}
    print(f"{'':24}{'parameters':>14}{'compile [s]':>14}{'forward [s]':>14}{'step [s]':>12}")
    for name, build in builders.items():
        try:
            params, forward = build(size)
        except ImportError as error:
            print(f"{name:24}not installed ({error.name})")
            continue
        results[name] = found = measure(params, forward, size)
        if name in ("flowjax", "distrax"):
            found["version"] = importlib.metadata.version(name)
        print(f"{name:24}{found['parameters']:14,}{found['compile']:14.2f}{found['forward']:14.3f}{found['gradient_step']:12.3f}")
        del params, forward
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"size": vars(size), "device": jax.devices()[0].device_kind, "seconds": results}, file, indent=1)
            file.write("\n")
    return results


if __name__ == "__main__":
    main()
