"""`python -m aps_core.data list`: names, sizes and licences of the data sets."""

import argparse

from aps_core.data import registry


def describe(source):
    """A few lines of text about one data set."""
    size = f"{source.bytes / 1e6:.1f} MB" if source.bytes else "not embedded"
    splits = ", ".join(f"{split} {n}" for split, n in source.splits.items())
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
    parser = argparse.ArgumentParser(prog="python -m aps_core.data", description="The data sets of aps_core.")
    parser.add_argument("command", choices=["list"], help="list: print names, sizes and licences")
    parser.parse_args(argv)
    print("\n\n".join(describe(source) for source in registry.values()))


if __name__ == "__main__":
    main()
