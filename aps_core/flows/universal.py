"""One flow for any linear operator and noise: what it is told of them is their closed-form posterior."""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.distilled import DistilledFlow, hats, matched_time
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.linear_gaussian import posterior_modes

SLACK = 1.25  # how far beyond the family of training an operator still counts as of it
LOG_STD = (-7.0, 2.5)  # of the modes, between which the bands of the standard deviation lie


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
    """

    gaussian: GaussianPrior | None = None  # the prior's Gaussian
    prior_std: jax.Array | None = None  # its marginal standard deviations (d,)
    serves_any_noise = True
    serves_any_mask = True
    serves_any_operator = True

    @classmethod
    def for_task(cls, task, copy=True, **settings):
        """The untrained flow, as ``DistilledFlow.for_task``."""
        gaussian = task.prior.gaussian
        return super().for_task(task, copy, gaussian=gaussian, prior_std=gaussian.marginal_std, **settings)

    def with_noise(self, sigma_y):
        """The flow for another noise level: the operator is factorized anew."""
        modes = posterior_modes(self.gaussian, self.operator, float(sigma_y))
        return self.replace(modes=modes, sigma_y=float(sigma_y), t=matched_time(modes, self.gaussian))

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
