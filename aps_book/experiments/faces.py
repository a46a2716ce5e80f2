"""The chapter on faces: which faces are measured, which samplers are compared, and what the record keeps of them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aps_book.experiments import faces_rivals, pictured
from aps_book.experiments.closed_form_modes import ClosedFormModes
from aps_book.experiments.measured import Case, error_ratio, measure, samples_of
from aps_book.figures.sliders import Slider
from aps_book.record import Difference, full_run
from aps_book.record.labels import in_a_sentence, label_of, row_label
from aps_book.record.verdicts import size
from aps_core import data
from aps_core.data.faces import prior_faces
from aps_core.data.user_folder import may_fall_back
from aps_core.metrics import evaluation, quality
from aps_core.metrics.quality import mean_and_standard_error
from aps_core.posterior import AmortizedPosterior, default_weights, load_posterior
from aps_core.priors.fast_sampling import draw
from aps_core.priors.linear_gaussian import posterior_modes
from aps_core.samplers import make_sampler
from aps_core.tasks import load_task
from aps_core.training import validation
from aps_core.training.network_prior import tweedie
from aps_core.weights import load_card, trained_by

TASKS = {"denoise": "denoising", "sr2": "2x super-resolution", "deblur": "deblurring"}
PAPER = {"denoise": "aps.table2.celeba_denoise", "sr2": "aps.table3", "deblur": "aps.table3"}
ITERATIVE = ("dps", "ddrm", "pigdm")
LABELS = {
    "gaussian": "Gaussian closed form",
    "noise2score": "Noise2Score",
    "untrained": "flow, untrained",
    **faces_rivals.LABELS,
}
# rows of trained flows and the weights behind them: the paper's own objective first, then the forward divergence
TRAINED = {"reverse": "{task}-reverse", "reverse_spread": "{task}-reverse-spread", "aps": "{task}-held-out"}
PAPER_ROWS = {f"reverse_{kind}": f"aps_{kind}" for kind in ("n1", "n128")}  # beside the paper's APS
ROBUST_PAPER = {"val": "aps.table5.celeba_val_denoise", "lfw": "aps.table5.ffhq_denoise", "cifar10": None}
OTHER_NOISE = (0.05, 0.075, 0.15, 0.2)  # for the flow of noise 0.1
BANDS, BAND_MODES = 5, 1000  # coverage is asked of the leading modes of the prior, in five bands
OTHERS = {"val": ("celeba", "val"), "lfw": ("lfw", "test"), "cifar10": ("cifar10", "test")}


@dataclass(frozen=True)
class Experiment:
    """One task of the chapter: its samplers by row, the measured faces, and their scores by row (see
    ``evaluation.evaluate``).
    """

    name: str
    task: object
    samplers: dict
    case: object
    scores: dict

    def one(self, i):
        """The i-th Measurement."""
        return self.case.one(i)


def amortized(task):
    """The samplers of a task that need no iteration, by row: closed form, Noise2Score where it is denoising, the flow
    before and after training.

    Raises as ``load_posterior``.
    """
    closed, trained = closed_and_trained(task).values()
    flow = trained.flow
    tweedies = {"noise2score": make_sampler("noise2score", task)} if task.operator.is_identity else {}
    return {
        "gaussian": closed,
        **tweedies,
        "untrained": AmortizedPosterior(task, flow, jax.jit(flow.init)(jax.random.key(0))),
        **by_reverse(task),
        "aps": trained,
    }


def by_reverse(task):
    """The flows of a task that the reverse divergence alone has trained, by row of TRAINED: those whose weights there
    are.
    """
    found = {}
    for row, name in TRAINED.items():
        if row == "aps":
            continue
        try:
            found[row] = load_posterior(task, weights=name.format(task=task.name))
        except FileNotFoundError:  # none of this kind for this task
            continue
    return found


def trained_rows(samplers):
    """The rows of ``samplers`` that are trained flows, in the order of TRAINED."""
    return [row for row in TRAINED if row in samplers]


def labels(samplers):
    """Labels of all rows of ``samplers`` and of the iterative ones; those of trained flows say what trained them."""
    return {**LABELS, **{row: row_label(samplers[row].card) for row in trained_rows(samplers)}}


def closed_and_trained(task):
    """The closed form ("gaussian") and the flow trained by the forward divergence ("aps") of a task, by row. Raises as
    ``load_posterior``.
    """
    trained = load_posterior(task, weights=TRAINED["aps"].format(task=task.name))
    return {"gaussian": AmortizedPosterior(task, ClosedFormModes(trained.flow.modes, task.shape), {}), "aps": trained}


def experiment(name, dataset, n, n_samples, n_untrained=None, seed=0):
    """Measure ``n`` faces of ``dataset`` for the task ``name`` of TASKS and score its amortized samplers on them with
    the same draws; the untrained flow on the first ``n_untrained`` (all) only.
    """
    task = load_task(f"faces-{name}")
    case = measure(task, dataset, n, seed)
    samplers = amortized(task)
    key, scores = jax.random.key(seed + 1), {}
    scoring = evaluation.Scoring(np.asarray(task.prior.gaussian.basis[:, :BAND_MODES]), BANDS)
    for row, sampler in samplers.items():
        count = 2 if row == "noise2score" else n_samples  # a point estimate
        few = first(case, n_untrained if row == "untrained" else None)
        scores[row] = evaluation.evaluate(sampler, key, few.measurements, few.x0, count, scoring, progress=True)
    return Experiment(name, task, samplers, case, scores)


def first(case, n=None):
    """The first ``n`` (all) signals of a Case."""
    return Case(case.dataset, case.chosen[:n], case.x0[:n], jax.tree.map(lambda a: a[:n], case.measurements))


def iterate(found, n_faces, n_long, n_samples, rivals=None, seed=0):
    """Score the samplers of ITERATIVE on the first faces of an Experiment: (scores by row, seconds of one sample by
    row).

    One sample of each of ``n_faces`` faces; of the first ``n_long`` of them ``n_samples``, from which ``psnr_mean``
    (n_long,) is what the mean of 128 would have (``faces_rivals.long_run_psnr``). PiGDM on those ``n_long`` only.
    rivals: samplers by row in the place of the tuned ones.
    """
    scores, seconds = {}, {}
    for row, sampler in (faces_rivals.rivals(found.name, found.task) if rivals is None else rivals).items():
        few = first(found.case, n_long if row == "pigdm" else n_faces)
        key_long, key_single = jax.random.split(jax.random.key(seed + 2))
        head, tail = (
            jax.tree.map(lambda a, part=part: a[part], few.measurements)
            for part in (slice(n_long), slice(n_long, None))
        )
        samples, seconds[row] = faces_rivals.sample(sampler, key_long, head, n_samples)
        single = samples[:, 0]
        if len(few.x0) > n_long:
            single = np.concatenate([single, faces_rivals.sample(sampler, key_single, tail, 1)[0][:, 0]])
        scores[row] = {
            "psnr_n1": quality.psnr(single, few.x0),
            "ssim_n1": quality.ssim(single, few.x0),
            "psnr_mean": faces_rivals.long_run_psnr(samples, few.x0[:n_long]),
            "ssim_mean": quality.ssim(samples.mean(axis=1), few.x0[:n_long]),
        }
        if min(few.x0.shape[1:3]) >= quality.WINDOWS["gaussian"][0]:
            scores[row]["ssim11_n1"] = quality.ssim(single, few.x0, "gaussian")
            scores[row]["ssim11_mean"] = quality.ssim(samples.mean(axis=1), few.x0[:n_long], "gaussian")
    return scores, seconds


def store_long_run(run, name, scores, iterated):
    """Keep, on the faces with several samples of the iterative samplers, PSNR of the mean of 128 of each, of the flow
    ("aps") and of the closed form under ``NAME_long.row``, and what the flow has above each, paired by face.
    """
    means = {row: found["psnr_mean"] for row, found in iterated.items()}
    n = len(next(iter(means.values())))
    means |= {row: scores[row]["psnr_mean"][:n] for row in ("gaussian", "aps")}
    for row, values in means.items():
        run.mean(f"{name}_long.{row}.psnr", values, "dB")
        if row != "aps":
            run.mean(f"{name}_long.{row}.aps_above", means["aps"] - values, "dB")


def store(run, prefix, scores, n_samples):
    """Keep PSNR and SSIM (7 x 7 and 11 x 11) of one sample and of the mean under ``prefix.row_n1`` and
    ``prefix.row_n128``, energy score, their difference and the error ratio under ``prefix.row``. Of iterative samplers
    and of Noise2Score, a point estimate, PSNR and SSIM of one sample as ``prefix.row``.
    """
    for row, found in scores.items():
        for kind, key in zip(("n1", "mean"), _keys(row), strict=False):
            run.mean(f"{prefix}.{key}.psnr", found[f"psnr_{kind}"], "dB")
            run.mean(f"{prefix}.{key}.ssim", found[f"ssim_{kind}"])
            if f"ssim11_{kind}" in found:  # the window fits into the images
                run.mean(f"{prefix}.{key}.ssim11", found[f"ssim11_{kind}"])
        if len(_keys(row)) == 1:
            continue
        run.mean(f"{prefix}.{row}.gap", found["psnr_mean"] - found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}.energy", found["energy"])
        run.numbers(f"{prefix}.{row}", {"ratio": error_ratio(found, n_samples)})


def store_differences(run, prefix, scores, reference="gaussian"):
    """Keep mean differences to ``reference``, paired by face, under ``prefix_paired.row``: PSNR of the mean and of one
    sample, energy score.
    """
    for row in scores.keys() - {reference, "noise2score"}:
        found = scores[row]
        base = {name: values[: len(found["energy"])] for name, values in scores[reference].items()}
        run.mean(f"{prefix}_paired.{row}.psnr_n128", found["psnr_mean"] - base["psnr_mean"], "dB")
        run.mean(f"{prefix}_paired.{row}.psnr_n1", found["psnr_n1"] - base["psnr_n1"], "dB")
        run.mean(f"{prefix}_paired.{row}.energy", found["energy"] - base["energy"])


def store_objectives(run, prefix, found, n_faces, n=4, seed=7, reference="gaussian"):
    """Keep the APS objective (``validation.excess_objective``, in nats) of the untrained and the trained flows minus
    that of the closed form on the first ``n_faces`` faces, paired, from ``n`` samples of each:
    ``prefix_objective.row.objective``.
    """
    flows = ["untrained", *trained_rows(found.samplers)]
    few = jax.tree.map(lambda a: a[:n_faces], found.case.measurements)
    values = {
        row: validation.excess_objective(found.samplers[row], jax.random.key(seed), few, n)
        for row in (reference, *flows)
    }
    for row in flows:
        run.mean(f"{prefix}_objective.{row}.objective", values[row] - values[reference], "nats")


def coverage_table(scores):
    """Coverage over faces, (values, standard errors), each (1 + BANDS, 2): all pixels, then each band; 50 and 90 %
    intervals.
    """
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
                run.number(
                    f"{prefix}_coverage.{group}.{row}_{level}", 100 * v, 100 * e, "%", len(scores[row]["energy"])
                )


def rows(names, n_samples, labels=LABELS):
    """Labels of a table's rows for the samplers ``names``, one sample and the mean of ``n_samples``; labels: of the
    samplers.
    """
    kinds = ("N = 1", f"N = {n_samples}")
    return {
        key: labels[name] if name == "noise2score" else f"{labels[name]}, {kind}"
        for name in names
        for key, kind in zip(_keys(name), kinds, strict=False)
    }


def stands_on(names):
    """Which parameter says on how many faces the rows of ``names`` stand, for ``Run.table``."""
    fewer = {"untrained": "n_iterative", "dps": "n_iterative", "ddrm": "n_iterative", "pigdm": "n_long"}
    return {key: fewer.get(name, "n_test") for name in names for key in _keys(name)}


def against_closed_form(name, named):
    """What the trained flows of a task have on the closed form, for ``Run.verdict``: mean, one sample, energy score;
    named: their labels by row, which say what trained them.
    """
    found = []
    for row, label in named.items():
        key, flow = f"{name}_paired.{row}", in_a_sentence(label)
        found += (
            Difference(f"{key}.psnr_n128", f"the mean of {flow}", "that of the closed form", n="n_test"),
            Difference(f"{key}.psnr_n1", f"one sample of {flow}", "one of the closed form", None, n="n_test"),
            Difference(f"{key}.energy", flow, "the closed form", "lower", "+.3f", "n_test", "energy score"),
        )
    return tuple(found)


def against_rivals(name, label):
    """What the mean of the flow "aps" has on those of the samplers that iterate, for ``Run.verdict``; label: of the
    flow.
    """
    return tuple(
        Difference(
            f"{name}_long.{row}.aps_above", f"the mean of {in_a_sentence(label)}", f"that of {LABELS[row]}", n="n_long"
        )
        for row in ITERATIVE
    )


def timed_quality(n_steps):
    """PSNR of one sample of DPS with ``n_steps`` and step size 1, and of the flow on the same faces, by row: numbers of
    the full run of the page on the ablation; none where that has not run so many steps.
    """
    found = full_run("dps_ablation")
    if found is None or found["parameters"]["step_size"] != 1:
        return {}
    keys = {"dps": f"nfe.n{n_steps}.psnr", "aps": "aps.n1.psnr"}
    numbers = {row: found["numbers"].get(key) for row, key in keys.items()}
    return {row: {**number, "n": size(found, number, "n_test")} for row, number in numbers.items() if number}


def store_timed_quality(run, n_steps):
    """Keep ``timed_quality`` beside the seconds, as ``time.dps.psnr`` and ``time.aps.psnr``."""
    for row, number in timed_quality(n_steps).items():
        run.number(f"time.{row}.psnr", number["value"], number["se"], "dB", number["n"])


def say_timed_quality(n_steps, label):
    """The quality at which DPS was timed, as a sentence for ``Run.say``; label: of the flow beside it."""
    quality = timed_quality(n_steps)
    if quality.keys() != {"dps", "aps"}:
        return "What this DPS has in PSNR was not run."
    dps, aps = (f"{one['value']:.2f} ± {one['se']:.2f} dB" for one in (quality["dps"], quality["aps"]))
    return (
        f"On the {quality['dps']['n']} faces of the ablation this DPS has {dps}, one sample of {in_a_sentence(label)} "
        f"{aps}."
    )


def _keys(row):
    """Keys of one sample and of the mean of many in the record; the paper's table has one row for DPS, and one for
    Noise2Score.
    """
    return (row,) if row == "noise2score" or row in ITERATIVE else (f"{row}_n1", f"{row}_n128")


def store_tweedie(run, prior, x0, levels=(0.05, 0.1, 0.2, 0.4), seed=5):
    """Keep PSNR of Tweedie's estimate from noise of each of ``levels``, of the learned prior and of its Gaussian, under
    ``tweedie.LEVEL``.
    """
    x0 = jnp.asarray(x0)
    learned = jax.jit(tweedie, static_argnums=2)
    zero = prior.replace(params=jax.tree.map(jnp.zeros_like, prior.params))
    for level in levels:
        y = x0 + level * jax.random.normal(jax.random.key(seed), x0.shape)
        key = f"tweedie.{_level(level)}"
        gain = {}
        for row, which in (("gaussian", zero), ("learned", prior)):
            gain[row] = quality.psnr(np.asarray(learned(which, y, level)), np.asarray(x0))
            run.mean(f"{key}.{row}", gain[row], "dB")
        run.mean(f"{key}.gain", gain["learned"] - gain["gaussian"], "dB")


def store_bits(run, prior, x0, n_times=64, n_ode=0, seed=6):
    """Keep bits per dimension of 8-bit faces ``x0`` with uniform noise: Gaussian, bound, and (of ``n_ode`` of them)
    probability-flow ODE.

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
        found = [
            one(key, xi) for key, xi in zip(jax.random.split(jax.random.key(seed + 2), n_ode), x[:n_ode], strict=True)
        ]
        run.mean("bits.ode", bits([f.log_prob for f in found]))


def single_sample_seconds(found, n_steps, n_samples, seed=3):
    """Seconds of one posterior sample of one measurement by row, compiled before: the amortized samplers, DPS with
    ``n_steps``, and of ``n_samples`` samples of the flow in one call ("aps_all").
    """
    key, one = jax.random.key(seed), found.one(0)
    seconds = {
        row: evaluation.seconds_per_measurement(s, key, one, 1)
        for row, s in found.samplers.items()
        if row not in ("untrained", "reverse", "reverse_spread")  # the last two are the network of "aps"
    }
    dps = make_sampler("dps", found.task, n_steps=n_steps)
    seconds["dps"] = evaluation.seconds_per_measurement(dps, key, one, 1, repeats=1)
    seconds["aps_all"] = evaluation.seconds_per_measurement(found.samplers["aps"], key, one, n_samples)
    return seconds


def other_images(name):
    """A Dataset of other images (key of OTHERS) where the user has brought or fetched it, else None."""
    try:
        return data.load(*OTHERS[name])
    except FileNotFoundError as error:  # neither brought nor fetched
        may_fall_back(OTHERS[name][0], "the full run's record", error)
        return None


def score_others(run, found, dataset, prefix, n, n_samples, seed=0):
    """Score closed form and APS of an Experiment's task on faces of another ``dataset`` and keep the scores and
    differences as ``prefix``.
    """
    case = measure(found.task, dataset, n, seed)
    pair = {row: found.samplers[row] for row in ("gaussian", "aps")}
    scores = {
        row: evaluation.evaluate(s, jax.random.key(seed + 1), case.measurements, case.x0, n_samples)
        for row, s in pair.items()
    }
    store(run, prefix, scores, n_samples)
    store_differences(run, prefix, scores)
    for row, found_scores in scores.items():
        run.mean(f"{prefix}.{row}.inside_90", 100 * found_scores["coverage"][:, 1], "%")
    return scores


def score_other_noise(run, found, dataset, sigma, n, n_samples, seed=0):
    """Keep what the flow of an Experiment gives for measurements with noise ``sigma`` in the place of its own, and the
    mean of the closed form for that noise, under ``noise.sSIGMA``: PSNR in dB, pixels inside the 90 % intervals in per
    cent.
    """
    task = load_task(f"faces-{found.name}", sigma_y=sigma)
    case = measure(task, dataset, n, seed)
    closed = AmortizedPosterior(
        task, ClosedFormModes(posterior_modes(task.prior.gaussian, task.operator, sigma), task.shape), {}
    )
    key = jax.random.key(seed + 1)
    ours, told = (
        evaluation.evaluate(s, key, case.measurements, case.x0, n_samples) for s in (found.samplers["aps"], closed)
    )
    prefix = f"noise.{_level(sigma)}"
    run.mean(f"{prefix}.aps_n1", ours["psnr_n1"], "dB")
    run.mean(f"{prefix}.aps_n128", ours["psnr_mean"], "dB")
    run.mean(f"{prefix}.gaussian_n128", told["psnr_mean"], "dB")
    run.mean(f"{prefix}.inside_90", 100 * ours["coverage"][:, 1], "%")


def noise_rows():
    """Labels of the rows of OTHER_NOISE."""
    return {_level(sigma): f"noise {sigma}" for sigma in OTHER_NOISE}


def _level(sigma):
    return f"s{round(1000 * sigma):03d}"


def draws_of_prior(prior, n, n_steps=16, seed=9):
    """``n`` new draws of the prior (n, 32, 32, 3)."""
    return np.asarray(draw(prior, jax.random.key(seed), n, n_steps))


def spread(samples):
    """Root-mean-square over the channels of the standard deviation of samples (n, h, w, c), (h, w)."""
    return np.sqrt(np.mean(np.var(samples, axis=0, ddof=1), axis=-1))


def picture(found, n_faces, n_samples, seed=0):
    """Figure of an Experiment's first faces, or of draws in the place of photographs (see ``pictured``): truth,
    measurement, a sample of the closed form, two samples, mean and spread of the flow trained by the forward divergence.
    """
    from aps_book.figures.images import face_columns

    key, few = jax.random.key(seed + 4), pictured.case(found.task, found.case, n_faces, seed)
    closed, ours = (
        samples_of(found.samplers[row].sample, key, few.measurements, n)
        for row, n in (("gaussian", 1), ("aps", n_samples))
    )
    columns = {
        "truth": few.x0,
        "measured": np.asarray(few.measurements.y),
        "Gaussian": closed[:, 0],
        "sample": ours[:, 0],
        "sample ": ours[:, 1],
        "mean": ours.mean(axis=1),
    }
    return face_columns(columns, {"spread": np.stack([spread(s) for s in ours])}, "standard deviation")


def flat_lines(run, posterior, case, n_samples, seed=0):
    """Mean PSNR of one sample and of the mean of ``n_samples`` of a trained flow on a Case, kept as ``aps.n1.psnr`` and
    ``aps.mean.psnr``: label -> dB.
    """
    label = row_label(posterior.card)
    samples = np.asarray(posterior.sample(jax.random.key(seed + 1), case.measurements, n_samples))
    return {
        f"{label}, N = 1": run.mean("aps.n1.psnr", quality.psnr(samples[:, 0], case.x0), "dB"),
        f"{label}, N = {n_samples}": run.mean("aps.mean.psnr", quality.psnr(samples.mean(axis=1), case.x0), "dB"),
    }


def flat_lines_of(record):
    """What ``flat_lines`` returned in the run of a ``record``, with what trained the flow of that run."""
    n, numbers = record["parameters"]["n_samples"], record["numbers"]
    used = record.get("provenance", {"weights": ["faces-denoise-held-out"]})["weights"]  # a run under way has none yet
    (label,) = (label_of(name) for name in used if name.startswith("faces-denoise"))
    return {f"{label}, N = 1": numbers["aps.n1.psnr"]["value"], f"{label}, N = {n}": numbers["aps.mean.psnr"]["value"]}


def given_flows():
    """What trained the flows that ``load_posterior`` gives, which ``slider_faces`` shows, task by task in words."""
    cards = {title: load_card(default_weights(f"faces-{name}")) for name, title in TASKS.items()}
    return "; ".join(f"{title}: {trained_by(card)}" for title, card in cards.items())


def slider_faces(n_faces=4, n_shown=8, n_samples=32, seed=0):
    """What ``sliders.face_view`` shows of prior-faces, by task, face and sample: (sliders, faces, spread). They are draws
    of the shipped prior, whatever else is at hand; the flows are those of ``load_posterior``.
    """
    truth, found, n_shown = prior_faces("test").values[:n_faces], {}, min(n_shown, n_samples)
    for i, name in enumerate(TASKS):
        task = load_task(f"faces-{name}")
        measurements = task.measure(jax.random.key(seed + i), jnp.asarray(truth))
        samples = samples_of(load_posterior(task).sample, jax.random.key(seed + 10), measurements, n_samples)
        side = truth.shape[1] // measurements.y.shape[1]
        measured = np.repeat(np.repeat(np.asarray(measurements.y), side, axis=1), side, axis=2)
        found[name] = measured, samples
    stack = lambda of: np.stack([of(*one) for one in found.values()])  # noqa: E731
    choices = [
        Slider("task", tuple(TASKS[name] for name in found)),
        Slider("face", tuple(f"{i + 1} of {n_faces}" for i in range(n_faces))),
        Slider("sample", tuple(f"{i + 1} of {n_samples}" for i in range(n_shown))),
    ]
    pictures = {
        "truth {1}": (truth, (1,)),
        "measurement": (stack(lambda measured, _: measured), (0, 1)),
        "sample {2}": (stack(lambda _, samples: samples[:, :n_shown]), (0, 1, 2)),
        f"mean of {n_samples}": (stack(lambda _, samples: samples.mean(axis=1)), (0, 1)),
    }
    spread = stack(lambda _, samples: np.sqrt((samples.std(axis=1, ddof=1) ** 2).mean(axis=-1)))
    return choices, pictures, {"standard deviation": (spread, (0, 1))}
