"""The chapter that puts the full runs of all others side by side: which numbers, and how they are shown."""

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
