"""Ours and an unadorned JAX loop by turns: ratios that other work on the machine hardly moves.

    python benchmarks/paired.py [--json FILE] [--size small|middle|full]

Both are in one process, on one core, and take turns; a ratio is the median over the turns of ours over the plain loop's, each in
seconds of that core. Of the paper's RealNVP: compiling a training step, an evaluation with log-determinant, a step; of DPS with a network
that does nothing: denoising and super-resolution. Run by ``bench.py``, which compares them with the baseline.
"""

import argparse
import json
import math
import os
import time
from functools import partial

import flows
import jax
import numpy as np
import samplers

from aps_core.files import write_atomically
from aps_core.samplers import make_sampler

LEAST = 0.03  # seconds of one turn: shorter calls are repeated within it
TURNS = {"small": 11, "middle": 11, "full": 5}
COMPILED = {"small": 2, "middle": 3, "full": 2}  # turns of compiling, which takes a second
IMAGES = {"small": (16, 8), "middle": (32, 16), "full": (32, 16)}  # side and number of those that DPS samples


def core_seconds(call, n=1):
    """Seconds of the core that one of ``n`` calls takes."""
    begin = time.process_time()
    for _ in range(n):
        call()
    return (time.process_time() - begin) / n


def ratio(ours, plain, turns):
    """Median over ``turns`` of the seconds of ``ours`` over those of ``plain``, calls that end when all is computed."""
    calls = (ours, plain)
    for call in calls:
        call()  # compiles
    repeats = [max(1, math.ceil(LEAST / max(core_seconds(call), 1e-6))) for call in calls]
    found = []
    for i in range(turns):
        spans = [0.0, 0.0]
        for j in (0, 1) if i % 2 else (1, 0):
            spans[j] = core_seconds(calls[j], repeats[j])
        found.append(spans[0] / spans[1])
    return float(np.median(found))


class Training:
    """Steps of a training of the flow that ``build`` makes, one with each call, once it is compiled."""

    def __init__(self, build, size):
        self.params, self.forward = build(size)
        optimizer, self.step = flows.training_step(self.forward, size)
        self.state, self.key, self.compiled = optimizer.init(self.params), jax.random.key(2), None

    def compile(self):
        """Trace and compile a step of which nothing is known from before: seconds of the core."""
        jax.clear_caches()
        begin = time.process_time()
        self.compiled = self.step.lower(self.params, self.state, self.key).compile()
        return time.process_time() - begin

    def __call__(self):
        self.params, self.state, value = jax.block_until_ready(self.compiled(self.params, self.state, self.key))
        return value


def of_the_flow(name):
    """{"flow.compile": ratio, ...} at a size of ``flows.SIZES``."""
    size = flows.SIZES[name]
    trained = [Training(build, size) for build in (flows.ours, flows.plain)]
    spans = [[one.compile() for one in trained] for _ in range(1 + COMPILED[name])]
    # the first turn loads what the others find loaded
    found = {"flow.compile": float(np.median([ours / plain for ours, plain in spans[1:]]))}
    z, y = (jax.random.normal(k, (size.batch, size.dim)) for k in jax.random.split(jax.random.key(1)))
    evaluations = [partial(_evaluated, jax.jit(one.forward), one.params, z, y) for one in trained]
    found["flow.forward"] = ratio(*evaluations, TURNS[name])
    found["flow.gradient_step"] = ratio(*trained, TURNS[name])
    return found


def _evaluated(forward, *arguments):
    return jax.block_until_ready(forward(*arguments))


def of_dps(name):
    """{"dps.denoising": ratio, "dps.super-resolution": ratio}."""
    side, batch = IMAGES[name]
    found = {}
    for label, factor in (("denoising", 1), ("super-resolution", 2)):
        task = samplers.trivial_task(side, factor)
        ours = partial(samplers.sampled, make_sampler("dps", task, n_steps=100), samplers.measured(task, batch))
        run = samplers.plain_dps(task, batch)
        plain = partial(_evaluated, run, jax.random.key(1))
        found[f"dps.{label}"] = ratio(ours, plain, TURNS[name])
    return found


def main(arguments=None):
    """Measure, print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write the ratios to")
    parser.add_argument("--size", choices=tuple(TURNS), default="full")
    options = parser.parse_args(arguments)
    # before JAX starts: with several threads the time that they wait for each other counts
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = of_the_flow(options.size) | of_dps(options.size)
    for name, value in found.items():
        print(f"{name:24}{value:8.3f}")
    if options.json:
        write_atomically(options.json, json.dumps({"ratios": found}, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
