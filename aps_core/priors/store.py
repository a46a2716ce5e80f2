"""Priors to and from weights files."""

from aps_core import weights
from aps_core.priors import KINDS
from aps_core.priors.mirror import halve, unhalve


def prior_tree(prior):
    """The arrays of a learned prior as a nested dict. Of modes that are even or odd images, the left half."""
    return _halved(prior.tree(), prior.shape)


def prior_settings(prior):
    """What a card must say to build the prior again."""
    return {"kind": prior.kind, **prior.settings()}


def load_prior(name):
    """(prior, card) of the weights ``name``; errors as in ``weights.load``."""
    tree, card = weights.load(name)
    try:
        settings = card["settings"]
        if settings["kind"] not in KINDS:
            raise KeyError(f"kind {settings['kind']!r} is none of {sorted(KINDS)}")
        return KINDS[settings["kind"]].from_tree(_whole(tree, tuple(settings["shape"])), settings), card
    except (KeyError, TypeError) as error:
        raise weights.WeightsError(f"weights {name!r} do not hold a prior: {error!r}") from error


def _halved(tree, shape):
    if "basis" not in tree["gaussian"]:
        return tree
    try:
        half, parity = halve(tree["gaussian"]["basis"], shape)
    except ValueError:
        return tree
    gaussian = {name: value for name, value in tree["gaussian"].items() if name != "basis"}
    return {**tree, "gaussian": {**gaussian, "half_basis": half, "parity": parity}}


def _whole(tree, shape):
    if "half_basis" not in tree["gaussian"]:
        return tree
    gaussian = dict(tree["gaussian"])
    basis = unhalve(gaussian.pop("half_basis"), gaussian.pop("parity"), shape)
    return {**tree, "gaussian": {**gaussian, "basis": basis}}
