"""`aps sweep`: a grid or list of parameters through Snakemake, gathered into one table and a page."""

import time
from pathlib import Path
from typing import Annotated

import typer

from aps_book.cli.common import FAILED, Json, leave, printed
from aps_book.sweeps.plan import Plan


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or CSV: a notebook and its parameters.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; by default results/sweeps/NAME_OF_FILE.")
    ] = None,
    notebook: Annotated[str | None, typer.Option(help="The notebook, where the file names none.")] = None,
    profile: Annotated[str, typer.Option(help="local, slurm, or the folder of a Snakemake profile.")] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="How many run at a time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    gather: Annotated[bool, typer.Option("--gather", help="Only make table and page of what is finished.")] = False,
    more: Annotated[list[str] | None, typer.Argument(metavar="[-- ...]", help="Further options of Snakemake.")] = None,
    as_json: Json = False,
) -> None:
    """Run one notebook with many sets of parameters: each set one job of Snakemake, checked before anything starts.

    The same command goes on where it stopped: what is finished is not run again. A job that fails leaves its notebook in
    runs/JOB/running, and the others go on. The table (table.csv, and table.parquet with its types) has a row for each
    number of each job; index.html shows small multiples and paired differences.

    A file holds `notebook: sphere_impute`, `grid: {mask_fraction: [0.4, 0.6], seed: [0, 1]}` (all combinations) or `list:` (one set each),
    and perhaps `parameters:` (the same in all) and `numbers:` (keys that the page shows). Paths among the parameters are
    relative to the file.

    Examples:

    - `aps sweep noise.yaml`
    - `aps sweep sets.csv --notebook toy2d --jobs 2`
    - `aps sweep noise.yaml --profile slurm --dry-run`
    - `aps sweep noise.yaml --json`
    """
    from aps_book.sweeps import engine, plan
    from aps_core.files import check_folder

    found, begun = plan.read(file, notebook), time.monotonic()
    folder = out or Path("results") / "sweeps" / file.stem
    check_folder("--out", folder)
    found.check_folder(folder)
    chosen = engine.profile(profile)
    made = {"notebook": found.notebook.name, "folder": str(folder), "jobs": found.jobs}
    code = 0
    if not gather:
        engine.find()
    if not as_json:
        print(f"{len(found.jobs)} sets of parameters of {found.notebook.name}, in {folder}", flush=True)
    if not gather:
        code = engine.call(found, folder, chosen, jobs, dry_run, list(more or ()), quiet=as_json)
    if dry_run and not gather:
        if as_json:
            printed({**made, "dry_run": True})
        if code:
            leave("Snakemake refused the plan; what it says stands above", FAILED)
        return
    files, failed = gathered(found, folder)
    if as_json:
        printed({**made, **files, "without_record": failed, "seconds": round(time.monotonic() - begun, 1)})
    else:
        print(f"table    {files['table']}\npage     {files['page']}")
        for job, ran in failed.items():
            print(f"{job} has no record: {'it did not begin' if ran is None else f'what it did is in {ran}'}")
    if failed or code:
        again = f"the same command{' without --gather' * gather} runs them again"
        leave(f"{len(failed)} of {len(found.jobs)} sets have no record; {again}", FAILED)


def gathered(found: Plan, folder: Path) -> tuple[dict[str, str], dict[str, str | None]]:
    """Make table and page of what is finished: their paths, and the sets without a record with the notebooks of what they did."""
    from aps_book.sweeps import page, table

    rows, varied = table.gather(folder, found.notebook, found.jobs, found.varied), [*map(table.column, found.varied)]
    failed, name = table.missing(folder, found.notebook.name, found.jobs), found.notebook.name
    files = {"table": str(table.write(rows, folder))}
    keys = page.chosen(name, rows, found.numbers) if len(rows) else []
    files["page"] = str(page.write(folder, name, rows, varied, keys, failed))
    return files, {job: None if ran is None else str(ran) for job, ran in failed.items()}
