"""Flow for the posterior of one measurement under a score prior (DPI), in the coordinates of the closed-form Gaussian
posterior.
"""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.flows.base import log_standard_normal
from aps_core.flows.coupling import MaskedCouplings, alternating_masks
from aps_core.flows.tokens import TokenConditioner
from aps_core.priors import bound
from aps_core.priors.linear_gaussian import PosteriorModes
from aps_core.priors.networks.patches import Tokens
from aps_core.training import loop

GAIN = 4.0  # a learning rate that suits the couplings is small for the mean


@flax.struct.dataclass
class FittedFlow:
    """x = mu_G(y) + Sigma_G Sigma^(-1/2) o + s T(V diag(std exp(a)) z / s), for a fixed linear operator; nothing
    depends on y but mu_G.

    mu_G, Sigma_G = V diag(std^2) V^T: the closed-form posterior under the prior's Gaussian, s its marginal standard
    deviations, o (d,) and a (d,) free numbers, T an elementwise scale and ``steps`` couplings over tokens. Before
    training it is that closed form. The mean moves in the scale of the corrections that a prior beyond the Gaussian can
    ask for (see PosteriorModes).
    """

    modes: PosteriorModes
    shape: tuple = flax.struct.field(pytree_node=False)
    tokens: Tokens = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False, default=4)
    width: int = flax.struct.field(pytree_node=False, default=48)

    @property
    def dim(self):
        """Number of entries of a signal."""
        return self.modes.std.shape[0]

    @property
    def couplings(self):
        """The scanned couplings, without a condition."""
        n_tokens, size = self.tokens.shape
        return MaskedCouplings(TokenConditioner(size, self.width, 1), alternating_masks(self.steps, size, n_tokens))

    def init(self, key):
        """Parameters with which the flow is the closed-form posterior."""
        start = {name: jnp.zeros(self.dim) for name in ("shift", "spectrum", "log_scale")}
        return {**start, "couplings": self.couplings.init(key, self._nothing)}

    @property
    def _nothing(self):
        return jnp.zeros((self.tokens.shape[0], 1))

    def context(self, measurement):
        """mu_G(y) (d,)."""
        return self.modes.mean(measurement.y.reshape(-1))

    def shift(self, params):
        """What is added to the mean (d,)."""
        return self.modes.pull @ (GAIN * params["shift"])

    def noise(self, params, z):
        """s T(V diag(std exp(a)) z / s) (d,) and log|det| of its Jacobian less that of V diag(std), for one z (d,)."""
        m = self.modes
        e = m.basis @ (m.std * jnp.exp(params["spectrum"]) * z) / m.marginal_std
        moved, log_det = self.couplings.forward(
            params["couplings"], self.tokens.cut(e * jnp.exp(params["log_scale"])), self._nothing
        )
        return m.marginal_std * self.tokens.join(moved), log_det + jnp.sum(params["log_scale"]) + jnp.sum(
            params["spectrum"]
        )

    def forward(self, params, z, context):
        """x (d,) and log|dx/dz| for one z (d,)."""
        noise, log_det = self.noise(params, z)
        return context + self.shift(params) + noise, log_det + jnp.sum(jnp.log(self.modes.std))

    def inverse(self, params, x, context):
        """z (d,) and log|dz/dx| for one x (d,)."""
        m = self.modes
        moved = self.tokens.cut((x - context - self.shift(params)) / m.marginal_std)
        e, log_det = self.couplings.inverse(params["couplings"], moved, self._nothing)
        e = m.marginal_std * self.tokens.join(e) * jnp.exp(-params["log_scale"])
        z = (e @ m.basis) / (m.std * jnp.exp(params["spectrum"]))
        return z, log_det - jnp.sum(params["log_scale"]) - jnp.sum(params["spectrum"]) - jnp.sum(jnp.log(m.std))


def objective(flow, params, prior, key, contexts, n_samples=1):
    """KL(q || p(x | y)) + const for one flow of each measurement: its surrogate, in nats, averaged over measurements.

    params: stacked, contexts (batch, d). The Gaussian prior and the likelihood make N(mu_G, Sigma_G) together, so that

        KL = E[log q - log N(x; mu_G, Sigma_G) - (bound on log p_theta - log p_G)(x)] + log p_G(y)/p_theta(y),

    of which all but the last difference is known in the coordinates w of Sigma_G, w = m + w_0(z): 1/2 |w|^2 is written
    as 1/2 |m|^2 + m . (w_0 - z) + 1/2 |w_0|^2, since E[z] = 0, which takes the noise of the samples out of the gradient
    of the mean.
    """
    m = flow.modes
    batch = contexts.shape[0]
    k_z, k_t, k_eps = jax.random.split(key, 3)
    z = jax.random.normal(k_z, (batch, n_samples, flow.dim))
    t = bound.times(k_t, prior.sde, batch * n_samples, prior.t_residual).reshape(n_samples, batch).T

    def one(params, context, zs, ts, ks):
        shift = flow.shift(params)
        mean = (shift @ m.basis) / m.std

        def sample(zi, ti, ki):
            noise, log_det = flow.noise(params, zi)
            w = (noise @ m.basis) / m.std
            own = 0.5 * jnp.sum(mean**2) + mean @ (w - zi) - log_standard_normal(w) + log_standard_normal(zi) - log_det
            x = (context + shift + noise).reshape(flow.shape)
            return own, -prior.log_ratio_at(ki, x, ti)

        return jax.vmap(sample)(zs, ts, ks)

    parts = [
        jnp.mean(part) for part in jax.vmap(one)(params, contexts, z, t, jax.random.split(k_eps, (batch, n_samples)))
    ]
    return sum(parts), {"from_gaussian": parts[0] / flow.dim, "prior_ratio": parts[1] / flow.dim}


def fit(flow, prior, measurements, optimizer, n_samples=4, watch=loop.Watch(), progress=True):
    """One flow for each of a batch of measurements, trained side by side on ``objective``: (stacked parameters,
    contexts (batch, d), Trained).

    prior: a NetworkPrior that is a residual to the Gaussian of ``flow.modes``. watch: see ``loop.fit``. Raises ValueError
    for a prior without that residual.
    """
    if not prior.has_fast_sampler:
        raise ValueError("fit needs a NetworkPrior that predicts the residual to a Gaussian score")
    contexts = jax.jit(jax.vmap(flow.context))(measurements)
    params = jax.jit(jax.vmap(flow.init))(jax.random.split(jax.random.key(optimizer.seed), len(contexts)))
    data = {"flow": flow, "prior": prior, "contexts": contexts}

    def loss(params, data, key, progress):
        del progress
        value, parts = objective(data["flow"], params, data["prior"], key, data["contexts"], n_samples)
        return value / flow.dim, parts

    session = loop.Session(progress=progress, label="score prior")
    trained = loop.fit(loss, params, data, optimizer, watch, session)
    return trained.params, contexts, trained
