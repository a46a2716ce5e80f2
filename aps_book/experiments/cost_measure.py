"""What one problem of one size takes, measured in a process of its own: ``python -m aps_book.experiments.cost_measure JSON``
prints what ``measure``, ``sphere`` or ``machine`` found, as JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

SIGMA_Y = 0.02
RIVALS = {"ddrm": 5, "pigdm": 5, "dps": 10}  # evaluations that are timed; the default number follows in proportion
PARTS = ("factor", "sample", "many", "step", "rivals")


def in_a_process(what, devices=1, **settings):
    """What the function ``what`` of this module returns for ``settings``, in a process of its own with an empty cache of
    factorizations and ``devices`` virtual devices. Raises RuntimeError with the last line of its errors where it fails.
    """
    with tempfile.TemporaryDirectory() as cache:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        fetched = {} if what == "sphere" else {"APS_CACHE_DIR": cache}
        command = [sys.executable, "-m", "aps_book.experiments.cost_measure", json.dumps({"what": what, **settings})]
        environment = {**os.environ, **fetched, "XLA_FLAGS": flags.strip(), "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise RuntimeError(f"{what} with {settings} ended with {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def image_prior(side, k):
    """A GaussianPrior over images (side, side, 3) with ``k`` modes: products of cosines of low frequency in all colours alike
    and in their differences, with variances that fall as those of photographs, 1/(1 + f^2). The rest is what the others
    would have on average.
    """
    import jax.numpy as jnp

    from aps_core.priors.gaussian import GaussianPrior

    shape, grid = (side, side, 3), (np.arange(side) + 0.5) / side
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    u, v, c = (a.ravel() for a in np.indices(shape))
    variance = np.array([1.0, 0.1, 0.03])[c] / (1.0 + u**2 + v**2)
    variance *= 0.06 * len(variance) / variance.sum()  # of the entries, on average: a standard deviation of 0.25
    order = np.argsort(-variance, kind="stable")
    rest = variance[order[k:]].mean() if k < len(order) else 1e-6
    cosines = np.cos(np.pi * np.outer(grid, np.arange(side))) * np.sqrt(np.where(np.arange(side), 2, 1) / side)
    u, v, c = (a[order[:k]] for a in (u, v, c))
    basis = np.einsum("ak,bk,kc->abck", cosines[:, u], cosines[:, v], colours[c]).reshape(-1, k)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    excess = np.maximum(variance[order[:k]] - rest, 0)
    return GaussianPrior(as32(np.full(len(basis), 0.5)), as32(basis), as32(excess), as32(rest), shape=shape)


def truncated(gaussian, n_modes):
    """The GaussianPrior of the ``n_modes`` leading modes of ``gaussian``; what the variances of the others come to on average
    is added to the rest, as in ``fit_gaussian`` with so few. Raises TypeError or ValueError for no count from 1 to k.
    """
    import jax.numpy as jnp

    from aps_core.checks import count

    n_modes, k = count("n_modes", n_modes), gaussian.excess.shape[0]
    if n_modes > k:
        raise ValueError(f"n_modes must be at most {k}, the modes of this Gaussian, got {n_modes}")
    if n_modes == k:
        return gaussian
    rest = gaussian.rest + jnp.sum(gaussian.excess[n_modes:]) / (gaussian.dim - n_modes)
    excess = jnp.maximum(gaussian.excess[:n_modes] + gaussian.rest - rest, 0.0)
    return gaussian.replace(basis=gaussian.basis[:, :n_modes], excess=excess, rest=rest)


def problem(side, k):
    """The Task: deblurring of images (side, side, 3) under ``image_prior``; the blur grows with the image."""
    import jax

    from aps_core import GaussianBlur, Task

    prior = image_prior(side, k)
    signals = prior.sample(jax.random.key(0), 8)
    return Task(GaussianBlur(prior.shape, 1.5 * side / 32), SIGMA_Y, prior, signals, "cost", unit_range=False)


def flow_of(task, factors, depth=4):
    """A TokenFlow on the Gaussian posterior that ``factors`` make, of 64 tokens at every size."""
    from aps_core.flows.closed_form import PosteriorBase
    from aps_core.flows.tokens import TokenFlow
    from aps_core.priors.networks.patches import make_tokens

    base = PosteriorBase(task.prior, SIGMA_Y, task.operator, factors)
    cut = make_tokens("image", task.shape, max(1, task.shape[0] // 8))
    sizes = dict(steps=depth, width=32, condition_width=48, condition_depth=1, heads=2)
    return TokenFlow(base, task.prior.mean, task.prior.marginal_std, task.shape, cut, **sizes)


def measure(side, route, k=192, n_samples=128, batch=8, depth=4, parts=PARTS):
    """Seconds and memory (MiB) at images (side, side, 3): of the factorization, of one posterior sample of a flow on it and of
    ``n_samples``, of a training step on ``batch`` measurements, and of one sample of each of RIVALS.

    route: "dense", in all entries, or "modes", in the ``k`` modes of the prior. Times are without compilation. ``idle_mib``
    is what the process held at most before it began, ``factor_mib`` after the factorization, ``held_mib`` what is kept of
    it; the other MiB are XLA's account of a compiled program, its arguments included.
    """
    import jax
    import jax.numpy as jnp

    from aps_core.operators import dense_matrix, offset
    from aps_core.operators.spectrum import acts_on_rows_and_columns
    from aps_core.priors.linear_gaussian import linear_posterior_factors
    from aps_core.priors.low_rank import low_rank_factors
    from aps_core.training.devices import peak_mib

    task = problem(side, min(k, 3 * side**2))
    acts_on_rows_and_columns(task.operator), offset(task.operator)  # compile, and are remembered
    found = {"idle_mib": peak_mib()}
    if route == "dense":
        dense_matrix(task.operator)  # compiles
    begin = time.perf_counter()
    factors = {"dense": linear_posterior_factors, "modes": low_rank_factors}[route](task.prior, task.operator, SIGMA_Y)
    jax.block_until_ready(factors)
    found |= {"factor_seconds": time.perf_counter() - begin, "factor_mib": peak_mib()}
    found["held_mib"] = sum(a.nbytes for a in jax.tree.leaves(factors)) / 2**20
    x0 = task.signals("test")
    y = task.measure(jax.random.key(1), x0)
    found["std"] = float(jnp.mean(factors.marginal_std))
    found["error"] = float(jnp.sqrt(jnp.mean((factors.posterior(y.y[0].ravel()).mean - x0[0].ravel()) ** 2)))
    flow = flow_of(task, factors, depth)
    params = jax.tree.map(lambda a: jnp.full(a.shape, 0.01), jax.eval_shape(flow.init, jax.random.key(2)))
    one = jax.tree.map(lambda a: a[0], y)
    if "sample" in parts:
        found |= timed("sample", _draw, flow, params, jax.random.key(3), one, 1)
    if "many" in parts:
        found |= timed("many", _draw, flow, params, jax.random.key(3), one, n_samples)
    if "step" in parts:
        found |= step(task, flow, params, y, batch)
    if "rivals" in parts:
        found |= rivals(task, one)
    return found


def timed(name, call, *arguments, repeats=3):
    """{name_seconds, name_mib} of a function that is compiled here: its last argument is static."""
    import jax

    compiled = jax.jit(call, static_argnums=len(arguments) - 1).lower(*arguments).compile()
    memory, spans = compiled.memory_analysis(), []
    for _ in range(1 + repeats):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*arguments[:-1]))
        spans.append(time.perf_counter() - begin)
    size = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {f"{name}_seconds": float(np.median(spans[1:])), f"{name}_mib": size / 2**20}


def _draw(flow, params, key, measurement, n):
    import jax

    context = flow.context(measurement)
    return jax.vmap(lambda z: flow.forward(params, z, context)[0])(jax.random.normal(key, (n, flow.dim)))


def step(task, flow, params, y, batch):
    """{step_seconds, step_mib}: value and gradient of the reverse divergence under the exact prior on ``batch`` measurements,
    split over the devices of this process.
    """
    import jax
    import jax.numpy as jnp

    from aps_core.tasks.problem import Target
    from aps_core.training import devices
    from aps_core.training.objective import ReverseDivergence

    objective, mesh = ReverseDivergence("exact", estimator="path"), devices.data_mesh()
    measurements = jax.tree.map(lambda a: a[jnp.arange(batch) % len(a)], y)

    def gradient(flow, prior, params, key, measurements, operator):
        loss = lambda p: objective(flow, p, Target(operator, SIGMA_Y, prior), key, measurements)[0]  # noqa: E731
        return jax.value_and_grad(loss)(params)

    given = devices.replicate((flow, task.prior, params, jax.random.key(4), measurements), mesh)
    with devices.over(mesh):
        return timed("step", gradient, *given, task.operator)


def rivals(task, one):
    """{ddrm_seconds, ...}: of one sample with the default number of evaluations, from a run with fewer."""
    import jax

    from aps_core.metrics.evaluation import seconds_per_measurement
    from aps_core.samplers import make_sampler

    found = {}
    for name, few in RIVALS.items():
        seconds = seconds_per_measurement(make_sampler(name, task, n_steps=few), jax.random.key(5), one, 1, repeats=3)
        found[f"{name}_seconds"] = seconds / few * make_sampler(name, task).nfe
    return found


def sphere(task, weights, n_months, n_samples, seed=0):
    """Scores of the closed form (``weights`` None) or of a flow of a task on the sphere, on ``n_months`` test months that are
    spread evenly, the same for every grid: {name: one number for each month}, seconds of one sample and of ``n_samples``,
    and the most memory of the process in MiB.
    """
    import jax
    import jax.numpy as jnp

    from aps_core import gaussian_posterior, load_posterior, load_task
    from aps_core.checks import seed as checked_seed
    from aps_core.geometry.sphere import area_weights
    from aps_core.metrics import evaluation
    from aps_core.training.devices import peak_mib

    known = load_task(task)
    months = known.signals("test")
    x0 = months[np.round(np.linspace(0, len(months) - 1, n_months)).astype(int)]
    measured = known.measure(jax.random.key(checked_seed("seed", seed)), jnp.asarray(x0))
    sampler = gaussian_posterior(known) if weights is None else load_posterior(known, weights=weights)
    key, scoring = jax.random.key(seed + 1), evaluation.Scoring(weights=area_weights(known.shape))
    scores = evaluation.evaluate(sampler, key, measured, x0, n_samples, scoring)
    one = jax.tree.map(lambda a: a[0], measured)
    return {
        **{name: np.asarray(scores[name]).tolist() for name in ("psnr_n1", "psnr_mean", "energy")},
        **{name: np.asarray(scores[f"psnr_weighted_{name}"]).tolist() for name in ("n1", "mean")},
        "coverage_90": (100 * scores["coverage"][:, 1]).tolist(),
        "seconds": evaluation.seconds_per_measurement(sampler, key, one, 1),
        "many_seconds": evaluation.seconds_per_measurement(sampler, key, one, n_samples, repeats=3),
        "peak_mib": peak_mib(),
    }


def machine(size=1536, megabytes=256):
    """What a core does: {gflops of a product of float64 matrices, gbytes a second read while an array is summed}."""
    a = np.random.default_rng(0).normal(size=(size, size))
    x = np.ones(megabytes * 2**20 // 8)
    return {"gflops": 2 * size**3 / _least(lambda: a @ a) / 1e9, "gbytes": x.nbytes / _least(x.sum) / 1e9}


def _least(call, repeats=4):
    spans = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        spans.append(time.perf_counter() - begin)
    return min(spans)


def main(argument):
    """Run what the JSON ``argument`` names and print what it found."""
    settings = json.loads(argument)
    what = {"measure": measure, "sphere": sphere, "machine": machine}[settings.pop("what")]
    print(json.dumps(what(**settings)))


if __name__ == "__main__":
    main(sys.argv[1])
