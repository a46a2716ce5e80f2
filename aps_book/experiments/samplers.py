"""The chapter on samplers: which are compared, with which settings, and what the record keeps of them."""

import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from aps_book import record
from aps_book.experiments import known_posteriors
from aps_book.experiments.failures import finite_or_not
from aps_book.experiments.sampler_names import NAMES
from aps_book.record import tuning_records
from aps_book.record.labels import label_of
from aps_book.record.verdicts import word
from aps_book.record.words import shown
from aps_core.metrics import quality
from aps_core.samplers import make_sampler
from aps_core.samplers.tune import Trials, tune
from aps_core.training import posterior

LOW = {"gaussian16": 0.1, "mixture2": 0.05}  # noise of the searches, where "tuned" means what it says
LABELS = {
    "exact": "draws of the posterior itself",
    "gaussian": "Gaussian closed form",
    "aps": label_of("gaussian16-realnvp-denoise"),  # that of the mixture is trained in the same way
    "score_prior": "score prior, exact",
    "score_prior_ode": "score prior, ODE",
    "surrogate": "score prior, surrogate",
    "noise2score": "Noise2Score",
    **NAMES,
}
SHORT = {"exact": "exact draws", "surrogate": "score prior"}  # titles of panels
TUNED = tuple(NAMES)
ANY_OPERATOR = ("dps", "score_ald", "daps", "red_diff")  # also such that are not linear
GRIDS = {
    "dps": ({"n_steps": (100, 1000), "step_size": (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 1.0)},),
    "mcg": ({"n_steps": (100, 1000), "step_size": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)},),
    "pigdm": ({"rule": ("paper", "score"), "n_steps": (100, 500), "prior_variance": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)},),
    "ddrm": ({"n_steps": (5, 10, 20, 50), "eta": (0.5, 0.7, 0.85, 1.0), "eta_b": (0.5, 1.0)},),
    "sde_proj": ({"n_steps": (100, 1000), "weight": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)},),
    "score_ald": ({"n_inner": (5, 20), "step_size": (0.01, 0.03, 0.1, 0.3), "gamma": (0.5, 1.0)},),
    "daps": ({"n_inner": (20, 100), "step_size": (0.03, 0.1, 0.3)},),
    "red_diff": ({"step_size": (0.03, 0.1), "weight": (0.003, 0.01, 0.03, 0.1, 0.25, 1.0, 3.0)},),
}  # around the defaults of the classes; every grid of a method is tried, what a record has already is kept
# what the authors' programs do and the classes leave out by default, or the other way round: (label, settings), each at
# the other settings of the search, which was made without them
VARIANTS = {
    "dps.clip": ("DPS, estimate clipped", {"clip": True}),
    "dps.no_last_pull": ("DPS, no pull after the last step", {"last_pull": False}),
    "pigdm.red_diff": ("PiGDM of RED-diff's program", {"rule": "red-diff", "eta": 0.0}),
    "daps.power_7": ("DAPS, levels and decaying steps of its program", {"schedule": "power-7", "decay": 0.01}),
    "red_diff.pseudo_inverse": ("RED-diff, from the pseudo-inverse", {"start": "pseudo-inverse"}),
}
# of the score priors and of APS in two dimensions
FLOW = {"kind": "realnvp", "steps": 8, "width": 64, "shortcut": True}
SCORE_PRIORS = {
    "score_prior": ("score-prior", {"prior_term": "exact"}),
    "score_prior_ode": ("score-prior", {}),
    "surrogate": ("score-prior-surrogate", {}),
}


def search(path=None, problems=("mixture2", "gaussian16"), methods=TUNED, progress=print):
    """Search the settings of every method on validation signals of every problem at its low noise, by the KL to the
    known posterior.

    Returns and, with ``path``, writes {problem: {method: what ``tune`` found, with "paper": the score of the default
    settings}}. A file that is there already is added to.
    """
    found = tuning_records.read(path) if path and Path(path).exists() else {}
    for problem in problems:
        n_measurements, n = (8, 256) if problem == "mixture2" else (4, 32)
        case = known_case(problem, LOW[problem], n_measurements, split="val")
        settings = {"trials": Trials(n, case.badness, measurements=case.measurements)}
        for method in methods:
            if method == "mcg" and problem == "gaussian16":
                continue  # denoising: MCG is DPS
            name, known = method.replace("_", "-"), found.get(problem, {}).get(method)
            best = tuning_records.extended(known, GRIDS[method], partial(tune, name, case.task, **settings))
            paper = known["paper"] if known else tune(name, case.task, {}, **settings)["search"][0]["score"]
            found.setdefault(problem, {})[method] = {**best, "metric": "kl", "signals": "val", "paper": paper}
            progress(problem, method, best["best"], min(row["score"] for row in best["search"] if row["finite"]), paper)
            if path:
                tuning_records.write(path, found)
    return found


def known_case(problem, sigma_y, n, seed=0, split="test"):
    """The KnownPosterior of "gaussian16" or "mixture2". Raises ValueError for another name."""
    if problem not in LOW:
        raise ValueError(f"problem must be one of {sorted(LOW)}, got {problem!r}")
    return (known_posteriors.gaussian_case if problem == "gaussian16" else known_posteriors.mixture_case)(
        sigma_y, n, seed, split
    )


def iterative(case, found, methods=TUNED, paper=True):
    """The iterative samplers of a case by row: ``method.paper`` and ``method.tuned``; found: {method: what ``tune``
    found}.
    """
    rows = {}
    for method in methods:
        if method == "mcg" and case.task.operator.is_identity:
            continue
        name = method.replace("_", "-")
        if paper:
            rows[f"{method}.paper"] = make_sampler(name, case.task)
        rows[f"{method}.tuned"] = make_sampler(name, case.task, **found[method]["best"])
    return rows


def variants(case, found):
    """The rows of VARIANTS of a case, each at the best settings of its method's search (``found``, as in ``iterative``)
    but for its own: what it changes was not tuned.
    """
    rows = {}
    for row, (_, own) in VARIANTS.items():
        method = row.partition(".")[0]
        rows[row] = make_sampler(method.replace("_", "-"), case.task, **{**found[method]["best"], **own})
    return rows


def score_priors(case, steps, names=("score_prior", "surrogate"), batch=128):
    """The score priors of a case by row, each to be fitted in ``steps`` steps to one measurement."""
    optimizer = {"steps": steps, "learning_rate": 3e-3, "warmup": steps // 10, "ema": max(0.0, 1 - 20 / steps)}
    rows = {}
    for row in names:
        name, settings = SCORE_PRIORS[row]
        rows[row] = make_sampler(
            name, case.task, flow=FLOW, optimizer=optimizer, objective={"batch": batch}, **settings
        )
    return rows


def fitted_aps(case, steps, batch=256):
    """APS for the task of a case, trained here on measurements of draws of the prior."""
    optimizer = {"steps": steps, "learning_rate": 3e-3, "warmup": steps // 10, "ema": max(0.0, 1 - 20 / steps)}
    recipe = {"name": "aps", "flow": FLOW, "objective": {"batch": batch, "noise": "fresh"}, "optimizer": optimizer}
    return posterior.train_posterior(case.task, recipe, progress=False)[0]


class Exact:
    """Draws of the posterior itself, as a sampler of one case."""

    nfe = 0

    def __init__(self, case):
        self.case = case


def draw(sampler, key, case, n, n_measurements=None):
    """(samples (b, n, *shape), seconds): n draws for each measurement of a case, or the first few, and the median time
    of one measurement.

    The first measurement, with the compilation, is left out of the time where there are others.
    """
    if isinstance(sampler, Exact):
        return case.exact(key, n)[:n_measurements], 0.0
    samples, seconds = [], []
    for i, k in enumerate(jax.random.split(key, len(case.x0))[:n_measurements]):
        begin = time.perf_counter()
        samples.append(np.asarray(finite_or_not(lambda k=k, i=i: sampler.sample(k, case.one(i), n))))
        seconds.append(time.perf_counter() - begin)
    return np.stack(samples), float(np.median(seconds[1:] or seconds))


def score(run, prefix, sampler, key, case, n, n_measurements=None):
    """Keep what ``KnownPosterior.judge`` says of a sampler, its seconds and its NFE under ``prefix``; returns (samples,
    KL of each measurement).
    """
    samples, seconds = draw(sampler, key, case, n, n_measurements)
    found = case.judge(samples)
    for name in ("kl", "ratio", "energy"):
        if name in found and np.isfinite(found[name]).all():
            run.number(f"{prefix}.{name}", *_mean(found[name]), n=len(found[name]))
    run.number(f"{prefix}.mean", np.sqrt(max(0.0, found["mean"].mean())))
    run.number(f"{prefix}.coverage", *_mean(100 * found["coverage"]), "%", len(found["coverage"]))
    run.number(f"{prefix}.seconds", float(f"{seconds:.2g}"), unit="s")
    run.number(f"{prefix}.nfe", getattr(sampler, "training_nfe", None) or sampler.nfe)
    return samples, found["kl"]


def compare(run, prefix, rows, key, case, n, n_fitted=1):
    """``score`` of every row, score priors on the first ``n_fitted`` measurements; returns the samples by row.

    ``row.excess``: KL less that of exact draws, paired by measurement, where both are finite.
    """
    samples, kl = {}, {}
    for row, sampler in rows.items():
        chosen = n_fitted if row in SCORE_PRIORS else None
        samples[row], kl[row] = score(run, f"{prefix}.{row}", sampler, key, case, n, chosen)
    for row in [row for row in kl if row != "exact" and "exact" in kl]:
        excess = kl[row] - kl["exact"][: len(kl[row])]
        if np.isfinite(excess).all():
            run.number(f"{prefix}.{row}.excess", *_mean(excess), n=len(excess))
    return samples


def table_rows(run, prefix):
    """Labels of the rows under ``prefix`` of which this run or the full one has numbers, in the order of LABELS."""
    return _rows_of([run.as_dict(), record.full_run(run.notebook) or {"numbers": {}}], prefix)


def _rows_of(records, prefix):
    known = {key.rpartition(".")[0] for source in records for key in source["numbers"]}
    labels = {}
    for row, label in LABELS.items():
        labels |= {row: label, f"{row}.paper": f"{label}, default setting", f"{row}.tuned": f"{label}, tuned"}
        labels |= _variants_of(row)
    return {row: label for row, label in labels.items() if f"{prefix}.{row}" in known}


def signals(labels, n):
    """For the rows of ``table_rows``: the parameter that says on how many measurements each stands; n: that of all but
    the score priors, which are fitted to a few.
    """
    return {row: "n_fitted" if row in SCORE_PRIORS else n for row in labels}


def chart(shown, prefixes, column="kl"):
    """Arguments of ``charts.distance_chart`` from a record: {mark: {method: value}} at each prefix (dict label -> prefix),
    of default settings, or those of methods without any, and of tuned ones. None where a divergence is infinite.
    """
    numbers, groups = shown["numbers"], {}
    for label, prefix in prefixes.items():
        rows = [row for row in _rows_of([shown], prefix) if row != "exact" and f"{prefix}.{row}.nfe" in numbers]
        for kind, mark in (("paper", "default setting"), ("tuned", "tuned")):
            chosen = [row for row in rows if row.endswith(kind) or (kind == "tuned" and "." not in row)]
            stored = {LABELS[row.split(".")[0]]: numbers.get(f"{prefix}.{row}.{column}") for row in chosen}
            values = {method: number and number["value"] for method, number in stored.items()}
            if values:  # a run may leave a problem out
                groups[f"{label}, {mark}"] = values
    return {"groups": groups, "xlabel": "KL (nats per dimension)", "threshold": 0.01, "order": list(LABELS.values())}


def nearest_first(record, prefix):
    """The methods under ``prefix`` of a record in words, by their KL from the posterior, at tuned settings where they have any; those
    whose divergence is infinite last.
    """
    numbers, found = record["numbers"], {}
    for row, label in LABELS.items():
        kinds = [f"{prefix}.{row}.tuned", f"{prefix}.{row}"]
        key = next((key for key in kinds if f"{key}.nfe" in numbers), None)
        if key is not None and row != "exact":
            found[label] = numbers.get(f"{key}.kl", {"value": np.inf})["value"]
    ordered = sorted(found, key=found.get)
    far = [label for label in ordered if np.isinf(found[label])]
    near = ", ".join(label for label in ordered if label not in far)
    return near + (f"; infinitely far {', '.join(far)}" if far else "")


PROBLEMS = {
    "gaussian16.low": "Gaussian, low noise",
    "gaussian16.high": "Gaussian, high noise",
    "mixture2.low": "mixture, low noise",
    "mixture2.high": "mixture, high noise",
}


def verdicts(numbers, measure="kl"):
    """A Markdown table: KL of every method at each problem, with the standard error over measurements; bold where it
    cannot be told from that of draws of the posterior itself on the same measurements (the difference, paired where
    the record has it so, is less than two standard errors), a dash where it is infinite or was not run. Default and
    tuned settings stand beside each other.
    """
    lines = ["| method | " + " | ".join(PROBLEMS.values()) + " |", "| --- |" + " --- |" * len(PROBLEMS)]
    labels = [one for row, label in LABELS.items() for one in [(row, label), *_variants_of(row).items()]]
    for row, label in labels:
        cells = []
        for prefix in PROBLEMS:
            kinds = ("",) if f"{prefix}.{row}.{measure}" in numbers else (".paper", ".tuned")
            exact = numbers.get(f"{prefix}.exact.{measure}")
            stored = [[numbers.get(f"{prefix}.{row}{kind}.{name}") for name in (measure, "excess")] for kind in kinds]
            said = [_against(number, excess or _apart(number, exact)) for number, excess in stored]
            cells.append("–" if set(said) == {"–"} else " / ".join(said))
        if set(cells) != {"–"} and row != "exact":
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _variants_of(method):
    """{row: label} of a method's variants."""
    return {row: label for row, (label, _) in VARIANTS.items() if row.partition(".")[0] == method}


def _apart(number, exact):
    """The excess in a record that keeps no paired one: the difference of the means, or None."""
    if number is None or exact is None or None in (number["se"], exact["se"]):
        return None
    return {"value": number["value"] - exact["value"], "se": float(np.hypot(number["se"], exact["se"]))}


def _against(number, excess):
    """A KL in words: bold where its excess over that of exact draws is not resolved; plain where that has no standard
    error.
    """
    if number is None:
        return "–"
    text = shown(number["value"], ".3f") + ("" if number["se"] is None else f" ± {number['se']:.3f}")
    known = excess is not None and excess["se"] is not None
    return f"**{text}**" if known and word(excess, None) == "not resolved" else text


def sweep(run, prefix, case, sizes, key, n):
    """Ratios of the variance of DPS's samples to that of the posterior by step size, kept as ``prefix.s0.ratio`` and so
    on.
    """
    ratios = []
    for i, size in enumerate(sizes):
        found = case.judge(draw(make_sampler("dps", case.task, step_size=float(size)), key, case, n)[0])
        run.number(f"{prefix}.s{i}.size", float(size))
        ratios.append(run.number(f"{prefix}.s{i}.ratio", *_mean(found["ratio"]), n=len(found["ratio"])))
    return ratios


def sweep_chart(shown, tuned):
    """Arguments of ``curves.step_size_plot`` from the numbers of ``sweep`` in a record; tuned: the step size of the search.
    Raises KeyError where it has none.
    """
    numbers, curves = shown["numbers"], {}
    for level in ("low", "high"):
        n = sum(key.startswith(f"sweep.{level}.") and key.endswith(".size") for key in numbers)
        points = [[numbers[f"sweep.{level}.s{i}.{name}"]["value"] for i in range(n)] for name in ("size", "ratio")]
        curves[f"σ_y = {numbers[f'noise.gaussian16.{level}']['value']:g}"] = points
    return {"curves": curves, "chosen": {"tuned": tuned, "paper's": 1.0}}


def denoising_means(run, aps, key, n_signals, n):
    """Keep PSNRs of posterior means of "gaussian16" by several ways, under ``denoise``: the formula, Noise2Score, the
    mean of n exact samples, that of n samples of ``aps``; and the largest difference of Noise2Score to the formula.
    """
    case = known_posteriors.gaussian_case(float(aps.task.sigma_y), n_signals, seed=1)
    shape = (n_signals, *case.task.shape)
    means = {
        "formula": case.mean.reshape(shape),
        "noise2score": np.asarray(make_sampler("noise2score", case.task).sample(key, case.measurements, 1))[:, 0],
        "exact": case.exact(key, n).mean(axis=1),
        "aps": np.asarray(aps.sample(key, case.measurements, n), np.float64).mean(axis=1),
    }
    psnr = {name: quality.psnr(mean, case.x0) for name, mean in means.items()}
    for name, values in psnr.items():
        run.mean(f"denoise.{name}.psnr", values, "dB")
        if name != "formula":
            run.mean(f"denoise.{name}.above", values - psnr["formula"], "dB")
    run.number("denoise.noise2score.difference", np.abs(means["noise2score"] - means["formula"]).max())
    run.number("denoise.expected", -10 * np.log10(1 + 1 / n), unit="dB")


def _mean(values):
    """Mean, and standard error where there are two values or more."""
    value, error = quality.mean_and_standard_error(values)
    return value, None if np.isnan(error) else error


if __name__ == "__main__":
    search(Path("weights/results/samplers.search.json"))
