"""One flow for any linear operator and noise: what it is told of them is their closed-form posterior."""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.distilled import DistilledFlow, distance_from_denoising, hats, matched_time
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes

SLACK = 1.25  # how far beyond the family of training an operator still counts as of it
LOG_STD = (-7.0, 2.5)  # of the modes, between which the bands of the standard deviation lie
NEAR = 0.05  # distance from denoising within which the shift is that of the score network


@flax.struct.dataclass
class UniversalFlow(DistilledFlow):
    """The DistilledFlow whose parameters belong to no operator, so that trained ones serve them all.

    Under the prior's Gaussian, mu_G(y) and Sigma_G say all that operator, noise and data do, and the posterior is
    N(mu_G, Sigma_G) times p/p_G, whatever the operator. The network sees mu_G, the noise that the Gaussian finds in y, the
    time whose denoising leaves as much variance, and, beyond what a DistilledFlow shows it, the map of the marginal
    standard deviations of Sigma_G over the prior's. a(y) is made of ``n_bands`` functions of the mode's number and as many
    of its standard deviation; no mode has a constant of its own.

    Before any training it is Tweedie's estimate at every noise level of denoising, and for other operators the first
    guess of a DistilledFlow. A new operator costs one factorization (``posterior_modes``).

    Training for all operators at once takes the shift away from Tweedie's estimate, which denoising needs no training for.
    So the shift of a trained flow that is ``anchored`` is that of the score network plus a share of how the trained network
    differs from it: 1 - exp(-(D / NEAR)^2), with the ``distance_from_denoising`` D. That is 0 for denoising and 1 for all
    that is not nearly so. Scales and couplings are the trained ones; the density stays exact.
    """

    gaussian: GaussianPrior | None = None  # the prior's Gaussian
    prior_std: jax.Array | None = None  # its marginal standard deviations (d,)
    share: jax.Array | float = 1.0  # of the trained network in the shift
    anchored: bool = flax.struct.field(pytree_node=False, default=False)  # whether that is below 1
    serves_any_noise = True
    serves_any_mask = True
    serves_any_operator = True

    @classmethod
    def for_task(cls, task, copy=True, **settings):
        """The untrained flow, as ``DistilledFlow.for_task``."""
        gaussian = task.prior.gaussian
        own = {"gaussian": gaussian, "prior_std": gaussian.marginal_std, "share": 1.0, "anchored": False}
        return super().for_task(task, copy, **own, **settings)._with_share()

    def with_noise(self, sigma_y):
        """The flow for another noise level: the operator is factorized anew."""
        modes = posterior_modes(self.gaussian, self.operator, float(sigma_y))
        flow = self.replace(modes=modes, sigma_y=float(sigma_y), t=matched_time(modes, self.gaussian))
        return flow._with_share()

    def _with_share(self):
        share = -jnp.expm1(-((distance_from_denoising(self.modes, self.gaussian) / NEAR) ** 2))
        return self.replace(share=share, anchored=self.teacher is not None and bool(share < 0.9999))

    def context(self, measurement):
        """What the flow sees of one measurement, computed once for all samples."""
        context = super().context(measurement)
        return replace(context, guess=self._score_network(context)) if self.anchored else context

    def init(self, key):
        """Parameters with which the flow is a Gaussian around the score network's estimate."""
        k_network, k_couplings = jax.random.split(key)
        n_tokens, size = self.tokens.shape
        network = self._network.init(k_network, jnp.zeros((n_tokens, 3 * size)), self.t)
        if self.teacher is not None:
            network = {"params": {**network["params"], **_widened(self.teacher["params"], network["params"])}}
        return {
            "network": network,
            "couplings": self.couplings.init(k_couplings, jnp.zeros((n_tokens, self.network.width))),
        }

    def outside_of(self, family):
        """Why this operator and noise lie outside the ``family`` of a card (``OperatorPool.ranges``), in words, or None."""
        names = {"sigma_y": "its noise", "time": "the time whose denoising leaves as much variance as its closed form"}
        for name, value in (("sigma_y", float(self.sigma_y)), ("time", float(self.t))):
            low, high = family[name]
            if not low / SLACK <= value <= high * SLACK:
                return f"{names[name]} is {value:.3g}, that of training lay between {low:.3g} and {high:.3g}"
        return None

    _n_outputs = property(lambda self: 2 * self.n_bands, doc="Number of band log-scales.")

    def _found(self, residual, context):
        return residual if context.guess is None else context.guess + self.share * (residual - context.guess)

    def _inputs(self, context):
        spread = jnp.log(self.modes.marginal_std / self.prior_std)
        return context.signal, context.noise, spread

    def _spectrum(self, params, bands):
        del params
        low, high = LOG_STD
        place = (jnp.log(self.modes.std) - low) / (high - low) * (self.n_bands - 1)
        place = jnp.clip(place, 0, self.n_bands - 1)
        of_std = jnp.maximum(0, 1 - jnp.abs(place[:, None] - jnp.arange(self.n_bands)))
        return jnp.concatenate([hats(self.dim, self.n_bands), of_std], axis=1) @ bands


def _widened(given, wanted):
    """The nested dict ``given`` of arrays, each with rows of zeros added up to the shape that it has in ``wanted``."""

    def pad(array, like):
        return jnp.pad(array, [(0, n - m) for m, n in zip(array.shape, like.shape, strict=True)])

    return jax.tree.map(pad, given, {name: wanted[name] for name in given})
