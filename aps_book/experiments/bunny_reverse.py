"""Full-size numbers of the flow on the bunny that the reverse divergence alone has trained, added to the full run of the
page on the bunny.

``python -m aps_book.experiments.bunny_reverse`` scores it on the digits, the masks and the draws of that run, without
the samplers that iterate, asks which digits samples show, and writes weights/results/bunny_inpaint.added-reverse.json.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import aps_core
from aps_book import record
from aps_book.experiments import bunny_inpaint, digit_classes
from aps_book.experiments.measured import measure
from aps_core import data

SEED = 0


def main(arguments=None):
    """Command line: score the flows and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.bunny_reverse", description=main.__doc__)
    parser.add_argument("--digits", type=int, default=96, help="test digits, as many as the full run has")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--out", type=Path, default=Path("weights/results/bunny_inpaint.added-reverse.json"))
    parser.add_argument("--work", type=Path, default=Path("checkpoints/bunny-reverse"), help="folder to work in")
    options = parser.parse_args(arguments)
    run = record.Run("bunny_inpaint", {"n_test": options.digits, "n_samples": options.samples}, options.work)
    task, test = aps_core.load_task("bunny-inpaint"), data.load("bunny-mnist", "test")
    case, found = measure(task, test, options.digits, SEED), bunny_inpaint.posteriors(task)
    rows, prior, n = ("gaussian", "reverse", "aps"), task.prior, options.samples
    run.uses_data(test)
    run.uses_weights(found["reverse"].card, found["aps"].card)
    chosen = bunny_inpaint.prior_spread(prior.gaussian) > bunny_inpaint.SPREAD
    modes, key = np.asarray(prior.gaussian.basis), jax.random.key(SEED + 1)
    scores = {row: bunny_inpaint.score(found[row], key, case.measurements, case.x0, n, chosen, modes) for row in rows}
    bunny_inpaint.store_scores(run, scores, n)
    run.mean("versus.reverse.psnr_n1", scores["reverse"]["psnr_n1"] - scores["aps"]["psnr_n1"], "dB")
    run.mean("versus.reverse.psnr_n128", scores["reverse"]["psnr_mean"] - scores["aps"]["psnr_mean"], "dB")
    run.mean("versus.reverse.energy", scores["reverse"]["energy"] - scores["aps"]["energy"])
    noisy = bunny_inpaint.with_rest(jax.random.key(SEED + 2), prior, case.x0)
    again = task.measure(jax.random.key(SEED + 3), noisy)
    calibrated = {row: bunny_inpaint.score(found[row], key, again, noisy, n, chosen, modes) for row in rows}
    bunny_inpaint.store_coverage(run, calibrated)
    for row in rows:
        run.mean(f"plain.{row}.coverage_90", 100 * scores[row]["coverage"][:, 1], "%")
    labels = test.index["label"][case.chosen]
    changes = {
        row: digit_classes.changes(found[row], prior.gaussian, key, case.measurements, labels, n) for row in rows
    }
    digit_classes.store(run, changes)
    run.number("classes.truth", 100 * np.mean(digit_classes.classify(prior.gaussian, case.x0) != labels), unit="%")
    run.finish()
    made = record.load(options.work / "bunny_inpaint.json")
    print(record.save({**made, "figures": []}, options.out))
    for name, number in made["numbers"].items():
        print(name, number["value"], number["se"])


if __name__ == "__main__":
    main()
