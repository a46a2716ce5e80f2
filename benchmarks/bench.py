"""One table of speed: ours beside an unadorned JAX loop and, where they are installed, flowjax, distrax and deepinv.

    python benchmarks/bench.py [--size small|middle|full] [--ratios] [--out FOLDER] [--keep] [--record FILE]      (make bench)

Each flow in a process of its own (compile, evaluation, gradient step, peak memory), then the samplers. Written are
bench.json and bench.md, with versions and machine. Times of the table are wall-clock: run it with nothing beside it. Ratios
of ours to the plain loop, which take turns (``paired.py``), are compared with those in benchmarks/baseline.json: one that
has grown 1.5-fold, in a second measurement too, ends with exit code 1. ``--ratios`` measures these alone: CI asks for
``--size small --ratios``, a minute. ``--keep`` makes this run the baseline, ``--record`` keeps the table for the page on what a
bigger problem costs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from aps_book import record
from aps_book.record.provenance import machine
from aps_core.files import write_atomically

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
LOSS = 1.5  # growth of a ratio that fails
FLOWS = ("aps_core", "plain JAX", "flowjax", "distrax")
COLUMNS = {"compile": "compile [s]", "forward": "evaluation [s]", "gradient_step": "gradient step [s]"}
RIVALS = ("flowjax", "distrax", "deepinv", "torch")


def measured(script, *arguments):
    """What a benchmark writes with --json, run in a process of its own that compiles all it runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        command = [sys.executable, str(HERE / script), "--json", str(file), *arguments]
        fresh = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=fresh)
        return json.loads(file.read_text("utf-8"))


def flows(size):
    """{name: its numbers} of the flows that are installed, and what they are: entries, steps, width and batch."""
    found, problem = {}, {}
    for name in FLOWS:
        print(f"measuring {name}", flush=True)
        chosen = [] if size == "full" else [f"--{size}"]
        made = measured("flows.py", "--only", name, *chosen)
        here, problem = made["seconds"], made["size"]
        if name not in here:
            print(f"{name} is not installed, or not usable with this JAX")
        found |= here
    return found, problem


def samplers(size):
    """{problem: {name: milliseconds for each evaluation}}, without the version of deepinv."""
    print("measuring samplers", flush=True)
    found = measured("samplers.py", *(["--small"] if size == "small" else []))["milliseconds"]
    return {problem: {name: v for name, v in row.items() if name != "version"} for problem, row in found.items()}


def by_turns(size):
    """Ours over the plain JAX loop, by what was measured, in seconds of one core."""
    print("measuring ours and the plain loop by turns", flush=True)
    return measured("paired.py", "--size", size)["ratios"]


def lost(now, baseline):
    """One sentence for each ratio that has grown LOSS-fold over the baseline's."""
    return [
        f"{name}: {now[name]:.2f} times the plain loop, {now[name] / before:.2f}-fold the baseline's {before:.2f}"
        for name, before in baseline.items()
        if name in now and now[name] > LOSS * before
    ]


def markdown(found):
    """The table as Markdown."""
    where = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines = [f"{where['device']}, {where['platform']}, {where['cores']} cores; {versions}.", ""]
    lines += [
        f"A conditional RealNVP, size {found['size']}; seconds, MiB of the process, and over the plain JAX loop.",
        "",
    ]
    heads = ["", *COLUMNS.values(), "peak [MiB]"]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    plain = found["flows"]["plain JAX"]
    for name, row in found["flows"].items():
        cells = [f"{row[column]:.3g} ({row[column] / plain[column]:.2f})" for column in COLUMNS]
        cells.append(f"{row['peak_mib']:,.0f} ({row['peak_mib'] / plain['peak_mib']:.2f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Samplers: milliseconds for each evaluation of a network that does nothing.", ""]
    names = list(dict.fromkeys(name for row in found["samplers"].values() for name in row))
    lines += [f"| | {' | '.join(found['samplers'])} |", f"|---|{'---|' * len(found['samplers'])}"]
    for name in names:
        cells = [f"{row[name]:.3g}" if name in row else "–" for row in found["samplers"].values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def keep_record(found, path):
    """Write the table as a record at ``path``: ``bench.flow.plain_jax.compile``, ``bench.sampler.dps.denoising``."""
    word = lambda name: name.lower().replace(" ", "_").replace("-", "_")  # noqa: E731
    versions = {name: found["machine"]["versions"][name] for name in RIVALS if name in found["machine"]["versions"]}
    with tempfile.TemporaryDirectory() as folder:
        run = record.Run("cost", {"size": found["size"], **versions}, Path(folder))
        run.numbers("bench.problem", found["problem"])
        for name, row in found["flows"].items():
            for column in (*COLUMNS, "peak_mib"):
                unit = "s" if column in COLUMNS else None
                run.number(f"bench.flow.{word(name)}.{column}", row[column], unit=unit)
        for problem, row in found["samplers"].items():
            for name, value in row.items():
                if not name.endswith("all cores"):
                    run.number(f"bench.sampler.{word(name)}.{word(problem)}", value)
        run.finish()
        record.save({**record.load(Path(folder) / "cost.json"), "figures": []}, path)


def versions():
    """Versions of the rivals that are installed."""
    found = {}
    for name in RIVALS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(arguments=None):
    """Measure, print and write the table, and compare its ratios with the baseline; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "middle", "full"), default="full")
    parser.add_argument("--ratios", action="store_true", help="only the ratios to the plain loop, no table")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder of bench.json and bench.md")
    parser.add_argument("--keep", action="store_true", help="make this run the baseline")
    parser.add_argument("--record", type=Path, help="weights/results/cost.added-bench.json, for the page")
    options = parser.parse_args(arguments)
    if options.ratios:
        ratios = by_turns(options.size)
    else:
        found = table(options.size)
        print(markdown(found))
        write_atomically(options.out / "bench.json", json.dumps(found, indent=1) + "\n")
        write_atomically(options.out / "bench.md", markdown(found))
        if options.record:
            keep_record(found, options.record)
        ratios = found["ratios"]
    baselines = json.loads(BASELINE.read_text("utf-8")) if BASELINE.is_file() else {}
    if options.keep:
        kept = {name: round(ratio, 3) for name, ratio in ratios.items()}
        baselines[options.size] = {**baselines.get(options.size, {}), **kept}
        write_atomically(BASELINE, json.dumps(baselines, indent=1, sort_keys=True) + "\n")
    return judge(ratios, baselines.get(options.size, {}), options.size)


def table(size):
    """All that is measured: size, machine, problem, flows, samplers and ratios."""
    where = machine()
    where["versions"] |= versions()
    found = {"size": size, "machine": where, "ratios": by_turns(size)}
    found["flows"], found["problem"] = flows(size)
    found["samplers"] = samplers(size)
    found["ratios"]["flow.peak_mib"] = found["flows"]["aps_core"]["peak_mib"] / found["flows"]["plain JAX"]["peak_mib"]
    return found


def judge(ratios, baseline, size):
    """1 where a ratio has grown LOSS-fold over the baseline's, in a second measurement too, else 0; says so."""
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    print(f"ours over the plain loop, by turns: {shown}")
    worse = lost(ratios, baseline)
    if worse:
        print("\n".join([*worse, "once more, since other work may have had a part in it"]), flush=True)
        again = by_turns(size)
        worse = lost({name: min(ratio, again.get(name, ratio)) for name, ratio in ratios.items()}, baseline)
    print("\n".join(worse) or f"no ratio has grown {LOSS}-fold over the baseline of size {size}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
