"""Flows for single operators beside the flow for any: the share of a gain, and recipes that training takes."""

import numpy as np
import pytest

from aps_book import record
from aps_book.experiments import any_operator_own
from aps_core.training import recipes
from aps_core.training.posterior import POSTERIOR, objective_settings


def test_share_of_a_gain_has_the_standard_error_of_a_bootstrap():
    rng = np.random.default_rng(0)
    theirs = 1.0 + 0.5 * rng.normal(size=64)
    ours = 0.7 * theirs + 0.2 * rng.normal(size=64)
    ratio, se = any_operator_own.share(ours, theirs)
    again = rng.integers(0, 64, (20000, 64))
    spread = np.std(ours[again].mean(axis=1) / theirs[again].mean(axis=1))
    assert ratio == pytest.approx(ours.mean() / theirs.mean()) and se == pytest.approx(spread, rel=0.1)


def test_stored_are_gains_over_the_closed_form(tmp_path):
    energy = {"gaussian": [2.0, 3.0, 2.5], "any": [1.5, 2.5, 2.0], "own": [1.0, 2.0, 1.5]}
    found = {
        row: {
            "energy": np.array(values),
            "psnr_n1": np.ones(3),
            "psnr_mean": np.ones(3),
            "coverage": np.full((3, 2), 0.9),
        }
        for row, values in energy.items()
    }
    run = record.Run("any_operator", {}, tmp_path)
    any_operator_own.store(run, "box", found)
    numbers = run.as_dict()["numbers"]
    assert numbers["box.share_of_own"]["value"] == pytest.approx(50.0) and numbers["box.share_of_own"]["n"] == 3
    assert numbers["box.above_own.energy"]["value"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", any_operator_own.UNSEEN)
def test_recipes_are_whole(name):
    made = recipes.checked(any_operator_own.recipe(name, 20), POSTERIOR)
    assert objective_settings(made)["kl"] == "forward"
