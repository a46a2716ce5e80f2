"""The paper's own network beside the flow of this book: what is kept of it."""

import pytest

from aps_book import record
from aps_book.experiments import faces as faces_study
from aps_book.experiments import faces_realnvp
from aps_book.figures import curves
from aps_core.data import faces
from aps_core.training.posterior import AS_IN_THE_PAPER
from aps_core.training.recipes import read


def test_recorded_training_is_that_of_the_recipe(tmp_path):
    """At the paper's width, and its numbers reach the page under names of their own."""
    kept, run = record.full_run(faces_realnvp.RECORD), record.Run("protocol_absent", {}, tmp_path)
    recipe = read("recipes/faces-denoise-realnvp.toml")
    later = {
        name: recipe["objective"].pop(name)
        for name in set(recipe["objective"]) - set(kept["parameters"]["recipe"]["objective"])
    }
    assert later.items() <= AS_IN_THE_PAPER.items()  # the only way when the record was made
    assert kept["parameters"]["recipe"] == recipe and not kept["provenance"]["modified"]
    steps, used = faces_realnvp.store(run)
    assert used == kept["parameters"]
    numbers = run.as_dict()["numbers"]
    assert steps[0] == 0 and steps == sorted(steps) and {f"own.step{step}.psnr" for step in steps} < set(numbers)
    # each of 48 conditioners: half of x and all of y into 384 units, those into as many, from there log-scale and
    # shift; affine layers of 3072
    conditioner = 384 * (1536 + 1 + 3072) + 384 * 385 + 385 * 2 * 1536
    assert numbers["own.training.parameters"]["value"] == 48 * conditioner + 2 * 25 * 3072
    for row in faces_study.rows(faces_realnvp.ROWS, 128, faces_realnvp.ROWS):
        assert numbers[f"own.{row}.psnr"] == kept["numbers"][f"test.{row}.psnr"]


def test_arms_differ_from_the_paper_by_what_their_names_say():
    recipes = {arm: faces_realnvp.recipe_of(arm) for arm in faces_realnvp.ARMS}
    paper = recipes.pop("paper")
    for arm, recipe in recipes.items():
        flow = dict(recipe["flow"])
        assert flow.pop(arm) is True and flow == paper["flow"]
        assert recipe["task"] == paper["task"]
        assert recipe["objective"]["estimator"] == "path" and recipe["objective"]["n_times"] > 1
    assert recipes["linear"]["objective"] == recipes["whitened"]["objective"]


def test_arms_stand_in_one_table_and_its_chart(tmp_path):
    one = lambda value: {"value": value, "se": None, "unit": None}  # noqa: E731
    own = {f"realnvp.linear.{key}": one(21.0 + i) for i, key in enumerate(faces_realnvp.SCORES.values())}
    for step in (0, 300, 1200):
        own |= {f"realnvp.linear.history.step{step}.{key}": one(step / 100) for key in faces_realnvp.KEPT}
    run = record.Run("absent", {}, tmp_path)
    assert list(faces_realnvp.store_arms(run, {})) == ["paper"] and list(faces_realnvp.recorded(own)) == [
        "paper",
        "linear",
    ]
    assert list(faces_realnvp.store_arms(record.Run("absent", {}, tmp_path), own)) == ["paper", "linear"]
    panels = faces_realnvp.training_panels(own)
    assert panels["spread of the samples"] == {"with a linear path from y": ([0, 3, 12], [0, 3, 12])}
    assert set(panels["one sample (dB)"]) == {"as the paper has it", "with a linear path from y"}
    drawn = [{line.get_label(): line.get_color() for line in ax.lines} for ax in curves.panels(panels).axes]
    assert len(drawn) == 3 and drawn[2].items() <= drawn[0].items()  # one colour for an arm in all panels
    said = faces_realnvp.reached(own)
    assert "as the paper has it: 20 dB not reached" in said and "linear path from y: 20 dB reached, 21.00 dB" in said


def _short(arm):
    """The recipe of an arm for a narrow network and two steps."""
    recipe = faces_realnvp.recipe_of(arm)
    recipe["flow"] |= {"steps": 1, "width": 8}
    recipe["objective"] |= {"batch": 2}
    recipe["optimizer"] |= {"steps": 2, "warmup": 1, "learning_rate": 1e-5}
    return recipe


@pytest.mark.long
def test_an_arm_is_added_to_the_page_and_goes_on(tmp_path):
    sizes = {"n_faces": 2, "n_samples": 4, "directory": tmp_path, "folder": tmp_path / "states", "progress": False}
    for budget, steps in ((0, 1), (None, 2)):
        path = faces_realnvp.measure(_short("linear"), faces.prior_faces("test"), "linear", budget=budget, **sizes)
        kept = record.load(path)
        assert path.name == "protocol.added-realnvp-linear.json" and not (tmp_path / "protocol.json").exists()
        assert kept["notebook"] == "protocol" and all(key.startswith("realnvp.linear.") for key in kept["numbers"])
        assert kept["numbers"]["realnvp.linear.training.steps"]["value"] == steps
    start = {
        name: kept["numbers"][f"realnvp.linear.history.step0.val_{name}"]["value"] for name in ("psnr_n1", "spread")
    }
    assert start["spread"] > 0.2 and start["psnr_n1"] < 12  # the spread of faces, and knows nothing of y


@pytest.mark.long
def test_what_is_kept_of_the_papers_network(tmp_path):
    """A narrow one after two steps still draws its start, the marginal Gaussian; closed form and APS are measured on
    the same faces.
    """
    recipe = _short("paper")
    path = faces_realnvp.measure(
        recipe, faces.prior_faces("test"), n_faces=3, n_samples=16, directory=tmp_path, progress=False
    )
    kept = record.load(path)
    numbers = {key: number["value"] for key, number in kept["numbers"].items()}
    assert path.name == "protocol.realnvp.json" and kept["parameters"]["recipe"] == recipe
    assert (numbers["training.steps"], numbers["training.planned"]) == (2, 2)
    # two conditioners, each from half of x and from y through two layers of 8 to log-scale and shift of the other half;
    # two affine layers
    half, width = 1536, 8
    assert (
        numbers["training.parameters"]
        == 2 * (half * width + width + 3072 * width + width * width + width + 2 * half * (width + 1)) + 4 * 3072
    )
    assert numbers["history.step2.val_psnr_n1"] == pytest.approx(numbers["history.step0.val_psnr_n1"], abs=0.1)
    assert numbers["test.aps_n1.psnr"] > numbers["test.gaussian_n1.psnr"] > numbers["test.realnvp_n1.psnr"] + 8
    assert numbers["test_paired.realnvp.psnr_n1"] == pytest.approx(
        numbers["test.realnvp_n1.psnr"] - numbers["test.aps_n1.psnr"]
    )
    assert numbers["test.realnvp.inside_90"] > 80  # it knows how far faces spread
