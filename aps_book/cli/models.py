"""`aps train` and `aps sample`: a flow from a recipe, and posterior samples of a measurement in a file."""

import contextlib
import sys
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from aps_book.cli.common import Json, Parameters, pairs, printed


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file such as recipes/toy2d-exact.toml.")],
    budget: Annotated[float | None, typer.Option(help="Seconds after which to save and stop.")] = None,
    checkpoints: Annotated[Path, typer.Option(help="Folder of the states to resume from.")] = Path("checkpoints"),
    out: Annotated[Path, typer.Option(help="Folder for the finished weights.")] = Path("weights"),
    write: Annotated[bool, typer.Option("--write", help="Write the weights when stopped too.")] = False,
    measurements: Annotated[
        Path | None, typer.Option(help="Train on these recorded measurements (.npz with y, sigma_y and mask).")
    ] = None,
    distributed: Annotated[bool, typer.Option("--distributed", help="Join the other processes of this run.")] = False,
    as_json: Json = False,
) -> None:
    """Train what a recipe describes; the same command goes on where it stopped.

    Examples:

    - `aps train recipes/toy2d-exact.toml`
    - `aps train recipes/faces-prior.toml --budget 600`
    - `aps train recipes/toy2d-exact.toml --json`
    """
    from aps_book.train import ALL
    from aps_core.train import main

    arguments = [str(recipe), "--checkpoints", str(checkpoints), "--out", str(out)]
    arguments += [] if budget is None else [f"--budget={budget}"]  # as one word: -inf is no option
    arguments += [] if measurements is None else [f"--measurements={measurements}"]
    arguments += ["--write"] * write + ["--distributed"] * distributed
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        made = main(arguments, trainers=ALL, prog="aps train")
    if as_json:
        printed(made)


def sample(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, such as sphere-impute (`aps list tasks`).")],
    measurement: Annotated[
        Path, typer.Option(help=".npz with y, sigma_y and mask; for sphere-impute also NetCDF or zarr.")
    ],
    out: Annotated[Path, typer.Option(help="Samples as .npz, as .nc (sphere-impute), or a picture, .png.")],
    n: Annotated[int, typer.Option("--n", help="Number of samples.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    parameter: Parameters = None,
    protocol: Annotated[str, typer.Option(help="held-out or paper.")] = "held-out",
    weights: Annotated[str | None, typer.Option(help="Other weights, by name or path.")] = None,
    time: Annotated[
        str | None, typer.Option(help="Which time of a NetCDF file: a date, or an index (+1500: 1500 is a year).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw posterior samples of a measurement with the trained flow of a task, with their log-densities.

    An .npz gets samples (n, ...), log_prob (n,) in nats, mean and std. The noise is that of an .npz file; a NetCDF
    file or zarr store holds none: `-p sigma_y` says it (1 stands for 118 K), else that of the task is taken, which a line
    tells. `-p` sets other parameters of the task too.

    Examples:

    - `aps sample sphere-impute --measurement my.nc --time 2020-07 -p sigma_y 0.01 --weights sphere-impute-any --out
      posterior.nc`
    - `aps sample faces-denoise --measurement y.npz --n 64 --out posterior.npz --seed 1`
    - `aps sample sphere-impute --measurement y.npz --out posterior.png -p mask_fraction 0.8`
    """
    from aps_book.cli import sampling

    sampling.check_out(out, task, measurement)
    problem, measured, when = sampling.read(measurement, task, sampling.settings(task, pairs(parameter)), time)
    sampling.check_form(out, problem, measured)
    begun = monotonic()
    drawn = sampling.draw(problem, measured, n, seed, protocol, weights)
    written = sampling.write(out, drawn, measured, when)
    if as_json:
        made = {"out": str(written), "samples": list(drawn.samples.shape), **drawn.about}
        printed({**made, "time": when, "seconds": round(monotonic() - begun, 1)})
    else:
        print(written)
