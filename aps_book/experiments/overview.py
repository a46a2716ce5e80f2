"""The chapter that puts the full runs of all others side by side: which numbers, on which signals, and how they are
shown.

What is compared stands on the same signals: a table of the closed form and the flows on all signals of a full run, and
tables with the samplers that iterate on the few signals that those were run on. Every flow says what trained it.
"""

import re
from dataclasses import dataclass, field
from itertools import product

from aps_book.experiments.sampler_names import names
from aps_book.record import Difference
from aps_book.record.labels import in_a_sentence, label_of
from aps_book.record.run import full_run, paper_value
from aps_book.record.verdicts import size
from aps_core.weights import load_card, trained_by

NOT_RUN, ABSENT = "not run", "–"


@dataclass(frozen=True)
class Experiment:
    """One row: where its full run keeps the numbers, and where the paper's stand (None: it has no such experiment).

    reverse, reverse_weights: the row of the flow that the reverse divergence alone has trained, as the paper's, and its
    weights; other, other_weights: those of another one. None: there is none. What the plane calls the flow is the other
    one, or with none that of reverse_weights.
    """

    label: str
    page: str
    prefix: str = "test"
    reverse: str | None = "reverse"
    other: str | None = "aps"
    other_weights: str | None = None
    reverse_weights: str | None = None
    seconds: str | None = None  # the key of one sample's
    paper: str | None = None
    n: str = "n_test"  # the parameter of its page that says on how many signals it stands
    paired: str = ""  # what stands before ``FLOW.psnr_n1``, differences to the closed form; "" is ``prefix_paired``

    @property
    def flow(self):
        """The weights of the flow in the plane."""
        return self.other_weights or self.reverse_weights


EXPERIMENTS = {
    "sphere": Experiment(
        "temperature on the sphere, 60 % missing",
        "sphere_impute",
        reverse="held_out",
        other=None,
        reverse_weights="sphere-impute-held-out",
        seconds="test.held_out_n1.seconds",
        paper="aps.table2.era5_impute",
        paired="paired",
    ),
    "bunny": Experiment(
        "digits on the bunny, 30 % missing",
        "bunny_inpaint",
        reverse_weights="bunny-inpaint-reverse",
        other_weights="bunny-inpaint-held-out",
        seconds="test.aps_n1.seconds",
        paper="aps.table2.bunny_inpaint",
        paired="paired",
    ),
    "denoise": Experiment(
        "faces, noise 0.1",
        "faces",
        "denoise",
        reverse_weights="faces-denoise-reverse",
        other_weights="faces-denoise-held-out",
        seconds="time.aps.seconds",
        paper="aps.table2.celeba_denoise",
    ),
    "sr2": Experiment(
        "faces, 2x super-resolution",
        "faces",
        "sr2",
        reverse_weights="faces-sr2-reverse",
        other_weights="faces-sr2-held-out",
        paper="aps.table3",
    ),
    "deblur": Experiment(
        "faces, blurred",
        "faces",
        "deblur",
        reverse_weights="faces-deblur-reverse",
        other_weights="faces-deblur-held-out",
        paper="aps.table3",
    ),
    "sensor": Experiment(
        "faces, blurred, saturating sensor",
        "sensor",
        reverse=None,
        other_weights="faces-saturated-held-out",
        seconds="time.aps",
    ),
}
METHODS = {
    "gaussian": "closed form",
    **names("mcg"),
    "mcg_stopped": "MCG, stopped",
    **names("dps", "ddrm", "pigdm", "daps"),
    "reverse": "APS, reverse divergence",
    "aps": "another flow",
}
FLOWS = {name: label_of(one.flow) for name, one in EXPERIMENTS.items()}  # labels that say what trained them
FACES = FLOWS["denoise"]  # those of the other tasks on faces are trained in the same way


@dataclass(frozen=True)
class Subset:
    """Where a page keeps PSNR of several methods on the same signals, and paired differences.

    Attributes:
      task: of EXPERIMENTS.
      page: of the record.
      n: the parameter that says on how many signals.
      keys: of PSNR by method of METHODS.
      above: keys of paired differences of a flow to a method, each with the sign that makes it flow minus method.
      flow: which flow that is, "reverse" or "aps".
      said: what sets it apart from another subset of its task, in words.
      samples: of how many samples the mean is, in words; "" for single samples.
    """

    task: str
    page: str
    n: str
    keys: dict
    above: dict = field(default_factory=dict)
    flow: str = "aps"
    said: str = ""
    samples: str = ""

    @property
    def label(self):
        """Its experiment and what sets it apart, in words."""
        return EXPERIMENTS[self.task].label + (f", {self.said}" if self.said else "")

    @property
    def weights(self):
        """Those of its flow."""
        one = EXPERIMENTS[self.task]
        return one.reverse_weights if self.flow == "reverse" else one.other_weights


def _rows(template, **names):
    return {method: template.format(name) for method, name in names.items()}


ITERATIVE = ("dps", "ddrm", "pigdm")
EVALUATIONS = 50  # the budget at which the subsets of ``_at_a_budget`` have what iterates


def _at_a_budget(task, column, samples=""):
    """The faces of ``faces_budgets``, on which APS stands beside the rivals, each tuned for EVALUATIONS."""
    rivals = {method: f"{method}_{EVALUATIONS}" for method in ITERATIVE}
    rows = {"gaussian": "gaussian", **rivals}
    return Subset(
        task,
        "faces",
        "n_budgets",
        _rows(f"budgets_{task}.{{}}.{column}", **rows, reverse="reverse", aps="aps"),
        {method: (f"budgets_{task}.{row}.minus_reverse.{column}", -1) for method, row in rows.items()},
        "reverse",
        f"{EVALUATIONS} evaluations",
        samples,
    )


SINGLES = {
    "sphere": Subset(
        "sphere",
        "sphere_impute",
        "n_iterative",
        _rows("iterative.{}.psnr_n1", gaussian="gaussian", mcg="mcg", dps="dps", reverse="held_out"),
        {"dps": ("iterative.held_out.above_dps", 1)},
        "reverse",
    ),
    "bunny": Subset(
        "bunny",
        "bunny_inpaint",
        "n_iterative",
        _rows(
            "iterative.{}.psnr",
            gaussian="gaussian_n1",
            mcg="mcg",
            mcg_stopped="mcg_stopped",
            dps="dps",
            reverse="reverse_n1",
            aps="aps_n1",
        ),
        {"dps": ("iterative.reverse.above_dps", 1)},
        "reverse",
    ),
    **{
        task: Subset(
            task,
            "perception",
            "n_faces",
            _rows(f"{task}.{{}}.psnr", gaussian="gaussian_n1", dps="dps", ddrm="ddrm", pigdm="pigdm", aps="aps_n1"),
            said="without APS",
        )
        for task in ("denoise", "sr2", "deblur")
    },
    **{f"{task}_budget": _at_a_budget(task, "psnr") for task in ("denoise", "sr2", "deblur")},
    "sensor": Subset("sensor", "sensor", "n_dps", {"dps": "test.dps.psnr"}, {"dps": ("paired.aps_dps", 1)}),
}
MEANS = {
    "sphere": Subset(
        "sphere",
        "sphere_impute",
        "n_iterative",
        _rows("iterative.{}.psnr_mean", gaussian="gaussian", mcg="mcg", dps="dps", reverse="held_out"),
        flow="reverse",
        samples="16 of DPS and MCG, 128 of the others",
    ),
    "bunny": Subset(
        "bunny",
        "bunny_inpaint",
        "n_best",
        _rows("best.{}.psnr", dps="dps", ddrm="ddrm", daps="daps"),
        {method: (f"best.{method}.lead", -1) for method in ("dps", "ddrm", "daps")},
        samples="16 of the rivals, 128 of the flow",
    ),
    **{
        task: Subset(
            task,
            "faces",
            "n_long",
            _rows(f"{task}_long.{{}}.psnr", **{method: method for method in ("gaussian", *ITERATIVE, "aps")}),
            {method: (f"{task}_long.{method}.aps_above", 1) for method in ("gaussian", *ITERATIVE)},
            said="without APS",
            samples="128, from 4 and their variance",
        )
        for task in ("denoise", "sr2", "deblur")
    },
    **{
        f"{task}_budget": _at_a_budget(task, "mean", "128, from 16 and their variance")
        for task in ("denoise", "sr2", "deblur")
    },
}


CLAIMS = (  # page, what its full run says: a template for Run.say, numbers under the page's name
    (
        "faces",
        "**Speed, with its quality.** Denoising a face, one sample of the "
        + FACES
        + " took {faces.time.aps.seconds:.2g} s and "
        "one of "
        "DPS with 1000 evaluations and step size 1 {faces.time.dps.seconds:.2g} s, {faces.time.speedup:,.0f} times as "
        "long; on the same few faces that DPS has {dps_ablation.nfe.n1000.psnr:.2f} ± "
        "{dps_ablation.nfe.n1000.psnr.se:.2f} dB, with its step size tuned {dps_ablation.nfe.n1000.tuned:.2f} ± "
        "{dps_ablation.nfe.n1000.tuned.se:.2f}, and the flow {dps_ablation.aps.n1.psnr:.2f} ± "
        "{dps_ablation.aps.n1.psnr.se:.2f} dB. Tuned at 50 evaluations DPS has {faces.denoise.dps.psnr:.2f} dB on "
        "others, "
        "at a twentieth of the evaluations",
    ),
    (
        "faces",
        "**Spread.** 90 % intervals of the samples of the " + FACES + " hold {faces.denoise_coverage.all.aps_90:.1f}, "
        "{faces.sr2_coverage.all.aps_90:.1f} and {faces.deblur_coverage.all.aps_90:.1f} % of the pixels for denoising, "
        "super-resolution and deblurring",
    ),
    (
        "faces",
        "**Unseen images.** On faces of another collection the mean of the "
        + FACES
        + " differs from the closed form's by "
        "{faces.lfw_paired.aps.psnr_n128:+.2f} ± {faces.lfw_paired.aps.psnr_n128.se:.2f} dB",
    ),
    (
        "protocol",
        "**Training on the measurements of the test set**, as the paper does, with the paper's objective and more "
        "steps after the forward divergence, changes the mean by "
        "{protocol.test_paired.paper.psnr_n128:+.3f} ± {protocol.test_paired.paper.psnr_n128.se:.3f} dB on them and by "
        "{protocol.val_paired.paper.psnr_n128:+.3f} ± {protocol.val_paired.paper.psnr_n128.se:.3f} dB on others",
    ),
    (
        "protocol",
        "**The mean by the paper's objective.** On noisy faces the reverse divergence costs the mean of a flow "
        "{protocol.moved.reverse.lost:.2f} ± {protocol.moved.reverse.lost.se:.2f} dB from the denoised signal of its "
        "prior; without any flow the mean under the bound lies {protocol.moved.bound.along:.0f} ± "
        "{protocol.moved.bound.along.se:.0f} % of the way there",
    ),
    (
        "perception",
        "**How one sample looks.** Kernel distance to photographs (KID, times 1000) of one sample of the "
        + FACES
        + ", of DPS "
        "and of the closed form: {perception.denoise.aps_n1.kid:.0f}, {perception.denoise.dps.kid:.0f} and "
        "{perception.denoise.gaussian_n1.kid:.0f} for denoising; {perception.sr2.aps_n1.kid:.0f}, "
        "{perception.sr2.dps.kid:.0f} and {perception.sr2.gaussian_n1.kid:.0f} for super-resolution; "
        "{perception.deblur.aps_n1.kid:.0f}, "
        "{perception.deblur.dps.kid:.0f} and {perception.deblur.gaussian_n1.kid:.0f} for deblurring. These "
        "distances fall as the noise of a flow is taken away, and do not ask for an exact posterior",
    ),
    (
        "blind_impute",
        "**Blind imputation.** With 30 and 60 % missing the mean of a flow trained by the reverse divergence has "
        "{blind_impute.r30.zeros_n128.psnr:.2f} and "
        "{blind_impute.r60.zeros_n128.psnr:.2f} dB in the paper's setting, where zeros give the mask "
        "away, and {blind_impute.r60.noise_n128.psnr:.2f} dB at 60 % where nothing does",
    ),
    (
        "samplers",
        "**Do iterative samplers sample the posterior?** On a posterior that is known DPS is "
        "{samplers.gaussian16.low.dps.paper.kl:.2f} nats per dimension away from it with the usual step size, "
        "{samplers.gaussian16.low.dps.tuned.kl:.3f} with a tuned one, and "
        "APS (reverse divergence) {samplers.gaussian16.low.aps.kl:.4f}",
    ),
    (
        "logprob",
        "**Density of a score network by its ODE.** KL to a Gaussian truth {logprob.solver.dopri5.kl:.3f} nats with "
        "Dopri5 in 256 dimensions (Feng et al.: {paper/feng.table1.dopri5.kl:.3f})",
    ),
    (
        "gradients",
        "**Gradient of that density.** The median relative standard deviation falls from "
        "{gradients.faces.traces10.relative_std:.3f} to {gradients.faces.traces50.relative_std:.3f} from 10 to "
        "50 trace estimators "
        "(Feng et al.: {paper/feng.figure2.traces10.relative_std:.3f} and "
        "{paper/feng.figure2.traces50.relative_std:.3f})",
    ),
    (
        "discrete_flow",
        "**Score prior or discrete flow as prior.** {discrete_flow.held_out.score.bits:.2f} bits per pixel of "
        "unseen grey faces at most with the score prior, {discrete_flow.held_out.flow.bits:.2f} with a flow of "
        "couplings, {discrete_flow.held_out.gaussian.bits:.2f} with a Gaussian; fits under the flow are unstable "
        "away from faces, as reported",
    ),
)
KEYS = {
    "gaussian_n1": "gaussian_n1.psnr",
    "gaussian_n128": "gaussian_n128.psnr",
    "dps": "dps.psnr",
    "reverse_n1": "{reverse}_n1.psnr",
    "reverse_n128": "{reverse}_n128.psnr",
    "other_n1": "{other}_n1.psnr",
    "other_n128": "{other}_n128.psnr",
}


def collect(run, names=tuple(EXPERIMENTS)):
    """Keep PSNR and seconds of the full run of every named experiment as ``NAME.reverse_n1``, ``NAME.other_n1`` and so
    on, with standard errors and numbers of signals, and what these flows have on the closed form, paired, as
    ``NAME.reverse_above_n1`` and so on.

    Returns {name: Experiment} of those that have a full run.
    """
    done = {}
    for name in names:
        one = EXPERIMENTS[name]
        full = full_run(one.page)
        if full is None:
            continue
        done[name] = one
        few = {"dps": "n_dps" if one.page == "sensor" else "n_iterative"}
        for key, where in KEYS.items():
            where = where.format(reverse=one.reverse, other=one.other)
            keep(run, f"{name}.{key}", full, f"{one.prefix}.{where}", few.get(key, one.n))
        for flow, kind in product(("reverse", "other"), ("n1", "n128")):
            where = f"{_paired(one)}.{getattr(one, flow)}.psnr_{kind}"
            keep(run, f"{name}.{flow}_above_{kind}", full, where, one.n)
        if one.seconds is not None and one.seconds in full["numbers"]:
            run.number(f"{name}.seconds", full["numbers"][one.seconds]["value"], unit="s")
    return done


def _paired(one):
    return one.paired or f"{one.prefix}_paired"


def keep(run, key, full, where, n, sign=1):
    """Store the number ``where`` of a full run as ``key``, if it is there; says whether it is."""
    found = None if full is None else full["numbers"].get(where)
    if found is None:
        return False
    run.number(key, sign * found["value"], found["se"], found["unit"], size(full, found, n))
    return True


def collect_subsets(run, kind, subsets, names):
    """Keep what several methods have on the same signals: PSNR as ``KIND.NAME.METHOD``, and what the flow has above
    each, paired, as ``KIND.NAME.above.METHOD``. Returns {name: Subset} of those with a full run.

    The flow itself follows from a rival's PSNR and the paired difference where the record does not have it.
    """
    done = {}
    for name, subset in subsets.items():
        full = full_run(subset.page)
        if subset.task not in names or full is None:
            continue
        done[name] = subset
        for method, where in subset.keys.items():
            keep(run, f"{kind}.{name}.{method}", full, where, subset.n)
        for method, (where, sign) in subset.above.items():
            keep(run, f"{kind}.{name}.above.{method}", full, where, subset.n, sign)
        known = run.as_dict()["numbers"]
        for method in subset.above:
            pair, flow = [known.get(f"{kind}.{name}.{key}") for key in (method, f"above.{method}")], subset.flow
            if f"{kind}.{name}.{flow}" not in known and all(pair):
                run.number(f"{kind}.{name}.{flow}", pair[0]["value"] + pair[1]["value"], None, "dB", pair[0]["n"])
    return done


def carry(run, page, keys):
    """Keep numbers of the full run of ``page`` under ``page.KEY`` where it has all of ``keys``; returns whether it
    has."""
    full = (full_run(page) or {"numbers": {}})["numbers"]
    if not set(keys) <= set(full):
        return False
    known = run.as_dict()["numbers"]
    for key in keys:
        if f"{page}.{key}" not in known:
            run.number(f"{page}.{key}", full[key]["value"], full[key]["se"], full[key]["unit"], full[key].get("n"))
    return True


def claims(run):
    """The templates of CLAIMS whose numbers the full runs have all, each with a link to its page; their numbers are
    kept.
    """
    found = []
    for page, template in CLAIMS:
        named = re.findall(r"\{([a-z0-9_]+)\.([a-z0-9_.]+?)(?:\.se)?:", template)
        pages = {one: {key for other, key in named if other == one} for one, _ in named}
        carried = [carry(run, one, keys) for one, keys in pages.items()]
        if all(carried):
            found.append(f"{template} ({{{{doc}}}}`{page}`).")
    return found


def psnr_table(run, experiments):
    """A Markdown template for ``Run.say``: the paper's DPS and APS; closed form and flows here, N = 1 / N = 128, with
    how many signals there are, and what each flow has on the closed form; below it what trained the other flows.

    experiments: what ``collect`` returned.
    """
    known = run.as_dict()["numbers"]
    lines = [
        "| experiment | paper: DPS | paper: APS | signals | closed form | APS, reverse divergence | minus closed form "
        "| another flow | minus closed form |",
        "|" + " --- |" * 9,
    ]
    for name, one in experiments.items():
        paper = f"{_paper(one, 'dps')} | {_paper(one, 'aps_n1')} / {_paper(one, 'aps_n128')}"
        n = (known.get(f"{name}.gaussian_n1") or {}).get("n")
        above = {flow: _above(known, name, flow, n) for flow in ("reverse", "other")}
        lines.append(
            f"| {{{{doc}}}}`{one.label} <{one.page}>` | {paper} | {ABSENT if n is None else f'{n:,}'} | "
            f"{_pair(known, name, 'gaussian', n)} | {_pair(known, name, 'reverse', n)} | {above['reverse']} | "
            f"{_pair(known, name, 'other', n)} | {above['other']} |"
        )
    return "\n".join(lines) + _trained_by(experiments)


def _trained_by(experiments):
    """A paragraph on what trained the other flows, with the experiments that share it together."""
    by = {}
    for one in experiments.values():
        if one.other_weights is not None:
            by.setdefault(trained_by(load_card(one.other_weights)), []).append(one.label)
    words = "; ".join(f"{words} ({', '.join(labels)})" for words, labels in by.items())
    return f"\n\nThe other flow was trained by: {words or ABSENT}."


def subset_table(run, kind, subsets):
    """A Markdown template for ``Run.say``: PSNR of all methods on the same signals, below it what trained the other flows.
    subsets: of ``collect_subsets``.
    """
    known = run.as_dict()["numbers"]
    methods = [m for m in METHODS if any(f"{kind}.{name}.{m}" in known for name in subsets)]
    means = any(subset.samples for subset in subsets.values())
    heads = ["experiment", "signals", *(["mean of"] if means else []), *(METHODS[m] for m in methods)]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for name, subset in subsets.items():
        cells = [cell(known, f"{kind}.{name}.{method}", ".2f", NOT_RUN) for method in methods]
        if all(cell == NOT_RUN for cell in cells):
            continue
        n = next(known[f"{kind}.{name}.{m}"]["n"] for m in methods if f"{kind}.{name}.{m}" in known)
        label = f"{{{{doc}}}}`{subset.label} <{subset.page}>`"
        lines.append("| " + " | ".join([label, f"{n:,}", *([subset.samples] if means else []), *cells]) + " |")
    others = {one.task: EXPERIMENTS[one.task] for name, one in subsets.items() if f"{kind}.{name}.aps" in known}
    return "\n".join(lines) + (_trained_by(others) if others else "")


def differences(run, kind, subsets):
    """What the flow of a subset has on every rival where a record has it paired, for ``Run.verdict``; of single samples only which is
    above, since a sample that is nearer to the truth than an exact one is not better.
    """
    known = run.as_dict()["numbers"]
    what = "one sample" if kind == "one" else "the mean"
    return tuple(
        Difference(
            f"{kind}.{name}.above.{method}",
            f"{subset.label}: {what} of {in_a_sentence(label_of(subset.weights))}",
            f"that of {'the ' if method == 'gaussian' else ''}{METHODS[method]}",
            None if kind == "one" else "higher",
        )
        for name, subset in subsets.items()
        for method in subset.above
        if f"{kind}.{name}.above.{method}" in known
    )


def cell(known, key, form, absent=ABSENT):
    """A number with its standard error as a template for ``Run.say``, or ``absent``."""
    if key not in known:
        return absent
    error = "" if known[key]["se"] is None else f" ± {{{key}.se:{form.replace('+', '')}}}"
    return f"{{{key}:{form}}}{error}"


def _pair(known, name, row, n):
    """One sample and the mean of a row; where they stand on others than ``n`` signals, with how many."""
    keys = [f"{name}.{row}_{kind}" for kind in ("n1", "n128")]
    return " / ".join(f"{{{key}:.2f}}" if key in known else ABSENT for key in keys) + _on_others(known, keys, n)


def _above(known, name, flow, n):
    """What a flow has on the closed form, one sample and the mean, likewise."""
    keys = [f"{name}.{flow}_above_{kind}" for kind in ("n1", "n128")]
    return " / ".join(cell(known, key, "+.2f") for key in keys) + _on_others(known, keys, n)


def _on_others(known, keys, n):
    on = {known[key]["n"] for key in keys if key in known} - {n}
    return "".join(f" (n = {other:,})" for other in sorted(filter(None, on)))


def _paper(one, row):
    value = None if one.paper is None else paper_value(f"{one.paper}.{row}.psnr")
    return f"{{paper/{one.paper}.{row}.psnr:.2f}}" if isinstance(value, float) else ABSENT
