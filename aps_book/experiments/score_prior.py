"""One flow for all measurements or one for each: what a fit of its own costs and brings a measurement, and what its
prior term costs.
"""

import time
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments import single_fit_in_modes
from aps_book.experiments.short_trainings import seconds_per_step
from aps_book.record import Difference
from aps_book.record.labels import in_a_sentence
from aps_core.metrics import calibration, quality
from aps_core.priors import terms
from aps_core.priors.ode import log_prob_ode
from aps_core.training import loop
from aps_core.training.optimizer import Optimizer
from aps_core.training.posterior import AS_IN_THE_PAPER, train_posterior

KINDS = {"n1": "one sample", "mean": "mean"}
TASKS = {"denoise": "denoising", "deblur": "deblurring"}


@dataclass(frozen=True)
class Curve:
    """Quality during the fits of a batch of measurements: ``steps`` (k,) and ``seconds`` (k,) for each measurement,
    without compilation and scoring; ``n1`` and ``mean`` (k, batch), PSNR of single samples (averaged over them) and of
    their mean; ``samples`` (batch, n, *shape) at the end.
    """

    steps: np.ndarray
    seconds: np.ndarray
    n1: np.ndarray
    mean: np.ndarray
    samples: np.ndarray

    def values(self, kind):
        """PSNR (k, batch) of a kind of KINDS."""
        return getattr(self, kind)


def qualities(samples, x0):
    """PSNR of single samples, averaged over them, and of their mean: {"n1", "mean"} (batch,), from samples (batch, n,
    *shape).
    """
    n = samples.shape[1]
    single = quality.psnr(samples.reshape(-1, *x0.shape[1:]), np.repeat(x0, n, axis=0)).reshape(len(x0), n).mean(axis=1)
    return {"n1": single, "mean": quality.psnr(samples.mean(axis=1), x0)}


@jax.jit
def _draw(flow, params, contexts, z):
    def one(args):
        p, context, zs = args
        return jax.vmap(lambda zi: flow.forward(p, zi, context)[0])(zs)

    return jax.lax.map(one, (params, contexts, z))


def fit(trained, case, steps, n_samples=8, n_scored=64, points=12, learning_rate=5e-3, seed=0):
    """The Curve of a FittedFlow for each measurement of a Case, side by side, under the prior of the AmortizedPosterior
    ``trained``.

    n_samples: of each flow in a step; n_scored: samples that are scored, from the same z at every one of about
    ``points`` points.
    """
    flow = single_fit_in_modes.FittedFlow(trained.flow.modes, trained.task.shape, trained.flow.tokens)
    z = jax.random.normal(jax.random.key(seed + 1), (len(case.x0), n_scored, flow.dim))
    marks, rows, last = [], [], {}

    def evaluate(params, data, key):
        del key
        begin = time.monotonic()
        samples = np.asarray(_draw(data["flow"], params, data["contexts"], z)).reshape(*z.shape[:2], *flow.shape)
        rows.append(qualities(samples, case.x0))
        last["samples"] = samples
        marks.append((begin, time.monotonic()))
        return {name: float(value.mean()) for name, value in rows[-1].items()}

    optimizer = Optimizer(steps, learning_rate, warmup=steps // 10, ema=max(0.0, 1 - 10 / steps), seed=seed)
    every = max(1, steps // points)
    _, _, log = single_fit_in_modes.fit(
        flow, trained.task.prior, case.measurements, optimizer, n_samples, loop.Watch(evaluate, every), progress=False
    )
    at = np.array([row["step"] for row in log.history])
    # the first holds the compilation
    spans = [(b[0] - a[1]) / n for a, b, n in zip(marks[1:], marks[2:], np.diff(at)[1:], strict=False)]
    seconds = at * np.median(spans) / len(case.x0)
    return Curve(at, seconds, *(np.stack([row[kind] for row in rows]) for kind in KINDS), last["samples"])


def reached(curve, kind, level):
    """Seconds for one measurement at which the mean of the Curve first is at ``level`` dB, interpolated; None where it
    never is.
    """
    values = curve.values(kind).mean(axis=1)
    above = np.flatnonzero(values >= level)
    if not len(above):
        return None
    i = above[0]
    if i == 0:
        return float(curve.seconds[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(curve.seconds[i - 1] + share * (curve.seconds[i] - curve.seconds[i - 1]))


def store(run, prefix, curve, ours, x0):
    """Keep a Curve and samples ``ours`` (batch, n, *shape) of APS under ``prefix``: for rows ``start``, ``fit`` (its
    end) and ``aps`` the PSNR ``n1`` and ``mean``, for the last two ``ratio`` and ``inside``; ``gain_KIND``, paired;
    ``seconds`` of the whole fit, ``reached_KIND`` where APS was.
    """
    levels = qualities(ours, x0)
    for kind in KINDS:
        for row, values in {"start": curve.values(kind)[0], "fit": curve.values(kind)[-1], "aps": levels[kind]}.items():
            run.mean(f"{prefix}.{row}.{kind}", values, "dB")
        run.mean(f"{prefix}.gain_{kind}", curve.values(kind)[-1] - levels[kind], "dB")
        found = reached(curve, kind, levels[kind].mean())
        if found is not None:
            run.number(f"{prefix}.reached_{kind}", found, unit="s")
    for row, samples in {"fit": curve.samples, "aps": ours}.items():
        run.number(f"{prefix}.{row}.ratio", *quality.sample_error_over_mmse(samples, x0), n=len(x0))
        run.mean(
            f"{prefix}.{row}.inside",
            [100 * calibration.coverage(s, x, (0.9,))[0] for s, x in zip(samples, x0, strict=True)],
            "%",
        )
    run.number(f"{prefix}.seconds", curve.seconds[-1], unit="s")


def say_reached(numbers, prefix, kind):
    """When the fits came to the quality of APS, as half a sentence with places for ``Run.say``; numbers: those of the
    record.
    """
    if f"{prefix}.reached_{kind}" in numbers:
        return f"after {{{prefix}.reached_{kind}:.1f}} s"
    return f"not within {{{prefix}.seconds:.1f}} s"


def differences(flows):
    """What the flow of one measurement has on the amortized one, for ``Run.verdict``; flows: {task: label of the amortized
    flow, which says what trained it}. Of single samples only which lies above.
    """
    found = []
    for name, label in flows.items():
        own, amortized = f"{TASKS[name]}: the mean of a flow of its own", in_a_sentence(label)
        found += (
            Difference(f"{name}.gain_mean", own, f"that of {amortized}", n="n_test"),
            Difference(f"{name}.gain_n1", f"{TASKS[name]}: one sample of it", f"one of {amortized}", None, n="n_test"),
        )
    return tuple(found)


def costs(numbers, tasks):
    """What the fits and the training of the amortized flow cost by the numbers of a record, as a template for
    ``Run.say``.
    """
    lines = [
        f"- {TASKS[name].capitalize()}: a fit takes {{{name}.seconds:.1f}} s for each measurement; the training of the "
        f"amortized flow, {{{name}.training:,.0f}} s, is worth "
        f"{numbers[f'{name}.training']['value'] / numbers[f'{name}.seconds']['value']:,.0f} such fits, and every later "
        "measurement is free."
        for name in tasks
    ]
    if "cost.own.conditional.ratio" in numbers:
        four = "cost.own.conditional_4.ratio" in numbers
        more = ", and {cost.own.conditional_4.ratio:.2f} times with four samples of each measurement" if four else ""
        lines.append(
            f"- A step of the amortized flow costs {{cost.own.conditional.ratio:.2f}} times one of the flow of one measurement{more}: "
            "it has a network that reads the measurement, and the prior's cost is the same for both."
        )
    return "\n".join(lines)


def measured_on(task, signals):
    """``task`` with ``signals`` (n, *shape) in the place of every split."""
    signals = jnp.asarray(signals)
    return replace(task, signals=lambda split: signals)


def known(run, prefix):
    """The words that follow ``prefix`` in the keys of this run and of the full one, in order."""
    full = record.full_run(run.notebook) or {"numbers": {}}
    keys = [*run.as_dict()["numbers"], *full["numbers"]]
    return list(
        dict.fromkeys(key.removeprefix(f"{prefix}.").partition(".")[0] for key in keys if key.startswith(f"{prefix}."))
    )


def known_terms(run):
    """Labels of the prior terms of which this run or the full one has the cost."""
    return {name: label for name, label in TERM_LABELS.items() if name in known(run, "prior")}


def step_costs(trained, signals, batch=16, repeats=3, four=True):
    """Seconds of one optimization step of the page's own flows under the learned prior, by name; the fastest of
    ``repeats``, all with ``batch`` samples.

    "unconditional": the FittedFlow of one measurement; "conditional": the flow of ``trained``, as many measurements as
    samples; "conditional_4", where ``four`` is set: four samples of each measurement. signals (n, *shape) are measured
    anew for the conditional ones.
    """
    task = measured_on(trained.task, signals)
    steps = {"steps": repeats + 2, "warmup": 1}
    flow = single_fit_in_modes.FittedFlow(trained.flow.modes, task.shape, trained.flow.tokens)
    one = jax.tree.map(lambda a: jnp.asarray(a)[None], task.measure(jax.random.key(2), task.signals("train")[0]))
    _, _, log = single_fit_in_modes.fit(
        flow, task.prior, one, Optimizer(**steps), batch, loop.Watch(every=1), progress=False
    )
    found = {"unconditional": seconds_per_step(log.history, np.min)}
    fourfold = {"conditional_4": {"batch": batch // 4, "n_samples": 4}} if four else {}
    for name, objective in {**fourfold, "conditional": {"batch": batch}}.items():
        recipe = {
            "name": name,
            "flow": trained.card["recipe"]["flow"],
            "objective": {"prior_term": "control-variate", **AS_IN_THE_PAPER, **objective},
            "optimizer": steps,
        }
        _, log = train_posterior(task, recipe, start=trained, evaluate_every=1, progress=False)
        found[name] = seconds_per_step(log.history, np.min)
    return found


def lines(fitted):
    """(curves, flat lines) for ``plotting_images.cost_curves`` of {task: (Curve, Case, samples of APS)}."""
    curves, levels = {}, {}
    for name, (curve, case, ours) in fitted.items():
        level = qualities(ours, case.x0)
        for kind, label in KINDS.items():
            values, errors = quality.mean_and_standard_error(curve.values(kind).T)
            curves[f"{TASKS[name]}, {label}"] = curve.seconds, values, errors
            levels[f"amortized, {TASKS[name]}, {label}"] = float(level[kind].mean())
    return curves, levels


def pictures(curve, case, ours, n=4):
    """Columns for ``plotting_images.face_columns``: truth, measurement, one sample and the mean of the fits and of APS,
    for the first ``n`` faces.
    """
    columns = {"truth": case.x0[:n], "measured": np.asarray(case.measurements.y)[:n]}
    for label, samples in {"fit": curve.samples, "amortized": ours}.items():
        columns |= {label: samples[:n, 0], f"{label}, mean": samples[:n].mean(axis=1)}
    return columns


TERMS = {"elbo": 2, "control-variate": 1}  # of ``priors.terms``, and their network evaluations
TERM_LABELS = {
    "elbo": "bound, with its start-time term",
    "control_variate": "bound, Gaussian part in closed form",
    "ode_checkpointed": "ODE, checkpointed adjoint",
    "ode_continuous": "ODE, continuous adjoint",
}


def prior_costs(prior, x, adjoints=(), tolerance=1e-3, repeats=3, seed=0):
    """What log p and its gradient cost for each of a batch of signals x (n, *shape) side by side: {name: {"seconds",
    "evaluations"}}, for one signal.

    Names are those of TERMS, one diffusion time each, and "ode_ADJOINT" for the density of the probability-flow ODE
    with one trace estimator, Dopri5 at ``tolerance``, and each of ``adjoints``. Its evaluations are those of the
    forward solution alone, number of steps times order. Compiled before; the fastest of ``repeats``, of the ODE a
    single one.
    """
    keys, u = jax.random.split(jax.random.key(seed), len(x)), jnp.array([0.5])
    found = {}
    for term, evaluations in TERMS.items():
        log_prob = terms.PriorTerm(term)
        call = _gradient(lambda xi, key, prior, log_prob=log_prob: (log_prob(prior, xi, u, key), 0.0))
        found[term] = {"seconds": _fastest(call, (x, keys, prior), repeats)[0] / len(x), "evaluations": evaluations}
    for adjoint in adjoints:

        def log_prob(xi, key, prior, adjoint=adjoint):
            settings = {
                "divergence": "rademacher",
                "rtol": tolerance,
                "atol": tolerance,
                "adjoint": adjoint,
                "max_steps": 256,
            }
            solved = log_prob_ode(prior, xi, key, **settings)
            return solved.log_prob, solved.nfe

        seconds, (_, evaluations) = _fastest(_gradient(log_prob), (x, keys, prior), 1)
        found[f"ode_{adjoint}"] = {"seconds": seconds / len(x), "evaluations": float(jnp.mean(evaluations))}
    return found


def _gradient(log_prob):
    """The compiled gradient of log_prob(x, key, prior) -> (value, something else) in a batch of x."""
    return jax.jit(jax.vmap(jax.grad(log_prob, has_aux=True), in_axes=(0, 0, None)))


def _fastest(call, arguments, repeats):
    """(seconds, result) of the fastest of ``repeats`` calls, compiled before."""
    compiled, spans = call.lower(*arguments).compile(), []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        spans.append(time.perf_counter() - begin)
    return min(spans), result
