"""Weights fit what they are loaded for: operator, noise, prior, flow, and every array; or the difference is named."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from aps_core import (
    Convolution,
    FixedMask,
    GaussianBlur,
    Identity,
    Measurement,
    Operator,
    RandomMask,
    Task,
    WeightsError,
    gaussian_posterior,
    load_posterior,
    load_task,
    train_posterior,
    untrained_posterior,
    weights,
)
from aps_core.diffusion import VPSDE
from aps_core.files import sha256_of
from aps_core.flows.wrappers import tempered
from aps_core.posterior import load_start, save_posterior
from aps_core.priors.content import digest_of
from aps_core.tasks.fingerprint import differences, made_for
from aps_core.training.posterior import inputs_of

REALNVP = {"kind": "realnvp", "steps": 1, "width": 4}
BASE = {"kind": "gaussian-base", "k": 2, "steps": 1, "width": 4}


@pytest.fixture
def make_task(make_prior):
    """make_task(operator, sigma_y, seed): over 4 x 4 entries."""

    def make(operator=None, sigma_y=0.1, seed=0):
        prior = make_prior(d=16, k=4, shape=(4, 4), seed=seed)
        return Task(operator or RandomMask((4, 4), 0.5), sigma_y, prior, name="mine")

    return make


@pytest.fixture
def saved(make_task, tmp_path):
    """saved(flow): path of weights for ``make_task()``."""

    def write(flow, operator=None):
        path = tmp_path / "mine.safetensors"
        save_posterior(untrained_posterior(make_task(operator), flow), path)
        card = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps({**card, "flow": flow}))
        return path

    return write


def test_weights_load_for_what_they_were_made_for(make_task, saved):
    for flow in (REALNVP, BASE):
        path = saved(flow)
        assert load_posterior(make_task(), weights=path).card["made_for"]["sigma_y"] == 0.1


def test_another_noise_or_share_is_refused_where_the_flow_does_not_serve_it(make_task, saved):
    path = saved(REALNVP)
    with pytest.raises(WeightsError, match=r"made for another problem.*sigma_y = 0.1 then, 0.3 now"):
        load_posterior(make_task(sigma_y=0.3), weights=path)
    with pytest.raises(WeightsError, match=r"a share of 0.5 missing entries then, 0.25 now"):
        load_posterior(make_task(RandomMask((4, 4), 0.25)), weights=path)
    assert load_start(make_task(sigma_y=0.3), path).params  # to train on from


def test_a_flow_that_sees_noise_and_mask_serves_others(make_task, saved):
    path = saved(BASE)
    for operator in (Identity((4, 4)), FixedMask(np.eye(4)), RandomMask((4, 4), 0.25)):
        assert load_posterior(make_task(operator, 0.03), weights=path).flow.sigma_y == 0.03


@pytest.mark.parametrize("flow", [REALNVP, BASE])
def test_another_prior_is_refused(make_task, saved, flow):
    with pytest.raises(WeightsError, match="another prior"):
        load_posterior(make_task(seed=1), weights=saved(flow))


def test_another_operator_is_refused(make_task, saved):
    path = saved(REALNVP, GaussianBlur((4, 4), 1.0))
    for other in (GaussianBlur((4, 4), 1.2), Identity((4, 4)), RandomMask((4, 4), 0.0)):
        with pytest.raises(WeightsError, match="another operator"):
            load_posterior(make_task(other), weights=path)


def test_a_small_difference_of_the_covariance_alone_is_a_difference(make_task):
    task = make_task()
    wider = replace(task, prior=task.prior.replace(excess=1.05 * task.prior.excess))
    assert "another prior" in differences(made_for(task), wider)[0]
    assert differences(json.loads(json.dumps(made_for(task))), task) == []


def _rewritten(path, change):
    """The weights at ``path`` with other arrays, and a card whose sha256 is theirs."""
    arrays, card = weights.load(path)
    flat = {f"{a}": v for a, v in _flat(arrays).items()}
    content = change(flat)
    path.write_bytes(content)
    card |= {"bytes": len(content), "sha256": sha256_of(content)}
    path.with_suffix(".json").write_text(json.dumps(card))


def _flat(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _without_one(flat):
    flat.pop("out/loc")
    return save(flat)


def _with_one_more(flat):
    return save({**flat, "out/extra": np.zeros(2, np.float32)})


def _of_another_shape(flat):
    return save({**flat, "out/loc": np.zeros(7, np.float32)})


def _nan(flat):
    return save({**flat, "out/loc": np.full(16, np.nan, np.float32)})


def _bfloat16(flat):
    """A file by its definition: length of the header, header, data."""
    header, at = {}, 0
    for name, value in flat.items():
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [at, at + 2 * value.size]}
        at += 2 * value.size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


@pytest.mark.parametrize(
    "change, text",
    [
        (_without_one, "they lack out/loc"),
        (_with_one_more, "they hold the unknown out/extra"),
        (_of_another_shape, r"out/loc \(7,\), expected \(16,\)"),
        (_nan, "hold NaN, infinity or no real numbers in out/loc"),
        (_bfloat16, "hold what cannot be read"),
    ],
)
def test_arrays_are_checked_at_load(make_task, saved, change, text):
    path = saved(REALNVP)
    _rewritten(path, change)
    with pytest.raises(WeightsError, match=text):
        load_posterior(make_task(), weights=path)


def test_a_card_without_a_fingerprint(make_task, saved):
    path = saved(REALNVP)
    card = json.loads(path.with_suffix(".json").read_text())
    for name, text in (("made_for", "does not say for which operator, noise and prior"), ("flow", "cannot be built")):
        path.with_suffix(".json").write_text(json.dumps({k: v for k, v in card.items() if k != name}))
        with pytest.raises(WeightsError, match=text):
            load_posterior(make_task(), weights=path)


def test_shipped_weights_know_what_they_were_made_for():
    """The sphere's flow serves other noise and masks, the vectorized RealNVP beside it neither."""
    other = load_task("sphere-impute", sigma_y=0.1, mask_fraction=0.3)
    assert load_posterior(other).flow.sigma_y == 0.1
    with pytest.raises(WeightsError, match=r"0.6 missing entries then, 0.3 now; sigma_y = 0.05 then, 0.1 now"):
        load_posterior(other, weights="sphere-impute-realnvp")
    assert load_posterior("sphere-impute", weights="sphere-impute-realnvp").params


def test_a_flow_of_one_noise_level_cannot_be_asked_for_another(make_task):
    """A DistilledFlow holds modes, time and noise of one level: all of them would have to change."""
    from aps_core.flows.distilled import DistilledFlow
    from aps_core.posterior import AmortizedPosterior

    flow = object.__new__(DistilledFlow)
    posterior = AmortizedPosterior(make_task(Identity((4, 4))), flow, {"spectrum": jnp.zeros(16)})
    with pytest.raises(
        ValueError, match="DistilledFlow was made for one noise level and cannot be asked for sigma_y = 0.2"
    ):
        posterior.with_noise(0.2)
    seen = untrained_posterior(make_task(), BASE)
    assert seen.with_noise(0.2).flow.sigma_y == seen.with_noise(0.2).task.sigma_y == 0.2
    expected = untrained_posterior(make_task(sigma_y=0.2), BASE)
    m = expected.task.measure(jax.random.key(0), jnp.full((4, 4), 0.5))
    np.testing.assert_allclose(
        seen.with_noise(0.2).sample(jax.random.key(1), m, 2), expected.sample(jax.random.key(1), m, 2), atol=1e-6
    )


@pytest.mark.parametrize("name", ["w.json", "w", "w.npz"])
def test_weights_are_written_where_they_can_be_read(tmp_path, name):
    with pytest.raises(ValueError, match="expected a name that ends in .safetensors"):
        weights.save(tmp_path / name, {"a": np.ones((2, 2))}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (1e5, np.float16, "weights a hold numbers up to 100000, expected finite ones that float16 can hold"),
        (np.nan, np.float32, "weights a hold"),
        (0.3, np.int32, "dtype of weights must be float16, float32 or float64, got int32"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, value, dtype, text):
    with pytest.raises(ValueError, match=text):
        weights.save(tmp_path / "w.safetensors", {"a": np.full((2, 2), value)}, {}, dtype)
    assert not list(tmp_path.iterdir())


def test_a_training_knows_operator_and_prior_by_what_they_do(make_prior):
    """A checkpoint of another mask, kernel or prior of the same name is not gone on from."""
    prior, others = make_prior(d=16, shape=(4, 4)), make_prior(d=16, shape=(4, 4), seed=1)
    box, delta = np.full((3, 3), 1 / 9), np.zeros((3, 3))
    delta[1, 1] = 1.0
    masks = [np.ones((4, 4)), np.ones((4, 4))]
    masks[0][0, 0] = masks[1][3, 3] = 0
    tasks = [Task(FixedMask(mask), 0.1, prior) for mask in masks]
    tasks += [Task(Convolution((4, 4), kernel), 0.1, prior) for kernel in (box, delta)]
    tasks += [Task(FixedMask(masks[0]), 0.1, others)]
    found = [json.dumps(inputs_of(task), sort_keys=True) for task in tasks]
    assert len(set(found)) == len(tasks)
    assert json.dumps(inputs_of(Task(FixedMask(masks[0]), 0.1, prior)), sort_keys=True) == found[0]


def test_one_measurement_is_one(make_prior):
    task = Task(Identity((8,)), 0.1, make_prior(d=8))
    recipe = {"flow": {"kind": "realnvp", "steps": 1, "width": 4, "conditional": False}, "optimizer": {"steps": 2}}
    with pytest.raises(ValueError, match=r"measurement must be a single one, y of shape \(8,\), got \(3, 8\)"):
        train_posterior(task, recipe, measurement=Measurement(np.full((3, 8), 0.5)))


def test_a_prior_with_other_times_or_another_diffusion_is_another_prior(make_score_prior, tmp_path, monkeypatch):
    """Its arrays are the same: neither weights nor kept draws of the one serve the other."""
    prior = make_score_prior()
    later, slower = prior.replace(t_residual=0.1), prior.replace(gaussian=prior.gaussian.replace(sde=VPSDE(0.1, 5.0)))
    card = json.loads(json.dumps(made_for(Task(Identity((8,)), 0.1, prior))))
    assert differences(card, Task(Identity((8,)), 0.1, prior)) == []
    for other, word in ((later, "t_residual = "), (slower, "sde = ")):
        (found,) = differences(card, Task(Identity((8,)), 0.1, other))
        assert found.startswith("another prior (") and word in found
    without = {
        **card,
        "prior": {name: card["prior"][name] for name in ("kind", "numbers")},
    }  # from before they were kept
    assert differences(without, Task(Identity((8,)), 0.1, later)) == []
    assert len({digest_of(one, 4) for one in (prior, later, slower)}) == 3
    assert digest_of(prior, 4) == digest_of(make_score_prior(), 4) != digest_of(prior, 5)


def test_weights_of_a_gaussian_prior_do_not_depend_on_its_diffusion(make_prior):
    card = made_for(Task(Identity((8,)), 0.1, make_prior()))
    assert differences(card, Task(Identity((8,)), 0.1, make_prior(sde=VPSDE(0.1, 5.0)))) == []


def test_shipped_cards_name_the_settings_of_their_prior():
    for name in ("sphere-impute-held-out", "faces-denoise-reverse-spread"):
        card = weights.load_card(name)
        assert card["made_for"]["prior"]["settings"] == load_task(card["task"]).prior.settings()


def test_what_is_written_is_what_is_read(make_task, tmp_path):
    """Or it is refused: a tempered flow, a closed form."""
    task, path = make_task(), tmp_path / "mine.safetensors"
    wrong = untrained_posterior(task, {**BASE, "inflate": 2.0})
    measurement = task.measure(jax.random.key(0), jnp.full((4, 4), 0.5))
    save_posterior(wrong, path, dtype=np.float32)
    read = load_posterior(task, weights=path)
    samples = [p.sample(jax.random.key(1), measurement, 4) for p in (wrong, read)]
    np.testing.assert_allclose(*samples, atol=1e-6)
    for other in (tempered(wrong, 0.5), gaussian_posterior(task)):
        with pytest.raises(ValueError, match="expected one of build_flow, whose card says the settings of its flow"):
            save_posterior(other, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_masks_of_ones_own_are_told_apart(make_prior):
    """A vectorized flow of one is no flow of the other, though both leave half of the entries out."""

    class Rows(Operator):
        shape, diagonal, random = (4, 4), True, True

        def draw(self, key):
            return jnp.zeros((4, 4)).at[jax.random.permutation(key, 4)[:2]].set(1.0)

        def observed(self, mask=None):
            return jnp.ones((4, 4)) if mask is None else mask

        def check_mask(self, mask):
            pass

        def __call__(self, x, mask=None):
            return x if mask is None else mask * x

    class Columns(Rows):
        def draw(self, key):
            return super().draw(key).T

    prior = make_prior(d=16, k=4, shape=(4, 4))
    rows, columns = (Task(operator(), 0.1, prior) for operator in (Rows, Columns))
    assert differences(made_for(rows), columns) and not differences(made_for(rows), rows)
