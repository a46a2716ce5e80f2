"""Flows that were trained on what is not told beside the plug-in that infers it, added to the full run of the page on blind
imputation.

``python -m aps_book.experiments.blind_trained`` scores them on the months of that run, at the lowest and the highest share
of missing cells and in noise that is not told, and writes weights/results/blind_impute.added-trained.json; some five
minutes of one core.
"""

import argparse
from pathlib import Path

import jax

from aps_book import record
from aps_book.experiments import blind_impute
from aps_core import data, load_posterior

SHARE = 0.45  # of missing cells, where the noise is not told


def store(run, dataset, n, n_samples, sigma_y=0.05, seed=0):
    """Keep ``r30.trained.gain`` and so on for the shares of ``blind_impute.SHARES``, and of the flow that was trained on noise
    that is not told ``unknown.trained.psnr``, ``coverage_90``, ``loss`` and ``gain``, on ``n`` months.
    """
    key, size = jax.random.key(seed + 1), (dataset, n, n_samples)
    for level in blind_impute.SHARES:
        scores, _ = blind_impute.run_level(level, sigma_y, *size, key, seed, rows=("noise", "trained"))
        blind_impute.store_gain(run, blind_impute.level_key(level), scores, "noise")
    rows = ("told", "inferred", "trained")
    blind_impute.store_unknown(run, *blind_impute.unknown_noise(sigma_y, SHARE, *size, key, seed, rows=rows))


def main(arguments=None):
    """Command line: score, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m aps_book.experiments.blind_trained", description=main.__doc__)
    parser.add_argument("--months", type=int, default=12, help="test months; the full run has 12")
    parser.add_argument("--samples", type=int, default=128, help="posterior samples of each")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/blind-trained"))
    parser.add_argument("--out", type=Path, default=Path("weights/results/blind_impute.added-trained.json"))
    options = parser.parse_args(arguments)
    run = record.Run("blind_impute", {"n_test": options.months, "n_samples": options.samples}, options.folder)
    dataset = data.load("ncep-temperature", "test")
    run.uses_data(dataset)
    run.uses_weights(*(load_posterior(name).card for name in ("sphere-impute-blind", "sphere-impute-blind-noise")))
    store(run, dataset, options.months, options.samples)
    run.finish()
    print(record.save({**record.load(options.folder / "blind_impute.json"), "figures": []}, options.out))


if __name__ == "__main__":
    main()
