"""The chapter that puts the full runs of all others side by side: which numbers, and how they are shown."""

import re
from dataclasses import dataclass

from aps_core.record import full_run, paper_value


@dataclass(frozen=True)
class Experiment:
    """One row: where its full run keeps the numbers, and where the paper's stand (None: it has no such experiment)."""

    label: str
    page: str
    prefix: str = "test"
    aps: str = "aps"
    seconds: str | None = None  # the key of one sample's
    paper: str | None = None


EXPERIMENTS = {
    "sphere": Experiment("temperature on the sphere, 60 % missing", "sphere_impute", aps="held_out", seconds="test.held_out_n1.seconds", paper="aps.table2.era5_impute"),
    "bunny": Experiment("digits on the bunny, 30 % missing", "bunny_inpaint", seconds="test.aps_n1.seconds", paper="aps.table2.bunny_inpaint"),
    "denoise": Experiment("faces, noise 0.1", "faces", "denoise", seconds="time.aps.seconds", paper="aps.table2.celeba_denoise"),
    "sr2": Experiment("faces, 2x super-resolution", "faces", "sr2", paper="aps.table3"),
    "deblur": Experiment("faces, blurred", "faces", "deblur", paper="aps.table3"),
    "sensor": Experiment("faces, blurred, saturating sensor", "sensor", seconds="time.aps"),
}  # fmt: skip
CLAIMS = (  # page, what its full run says: a template for Run.say, numbers under the page's name
    ("faces", "**Speed.** One sample of APS is {faces.time.speedup:,.0f} times as fast as one of DPS with 1000 evaluations of the same prior. 90 % intervals of its samples hold "
     "{faces.denoise_coverage.all.aps_90:.1f}, {faces.sr2_coverage.all.aps_90:.1f} and {faces.deblur_coverage.all.aps_90:.1f} % of the pixels for denoising, super-resolution and deblurring"),
    ("faces", "**Unseen images.** On faces of another collection the mean of the flow keeps {faces.lfw_paired.aps.psnr_n128:+.2f} dB on the closed form"),
    ("protocol", "**Training on the measurements of the test set**, as the paper does, changes the mean by {protocol.test_paired.paper.psnr_n128:+.3f} dB on them and by "
     "{protocol.val_paired.paper.psnr_n128:+.3f} dB on others"),
    ("perception", "**How one sample looks.** Kernel distance to photographs (KID, times 1000) of one sample of APS, of DPS and of the closed form: {perception.denoise.aps_n1.kid:.0f}, {perception.denoise.dps.kid:.0f} and "
     "{perception.denoise.gaussian_n1.kid:.0f} for denoising; {perception.sr2.aps_n1.kid:.0f}, {perception.sr2.dps.kid:.0f} and {perception.sr2.gaussian_n1.kid:.0f} for super-resolution; {perception.deblur.aps_n1.kid:.0f}, "
     "{perception.deblur.dps.kid:.0f} and {perception.deblur.gaussian_n1.kid:.0f} for deblurring. A sample that lies too near to the mean looks cleaner than an exact one"),
    ("blind_impute", "**Blind imputation.** With 30 and 60 % missing the mean has {blind_impute.r30.zeros_n128.psnr:.2f} and {blind_impute.r60.zeros_n128.psnr:.2f} dB in the paper's setting, where zeros give the mask "
     "away, and {blind_impute.r60.noise_n128.psnr:.2f} dB at 60 % where nothing does"),
    ("samplers", "**Do iterative samplers sample the posterior?** On a posterior that is known DPS is {samplers.gaussian16.low.dps.paper.kl:.2f} nats per dimension away from it with the usual step size, "
     "{samplers.gaussian16.low.dps.tuned.kl:.3f} with a tuned one, and APS {samplers.gaussian16.low.aps.kl:.4f}"),
    ("logprob", "**Density of a score network by its ODE.** KL to a Gaussian truth {logprob.solver.dopri5.kl:.3f} nats with Dopri5 in 256 dimensions (Feng et al.: {paper/feng.table1.dopri5.kl:.3f})"),
    ("gradients", "**Gradient of that density.** The median relative standard deviation falls from {gradients.faces.traces10.relative_std:.3f} to {gradients.faces.traces50.relative_std:.3f} from 10 to 50 trace estimators "
     "(Feng et al.: {paper/feng.figure2.traces10.relative_std:.3f} and {paper/feng.figure2.traces50.relative_std:.3f})"),
    ("discrete_flow", "**Score prior or discrete flow as prior.** {discrete_flow.held_out.score.bits:.2f} bits per pixel of unseen grey faces at most with the score prior, {discrete_flow.held_out.flow.bits:.2f} with a flow of "
     "couplings, {discrete_flow.held_out.gaussian.bits:.2f} with a Gaussian; fits under the flow are unstable away from faces, as reported"),
)  # fmt: skip
KEYS = {"gaussian_n1": "gaussian_n1.psnr", "gaussian_n128": "gaussian_n128.psnr", "dps": "dps.psnr", "aps_n1": "{aps}_n1.psnr", "aps_n128": "{aps}_n128.psnr"}


def collect(run, names=tuple(EXPERIMENTS)):
    """Keep PSNR and seconds of the full run of every named experiment as ``NAME.aps_n1`` and so on, with standard errors.

    Returns {name: Experiment} of those that have a full run.
    """
    done = {}
    for name in names:
        one = EXPERIMENTS[name]
        full = full_run(one.page)
        if full is None:
            continue
        done[name] = one
        for key, where in KEYS.items():
            found = full["numbers"].get(f"{one.prefix}.{where.format(aps=one.aps)}")
            if found is not None:
                run.number(f"{name}.{key}", found["value"], found["se"], "dB")
        if one.seconds is not None and one.seconds in full["numbers"]:
            run.number(f"{name}.seconds", full["numbers"][one.seconds]["value"], unit="s")
    return done


def carry(run, page, keys):
    """Keep numbers of the full run of ``page`` under ``page.KEY`` where it has all of ``keys``; returns whether it has."""
    full = (full_run(page) or {"numbers": {}})["numbers"]
    if not set(keys) <= set(full):
        return False
    for key in keys:
        run.number(f"{page}.{key}", full[key]["value"], full[key]["se"], full[key]["unit"])
    return True


def claims(run):
    """The templates of CLAIMS whose numbers the full run of their page has all, each with a link to it; their numbers are kept."""
    found = []
    for page, template in CLAIMS:
        if carry(run, page, set(re.findall(rf"\{{{page}\.([a-z0-9_.]+):", template))):
            found.append(f"{template} ({{{{doc}}}}`{page}`).")
    return found


def psnr_table(run, experiments):
    """A Markdown template for ``Run.say``: the paper's DPS and APS beside closed form, DPS and APS here, N = 1 / N = 128.

    experiments: what ``collect`` returned.
    """
    known = run.as_dict()["numbers"]
    lines = ["| experiment | paper: DPS | paper: APS | closed form | DPS | APS |", "| --- | --- | --- | --- | --- | --- |"]
    for name, one in experiments.items():
        dps = f"{{{name}.dps:.2f}}" if f"{name}.dps" in known else "–"
        paper = f"{_paper(one, 'dps')} | {_paper(one, 'aps_n1')} / {_paper(one, 'aps_n128')}"
        lines.append(f"| {{{{doc}}}}`{one.label} <{one.page}>` | {paper} | {_pair(known, name, 'gaussian')} | {dps} | {_pair(known, name, 'aps')} |")
    return "\n".join(lines)


def _pair(known, name, row):
    return " / ".join(f"{{{name}.{row}_{n}:.2f}}" if f"{name}.{row}_{n}" in known else "–" for n in ("n1", "n128"))


def _paper(one, row):
    value = None if one.paper is None else paper_value(f"{one.paper}.{row}.psnr")
    return f"{{paper/{one.paper}.{row}.psnr:.2f}}" if isinstance(value, float) else "–"
