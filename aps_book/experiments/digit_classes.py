"""Which digit a signal on the bunny shows: a small classifier, and how often posterior samples show another digit than
was measured. A sampler that seeks modes would show there.

``python -m aps_book.experiments.digit_classes`` trains the classifier on the training digits in half a minute and
writes weights/bunny-digits.safetensors. Needs the full MNIST.
"""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aps_core import data, weights
from aps_core.priors.store import load_prior
from aps_core.training import loop
from aps_core.training.job import provenance
from aps_core.training.optimizer import Optimizer

NAME = "bunny-digits"
RECIPE = {
    "name": NAME,
    "classifier": {"data": "bunny-mnist", "width": 128, "noise": 0.1, "batch": 256},
    "optimizer": {"steps": 3000, "learning_rate": 2e-3, "warmup": 100, "ema": 0.99, "seed": 0},
}


class Classifier(nn.Module):
    """Standardized mode amplitudes (K,) to the logits of ten digits."""

    width: int

    @nn.compact
    def __call__(self, modes):
        h = nn.relu(nn.Dense(self.width)(modes))
        return nn.Dense(10)(nn.relu(nn.Dense(self.width)(h)))


def amplitudes(gaussian, signals):
    """Amplitudes (..., K) of signals (..., d) in the leading modes of the prior's Gaussian, in units of the leading
    one's standard deviation: noise in the other modes stays small.
    """
    return (signals - np.asarray(gaussian.mean)) @ np.asarray(gaussian.basis) / float(gaussian.mode_std[0])


def train(path=None, recipe=RECIPE, progress=True):
    """Train the classifier: (params, card); with ``path`` both are written. The card has the share of validation digits
    that are recognized.
    """
    settings, (prior, _) = recipe["classifier"], load_prior("bunny-prior")
    digits = {split: data.load(settings["data"], split) for split in ("train", "val")}
    arrays = {
        "modes": jnp.asarray(
            np.concatenate([amplitudes(prior.gaussian, part) for part in np.array_split(digits["train"].values, 16)])
        ),
        "label": jnp.asarray(digits["train"].index["label"]),
    }
    network, held_out = Classifier(settings["width"]), jnp.asarray(amplitudes(prior.gaussian, digits["val"].values))
    scale = settings["noise"] / float(prior.gaussian.mode_std[0])

    def loss(params, arrays, key, progress):
        del progress
        k_pick, k_noise = jax.random.split(key)
        picked = jax.random.randint(k_pick, (settings["batch"],), 0, len(arrays["label"]))
        seen = arrays["modes"][picked]
        logits = network.apply(params, seen + scale * jax.random.normal(k_noise, seen.shape))
        chosen = jnp.take_along_axis(nn.log_softmax(logits), arrays["label"][picked][:, None], axis=1)
        return -jnp.mean(chosen), {}

    def evaluate(params, arrays, key):
        del arrays, key
        right = np.asarray(network.apply(params, held_out)).argmax(axis=1) == digits["val"].index["label"]
        return {"val_right": float(right.mean())}

    optimizer = Optimizer(**recipe["optimizer"])
    params = network.init(jax.random.key(optimizer.seed), jnp.zeros(prior.gaussian.excess.size))
    trained = loop.fit(loss, params, arrays, optimizer, loop.Watch(evaluate, 1000), loop.Session(progress=progress))
    card = {**provenance(recipe, trained), "data_sha256": digits["train"].sha256}
    if path is not None:
        weights.save(path, trained.params, card, np.float16)
    return trained.params, card


def classify(gaussian, signals, name=NAME):
    """The digit (...,) that each of ``signals`` (..., d) shows, by the shipped classifier. Raises as ``weights.load``."""
    params, card = weights.load(name)
    network = Classifier(card["recipe"]["classifier"]["width"])
    return np.asarray(network.apply(params, jnp.asarray(amplitudes(gaussian, signals)))).argmax(axis=-1)


def changes(sampler, gaussian, key, measurements, labels, n):
    """What samples of a batch of measurements of digits ``labels`` (batch,) show: {"samples": share of the n samples
    that show another digit than was measured (batch,), "mean": whether their mean does (batch,), "several": whether the
    samples show more than one digit (batch,)}.
    """
    rows = []
    for i, k in enumerate(jax.random.split(key, len(labels))):
        samples = np.asarray(sampler.sample(k, jax.tree.map(lambda a, i=i: a[i], measurements), n))
        seen = classify(gaussian, samples)
        mean = classify(gaussian, samples.mean(axis=0))
        rows.append((np.mean(seen != labels[i]), mean != labels[i], len(np.unique(seen)) > 1))
    return {
        name: np.array(column, float)
        for name, column in zip(("samples", "mean", "several"), zip(*rows, strict=True), strict=True)
    }


def store(run, found):
    """Keep what ``changes`` found by row, in per cent of the digits, as ``classes.ROW.samples`` and so on."""
    for row, values in found.items():
        for name, value in values.items():
            run.mean(f"classes.{row}.{name}", 100 * value, "%")


if __name__ == "__main__":
    print(train(Path("weights") / f"{NAME}.safetensors")[1]["validation"])
