"""Pictures show draws of the priors alone: with CelebA at hand no figure gets one of its faces."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jupytext
import numpy as np
import pytest
from PIL import Image

from aps_book import notebooks
from aps_book.experiments import any_operator, dps_ablation, noisy_samples, perception, pictured, sensor
from aps_book.experiments import faces as faces_study
from aps_book.experiments.measured import measure
from aps_book.figures import images, sliders
from aps_book.record.run import Run
from aps_core import Identity, Task, data
from aps_core.data.faces import prior_faces

ROOT = Path(__file__).resolve().parent.parent.parent
MEASURES = re.compile(r'data\.load\("(?:faces|photos|lfw)"|load_faces\(|study\.faces\(|pairs\.measured\(')
DRAWS_SIGNALS = re.compile(r"images\.\w+\(|\.picture\(")
SAFE = re.compile(  # each of these is looked at below, shows draws of a prior whatever is at hand, or asks first
    r"faces\.picture\(|dps_ablation\.pictures\(|sensor\.columns\(|study\.pictures\(case, samplers|perception\.shown\(|"
    r"draws_of_prior\(|any_operator\.columns\(|in drawn\.items\(\)|pictured\.allowed\("
)
STRIPES = np.tile((np.arange(32) // 8 % 2)[None, :, None], (32, 1, 3)).astype(np.float32)  # no draw has them


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """A folder with CelebA in it, whose faces are all alike: stripes."""
    folder = tmp_path / "celeba32"
    folder.mkdir()
    sheet = np.tile((255 * STRIPES).astype(np.uint8), (1, 100, 1))
    Image.fromarray(sheet).save(folder / "faces.webp", lossless=True)
    lines = [f"faces.webp,{i},{i},1,{'val' if i < 50 else 'test'}" for i in range(100)]
    (folder / "index.csv").write_text("\n".join(["atlas,tile,image_id,identity,split", *lines]))
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    found = data.load("faces", "test")
    assert found.name == "celeba" and striped(found.values[0])
    return found


def striped(picture):
    """Whether a picture, of any size and noise, shows the stripes."""
    picture = np.asarray(picture, float)
    grey = picture[..., :3].mean(axis=-1) if picture.ndim == 3 else picture
    side = 32 // len(grey)
    grey = np.clip(np.nan_to_num(grey), -1, 2).repeat(side, axis=0).repeat(side, axis=1)
    return len(grey) == 32 and grey.std() > 0 and np.corrcoef(grey.ravel(), STRIPES[..., 0].ravel())[0, 1] > 0.4


class Answers:
    """A sampler whose samples are the measurement itself."""

    def __init__(self, task):
        self.task = task

    def sample(self, key, measurements, n):
        y = np.asarray(measurements.y)
        return np.stack([y] * n, axis=0 if y.ndim == 3 else 1)


@pytest.fixture
def task(make_prior):
    prior = make_prior(d=3072, k=4, shape=(32, 32, 3))
    return Task(Identity((32, 32, 3)), 0.1, prior, np.zeros((1, 32, 32, 3), np.float32))


def faces_picture(task, case, monkeypatch):
    shown = {}
    monkeypatch.setattr(images, "face_columns", lambda columns, maps, label: shown.update(columns))
    samplers = {row: Answers(task) for row in ("gaussian", "aps")}
    faces_study.picture(faces_study.Experiment("denoise", task, samplers, case, {}), 4, 3)
    return shown


def dps_pictures(task, case, monkeypatch):
    sweep = lambda task, case, settings, seed=0: {  # noqa: E731
        label: {"samples": np.asarray(case.measurements.y)} for label in settings
    }
    monkeypatch.setattr(dps_ablation, "sweep", sweep)
    settings = {"n10": {"n_steps": 10, "step_size": 1.0}}
    return dps_ablation.pictures(task, case, settings, sweep(task, case, settings), Answers(task))


def sensor_columns(task, case, monkeypatch):
    return sensor.columns({row: Answers(task) for row in ("gaussian", "aps")}, jax.random.key(0), case, 4, 3)[0]


def noisy_pictures(task, case, monkeypatch):
    scores = {"one": SimpleNamespace(first=np.asarray(case.measurements.y))}
    return noisy_samples.pictures(case, {"one": Answers(task)}, scores)


def perception_columns(task, case, monkeypatch):
    monkeypatch.setattr(perception, "load_task", lambda name: task)
    answers = {row: Answers(task) for row in ("gaussian", "aps")}
    for one in answers.values():
        one.card = {}
    monkeypatch.setattr(faces_study, "closed_and_trained", lambda task: answers)
    found = {"denoise": perception.pictures("denoise", case.dataset, 4, 3)[0]}
    shown = perception.shown(found, case.dataset, 3)
    return perception.columns(
        shown, {row: row for row in ("truth", "measured", "gaussian_n1", "aps_n1", "aps_n128")}, 4
    )


SHOWN = (faces_picture, dps_pictures, sensor_columns, noisy_pictures, perception_columns)


@pytest.mark.parametrize("columns", SHOWN, ids=lambda one: one.__name__)
def test_no_column_of_a_picture_is_of_celeba(columns, celeba, task, monkeypatch):
    shown = columns(task, measure(task, celeba, 6), monkeypatch)
    assert len(shown) >= 3
    for title, pictures in shown.items():
        assert len(pictures) >= 3 and not any(map(striped, pictures)), title
    assert any(np.array_equal(shown["truth"][0], one) for one in prior_faces("test").values)


@pytest.mark.parametrize("columns", SHOWN, ids=lambda one: one.__name__)
def test_what_was_measured_is_shown_where_it_is_draws(columns, task, monkeypatch):
    case = measure(task, prior_faces("test"), 4)
    shown = columns(task, case, monkeypatch)
    n = len(shown["truth"])
    np.testing.assert_array_equal(shown["truth"], case.x0[:n])
    np.testing.assert_allclose(shown["measured"], np.asarray(case.measurements.y)[:n], atol=1e-6)


def test_what_may_be_shown(celeba):
    draws = prior_faces("test")
    assert pictured.shown(draws) is draws and pictured.said(draws) == ""
    assert pictured.shown(celeba).name == "prior-faces" and "prior-faces" in pictured.said(celeba)
    named = lambda name: SimpleNamespace(name=name, split="test")  # noqa: E731
    assert pictured.shown(named("cifar10")).name == "prior-cifar10"
    with pytest.raises(ValueError, match="dataset = 'holidays': expected one of prior-faces"):
        pictured.shown(named("holidays"))


def test_sliders_show_draws_by_one_flow_at_four_noise_levels(celeba, task, monkeypatch):
    """More noise for the same face, as many pictures as the sliders have values, and the room that a page has for them."""
    monkeypatch.setattr(any_operator, "task_of", lambda setting: replace(task, sigma_y=setting.sigma_y))
    monkeypatch.setattr(any_operator, "load_posterior", lambda task, weights: Answers(task))
    choices, faces, spread = any_operator.slider_noise(n_samples=8)
    assert [one.label for one in choices] == ["noise", "face", "sample"] and len(choices[0].values) == 4
    (truth, _), (measured, _) = faces["truth {1}"], faces["measurement, noise {0}"]
    np.testing.assert_array_equal(truth, prior_faces("test").values[:3])
    levels = np.std(measured - truth, axis=(1, 2, 3, 4))
    np.testing.assert_allclose(levels, [float(value) for value in choices[0].values], rtol=0.1)
    assert len(sliders.face_view("Faces", choices, faces, spread)) < 800_000


def cells_with_pictures():
    """(page, cell) of those pages that may measure photographs."""
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        if MEASURES.search(path.read_text("utf-8")):
            cells = jupytext.read(path).cells
            yield from (
                (path.stem, c.source) for c in cells if c.cell_type == "code" and DRAWS_SIGNALS.search(c.source)
            )


def test_every_picture_of_signals_goes_that_way():
    found = list(cells_with_pictures())
    assert {page for page, _ in found} >= {"faces", "dps_ablation", "sensor", "noisy_samples", "perception", "pairs"}
    assert [(page, cell) for page, cell in found if not SAFE.search(cell)] == []


SMALL = {  # the other pages take too long for a test; what they call is looked at above
    "dps_ablation": {"n_test": 2, "nfe": [4], "steps": 4, "n_samples": 2},
    "sensor": {"n_test": 2, "n_dps": 2, "n_samples": 4},
    "noisy_samples": {"n_test": 2, "n_samples": 4, "steps": 10, "batch": 1},
    "perception": {"n_faces": 2, "n_samples": 4, "n_reference": 2},
}


@pytest.mark.long
@pytest.mark.parametrize("page", SMALL)
def test_no_figure_of_a_page_shows_celeba(page, celeba, tmp_path, monkeypatch):
    """The notebook itself, small, with CelebA at hand."""
    drawn = []

    def figure(run, fig, name, *rest, **more):
        drawn.extend((name, image.get_array()) for ax in fig.axes for image in ax.images)

    monkeypatch.setattr(Run, "figure", figure)
    monkeypatch.setenv("APS_RESULTS_DIR", str(tmp_path / "results"))
    names, given = {"__name__": page}, notebooks.find(page).parameters
    for cell in jupytext.read(ROOT / "notebooks" / f"{page}.py").cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, page, "exec"), names)
        if "parameters" in cell.metadata.get("tags", ()):
            assert set(SMALL[page]) <= set(given)
            names |= SMALL[page]
    assert drawn
    assert [name for name, picture in drawn if striped(picture)] == []
