"""The paper's conditional RealNVP (24 steps, 3072 dimensions, width 384 twice) here, in flowjax and distrax, and as an
unadorned JAX loop, in one run.

    python benchmarks/flows.py [--json FILE] [--small] [--only NAME]

For each: seconds to compile one training step, of one evaluation with log-determinant, and of one gradient step with
Adam, all of the same loss (reverse KL to a standard normal), batch 64, float32, of the same flow: in each step an
affine normalization, a permutation and two couplings; flowjax's own flow has no normalization. Rivals that are not
installed (``pip install flowjax distrax``) are left out. ``--small`` runs a size of milliseconds, ``--middle`` one
between; ``--only`` measures one, whose peak memory then is that of the process.
"""

import argparse
import importlib.metadata
import json
import resource
import sys
import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aps_core.files import write_atomically
from aps_core.flows.coupling import strided_permutations
from aps_core.flows.realnvp import ConditionalRealNVP
from aps_core.operators import Measurement

RSS_UNITS = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss in a MiB


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
        jnp.zeros(size.dim),
        jnp.ones(size.dim),
        (size.dim,),
        steps=size.steps,
        width=size.width,
        conditional=conditional,
    )

    def forward(params, z, y):
        return jax.vmap(lambda zi, yi: flow.forward(params, zi, flow.context(Measurement(yi))))(z, y)

    return jax.jit(flow.init)(jax.random.key(0)), forward


def plain(size):
    """The same flow written as one function on batches: a scan over steps, two networks in each, no classes. What ours
    could reach at best.
    """
    half, rows = size.dim // 2, strided_permutations(size.dim, size.steps)
    shapes = [(half + size.dim, size.width), (size.width, size.width), (size.width, 2 * half)]
    permutations = jnp.asarray(rows), jnp.asarray(np.argsort(rows, axis=1))

    @jax.custom_vjp
    def permute(x, permutation, inverse):
        return x[:, permutation]

    # the derivative is a gather too; that of indexing is a scatter, which is slow on CPU
    permute.defvjp(lambda x, p, i: (x[:, p], i), lambda i, g: (g[:, i], None, None))

    def network(layers, kept, y):
        h = jnp.concatenate([kept, y], -1)
        for weight, bias in layers[:-1]:
            h = jax.nn.silu(h @ weight + bias)
        out = h @ layers[-1][0] + layers[-1][1]
        return jnp.tanh(out[:, :half]), out[:, half:]

    def forward(params, z, y):
        def body(carry, layer):
            x, log_det = carry
            (first, second, log_scale, shift), (permutation, inverse) = layer
            x = permute(x * jnp.exp(log_scale) + shift, permutation, inverse)
            a, b = x[:, :half], x[:, half:]
            s1, t1 = network(first, a, y)
            b = b * jnp.exp(s1) + t1
            s2, t2 = network(second, b, y)
            a = a * jnp.exp(s2) + t2
            return (jnp.concatenate([a, b], -1), log_det + log_scale.sum() + s1.sum(-1) + s2.sum(-1)), None

        return jax.lax.scan(body, (z, jnp.zeros(z.shape[0])), (params, permutations))[0]

    @jax.jit
    def init(key):
        keys = jax.random.split(key, 6)
        layers = [
            (jax.random.normal(k, (size.steps, *s)) / np.sqrt(s[0]), jnp.zeros((size.steps, s[1])))
            for k, s in zip(keys, 2 * shapes, strict=True)
        ]
        zero = jnp.zeros((size.steps, size.dim))
        for i in (2, 5):
            layers[i] = (0 * layers[i][0], layers[i][1])
        return layers[:3], layers[3:], zero, zero

    return init(jax.random.key(0)), forward


def flowjax(size):
    """flowjax's coupling_flow (scanned), one affine coupling for each of its layers."""
    import equinox as eqx
    from flowjax.bijections import Affine
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    flow = coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(size.dim)),
        transformer=Affine(),
        cond_dim=size.dim,
        flow_layers=2 * size.steps,
        nn_width=size.width,
        nn_depth=2,
        nn_activation=jax.nn.silu,
        invert=False,
    )
    params, static = eqx.partition(flow.bijection, eqx.is_inexact_array)

    def forward(params, z, y):
        from paramax import unwrap

        bijection = unwrap(eqx.combine(params, static))
        return jax.vmap(bijection.transform_and_log_det)(z, y)

    return params, forward


def distrax(size):
    """A distrax.ScalarAffine, a permutation and two distrax.SplitCoupling for each step, with the same networks,
    scanned by hand.
    """
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


def timed(call, *arguments):
    """(result, wall-clock seconds, seconds of all cores) of a call; the latter hardly change beside other work."""
    begin, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(call(*arguments))
    return result, time.perf_counter() - begin, time.process_time() - cpu


def medians(name, spans):
    """{name: median wall-clock seconds, cpu_name: median seconds of all cores} of pairs."""
    wall, cpu = np.median(np.asarray(spans), axis=0)
    return {name: float(wall), f"cpu_{name}": float(cpu)}


def training_step(forward, size):
    """(optimizer, step): step(params, state, key) -> params, state, loss is one step of Adam on the reverse KL to a standard
    normal, compiled at its first call; it overwrites its arguments.
    """
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

    return optimizer, step


def measure(params, forward, size):
    """Compile and run times in seconds, and the number of parameters."""
    optimizer, step = training_step(forward, size)
    z, y = (jax.random.normal(k, (size.batch, size.dim)) for k in jax.random.split(jax.random.key(1)))
    evaluate = jax.jit(forward)
    jax.block_until_ready(evaluate(params, z, y))
    found = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params))}
    found |= medians("forward", [timed(evaluate, params, z, y)[1:] for _ in range(7)])
    state, key = optimizer.init(params), jax.random.key(2)
    compiled, *span = timed(lambda: step.lower(params, state, key).compile())
    found |= medians("compile", [span])
    spans = []
    for i in range(8):
        (params, state, _), *span = timed(compiled, params, state, jax.random.fold_in(key, i))
        spans.append(span)
    return {**found, **medians("gradient_step", spans[1:])}


SIZES = {
    "small": Size(dim=256, steps=6, width=64, batch=32),
    "middle": Size(dim=1024, steps=12, width=128, batch=32),
    "full": Size(),
}
BUILDERS = {
    "aps_core": ours,
    "aps_core, no condition": partial(ours, conditional=False),
    "plain JAX": plain,
    "flowjax": flowjax,
    "distrax": distrax,
}


def main(arguments=None):
    """Measure what is installed, print a table, and write it with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write the numbers to")
    parser.add_argument("--small", action="store_true", help="a size of milliseconds")
    parser.add_argument("--middle", action="store_true", help="sizes between")
    parser.add_argument("--only", choices=BUILDERS, help="measure this one")
    options = parser.parse_args(arguments)
    size = SIZES["small" if options.small else "middle" if options.middle else "full"]
    builders = {options.only: BUILDERS[options.only]} if options.only else BUILDERS
    results = {}
    print(f"{'':24}{'parameters':>14}{'compile [s]':>14}{'forward [s]':>14}{'step [s]':>12}")
    for name, build in builders.items():
        try:
            params, forward = build(size)
        except (ImportError, AttributeError) as error:  # the latter from a package that is too old for this JAX
            print(f"{name:24}not usable here ({error})")
            continue
        results[name] = found = measure(params, forward, size)
        if options.only:
            found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_UNITS
        if name in ("flowjax", "distrax"):
            found["version"] = importlib.metadata.version(name)
        print(
            f"{name:24}{found['parameters']:14,}{found['compile']:14.2f}{found['forward']:14.3f}{found['gradient_step']:12.3f}"
        )
        del params, forward
    if options.json:
        found = {"size": vars(size), "device": jax.devices()[0].device_kind, "seconds": results}
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
