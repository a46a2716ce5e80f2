"""The chapter on faces: which faces are measured, which samplers are compared, and what the record keeps of them."""

import os
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data, evaluation, metrics, validation
from aps_core.aps import AmortizedPosterior
from aps_core.flows.distilled import ClosedFormModes
from aps_core.metrics import mean_and_standard_error
from aps_core.posterior import load_posterior
from aps_core.prior_training import tweedie
from aps_core.priors.draws import draw
from aps_core.samplers import make_sampler
from aps_core.sphere_study import error_ratio, measure
from aps_core.tasks import load_task

TASKS = {"denoise": "denoising", "sr2": "2x super-resolution", "deblur": "deblurring"}
PAPER = {"denoise": "aps.table2.celeba_denoise", "sr2": "aps.table3", "deblur": "aps.table3"}
ITERATIVE = {
    "denoise": {"dps": {"step_size": 1.0}, "ddrm": {}},
    "sr2": {"dps": {"step_size": 1.0}, "ddrm": {}},
    "deblur": {"dps": {"step_size": 1.0}, "ddrm": {}},
}
LABELS = {
    "gaussian": "Gaussian closed form",
    "noise2score": "Noise2Score",
    "untrained": "flow, untrained",
    "aps": "APS",
    "dps": "DPS",
    "ddrm": "DDRM",
}
BANDS, BAND_MODES = 5, 1000  # coverage is asked of the leading modes of the prior, in five bands
OTHER_FACES = {"val": ("celeba", "val"), "lfw": ("lfw", "test")}


@dataclass(frozen=True)
class Experiment:
    """One task of the chapter: its samplers by row, the measured faces, and their scores by row (see ``evaluation.evaluate``)."""

    name: str
    task: object
    samplers: dict
    case: object
    scores: dict

    def one(self, i):
        """The i-th Measurement."""
        return self.case.one(i)


def amortized(task):
    """The samplers of a task that need no iteration, by row: closed form, Noise2Score where it is denoising, the flow before and after training.

    Raises as ``load_posterior``.
    """
    trained = load_posterior(task)
    flow = trained.flow
    closed = AmortizedPosterior(task, ClosedFormModes(flow.modes, task.shape), {})
    tweedies = {"noise2score": make_sampler("noise2score", task)} if task.operator.kind == "identity" else {}
    return {"gaussian": closed, **tweedies, "untrained": AmortizedPosterior(task, flow, jax.jit(flow.init)(jax.random.key(0))), "aps": trained}


def experiment(name, dataset, n, n_samples, seed=0):
    """Measure ``n`` faces of ``dataset`` for the task ``name`` of TASKS and score its amortized samplers on them with the same draws."""
    task = load_task(f"faces-{name}")
    case = measure(task, dataset, n, seed)
    samplers = amortized(task)
    key, modes = jax.random.key(seed + 1), np.asarray(task.prior.gaussian.basis[:, :BAND_MODES])
    scores = {}
    for row, sampler in samplers.items():
        count = 2 if row == "noise2score" else n_samples  # a point estimate
        scores[row] = evaluation.evaluate(sampler, key, case.measurements, case.x0, count, modes, BANDS, progress=True)
    return Experiment(name, task, samplers, case, scores)


def iterate(found, n_faces, n_samples, n_steps, seed=0):
    """Score the iterative samplers of ITERATIVE on the first ``n_faces`` faces of an Experiment: (scores by row, seconds by row, nfe by row)."""
    scores, seconds, nfe = {}, {}, {}
    for row, settings in ITERATIVE[found.name].items():
        sampler = make_sampler(row, found.task, n_steps=n_steps, **settings)
        few = jax.tree.map(lambda a: a[:n_faces], found.case.measurements)
        begin = time.monotonic()
        samples = np.asarray(sampler.sample(jax.random.key(seed + 2), few, n_samples))
        seconds[row] = (time.monotonic() - begin) / (n_faces * n_samples)
        rows = [evaluation.score(s, x) for s, x in zip(samples, found.case.x0, strict=False)]
        scores[row] = {name: np.stack([r[name] for r in rows]) for name in rows[0]}
        nfe[row] = sampler.nfe
    return scores, seconds, nfe


def store(run, prefix, scores, n_samples):
    """Keep PSNR and SSIM of one sample and of the mean under ``prefix.row_n1`` and ``prefix.row_n128`` (of iterative samplers ``prefix.row``
    and ``prefix.row_mean``), energy score, their difference and the error ratio under ``prefix.row``.

    Of Noise2Score, a point estimate, only PSNR and SSIM, under ``prefix.noise2score``.
    """
    for row, found in scores.items():
        for kind, key in zip(("n1", "mean"), _keys(row)):
            run.mean(f"{prefix}.{key}.psnr", found[f"psnr_{kind}"], "dB")
            run.mean(f"{prefix}.{key}.ssim", found[f"ssim_{kind}"])
        if row == "noise2score" or row in ITERATIVE["denoise"]:
            continue
        run.mean(f"{prefix}.{row}.gap", found["psnr_mean"] - found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}.energy", found["energy"])
        run.numbers(f"{prefix}.{row}", {"ratio": error_ratio(found, n_samples)})


def store_differences(run, prefix, scores, reference="gaussian"):
    """Keep mean differences to ``reference``, paired by face, under ``prefix_paired.row``: PSNR of the mean and of one sample, energy score."""
    base = scores[reference]
    for row in scores.keys() - {reference, "noise2score"}:
        found = scores[row]
        run.mean(f"{prefix}_paired.{row}.psnr_n128", found["psnr_mean"] - base["psnr_mean"], "dB")
        run.mean(f"{prefix}_paired.{row}.psnr_n1", found["psnr_n1"] - base["psnr_n1"], "dB")
        run.mean(f"{prefix}_paired.{row}.energy", found["energy"] - base["energy"])


def store_objectives(run, prefix, found, n_faces, n=4, seed=7, reference="gaussian"):
    """Keep the APS objective (``validation.excess_objective``, in nats) of the untrained and the trained flow minus that of the closed form on
    the first ``n_faces`` faces, paired, from ``n`` samples of each: ``prefix_paired.row.objective``."""
    few = jax.tree.map(lambda a: a[:n_faces], found.case.measurements)
    pair = {row: validation.excess_objective(found.samplers[row], jax.random.key(seed), few, n) for row in (reference, "untrained", "aps")}
    for row in ("untrained", "aps"):
        run.mean(f"{prefix}_paired.{row}.objective", pair[row] - pair[reference], "nats")


def coverage_table(scores):
    """Coverage over faces, (values, standard errors), each (1 + BANDS, 2): all pixels, then each band; 50 and 90 % intervals."""
    return mean_and_standard_error(np.concatenate([scores["coverage"][:, None], scores["band_coverage"]], axis=1))


def coverage_groups():
    """Keys and labels of the coverage groups."""
    bands = np.array_split(np.arange(1, BAND_MODES + 1), BANDS)
    return {"all": "all pixels", **{f"band{i}": f"modes {b[0]}–{b[-1]}" for i, b in enumerate(bands, 1)}}


def store_coverage(run, prefix, scores, rows=("gaussian", "aps")):
    """Keep ``coverage_table`` of ``rows`` in percent, as ``prefix_coverage.all.row_50`` and so on."""
    for row in rows:
        values, errors = coverage_table(scores[row])
        for group, value, error in zip(coverage_groups(), values, errors, strict=True):
            for level, v, e in zip((50, 90), value, error, strict=True):
                run.number(f"{prefix}_coverage.{group}.{row}_{level}", 100 * v, 100 * e, "%")


def rows(names, n_samples):
    """Labels of a table's rows for the samplers ``names``, one sample and the mean of ``n_samples``."""
    kinds = ("N = 1", f"N = {n_samples}")
    return {
        key: LABELS[name] if name == "noise2score" else f"{LABELS[name]}, {kind}" for name in names for key, kind in zip(_keys(name), kinds)
    }


def _keys(row):
    """Keys of one sample and of the mean of many in the record; the paper's table has one row for DPS, and one for Noise2Score."""
    if row == "noise2score":
        return (row,)
    return (row, f"{row}_mean") if row in ITERATIVE["denoise"] else (f"{row}_n1", f"{row}_n128")


def store_tweedie(run, prior, x0, levels=(0.05, 0.1, 0.2, 0.4), seed=5):
    """Keep PSNR of Tweedie's estimate from noise of each of ``levels``, of the learned prior and of its Gaussian, under ``tweedie.LEVEL``."""
    x0 = jnp.asarray(x0)
    learned = jax.jit(tweedie, static_argnums=2)
    zero = prior.replace(params=jax.tree.map(jnp.zeros_like, prior.params))
    for level in levels:
        y = x0 + level * jax.random.normal(jax.random.key(seed), x0.shape)
        key = f"tweedie.s{round(1000 * level):03d}"
        gain = {}
        for row, which in (("gaussian", zero), ("learned", prior)):
            gain[row] = metrics.psnr(np.asarray(learned(which, y, level)), np.asarray(x0))
            run.mean(f"{key}.{row}", gain[row], "dB")
        run.mean(f"{key}.gain", gain["learned"] - gain["gaussian"], "dB")


def store_bits(run, prior, x0, n_times=64, n_ode=0, seed=6):
    """Keep bits per dimension of 8-bit faces ``x0`` with uniform noise: Gaussian, bound, and (of ``n_ode`` of them) probability-flow ODE.

    Of the ODE with one Rademacher probe; a density p of x in [0, 1] gives 8 - log2 p / d bits.
    """
    x = jnp.asarray(x0) + (jax.random.uniform(jax.random.key(seed), x0.shape) - 0.5) / 255
    bits = lambda log_p: 8 - np.asarray(log_p, np.float64) / prior.dim / np.log(2)  # noqa: E731
    run.mean("bits.gaussian", bits(jax.vmap(prior.gaussian.log_prob)(x)))
    elbo = jax.jit(lambda keys, x: jax.lax.map(lambda a: prior.elbo(a[0], a[1], n_times), (keys, x)))
    run.mean("bits.elbo", bits(elbo(jax.random.split(jax.random.key(seed + 1), len(x)), x)))
    if n_ode > 1:
        from aps_core.priors.ode import log_prob_ode

        one = jax.jit(lambda key, xi: log_prob_ode(prior, xi, key, divergence="rademacher", rtol=1e-3, atol=1e-3))
        found = [one(key, xi) for key, xi in zip(jax.random.split(jax.random.key(seed + 2), n_ode), x[:n_ode], strict=True)]
        run.mean("bits.ode", bits([f.log_prob for f in found]))


def single_sample_seconds(found, n_steps, n_samples, seed=3):
    """Seconds of one posterior sample of one measurement by row, compiled before: the amortized samplers, DPS with ``n_steps``, and of
    ``n_samples`` samples of APS in one call ("aps_all")."""
    key, one = jax.random.key(seed), found.one(0)
    seconds = {row: evaluation.seconds_per_measurement(s, key, one, 1) for row, s in found.samplers.items() if row != "untrained"}
    dps = make_sampler("dps", found.task, n_steps=n_steps, **ITERATIVE[found.name]["dps"])
    seconds["dps"] = evaluation.seconds_per_measurement(dps, key, one, 1, repeats=1)
    seconds["aps_all"] = evaluation.seconds_per_measurement(found.samplers["aps"], key, one, n_samples)
    return seconds


def other_faces(name):
    """A Dataset of faces from elsewhere (key of OTHER_FACES) where the user has brought it, else None."""
    if not os.environ.get("APS_DATA_DIR"):
        return None
    try:
        return data.load(*OTHER_FACES[name])
    except FileNotFoundError:
        return None


def score_others(run, found, dataset, prefix, n, n_samples, seed=0):
    """Score closed form and APS of an Experiment's task on faces of another ``dataset`` and keep the scores and differences as ``prefix``."""
    case = measure(found.task, dataset, n, seed)
    pair = {row: found.samplers[row] for row in ("gaussian", "aps")}
    scores = {row: evaluation.evaluate(s, jax.random.key(seed + 1), case.measurements, case.x0, n_samples) for row, s in pair.items()}
    store(run, prefix, scores, n_samples)
    store_differences(run, prefix, scores)
    for row, found_scores in scores.items():
        run.mean(f"{prefix}.{row}.inside_90", 100 * found_scores["coverage"][:, 1], "%")
    return scores


def draws_of_prior(prior, n, n_steps=16, seed=9):
    """``n`` new draws of the prior (n, 32, 32, 3)."""
    return np.asarray(draw(prior, jax.random.key(seed), n, n_steps))


def spread(samples):
    """Root-mean-square over the channels of the standard deviation of samples (n, h, w, c), (h, w)."""
    return np.sqrt(np.mean(np.var(samples, axis=0, ddof=1), axis=-1))


def picture(found, n_faces, n_samples, seed=0):
    """Figure of an Experiment's first faces: truth, measurement, a sample of the closed form, two samples, mean and spread of APS."""
    from aps_core.plotting_images import face_columns

    n_faces = min(n_faces, len(found.case.x0))
    key = jax.random.key(seed + 4)
    few = jax.tree.map(lambda a: a[:n_faces], found.case.measurements)
    closed, ours = (np.asarray(found.samplers[row].sample(key, few, n)) for row, n in (("gaussian", 1), ("aps", n_samples)))
    columns = {
        "truth": found.case.x0[:n_faces], "measured": np.asarray(few.y), "Gaussian": closed[:, 0],
        "APS": ours[:, 0], "APS ": ours[:, 1], "mean": ours.mean(axis=1),
    }  # fmt: skip
    return face_columns(columns, {"spread": np.stack([spread(s) for s in ours])}, "standard deviation")


def flat_lines(run, posterior, case, n_samples, seed=0):
    """Mean PSNR of one sample and of the mean of ``n_samples`` of APS on a Case, kept as ``aps.n1.psnr`` and ``aps.mean.psnr``: label -> dB."""
    samples = np.asarray(posterior.sample(jax.random.key(seed + 1), case.measurements, n_samples))
    return {
        "APS, N = 1": run.mean("aps.n1.psnr", metrics.psnr(samples[:, 0], case.x0), "dB"),
        f"APS, N = {n_samples}": run.mean("aps.mean.psnr", metrics.psnr(samples.mean(axis=1), case.x0), "dB"),
    }


def beside(case, pictures, posterior, seed=0):
    """Columns for ``plotting_images.face_columns``: truth, measurement, ``pictures`` (label -> (n, h, w, c)), and one sample of APS."""
    n = len(next(iter(pictures.values())))
    few = jax.tree.map(lambda a: a[:n], case.measurements)
    ours = np.asarray(posterior.sample(jax.random.key(seed + 1), few, 1)[:, 0])
    return {"truth": case.x0[:n], "measured": np.asarray(few.y), **pictures, "APS": ours}
