"""Quality against time: every method of the overview at every budget that a full run has, its table, and the points of the
planes.
"""

import re
from dataclasses import dataclass, replace

from aps_book.experiments.overview import ABSENT, EXPERIMENTS, FLOWS, NOT_RUN, cell, keep
from aps_book.experiments.sampler_names import FACE_BUDGETS, NAMES
from aps_book.record import Difference, tuning_records
from aps_book.record.labels import in_a_sentence, label_of
from aps_book.record.run import full_run


@dataclass(frozen=True)
class Setting:
    """One method at one budget: where its full run keeps what it takes and what it gives. None: nobody measured it.

    Attributes:
      task: of EXPERIMENTS.
      label: method and budget, in words.
      psnr, mean: keys of PSNR of one sample, and of the mean of many.
      seconds, seconds_many: keys of the time of one sample, and of 128.
      energy, coverage: keys of the energy score and of the coverage of 90 % intervals.
      above: key of the energy score minus that of APS, paired by signal.
      unless: a key; where a full run has it, this setting stands among others already and is left out.
      page, n: of the record, and the parameter (or number) that says on how many signals the quality stands.
    """

    task: str
    label: str
    psnr: str | None = None
    mean: str | None = None
    seconds: str | None = None
    seconds_many: str | None = None
    energy: str | None = None
    coverage: str | None = None
    page: str | None = None
    n: str | None = None
    above: str | None = None
    unless: str | None = None


def _direct(task, label, row, prefix, seconds, coverage, page=None):
    """A Setting whose keys follow the common form: closed forms and flows, which need no steps."""
    one, many = seconds
    return Setting(
        task, label, f"{prefix}.{row}_n1.psnr", f"{prefix}.{row}_n128.psnr", one, many, f"{prefix}.{row}.energy",
        coverage, page,
    )  # fmt: skip


def _seconds(row):
    """Keys of the time of one sample and of 128 of a row without steps, on the sphere and the bunny."""
    return {"seconds": f"test.{row}_n1.seconds", "seconds_many": f"test.{row}_n128.seconds"}


def _of_sphere(label, row, **timed):
    """A row on the few months that DPS and MCG were run on; of those two the mean is of few samples, and left out."""
    key = f"iterative.{row}"
    return Setting(
        "sphere", label, f"{key}.psnr_n1", f"{key}.psnr_mean" if timed else None, energy=f"{key}.energy",
        coverage=f"{key}.coverage_90", n="n_iterative",
        above=None if row == "held_out" else f"{key}.minus_flow.energy",
        **(timed or {"seconds": f"test.{row}.seconds"}),
    )  # fmt: skip


def _of_bunny(label, row):
    """A row without steps on the few digits that DPS and MCG were run on."""
    key = f"iterative.{row}"
    return Setting("bunny", label, f"{key}_n1.psnr", f"{key}_n128.psnr", energy=f"{key}.energy",
                   coverage=f"{key}.coverage_90", n="n_iterative", **_seconds(row))  # fmt: skip


def _of_sensor(label, row):
    """A row without steps on the few faces that DPS was run on."""
    key = f"iterative.{row}"
    return Setting("sensor", label, f"{key}.psnr_n1", f"{key}.psnr_mean", f"time.{row}", coverage=f"{key}.coverage_90",
                   n="n_dps")  # fmt: skip


BUNNY_RUN, SENSOR_RUN = "iterative.dps.psnr", "iterative.aps.psnr_n1"  # full runs without them have all signals alone


BUDGETS_RUN = "budgets_denoise.aps.psnr"  # where there is none, the full run of faces has these instead


def _before_budgets():
    return (
        _direct("denoise", "closed form", "gaussian", "denoise", ("time.gaussian.seconds", None),
                "denoise_coverage.all.gaussian_90"),
        Setting("denoise", "DPS, tuned, 50 evaluations", "denoise.dps.psnr", n="n_iterative"),
        Setting("denoise", "DDRM, tuned, 100 evaluations", "denoise.ddrm.psnr", n="n_iterative"),
        Setting("denoise", "PiGDM, tuned, 50 evaluations", "denoise.pigdm.psnr", n="n_long"),
        _direct("denoise", label_of("faces-denoise-reverse"), "reverse", "denoise", (None, None),
                "denoise_coverage.all.reverse_90"),
        _direct("denoise", FLOWS["denoise"], "aps", "denoise", ("time.aps.seconds", "time.aps_all.seconds"),
                "denoise_coverage.all.aps_90"),
    )  # fmt: skip


def _on_faces(task):
    """The settings of a task on faces that stand on the same few faces: closed form, samplers at their budgets, flows."""
    labels = {
        "gaussian": "closed form",
        **{
            f"{method}_{n}": f"{NAMES[method]}, tuned, {n} evaluations"
            for method, budgets in FACE_BUDGETS.items()
            for n in budgets
        },
        "reverse": label_of(f"faces-{task}-reverse"),
        **({"reverse_spread": label_of("faces-denoise-reverse-spread")} if task == "denoise" else {}),
        "aps": FLOWS[task],
    }
    for row, label in labels.items():
        key = f"budgets_{task}.{row}"
        yield Setting(
            task, label, f"{key}.psnr", f"{key}.mean", f"{key}.seconds", f"{key}.seconds_many", f"{key}.energy",
            f"{key}.coverage", n="n_budgets", above=None if row == "reverse" else f"{key}.minus_reverse.energy",
        )  # fmt: skip


SETTINGS = (
    *_on_faces("denoise"),
    *(replace(one, unless=BUDGETS_RUN) for one in _before_budgets()),
    Setting("denoise", "Noise2Score", None, "denoise.noise2score.psnr", None, "time.noise2score.seconds"),
    *(
        Setting("denoise", f"DPS, step size 1, {n} evaluations", f"nfe.n{n}.psnr", page="dps_ablation")
        for n in (10, 20, 50, 100, 200, 500)
    ),
    Setting("denoise", "DPS, step size 1, 1000 evaluations", "nfe.n1000.psnr", seconds="faces/time.dps.seconds",
            page="dps_ablation"),
    *(
        Setting("denoise", f"DPS, tuned, {n} evaluations", f"nfe.n{n}.tuned", page="dps_ablation")
        for n in (10, 200, 500)
    ),
    Setting("denoise", "DPS, tuned, 1000 evaluations", "nfe.n1000.tuned", seconds="faces/time.dps.seconds",
            page="dps_ablation"),
    *_on_faces("sr2"),
    *_on_faces("deblur"),
    _of_sphere("closed form", "gaussian", **_seconds("gaussian")),
    _of_sphere("MCG, tuned, 1000 evaluations", "mcg"),
    _of_sphere("DPS, tuned, 1000 evaluations", "dps"),
    _of_sphere(FLOWS["sphere"], "held_out", **_seconds("held_out")),
    _of_bunny("closed form", "gaussian"),
    Setting("bunny", "MCG, tuned, 1000 evaluations", "test.mcg.psnr", seconds="test.mcg.seconds", n="n_iterative"),
    Setting("bunny", "MCG stopped, 1000 evaluations", "iterative.mcg_stopped.psnr", n="n_iterative",
            seconds="test.mcg_stopped.seconds"),
    Setting("bunny", "DPS, tuned, 1000 evaluations", "test.dps.psnr", seconds="test.dps.seconds", n="n_iterative"),
    _of_bunny(label_of("bunny-inpaint-reverse"), "reverse"),
    _of_bunny(FLOWS["bunny"], "aps"),
    *(
        replace(_direct("bunny", label, row, "test", tuple(_seconds(row).values()), f"plain.{row}.coverage_90"),
                unless=BUNNY_RUN)
        for row, label in {"gaussian": "closed form", "aps": FLOWS["bunny"]}.items()
    ),
    _of_sensor("Laplace's approximation", "gaussian"),
    Setting("sensor", "DPS, tuned, 100 evaluations", "test.dps.psnr", seconds="time.dps", n="n_dps"),
    _of_sensor(FLOWS["sensor"], "aps"),
    *(
        replace(_direct("sensor", label, row, "test", (f"time.{row}", None), f"test.{row}.inside_90"), unless=SENSOR_RUN)
        for row, label in {"gaussian": "Laplace's approximation", "aps": FLOWS["sensor"]}.items()
    ),
)  # fmt: skip
COLUMNS = {
    "seconds": ("1 sample [s]", ".3g"),
    "seconds_many": ("128 samples [s]", ".3g"),
    "psnr": ("PSNR, 1 sample [dB]", ".2f"),
    "mean": ("PSNR, mean [dB]", ".2f"),
    "energy": ("energy score", ".3f"),
    "coverage": ("90 % intervals [%]", ".1f"),
    "above": ("energy score minus that of APS", "+.3f"),
}


def collect_plane(run, names):
    """Keep what every Setting takes and gives, as ``plane.TASK.iNN.COLUMN``; returns {key: Setting} of those of which
    any quality is there.
    """
    done = {}
    for i, one in enumerate(SETTINGS):
        page = one.page or EXPERIMENTS[one.task].page
        full, prefix = full_run(page), f"plane.{one.task}.i{i:02d}"
        if one.task not in names or full is None or one.unless in full["numbers"]:
            continue
        found = []
        for column in COLUMNS:
            where = getattr(one, column)
            if where is None:
                continue
            other, _, key = where.rpartition("/")
            n = None if column.startswith("seconds") else one.n or "n_test"
            kept = keep(run, f"{prefix}.{column}", full_run(other) if other else full, key, n)
            found.append(kept and not column.startswith("seconds"))  # seconds without any quality are no point
        if any(found):
            done[prefix] = one
    return done


def plane_table(run, settings, task):
    """A Markdown template for ``Run.say``: time and quality of every setting of a task. settings: of
    ``collect_plane``."""
    known = run.as_dict()["numbers"]
    rows = {prefix: one for prefix, one in settings.items() if one.task == task}
    columns = {c: head for c, head in COLUMNS.items() if any(f"{prefix}.{c}" in known for prefix in rows)}
    heads = ["method, budget", *(label for label, _ in columns.values()), "signals"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for prefix, one in rows.items():
        cells = [
            cell(known, f"{prefix}.{column}", form, ABSENT if column == "above" else NOT_RUN)
            for column, (_, form) in columns.items()
        ]
        n = next((known[f"{prefix}.{c}"]["n"] for c in ("psnr", "mean") if f"{prefix}.{c}" in known), None)
        lines.append("| " + " | ".join([one.label, *cells, NOT_RUN if n is None else f"{n:,}"]) + " |")
    return "\n".join(lines)


def plane_differences(run, settings, task):
    """What each sampler of a task, at the budget where its energy score is the least, has on APS by it, for
    ``Run.verdict``; and the closed form and the other flows.
    """
    known, best = run.as_dict()["numbers"], {}
    for prefix, one in settings.items():
        if one.task == task and f"{prefix}.above" in known:
            method = _method_and_budget(one.label)[0]
            if method not in best or known[f"{prefix}.energy"]["value"] < known[f"{best[method]}.energy"]["value"]:
                best[method] = prefix
    return tuple(
        Difference(f"{prefix}.above", settings[prefix].label, in_a_sentence(label_of(EXPERIMENTS[task].reverse_weights)),
                   "lower", "+.3f", measure="energy score")
        for prefix in best.values()
    )  # fmt: skip


KINDS = {"one sample": ("seconds", "psnr"), "mean of 128": ("seconds_many", "mean")}  # columns of time and quality


def plane(run, settings, kind="one sample"):
    """{task's label: {method: [(seconds, PSNR, standard error, whether the time was taken), ...]}} for
    ``charts.quality_time``; kind: of KINDS.
    """
    panels = {}
    for title, points in plane_points(run, settings, (kind,)).items():
        for one in points:
            point = (one["seconds"], one["quality"], one["se"], one["taken"])
            panels.setdefault(title.rpartition(":")[0], {}).setdefault(one["method"], []).append(point)
    return panels


def in_words(panels, what):
    """The alt text of ``plane``: PSNR of ``what``, and the methods of each panel."""
    methods = "; ".join(f"{title}, with {', '.join(panel)}" for title, panel in panels.items())
    return (
        f"Panels of PSNR of {what} against seconds on a logarithmic axis, one for each experiment: {methods}. The flows "
        "and the closed forms of linear operators stand at the left, what iterates and Laplace's approximation at the "
        "right."
    )


def budgets_were_run(run, settings):
    """Whether the planes have the samplers on faces at several budgets."""
    known = run.as_dict()["numbers"]
    return any(f"{prefix}.above" in known and one.psnr.startswith("budgets_") for prefix, one in settings.items())


def beside_their_times():
    """What ran beside the samplers on faces while they were timed, in a sentence, from the record; "" without one."""
    full = full_run("faces") or {}
    made = full.get("added", {}).get("budgets")
    if made is None:
        return ""
    known = {key: one["value"] for key, one in made["numbers"].items() if key.endswith(".at_once")}
    rows = sum(key.endswith(".seconds") for key in made["numbers"])
    alone = sum(value == 1 for value in known.values())
    if len(known) == rows:
        others = "" if alone == rows else ", the others with another run beside: their times are upper bounds"
        return f"{alone} of the {rows} settings were timed with nothing beside them{others}."
    at_once = made["provenance"].get("at_once", 1)
    if at_once == 1:
        return "They were timed with nothing beside them."
    return (
        f"Times were kept from several calls. The call that ended the record had {at_once - 1} other run beside it, and the "
        f"record does not say which of the {rows} settings were timed in it: all their times are upper bounds."
    )


def diverging_rule():
    """What the searches on faces found of PiGDM's rule "score", in a sentence; "" without them."""
    try:
        found = tuning_records.read(tuning_records.path("faces_budgets"))
    except FileNotFoundError:
        return ""
    rows = {key: one["search"] for key, one in found.items() if ".pigdm_" in key}
    of = lambda search, rule: [row for row in search if row["settings"]["rule"] == rule]  # noqa: E731
    tried = [row for search in rows.values() for row in of(search, "score")]
    finite = [row["energy"] for row in tried if row["finite"]]
    paper = [min(row["energy"] for row in of(search, "paper") if row["finite"]) for search in rows.values()]
    if not tried or not paper:
        return ""
    least = f"the least of the others is {min(finite):,.3g}" if finite else "there is no other"
    return (
        f'PiGDM with its rule "score" was tried {len(tried)} times on validation faces, at '
        f"{_among(rows)} even steps: {len(tried) - len(finite)} of the energy scores are not finite, and {least}. By the rule "
        f'"paper" the least at each task and budget lie from {min(paper):.2f} to {max(paper):.2f}.'
    )


def _among(rows):
    """The budgets of the keys "TASK.METHOD_BUDGET", in words."""
    return " and ".join(str(n) for n in sorted({int(key.rpartition("_")[2]) for key in rows}))


def edges_of_budgets():
    """Which searches on faces end at an edge, in words; "" without them."""
    try:
        found = tuning_records.read(tuning_records.path("faces_budgets"))
    except FileNotFoundError:
        return ""

    def of(key):
        task, _, row = key.partition(".")
        method, _, budget = row.partition("_")
        return f"{NAMES[method]} with {budget} evaluations ({EXPERIMENTS[task].label})"

    return tuning_records.edges(found, of)


def plane_points(run, settings, kinds=tuple(KINDS)):
    """{task's label and kind: [point, ...]} for ``charts.quality_time_view``; ``said`` has all that is known of a point.

    The time of DPS at other numbers of evaluations than the one that was timed is taken in proportion to them.
    """
    known, panels = run.as_dict()["numbers"], {}
    for prefix, one in settings.items():
        method, budget = _method_and_budget(one.label)
        for kind in kinds:
            time, quality = (known.get(f"{prefix}.{column}") for column in KINDS[kind])
            if quality is None:
                continue
            given = time["value"] if time is not None else None
            if given is None and method == "DPS" and kind == "one sample":
                given = _in_proportion(known, settings, one)
            if not given:
                continue
            point = {
                "method": f"{method}, tuned" if budget.startswith("tuned") else method,
                "said": point_in_words(f"{one.label}, {kind}", quality, given, time is not None),
                "seconds": given,
                "quality": quality["value"],
                "se": quality["se"],
                "taken": time is not None,
            }
            panels.setdefault(f"{EXPERIMENTS[one.task].label}: {kind}", []).append(point)
    return panels


def _method_and_budget(label):
    """A method's name and its budget; the label of one without evaluations is a name as a whole."""
    method, _, budget = label.partition(", ") if " evaluations" in label else (label, "", "")
    return method, budget


def point_in_words(label, quality, seconds, taken):
    error = "" if quality["se"] is None else f" ± {quality['se']:.2f}"
    time = f"{seconds:.2g}" if seconds < 100 else f"{seconds:.0f}"
    signals = f", on {quality['n']:,} signals" if quality.get("n") else ""
    return f"{label}: {quality['value']:.2f}{error} dB in {time} s{'' if taken else ' (in proportion)'}{signals}"


def _in_proportion(known, settings, one):
    """Seconds of one sample of DPS with the evaluations of a Setting, from those of another of the same task."""
    evaluations = lambda label: int(re.search(r"(\d+) evaluations", label).group(1))  # noqa: E731
    for prefix, other in settings.items():
        timed = known.get(f"{prefix}.seconds")
        if other.task == one.task and other.page == one.page and other.label.startswith("DPS") and timed is not None:
            return timed["value"] * evaluations(one.label) / evaluations(other.label)
    return None
