"""The chapter on trust: diagnosis of right and of faulty measurements, how well it tells them apart, and what was aimed at."""

import time
from dataclasses import dataclass

import numpy as np

from aps_book.experiments.trust_faults import AS_TOLD, DRAWN, FAULTS, MONTHS, RIGHT, faulty, faulty_months
from aps_book.record import full_run
from aps_book.record.verdicts import RESOLVED
from aps_core import data
from aps_core.metrics.trust import diagnose
from aps_core.metrics.trust.statistics import SAMPLES
from aps_core.posterior import load_posterior
from aps_core.tasks import load_task

N_SAMPLES = SAMPLES  # of each diagnosis
FACE_TASKS = {"denoise": "denoising", "sr2": "2x super-resolution", "deblur": "deblurring"}
ROWS = {**AS_TOLD, **FAULTS}
SECONDS = 2.0  # that one diagnosis may take
PERFECT = 0.995  # area under a ROC curve from which on there is nothing to be seen


@dataclass(frozen=True)
class Aim:
    """What the number ``quantity`` of a row should be: at least ``value`` ("higher" is better), at most ("lower"), or
    ``within`` so much of it (None).
    """

    row: str
    quantity: str
    value: float
    better: str | None
    within: float = 0.0

    @property
    def label(self):
        """The aim in words."""
        said = {"higher": "at least", "lower": "at most", None: "about"}[self.better]
        what = "area" if self.quantity == "auc" else "not trusted"
        unit = "" if self.quantity == "auc" else " %"
        return f"{ROWS[self.row]}: {what} {said} {self.value:g}{unit}"

    def reached(self, number):
        """True, False, or None where the ``number`` (its distance from the aim) is closer to it than two standard errors."""
        value, error = number["value"], number["se"]
        if self.better is None:
            value, good = abs(value) - self.within, -1
        else:
            good = 1 if self.better == "higher" else -1
        return None if abs(value) < RESOLVED * error else good * value >= 0


AIMS = (
    Aim(RIGHT, "share", 15.0, "lower"),
    Aim(DRAWN, "share", 5.0, None, 2.0),
    *(Aim(row, "auc", 0.95, "higher") for row in ("noise_2", "noise_0_5", "cifar10", "weather", "uniform")),
    *(Aim(row, "auc", 0.85, "higher") for row in ("noise_1_5", "noise_0_67")),
    Aim("turned", "share", 50.0, "higher"),
)


def diagnosed(posterior, measurements):
    """log p of all statistics together (batch,) and whether each is not trusted."""
    found = diagnose(posterior, measurements)
    log_p = np.array([np.log(one.p_values["all"]) if one.p_values else -np.inf for one in found])
    return log_p, np.array([one.verdict != "trust" for one in found])


def seconds(posterior, measurement, repeats=3):
    """Median wall-clock seconds of one diagnosis after the first."""
    diagnose(posterior, measurement)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        diagnose(posterior, measurement)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def area(wrong, right):
    """The area under the ROC curve of telling ``wrong`` from ``right`` by a smaller value, ties counting half, and its
    standard error (DeLong, DeLong and Clarke-Pearson 1988).
    """
    wrong, right = np.asarray(wrong)[:, None], np.asarray(right)[None]
    wins = (wrong < right) + 0.5 * (wrong == right)
    parts = (wins.mean(axis=1), wins.mean(axis=0))
    return float(wins.mean()), float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))


def curve(wrong, right):
    """The ROC curve of the same: shares (k,) of ``right`` and of ``wrong`` that are called wrong, from none to all."""
    cuts = np.unique(np.concatenate([wrong, right]))
    right, wrong = (np.searchsorted(np.sort(values), cuts, "right") / len(values) for values in (right, wrong))
    return np.append(0.0, right), np.append(0.0, wrong)


def study_faults(run, name, faces, drawn, signals, n, seed=0):
    """Diagnose ``faces`` and draws of the prior as the task ``name`` measures them, and n measurements of each fault, by
    the flow that ``load_posterior`` gives. Returns the posterior and ROC curves by fault.
    """
    task = load_task(f"faces-{name}")
    posterior = load_posterior(task)
    return posterior, compared(run, name, posterior, faulty(task, faces, drawn, signals, n, seed))


def study_months(run, n, seed=0):
    """The same of n test months of temperature, under ``diagnose.sphere``. Returns the posterior and the months' data set."""
    task, months = load_task("sphere-impute"), data.load("ncep-temperature", "test")
    posterior = load_posterior(task)
    chosen = months.values[np.round(np.linspace(0, len(months.values) - 1, n)).astype(int)]
    compared(run, "sphere", posterior, faulty_months(task, chosen, seed))
    return posterior, months


def compared(run, name, posterior, measured):
    """Diagnose ``measured`` (by fault) and keep, under ``diagnose.<name>.<fault>``, the share that is not trusted (%) and
    the areas under the ROC curve against the right ones and against draws of the prior. Returns the curves against the
    right ones, by fault: (false, found, area, where the verdict stands).
    """
    results, curves = {fault: diagnosed(posterior, one) for fault, one in measured.items()}, {}
    for fault, (log_p, doubted) in results.items():
        _store_share(run, f"diagnose.{name}.{fault}.share", doubted)
        for other, key in () if fault in AS_TOLD else ((RIGHT, "auc"), (DRAWN, "auc_drawn")):
            if other in results:
                run.number(f"diagnose.{name}.{fault}.{key}", *area(log_p, results[other][0]), n=len(doubted))
        if fault not in AS_TOLD:
            right, wrong_at_rest = results[RIGHT]
            at = (float(np.mean(wrong_at_rest)), float(np.mean(doubted)))
            curves[fault] = (*curve(log_p, right), area(log_p, right)[0], at)
    return curves


def _store_share(run, key, doubted):
    share, n = float(np.mean(doubted)), len(doubted)
    run.number(key, 100 * share, 100 * np.sqrt(max(share * (1 - share), 1 / n**2) / n), "%", n)


def store_aims(run, names):
    """Keep what AIMS ask for less what they ask, of the face tasks ``names`` and with its standard error, as
    ``aim.<row>.<task>``.
    """
    stored = run.as_dict()["numbers"]
    for aim in AIMS:
        for name in names:
            number = stored.get(f"diagnose.{name}.{aim.row}.{aim.quantity}")
            if number is not None:
                run.number(
                    f"aim.{aim.row}.{name}", number["value"] - aim.value, number["se"], number["unit"], number["n"]
                )


def known(run, prefix, rows, quantity):
    """Those of ``rows`` of which this run or the full one has the quantity."""
    stored = {**(full_run(run.notebook) or {"numbers": {}})["numbers"], **run.as_dict()["numbers"]}
    return {row: label for row, label in rows.items() if f"{prefix}.{row}.{quantity}" in stored}


def aim_rows(run):
    """The label of each aim of which this run or the full one has something, by its row."""
    stored = {**(full_run(run.notebook) or {"numbers": {}})["numbers"], **run.as_dict()["numbers"]}
    return {aim.row: aim.label for aim in AIMS if any(f"aim.{aim.row}.{name}" in stored for name in FACE_TASKS)}


def tally(run):
    """A sentence for ``run.say``: how many aims are reached, and which are missed or not settled, of the full run where
    there is one.
    """
    full = (full_run(run.notebook) or {"numbers": {}})["numbers"]
    where = "full/" if any(key.startswith("aim.") for key in full) else ""
    stored, found = full if where else run.as_dict()["numbers"], {True: [], False: [], None: []}
    for aim in AIMS:
        for name, task in FACE_TASKS.items():
            key = f"aim.{aim.row}.{name}"
            if key in stored:
                sign = "+.1f" if aim.quantity == "share" else "+.3f"
                amount = f"{{{where}{key}:{sign}}} ± {{{where}{key}.se:{sign[1:]}}}"
                found[aim.reached(stored[key])].append(f"{aim.label} ({task}): {amount}")
    total = sum(map(len, found.values()))
    if not total:
        return "Aims: not run."
    source = "the full run" if where else "this build"
    said = f"Of {total} aims {source} reaches {len(found[True])} by two standard errors."
    for words, ones in (("Missed by two standard errors", found[False]), ("Not settled", found[None])):
        said += f"\n\n{words}, from the aim:\n\n" + "\n".join(f"- {one}" for one in ones) if ones else ""
    return said


def said_of_data(run, used):
    """A sentence on which data sets stand behind the rows, of this run (``used``) and of the full one."""
    here = ", ".join(dict.fromkeys(f"{one.name}/{one.split}" for one in used))
    full = full_run(run.notebook)
    there = "" if full is None else f" Of the full run: {', '.join(full['provenance']['data'])}."
    return f"Data of this build: {here}.{there}"


def roc_panels(curves):
    """Panels of the ROC figure, by label of the fault and of the task, of {task: curves by fault}: those of faults that
    are not always told apart, of all where there is none.
    """
    found = {
        FAULTS[fault]: {FACE_TASKS[name]: of[fault] for name, of in curves.items() if fault in of}
        for fault in FAULTS
        if any(fault in of for of in curves.values())
    }
    return {fault: of for fault, of in found.items() if min(area for _, _, area, _ in of.values()) < PERFECT} or found


def scored(posterior, groups):
    """What ``diagnose`` says of each of ``groups`` (label -> a single measurement): dict label -> Diagnosis."""
    return {label: diagnose(posterior, one) for label, one in groups.items()}


def month_rows(run):
    """Labels of the rows of the table on temperature."""
    return known(run, "diagnose.sphere", MONTHS, "share")


def face_rows(run, name):
    """Labels of the rows of the table of a face task."""
    return known(run, f"diagnose.{name}", ROWS, "share")
