"""What trained weights were made for, in numbers that a card keeps: operator, noise and prior of their task."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from aps_core.operators.base import is_of_the_package
from aps_core.priors.base import capability
from aps_core.priors.content import settings_of

TOLERANCE = 1e-3  # of the size of what is compared: the same task on another machine differs by rounding


def made_for(task):
    """The fingerprint of a Task, ready for JSON: by what the operator makes of two fixed signals, what the prior's arrays
    say when projected, and the noise.
    """
    operator, prior = task.operator, task.prior
    return {
        "operator": {
            "kind": operator.kind or type(operator).__name__,
            "diagonal": bool(operator.diagonal),
            "missing": float(operator.share_missing),
            "action": _action(operator),
            "noise": _noise(operator),
        },
        "sigma_y": float(task.sigma_y),
        "prior": {"kind": prior_kind(prior), "numbers": _of_prior(prior), "settings": _settings(prior)},
    }


def differences(card, task, any_noise=False, any_mask=False, any_operator=False):
    """In words, what of ``task`` is not as in the fingerprint ``card`` of ``made_for``: a list, empty where all fits.

    any_noise, any_mask, any_operator: whether another noise level, other missing entries under an operator that only hides
    entries, and another operator, count as the same. Raises KeyError or TypeError for a card that is no fingerprint.
    """
    given, found = made_for(task), []
    old, new = card["operator"], given["operator"]
    if not any_operator and not (any_mask and old["diagonal"] and new["diagonal"]):
        if not _close(old["action"], new["action"]):
            found.append(f"another operator ({old['kind']} then, {new['kind']} now, with another action)")
        elif abs(old["missing"] - new["missing"]) > 1e-6:
            found.append(f"a share of {old['missing']:g} missing entries then, {new['missing']:g} now")
    served = any_noise or any_mask or any_operator
    if not _same_noise(old.get("noise", new["noise"]), new["noise"], served):
        found.append(f"noise of another kind ({old['noise'] or 'additive'} then, {new['noise'] or 'additive'} now)")
    if not any_noise and abs(card["sigma_y"] - given["sigma_y"]) > 1e-6 * given["sigma_y"]:
        found.append(f"sigma_y = {card['sigma_y']:g} then, {given['sigma_y']:g} now")
    if not _close(card["prior"]["numbers"], given["prior"]["numbers"]):
        found.append(f"another prior ({card['prior']['kind']} then, {given['prior']['kind']} now, with other numbers)")
    elif other := _other_settings(card["prior"], given["prior"]["settings"]):
        found.append(f"another prior ({', '.join(other)})")
    return found


def same_prior(card, task):
    """Whether the prior of ``task`` is that of the fingerprint ``card``. Raises KeyError or TypeError for no fingerprint."""
    same = _close(card["prior"]["numbers"], _of_prior(task.prior))
    return same and not _other_settings(card["prior"], _settings(task.prior))


def prior_kind(prior):
    """The word of a prior, or the name of its class."""
    return capability(prior, "kind") or type(prior).__name__


def _settings(prior):
    """Those of ``settings_of``; of a GaussianPrior none, whose posteriors do not depend on its diffusion."""
    return {} if capability(prior, "is_gaussian") else settings_of(prior)


def _other_settings(card, now):
    """In words, which settings of a prior are not those of ``card``; none for a card from before they were kept."""
    then = card.get("settings", now)
    return [
        f"{name} = {then.get(name)} then, {now.get(name)} now"
        for name in sorted({*then, *now})
        if json.dumps(then.get(name), sort_keys=True) != json.dumps(now.get(name), sort_keys=True)
    ]


def _close(old, new):
    """Whether two lists of ``projected`` agree, each array in its own scale."""
    if len(old) != len(new):
        return False
    old, new = (np.reshape(np.asarray(a, np.float64), (-1, 4)) for a in (old, new))
    return bool(np.all(np.abs(old - new) <= TOLERANCE * (np.abs(new).max(axis=1, keepdims=True) + 1e-12)))


def _action(operator):
    """Four projections of A(x) for each of two fixed signals; of an operator that draws its masks, with a fixed one."""
    rng, mask = np.random.default_rng(0), None
    if (operator.random and not operator.diagonal) or not is_of_the_package(operator):
        mask = operator.draw(jax.random.key(0))
    signals = (rng.random(operator.shape), rng.normal(size=operator.shape))
    return [n for x in signals for n in projected(operator(jnp.asarray(x, jnp.float32), mask))]


def _noise(operator):
    """What tells the noise of an operator apart: its settings, of one of your own the log-likelihood of fixed data of a
    fixed signal, at two noise levels; None where it is additive.
    """
    if operator.additive_noise:
        return None
    if is_of_the_package(operator):
        return json.loads(json.dumps(operator.settings()))
    x = jnp.asarray(np.random.default_rng(0).random(operator.shape), jnp.float32)
    data = operator.simulate(0.1, jax.random.key(0), x)
    return [float(f"{operator.log_likelihood(sigma_y, x, data):.7g}") for sigma_y in (0.1, 0.2)]


def _same_noise(old, new, any_level=False):
    """any_level: whether only the kind of the noise counts, for flows that see or infer its level and the mask."""
    if any_level:
        kinds = [one["kind"] if isinstance(one, dict) else type(one).__name__ for one in (old, new)]
        return kinds[0] == kinds[1]
    if isinstance(old, list) and isinstance(new, list):
        return bool(np.allclose(old, new, rtol=1e-5, atol=1e-5))
    return old == new


def _of_prior(prior):
    """Of its Gaussian what does not depend on the choice of modes: mean, and covariance times a fixed signal; and, for
    what it has learned, a projection of each array, summed up.
    """
    try:
        gaussian = prior.gaussian
    except (AttributeError, ValueError):  # a ScoreFunctionPrior without one raises ValueError
        gaussian = None
    numbers = [] if gaussian is None else _of_gaussian(gaussian)
    if prior is gaussian:
        return numbers
    held = {id(leaf) for leaf in jax.tree.leaves(gaussian)}
    arrays = [leaf for leaf in jax.tree.leaves(prior) if id(leaf) not in held and hasattr(leaf, "dtype")]
    if arrays and capability(prior, "arrays_tell_all"):
        sums = np.sum([[(i + 1) * n for n in projected(array)] for i, array in enumerate(arrays)], axis=0)
        numbers = numbers + [float(f"{n:.7g}") for n in sums / len(arrays)]
    elif capability(prior, "has_score"):
        u = jnp.asarray(np.random.default_rng(4).normal(size=int(np.prod(prior.shape))), jnp.float32)
        numbers = numbers + projected(prior.eps(u, 0.5))
    return numbers


def _of_gaussian(gaussian):
    mean, basis, excess, rest = (
        np.asarray(a, np.float64) for a in (gaussian.mean, gaussian.basis, gaussian.excess, gaussian.rest)
    )
    v = np.random.default_rng(3).normal(size=mean.size)
    return projected(mean) + projected(basis @ (excess * (v @ basis)) + rest * v)


LOOKED_AT = 1_000_000  # entries of an array that a digest looks at, beside its mean


def digest(tree):
    """A few numbers that tell the arrays of a tree apart, the same on another machine, which rounds otherwise."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    parts = [
        (leaf.mean(axis=0), leaf.ravel()[:: 1 + leaf.size // LOOKED_AT]) for leaf in leaves if leaf.ndim and leaf.size
    ]
    return rounded([projected(part) for both in parts for part in both])


def rounded(fingerprint):
    """A fingerprint whose numbers another machine, which rounds otherwise, finds too."""
    if isinstance(fingerprint, dict):
        return {name: rounded(value) for name, value in fingerprint.items()}
    if isinstance(fingerprint, list):
        return [rounded(value) for value in fingerprint]
    return float(f"{fingerprint:.3g}") if isinstance(fingerprint, float) else fingerprint


def projected(array):
    """Root mean square and three projections of an array on fixed noise, to seven digits."""
    flat = np.asarray(array, np.float64).ravel()
    noise = [np.resize(row, flat.size) for row in np.random.default_rng(1).normal(size=(3, 4099))]
    numbers = [np.sqrt(np.mean(flat**2)), *(row @ flat / np.sqrt(flat.size) for row in noise)]
    return [float(f"{n:.7g}") for n in numbers]
