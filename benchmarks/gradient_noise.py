"""Noise of the gradient of the reverse divergence, and what it costs, by estimator and number of diffusion times.

    python benchmarks/gradient_noise.py [TASK] [--weights NAME] [--draws N] [--json FILE] [--record FILE] [--small]

At the untrained flow of a task's recipe (faces-denoise by default) or at trained weights: the standard deviation of the
gradient per entry of the signal, root of the summed variances of all parameters, over keys at a batch of 4; and seconds
of one gradient at a batch of 16, compiled before, the rows taking turns. Both beside the total gradient with one time.
Run it with nothing beside it: the times are wall-clock. ``--small`` has a batch of 2 and three draws, to see that it
works. ``--record`` keeps noise and cost as numbers of the page on the paper's objective.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_core import load_posterior, load_task, weights
from aps_core.files import write_atomically
from aps_core.flows import build_flow
from aps_core.tasks.problem import Target
from aps_core.training.objective import ReverseDivergence

ROWS = (("total", 1), ("path", 1), ("path", 2), ("path", 4), ("path", 8))
REPEATS = 5


def gradient_of(task, estimator, n_times, at_once, prior_term="control-variate"):
    """A compiled function (params, key, flow, prior, measurements) -> gradient of the objective per entry."""

    divergence = ReverseDivergence(prior_term, n_times=n_times, estimator=estimator, times_at_once=at_once)

    def loss(params, key, flow, prior, measurements):
        target = Target(task.operator, task.sigma_y, prior)
        return divergence(flow, params, target, key, measurements)[0] / flow.dim

    return jax.jit(jax.grad(loss))


def measured(task, n, seed=0):
    """``n`` Measurements of validation signals."""
    return task.measure(jax.random.key(seed), jnp.asarray(task.signals("val")[:n]))


def noise(gradient, arguments, params, draws, seed=100):
    """Root of the variance over ``draws`` keys, summed over all parameters."""
    found = [gradient(params, jax.random.key(seed + i), *arguments) for i in range(draws)]
    variances = jax.tree.map(lambda *leaves: np.var(np.stack(leaves), axis=0, ddof=1, dtype=np.float64).sum(), *found)
    return float(np.sqrt(sum(jax.tree.leaves(variances))))


def seconds(gradients, arguments, params, repeats=REPEATS):
    """Median seconds of each of ``gradients``, which take turns."""
    spans = {name: [] for name in gradients}
    for i in range(repeats + 1):
        for name, gradient in gradients.items():
            begin = time.perf_counter()
            jax.block_until_ready(gradient(params, jax.random.key(i), *arguments))
            spans[name].append(time.perf_counter() - begin)
    return {name: float(np.median(span[1:])) for name, span in spans.items()}  # the first one compiles


def table(task, flow, params, draws=12, batch=4, timed=16, repeats=REPEATS, rows=ROWS):
    """{"path 4": {"noise", "variance_ratio", "seconds", "cost_ratio"}} and so on for each of ``rows``."""
    gradients = {f"{estimator} {n}": gradient_of(task, estimator, n, 1 if n > 1 else None) for estimator, n in rows}
    few = (flow, task.prior, measured(task, batch))
    found = {name: {"noise": noise(gradient, few, params, draws)} for name, gradient in gradients.items()}
    for name, value in seconds(gradients, (flow, task.prior, measured(task, timed)), params, repeats).items():
        found[name]["seconds"] = value
    first = found[next(iter(found))]
    for row in found.values():
        row["variance_ratio"] = (first["noise"] / row["noise"]) ** 2
        row["cost_ratio"] = row["seconds"] / first["seconds"]
    return found


def keep(found, path, parameters):
    """Write the noise of ``table`` as a record at ``path``: ``noise.path_8.std``, ``noise.path_8.variance_ratio`` and
    ``noise.path_8.cost_ratio``.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = record.Run("protocol", parameters, Path(folder))
        for name, row in found.items():
            key = f"noise.{name.replace(' ', '_')}"
            run.number(f"{key}.std", row["noise"])
            for ratio in ("variance_ratio", "cost_ratio"):
                run.number(f"{key}.{ratio}", row[ratio])
        run.finish()
        record.save({**record.load(Path(folder) / "protocol.json"), "figures": []}, path)


def main(arguments=None):
    """Command line: print the table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", default="faces-denoise")
    parser.add_argument("--weights", help="trained weights of the task, instead of the untrained flow")
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args(arguments)
    task = load_task(options.task)
    if options.weights:
        posterior = load_posterior(task, weights=options.weights)
        flow, params = posterior.flow, jax.tree.map(jnp.asarray, posterior.params)
    else:
        _, card = weights.load(f"{options.task}-held-out")
        flow = build_flow(task, card["flow"])
        params = jax.jit(flow.init)(jax.random.key(0))
    size = (
        {"draws": 3, "batch": 2, "timed": 2, "repeats": 1, "rows": ROWS[:3]}
        if options.small
        else {"draws": options.draws}
    )
    found = table(task, flow, params, **size)
    at = f"weights {options.weights}" if options.weights else "untrained"
    print(f"{options.task}, {at}")
    print("estimator, times | noise (std) | variance, times lower | s / gradient | cost, times")
    for name, row in found.items():
        print(
            f"{name:16} | {row['noise']:11.3f} | {row['variance_ratio']:21.1f} | {row['seconds']:12.3f} | {row['cost_ratio']:.2f}"
        )
    if options.record:
        keep(found, options.record, {"task": options.task, "at": at, "draws": options.draws})
    if options.json:
        write_atomically(options.json, json.dumps({"task": options.task, "at": at, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
