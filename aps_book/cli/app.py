"""The command `aps`: its commands, in the order in which `aps --help` lists them."""

import typer

from aps_book.cli import comparing, data, listing, models, runs, starting, sweeps, tracing, verifying
from aps_book.cli.common import PairsCommand, reported

HELP = """Notebooks, networks and data of the APS companion.

Exit codes: 0 all is well, 1 a run failed or a result differs, 2 the input is wrong (one line says which argument, its
value and what was expected). `APS_TRACEBACK=1` shows where an error comes from.

`python -m aps_core.train`, `python -m aps_book.train` and `python -m aps_core.data` are aliases of `aps train` and `aps data`
that go with version 0.3.0.
"""
app = typer.Typer(
    name="aps", help=HELP, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
app.command("list")(reported(listing.show_list))
app.command("run", cls=PairsCommand)(reported(runs.run))
app.command("sweep")(reported(sweeps.sweep))
app.command("full")(reported(runs.full))
app.command("verify")(reported(verifying.verify))
app.command("compare")(reported(comparing.compare))
app.command("show")(reported(tracing.show))
app.command("recipe")(reported(starting.recipe))
app.command("train")(reported(models.train))
app.command("sample", cls=PairsCommand)(reported(models.sample))
datasets = typer.Typer(help="Data sets: their names, sizes and licences; fetching one.", no_args_is_help=True)
datasets.command("list")(reported(data.show_list))
datasets.command("fetch")(reported(data.fetch))
app.add_typer(datasets, name="data")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
