"""A diffusion prior whose network predicts the residual to the closed-form Gaussian score, in the leading modes."""

import flax.struct
import jax
import jax.numpy as jnp

from aps_core.diffusion import make_sde
from aps_core.priors import bound
from aps_core.priors.base import DiffusionPrior
from aps_core.priors.gaussian import GaussianPrior
from aps_core.priors.networks.modal import RegimeResidual
from aps_core.priors.score_function import ScoreFunctionPrior


@flax.struct.dataclass
class ScorePrior(DiffusionPrior):
    """eps_theta(u_t, t) = eps_G(u_t, t) + P_K r(P_K^T (u_t - alpha m), t), with u = 2 x - 1 and m its mean.

    The network acts on the K leading modes (on the sphere: empirical orthogonal functions), standardized at time t;
    outside them the prior is the Gaussian. r = alpha sigma beta / (alpha^2 sigma^2 + beta^2) * network: the factor is
    the size that a residual can have, so that the network's output is of order one at every time. Below ``t_residual``
    r is zero.
    """

    kind = "modal"
    has_log_ratio = True
    has_modal_log_ratio = True

    gaussian: GaussianPrior
    params: dict
    network: RegimeResidual = flax.struct.field(pytree_node=False)
    t_residual: float = flax.struct.field(pytree_node=False, default=1e-4)

    @property
    def leading_modes(self):
        """K: outside of the K leading modes it is the Gaussian."""
        return self.network.k

    def tree(self):
        """The arrays as a nested dict."""
        g = self.gaussian
        arrays = {"mean": g.mean, "basis": g.basis, "excess": g.excess, "rest": jnp.reshape(g.rest, (1,))}
        return {"gaussian": arrays, "network": self.params}

    def settings(self):
        """What a card must say to build the prior again."""
        network = {name: getattr(self.network, name) for name in ("k", "lead", "regimes", "rank", "width")}
        described = {"shape": list(self.shape), "sde": self.sde.settings()}
        return {**described, "network": network, "t_residual": self.t_residual}

    @classmethod
    def from_tree(cls, tree, settings):
        """The ScorePrior of ``tree`` and ``settings``; KeyError or TypeError where they do not hold one."""
        g = {name: jnp.asarray(value) for name, value in tree["gaussian"].items()}
        shape, sde = tuple(settings["shape"]), make_sde(settings["sde"])
        gaussian = GaussianPrior(g["mean"], g["basis"], g["excess"], g["rest"][0], shape=shape, sde=sde)
        return cls(gaussian, tree["network"], RegimeResidual(**settings["network"]), settings["t_residual"])

    def modes(self, x):
        """Amplitudes P_K^T (u - m) of signals ``x`` (..., *shape), (..., K), in the scale u = 2 x - 1."""
        flat = x.reshape((*x.shape[: x.ndim - len(self.shape)], -1))
        return 2 * (flat - self.gaussian.mean) @ self.gaussian.basis[:, : self.network.k]

    def modal_residual(self, vt, t):
        """r for centred amplitudes ``vt`` = P_K^T (u_t - alpha m), (K,)."""
        alpha, beta, sigma = self.sde.alpha(t), self.sde.beta(t), self._sigma
        variance = alpha**2 * sigma**2 + beta**2
        out = self.network.apply(self.params, vt / jnp.sqrt(variance), t)
        return jnp.where(t >= self.t_residual, 1.0, 0.0) * alpha * sigma * beta / variance * out

    def eps(self, ut, t):
        """Noise prediction for ``ut`` (d,)."""
        basis = self.gaussian.basis[:, : self.network.k]
        vt = (ut - self.sde.alpha(t) * (2 * self.gaussian.mean - 1)) @ basis
        return self.gaussian.eps(ut, t) + basis @ self.modal_residual(vt, t)

    def fast_draws(self, key, n, n_steps, churn=0.0):
        """n draws (n, *shape): the probability-flow ODE of the K leading modes alone, and the Gaussian in all else."""
        del n_steps, churn
        g, k = self.gaussian, self.network.k
        k_inside, k_outside = jax.random.split(key)

        def score(prior, u, t):
            alpha, beta = prior.sde.alpha(t), prior.sde.beta(t)
            variance = (2 * alpha * prior.gaussian.mode_std[:k]) ** 2 + beta**2
            return -u / variance - prior.modal_residual(u, t) / beta

        modes = ScoreFunctionPrior(score, (k,), self.sde, params=self)
        amplitudes = modes.sample(k_inside, n, rtol=1e-3, atol=1e-3) - 0.5
        x = g.sample(k_outside, n).reshape(n, -1)
        basis = g.basis[:, :k]
        return (x + (amplitudes - (x - g.mean) @ basis) @ basis.T).reshape((n, *self.shape))

    def modal_log_ratio(self, key, v, t):
        """One-sample estimate of (bound on log p_theta) - log p_G from the amplitudes ``v`` (K,) of a signal, at one
        weighted time.

        Only the K leading modes enter: in all others the two priors are the same.
        """

        def gaussian_eps(vt, s):
            return self.sde.beta(s) * vt / (self.sde.alpha(s) ** 2 * self._sigma**2 + self.sde.beta(s) ** 2)

        return bound.log_ratio_at(gaussian_eps, self.modal_residual, self.sde, v, t, key, self.t_residual)

    def log_ratio_at(self, key, x, t):
        """``modal_log_ratio`` of one signal."""
        return self.modal_log_ratio(key, self.modes(x), t)

    def log_ratio(self, key, x, n_times=1):
        """Estimate of (bound on log p_theta(x)) - log p_G(x) in nats for one signal, from ``n_times`` low-discrepancy
        times.
        """
        k_time, k_eps = jax.random.split(key)
        t = bound.times(k_time, self.sde, n_times, self.t_residual)
        v = self.modes(x)
        return jnp.mean(jax.vmap(lambda k, ti: self.modal_log_ratio(k, v, ti))(jax.random.split(k_eps, n_times), t))

    def elbo(self, key, x, n_times=1):
        """Estimate of the bound on log p_theta(x), in nats: the Gaussian log density plus the estimated difference."""
        return self.gaussian.log_prob(x) + self.log_ratio(key, x, n_times)

    @property
    def _sigma(self):
        return 2 * self.gaussian.mode_std[: self.network.k]
