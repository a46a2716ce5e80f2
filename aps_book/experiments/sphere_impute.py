"""The chapter on the sphere: which months are measured, which posteriors are compared, and what the record keeps of
their scores.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from aps_book import record
from aps_book.experiments.measured import error_ratio
from aps_book.record.labels import label_of
from aps_core import data, weights
from aps_core.data.temperature import T_SPAN
from aps_core.data.user_folder import may_fall_back
from aps_core.geometry.sphere import LATITUDE, area_weights
from aps_core.metrics import calibration, evaluation
from aps_core.metrics.quality import mean_and_standard_error
from aps_core.posterior import default_weights, gaussian_posterior, load_posterior, untrained_posterior
from aps_core.training import validation

VECTORIZED = "sphere-impute-realnvp"  # weights of the paper's architecture
VECTORIZED_FLOW = {"kind": "realnvp", "steps": 24, "width": 16}
ERA5_FIELDS = 5  # of the full run, which does not say it
ROWS = {"held-out": "held_out", "paper": "aps"}  # protocol -> row; the paper's own rows are those of its own protocol
LABELS = {
    "mcg": "MCG, tuned, N = 1",
    "dps": "DPS, tuned, N = 1",
    "gaussian": "Gaussian closed form",
    "untrained": "structured flow, untrained",
    "realnvp_untrained": "vectorized RealNVP, untrained",
    "realnvp": "vectorized RealNVP (reverse, held-out measurements)",
    "held_out": label_of("sphere-impute-held-out"),
    "aps": label_of("sphere-impute-paper"),
}


def posteriors(task, protocol="held-out", name=None):
    """The posteriors of the chapter by row, in the order of its tables, and the row of the flow under study.

    protocol: that of the flow under study, whose weights (``name``, or the task's own) must exist. The flow of the
    other protocol and the vectorized one are included where their weights are and fit. Raises as ``load_posterior``.
    """
    studied = {ROWS[protocol]: load_posterior(task, protocol, name or default_weights(task.name, protocol))}
    for other in ROWS.keys() - {protocol}:
        if _exists(f"{task.name}-{other}"):
            studied[ROWS[other]] = load_posterior(task, other)
    vectorized = _vectorized(task)
    flow = vectorized["realnvp"].card["flow"] if vectorized else VECTORIZED_FLOW
    found = {
        "gaussian": gaussian_posterior(task),
        "untrained": untrained_posterior(task, studied[ROWS[protocol]].card["flow"]),
        "realnvp_untrained": untrained_posterior(task, flow),
        **vectorized,
        **studied,
    }
    return {row: found[row] for row in LABELS if row in found}, ROWS[protocol]


def _vectorized(task):
    """The vectorized RealNVP by its row, which serves the noise and the share of its training alone; else nothing."""
    if not _exists(VECTORIZED):
        return {}
    weights.load(VECTORIZED)  # a damaged file is an error, one for another noise or share is left out
    try:
        return {"realnvp": load_posterior(task, weights=VECTORIZED)}
    except weights.WeightsError:
        return {}


def _exists(name):
    try:
        weights.find(name)
    except FileNotFoundError:
        return False
    return True


def score(samplers, key, case, n, modes=None):
    """``evaluation.evaluate`` of each of ``samplers`` (dict by row) on the same measurements with the same draws, with
    PSNR by area too.
    """
    scoring = evaluation.Scoring(modes, weights=area_weights())
    return {
        row: evaluation.evaluate(sampler, key, case.measurements, case.x0, n, scoring, progress=True)
        for row, sampler in samplers.items()
    }


def store_scores(run, prefix, scores):
    """Keep PSNR, PSNR by area and SSIM of ``scores`` (dict by row) under ``prefix.row_n1`` and ``prefix.row_n128``, and
    what holds for both under ``prefix.row``: energy score, sample error over MMSE, and coverage.
    """
    for row, found in scores.items():
        for kind, key in (("n1", f"{prefix}.{row}_n1"), ("mean", f"{prefix}.{row}_n128")):
            run.mean(f"{key}.psnr", found[f"psnr_{kind}"], "dB")
            run.mean(f"{key}.psnr_area", found[f"psnr_weighted_{kind}"], "dB")
            run.mean(f"{key}.ssim", found[f"ssim_{kind}"])
            run.mean(f"{key}.ssim11", found[f"ssim11_{kind}"])
        run.mean(f"{prefix}.{row}.gap", found["psnr_mean"] - found["psnr_n1"], "dB")
        run.mean(f"{prefix}.{row}.energy", found["energy"])
        ratio = error_ratio(found, run.parameters["n_samples"])
        run.number(f"{prefix}.{row}.ratio", *ratio, n=len(found["psnr_n1"]))


def rows(run, prefix, names, both=True, columns=None):
    """Labels of a table's rows ``row_n1``, ``row_n128`` (or ``row`` alone), without those of which no source has a
    number, or none in one of ``columns`` where they are given: an older full run may lack these.
    """
    stored = [run.as_dict(), record.full_run(run.notebook) or {"numbers": {}}]
    keys = [key.rpartition(".") for source in stored for key in source["numbers"]]
    known = {row for row, _, column in keys if columns is None or column in columns}
    labels = {}
    for name in names:
        if name in ("mcg", "dps"):
            labels[name] = LABELS[name]
        elif both:
            mean = f"{LABELS[name]}, N = {run.parameters['n_samples']}"
            labels |= {f"{name}_n1": f"{LABELS[name]}, N = 1", f"{name}_n128": mean}
        else:
            labels[name] = LABELS[name]
    return {row: label for row, label in labels.items() if row in ("mcg", "dps") or f"{prefix}.{row}" in known}


def method_of(row):
    """The name of a sampler that iterates, by its row."""
    return LABELS[row].partition(",")[0]


def signals(labels):
    """For the rows of ``rows``: the parameter of the page that says on how many months each stands."""
    return {row: "n_iterative" if row in ("mcg", "dps") else "n_test" for row in labels}


def store_differences(run, scores, objectives, reference="gaussian"):
    """Keep mean differences to ``reference``, paired by measurement, under ``paired.row``: PSNR, energy score, and the
    APS objective.

    objectives: ``validation.excess_objective`` by row, for the same measurements.
    """
    base = scores[reference]
    for row, found in scores.items():
        if row == reference:
            continue
        run.mean(f"paired.{row}.psnr_n128", found["psnr_mean"] - base["psnr_mean"], "dB")
        run.mean(f"paired.{row}.psnr_n1", found["psnr_n1"] - base["psnr_n1"], "dB")
        run.mean(f"paired.{row}.energy", found["energy"] - base["energy"])
        run.mean(f"paired.{row}.objective", objectives[row] - objectives[reference], "nats")


def objectives(samplers, key, case, n=32):
    """``validation.excess_objective`` of each sampler, (n fields,) nats, with the same draws."""
    return {row: validation.excess_objective(sampler, key, case.measurements, n) for row, sampler in samplers.items()}


def coverage_table(scores):
    """Coverage over measurements, (values, standard errors), each (1 + bands, 2): all cells, then each band; 50 and 90
    % intervals.
    """
    together = np.concatenate([scores["coverage"][:, None], scores["band_coverage"]], axis=1)
    return mean_and_standard_error(together)


def store_coverage(run, scores):
    """Keep ``coverage_table`` of each row of ``scores`` in percent, as ``coverage.all.row_50``,
    ``coverage.band1.row_90`` and so on.
    """
    for row, found in scores.items():
        values, errors = coverage_table(found)
        for group, value, error in zip(coverage_groups(), values, errors, strict=True):
            for level, v, e in zip((50, 90), value, error, strict=True):
                run.number(f"coverage.{group}.{row}_{level}", 100 * v, 100 * e, "%", len(found["coverage"]))


def store_inside(run, prefix, scores):
    """Keep the coverage of all cells in percent, as ``prefix_coverage.row.50`` and ``.90``."""
    for row, found in scores.items():
        for level, inside in zip((50, 90), found["coverage"].T, strict=True):
            run.mean(f"{prefix}_coverage.{row}.{level}", 100 * inside, "%")


def coverage_groups(n_modes=300, n_bands=5):
    """Keys and labels of the coverage groups: all cells, then the bands into which ``calibration.band_coverage`` splits
    the modes.
    """
    groups = {"all": "all cells"}
    for i, band in enumerate(np.array_split(np.arange(1, n_modes + 1), n_bands), 1):
        groups[f"band{i}"] = f"EOF {band[0]}–{band[-1]}"
    return groups


def standardized_errors(gaussian, case):
    """Errors of the closed-form mean along the EOFs in units of their posterior standard deviation, (n fields, n
    modes).

    gaussian: the posterior of ``aps_core.gaussian_posterior``. Under an exact prior their mean square is 1.
    """
    basis = gaussian.flow.prior.basis

    @jax.jit
    def one(args):
        measurement, x0 = args
        context = gaussian.flow.context(measurement)
        return (x0.reshape(-1) - context.mean) @ basis / jnp.sqrt(jnp.diag(context.mode_cov))

    return np.asarray(jax.lax.map(one, (case.measurements, jnp.asarray(case.x0))), np.float64)


def store_shift(run, errors):
    """Keep the mean square of ``standardized_errors`` and the part of it that is a shift common to all fields, as
    ``shift.all`` and ``shift.common``. The common part is the square of the mean over fields, less what a mean of that
    many independent errors would have.
    """
    n = len(errors)
    run.mean("shift.all", np.mean(errors**2, axis=1))
    run.number("shift.common", np.mean(errors.mean(axis=0) ** 2 - errors.var(axis=0, ddof=1) / n))


def coverage_by_latitude(sampler, key, case, n, limit=20.0):
    """(inside, outside) coverage of the 90 % intervals in per cent, each (n fields,), of cells nearer to the equator
    than ``limit`` degrees and of the others.
    """
    near = np.abs(LATITUDE) < limit
    found = []
    for i, k in enumerate(jax.random.split(key, len(case.x0))):
        samples = np.asarray(sampler.sample(k, case.one(i), n))
        parts = ((samples[:, rows], case.x0[i][rows]) for rows in (near, ~near))
        found.append([100 * calibration.coverage(drawn, truth, (0.9,))[0] for drawn, truth in parts])
    return tuple(np.array(found).T)


def store_seconds(run, prefix, samplers, key, measurement, n):
    """Keep the time per measurement of one sample and of n, to the two digits that a time is good for."""
    for row, sampler in samplers.items():
        for suffix, count in (("n1", 1), ("n128", n)):
            seconds = evaluation.seconds_per_measurement(sampler, key, measurement, count)
            run.number(f"{prefix}.{row}_{suffix}.seconds", float(f"{seconds:.2g}"), unit="s")


def separate_calls(sampler, key, measurement, n):
    """Seconds of n calls for one sample each, compiled before."""
    jax.block_until_ready(sampler.sample(key, measurement, 1))
    begin = time.perf_counter()
    for i in range(n):
        jax.block_until_ready(sampler.sample(jax.random.fold_in(key, i), measurement, 1))
    return time.perf_counter() - begin


def density_agreement(posterior, key, measurement, n=16):
    """Mean log q of n samples in nats, and the largest difference of ``sample_and_log_prob`` and ``log_prob`` in nats
    per entry.
    """
    x, log_q = posterior.sample_and_log_prob(key, measurement, n)
    again = posterior.log_prob(x, measurement)
    return float(jnp.mean(log_q)), float(jnp.max(jnp.abs(log_q - again))) / posterior.flow.dim


def padded_log_density(log_q, n_padded, std):
    """Mean log density in nats when ``n_padded`` constant entries, modelled as N(0, std^2), join those of mean log
    density ``log_q``.

    log_q - n_padded log(std sqrt(2 pi e)): there is no limit for std -> 0.
    """
    return float(log_q - n_padded * (np.log(std) + 0.5 * np.log(2 * np.pi * np.e)))


def warming(before, after):
    """Area-weighted global mean temperature of ``after`` minus that of ``before`` (Datasets of monthly fields), in K,
    over whole years.
    """

    def mean(dataset):
        whole = dataset.values[: len(dataset.values) // 12 * 12].astype(np.float64)
        return np.sum(area_weights() * whole.mean(axis=0))

    return float(T_SPAN * (mean(after) - mean(before)))


def own_field(task, posterior, key, path, time, n):
    """(Field of the user's file, its Measurement, n samples (n, 46, 90) of its posterior); ``time``: a date or an index as
    text, "" where the file has one.

    A field with gaps is measured as it stands, so ``task.sigma_y`` says how far its values are trusted; of a complete one
    a part is left out and noise is added, as for the months of the page. Raises as ``data.open_field`` and ``task.check``.
    """
    field = data.open_field(path, time=data.index_or_date(time))
    key_measure, key_samples = jax.random.split(key)
    measurement = task.measure(key_measure, field.exact) if field.complete else field.measurement
    return field, measurement, np.asarray(posterior.sample(key_samples, measurement, n))


def store_own(run, measurement, samples):
    """Keep under ``own``: the share of observed cells in per cent; in K the distance (root mean square) of the posterior
    mean to the observed values, and the mean standard deviation of the samples where cells are observed and missing.
    """
    seen = np.asarray(measurement.mask) > 0
    spread = T_SPAN * samples.std(axis=0, ddof=1)
    run.number("own.observed", 100 * seen.mean(), unit="%")
    run.number("own.misfit", T_SPAN * np.sqrt(np.mean((samples.mean(axis=0) - measurement.y)[seen] ** 2)), unit="K")
    run.number("own.spread_observed", spread[seen].mean(), unit="K")
    if not seen.all():
        run.number("own.spread_missing", spread[~seen].mean(), unit="K")


def era5_frames():
    """The real ERA5 fields where the user has brought them, else None.

    Raises FileNotFoundError where APS_DATA_DIR holds no known data set, and as ``data.load`` for a file of another form.
    """
    try:
        return data.load("era5-frames", "test")
    except FileNotFoundError as error:
        may_fall_back("era5-frames", "the numbers of the full run", error)
        return None
