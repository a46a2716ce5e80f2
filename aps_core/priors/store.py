"""Priors to and from weights files."""

import jax.numpy as jnp

from aps_core import weights
from aps_core.priors.discrete import DiscreteFlowPrior, build_discrete_prior, discrete_prior_tree
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.learned import NetworkPrior, build_network_prior, network_prior_tree
from aps_core.priors.mirror import halve, unhalve
from aps_core.priors.networks import RegimeResidual
from aps_core.priors.score import ScorePrior
from aps_core.priors.subspace import SubspacePrior, build_subspace_prior, subspace_tree
from aps_core.sde import make_sde


def prior_tree(prior):
    """The arrays of a learned prior as a nested dict: a ScorePrior, a NetworkPrior, a SubspacePrior or a DiscreteFlowPrior.

    Of modes that are even or odd images, the left half.
    """
    if isinstance(prior, SubspacePrior):
        return subspace_tree(prior)
    if isinstance(prior, NetworkPrior):
        return _halved(network_prior_tree(prior), prior.shape)
    if isinstance(prior, DiscreteFlowPrior):
        return _halved(discrete_prior_tree(prior), prior.shape)
    g = prior.gaussian
    arrays = {"mean": g.mean, "basis": g.basis, "excess": g.excess, "rest": jnp.reshape(g.rest, (1,))}
    return {"gaussian": arrays, "network": prior.params}


def prior_settings(prior):
    """What a card must say to build the prior again."""
    sde, net = prior.sde, prior.network
    return {
        "shape": list(prior.shape),
        "sde": sde.settings(),
        "network": {name: getattr(net, name) for name in ("k", "lead", "regimes", "rank", "width")},
        "t_residual": prior.t_residual,
    }


def load_prior(name):
    """(prior, card) of the weights ``name``; errors as in ``weights.load``."""
    tree, card = weights.load(name)
    try:
        settings, g = card["settings"], tree["gaussian"]
        if "signal_shape" in settings:
            return build_subspace_prior(tree, settings), card
        if "flow" in tree:
            return build_discrete_prior(_whole(tree, tuple(settings["shape"])), settings), card
        if "kind" in settings["network"]:
            return build_network_prior(_whole(tree, tuple(settings["shape"])), settings), card
        as_jax = {key: jnp.asarray(value) for key, value in g.items()}
        gaussian = GaussianPrior(
            as_jax["mean"], as_jax["basis"], as_jax["excess"], as_jax["rest"][0],
            shape=tuple(settings["shape"]), sde=make_sde(settings["sde"]),
        )  # fmt: skip
        network = RegimeResidual(**settings["network"])
        return ScorePrior(gaussian, tree["network"], network, settings["t_residual"]), card
    except (KeyError, TypeError) as error:
        raise weights.WeightsError(f"weights {name!r} do not hold a prior: {error!r}") from error


def _halved(tree, shape):
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
